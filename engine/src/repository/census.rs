//! A count of the chunks that an index lists: which are needed, and what that makes of each pack.
//!
//! Ten million chunks take 100 MB: a table of eight bytes for each, a quarter of it free. Each says by 32 bits which chunk
//! it is of those that belong near its place, in which segment that is, and whether it is needed. Two ids that can't be
//! told apart are both needed if one is: that costs space, never a chunk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rayon::prelude::*;

use super::Index;
use super::rows::{ALL_IDS, ChunkPlace, SegmentExtent, ShortId};
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::{ChunkId, DomainId, PackId};
use crate::model::{ChunkKind, ChunkRef};

/// Marks that are set together, so that the memory of all of them is waited for once.
pub const MARKS_AT_ONCE: usize = 16;
/// Slots in a line of the processor's cache.
const LINE_SLOTS: usize = 8;
/// Parts of the index that are counted side by side; more than there are cores, since some take longer.
const PARTS: u64 = 32;
/// In a slot, the bit that says that the chunk is needed. Above it are 32 bits of the id, below it is the number of the
/// segment, plus one: a slot of zero is free.
const MARK: u64 = 1 << 31;
/// Instead of the number of a pack: the index does not list it any more.
const NO_PACK: u32 = u32::MAX;

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
    /// The domain of its chunks.
    pub domain: DomainId,
}

/// The count. Marks may be set from several threads.
pub struct Census {
    slots: Vec<AtomicU64>,
    segments: Vec<SegmentExtent>,
    /// Plaintext bytes of marked chunks in each segment.
    needed: Vec<AtomicU32>,
    packs: Vec<(PackId, u64)>,
    /// The domain of each pack; `None` without a segment.
    domains: Vec<Option<DomainId>>,
    /// Of each segment, whether it is listed in the domain of a write-only client.
    claims: Vec<bool>,
}

impl Census {
    /// Counts what an index lists; nothing is marked. Of a chunk that is there several times, one copy is counted: the
    /// one that the index gives out, or the newest.
    ///
    /// # Errors
    /// `Io` if the local database fails or is damaged.
    pub fn new(index: &Index) -> Result<Self> {
        let most = usize::try_from(index.most_chunks()?).expect("an index in a file of this machine");
        let mut slots = Vec::new();
        // One is free at least: that is where a search ends.
        slots.resize_with(most + most / 4 + 1, AtomicU64::default);
        let mut census = Self {
            slots,
            segments: Vec::new(),
            needed: Vec::new(),
            packs: Vec::new(),
            domains: Vec::new(),
            claims: Vec::new(),
        };
        let bases = census.count_places(index)?;
        if census.segments.len() as u64 >= MARK {
            return Err(EngineError::new(ErrorKind::Unsupported, "an index of more than two billion segments"));
        }
        (0..PARTS).into_par_iter().try_for_each(|part| census.count_chunks(index, &bases, part))?;
        census.needed.resize_with(census.segments.len(), AtomicU32::default);
        Ok(census)
    }

    /// Takes packs and segments in; the number of each store's first segment here.
    fn count_places(&mut self, index: &Index) -> Result<Vec<u32>> {
        let mut known: HashMap<PackId, u32> = HashMap::new();
        let mut bases = Vec::new();
        for store in index.listing_stores() {
            // A pack may be listed several times, and not always with the same in it.
            let mut listings: BTreeMap<u32, (PackId, u64)> = BTreeMap::new();
            Index::store_result(store.packs(&mut |number, id, len| {
                listings.insert(number, (id, len));
            }))?;
            let base = self.segments.len();
            bases.push(base as u32);
            let mut broken = false;
            // The first segment of each listing, which says whose it is.
            let mut firsts: HashMap<u32, u32> = HashMap::new();
            Index::store_result(store.segments(&mut |number, extent| {
                broken |= base + number as usize != self.segments.len();
                if listings.contains_key(&extent.pack) {
                    firsts.entry(extent.pack).or_insert(number);
                }
                self.segments.push(extent);
            }))?;
            if broken {
                let text = "local index (remove it with `repo cache clear`): rows are missing";
                return Err(EngineError::new(ErrorKind::Io, text));
            }
            let mut places: HashMap<u32, (u32, bool)> = HashMap::with_capacity(listings.len());
            for (number, (id, len)) in listings {
                let first =
                    firsts.get(&number).map(|segment| Index::store_result(store.segment(*segment))).transpose()?;
                let domain = first.map(|segment| segment.record.domain());
                let is_claim = domain.is_some_and(|domain| domain != DomainId::SHARED);
                places.insert(number, (self.add_listing(&mut known, id, len, domain), is_claim));
            }
            for segment in &mut self.segments[base..] {
                // The chunks of a pack that is not listed are none of the index's, either.
                let (pack, is_claim) = places.get(&segment.pack).copied().unwrap_or((NO_PACK, false));
                segment.pack = pack;
                self.claims.push(is_claim);
            }
        }
        Ok(bases)
    }

