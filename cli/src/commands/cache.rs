//! `cache`: shows or clears the local caches.
//!
//! The cache directory holds one directory for every repository, named by its id. Whatever else is there is
//! somebody else's and stays.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use engine::clock::Timestamp;
use engine::id::RepositoryId;

use crate::args::upkeep::{Cache, CacheAction};
use crate::args::values;
use crate::context::Context;
use crate::exit::{Failure, Outcome, io_failure};
use crate::messages::{JsonPath, Message};
use crate::text::{self, Align};

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Cache) -> Result<Outcome, Failure> {
    match &arguments.action {
        CacheAction::List => list(context),
        CacheAction::Clear(which) if which.all => clear(context, found(&context.cache_directory()?)?),
        CacheAction::Clear(_) => {
            // The directory is not in use any more once the repository is closed.
            let directory = context.open_any(&[])?.cache_directory().to_owned();
            clear(context, Entry::of(directory).into_iter().collect())
        }
    }
}

/// The cache of one repository.
#[derive(Debug)]
struct Entry {
    id: RepositoryId,
    directory: PathBuf,
    bytes: u64,
    last_used: Option<Timestamp>,
}

impl Entry {
    /// The cache in `directory`, if its name is the id of a repository.
    fn of(directory: PathBuf) -> Option<Self> {
        let id = RepositoryId::from_hex(directory.file_name()?.to_str()?).ok()?;
        if !directory.symlink_metadata().ok()?.is_dir() {
            return None;
        }
        let (mut bytes, mut last_used) = (0, None);
        measure(&directory, &mut bytes, &mut last_used);
        Some(Self { id, directory, bytes, last_used })
    }
}

/// Adds up a directory; what vanishes or can't be read meanwhile counts nothing.
fn measure(directory: &Path, bytes: &mut u64, last_used: &mut Option<Timestamp>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            measure(&entry.path(), bytes, last_used);
            continue;
        }
        *bytes += metadata.len();
        let modified = metadata.modified().ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
        *last_used = (*last_used).max(modified.map(values::timestamp));
    }
}

fn found(base: &Path) -> Result<Vec<Entry>, Failure> {
    let entries = match std::fs::read_dir(base) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_failure("list the caches in", base, error)),
    };
    let mut caches: Vec<Entry> = entries.flatten().filter_map(|entry| Entry::of(entry.path())).collect();
    caches.sort_by_key(|cache| cache.id);
    Ok(caches)
}

fn list(context: &Context) -> Result<Outcome, Failure> {
    let base = context.cache_directory()?;
    let caches = found(&base)?;
    if context.output.is_json() {
        for cache in &caches {
            send(context, cache, false)?;
        }
        return Ok(Outcome::Done);
    }
    let header = [("Repository", Align::Left), ("Size", Align::Right), ("Last used", Align::Left)];
    let row = |cache: &Entry| {
        vec![cache.id.to_hex(), text::size(cache.bytes), cache.last_used.map(text::local_time).unwrap_or_default()]
    };
    if !caches.is_empty() {
        for line in text::table(&header, &caches.iter().map(row).collect::<Vec<_>>()) {
            context.output.line(&line)?;
        }
    }
    let caches = text::count(caches.len() as u64, "cache", "caches");
    context.output.summary(&format!("{caches} in {}", base.display()))?;
    Ok(Outcome::Done)
}

fn clear(context: &Context, caches: Vec<Entry>) -> Result<Outcome, Failure> {
    let mut bytes = 0;
    for cache in &caches {
        match std::fs::remove_dir_all(&cache.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_failure("remove the cache", &cache.directory, error));
            }
            _ => bytes += cache.bytes,
        }
        if context.output.is_json() {
            send(context, cache, true)?;
        }
    }
    let number = text::count(caches.len() as u64, "cache", "caches");
    context.output.summary(&format!("removed {number}, {}", text::size(bytes)))?;
    Ok(Outcome::Done)
}

fn send(context: &Context, cache: &Entry, removed: bool) -> Result<(), Failure> {
    Ok(context.output.message(&Message::Cache {
        repository_id: cache.id.to_hex(),
        directory: JsonPath::new(cache.directory.as_os_str().as_bytes()),
        bytes: cache.bytes,
        last_used: cache.last_used.map(text::rfc3339),
        removed,
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_named_by_an_id_are_caches() {
        let base = tempfile::tempdir().expect("a directory");
        let id = "0123456789abcdef0123456789abcdef";
        std::fs::create_dir_all(base.path().join(id).join("deep")).expect("made");
        std::fs::write(base.path().join(id).join("deep/file"), [0; 100]).expect("written");
        std::fs::create_dir(base.path().join("photos")).expect("made");
        std::fs::write(base.path().join("CACHEDIR.TAG"), "x").expect("written");
        std::os::unix::fs::symlink("/", base.path().join("f".repeat(32))).expect("linked");
        let caches = found(base.path()).expect("listed");
        assert_eq!(caches.len(), 1);
        assert_eq!((caches[0].id.to_hex().as_str(), caches[0].bytes), (id, 100));
        assert!(caches[0].last_used.is_some());
        assert!(found(&base.path().join("none")).expect("listed").is_empty());
    }
}
