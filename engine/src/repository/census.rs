//! A count of the chunks that an index lists: which are needed, and what that makes of each pack.
//!
//! Ten million chunks take 85 MiB: four bytes that tell a chunk's id from those near it, four for its segment, and a
//! bit. Two ids that can't be told apart are both needed if one is: that costs space, never a chunk.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::Index;
use super::rows::SegmentExtent;
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::{ChunkId, PackId};
use crate::model::ChunkKind;

/// Ids in one bucket, on average.
const BUCKET_IDS: u64 = 8;
/// Bits of an id that choose a bucket, at most: 2²⁴ buckets take 64 MiB, and 10⁸ chunks.
const BUCKET_BITS: u32 = 24;

/// What a mark found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The chunk had no mark.
    First,
    /// It had one.
    Again,
    /// The index does not list it.
    Unknown,
}

/// What is needed of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackCount {
    /// The pack.
    pub id: PackId,
    /// Its length in bytes.
    pub len: u64,
    /// Length in bytes of its segments together.
    pub sealed: u64,
    /// What it takes to keep what is needed of it, in bytes: of a segment, as much as its share of needed plaintext.
    pub live: u64,
    /// What its first segment holds.
    pub kind: ChunkKind,
}

/// The count. Marks may be set from several threads.
pub struct Census {
    /// How many leading bits of an id choose its bucket.
    bits: u32,
    /// Where each bucket begins, and the end.
    starts: Vec<u32>,
    /// The 32 bits of each id behind those that choose the bucket, ascending in each bucket.
    prints: Vec<u32>,
    segment_of: Vec<u32>,
    marks: Vec<AtomicU64>,
    segments: Vec<SegmentExtent>,
    /// Plaintext bytes of marked chunks in each segment.
    needed: Vec<AtomicU32>,
    packs: Vec<(PackId, u64)>,
}

impl Census {
    /// Counts what an index lists; nothing is marked. Of a chunk that is there several times, one copy is counted: the
    /// one that the index gives out, or the newest.
    ///
    /// # Errors
    /// `Io` if the local database fails or is damaged.
    pub fn new(index: &Index) -> Result<Self> {
        let count = index.chunk_count()?;
        let bits = (count / BUCKET_IDS).checked_ilog2().unwrap_or(0).min(BUCKET_BITS);
        let capacity = usize::try_from(count).expect("an index in a file of this machine");
        let mut census = Self {
            bits,
            starts: Vec::with_capacity((1 << bits) + 1),
            prints: Vec::with_capacity(capacity),
            segment_of: Vec::with_capacity(capacity),
            marks: Vec::new(),
            segments: Vec::new(),
            needed: Vec::new(),
            packs: Vec::new(),
        };
        let bases = census.count_places(index)?;
        census.count_chunks(index, &bases)?;
        census.starts.resize((1 << bits) + 1, census.prints.len() as u32);
        census.marks.resize_with(census.prints.len().div_ceil(64), AtomicU64::default);
        census.needed.resize_with(census.segments.len(), AtomicU32::default);
        Ok(census)
    }

    /// Takes packs and segments in; the number of each store's first segment here.
    fn count_places(&mut self, index: &Index) -> Result<Vec<u32>> {
        let mut known: HashMap<PackId, u32> = HashMap::new();
        let mut bases = Vec::new();
        for store in index.listing_stores() {
            let mut numbers: Vec<u32> = Vec::new();
            Index::store_result(store.packs(&mut |number, id, len| {
                let next = self.packs.len() as u32;
                let here = *known.entry(id).or_insert(next);
                if here == next {
                    self.packs.push((id, len));
                }
                numbers.resize(numbers.len().max(number as usize + 1), 0);
                numbers[number as usize] = here;
            }))?;
            let base = self.segments.len();
            bases.push(base as u32);
            let mut broken = false;
            Index::store_result(store.segments(&mut |number, extent| match numbers.get(extent.pack as usize) {
                Some(pack) if base + number as usize == self.segments.len() => {
                    self.segments.push(SegmentExtent { pack: *pack, ..extent });
                }
                _ => broken = true,
            }))?;
            if broken {
                let text = "local index (remove it with `repo cache clear`): rows are missing";
                return Err(EngineError::new(ErrorKind::Io, text));
            }
        }
        Ok(bases)
    }

    /// Takes the chunks in: the stores' rows are in order, and stay so.
    fn count_chunks(&mut self, index: &Index, bases: &[u32]) -> Result<()> {
        let mut rows = Vec::new();
        for store in index.listing_stores() {
            let mut iterator = Index::store_result(store.chunk_rows())?;
            let first = Index::store_result(iterator.next().transpose())?;
            rows.push((first, iterator));
        }
        loop {
            let least = rows.iter().filter_map(|(row, _)| row.as_ref().map(|(id, _)| *id)).min();
            let Some(id) = least else { return Ok(()) };
            let mut segment = 0;
            for ((row, iterator), base) in rows.iter_mut().zip(bases) {
                if let Some((_, place)) = row.take_if(|(other, _)| *other == id) {
                    // The later store is the newer.
                    segment = base + place.segment;
                    *row = Index::store_result(iterator.next().transpose())?;
                }
            }
            let (bucket, print) = self.split(&id);
            while self.starts.len() <= bucket {
                self.starts.push(self.prints.len() as u32);
            }
            self.prints.push(print);
            self.segment_of.push(segment);
        }
    }

