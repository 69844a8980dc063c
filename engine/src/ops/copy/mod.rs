//! Copying snapshots into other repositories: only what they lack is read, once for all of them, and sealed anew under the
//! keys of each.
//!
//! Ids are keyed by the repository, so a chunk has another one there, which only its content tells. Trees are written
//! anew; a chunk is read only if it is not known what it became, or if it is not there any more. Each snapshot is one
//! session of each other repository: what an interrupted copy stored counts for the next. A target that fails is left out
//! from then on, and the others go on.

mod data;
mod former;
mod lane;
mod recut;
mod trees;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use self::lane::{Begun, Lane};
use crate::clock::Clock;
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::SnapshotId;
use crate::model::Snapshot;
use crate::monitor::{Monitor, Problem, ProblemLog};
use crate::repository::{Index, Repository, SessionWriter, read_lasting_snapshot};

/// Targets of one copy, at most: each has its buffers for packs.
pub const MAX_COPY_TARGETS: usize = 16;

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
#[derive(Debug, Default)]
pub struct CopyReport {
    /// What was done in each target, in the order in which they were given.
    pub targets: Vec<TargetReport>,
    /// Data chunks that were read, or would be; once each, however many targets lacked them.
    pub chunks_read: u64,
    /// Bytes of them.
    pub bytes_read: u64,
    /// How many problems there were.
    pub problem_count: u64,
    /// The first of them.
    pub problems: Vec<Problem>,
}

/// What was done in one target.
#[derive(Debug, Default)]
pub struct TargetReport {
    /// The snapshots in the order in which they were copied, oldest first; up to the failure, if there was one.
    pub snapshots: Vec<(SnapshotId, Copied)>,
    /// Bytes that this repository grew by.
    pub bytes_added: u64,
    /// Interrupted sessions of this machine whose data was taken over.
    pub resumed_sessions: u64,
    /// Why copying into this one ended early.
    pub failure: Option<EngineError>,
}

/// What all parts of a copy need.
struct Context<'a> {
    source: &'a Repository,
    index: &'a Index,
    options: &'a CopyOptions,
    problems: &'a ProblemLog<'a>,
    /// Snapshots of the source that others name, as far as they were read.
    named: Mutex<HashMap<SnapshotId, Option<Arc<Snapshot>>>>,
}

impl Context<'_> {
    /// A snapshot of the source that another one names; nothing if it is gone, or can't be read.
    fn named(&self, id: SnapshotId) -> Option<Arc<Snapshot>> {
        let mut named = self.named.lock().expect("no holder of this lock panics");
        named.entry(id).or_insert_with(|| read_lasting_snapshot(self.source, id).ok().map(Arc::new)).clone()
    }

    fn stop_if_asked(&self) -> Result<()> {
        if self.problems.monitor().cancelled() {
            return Err(EngineError::new(ErrorKind::Interrupted, "interrupted"));
        }
        Ok(())
    }
}

/// What was read, of all snapshots.
#[derive(Default)]
struct Read {
    chunks: u64,
    bytes: u64,
}

/// Copies snapshots of `source`, whose index is loaded, into each of `targets`, in the order in which they are given. Those
/// that have a copy there, listed or forgotten, are left out. A snapshot of which something can't be read gets none; what
/// can't be read is a problem, and the others are copied. The failure of a target is in its report.
///
/// # Errors
/// `Invalid` if a target is the source, is named twice, or if there are more than [`MAX_COPY_TARGETS`]; `Interrupted`, `Io`
/// of the source. Copies made before an error stay.
pub fn copy(
    source: &Repository,
    index: &Index,
    snapshots: &[(SnapshotId, Snapshot)],
    targets: &[&Repository],
    options: &CopyOptions,
    clock: &dyn Clock,
    monitor: &dyn Monitor,
) -> Result<CopyReport> {
    check_copy_targets(source, targets)?;
    let problems = ProblemLog::new(monitor);
    let context = Context { source, index, options, problems: &problems, named: Mutex::default() };
    let mut lanes: Vec<_> = targets.iter().map(|target| Lane::open(source, target)).collect();
    let mut read = Read::default();
    for (id, snapshot) in snapshots {
        context.stop_if_asked()?;
        copy_one(&context, *id, snapshot, &mut lanes, &mut read, clock)?;
    }
    let mut report = CopyReport { chunks_read: read.chunks, bytes_read: read.bytes, ..CopyReport::default() };
    report.targets = lanes.into_iter().map(|lane| lane.report).collect();
    (report.problems, report.problem_count) = problems.finish();
    Ok(report)
}

