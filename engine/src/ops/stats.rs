//! How large things are.

use std::collections::HashSet;

use super::browse::{Descend, Visit, walk};
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::{ChunkId, SnapshotId};
use crate::model::{Content, NodeKind, Snapshot};
use crate::monitor::Monitor;
use crate::repository::{ChunkReader, ContentReader, Index, Repository};
use crate::storage::ObjectFamily;

/// Sizes, in bytes unless it says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Snapshots that were counted.
    pub snapshots: u64,
    /// All files of all of them, as a restore would write them.
    pub restore_bytes: u64,
    /// How many files that are.
    pub restore_files: u64,
    /// Distinct chunks that they reach.
    pub chunks: u64,
    /// Plaintext of these chunks.
    pub chunk_bytes: u64,
    /// What these chunks take in packs: each its share of its segment.
    pub stored_bytes: u64,
    /// Packs in the storage.
    pub packs: u64,
    /// Their length.
    pub pack_bytes: u64,
    /// Index objects.
    pub index_bytes: u64,
    /// Chunks that the index lists.
    pub index_chunks: u64,
    /// All objects.
    pub total_bytes: u64,
}

/// Measures the given snapshots and the whole storage.
///
/// # Errors
/// `Damaged`, `Missing` if a tree can't be read; `Interrupted`; `Io`.
pub fn stats(
    repository: &Repository,
    index: &Index,
    snapshots: &[(SnapshotId, Snapshot)],
    monitor: &dyn Monitor,
) -> Result<Stats> {
    let mut stats = Stats { index_chunks: index.chunk_count()?, ..Stats::default() };
    for family in ObjectFamily::ALL {
        let (mut count, mut bytes) = (0, 0);
        repository.storage().list(family, &mut |_, len| {
            count += 1;
            bytes += len;
        })?;
        stats.total_bytes += bytes;
        match family {
            ObjectFamily::Packs => (stats.packs, stats.pack_bytes) = (count, bytes),
            ObjectFamily::Indexes => stats.index_bytes = bytes,
            _ => {}
        }
    }
    let chunks = ChunkReader::new(repository, index);
    let mut count = Count { chunks: &chunks, seen: SeenIds::default(), stored: 0.0, stats };
    monitor.stage("reading snapshots", Some(snapshots.len() as u64), None);
    for (_, snapshot) in snapshots {
        count.snapshot(snapshot, monitor)?;
        monitor.advance(1, 0);
    }
    count.stats.stored_bytes = count.stored as u64;
    Ok(count.stats)
}

/// Ids that were met, by their first eight bytes: of ten million, two are taken for one once in 300,000 times, which
/// statistics can bear. Eight bytes each: most are kept sorted, a hash set would need twice that.
#[derive(Default)]
struct SeenIds {
    sorted: Vec<u64>,
    recent: HashSet<u64>,
}

/// Ids in the hash set before they are sorted in.
const RECENT_IDS: usize = 500_000;

impl SeenIds {
    /// `true` for the first time.
    fn insert(&mut self, id: &ChunkId) -> bool {
        let short = u64::from_le_bytes(id.as_bytes()[..8].try_into().expect("eight of 32 bytes"));
        if self.sorted.binary_search(&short).is_ok() || !self.recent.insert(short) {
            return false;
        }
        if self.recent.len() >= RECENT_IDS {
            self.sorted.reserve_exact(self.recent.len());
            self.sorted.extend(self.recent.drain());
            self.sorted.sort_unstable();
        }
        true
    }
}

struct Count<'a> {
    chunks: &'a ChunkReader<'a>,
    seen: SeenIds,
    stored: f64,
    stats: Stats,
}

impl Count<'_> {
    fn snapshot(&mut self, snapshot: &Snapshot, monitor: &dyn Monitor) -> Result<()> {
        self.stats.snapshots += 1;
        self.content(&snapshot.root)?;
        let chunks = self.chunks;
        walk(chunks, &snapshot.root, b"", &mut |_, visit| {
            if monitor.cancelled() {
                return Err(EngineError::new(ErrorKind::Interrupted, "interrupted"));
            }
            match visit {
                Visit::Node(node) => {
                    if node.kind == NodeKind::File {
                        self.stats.restore_files += 1;
                        self.stats.restore_bytes += node.size;
                    }
                    node.content.iter().try_for_each(|content| self.content(content))?;
                }
                Visit::Left => {}
                Visit::Damaged(error) => return Err(EngineError::new(error.kind(), error.subject())),
            }
            Ok(Descend::Yes)
        })
    }

    fn content(&mut self, content: &Content) -> Result<()> {
        if let Content::Lists { lists, .. } = content {
            lists.iter().try_for_each(|list| self.chunk(&list.id))?;
        }
        let mut reader = ContentReader::new(self.chunks, content);
        while let Some(reference) = reader.read_next()? {
            self.chunk(&reference.id)?;
        }
        Ok(())
    }

    fn chunk(&mut self, id: &ChunkId) -> Result<()> {
        if !self.seen.insert(id) {
            return Ok(());
        }
        let index = self.chunks.index();
        let place = index.find_or_recover(self.chunks.repository(), id)?;
        let segment = index.segment(place.segment)?;
        self.stats.chunks += 1;
        self.stats.chunk_bytes += u64::from(place.len);
        self.stored += f64::from(place.len) * f64::from(segment.sealed_len()) / f64::from(segment.plain_len().max(1));
        Ok(())
    }
}
