//! The walk over the source: what is as in the parent snapshot is taken over, files go to the workers, and trees
//! are built in order from what comes back.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender, bounded, select_biased, unbounded};

use super::former::Former;
use super::trees::TreeBuilder;
use super::worker::{Worker, interrupted};
use super::{Gathered, SnapshotOptions};
use crate::clock::Timestamp;
use crate::error::{EngineError, ErrorKind, Result};
use crate::model::{Content, Extent, LinkGroup, Node, NodeKind, Snapshot};
use crate::monitor::{ItemAction, ProblemLog};
use crate::os;
use crate::repository::{ChunkReader, ContentReader, DirectoryReader, SessionWriter};
use crate::source::{Entry, ExcludeOptions, ExcludeRules, Scout, WalkEvent, Walker};

/// Files in one job, at most: neighbours are compressed together, and found together by a restore.
const BATCH_FILES: usize = 32;
/// Bytes in one job after which it is sent.
const BATCH_BYTES: u64 = 1 << 20;
/// Directories that a batch holds open, at most: deep trees have few files in each, and handles are few.
const BATCH_DIRECTORIES: usize = 8;
/// Nodes that wait for their turn, at most.
const PENDING_NODES: usize = 4096;
/// Time stamps come from a clock that ticks only so often: what changed in the tick in which a snapshot began may
/// have changed after it was read.
const TICK_NANOSECONDS: u32 = 20_000_000;

/// A file on its way to a worker, with its number, and the content of it that the parent snapshot has.
type Job = (u64, Entry, Option<Content>);
/// Some of them.
type Batch = Vec<Job>;
/// What became of a file; `None`: it could not be read.
type Done = (u64, Result<Option<Node>>);

/// What is to be gathered.
pub(super) struct Wanted<'p, 'w> {
    pub(super) paths: &'p [Vec<u8>],
    pub(super) options: &'p SnapshotOptions,
    /// What it is compared with.
    pub(super) parent: Option<&'w Snapshot>,
}

pub(super) fn gather_paths<'s, 'w, 'a>(
    scope: &'s Scope<'s, 'w>,
    scout: &'w Scout,
    writer: &'w SessionWriter<'a>,
    chunks: &'w ChunkReader<'w>,
    wanted: &Wanted<'_, 'w>,
    problems: &'w ProblemLog<'w>,
) -> Result<Gathered> {
    let Wanted { paths, options, parent } = *wanted;
    let rules = exclude_rules(writer, options, Vec::new())?;
    let walker = match &options.as_path {
        Some(at) => Walker::new_at(&paths[0], at, &rules, problems)?,
        None => Walker::new(paths, &rules, problems)?,
    };
    let walker = walker.with_scout(scout);
    gather_with(scope, scout, writer, chunks, parent, problems, |driver| driver.walk(walker, 0, 0))
}

/// Starts workers and scouts, lets `walk` tell the driver what is there, and finishes the trees.
pub(super) fn gather_with<'s, 'w, 'a>(
    scope: &'s Scope<'s, 'w>,
    scout: &'w Scout,
    writer: &'w SessionWriter<'a>,
    chunks: &'w ChunkReader<'w>,
    parent: Option<&'w Snapshot>,
    problems: &'w ProblemLog<'w>,
    walk: impl FnOnce(&mut Driver<'w, 'a>) -> Result<()>,
) -> Result<Gathered> {
    let _end = scout.end();
    let total = parent.map(|parent| (parent.statistics.files, parent.statistics.bytes));
    problems.monitor().stage("reading files", total.map(|(files, _)| files), total.map(|(_, bytes)| bytes));

    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let (jobs, queue) = bounded::<Batch>(count);
    let (results, done) = unbounded::<Done>();
    let workers: Vec<_> = (0..count)
        .map(|_| {
            let (queue, results) = (queue.clone(), results.clone());
            scope.spawn(move || run_worker(Worker::new(writer, problems), writer, chunks, &queue, &results))
        })
        .collect();
    drop((queue, results));
    (1..count.max(2)).for_each(|_| drop(scope.spawn(|| scout.run())));

    let mut driver = Driver {
        trees: TreeBuilder::new(writer, parent.map(|parent| parent.root.clone())),
        problems,
        jobs: Some(jobs),
        done,
        batch: Batch::new(),
        batch_bytes: 0,
        batch_directories: 0,
        next_number: 0,
        pending: VecDeque::new(),
        finished: HashMap::new(),
        links: HashMap::new(),
        parents: Vec::new(),
        chunks,
        racy_from: parent.and_then(|parent| parent.started).map_or(Timestamp::new(i64::MIN, 0), tick_before),
        has_losses: chunks.index().knows_of_losses()?,
    };
    if let Some(parent) = parent {
        driver.parents.push(Some(ParentDirectory::new(chunks, &parent.root)));
    }
    let walked = walk(&mut driver);
    // Without a way to send jobs the workers come to their end, however the walk ended.
    driver.jobs = None;
    let ended: Result<Vec<()>> =
        workers.into_iter().map(|worker| worker.join().expect("workers do not panic")).collect();
    walked?;
    ended?;
    driver.drain_all()?;
    let complete = driver.parents.pop().flatten().is_some_and(|parent| parent.found_all());
    driver.trees.finish(complete)
}

