//! How often a verb waits for a storage that is far away. The clock counts round trips: what was said to be expected is under way
//! from that moment on, and whoever asks for anything else waits for all of a round trip.

use std::collections::HashMap;

use super::*;

/// Something that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Asked {
    List(ObjectFamily),
    Read(ObjectName, Option<Range<u64>>),
}

#[derive(Default)]
struct Line {
    /// Round trips.
    now: usize,
    /// What is under way, and when it is here.
    expected: HashMap<Asked, usize>,
    requests: usize,
    /// Bytes of ranges of packs that were read.
    pack_ranges: Vec<u64>,
}

impl Line {
    /// An object that is under way stays so; a list is asked for anew.
    fn expect(&mut self, asked: Asked, when: usize) {
        let is_list = matches!(asked, Asked::List(_));
        if is_list || !self.expected.contains_key(&asked) {
            self.requests += 1;
            self.expected.insert(asked, when);
        }
    }

    fn ask(&mut self, asked: &Asked) {
        let here = self.expected.remove(asked);
        self.requests += usize::from(here.is_none());
        self.now = self.now.max(here.unwrap_or(self.now + 1));
    }
}

#[derive(Default)]
struct Far {
    below: MemoryStorage,
    line: Mutex<Line>,
    is_near: bool,
    /// Ranges of more bytes are refused.
    largest_range: Option<u64>,
}

impl Far {
    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().expect("no holder of this lock panics")
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
        self.line().ask(&Asked::List(family));
        self.below.list(family, each)
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
        self.line().now += 1;
        self.below.write_new(name, parts)
    }

    fn remove(&self, name: ObjectName) -> Result<()> {
        self.line().now += 1;
        self.below.remove(name)
    }

    fn persist(&self, name: ObjectName) -> Result<()> {
        self.below.persist(name)
    }

    fn expect(&self, lists: &[ObjectFamily], objects: &[ObjectName]) {
        let mut line = self.line();
        let when = line.now + 1;
        let lists = lists.iter().map(|family| Asked::List(*family));
        lists.chain(objects.iter().map(|name| Asked::Read(*name, None))).for_each(|asked| line.expect(asked, when));
    }

    fn expect_whole(&self, lists: &[ObjectFamily]) {
        self.expect(lists, &[]);
        let mut line = self.line();
        let when = line.now + 2;
        for family in lists {
            let each = &mut |name, _| line.expect(Asked::Read(name, None), when);
            self.below.list(*family, each).expect("a list");
        }
    }

    fn expect_ranges(&self, ranges: &[(ObjectName, Range<u64>)]) {
        let mut line = self.line();
        let when = line.now + 1;
        ranges.iter().for_each(|(name, range)| line.expect(Asked::Read(*name, Some(range.clone())), when));
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
        use std::os::unix::ffi::OsStrExt;
        let paths = vec![self.source().as_os_str().as_bytes().to_vec()];
        let repository = self.open(&self.far);
        snapshot(&repository, SnapshotInput::Paths(paths), &options(), &clock(), &Silent).expect("snapshot");
    }

    /// The same objects in a storage that is another way.
    fn copy(&self, is_near: bool, largest_range: Option<u64>) -> Arc<Far> {
        let other = Far { is_near, largest_range, ..Far::default() };
        for (name, len) in ObjectFamily::ALL.into_iter().flat_map(|family| self.objects(family)) {
            let object = self.far.below.read(name, None, len).expect("there");
            other.below.write_new(name, &[&object]).expect("put");
        }
        Arc::new(other)
    }

    fn objects(&self, family: ObjectFamily) -> Vec<(ObjectName, u64)> {
        let mut objects = Vec::new();
        self.far.below.list(family, &mut |name, len| objects.push((name, len))).expect("a list");
        objects
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
    for (name, len) in place.objects(ObjectFamily::Packs) {
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
