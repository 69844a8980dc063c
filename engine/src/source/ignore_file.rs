//! Files in the source that say what to leave out, as `.gitignore` does.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::paths::join;
use crate::model::NodeKind;
use crate::monitor::ProblemLog;
use crate::os::{Directory, Names};

/// Length in bytes of the longest ignore file.
const IGNORE_FILE_BYTES: usize = 1 << 20;

/// What the ignore files of a directory and of those above it say.
#[derive(Debug)]
pub(super) struct IgnoreLevel {
    matcher: Gitignore,
    above: Option<Arc<IgnoreLevel>>,
}

impl IgnoreLevel {
    /// Whether `path` is left out: the last matching line of the deepest directory that has one.
    pub(super) fn excludes(&self, path: &Path, is_directory: bool) -> bool {
        let mut level = Some(self);
        while let Some(here) = level {
            match here.matcher.matched(path, is_directory) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => level = here.above.as_deref(),
            }
        }
        false
    }

    /// Reads the ignore files called `files` that are in `directory` at `path`, and puts them below `above`.
    pub(super) fn read(
        above: Option<Arc<Self>>,
        directory: &Directory,
        names: &Names,
        path: &[u8],
        files: &[Vec<u8>],
        problems: &ProblemLog<'_>,
    ) -> Option<Arc<Self>> {
        let mut builder = None;
        for name in files.iter().filter(|name| names.contains(name)) {
            let file_path = join(path, name);
            match read_text(directory, name) {
                Ok(Some(text)) => {
                    let builder = builder.get_or_insert_with(|| GitignoreBuilder::new(OsStr::from_bytes(path)));
                    for line in text.lines() {
                        if let Err(error) = builder.add_line(None, line) {
                            problems.add(&file_path, format!("not a pattern: {error}"));
                        }
                    }
                }
                Ok(None) => {}
                Err(error) => problems.add(&file_path, format!("cannot read what to leave out: {error}")),
            }
        }
        let Some(builder) = builder else {
            return above;
        };
        match builder.build() {
            Ok(matcher) => Some(Arc::new(Self { matcher, above })),
            Err(error) => {
                problems.add(path, format!("cannot compile what to leave out: {error}"));
                above
            }
        }
    }
}

/// The text of the file; `None` if it isn't a regular file.
fn read_text(directory: &Directory, name: &[u8]) -> std::io::Result<Option<String>> {
    let invalid = |what| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    if directory.stat(name)?.kind != NodeKind::File {
        return Ok(None);
    }
    let file = directory.open_file(name, false)?;
    let stat = file.stat()?;
    if stat.kind != NodeKind::File {
        return Ok(None);
    }
    if stat.size > IGNORE_FILE_BYTES as u64 {
        return Err(invalid("larger than 1 MiB"));
    }
    let mut bytes = vec![0; IGNORE_FILE_BYTES.min(stat.size as usize)];
    let len = file.read_at(&mut bytes, 0)?;
    bytes.truncate(len);
    String::from_utf8(bytes).map(Some).map_err(|_| invalid("not UTF-8"))
}
