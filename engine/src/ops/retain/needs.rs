//! What a restore of some snapshots needs, by name: what says that they exist and how they are opened, their own objects,
//! and the packs that hold what they reach.
//!
//! What is damaged or missing does not keep the rest from being found.

use std::collections::BTreeMap;

use crate::error::{ErrorKind, Result};
use crate::id::{PackId, SnapshotId};
use crate::model::Snapshot;
use crate::monitor::{Monitor, Problem};
use crate::ops::mark::mark_what_is_there;
use crate::repository::{Census, Index, Repository, read_snapshots};
use crate::storage::{ObjectFamily, ObjectName};

/// Families of which all that counts is needed, whatever the snapshots are.
const COMMON: [ObjectFamily; 8] = [
    ObjectFamily::Config,
    ObjectFamily::Keys,
    ObjectFamily::Sessions,
    ObjectFamily::Indexes,
    ObjectFamily::Forgotten,
    ObjectFamily::Proofs,
    ObjectFamily::Clients,
    ObjectFamily::Roots,
];

/// What is needed.
pub(super) struct Needs {
    /// Each object once, with its length in bytes.
    pub(super) objects: Vec<(ObjectName, u64)>,
    pub(super) problems: Vec<Problem>,
    /// Whether something is missing that may be elsewhere by now.
    pub(super) is_missing: bool,
}

impl Needs {
    fn problem(&mut self, name: ObjectName, message: String) {
        self.problems.push(Problem { path: name.to_string().into_bytes(), message });
    }
}

/// Finds it.
///
/// # Errors
/// `Interrupted`, `Io`.
pub(super) fn find(
    repository: &Repository,
    snapshots: &[(SnapshotId, Snapshot)],
    monitor: &dyn Monitor,
) -> Result<Needs> {
    let mut needs = Needs { objects: Vec::new(), problems: Vec::new(), is_missing: false };
    let index = repository.load_index(monitor)?;
    for (session, why) in index.sessions().damaged() {
        needs.problem(ObjectName::Register(*session), why.clone());
    }
    for (id, error) in index.damaged() {
        needs.problem(ObjectName::Index(*id), error.to_string());
    }
    // Who hides a register hides the snapshot that it names: that must not end its locks unnoticed.
    let uncommitted = read_snapshots(repository, index.sessions())?.uncommitted;
    let lost = index.sessions().still_lost(repository, uncommitted.iter().map(|(_, session)| *session))?;
    for (id, session) in uncommitted {
        if lost.contains(&session) {
            let text = format!("the register of its session {session} is gone, so that the snapshot is not listed");
            needs.problem(ObjectName::Snapshot(id), text);
        }
    }
    common(repository, &index, &mut needs.objects)?;
    snapshot_objects(repository, snapshots, &mut needs)?;
    packs(repository, &index, snapshots, monitor, &mut needs)?;
    Ok(needs)
}

/// What all snapshots need. Registers of revoked sessions, intents and what a prune plans are needed by none.
fn common(repository: &Repository, index: &Index, objects: &mut Vec<(ObjectName, u64)>) -> Result<()> {
    let sessions = index.sessions();
    for family in COMMON {
        repository.storage().list(family, &mut |name, len| {
            let is_needed = match name {
                ObjectName::Intent(_) => false,
                ObjectName::Register(session) => sessions.is_committed(session),
                ObjectName::Index(id) => index.counts(&id),
                _ => true,
            };
            objects.extend(is_needed.then_some((name, len)));
        })?;
    }
    Ok(())
}

fn snapshot_objects(repository: &Repository, snapshots: &[(SnapshotId, Snapshot)], needs: &mut Needs) -> Result<()> {
    let mut there = BTreeMap::new();
    repository.storage().list(ObjectFamily::Snapshots, &mut |name, len| {
        there.insert(name, len);
    })?;
    for name in snapshots.iter().map(|(id, _)| ObjectName::Snapshot(*id)) {
        match there.get(&name) {
            Some(len) => needs.objects.push((name, *len)),
            None => needs.problem(name, format!("object {name} is missing")),
        }
    }
    Ok(())
}

/// The packs that hold what the snapshots reach.
fn packs(
    repository: &Repository,
    index: &Index,
    snapshots: &[(SnapshotId, Snapshot)],
    monitor: &dyn Monitor,
    needs: &mut Needs,
) -> Result<()> {
    let census = Census::new(index)?;
    monitor.stage("finding what is needed", Some(snapshots.len() as u64), None);
    for (id, error) in mark_what_is_there(repository, index, &census, snapshots.iter(), monitor)? {
        needs.is_missing |= error.kind() == ErrorKind::Missing;
        let text = format!("the snapshot can't be read whole, and what it lacks can't be locked: {error}");
        needs.problem(ObjectName::Snapshot(id), text);
    }
    census.keep_copies(index)?;
    let there: BTreeMap<PackId, u64> = repository.list_packs()?;
    for pack in census.packs().into_iter().filter(|pack| pack.live > 0) {
        let name = ObjectName::Pack(pack.id);
        match there.get(&pack.id) {
            Some(len) if *len == pack.len => needs.objects.push((name, *len)),
            Some(len) => needs.problem(name, format!("object {name} has {len} bytes instead of {}", pack.len)),
            None => {
                needs.is_missing = true;
                needs.problem(name, format!("object {name} is missing"));
            }
        }
    }
    Ok(())
}
