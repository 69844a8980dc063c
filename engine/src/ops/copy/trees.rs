//! The walk over a snapshot's trees, and the trees that are written from it.
//!
//! What the walk meets waits in a *window* until it is known what all chunks in it became in each target. Then the chunks
//! that have to be read are read together, once for all that lack them, in the order in which they are stored, and the
//! trees grow by what was waiting.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::data::{Fetched, Lacking, fetch};
use super::former::Former;
use super::lane::{Begun, Lane};
use super::recut::recut;
use super::{Context, Read};
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

/// Opened segments of each target that are kept for reading earlier copies; a mebibyte each.
const FORMER_SEGMENTS: usize = 4;

/// What the walk met.
enum Step {
    /// A directory begins.
    Enter(Node, [u8; 16]),
    /// It ends.
    Leave,
    /// The next chunks of the file that comes.
    Chunks(Arc<[ChunkRef]>),
    /// A file whose chunks have come.
    File(Node, Arc<[u8]>),
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

/// The trees of one target.
struct Copier<'c, 'w, 'a, 'l> {
    lane: &'c mut Lane<'l>,
    writer: &'w SessionWriter<'a>,
    trees: SegmentBuilder<'w, 'a>,
    is_dry_run: bool,
    steps: Vec<Step>,
    /// How many directories deep the walk is in one that this target knows, and others don't.
    known_depth: u32,
    /// From the root to where the writing is.
    open: Vec<OpenDirectory>,
    /// The file whose chunks come.
    content: ContentWriter,
    /// Why it can't be copied.
    torn: Option<String>,
    /// An earlier snapshot that has a copy.
    former: Option<Former<'c>>,
    /// What the root became, if it is the same as that of the earlier one.
    root: Option<Content>,
    /// The file that the walk is at is known.
    has_file: bool,
    /// Cuts files anew.
    cutter: Option<Cutter<'w, 'a>>,
    /// Nothing was left out.
    is_whole: bool,
}

/// The walk, for all targets.
struct Fan<'c, 'w, 'a, 'l> {
    context: &'c Context<'c>,
    chunks: &'c ChunkReader<'c>,
    writers: &'w [SessionWriter<'a>],
    copiers: Vec<Copier<'c, 'w, 'a, 'l>>,
    read: &'c mut Read,
    /// Steps, chunks and bytes of these that wait.
    waiting_nodes: usize,
    waiting: usize,
    waiting_bytes: u64,
    /// What was told to be a problem: the same is one for several targets.
    told: HashSet<Vec<u8>>,
}

