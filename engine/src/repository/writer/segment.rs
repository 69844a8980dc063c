//! Segments: filled with new chunks, then compressed, sealed, and read back before they leave.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::SessionWriter;
use crate::compress::{Compressor, Decompressor};
use crate::crypto::{DomainKeys, SegmentBinding};
use crate::error::{EngineError, Result};
use crate::format::segment_table_hash;
use crate::id::ChunkId;
use crate::model::{ChunkKind, ChunkRef, Compression, SegmentRow};

const NONCE_BYTES: usize = 24;
/// A segment's buffer has room for a chunk of this length behind its size; a longer one makes it grow.
const LONGEST_CHUNK_BYTES: usize = 256 << 10;

/// What whoever seals segments works with: contexts and buffers, some mebibytes. The writer keeps them for the next
/// segment, as many as there are threads that seal at once.
#[derive(Default)]
pub(super) struct Tools {
    /// For data and for trees: what one chooses depends on what it compressed before.
    compressors: [Compressor; 2],
    decompressor: Decompressor,
    sealed: Vec<u8>,
    opened: Vec<u8>,
    plain: Vec<u8>,
}

/// A full segment that waits to be sealed.
pub struct PlainSegment {
    kind: ChunkKind,
    plain: Vec<u8>,
    chunks: Vec<(ChunkId, u32)>,
}

/// Fills segments with new chunks. One a worker and kind of chunk.
pub struct SegmentBuilder<'w, 'a> {
    writer: &'w SessionWriter<'a>,
    kind: ChunkKind,
    plain: Vec<u8>,
    chunks: Vec<(ChunkId, u32)>,
}

impl<'w, 'a> SegmentBuilder<'w, 'a> {
    /// An empty one.
    pub fn new(writer: &'w SessionWriter<'a>, kind: ChunkKind) -> Self {
        Self { writer, kind, plain: Vec::new(), chunks: Vec::new() }
    }

    /// Takes a chunk in, if the repository doesn't have it.
    ///
    /// # Errors
    /// `Io`.
    pub fn add(&mut self, chunk: &[u8]) -> Result<ChunkRef> {
        let reference = self.reference(chunk);
        self.add_as(reference, chunk)?;
        Ok(reference)
    }

    /// The keys of the domain that it stores in.
    pub fn domain(&self) -> &Arc<DomainKeys> {
        &self.writer.domain
    }

    /// What would name a chunk.
    pub fn reference(&self, chunk: &[u8]) -> ChunkRef {
        let id = self.writer.domain.chunk_id(self.kind, chunk);
        ChunkRef { id, len: u32::try_from(chunk.len()).expect("chunks are far below 4 GiB") }
    }

    /// The same as [`Self::add`] for a chunk whose [reference](Self::reference) is known.
    ///
    /// # Errors
    /// `Io`.
    pub fn add_as(&mut self, reference: ChunkRef, chunk: &[u8]) -> Result<()> {
        let ChunkRef { id, len } = reference;
        if self.kind == ChunkKind::Tree {
            self.writer.repository.keep_own_tree(&id, chunk)?;
        }
        if self.writer.claim(&id)? {
            let size = self.writer.repository.config().segment_size as usize;
            if self.plain.capacity() == 0 {
                self.plain = self.writer.plain_buffer();
                // The last chunk may begin just below the size. What nothing is written to takes no memory.
                self.plain.reserve_exact(size + LONGEST_CHUNK_BYTES);
            }
            self.plain.extend_from_slice(chunk);
            self.chunks.push((id, len));
            self.writer.statistics.chunks_new.fetch_add(1, Ordering::Relaxed);
            self.writer.statistics.bytes_new.fetch_add(u64::from(len), Ordering::Relaxed);
            if self.plain.len() >= size {
                let segment = self.take();
                if let Err(refused) = self.writer.offered.try_send(segment) {
                    self.seal(refused.into_inner())?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self) -> PlainSegment {
        // The table stays in memory until an index object has it.
        self.chunks.shrink_to_fit();
        PlainSegment {
            kind: self.kind,
            plain: std::mem::take(&mut self.plain),
            chunks: std::mem::take(&mut self.chunks),
        }
    }

    /// Seals a segment, its own or one that another worker offered.
    ///
    /// # Errors
    /// `Io`.
    pub fn seal(&mut self, segment: PlainSegment) -> Result<()> {
        self.writer.seal(segment)
    }

    /// Seals what is left, and what is offered: the last builder to finish leaves nothing behind.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(mut self) -> Result<()> {
        if !self.chunks.is_empty() {
            let segment = self.take();
            self.seal(segment)?;
        }
        while let Ok(segment) = self.writer.taken.try_recv() {
            self.seal(segment)?;
        }
        Ok(())
    }
}

impl SessionWriter<'_> {
    /// Compresses, seals, reads back and packs a segment.
    fn seal(&self, segment: PlainSegment) -> Result<()> {
        let mut tools = self.tools().pop().unwrap_or_default();
        let sealed = self.seal_with(segment, &mut tools);
        self.tools().push(tools);
        sealed
    }

    fn seal_with(&self, segment: PlainSegment, tools: &mut Tools) -> Result<()> {
        let PlainSegment { kind, plain, chunks } = segment;
        let plain_len = u32::try_from(plain.len()).expect("segments are closed far below 4 GiB");
        let mut sealed = std::mem::take(&mut tools.sealed);
        sealed.clear();
        sealed.resize(NONCE_BYTES, 0);
        let compression = tools.compressors[usize::from(kind == ChunkKind::Tree)].compress(&plain, &mut sealed);
        let suite = self.repository.config().suite;
        let binding =
            SegmentBinding { kind, suite, compression, plain_len, chunk_table_hash: segment_table_hash(&chunks) };
        self.session.keys().seal_segment(&binding, &mut sealed);
        self.verify(&binding, &sealed, &plain, tools)?;
        self.give_back(plain);
        let row = SegmentRow {
            session: self.session.id(),
            offset: 0,
            sealed_len: u32::try_from(sealed.len()).expect("a segment has at most 16 MiB"),
            kind,
            suite,
            compression,
            plain_len,
            chunks,
        };
        let appended = self.append(row, &sealed);
        tools.sealed = sealed;
        appended
    }

    /// Opens what was sealed and compares it: memory that flips a bit must not reach the storage unnoticed.
    fn verify(&self, binding: &SegmentBinding, sealed: &[u8], plain: &[u8], tools: &mut Tools) -> Result<()> {
        tools.opened.clear();
        tools.opened.extend_from_slice(sealed);
        let broken = || EngineError::damaged("a segment could not be read back: this machine's memory may be faulty");
        let text = self.session.keys().open_segment(binding, &mut tools.opened).map_err(|_| broken())?;
        let same = match binding.compression {
            Compression::None => text == plain,
            compression => {
                tools
                    .decompressor
                    .decompress(compression, text, binding.plain_len, &mut tools.plain)
                    .map_err(|_| broken())?;
                tools.plain == plain
            }
        };
        if same { Ok(()) } else { Err(broken()) }
    }
}
