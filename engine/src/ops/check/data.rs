//! Is every byte right? Packs are read whole, in parallel: name, footer, every segment, every chunk id.

use std::collections::HashSet;

use rayon::prelude::*;

use super::{Check, ListedPack, ReadData, short};
use crate::compress::Decompressor;
use crate::crypto::{SegmentBinding, hash, hash_parts, random_bytes};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{self, Footer, segment_table_hash};
use crate::id::{ChunkId, PackId};
use crate::limits;
use crate::model::SegmentRow;
use crate::repository::{Index, Repository, SegmentKey};
use crate::storage::ObjectName;

/// The packs to read: what was asked for, and those whose length is wrong.
pub(super) fn choose(
    packs: &[ListedPack],
    read_data: ReadData,
    suspicious: &HashSet<PackId>,
) -> Result<Vec<(PackId, u64)>> {
    let shuffled = || {
        let salt = random_bytes::<16>();
        let mut order: Vec<&ListedPack> = packs.iter().collect();
        order.sort_by_cached_key(|pack| hash_parts(&[&salt, pack.id.as_bytes()]));
        order
    };
    let chosen: Vec<&ListedPack> = match read_data {
        ReadData::No => Vec::new(),
        ReadData::All => packs.iter().collect(),
        ReadData::Part { part, of } => {
            if part == 0 || part > of {
                return Err(EngineError::new(ErrorKind::Invalid, format!("there is no part {part} of {of}")));
            }
            let number = |id: &PackId| u32::from_le_bytes(id.as_bytes()[..4].try_into().expect("four bytes"));
            packs.iter().filter(|pack| number(&pack.id) % of == part - 1).collect()
        }
        ReadData::Percent(percent) => {
            if !(0.0..=100.0).contains(&percent) {
                return Err(EngineError::new(ErrorKind::Invalid, format!("{percent} % is not between 0 and 100")));
            }
            let count = (packs.len() as f64 * percent / 100.0).ceil() as usize;
            shuffled().into_iter().take(count).collect()
        }
        ReadData::Bytes(bytes) => {
            let mut left = bytes;
            let take_while = |pack: &&ListedPack| {
                let more = left > 0;
                left = left.saturating_sub(pack.len);
                more
            };
            shuffled().into_iter().take_while(take_while).collect()
        }
    };
    let mut chosen: Vec<(PackId, u64)> = chosen.into_iter().map(|pack| (pack.id, pack.len)).collect();
    let also = packs.iter().filter(|pack| suspicious.contains(&pack.id)).map(|pack| (pack.id, pack.len));
    chosen.extend(also);
    chosen.sort();
    chosen.dedup();
    Ok(chosen)
}

/// What reading a pack showed.
struct PackResult {
    id: PackId,
    len: u64,
    /// Why the pack is not what its name says.
    problem: Option<String>,
    /// Chunks that can't be had from it any more.
    lost: Vec<ChunkId>,
    /// Nothing in it could be told apart.
    unreadable: bool,
}

impl Check<'_> {
    /// Reads packs and remembers what is lost.
    pub(super) fn read_packs(&mut self, index: &Index, packs: &[(PackId, u64)]) -> Result<()> {
        if packs.is_empty() {
            return Ok(());
        }
        let total = packs.iter().map(|(_, len)| len).sum();
        self.monitor.stage("reading data", Some(packs.len() as u64), Some(total));
        let (repository, monitor) = (self.repository, self.monitor);
        let results: Vec<PackResult> = packs
            .par_iter()
            .map_init(Decompressor::default, |decompressor, (id, len)| {
                if monitor.cancelled() {
                    return Err(EngineError::new(ErrorKind::Interrupted, "interrupted"));
                }
                let result = read_pack(repository, index, decompressor, *id, *len)?;
                monitor.advance(1, *len);
                Ok(result)
            })
            .filter(|result| result.as_ref().map_or(true, |result| result.len > 0))
            .collect::<Result<_>>()?;
        for result in results {
            self.report.packs_read += 1;
            self.report.bytes_read += result.len;
            let Some(problem) = result.problem else { continue };
            // The finding about its length, if there is one, says less.
            let finding = match self.damage.packs.remove(&result.id) {
                Some(finding) => {
                    let text = format!("{}; {problem}", self.report.findings[finding].message);
                    self.report.findings[finding].message = text;
                    finding
                }
                None => self.find(ObjectName::Pack(result.id).to_string(), problem, true),
            };
            if result.unreadable {
                self.damage.packs.insert(result.id, finding);
            }
            for id in result.lost {
                self.damage.chunks.insert(short(&id), finding);
            }
        }
        Ok(())
    }
}