    /// Bucket and print of an id, of which 16 bytes are enough.
    fn split(&self, id: &[u8]) -> (usize, u32) {
        let head = u64::from_be_bytes(id[..8].try_into().expect("ids have 16 bytes at least"));
        let bucket = head.checked_shr(64 - self.bits).unwrap_or(0);
        (bucket as usize, ((head << self.bits) >> 32) as u32)
    }

    /// Where the chunks are that can't be told from this one.
    fn find(&self, id: &[u8]) -> impl Iterator<Item = usize> + '_ {
        let (bucket, print) = self.split(id);
        let (start, end) = (self.starts[bucket] as usize, self.starts[bucket + 1] as usize);
        let before = self.prints[start..end].iter().take_while(|other| **other < print).count();
        (start + before..end).take_while(move |at| self.prints[*at] == print)
    }

    /// Marks a chunk as needed; `len` is its length in bytes.
    pub fn mark(&self, id: &ChunkId, len: u32) -> Mark {
        let mut found = Mark::Unknown;
        for at in self.find(id.as_bytes()) {
            let bit = 1 << (at % 64);
            // Most are marked many times, and reading is cheaper.
            let before = self.marks[at / 64].load(Ordering::Relaxed) & bit != 0
                || self.marks[at / 64].fetch_or(bit, Ordering::Relaxed) & bit != 0;
            if before {
                found = if found == Mark::First { found } else { Mark::Again };
            } else {
                self.needed[self.segment_of[at] as usize].fetch_add(len, Ordering::Relaxed);
                found = Mark::First;
            }
        }
        found
    }

    fn is_marked(&self, at: usize) -> bool {
        self.marks[at / 64].load(Ordering::Relaxed) & (1 << (at % 64)) != 0
    }

    /// Whether a chunk is needed, and the copy that is kept is the one in the segment at `offset` of a pack.
    pub fn is_needed_at(&self, id: &ChunkId, pack: &PackId, offset: u32) -> bool {
        self.find(id.as_bytes()).any(|at| {
            let segment = &self.segments[self.segment_of[at] as usize];
            self.is_marked(at) && segment.offset == offset && self.packs[segment.pack as usize].0 == *pack
        })
    }

    /// The packs among those of which `lost` says that they are lost, that hold a chunk which is needed and in no other
    /// pack; ascending.
    ///
    /// # Errors
    /// `Io` if the local database fails or is damaged.
    pub fn missed(&self, index: &Index, lost: &dyn Fn(&PackId) -> bool) -> Result<Vec<PackId>> {
        let is_lost: Vec<bool> = self.packs.iter().map(|(id, _)| lost(id)).collect();
        let from_lost = |(segment, needed): (&SegmentExtent, &AtomicU32)| {
            needed.load(Ordering::Relaxed) > 0 && is_lost[segment.pack as usize]
        };
        let mut missed = BTreeSet::new();
        // Seldom: what is needed was not in these packs when they were chosen, or it was elsewhere, too.
        if self.segments.iter().zip(&self.needed).any(from_lost) {
            let mut failure = None;
            index.chunks(&mut |short, _| {
                let at_risk = |at| self.is_marked(at) && is_lost[self.pack_of(at) as usize];
                if failure.is_none() && self.find(&short).any(at_risk) {
                    match packs_of(index, &short) {
                        Ok(packs) if packs.iter().all(lost) => missed.extend(packs),
                        Ok(_) => {}
                        Err(error) => failure = Some(error),
                    }
                }
            })?;
            failure.map_or(Ok(()), Err)?;
        }
        Ok(missed.into_iter().collect())
    }

    fn pack_of(&self, at: usize) -> u32 {
        self.segments[self.segment_of[at] as usize].pack
    }

    /// How many chunks are listed.
    pub fn chunks(&self) -> u64 {
        self.prints.len() as u64
    }

    /// How many are marked.
    pub fn marked(&self) -> u64 {
        self.marks.iter().map(|marks| u64::from(marks.load(Ordering::Relaxed).count_ones())).sum()
    }

    /// What is needed of each pack, in no particular order.
    pub fn packs(&self) -> Vec<PackCount> {
        let count =
            |(id, len): &(PackId, u64)| PackCount { id: *id, len: *len, sealed: 0, live: 0, kind: ChunkKind::Data };
        let mut packs: Vec<PackCount> = self.packs.iter().map(count).collect();
        for (segment, needed) in self.segments.iter().zip(&self.needed) {
            let pack = &mut packs[segment.pack as usize];
            pack.kind = segment.kind;
            pack.sealed = (pack.sealed + u64::from(segment.sealed_len)).min(pack.len);
            let (needed, plain) = (u64::from(needed.load(Ordering::Relaxed)), u64::from(segment.plain_len.max(1)));
            // Two stores may list one pack: then a segment is there twice, and needed once.
            pack.live += u64::from(segment.sealed_len) * needed.min(plain) / plain;
        }
        packs
    }
}

/// All packs that the index says hold a chunk.
fn packs_of(index: &Index, short: &[u8; 16]) -> Result<Vec<PackId>> {
    let mut id = [0; ChunkId::LEN];
    id[..short.len()].copy_from_slice(short);
    let mut packs = Vec::new();
    for store in index.listing_stores() {
        for row in Index::store_result(store.copies(&ChunkId::new(id)))? {
            packs.push(Index::store_result(store.segment(row.segment))?.pack);
        }
    }
    Ok(packs)
}