/// Copies the trees of a snapshot and the chunks that they need. What its root became in each target; nothing if something
/// can't be read, which is a problem then, or if the target failed.
///
/// # Errors
/// `Interrupted`, `Io` of the source.
pub(super) fn copy(
    context: &Context<'_>,
    writers: &[SessionWriter<'_>],
    begun: &[Begun],
    snapshot: &Snapshot,
    lanes: &mut [&mut Lane<'_>],
    read: &mut Read,
) -> Result<Vec<Option<Content>>> {
    let chunks = ChunkReader::new(context.source, context.index);
    let indexes = begun.iter().map(|begun| &begun.index);
    let theirs = writers.iter().zip(indexes);
    let theirs: Vec<_> =
        theirs.map(|(writer, index)| ChunkReader::strict(writer.repository(), index, FORMER_SEGMENTS)).collect();
    context.problems.monitor().stage("copying", Some(snapshot.statistics.files), Some(snapshot.statistics.bytes));
    let mut copiers = Vec::with_capacity(lanes.len());
    for (((lane, writer), begun), theirs) in lanes.iter_mut().zip(writers).zip(begun).zip(&theirs) {
        let mut copier = Copier::new(lane, writer, context);
        match &begun.earlier {
            Some(earlier) if earlier.here == snapshot.root => copier.have_root(&earlier.there),
            earlier => copier.former = earlier.as_ref().map(|earlier| Former::new(&chunks, theirs, earlier)),
        }
        copiers.push(copier);
    }
    let is_known = copiers.iter().all(|copier| copier.root.is_some());
    let mut fan = Fan {
        context,
        chunks: &chunks,
        writers,
        copiers,
        read,
        waiting_nodes: 0,
        waiting: 0,
        waiting_bytes: 0,
        told: HashSet::new(),
    };
    if is_known {
        return Ok(fan.copiers.into_iter().map(Copier::finish).collect());
    }
    walk(&chunks, &snapshot.root, b"", &mut |path, visit| {
        context.stop_if_asked()?;
        match visit {
            Visit::Node(node) => fan.node(path, node),
            Visit::Left => fan.left().map(|()| Descend::Yes),
            Visit::Damaged(error) => fan.damaged(path, error).map(|()| Descend::Yes),
        }
    })?;
    fan.flush()?;
    Ok(fan.copiers.into_iter().map(Copier::finish).collect())
}

impl<'c, 'w, 'a, 'l> Fan<'c, 'w, 'a, 'l> {
    /// The copiers that write what the walk meets now.
    fn awake(&mut self) -> impl Iterator<Item = &mut Copier<'c, 'w, 'a, 'l>> {
        let is_awake = |copier: &&mut Copier<'_, '_, '_, '_>| copier.known_depth == 0 && !copier.has_file;
        self.copiers.iter_mut().filter(is_awake).filter(|copier| !copier.lane.has_failed())
    }

    fn node(&mut self, path: &[u8], node: &Node) -> Result<Descend> {
        let Some(content) = &node.content else {
            return self.push(|| Step::Same(node.clone())).map(|()| Descend::No);
        };
        if node.is_directory() {
            return self.directory(node, content);
        }
        match content {
            Content::Inline(_) => self.push(|| Step::Same(node.clone()))?,
            _ if self.context.options.recut => return self.recut(path, node, content).map(|()| Descend::No),
            _ => self.file(path, node, content)?,
        }
        self.context.problems.monitor().advance(1, node.size);
        Ok(Descend::No)
    }

    /// It is walked through if a target doesn't know it; those that do wait for its end.
    fn directory(&mut self, node: &Node, content: &Content) -> Result<Descend> {
        let key = content_key(content);
        let mut is_new = false;
        for copier in &mut self.copiers {
            match (copier.known_depth, copier.known_directory(node, key)) {
                (0, Some(known)) => {
                    copier.steps.push(Step::Same(Node { content: Some(known), ..node.clone() }));
                    copier.known_depth = 1;
                }
                (0, None) => {
                    copier.steps.push(Step::Enter(node.clone(), key));
                    copier.former.iter_mut().for_each(Former::enter);
                    is_new = true;
                }
                (depth, _) => copier.known_depth = depth + 1,
            }
        }
        if !is_new {
            // Nobody walks through it, so its end is not met.
            self.copiers.iter_mut().for_each(|copier| copier.known_depth -= 1);
        }
        self.count_node()?;
        Ok(if is_new { Descend::Yes } else { Descend::No })
    }

    fn left(&mut self) -> Result<()> {
        for copier in &mut self.copiers {
            match copier.known_depth {
                0 => {
                    copier.steps.push(Step::Leave);
                    copier.former.iter_mut().for_each(Former::leave);
                }
                depth => copier.known_depth = depth - 1,
            }
        }
        self.count_node()
    }

    fn file(&mut self, path: &[u8], node: &Node, content: &Content) -> Result<()> {
        let mut is_wanted = false;
        for copier in self.awake() {
            let known = copier.former.as_mut().and_then(|former| former.became(node));
            copier.has_file = known.is_some();
            is_wanted |= known.is_none();
            copier.steps.extend(known.map(|known| Step::Same(Node { content: Some(known), ..node.clone() })));
        }
        let done = if is_wanted { self.unknown_file(path, node, content) } else { self.count_node() };
        self.copiers.iter_mut().for_each(|copier| copier.has_file = false);
        done
    }

    fn unknown_file(&mut self, path: &[u8], node: &Node, content: &Content) -> Result<()> {
        let mut reader = ContentReader::new(self.chunks, content);
        let mut piece = Vec::new();
        loop {
            match reader.read_next() {
                Ok(None) => break,
                Ok(Some(reference)) => {
                    piece.push(reference);
                    self.waiting_bytes += u64::from(reference.len);
                    if self.waiting + piece.len() >= WINDOW_CHUNKS || self.waiting_bytes >= WINDOW_BYTES {
                        self.push_chunks(std::mem::take(&mut piece))?;
                    }
                }
                Err(error) => return self.damaged(path, &error),
            }
        }
        self.push_chunks(piece)?;
        let path: Arc<[u8]> = path.into();
        self.push(|| Step::File(node.clone(), Arc::clone(&path)))
    }

    fn push_chunks(&mut self, piece: Vec<ChunkRef>) -> Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        self.waiting += piece.len();
        let piece: Arc<[ChunkRef]> = piece.into();
        self.push(|| Step::Chunks(Arc::clone(&piece)))
    }

    /// A file that is cut anew, all of it read; its content is remembered as that of directories is.
    fn recut(&mut self, path: &[u8], node: &Node, content: &Content) -> Result<()> {
        // Not the key that a directory of the same chunks has: what one of them becomes the other does not.
        let key = content_key(content).map(|byte| !byte);
        let (is_dry_run, chunks) = (self.context.options.dry_run, self.chunks);
        let mut read = Read::default();
        let mut lacking = Vec::new();
        for copier in self.awake() {
            match copier.lane.memo.get(&key) {
                Some(known) => copier.steps.push(Step::Same(Node { content: Some(known), ..node.clone() })),
                None => lacking.push(copier),
            }
        }
        let made = match &mut *lacking {
            [] => Ok(Vec::new()),
            some if is_dry_run => {
                read.bytes += node.stream_len();
                Ok(some.iter().map(|_| Ok(Content::Inline(Vec::new()))).collect())
            }
            some => recut(chunks, some.iter_mut().filter_map(|copier| copier.cutter.as_mut()), content, &mut read),
        };
        let failure = made.map(|made| {
            for (copier, content) in lacking.into_iter().zip(made) {
                match content {
                    Ok(content) => {
                        copier.lane.memo.put(key, &content);
                        copier.steps.push(Step::Same(Node { content: Some(content), ..node.clone() }));
                    }
                    Err(error) => copier.lane.fail(error),
                }
            }
        });
        self.read.chunks += read.chunks;
        self.read.bytes += read.bytes;
        match failure {
            Ok(()) => {
                self.context.problems.monitor().advance(1, 0);
                self.count_node()
            }
            Err(error) => self.damaged(path, &error),
        }
    }

    /// Something of the source can't be read. What the storage does not give now it may give later, so that ends it.
    fn damaged(&mut self, path: &[u8], error: &EngineError) -> Result<()> {
        if error.is_unanswered() {
            return Err(error.clone());
        }
        self.tell(if path.is_empty() { b"/" } else { path }, &error.to_string());
        self.awake().for_each(|copier| copier.is_whole = false);
        self.push(|| Step::Torn)
    }

    fn tell(&mut self, path: &[u8], why: &str) {
        if self.told.insert(path.to_owned()) {
            self.context.problems.add(path, format!("cannot be copied: {why}"));
        }
    }

    fn push(&mut self, step: impl Fn() -> Step) -> Result<()> {
        self.awake().for_each(|copier| copier.steps.push(step()));
        self.count_node()
    }

    fn count_node(&mut self) -> Result<()> {
        self.waiting_nodes += 1;
        let is_full = self.waiting_nodes >= WINDOW_NODES || self.waiting >= WINDOW_CHUNKS;
        if is_full || self.waiting_bytes >= WINDOW_BYTES { self.flush() } else { Ok(()) }
    }

    /// Copies what the window needs, then writes what waits in it.
    fn flush(&mut self) -> Result<()> {
        (self.waiting_nodes, self.waiting, self.waiting_bytes) = (0, 0, 0);
        let mut became = Vec::new();
        let mut wanted: HashMap<ChunkId, Lacking> = HashMap::new();
        for (number, copier) in self.copiers.iter_mut().enumerate() {
            let known = copier.translate();
            for reference in references(&copier.steps).filter(|reference| !known.contains_key(&reference.id)) {
                wanted.entry(reference.id).or_insert(Lacking::nobody(reference.len)).add(number);
            }
            became.push(known);
        }
        self.read.chunks += wanted.len() as u64;
        self.read.bytes += wanted.values().map(|lacking| u64::from(lacking.len)).sum::<u64>();
        let mut fetched = Fetched::for_targets(self.copiers.len());
        if !wanted.is_empty() && !self.context.options.dry_run {
            fetched = fetch(self.context, self.writers, wanted)?;
        }
        let mut torn = Vec::new();
        let of_targets = fetched.became.into_iter().zip(fetched.broken).zip(became);
        for (copier, ((new, broken), mut became)) in self.copiers.iter_mut().zip(of_targets) {
            copier.lane.translation.remember(&new);
            became.extend(new);
            if let Some(error) = broken {
                copier.lane.fail(error);
            }
            copier.write_all(&became, &fetched.failures, &mut torn);
        }
        torn.into_iter().for_each(|(path, why)| self.tell(&path, &why));
        if self.copiers.iter().all(|copier| copier.lane.has_failed()) {
            return Err(EngineError::new(ErrorKind::Io, "no repository is left to copy to"));
        }
        Ok(())
    }
}

impl<'c, 'w, 'a, 'l> Copier<'c, 'w, 'a, 'l> {
    fn new(lane: &'c mut Lane<'l>, writer: &'w SessionWriter<'a>, context: &'w Context<'w>) -> Self {
        let root = OpenDirectory { node: None, writer: DirectoryWriter::default() };
        Self {
            lane,
            writer,
            trees: writer.tree_builder(),
            is_dry_run: context.options.dry_run,
            steps: Vec::new(),
            known_depth: 0,
            open: vec![root],
            content: ContentWriter::default(),
            torn: None,
            former: None,
            root: None,
            has_file: false,
            cutter: context.options.recut.then(|| Cutter::new(writer, context.problems)),
            is_whole: true,
        }
    }

    /// All of it is there.
    fn have_root(&mut self, content: &Content) {
        self.root = Some(content.clone());
        // It sleeps until the end.
        self.known_depth = 1;
    }

    /// What a directory became, if that is known.
    fn known_directory(&mut self, node: &Node, key: [u8; 16]) -> Option<Content> {
        let memo = &mut self.lane.memo;
        let known = memo.get(&key);
        if known.is_some() || self.known_depth > 0 {
            return known;
        }
        let known = self.former.as_mut()?.became(node)?;
        memo.put(key, &known);
        Some(known)
    }

    /// The last of it is written.
    fn finish(mut self) -> Option<Content> {
        if self.lane.has_failed() {
            return None;
        }
        let finish = || -> Result<Content> {
            let root = self.open.pop().expect("what is entered is left, but for the root");
            let content = root.writer.finish(&mut self.trees)?;
            self.cutter.map_or(Ok(()), Cutter::finish)?;
            self.trees.finish()?;
            Ok(content)
        };
        let content = finish().map_err(|error| self.lane.fail(error)).ok();
        self.root.or(content).filter(|_| self.is_whole)
    }

    /// What the chunks of the window became, of those that need not be read.
    fn translate(&mut self) -> HashMap<ChunkId, ChunkId> {
        let mut became = self.lane.translation.look_up(references(&self.steps).map(|reference| reference.id));
        let (writer, lane) = (self.writer, &mut *self.lane);
        became.retain(|_, there| writer.has(there).map_err(|error| lane.fail(error)).unwrap_or(false));
        became
    }

    /// Writes what waits, unless this target has failed.
    fn write_all(
        &mut self,
        became: &HashMap<ChunkId, ChunkId>,
        failures: &HashMap<ChunkId, String>,
        torn: &mut Vec<(Arc<[u8]>, String)>,
    ) {
        for step in std::mem::take(&mut self.steps) {
            if self.lane.has_failed() {
                return;
            }
            if let Err(error) = self.write(step, became, failures, torn) {
                self.lane.fail(error);
            }
        }
    }

    fn write(
        &mut self,
        step: Step,
        became: &HashMap<ChunkId, ChunkId>,
        failures: &HashMap<ChunkId, String>,
        torn: &mut Vec<(Arc<[u8]>, String)>,
    ) -> Result<()> {
        match step {
            Step::Enter(node, key) => {
                self.open.push(OpenDirectory { node: Some((node, key)), writer: DirectoryWriter::default() });
            }
            Step::Leave => self.leave()?,
            Step::Same(node) => self.add(&node)?,
            Step::Torn => {
                (self.content, self.torn) = (ContentWriter::default(), None);
            }
            Step::Chunks(references) => {
                for reference in &*references {
                    match became.get(&reference.id) {
                        Some(id) => self.content.push(ChunkRef { id: *id, len: reference.len }, &mut self.trees)?,
                        None if self.is_dry_run => {}
                        None => {
                            let why = || format!("chunk {} can't be read", reference.id);
                            let why = failures.get(&reference.id).cloned().unwrap_or_else(why);
                            self.torn.get_or_insert(why);
                        }
                    }
                }
            }
            Step::File(node, path) => {
                let content = std::mem::take(&mut self.content).finish(&mut self.trees)?;
                if let Some(why) = self.torn.take() {
                    // The snapshot will have no copy; the others that are in it are named all the same.
                    self.is_whole = false;
                    torn.push((path, why));
                    return Ok(());
                }
                self.add(&Node { content: Some(content), ..node })?;
            }
        }
        Ok(())
    }

    fn add(&mut self, node: &Node) -> Result<()> {
        if self.is_dry_run {
            return Ok(());
        }
        let domain = self.writer.domain();
        let open = self.open.last_mut().expect("the root is left last");
        open.writer.add(node, domain, &mut self.trees)
    }

    fn leave(&mut self) -> Result<()> {
        let OpenDirectory { node, writer } = self.open.pop().expect("entered before");
        let (mut node, key) = node.expect("the root is not left");
        let content = writer.finish(&mut self.trees)?;
        // Of a snapshot that gets no copy, nothing is remembered in the end.
        self.lane.memo.put(key, &content);
        node.content = Some(content);
        self.add(&node)
    }
}

fn references(steps: &[Step]) -> impl Iterator<Item = &ChunkRef> {
    steps.iter().filter_map(|step| if let Step::Chunks(chunks) = step { Some(&**chunks) } else { None }).flatten()
}
