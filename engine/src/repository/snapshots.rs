//! Reading snapshots: which exist, and what they say.

use super::{Repository, SessionTable, object_error};
use crate::crypto::hash;
use crate::error::{EngineError, ErrorKind, Result};
use crate::format;
use crate::id::{SessionId, SnapshotId};
use crate::limits;
use crate::model::Snapshot;
use crate::monitor::Problem;
use crate::storage::{ObjectFamily, ObjectName};

/// The snapshots of a repository, and what is wrong with others.
#[derive(Debug, Default)]
pub struct SnapshotSet {
    /// Those that exist and are not replaced, oldest first.
    pub snapshots: Vec<(SnapshotId, Snapshot)>,
    /// Those that a newer one replaces.
    pub replaced: Vec<(SnapshotId, Snapshot)>,
    /// Snapshots that a register names and that can't be read.
    pub problems: Vec<Problem>,
    /// Objects whose session did not commit them.
    pub uncommitted: Vec<(SnapshotId, SessionId)>,
}

/// Reads every snapshot that exists.
///
/// # Errors
/// `Io`. Damaged ones are problems.
pub fn read_snapshots(repository: &Repository, sessions: &SessionTable) -> Result<SnapshotSet> {
    let mut set = SnapshotSet::default();
    let mut listed = Vec::new();
    repository.storage().list(ObjectFamily::Snapshots, &mut |name, _| {
        if let ObjectName::Snapshot(id) = name {
            listed.push(id);
        }
    })?;
    listed.sort();
    let mut promised: Vec<SnapshotId> = sessions.snapshots().map(|(_, snapshot)| snapshot).collect();
    promised.sort();
    for id in &listed {
        match read_snapshot(repository, *id) {
            Ok((session, snapshot)) if sessions.snapshot_of(session) == Some(*id) => {
                set.snapshots.push((*id, snapshot))
            }
            Ok((session, _)) => set.uncommitted.push((*id, session)),
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(error) => set.problems.push(problem(*id, error.to_string())),
        }
    }
    for id in promised.iter().filter(|id| listed.binary_search(id).is_err()) {
        set.problems.push(problem(*id, format!("object {} is missing", ObjectName::Snapshot(*id))));
    }
    let replaced: Vec<SnapshotId> = set.snapshots.iter().filter_map(|(_, snapshot)| snapshot.replaces).collect();
    let (old, current) = set.snapshots.into_iter().partition(|(id, _)| replaced.contains(id));
    set.snapshots = current;
    set.replaced = old;
    set.snapshots.sort_by_key(|(id, snapshot)| (snapshot.time, snapshot.sequence, *id));
    Ok(set)
}

fn problem(id: SnapshotId, message: String) -> Problem {
    Problem { path: ObjectName::Snapshot(id).to_string().into_bytes(), message }
}

/// Reads a snapshot and says which session it belongs to.
fn read_snapshot(repository: &Repository, id: SnapshotId) -> Result<(SessionId, Snapshot)> {
    let name = ObjectName::Snapshot(id);
    let object = repository.storage().read(name, None, limits::ENVELOPE_BYTES)?;
    if hash(&object) != *id.as_bytes() {
        return Err(EngineError::damaged(format!("object {name} does not have the content that its name says")));
    }
    format::decode_snapshot(&object, repository.keys()).map_err(|error| object_error(name, error))
}
