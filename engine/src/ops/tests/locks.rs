//! Locks: what `retain` makes last, and what a prune does that meets them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use super::pruning::{bench_to_prune, forget_old, now};
use super::swept::client;
use super::*;
use crate::repository::Plans;
use crate::storage::{Lock, LockMode};

const DAY: i64 = 86_400;

/// A storage that removes nothing that is locked, and has no versions.
pub(super) struct Vault {
    below: Arc<Recording>,
    locks: Mutex<BTreeMap<ObjectName, Lock>>,
    /// Its clock, in seconds.
    now: AtomicI64,
    retained: AtomicUsize,
    /// It refuses to lock these.
    refuses: fn(ObjectName) -> bool,
}

impl Vault {
    fn of(bench: &Bench) -> Arc<Self> {
        Self::that_refuses(bench, |_| false)
    }

    fn that_refuses(bench: &Bench, refuses: fn(ObjectName) -> bool) -> Arc<Self> {
        let (now, retained) = (AtomicI64::new(clock().now().seconds), AtomicUsize::new(0));
        Arc::new(Self { below: Arc::clone(&bench.storage), locks: Mutex::default(), now, retained, refuses })
    }

    fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }

    fn clock(&self) -> FixedClock {
        FixedClock(Timestamp::new(self.now.load(Ordering::SeqCst), 0))
    }

    fn locks(&self) -> BTreeMap<ObjectName, Lock> {
        self.locks.lock().expect("lock").clone()
    }

    /// Locks of all objects for which `which` is true.
    pub(super) fn lock_all(&self, bench: &Bench, days: i64, which: fn(ObjectName) -> bool) {
        let lock = Lock { until: self.in_days(days), mode: LockMode::Governance };
        for family in ObjectFamily::ALL {
            for name in bench.objects(family).into_iter().filter(|name| which(*name)) {
                self.locks.lock().expect("lock").insert(name, lock);
            }
        }
    }

    fn in_days(&self, days: i64) -> Timestamp {
        Timestamp::new(self.now.load(Ordering::SeqCst) + days * DAY, 0)
    }
}

impl Storage for Arc<Vault> {
    fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        self.below.list(family, each)
    }
    fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        self.below.read(name, range, max)
    }
    fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        self.below.write_new(name, parts)
    }
    fn remove(&self, name: ObjectName) -> Result<()> {
        match self.lock(name) {
            Ok(Some(lock)) if lock.until > self.clock().now() => {
                Err(EngineError::new(ErrorKind::Locked, format!("{name} is locked")))
            }
            _ => self.below.remove(name),
        }
    }
    fn persist(&self, name: ObjectName) -> Result<()> {
        self.below.persist(name)
    }
    fn lock(&self, name: ObjectName) -> Result<Option<Lock>> {
        self.below.read(name, Some(0..1), 1)?;
        Ok(self.locks.lock().expect("lock").get(&name).copied())
    }
    fn retain(&self, name: ObjectName, lock: &Lock) -> Result<()> {
        if (self.refuses)(name) {
            return Err(EngineError::new(ErrorKind::Io, "denied"));
        }
        let before = self.locks.lock().expect("lock").insert(name, *lock);
        assert!(before.is_none_or(|before| before.until <= lock.until && before.mode <= lock.mode), "it became less");
        self.retained.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { locks: true, ..self.below.capabilities() }
    }
}

pub(super) struct Safe {
    pub(super) bench: Bench,
    pub(super) vault: Arc<Vault>,
    repository: Repository,
}

impl Safe {
    pub(super) fn new(bench: Bench) -> Self {
        let vault = Vault::of(&bench);
        Self::with(bench, vault)
    }

    fn with(bench: Bench, vault: Arc<Vault>) -> Self {
        let repository = client(&bench, Arc::new(Arc::clone(&vault)));
        Self { bench, vault, repository }
    }

    fn try_retain(&self, options: &RetainOptions) -> Result<RetainReport> {
        let list = list_snapshots(&self.repository, &SnapshotFilter::default()).expect("list");
        retain(&self.repository, &list.snapshots, options, &self.vault.clock(), &Silent)
    }

