//! How often a verb waits for a storage that is far away. The clock counts round trips: what was said to be expected is under way
//! from that moment on, and whoever asks for anything else waits for all of a round trip. A list that was expected is as old as it
//! can be: of the moment when it was.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::swept::client;
use super::*;
use crate::id::SessionId;
use crate::repository::Session;

/// Something that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Asked {
    List(ObjectFamily),
    Read(ObjectName, Option<Range<u64>>),
}

/// What a list shows.
type Rows = Vec<(ObjectName, u64)>;

#[derive(Default)]
struct Line {
    /// Round trips.
    now: usize,
    /// What is under way, and when it is here; of a list, what it shows.
    expected: HashMap<Asked, (usize, Rows)>,
    requests: usize,
    /// Bytes of ranges of packs that were read.
    pack_ranges: Vec<u64>,
}

impl Line {
    /// An object that is under way stays so; a list is asked for anew.
    fn expect(&mut self, asked: Asked, when: usize, rows: Rows) {
        let is_list = matches!(asked, Asked::List(_));
        if is_list || !self.expected.contains_key(&asked) {
            self.requests += 1;
            self.expected.insert(asked, (when, rows));
        }
    }

    /// What was expected.
    fn ask(&mut self, asked: &Asked) -> Option<Rows> {
        let here = self.expected.remove(asked);
        self.requests += usize::from(here.is_none());
        self.now = self.now.max(here.as_ref().map_or(self.now + 1, |(when, _)| *when));
        here.map(|(_, rows)| rows)
    }

    /// A request that changes something. What was expected of that is not right any more.
    fn change(&mut self, name: ObjectName) {
        self.now += 1;
        self.requests += 1;
        self.expected.remove(&Asked::List(name.family()));
        self.expected.retain(|asked, _| !matches!(asked, Asked::Read(of, _) if *of == name));
    }
}

#[derive(Default)]
struct Far {
    below: Arc<Recording>,
    line: Mutex<Line>,
    is_near: bool,
    /// Ranges of more bytes are refused.
    largest_range: Option<u64>,
    /// What somebody else does just before a plan of prune is put, when all lists were asked for.
    before_plan: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Far {
    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().expect("no holder of this lock panics")
    }

    fn rows(&self, family: ObjectFamily) -> Rows {
        let mut rows = Vec::new();
        self.below.list(family, &mut |name, len| rows.push((name, len))).expect("a list");
        rows
    }

    /// Runs a verb; what came of it, how many round trips were waited for, and how many requests were made.
    fn measure<T>(&self, verb: impl FnOnce() -> T) -> (T, usize, usize) {
        *self.line() = Line::default();
        let result = verb();
        let line = self.line();
        (result, line.now, line.requests)
    }
}

impl Storage for Far {
    fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        let rows = self.line().ask(&Asked::List(family));
        rows.unwrap_or_else(|| self.rows(family)).into_iter().for_each(|(name, len)| each(name, len));
        Ok(())
    }

    fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        let len = range.as_ref().map_or(0, |range| range.end - range.start);
        let mut line = self.line();
        line.ask(&Asked::Read(name, range.clone()));
        if matches!(name, ObjectName::Pack(_)) {
            line.pack_ranges.push(len);
        }
        if self.largest_range.is_some_and(|largest| len > largest) {
            return Err(EngineError::new(ErrorKind::Io, "too much at once"));
        }
        self.below.read(name, range, max)
    }

    fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        let then = self.before_plan.lock().expect("lock").take_if(|_| matches!(name, ObjectName::PrunePlan(_)));
        if let Some(then) = then {
            self.expect(&ObjectFamily::ALL, &[]);
            then();
        }
        self.line().change(name);
        self.below.write_new(name, parts)
    }

    fn remove(&self, name: ObjectName) -> Result<()> {
        self.line().change(name);
        self.below.remove(name)
    }

    fn persist(&self, name: ObjectName) -> Result<()> {
        self.below.persist(name)
    }

    fn expect(&self, lists: &[ObjectFamily], objects: &[ObjectName]) {
        let mut line = self.line();
        let when = line.now + 1;
        lists.iter().for_each(|family| line.expect(Asked::List(*family), when, self.rows(*family)));
        objects.iter().for_each(|name| line.expect(Asked::Read(*name, None), when, Vec::new()));
    }

    fn expect_whole(&self, lists: &[ObjectFamily]) {
        self.expect(lists, &[]);
        let mut line = self.line();
        let when = line.now + 2;
        for (name, _) in lists.iter().flat_map(|family| self.rows(*family)) {
            line.expect(Asked::Read(name, None), when, Vec::new());
        }
    }

    fn expect_ranges(&self, ranges: &[(ObjectName, Range<u64>)]) {
        let mut line = self.line();
        let when = line.now + 1;
        let asked = ranges.iter().map(|(name, range)| Asked::Read(*name, Some(range.clone())));
        asked.for_each(|asked| line.expect(asked, when, Vec::new()));
    }

    fn is_expected(&self, list: ObjectFamily) -> bool {
        self.line().expected.contains_key(&Asked::List(list))
    }

    fn forget_expected(&self) {
        self.line().expected.clear();
    }

    fn capabilities(&self) -> Capabilities {
        let local_directory = self.is_near.then(|| "/nowhere".into());
        Capabilities { local_directory, ..self.below.capabilities() }
    }
}