/// The rules of the options, and further patterns with their roots.
pub(super) fn exclude_rules(
    writer: &SessionWriter<'_>,
    options: &SnapshotOptions,
    rooted: Vec<(PathBuf, Vec<String>)>,
) -> Result<ExcludeRules> {
    let repository = writer.repository();
    let own = [repository.storage().capabilities().local_directory, Some(repository.cache_directory().to_owned())];
    let all = own.iter().flatten().chain(&options.repositories);
    let skip = all.filter_map(|path| os::path_identity(path)).collect();
    ExcludeRules::new(&ExcludeOptions {
        patterns: options.excludes.clone(),
        rooted,
        pattern_files: options.exclude_files.clone(),
        exclude_if_present: options.exclude_if_present.clone(),
        exclude_caches: options.exclude_caches,
        ignore_files: options.ignore_files.clone(),
        one_file_system: options.one_file_system,
        exclude_larger_than: options.exclude_larger_than,
        skip,
    })
}

fn run_worker<'w>(
    mut worker: Worker<'w, '_>,
    writer: &SessionWriter<'_>,
    chunks: &'w ChunkReader<'w>,
    queue: &Receiver<Batch>,
    results: &Sender<Done>,
) -> Result<()> {
    let mut failure = None;
    loop {
        let batch = select_biased! {
            recv(writer.offered_segments()) -> segment => {
                // What another worker could not get to, while it has more to read.
                if let (Ok(segment), None) = (segment, &failure) {
                    failure = worker.seal(segment).err();
                }
                continue;
            }
            recv(queue) -> batch => batch,
        };
        let Ok(batch) = batch else { break };
        for (number, entry, former) in batch {
            let former = || former.as_ref().map(|content| Former::new(chunks, content));
            // After a failure the queue is still emptied, so that the walk is not left waiting.
            let node = if failure.is_some() { Ok(None) } else { read_file(&mut worker, &entry, &former) };
            if let Err(error) = &node {
                failure = Some(EngineError::new(error.kind(), error.to_string()));
            }
            let _ = results.send((number, node));
        }
    }
    // Also after an interruption: what is sealed now need not be stored again by the next snapshot.
    let finished = worker.finish();
    failure.map_or(finished, Err)
}

/// A bug must not leave the walk waiting for a result that never comes.
fn read_file<'w>(
    worker: &mut Worker<'w, '_>,
    entry: &Entry,
    former: &dyn Fn() -> Option<Former<'w>>,
) -> Result<Option<Node>> {
    let read = std::panic::AssertUnwindSafe(|| worker.file(entry, former));
    std::panic::catch_unwind(read).unwrap_or_else(|_| {
        let path = String::from_utf8_lossy(&entry.source_path()).into_owned();
        Err(EngineError::new(ErrorKind::Io, format!("reading {path} panicked")))
    })
}

/// A node that waits until it is its turn to be written.
enum Pending {
    /// A directory, and the parent's of that name.
    Enter(Node, Option<Box<Node>>),
    Ready(Node),
    /// What the parent has as well, and how it is encoded there.
    Same(Node, Vec<u8>),
    /// The file of this number, at a worker; whether the parent had one of that name; its path, if anybody wants it.
    File(u64, ItemAction, Vec<u8>),
    /// Another name of a file that came before.
    Link(LinkGroup, Node),
    /// Whether everything in the parent's directory came.
    Leave(bool),
}

/// What all names of one file share.
struct Linked {
    size: u64,
    content: Option<Content>,
    extents: Option<Vec<Extent>>,
    /// Names that have not come yet.
    left: u64,
}

