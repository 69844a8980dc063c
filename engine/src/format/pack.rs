//! Pack footers and tails. Spec chapter 7.

use minicbor::Decoder;

use super::FormatError;
use super::cbor::{MapWriter, Writer, Written, decoder, read_array, read_fixed, read_map, read_tuple, required};
use crate::crypto::{
    DomainKeys, SEGMENT_OVERHEAD_BYTES, SESSION_KEY_RECORD_BYTES, SegmentBinding, SessionKeyRecord, hash_parts,
};
use crate::id::{ChunkId, DomainId, SessionId};
use crate::limits;
use crate::model::{ChunkKind, Compression, SegmentRow, Suite};

/// Length in bytes of the tail.
pub const TAIL_BYTES: usize = 28;
const TAIL_MAGIC: &[u8; 4] = b"pend";
const FRAME_STEP_BYTES: usize = 4096;
/// A segment has at least one byte of plaintext and 40 of sealing, so a pack can't hold more.
const MAX_SEGMENTS: u64 = limits::PACK_BYTES / 41;
const MAX_SESSIONS: u64 = 1 << 16;
const ROW_FIELDS: u64 = 9;

/// What a pack says it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// The sessions whose keys seal the segments.
    pub sessions: Vec<SessionKeyRecord>,
    /// The segments.
    pub segments: Vec<SegmentRow>,
}

impl std::fmt::Debug for SessionKeyRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionKeyRecord({})", self.session())
    }
}

/// The end of a pack, in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Whose index key opens the footer.
    pub domain: DomainId,
    /// Which root secret.
    pub epoch: u32,
    /// Length in bytes of the sealed footer before the tail.
    pub footer_len: u32,
}

/// Encodes a tail.
pub fn encode_tail(tail: &Tail) -> [u8; TAIL_BYTES] {
    let mut bytes = [0; TAIL_BYTES];
    bytes[..16].copy_from_slice(tail.domain.as_bytes());
    bytes[16..20].copy_from_slice(&tail.epoch.to_le_bytes());
    bytes[20..24].copy_from_slice(&tail.footer_len.to_le_bytes());
    bytes[24..].copy_from_slice(TAIL_MAGIC);
    bytes
}

/// Decodes the tail of a pack of `pack_len` bytes; `end` holds at least its last [`TAIL_BYTES`] bytes.
///
/// # Errors
/// If it is no tail, of an unknown epoch, or pack or footer can't be as long as they say.
pub fn decode_tail(end: &[u8], pack_len: u64) -> Result<Tail, FormatError> {
    let bytes = end.last_chunk::<TAIL_BYTES>().ok_or(FormatError::Malformed("shorter than its tail"))?;
    if &bytes[24..] != TAIL_MAGIC {
        return Err(FormatError::Malformed("no pack tail"));
    }
    let tail = Tail {
        domain: DomainId::from_slice(&bytes[..16]).expect("16 bytes"),
        epoch: u32::from_le_bytes(bytes[16..20].try_into().expect("four bytes")),
        footer_len: u32::from_le_bytes(bytes[20..24].try_into().expect("four bytes")),
    };
    if tail.epoch != 0 {
        return Err(FormatError::Unknown("key epoch", tail.epoch.into()));
    }
    if pack_len > limits::PACK_BYTES {
        return Err(FormatError::OverLimit("pack"));
    }
    let room = pack_len.saturating_sub((super::HEADER_BYTES + TAIL_BYTES) as u64);
    if u64::from(tail.footer_len) > room.min(limits::INDEX_BYTES) {
        return Err(FormatError::OverLimit("pack footer"));
    }
    Ok(tail)
}

/// Encodes and seals a footer.
pub fn encode_footer(footer: &Footer, keys: &DomainKeys, epoch: u32) -> Vec<u8> {
    let mut map = MapWriter::default();
    map.entry(0, |w| write_sessions(w, &footer.sessions));
    map.entry(1, |w| write_rows(w, &footer.sessions, &footer.segments));
    keys.seal_footer(epoch, &frame(map))
}

/// Opens and decodes the footer of a pack whose segments end before byte `segments_end`.
///
/// # Errors
/// If it is damaged, or its segments overlap, lie elsewhere, or contradict themselves.
pub fn decode_footer(sealed: &[u8], keys: &DomainKeys, epoch: u32, segments_end: u64) -> Result<Footer, FormatError> {
    decode_body(&keys.open_footer(epoch, sealed)?, keys.domain(), segments_end)
}

