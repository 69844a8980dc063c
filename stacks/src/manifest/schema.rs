//! The schema of manifests, generated from the types, and the comparison with it.

use serde_json::Value;

use super::types::Manifest;
use super::yaml::{Data, LineError, Node};

/// The JSON schema, for editors.
pub fn schema() -> Value {
    schemars::schema_for!(Manifest).to_value()
}

/// All that is not as the schema says. It is taken out of the node, so that the rest can be looked at.
pub fn mistakes(node: &mut Node) -> Vec<LineError> {
    let root = schema();
    let mut found = Vec::new();
    compare(&root, &root, node, "", &mut found);
    found
}

/// Compares with the parts of the language that the generator uses for these types. Whether the node can stay.
fn compare(root: &Value, schema: &Value, node: &mut Node, place: &str, found: &mut Vec<LineError>) -> bool {
    let schema = resolve(root, schema);
    let name = if place.is_empty() { "the manifest" } else { place };
    // `anyOf` is an optional struct, the other choice being null; `oneOf` an enum with documentation.
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        let choice = choices.iter().find(|choice| choice.get("type") != Some(&Value::String("null".into())));
        return choice.filter(|_| !node.is_null()).is_none_or(|choice| compare(root, choice, node, place, found));
    }
    let line = node.line;
    if let Some(words) = words(schema) {
        let is_one = node.as_text().is_some_and(|text| words.contains(&text));
        if !is_one {
            found.push((line, format!("{name}: expected one of {}", words.join(", "))));
        }
        return is_one;
    }
    if let Some(expected) = wrong_type(schema, node) {
        found.push((line, format!("{name}: expected {expected}{}", hint(node))));
        return false;
    }
    match &mut node.data {
        Data::Map(entries) => {
            let required = schema.get("required").and_then(Value::as_array);
            for key in required.into_iter().flatten().filter_map(Value::as_str) {
                if !entries.iter().any(|(known, ..)| known == key) {
                    found.push((line, format!("{name}: `{key}` is missing")));
                }
            }
            entries.retain_mut(|(key, line, value)| entry(root, schema, (key, *line, value), place, found));
        }
        Data::List(items) => {
            if let Some(of_items) = schema.get("items") {
                let mut number = 0;
                items.retain_mut(|item| {
                    number += 1;
                    compare(root, of_items, item, &format!("{name}[{}]", number - 1), found)
                });
            }
        }
        Data::Scalar(value) => {
            let least = schema.get("minimum").and_then(Value::as_i64);
            if least.zip(value.as_i64()).is_some_and(|(least, value)| value < least) {
                found.push((line, format!("{name}: must not be negative")));
                return false;
            }
        }
    }
    true
}

/// Compares an entry of a mapping: key, line of the key, value.
fn entry(
    root: &Value,
    schema: &Value,
    (key, line, value): (&str, usize, &mut Node),
    place: &str,
    found: &mut Vec<LineError>,
) -> bool {
    let below = if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
    match (schema.pointer(&format!("/properties/{}", escape(key))), schema.get("additionalProperties")) {
        (Some(of_key), _) => compare(root, of_key, value, &below, found),
        (None, Some(of_all @ Value::Object(_))) => compare(root, of_all, value, &below, found),
        (None, _) => {
            found.push((line, format!("`{key}` is not known here{}", known(schema, key))));
            false
        }
    }
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
    target.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The words of an enum.
fn words(schema: &Value) -> Option<Vec<&str>> {
    let list = |key| schema.get(key).and_then(Value::as_array);
    match (list("enum"), list("oneOf")) {
        (Some(words), _) => Some(words.iter().filter_map(Value::as_str).collect()),
        (None, Some(choices)) => Some(
            choices
                .iter()
                .flat_map(|choice| match choice.get("enum").and_then(Value::as_array) {
                    Some(words) => words.iter().filter_map(Value::as_str).collect(),
                    None => choice.get("const").and_then(Value::as_str).into_iter().collect::<Vec<_>>(),
                })
                .collect(),
        ),
        (None, None) => None,
    }
}

/// What was expected, if the node is of another type.
fn wrong_type(schema: &Value, node: &Node) -> Option<String> {
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let is = |of_type: &str| match (&node.data, of_type) {
        (Data::Map(_), "object") | (Data::List(_), "array") => true,
        (Data::Scalar(Value::Null), of_type) => of_type == "null",
        (Data::Scalar(Value::String(_)), of_type) => of_type == "string",
        (Data::Scalar(Value::Bool(_)), of_type) => of_type == "boolean",
        (Data::Scalar(Value::Number(number)), of_type) => {
            of_type == "number" || (of_type == "integer" && (number.is_i64() || number.is_u64()))
        }
        _ => false,
    };
    if types.iter().any(|of_type| is(of_type)) {
        return None;
    }
    let said: Vec<&str> = types
        .iter()
        .filter(|of_type| **of_type != "null")
        .map(|of_type| match *of_type {
            "object" => "a mapping",
            "array" => "a list",
            "string" => "a text",
            "boolean" => "true or false",
            "integer" => "a whole number",
            other => other,
        })
        .collect();
    Some(said.join(" or "))
}

/// What people write by accident.
fn hint(node: &Node) -> &'static str {
    match &node.data {
        Data::Scalar(Value::Number(_) | Value::Bool(_)) => "; put it into quotes",
        Data::Scalar(Value::Null) => "; nothing is there",
        _ => "",
    }
}

/// What may be there instead of a key: the one that it was mistyped from, or all.
fn known(schema: &Value, key: &str) -> String {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return String::new() };
    match properties.keys().min_by_key(|known| distance(known, key)).filter(|known| distance(known, key) <= 2) {
        Some(similar) => format!("; perhaps `{similar}` is meant"),
        None => format!("; known are {}", properties.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
    }
}

/// How many letters have to be put in, taken out or replaced to make one word of another.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (number, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = number + 1;
        for at in 0..b.len() {
            let replaced = diagonal + usize::from(letter != b[at]);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
