//! What a repository was made with.

use crate::clock::Timestamp;
use crate::id::RepositoryId;

/// What seals segments. Everything else is always XChaCha20-Poly1305.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// XChaCha20-Poly1305.
    XChaCha20Poly1305,
    /// AES-256-GCM with a key of its own for every segment.
    Aes256Gcm,
}

impl Suite {
    /// The number that stands for it on disk and in seals.
    pub const fn code(self) -> u8 {
        match self {
            Self::XChaCha20Poly1305 => 1,
            Self::Aes256Gcm => 2,
        }
    }

    /// The suite of a number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::XChaCha20Poly1305),
            2 => Some(Self::Aes256Gcm),
            _ => None,
        }
    }
}

/// Settings of the gear chunker. Sizes in bytes, even.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkerParameters {
    /// No chunk but a stream's last is shorter.
    pub min: u32,
    /// Up to here the strict mask decides, then the loose one.
    pub average: u32,
    /// No chunk is longer.
    pub max: u32,
    /// Cut where `hash & mask == 0`, before `average`.
    pub strict_mask: u64,
    /// The same after `average`.
    pub loose_mask: u64,
}

/// Settings of the chunker for pages. Sizes in bytes, powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageParameters {
    /// Smaller pages share a chunk.
    pub min: u32,
    /// Larger pages are several chunks.
    pub max: u32,
}

/// The `config` object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Names the repository for ever.
    pub id: RepositoryId,
    /// When it was made.
    pub created: Timestamp,
    /// What seals segments.
    pub suite: Suite,
    /// Length in bytes at which a writer closes a pack.
    pub pack_size: u64,
    /// Plaintext bytes at which a writer closes a segment.
    pub segment_size: u32,
    /// For what does not compress: media, archives.
    pub files: ChunkerParameters,
    /// For what changes in small places: dumps, text, images of disks.
    pub dumps: ChunkerParameters,
    /// For databases that write to pages in place.
    pub pages: PageParameters,
    /// Features that a client must know to read.
    pub features_read: Vec<String>,
    /// Features that a client must know to write.
    pub features_write: Vec<String>,
    /// Features that a client must know to delete.
    pub features_prune: Vec<String>,
}
