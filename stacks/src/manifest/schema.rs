//! The schema of manifests, generated from the types, and the comparison with it.

use serde_json::Value;

use super::types::Manifest;
use super::yaml::{Data, LineError, Node};

/// The JSON schema, for editors.
pub fn schema() -> Value {
    schemars::schema_for!(Manifest).to_value()
}

/// All that is not as the schema says.
pub fn mistakes(node: &Node) -> Vec<LineError> {
    let root = schema();
    let mut found = Vec::new();
    compare(&root, &root, node, "", &mut found);
    found
}

/// Compares with the parts of the language that the generator uses for these types.
fn compare(root: &Value, schema: &Value, node: &Node, place: &str, found: &mut Vec<LineError>) {
    let schema = resolve(root, schema);
    let name = if place.is_empty() { "the manifest" } else { place };
    // `anyOf` is an optional struct, the other choice being null; `oneOf` an enum with documentation.
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        let choice = choices.iter().find(|choice| choice.get("type") != Some(&Value::String("null".into())));
        if let Some(choice) = choice.filter(|_| !node.is_null()) {
            compare(root, choice, node, place, found);
        }
        return;
    }
    if let Some(words) = words(schema) {
        if !node.as_text().is_some_and(|text| words.contains(&text)) {
            found.push((node.line, format!("{name}: expected one of {}", words.join(", "))));
        }
        return;
    }
    if let Some(expected) = wrong_type(schema, node) {
        found.push((node.line, format!("{name}: expected {expected}{}", hint(node))));
        return;
    }
    match &node.data {
        Data::Map(entries) => {
            for (key, line, value) in entries {
                let below = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                match (schema.pointer(&format!("/properties/{}", escape(key))), schema.get("additionalProperties")) {
                    (Some(of_key), _) => compare(root, of_key, value, &below, found),
                    (None, Some(of_all @ Value::Object(_))) => compare(root, of_all, value, &below, found),
                    (None, _) => found.push((*line, format!("`{key}` is not known here{}", known(schema, key)))),
                }
            }
            for key in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
            {
                if node.get(key).is_none() {
                    found.push((node.line, format!("{name}: `{key}` is missing")));
                }
            }
        }
        Data::List(items) => {
            for (number, item) in items.iter().enumerate() {
                if let Some(of_items) = schema.get("items") {
                    compare(root, of_items, item, &format!("{name}[{number}]"), found);
                }
            }
        }
        Data::Scalar(value) => {
            let least = schema.get("minimum").and_then(Value::as_i64);
            if least.zip(value.as_i64()).is_some_and(|(least, value)| value < least) {
                found.push((node.line, format!("{name}: must not be negative")));
            }
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

/// What may be there instead of a key: the most similar one, or all.
fn known(schema: &Value, key: &str) -> String {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return String::new() };
    let begins = |known: &str| known.chars().zip(key.chars()).take_while(|(a, b)| a == b).count();
    match properties.keys().max_by_key(|known| begins(known)).filter(|known| begins(known) >= 3.min(known.len())) {
        Some(similar) => format!("; perhaps `{similar}` is meant"),
        None => format!("; known are {}", properties.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
    }
}
