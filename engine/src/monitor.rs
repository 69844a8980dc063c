//! Who hears of progress and of problems while a verb runs.
//!
//! A *problem* is one item that could not be handled; the verb goes on without it, counts it and names it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// One item that a verb could not handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path or object, as bytes.
    pub path: Vec<u8>,
    /// What happened, in one line.
    pub message: String,
}

/// What a verb tells while it runs. Called from several threads.
pub trait Monitor: Send + Sync {
    /// A new stage began; `total_bytes` and `total_items` if known.
    fn stage(&self, _name: &'static str, _total_items: Option<u64>, _total_bytes: Option<u64>) {}
    /// More was done in the current stage.
    fn advance(&self, _items: u64, _bytes: u64) {}
    /// What is being worked on now.
    fn current(&self, _path: &[u8]) {}
    /// A thing that people see with `--verbose`: an item and what became of it.
    fn item(&self, _action: ItemAction, _path: &[u8], _bytes: u64) {}
    /// Whether [`Self::item`] does anything with items of this kind: paths are made for those who want them.
    fn wants_item(&self, _action: ItemAction) -> bool {
        true
    }
    /// An item could not be handled.
    fn problem(&self, _problem: &Problem) {}
    /// Something a person should know, that is no problem.
    fn note(&self, _text: &str) {}
    /// Whether to stop as soon as it is safe.
    fn cancelled(&self) -> bool {
        false
    }
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemAction {
    /// Not in the parent snapshot, or not in the target.
    New,
    /// There before, different now.
    Changed,
    /// As before.
    Unchanged,
    /// Removed from the target.
    Deleted,
}

/// Hears nothing, stops nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Monitor for Silent {
    fn wants_item(&self, _action: ItemAction) -> bool {
        false
    }
}

/// Collects problems on their way to another monitor: counts all, keeps the first of them.
pub struct ProblemLog<'a> {
    monitor: &'a dyn Monitor,
    count: AtomicU64,
    first: Mutex<Vec<Problem>>,
}

impl<'a> ProblemLog<'a> {
    /// An empty log that passes problems on to `monitor`.
    pub fn new(monitor: &'a dyn Monitor) -> Self {
        Self { monitor, count: AtomicU64::new(0), first: Mutex::new(Vec::new()) }
    }

    /// The monitor that hears of everything.
    pub fn monitor(&self) -> &'a dyn Monitor {
        self.monitor
    }

    /// Counts, keeps and passes on a problem.
    pub fn add(&self, path: &[u8], message: impl Into<String>) {
        let problem = Problem { path: path.to_vec(), message: message.into() };
        self.monitor.problem(&problem);
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first.lock().expect("no holder of this lock panics");
        if first.len() < crate::limits::PROBLEMS_LISTED {
            first.push(problem);
        }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The first of them, in the order of their paths, and their number.
    pub fn finish(self) -> (Vec<Problem>, u64) {
        let mut first = self.first.into_inner().expect("no holder of this lock panics");
        first.sort_by(|a, b| a.path.cmp(&b.path));
        (first, self.count.into_inner())
    }
}
