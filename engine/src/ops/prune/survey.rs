//! Looking at everything: G3 and G6. What can't be right ends the prune here, before anything is decided.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Run;
use super::plan::Noticed;
use crate::clock::Timestamp;
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{ForgottenRecord, PrunePlan, WhyForgotten};
use crate::id::{PackId, SessionId, SnapshotId};
use crate::ops::mark::mark;
use crate::repository::{
    Census, Index, Plans, SessionTable, SnapshotSet, has_died, put_record, read_done, read_lasting_snapshot,
    read_snapshot, read_snapshots_with_records_as_they_are,
};
use crate::storage::{ObjectFamily, ObjectName};

/// What there is, before it is known what is needed of it. All of it is as it must be.
pub(super) struct Inventory {
    pub(super) index: Index,
    pub(super) snapshots: SnapshotSet,
    /// Every pack that is there, with its length.
    pub(super) packs: BTreeMap<PackId, u64>,
    /// The snapshots that are there and go.
    pub(super) dropped: BTreeSet<SnapshotId>,
}

/// What a look at everything showed.
pub(super) struct Survey {
    pub(super) index: Index,
    /// What is needed.
    pub(super) census: Census,
    /// Every pack that is there, with its length.
    pub(super) packs: BTreeMap<PackId, u64>,
    /// The snapshots that are there and were not looked at, since they go.
    pub(super) dropped: BTreeSet<SnapshotId>,
}

