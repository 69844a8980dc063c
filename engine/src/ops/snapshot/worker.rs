//! Reading files: one worker runs a file through all steps in its own buffers.

use std::ops::Range;

use super::former::Former;
use super::profile::{Chunkers, Profile};
use crate::error::{EngineError, ErrorKind, Result};
use crate::model::{ChunkKind, ChunkRef, Content, Node};
use crate::monitor::ProblemLog;
use crate::repository::{ContentWriter, PlainSegment, SegmentBuilder, SessionWriter};
use crate::source::{Entry, SourceFile};

/// Files up to this many bytes are stored in their node: an id, its place in index and pack cost 107 bytes, and
/// none of them compresses.
const INLINE_BYTES: usize = 192;
/// How much is read at once, in bytes, beside the longest chunk.
const READ_BYTES: usize = 1 << 20;

/// Why a stream could not be stored: the one is a problem, the other ends the snapshot.
pub(super) enum StreamError {
    /// The source can't be read.
    Source(EngineError),
    /// The repository can't be written, or the work is to stop.
    Fatal(EngineError),
}

/// What a worker needs besides files.
pub(super) struct Worker<'w, 'a> {
    data: SegmentBuilder<'w, 'a>,
    trees: SegmentBuilder<'w, 'a>,
    chunkers: Chunkers,
    buffer: Vec<u8>,
    problems: &'w ProblemLog<'w>,
}

impl<'w, 'a> Worker<'w, 'a> {
    pub(super) fn new(writer: &'w SessionWriter<'a>, problems: &'w ProblemLog<'w>) -> Self {
        let chunkers = Chunkers::new(writer.repository());
        let buffer = vec![0; READ_BYTES + chunkers.max_len()];
        Self {
            data: SegmentBuilder::new(writer, ChunkKind::Data),
            trees: writer.tree_builder(),
            chunkers,
            buffer,
            problems,
        }
    }

    /// Stores a file and gives its node; `None` if it can't be read, which is a problem then. `former` begins to tell
    /// what the parent snapshot has of it.
    ///
    /// # Errors
    /// If the repository can't be written, or the work is to stop.
    pub(super) fn file(&mut self, entry: &Entry, former: &dyn Fn() -> Option<Former<'w>>) -> Result<Option<Node>> {
        let monitor = self.problems.monitor();
        monitor.current(&entry.source_path());
        let file = match entry.open() {
            Ok(file) => file,
            Err(error) if is(&error, std::io::ErrorKind::NotFound) => {
                let path = String::from_utf8_lossy(&entry.source_path()).into_owned();
                monitor.note(&format!("{path}: vanished before it could be read"));
                return Ok(None);
            }
            Err(error) => {
                self.problems.add(&entry.source_path(), error.to_string());
                return Ok(None);
            }
        };
        match self.try_file(entry, file, former) {
            Ok(node) => Ok(Some(node)),
            Err(StreamError::Source(error)) => {
                self.problems.add(&entry.source_path(), error.to_string());
                Ok(None)
            }
            Err(StreamError::Fatal(error)) => Err(error),
        }
    }

    fn try_file(
        &mut self,
        entry: &Entry,
        mut file: SourceFile,
        former: &dyn Fn() -> Option<Former<'w>>,
    ) -> Result<Node, StreamError> {
        let mut node = file.node();
        match file.xattrs() {
            Ok(xattrs) => node.metadata.xattrs = xattrs,
            Err(error) => self.problems.add(&entry.source_path(), error.to_string()),
        }
        let content = match self.stream(Profile::of_file, former(), &mut |buffer| file.read(buffer)) {
            // A sparse file got shorter: its holes are no longer where they were.
            Err(StreamError::Source(error))
                if file.extents().is_some() && is(&error, std::io::ErrorKind::UnexpectedEof) =>
            {
                file.ignore_holes();
                self.stream(Profile::of_file, former(), &mut |buffer| file.read(buffer))?
            }
            other => other?,
        };
        node.content = Some(content);
        self.finish_file(entry, file, &mut node);
        Ok(node)
    }

    /// Makes the node say what was read, and tells if that is not what was there in the beginning.
    fn finish_file(&self, entry: &Entry, file: SourceFile, node: &mut Node) {
        match file.extents() {
            Some(extents) => node.extents = Some(extents.to_vec()),
            None => node.size = file.bytes_read(),
        }
        match file.finish() {
            Ok(false) => {}
            Ok(true) => self.problems.add(&entry.source_path(), "changed while it was read; stored as it was read"),
            Err(error) => self.problems.add(&entry.source_path(), error.to_string()),
        }
    }

