//! The walk over a snapshot's trees, and the trees that are written from it.
//!
//! What the walk meets waits in a *window* until it is known what all chunks in it became. Then the chunks that have to
//! be read are read together, in the order in which they are stored, and the trees grow by what was waiting.

use std::collections::HashMap;

use super::data::{Fetched, fetch, recut};
use super::{Context, CopyReport, Memo};
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::ChunkId;
use crate::model::{ChunkRef, Content, Node, Snapshot};
use crate::ops::browse::{Descend, Visit, content_key, walk};
use crate::ops::snapshot::Cutter;
use crate::repository::{ChunkReader, ContentReader, ContentWriter, DirectoryWriter, SegmentBuilder, SessionWriter};

/// Chunks in a window, at most; some 200 bytes each.
const WINDOW_CHUNKS: usize = 32 << 10;
/// Bytes of these chunks, at most: an interrupted copy reads about so much again.
const WINDOW_BYTES: u64 = 64 << 20;
/// Nodes in a window, at most; some 500 bytes each.
const WINDOW_NODES: usize = 16 << 10;

/// What the walk met.
enum Step {
    /// A directory begins.
    Enter(Node, [u8; 16]),
    /// It ends.
    Leave,
    /// The next chunks of the file that comes.
    Chunks(Vec<ChunkRef>),
    /// A file whose chunks have come.
    File(Node, Vec<u8>),
    /// A file of which not all chunks have come.
    Torn,
    /// A node that is the same there, or is made already.
    Same(Node),
}

/// A directory in the making.
struct OpenDirectory {
    /// `None` for the root.
    node: Option<(Node, [u8; 16])>,
    writer: DirectoryWriter,
}

struct Copier<'c, 'w, 'a> {
    context: &'c Context<'c>,
    chunks: &'c ChunkReader<'c>,
    writer: &'w SessionWriter<'a>,
    trees: SegmentBuilder<'w, 'a>,
    memo: &'c mut Memo,
    report: &'c mut CopyReport,
    steps: Vec<Step>,
    /// Chunks in `steps`, and their bytes.
    waiting: usize,
    waiting_bytes: u64,
    /// From the root to where the writing is.
    open: Vec<OpenDirectory>,
    /// The file whose chunks come.
    content: ContentWriter,
    /// Why it can't be copied.
    failure: Option<String>,
    /// Cuts files anew.
    cutter: Option<Cutter<'w, 'a>>,
    /// Nothing was left out.
    is_whole: bool,
}

/// Copies the trees of a snapshot and the chunks that they need. What its root became; `None` if something can't be
/// read, which is a problem then.
///
/// # Errors
/// `Interrupted`, `Io`.
pub(super) fn copy(
    context: &Context<'_>,
    writer: &SessionWriter<'_>,
    snapshot: &Snapshot,
    memo: &mut Memo,
    report: &mut CopyReport,
) -> Result<Option<Content>> {
    let chunks = ChunkReader::new(context.source, context.index);
    let root = OpenDirectory { node: None, writer: DirectoryWriter::default() };
    let monitor = context.problems.monitor();
    monitor.stage("copying", Some(snapshot.statistics.files), Some(snapshot.statistics.bytes));
    let mut copier = Copier {
        context,
        chunks: &chunks,
        writer,
        trees: writer.tree_builder(),
        memo,
        report,
        steps: Vec::new(),
        waiting: 0,
        waiting_bytes: 0,
        open: vec![root],
        content: ContentWriter::default(),
        failure: None,
        cutter: context.options.recut.then(|| Cutter::new(writer, context.problems)),
        is_whole: true,
    };
    walk(&chunks, &snapshot.root, b"", &mut |path, visit| {
        context.stop_if_asked()?;
        match visit {
            Visit::Node(node) => copier.node(path, node),
            Visit::Left => copier.push(Step::Leave).map(|()| Descend::Yes),
            Visit::Damaged(error) => {
                copier.damaged(path, error)?;
                Ok(Descend::Yes)
            }
        }
    })?;
    copier.flush()?;
    let root = copier.open.pop().expect("what is entered is left, but for the root");
    let content = root.writer.finish(&mut copier.trees)?;
    copier.cutter.map_or(Ok(()), Cutter::finish)?;
    copier.trees.finish()?;
    Ok(copier.is_whole.then_some(content))
}

