//! What the parent snapshot has of a file that is read again: a stream that begins like the former one is cut where that
//! was, without looking for the place, and what both have is known without a look-up.
//!
//! Where a stream is cut depends on nothing before the last cut (FORMAT.md, chapter 9.4). So a chunk that begins at a cut
//! and has the id of the former one at this place ends where the chunker would have ended it; but for the last one, which
//! ended with its stream. The chunks of the parent are there as long as it is, as for files that are not read at all.

use std::collections::VecDeque;

use crate::model::{ChunkRef, Content};
use crate::repository::{ChunkReader, ContentReader};

/// Former chunks that one that was cut anew is compared with: so much may have been taken out at one place, and half of it
/// put in.
const AHEAD_CHUNKS: usize = 64;

/// The former chunks of a stream, followed while the stream is read.
pub(super) struct Former<'c> {
    reader: ContentReader<'c>,
    /// What comes next; the reader has the rest.
    ahead: VecDeque<ChunkRef>,
    /// Chunks in a row that the former stream did not have; while there are none it is as it was.
    missed: usize,
}

impl<'c> Former<'c> {
    /// Begins with the first chunk of `content`, which is the parent's.
    pub(super) fn new(chunks: &'c ChunkReader<'c>, content: &Content) -> Self {
        Self { reader: ContentReader::new(chunks, content), ahead: VecDeque::new(), missed: 0 }
    }

    /// The chunk that the stream begins with if it is as it was. `left` bytes of it are at hand; `is_all`: no more come.
    pub(super) fn expected(&mut self, left: usize, is_all: bool) -> Option<ChunkRef> {
        if self.missed > 0 {
            return None;
        }
        self.fill(2);
        let next = *self.ahead.front()?;
        let len = next.len as usize;
        let was_last = self.ahead.len() == 1;
        let ends = is_all && len == left;
        (len > 0 && len <= left && (ends || !was_last)).then_some(next)
    }

    /// The stream does begin with what was [expected](Self::expected).
    pub(super) fn step(&mut self) {
        self.ahead.pop_front();
    }

    /// Takes a chunk that was cut anew. Whether the former stream has it, not far from here; then the two are in step
    /// again.
    pub(super) fn meets(&mut self, reference: &ChunkRef) -> bool {
        self.fill(AHEAD_CHUNKS);
        if let Some(position) = self.ahead.iter().position(|former| former == reference) {
            self.ahead.drain(..=position);
            self.missed = 0;
            return true;
        }
        self.missed += 1;
        // So much is no insertion any more: something else stands in the place of it, of the same length as a rule.
        if self.missed > AHEAD_CHUNKS / 2 {
            self.step();
        }
        false
    }

    /// A list that can't be read ends the former stream: what it names is looked up like all others.
    fn fill(&mut self, count: usize) {
        while self.ahead.len() < count {
            let Ok(Some(reference)) = self.reader.read_next() else { return };
            self.ahead.push_back(reference);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{FixedClock, Timestamp};
    use crate::crypto::Secret;
    use crate::id::ChunkId;
    use crate::monitor::Silent;
    use crate::ops::{InitOptions, init};
    use crate::repository::Repository;
    use crate::storage::MemoryStorage;

    fn chunk(number: u8) -> ChunkRef {
        ChunkRef { id: ChunkId::new([number; 32]), len: 100 + u32::from(number) }
    }

    fn with_former(count: u8, then: impl FnOnce(Former<'_>)) {
        let (storage, secret) = (Arc::new(MemoryStorage::default()), Secret::generate_key_file());
        init(storage.as_ref(), &secret, &InitOptions::default(), &FixedClock(Timestamp::default())).expect("init");
        let cache = tempfile::tempdir().expect("a directory");
        let repository = Repository::open(storage, &secret, cache.path()).expect("open");
        let index = repository.load_index(&Silent).expect("index");
        let chunks = ChunkReader::new(&repository, &index);
        then(Former::new(&chunks, &Content::Chunks((0..count).map(chunk).collect())));
    }

    #[test]
    fn in_step_from_the_first_to_the_last() {
        with_former(3, |mut former| {
            for number in 0..2 {
                assert_eq!(former.expected(99, false), None, "there is less left");
                assert_eq!(former.expected(1000, false), Some(chunk(number)));
                former.step();
            }
            assert_eq!(former.expected(1000, true), None, "the last one ended with its stream");
            assert_eq!(former.expected(102, false), None, "more may come");
            assert_eq!(former.expected(102, true), Some(chunk(2)));
            former.step();
            assert_eq!(former.expected(1000, true), None);
        });
    }

    #[test]
    fn back_in_step_after_a_change() {
        with_former(200, |mut former| {
            assert!(!former.meets(&chunk(250)));
            assert_eq!(former.expected(1000, false), None, "nothing is tried out of step");
            assert!(former.meets(&chunk(1)), "one was replaced");
            assert_eq!(former.expected(1000, false), Some(chunk(2)));
            (0..10).for_each(|_| assert!(!former.meets(&chunk(250))));
            assert!(former.meets(&chunk(2)), "ten were put in");
            assert!(former.meets(&chunk(50)), "and many taken out");
            assert!(!former.meets(&chunk(2)), "what is behind is not looked at");
            (0..90).for_each(|_| assert!(!former.meets(&chunk(250))));
            assert!(former.meets(&chunk(142)), "many were replaced");
            assert_eq!(former.expected(1000, false), Some(chunk(143)));
        });
    }
}
