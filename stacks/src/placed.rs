//! Where the parts of a stack are: in its directory, and in a snapshot.

use std::path::PathBuf;

use crate::manifest::{Stack, clean};

/// Where a persist path is in a snapshot.
pub(crate) fn persist(stack: &str, name: &str) -> Vec<u8> {
    format!("/{stack}/persist/{name}").into_bytes()
}

/// Where a service's dump is in a snapshot.
pub(crate) fn dump(stack: &str, service: &str) -> Vec<u8> {
    format!("/{stack}/dumps/{service}").into_bytes()
}

/// Where sealed secrets are in a snapshot.
pub(crate) fn secrets(stack: &str) -> Vec<u8> {
    format!("/{stack}/secrets.age").into_bytes()
}

/// What to leave out of a persist path: what it says itself, persist paths within it, which are parts of their own,
/// and secrets. Each with the directory that it is relative to.
pub(crate) fn excludes(stack: &Stack, name: &str) -> Vec<(PathBuf, Vec<String>)> {
    let Some(persist) = stack.manifest.persist.get(name) else { return Vec::new() };
    let root = stack.root.join(clean(&persist.subpath));
    let inner: Vec<String> = stack.manifest.within(name).map(|(_, below)| anchored(&below)).collect();
    vec![(root.clone(), persist.exclude.clone()), (root, inner), (stack.root.clone(), stack.manifest.secrets.clone())]
}

/// A pattern for this path only, relative to its root.
pub(crate) fn anchored(path: &str) -> String {
    let mut pattern = String::from("/");
    for character in path.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '{' | '}' | '!' | '#' | '\\' | ' ') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}
