//! What was read in full and found right, and when: so that a part a night becomes a full check a month.
//!
//! It is kept in the cache directory, beside the local index, and is no authority: lost or unreadable, it means that
//! nothing was verified yet. What an earlier state has is not the present's, and is not remembered. A pack that was found
//! damaged is forgotten here, so that it is read first from then on.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::clock::Timestamp;
use crate::crypto::hash;
use crate::id::PackId;
use crate::monitor::Monitor;
use crate::os::{durable, lock};
use crate::repository::Repository;

const MAGIC: &[u8; 16] = b"repo verified 1\n";
const ROW_BYTES: usize = 32 + 8;
const HASH_BYTES: usize = 32;
/// A million packs are 40 MB.
const MOST_BYTES: u64 = 1 << 30;

/// When packs were verified, in seconds since 1970 by the clock of this machine.
pub(super) struct Verified {
    times: HashMap<PackId, i64>,
    is_changed: bool,
}

impl Verified {
    /// What is remembered of packs that are there. What was verified in the future was by a clock that was wrong: that
    /// is not believed.
    pub(super) fn load(repository: &Repository, there: impl Iterator<Item = PackId>, now: Timestamp) -> Self {
        if repository.is_past() {
            return Self { times: HashMap::new(), is_changed: false };
        }
        let known = durable::read_file(&path(repository), None, MOST_BYTES).ok();
        let known = known.as_deref().and_then(decode).unwrap_or_default();
        let time = |id: PackId| Some((id, *known.get(&id).filter(|time| **time <= now.seconds)?));
        Self { times: there.filter_map(time).collect(), is_changed: false }
    }

    /// Remembers what reading a pack showed.
    pub(super) fn set(&mut self, id: PackId, is_right: bool, now: Timestamp) {
        self.is_changed = true;
        if is_right {
            self.times.insert(id, now.seconds);
        } else {
            self.times.remove(&id);
        }
    }

    /// When a pack was verified.
    pub(super) fn time(&self, id: &PackId) -> Option<i64> {
        self.times.get(id).copied()
    }

    /// How many were.
    pub(super) fn count(&self) -> u64 {
        self.times.len() as u64
    }

    /// When the one was that was verified longest ago.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.times.values().min().map(|seconds| Timestamp::new(*seconds, 0))
    }

    /// Keeps it for the next check. That this fails costs nothing but order.
    pub(super) fn save(&self, repository: &Repository, monitor: &dyn Monitor) {
        if self.is_changed
            && !repository.is_past()
            && let Err(error) = lock::replace_cached(&path(repository), &encode(&self.times))
        {
            monitor.note(&format!("what was verified can't be remembered: {error}"));
        }
    }
}

fn path(repository: &Repository) -> PathBuf {
    repository.cache_directory().join("verified")
}

fn encode(times: &HashMap<PackId, i64>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + times.len() * ROW_BYTES + HASH_BYTES);
    bytes.extend_from_slice(MAGIC);
    for (id, time) in times {
        bytes.extend_from_slice(id.as_bytes());
        bytes.extend_from_slice(&time.to_le_bytes());
    }
    let hash = hash(&bytes);
    bytes.extend_from_slice(&hash);
    bytes
}

fn decode(bytes: &[u8]) -> Option<HashMap<PackId, i64>> {
    let (body, found) = bytes.split_last_chunk::<HASH_BYTES>()?;
    let rows = body.strip_prefix(MAGIC).filter(|_| hash(body) == *found)?;
    let row = |row: &[u8; ROW_BYTES]| {
        let (id, time) = row.split_at(32);
        Some((PackId::from_slice(id)?, i64::from_le_bytes(time.try_into().ok()?)))
    };
    rows.as_chunks::<ROW_BYTES>().0.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_comes_back_and_anything_else_is_nothing() {
        let times: HashMap<PackId, i64> = (0..9).map(|n| (PackId::new([n; 32]), i64::from(n) - 4)).collect();
        let good = encode(&times);
        assert_eq!(decode(&good), Some(times));
        assert_eq!(decode(&encode(&HashMap::new())), Some(HashMap::new()));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), None, "byte {at}");
            assert_eq!(decode(&good[..at]), None, "cut at {at}");
        }
    }
}
