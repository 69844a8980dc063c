//! Segments of trees, read before a walk over all trees comes to them: from a storage that is far away each would cost it a
//! round trip.
//!
//! Segments that lie side by side are one *block*, and read together. Where all trees are little, all is asked for at once;
//! otherwise what follows the block that the walk has come to: the more, the longer the walk has gone from block to block,
//! and nothing after it has gone elsewhere. So little is read in vain. What is asked for and held is bounded, whatever there
//! is. Nothing here is an answer: whoever gets none, or one that is wrong, reads the segment by itself.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Range;

use super::{Index, Repository, SegmentPlace};
use crate::error::Result;
use crate::id::PackId;
use crate::limits;
use crate::model::{ChunkKind, Content};
use crate::storage::{ObjectName, Storage};

/// Bytes of a block, at most, unless one segment alone is more.
const BLOCK_BYTES: u64 = 2 << 20;
/// Bytes that are asked for or held, at most, beside the block that is needed now.
const AHEAD_BYTES: u64 = 8 << 20;

/// Reads segments of trees ahead for one walk.
pub struct TreesAhead {
    /// In the order in which they are likely to be needed.
    blocks: Vec<Block>,
    /// Where blocks begin, and their numbers.
    places: BTreeMap<(PackId, u64), usize>,
    /// Blocks that were read, the last one first.
    held: VecDeque<(usize, Vec<u8>)>,
    held_bytes: u64,
    /// Bytes of blocks that are expected.
    expected_bytes: u64,
    /// The block that was read last.
    last: Option<usize>,
    /// How much is asked for behind it.
    window_bytes: u64,
}

/// Segments that lie side by side.
struct Block {
    pack: PackId,
    start: u64,
    len: u64,
    state: State,
    /// Bytes that nobody has asked for yet.
    left: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unread,
    Expected,
    Read,
}

impl Block {
    fn end(&self) -> u64 {
        self.start + self.len
    }

    fn range(&self) -> (ObjectName, Range<u64>) {
        (ObjectName::Pack(self.pack), self.start..self.end())
    }
}

impl TreesAhead {
    /// For all trees that an index lists. `None` if the storage is not far away, and if what is kept of it on this machine is
    /// asked first.
    ///
    /// # Errors
    /// `Io` if the local database fails.
    pub fn new(repository: &Repository, index: &Index) -> Result<Option<Self>> {
        if !repository.storage().capabilities().is_far() || repository.keeps_objects() {
            return Ok(None);
        }
        Ok(Some(Self::of_blocks(blocks(index)?)))
    }

    fn of_blocks(blocks: Vec<Block>) -> Self {
        let mut ahead = Self {
            blocks,
            places: BTreeMap::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            expected_bytes: 0,
            last: None,
            window_bytes: 0,
        };
        ahead.note_places();
        ahead
    }

    /// Asks for all trees, if they are little. A walk over them must follow soon: until then they are held.
    pub fn begin(&mut self, storage: &dyn Storage) {
        if self.blocks.iter().map(|block| block.len).sum::<u64>() <= AHEAD_BYTES {
            self.window_bytes = AHEAD_BYTES;
            self.expect_from(0, storage);
        }
    }

