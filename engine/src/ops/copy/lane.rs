//! One target of a copy: what it has, what directories became in it, and its sessions.

use std::collections::HashMap;

use super::former::Earlier;
use super::{Context, Copied, TargetReport};
use crate::clock::Clock;
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::{DomainId, RepositoryId, SnapshotId};
use crate::model::{Content, CopyOrigin, Snapshot};
use crate::ops::list::load;
use crate::repository::{
    Index, Repository, Session, SessionWriter, SnapshotSet, Translation, adopt_dead_sessions, read_snapshots,
};
use crate::storage::ObjectFamily;

/// What is known of a target, for all snapshots.
pub(super) struct Lane<'a> {
    pub(super) target: &'a Repository,
    pub(super) translation: Translation,
    pub(super) memo: Memo,
    pub(super) report: TargetReport,
    copies: Copies,
}

/// A session for one snapshot.
pub(super) struct Begun {
    pub(super) index: Index,
    pub(super) existing: SnapshotSet,
    /// What it builds on.
    pub(super) earlier: Option<Earlier>,
}

/// Snapshots before the one that is copied, at most, among which one is looked for that has a copy.
const EARLIER_SNAPSHOTS: usize = 32;

impl<'a> Lane<'a> {
    /// What is in `target` of `source`. If that can't be read, it has failed.
    pub(super) fn open(source: &Repository, target: &'a Repository) -> Self {
        let mut lane = Self {
            target,
            translation: Translation::open(source.cache_directory(), target.id()),
            memo: Memo::default(),
            report: TargetReport::default(),
            copies: Copies { source: source.id(), known: HashMap::new() },
        };
        match load(target) {
            Ok(existing) => lane.copies.collect(target, &existing),
            Err(error) => lane.fail(error),
        }
        lane
    }

    /// Nothing more is copied into it.
    pub(super) fn fail(&mut self, error: EngineError) {
        self.report.failure.get_or_insert(error);
    }

    /// Whether something is copied into it yet.
    pub(super) fn has_failed(&self) -> bool {
        self.report.failure.is_some()
    }

    /// Whether a snapshot is to be copied into it; if it is there, that is reported.
    pub(super) fn lacks(&mut self, context: &Context<'_>, id: SnapshotId, snapshot: &Snapshot) -> bool {
        if self.has_failed() {
            return false;
        }
        let known = self.copies.known.get(&self.copies.origin_of(context, id, snapshot)).copied();
        self.report.snapshots.extend(known.map(|copy| (id, Copied::Before(copy))));
        known.is_none()
    }

    /// Begins a session for a snapshot, and loads what it needs.
    ///
    /// # Errors
    /// `Io` and others of the target.
    pub(super) fn begin(
        &mut self,
        context: &Context<'_>,
        snapshot: &Snapshot,
        clock: &dyn Clock,
    ) -> Result<(Session, Begun)> {
        let (target, options) = (self.target, context.options);
        let monitor = context.problems.monitor();
        if options.dry_run {
            let session = Session::unwritten(target)?;
            let index = target.load_index_of(&session, monitor)?;
            let earlier = self.earlier(context, &session, &index, snapshot)?;
            self.memo.next_in_dry_run();
            return Ok((session, Begun { index, existing: SnapshotSet::default(), earlier }));
        }
        let next = [ObjectFamily::Snapshots, ObjectFamily::Forgotten];
        let mut session = Session::begin_before(target, &options.host, &options.program, clock, &next)?;
        // Only now, when the plans are known: PROTOCOL.md, chapter 3.
        self.report.resumed_sessions += adopt_dead_sessions(target, &mut session, &options.host)?;
        let index = target.load_index_of(&session, monitor)?;
        let existing = read_snapshots(target, index.sessions())?;
        self.memo.next(&session, target);
        let earlier = self.earlier(context, &session, &index, snapshot)?;
        self.memo.is_partial |= earlier.is_some();
        Ok((session, Begun { index, existing, earlier }))
    }

    /// The latest snapshot before this one that has a copy here, which the session may build on; nothing if what is
    /// remembered says as much.
    fn earlier(
        &self,
        context: &Context<'_>,
        session: &Session,
        index: &Index,
        snapshot: &Snapshot,
    ) -> Result<Option<Earlier>> {
        // With losses a copy that is there need not be whole; cut anew, its files may be cut otherwise.
        if context.options.recut || index.knows_of_losses()? {
            return Ok(None);
        }
        let mut next = snapshot.parent;
        for _ in 0..EARLIER_SNAPSHOTS {
            let Some(id) = next else { break };
            let copy = self.copies.of_named(context, Some(id));
            if copy.is_some_and(|copy| self.memo.is_of(copy)) {
                break;
            }
            let Some(earlier) = context.named(id) else { break };
            if let Some(copy) = copy
                // A repair may have made another one of it, in either repository.
                && earlier.original.is_none()
            {
                match session.read_kept(self.target, copy) {
                    Ok(there) if there.original.is_none() => {
                        return Ok(Some(Earlier { here: earlier.root.clone(), there: there.root }));
                    }
                    Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                    _ => {}
                }
            }
            next = earlier.parent;
        }
        Ok(None)
    }

