//! Packs in the making: one buffer each, which sealed segments are appended to and which is used again.

use crate::crypto::{DomainKeys, SessionKeyRecord, random_bytes};
use crate::format::{Footer, HEADER_BYTES, ObjectKind, TAIL_BYTES, Tail, encode_footer, encode_tail, padme};
use crate::id::PackId;
use crate::model::{ChunkKind, PackRow, SegmentRow};
use crate::repository::Session;

/// Chunks in one pack, at most: data that shrinks to nothing must not make a footer beyond its limit.
const PACK_CHUNKS: usize = 1 << 16;
/// What a pack has room for beyond the size at which it is closed: the segment that closed it, and its footer. A
/// longer one makes the buffer grow.
const SLACK_BYTES: usize = 2 << 20;
/// A pack begins at a multiple of this in memory: a storage can write it from where it lies. Bytes.
const ALIGNMENT_BYTES: usize = 4096;

/// A pack in the making.
pub(super) struct OpenPack {
    pub(super) kind: ChunkKind,
    bytes: Vec<u8>,
    /// Where in `bytes` it begins.
    start: usize,
    segments: Vec<SegmentRow>,
    /// Whose keys seal the segments, besides the writer's own.
    others: Vec<SessionKeyRecord>,
    chunks: usize,
}

pub(super) struct FinishedPack {
    pub(super) row: PackRow,
    /// The writer's own session first: it says whose pack this is.
    pub(super) sessions: Vec<SessionKeyRecord>,
    pub(super) buffer: Vec<u8>,
    /// Where in it the object begins.
    pub(super) start: usize,
}

impl FinishedPack {
    /// The object.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

impl OpenPack {
    /// An empty one in `bytes`, whatever is in there. Pages that nothing was written to take no memory.
    pub(super) fn new(mut bytes: Vec<u8>, kind: ChunkKind, pack_size: u64) -> Self {
        bytes.clear();
        bytes.reserve_exact(usize::try_from(pack_size).expect("a limit is 512 MiB") + SLACK_BYTES + ALIGNMENT_BYTES);
        let start = bytes.as_ptr().align_offset(ALIGNMENT_BYTES);
        bytes.resize(start, 0);
        bytes.extend_from_slice(&ObjectKind::Pack.header());
        debug_assert_eq!(bytes.len() - start, HEADER_BYTES);
        Self { kind, bytes, start, segments: Vec::new(), others: Vec::new(), chunks: 0 }
    }

    /// Appends a sealed segment; `row` learns where it is.
    pub(super) fn push(&mut self, mut row: SegmentRow, sealed: &[u8]) {
        row.offset = u32::try_from(self.len()).expect("packs are closed far below 4 GiB");
        self.bytes.extend_from_slice(sealed);
        self.chunks += row.chunks.len();
        self.segments.push(row);
    }

    /// Takes note of a session whose key seals a segment in here.
    pub(super) fn add_session(&mut self, record: &SessionKeyRecord) {
        if !self.others.contains(record) {
            self.others.push(record.clone());
        }
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether it is to be closed.
    pub(super) fn is_full(&self, pack_size: u64) -> bool {
        self.len() as u64 >= pack_size || self.chunks >= PACK_CHUNKS
    }

    /// Adds padding, footer and tail.
    pub(super) fn finish(self, domain: &DomainKeys, session: &Session) -> FinishedPack {
        let (mut len, start, mut bytes) = (self.len(), self.start, self.bytes);
        let mut sessions = self.others;
        sessions.insert(0, session.keys().record().clone());
        let footer = Footer { sessions, segments: self.segments };
        let sealed = encode_footer(&footer, domain, 0);
        let tail = Tail {
            domain: domain.domain(),
            epoch: 0,
            footer_len: u32::try_from(sealed.len()).expect("footers stay below their limit"),
        };
        let before_tail = (len + sealed.len()) as u64;
        append_padding(padme(before_tail) - before_tail, &mut bytes);
        bytes.extend_from_slice(&sealed);
        bytes.extend_from_slice(&encode_tail(&tail));
        len = bytes.len() - start;
        debug_assert_eq!(len as u64, padme(before_tail) + TAIL_BYTES as u64);
        let id = PackId::new(*blake3::hash(&bytes[start..]).as_bytes());
        let row = PackRow { id, len: len as u64, segments: footer.segments };
        FinishedPack { row, sessions: footer.sessions, buffer: bytes, start }
    }
}

/// Bytes that look like the sealed ones around them.
fn append_padding(len: u64, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.resize(start + usize::try_from(len).expect("at most 64 KiB"), 0);
    blake3::Hasher::new_keyed(&random_bytes()).finalize_xof().fill(&mut bytes[start..]);
}
