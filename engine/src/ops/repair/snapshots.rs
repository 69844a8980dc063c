//! Snapshots that can't be restored in full any more are repeated without what is lost: so what is left has a snapshot
//! that is whole, and a source's next snapshot a parent that can be read.
//!
//! Nothing is cut short: a file of which a chunk is lost is left out, and of a directory the part that can't be read;
//! each is among the new snapshot's problems. The old snapshot stays, and stays listed.

use std::collections::HashSet;
use std::sync::Arc;

use super::{RepairOptions, begin, stop_if_asked};
use crate::clock::{Clock, Timestamp};
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::{ChunkId, PackId, SnapshotId};
use crate::limits;
use crate::model::{ChunkKind, ChunkRef, Content, Node, NodeKind, Snapshot, SnapshotStatistics};
use crate::monitor::{Monitor, Problem};
use crate::ops::browse::{Descend, Visit, content_key, walk};
use crate::ops::list::{SnapshotFilter, choose, load};
use crate::repository::{
    ChunkReader, ContentReader, DirectoryWriter, Index, Repository, SegmentBuilder, Session, SessionTable,
    SessionWriter, SnapshotSet, read_snapshot, read_snapshots,
};
use crate::storage::ObjectName;

/// A snapshot that lost something.
#[derive(Debug, Clone)]
pub struct SnapshotRepair {
    /// Which one.
    pub id: SnapshotId,
    /// The time it stands for.
    pub time: Timestamp,
    /// The machine it was taken on.
    pub host: String,
    /// Its register is lost, so that it does not count.
    pub is_uncommitted: bool,
    /// What is lost, the first thousand.
    pub lost: Vec<Problem>,
    /// How much there is of that.
    pub lost_count: u64,
    /// The new snapshot; `None` after a dry run, and where nothing is left to save.
    pub new: Option<SnapshotId>,
    /// The root can't be read: there is nothing to save.
    pub is_hopeless: bool,
}

/// What a repair of snapshots found, and did unless it was a dry run.
#[derive(Debug, Clone, Default)]
pub struct SnapshotsRepair {
    /// Those that lost something and have no repaired one yet, oldest first.
    pub snapshots: Vec<SnapshotRepair>,
    /// Those that an earlier repair repeated.
    pub repaired_before: u64,
    /// Snapshots that were looked at.
    pub checked: u64,
    /// Snapshots and records that can't be read.
    pub problems: Vec<Problem>,
}

/// Repeats snapshots without what they lost. `names`: as [`crate::ops::find_snapshot`] takes them; without any, all that
/// are listed, and those that only miss their registers.
///
/// # Errors
/// `NotFound`, `Ambiguous`, `Invalid`; `Refused` if packs or index objects must be repaired first; `Unsupported` (also
/// beside a prune), `SessionRevoked`, `Interrupted`, `Io`. Snapshots that were repeated before an error stay.
pub fn repair_snapshots(
    repository: &Repository,
    names: &[String],
    options: &RepairOptions,
    clock: &dyn Clock,
    monitor: &dyn Monitor,
) -> Result<SnapshotsRepair> {
    let _proof_of_what_is_there = repository.past_object_cache();
    let index = repository.load_index(monitor)?;
    refuse_missing_packs(repository, &index)?;
    let set = load(repository)?;
    let mut report = SnapshotsRepair { problems: set.problems.clone(), ..SnapshotsRepair::default() };
    let wanted = choose_snapshots(repository, &set, names)?;
    let taken_out = taken_out(repository, &index, monitor)?;
    // What would be written shows what is lost; a dry run of it is the plan.
    let writer = SessionWriter::new(repository, &index, Session::unwritten(repository)?, true)?;
    let mut whole = HashSet::new();
    monitor.stage("checking trees", Some(wanted.len() as u64), None);
    writer.run(|| {
        for (id, snapshot, is_uncommitted) in wanted {
            report.checked += 1;
            let rewritten = rewrite(&writer, &index, &taken_out, &snapshot, Some(&mut whole), monitor)?;
            monitor.advance(1, 0);
            if rewritten.lost_count > 0 || is_uncommitted {
                add_to_report(&mut report, &set, (id, snapshot, is_uncommitted), rewritten);
            }
        }
        Ok(())
    })?;
    if !options.dry_run {
        for repair in report.snapshots.iter_mut().filter(|repair| !repair.is_hopeless) {
            repair.new = repeat(repository, repair.id, &taken_out, options, clock, monitor)?;
        }
        repository.accept_registers();
    }
    Ok(report)
}

