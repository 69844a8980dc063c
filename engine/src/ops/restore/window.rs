//! A window: files that are restored together, bounded in number, chunks and handles.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::place::OpenDirectory;
use crate::model::{ChunkRef, LinkGroup, Node, NodeKind};
use crate::target::TargetFile;

/// Chunks in a window, at most.
const WINDOW_CHUNKS: usize = 64 << 10;
/// Files in a window, at most.
const WINDOW_FILES: usize = 16 << 10;

/// A file on its way.
pub(super) struct FileState<'a> {
    pub(super) above: Arc<OpenDirectory<'a>>,
    pub(super) node: Node,
    pub(super) path: Vec<u8>,
    /// Whether the target has a file of that name, to be made right in place.
    pub(super) exists: AtomicBool,
    /// Whether what the target has must make room for a new file at the first write.
    pub(super) in_the_way: AtomicBool,
    /// Chunks and where they begin in the stream; complete or none.
    pub(super) chunks: Vec<(u64, ChunkRef)>,
    /// Open from the first write to the last.
    pub(super) handle: Mutex<Option<Arc<TargetFile>>>,
    /// Writes that are still to come.
    pub(super) left: AtomicUsize,
    /// Whether anything had to be written.
    pub(super) written: AtomicBool,
    /// The first thing that went wrong.
    pub(super) failure: Mutex<Option<String>>,
}

impl FileState<'_> {
    pub(super) fn fail(&self, why: String) {
        self.failure.lock().expect("no holder of this lock panics").get_or_insert(why);
    }

    pub(super) fn is_new(&self) -> bool {
        !self.exists.load(Ordering::Relaxed)
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
#[derive(Default)]
pub(super) struct Window<'a> {
    pub(super) files: Vec<FileState<'a>>,
    pub(super) links: Vec<LinkState<'a>>,
    chunks: usize,
    /// Files that may be open at the same time.
    handles: usize,
}

impl<'a> Window<'a> {
    pub(super) fn add(&mut self, file: FileState<'a>) {
        self.chunks += file.chunks.len();
        self.handles += usize::from(file.chunks.len() > 1);
        self.files.push(file);
    }

    /// Whether it should be executed before more comes. `directories` are the handles that it holds besides.
    pub(super) fn is_full(&self, handle_limit: usize, directories: usize) -> bool {
        self.chunks >= WINDOW_CHUNKS
            || self.files.len() >= WINDOW_FILES
            || self.handles * 2 >= handle_limit
            || directories * 4 >= handle_limit
            || self.links.len() * 4 >= handle_limit
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.links.is_empty()
    }

    /// Room for the chunks of a file that is larger than a window.
    pub(super) fn room(&self) -> usize {
        WINDOW_CHUNKS.saturating_sub(self.chunks)
    }
}
