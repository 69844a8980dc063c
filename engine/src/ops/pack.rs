//! Reading a pack whole, to see what of it is right: for those who check and who repair.

use crate::compress::Decompressor;
use crate::crypto::{DomainKeys, SessionKeyRecord, hash};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{self, Footer, segment_binding};
use crate::id::{ChunkId, PackId};
use crate::limits;
use crate::model::SegmentRow;
use crate::repository::{Index, Repository, SegmentKey};
use crate::storage::ObjectName;

/// What reading a pack showed.
pub(super) struct PackState {
    pub(super) id: PackId,
    pub(super) len: u64,
    /// Why the pack is not what its name says.
    pub(super) problem: Option<String>,
    /// The storage did not give it, which may be no damage.
    pub(super) unread: bool,
    /// Chunks that can't be had from it any more.
    pub(super) lost: Vec<ChunkId>,
    /// Nothing in it could be told apart.
    pub(super) unreadable: bool,
    /// What it says it holds.
    pub(super) footer: Option<Footer>,
}

/// Reads a pack whole: name, footer, every segment, every chunk id.
///
/// # Errors
/// `Io` of the local index.
pub(super) fn read_pack(
    repository: &Repository,
    index: &Index,
    decompressor: &mut Decompressor,
    id: PackId,
    len: u64,
) -> Result<PackState> {
    let name = ObjectName::Pack(id);
    let mut result =
        PackState { id, len, problem: None, unread: false, lost: Vec::new(), unreadable: false, footer: None };
    let bytes = match repository.storage().read_once(name, None, limits::PACK_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => {
            // A disk that can't read one file may well read the others.
            result.problem = Some(error.to_string());
            result.unread = error.kind() == ErrorKind::Io;
            result.unreadable = true;
            return Ok(result);
        }
    };
    let named_right = hash(&bytes) == *id.as_bytes();
    let footer = match footer_of(repository, &bytes) {
        Ok(footer) => Some(footer),
        Err(error) => {
            result.problem = Some(format!("footer: {error}"));
            None
        }
    };
    if !named_right && result.problem.is_none() {
        result.problem = Some("does not have the content that its name says".into());
    }
    let segments = match &footer {
        // What is not in the index is found by the footer, whatever else is wrong with the pack.
        Some(footer) if named_right || !index.has_pack(&id)? => {
            footer.segments.iter().map(|row| open_row(repository, footer, row, &bytes, decompressor)).collect()
        }
        // Of a pack that is not the one that it should be, the index says what was where.
        _ => segments_by_index(repository, index, id, &bytes)?,
    };
    let (mut readable, mut lost_segments) = (0, 0);
    for segment in segments {
        match segment {
            Segment::Good => readable += 1,
            Segment::Lost(ids) => {
                lost_segments += 1;
                result.lost.extend(ids);
            }
        }
    }
    if lost_segments > 0 {
        let text = format!("{lost_segments} of {} segments can't be opened", readable + lost_segments);
        result.problem = Some(result.problem.map_or(text.clone(), |problem| format!("{problem}; {text}")));
    }
    result.footer = footer;
    Ok(result)
}

/// The footer of a pack whose bytes are at hand.
fn footer_of(repository: &Repository, bytes: &[u8]) -> Result<Footer> {
    let damaged = |error| EngineError::with_source(ErrorKind::Damaged, "footer", error);
    format::ObjectKind::Pack.strip(bytes).map_err(damaged)?;
    let tail = format::decode_tail(bytes, bytes.len() as u64).map_err(damaged)?;
    let end = bytes.len() - format::TAIL_BYTES;
    let start = end - tail.footer_len as usize;
    let keys = repository.domain_keys(tail.domain)?;
    format::decode_footer(&bytes[start..end], &keys, tail.epoch, start as u64).map_err(damaged)
}

enum Segment {
    Good,
    Lost(Vec<ChunkId>),
}

fn open_row(
    repository: &Repository,
    footer: &Footer,
    row: &SegmentRow,
    bytes: &[u8],
    decompressor: &mut Decompressor,
) -> Segment {
    let lost = || Segment::Lost(row.chunks.iter().map(|(id, _)| *id).collect());
    let range = row.offset as usize..row.offset as usize + row.sealed_len as usize;
    let record = footer.sessions.iter().find(|record| record.session() == row.session);
    let (Some(sealed), Some(record)) = (bytes.get(range), record) else { return lost() };
    let Some(plain) = open_segment(repository, record, row, sealed.to_vec(), decompressor) else { return lost() };
    let Ok(domain) = repository.domain_keys(record.domain()) else { return lost() };
    let bad = right_chunks(&domain, row, &plain).filter(|(_, chunk)| chunk.is_none()).map(|(id, _)| *id);
    let bad: Vec<ChunkId> = bad.collect();
    if bad.is_empty() { Segment::Good } else { Segment::Lost(bad) }
}

/// The plaintext of a segment; `None` if it can't be opened.
pub(super) fn open_segment(
    repository: &Repository,
    record: &SessionKeyRecord,
    row: &SegmentRow,
    mut sealed: Vec<u8>,
    decompressor: &mut Decompressor,
) -> Option<Vec<u8>> {
    let keys = repository.session_keys(record).ok()?;
    let text = keys.open_segment(&segment_binding(row), &mut sealed).ok()?;
    let mut plain = Vec::new();
    decompressor.decompress(row.compression, text, row.plain_len, &mut plain).ok()?;
    Some(plain)
}

/// Every chunk of an opened segment; without its bytes if they are not what its id says.
pub(super) fn right_chunks<'p>(
    domain: &'p DomainKeys,
    row: &'p SegmentRow,
    plain: &'p [u8],
) -> impl Iterator<Item = (&'p ChunkId, Option<&'p [u8]>)> {
    let mut offset = 0;
    row.chunks.iter().map(move |(id, len)| {
        let chunk = plain.get(offset..offset + *len as usize);
        offset += *len as usize;
        (id, chunk.filter(|chunk| domain.chunk_id(row.kind, chunk) == *id))
    })
}

/// Tries every segment that the index has in a pack whose footer is gone.
fn segments_by_index(repository: &Repository, index: &Index, id: PackId, bytes: &[u8]) -> Result<Vec<Segment>> {
    let mut chunks = Vec::new();
    index.chunks_of_pack(&id, &mut |place, short| chunks.push((place, short)))?;
    let mut segments: Vec<(SegmentKey, Vec<[u8; 16]>)> = Vec::new();
    chunks.sort_by_key(|(place, _)| (place.segment, place.offset));
    for (place, short) in chunks {
        match segments.last_mut() {
            Some((key, ids)) if *key == place.segment => ids.push(short),
            _ => segments.push((place.segment, vec![short])),
        }
    }
    let mut reader = crate::repository::SegmentReader::default();
    let mut results = Vec::new();
    for (key, shorts) in segments {
        let place = index.segment(key)?;
        let range = place.offset() as usize..(place.offset() as usize + place.sealed_len() as usize);
        let good = bytes.get(range).is_some_and(|sealed| reader.open(repository, &place, sealed.to_vec()).is_ok());
        results.push(if good { Segment::Good } else { Segment::Lost(shorts.into_iter().map(of_half).collect()) });
    }
    Ok(results)
}

/// An id of which only the first half is known, which is what damage and places are looked up by.
pub(super) fn of_half(half: [u8; 16]) -> ChunkId {
    let mut id = [0; 32];
    id[..16].copy_from_slice(&half);
    ChunkId::new(id)
}
