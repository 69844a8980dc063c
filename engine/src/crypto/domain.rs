//! The keys of one deduplication domain. Spec chapters 3, 7, 8.

use zeroize::Zeroize;

use super::{CryptoError, Key, aead};
use crate::id::{ChunkId, DomainId, RepositoryId};
use crate::model::ChunkKind;

/// What the keys of one domain derive from: all that a client needs to cut, name and list what it stores there.
#[derive(Clone)]
pub(super) struct DomainSecret(pub(super) Key);

/// The keys of one deduplication domain.
pub struct DomainKeys {
    repository: RepositoryId,
    domain: DomainId,
    pub(super) data_id: Key,
    pub(super) tree_id: Key,
    pub(super) tree_chunker: Key,
    pub(super) index: Key,
    gear: Box<[u64; 256]>,
}

impl DomainKeys {
    pub(super) fn new(repository: RepositoryId, domain: DomainId, secret: &DomainSecret) -> Self {
        let material: &[&[u8]] = &[&secret.0.0, repository.as_bytes(), domain.as_bytes()];
        let mut hasher = blake3::Hasher::new_derive_key("repo 2026 v1 domain data chunker");
        for part in material {
            hasher.update(part);
        }
        let mut bytes = [0u8; 2048];
        hasher.finalize_xof().fill(&mut bytes);
        let mut gear = Box::new([0u64; 256]);
        for (entry, bytes) in gear.iter_mut().zip(bytes.chunks_exact(8)) {
            *entry = u64::from_le_bytes(bytes.try_into().expect("chunks of eight"));
        }
        bytes.zeroize();
        Self {
            repository,
            domain,
            data_id: Key::derive("repo 2026 v1 domain data id", material),
            tree_id: Key::derive("repo 2026 v1 domain tree id", material),
            tree_chunker: Key::derive("repo 2026 v1 domain tree chunker", material),
            index: Key::derive("repo 2026 v1 domain index", material),
            gear,
        }
    }

    /// The domain they belong to.
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// The id of a chunk. Inputs from 16 KiB on use the hash's full width.
    pub fn chunk_id(&self, kind: ChunkKind, plaintext: &[u8]) -> ChunkId {
        let key = match kind {
            ChunkKind::Data => &self.data_id,
            ChunkKind::Tree => &self.tree_id,
        };
        ChunkId::new(*blake3::keyed_hash(&key.0, plaintext).as_bytes())
    }

    /// The secret table of the data chunker.
    pub fn gear_table(&self) -> &[u64; 256] {
        &self.gear
    }

    /// What decides after which names a tree is cut.
    pub fn tree_cut_hash(&self, name: &[u8]) -> u64 {
        let hash = blake3::keyed_hash(&self.tree_chunker.0, name);
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("eight bytes of 32"))
    }

    /// Seals the frame of an index object that begins with `header`.
    pub fn seal_index(&self, header: &[u8; 8], epoch: u32, frame: &[u8]) -> Vec<u8> {
        aead::seal(&self.index, &self.tree_chunker, &self.index_aad(header, epoch), frame)
    }

    /// Opens what [`Self::seal_index`] made.
    ///
    /// # Errors
    /// If it is damaged or belongs elsewhere.
    pub fn open_index(&self, header: &[u8; 8], epoch: u32, sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        aead::open(&self.index, &self.index_aad(header, epoch), sealed)
    }

    /// Seals the frame of a pack footer.
    pub fn seal_footer(&self, epoch: u32, frame: &[u8]) -> Vec<u8> {
        aead::seal(&self.index, &self.tree_chunker, &self.footer_aad(epoch), frame)
    }

    /// Opens what [`Self::seal_footer`] made.
    ///
    /// # Errors
    /// If it is damaged or belongs elsewhere.
    pub fn open_footer(&self, epoch: u32, sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        aead::open(&self.index, &self.footer_aad(epoch), sealed)
    }

    fn index_aad(&self, header: &[u8; 8], epoch: u32) -> Vec<u8> {
        [&header[..], self.repository.as_bytes(), self.domain.as_bytes(), &epoch.to_le_bytes()].concat()
    }

    fn footer_aad(&self, epoch: u32) -> Vec<u8> {
        [b"repo v1 footer", &self.repository.as_bytes()[..], self.domain.as_bytes(), &epoch.to_le_bytes()].concat()
    }
}

impl Drop for DomainKeys {
    fn drop(&mut self) {
        self.gear.zeroize();
    }
}
