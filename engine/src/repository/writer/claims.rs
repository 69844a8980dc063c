//! Which chunks this session stores: asked for each chunk that the index does not list.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, RwLock};

use crate::error::Result;
use crate::format::IndexObject;
use crate::id::{ChunkId, IndexId};
use crate::repository::rows::{Rows, short_id};
use crate::repository::store::Store;
use crate::repository::{Index, Repository};

/// New ids that are kept in memory; more go into a private database with the next index object. Sets double when they
/// are seven eighths full: up to 900,000 ids in all shards they take 18 MiB, and the next one makes that 36.
const CLAIMS_IN_MEMORY: u64 = 700_000;
const CLAIM_SHARDS: usize = 64;

/// Ids that this session stores or stored. What is in written index objects may move to a private database.
pub(super) struct Claims {
    shards: Vec<Mutex<HashSet<[u8; 16]>>>,
    count: AtomicU64,
    spilled: RwLock<Option<Store>>,
}

impl Default for Claims {
    fn default() -> Self {
        let shards = (0..CLAIM_SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, count: AtomicU64::new(0), spilled: RwLock::new(None) }
    }
}

impl Claims {
    fn shard(&self, id: &[u8; 16]) -> MutexGuard<'_, HashSet<[u8; 16]>> {
        self.shards[usize::from(id[15]) % CLAIM_SHARDS].lock().expect("no holder of this lock panics")
    }

    /// `true` for the first to ask.
    pub(super) fn insert(&self, id: &ChunkId) -> Result<bool> {
        let short = short_id(id);
        // The shard stays locked meanwhile: what moves to the database is in the one or the other.
        let mut shard = self.shard(&short);
        if shard.contains(&short) {
            return Ok(false);
        }
        if let Some(store) = &*self.spilled.read().expect("no holder of this lock panics")
            && Index::store_result(store.chunk(id))?.is_some()
        {
            return Ok(false);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(shard.insert(short))
    }

    /// Whether somebody asked for it.
    pub(super) fn contains(&self, id: &ChunkId) -> Result<bool> {
        let short = short_id(id);
        let shard = self.shard(&short);
        if shard.contains(&short) {
            return Ok(true);
        }
        match &*self.spilled.read().expect("no holder of this lock panics") {
            Some(store) => Ok(Index::store_result(store.chunk(id))?.is_some()),
            None => Ok(false),
        }
    }

    /// Moves what an index object names out of memory, if there is much.
    pub(super) fn spill(&self, repository: &Repository, id: IndexId, object: IndexObject) -> Result<()> {
        if self.count.load(Ordering::Relaxed) < CLAIMS_IN_MEMORY {
            return Ok(());
        }
        let mut moved: HashMap<u8, Vec<[u8; 16]>> = HashMap::new();
        let segments = object.packs.iter().flat_map(|pack| &pack.segments);
        for (id, _) in segments.flat_map(|segment| &segment.chunks) {
            let short = short_id(id);
            moved.entry(short[15] % CLAIM_SHARDS as u8).or_default().push(short);
        }
        {
            let mut spilled = self.spilled.write().expect("no holder of this lock panics");
            let store = match &mut *spilled {
                Some(store) => store,
                none => none.insert(repository.private_store()?),
            };
            let mut import = || {
                let mut import = store.import(false)?;
                import.add(id, &object)?;
                import.finish()
            };
            Index::store_result(import())?;
        }
        for ids in moved.values() {
            let mut shard = self.shard(&ids[0]);
            ids.iter().for_each(|id| {
                shard.remove(id);
            });
            self.count.fetch_sub(ids.len() as u64, Ordering::Relaxed);
            shard.shrink_to_fit();
        }
        Ok(())
    }
}
