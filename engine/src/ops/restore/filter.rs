//! Which paths of a snapshot are restored.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::RestoreOptions;
use crate::error::{EngineError, ErrorKind, Result};

/// Compiled patterns.
pub(super) struct Filter {
    includes: Option<Gitignore>,
    excludes: Gitignore,
}

/// What becomes of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Restored, with what is below.
    Wanted,
    /// Not itself, but something below may be.
    Below,
    /// Not, nor anything below.
    Unwanted,
}

impl Filter {
    pub(super) fn new(options: &RestoreOptions) -> Result<Self> {
        let includes = if options.includes.is_empty() { None } else { Some(compile(&options.includes)?) };
        Ok(Self { includes, excludes: compile(&options.excludes)? })
    }

    /// Judges a path relative to what is restored, with a slash in front.
    pub(super) fn judge(&self, path: &[u8], is_directory: bool) -> Verdict {
        let path = Path::new(OsStr::from_bytes(path));
        if self.excludes.matched_path_or_any_parents(path, is_directory).is_ignore() {
            return Verdict::Unwanted;
        }
        match &self.includes {
            None => Verdict::Wanted,
            Some(includes) if includes.matched_path_or_any_parents(path, is_directory).is_ignore() => Verdict::Wanted,
            Some(_) if is_directory => Verdict::Below,
            Some(_) => Verdict::Unwanted,
        }
    }
}

fn compile(patterns: &[String]) -> Result<Gitignore> {
    let invalid = |error| EngineError::with_source(ErrorKind::Invalid, "pattern", error);
    let mut builder = GitignoreBuilder::new("/");
    for pattern in patterns {
        builder.add_line(None, pattern).map_err(invalid)?;
    }
    builder.build().map_err(invalid)
}
