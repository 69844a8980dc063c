//! Looking ahead of a walk: directories are read, and what is in them is looked at, by threads of their own.
//!
//! A walk announces what it is going to ask for and gets a ticket for each. Whatever no scout has begun when the walk
//! asks, the walk does itself, so it never waits for work that nobody does. The latest announcements come first: a
//! walk goes down before it goes on. What is held ready is bounded.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::os::{Directory, Names, Stat};

/// How many names are looked at in one go.
pub(super) const BLOCK_NAMES: usize = 1024;
/// Names that are held ready, at most: about 150 bytes each.
const HELD_NAMES: usize = 16 << 10;
/// Directories that are held ready, and open, at most, where there are handles enough.
const HELD_DIRECTORIES: usize = 64;
/// Which share of the handles that a process may have the scouts take, at most.
const HANDLES_SHARE: usize = 16;

/// A directory that was read.
pub(super) struct ReadDirectory {
    pub(super) directory: Arc<Directory>,
    pub(super) stat: Stat,
    pub(super) names: Names,
    /// Of the first [`BLOCK_NAMES`] names.
    pub(super) stats: Vec<Option<Stat>>,
}

/// What can be done ahead.
pub(super) enum Task {
    /// Opening and reading a directory of this name.
    Read { above: Arc<Directory>, name: Vec<u8>, quietly: bool },
    /// Looking at some of the names in a directory.
    Look { directory: Arc<Directory>, names: Arc<Names>, range: Range<usize> },
}

/// What came of a task.
pub(super) enum Seen {
    Read(io::Result<ReadDirectory>),
    /// `None`: ask again, and see why it can't be looked at.
    Look(Vec<Option<Stat>>),
}

/// Reads a directory and looks at the first names in it.
pub(super) fn read_directory(directory: Directory) -> io::Result<ReadDirectory> {
    let stat = directory.stat_self()?;
    let names = directory.list()?;
    let stats = look(&directory, &names, 0..BLOCK_NAMES.min(names.len()));
    Ok(ReadDirectory { directory: Arc::new(directory), stat, names, stats })
}

fn look(directory: &Directory, names: &Names, range: Range<usize>) -> Vec<Option<Stat>> {
    range.map(|index| names.get(index).and_then(|name| directory.stat(name).ok())).collect()
}

impl Task {
    fn run(self) -> Seen {
        match self {
            Self::Read { above, name, quietly } => {
                Seen::Read(above.open_directory(&name, quietly).and_then(read_directory))
            }
            Self::Look { directory, names, range } => Seen::Look(look(&directory, &names, range)),
        }
    }
}

impl Seen {
    fn names(&self) -> usize {
        match self {
            Self::Read(read) => read.as_ref().map_or(0, |read| read.names.len()),
            Self::Look(stats) => stats.len(),
        }
    }

    fn directories(&self) -> usize {
        usize::from(matches!(self, Self::Read(_)))
    }
}

/// What scouts and a walk share. Lives as long as both; see [`Self::run`] and [`Self::end`].
pub struct Scout {
    state: Mutex<State>,
    /// There is something to do, or room for what comes of it.
    work: Condvar,
    /// Something was done.
    seen: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Announced and not begun; the last comes first.
    tasks: Vec<(u64, Task)>,
    /// Whether somebody still has the ticket.
    running: HashMap<u64, bool>,
    done: HashMap<u64, Seen>,
    names_held: usize,
    directories_held: usize,
    most_directories: usize,
    idle: usize,
    ended: bool,
}

impl State {
    fn has_work(&self) -> bool {
        !self.tasks.is_empty() && self.names_held < HELD_NAMES && self.directories_held < self.most_directories
    }

    fn take_done(&mut self, ticket: u64) -> Option<Seen> {
        let seen = self.done.remove(&ticket)?;
        self.names_held -= seen.names();
        self.directories_held -= seen.directories();
        Some(seen)
    }
}

impl Scout {
    /// For a process that may have `handles` files open.
    pub fn new(handles: usize) -> Self {
        let most_directories = HELD_DIRECTORIES.min(handles / HANDLES_SHARE).max(1);
        let state = Mutex::new(State { most_directories, ..State::default() });
        Self { state, work: Condvar::new(), seen: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Does what is announced, until the end. Run it on as many threads as are to look ahead.
    pub fn run(&self) {
        let mut state = self.state();
        loop {
            while !state.ended && !state.has_work() {
                state.idle += 1;
                state = self.work.wait(state).expect("no holder of this lock panics");
                state.idle -= 1;
            }
            if state.ended {
                return;
            }
            let (ticket, task) = state.tasks.pop().expect("there is work");
            state.running.insert(ticket, true);
            drop(state);
            let failed = match &task {
                Task::Read { .. } => Seen::Read(Err(io::Error::other("reading the directory panicked"))),
                Task::Look { .. } => Seen::Look(Vec::new()),
            };
            // A bug must not leave the walk waiting for something that never comes.
            let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| task.run())).unwrap_or(failed);
            state = self.state();
            if state.running.remove(&ticket) == Some(true) {
                state.names_held += seen.names();
                state.directories_held += seen.directories();
                state.done.insert(ticket, seen);
                self.seen.notify_all();
            }
        }
    }

    /// Sends the scouts home when it is dropped.
    pub fn end(&self) -> EndOfScouts<'_> {
        EndOfScouts(self)
    }

    /// Announces tasks that will be asked for in this order.
    pub(super) fn announce(&self, tasks: Vec<Task>) -> Vec<Ticket<'_>> {
        let mut state = self.state();
        let first = state.next;
        let count = tasks.len() as u64;
        state.next += count;
        state.tasks.extend(tasks.into_iter().rev().zip(1..).map(|(task, back)| (first + count - back, task)));
        if state.idle > 0 && state.has_work() {
            self.work.notify_all();
        }
        (first..first + count).map(|number| Ticket { scout: self, number: Some(number) }).collect()
    }
}

/// See [`Scout::end`].
pub struct EndOfScouts<'a>(&'a Scout);

impl Drop for EndOfScouts<'_> {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.work.notify_all();
    }
}

/// The right to what comes of a task. Dropped, nobody wants to know any more.
pub(super) struct Ticket<'a> {
    scout: &'a Scout,
    number: Option<u64>,
}

impl Ticket<'_> {
    /// What came of the task; waits if a scout is at it, does it if none is.
    pub(super) fn redeem(mut self) -> Seen {
        let number = self.number.take().expect("a ticket is redeemed once");
        let mut state = self.scout.state();
        loop {
            if let Some(seen) = state.take_done(number) {
                if state.idle > 0 && state.has_work() {
                    self.scout.work.notify_all();
                }
                return seen;
            }
            if let Some(at) = state.tasks.iter().rposition(|(ticket, _)| *ticket == number) {
                let (_, task) = state.tasks.remove(at);
                drop(state);
                return task.run();
            }
            state = self.scout.seen.wait(state).expect("no holder of this lock panics");
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut state = self.scout.state();
        state.tasks.retain(|(ticket, _)| *ticket != number);
        if let Some(wanted) = state.running.get_mut(&number) {
            *wanted = false;
        }
        drop(state.take_done(number));
    }
}
