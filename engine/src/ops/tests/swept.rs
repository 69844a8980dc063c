//! Readers whose packs a prune sweeps while they read.

use super::pruning::{forget_old, now};
use super::*;

/// Does something before the first pack is read.
struct Tripwire {
    below: Arc<Recording>,
    action: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Storage for Tripwire {
    fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        self.below.list(family, each)
    }
    fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        let action = match name {
            ObjectName::Pack(_) => self.action.lock().expect("lock").take(),
            _ => None,
        };
        action.into_iter().for_each(|action| action());
        self.below.read(name, range, max)
    }
    fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        self.below.write_new(name, parts)
    }
    fn remove(&self, name: ObjectName) -> Result<()> {
        self.below.remove(name)
    }
    fn persist(&self, name: ObjectName) -> Result<()> {
        self.below.persist(name)
    }
    fn capabilities(&self) -> Capabilities {
        self.below.capabilities()
    }
}

/// A repository in which a prune has to copy what the latest snapshot needs: what else was in those packs is forgotten.
fn bench() -> Bench {
    let bench = Bench::new();
    (0..30).for_each(|i| bench.write(&format!("d{}/f{i}", i % 3), i, 60_000));
    bench.snapshot();
    (0..30).step_by(2).for_each(|i| bench.write(&format!("d{}/f{i}", i % 3), 100 + i, 50_000));
    bench.snapshot();
    forget_old(&bench.repository);
    bench
}

fn client(bench: &Bench, storage: Arc<dyn Storage>) -> Repository {
    Repository::open(storage, &bench.secret, &bench.scratch.path().join("reader")).expect("open")
}

fn sweep(bench: &Bench) {
    let report = prune(&bench.repository, &now(), &clock(), &Silent).expect("prune");
    assert!(report.packs_deleted > 0 && report.bytes_copied > 0);
}

#[test]
fn a_restore_goes_on_when_a_prune_sweeps_what_it_reads() {
    let bench = bench();
    let reader = client(&bench, Arc::new(Arc::clone(&bench.storage)));
    let index = reader.load_index(&Silent).expect("index");
    let (_, snapshot) = bench.latest();
    sweep(&bench);
    let target = bench.scratch.path().join("target");
    let options = RestoreOptions { verify: true, ..RestoreOptions::default() };
    let report = restore(&reader, &index, &snapshot, b"/data", &target, &options, &Silent).expect("restore");
    assert_eq!(report.problem_count, 0, "{:?}", report.problems);
    assert!(same_files(&bench.source(), &target));
}

#[test]
fn a_dump_goes_on_when_prunes_sweep_what_it_reads() {
    let bench = bench();
    let reader = client(&bench, Arc::new(Arc::clone(&bench.storage)));
    let index = reader.load_index(&Silent).expect("index");
    let (_, snapshot) = bench.latest();
    let dumped = || {
        let mut bytes = Vec::new();
        dump_tar(&reader, &index, &snapshot, b"/data", &mut bytes, &Silent).expect("dump");
        bytes
    };
    let before = dumped();
    sweep(&bench);
    assert!(dumped() == before);
    // And another one: what the first left is copied once more.
    (0..30).step_by(3).for_each(|i| bench.write(&format!("d{}/f{i}", i % 3), 200 + i, 40_000));
    let kept = bench.latest().0;
    bench.snapshot();
    let plan = plan_named(&bench.repository, &[kept.to_hex()], &SnapshotFilter::default()).expect("plan");
    forget(&bench.repository, &plan, "here", PROGRAM, &clock(), &Silent).expect("forget");
    sweep(&bench);
    // The snapshot itself is gone now, and so is some of what it needed: that is told, and nothing hangs.
    let mut bytes = Vec::new();
    dump_tar(&reader, &index, &snapshot, b"/data", &mut bytes, &Silent).expect_err("some of it is gone");
}

#[test]
fn a_check_beside_a_sweep_finds_no_damage() {
    let bench = Arc::new(bench());
    let other = Arc::clone(&bench);
    let action: Box<dyn FnOnce() + Send> = Box::new(move || sweep(&other));
    let storage = Tripwire { below: Arc::clone(&bench.storage), action: Mutex::new(Some(action)) };
    let reader = client(&bench, Arc::new(storage));
    let options = CheckOptions { read_data: ReadData::All };
    let report = check(&reader, &options, &clock(), &Silent).expect("check");
    assert!(!report.is_damaged(), "{:#?}", report.findings);
}