/// A repository with several snapshots, a proof, and some segments of trees.
struct Place {
    far: Arc<Far>,
    secret: Secret,
    scratch: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let (far, scratch) = (Arc::new(Far::default()), tempfile::tempdir().expect("scratch"));
        let secret = Secret::generate_key_file();
        init(&*far, &secret, &InitOptions::default(), &clock()).expect("init");
        let place = Self { far, secret, scratch };
        for number in 0..1200u32 {
            // Long targets, each another: much to list, and little to store.
            let text: String = (0..40).map(|part: u32| hex_of(number, part)).collect();
            let directory = place.source().join(format!("d{:02}", number % 40));
            fs::create_dir_all(&directory).expect("a directory");
            std::os::unix::fs::symlink(text, directory.join(format!("link{number}"))).expect("a link");
        }
        for number in 0..3 {
            fs::write(place.source().join("file"), [number]).expect("written");
            place.snapshot();
        }
        place
    }

    fn source(&self) -> std::path::PathBuf {
        self.scratch.path().join("source")
    }

    /// Opens it with the storage as it is now, or as another one says.
    fn open(&self, storage: &Arc<Far>) -> Repository {
        let storage: Arc<dyn Storage> = Arc::clone(storage) as Arc<dyn Storage>;
        Repository::open(storage, &self.secret, &self.scratch.path().join("cache")).expect("open")
    }

    fn snapshot(&self) {
        let repository = self.open(&self.far);
        snapshot(&repository, tree(&self.source()), &options(), &clock(), &Silent).expect("snapshot");
    }

    /// The same objects in a storage that is another way.
    fn copy(&self, is_near: bool, largest_range: Option<u64>) -> Arc<Far> {
        let below = super::pruning::copy_of(&self.far.below);
        Arc::new(Far { below, is_near, largest_range, ..Far::default() })
    }

    fn check(&self, storage: &Arc<Far>) -> CheckReport {
        check(&self.open(storage), &CheckOptions::default(), &clock(), &Silent).expect("check")
    }
}

fn hex_of(number: u32, part: u32) -> String {
    blake3::hash(&[number.to_le_bytes(), part.to_le_bytes()].concat()).to_hex().to_string()
}

fn findings(report: &CheckReport) -> Vec<String> {
    let mut found: Vec<String> = report.findings.iter().map(|finding| format!("{finding:?}")).collect();
    found.sort();
    found
}

#[test]
fn a_check_waits_a_few_times_however_much_there_is() {
    let place = Place::new();
    let repository = place.open(&place.far);
    let check = || check(&repository, &CheckOptions::default(), &clock(), &Silent).expect("check");
    let (report, waits, requests) = place.far.measure(check);
    assert!(!report.is_damaged() && report.trees > 40 && report.snapshots == 3);
    let segments = place.far.line().pack_ranges.clone();
    assert!(segments.len() >= 2 && segments.iter().any(|len| *len > 1 << 20), "{segments:?}");
    // Sessions; registers and the index' list; the index and all lists; what is listed, and all trees.
    assert_eq!(waits, 4, "{requests} requests");
    assert!(place.far.line().expected.is_empty());
    // Nothing is asked for that nobody needs.
    let without = place.copy(true, None);
    let near = place.open(&without);
    let (_, waits_for_each, requests_for_each) =
        without.measure(|| super::check(&near, &CheckOptions::default(), &clock(), &Silent).expect("check"));
    assert!(waits_for_each > 4 && requests <= requests_for_each, "{requests} instead of {requests_for_each}");
}

/// What was read ahead and failed, or is wrong, is read again by whoever needs it: nothing else is found because of it.
#[test]
fn a_check_finds_the_same_whether_it_reads_ahead_or_not() {
    let place = Place::new();
    let whole = findings(&place.check(&place.copy(true, None)));
    assert_eq!(findings(&place.check(&place.copy(false, None))), whole);
    let segment = 1 << 20;
    assert_eq!(findings(&place.check(&place.copy(false, Some(segment)))), whole);
    // Of each pack with trees a byte is wrong, then the end is not there.
    for (name, len) in place.far.rows(ObjectFamily::Packs) {
        let object = place.far.below.read(name, None, len).expect("there");
        let mut flipped = object.clone();
        flipped[100] ^= 1;
        for damaged in [&flipped[..], &object[..object.len() / 2]] {
            place.far.below.remove(name).expect("removed");
            place.far.below.write_new(name, &[damaged]).expect("put");
            let near = place.check(&place.copy(true, None));
            let far = [None, Some(segment)].map(|largest| place.check(&place.copy(false, largest)));
            assert!(far.iter().all(|far| findings(far) == findings(&near)), "{name}: {far:?}, {near:?}");
        }
        place.far.below.remove(name).expect("removed");
        place.far.below.write_new(name, &[&object]).expect("put");
    }
}

