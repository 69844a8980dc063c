//! Finding nodes in a snapshot by name, size and time.

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::browse::list_all;
use crate::clock::Timestamp;
use crate::error::{EngineError, ErrorKind, Result};
use crate::model::{Node, Snapshot};
use crate::repository::{ChunkReader, Index, Repository};

/// Conditions, all of which must hold; no patterns match everything.
#[derive(Debug, Clone, Default)]
pub struct FindOptions {
    /// Globs: against the name, or against the whole path if there is a `/` in it. One of them must match.
    pub patterns: Vec<String>,
    /// Whether ASCII case counts for nothing.
    pub ignore_case: bool,
    /// Not changed before.
    pub newer: Option<Timestamp>,
    /// Not changed after.
    pub older: Option<Timestamp>,
    /// At least so many bytes.
    pub min_size: Option<u64>,
    /// At most so many bytes.
    pub max_size: Option<u64>,
}

impl FindOptions {
    fn globs(&self) -> Result<Gitignore> {
        let mut builder = GitignoreBuilder::new("/");
        let invalid = |error| EngineError::with_source(ErrorKind::Invalid, "pattern", error);
        builder.case_insensitive(self.ignore_case).map_err(invalid)?;
        for pattern in &self.patterns {
            // A leading `!` or `#` has a meaning in ignore files, and none here.
            let special = pattern.starts_with(['!', '#']);
            let line = if special { format!("\\{pattern}") } else { pattern.clone() };
            builder.add_line(None, &line).map_err(invalid)?;
        }
        builder.build().map_err(invalid)
    }

    fn fits(&self, node: &Node) -> bool {
        let mtime = node.metadata.mtime;
        self.newer.is_none_or(|newer| mtime >= newer)
            && self.older.is_none_or(|older| mtime <= older)
            && self.min_size.is_none_or(|min| node.size >= min)
            && self.max_size.is_none_or(|max| node.size <= max)
    }
}

/// Calls `each` with every node that matches and its path.
///
/// # Errors
/// `Invalid` for a bad pattern; otherwise as [`super::ls`].
pub fn find(
    repository: &Repository,
    index: &Index,
    snapshot: &Snapshot,
    options: &FindOptions,
    each: &mut dyn FnMut(&[u8], &Node) -> Result<()>,
) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let globs = options.globs()?;
    let chunks = ChunkReader::new(repository, index);
    list_all(&chunks, &snapshot.root, b"", true, &mut |path, node| {
        let os_path = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
        let named = options.patterns.is_empty() || globs.matched(os_path, node.is_directory()).is_ignore();
        if named && options.fits(node) { each(path, node) } else { Ok(()) }
    })
}
