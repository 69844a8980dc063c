//! Taking a snapshot.
//!
//! One driver walks the source, compares with the parent snapshot and builds trees in order; workers read, chunk,
//! compress and seal files, each in buffers of its own; the writer's uploader stores packs. Jobs and results are
//! bounded, so memory does not grow with the source. Order of the protocol: intent, then prune's plans and the
//! index, then packs, index objects, snapshot, register.

mod driver;
mod former;
mod parts;
mod profile;
mod stream;
mod trees;
mod worker;

pub(super) use worker::Cutter;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::PathBuf;

use crate::clock::{Clock, Timestamp};
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::SnapshotId;
use crate::model::{Content, NameTable, Snapshot, SnapshotStatistics, StackRecord};
use crate::monitor::{Monitor, Problem, ProblemLog};
use crate::os;
use crate::repository::{
    ChunkReader, Index, Plans, Repository, Session, SessionWriter, SnapshotSet, adopt_dead_sessions, read_snapshots,
};
use crate::source::{Scout, normalize};
use crate::storage::ObjectFamily;

pub use parts::{AroundPaths, PartSize, PartSource, PartStream, SnapshotPart};

/// Says what the record of a stack is, when its parts are known.
pub type Describe<'a> = Box<dyn FnOnce(&[PartSize]) -> StackRecord + 'a>;

/// What to snapshot.
pub enum SnapshotInput<'a> {
    /// Trees below absolute paths.
    Paths(Vec<Vec<u8>>),
    /// One stream, stored as a file.
    Stream {
        /// Its name, or its absolute path in the snapshot.
        name: Vec<u8>,
        /// Its bytes.
        read: &'a mut (dyn Read + Send),
        /// Asked when the bytes have ended; an error means that there will be no snapshot.
        finish: Box<dyn FnOnce() -> Result<()> + 'a>,
    },
    /// Paths and streams of a stack, each at a place of its own.
    Stack {
        /// The stack's name: the parent is a snapshot of the same one.
        name: String,
        /// What it is made of.
        parts: Vec<SnapshotPart<'a>>,
        /// Hears when paths are read.
        around: &'a mut dyn AroundPaths,
        /// Asked when everything has been read, with the parts' places and sizes.
        describe: Describe<'a>,
    },
}

impl SnapshotInput<'_> {
    fn stack(&self) -> Option<&str> {
        match self {
            Self::Stack { name, .. } => Some(name),
            _ => None,
        }
    }
}

/// How to snapshot.
#[derive(Debug, Clone, Default)]
pub struct SnapshotOptions {
    /// The machine's name.
    pub host: String,
    /// Who runs it.
    pub user: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// A name for the series.
    pub label: Option<String>,
    /// The time it stands for, if not now.
    pub time: Option<Timestamp>,
    /// Patterns of what to leave out; see `source::ExcludeOptions`, as for the next seven.
    pub excludes: Vec<String>,
    /// Files of patterns.
    pub exclude_files: Vec<PathBuf>,
    /// Names of files that mark a directory to be left out.
    pub exclude_if_present: Vec<String>,
    /// Leave out what a `CACHEDIR.TAG` marks.
    pub exclude_caches: bool,
    /// Names of pattern files in the directories themselves.
    pub ignore_files: Vec<String>,
    /// Leave out larger files, in bytes.
    pub exclude_larger_than: Option<u64>,
    /// Stay on the file systems of the paths.
    pub one_file_system: bool,
    /// Where the one path is in the snapshot.
    pub as_path: Option<Vec<u8>>,
    /// The snapshot to compare with; `None`: the last one of the same host, label and paths, or of the same stack.
    pub parent: Option<SnapshotId>,
    /// Compare with none: read every file.
    pub force: bool,
    /// Write nothing.
    pub dry_run: bool,
    /// Make no snapshot that equals its parent.
    pub skip_if_unchanged: bool,
    /// Program and version.
    pub program: String,
    /// Directories of this machine that hold other repositories and their caches: a snapshot leaves them out, as it does
    /// with its own.
    pub repositories: Vec<PathBuf>,
}

/// What was done.
#[derive(Debug, Clone)]
pub struct SnapshotReport {
    /// The snapshot; `None` after a dry run, or if it would equal its parent.
    pub snapshot: Option<SnapshotId>,
    /// What it was compared with.
    pub parent: Option<SnapshotId>,
    /// Counts.
    pub statistics: SnapshotStatistics,
    /// The first of the problems.
    pub problems: Vec<Problem>,
    /// Interrupted sessions of this machine whose data was taken over.
    pub resumed_sessions: u64,
}

/// What the work on the source gave.
struct Gathered {
    root: Content,
    stack: Option<StackRecord>,
    users: NameTable,
    groups: NameTable,
    statistics: SnapshotStatistics,
}

