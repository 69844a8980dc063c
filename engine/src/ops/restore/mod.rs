//! Restoring a snapshot into a directory.
//!
//! The snapshot's tree is walked beside the target's: directories, links and special files are made on the way,
//! files are collected into a *window* of bounded size. A *crew* of threads works on windows while the walk goes on:
//! what is right already is left alone, what is missing is read segment by segment and written out of order, and
//! whoever writes the last byte of a file sets its metadata. A directory's metadata is set when nothing below it is
//! under way any more.

mod crew;
mod execute;
mod filter;
mod finish;
mod look;
mod place;
mod verify;
mod walk;
mod ways;
mod window;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::crypto::DomainKeys;
use crate::error::{EngineError, ErrorKind, Result};
use crate::model::Snapshot;
use crate::monitor::{Monitor, Problem, ProblemLog};
use crate::repository::{ChunkReader, Index, Repository};
use crate::target::{OwnerMap, OwnerMode, Target, TargetDir};

/// Whose files they become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ownership {
    /// Who has the same name here; by number where there is none.
    #[default]
    Names,
    /// By number.
    Ids,
    /// Whoever restores.
    Leave,
}

/// How to restore.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// Patterns in the syntax of gitignore, relative to the restored path; if there are any, only what they match.
    pub includes: Vec<String>,
    /// Patterns of what not to restore.
    pub excludes: Vec<String>,
    /// Remove what the snapshot does not have. What the patterns leave out stays.
    pub delete: bool,
    /// Change nothing; the report says what would be done.
    pub dry_run: bool,
    /// Read everything back afterwards and compare.
    pub verify: bool,
    /// Whose files they become.
    pub ownership: Ownership,
    /// Leave holes for zeros also where the source had none.
    pub sparse: bool,
    /// What to do with a directory that holds something.
    pub overwrite: Overwrite,
    /// What is at the path gets this name in the target, a directory as a whole: with its own owner, mode and times.
    /// What else is in the target is not looked at.
    pub place_as: Option<Vec<u8>>,
    /// Users whose files become somebody else's: name or number in the snapshot, name or number here.
    pub map_users: Vec<(String, String)>,
    /// The same for groups.
    pub map_groups: Vec<(String, String)>,
}

/// What to do with a target that holds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Refuse.
    #[default]
    Never,
    /// Restore into it. Files that are there are read and made what they were, with as little writing as that takes.
    Always,
    /// As `Always`, but the content of files whose size and modification time are those of the snapshot is taken for
    /// right, and not read.
    IfChanged,
}

/// What was done.
#[derive(Debug, Clone, Default)]
pub struct RestoreReport {
    /// Files that were written or made complete.
    pub files: u64,
    /// Files whose content was right already.
    pub files_unchanged: u64,
    /// Directories.
    pub directories: u64,
    /// Links and special files.
    pub others: u64,
    /// Bytes of all these files.
    pub bytes: u64,
    /// Bytes that were written.
    pub bytes_written: u64,
    /// Entries that were removed.
    pub deleted: u64,
    /// Files that were read back and compared.
    pub verified: u64,
    /// How many problems there were.
    pub problem_count: u64,
    /// The first of them.
    pub problems: Vec<Problem>,
}

/// Counts that several threads add to.
#[derive(Default)]
struct Counts {
    files: AtomicU64,
    files_unchanged: AtomicU64,
    directories: AtomicU64,
    others: AtomicU64,
    bytes: AtomicU64,
    bytes_written: AtomicU64,
    deleted: AtomicU64,
    verified: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// What every part of a restore needs.
struct Context<'a> {
    repository: &'a Repository,
    /// The keys of the snapshot's domain: they name what is in its files.
    domain: Arc<DomainKeys>,
    chunks: &'a ChunkReader<'a>,
    options: &'a RestoreOptions,
    /// The storage is not of this machine.
    is_far: bool,
    owners: OwnerMap,
    problems: ProblemLog<'a>,
    counts: Counts,
    ways: ways::Ways,
    gave_up: AtomicBool,
    failure: Mutex<Option<EngineError>>,
}