pub(super) struct Driver<'w, 'a> {
    pub(super) trees: TreeBuilder<'w, 'a>,
    pub(super) problems: &'w ProblemLog<'w>,
    jobs: Option<Sender<Batch>>,
    done: Receiver<Done>,
    batch: Batch,
    batch_bytes: u64,
    batch_directories: usize,
    next_number: u64,
    pending: VecDeque<Pending>,
    finished: HashMap<u64, Option<Node>>,
    links: HashMap<LinkGroup, Linked>,
    /// The parent's directories from its root to where the walk is; `None` below what it didn't have.
    parents: Vec<Option<ParentDirectory<'w>>>,
    chunks: &'w ChunkReader<'w>,
    racy_from: Timestamp,
    /// Chunks were lost, and the parent may need one of them.
    has_losses: bool,
}

impl<'w> Driver<'w, '_> {
    /// Takes in a walk. Of the directories that it begins with, the first `open` are open already, and the first `keep`
    /// stay open for the next one.
    pub(super) fn walk(&mut self, mut walker: Walker<'_>, open: usize, keep: usize) -> Result<()> {
        let mut depth = 0;
        while let Some(event) = walker.next() {
            if self.problems.monitor().cancelled() {
                return Err(interrupted());
            }
            match event {
                WalkEvent::Enter(entry) => {
                    depth += 1;
                    if depth > open {
                        self.enter(entry);
                    }
                }
                WalkEvent::Item(entry) => self.item(entry)?,
                WalkEvent::Leave => {
                    if depth > keep {
                        self.leave();
                    }
                    depth -= 1;
                }
            }
            self.drain_ready()?;
        }
        self.send_batch();
        self.drain_all()
    }

    pub(super) fn leave(&mut self) {
        let complete = self.parents.pop().flatten().is_some_and(|parent| parent.found_all());
        self.pending.push_back(Pending::Leave(complete));
    }

    /// What the parent has of the next file in this directory, whose content is to be read: whether there is any, and
    /// its chunks as far as they may be built on.
    pub(super) fn former(&mut self, name: &[u8]) -> (ItemAction, Option<Former<'w>>) {
        let Some(old) = self.parent_node(name) else { return (ItemAction::New, None) };
        let content = old.content.filter(|_| old.kind == NodeKind::File && !self.has_losses);
        (ItemAction::Changed, content.map(|content| Former::new(self.chunks, &content)))
    }

    /// Takes in a node that needs no worker any more.
    pub(super) fn ready(&mut self, node: Node, action: ItemAction) -> Result<()> {
        self.count(action);
        self.pending.push_back(Pending::Ready(node));
        self.drain_all()
    }

    pub(super) fn enter(&mut self, entry: Entry) {
        let old = self.parent_node(&entry.node.name).filter(Node::is_directory);
        let xattrs = self.xattrs(&entry, old.as_ref());
        let mut node = entry.node;
        node.metadata.xattrs = xattrs;
        let below = old.as_ref().and_then(|old| old.content.as_ref());
        let below = below.map(|content| ParentDirectory::new(self.chunks, content));
        self.parents.push(below);
        self.pending.push_back(Pending::Enter(node, old.map(Box::new)));
    }

    fn item(&mut self, entry: Entry) -> Result<()> {
        let old = self.parent_node(&entry.node.name);
        if entry.node.kind == NodeKind::File {
            return self.file(entry, old);
        }
        let xattrs = self.xattrs(&entry, old.as_ref());
        let mut node = entry.node;
        node.metadata.xattrs = xattrs;
        if old.as_ref() == Some(&node) {
            return self.same(node);
        }
        self.pending.push_back(Pending::Ready(node));
        Ok(())
    }

    /// Takes over a node that the parent has just like this: it was the last one that was found there.
    fn same(&mut self, node: Node) -> Result<()> {
        let encoded = self.parents.last().and_then(Option::as_ref).map_or(&[][..], ParentDirectory::last_encoded);
        if self.pending.is_empty() {
            return self.trees.add_same(&node, encoded);
        }
        self.pending.push_back(Pending::Same(node, encoded.to_vec()));
        Ok(())
    }

    fn unchanged(&mut self, entry: Entry, old: Node) -> Result<()> {
        self.trees.statistics.files_unchanged += 1;
        let monitor = self.problems.monitor();
        monitor.advance(1, old.size);
        if monitor.wants_item(ItemAction::Unchanged) {
            monitor.item(ItemAction::Unchanged, &entry.path(), old.size);
        }
        // What is the same stays as it was stored, except for what says where it is now.
        let mut node = entry.node;
        let (a, b) = (&old.metadata, &node.metadata);
        let same_place = (a.mode, a.uid, a.gid, a.device, a.links) == (b.mode, b.uid, b.gid, b.device, b.links);
        node.metadata.xattrs = old.metadata.xattrs;
        (node.content, node.extents) = (old.content, old.extents);
        if same_place {
            return self.same(node);
        }
        self.pending.push_back(Pending::Ready(node));
        Ok(())
    }

    fn file(&mut self, entry: Entry, old: Option<Node>) -> Result<()> {
        let (action, former) = match old {
            None => (ItemAction::New, None),
            Some(old) if self.is_unchanged(&old, &entry.node) => return self.unchanged(entry, old),
            // With losses the parent's chunks need not be there.
            Some(old) => (ItemAction::Changed, old.content.filter(|_| old.kind == NodeKind::File && !self.has_losses)),
        };
        if let Some(group) = entry.node.link_group() {
            if self.links.contains_key(&group) {
                let mut node = entry.node.clone();
                node.metadata.xattrs = self.xattrs(&entry, None);
                self.count(action);
                self.pending.push_back(Pending::Link(group, node));
                return Ok(());
            }
            let left = entry.node.metadata.links.unwrap_or(1) - 1;
            self.links.insert(group, Linked { size: 0, content: None, extents: None, left });
        }
        let number = self.next_number;
        self.next_number += 1;
        let path = self.problems.monitor().wants_item(action).then(|| entry.path().into_owned());
        self.pending.push_back(Pending::File(number, action, path.unwrap_or_default()));
        self.batch_bytes += entry.node.size;
        self.batch_directories += usize::from(!self.batch.last().is_some_and(|(_, last, _)| last.is_beside(&entry)));
        self.batch.push((number, entry, former));
        if self.batch.len() >= BATCH_FILES
            || self.batch_bytes >= BATCH_BYTES
            || self.batch_directories >= BATCH_DIRECTORIES
        {
            self.send_batch();
        }
        Ok(())
    }

    fn send_batch(&mut self) {
        (self.batch_bytes, self.batch_directories) = (0, 0);
        let batch = std::mem::take(&mut self.batch);
        if let (false, Some(jobs)) = (batch.is_empty(), &self.jobs) {
            // Nobody to take it: the workers failed, and say so when they are joined.
            let _ = jobs.send(batch);
        }
    }

    fn count(&mut self, action: ItemAction) {
        match action {
            ItemAction::New => self.trees.statistics.files_new += 1,
            ItemAction::Changed => self.trees.statistics.files_changed += 1,
            ItemAction::Unchanged | ItemAction::Deleted => {}
        }
    }

    /// Extended attributes: the parent's, where the change time says that they are the same.
    fn xattrs(&self, entry: &Entry, old: Option<&Node>) -> Vec<crate::model::Xattr> {
        let new = &entry.node;
        if let Some(old) = old
            && old.kind == new.kind
            && new.metadata.ctime.is_some()
            && old.metadata.ctime == new.metadata.ctime
            && old.metadata.inode == new.metadata.inode
            && new.metadata.ctime < Some(self.racy_from)
        {
            return old.metadata.xattrs.clone();
        }
        entry.xattrs().unwrap_or_else(|error| {
            self.problems.add(&entry.source_path(), error.to_string());
            Vec::new()
        })
    }

    fn is_unchanged(&self, old: &Node, new: &Node) -> bool {
        let (a, b) = (&old.metadata, &new.metadata);
        let newest = b.ctime.map_or(b.mtime, |ctime| ctime.max(b.mtime));
        old.kind == NodeKind::File
            && old.size == new.size
            && a.mtime == b.mtime
            && a.ctime == b.ctime
            && a.inode == b.inode
            && old.content.as_ref().is_some_and(|content| !self.has_losses || self.is_whole(content))
            && newest < self.racy_from
    }

    /// Whether no chunk of a content was lost: then it need not be read from the source again.
    fn is_whole(&self, content: &Content) -> bool {
        let mut reader = ContentReader::new(self.chunks, content);
        loop {
            match reader.read_next() {
                Ok(None) => return true,
                Ok(Some(reference)) if self.chunks.index().is_lost(&reference.id).is_ok_and(|lost| !lost) => {}
                _ => return false,
            }
        }
    }

    fn parent_node(&mut self, name: &[u8]) -> Option<Node> {
        self.parents.last_mut()?.as_mut()?.find(name, self.problems)
    }

    /// Writes the nodes whose turn has come; waits only if too many are waiting.
    fn drain_ready(&mut self) -> Result<()> {
        while let Some(front) = self.pending.front() {
            if let Pending::File(number, ..) = front {
                let number = *number;
                while let Ok((number, node)) = self.done.try_recv() {
                    self.finished.insert(number, node?);
                }
                if !self.finished.contains_key(&number) {
                    if self.pending.len() < PENDING_NODES {
                        return Ok(());
                    }
                    self.send_batch();
                    self.wait_for(number)?;
                }
            }
            self.write_front()?;
        }
        Ok(())
    }

    fn drain_all(&mut self) -> Result<()> {
        while let Some(front) = self.pending.front() {
            if let Pending::File(number, ..) = front {
                self.wait_for(*number)?;
            }
            self.write_front()?;
        }
        Ok(())
    }

    fn wait_for(&mut self, number: u64) -> Result<()> {
        while !self.finished.contains_key(&number) {
            let (number, node) = self.done.recv().map_err(|_| interrupted())?;
            self.finished.insert(number, node?);
        }
        Ok(())
    }

    fn write_front(&mut self) -> Result<()> {
        match self.pending.pop_front().expect("asked only if there is one") {
            Pending::Enter(node, old) => {
                self.trees.enter(node, old);
                Ok(())
            }
            Pending::Leave(complete) => self.trees.leave(complete),
            Pending::Same(node, encoded) => self.trees.add_same(&node, &encoded),
            Pending::Ready(node) => self.trees.add(&node),
            Pending::File(number, action, path) => {
                let node = self.finished.remove(&number).expect("waited for");
                self.problems.monitor().advance(1, 0);
                let Some(node) = node else {
                    self.trees.omit();
                    return Ok(());
                };
                if !path.is_empty() {
                    self.problems.monitor().item(action, &path, node.size);
                }
                self.count(action);
                if let Some(linked) = node.link_group().and_then(|group| self.links.get_mut(&group)) {
                    linked.size = node.size;
                    linked.content.clone_from(&node.content);
                    linked.extents.clone_from(&node.extents);
                }
                self.trees.add(&node)
            }
            Pending::Link(group, node) => self.write_link(group, node),
        }
    }

    fn write_link(&mut self, group: LinkGroup, mut node: Node) -> Result<()> {
        let Some(linked) = self.links.get_mut(&group) else {
            self.trees.omit();
            return Ok(());
        };
        linked.left = linked.left.saturating_sub(1);
        node.size = linked.size;
        node.content.clone_from(&linked.content);
        node.extents.clone_from(&linked.extents);
        if linked.left == 0 {
            self.links.remove(&group);
        }
        self.problems.monitor().advance(1, 0);
        if node.content.is_none() {
            // The first name of the file could not be read; that was told with its path.
            self.trees.omit();
            return Ok(());
        }
        self.trees.add(&node)
    }
}

