//! Bringing forgotten snapshots back, each as a new one with its content: PROTOCOL.md, chapter 5.

use super::list::{SnapshotFilter, choose, load};
use crate::clock::Clock;
use crate::error::Result;
use crate::id::{DomainId, SnapshotId};
use crate::model::Snapshot;
use crate::repository::{Repository, Session, write_snapshot};

/// What became of a snapshot that was to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undeleted {
    /// It is back, as this new one.
    Back(SnapshotId),
    /// It had come back before, as this one.
    BackBefore(SnapshotId),
    /// It is not forgotten.
    NotForgotten,
}

/// Brings back the snapshots of these names (see [`super::find_snapshot`]). Their records stay: what is listed is a new
/// snapshot, with the same content, time, host, paths, tags and label.
///
/// # Errors
/// `NotFound`, `Ambiguous`, `Invalid`, `Damaged`, `Unsupported`, `SessionRevoked`, `Io`. All names are looked up before
/// the first one comes back; those that came back before an error stay.
pub fn undelete(
    repository: &Repository,
    names: &[String],
    host: &str,
    program: &str,
    clock: &dyn Clock,
) -> Result<Vec<(SnapshotId, Undeleted)>> {
    let set = load(repository)?;
    let mut wanted: Vec<SnapshotId> = Vec::with_capacity(names.len());
    for name in names {
        let (id, _) = choose(&set, name, &SnapshotFilter::default())?;
        if !wanted.contains(&id) {
            wanted.push(id);
        }
    }
    let mut done = Vec::with_capacity(wanted.len());
    for id in wanted {
        // With the same content: one that a repair made is without what was lost.
        let old = set.existing().find(|(known, _)| *known == id).map(|(_, snapshot)| snapshot);
        let (root, domain) = (old.map(|old| &old.root), old.map_or(DomainId::SHARED, |old| old.domain));
        let is_back = |snapshot: &Snapshot| snapshot.original == Some(id) && Some(&snapshot.root) == root;
        let back = set.snapshots.iter().find(|(_, snapshot)| is_back(snapshot));
        let what = match (set.records.contains_key(&id), back) {
            (false, _) => Undeleted::NotForgotten,
            (true, Some((back, _))) => Undeleted::BackBefore(*back),
            (true, None) => Undeleted::Back(bring_back(repository, id, domain, host, program, clock)?),
        };
        done.push((id, what));
    }
    Ok(done)
}

/// One session for one snapshot, since a register names one.
fn bring_back(
    repository: &Repository,
    id: SnapshotId,
    domain: DomainId,
    host: &str,
    program: &str,
    clock: &dyn Clock,
) -> Result<SnapshotId> {
    // W1 and W2: from here on a prune sees this session, or this sees the prune.
    let session = Session::begin_in(repository, domain, host, program, clock)?;
    match write_again(repository, &session, id) {
        Ok(new) => {
            session.commit(repository, Some(new))?;
            Ok(new)
        }
        Err(error) => {
            session.give_up(repository);
            Err(error)
        }
    }
}

/// Reads the old snapshot, only now: what is there after W2 can't be dropped by a prune that does not see the session.
fn write_again(repository: &Repository, session: &Session, id: SnapshotId) -> Result<SnapshotId> {
    let old = session.read_kept(repository, id)?;
    // It replaces nothing: the old one has its record, and what that one replaced is not listed because of it.
    write_snapshot(repository, session, &Snapshot { replaces: None, original: Some(id), ..old })
}
