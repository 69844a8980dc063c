//! Readers whose packs a prune sweeps while they read.

use super::pruning::{bench_to_prune, now};
use super::*;

/// What a tripwire may wait for.
pub(super) enum Request {
    Read(ObjectName),
    Write(ObjectName),
    Persist(ObjectName),
}

/// Does something before the first request of its kind.
pub(super) struct Tripwire {
    pub(super) below: Arc<Recording>,
    pub(super) wire: fn(Request) -> bool,
    pub(super) action: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Tripwire {
    fn touch(&self, request: Request) {
        if (self.wire)(request) {
            let action = self.action.lock().expect("lock").take();
            action.into_iter().for_each(|action| action());
        }
    }
}

impl Storage for Tripwire {
    fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        self.below.list(family, each)
    }
    fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        self.touch(Request::Read(name));
        self.below.read(name, range, max)
    }
    fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        self.touch(Request::Write(name));
        self.below.write_new(name, parts)
    }
    fn remove(&self, name: ObjectName) -> Result<()> {
        self.below.remove(name)
    }
    fn persist(&self, name: ObjectName) -> Result<()> {
        self.touch(Request::Persist(name));
        self.below.persist(name)
    }
    fn capabilities(&self) -> Capabilities {
        self.below.capabilities()
    }
}

pub(super) fn client(bench: &Bench, storage: Arc<dyn Storage>) -> Repository {
    Repository::open(storage, &bench.secret, &bench.scratch.path().join("reader")).expect("open")
}

fn sweep(bench: &Bench) {
    let report = prune(&bench.repository, &now(), &clock(), &Silent).expect("prune");
    assert!(report.packs_deleted > 0 && report.bytes_copied > 0);
}

#[test]
fn a_restore_goes_on_when_a_prune_sweeps_what_it_reads() {
    let bench = bench_to_prune();
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
    let bench = bench_to_prune();
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
    let bench = Arc::new(bench_to_prune());
    let other = Arc::clone(&bench);
    let action: Box<dyn FnOnce() + Send> = Box::new(move || sweep(&other));
    let storage = Tripwire {
        below: Arc::clone(&bench.storage),
        wire: |request| matches!(request, Request::Read(ObjectName::Pack(_))),
        action: Mutex::new(Some(action)),
    };
    let reader = client(&bench, Arc::new(storage));
    let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
    let report = check(&reader, &options, &clock(), &Silent).expect("check");
    assert!(!report.is_damaged(), "{:#?}", report.findings);
}
