//! G8 to G10: the index without the swept packs, and only then their end. The one place where packs, index objects and
//! snapshots leave a storage.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;

use rayon::prelude::*;

use super::plan::Noticed;
use super::{LockedObjects, Run};
use crate::crypto::{SessionKeyRecord, random_bytes};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{IndexObject, ObjectKind, PruneDone, PrunePlan};
use crate::id::{DomainId, IndexId, PackId, PruneId, SessionId};
use crate::limits::MIB;
use crate::model::Signer;
use crate::monitor::Problem;
use crate::repository::{Plans, Session, SessionTable, put_done};
use crate::storage::{ObjectFamily, ObjectName};

/// Chunks in an index object, about.
const INDEX_CHUNKS: usize = 100_000;
/// What is kept in reserve, in bytes: a few index objects.
const RESERVE_BYTES: usize = 4 * MIB as usize;
/// How often the index is looked at again, if others change it meanwhile.
const ATTEMPTS: usize = 5;

/// What the rewriting has to know of an index object.
struct IndexHead {
    id: IndexId,
    domain: DomainId,
    session: SessionId,
    signer: Signer,
    replaces: Vec<IndexId>,
    /// It names a pack that is swept.
    names_swept: bool,
    /// Its client had put it before it ended.
    counts_of_its_client: bool,
}

/// What the rewriting knows of all index objects.
struct IndexHeads {
    sessions: SessionTable,
    heads: Vec<IndexHead>,
    /// Damaged ones, and why.
    unreadable: Vec<(IndexId, EngineError)>,
}

/// What became of objects that were to go.
#[derive(Default)]
struct Removed {
    /// Those that went.
    objects: u64,
    /// Their bytes.
    bytes: u64,
    /// Those that stay until their time is over.
    locked: LockedObjects,
    /// Those that the storage did not let go for another reason, or nobody knows.
    refused: u64,
}

