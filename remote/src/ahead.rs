//! Requests that are made before they are asked for: whoever knows what comes next says so, and instead of one round trip
//! for each answer there is one for all.
//!
//! An answer is handed out once, and only to whoever asks after it was expected: it is of a moment after that, and of none
//! before something was written or removed through this. A failure is not handed out: it is asked for again, by the rules of
//! whoever asks. What is held ready is bounded: ranges, which are large, apart from all else, so that neither waits for the
//! other. Whatever nobody has begun when it is asked for is asked for as if it had never
//! been expected, so that nobody waits for work that nobody does.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use engine::clock::Timestamp;
use engine::storage::{Capabilities, Lock, ObjectFamily, ObjectName, Outcome, Storage};
use engine::{ErrorKind, Result, limits};

use crate::access::Access;

/// Requests that are under way at once, at most.
const WORKERS: usize = 16;
/// Bytes of objects that are held ready, at most, and those of one more for each worker.
const HELD_BYTES: usize = 4 << 20;
/// Bytes of ranges that are held ready or under way, at most, unless one alone is more.
const RANGE_BYTES: u64 = 8 << 20;
/// Index objects that are under way at once, at most: each may be as long as all that is held.
const INDEXES_AT_ONCE: usize = 3;

/// What can be expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Wanted {
    List(ObjectFamily),
    Object(ObjectName),
    /// First byte and the one behind the last.
    Range(ObjectName, u64, u64),
}

impl Wanted {
    fn is_index(self) -> bool {
        matches!(self, Self::Object(ObjectName::Index(_)))
    }

    /// The bytes of a range; none of anything else.
    fn range_bytes(self) -> u64 {
        match self {
            Self::Range(_, start, end) => end.saturating_sub(start),
            _ => 0,
        }
    }
}

#[derive(Debug)]
enum Answer {
    Rows(Vec<(ObjectName, u64)>),
    Bytes(Vec<u8>),
}

#[derive(Default)]
struct State {
    /// The number of what was expected last.
    last: u64,
    /// What is expected and was not asked for, with the number that it has: what is expected again gets a new one.
    current: HashMap<Wanted, u64>,
    /// Lists whose objects are expected, too, when the list is here.
    whole: HashSet<ObjectFamily>,
    /// Not begun.
    waiting: VecDeque<Wanted>,
    /// The same of ranges.
    waiting_ranges: VecDeque<Wanted>,
    ready: HashMap<Wanted, Result<Answer>>,
    held_bytes: usize,
    /// Of ranges, those under way included.
    range_bytes: u64,
    workers: usize,
    indexes_under_way: usize,
}

impl State {
    fn expect(&mut self, wanted: Wanted) {
        if self.current.contains_key(&wanted) {
            // An object never changes: only whether it is there does.
            let fails = matches!(self.ready.get(&wanted), Some(Err(_)));
            if !matches!(wanted, Wanted::List(_)) && !fails {
                return;
            }
            drop(self.take(wanted));
            self.stop_waiting(wanted);
        }
        if let Wanted::List(family) = wanted {
            self.whole.remove(&family);
        }
        self.last += 1;
        self.current.insert(wanted, self.last);
        self.queue_of(wanted).push_back(wanted);
    }

    fn queue_of(&mut self, wanted: Wanted) -> &mut VecDeque<Wanted> {
        if matches!(wanted, Wanted::Range(..)) { &mut self.waiting_ranges } else { &mut self.waiting }
    }

    /// Whether it was not begun; it will not be then.
    fn stop_waiting(&mut self, wanted: Wanted) -> bool {
        let queue = self.queue_of(wanted);
        let at = queue.iter().position(|waiting| *waiting == wanted);
        at.is_some_and(|at| queue.remove(at).is_some())
    }

    /// What to do next, if there is room for what comes of it.
    fn next(&mut self) -> Option<(Wanted, u64)> {
        let wanted = self.next_whole().or_else(|| self.next_range())?;
        self.indexes_under_way += usize::from(wanted.is_index());
        self.range_bytes += wanted.range_bytes();
        Some((wanted, self.current[&wanted]))
    }

    fn next_whole(&mut self) -> Option<Wanted> {
        if self.held_bytes >= HELD_BYTES {
            return None;
        }
        let has_room = |wanted: &Wanted| !wanted.is_index() || self.indexes_under_way < INDEXES_AT_ONCE;
        let at = self.waiting.iter().position(has_room)?;
        self.waiting.remove(at)
    }

    fn next_range(&mut self) -> Option<Wanted> {
        let next = self.waiting_ranges.front()?;
        let has_room = self.range_bytes == 0 || self.range_bytes + next.range_bytes() <= RANGE_BYTES;
        if has_room { self.waiting_ranges.pop_front() } else { None }
    }

