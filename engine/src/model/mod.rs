//! The words of the domain as types. Nothing here knows how it is encoded; `format/` does.

mod config;
mod node;
mod snapshot;

pub use config::{ChunkerParameters, Config, PageParameters, Suite};
pub use node::{ChunkRef, Content, Extent, LinkGroup, Metadata, Node, NodeKind, Xattr, is_valid_name};
pub use snapshot::{
    CopyOrigin, NameTable, Snapshot, SnapshotStatistics, StackFact, StackPart, StackPartKind, StackRecord,
};

use crate::id::{ChunkId, ClientId, PackId, SessionId};

/// Who made an object: full clients, who share a secret, or one that may only add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Signer {
    /// Whoever holds the root secret.
    #[default]
    Full,
    /// A write-only client.
    Client(ClientId),
}

/// What a chunk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChunkKind {
    /// Bytes of files.
    Data,
    /// Nodes of directories, or lists of chunks.
    Tree,
}

impl ChunkKind {
    /// The number that stands for it on disk and in seals.
    pub const fn code(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Tree => 2,
        }
    }

    /// The kind of a number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Data),
            2 => Some(Self::Tree),
            _ => None,
        }
    }
}

/// How a segment is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// As it is.
    None,
    /// One zstd frame.
    Zstd,
}

impl Compression {
    /// The number that stands for it on disk and in seals.
    pub const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Zstd => 1,
        }
    }

    /// The method of a number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// A segment as a pack footer and an index object list it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    /// Which session's data key seals it.
    pub session: SessionId,
    /// First byte in the pack.
    pub offset: u32,
    /// Length in bytes in the pack.
    pub sealed_len: u32,
    /// What its chunks hold.
    pub kind: ChunkKind,
    /// What seals it.
    pub suite: Suite,
    /// How it is compressed.
    pub compression: Compression,
    /// Length in bytes of its chunks together.
    pub plain_len: u32,
    /// Its chunks in order; their lengths add up to `plain_len`.
    pub chunks: Vec<(ChunkId, u32)>,
}

/// A pack as an index object lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackRow {
    /// The pack.
    pub id: PackId,
    /// Length in bytes of the object.
    pub len: u64,
    /// Its segments.
    pub segments: Vec<SegmentRow>,
}