impl Run<'_> {
    /// G8 and G9: removes packs, and what names them before; bytes that were freed. `swept` ascends.
    ///
    /// `None`: something that names packs could not be removed, or nobody knows. Without its packs it would look like
    /// damage once the plan is over, so they stay, and the plan stays open. An index object that is locked may stay: it is
    /// there for sure, and replaced or of a revoked session, and every later rewriting names it as replaced.
    pub(super) fn sweep(&mut self, plan: &PrunePlan, swept: &[PackId]) -> Result<Option<u64>> {
        let garbage = self.rewrite_index(swept)?;
        self.monitor.stage("deleting", Some((garbage.len() + plan.dropped.len() + swept.len()) as u64), None);
        let indexes = self.remove_all(garbage.into_iter().map(|id| (ObjectName::Index(id), 0)).collect());
        let snapshots = self.remove_all(plan.dropped.iter().map(|id| (ObjectName::Snapshot(*id), 0)).collect());
        self.report.snapshots_locked += snapshots.locked.objects;
        if indexes.refused + snapshots.refused + snapshots.locked.objects > 0 {
            return Ok(None);
        }
        let packs = self.repository.list_packs()?;
        let there = swept.iter().filter_map(|id| Some((ObjectName::Pack(*id), *packs.get(id)?)));
        let removed = self.remove_all(there.collect());
        self.report.packs_deleted += removed.objects;
        Ok(Some(removed.bytes))
    }

    /// Removes objects, as far as the storage lets it.
    fn remove_all(&mut self, objects: Vec<(ObjectName, u64)>) -> Removed {
        let removed = Mutex::new(Removed::default());
        objects.par_iter().for_each(|(name, len)| {
            let result = self.repository.storage().remove(*name);
            let is_locked = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Locked);
            let lock = if is_locked { self.repository.storage().lock(*name).ok().flatten() } else { None };
            let mut removed = removed.lock().expect("no holder of this lock panics");
            match result {
                Ok(()) => {
                    removed.objects += 1;
                    removed.bytes += len;
                }
                // That is what locks are for, and no problem.
                Err(_) if is_locked => {
                    removed.locked.objects += 1;
                    removed.locked.bytes += len;
                    removed.locked.until = removed.locked.until.max(lock.map(|lock| lock.until));
                }
                Err(error) => {
                    removed.refused += 1;
                    let message = format!("{error}; it is left to a later prune");
                    self.monitor.problem(&Problem { path: name.to_string().into_bytes(), message });
                }
            }
            drop(removed);
            self.monitor.advance(1, *len);
        });
        let removed = removed.into_inner().expect("no holder of this lock panics");
        self.report.deferred += removed.refused + removed.locked.objects;
        let locked = &mut self.report.locked;
        locked.objects += removed.locked.objects;
        locked.bytes += removed.locked.bytes;
        locked.until = locked.until.max(removed.locked.until);
        removed
    }

    /// G8: puts index objects without the swept packs in place of those that name them. The index objects that don't
    /// count any more, and never will.
    fn rewrite_index(&mut self, swept: &[PackId]) -> Result<Vec<IndexId>> {
        for _ in 0..ATTEMPTS {
            match self.try_rewrite(swept) {
                // Somebody else did it, and removes what this was reading.
                Err(error) if error.kind() == ErrorKind::Missing => {}
                other => return other,
            }
        }
        Err(EngineError::new(ErrorKind::InUse, "the index changes all the time: other prunes are at work"))
    }

    fn try_rewrite(&mut self, swept: &[PackId]) -> Result<Vec<IndexId>> {
        let session = self.begin(&[])?;
        let result = self.put_rewritten(&session, swept);
        match (result, self.end(session)) {
            (Ok(garbage), Ok(())) => Ok(garbage),
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        }
    }

    fn put_rewritten(&self, session: &Session, swept: &[PackId]) -> Result<Vec<IndexId>> {
        let IndexHeads { sessions, heads, unreadable } = self.index_heads(swept)?;
        let is_committed =
            |head: &IndexHead| head.counts_of_its_client && sessions.is_committed_by(head.session, head.signer);
        let committed = || heads.iter().filter(|head| is_committed(head));
        let replaced: HashSet<IndexId> = committed().flat_map(|head| head.replaces.iter().copied()).collect();
        if let Some((_, error)) = unreadable.iter().find(|(id, _)| !replaced.contains(id)) {
            let text = format!("{error}; packs are removed only when nothing can name them any more");
            return Err(EngineError::new(ErrorKind::Damaged, text));
        }
        let counts = |head: &&IndexHead| is_committed(head) && !replaced.contains(&head.id);
        let naming: Vec<&IndexHead> = heads.iter().filter(counts).filter(|head| head.names_swept).collect();
        // What was replaced before and is still there stays replaced, also when what replaced it goes.
        let mut replaces: Vec<IndexId> = unreadable.iter().map(|(id, _)| *id).collect();
        replaces.extend(heads.iter().map(|head| head.id).filter(|id| replaced.contains(id)));
        replaces.extend(naming.iter().map(|head| head.id));
        if !naming.is_empty() {
            let mut by_domain: BTreeMap<DomainId, Vec<IndexId>> = BTreeMap::new();
            for head in heads.iter().filter(|head| replaced.contains(&head.id)) {
                by_domain.entry(head.domain).or_default();
            }
            for (id, _) in &unreadable {
                by_domain.entry(self.repository.claimed_domain(*id)?).or_default();
            }
            for head in naming {
                by_domain.entry(head.domain).or_default().push(head.id);
            }
            for (domain, naming) in by_domain {
                self.put_remaining(session, domain, &naming, replaces.clone(), swept)?;
            }
        }
        let mut garbage = replaces;
        // Of a session that is revoked, or that somebody else committed, or put when its client had ended.
        let never_counts = |head: &&IndexHead| {
            sessions.is_revoked(head.session) || (sessions.is_committed(head.session) && !is_committed(head))
        };
        garbage.extend(heads.iter().filter(never_counts).map(|head| head.id));
        garbage.sort_unstable();
        garbage.dedup();
        Ok(garbage)
    }

    /// Reads every index object, and keeps little of it.
    fn index_heads(&self, swept: &[PackId]) -> Result<IndexHeads> {
        let repository = self.repository;
        let sessions = SessionTable::load(repository)?;
        let listed = repository.list_indexes()?;
        self.monitor.stage("reading index", Some(listed.len() as u64), None);
        let head = |id: &IndexId| {
            let object = match repository.read_index(*id) {
                Err(error) if error.kind() == ErrorKind::Damaged => return Ok(Err((*id, error))),
                other => other?,
            };
            self.monitor.advance(1, 0);
            Ok(Ok(IndexHead {
                id: *id,
                domain: object.domain,
                session: object.session,
                signer: object.signer,
                counts_of_its_client: repository.counts_of_its_client(id, &object),
                replaces: object.replaces,
                names_swept: object.packs.iter().any(|pack| swept.binary_search(&pack.id).is_ok()),
            }))
        };
        let (mut heads, mut unreadable) = (Vec::with_capacity(listed.len()), Vec::new());
        for read in listed.par_iter().map(head).collect::<Result<Vec<_>>>()? {
            match read {
                Ok(head) => heads.push(head),
                Err(damaged) => unreadable.push(damaged),
            }
        }
        Ok(IndexHeads { sessions, heads, unreadable })
    }

    /// Puts the rows of `naming`, which are of one domain, without swept packs. The first object names what is replaced: each
    /// domain has one that does, since a write-only client reads no other than its own.
    fn put_remaining(
        &self,
        session: &Session,
        domain: DomainId,
        naming: &[IndexId],
        replaces: Vec<IndexId>,
        swept: &[PackId],
    ) -> Result<()> {
        let empty = || IndexObject::empty(session.id(), domain);
        let mut pending = IndexObject { replaces, ..empty() };
        let mut chunks = 0;
        let mut seen = HashSet::new();
        for id in naming {
            let object = self.repository.read_index(*id)?;
            for pack in object.packs {
                // What is said of one pack in the domain of a write-only client need not be the same.
                let is_known = domain == DomainId::SHARED && !seen.insert(pack.id);
                if swept.binary_search(&pack.id).is_ok() || is_known {
                    continue;
                }
                let used = |record: &&SessionKeyRecord| pack.segments.iter().any(|row| row.session == record.session());
                let records: Vec<_> = object.sessions.iter().filter(used).collect();
                if records.iter().any(|record| record.is_other_of(&pending.sessions)) {
                    // A client may say of a session that another key is its.
                    self.repository.put_index(&std::mem::replace(&mut pending, empty()), false)?;
                    chunks = 0;
                }
                for record in records {
                    if !pending.sessions.contains(record) {
                        pending.sessions.push(record.clone());
                    }
                }
                chunks += pack.segments.iter().map(|segment| segment.chunks.len()).sum::<usize>();
                pending.packs.push(pack);
                if chunks >= INDEX_CHUNKS {
                    self.repository.put_index(&std::mem::replace(&mut pending, empty()), false)?;
                    chunks = 0;
                }
            }
        }
        if pending != empty() {
            self.repository.put_index(&pending, false)?;
        }
        Ok(())
    }

    /// G10: says that a plan is over, then clears away what nobody needs of earlier ones and of this one.
    pub(super) fn conclude(&mut self, number: PruneId, noticed: &Noticed, freed_bytes: u64) -> Result<()> {
        let done = PruneDone {
            number,
            time: self.clock.now(),
            sessions: noticed.sessions.iter().map(|(id, time)| (*id, *time)).collect(),
            records: noticed.records.iter().map(|(id, time)| (*id, *time)).collect(),
            freed_bytes,
        };
        put_done(self.repository, &done)?;
        let mut objects = Plans::load(self.repository)?.objects().to_vec();
        // `done` goes last: without it, what is left of a plan would look open.
        objects.sort_by_key(|name| matches!(name, ObjectName::PruneDone(_)));
        for name in objects {
            let is_left_over = match name {
                ObjectName::PrunePlan(other) | ObjectName::PruneState(other) => other <= number,
                ObjectName::PruneDone(other) => other < number,
                _ => false,
            };
            // Only tidiness; and where one can't be removed, those behind it must stay, too.
            if is_left_over && self.repository.storage().remove(name).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Takes away intents of sessions that have ended: the register says all. Only tidiness.
    pub(super) fn remove_old_intents(&self) -> Result<()> {
        let mut intents = Vec::new();
        let mut ended = HashSet::new();
        self.repository.storage().list(ObjectFamily::Sessions, &mut |name, _| match name {
            ObjectName::Intent(id) => intents.push(id),
            ObjectName::Register(id) => drop(ended.insert(id)),
            _ => {}
        })?;
        let storage = self.repository.storage();
        for id in intents.into_iter().filter(|id| ended.contains(id)) {
            // A register that a power cut takes away, without an intent beside it, would look lost.
            let gone = storage.persist(ObjectName::Register(id)).and_then(|()| storage.remove(ObjectName::Intent(id)));
            if gone.is_err() {
                break;
            }
        }
        Ok(())
    }

    fn has_reserve(&self) -> Result<bool> {
        let mut found = false;
        self.repository.storage().list(ObjectFamily::Prune, &mut |name, _| {
            found |= name == ObjectName::PruneReserve;
        })?;
        Ok(found)
    }

    /// Gives the reserve up, so that there is room for what a prune has to put. Whether there was one.
    pub(super) fn spend_reserve(&self) -> Result<bool> {
        let found = self.has_reserve()?;
        if found {
            self.repository.storage().remove(ObjectName::PruneReserve)?;
        }
        Ok(found)
    }

    /// Puts the reserve if there is none. Where there is no room, there will be none.
    pub(super) fn restock_reserve(&self) -> Result<()> {
        if !self.has_reserve()? {
            let blocks = RESERVE_BYTES / 4096;
            let mut bytes = ObjectKind::PruneReserve.header().to_vec();
            (0..blocks).for_each(|_| bytes.extend_from_slice(&random_bytes::<4096>()));
            let _ = self.repository.storage().write_new(ObjectName::PruneReserve, &[&bytes]);
        }
        Ok(())
    }
}
