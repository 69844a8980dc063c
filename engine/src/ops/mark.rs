//! Which chunks do snapshots need? Walks their trees on all cores, and each tree chunk once over all snapshots.
//!
//! That a chunk has its mark does not say that it was walked: a file may name it as part of what it holds, and then all
//! below it has no mark. So what was walked is a set of its own, of some fifty bytes for each tree chunk.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{decode_node, decode_references};
use crate::id::SnapshotId;
use crate::model::{ChunkKind, ChunkRef, Content, Snapshot};
use crate::monitor::Monitor;
use crate::repository::{Census, ChunkReader, Index, MARKS_AT_ONCE, Repository};

/// Opened segments that each thread keeps, about a mebibyte each: a directory and the lists of its files lie together.
const CACHED_SEGMENTS: usize = 4;

/// What a tree chunk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holds {
    /// Nodes of a directory.
    Nodes,
    /// A list of chunks, this many levels above those of the content; whether they are a directory's.
    List(u8, bool),
}

/// Marks in `census` every chunk that the snapshots need.
///
/// # Errors
/// What is wrong with the first snapshot of which not all is there, and that one: then the others are not looked at.
/// Such an error is of a tree that can't be read, or of a chunk that the index does not list; or it is `Interrupted`, `Io`.
pub(super) fn mark<'s>(
    repository: &Repository,
    index: &Index,
    census: &Census,
    snapshots: impl Iterator<Item = &'s (SnapshotId, Snapshot)>,
    monitor: &dyn Monitor,
) -> Result<(), (SnapshotId, EngineError)> {
    let walk = Walk::new(repository, index, census, monitor, true);
    for (id, snapshot) in snapshots {
        walk.snapshot(snapshot).map_or(Ok(()), |error| Err((*id, error)))?;
    }
    Ok(())
}

/// Marks in `census` every chunk that the snapshots need and that can be found; what is wrong first with each that lacks
/// some. What two of them lack may be told of one only.
///
/// # Errors
/// `Interrupted`, `Io`.
pub(super) fn mark_what_is_there<'s>(
    repository: &Repository,
    index: &Index,
    census: &Census,
    snapshots: impl Iterator<Item = &'s (SnapshotId, Snapshot)>,
    monitor: &dyn Monitor,
) -> Result<Vec<(SnapshotId, EngineError)>> {
    let walk = Walk::new(repository, index, census, monitor, false);
    let mut lacking = Vec::new();
    for (id, snapshot) in snapshots {
        match walk.snapshot(snapshot) {
            Some(error) if error.is_unanswered() => return Err(error),
            Some(error) => lacking.push((*id, error)),
            None => {}
        }
    }
    Ok(lacking)
}

struct Walk<'a> {
    census: &'a Census,
    /// One for each thread: what it reads lies together.
    readers: Vec<ChunkReader<'a>>,
    /// Tree chunks that are walked or about to be, each as what it was taken for: as something else it leads elsewhere,
    /// or nowhere.
    walked: Mutex<HashSet<(ChunkRef, Holds)>>,
    monitor: &'a dyn Monitor,
    /// Whether the first thing that is wrong ends it.
    is_strict: bool,
    stopped: AtomicBool,
    failure: Mutex<Option<EngineError>>,
}

impl<'a> Walk<'a> {
    fn new(
        repository: &'a Repository,
        index: &'a Index,
        census: &'a Census,
        monitor: &'a dyn Monitor,
        is_strict: bool,
    ) -> Self {
        let reader = |_| ChunkReader::strict(repository, index, CACHED_SEGMENTS);
        let readers = (0..rayon::current_num_threads()).map(reader).collect();
        let (stopped, walked) = (AtomicBool::new(false), Mutex::default());
        Self { census, readers, walked, monitor, is_strict, stopped, failure: Mutex::default() }
    }

    /// Marks what a snapshot needs; what was wrong first.
    fn snapshot(&self, snapshot: &Snapshot) -> Option<EngineError> {
        rayon::in_place_scope(|scope| self.content(scope, &snapshot.root, true));
        self.monitor.advance(1, 0);
        self.failure.lock().expect("no holder of this lock panics").take()
    }

    fn fail(&self, error: EngineError) {
        let is_end = self.is_strict || error.is_unanswered();
        let mut failure = self.failure.lock().expect("no holder of this lock panics");
        if is_end && !self.stopped.swap(true, Ordering::Relaxed) {
            // Of what was wrong before this, nobody will hear.
            *failure = Some(error);
        } else {
            failure.get_or_insert(error);
        }
    }

    fn content<'s>(&'s self, scope: &rayon::Scope<'s>, content: &Content, directory: bool) {
        match content {
            Content::Inline(nodes) if directory => self.nodes(scope, nodes),
            Content::Inline(_) => {}
            Content::Chunks(references) => self.references(scope, references, 0, directory),
            Content::Lists { depth, lists } => self.references(scope, lists, *depth, directory),
        }
    }

    /// Marks chunks that are `depth` levels above a content's, and goes on below those that nobody walked yet.
    fn references<'s>(&'s self, scope: &rayon::Scope<'s>, references: &[ChunkRef], depth: u8, directory: bool) {
        let below = match depth {
            0 => directory.then_some(Holds::Nodes),
            depth => Some(Holds::List(depth - 1, directory)),
        };
        for group in references.chunks(MARKS_AT_ONCE) {
            for (reference, is_listed) in group.iter().zip(self.census.mark(group)) {
                if !is_listed {
                    let text = format!("no index object that counts lists chunk {}", reference.id);
                    self.fail(EngineError::new(ErrorKind::Missing, text));
                    if self.is_strict {
                        return;
                    }
                } else if let Some(holds) = below
                    && self.walked.lock().expect("no holder of this lock panics").insert((*reference, holds))
                {
                    let reference = *reference;
                    scope.spawn(move |scope| self.tree(scope, &reference, holds));
                }
            }
        }
    }

    fn tree<'s>(&'s self, scope: &rayon::Scope<'s>, reference: &ChunkRef, holds: Holds) {
        if self.stopped.load(Ordering::Relaxed) {
            return;
        }
        if self.monitor.cancelled() {
            return self.fail(EngineError::new(ErrorKind::Interrupted, "interrupted"));
        }
        // The thread that runs the scope is none of the pool's.
        let reader = &self.readers[rayon::current_thread_index().unwrap_or(0)];
        match (reader.read(ChunkKind::Tree, reference), holds) {
            (Err(error), _) => self.fail(error),
            (Ok(bytes), Holds::Nodes) => self.nodes(scope, &bytes),
            (Ok(bytes), Holds::List(depth, directory)) => match decode_references(&bytes) {
                Ok(references) => self.references(scope, &references, depth, directory),
                Err(error) => self.fail(EngineError::damaged(format!("list chunk {}: {error}", reference.id))),
            },
        }
    }

    fn nodes<'s>(&'s self, scope: &rayon::Scope<'s>, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match decode_node(bytes) {
                Ok((node, len)) => {
                    bytes = &bytes[len..];
                    if let Some(content) = &node.content {
                        self.content(scope, content, node.is_directory());
                    }
                }
                Err(error) => return self.fail(EngineError::damaged(format!("directory listing: {error}"))),
            }
        }
    }
}