/// Decodes the frame of a footer in a pack of `domain`.
pub(super) fn decode_body(frame: &[u8], domain: DomainId, segments_end: u64) -> Result<Footer, FormatError> {
    let mut decoder = decoder(unframe(frame)?)?;
    let (mut sessions, mut segments) = (None, None);
    read_map(&mut decoder, |key, d| {
        match key {
            0 => sessions = Some(read_sessions(d, domain)?),
            1 => segments = Some(read_rows(d, sessions.as_deref().unwrap_or_default())?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let footer = Footer { sessions: required(sessions)?, segments: required(segments)? };
    check_places(&footer.segments, segments_end)?;
    Ok(footer)
}

/// `CBOR length ‖ CBOR ‖ zeros`, so that the number of chunks shows only in steps.
pub(super) fn frame(map: MapWriter) -> Vec<u8> {
    // Some MiB: growing by doubling would take twice as much.
    let mut frame = Vec::with_capacity((4 + map.len_at_most()).next_multiple_of(FRAME_STEP_BYTES));
    frame.resize(4, 0);
    map.finish(&mut frame);
    let len = u32::try_from(frame.len() - 4).expect("index objects and footers stay below their limit");
    frame[..4].copy_from_slice(&len.to_le_bytes());
    frame.resize(frame.len().next_multiple_of(FRAME_STEP_BYTES), 0);
    frame
}

/// The CBOR of a frame.
pub(super) fn unframe(frame: &[u8]) -> Result<&[u8], FormatError> {
    let (len, rest) = frame.split_first_chunk::<4>().ok_or(FormatError::Malformed("frame"))?;
    let len = u32::from_le_bytes(*len) as usize;
    if rest.len() < len || !frame.len().is_multiple_of(FRAME_STEP_BYTES) || rest[len..].iter().any(|&byte| byte != 0) {
        return Err(FormatError::Malformed("frame"));
    }
    Ok(&rest[..len])
}

/// The hash of a segment's chunk table, which its seal binds.
pub fn segment_table_hash(chunks: &[(ChunkId, u32)]) -> [u8; 32] {
    let (lengths, ids) = chunk_columns(chunks);
    hash_parts(&[&lengths, &ids])
}

/// What the seal of a segment binds.
pub fn segment_binding(row: &SegmentRow) -> SegmentBinding {
    SegmentBinding {
        kind: row.kind,
        suite: row.suite,
        compression: row.compression,
        plain_len: row.plain_len,
        chunk_table_hash: segment_table_hash(&row.chunks),
    }
}

fn chunk_columns(chunks: &[(ChunkId, u32)]) -> (Vec<u8>, Vec<u8>) {
    let mut lengths = Vec::with_capacity(chunks.len() * 3);
    let mut ids = Vec::with_capacity(chunks.len() * ChunkId::LEN);
    for (id, len) in chunks {
        lengths.extend_from_slice(&len.to_le_bytes()[..3]);
        ids.extend_from_slice(id.as_bytes());
    }
    (lengths, ids)
}

pub(super) fn write_sessions(w: &mut Writer<'_>, sessions: &[SessionKeyRecord]) -> Written {
    w.array(sessions.len() as u64)?;
    sessions.iter().try_for_each(|record| w.bytes(record.as_bytes()).map(drop))
}

/// Reads the session key records of something that belongs to `domain`: they must, too.
pub(super) fn read_sessions(decoder: &mut Decoder<'_>, domain: DomainId) -> Result<Vec<SessionKeyRecord>, FormatError> {
    let mut sessions = Vec::new();
    read_array(decoder, MAX_SESSIONS, |d| {
        let bytes = read_fixed::<SESSION_KEY_RECORD_BYTES>(d)?;
        let record = SessionKeyRecord::from_slice(&bytes).expect("its length");
        if record.domain() != domain {
            return Err(FormatError::Malformed("session key record of another domain"));
        }
        sessions.push(record);
        Ok(())
    })?;
    Ok(sessions)
}

pub(super) fn write_rows(w: &mut Writer<'_>, sessions: &[SessionKeyRecord], rows: &[SegmentRow]) -> Written {
    w.array(rows.len() as u64)?;
    for row in rows {
        let session = sessions
            .iter()
            .position(|record| record.session() == row.session)
            .expect("the writer lists the session of each segment");
        let (lengths, ids) = chunk_columns(&row.chunks);
        w.array(ROW_FIELDS)?.u64(session as u64)?.u32(row.offset)?.u32(row.sealed_len)?;
        w.u8(row.kind.code())?.u8(row.suite.code())?.u8(row.compression.code())?;
        w.u32(row.plain_len)?.bytes(&lengths)?.bytes(&ids)?;
    }
    Ok(())
}

pub(super) fn read_rows(
    decoder: &mut Decoder<'_>,
    sessions: &[SessionKeyRecord],
) -> Result<Vec<SegmentRow>, FormatError> {
    let mut rows = Vec::new();
    read_array(decoder, MAX_SEGMENTS, |d| {
        rows.push(read_tuple(d, ROW_FIELDS, |d| read_row(d, sessions))?);
        Ok(())
    })?;
    Ok(rows)
}

fn read_row(d: &mut Decoder<'_>, sessions: &[SessionKeyRecord]) -> Result<SegmentRow, FormatError> {
    let session: SessionId = sessions
        .get(usize::try_from(d.u64()?).unwrap_or(usize::MAX))
        .ok_or(FormatError::Malformed("segment row names no session"))?
        .session();
    let (offset, sealed_len) = (d.u32()?, d.u32()?);
    let (kind, suite, compression) = (d.u8()?, d.u8()?, d.u8()?);
    let plain_len = d.u32()?;
    if plain_len > limits::SEGMENT_PLAIN_BYTES {
        return Err(FormatError::OverLimit("segment"));
    }
    let chunks = read_chunks(d.bytes()?, d.bytes()?, plain_len)?;
    let compression =
        Compression::from_code(compression).ok_or(FormatError::Unknown("compression", compression.into()))?;
    let expected = plain_len + SEGMENT_OVERHEAD_BYTES as u32;
    if sealed_len > limits::SEGMENT_SEALED_BYTES || (compression == Compression::None && sealed_len != expected) {
        return Err(FormatError::OverLimit("sealed segment"));
    }
    Ok(SegmentRow {
        session,
        offset,
        sealed_len,
        kind: ChunkKind::from_code(kind).ok_or(FormatError::Unknown("chunk kind", kind.into()))?,
        suite: Suite::from_code(suite).ok_or(FormatError::Unknown("suite", suite.into()))?,
        compression,
        plain_len,
        chunks,
    })
}

fn read_chunks(lengths: &[u8], ids: &[u8], plain_len: u32) -> Result<Vec<(ChunkId, u32)>, FormatError> {
    let (lengths, rest) = lengths.as_chunks::<3>();
    let (ids, rest_ids) = ids.as_chunks::<{ ChunkId::LEN }>();
    if !rest.is_empty() || !rest_ids.is_empty() || lengths.len() != ids.len() || ids.is_empty() {
        return Err(FormatError::Malformed("chunk table"));
    }
    let mut chunks = Vec::with_capacity(ids.len());
    let mut total = 0u64;
    for ([a, b, c], id) in lengths.iter().zip(ids) {
        let len = u32::from_le_bytes([*a, *b, *c, 0]);
        if len == 0 || len > limits::CHUNK_BYTES {
            return Err(FormatError::OverLimit("chunk"));
        }
        total += u64::from(len);
        chunks.push((ChunkId::new(*id), len));
    }
    if total != u64::from(plain_len) {
        return Err(FormatError::Malformed("chunk lengths do not add up"));
    }
    Ok(chunks)
}

/// Segments lie between the header and `end`, and apart.
pub(super) fn check_places(segments: &[SegmentRow], end: u64) -> Result<(), FormatError> {
    let mut places: Vec<(u64, u64)> =
        segments.iter().map(|row| (u64::from(row.offset), u64::from(row.sealed_len))).collect();
    places.sort_unstable();
    let mut free_from = super::HEADER_BYTES as u64;
    for (offset, len) in places {
        if offset < free_from || len < SEGMENT_OVERHEAD_BYTES as u64 {
            return Err(FormatError::Malformed("segments overlap"));
        }
        free_from = offset + len;
    }
    if free_from > end.max(super::HEADER_BYTES as u64) {
        return Err(FormatError::Malformed("segments reach beyond the pack"));
    }
    Ok(())
}

/// The size class of a pack of `len` bytes: PADMÉ (Nikitin et al., PETS 2019) with steps of at most 64 KiB.
pub const fn padme(len: u64) -> u64 {
    if len < 2 {
        return len;
    }
    let exponent = len.ilog2();
    let step_bits = exponent - (exponent.ilog2() + 1);
    let step = 1u64 << if step_bits > 16 { 16 } else { step_bits };
    len.next_multiple_of(step)
}
