//! What benchmarks work on: data, keys, a clock and trees, the same in every run.

use engine::clock::{FixedClock, Timestamp};
use engine::crypto::{Keys, RootSecret, hash};
use engine::id::{ChunkId, RepositoryId};
use engine::model::{ChunkRef, Content, Metadata, Node, NodeKind};

/// Keys of a repository that does not exist.
pub fn keys() -> Keys {
    Keys::new(RootSecret::generate(), RepositoryId::new([7; 16]))
}

/// A clock that stands still.
pub fn clock() -> FixedClock {
    FixedClock(Timestamp::new(1_700_000_000, 0))
}

/// Bytes that nobody can compress: a chain of hashes that begins at `seed`.
pub fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 32);
    let mut counter = 0u64;
    while bytes.len() < len {
        let block = [seed.to_le_bytes(), counter.to_le_bytes()].concat();
        bytes.extend_from_slice(&hash(&block));
        counter += 1;
    }
    bytes.truncate(len);
    bytes
}

/// Lines as dumps of databases have them: few words, many numbers. Shrinks to about a third.
pub fn text(seed: u64, len: usize) -> Vec<u8> {
    const WORDS: [&str; 8] = ["backup", "restore", "volume", "token", "message", "room", "event", "policy"];
    let mut bytes = Vec::with_capacity(len + 128);
    let mut row = 0u64;
    while bytes.len() < len {
        let random = hash(&[seed.to_le_bytes(), row.to_le_bytes()].concat());
        let number = u64::from_le_bytes(random[..8].try_into().expect("eight bytes of 32"));
        bytes.extend_from_slice(format!("{row}\t{number:x}").as_bytes());
        for byte in &random[8..20] {
            bytes.push(b' ');
            bytes.extend_from_slice(WORDS[usize::from(byte % 8)].as_bytes());
        }
        bytes.push(b'\n');
        row += 1;
    }
    bytes.truncate(len);
    bytes
}

/// The id of made-up chunk `number` of series `seed`.
pub fn made_up_id(seed: u64, number: u64) -> ChunkId {
    ChunkId::new(hash(&[seed.to_le_bytes(), number.to_le_bytes()].concat()))
}

/// A file as a directory lists it, with `chunks` chunks.
pub fn file_node(number: u64, chunks: u64) -> Node {
    let metadata = Metadata {
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        mtime: Timestamp::new(1_700_000_000, 123_456_789),
        ctime: Some(Timestamp::new(1_700_000_001, 987_654_321)),
        inode: Some(number),
        device: Some(2049),
        ..Metadata::default()
    };
    let references = (0..chunks).map(|chunk| ChunkRef { id: made_up_id(number, chunk), len: 65536 }).collect();
    let mut node = Node::new(format!("file-{number:08}.txt").into_bytes(), NodeKind::File, metadata);
    node.size = chunks * 65536;
    node.content = Some(Content::Chunks(references));
    node
}