    fn for_days(&self, days: i64) -> RetainOptions {
        let until = self.vault.in_days(days);
        RetainOptions { until, slack_seconds: days * DAY / 10, mode: LockMode::Governance, dry_run: false }
    }

    fn retain(&self, days: i64) -> RetainReport {
        let report = self.try_retain(&self.for_days(days)).expect("retain");
        assert_eq!(report.problem_count, 0, "{:?}", report.problems);
        report
    }

    pub(super) fn prune(&self) -> PruneReport {
        prune(&self.repository, &now(), &self.vault.clock(), &Silent).expect("prune")
    }

    /// All that a restore of the latest snapshot needs, by trying: without any of them, something is lost.
    fn needed(&self) -> BTreeSet<ObjectName> {
        let all = ObjectFamily::ALL.into_iter().flat_map(|family| self.bench.objects(family));
        all.filter(|name| !self.is_whole_without(*name)).collect()
    }

    fn is_whole_without(&self, name: ObjectName) -> bool {
        let bytes = self.bench.storage.below.read(name, None, u64::MAX).expect("read");
        self.bench.storage.below.remove(name).expect("remove");
        let is_whole = self.is_whole();
        self.bench.storage.below.write_new(name, &[&bytes]).expect("write");
        is_whole
    }

    /// Whether a machine that has never seen the repository gets the latest snapshot back.
    fn is_whole(&self) -> bool {
        let cache = tempfile::tempdir().expect("cache");
        let storage = Arc::new(Arc::clone(&self.bench.storage));
        let Ok(repository) = Repository::open(storage, &self.bench.secret, cache.path()) else { return false };
        let Ok(index) = repository.load_index(&Silent) else { return false };
        let Ok((_, snapshot)) = find_snapshot(&repository, "latest", &SnapshotFilter::default()) else { return false };
        let target = cache.path().join("target");
        let options = RestoreOptions { verify: true, ..RestoreOptions::default() };
        let report = restore(&repository, &index, &snapshot, b"/data", &target, &options, &Silent);
        report.is_ok_and(|report| report.problem_count == 0) && same_files(&self.bench.source(), &target)
    }
}

/// Three snapshots of which the last is listed: each has some that no other one has.
fn three() -> Bench {
    let bench = Bench::new();
    for round in 0..3 {
        (0..6).for_each(|i| bench.write(&format!("d/f{i}"), round * 10 + i, 40_000));
        bench.snapshot();
    }
    forget_old(&bench.repository);
    bench
}

#[test]
fn what_a_restore_needs_is_locked_and_of_data_nothing_else() {
    let safe = Safe::new(three());
    let report = safe.retain(30);
    let locked: BTreeSet<ObjectName> = safe.vault.locks().into_keys().collect();
    let needed = safe.needed();
    assert!(needed.is_subset(&locked), "{:?}", needed.difference(&locked));
    let of = |names: &BTreeSet<ObjectName>, family| -> Vec<ObjectName> {
        names.iter().copied().filter(|name| name.family() == family).collect()
    };
    for family in [ObjectFamily::Packs, ObjectFamily::Snapshots, ObjectFamily::Config] {
        assert_eq!(of(&locked, family), of(&needed, family));
    }
    assert!(of(&locked, ObjectFamily::Packs).len() < safe.bench.objects(ObjectFamily::Packs).len());
    assert_eq!(of(&locked, ObjectFamily::Forgotten), safe.bench.objects(ObjectFamily::Forgotten));
    assert!(of(&locked, ObjectFamily::Prune).is_empty());
    assert_eq!(report.total().objects, locked.len() as u64);
    assert_eq!((report.total().extended, report.total().unlocked), (report.total().objects, report.total().objects));
    assert!(safe.vault.locks().values().all(|lock| lock.until == safe.vault.in_days(30)));
}