fn read_pack(
    repository: &Repository,
    index: &Index,
    decompressor: &mut Decompressor,
    id: PackId,
    len: u64,
) -> Result<PackResult> {
    let name = ObjectName::Pack(id);
    let mut result = PackResult { id, len, problem: None, lost: Vec::new(), unreadable: false };
    let bytes = match repository.storage().read(name, None, limits::PACK_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => {
            // A disk that can't read one file may well read the others.
            result.problem = Some(error.to_string());
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
        Some(footer) if named_right => {
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
    if let Some(footer) = footer.filter(|_| result.problem.is_none()) {
        result.problem = unlisted(index, &footer)?;
    }
    Ok(result)
}

/// A pack that is whole may still hold chunks that the index does not list.
fn unlisted(index: &Index, footer: &Footer) -> Result<Option<String>> {
    if !footer.sessions.iter().all(|record| index.sessions().is_committed(record.session())) {
        return Ok(None);
    }
    let mut missing = 0u64;
    for (id, _) in footer.segments.iter().flat_map(|segment| &segment.chunks) {
        missing += u64::from(!index.contains(id)?);
    }
    // A pack that no index object lists has a finding of its own.
    let all = footer.segments.iter().map(|segment| segment.chunks.len() as u64).sum();
    Ok((missing > 0 && missing < all).then(|| format!("{missing} of its chunks are in no index object")))
}

fn footer_of(repository: &Repository, bytes: &[u8]) -> Result<Footer, format::FormatError> {
    format::ObjectKind::Pack.strip(bytes)?;
    let tail = format::decode_tail(bytes, bytes.len() as u64)?;
    let end = bytes.len() - format::TAIL_BYTES;
    let start = end - tail.footer_len as usize;
    let keys = repository.keys().domain(tail.domain);
    format::decode_footer(&bytes[start..end], &keys, tail.epoch, start as u64)
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
    let Ok(keys) = repository.session_keys(record) else { return lost() };
    let binding = SegmentBinding {
        kind: row.kind,
        suite: row.suite,
        compression: row.compression,
        plain_len: row.plain_len,
        chunk_table_hash: segment_table_hash(&row.chunks),
    };
    let mut sealed = sealed.to_vec();
    let Ok(text) = keys.open_segment(&binding, &mut sealed) else { return lost() };
    let mut plain = Vec::new();
    if decompressor.decompress(row.compression, text, row.plain_len, &mut plain).is_err() {
        return lost();
    }
    let mut offset = 0;
    let mut bad = Vec::new();
    for (id, len) in &row.chunks {
        let chunk = &plain[offset..offset + *len as usize];
        if repository.domain().chunk_id(row.kind, chunk) != *id {
            bad.push(*id);
        }
        offset += *len as usize;
    }
    if bad.is_empty() { Segment::Good } else { Segment::Lost(bad) }
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
        results.push(if good {
            Segment::Good
        } else {
            // Only the first half of an id is known here, which is what damage is looked up by.
            let whole = |short: [u8; 16]| {
                let mut id = [0; 32];
                id[..16].copy_from_slice(&short);
                ChunkId::new(id)
            };
            Segment::Lost(shorts.into_iter().map(whole).collect())
        });
    }
    Ok(results)
}