impl Context<'_> {
    /// Lets everybody stop: something went wrong that concerns the whole restore.
    fn give_up(&self, error: EngineError) {
        self.failure.lock().expect("no holder of this lock panics").get_or_insert(error);
        self.gave_up.store(true, Ordering::Relaxed);
    }

    /// How the restore ended, for the walk: what made somebody else give up comes first.
    fn end(&self, walk: Result<()>) -> Result<()> {
        if let Err(error) = walk {
            self.give_up(error);
        }
        self.failure.lock().expect("no holder of this lock panics").take().map_or(Ok(()), Err)
    }

    fn stop_if_asked(&self) -> Result<()> {
        if self.gave_up.load(Ordering::Relaxed) || self.problems.monitor().cancelled() {
            return Err(EngineError::new(ErrorKind::Interrupted, "interrupted"));
        }
        Ok(())
    }
}

/// Restores what is at `path` of a snapshot (`/` for everything): what is in a directory goes into `target`, a
/// single file gets its own name there. `target` is made if it isn't there.
///
/// What can't be restored is a problem; a file that misses data keeps its other data and is named.
///
/// # Errors
/// `NotFound`, `AlreadyExists` (the target holds something, and `overwrite` is `Never`),
/// `Invalid` (a pattern, a user or group of the maps that is not there), `Interrupted`, `Io` of the target itself.
pub fn restore(
    repository: &Repository,
    index: &Index,
    snapshot: &Snapshot,
    path: &[u8],
    target: &Path,
    options: &RestoreOptions,
    monitor: &dyn Monitor,
) -> Result<RestoreReport> {
    let chunks = ChunkReader::new(repository, index);
    let mode = match options.ownership {
        Ownership::Names => OwnerMode::Names,
        Ownership::Ids => OwnerMode::Ids,
        Ownership::Leave => OwnerMode::Leave,
    };
    let context = Context {
        repository,
        domain: repository.domain_keys(snapshot.domain)?,
        chunks: &chunks,
        options,
        is_far: repository.storage().capabilities().is_far(),
        owners: OwnerMap::new(mode, snapshot.users.clone(), snapshot.groups.clone(), false)
            .with_map(&options.map_users, &options.map_groups)?,
        problems: ProblemLog::new(monitor),
        counts: Counts::default(),
        ways: ways::Ways::default(),
        gave_up: AtomicBool::new(false),
        failure: Mutex::default(),
    };
    // Before anything is made: a path that isn't there must leave no traces.
    let scope = walk::Scope::find(&chunks, snapshot, path, options.place_as.as_deref())?;
    let root = open_target(target, options)?;
    monitor.stage("restoring", Some(snapshot.statistics.files), Some(snapshot.statistics.bytes));
    walk::restore_scope(&context, &scope, root)?;
    if options.verify && !options.dry_run {
        monitor.stage("verifying", Some(snapshot.statistics.files), Some(snapshot.statistics.bytes));
        verify::verify_scope(&context, &scope, &Target::open(target, false)?)?;
    }
    let Counts { files, files_unchanged, directories, others, bytes, bytes_written, deleted, verified } =
        context.counts;
    let (problems, problem_count) = context.problems.finish();
    Ok(RestoreReport {
        files: files.into_inner(),
        files_unchanged: files_unchanged.into_inner(),
        directories: directories.into_inner(),
        others: others.into_inner(),
        bytes: bytes.into_inner(),
        bytes_written: bytes_written.into_inner(),
        deleted: deleted.into_inner(),
        verified: verified.into_inner(),
        problem_count,
        problems,
    })
}

/// The target's directory; `None` in a dry run into one that isn't there.
fn open_target(target: &Path, options: &RestoreOptions) -> Result<Option<TargetDir>> {
    let root = match Target::open(target, !options.dry_run) {
        Err(error) if options.dry_run && error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    // `delete` alone is no permission: what it would remove may never have been restored.
    let holds_something = match &options.place_as {
        Some(name) => root.stat(name)?.is_some(),
        None => !root.list()?.is_empty(),
    };
    if options.overwrite == Overwrite::Never && holds_something {
        let text = format!("target {} is not empty", target.display());
        return Err(EngineError::new(ErrorKind::AlreadyExists, text));
    }
    Ok(Some(root))
}
