//! Which chunk of another repository a chunk became when it was copied there: ids are keyed, so only its content tells.
//!
//! A cache, and never an authority: it says what an id would be, not that the chunk is there. Without it a copy reads
//! again what it read before, and writes nothing twice. Each entry has a checksum of its own.

use std::collections::HashMap;
use std::path::Path;

use redb::{Builder, Database, ReadableDatabase, TableDefinition};

use super::rows::short_id;
use crate::crypto::hash_parts;
use crate::id::{ChunkId, RepositoryId};
use crate::os::lock::remove_cached;

/// Pages that are kept in memory, in bytes.
const CACHE_BYTES: usize = 16 << 20;

/// The beginning of a chunk's id here; its id there and the checksum.
const CHUNKS: TableDefinition<[u8; 16], ([u8; 32], [u8; 8])> = TableDefinition::new("chunks");

/// Ids in one repository and what they are in another.
pub struct Translation {
    /// `None` if another process has it, or it can't be made.
    database: Option<Database>,
}

impl Translation {
    /// Opens the one from the repository whose cache is in `directory` to another one. If that fails, nothing is known
    /// and nothing will be kept.
    pub fn open(directory: &Path, to: RepositoryId) -> Self {
        let path = directory.join(format!("copied-to-{to}"));
        let open = || Builder::new().set_cache_size(CACHE_BYTES).create(&path);
        let database = match open() {
            Ok(database) => Some(database),
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => None,
            Err(_) => {
                // Damaged, or of another version: nothing in it is missed for long.
                let _ = remove_cached(&path);
                open().ok()
            }
        };
        Self { database }
    }

    /// What the chunks became, as far as that is known.
    pub fn look_up(&self, ids: impl Iterator<Item = ChunkId>) -> HashMap<ChunkId, ChunkId> {
        self.try_look_up(ids).unwrap_or_default()
    }

    fn try_look_up(&self, ids: impl Iterator<Item = ChunkId>) -> Option<HashMap<ChunkId, ChunkId>> {
        let table = self.database.as_ref()?.begin_read().ok()?.open_table(CHUNKS).ok()?;
        let mut found = HashMap::new();
        for id in ids {
            let Some(entry) = table.get(short_id(&id)).ok()? else { continue };
            let (there, sum) = entry.value();
            if sum == checksum(&id, &there) {
                found.insert(id, ChunkId::new(there));
            }
        }
        Some(found)
    }

    /// Remembers what chunks became.
    pub fn remember(&self, pairs: &HashMap<ChunkId, ChunkId>) {
        // What can't be remembered is read again.
        let _ = self.try_remember(pairs);
    }

    fn try_remember(&self, pairs: &HashMap<ChunkId, ChunkId>) -> Result<(), redb::Error> {
        let Some(database) = self.database.as_ref().filter(|_| !pairs.is_empty()) else { return Ok(()) };
        let mut sorted: Vec<_> = pairs.iter().map(|(here, there)| (short_id(here), here, there)).collect();
        sorted.sort_unstable_by_key(|(short, ..)| *short);
        let write = database.begin_write()?;
        {
            let mut table = write.open_table(CHUNKS)?;
            for (short, here, there) in sorted {
                table.insert(short, (*there.as_bytes(), checksum(here, there.as_bytes())))?;
            }
        }
        Ok(write.commit()?)
    }
}

fn checksum(here: &ChunkId, there: &[u8; 32]) -> [u8; 8] {
    hash_parts(&[here.as_bytes(), there])[..8].try_into().expect("8 of 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> ChunkId {
        ChunkId::new([number; 32])
    }

    #[test]
    fn pairs_are_kept_and_damage_is_no_answer() {
        let directory = tempfile::tempdir().expect("a directory");
        let to = RepositoryId::new([1; 16]);
        let pairs: HashMap<_, _> = (0..100).map(|number| (id(number), id(number + 100))).collect();
        {
            let translation = Translation::open(directory.path(), to);
            translation.remember(&pairs);
            // Nobody else has it meanwhile, and goes without.
            let other = Translation::open(directory.path(), to);
            assert!(other.look_up(pairs.keys().copied()).is_empty());
            assert_eq!(translation.look_up(pairs.keys().copied().chain([id(200)])), pairs);
        }
        let translation = Translation::open(directory.path(), to);
        assert_eq!(translation.look_up(pairs.keys().copied()), pairs);
        assert!(
            Translation::open(directory.path(), RepositoryId::new([2; 16])).look_up([id(1)].into_iter()).is_empty()
        );
        drop(translation);
        let path = directory.path().join(format!("copied-to-{to}"));
        let mut bytes = std::fs::read(&path).expect("there");
        let places: Vec<usize> = (0..bytes.len() - 32).filter(|&at| bytes[at..at + 32] == [107; 32]).collect();
        assert!(!places.is_empty());
        places.into_iter().for_each(|at| bytes[at] ^= 1);
        std::fs::write(&path, bytes).expect("written");
        let found = Translation::open(directory.path(), to).look_up(pairs.keys().copied());
        assert!(!found.contains_key(&id(7)) && found.iter().all(|(here, there)| pairs[here] == *there));
        std::fs::write(&path, b"no database").expect("written");
        assert!(Translation::open(directory.path(), to).look_up(pairs.keys().copied()).is_empty());
    }
}
