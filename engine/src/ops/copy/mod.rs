//! Copying snapshots into another repository: only what that one lacks is read, and sealed anew under its keys.
//!
//! Ids are keyed by the repository, so a chunk has another one there, which only its content tells. Trees are written
//! anew; a chunk is read only if it is not known what it became, or if it is not there any more. Each snapshot is one
//! session of the other repository: what an interrupted copy stored counts for the next.

mod data;
mod trees;

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use crate::clock::Clock;
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::SnapshotId;
use crate::model::{Content, CopyOrigin, Snapshot};
use crate::monitor::{Monitor, Problem, ProblemLog};
use crate::ops::list::load;
use crate::repository::{
    Index, Repository, Session, SessionWriter, SnapshotSet, Translation, adopt_dead_sessions, read_snapshots,
};

/// How to copy.
#[derive(Debug, Clone, Default)]
pub struct CopyOptions {
    /// The machine's name, for the sessions.
    pub host: String,
    /// Program and version, for the sessions.
    pub program: String,
    /// Write nothing, read trees only; the report says what would be copied.
    pub dry_run: bool,
    /// Cut the content of files as the other repository cuts, so that it is shared with what is snapshotted there. Reads
    /// all of it.
    pub recut: bool,
}

/// What became of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// It has a copy, this one.
    Now(SnapshotId),
    /// It would have one.
    WouldBe,
    /// It had one before, or is one of that repository's own.
    Before(SnapshotId),
    /// Something in it can't be read, so it has none.
    Damaged,
}

/// What was done.
#[derive(Debug, Clone, Default)]
pub struct CopyReport {
    /// The snapshots in the order in which they were copied, oldest first.
    pub snapshots: Vec<(SnapshotId, Copied)>,
    /// Data chunks that were read, or would be.
    pub chunks_read: u64,
    /// Bytes of them.
    pub bytes_read: u64,
    /// Bytes that the other repository grew by.
    pub bytes_added: u64,
    /// Interrupted sessions of this machine whose data was taken over.
    pub resumed_sessions: u64,
    /// How many problems there were.
    pub problem_count: u64,
    /// The first of them.
    pub problems: Vec<Problem>,
}

/// What all parts of a copy need.
struct Context<'a> {
    source: &'a Repository,
    index: &'a Index,
    target: &'a Repository,
    translation: &'a Translation,
    options: &'a CopyOptions,
    problems: &'a ProblemLog<'a>,
}

impl Context<'_> {
    fn stop_if_asked(&self) -> Result<()> {
        if self.problems.monitor().cancelled() {
            return Err(EngineError::new(ErrorKind::Interrupted, "interrupted"));
        }
        Ok(())
    }
}

/// What the content of directories became: of the snapshot that was copied last, and of the one that is.
#[derive(Default)]
struct Memo {
    last: HashMap<[u8; 16], Content>,
    /// The copy that keeps what is in `last`.
    kept_by: Option<SnapshotId>,
    now: HashMap<[u8; 16], Content>,
}

/// Directories that are remembered of a snapshot; some 150 bytes each.
const MEMO_DIRECTORIES: usize = 1 << 18;

impl Memo {
    /// What a directory became. It is remembered for the next snapshot, too.
    fn get(&mut self, key: &[u8; 16]) -> Option<Content> {
        let found = self.now.get(key).or_else(|| self.last.get(key))?.clone();
        self.put(*key, &found);
        Some(found)
    }

    fn put(&mut self, key: [u8; 16], content: &Content) {
        if self.now.len() < MEMO_DIRECTORIES {
            self.now.insert(key, content.clone());
        }
    }

    /// The next snapshot begins. What is remembered counts as long as the copy that needs it does.
    fn next(&mut self, session: &Session, target: &Repository) {
        let is_kept = self.kept_by.is_some_and(|copy| session.read_kept(target, copy).is_ok());
        if !is_kept {
            self.last.clear();
        }
        self.now.clear();
    }

    fn copied(&mut self, copy: SnapshotId) {
        self.last = std::mem::take(&mut self.now);
        self.kept_by = Some(copy);
    }
}