    /// How many workers might find something to do.
    fn can_begin(&self) -> usize {
        let whole = if self.held_bytes < HELD_BYTES { self.waiting.len() } else { 0 };
        whole + if self.range_bytes < RANGE_BYTES { self.waiting_ranges.len() } else { 0 }
    }

    /// Takes an answer in, if it is still expected. Nothing if there will be none.
    fn keep(&mut self, wanted: Wanted, number: u64, answer: Option<Result<Answer>>) {
        self.indexes_under_way -= usize::from(wanted.is_index());
        let is_wanted = self.current.get(&wanted) == Some(&number);
        if !is_wanted || !matches!(answer, Some(Ok(_))) {
            self.range_bytes -= wanted.range_bytes();
        }
        if !is_wanted {
            return;
        }
        let Some(answer) = answer else {
            self.current.remove(&wanted);
            return;
        };
        match (&answer, wanted) {
            (Ok(Answer::Bytes(bytes)), Wanted::Object(_)) => self.held_bytes += bytes.len(),
            (Ok(Answer::Rows(rows)), Wanted::List(family)) if self.whole.remove(&family) => {
                rows.iter().for_each(|(name, _)| self.expect(Wanted::Object(*name)));
            }
            _ => {}
        }
        self.ready.insert(wanted, answer);
    }

    fn take(&mut self, wanted: Wanted) -> Option<Result<Answer>> {
        let answer = self.ready.remove(&wanted)?;
        self.current.remove(&wanted);
        if let Ok(Answer::Bytes(bytes)) = &answer {
            match wanted {
                Wanted::Range(..) => self.range_bytes -= wanted.range_bytes(),
                _ => self.held_bytes -= bytes.len(),
            }
        }
        Some(answer)
    }

    /// What was expected of an object, and of lists that it is in, is of before something was done to it.
    fn changed(&mut self, name: ObjectName) {
        let is_of_it = |wanted: &Wanted| matches!(wanted, Wanted::Range(of, ..) if *of == name);
        let ranges: Vec<Wanted> = self.current.keys().filter(|wanted| is_of_it(wanted)).copied().collect();
        for wanted in [Wanted::Object(name), Wanted::List(name.family())].into_iter().chain(ranges) {
            drop(self.take(wanted));
            self.stop_waiting(wanted);
            self.current.remove(&wanted);
        }
    }

    fn forget(&mut self) {
        let ready: Vec<Wanted> = self.ready.keys().copied().collect();
        ready.into_iter().for_each(|wanted| drop(self.take(wanted)));
        self.current.clear();
        self.whole.clear();
        self.waiting.clear();
        self.waiting_ranges.clear();
    }
}

struct Shared {
    storage: Arc<dyn Storage>,
    state: Mutex<State>,
    /// Something was done, or will not be.
    changed: Condvar,
}

/// A storage that makes requests ahead.
pub(crate) struct Ahead(Arc<Shared>);

impl Ahead {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        Self(Arc::new(Shared { storage, state: Mutex::default(), changed: Condvar::new() }))
    }

    /// Opens a storage and asks for what is always needed first, and for what `access` says, at the same time.
    ///
    /// # Errors
    /// What `introduce`, which opens it, returns.
    pub(crate) fn open<S: Storage + 'static>(
        storage: S,
        access: &Access,
        introduce: impl FnOnce(&S) -> Result<()>,
    ) -> Result<Arc<dyn Storage>> {
        let storage = Arc::new(storage);
        let ahead = Self::new(Arc::clone(&storage) as Arc<dyn Storage>);
        let lists: Vec<_> = [ObjectFamily::Keys].iter().chain(&access.first_lists).copied().collect();
        let objects: Vec<_> = [ObjectName::Config].iter().chain(&access.first_objects).copied().collect();
        ahead.expect(&lists, &objects);
        introduce(&storage)?;
        Ok(Arc::new(ahead))
    }

    /// What came of something that was expected; `None` if nobody is at it.
    fn awaited(&self, wanted: Wanted) -> Option<Result<Answer>> {
        let mut state = self.0.state();
        let answer = loop {
            if let Some(answer) = state.take(wanted) {
                break Some(answer);
            }
            if !state.current.contains_key(&wanted) {
                break None;
            }
            if state.stop_waiting(wanted) {
                state.current.remove(&wanted);
                break None;
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        // There is room for the next one now.
        self.0.work(&mut state);
        answer
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that there are workers for what can be done.
    fn work(self: &Arc<Self>, state: &mut State) {
        let can_begin = state.can_begin();
        while state.workers < can_begin.min(WORKERS) {
            let shared = Arc::clone(self);
            // Without threads whoever asks does it.
            if std::thread::Builder::new().spawn(move || shared.run()).is_err() {
                return;
            }
            state.workers += 1;
        }
    }

    /// Works until there is nothing to do.
    fn run(self: &Arc<Self>) {
        let mut state = self.state();
        while let Some((wanted, number)) = state.next() {
            drop(state);
            // A bug must not leave anybody waiting for something that never comes.
            let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.ask(wanted)));
            state = self.state();
            state.keep(wanted, number, asked.ok());
            self.changed.notify_all();
            if matches!(wanted, Wanted::List(_)) {
                // Objects may be expected now that the list has shown.
                self.work(&mut state);
            }
        }
        state.workers -= 1;
    }

    fn ask(&self, wanted: Wanted) -> Result<Answer> {
        match wanted {
            Wanted::List(family) => {
                let mut rows = Vec::new();
                self.storage.list(family, &mut |name, len| rows.push((name, len)))?;
                Ok(Answer::Rows(rows))
            }
            Wanted::Object(name) => self.storage.read(name, None, most(name)).map(Answer::Bytes),
            Wanted::Range(name, start, end) => {
                self.storage.read(name, Some(start..end), wanted.range_bytes()).map(Answer::Bytes)
            }
        }
    }
}

