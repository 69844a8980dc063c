//! Contents: from chunk references to a node's content and back, however many there are.

use super::{ChunkReader, SegmentBuilder, SessionWriter};
use crate::chunker::ListCutter;
use crate::error::{EngineError, Result};
use crate::format::{decode_references, encode_references};
use crate::limits;
use crate::model::{ChunkKind, ChunkRef, Content};

/// References that a node holds itself, at most.
const DIRECT_REFERENCES: usize = 128;

/// Collects the chunk references of a stream; long lists go into tree chunks as they grow.
#[derive(Default)]
pub struct ContentWriter {
    levels: Vec<Level>,
}

#[derive(Default)]
struct Level {
    references: Vec<ChunkRef>,
    cutter: ListCutter,
    /// Some of this level's references are in lists of the next already.
    flushed: bool,
}

impl ContentWriter {
    /// Adds the stream's next chunk.
    ///
    /// # Errors
    /// `Io`, `Interrupted`.
    pub fn push(&mut self, reference: ChunkRef, trees: &mut SegmentBuilder<'_, '_>) -> Result<()> {
        self.push_at(0, reference, trees)
    }

    fn push_at(&mut self, depth: usize, reference: ChunkRef, trees: &mut SegmentBuilder<'_, '_>) -> Result<()> {
        if self.levels.len() <= depth {
            self.levels.push(Level::default());
        }
        let level = &mut self.levels[depth];
        level.references.push(reference);
        if level.cutter.add(&reference) { self.flush(depth, trees) } else { Ok(()) }
    }

    /// Puts what a level holds into a list chunk, and that one's reference into the level above.
    fn flush(&mut self, depth: usize, trees: &mut SegmentBuilder<'_, '_>) -> Result<()> {
        let level = &mut self.levels[depth];
        level.flushed = true;
        let list = trees.add(&encode_references(&level.references))?;
        level.references.clear();
        level.cutter = ListCutter::default();
        self.push_at(depth + 1, list, trees)
    }

    /// The content of the whole stream.
    ///
    /// # Errors
    /// `Io`, `Interrupted`.
    pub fn finish(mut self, trees: &mut SegmentBuilder<'_, '_>) -> Result<Content> {
        let mut depth = 0;
        loop {
            let Some(level) = self.levels.get_mut(depth) else { return Ok(Content::Chunks(Vec::new())) };
            if !level.flushed && level.references.len() <= DIRECT_REFERENCES {
                let references = std::mem::take(&mut level.references);
                return Ok(match u8::try_from(depth).expect("lists of lists of lists hold exabytes") {
                    0 => Content::Chunks(references),
                    depth => Content::Lists { depth, lists: references },
                });
            }
            if !level.references.is_empty() {
                self.flush(depth, trees)?;
            }
            depth += 1;
        }
    }
}

impl<'a> SessionWriter<'a> {
    /// A builder for tree chunks, as contents need one.
    pub fn tree_builder(&self) -> SegmentBuilder<'_, 'a> {
        SegmentBuilder::new(self, ChunkKind::Tree)
    }
}

/// Gives the chunk references of a content in order, reading lists as it goes.
pub struct ContentReader<'a> {
    chunks: &'a ChunkReader<'a>,
    /// What is left on each level, the lowest last: depth and references in reverse.
    stack: Vec<(u8, Vec<ChunkRef>)>,
}

impl<'a> ContentReader<'a> {
    /// Begins with the first chunk. Inline content has none.
    pub fn new(chunks: &'a ChunkReader<'a>, content: &Content) -> Self {
        let (depth, references) = match content {
            Content::Inline(_) => (0, Vec::new()),
            Content::Chunks(references) => (0, references.clone()),
            Content::Lists { depth, lists } => (*depth, lists.clone()),
        };
        let mut stack = vec![(depth.min(limits::CONTENT_DEPTH), references)];
        stack[0].1.reverse();
        Self { chunks, stack }
    }

    /// The next reference.
    ///
    /// # Errors
    /// `Missing`, `Damaged`, `Io` of a list chunk; the chunks that it lists are skipped.
    pub fn read_next(&mut self) -> Result<Option<ChunkRef>> {
        loop {
            let Some((depth, references)) = self.stack.last_mut() else { return Ok(None) };
            let depth = *depth;
            match references.pop() {
                None => drop(self.stack.pop()),
                Some(reference) if depth == 0 => return Ok(Some(reference)),
                Some(list) => {
                    let bytes = self.chunks.read(ChunkKind::Tree, &list)?;
                    let mut below = decode_references(&bytes)
                        .map_err(|error| EngineError::damaged(format!("list chunk {}: {error}", list.id)))?;
                    below.reverse();
                    self.stack.push((depth - 1, below));
                }
            }
        }
    }
}