#[test]
fn a_lock_is_extended_only_when_a_tenth_of_it_is_gone() {
    let safe = Safe::new(three());
    let count = || safe.vault.retained.swap(0, Ordering::SeqCst) as u64;
    let all = safe.retain(30).total().objects;
    assert_eq!(count(), all);
    for _ in 0..3 {
        let again = safe.retain(30).total();
        assert_eq!((again.objects, again.extended, count()), (all, 0, 0));
        safe.vault.pass(DAY);
    }
    safe.vault.pass(1);
    let report = safe.try_retain(&RetainOptions { dry_run: true, ..safe.for_days(30) }).expect("dry run");
    assert_eq!((report.total().extended, count()), (all, 0));
    let first = report.total().first_end.expect("all are locked");
    assert_eq!((first.seconds - safe.vault.clock().now().seconds) / DAY, 26);
    assert_eq!((safe.retain(30).total().extended, count()), (all, all));
    // Less is no reason to do anything, nor is another mode that is less.
    assert_eq!((safe.retain(10).total().extended, count()), (0, 0));
    let strict = RetainOptions { mode: LockMode::Compliance, ..safe.for_days(10) };
    assert_eq!(safe.try_retain(&strict).expect("retain").total().extended, all);
    assert!(safe.vault.locks().values().all(|lock| lock.until == safe.vault.in_days(30)));
    assert_eq!(count(), all);
    assert_eq!((safe.retain(30).total().extended, count()), (0, 0));
    safe.vault.pass(20 * DAY);
    safe.retain(30);
    assert!(safe.vault.locks().values().all(|lock| lock.mode == LockMode::Compliance));
}

#[test]
fn what_is_damaged_does_not_keep_the_rest_from_being_locked() {
    let safe = Safe::new(three());
    // A pack is gone, and so is the directory in it, perhaps.
    let victim = safe.retain(30).families["packs"].objects;
    let packs: Vec<ObjectName> = safe.vault.locks().into_keys().filter(|n| n.family() == ObjectFamily::Packs).collect();
    assert_eq!(packs.len() as u64, victim);
    for gone in packs {
        let bytes = safe.bench.storage.below.read(gone, None, u64::MAX).expect("read");
        safe.bench.storage.below.remove(gone).expect("remove");
        safe.vault.locks.lock().expect("lock").clear();
        let report = safe.try_retain(&safe.for_days(30)).expect("retain");
        assert!(report.problem_count > 0, "{gone} is gone");
        let text = format!("{:?}", report.problems.iter().map(|problem| &problem.message).collect::<Vec<_>>());
        assert!(text.contains(&gone.to_string()), "{text}");
        for family in [ObjectFamily::Config, ObjectFamily::Keys, ObjectFamily::Indexes] {
            assert!(safe.bench.objects(family).iter().all(|name| safe.vault.locks().contains_key(name)), "{family:?}");
        }
        safe.bench.storage.below.write_new(gone, &[&bytes]).expect("write");
    }
}

#[test]
fn a_snapshot_whose_register_was_hidden_is_named() {
    let bench = Bench::new();
    for round in 0..2 {
        bench.write("f", round, 1000);
        bench.snapshot();
    }
    let (hidden, _) = find_snapshot(&bench.repository, "latest~1", &SnapshotFilter::default()).expect("the first");
    let (session, _) = crate::repository::read_snapshot(&bench.repository, hidden).expect("a snapshot");
    bench.storage.below.remove(ObjectName::Register(session)).expect("remove");
    let safe = Safe::new(bench);
    let report = safe.try_retain(&safe.for_days(30)).expect("retain");
    let path = ObjectName::Snapshot(hidden).to_string().into_bytes();
    assert!(report.problems.iter().any(|problem| problem.path == path), "{:?}", report.problems);
}