    /// The number here of a pack that is listed in a domain. What full clients list in theirs is so; what is said in that of
    /// a write-only one counts only where they say nothing.
    fn add_listing(&mut self, known: &mut HashMap<PackId, u32>, id: PackId, len: u64, domain: Option<DomainId>) -> u32 {
        let next = self.packs.len() as u32;
        let here = *known.entry(id).or_insert(next);
        if here == next {
            self.packs.push((id, len));
            self.domains.push(domain);
            return here;
        }
        let before = &mut self.domains[here as usize];
        if domain.is_some() && (before.is_none() || domain == Some(DomainId::SHARED)) {
            *before = domain;
            self.packs[here as usize] = (id, len);
        }
        here
    }

    /// Takes the chunks of one part of all ids in, which the stores give out in order.
    fn count_chunks(&self, index: &Index, bases: &[u32], part: u64) -> Result<()> {
        let first = |part: u64| (u128::from(part) << (128 - PARTS.ilog2())).to_be_bytes();
        let end = if part + 1 < PARTS { Bound::Excluded(first(part + 1)) } else { Bound::Unbounded };
        let ids = (Bound::Included(first(part)), end);
        let mut rows = Vec::new();
        for store in index.listing_stores() {
            let mut iterator = Index::store_result(store.chunk_rows(ids))?;
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
            self.insert(&id, segment);
        }
    }

    /// Puts a chunk into the first slot that is free, from its place on.
    fn insert(&self, id: &ShortId, segment: u32) {
        let (mut at, print) = self.place_of(id);
        let content = u64::from(print) << 32 | (u64::from(segment) + 1);
        while self.slots[at].compare_exchange(0, content, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            at = self.next(at);
        }
    }

    /// The slot where a chunk belongs, and the bits that tell it from others there. The first 16 bytes of an id are
    /// enough.
    fn place_of(&self, id: &[u8]) -> (usize, u32) {
        let head = u64::from_be_bytes(id[..8].try_into().expect("ids have 16 bytes at least"));
        let place = u128::from(head) * self.slots.len() as u128;
        ((place >> 64) as usize, (place >> 32) as u32)
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    /// The slots of the chunks that can't be told from this one, and what is in them.
    fn find(&self, id: &[u8]) -> impl Iterator<Item = (usize, u64)> + '_ {
        let (first, print) = self.place_of(id);
        std::iter::successors(Some(first), |at| Some(self.next(*at)))
            .map(|at| (at, self.slots[at].load(Ordering::Relaxed)))
            .take_while(|(_, slot)| *slot != 0)
            .filter(move |(_, slot)| (slot >> 32) as u32 == print)
    }

    /// Marks chunks as needed, [`MARKS_AT_ONCE`] at most; which of them the index lists. That one had a mark before says
    /// little, and is not told: a file may name a chunk of a directory, and an id may share its slot with another.
    pub fn mark(&self, chunks: &[ChunkRef]) -> [bool; MARKS_AT_ONCE] {
        // Independent of each other, so the processor waits for them together. A search may go on in the next line.
        let places = chunks.iter().map(|chunk| self.place_of(chunk.id.as_bytes()).0);
        let slots = places.flat_map(|at| [at, (at + LINE_SLOTS).min(self.slots.len() - 1)]);
        std::hint::black_box(slots.fold(0, |all, at| all ^ self.slots[at].load(Ordering::Relaxed)));
        let mut found = [false; MARKS_AT_ONCE];
        for (found, chunk) in found.iter_mut().zip(chunks) {
            *found = self.mark_one(chunk);
        }
        found
    }

    fn mark_one(&self, chunk: &ChunkRef) -> bool {
        let mut is_listed = false;
        for (at, slot) in self.find(chunk.id.as_bytes()) {
            is_listed = true;
            // Some are marked many times, and reading is cheaper.
            if slot & MARK == 0 && self.slots[at].fetch_or(MARK, Ordering::Relaxed) & MARK == 0 {
                self.needed[segment_in(slot)].fetch_add(chunk.len, Ordering::Relaxed);
            }
        }
        is_listed
    }

    /// Whether every copy is kept of a chunk that is listed in this segment: what a write-only client says is there need
    /// not be.
    fn keeps_copies(&self, segment: usize) -> bool {
        self.claims[segment]
    }

