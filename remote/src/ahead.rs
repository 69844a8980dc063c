//! Requests that are made before they are asked for: whoever knows what comes next says so, and instead of one round trip
//! for each answer there is one for all.
//!
//! An answer is handed out once, and only to whoever asks after it was expected: it is of a moment after that, and of none
//! before something was written or removed through this. A failure is not handed out: it is asked for again, by the rules of
//! whoever asks. What is held ready is bounded. Whatever nobody has begun when it is asked for is asked for as if it had never
//! been expected, so that nobody waits for work that nobody does.

use std::collections::{HashMap, VecDeque};
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
/// Index objects that are under way at once, at most: each may be as long as all that is held.
const INDEXES_AT_ONCE: usize = 3;

/// What can be expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Wanted {
    List(ObjectFamily),
    Object(ObjectName),
}

impl Wanted {
    fn is_index(self) -> bool {
        matches!(self, Self::Object(ObjectName::Index(_)))
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
    /// Not begun.
    waiting: VecDeque<Wanted>,
    ready: HashMap<Wanted, Result<Answer>>,
    held_bytes: usize,
    workers: usize,
    indexes_under_way: usize,
}

impl State {
    fn expect(&mut self, wanted: Wanted) {
        // An object never changes: only whether it is there does.
        let fails = matches!(self.ready.get(&wanted), Some(Err(_)));
        if matches!(wanted, Wanted::Object(_)) && self.current.contains_key(&wanted) && !fails {
            return;
        }
        drop(self.take(wanted));
        self.waiting.retain(|waiting| *waiting != wanted);
        self.last += 1;
        self.current.insert(wanted, self.last);
        self.waiting.push_back(wanted);
    }

    /// What to do next, if there is room for what comes of it.
    fn next(&mut self) -> Option<(Wanted, u64)> {
        let at = if self.held_bytes < HELD_BYTES {
            self.waiting.iter().position(|wanted| self.has_room(*wanted))?
        } else {
            return None;
        };
        let wanted = self.waiting.remove(at)?;
        self.indexes_under_way += usize::from(wanted.is_index());
        Some((wanted, self.current[&wanted]))
    }

    fn has_room(&self, wanted: Wanted) -> bool {
        !wanted.is_index() || self.indexes_under_way < INDEXES_AT_ONCE
    }

    /// Takes an answer in, if it is still expected. Nothing if there will be none.
    fn keep(&mut self, wanted: Wanted, number: u64, answer: Option<Result<Answer>>) {
        self.indexes_under_way -= usize::from(wanted.is_index());
        if self.current.get(&wanted) != Some(&number) {
            return;
        }
        let Some(answer) = answer else {
            self.current.remove(&wanted);
            return;
        };
        if let Ok(Answer::Bytes(bytes)) = &answer {
            self.held_bytes += bytes.len();
        }
        self.ready.insert(wanted, answer);
    }

    fn take(&mut self, wanted: Wanted) -> Option<Result<Answer>> {
        let answer = self.ready.remove(&wanted)?;
        self.current.remove(&wanted);
        if let Ok(Answer::Bytes(bytes)) = &answer {
            self.held_bytes -= bytes.len();
        }
        Some(answer)
    }

    /// What was expected of an object, and of lists that it is in, is of before something was done to it.
    fn changed(&mut self, name: ObjectName) {
        for wanted in [Wanted::Object(name), Wanted::List(name.family())] {
            drop(self.take(wanted));
            self.waiting.retain(|waiting| *waiting != wanted);
            self.current.remove(&wanted);
        }
    }

    fn forget(&mut self) {
        self.current.clear();
        self.waiting.clear();
        self.ready.clear();
        self.held_bytes = 0;
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
            if let Some(at) = state.waiting.iter().position(|waiting| *waiting == wanted) {
                state.waiting.remove(at);
                state.current.remove(&wanted);
                break None;
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        // There is room for the next one now.
        self.0.work(state);
        answer
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that there are workers for what can be done.
    fn work(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let can_begin = if state.held_bytes < HELD_BYTES { state.waiting.len() } else { 0 };
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
    fn run(&self) {
        let mut state = self.state();
        while let Some((wanted, number)) = state.next() {
            drop(state);
            // A bug must not leave anybody waiting for something that never comes.
            let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.ask(wanted)));
            state = self.state();
            state.keep(wanted, number, asked.ok());
            self.changed.notify_all();
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
        }
    }
}

/// The most bytes of an object of this kind.
fn most(name: ObjectName) -> u64 {
    match name {
        ObjectName::Snapshot(_) | ObjectName::Intent(_) => limits::ENVELOPE_BYTES,
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
        let expected = if range.is_none() { self.awaited(Wanted::Object(name)) } else { None };
        match expected {
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
        self.0.work(state);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine::id::{SessionId, SnapshotId};
    use engine::storage::MemoryStorage;

    use super::*;

    /// Answers lists only when as many as are wanted are asked for at the same time; counts requests.
    struct Together {
        objects: MemoryStorage,
        wanted: usize,
        /// Lists under way, and all that was asked for.
        asked: Mutex<(usize, usize)>,
        all: Condvar,
    }

    impl Together {
        fn of(wanted: usize) -> Arc<Self> {
            let (objects, asked, all) = (MemoryStorage::default(), Mutex::default(), Condvar::new());
            Arc::new(Self { objects, wanted, asked, all })
        }

        fn requests(&self) -> usize {
            self.asked.lock().expect("a lock").1
        }
    }

    impl Storage for Together {
        fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
            let mut asked = self.asked.lock().expect("a lock");
            *asked = (asked.0 + 1, asked.1 + 1);
            self.all.notify_all();
            // Long enough for any machine: who waits so long has waited in vain.
            let patience = Duration::from_secs(60);
            let alone = |asked: &mut (usize, usize)| asked.0 < self.wanted;
            let (asked, waited) = self.all.wait_timeout_while(asked, patience, alone).expect("a lock");
            assert!(!waited.timed_out(), "{} at once", asked.0);
            drop(asked);
            self.objects.list(family, each)
        }

        fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
            self.asked.lock().expect("a lock").1 += 1;
            self.objects.read(name, range, max)
        }

        fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
            self.objects.write_new(name, parts)
        }

        fn remove(&self, name: ObjectName) -> Result<()> {
            self.objects.remove(name)
        }

        fn persist(&self, name: ObjectName) -> Result<()> {
            self.objects.persist(name)
        }

        fn capabilities(&self) -> Capabilities {
            self.objects.capabilities()
        }
    }