#[test]
fn what_the_storage_refuses_is_named_or_ends_it() {
    let bench = three();
    let vault = Vault::that_refuses(&bench, |name| name.family() == ObjectFamily::Keys);
    let safe = Safe::with(bench, vault);
    let report = safe.try_retain(&safe.for_days(30)).expect("the others are locked");
    assert_eq!(report.problem_count, 1, "{:?}", report.problems);
    assert!(report.problems[0].path.starts_with(b"keys/"), "{:?}", report.problems);
    assert!(safe.vault.locks().len() > 5);

    let bench = three();
    let vault = Vault::that_refuses(&bench, |_| true);
    let safe = Safe::with(bench, vault);
    assert_eq!(safe.try_retain(&safe.for_days(30)).expect_err("all is refused").to_string(), "denied");
    let past = RetainOptions { until: safe.vault.clock().now(), ..safe.for_days(1) };
    assert_eq!(safe.try_retain(&past).expect_err("nothing to do").kind(), ErrorKind::Invalid);

    let bench = three();
    let list = list_snapshots(&bench.repository, &SnapshotFilter::default()).expect("list");
    let error = retain(&bench.repository, &list.snapshots, &past, &clock(), &Silent).expect_err("no locks");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

/// A storage without versions keeps packs and index objects until their time is over. The plan ends all the same: what is
/// left is replaced, or an orphan.
#[test]
fn a_prune_defers_what_is_locked_and_frees_it_when_it_is_not() {
    let safe = Safe::new(bench_to_prune());
    safe.vault.lock_all(&safe.bench, 30, |name| matches!(name, ObjectName::Pack(_) | ObjectName::Index(_)));
    let first = safe.prune();
    assert!(first.bytes_copied > 0 && first.packs_deleted == 0, "{first:?}");
    assert!(first.locked.objects > 1 && first.locked.bytes > 0, "{first:?}");
    assert_eq!((first.deferred, first.plans_done, first.snapshots_locked), (first.locked.objects, 1, 0));
    assert_eq!(first.locked.until, Some(safe.vault.in_days(30)));
    assert_eq!(first.problem_count, 0, "a lock is no problem");
    assert!(Plans::load(&safe.repository).expect("plans").open().is_empty());
    assert!(!safe.bench.check().is_damaged() && safe.is_whole());

    // What does not count any more is not kept longer, whoever asks.
    safe.retain(60);
    let is_kept = |lock: &&Lock| lock.until == safe.vault.in_days(60);
    let locks = safe.vault.locks();
    let [old, new] = [false, true].map(|kept| {
        let of_kind = locks.iter().filter(|(name, lock)| name.family() == ObjectFamily::Packs && is_kept(lock) == kept);
        of_kind.count()
    });
    assert!(old > 0 && new > 0);
    for _ in 0..2 {
        let again = safe.prune();
        assert_eq!((again.packs_deleted, again.bytes_copied, again.plans_resumed), (0, 0, 0), "{again:?}");
        assert!(!safe.bench.check().is_damaged() && safe.is_whole());
    }

    safe.vault.pass(31 * DAY);
    let last = safe.prune();
    assert!(last.packs_deleted == old as u64 && last.bytes_freed > 0, "{last:?}");
    assert_eq!((last.deferred, last.locked.until), (0, None));
    let index = safe.repository.load_index_anew(&Silent).expect("index");
    let names = safe.bench.objects(ObjectFamily::Indexes);
    assert!(names.iter().all(|name| matches!(name, ObjectName::Index(id) if index.counts(id))), "{names:?}");
    assert!(!safe.bench.check().is_damaged() && safe.is_whole());
}

/// A snapshot without its packs would be damage once the plan is over: they wait for it, and nobody is told of a problem.
#[test]
fn packs_wait_for_a_snapshot_that_is_locked() {
    let safe = Safe::new(bench_to_prune());
    let packs = safe.bench.objects(ObjectFamily::Packs);
    safe.vault.lock_all(&safe.bench, 30, |name| matches!(name, ObjectName::Snapshot(_)));
    for round in 0..3 {
        let report = safe.prune();
        assert_eq!((report.snapshots_locked, report.plans_done, report.packs_deleted), (1, 0, 0), "{round}");
        assert_eq!((report.locked.until, report.problem_count), (Some(safe.vault.in_days(30)), 0));
        assert!(packs.iter().all(|pack| safe.bench.objects(ObjectFamily::Packs).contains(pack)));
        assert_eq!(Plans::load(&safe.repository).expect("plans").open().len(), 1);
        assert!(!safe.bench.check().is_damaged() && safe.is_whole());
    }
    safe.vault.pass(31 * DAY);
    let report = safe.prune();
    assert!(report.packs_deleted > 0 && report.plans_resumed == 1, "{report:?}");
    assert_eq!(safe.bench.objects(ObjectFamily::Snapshots).len(), 1);
    assert!(!safe.bench.check().is_damaged() && safe.is_whole());
}