/// A snapshot that lost something is to be repeated, unless it was.
fn add_to_report(
    report: &mut SnapshotsRepair,
    set: &SnapshotSet,
    (id, snapshot, is_uncommitted): (SnapshotId, Snapshot, bool),
    rewritten: Rewritten,
) {
    let repeats = |new: &Snapshot| new.original == Some(id) && (is_uncommitted || new.root != snapshot.root);
    if set.existing().any(|(_, new)| repeats(new)) {
        report.repaired_before += 1;
        return;
    }
    report.snapshots.push(SnapshotRepair {
        id,
        time: snapshot.time,
        host: snapshot.host,
        is_uncommitted,
        lost: rewritten.lost,
        lost_count: rewritten.lost_count,
        new: None,
        is_hopeless: rewritten.is_hopeless,
    });
}

/// What to look at, and whether it only misses its register.
fn choose_snapshots(
    repository: &Repository,
    set: &SnapshotSet,
    names: &[String],
) -> Result<Vec<(SnapshotId, Snapshot, bool)>> {
    let mut wanted: Vec<(SnapshotId, Snapshot, bool)> = Vec::new();
    if !names.is_empty() {
        for name in names {
            let (id, snapshot) = choose(set, name, &SnapshotFilter::default())?;
            if !wanted.iter().any(|(known, ..)| *known == id) {
                wanted.push((id, snapshot, false));
            }
        }
        return Ok(wanted);
    }
    wanted.extend(set.snapshots.iter().map(|(id, snapshot)| (*id, snapshot.clone(), false)));
    let sessions = SessionTable::load(repository)?;
    for (id, session) in &set.uncommitted {
        // Without a register and without an intent: the writer had committed, or was revoked. Either way it is whole.
        if sessions.is_lost(*session) && !set.records.contains_key(id) {
            wanted.push((*id, read_snapshot(repository, *id)?.1, true));
        }
    }
    wanted.sort_by_key(|(id, snapshot, _)| (snapshot.time, snapshot.sequence, *id));
    Ok(wanted)
}

/// Packs that a repair took out of the index: the shared index does not know them.
fn taken_out(repository: &Repository, index: &Index, monitor: &dyn Monitor) -> Result<HashSet<PackId>> {
    if !index.knows_of_losses()? {
        return Ok(HashSet::new());
    }
    Ok(repository.load_index_anew(monitor)?.taken_out().clone())
}

/// Whether a pack is gone must be in the index first: otherwise the next snapshot would believe that its chunks are there.
fn refuse_missing_packs(repository: &Repository, index: &Index) -> Result<()> {
    let there = repository.list_packs()?;
    let mut missing = None;
    index.packs(&mut |id, len| {
        if there.get(&id) != Some(&len) {
            missing = Some(id);
        }
    })?;
    match missing {
        None => Ok(()),
        Some(id) => Err(refused(&format!("object {} is missing or has another length", ObjectName::Pack(id)), "packs")),
    }
}

fn refused(what: &str, first: &str) -> EngineError {
    EngineError::new(ErrorKind::Refused, format!("{what}: repair {first} first"))
}

/// Puts one snapshot anew, in a session of its own, since a register names one.
fn repeat(
    repository: &Repository,
    id: SnapshotId,
    taken_out: &HashSet<PackId>,
    options: &RepairOptions,
    clock: &dyn Clock,
    monitor: &dyn Monitor,
) -> Result<Option<SnapshotId>> {
    let domain = read_snapshot(repository, id)?.1.domain;
    let session = begin(repository, domain, options, clock)?;
    // Only now: what is there after the intent stays there until this session has ended.
    let index = repository.load_index(monitor)?;
    let writer = SessionWriter::new(repository, &index, session, false)?;
    let done = rewrite_and_put(repository, &writer, &index, id, taken_out, options, monitor);
    match done {
        Ok(new) => {
            writer.commit(new)?;
            Ok(new)
        }
        Err(error) => {
            if !writer.has_failed() {
                let _ = writer.commit(None);
            }
            Err(error)
        }
    }
}

