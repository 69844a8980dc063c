//! A client's way to the simulated storage.

use std::ops::Range;
use std::sync::Arc;

use engine::storage::{Capabilities, ObjectFamily, ObjectName, Outcome, Storage};
use engine::{EngineError, ErrorKind, Result};

use super::world::{Bug, Client, Fate, Inner, Request, World, failed};

/// A client's way to the storage.
pub struct Port {
    world: Arc<World>,
    client: Client,
}

impl Port {
    /// The way of one client of a world.
    pub fn open(world: &Arc<World>, client: Client) -> Arc<dyn Storage> {
        Arc::new(Self { world: Arc::clone(world), client })
    }

    /// Carries out a put or a removal. `change` says whether it had an effect.
    fn write(
        &self,
        request: Request,
        name: ObjectName,
        bytes: &Arc<[u8]>,
        change: impl Fn(&mut Inner, bool) -> bool,
    ) -> Result<Outcome> {
        let outcome = |changed| if changed { Outcome::Written } else { Outcome::Existed };
        let (mut inner, fate) = self.world.enter(self.client, request, name)?;
        let scheduled = inner.schedule.is_some();
        match fate {
            Fate::Fails => Err(failed("the request failed")),
            Fate::Late => {
                inner.late.push((request, name, Arc::clone(bytes)));
                Err(failed("no answer"))
            }
            Fate::AckLost | Fate::DiesBefore => {
                change(&mut inner, false);
                Err(failed("no answer"))
            }
            Fate::DiesAfter => Ok(outcome(change(&mut inner, true))),
            Fate::Good if !scheduled => Ok(outcome(change(&mut inner, true))),
            Fate::Good => {
                let changed = change(&mut inner, false);
                let cuts = inner.cuts;
                if !changed {
                    inner.disk.sync(name);
                    return Ok(Outcome::Existed);
                }
                drop(inner);
                // Others see it, but its directory is not synced yet.
                let (mut inner, _) = self.world.enter(self.client, Request::Sync, name)?;
                if inner.cuts != cuts {
                    return Err(failed("the server was restarted"));
                }
                inner.disk.sync(name);
                Ok(Outcome::Written)
            }
        }
    }

    /// What a planted fault does to a put; `None` if nothing.
    fn put_by_bug(&self, name: ObjectName, bytes: &Arc<[u8]>) -> Option<Outcome> {
        let mut inner = self.world.lock();
        let held = match (inner.bug?, name) {
            (Bug::RegisterBeforeSnapshot, ObjectName::Snapshot(_)) => true,
            (Bug::RegisterBeforeIndex | Bug::PacksRemovedBeforeIndex, ObjectName::Index(_)) => true,
            (Bug::RegisterOverwritten, ObjectName::Register(_)) if inner.disk.get(name).is_some() => {
                inner.disk.overwrite(name, Arc::clone(bytes));
                return Some(Outcome::Written);
            }
            _ => return None,
        };
        if held {
            inner.actors[self.client].held.push((name, Some(Arc::clone(bytes))));
        }
        Some(Outcome::Written)
    }

    /// What was held back by a planted fault is put now.
    fn release(&self, after: ObjectName, removed: bool) -> Result<()> {
        let held = {
            let mut inner = self.world.lock();
            let due = match (inner.bug, after) {
                (Some(Bug::RegisterBeforeSnapshot | Bug::RegisterBeforeIndex), ObjectName::Register(_)) => !removed,
                (Some(Bug::PacksRemovedBeforeIndex), ObjectName::Pack(_)) => removed,
                (Some(Bug::PacksRemovedBeforeIndex), ObjectName::PruneDone(_)) => true,
                _ => false,
            };
            if due { std::mem::take(&mut inner.actors[self.client].held) } else { Vec::new() }
        };
        let nothing: Arc<[u8]> = Arc::new([]);
        for (name, bytes) in held {
            match bytes {
                Some(bytes) => self.write(Request::Put, name, &bytes, |inner, durable| {
                    inner.disk.put(name, Arc::clone(&bytes), durable)
                })?,
                None => self.write(Request::Remove, name, &nothing, |inner, durable| {
                    inner.disk.remove(name, durable);
                    true
                })?,
            };
        }
        Ok(())
    }
}