    /// As [`Self::begin`], if nothing was asked for yet. The walk is over the trees of these roots, one after the other: if
    /// trees are much, that is the order in which blocks are likely to be needed.
    ///
    /// # Errors
    /// `Io` if the local database fails.
    pub fn begin_in_order<'a>(
        &mut self,
        storage: &dyn Storage,
        index: &Index,
        roots: impl Iterator<Item = &'a Content>,
    ) -> Result<()> {
        self.begin(storage);
        if self.blocks.iter().any(|block| block.state != State::Unread) {
            return Ok(());
        }
        let mut ranks = HashMap::new();
        for (rank, root) in roots.enumerate() {
            let (Content::Chunks(references) | Content::Lists { lists: references, .. }) = root else { continue };
            let place = references.first().map_or(Ok(None), |first| index.find(&first.id))?;
            if let Some(place) = place {
                ranks.entry(index.segment(place.segment)?.pack()).or_insert(rank);
            }
        }
        // Those that no root is in are of the first snapshot, most likely: its root is in the last of several packs.
        self.blocks.sort_by_key(|block| ranks.get(&block.pack).copied());
        self.note_places();
        Ok(())
    }

    /// The sealed bytes of a segment; `None` if it has to be read by itself.
    pub(super) fn sealed(&mut self, storage: &dyn Storage, place: &SegmentPlace) -> Option<Vec<u8>> {
        self.bytes(storage, place.pack(), u64::from(place.offset()), u64::from(place.sealed_len()))
    }

    fn bytes(&mut self, storage: &dyn Storage, pack: PackId, start: u64, len: u64) -> Option<Vec<u8>> {
        let at = *self.places.range(..=(pack, start)).next_back()?.1;
        let block = &self.blocks[at];
        if block.pack != pack || start + len > block.end() {
            return None;
        }
        if block.state != State::Read {
            self.read(at, storage);
        }
        let held = self.held.iter().position(|(number, _)| *number == at)?;
        let block = &mut self.blocks[at];
        if block.len == len {
            return self.drop_held(held);
        }
        let from = usize::try_from(start - block.start).ok()?;
        let sealed = self.held[held].1.get(from..from + usize::try_from(len).ok()?)?.to_vec();
        block.left = block.left.saturating_sub(len);
        if block.left == 0 {
            self.drop_held(held);
        }
        Some(sealed)
    }

    /// Reads a block, and sees to it that those are under way that are likely to be next.
    fn read(&mut self, at: usize, storage: &dyn Storage) {
        let was_expected = self.blocks[at].state == State::Expected;
        let follows = self.last.is_some_and(|last| at == last + 1);
        self.window_bytes =
            if was_expected || follows { (self.window_bytes * 2).clamp(BLOCK_BYTES, AHEAD_BYTES) } else { 0 };
        let len = self.blocks[at].len;
        if was_expected {
            self.expected_bytes -= len;
        }
        self.blocks[at].state = State::Read;
        self.last = Some(at);
        self.make_room(len, storage);
        let (name, range) = self.blocks[at].range();
        self.held_bytes += len;
        self.expect_from(at + 1, storage);
        match storage.read(name, Some(range), len) {
            Ok(bytes) => self.held.push_front((at, bytes)),
            Err(_) => self.held_bytes -= len,
        }
    }

    /// Asks for blocks from one on, as far as the window goes and there is room.
    fn expect_from(&mut self, first: usize, storage: &dyn Storage) {
        let mut window = self.window_bytes;
        let is_inside = |block: &&Block| window.checked_sub(block.len).map(|rest| window = rest).is_some();
        let end = first + self.blocks[first..].iter().take_while(is_inside).count();
        let bytes_in = |state| {
            let of_it = self.blocks[first..end].iter().filter(|block| block.state == state);
            of_it.map(|block| block.len).sum::<u64>()
        };
        let (lacking, expected) = (bytes_in(State::Unread), bytes_in(State::Expected));
        if lacking == 0 {
            return;
        }
        // What the walk has left behind is in the way.
        while self.held_bytes > AHEAD_BYTES / 2 && self.bytes_with(lacking) > AHEAD_BYTES && !self.held.is_empty() {
            self.drop_held(self.held.len() - 1);
        }
        if self.bytes_with(lacking) > AHEAD_BYTES && expected < self.expected_bytes {
            self.forget(storage);
        }
        let mut ranges = Vec::new();
        for at in first..end {
            let len = self.blocks[at].len;
            if self.blocks[at].state != State::Unread {
                continue;
            }
            if self.bytes_with(len) > AHEAD_BYTES {
                break;
            }
            self.expected_bytes += len;
            self.blocks[at].state = State::Expected;
            ranges.push(self.blocks[at].range());
        }
        if !ranges.is_empty() {
            storage.expect_ranges(&ranges);
        }
    }

    /// What is asked for or held, with so much more.
    fn bytes_with(&self, more: u64) -> u64 {
        self.held_bytes + self.expected_bytes + more
    }

    /// Gives up what was not needed for longest, then what was asked for, until there is room for a block that is needed.
    fn make_room(&mut self, len: u64, storage: &dyn Storage) {
        while self.bytes_with(len) > AHEAD_BYTES && !self.held.is_empty() {
            self.drop_held(self.held.len() - 1);
        }
        if self.bytes_with(len) > AHEAD_BYTES {
            self.forget(storage);
        }
    }

    /// What was asked for is not expected any more.
    fn forget(&mut self, storage: &dyn Storage) {
        storage.forget_expected();
        self.expected_bytes = 0;
        let expected = self.blocks.iter_mut().filter(|block| block.state == State::Expected);
        expected.for_each(|block| block.state = State::Unread);
    }

    fn drop_held(&mut self, at: usize) -> Option<Vec<u8>> {
        let (number, bytes) = self.held.remove(at)?;
        self.held_bytes -= self.blocks[number].len;
        Some(bytes)
    }

    fn note_places(&mut self) {
        let place = |(number, block): (usize, &Block)| ((block.pack, block.start), number);
        self.places = self.blocks.iter().enumerate().map(place).collect();
    }
}