fn rewrite_and_put(
    repository: &Repository,
    writer: &SessionWriter<'_>,
    index: &Index,
    id: SnapshotId,
    taken_out: &HashSet<PackId>,
    options: &RepairOptions,
    monitor: &dyn Monitor,
) -> Result<Option<SnapshotId>> {
    let (_, old) = read_snapshot(repository, id)?;
    let existing = read_snapshots(repository, index.sessions())?;
    let rewritten = writer.run(|| rewrite(writer, index, taken_out, &old, None, monitor))?;
    if rewritten.is_hopeless {
        return Ok(None);
    }
    let (previous, sequence) = existing.last_of_host(&old.host, old.domain);
    let mut problems = old.problems;
    problems.extend(rewritten.lost);
    problems.truncate(limits::PROBLEMS_LISTED);
    let counts =
        SnapshotStatistics { problems: old.statistics.problems + rewritten.lost_count, ..rewritten.statistics };
    let new = Snapshot {
        root: rewritten.root,
        previous,
        sequence,
        statistics: counts,
        problems,
        program: options.program.clone(),
        replaces: None,
        original: Some(id),
        ..old
    };
    writer.write_snapshot(&new).map(Some)
}

/// A tree without what is lost.
struct Rewritten {
    root: Content,
    statistics: SnapshotStatistics,
    lost: Vec<Problem>,
    lost_count: u64,
    is_hopeless: bool,
}

/// A directory in the making.
struct OpenDirectory {
    /// `None` for the root.
    node: Option<Node>,
    writer: DirectoryWriter,
    is_changed: bool,
}

struct Rewriter<'w, 'a, 'r> {
    chunks: &'r ChunkReader<'r>,
    taken_out: &'r HashSet<PackId>,
    trees: SegmentBuilder<'w, 'a>,
    open: Vec<OpenDirectory>,
    statistics: SnapshotStatistics,
    lost: Vec<Problem>,
    lost_count: u64,
}

/// Writes a snapshot's trees without what is lost. `whole`: contents of directories that need not be looked at again; then
/// the counts are those of the rest.
fn rewrite(
    writer: &SessionWriter<'_>,
    index: &Index,
    taken_out: &HashSet<PackId>,
    snapshot: &Snapshot,
    mut whole: Option<&mut HashSet<[u8; 16]>>,
    monitor: &dyn Monitor,
) -> Result<Rewritten> {
    let repository = writer.repository();
    let chunks = ChunkReader::new(repository, index);
    let root = OpenDirectory { node: None, writer: DirectoryWriter::default(), is_changed: false };
    let mut rewriter = Rewriter {
        chunks: &chunks,
        taken_out,
        trees: writer.tree_builder(),
        open: vec![root],
        statistics: SnapshotStatistics { problems: 0, ..snapshot.statistics },
        lost: Vec::new(),
        lost_count: 0,
    };
    (rewriter.statistics.files, rewriter.statistics.directories) = (0, 0);
    (rewriter.statistics.others, rewriter.statistics.bytes) = (0, 0);
    let mut found_any = false;
    walk(&chunks, &snapshot.root, b"", &mut |path, visit| {
        stop_if_asked(monitor)?;
        match visit {
            Visit::Node(node) => {
                found_any = true;
                rewriter.node(path, node, whole.as_deref())
            }
            Visit::Left => rewriter.leave(whole.as_deref_mut()).map(|()| Descend::Yes),
            Visit::Damaged(error) => {
                rewriter.listing_lost(path, error)?;
                Ok(Descend::Yes)
            }
        }
    })?;
    let is_hopeless = !found_any && rewriter.lost_count > 0;
    let root = rewriter.open.pop().expect("what is entered is left, but for the root");
    let content = root.writer.finish(&mut rewriter.trees)?;
    let root = if root.is_changed { content } else { snapshot.root.clone() };
    rewriter.trees.finish()?;
    let Rewriter { statistics, lost, lost_count, .. } = rewriter;
    Ok(Rewritten { root, statistics, lost, lost_count, is_hopeless })
}

