//! Changing tags and labels. Snapshots are immutable, so a changed one replaces the old one.

use std::collections::BTreeSet;

use crate::clock::Clock;
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::SnapshotId;
use crate::model::Snapshot;
use crate::repository::{Repository, Session, SessionTable, read_snapshots, write_snapshot};

/// What to change.
#[derive(Debug, Clone, Default)]
pub struct TagChange {
    /// Tags to add.
    pub add: Vec<String>,
    /// Tags to take away.
    pub remove: Vec<String>,
    /// The tags to have before `add` and `remove`.
    pub set: Option<Vec<String>>,
    /// A new label; an empty one takes it away.
    pub label: Option<String>,
}

impl TagChange {
    fn apply(&self, snapshot: &Snapshot) -> Option<Snapshot> {
        let mut changed = snapshot.clone();
        let tags: BTreeSet<String> = self.set.as_ref().unwrap_or(&snapshot.tags).iter().cloned().collect();
        let tags = tags.into_iter().chain(self.add.iter().cloned()).filter(|tag| !self.remove.contains(tag));
        changed.tags = tags.collect::<BTreeSet<_>>().into_iter().collect();
        if let Some(label) = &self.label {
            changed.label = Some(label.clone()).filter(|label| !label.is_empty());
        }
        (changed != *snapshot).then_some(changed)
    }
}

/// Writes a replacement for each snapshot that changes; old and new ids.
///
/// # Errors
/// `NotFound` for a snapshot that was replaced, `Forgotten` for one that was forgotten; `Io`, `SessionRevoked`; the snapshots changed before are changed then.
pub fn tag(
    repository: &Repository,
    snapshots: &[(SnapshotId, Snapshot)],
    change: &TagChange,
    host: &str,
    program: &str,
    clock: &dyn Clock,
) -> Result<Vec<(SnapshotId, SnapshotId)>> {
    let mut changes = Vec::new();
    let existing = read_snapshots(repository, &SessionTable::load(repository)?)?;
    if let Some((old, _)) = snapshots.iter().find(|(id, _)| existing.records.contains_key(id)) {
        // What replaces it would be listed again: changing a tag is not the way to bring it back.
        return Err(EngineError::new(ErrorKind::Forgotten, format!("snapshot {old} is forgotten")));
    }
    let replaced = existing.replaced;
    if let Some((old, _)) = snapshots.iter().find(|(id, _)| replaced.iter().any(|(replaced, _)| replaced == id)) {
        // A second replacement would make two snapshots out of one.
        let text = format!("snapshot {old} was replaced by a changed one already");
        return Err(EngineError::new(ErrorKind::NotFound, text));
    }
    for (old, snapshot) in snapshots {
        let Some(mut changed) = change.apply(snapshot) else { continue };
        changed.replaces = Some(*old);
        changed.original = Some(snapshot.original.unwrap_or(*old));
        let session = Session::begin_in(repository, snapshot.domain, host, program, clock)?;
        let new = match session.read_kept(repository, *old) {
            Ok(_) => write_snapshot(repository, &session, &changed)?,
            Err(error) => {
                session.give_up(repository);
                return Err(error);
            }
        };
        session.commit(repository, Some(new))?;
        changes.push((*old, new));
    }
    Ok(changes)
}
