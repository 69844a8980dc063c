//! Are all objects there, and readable?

use super::{Check, ListedPack, index_pack_lengths};
use crate::error::{ErrorKind, Result};
use crate::format::Footer;
use crate::id::{SessionId, SnapshotId};
use crate::model::Snapshot;
use crate::repository::{Index, Proofs, read_done, read_intent, read_plan, read_snapshots, read_state};
use crate::storage::{ObjectFamily, ObjectName};

impl Check<'_> {
    /// Says which objects are read by their names alone. A plan and its state are not: in which order they are read decides
    /// whether a plan is open, and that is known by now.
    pub(super) fn expect_objects(&self, index: &Index) {
        let intents = index.sessions().open().map(ObjectName::Intent);
        let prunes = self.plans.objects().iter().copied().filter(|name| *name != ObjectName::PruneReserve);
        let names: Vec<ObjectName> = intents.chain(prunes).collect();
        self.repository.storage().expect(&[], &names);
    }

    /// Every key slot is readable; whether its secret opens it only its holder can tell.
    pub(super) fn keys(&mut self) -> Result<()> {
        let (_, problems) = crate::ops::list_keys(self.repository)?;
        for problem in problems {
            self.find(String::from_utf8_lossy(&problem.path), problem.message, true);
        }
        Ok(())
    }

    /// Registers and index objects.
    pub(super) fn sessions(&mut self, index: &Index) {
        for (session, message) in index.sessions().damaged() {
            let text = format!("{message}; what this session stored can't be used");
            self.find(ObjectName::Register(*session).to_string(), text, true);
        }
        for session in index.sessions().open() {
            let name = ObjectName::Intent(session).to_string();
            match read_intent(self.repository, session) {
                Ok(intent) => {
                    self.report.open_sessions += 1;
                    let text =
                        format!("is open: process {} on {} runs, or was interrupted", intent.process, intent.host);
                    self.find(name, text, false)
                }
                // Gone since it was listed: the session has just ended.
                Err(error) if error.kind() == ErrorKind::Missing => continue,
                Err(error) => self.find(name, error.to_string(), true),
            };
        }
        for (id, error) in index.damaged() {
            let text = format!("{error}; its chunks are found through their packs");
            self.find(ObjectName::Index(*id).to_string(), text, true);
        }
    }

    /// Plans, states and ends of prunes.
    pub(super) fn prunes(&mut self) -> Result<()> {
        for name in self.plans.objects().to_vec() {
            let read = match name {
                ObjectName::PrunePlan(number) => read_plan(self.repository, number).map(drop),
                ObjectName::PruneState(number) => read_state(self.repository, number).map(drop),
                ObjectName::PruneDone(number) => read_done(self.repository, number).map(drop),
                _ => Ok(()),
            };
            match read {
                Ok(()) => {}
                // Over since it was listed, and tidied up.
                Err(error) if error.kind() == ErrorKind::Missing => {}
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                Err(error) => drop(self.find(name.to_string(), error.to_string(), true)),
            }
        }
        for plan in self.plans.open().to_vec() {
            self.report.unfinished_prunes += 1;
            let decided = if plan.verdict().is_some() { "is carried out" } else { "is not decided" };
            let condemned = plan.plan().map_or(0, |plan| plan.condemned.len());
            let text =
                format!("a prune has not finished: its plan of {condemned} packs {decided}; the next prune goes on");
            self.find(ObjectName::PrunePlan(plan.number()).to_string(), text, false);
        }
        Ok(())
    }

    /// Packs that are there against packs that the index lists.
    pub(super) fn packs(&mut self, index: &Index) -> Result<Vec<ListedPack>> {
        let mut lengths = index_pack_lengths(index)?;
        let listed = self.repository.list_packs()?;
        self.report.packs = listed.len() as u64;
        let mut packs = Vec::with_capacity(listed.len());
        for (id, len) in listed {
            let name = ObjectName::Pack(id).to_string();
            let suspicious = match lengths.remove(&id) {
                Some(expected) if expected == [len] => false,
                // A claim about a pack is no damage of it.
                Some(expected) if expected.contains(&len) => {
                    self.find(name, format!("has {len} bytes, and an index object says something else"), false);
                    false
                }
                Some(expected) => {
                    let finding = self.find(name, format!("has {len} bytes where {} belong", expected[0]), true);
                    self.damage.packs.insert(id, finding);
                    true
                }
                None => self.unlisted_pack(index, id, len)?,
            };
            packs.push(ListedPack { id, len, suspicious });
        }
        let mut missing: Vec<_> = lengths.into_keys().collect();
        missing.sort();
        for id in missing {
            let finding = self.find(ObjectName::Pack(id).to_string(), "is missing", true);
            self.damage.packs.insert(id, finding);
        }
        Ok(packs)
    }

    /// Whether a session's register is lost.
    fn is_lost(&self, index: &Index, session: crate::id::SessionId) -> bool {
        index.sessions().still_lost(self.repository, [session]).is_ok_and(|lost| !lost.is_empty())
    }

    /// A pack that no index object lists is a leftover, or an index object is missing. Whether to read it.
    fn unlisted_pack(&mut self, index: &Index, id: crate::id::PackId, len: u64) -> Result<bool> {
        let name = ObjectName::Pack(id).to_string();
        if index.taken_out().contains(&id) {
            // Reading it shows whether anything is lost with it that was not stored again.
            let text = "is damaged, and a repair took it out of the index; prune will remove it";
            let finding = self.find(name, text, false);
            self.damage.packs.insert(id, finding);
            return Ok(true);
        }
        Ok(match self.repository.read_footer(id, len) {
            Ok(footer) => {
                let sessions = index.sessions();
                let committed = footer.sessions.iter().all(|record| sessions.is_committed(record.session()));
                let lost: Vec<SessionId> = footer.sessions.iter().map(|record| record.session()).collect();
                let lost: Vec<SessionId> = lost.into_iter().filter(|session| self.is_lost(index, *session)).collect();
                if !lost.is_empty() {
                    self.needed.extend(lost);
                    self.find(name, "belongs to a session whose register is lost; it can be read, not built on", true);
                } else if !committed {
                    self.report.orphan_packs += 1;
                    self.find(name, "belongs to no committed session; prune will remove it", false);
                } else if self.plans.condemns(&id) {
                    self.report.orphan_packs += 1;
                    self.find(name, "is in no index object any more; prune will remove it", false);
                } else if has_all(index, &footer)? {
                    self.report.orphan_packs += 1;
                    self.find(name, "is in no index object, and other packs have all that is in it", false);
                } else if index.damaged().is_empty() {
                    // A prune that could not remove it, or a lost index object: the walk shows whether it is needed.
                    self.report.orphan_packs += 1;
                    let finding = self.find(name, "is in no index object, and not needed; prune will remove it", false);
                    self.unlisted.push((id, finding));
                }
                false
            }
            Err(error) => {
                // It may be what an interrupted writer left, or what a lost index object listed.
                self.find(name, format!("is in no index object, and unreadable: {error}"), true);
                true
            }
        })
    }

    /// A pack that no index object lists is damage if something was found through its footer only.
    pub(super) fn judge_unlisted(&mut self, index: &Index) {
        let needed = index.found_by_footers();
        for (_, finding) in std::mem::take(&mut self.unlisted).into_iter().filter(|(id, _)| needed.contains(id)) {
            let finding = &mut self.report.findings[finding];
            finding.damage = true;
            finding.message = "is in no index object: one is missing; its chunks are found through it".into();
        }
    }

    /// Without the record of its client nothing can be verified that a client signed; an end that can't be read ends nothing.
    pub(super) fn clients(&mut self) -> Result<()> {
        for problem in self.repository.read_clients()?.1 {
            self.find(String::from_utf8_lossy(&problem.path), problem.message, true);
        }
        Ok(())
    }

    /// Proofs that can't be read prove nothing, which costs no data.
    pub(super) fn proofs(&mut self) -> Result<()> {
        for problem in Proofs::load(self.repository)?.problems {
            self.find(String::from_utf8_lossy(&problem.path), problem.message, true);
        }
        Ok(())
    }

    /// Snapshots that are there, and those that should be.
    pub(super) fn snapshots(&mut self, index: &Index) -> Result<Vec<(SnapshotId, Snapshot)>> {
        let mut set = read_snapshots(self.repository, index.sessions())?;
        for problem in std::mem::take(&mut set.problems) {
            let object = String::from_utf8_lossy(&problem.path).into_owned();
            let finding = self.find(&object, problem.message, true);
            if let Some(ObjectName::Snapshot(id)) = ObjectName::parse(&object)
                && index.sessions().snapshots().any(|(_, promised)| promised == id)
            {
                self.cost(finding, id, b"/");
            }
        }
        self.gone(&set.gone)?;
        for (id, session) in std::mem::take(&mut set.uncommitted) {
            let name = ObjectName::Snapshot(id).to_string();
            let register = ObjectName::Register(session).to_string();
            let repeated = set.existing().find(|(_, new)| new.original == Some(id)).map(|(new, _)| *new);
            if let Some(new) = repeated.filter(|_| index.sessions().is_lost(session)) {
                self.find(name, format!("lost its register, and is there again as {new}; prune will remove it"), false);
                continue;
            }
            let damaged = self.report.findings.iter().position(|finding| finding.object == register);
            let lost = match damaged {
                Some(finding) => Some(finding),
                None if self.is_lost(index, session) => {
                    Some(self.find(register, format!("is missing; without it {name} does not count"), true))
                }
                None => None,
            };
            match lost {
                Some(finding) => {
                    self.needed.insert(session);
                    self.cost(finding, id, b"/");
                }
                None => drop(self.find(name, "was never committed; prune will remove it", false)),
            }
        }
        self.settle_registers(index);
        let existing: std::collections::HashSet<SnapshotId> =
            set.existing().map(|(id, _)| *id).chain(set.records.keys().copied()).collect();
        let known_bad: Vec<String> = self.report.findings.iter().map(|finding| finding.object.clone()).collect();
        for (id, snapshot) in &set.snapshots {
            let gone = snapshot.previous.filter(|previous| !existing.contains(previous));
            if let Some(previous) = gone
                && !known_bad.contains(&ObjectName::Snapshot(previous).to_string())
            {
                let text = format!("names {} as the one before it on {}, which is not here", previous, snapshot.host);
                self.find(ObjectName::Snapshot(*id).to_string(), text, false);
            }
        }
        self.note_heads(&set);
        self.report.snapshots = set.snapshots.len() as u64;
        self.report.forgotten = set.forgotten.len() as u64;
        // What is not listed is checked all the same: it can be restored until a prune drops it.
        let all = set.snapshots.into_iter().chain(set.replaced).chain(set.forgotten);
        // But of one that an open prune is about to drop, some may be gone already.
        let is_going =
            |id: &SnapshotId| self.plans.open().iter().any(|open| open.verdict().is_some() && open.drops(id));
        Ok(all.filter(|(id, _)| !is_going(id)).collect())
    }

    /// Forgotten snapshots that are not there. Without a prune nobody dropped them.
    fn gone(&mut self, gone: &[SnapshotId]) -> Result<()> {
        if gone.is_empty() {
            return Ok(());
        }
        let mut is_pruned = false;
        self.repository.storage().list(ObjectFamily::Prune, &mut |name, _| {
            is_pruned |= name != ObjectName::PruneReserve;
        })?;
        for id in gone.iter().filter(|_| !is_pruned) {
            let text = "is missing; it was forgotten, but nothing has dropped it, and it can't be brought back";
            let finding = self.find(ObjectName::Snapshot(*id).to_string(), text, true);
            self.cost(finding, *id, b"/");
        }
        Ok(())
    }

    /// A register that can't be read does no harm once all that its session stored counts by others.
    fn settle_registers(&mut self, index: &Index) {
        for (session, _) in index.sessions().damaged().iter().filter(|(session, _)| !self.needed.contains(session)) {
            let register = ObjectName::Register(*session).to_string();
            for finding in self.report.findings.iter_mut().filter(|finding| finding.object == register) {
                finding.damage = false;
                finding.message.push_str("; nothing needs that");
            }
        }
    }

    /// A finding about whatever object an error names.
    pub(super) fn find_error(&mut self, error: &crate::error::EngineError, otherwise: &str) -> Result<usize> {
        if error.is_unanswered() {
            return Err(error.clone());
        }
        let object = error.object().unwrap_or(otherwise).to_owned();
        Ok(self.find(object, error.to_string(), true))
    }
}

/// Whether the index lists every chunk of a pack.
fn has_all(index: &Index, footer: &Footer) -> Result<bool> {
    for (id, _) in footer.segments.iter().flat_map(|segment| &segment.chunks) {
        if !index.contains(id)? {
            return Ok(false);
        }
    }
    Ok(true)
}
