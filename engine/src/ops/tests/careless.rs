//! A storage that does not decide who was first: of two writers of one name the second wins (PROTOCOL.md, chapter 8).

use std::sync::atomic::{AtomicBool, Ordering};

use super::pruning::{forget_old, now};
use super::*;

/// Overwrites, and promises nothing else. If it is tight there is no room for registers as long as there is a reserve.
struct Careless {
    below: Arc<Recording>,
    is_tight: AtomicBool,
}

impl Storage for Careless {
    fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        self.below.list(family, each)
    }
    fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        self.below.read(name, range, max)
    }
    fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        let reserve = || self.below.below.read(ObjectName::PruneReserve, Some(0..1), 1).is_ok();
        if self.is_tight.load(Ordering::Relaxed) && matches!(name, ObjectName::Register(_)) && reserve() {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(EngineError::with_source(ErrorKind::Io, "no room", full));
        }
        self.below.below.remove(name)?;
        self.below.write_new(name, parts)
    }
    fn remove(&self, name: ObjectName) -> Result<()> {
        self.below.remove(name)
    }
    fn persist(&self, name: ObjectName) -> Result<()> {
        self.below.persist(name)
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { put_if_absent: false, local_directory: None, is_past: false, locks: false }
    }
}

fn careless() -> (Bench, Arc<Careless>) {
    let mut bench = Bench::new();
    let storage = Arc::new(Careless { below: Arc::clone(&bench.storage), is_tight: AtomicBool::new(false) });
    let cache = bench.scratch.path().join("careless");
    bench.repository = Repository::open(storage.clone(), &bench.secret, &cache).expect("open");
    (bench, storage)
}

fn with_something_to_prune(bench: &Bench) {
    (0..6).for_each(|i| bench.write(&format!("f{i}"), i, 60_000));
    bench.snapshot();
    (0..6).for_each(|i| bench.write(&format!("f{i}"), 100 + i, 50_000));
    bench.snapshot();
    forget_old(&bench.repository);
}

#[test]
fn a_prune_ends_no_session_and_goes_on_when_a_person_has_ended_it() {
    let (bench, _) = careless();
    with_something_to_prune(&bench);
    let session = Session::begin(&bench.repository, "elsewhere", PROGRAM, &clock()).expect("begin");
    let id = session.id();
    // However often it is noticed: the time that makes it idle is none at all.
    for _ in 0..3 {
        let report = prune(&bench.repository, &now(), &clock(), &Silent).expect("prune");
        assert_eq!((report.waiting_for.as_slice(), report.revoked.as_slice()), (&[id][..], &[][..]));
        assert_eq!(report.packs_deleted, 0);
    }
    revoke_sessions(&bench.repository, &[id.to_hex()], "here", true).expect("a person says so");
    let report = prune(&bench.repository, &now(), &clock(), &Silent).expect("prune");
    assert!(report.waiting_for.is_empty() && report.packs_deleted > 0, "{report:?}");
    // The writer is alive after all: it looks before it writes, and overwrites nothing.
    let error = session.commit(&bench.repository, None).expect_err("revoked");
    assert_eq!(error.kind(), ErrorKind::SessionRevoked, "{error}");
    assert!(bench.restores(&bench.latest().1) && !bench.check().is_damaged());
}

#[test]
fn the_same_prune_ends_it_where_the_storage_decides() {
    let bench = Bench::new();
    with_something_to_prune(&bench);
    let session = Session::begin(&bench.repository, "elsewhere", PROGRAM, &clock()).expect("begin");
    let mut revoked = Vec::new();
    for _ in 0..3 {
        revoked.extend(prune(&bench.repository, &now(), &clock(), &Silent).expect("prune").revoked);
    }
    assert_eq!(revoked, [session.id()]);
}

#[test]
fn a_prune_ends_its_own_session_that_there_was_no_room_to_end() {
    let (bench, storage) = careless();
    prune(&bench.repository, &now(), &clock(), &Silent).expect("it leaves a reserve");
    assert_eq!(bench.objects(ObjectFamily::Prune), [ObjectName::PruneReserve]);
    with_something_to_prune(&bench);
    storage.is_tight.store(true, Ordering::Relaxed);
    let report = prune(&bench.repository, &now(), &clock(), &Silent).expect("prune");
    assert!(report.waiting_for.is_empty() && report.packs_deleted > 0, "{report:?}");
    assert!(report.revoked.is_empty(), "nobody else's was");
    assert!(bench.restores(&bench.latest().1) && !bench.check().is_damaged());
}
