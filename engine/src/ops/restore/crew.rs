//! Who does the work of a restore: threads that take tasks from one queue.
//!
//! A window goes through two stages: its files are looked at, then segments are read and written to wherever they
//! belong. Whoever is the last of the first stage plans the second. Tasks of several windows are in the queue at the
//! same time, so nobody waits for the end of one; and the walk goes on meanwhile.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::Context;
use super::execute::{Buffers, Segment, plan, run_segments};
use super::finish::finish;
use super::look::{compare, look, parts, settle};
use super::window::FileState;
use crate::error::Result;
use crate::target::TargetFile;

/// Files that are looked at in one task.
const FILES_IN_A_TASK: usize = 32;

/// Segments that are read in one task, if there are many. Neighbours hold files of the same directories, where two
/// threads that create files would wait for each other.
const SEGMENTS_IN_A_TASK: usize = 4;
/// The same, if each request takes a round trip: neighbours are read together.
const SEGMENTS_IN_A_TASK_FAR: usize = 8;

/// Threads for each processor: while one waits for the disk, another opens what it has read.
const MEMBERS_PER_CORE: usize = 2;

/// Threads, at least, for a storage that is far away: while most wait for it, some work. Each has about five mebibytes.
const MEMBERS_FAR: usize = 8;

/// Files that are worked on.
pub(super) struct Running<'a> {
    pub(super) files: Vec<FileState<'a>>,
    /// Tasks of the first stage that are not done.
    looks: AtomicUsize,
    /// The second stage.
    segments: OnceLock<Vec<Segment>>,
    /// Takes the files back when the last task is done.
    done: Sender<Vec<FileState<'a>>>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Whoever does not wait for them has given up.
        let _ = self.done.send(std::mem::take(&mut self.files));
    }
}

/// Tells when a window is done.
pub(super) struct Finished<'a>(Receiver<Vec<FileState<'a>>>);

impl Finished<'_> {
    /// Waits until nobody works on the window any more. Its memory is given back by whoever asked for it: the others
    /// would have to wait for each other at the allocator, three times a file.
    pub(super) fn wait(self) {
        drop(self.0.recv());
    }
}

enum Task<'a> {
    /// Looks at files.
    Look(Arc<Running<'a>>, Range<usize>),
    /// Compares a part of a large file.
    Compare(Arc<Running<'a>>, usize, Range<usize>),
    /// Reads segments and writes what is in them.
    Segments(Arc<Running<'a>>, Range<usize>),
    Stop,
}

/// The threads, as the walk sees them. They end when it is dropped.
pub(super) struct Crew<'a> {
    tasks: Sender<Task<'a>>,
    members: usize,
}

impl<'a> Crew<'a> {
    /// Starts the threads.
    pub(super) fn start<'scope>(context: &'a Context<'a>, scope: &'scope Scope<'scope, '_>) -> Self
    where
        'a: 'scope,
    {
        let members = MEMBERS_PER_CORE * std::thread::available_parallelism().map_or(1, usize::from);
        let members = if context.is_far { members.max(MEMBERS_FAR) } else { members };
        let (tasks, queue) = unbounded();
        for _ in 0..members {
            let member = Member { context, tasks: tasks.clone(), members };
            let queue = queue.clone();
            scope.spawn(move || member.work(&queue));
        }
        Self { tasks, members }
    }

    /// Begins to restore the files of a window.
    pub(super) fn begin(&self, files: Vec<FileState<'a>>) -> Finished<'a> {
        let (done, finished) = bounded(1);
        let count = files.len();
        let looks = AtomicUsize::new(count.div_ceil(FILES_IN_A_TASK));
        let running = Arc::new(Running { files, looks, segments: OnceLock::new(), done });
        for first in (0..count).step_by(FILES_IN_A_TASK) {
            let files = first..count.min(first + FILES_IN_A_TASK);
            self.send(Task::Look(Arc::clone(&running), files));
        }
        Finished(finished)
    }

    fn send(&self, task: Task<'a>) {
        // Without receivers the members have panicked, and the scope will say so.
        let _ = self.tasks.send(task);
    }
}

impl Drop for Crew<'_> {
    fn drop(&mut self) {
        (0..self.members).for_each(|_| self.send(Task::Stop));
    }
}

struct Member<'a> {
    context: &'a Context<'a>,
    tasks: Sender<Task<'a>>,
    members: usize,
}

impl<'a> Member<'a> {
    fn work(&self, queue: &Receiver<Task<'a>>) {
        let mut buffers = Buffers::default();
        while let Ok(task) = queue.recv() {
            match task {
                Task::Stop => break,
                // What is left is dropped, so that the walk need not wait for it.
                _ if self.context.stop_if_asked().is_err() => {}
                task => {
                    if let Err(error) = self.run(task, &mut buffers) {
                        self.context.give_up(error);
                    }
                }
            }
        }
    }

    fn run(&self, task: Task<'a>, buffers: &mut Buffers) -> Result<()> {
        match task {
            Task::Look(running, files) => {
                for number in files {
                    self.look(&running, number, buffers);
                }
                self.looked(running)
            }
            Task::Compare(running, number, chunks) => {
                let file = &running.files[number];
                compare(self.context, file, chunks, &mut buffers.bytes);
                if file.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.settle(file, None);
                }
                self.looked(running)
            }
            Task::Segments(running, numbers) => {
                let segments = &running.segments.get().expect("planned before they are run")[numbers];
                run_segments(self.context, buffers, &running.files, segments)
            }
            Task::Stop => Ok(()),
        }
    }

    fn look(&self, running: &Arc<Running<'a>>, number: usize, buffers: &mut Buffers) {
        let file = &running.files[number];
        if !look(self.context, file) {
            if file.work().wanted.is_empty() {
                finish(self.context, file, None);
            }
            return;
        }
        let mut parts = parts(file);
        if parts.len() == 1 {
            let existing = compare(self.context, file, parts.remove(0), &mut buffers.bytes);
            self.settle(file, existing.as_ref());
            return;
        }
        file.left.store(parts.len(), Ordering::Release);
        running.looks.fetch_add(parts.len(), Ordering::AcqRel);
        for chunks in parts {
            let _ = self.tasks.send(Task::Compare(Arc::clone(running), number, chunks));
        }
    }

    /// After the last comparison. `existing` is the file that was compared, if it is open.
    fn settle(&self, file: &FileState<'_>, existing: Option<&TargetFile>) {
        settle(self.context, file);
        if file.work().wanted.is_empty() {
            finish(self.context, file, existing);
        }
    }

    /// A task of the first stage is done; after the last, the second begins.
    fn looked(&self, running: Arc<Running<'a>>) -> Result<()> {
        if running.looks.fetch_sub(1, Ordering::AcqRel) != 1 {
            return Ok(());
        }
        let segments = plan(self.context, &running.files)?;
        let count = segments.len();
        let _ = running.segments.set(segments);
        let most = if self.context.is_far { SEGMENTS_IN_A_TASK_FAR } else { SEGMENTS_IN_A_TASK };
        let step = most.min(count.div_ceil(self.members * 4)).max(1);
        for first in (0..count).step_by(step) {
            let numbers = first..count.min(first + step);
            let _ = self.tasks.send(Task::Segments(Arc::clone(&running), numbers));
        }
        Ok(())
    }
}
