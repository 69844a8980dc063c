//! The three forms of a manifest, made one: `stack.yaml`; `x-repo:` in a compose file, at the top and in services;
//! and a file that has `persist:` at the top and `backup:` in services, among much that is not for us.

use super::yaml::{Data, LineError, Node};

/// What of a foreign file's top is taken over.
const OF_TOP: [&str; 11] = [
    "stack",
    "directory",
    "user",
    "project",
    "compose",
    "persist",
    "secrets",
    "retention",
    "repositories",
    "max_age",
    "services",
];

/// The manifest's nodes in the form of the types. `directory` is the stack's name if nothing else says it.
///
/// # Errors
/// If nothing in it is about a stack.
pub(super) fn normalize(mut document: Node, directory: &str) -> Result<Node, LineError> {
    let Data::Map(_) = &document.data else {
        return Err((document.line, "a manifest is a mapping: `stack: NAME`, `persist:`, `services:`".into()));
    };
    let name = document.get("name").and_then(Node::as_text).unwrap_or(directory).to_owned();
    let named = |mut node: Node| {
        if let Data::Map(entries) = &mut node.data
            && !entries.iter().any(|(key, ..)| key == "stack")
        {
            entries.insert(0, ("stack".into(), node.line, Node::text(node.line, name.clone())));
        }
        node
    };
    if let Some(own) = document.take("x-repo") {
        let services = document.take("services");
        return Ok(named(with_services(own, services)));
    }
    if document.get("stack").is_some() {
        return Ok(document);
    }
    let has_backup = |(_, _, service): &(String, usize, Node)| service.get("backup").is_some();
    let services = document.get("services");
    let any_backup = services.is_some_and(|services| services.entries().iter().any(has_backup));
    if document.get("persist").is_none() && !any_backup {
        let line = document.line;
        return Err((line, "nothing here is about a stack: expected `stack: NAME`, `x-repo:`, or `persist:`".into()));
    }
    if let Data::Map(entries) = &mut document.data {
        entries.retain(|(key, ..)| OF_TOP.contains(&key.as_str()));
        for (key, _, node) in entries.iter_mut() {
            if key == "services" {
                keep_backups(node, "backup");
            }
        }
    }
    Ok(named(document))
}

/// Leaves services that have `key`, and of them that only.
fn keep_backups(services: &mut Node, key: &str) {
    let Data::Map(entries) = &mut services.data else { return };
    for (_, _, service) in entries.iter_mut() {
        if let Data::Map(fields) = &mut service.data {
            fields.retain(|(name, ..)| name == key);
        }
    }
    entries.retain(|(_, _, service)| !service.entries().is_empty());
}

/// Adds to a manifest what the services of its compose file have under `x-repo`.
fn with_services(mut own: Node, services: Option<Node>) -> Node {
    let line = own.line;
    if own.is_null() {
        own.data = Data::Map(Vec::new());
    }
    let Some(mut services) = services else { return own };
    keep_backups(&mut services, "x-repo");
    let Data::Map(found) = services.data else { return own };
    let Data::Map(entries) = &mut own.data else { return own };
    let found = found.into_iter().filter_map(|(name, line, mut service)| Some((name, line, service.take("x-repo")?)));
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        return own;
    }
    if !entries.iter().any(|(key, ..)| key == "services") {
        entries.push(("services".into(), line, Node { line, data: Data::Map(Vec::new()) }));
    }
    for (key, _, node) in entries.iter_mut().filter(|(key, ..)| key == "services") {
        debug_assert_eq!(key, "services");
        if let Data::Map(declared) = &mut node.data {
            // What is said at the top wins.
            let more = found.iter().filter(|(name, ..)| !declared.iter().any(|(known, ..)| known == name));
            let more: Vec<_> = more.cloned().collect();
            declared.extend(more);
        }
    }
    own
}