    const REGISTER: ObjectName = ObjectName::Register(SessionId::new([1; 16]));
    const SNAPSHOT: ObjectName = ObjectName::Snapshot(SnapshotId::new([1; 32]));

    fn count(storage: &dyn Storage, family: ObjectFamily) -> usize {
        let mut count = 0;
        storage.list(family, &mut |_, _| count += 1).expect("a list");
        count
    }

    #[test]
    fn what_is_expected_is_asked_for_at_once_and_handed_out_once() {
        let (far, families) = (Together::of(3), [ObjectFamily::Keys, ObjectFamily::Sessions, ObjectFamily::Prune]);
        far.write_new(REGISTER, &[b"ended"]).expect("put");
        let ahead = Ahead::new(far.clone());
        ahead.expect(&families, &[REGISTER, SNAPSHOT]);
        assert!(families.iter().all(|family| ahead.is_expected(*family)));
        assert!(!ahead.is_expected(ObjectFamily::Packs));
        assert_eq!(families.map(|family| count(&ahead, family)), [0, 1, 0]);
        assert_eq!(ahead.read(REGISTER, None, 100).expect("read"), b"ended");
        assert_eq!(ahead.read(SNAPSHOT, None, 100).expect_err("none").kind(), ErrorKind::Missing);
        assert_eq!(far.requests(), 5, "nothing was asked for twice");
        // What came since is seen by whoever asks again.
        far.write_new(SNAPSHOT, &[b"saved"]).expect("put");
        assert_eq!(ahead.read(SNAPSHOT, None, 100).expect("read"), b"saved");
        assert_eq!(ahead.read(SNAPSHOT, None, 3).expect_err("too long").kind(), ErrorKind::Damaged);
        assert!(families.iter().all(|family| !ahead.is_expected(*family)));
    }

    #[test]
    fn what_was_expected_before_something_was_written_is_asked_for_again() {
        let far = Together::of(1);
        let ahead = Ahead::new(far.clone());
        ahead.expect(&[ObjectFamily::Snapshots, ObjectFamily::Keys], &[SNAPSHOT]);
        while far.requests() < 3 {
            std::thread::yield_now();
        }
        ahead.write_new(SNAPSHOT, &[b"saved"]).expect("put");
        assert!(ahead.is_expected(ObjectFamily::Keys) && !ahead.is_expected(ObjectFamily::Snapshots));
        assert_eq!(ahead.read(SNAPSHOT, None, 100).expect("read"), b"saved");
        assert_eq!(count(&ahead, ObjectFamily::Snapshots), 1);
        ahead.expect(&[ObjectFamily::Snapshots], &[]);
        ahead.remove(SNAPSHOT).expect("removed");
        assert_eq!(count(&ahead, ObjectFamily::Snapshots), 0);
    }

    #[test]
    fn what_was_forgotten_or_is_expected_again_is_of_a_later_moment() {
        let far = Together::of(1);
        let ahead = Ahead::new(far.clone());
        for forget in [true, false] {
            let family = if forget { ObjectFamily::Sessions } else { ObjectFamily::Snapshots };
            ahead.expect(&[family], &[]);
            while far.requests() == usize::from(!forget) * 2 {
                std::thread::yield_now();
            }
            far.write_new(if forget { REGISTER } else { SNAPSHOT }, &[b"later"]).expect("put");
            if forget {
                ahead.forget_expected();
                assert!(!ahead.is_expected(family));
            } else {
                ahead.expect(&[family], &[]);
            }
            assert_eq!(count(&ahead, family), 1);
        }
    }

    #[test]
    fn more_than_is_held_ready_is_read_all_the_same() {
        let far = Together::of(1);
        let names: Vec<_> = (0..100).map(|n| ObjectName::Snapshot(SnapshotId::new([n; 32]))).collect();
        let large = vec![7; 1 << 20];
        for name in &names {
            far.write_new(*name, &[&large]).expect("put");
        }
        let ahead = Ahead::new(far.clone());
        ahead.expect(&[], &names);
        for name in names.iter().rev() {
            assert_eq!(ahead.read(*name, None, 1 << 20).expect("read").len(), large.len());
        }
        assert_eq!(far.requests(), names.len());
        let state = ahead.0.state();
        assert_eq!((state.held_bytes, state.current.len(), state.ready.len()), (0, 0, 0));
    }
}
