//! Chunks, segments and packs as rows of the local index, in the database or in memory.
//!
//! Rows have fixed widths and numbers that count within one place to look. Ids of chunks are cut to 16 bytes (false
//! matches of 10⁹ chunks: 10⁻²¹), since whoever reads a chunk checks the whole id.

use std::ops::Bound;

use crate::crypto::SessionKeyRecord;
use crate::format::segment_table_hash;
use crate::id::{ChunkId, PackId};
use crate::model::{self, ChunkKind, Compression, Suite};

const SHORT_ID_BYTES: usize = 16;

pub(super) type ShortId = [u8; SHORT_ID_BYTES];
/// Segment, offset and length.
pub(super) type ChunkRow = [u8; 10];
pub(super) type SegmentRow = [u8; 55];
/// Id and length.
pub(super) type PackRow = [u8; 40];

pub(super) type StoreResult<T> = Result<T, redb::Error>;

/// Chunks by their cut ids, in order.
pub(super) type ChunkRows<'a> = Box<dyn Iterator<Item = StoreResult<(ShortId, ChunkPlace)>> + 'a>;

/// From where to where, by cut ids.
pub(super) type IdRange = (Bound<ShortId>, Bound<ShortId>);
/// All ids.
pub(super) const ALL_IDS: IdRange = (Bound::Unbounded, Bound::Unbounded);

/// Something to look chunks up in.
pub(super) trait Rows: Send + Sync {
    /// Whether it holds any lost chunks.
    fn has_lost(&self) -> StoreResult<bool>;

    /// Whether a chunk was found to be lost at some time.
    fn was_lost(&self, id: &ChunkId) -> StoreResult<bool>;

    /// How many chunks it holds.
    fn chunk_count(&self) -> StoreResult<u64>;

    /// A number that this is not above, without counting.
    fn most_chunks(&self) -> StoreResult<u64>;

    /// Where a chunk is, if it knows.
    fn chunk(&self, id: &ChunkId) -> StoreResult<Option<ChunkPlace>>;

    /// Every place of a chunk; most have one at most.
    fn copies(&self, id: &ChunkId) -> StoreResult<Vec<ChunkPlace>>;

    /// Calls `each` with every place that is not the first one of its chunk.
    fn further_copies(&self, each: &mut dyn FnMut(ShortId, ChunkPlace)) -> StoreResult<()>;

    /// Every chunk's cut id and first place, in order of ids, of those in `ids`.
    fn chunk_rows(&self, ids: IdRange) -> StoreResult<ChunkRows<'_>>;

    /// A segment by its number.
    fn segment(&self, number: u32) -> StoreResult<SegmentView>;

    /// The part of a pack that a segment is, by its number.
    fn segment_extent(&self, number: u32) -> StoreResult<SegmentExtent>;

    /// Calls `each` with every segment's number and the part of a pack that it is, ascending.
    fn segments(&self, each: &mut dyn FnMut(u32, SegmentExtent)) -> StoreResult<()>;

    /// Calls `each` with every pack's number, id and length in bytes, ascending.
    fn packs(&self, each: &mut dyn FnMut(u32, PackId, u64)) -> StoreResult<()>;

    /// Whether it knows a pack.
    fn has_pack(&self, id: &PackId) -> StoreResult<bool>;

    /// Whether it is listed in the domain of full clients: only there a listing is what is in the pack, whoever signed it.
    fn vouches_for(&self, id: &PackId) -> StoreResult<bool>;
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkPlace {
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) len: u32,
}

/// Where a segment is, and how to open it.
#[derive(Debug, Clone)]
pub(super) struct SegmentView {
    pub(super) pack: PackId,
    pub(super) offset: u32,
    pub(super) sealed_len: u32,
    pub(super) plain_len: u32,
    pub(super) kind: ChunkKind,
    pub(super) suite: Suite,
    pub(super) compression: Compression,
    pub(super) table_hash: [u8; 32],
    pub(super) record: SessionKeyRecord,
}

/// Which part of which pack a segment is.
#[derive(Debug, Clone, Copy)]
pub(super) struct SegmentExtent {
    pub(super) pack: u32,
    pub(super) offset: u32,
    pub(super) sealed_len: u32,
    pub(super) plain_len: u32,
    pub(super) kind: ChunkKind,
}

