//! The root secret and what derives from it. Spec chapter 3.

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{CryptoError, Key, aead, random_bytes};
use crate::id::{ChunkId, DomainId, RepositoryId};
use crate::model::ChunkKind;

/// Length in bytes of `auth`: its kind and the proof.
const AUTH_BYTES: usize = 33;
const AUTH_CONTROL: u8 = 1;

/// The secret that every key of a repository comes from. Exists in memory, and wrapped in key slots.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RootSecret(pub(super) [u8; 32]);

impl RootSecret {
    /// A new random one.
    pub fn generate() -> Self {
        Self(random_bytes())
    }
}

/// The keys of a repository that a full client holds.
pub struct Keys {
    pub(super) repository: RepositoryId,
    root: RootSecret,
    pub(super) control: Key,
    pub(super) recipient: StaticSecret,
    pub(super) recipient_public: PublicKey,
    pub(super) label: Key,
}

impl Keys {
    /// Derives the keys of repository `repository`.
    pub fn new(root: RootSecret, repository: RepositoryId) -> Self {
        let material: [&[u8]; 2] = [&root.0, repository.as_bytes()];
        let control = Key::derive("repo 2026 v1 control", &material);
        let recipient = StaticSecret::from(Key::derive("repo 2026 v1 recipient x25519", &material).0);
        let label = Key::derive("repo 2026 v1 slot label", &material);
        let recipient_public = PublicKey::from(&recipient);
        Self { repository, root, control, recipient, recipient_public, label }
    }

    /// The repository they belong to.
    pub fn repository(&self) -> RepositoryId {
        self.repository
    }

    /// The secret to wrap in another key slot.
    pub fn root(&self) -> &RootSecret {
        &self.root
    }

    /// The keys of a deduplication domain.
    pub fn domain(&self, domain: DomainId) -> DomainKeys {
        let material: [&[u8]; 3] = [&self.root.0, self.repository.as_bytes(), domain.as_bytes()];
        DomainKeys::new(self.repository, domain, &material)
    }

    /// The MAC that ends `config`.
    pub fn config_mac(&self, bytes: &[u8]) -> [u8; 32] {
        *self.control.keyed(&[bytes]).as_bytes()
    }

    /// Whether `mac` is [`Self::config_mac`] of `bytes`. Takes the same time whatever differs.
    pub fn verify_config_mac(&self, bytes: &[u8], mac: &[u8; 32]) -> bool {
        self.control.keyed(&[bytes]) == *mac
    }

    /// Appends `auth` to an object.
    pub fn append_auth(&self, object: &mut Vec<u8>) {
        object.push(AUTH_CONTROL);
        let proof = self.control.keyed(&[object]);
        object.extend_from_slice(proof.as_bytes());
    }

    /// Checks `auth` at the end of `object` and returns what is before it.
    ///
    /// # Errors
    /// If the object is too short, its auth kind is unknown, or the proof is wrong.
    pub fn check_auth<'a>(&self, object: &'a [u8]) -> Result<&'a [u8], CryptoError> {
        let start = object.len().checked_sub(AUTH_BYTES).ok_or(CryptoError::TooShort)?;
        let (proven, proof) = object.split_at(start + 1);
        match proven[start] {
            AUTH_CONTROL => {}
            kind => return Err(CryptoError::Unknown("auth kind", kind.into())),
        }
        let proof: [u8; 32] = proof.try_into().expect("split so that 32 bytes are left");
        if self.control.keyed(&[proven]) != proof {
            return Err(CryptoError::NotAuthentic);
        }
        Ok(&proven[..start])
    }
}

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
    fn new(repository: RepositoryId, domain: DomainId, material: &[&[u8]]) -> Self {
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