/// The most bytes of an object of this kind.
fn most(name: ObjectName) -> u64 {
    match name {
        ObjectName::Snapshot(_)
        | ObjectName::Intent(_)
        | ObjectName::Proof(_)
        | ObjectName::Client(_)
        | ObjectName::ClientEnd(_) => limits::ENVELOPE_BYTES,
        ObjectName::Index(_) => limits::INDEX_BYTES,
        _ => limits::SMALL_OBJECT_BYTES,
    }
}

impl Storage for Ahead {
    fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        match self.awaited(Wanted::List(family)) {
            Some(Ok(Answer::Rows(rows))) => {
                rows.into_iter().for_each(|(name, len)| each(name, len));
                Ok(())
            }
            _ => self.0.storage.list(family, each),
        }
    }

    fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        let wanted = match &range {
            None => Wanted::Object(name),
            Some(range) => Wanted::Range(name, range.start, range.end),
        };
        match self.awaited(wanted) {
            Some(Ok(Answer::Bytes(bytes))) if bytes.len() as u64 <= max => Ok(bytes),
            Some(Err(error)) if error.kind() == ErrorKind::Missing => Err(error),
            _ => self.0.storage.read(name, range, max),
        }
    }

    fn read_once(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        self.0.storage.read_once(name, range, max)
    }

    fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        let outcome = self.0.storage.write_new(name, parts);
        self.0.state().changed(name);
        outcome
    }

    fn write_own(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        let outcome = self.0.storage.write_own(name, parts);
        self.0.state().changed(name);
        outcome
    }

    fn write_lent(&self, name: ObjectName, buffer: Vec<u8>, start: usize) -> (Result<Outcome>, Vec<u8>) {
        let written = self.0.storage.write_lent(name, buffer, start);
        self.0.state().changed(name);
        written
    }

    fn write_and_tidy(&self, name: ObjectName, parts: &[&[u8]], leftover: ObjectName) -> Result<Outcome> {
        let outcome = self.0.storage.write_and_tidy(name, parts, leftover);
        let mut state = self.0.state();
        state.changed(name);
        state.changed(leftover);
        outcome
    }

    fn remove(&self, name: ObjectName) -> Result<()> {
        let removed = self.0.storage.remove(name);
        self.0.state().changed(name);
        removed
    }

    fn persist(&self, name: ObjectName) -> Result<()> {
        self.0.storage.persist(name)
    }

    fn remove_unfinished(&self, before: Timestamp) -> Result<u64> {
        self.0.storage.remove_unfinished(before)
    }

    fn lock(&self, name: ObjectName) -> Result<Option<Lock>> {
        self.0.storage.lock(name)
    }

    fn retain(&self, name: ObjectName, lock: &Lock) -> Result<()> {
        self.0.storage.retain(name, lock)
    }

    fn expect(&self, lists: &[ObjectFamily], objects: &[ObjectName]) {
        let mut state = self.0.state();
        let lists = lists.iter().map(|family| Wanted::List(*family));
        lists.chain(objects.iter().map(|name| Wanted::Object(*name))).for_each(|wanted| state.expect(wanted));
        self.0.work(&mut state);
    }

    fn expect_whole(&self, lists: &[ObjectFamily]) {
        let mut state = self.0.state();
        for family in lists {
            state.expect(Wanted::List(*family));
            state.whole.insert(*family);
        }
        self.0.work(&mut state);
    }

    fn expect_ranges(&self, ranges: &[(ObjectName, Range<u64>)]) {
        let mut state = self.0.state();
        ranges.iter().for_each(|(name, range)| state.expect(Wanted::Range(*name, range.start, range.end)));
        self.0.work(&mut state);
    }

    fn is_expected(&self, list: ObjectFamily) -> bool {
        self.0.state().current.contains_key(&Wanted::List(list))
    }

    fn forget_expected(&self) {
        self.0.state().forget();
    }

    fn capabilities(&self) -> Capabilities {
        self.0.storage.capabilities()
    }
}