    /// Cuts a stream into chunks and stores them. `read` fills a buffer, and gives less only at the end.
    /// `choose` says by the first bytes which profile it is cut with, `former` what the parent snapshot has of it.
    pub(super) fn stream(
        &mut self,
        choose: fn(&[u8]) -> Profile,
        mut former: Option<Former<'_>>,
        read: &mut dyn FnMut(&mut [u8]) -> Result<usize>,
    ) -> Result<Content, StreamError> {
        let mut content = ContentWriter::default();
        let (mut start, mut end) = (0, 0);
        let mut at_end = false;
        let mut chosen = None;
        loop {
            if !at_end && end - start < self.chunkers.max_len() {
                if end > 0 {
                    // The beginning goes.
                    chosen.get_or_insert_with(|| choose(&self.buffer[..end]));
                }
                self.buffer.copy_within(start..end, 0);
                (start, end) = (0, end - start);
                let count = read(&mut self.buffer[end..]).map_err(StreamError::Source)?;
                end += count;
                at_end = end < self.buffer.len();
                self.progress(count)?;
                if at_end && chosen.is_none() && end <= INLINE_BYTES {
                    return Ok(Content::Inline(self.buffer[..end].to_vec()));
                }
            }
            if start == end {
                return content.finish(&mut self.trees).map_err(StreamError::Fatal);
            }
            let reference = match former.as_mut().and_then(|former| self.as_before(former, start..end, at_end)) {
                Some(reference) => reference,
                None => {
                    let profile = *chosen.get_or_insert_with(|| choose(&self.buffer[..end]));
                    self.chunk(profile, former.as_mut(), start..end).map_err(StreamError::Fatal)?
                }
            };
            content.push(reference, &mut self.trees).map_err(StreamError::Fatal)?;
            start += reference.len as usize;
        }
    }

    /// The first chunk of what is in the buffer there, if it is the one that the parent snapshot has at this place.
    fn as_before(&self, former: &mut Former<'_>, range: Range<usize>, at_end: bool) -> Option<ChunkRef> {
        let expected = former.expected(range.len(), at_end)?;
        let chunk = &self.buffer[range][..expected.len as usize];
        (self.data.reference(chunk) == expected).then(|| former.step()).map(|()| expected)
    }

    /// Cuts the first chunk off what is in the buffer there, and stores it unless the repository has it.
    fn chunk(&mut self, profile: Profile, former: Option<&mut Former<'_>>, range: Range<usize>) -> Result<ChunkRef> {
        let stream = &self.buffer[range];
        let chunk = &stream[..self.chunkers.cut(profile, stream)];
        let reference = self.data.reference(chunk);
        if !former.is_some_and(|former| former.meets(&reference)) {
            self.data.add_as(reference, chunk)?;
        }
        Ok(reference)
    }

    fn progress(&self, bytes: usize) -> Result<(), StreamError> {
        let monitor = self.problems.monitor();
        monitor.advance(0, bytes as u64);
        if monitor.cancelled() { Err(StreamError::Fatal(interrupted())) } else { Ok(()) }
    }

    /// Seals a segment that another worker filled.
    pub(super) fn seal(&mut self, segment: PlainSegment) -> Result<()> {
        self.data.seal(segment)
    }

    /// Seals what is left.
    pub(super) fn finish(self) -> Result<()> {
        self.data.finish()?;
        self.trees.finish()
    }
}

/// Cuts streams that are no files, and stores them: what a copy from another repository brings.
pub(in crate::ops) struct Cutter<'w, 'a>(Worker<'w, 'a>);

impl<'w, 'a> Cutter<'w, 'a> {
    pub(in crate::ops) fn new(writer: &'w SessionWriter<'a>, problems: &'w ProblemLog<'w>) -> Self {
        Self(Worker::new(writer, problems))
    }

    /// Stores a stream as a file with these bytes is stored. `read` fills a buffer, and gives less only at the end.
    ///
    /// # Errors
    /// What `read` returns; `Io` of the repository, `Interrupted`.
    pub(in crate::ops) fn cut(&mut self, read: &mut dyn FnMut(&mut [u8]) -> Result<usize>) -> Result<Content> {
        self.0.stream(Profile::of_file, None, read).map_err(|error| match error {
            StreamError::Source(error) | StreamError::Fatal(error) => error,
        })
    }

    /// Seals what is left.
    ///
    /// # Errors
    /// `Io`.
    pub(in crate::ops) fn finish(self) -> Result<()> {
        self.0.finish()
    }
}

pub(super) fn interrupted() -> EngineError {
    EngineError::new(ErrorKind::Interrupted, "interrupted")
}

fn is(error: &EngineError, kind: std::io::ErrorKind) -> bool {
    error.io_error().is_some_and(|error| error.kind() == kind)
}