    /// Whether a write-only client says of a pack of full clients that this is in it: a pack is of one domain.
    fn is_false(&self, segment: usize) -> bool {
        let domain = self.domains.get(self.segments[segment].pack as usize);
        self.claims[segment] && domain == Some(&Some(DomainId::SHARED))
    }

    /// Counts every copy of needed chunks in the domains of write-only clients. To be called when all is marked.
    ///
    /// # Errors
    /// `Io` if the local database fails or is damaged.
    pub fn keep_copies(&self, index: &Index) -> Result<()> {
        if !self.claims.contains(&true) {
            return Ok(());
        }
        let mut base = 0;
        for store in index.listing_stores() {
            let count = |id: &ShortId, place: ChunkPlace| {
                let segment = base + place.segment as usize;
                let is_counted = |slot: u64| segment_in(slot) == segment;
                let is_needed = self.find(id).any(|(_, slot)| slot & MARK != 0 && !is_counted(slot));
                if is_needed && self.keeps_copies(segment) && !self.is_false(segment) {
                    self.needed[segment].fetch_add(place.len, Ordering::Relaxed);
                }
            };
            for row in Index::store_result(store.chunk_rows(ALL_IDS))? {
                let (id, place) = Index::store_result(row)?;
                count(&id, place);
            }
            Index::store_result(store.further_copies(&mut |id, place| count(&id, place)))?;
            let mut segments = 0;
            Index::store_result(store.segments(&mut |_, _| segments += 1))?;
            base += segments;
        }
        Ok(())
    }

    /// Whether a chunk is needed, and the copy that is kept is the one in the segment at `offset` of a pack.
    pub fn is_needed_at(&self, id: &ChunkId, pack: &PackId, offset: u32) -> bool {
        self.find(id.as_bytes()).any(|(_, slot)| {
            let segment = &self.segments[segment_in(slot)];
            let is_there = || segment.offset == offset && self.packs[segment.pack as usize].0 == *pack;
            slot & MARK != 0 && (self.keeps_copies(segment_in(slot)) || is_there())
        })
    }

    /// The packs among those of which `lost` says that they are lost, that hold a chunk which is needed and in no other
    /// pack; ascending.
    ///
    /// # Errors
    /// `Io` if the local database fails or is damaged.
    pub fn missed(&self, index: &Index, lost: &dyn Fn(&PackId) -> bool) -> Result<Vec<PackId>> {
        let is_lost: Vec<bool> = self.packs.iter().map(|(id, _)| lost(id)).collect();
        let is_from_lost = |segment: usize| {
            let pack = self.segments[segment].pack as usize;
            self.needed[segment].load(Ordering::Relaxed) > 0 && is_lost.get(pack).is_some_and(|lost| *lost)
        };
        let mut missed = BTreeSet::new();
        let mut is_risky = false;
        for segment in (0..self.segments.len()).filter(|segment| is_from_lost(*segment)) {
            if !self.keeps_copies(segment) {
                is_risky = true;
            } else if !self.is_false(segment) {
                missed.insert(self.packs[self.segments[segment].pack as usize].0);
            }
        }
        // Seldom: what is needed was not in these packs when they were chosen, or it was elsewhere, too.
        if is_risky {
            let mut failure = None;
            index.chunks(&mut |short, _| {
                let at_risk = |(_, slot)| slot & MARK != 0 && is_lost[self.segments[segment_in(slot)].pack as usize];
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

    /// What is needed of each pack, in no particular order.
    pub fn packs(&self) -> Vec<PackCount> {
        let count = |((id, len), domain): (&(PackId, u64), &Option<DomainId>)| PackCount {
            id: *id,
            len: *len,
            sealed: 0,
            live: 0,
            kind: ChunkKind::Data,
            domain: domain.unwrap_or(DomainId::SHARED),
        };
        let mut packs: Vec<PackCount> = self.packs.iter().zip(&self.domains).map(count).collect();
        for (number, (segment, needed)) in self.segments.iter().zip(&self.needed).enumerate() {
            let Some(pack) = packs.get_mut(segment.pack as usize).filter(|_| !self.is_false(number)) else { continue };
            pack.kind = segment.kind;
            pack.sealed = (pack.sealed + u64::from(segment.sealed_len)).min(pack.len);
            let (needed, plain) = (u64::from(needed.load(Ordering::Relaxed)), u64::from(segment.plain_len.max(1)));
            // Two stores may list one pack: then a segment is there twice, and needed once.
            // A little that is needed is not nothing, however well it is compressed.
            pack.live += (u64::from(segment.sealed_len) * needed.min(plain)).div_ceil(plain);
        }
        packs
    }
}

/// The number of the segment that a slot names.
fn segment_in(slot: u64) -> usize {
    (slot & (MARK - 1)) as usize - 1
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
