//! A prune that dies at each of its requests, and the one that comes after it.

use std::sync::atomic::{AtomicI64, Ordering};

use super::swept::{Request, Tripwire, client};
use super::*;
use crate::format::PruneVerdict;
use crate::id::PruneId;
use crate::repository::Plans;

/// Dies at a request that changes something: from then on, every one fails.
struct Mortal {
    below: Arc<Recording>,
    /// Changes that are left.
    left: AtomicI64,
    /// Whether the last change is made, and only its answer lost.
    made: bool,
}

impl Mortal {
    fn change<T>(&self, change: impl FnOnce() -> Result<T>) -> Result<T> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 {
            return change();
        }
        if left == 0 && self.made {
            change()?;
        }
        Err(dead())
    }

    fn ask<T>(&self, ask: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.left.load(Ordering::SeqCst) < 0 { Err(dead()) } else { ask() }
    }
}

fn dead() -> EngineError {
    EngineError::new(ErrorKind::Io, "dead")
}

impl Storage for Mortal {
    fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        self.ask(|| self.below.list(family, each))
    }
    fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        self.ask(|| self.below.read(name, range, max))
    }
    fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        self.change(|| self.below.write_new(name, parts))
    }
    fn remove(&self, name: ObjectName) -> Result<()> {
        self.change(|| self.below.remove(name))
    }
    fn persist(&self, name: ObjectName) -> Result<()> {
        self.ask(|| self.below.persist(name))
    }
    fn capabilities(&self) -> Capabilities {
        self.below.capabilities()
    }
}

/// A copy of all objects.
pub(super) fn copy_of(storage: &Recording) -> Arc<Recording> {
    let copy = Recording::default();
    for family in ObjectFamily::ALL {
        let mut names = Vec::new();
        storage.below.list(family, &mut |name, _| names.push(name)).expect("list");
        for name in names {
            let bytes = storage.below.read(name, None, u64::MAX).expect("read");
            copy.below.write_new(name, &[&bytes]).expect("write");
        }
    }
    Arc::new(copy)
}

fn pack_bytes(storage: &Recording) -> u64 {
    let mut bytes = 0;
    storage.below.list(ObjectFamily::Packs, &mut |_, len| bytes += len).expect("list");
    bytes
}

pub(super) fn now() -> PruneOptions<'static> {
    PruneOptions {
        dry_run: false,
        grace_seconds: 0,
        max_unused: MaxUnused::Bytes(0),
        max_repack: None,
        revoke_after_seconds: 0,
        host: "here".into(),
        program: PROGRAM.into(),
        wait: &|_| false,
    }
}

/// Forgets all snapshots but the latest.
pub(super) fn forget_old(repository: &Repository) {
    let list = list_snapshots(repository, &SnapshotFilter::default()).expect("list");
    let old: Vec<String> = list.snapshots.iter().rev().skip(1).map(|(id, _)| id.to_hex()).collect();
    let plan = plan_named(repository, &old, &SnapshotFilter::default()).expect("plan");
    forget(repository, &plan, "here", PROGRAM, &clock(), &Silent).expect("forget");
}

/// A repository in which a prune has to copy what the latest snapshot needs: what else was in those packs is forgotten.
pub(super) fn bench_to_prune() -> Bench {
    let bench = Bench::new();
    (0..30).for_each(|i| bench.write(&format!("d{}/f{i}", i % 3), i, 60_000));
    bench.snapshot();
    (0..30).step_by(2).for_each(|i| bench.write(&format!("d{}/f{i}", i % 3), 100 + i, 50_000));
    bench.snapshot();
    forget_old(&bench.repository);
    bench
}

#[test]
fn a_prune_that_dies_at_any_request_is_finished_by_the_next() {
    let bench = bench_to_prune();
    let open = |storage: Box<dyn FnOnce() -> Arc<dyn Storage>>| {
        let cache = tempfile::tempdir().expect("scratch");
        (Repository::open(storage(), &bench.secret, cache.path()).expect("open"), cache)
    };
    let whole = |storage: &Arc<Recording>| {
        let storage = Arc::clone(storage);
        let (repository, _cache) = open(Box::new(move || Arc::new(storage)));
        let report = check(
            &repository,
            &CheckOptions { read_data: ReadData::All, ..CheckOptions::default() },
            &super::clock(),
            &Silent,
        )
        .expect("check");
        assert!(!report.is_damaged(), "{:#?}", report.findings);
        let (_, snapshot) = find_snapshot(&repository, "latest", &SnapshotFilter::default()).expect("latest");
        assert!(bench.restores_from(&repository, &snapshot));
        (repository, _cache)
    };

    let undisturbed = copy_of(&bench.storage);
    let (repository, _cache) = whole(&undisturbed);
    let report = prune(&repository, &now(), &clock(), &Silent).expect("prune");
    assert!(report.bytes_freed > 0 && report.waiting_for.is_empty());
    let lean = pack_bytes(&undisturbed);
    assert!(lean < pack_bytes(&bench.storage));

    for made in [false, true] {
        for at in 0.. {
            let storage = copy_of(&bench.storage);
            let mortal = Mortal { below: Arc::clone(&storage), left: AtomicI64::new(at), made };
            let (repository, _cache) = open(Box::new(move || Arc::new(mortal)));
            let first = prune(&repository, &now(), &clock(), &Silent);
            // Whatever is there: it is whole, and the next prune finishes the work.
            let (repository, _cache) = whole(&storage);
            // What the dead one stored and did not commit is an orphan only when the next one has revoked its session.
            for _ in 0..2 {
                let report = prune(&repository, &now(), &clock(), &Silent).expect("the next one");
                assert!(report.waiting_for.is_empty(), "{at}");
            }
            let report = prune(&repository, &now(), &clock(), &Silent).expect("one more");
            assert_eq!((report.packs_deleted, report.proposal.is_empty()), (0, true), "{at}");
            assert!(Plans::load(&repository).expect("plans").open().is_empty());
            let _ = whole(&storage);
            let left = pack_bytes(&storage);
            assert!(left.abs_diff(lean) * 50 < lean, "at request {at}: {left} bytes, {lean} belong");
            if first.is_ok_and(|report| report.deferred == 0) {
                assert!(at > 10, "there are more requests than that");
                break;
            }
        }
    }
}