impl Copier<'_, '_, '_> {
    fn node(&mut self, path: &[u8], node: &Node) -> Result<Descend> {
        let Some(content) = &node.content else {
            self.push(Step::Same(node.clone()))?;
            return Ok(Descend::No);
        };
        if node.is_directory() {
            let key = content_key(content);
            if let Some(known) = self.memo.get(&key) {
                self.push(Step::Same(Node { content: Some(known), ..node.clone() }))?;
                return Ok(Descend::No);
            }
            self.push(Step::Enter(node.clone(), key))?;
            return Ok(Descend::Yes);
        }
        match content {
            Content::Inline(_) => {
                self.context.problems.monitor().advance(1, node.size);
                self.push(Step::Same(node.clone()))?;
            }
            _ if self.context.options.recut => self.recut(path, node, content)?,
            _ => self.file(path, node, content)?,
        }
        Ok(Descend::No)
    }

    fn file(&mut self, path: &[u8], node: &Node, content: &Content) -> Result<()> {
        let mut reader = ContentReader::new(self.chunks, content);
        let mut piece = Vec::new();
        loop {
            match reader.read_next() {
                Ok(None) => break,
                Ok(Some(reference)) => {
                    piece.push(reference);
                    self.waiting_bytes += u64::from(reference.len);
                    if self.waiting + piece.len() >= WINDOW_CHUNKS || self.waiting_bytes >= WINDOW_BYTES {
                        self.waiting += piece.len();
                        self.push(Step::Chunks(std::mem::take(&mut piece)))?;
                    }
                }
                Err(error) => return self.damaged(path, &error),
            }
        }
        self.waiting += piece.len();
        if !piece.is_empty() {
            self.push(Step::Chunks(piece))?;
        }
        self.push(Step::File(node.clone(), path.to_vec()))
    }

    /// A file that is cut anew, all of it read; its content is remembered as that of directories is.
    fn recut(&mut self, path: &[u8], node: &Node, content: &Content) -> Result<()> {
        let key = content_key(content);
        let report = &mut *self.report;
        let made = match (self.memo.get(&key), self.cutter.as_mut().filter(|_| !self.context.options.dry_run)) {
            (Some(known), _) => Ok(known),
            (None, None) => {
                report.bytes_read += node.stream_len();
                Ok(Content::Inline(Vec::new()))
            }
            (None, Some(cutter)) => recut(self.chunks, cutter, content, report),
        };
        match made {
            Ok(content) => {
                self.memo.put(key, &content);
                self.context.problems.monitor().advance(1, 0);
                self.push(Step::Same(Node { content: Some(content), ..node.clone() }))
            }
            Err(error) => self.damaged(path, &error),
        }
    }

    /// Something of the source can't be read. What the storage does not give now it may give later, so that ends it.
    fn damaged(&mut self, path: &[u8], error: &EngineError) -> Result<()> {
        if matches!(error.kind(), ErrorKind::Io | ErrorKind::Interrupted) || self.writer.has_failed() {
            return Err(EngineError::new(error.kind(), error.to_string()));
        }
        self.leave_out(if path.is_empty() { b"/" } else { path }, &error.to_string());
        self.push(Step::Torn)
    }

    /// The snapshot will have no copy; the others that are in it are named all the same.
    fn leave_out(&mut self, path: &[u8], why: &str) {
        self.context.problems.add(path, format!("cannot be copied: {why}"));
        self.is_whole = false;
    }

    fn push(&mut self, step: Step) -> Result<()> {
        self.steps.push(step);
        let is_full = self.steps.len() >= WINDOW_NODES || self.waiting >= WINDOW_CHUNKS;
        if is_full || self.waiting_bytes >= WINDOW_BYTES { self.flush() } else { Ok(()) }
    }

    /// Copies what the window needs, then writes what waits in it.
    fn flush(&mut self) -> Result<()> {
        let steps = std::mem::take(&mut self.steps);
        (self.waiting, self.waiting_bytes) = (0, 0);
        let mut became = self.translate(&steps)?;
        let wanted: HashMap<ChunkId, u32> = references(&steps)
            .filter(|reference| !became.contains_key(&reference.id))
            .map(|reference| (reference.id, reference.len))
            .collect();
        self.report.chunks_read += wanted.len() as u64;
        self.report.bytes_read += wanted.values().map(|len| u64::from(*len)).sum::<u64>();
        let mut failures = HashMap::new();
        if !wanted.is_empty() && !self.context.options.dry_run {
            let Fetched { became: fetched, failures: failed } = fetch(self.context, self.writer, wanted)?;
            self.context.translation.remember(&fetched);
            became.extend(fetched);
            failures = failed;
        }
        steps.into_iter().try_for_each(|step| self.write(step, &became, &failures))
    }

    /// What the chunks of the window became, of those that need not be read.
    fn translate(&self, steps: &[Step]) -> Result<HashMap<ChunkId, ChunkId>> {
        let mut became = self.context.translation.look_up(references(steps).map(|reference| reference.id));
        let mut failure = Ok(());
        became.retain(|_, there| match self.writer.has(there) {
            Ok(has) => has,
            Err(error) => {
                failure = Err(error);
                false
            }
        });
        failure.map(|()| became)
    }

    fn write(
        &mut self,
        step: Step,
        became: &HashMap<ChunkId, ChunkId>,
        failures: &HashMap<ChunkId, String>,
    ) -> Result<()> {
        match step {
            Step::Enter(node, key) => {
                self.open.push(OpenDirectory { node: Some((node, key)), writer: DirectoryWriter::default() });
            }
            Step::Leave => self.leave()?,
            Step::Same(node) => self.add(&node)?,
            Step::Torn => {
                (self.content, self.failure) = (ContentWriter::default(), None);
            }
            Step::Chunks(references) => {
                for reference in references {
                    match became.get(&reference.id) {
                        Some(id) => self.content.push(ChunkRef { id: *id, len: reference.len }, &mut self.trees)?,
                        None if self.context.options.dry_run => {}
                        None => {
                            let why = || format!("chunk {} can't be read", reference.id);
                            let why = failures.get(&reference.id).cloned().unwrap_or_else(why);
                            self.failure.get_or_insert(why);
                        }
                    }
                }
            }
            Step::File(node, path) => {
                let content = std::mem::take(&mut self.content).finish(&mut self.trees)?;
                if let Some(why) = self.failure.take() {
                    self.leave_out(&path, &why);
                    return Ok(());
                }
                self.context.problems.monitor().advance(1, node.size);
                self.add(&Node { content: Some(content), ..node })?;
            }
        }
        Ok(())
    }

    fn add(&mut self, node: &Node) -> Result<()> {
        if self.context.options.dry_run {
            return Ok(());
        }
        let domain = self.context.target.domain();
        let open = self.open.last_mut().expect("the root is left last");
        open.writer.add(node, domain, &mut self.trees)
    }

    fn leave(&mut self) -> Result<()> {
        let OpenDirectory { node, writer } = self.open.pop().expect("entered before");
        let (mut node, key) = node.expect("the root is not left");
        let content = writer.finish(&mut self.trees)?;
        // Of a snapshot that gets no copy, nothing is remembered in the end.
        self.memo.put(key, &content);
        node.content = Some(content);
        self.add(&node)
    }
}

fn references(steps: &[Step]) -> impl Iterator<Item = &ChunkRef> {
    steps.iter().filter_map(|step| if let Step::Chunks(chunks) = step { Some(chunks) } else { None }).flatten()
}
