//! Is this the latest state, as far as anybody can tell? What a storage shows may be a copy of long ago.
//!
//! Each snapshot names the one before it on its host, and its name is the hash of what it says: the last one of a host, its
//! *head*, stands for all of them. Who has written heads down proves with them that a repository has come that far. This
//! machine also remembers all registers that it has seen (`repository/seen.rs`): none of them ever goes.

use std::collections::{BTreeMap, HashSet};

use super::Check;
use crate::id::SnapshotId;
use crate::repository::{Index, SnapshotSet};
use crate::storage::ObjectName;

/// The last snapshot of a host, by its own count; it may be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The host.
    pub host: String,
    /// How many snapshots this host had put, with this one.
    pub sequence: u64,
    /// The snapshot.
    pub snapshot: SnapshotId,
}

impl Check<'_> {
    /// The last snapshot of each host, by name of the host; in each domain, since what a write-only client says of a host
    /// stands for none of what others put.
    pub(super) fn note_heads(&mut self, set: &SnapshotSet) {
        let mut heads = BTreeMap::new();
        for (id, snapshot) in set.existing() {
            let head = heads.entry((snapshot.host.as_str(), snapshot.domain)).or_insert((snapshot.sequence, *id));
            *head = (*head).max((snapshot.sequence, *id));
        }
        let head =
            |((host, _), (sequence, snapshot)): ((&str, _), _)| Head { host: host.to_owned(), sequence, snapshot };
        self.report.heads = heads.into_iter().map(head).collect();
    }

    /// Heads that somebody wrote down, and what this machine has seen: all of it has a register still.
    pub(super) fn compare_heads(&mut self, index: &Index, written_down: &[SnapshotId]) {
        let promised: HashSet<SnapshotId> = index.sessions().snapshots().map(|(_, snapshot)| snapshot).collect();
        for head in written_down.iter().filter(|head| !promised.contains(head)) {
            let text = "was a head of this repository, and no register names it: this is an earlier state, or later \
                        snapshots are hidden";
            self.find(ObjectName::Snapshot(*head).to_string(), text, true);
        }
        for session in self.repository.unseen_registers(index.sessions()) {
            let text = "was there when this machine last looked, and is not: this is an earlier state, or it is hidden";
            self.find(ObjectName::Register(session).to_string(), text, true);
        }
    }
}