impl Run<'_> {
    /// What the last prune remembered of when prunes first saw what there was.
    pub(super) fn remembered(&self, plans: &Plans) -> Result<Noticed> {
        let mut before = Noticed::default();
        for number in plans.done().into_iter().rev() {
            match read_done(self.repository, number) {
                Ok(done) => {
                    before.sessions = done.sessions.into_iter().collect();
                    before.records = done.records.into_iter().collect();
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                // What it had noticed is noticed once more: that costs time, nothing else.
                Err(_) => {}
            }
        }
        Ok(before)
    }

    /// When prunes first saw what there is now, if the last one remembered that. `records`: those of snapshots that are there, as far
    /// as they may expire.
    pub(super) fn notice(
        &self,
        before: &Noticed,
        sessions: &SessionTable,
        records: impl IntoIterator<Item = SnapshotId>,
    ) -> Noticed {
        let open = sessions.open().filter(|session| !self.own.contains(session));
        before.at(open, records, self.clock.now())
    }

    /// The snapshots that are there and have a record.
    pub(super) fn existing_on_record(&self) -> Result<BTreeSet<SnapshotId>> {
        let mut existing = HashSet::new();
        self.repository.storage().list(ObjectFamily::Snapshots, &mut |name, _| {
            if let ObjectName::Snapshot(id) = name {
                existing.insert(id);
            }
        })?;
        self.on_record(|id| existing.contains(id))
    }

    /// G3: what there is, and whose time is over; and whether there is something to be noticed that was not.
    pub(super) fn take_stock(&self, index: Index, before: &Noticed) -> Result<(Inventory, bool)> {
        let now = self.clock.now();
        let mut has_news = false;
        let inventory = self.inventory(index, &mut |set, sessions| {
            // One that can't be read may go all the same.
            let unreadable = set.problems.iter().filter_map(|problem| snapshot_of(&problem.path));
            let there: Vec<SnapshotId> = set.existing().map(|(id, _)| *id).chain(unreadable).collect();
            let on_record = there.iter().copied().filter(|id| set.records.contains_key(id));
            let noticed = self.notice(before, sessions, on_record);
            has_news = noticed.is_news_to(before);
            self.record_replaced(set, now)?;
            let grace = self.options.grace_seconds;
            let is_expired = |id: &SnapshotId| {
                let record = set.records.get(id);
                record.is_some_and(|record| noticed.is_expired(id, record.time, now, grace))
            };
            let is_void = |(id, session): &&(SnapshotId, SessionId)| {
                sessions.is_revoked(*session) || (sessions.is_lost(*session) && self.is_of_an_ended_client(*id))
            };
            let revoked = set.uncommitted.iter().filter(is_void);
            let expired = self.on_lasting_record(there.into_iter().filter(is_expired).collect())?;
            Ok(expired.into_iter().chain(revoked.map(|(id, _)| *id)).collect())
        })?;
        Ok((inventory, has_news))
    }

    /// Whether a snapshot is one that a write-only client signed which has ended: without a register it will never count.
    fn is_of_an_ended_client(&self, id: SnapshotId) -> bool {
        read_lasting_snapshot(self.repository, id).is_ok_and(|snapshot| self.repository.has_ended(snapshot.signer))
    }

    /// Of snapshots with a record, those whose record is sure to last. Whoever put it may have died just before, and a
    /// snapshot that goes when its record has gone looks lost.
    fn on_lasting_record(&self, snapshots: BTreeSet<SnapshotId>) -> Result<BTreeSet<SnapshotId>> {
        if snapshots.is_empty() || self.options.dry_run {
            return Ok(snapshots);
        }
        for id in &snapshots {
            self.repository.storage().persist(ObjectName::Forgotten(*id))?;
        }
        // One that a power cut took before that did not come to last.
        self.on_record(|id| snapshots.contains(id))
    }

    /// Those of some snapshots that have a record now.
    fn on_record(&self, is_one: impl Fn(&SnapshotId) -> bool) -> Result<BTreeSet<SnapshotId>> {
        let mut records = BTreeSet::new();
        self.repository.storage().list(ObjectFamily::Forgotten, &mut |name, _| match name {
            ObjectName::Forgotten(id) if is_one(&id) => drop(records.insert(id)),
            _ => {}
        })?;
        Ok(records)
    }

    /// G6: which condemned packs hold what is needed, after all.
    pub(super) fn rescue(&self, plan: &PrunePlan) -> Result<Vec<PackId>> {
        let index = self.repository.load_index(self.monitor)?;
        // That snapshots can be read is proved once before anything goes, by the storage itself.
        let past_what_is_kept = self.repository.past_object_cache();
        let inventory = self.inventory(index, &mut |_, _| Ok(plan.dropped.iter().copied().collect()))?;
        drop(past_what_is_kept);
        let survey = self.survey(inventory)?;
        let lost = |pack: &PackId| plan.condemned.binary_search(pack).is_ok();
        survey.census.missed(&survey.index, &lost)
    }

    /// Lists and reads everything else but trees and data, after the index. `drops` says which snapshots go.
    fn inventory(
        &self,
        index: Index,
        drops: &mut dyn FnMut(&mut SnapshotSet, &SessionTable) -> Result<BTreeSet<SnapshotId>>,
    ) -> Result<Inventory> {
        let repository = self.repository;
        if let Some((session, why)) = index.sessions().damaged().first() {
            return Err(refused(format!("object {}: {why}", ObjectName::Register(*session))));
        }
        // Which of them a repair replaced, only a look at all of them says.
        if !index.damaged().is_empty()
            && let Some((_, error)) = repository.load_index_anew(self.monitor)?.damaged().first()
        {
            return Err(refused(error.to_string()));
        }
        // How old records are decides what goes.
        let mut set = read_snapshots_with_records_as_they_are(repository, index.sessions())?;
        let dropped = drops(&mut set, index.sessions())?;
        let lost = index.sessions().still_lost(repository, set.uncommitted.iter().map(|(_, session)| *session))?;
        let is_lost =
            |(id, session): &&(SnapshotId, SessionId)| lost.contains(session) && !self.is_of_an_ended_client(*id);
        if let Some((id, _)) = set.uncommitted.iter().find(is_lost) {
            return Err(refused(format!("object {} is of a session without a register", ObjectName::Snapshot(*id))));
        }
        let gone =
            |problem: &&crate::monitor::Problem| snapshot_of(&problem.path).is_some_and(|id| !dropped.contains(&id));
        if let Some(problem) = set.problems.iter().find(gone) {
            return Err(refused(problem.message.clone()));
        }
        let packs = repository.list_packs()?;
        let mut missing = None;
        index.packs(&mut |id, _| {
            if !packs.contains_key(&id) {
                missing = Some(id);
            }
        })?;
        if let Some(id) = missing {
            return Err(refused(format!("object {} is missing", ObjectName::Pack(id))));
        }
        Ok(Inventory { index, snapshots: set, packs, dropped })
    }

    /// Marks what is needed by all snapshots but those that go.
    pub(super) fn survey(&self, inventory: Inventory) -> Result<Survey> {
        let Inventory { index, snapshots: set, packs, dropped } = inventory;
        let census = Census::new(&index)?;
        let needed: Vec<_> = set.existing().filter(|(id, _)| !dropped.contains(id)).collect();
        self.monitor.stage("finding what is needed", Some(needed.len() as u64), None);
        mark(self.repository, &index, &census, needed.into_iter(), self.monitor).map_err(|(id, error)| match error
            .kind()
        {
            ErrorKind::Io | ErrorKind::Interrupted => error,
            _ => {
                let text = format!("snapshot {id} can't be read whole, so nothing is removed");
                EngineError::with_source(ErrorKind::Damaged, text, error)
            }
        })?;
        census.keep_copies(&index)?;
        Ok(Survey { index, census, packs, dropped })
    }

    /// A snapshot that another one replaces gets a record, so that it goes as others do.
    fn record_replaced(&self, set: &mut SnapshotSet, now: Timestamp) -> Result<()> {
        for (id, snapshot) in &set.replaced {
            // What is kept of the snapshot that takes its place does not say that it can be read.
            if let Some(by) = set.replacement_of(*id, snapshot.domain) {
                read_snapshot(self.repository, by).map_err(|error| match error.kind() {
                    ErrorKind::Io => error,
                    _ => refused(error.to_string()),
                })?;
            }
            let record = ForgottenRecord {
                snapshot: *id,
                time: now,
                why: WhyForgotten::Replaced,
                host: Some(self.options.host.clone()),
                program: Some(self.options.program.clone()),
            };
            if !self.options.dry_run {
                put_record(self.repository, &record)?;
            }
            set.records.insert(*id, record);
        }
        Ok(())
    }

    /// The packs that no index object names which counts, and that nobody is about to name: a writer that is at work
    /// would need them, and a prune would have to wait for it.
    pub(super) fn orphans(&self, survey: &Survey) -> Result<Vec<(PackId, u64)>> {
        let sessions = survey.index.sessions();
        let mut orphans = Vec::new();
        let mut taken_out = None;
        // Sessions without a register that nobody waits for, each in a domain: another pack may say another.
        let mut void = HashSet::new();
        for (id, len) in &survey.packs {
            if survey.index.has_pack(id)? {
                continue;
            }
            let footer = match self.repository.read_footer(*id, *len) {
                Ok(footer) => footer,
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                Err(error) if error.kind() == ErrorKind::Missing => continue,
                Err(error) => {
                    if taken_out.is_none() {
                        taken_out = Some(self.repository.load_index_anew(self.monitor)?.taken_out().clone());
                    }
                    // A repair put all that could be read of it into others.
                    if taken_out.as_ref().is_some_and(|packs| packs.contains(id)) {
                        orphans.push((*id, *len));
                        continue;
                    }
                    // Nobody can say whose it is: that is for a check and a repair.
                    self.problems.add(ObjectName::Pack(*id).to_string().as_bytes(), format!("{error}; it stays"));
                    continue;
                }
            };
            // The first is the one that wrote it.
            let Some(record) = footer.sessions.first() else { continue };
            let (writer, domain) = (record.session(), record.domain());
            if !void.contains(&(writer, domain)) && !sessions.still_lost(self.repository, [writer])?.is_empty() {
                // Of clients that have all ended nothing will count that does not yet. What full clients need of the domain,
                // they have listed: otherwise this prune has ended before.
                if !self.repository.has_ended_domain(domain)? {
                    let name = ObjectName::Pack(*id);
                    return Err(refused(format!("object {name} is of session {writer}, which has no register")));
                }
                void.insert((writer, domain));
            }
            let is_at_work = !sessions.is_committed(writer) && !sessions.is_revoked(writer);
            if void.contains(&(writer, domain)) || !is_at_work || has_died(self.repository, writer, &self.options.host)
            {
                orphans.push((*id, *len));
            }
        }
        Ok(orphans)
    }
}

/// The snapshot that a problem is about.
fn snapshot_of(path: &[u8]) -> Option<SnapshotId> {
    match std::str::from_utf8(path).ok().and_then(ObjectName::parse) {
        Some(ObjectName::Snapshot(id)) => Some(id),
        _ => None,
    }
}

/// Something is not as it must be.
fn refused(why: String) -> EngineError {
    EngineError::new(ErrorKind::Damaged, format!("nothing is removed, since something is wrong: {why}"))
}
