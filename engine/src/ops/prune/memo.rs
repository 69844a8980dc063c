//! What the last look at everything found that found nothing to do, kept in the cache: as long as snapshots were only
//! added since, the next one need not look at everything.
//!
//! Why that is right: all that was needed then is needed now. So of the packs of then at most as much is unused as was,
//! and of those that came since at most all. If that is little enough, nothing would be copied. What a lost or a wrong
//! memo costs is time or space, never a chunk: it can only say that there is nothing to do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::plan::{Bounds, PruneProposal};
use super::survey::Inventory;
use crate::crypto::hash;
use crate::id::{PackId, SnapshotId};
use crate::os::durable;
use crate::os::lock::write_cached;
use crate::repository::Repository;

const MAGIC: &[u8; 8] = b"prune  1";
/// Length in bytes of the longest memo: a million packs and snapshots.
const MAX_BYTES: u64 = 32 << 20;
/// So many packs may have come: more of them may be small ones, to be put together.
const MAX_NEW_PACKS: usize = 64;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Memo {
    /// Bytes in packs that were needed, about.
    used: u64,
    /// Bytes that were not.
    unused: u64,
    snapshots: BTreeSet<SnapshotId>,
    packs: BTreeSet<PackId>,
}

impl Memo {
    /// Of a look that found nothing to do.
    pub(super) fn new(snapshots: BTreeSet<SnapshotId>, packs: &BTreeMap<PackId, u64>, found: &PruneProposal) -> Self {
        let used = found.kept_bytes.saturating_sub(found.unused_bytes);
        Self { used, unused: found.unused_bytes, snapshots, packs: packs.keys().copied().collect() }
    }

    /// What a look at everything would propose, if that is nothing; `None` if it has to be seen.
    pub(super) fn proposal(&self, now: &Inventory, bounds: &Bounds) -> Option<PruneProposal> {
        let existing: BTreeSet<SnapshotId> = now.snapshots.existing().map(|(id, _)| *id).collect();
        // A pack that no index object names is an orphan, or will be.
        let all_listed = || now.packs.keys().all(|pack| now.index.has_pack(pack).unwrap_or(false));
        let is_as_before = now.dropped.is_empty() && self.snapshots.is_subset(&existing) && all_listed();
        let new: Vec<u64> = now.packs.iter().filter(|(id, _)| !self.packs.contains(id)).map(|(_, len)| *len).collect();
        let unused = self.unused + new.iter().sum::<u64>();
        let is_little = unused <= bounds.max_unused.bytes(self.used) && new.len() <= MAX_NEW_PACKS;
        let kept_bytes = now.packs.values().sum();
        (is_as_before && is_little).then(|| PruneProposal { kept_bytes, unused_bytes: unused, ..Default::default() })
    }

    fn path(repository: &Repository) -> PathBuf {
        repository.cache_directory().join("prune-memo")
    }

    /// Keeps it in the cache, if that takes it.
    pub(super) fn save(&self, repository: &Repository) {
        let mut bytes = MAGIC.to_vec();
        let counts = [self.used, self.unused, self.snapshots.len() as u64];
        counts.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        self.snapshots.iter().for_each(|id| bytes.extend_from_slice(id.as_bytes()));
        self.packs.iter().for_each(|id| bytes.extend_from_slice(id.as_bytes()));
        bytes.extend_from_slice(&hash(&bytes));
        let _ = write_cached(&Self::path(repository), &bytes);
    }

    /// The one in the cache, if there is one that is whole.
    pub(super) fn load(repository: &Repository) -> Option<Self> {
        Self::decode(&durable::read_file(&Self::path(repository), None, MAX_BYTES).ok()?)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<32>()?;
        let body = body.strip_prefix(MAGIC).filter(|_| hash(&bytes[..bytes.len() - 32]) == *sum)?;
        let (counts, ids) = body.split_first_chunk::<24>()?;
        let number = |at: usize| u64::from_le_bytes(counts[at..at + 8].try_into().expect("eight bytes"));
        let (ids, rest) = ids.as_chunks::<32>();
        let (snapshots, packs) = ids.split_at_checked(usize::try_from(number(16)).ok()?)?;
        rest.is_empty().then(|| Self {
            used: number(0),
            unused: number(8),
            snapshots: snapshots.iter().map(|id| SnapshotId::new(*id)).collect(),
            packs: packs.iter().map(|id| PackId::new(*id)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memo_round_trips_and_nothing_else_is_one() {
        let snapshots = (1..4).map(|n| SnapshotId::new([n; 32])).collect();
        let packs = (5..7).map(|n| (PackId::new([n; 32]), 9)).collect();
        let found = PruneProposal { kept_bytes: 18, unused_bytes: 5, ..Default::default() };
        let memo = Memo::new(snapshots, &packs, &found);
        assert_eq!((memo.used, memo.unused), (13, 5));
        let scratch = tempfile::tempdir().expect("scratch");
        let secret = crate::crypto::Secret::generate_key_file();
        let storage: std::sync::Arc<dyn crate::storage::Storage> =
            std::sync::Arc::new(crate::storage::MemoryStorage::default());
        let clock = crate::clock::FixedClock(crate::clock::Timestamp::new(0, 0));
        crate::ops::init(&*storage, &secret, &Default::default(), &clock).expect("init");
        let repository = Repository::open(storage, &secret, scratch.path()).expect("open");
        assert_eq!(Memo::load(&repository), None);
        memo.save(&repository);
        assert_eq!(Memo::load(&repository), Some(memo));
        let bytes = durable::read_file(&Memo::path(&repository), None, MAX_BYTES).expect("it is there");
        for at in 0..bytes.len() {
            let mut spoiled = bytes.clone();
            spoiled[at] ^= 1;
            assert_eq!(Memo::decode(&spoiled), None, "byte {at}");
            assert_eq!(Memo::decode(&bytes[..at]), None, "{at} bytes");
        }
    }
}
