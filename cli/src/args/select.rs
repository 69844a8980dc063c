//! Which snapshot, and what in it: `SNAPSHOT[:PATH]` and the filters.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use engine::ops::SnapshotFilter;

use super::values;

/// Narrows the snapshots that are meant.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which snapshots")]
pub(crate) struct Filter {
    /// Only of this host; can be repeated
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Vec<String>,

    /// Only with this label; can be repeated
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Vec<String>,

    /// Only with all of these tags; comma list, can be repeated
    #[arg(long, value_name = "TAG", value_delimiter = ',', value_parser = values::tag)]
    pub(crate) tag: Vec<String>,

    /// Only of this stack; can be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) stack: Vec<String>,

    /// Only of this path; can be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Vec<OsString>,
}

impl Filter {
    /// Whether it leaves all of them.
    pub(crate) fn is_empty(&self) -> bool {
        self.host.is_empty()
            && self.label.is_empty()
            && self.tag.is_empty()
            && self.path.is_empty()
            && self.stack.is_empty()
    }

    /// The filter as the engine takes it.
    pub(crate) fn to_engine(&self) -> SnapshotFilter {
        SnapshotFilter {
            hosts: self.host.clone(),
            tags: self.tag.clone(),
            labels: self.label.clone(),
            stacks: self.stack.clone(),
            paths: self.path.iter().map(|path| absolute(Path::new(path))).collect(),
        }
    }
}

/// A snapshot and a path in it, as in `latest:/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotPath {
    /// Id prefix, `latest` or `latest~N`.
    pub(crate) snapshot: String,
    /// Absolute path in the snapshot; `/` for all of it.
    pub(crate) path: Vec<u8>,
}

impl Default for SnapshotPath {
    fn default() -> Self {
        Self { snapshot: "latest".into(), path: b"/".to_vec() }
    }
}

impl SnapshotPath {
    /// Splits at the first colon: no name of a snapshot has one, a path may.
    pub(crate) fn parse(text: &OsStr) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let (snapshot, path) = match bytes.iter().position(|&byte| byte == b':') {
            Some(colon) => (&bytes[..colon], &bytes[colon + 1..]),
            None => (bytes, &b""[..]),
        };
        let snapshot = std::str::from_utf8(snapshot).map_err(|_| "the name of a snapshot is plain text".to_owned())?;
        if snapshot.starts_with(['/', '.']) {
            return Err("expected SNAPSHOT or SNAPSHOT:PATH, such as latest:/etc".into());
        }
        let snapshot = if snapshot.is_empty() { "latest" } else { snapshot };
        Ok(Self { snapshot: snapshot.to_owned(), path: clean(path)? })
    }
}

/// Lets clap read [`SnapshotPath`] from arguments that need not be UTF-8.
pub(crate) fn snapshot_path_parser() -> impl clap::builder::TypedValueParser<Value = SnapshotPath> {
    use clap::builder::TypedValueParser;
    clap::builder::OsStringValueParser::new().try_map(|text| SnapshotPath::parse(&text))
}

/// A path in a snapshot: one leading slash, none doubled or trailing, no `.` or `..`.
fn clean(path: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(path.len() + 1);
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("a path in a snapshot can't contain `..`".into()),
            _ => {
                out.push(b'/');
                out.extend_from_slice(part);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    Ok(out)
}

/// The absolute form of a path on this machine, without `.` and `..` and without following a last link.
///
/// `a/..` is not always `.` where links are about, so a path with `..` asks the file system; where that can't
/// tell, the path stays as it is and the error comes from whoever opens it.
pub(crate) fn absolute(path: &Path) -> Vec<u8> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let resolved = if path.components().any(|part| part == Component::ParentDir) {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => parent.canonicalize().map(|parent| parent.join(name)),
            _ => path.canonicalize(),
        }
        .unwrap_or(path)
    } else {
        path
    };
    // Collecting drops doubled and trailing slashes.
    resolved.components().collect::<std::path::PathBuf>().into_os_string().into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &[u8]) -> Result<(String, Vec<u8>), String> {
        SnapshotPath::parse(OsStr::from_bytes(text)).map(|found| (found.snapshot, found.path))
    }

    #[test]
    fn the_first_colon_splits() {
        for (text, snapshot, path) in [
            (&b"latest"[..], "latest", &b"/"[..]),
            (b"latest:", "latest", b"/"),
            (b"latest:/", "latest", b"/"),
            (b"latest:/a:b", "latest", b"/a:b"),
            (b"latest~2:etc//hosts/", "latest~2", b"/etc/hosts"),
            (b"4bba301e:/./a", "4bba301e", b"/a"),
            (b":/etc", "latest", b"/etc"),
            (b"latest:/\xff", "latest", b"/\xff"),
        ] {
            assert_eq!(split(text), Ok((snapshot.into(), path.to_vec())), "{text:?}");
        }
        for text in [&b"latest:/a/../b"[..], b"\xff:/a", b"/etc", b"./x"] {
            assert!(split(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn paths_of_this_machine_become_absolute() {
        let here = std::env::current_dir().expect("a current directory");
        assert_eq!(absolute(Path::new("/a//b/./c/")), b"/a/b/c");
        assert_eq!(absolute(Path::new("x")), here.join("x").as_os_str().as_bytes());
        assert_eq!(absolute(Path::new(".")), here.as_os_str().as_bytes());
        assert_eq!(absolute(Path::new("/")), b"/");
        assert_eq!(absolute(Path::new("/usr/..")), b"/");
        assert_eq!(absolute(Path::new("/no-such-place/../x")), b"/no-such-place/../x");
    }
}