/// Copies snapshots of `source`, whose index is loaded, into `target`, in the order in which they are given. Those that
/// have a copy there, listed or forgotten, are left out. A snapshot of which something can't be read gets none; what can't
/// be read is a problem, and the others are copied.
///
/// # Errors
/// `Invalid` if both are the same repository; `Unsupported`, `SessionRevoked`, `Interrupted`, `Io` of either. Copies made
/// before an error stay.
pub fn copy(
    source: &Repository,
    index: &Index,
    snapshots: &[(SnapshotId, Snapshot)],
    target: &Repository,
    options: &CopyOptions,
    clock: &dyn Clock,
    monitor: &dyn Monitor,
) -> Result<CopyReport> {
    if source.id() == target.id() {
        return Err(EngineError::new(ErrorKind::Invalid, "this is the repository that the snapshots are in"));
    }
    let problems = ProblemLog::new(monitor);
    let translation = Translation::open(source.cache_directory(), target.id());
    let context = Context { source, index, target, translation: &translation, options, problems: &problems };
    let mut report = CopyReport::default();
    let mut memo = Memo::default();
    let existing = load(target)?;
    let mut copies = Copies::of(source, target, &existing);
    for (id, snapshot) in snapshots {
        context.stop_if_asked()?;
        let origin = copies.origin_of(*id, snapshot);
        let copied = match copies.known.get(&origin) {
            Some(copy) => Copied::Before(*copy),
            None if options.dry_run => would_copy(&context, snapshot, &mut memo, &mut report)?,
            None => copy_one(&context, snapshot, origin, &copies, &mut memo, &mut report, clock)?,
        };
        if let Copied::Now(copy) = copied {
            copies.known.insert(origin, copy);
        }
        report.snapshots.push((*id, copied));
    }
    (report.problems, report.problem_count) = problems.finish();
    Ok(report)
}

/// What the target has copies of.
struct Copies {
    source: crate::id::RepositoryId,
    known: HashMap<CopyOrigin, SnapshotId>,
}

impl Copies {
    fn of(source: &Repository, target: &Repository, existing: &SnapshotSet) -> Self {
        let mut known = HashMap::new();
        for (id, snapshot) in existing.existing() {
            // Its own ones, too: a copy of one of these may be on its way back.
            known.insert(CopyOrigin { repository: target.id(), snapshot: *id }, *id);
            if let Some(origin) = snapshot.copied_from {
                known.insert(origin, *id);
            }
        }
        Self { source: source.id(), known }
    }

    fn origin_of(&self, id: SnapshotId, snapshot: &Snapshot) -> CopyOrigin {
        snapshot.copied_from.unwrap_or(CopyOrigin { repository: self.source, snapshot: id })
    }

    /// The copy of a snapshot that another one of the source names.
    fn of_named(&self, id: Option<SnapshotId>) -> Option<SnapshotId> {
        self.known.get(&CopyOrigin { repository: self.source, snapshot: id? }).copied()
    }
}

/// Reads the trees of a snapshot and counts what would have to be read besides.
fn would_copy(context: &Context<'_>, snapshot: &Snapshot, memo: &mut Memo, report: &mut CopyReport) -> Result<Copied> {
    let session = Session::unwritten(context.target)?;
    let index = context.target.load_index_of(&session, context.problems.monitor())?;
    let writer = SessionWriter::new(context.target, &index, session, true)?;
    let tree = trees::copy(context, &writer, snapshot, memo, report)?;
    Ok(if tree.is_none() { Copied::Damaged } else { Copied::WouldBe })
}

/// One session for one snapshot, since a register names one.
fn copy_one(
    context: &Context<'_>,
    snapshot: &Snapshot,
    origin: CopyOrigin,
    copies: &Copies,
    memo: &mut Memo,
    report: &mut CopyReport,
    clock: &dyn Clock,
) -> Result<Copied> {
    let (target, options) = (context.target, context.options);
    let mut session = Session::begin(target, &options.host, &options.program, clock)?;
    // Only now, when the plans are known: PROTOCOL.md, chapter 3.
    report.resumed_sessions += adopt_dead_sessions(target, &mut session, &options.host)?;
    let index = target.load_index_of(&session, context.problems.monitor())?;
    let existing = read_snapshots(target, index.sessions())?;
    memo.next(&session, target);
    let writer = SessionWriter::new(target, &index, session, false)?;
    let root = match writer.run(|| trees::copy(context, &writer, snapshot, memo, report)) {
        Ok(root) => root,
        Err(error) => {
            // What was stored counts for the next attempt.
            if !writer.has_failed() {
                let _ = writer.commit(None);
            }
            return Err(error);
        }
    };
    report.bytes_added += writer.statistics.bytes_added.load(Ordering::Relaxed);
    let Some(root) = root else {
        writer.commit(None)?;
        return Ok(Copied::Damaged);
    };
    let (previous, sequence) = existing.last_of_host(&snapshot.host);
    let copy = Snapshot {
        root,
        parent: copies.of_named(snapshot.parent),
        previous,
        sequence: sequence + 1,
        replaces: copies.of_named(snapshot.replaces),
        original: copies.of_named(snapshot.original),
        copied_from: Some(origin),
        ..snapshot.clone()
    };
    let id = writer.write_snapshot(&copy)?;
    writer.commit(Some(id))?;
    memo.copied(id);
    Ok(Copied::Now(id))
}