/// Whether these can be the targets of one copy.
///
/// # Errors
/// `Invalid`, as [`copy`] says.
pub fn check_copy_targets(source: &Repository, targets: &[&Repository]) -> Result<()> {
    let invalid = |why: String| Err(EngineError::new(ErrorKind::Invalid, why));
    if targets.len() > MAX_COPY_TARGETS {
        return invalid(format!("{} repositories to copy to: at most {MAX_COPY_TARGETS} at once", targets.len()));
    }
    if targets.iter().any(|target| target.id() == source.id()) {
        return invalid(format!("repository {} is the repository that the snapshots are in", source.id()));
    }
    let mut met = HashSet::new();
    match targets.iter().find(|target| !met.insert(target.id())) {
        None => Ok(()),
        Some(twice) => invalid(format!("repository {} is named twice", twice.id())),
    }
}

/// Copies a snapshot into all that lack it, reading it once: a session in each of them, since a register names one snapshot.
fn copy_one(
    context: &Context<'_>,
    id: SnapshotId,
    snapshot: &Snapshot,
    lanes: &mut [Lane<'_>],
    read: &mut Read,
    clock: &dyn Clock,
) -> Result<()> {
    let (mut lacking, mut sessions, mut begun) = (Vec::new(), Vec::new(), Vec::new());
    for lane in lanes {
        if !lane.lacks(context, id, snapshot) {
            continue;
        }
        match lane.begin(context, snapshot, clock) {
            Ok((session, one)) => {
                sessions.push(session);
                begun.push(one);
                lacking.push(lane);
            }
            Err(error) => lane.fail(error),
        }
    }
    if lacking.is_empty() {
        return Ok(());
    }
    let mut writers = Vec::new();
    for ((lane, session), Begun { index, .. }) in lacking.iter().zip(sessions).zip(&begun) {
        writers.push(SessionWriter::new(lane.target, index, session, context.options.dry_run)?);
    }
    let (mut roots, mut ends) = (Ok(Vec::new()), Vec::new());
    run_all(&writers, &mut ends, &mut || roots = trees::copy(context, &writers, &begun, snapshot, &mut lacking, read));
    // The innermost ended first.
    ends.reverse();
    let sessions = lacking.into_iter().zip(writers).zip(ends).zip(&begun);
    let mut ended = Vec::new();
    for (((lane, writer), end), begun) in sessions {
        lane.report.bytes_added += writer.statistics.bytes_added.load(Ordering::Relaxed);
        // What the uploaders met is the cause of whatever else failed.
        lane.report.failure = end.err().or(lane.report.failure.take());
        ended.push((lane, writer, begun));
    }
    match roots {
        Ok(roots) => {
            for ((lane, writer, begun), root) in ended.into_iter().zip(roots) {
                let end = lane.end(context, (id, snapshot), root, writer, &begun.existing);
                end.unwrap_or_else(|error| lane.fail(error));
            }
            Ok(())
        }
        Err(error) => stop_all(context, ended, error),
    }
}

/// The source, or a person, ended the copy, or all targets have failed. What was stored counts for the next attempt.
fn stop_all(
    context: &Context<'_>,
    ended: Vec<(&mut Lane<'_>, SessionWriter<'_>, &Begun)>,
    error: EngineError,
) -> Result<()> {
    let mut is_cause = false;
    for (lane, writer, _) in ended {
        is_cause |= !lane.has_failed();
        if !context.options.dry_run && !writer.has_failed() {
            let _ = writer.commit(None);
        }
    }
    if is_cause { Err(error) } else { Ok(()) }
}

/// Runs `work` while the threads of all writers write what comes; how each of them ended, the last one first.
fn run_all(writers: &[SessionWriter<'_>], ends: &mut Vec<Result<()>>, work: &mut dyn FnMut()) {
    let Some((first, others)) = writers.split_first() else { return work() };
    let end = first.run(|| {
        run_all(others, ends, work);
        Ok(())
    });
    ends.push(end);
}