impl Storage for Port {
    fn list(&self, of: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        let (mut inner, fate) = self.world.enter(self.client, Request::List, example(of))?;
        if !matches!(fate, Fate::Good | Fate::DiesAfter) {
            return Err(failed("the list was not answered"));
        }
        let mut found = inner.disk.list(of);
        let stale = match &mut inner.schedule {
            Some(schedule) => schedule.is_stale(self.client),
            None => false,
        };
        if stale {
            found.extend(inner.disk.gone(of));
        }
        match inner.bug {
            Some(Bug::ListsWithoutPlans) if of == ObjectFamily::Prune => found.clear(),
            Some(Bug::ListsWithoutIntents) => found.retain(|(name, _)| !matches!(name, ObjectName::Intent(_))),
            _ => {}
        }
        drop(inner);
        if stale {
            // A second page, later: what went meanwhile is left out, or not; what came is not there yet.
            let (inner, _) = self.world.enter(self.client, Request::List, example(of))?;
            let half = found.len() / 2;
            let mut number = 0;
            found.retain(|(name, _)| {
                number += 1;
                number <= half || inner.disk.get(*name).is_some()
            });
        }
        found.into_iter().for_each(|(name, length)| each(name, length));
        Ok(())
    }

    fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        let (inner, fate) = self.world.enter(self.client, Request::Read, name)?;
        if !matches!(fate, Fate::Good | Fate::DiesAfter) {
            return Err(failed("the read was not answered"));
        }
        let missing = || EngineError::new(ErrorKind::Missing, format!("object {name} is missing")).about(name);
        let bytes = Arc::clone(inner.disk.get(name).ok_or_else(missing)?);
        drop(inner);
        let range = range.unwrap_or(0..bytes.len() as u64);
        if range.end - range.start > max {
            return Err(EngineError::damaged(format!("object {name} is too large")).about(name));
        }
        bytes
            .get(range.start as usize..range.end as usize)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| EngineError::damaged(format!("object {name} is cut short")).about(name))
    }

    fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        let bytes: Arc<[u8]> = parts.concat().into();
        if let Some(outcome) = self.put_by_bug(name, &bytes) {
            return Ok(outcome);
        }
        let outcome = self.write(Request::Put, name, &bytes, |inner, durable| {
            let unsynced = inner.bug == Some(Bug::PacksNotSynced) && name.family() == ObjectFamily::Packs;
            inner.disk.put(name, Arc::clone(&bytes), durable && !unsynced)
        })?;
        self.release(name, false)?;
        Ok(outcome)
    }

    fn remove(&self, name: ObjectName) -> Result<()> {
        {
            let mut inner = self.world.lock();
            if inner.bug == Some(Bug::PacksRemovedBeforeIndex) && matches!(name, ObjectName::Index(_)) {
                inner.actors[self.client].held.push((name, None));
                return Ok(());
            }
        }
        let nothing: Arc<[u8]> = Arc::new([]);
        self.write(Request::Remove, name, &nothing, |inner, durable| {
            inner.disk.remove(name, durable);
            true
        })?;
        self.release(name, true)
    }

    fn persist(&self, name: ObjectName) -> Result<()> {
        let (mut inner, _) = self.world.enter(self.client, Request::Sync, name)?;
        inner.disk.sync(name);
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { put_if_absent: true, local_directory: None, is_past: false, locks: false }
    }
}

/// Some name of a family: what a list is recorded as.
fn example(of: ObjectFamily) -> ObjectName {
    use engine::id::{ClientId, IndexId, PackId, ProofId, SessionId, SlotId, SnapshotId};
    match of {
        ObjectFamily::Config => ObjectName::Config,
        ObjectFamily::Keys => ObjectName::Key(SlotId::new([0; 16])),
        ObjectFamily::Packs => ObjectName::Pack(PackId::new([0; 32])),
        ObjectFamily::Indexes => ObjectName::Index(IndexId::new([0; 32])),
        ObjectFamily::Snapshots => ObjectName::Snapshot(SnapshotId::new([0; 32])),
        ObjectFamily::Sessions => ObjectName::Intent(SessionId::new([0; 16])),
        ObjectFamily::Forgotten => ObjectName::Forgotten(SnapshotId::new([0; 32])),
        ObjectFamily::Proofs => ObjectName::Proof(ProofId::new([0; 32])),
        ObjectFamily::Prune => ObjectName::parse("prune/0000000000000001/plan").expect("a plan's name"),
        ObjectFamily::Clients => ObjectName::Client(ClientId::new([0; 16])),
        ObjectFamily::Roots => ObjectName::parse("roots/00000001").expect("a root's name"),
    }
}