impl Rewriter<'_, '_, '_> {
    fn node(&mut self, path: &[u8], node: &Node, whole: Option<&HashSet<[u8; 16]>>) -> Result<Descend> {
        if node.is_directory() {
            self.statistics.directories += 1;
            let is_known = |content: &Content| whole.is_some_and(|whole| whole.contains(&content_key(content)));
            if node.content.as_ref().is_some_and(is_known) {
                self.add(node)?;
                return Ok(Descend::No);
            }
            if node.content.is_none() || self.open.len() >= limits::DIRECTORY_DEPTH {
                self.lose(path, "directory: it can't be walked");
                return Ok(Descend::No);
            }
            let writer = DirectoryWriter::default();
            self.open.push(OpenDirectory { node: Some(node.clone()), writer, is_changed: false });
            return Ok(Descend::Yes);
        }
        match &node.content {
            Some(content) => match self.loss_in(content)? {
                Some(why) => self.lose(path, &why),
                None => {
                    self.statistics.files += 1;
                    self.statistics.bytes += node.size;
                    self.add(node)?;
                }
            },
            None => {
                self.statistics.others += u64::from(node.kind != NodeKind::File);
                self.add(node)?;
            }
        }
        Ok(Descend::Yes)
    }

    fn current(&mut self) -> &mut OpenDirectory {
        self.open.last_mut().expect("the root is left last")
    }

    fn add(&mut self, node: &Node) -> Result<()> {
        let domain = Arc::clone(self.trees.domain());
        let open = self.open.last_mut().expect("the root is left last");
        open.writer.add(node, &domain, &mut self.trees)
    }

    fn leave(&mut self, whole: Option<&mut HashSet<[u8; 16]>>) -> Result<()> {
        let OpenDirectory { node, writer, is_changed } = self.open.pop().expect("entered before");
        let mut node = node.expect("the root is not left");
        let content = writer.finish(&mut self.trees)?;
        if is_changed {
            node.content = Some(content);
            // What holds it is another one, then.
            self.current().is_changed = true;
        } else if let (Some(whole), Some(content)) = (whole, &node.content) {
            whole.insert(content_key(content));
        }
        self.add(&node)
    }

    fn lose(&mut self, path: &[u8], why: &str) {
        self.current().is_changed = true;
        self.lost_count += 1;
        if self.lost.len() < limits::PROBLEMS_LISTED {
            let path = if path.is_empty() { b"/" } else { path };
            self.lost.push(Problem { path: path.to_vec(), message: format!("left out by a repair: {why}") });
        }
    }

    /// Part of the current directory can't be read. Only if nothing can be done about that is it lost.
    fn listing_lost(&mut self, path: &[u8], error: &EngineError) -> Result<()> {
        self.require_final(error)?;
        self.lose(path, &format!("part of what was in this directory: {error}"));
        Ok(())
    }

    /// Fails if an error is none of a chunk that is gone for good.
    fn require_final(&self, error: &EngineError) -> Result<()> {
        if error.is_unanswered() {
            return Err(EngineError::new(error.kind(), error.to_string()));
        }
        match error.object().and_then(ObjectName::parse) {
            Some(ObjectName::Pack(id)) if !self.taken_out.contains(&id) => Err(refused(&error.to_string(), "packs")),
            _ => Ok(()),
        }
    }

    /// Why a file can't be restored, if it can't.
    fn loss_in(&self, content: &Content) -> Result<Option<String>> {
        let mut reader = ContentReader::new(self.chunks, content);
        loop {
            match reader.read_next() {
                Ok(None) => return Ok(None),
                Ok(Some(reference)) => {
                    if self.is_lost(&reference)? {
                        return Ok(Some(show(&reference.id)));
                    }
                }
                Err(error) => {
                    self.require_final(&error)?;
                    return Ok(Some(error.to_string()));
                }
            }
        }
    }

    /// Whether no pack has a chunk. One that a pack has and the index does not list must be listed first.
    fn is_lost(&self, reference: &ChunkRef) -> Result<bool> {
        let index = self.chunks.index();
        if index.contains(&reference.id)? {
            return Ok(false);
        }
        match self.chunks.read(ChunkKind::Data, reference) {
            Ok(_) => Err(refused(&format!("chunk {} is in no index object", reference.id), "index")),
            Err(error) => {
                self.require_final(&error)?;
                Ok(true)
            }
        }
    }
}

fn show(id: &ChunkId) -> String {
    format!("chunk {id} is lost")
}