/// Takes a snapshot.
///
/// What can't be read is a problem, in the report and in the snapshot. If the work is interrupted or the stream's
/// `finish` fails, what was stored is kept for the next snapshot to build on, and there is no snapshot.
///
/// # Errors
/// `Interrupted`, `SessionRevoked`, `NotFound` and `Forgotten` (the parent), `Invalid`, `Io`; whatever `finish` returns.
pub fn snapshot(
    repository: &Repository,
    mut input: SnapshotInput<'_>,
    options: &SnapshotOptions,
    clock: &dyn Clock,
    monitor: &dyn Monitor,
) -> Result<SnapshotReport> {
    let started = clock.now();
    let paths = snapshot_paths(&mut input, options)?;
    refuse_own_directories(repository, &options.repositories, &input)?;
    require_a_path(&input)?;
    let (resumed_sessions, session) = begin(repository, options, clock)?;
    let index = repository.load_index_of(&session, monitor)?;
    // What others stored in domains of their own is nothing to build on.
    let existing = read_snapshots(repository, index.sessions())?.of_domain(repository.domain().domain());
    let parent = match choose_parent(&existing, session.plans(), options, &paths, input.stack()) {
        Ok(parent) => parent,
        Err(error) => {
            session.give_up(repository);
            return Err(error);
        }
    };
    let problems = ProblemLog::new(monitor);

    let writer = SessionWriter::new(repository, &index, session, options.dry_run)?;
    let gathered = gather(&writer, &index, input, options, parent, &problems, started);
    let mut gathered = match gathered {
        Ok(gathered) => gathered,
        Err(error) => return Err(abandon(writer, error, options.dry_run)),
    };

    let (listed, problem_count) = problems.finish();
    gathered.statistics.problems = problem_count;
    let unchanged = parent.is_some_and(|(_, parent)| parent.root == gathered.root);
    let id = if options.dry_run {
        None
    } else if options.skip_if_unchanged && unchanged {
        writer.commit(None)?;
        None
    } else {
        let (previous, sequence) = existing.last_of_host(&options.host, writer.domain().domain());
        let snapshot = Snapshot {
            time: options.time.unwrap_or(started),
            host: options.host.clone(),
            paths,
            root: gathered.root,
            tags: options.tags.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect(),
            label: options.label.clone(),
            parent: parent.map(|(id, _)| *id),
            previous,
            sequence: sequence.max(least_number(repository, started)),
            statistics: gathered.statistics,
            problems: listed.clone(),
            program: options.program.clone(),
            users: gathered.users,
            groups: gathered.groups,
            user: options.user.clone(),
            started: Some(started),
            finished: Some(clock.now()),
            stack: gathered.stack,
            ..Snapshot::empty(repository.domain().domain(), repository.signer())
        };
        let id = writer.write_snapshot(&snapshot)?;
        writer.commit(Some(id))?;
        Some(id)
    };
    Ok(SnapshotReport {
        snapshot: id,
        parent: parent.map(|(id, _)| *id),
        statistics: gathered.statistics,
        problems: listed,
        resumed_sessions,
    })
}

/// Who can't read what was stored may have lost count: numbers that begin anew would have snapshots look back-dated.
fn least_number(repository: &Repository, started: Timestamp) -> u64 {
    if repository.only_adds() { u64::try_from(started.seconds).unwrap_or(1) } else { 1 }
}

fn begin(repository: &Repository, options: &SnapshotOptions, clock: &dyn Clock) -> Result<(u64, Session)> {
    if options.dry_run {
        return Ok((0, Session::unwritten(repository)?));
    }
    let next = [ObjectFamily::Snapshots, ObjectFamily::Forgotten];
    let mut session = Session::begin_before(repository, &options.host, &options.program, clock, &next)?;
    // Only now, when the plans are known: PROTOCOL.md, chapter 3.
    let resumed = adopt_dead_sessions(repository, &mut session, &options.host)?;
    Ok((resumed, session))
}

/// Reads the source and stores it.
fn gather(
    writer: &SessionWriter<'_>,
    index: &Index,
    input: SnapshotInput<'_>,
    options: &SnapshotOptions,
    parent: Option<&(SnapshotId, Snapshot)>,
    problems: &ProblemLog<'_>,
    started: Timestamp,
) -> Result<Gathered> {
    let chunks = ChunkReader::new(writer.repository(), index);
    let scout = Scout::new(os::raise_open_file_limit());
    let mut gathered = writer.run(|| {
        std::thread::scope(|scope| match input {
            SnapshotInput::Paths(paths) => {
                let parent = parent.map(|(_, snapshot)| snapshot);
                let wanted = driver::Wanted { paths: &paths, options, parent };
                driver::gather_paths(scope, &scout, writer, &chunks, &wanted, problems)
            }
            SnapshotInput::Stream { name, read, finish } => {
                let time = options.time.unwrap_or(started);
                stream::gather_stream(scope, writer, &name, read, finish, time, problems)
            }
            SnapshotInput::Stack { parts, around, describe, .. } => {
                let (parent, time) = (parent.map(|(_, snapshot)| snapshot), options.time.unwrap_or(started));
                let wanted = parts::WantedParts { parts, around, options, parent, time };
                let (gathered, sizes) = parts::gather_parts(scope, &scout, writer, &chunks, wanted, problems)?;
                Ok(Gathered { stack: Some(describe(&sizes)), ..gathered })
            }
        })
    })?;
    writer.statistics.add_to(&mut gathered.statistics);
    Ok(gathered)
}