    /// Ends the session as it has to end, and reports what became of the snapshot: `root` is what its root became, if it is
    /// whole here.
    pub(super) fn end(
        &mut self,
        context: &Context<'_>,
        (id, snapshot): (SnapshotId, &Snapshot),
        root: Option<Content>,
        writer: SessionWriter<'_>,
        existing: &SnapshotSet,
    ) -> Result<()> {
        let is_dry_run = context.options.dry_run;
        let copied = match root {
            _ if self.has_failed() => {
                return if writer.has_failed() || is_dry_run { Ok(()) } else { writer.commit(None) };
            }
            Some(_) if is_dry_run => Copied::WouldBe,
            Some(root) => Copied::Now(self.commit(context, (id, snapshot), root, writer, existing)?),
            None if is_dry_run => Copied::Damaged,
            None => writer.commit(None).map(|()| Copied::Damaged)?,
        };
        self.report.snapshots.push((id, copied));
        Ok(())
    }

    fn commit(
        &mut self,
        context: &Context<'_>,
        (id, snapshot): (SnapshotId, &Snapshot),
        root: Content,
        writer: SessionWriter<'_>,
        existing: &SnapshotSet,
    ) -> Result<SnapshotId> {
        let origin = self.copies.origin_of(context, id, snapshot);
        let (previous, sequence) = existing.last_of_host(&snapshot.host, DomainId::SHARED);
        let copy = Snapshot {
            root,
            parent: self.copies.of_named(context, snapshot.parent),
            previous,
            sequence,
            replaces: self.copies.of_named(context, snapshot.replaces),
            original: self.copies.of_named(context, snapshot.original),
            copied_from: Some(origin),
            ..snapshot.clone()
        };
        let id = writer.write_snapshot(&copy)?;
        writer.commit(Some(id))?;
        self.memo.copied(id);
        self.copies.known.insert(origin, id);
        Ok(id)
    }
}

/// What the content of directories became: of the snapshot that was copied last, and of the one that is.
#[derive(Default)]
pub(super) struct Memo {
    last: HashMap<[u8; 16], Content>,
    /// The copy that keeps what is in `last`.
    kept_by: Option<SnapshotId>,
    now: HashMap<[u8; 16], Content>,
    /// Something was taken over without a look at what is in it, and so is not remembered.
    is_partial: bool,
}

/// Directories that are remembered of a snapshot; some 150 bytes each.
const MEMO_DIRECTORIES: usize = 1 << 18;

impl Memo {
    /// What a directory became. It is remembered for the next snapshot, too.
    pub(super) fn get(&mut self, key: &[u8; 16]) -> Option<Content> {
        let found = self.now.get(key).or_else(|| self.last.get(key))?.clone();
        self.put(*key, &found);
        Some(found)
    }

    pub(super) fn put(&mut self, key: [u8; 16], content: &Content) {
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

    /// Nothing is written that could be gone.
    fn next_in_dry_run(&mut self) {
        self.last = std::mem::take(&mut self.now);
    }

    /// Whether all directories of a copy are remembered.
    fn is_of(&self, copy: SnapshotId) -> bool {
        self.kept_by == Some(copy) && !self.is_partial && !self.last.is_empty()
    }

    fn copied(&mut self, copy: SnapshotId) {
        self.last = std::mem::take(&mut self.now);
        self.kept_by = Some(copy);
    }
}

/// What a target has copies of.
struct Copies {
    source: RepositoryId,
    known: HashMap<CopyOrigin, SnapshotId>,
}

impl Copies {
    fn collect(&mut self, target: &Repository, existing: &SnapshotSet) {
        for (id, snapshot) in existing.existing() {
            // Its own ones, too: a copy of one of these may be on its way back.
            self.known.insert(CopyOrigin { repository: target.id(), snapshot: *id }, *id);
            if let Some(origin) = snapshot.copied_from {
                self.known.insert(origin, *id);
            }
        }
    }

    /// What copies of a snapshot of the source are of: of the first one, also if this is a copy itself. But one that was
    /// changed here, by other tags, is not what the one that it replaces is a copy of.
    fn origin_of(&self, context: &Context<'_>, id: SnapshotId, snapshot: &Snapshot) -> CopyOrigin {
        let replaced = snapshot.copied_from.and(snapshot.replaces).and_then(|old| context.named(old));
        let is_changed_here = replaced.is_some_and(|old| old.copied_from == snapshot.copied_from);
        let own = CopyOrigin { repository: self.source, snapshot: id };
        snapshot.copied_from.filter(|_| !is_changed_here).unwrap_or(own)
    }

    /// The copy of a snapshot that another one of the source names; of what that is a copy of, if it has none itself.
    fn of_named(&self, context: &Context<'_>, id: Option<SnapshotId>) -> Option<SnapshotId> {
        let own = CopyOrigin { repository: self.source, snapshot: id? };
        let known = self.known.get(&own).or_else(|| self.known.get(&context.named(own.snapshot)?.copied_from?));
        known.copied()
    }
}