/// The blocks of an index, in the order in which it lists them.
fn blocks(index: &Index) -> Result<Vec<Block>> {
    let (mut blocks, mut known) = (Vec::<Block>::new(), HashSet::new());
    for store in index.listing_stores() {
        // A row that says what can't be is left to whoever reads it by itself.
        let mut segments = Vec::new();
        Index::store_result(store.segments(&mut |_, extent| {
            if extent.kind == ChunkKind::Tree && extent.sealed_len <= limits::SEGMENT_SEALED_BYTES {
                segments.push((extent.pack, u64::from(extent.offset), u64::from(extent.sealed_len)));
            }
        }))?;
        segments.sort_unstable();
        let wanted: HashSet<u32> = segments.iter().map(|(pack, ..)| *pack).collect();
        let mut packs = HashMap::new();
        Index::store_result(store.packs(&mut |number, id, len| {
            if wanted.contains(&number) {
                packs.insert(number, (id, len));
            }
        }))?;
        for (number, start, len) in segments {
            // Hidden packs are not told of. Others may be listed several times.
            let Some((pack, pack_len)) = packs.get(&number).copied() else { continue };
            if start + len > pack_len || !known.insert((pack, start)) {
                continue;
            }
            match blocks.last_mut() {
                Some(last) if last.pack == pack && last.end() == start && last.len + len <= BLOCK_BYTES => {
                    last.len += len;
                    last.left += len;
                }
                _ => blocks.push(Block { pack, start, len, state: State::Unread, left: len }),
            }
        }
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::storage::MemoryStorage;
    use crate::storage::{Capabilities, ObjectFamily, Outcome};

    /// Counts what is under way, and what was read without being expected.
    #[derive(Default)]
    struct Counting {
        below: MemoryStorage,
        counts: Mutex<Counts>,
    }

    #[derive(Default)]
    struct Counts {
        expected: HashSet<(ObjectName, u64)>,
        expected_bytes: u64,
        most_bytes: u64,
        asked_bytes: u64,
        waits: usize,
    }

    impl Storage for Counting {
        fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
            self.below.list(family, each)
        }

        fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
            let range = range.expect("only ranges are read");
            let len = range.end - range.start;
            let mut counts = self.counts.lock().expect("a lock");
            if counts.expected.remove(&(name, range.start)) {
                counts.expected_bytes -= len;
            } else {
                counts.waits += 1;
                counts.asked_bytes += len;
            }
            self.below.read(name, Some(range), max)
        }

        fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
            self.below.write_new(name, parts)
        }

        fn remove(&self, name: ObjectName) -> Result<()> {
            self.below.remove(name)
        }

        fn persist(&self, name: ObjectName) -> Result<()> {
            self.below.persist(name)
        }

        fn expect_ranges(&self, ranges: &[(ObjectName, Range<u64>)]) {
            let mut counts = self.counts.lock().expect("a lock");
            for (name, range) in ranges {
                assert!(counts.expected.insert((*name, range.start)), "asked for twice");
                counts.expected_bytes += range.end - range.start;
                counts.asked_bytes += range.end - range.start;
            }
            counts.most_bytes = counts.most_bytes.max(counts.expected_bytes);
        }

        fn forget_expected(&self) {
            let mut counts = self.counts.lock().expect("a lock");
            counts.expected.clear();
            counts.expected_bytes = 0;
        }

        fn capabilities(&self) -> Capabilities {
            self.below.capabilities()
        }
    }

    const PACK: PackId = PackId::new([3; 32]);
    const SEGMENT_BYTES: u64 = 512 << 10;

    /// So many blocks of four segments, in one pack.
    fn of(count: u64) -> (TreesAhead, Counting) {
        let storage = Counting::default();
        let bytes: Vec<u8> = (0..count * BLOCK_BYTES).map(|at| (at / SEGMENT_BYTES) as u8).collect();
        storage.write_new(ObjectName::Pack(PACK), &[&bytes]).expect("put");
        let block = |number| Block {
            pack: PACK,
            start: number * BLOCK_BYTES,
            len: BLOCK_BYTES,
            state: State::Unread,
            left: BLOCK_BYTES,
        };
        (TreesAhead::of_blocks((0..count).map(block).collect()), storage)
    }

    /// Asks for a segment; whether it was there. What is asked for and held is never more than it may be.
    fn ask(ahead: &mut TreesAhead, storage: &Counting, segment: u64) -> bool {
        let bytes = ahead.bytes(storage, PACK, segment * SEGMENT_BYTES, SEGMENT_BYTES);
        if let Some(bytes) = &bytes {
            assert_eq!(bytes.len() as u64, SEGMENT_BYTES);
            assert!(bytes.iter().all(|byte| u64::from(*byte) == segment % 256), "segment {segment}");
        }
        let held: u64 = ahead.held.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        assert_eq!(held, ahead.held_bytes);
        assert!(held + ahead.expected_bytes <= AHEAD_BYTES);
        assert_eq!(storage.counts.lock().expect("a lock").expected_bytes, ahead.expected_bytes);
        bytes.is_some()
    }

    #[test]
    fn trees_that_are_little_are_asked_for_at_once() {
        let (mut ahead, storage) = of(AHEAD_BYTES / BLOCK_BYTES);
        ahead.begin(&storage);
        assert_eq!(storage.counts.lock().expect("a lock").expected_bytes, AHEAD_BYTES);
        // In whatever order they are needed.
        let segments = AHEAD_BYTES / SEGMENT_BYTES;
        assert!((0..segments).all(|number| ask(&mut ahead, &storage, number * 7 % segments)));
        assert!(ahead.held.is_empty() && !ask(&mut ahead, &storage, 0), "each is there once");
        let counts = storage.counts.into_inner().expect("a lock");
        assert_eq!((counts.waits, counts.asked_bytes), (0, AHEAD_BYTES));
    }

    #[test]
    fn a_walk_from_one_to_the_next_waits_in_the_beginning_only() {
        let (mut ahead, storage) = of(40);
        ahead.begin(&storage);
        assert_eq!(storage.counts.lock().expect("a lock").asked_bytes, 0);
        // The root is the last one that was stored.
        assert!(ask(&mut ahead, &storage, 159));
        assert!((0..159).all(|segment| ask(&mut ahead, &storage, segment)));
        let counts = storage.counts.into_inner().expect("a lock");
        assert_eq!(counts.waits, 3, "the root, the first and the second");
        assert_eq!(counts.asked_bytes, 40 * BLOCK_BYTES, "nothing twice");
        assert!(counts.most_bytes > AHEAD_BYTES / 2);
    }

    #[test]
    fn a_walk_here_and_there_reads_little_in_vain() {
        let (mut ahead, storage) = of(100);
        // From each of some places a few blocks on, and of each block one segment.
        let mut asked = 0;
        for from in [60, 10, 90, 30, 0, 80, 45, 20] {
            for block in from..from + 5 {
                assert!(ask(&mut ahead, &storage, block * 4 + 1), "{block}");
                asked += BLOCK_BYTES;
            }
        }
        let counts = storage.counts.into_inner().expect("a lock");
        assert!(counts.asked_bytes <= asked * 2, "{} of {asked}", counts.asked_bytes);
        assert!(counts.waits <= 8 * 3, "{}", counts.waits);
    }

    #[test]
    fn what_fails_is_nobodys_answer() {
        let (mut ahead, storage) = of(2);
        ahead.begin(&storage);
        storage.remove(ObjectName::Pack(PACK)).expect("removed");
        assert!((0..8).all(|segment| !ask(&mut ahead, &storage, segment)));
        assert_eq!(ahead.bytes(&storage, PackId::new([4; 32]), 0, 9), None);
        assert_eq!(ahead.bytes(&storage, PACK, BLOCK_BYTES - 1, 2), None, "no segment of a block");
    }
}
