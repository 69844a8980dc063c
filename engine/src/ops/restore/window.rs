//! A window: files that are restored together, bounded in number, chunks and handles.

use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use super::place::OpenDirectory;
use crate::model::{ChunkRef, LinkGroup, Node, NodeKind};
use crate::os::Stat;
use crate::target::TargetFile;

/// Windows that exist at the same time: one that is collected, and those that are worked on.
pub(super) const WINDOWS: usize = 3;
/// Chunks in a window, at most.
const WINDOW_CHUNKS: usize = 32 << 10;
/// Files in a window, at most.
const WINDOW_FILES: usize = 8 << 10;
/// Files in the first window. Each next one may be twice as large: so the workers need not wait for the first, and
/// few segments are read once more because their files are in two windows.
const FIRST_WINDOW_FILES: usize = 512;

/// A file on its way.
pub(super) struct FileState<'a> {
    pub(super) above: Arc<OpenDirectory<'a>>,
    /// Without its references: those are `chunks`.
    pub(super) node: Node,
    pub(super) path: Vec<u8>,
    /// Chunks and where they begin in the stream; complete or none.
    pub(super) chunks: Vec<(u64, ChunkRef)>,
    /// Steps that are still to come before the next stage: parts to compare, then chunks to write.
    pub(super) left: AtomicUsize,
    work: Mutex<Work>,
}

/// What is known of a file, and what was done.
#[derive(Default)]
pub(super) struct Work {
    /// The file that the target has under its name, to be made right in place.
    pub(super) existing: Option<Stat>,
    /// Whether its content is taken for right because size and time are.
    pub(super) believed: bool,
    /// Whether what the target has must make room for a new file at the first write.
    pub(super) in_the_way: bool,
    /// Which of `chunks` have to be written.
    pub(super) wanted: Vec<Range<usize>>,
    /// Open for writing from the first write to the last.
    pub(super) handle: Option<Arc<TargetFile>>,
    /// Whether anything had to be written.
    pub(super) written: bool,
    /// The first thing that went wrong.
    pub(super) failure: Option<String>,
}

impl Work {
    pub(super) fn fail(&mut self, why: impl FnOnce() -> String) {
        self.failure.get_or_insert_with(why);
    }
}

impl<'a> FileState<'a> {
    pub(super) fn new(above: Arc<OpenDirectory<'a>>, node: Node, path: Vec<u8>, chunks: Vec<(u64, ChunkRef)>) -> Self {
        Self { above, node, path, chunks, left: AtomicUsize::new(0), work: Mutex::default() }
    }

    pub(super) fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().expect("no holder of this lock panics")
    }
}

/// Another name for a file.
pub(super) struct LinkState<'a> {
    pub(super) above: Arc<OpenDirectory<'a>>,
    pub(super) node: Node,
    pub(super) path: Vec<u8>,
    pub(super) group: (LinkGroup, NodeKind),
}

/// Files to restore, and links to make when they are there.
pub(super) struct Window<'a> {
    pub(super) files: Vec<FileState<'a>>,
    pub(super) links: Vec<LinkState<'a>>,
    most_files: usize,
    chunks: usize,
    /// Files that may be open at the same time.
    handles: usize,
}

impl<'a> Window<'a> {
    /// The first.
    pub(super) fn first() -> Self {
        Self::of(FIRST_WINDOW_FILES)
    }

    /// The one after this.
    pub(super) fn next(&self) -> Self {
        Self::of(WINDOW_FILES.min(self.most_files * 2))
    }

    fn of(most_files: usize) -> Self {
        Self { files: Vec::new(), links: Vec::new(), most_files, chunks: 0, handles: 0 }
    }

    pub(super) fn add(&mut self, file: FileState<'a>) {
        self.chunks += file.chunks.len();
        self.handles += usize::from(file.chunks.len() > 1 || !file.above.directory.is_new());
        self.files.push(file);
    }

    /// Whether it should be executed before more comes. `directories` are the handles that it holds besides.
    pub(super) fn is_full(&self, handle_limit: usize, directories: usize) -> bool {
        let handles = handle_limit / WINDOWS;
        self.chunks >= WINDOW_CHUNKS
            || self.files.len() >= self.most_files
            || self.handles * 2 >= handles
            || directories * 4 >= handles
            || self.links.len() * 4 >= handles
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.links.is_empty()
    }

    /// Room for the chunks of a file that is larger than a window.
    pub(super) fn room(&self) -> usize {
        WINDOW_CHUNKS.saturating_sub(self.chunks)
    }
}