/// What another client of the repository stored meanwhile is rescued, if a plan condemns what it builds on.
#[test]
fn what_turns_out_to_be_needed_is_rescued() {
    let bench = Bench::new();
    bench.write("old", 1, 300_000);
    bench.snapshot();
    fs::remove_file(bench.source().join("old")).expect("ours");
    bench.write("new", 2, 3000);
    bench.snapshot();
    forget_old(&bench.repository);
    // A plan that condemns everything, as if it had been made before anybody needed any of it.
    let packs = bench.objects(ObjectFamily::Packs).into_iter();
    let condemned: Vec<_> = packs.map(|name| if let ObjectName::Pack(id) = name { id } else { panic!() }).collect();
    let plan = crate::format::PrunePlan {
        number: crate::id::PruneId::FIRST,
        time: clock().now(),
        program: PROGRAM.into(),
        condemned: condemned.clone(),
        dropped: Vec::new(),
    };
    crate::repository::put_plan(&bench.repository, &plan).expect("plan");
    let options = PruneOptions { max_unused: MaxUnused::Unlimited, ..now() };
    let report = prune(&bench.repository, &options, &clock(), &Silent).expect("prune");
    assert_eq!((report.plans_resumed, report.packs_rescued), (1, condemned.len() as u64));
    assert!(!bench.check().is_damaged() && bench.restores(&bench.latest().1));
}

/// Whoever forgot a snapshot died before the record was durable, and the power is cut when a prune has seen it. A snapshot
/// that went all the same would look lost: every prune would refuse from then on.
#[test]
fn a_record_that_does_not_last_drops_nothing() {
    let bench = bench_to_prune();
    let records = bench.objects(ObjectFamily::Forgotten);
    assert_eq!(records.len(), 1);
    let (below, lost) = (Arc::clone(&bench.storage), records[0]);
    let storage = Tripwire {
        below: Arc::clone(&bench.storage),
        wire: |request| matches!(request, Request::Persist(ObjectName::Forgotten(_))),
        action: Mutex::new(Some(Box::new(move || below.below.remove(lost).expect("remove")))),
    };
    let client = client(&bench, Arc::new(storage));
    let before = bench.objects(ObjectFamily::Snapshots);
    let report = prune(&client, &now(), &clock(), &Silent).expect("prune");
    assert_eq!(report.proposal.snapshots, []);
    assert_eq!((bench.objects(ObjectFamily::Forgotten), bench.objects(ObjectFamily::Snapshots)), (vec![], before));
    prune(&client, &now(), &clock(), &Silent).expect("nothing looks lost");
    assert!(!bench.check().is_damaged());
}

/// A prune is suspended before it puts its decision. Meanwhile another one cancels the plan, a snapshot builds on what it
/// condemned, a later plan is done, and all that is left of the first one is cleared away: the decision is put after all.
#[test]
fn a_decision_about_a_plan_that_is_over_is_none() {
    let bench = Arc::new(bench_to_prune());
    let other = Arc::clone(&bench);
    let meanwhile = move || {
        other.state(2, PruneVerdict::Cancelled).expect("state");
        (0..30).step_by(2).for_each(|i| other.write(&format!("d{}/f{i}", i % 3), i, 60_000));
        other.snapshot();
        other.done(3);
        let first = PruneId::new(2).expect("not zero");
        for name in [ObjectName::PrunePlan(first), ObjectName::PruneState(first)] {
            other.storage.below.remove(name).expect("remove");
        }
    };
    let storage = Tripwire {
        below: Arc::clone(&bench.storage),
        // The first plan only says what was noticed.
        wire: |request| matches!(request, Request::Write(ObjectName::PruneState(plan)) if plan.number() == 2),
        action: Mutex::new(Some(Box::new(meanwhile))),
    };
    let client = client(&bench, Arc::new(storage));
    let report = prune(&client, &now(), &clock(), &Silent).expect("prune");
    assert!(report.bytes_copied > 0, "there was a plan to carry out");
    assert!(!bench.check().is_damaged() && bench.restores(&bench.latest().1));
}
