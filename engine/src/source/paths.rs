//! The paths that a person named, as one tree.

use std::collections::BTreeMap;

use crate::error::{EngineError, ErrorKind, Result};

/// What is wanted of a directory: all of it, or some names in it, or both.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// It was named itself: everything below, if it is a directory.
    pub(super) whole: bool,
    /// Names in it that were named, or that lead to such. They stay even if all is wanted: a walk of all may not
    /// reach them (another file system, an excluded directory), and then they are wanted all the same.
    pub(super) children: BTreeMap<Vec<u8>, Wanted>,
}

impl Wanted {
    /// Merges `paths`, which are normalized.
    pub(super) fn merge<'a>(paths: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut root = Self::default();
        for path in paths {
            let mut place = &mut root;
            for name in components(path) {
                place = place.children.entry(name.to_vec()).or_default();
            }
            place.whole = true;
        }
        root
    }

    /// The paths that were named at or below `path`, which is the one that `self` is about.
    pub(super) fn named(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        // By a list and not by recursion: paths can be deep.
        let mut open = vec![(path.to_vec(), self)];
        while let Some((path, wanted)) = open.pop() {
            open.extend(wanted.children.iter().rev().map(|(name, below)| (join(&path, name), below)));
            if wanted.whole {
                found.push(path);
            }
        }
        found
    }
}

/// The components of an absolute path.
pub(super) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
}

/// `name` in the directory at `path`.
pub(super) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(path.len() + 1 + name.len());
    joined.extend_from_slice(path);
    if !joined.ends_with(b"/") {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}

/// An absolute path without `.`, `..`, and superfluous slashes. `..` takes away the component before it, as the text
/// says, wherever that may lead in the file system.
///
/// # Errors
/// `Invalid` if `path` isn't absolute, contains a NUL, or is deeper than directories may be.
pub fn normalize(path: &[u8]) -> Result<Vec<u8>> {
    let invalid =
        |what: &str| EngineError::new(ErrorKind::Invalid, format!("path {} {what}", String::from_utf8_lossy(path)));
    if !path.starts_with(b"/") {
        return Err(invalid("is not absolute"));
    }
    if path.contains(&0) {
        return Err(invalid("contains a NUL"));
    }
    let mut names: Vec<&[u8]> = Vec::new();
    for name in components(path) {
        match name {
            b"." => {}
            b".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    if names.len() >= crate::limits::DIRECTORY_DEPTH {
        return Err(invalid("is too deep"));
    }
    let mut normal = vec![b'/'];
    normal.extend_from_slice(&names.join(&b'/'));
    Ok(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_normal() {
        for (path, normal) in [
            ("/", "/"),
            ("//a///b/", "/a/b"),
            ("/a/./b/../c", "/a/c"),
            ("/../../x", "/x"),
            ("/a/..", "/"),
            ("/...", "/..."),
        ] {
            assert_eq!(normalize(path.as_bytes()).ok().as_deref(), Some(normal.as_bytes()), "{path}");
        }
        for wrong in [b"".as_slice(), b"a", b"./a", b"/a\0"] {
            assert_eq!(normalize(wrong).map_err(|error| error.kind()), Err(ErrorKind::Invalid));
        }
        assert!(normalize("/x".repeat(5000).as_bytes()).is_err());
    }

    #[test]
    fn overlapping_paths_merge() {
        let merged = Wanted::merge([b"/a/b".as_slice(), b"/a", b"/c/d", b"/a/b"]);
        assert!(!merged.whole);
        assert_eq!(merged.children.keys().collect::<Vec<_>>(), [b"a", b"c"]);
        assert!(merged.children[b"a".as_slice()].whole);
        assert!(!merged.children[b"c".as_slice()].whole);
        assert_eq!(merged.named(b"/"), [b"/a".to_vec(), b"/a/b".to_vec(), b"/c/d".to_vec()]);
        assert!(Wanted::merge([b"/".as_slice()]).whole);
    }
}