/// Adds the rows of a segment's chunks, in the order of the segment.
pub(super) fn push_chunks(segment: &model::SegmentRow, number: u32, chunks: &mut Vec<(ShortId, ChunkRow)>) {
    let mut offset = 0u32;
    for (id, len) in &segment.chunks {
        let mut row = ChunkRow::default();
        row[..4].copy_from_slice(&number.to_le_bytes());
        row[4..7].copy_from_slice(&offset.to_le_bytes()[..3]);
        row[7..].copy_from_slice(&len.to_le_bytes()[..3]);
        chunks.push((short_id(id), row));
        offset += len;
    }
}

pub(super) fn encode_segment(segment: &model::SegmentRow, pack: u32, session: u32) -> SegmentRow {
    let mut row = [0; size_of::<SegmentRow>()];
    row[..4].copy_from_slice(&pack.to_le_bytes());
    row[4..8].copy_from_slice(&segment.offset.to_le_bytes());
    row[8..12].copy_from_slice(&segment.sealed_len.to_le_bytes());
    row[12..16].copy_from_slice(&segment.plain_len.to_le_bytes());
    row[16..20].copy_from_slice(&session.to_le_bytes());
    row[20] = segment.kind.code();
    row[21] = segment.suite.code();
    row[22] = segment.compression.code();
    row[23..].copy_from_slice(&segment_table_hash(&segment.chunks));
    row
}

pub(super) fn encode_pack(pack: &model::PackRow) -> PackRow {
    let mut row = [0; size_of::<PackRow>()];
    row[..32].copy_from_slice(pack.id.as_bytes());
    row[32..].copy_from_slice(&pack.len.to_le_bytes());
    row
}

pub(super) fn decode_pack(row: &PackRow) -> (PackId, u64) {
    let len = u64::from_le_bytes(row[32..].try_into().expect("eight bytes"));
    (PackId::from_slice(&row[..32]).expect("32 bytes"), len)
}

/// The number of the session whose key seals a segment.
pub(super) fn session_of(row: &SegmentRow) -> u32 {
    u32_at(row, 16)
}

pub(super) fn segment_extent(row: &SegmentRow) -> StoreResult<SegmentExtent> {
    Ok(SegmentExtent {
        pack: u32_at(row, 0),
        offset: u32_at(row, 4),
        sealed_len: u32_at(row, 8),
        plain_len: u32_at(row, 12),
        kind: ChunkKind::from_code(row[20]).ok_or_else(missing)?,
    })
}

pub(super) fn decode_segment(row: &SegmentRow, pack: &PackRow, record: SessionKeyRecord) -> StoreResult<SegmentView> {
    let SegmentExtent { offset, sealed_len, plain_len, kind, .. } = segment_extent(row)?;
    let (pack, pack_len) = decode_pack(pack);
    // A row that a broken disk changed must not make anyone allocate gigabytes.
    if plain_len > crate::limits::SEGMENT_PLAIN_BYTES || u64::from(sealed_len) > pack_len {
        return Err(redb::Error::Corrupted("a row is out of bounds".into()));
    }
    Ok(SegmentView {
        pack,
        offset,
        sealed_len,
        plain_len,
        kind,
        suite: Suite::from_code(row[21]).ok_or_else(missing)?,
        compression: Compression::from_code(row[22]).ok_or_else(missing)?,
        table_hash: row[23..].try_into().expect("32 bytes"),
        record,
    })
}

pub(super) fn missing() -> redb::Error {
    redb::Error::Corrupted("a row is missing or broken".into())
}

pub(super) fn decode_chunk(row: ChunkRow) -> ChunkPlace {
    ChunkPlace {
        segment: u32_at(&row, 0),
        offset: u32::from_le_bytes([row[4], row[5], row[6], 0]),
        len: u32::from_le_bytes([row[7], row[8], row[9], 0]),
    }
}

pub(super) fn short_id(id: &ChunkId) -> ShortId {
    id.as_bytes()[..SHORT_ID_BYTES].try_into().expect("16 of 32 bytes")
}

fn u32_at(row: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(row[at..at + 4].try_into().expect("four bytes"))
}