/// A directory of the parent snapshot, read alongside the source's: both are in order.
struct ParentDirectory<'a> {
    reader: DirectoryReader<'a>,
    next: Option<Node>,
    at_end: bool,
    /// Some of it could not be read, or is not in the source.
    is_incomplete: bool,
}

impl<'a> ParentDirectory<'a> {
    fn new(chunks: &'a ChunkReader<'a>, content: &Content) -> Self {
        Self { reader: DirectoryReader::new(chunks, content), next: None, at_end: false, is_incomplete: false }
    }

    /// The parent's node of a name. Names must come in order. A parent that can't be read is as good as none.
    fn find(&mut self, name: &[u8], problems: &ProblemLog<'_>) -> Option<Node> {
        loop {
            match &self.next {
                Some(node) if node.name.as_slice() > name => return None,
                Some(node) if node.name == name => return self.next.take(),
                _ if self.at_end => return None,
                // Passed by: the source does not have it any more.
                Some(_) => self.is_incomplete = true,
                None => {}
            }
            match self.reader.read_next() {
                Ok(node) => {
                    self.at_end = node.is_none();
                    self.next = node;
                }
                Err(error) => {
                    self.is_incomplete = true;
                    problems.monitor().note(&format!("parent snapshot: {error}; reading files anew"));
                }
            }
        }
    }

    /// The node that was found last, as it is encoded.
    fn last_encoded(&self) -> &[u8] {
        self.reader.last_encoded()
    }

    /// Whether all of its nodes were found.
    fn found_all(mut self) -> bool {
        let at_end = self.at_end || matches!(self.reader.read_next(), Ok(None));
        at_end && self.next.is_none() && !self.is_incomplete
    }
}

fn tick_before(time: Timestamp) -> Timestamp {
    if time.nanoseconds >= TICK_NANOSECONDS {
        Timestamp::new(time.seconds, time.nanoseconds - TICK_NANOSECONDS)
    } else {
        Timestamp::new(time.seconds - 1, time.nanoseconds + 1_000_000_000 - TICK_NANOSECONDS)
    }
}
