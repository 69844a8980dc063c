//! Where directories and lists of chunks are cut, so that a small change in a large one stays small.

use crate::model::ChunkRef;

/// No tree chunk of nodes is longer, unless a single node is. Bytes.
pub const TREE_CHUNK_MAX_BYTES: usize = 256 << 10;
const TREE_CHUNK_MIN_BYTES: usize = 16 << 10;
const TREE_CUT_MODULUS: u64 = 128;

/// Lists are short, some 160 references: a chunk that changes in a large file costs a list chunk too.
const LIST_MIN_REFERENCES: usize = 32;
const LIST_MAX_REFERENCES: usize = 512;
const LIST_CUT_MODULUS: u16 = 128;

/// Decides between which nodes a directory's stream is cut.
#[derive(Debug, Default, Clone)]
pub struct TreeCutter {
    len: usize,
}

impl TreeCutter {
    /// Whether the chunk must end before a node of `node_len` bytes.
    pub fn ends_before(&self, node_len: usize) -> bool {
        self.len > 0 && self.len + node_len > TREE_CHUNK_MAX_BYTES
    }

    /// Takes a node in; whether the chunk ends after it. `name_hash` is the keyed hash of its name, asked for
    /// only where it matters. The name alone decides, so that a touched file moves no cut.
    pub fn add(&mut self, node_len: usize, name_hash: impl FnOnce() -> u64) -> bool {
        self.len += node_len;
        self.len >= TREE_CHUNK_MIN_BYTES && name_hash().is_multiple_of(TREE_CUT_MODULUS)
    }

    /// Begins the next chunk.
    pub fn reset(&mut self) {
        self.len = 0;
    }
}

/// Decides after which references a list is cut.
#[derive(Debug, Default, Clone)]
pub struct ListCutter {
    count: usize,
}

impl ListCutter {
    /// Takes a reference in; whether the list ends after it.
    pub fn add(&mut self, reference: &ChunkRef) -> bool {
        self.count += 1;
        let bytes = reference.id.as_bytes();
        let head = u16::from_le_bytes([bytes[0], bytes[1]]);
        let ends = self.count >= LIST_MAX_REFERENCES
            || (self.count >= LIST_MIN_REFERENCES && head.is_multiple_of(LIST_CUT_MODULUS));
        if ends {
            self.count = 0;
        }
        ends
    }
}
