//! The registers that this machine has seen. None ever goes, so one that is missing means that the storage shows an earlier
//! state than it did, or hides something.
//!
//! They are kept in the cache directory, as ids and a hash. Whoever has put back an earlier state on purpose clears the
//! cache; until then it is said each time. Where an earlier state is what was asked for, nothing is missing, and nothing is
//! learned.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::{Repository, SessionTable};
use crate::crypto::hash;
use crate::error::ErrorKind;
use crate::id::SessionId;
use crate::limits;
use crate::monitor::{Monitor, Problem};
use crate::os::{durable, lock};
use crate::storage::ObjectName;

const MAGIC: &[u8; 16] = b"repo registers1\n";
const ID_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// A million registers are 16 MB.
const MOST_BYTES: u64 = 1 << 30;

impl Repository {
    /// Registers that this machine has seen and that are not in `sessions`, which was loaded now. If there are none, it
    /// remembers those that are new.
    pub(crate) fn unseen_registers(&self, sessions: &SessionTable) -> Vec<SessionId> {
        if self.is_past() {
            return Vec::new();
        }
        let seen = durable::read_file(&self.seen_path(), None, MOST_BYTES).ok().and_then(|bytes| decode(&bytes));
        let seen = seen.unwrap_or_default();
        let there: HashSet<SessionId> = sessions.ended().collect();
        // One that came after the list was made is in the file, and in the storage.
        let is_gone = |id: &&SessionId| {
            let read = self.storage().read(ObjectName::Register(**id), None, limits::SMALL_OBJECT_BYTES);
            read.is_err_and(|error| error.kind() == ErrorKind::Missing)
        };
        let mut missing: Vec<SessionId> = seen.difference(&there).filter(is_gone).copied().collect();
        missing.sort();
        if missing.is_empty() && there.len() > seen.len() {
            // Without it the next command remembers less.
            let _ = lock::replace_cached(&self.seen_path(), &encode(&there));
        }
        missing
    }

    /// From now on what is there is all that there was: whoever has repaired a repository has been told what is missing.
    pub(crate) fn accept_registers(&self) {
        // If it stays, it is said again.
        let _ = lock::remove_cached(&self.seen_path());
    }

    /// Tells a person if the storage shows an earlier state than this machine has seen.
    pub(super) fn tell_of_an_earlier_state(&self, sessions: &SessionTable, monitor: &dyn Monitor) {
        let missing = self.unseen_registers(sessions);
        if let Some(first) = missing.first()
            && !self.told_of_an_earlier_state.swap(true, Ordering::Relaxed)
        {
            let message = format!(
                "{} of the sessions that this machine has seen are gone ({first} first): the storage shows an earlier \
                 state, or hides some",
                missing.len()
            );
            monitor.problem(&Problem { path: b"sessions".to_vec(), message });
        }
    }

    fn seen_path(&self) -> PathBuf {
        self.cache_directory().join("registers")
    }
}

fn encode(seen: &HashSet<SessionId>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + seen.len() * ID_BYTES + HASH_BYTES);
    bytes.extend_from_slice(MAGIC);
    seen.iter().for_each(|id| bytes.extend_from_slice(id.as_bytes()));
    let hash = hash(&bytes);
    bytes.extend_from_slice(&hash);
    bytes
}

fn decode(bytes: &[u8]) -> Option<HashSet<SessionId>> {
    let (body, found) = bytes.split_last_chunk::<HASH_BYTES>()?;
    let ids = body.strip_prefix(MAGIC).filter(|_| hash(body) == *found)?;
    let (ids, []) = ids.as_chunks::<ID_BYTES>() else { return None };
    Some(ids.iter().map(|id| SessionId::new(*id)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_comes_back_and_anything_else_is_nothing() {
        let seen: HashSet<SessionId> = (0..9).map(|n| SessionId::new([n; 16])).collect();
        let good = encode(&seen);
        assert_eq!(decode(&good), Some(seen));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), None, "{at}");
            assert_eq!(decode(&good[..at]), None, "{at}");
        }
    }
}
