//! YAML as nodes that know their lines.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Number, Value};

/// Nodes of a document, aliases counted as often as they are used: a small file must not become a large tree.
const MAX_NODES: usize = 200_000;
/// How many nodes may lie in each other.
const MAX_DEPTH: usize = 64;

/// Where, from 1, and what is wrong.
pub type LineError = (usize, String);

/// A value and the line that it begins in.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// From 1.
    pub line: usize,
    /// The value.
    pub data: Data,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Nothing, true, false, a number or a text.
    Scalar(Value),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in its order: key, line of the key, value.
    Map(Vec<(String, usize, Node)>),
}

impl Node {
    /// A text at a line.
    pub fn text(line: usize, text: impl Into<String>) -> Self {
        Self { line, data: Data::Scalar(Value::String(text.into())) }
    }

    /// The value of a key, if it is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(name, ..)| name == key).map(|(_, _, node)| node)
    }

    /// Takes a key with its value out of a mapping.
    pub fn take(&mut self, key: &str) -> Option<Self> {
        let Data::Map(entries) = &mut self.data else { return None };
        let at = entries.iter().position(|(name, ..)| name == key)?;
        Some(entries.remove(at).2)
    }

    /// The entries of a mapping; none of anything else.
    pub fn entries(&self) -> &[(String, usize, Self)] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar(value) => value.as_str(),
            _ => None,
        }
    }

    /// Whether nothing was written there.
    pub fn is_null(&self) -> bool {
        self.data == Data::Scalar(Value::Null)
    }

    /// The line of what is at `path`, or of the deepest that is there.
    pub fn line_of(&self, path: &[&str]) -> usize {
        match path.split_first().and_then(|(key, rest)| Some((self.get(key)?, rest))) {
            Some((node, rest)) => node.line_of(rest),
            None => self.line,
        }
    }

    /// The same without lines.
    pub fn to_json(&self) -> Value {
        match &self.data {
            Data::Scalar(value) => value.clone(),
            Data::List(items) => items.iter().map(Self::to_json).collect(),
            Data::Map(entries) => entries.iter().map(|(key, _, node)| (key.clone(), node.to_json())).collect(),
        }
    }
}

/// Reads the one document of a file.
///
/// # Errors
/// If it is not YAML, has several documents, a key twice, or is larger than any manifest.
pub fn parse(text: &str) -> Result<Node, LineError> {
    let mut builder = Builder { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    let mut document = None;
    loop {
        let (event, span) = builder.next()?;
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            Event::StreamEnd => break,
            _ if document.is_some() => return Err((line(span), "a second document begins here".into())),
            event => document = Some(builder.node(event, span, 0)?),
        }
    }
    document.ok_or((1, "it is empty".into()))
}

fn line(span: Span) -> usize {
    span.start.line()
}

struct Builder<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'t> Builder<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), LineError> {
        match self.parser.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err((error.marker().line(), format!("not YAML: {}", error.info()))),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn count(&mut self, nodes: usize, line: usize) -> Result<(), LineError> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES { Err((line, "too many values for a manifest".into())) } else { Ok(()) }
    }

    /// The node that begins with an event.
    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, LineError> {
        let line = line(span);
        if depth > MAX_DEPTH {
            return Err((line, "too many values in each other".into()));
        }
        let before = self.nodes;
        self.count(1, line)?;
        let (anchor, data) = match event {
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err((line, "an alias of something that it is itself part of".into()));
                };
                self.count(size, line)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                (anchor, Data::Scalar(if plain { plain_scalar(&text) } else { Value::String(text.into_owned()) }))
            }
            Event::SequenceStart(anchor, _) => (anchor, Data::List(self.list(depth)?)),
            Event::MappingStart(anchor, _) => (anchor, Data::Map(self.map(depth)?)),
            _ => return Err((line, "a value was expected".into())),
        };
        let node = Node { line, data };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, LineError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(String, usize, Node)>, LineError> {
        let mut entries: Vec<(String, usize, Node)> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, span, depth + 1)?;
            let name = match &key.data {
                Data::Scalar(Value::String(text)) => text.clone(),
                Data::Scalar(value) => value.to_string(),
                _ => return Err((key.line, "a key must be a plain word".into())),
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if name == "<<" {
                merged.push(value);
            } else if entries.iter().any(|(known, ..)| *known == name) {
                return Err((key.line, format!("`{name}` is here twice")));
            } else {
                entries.push((name, key.line, value));
            }
        }
        for value in merged {
            merge(&mut entries, value)?;
        }
        Ok(entries)
    }
}

/// Adds what a mapping takes from another by `<<`: what it has itself wins.
fn merge(entries: &mut Vec<(String, usize, Node)>, value: Node) -> Result<(), LineError> {
    match value.data {
        Data::Map(more) => {
            for entry in more {
                if !entries.iter().any(|(known, ..)| *known == entry.0) {
                    entries.push(entry);
                }
            }
            Ok(())
        }
        Data::List(items) => items.into_iter().try_for_each(|item| merge(entries, item)),
        Data::Scalar(_) => Err((value.line, "`<<` takes a mapping".into())),
    }
}

/// A plain scalar by the core schema of YAML 1.2.
fn plain_scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if let Ok(number) = text.parse::<i64>() {
            return Value::Number(number.into());
        }
        if let Ok(number) = text.parse::<u64>() {
            return Value::Number(number.into());
        }
    }
    let is_float = digits.contains('.') && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match text.parse::<f64>().ok().filter(|_| is_float).and_then(Number::from_f64) {
        Some(number) => Value::Number(number),
        None => Value::String(text.to_owned()),
    }
}