/// Ends a session that will have no snapshot: what it stored is kept, if the storage still works.
fn abandon(writer: SessionWriter<'_>, error: EngineError, dry_run: bool) -> EngineError {
    // A storage that failed will hardly take the register. What was stored counts as soon as a session of this machine
    // takes this one over, as it does if the commit should fail.
    if !dry_run && !writer.has_failed() {
        let _ = writer.commit(None);
    }
    error
}

/// The paths as the snapshot will name them.
fn snapshot_paths(input: &mut SnapshotInput<'_>, options: &SnapshotOptions) -> Result<Vec<Vec<u8>>> {
    let invalid = |text: &str| Err(EngineError::new(ErrorKind::Invalid, text));
    match input {
        SnapshotInput::Stream { name, .. } => {
            let absolute = [b"/", name.as_slice()].concat();
            *name = normalize(&absolute)?;
            if name == b"/" { invalid("a stream needs a name") } else { Ok(vec![name.clone()]) }
        }
        SnapshotInput::Stack { parts, .. } => {
            parts::arrange(parts)?;
            let top = |at: &[u8]| at.iter().skip(1).position(|&byte| byte == b'/').map_or(at.len(), |end| end + 1);
            let tops: BTreeSet<Vec<u8>> = parts.iter().map(|part| part.at[..top(&part.at)].to_vec()).collect();
            Ok(tops.into_iter().collect())
        }
        SnapshotInput::Paths(paths) => {
            let normal = paths.iter().map(|path| normalize(path)).collect::<Result<BTreeSet<_>>>()?;
            *paths = normal.into_iter().collect();
            match &options.as_path {
                None if paths.is_empty() => invalid("nothing to snapshot was named"),
                None => Ok(paths.clone()),
                Some(at) if paths.len() == 1 => Ok(vec![normalize(at)?]),
                Some(_) => invalid("another path in the snapshot needs exactly one source"),
            }
        }
    }
}

/// A snapshot of nothing would look like a good one. That some paths are missing is a problem, told with them.
fn require_a_path(input: &SnapshotInput<'_>) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let SnapshotInput::Paths(paths) = input else { return Ok(()) };
    let path = |bytes: &Vec<u8>| std::path::PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    if paths.iter().any(|bytes| os::path_exists(&path(bytes))) {
        return Ok(());
    }
    let names: Vec<String> = paths.iter().map(|bytes| path(bytes).display().to_string()).collect();
    Err(EngineError::new(ErrorKind::NotFound, format!("nothing to snapshot: {} does not exist", names.join(", "))))
}

/// A backup of a repository into itself would never end well; one of what holds it leaves it out.
fn refuse_own_directories(repository: &Repository, others: &[PathBuf], input: &SnapshotInput<'_>) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let paths: Vec<&[u8]> = match input {
        SnapshotInput::Paths(paths) => paths.iter().map(Vec::as_slice).collect(),
        SnapshotInput::Stream { .. } => return Ok(()),
        SnapshotInput::Stack { parts, .. } => parts.iter().filter_map(SnapshotPart::source_path).collect(),
    };
    let own = repository.storage().capabilities().local_directory;
    let own: Vec<PathBuf> = own.iter().chain(others).filter_map(|path| os::real_path(path)).collect();
    for path in paths {
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
        if os::real_path(path).is_some_and(|real| own.iter().any(|own| real.starts_with(own))) {
            let text = format!("{} is inside the repository itself", path.display());
            return Err(EngineError::new(ErrorKind::Invalid, text));
        }
    }
    Ok(())
}

/// The parent's content is taken over without looking at each chunk. So it was read after the plans, and none of them
/// may drop it: PROTOCOL.md, chapter 3, 4.
fn choose_parent<'a>(
    existing: &'a SnapshotSet,
    plans: &Plans,
    options: &SnapshotOptions,
    paths: &[Vec<u8>],
    stack: Option<&str>,
) -> Result<Option<&'a (SnapshotId, Snapshot)>> {
    if options.force {
        return Ok(None);
    }
    let mut all = existing.snapshots.iter().filter(|(id, _)| !plans.drops(id));
    match options.parent {
        Some(id) => match all.find(|(known, _)| *known == id) {
            Some(parent) => Ok(Some(parent)),
            None if existing.records.contains_key(&id) || plans.drops(&id) => {
                Err(EngineError::new(ErrorKind::Forgotten, format!("parent snapshot {id} is forgotten")))
            }
            None => Err(EngineError::new(ErrorKind::NotFound, format!("parent snapshot {id} does not exist"))),
        },
        None => Ok(all.rfind(|(_, snapshot)| {
            let of = snapshot.stack.as_ref().map(|of| of.name.as_str());
            let is_of_this_host = snapshot.host == options.host && snapshot.paths == paths;
            of == stack && snapshot.label == options.label && (stack.is_some() || is_of_this_host)
        })),
    }
}