#[test]
fn a_prune_with_nothing_to_do_waits_a_few_times() {
    let place = Place::new();
    let mut repository = place.open(&place.far);
    repository.keep_objects(1 << 20);
    let prune = || prune(&repository, &super::pruning::now(), &clock(), &Silent).expect("prune");
    // The first two look at what they have not seen yet.
    assert!(prune().proposal.is_empty() && prune().proposal.is_empty());
    let (report, waits, requests) = place.far.measure(prune);
    assert!(report.proposal.is_empty());
    assert!(place.far.line().expected.is_empty());
    // The intent; sessions and plans; index, snapshots and records; packs; the register; the intent's end; sessions and plans.
    assert_eq!((waits, requests), (7, 11));
}

/// What was listed before a plan was put does not say who builds on what it condemns.
#[test]
fn what_was_asked_for_before_a_plan_is_not_used_after_it() {
    let bench = super::pruning::bench_to_prune();
    let patient = PruneOptions { revoke_after_seconds: 3600, ..super::pruning::now() };
    // What is forgotten is on record, so that the only plan is the one that condemns.
    let noticing = PruneOptions { grace_seconds: 3600, max_unused: MaxUnused::Unlimited, ..super::pruning::now() };
    prune(&bench.repository, &noticing, &clock(), &Silent).expect("prune");
    let writer = bench.writer();
    let (say, said) = channel();
    let begin = move || say.send(Session::begin(&writer, "here", PROGRAM, &clock()).expect("begun")).expect("heard");
    let far = Far { below: Arc::clone(&bench.storage), ..Far::default() };
    *far.before_plan.lock().expect("lock") = Some(Box::new(begin));
    let pruner = client(&bench, Arc::new(far));
    let report = prune(&pruner, &patient, &clock(), &Silent).expect("prune");
    let session = said.recv().expect("it began before the plan");
    assert!(session.plans().open().is_empty(), "it heeds no plan");
    assert_eq!((report.waiting_for, report.packs_deleted), (vec![session.id()], 0));
    // When it has ended, the next prune goes on, by what there is then.
    session.commit(&bench.repository, None).expect("ended");
    let report = prune(&pruner, &patient, &clock(), &Silent).expect("prune");
    assert!(report.waiting_for.is_empty() && report.packs_deleted > 0);
    assert!(!bench.check().is_damaged() && bench.restores(&bench.latest().1));
}

/// A snapshot that stops when it is at its first file, until it may go on.
struct Held {
    begun: Mutex<Option<Sender<()>>>,
    go_on: Mutex<Receiver<()>>,
}

impl Monitor for Held {
    fn current(&self, path: &[u8]) {
        let begun = if path.contains(&b'f') { self.begun.lock().expect("lock").take() } else { None };
        if let Some(begun) = begun {
            begun.send(()).expect("heard");
            self.go_on.lock().expect("lock").recv().expect("told");
        }
    }
}

/// A plan is found open, and the session that it waits for is committed just then: what it needs stays.
#[test]
fn what_was_asked_for_before_sessions_have_ended_is_not_used_after_that() {
    let bench = super::pruning::bench_to_prune();
    let patient = PruneOptions { revoke_after_seconds: 3600, ..super::pruning::now() };
    // It brings back what is forgotten, from packs that are about to be condemned.
    (0..30).for_each(|i| bench.write(&format!("d{}/f{i}", i % 3), i, 60_000));
    let writer = bench.writer();
    let ((begun, has_begun), (go_on, told)) = (channel(), channel());
    let held = Held { begun: Mutex::new(Some(begun)), go_on: Mutex::new(told) };
    std::thread::scope(|scope| {
        let save = scope.spawn(|| snapshot(&writer, tree(&bench.source()), &options(), &clock(), &held));
        has_begun.recv().expect("begun");
        let report = prune(&bench.repository, &patient, &clock(), &Silent).expect("prune");
        assert_eq!((report.waiting_for.len(), report.packs_deleted), (1, 0));
        let save = Mutex::new(Some(save));
        let wait = |_: &[SessionId]| {
            let save = save.lock().expect("lock").take().expect("asked once");
            go_on.send(()).expect("it waits");
            save.join().expect("joined").expect("a snapshot");
            true
        };
        let far = Far { below: Arc::clone(&bench.storage), ..Far::default() };
        let pruner = client(&bench, Arc::new(far));
        let report = prune(&pruner, &PruneOptions { wait: &wait, ..patient }, &clock(), &Silent).expect("prune");
        assert!(report.plans_resumed == 1 && report.packs_rescued > 0 && report.waiting_for.is_empty());
    });
    assert!(!bench.check().is_damaged() && bench.restores(&bench.latest().1));
}
