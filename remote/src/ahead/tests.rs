//! What is asked for ahead, and when it is handed out.

use std::time::Duration;

use engine::id::{SessionId, SnapshotId};
use engine::storage::MemoryStorage;

use super::*;

/// Answers lists and ranges only when as many as are wanted are asked for at the same time; counts requests.
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

    fn wait_for_all(&self) {
        let mut asked = self.asked.lock().expect("a lock");
        *asked = (asked.0 + 1, asked.1 + 1);
        self.all.notify_all();
        // Long enough for any machine: who waits so long has waited in vain.
        let patience = Duration::from_secs(60);
        let alone = |asked: &mut (usize, usize)| asked.0 < self.wanted;
        let (asked, waited) = self.all.wait_timeout_while(asked, patience, alone).expect("a lock");
        assert!(!waited.timed_out(), "{} at once", asked.0);
    }
}

impl Storage for Together {
    fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        self.wait_for_all();
        self.objects.list(family, each)
    }

    fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        match range {
            Some(_) => self.wait_for_all(),
            None => self.asked.lock().expect("a lock").1 += 1,
        }
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

#[test]
fn what_lists_show_is_asked_for_when_they_are_here() {
    let far = Together::of(2);
    far.write_new(REGISTER, &[b"ended"]).expect("put");
    far.write_new(SNAPSHOT, &[b"saved"]).expect("put");
    let ahead = Ahead::new(far.clone());
    ahead.expect_whole(&[ObjectFamily::Sessions, ObjectFamily::Snapshots]);
    // Two lists, and what they show, whether anybody asks for it or not.
    while far.requests() < 4 {
        std::thread::yield_now();
    }
    for (family, name) in [(ObjectFamily::Sessions, REGISTER), (ObjectFamily::Snapshots, SNAPSHOT)] {
        assert_eq!(count(&ahead, family), 1);
        assert_eq!(ahead.read(name, None, 100).expect("read").len(), 5);
    }
    assert_eq!(far.requests(), 4, "nothing was asked for twice");
    // Who expects the list alone next time gets that.
    ahead.expect(&[ObjectFamily::Sessions], &[]);
    assert_eq!(count(&ahead, ObjectFamily::Sessions), 1);
    assert!(ahead.0.state().current.is_empty());
}

#[test]
fn ranges_are_asked_for_at_once_and_what_they_hold_is_bounded() {
    const PART: u64 = RANGE_BYTES / 4;
    let pack = ObjectName::Pack(engine::id::PackId::new([1; 32]));
    let range = |number: u64| number * PART..(number + 1) * PART;
    let far = Together::of(4);
    let bytes: Vec<u8> = (0..12 * PART).map(|at| (at / PART) as u8).collect();
    far.write_new(pack, &[&bytes]).expect("put");
    let ahead = Ahead::new(far.clone());
    let expect = |numbers: Range<u64>| {
        let ranges: Vec<_> = numbers.map(|number| (pack, range(number))).collect();
        ahead.expect_ranges(&ranges);
    };
    expect(0..10);
    while ahead.0.state().ready.len() < 4 {
        std::thread::yield_now();
    }
    assert_eq!(far.requests(), 4, "for more there is no room");
    // From the end on: what nobody has begun is asked for by whoever needs it.
    for number in (0..10).rev() {
        let read = ahead.read(pack, Some(range(number)), PART).expect("read");
        assert!(read.len() as u64 == PART && read.iter().all(|byte| u64::from(*byte) == number), "{number}");
    }
    assert_eq!(far.requests(), 10);
    // A range that is not there is no answer, what was forgotten is asked for again, and what is removed is gone.
    ahead.expect_ranges(&[(pack, range(20))]);
    assert_eq!(ahead.read(pack, Some(range(20)), PART).expect_err("not there").kind(), ErrorKind::Damaged);
    expect(0..3);
    ahead.forget_expected();
    assert_eq!(ahead.read(pack, Some(range(1)), PART).expect("read")[0], 1);
    expect(0..3);
    ahead.remove(pack).expect("removed");
    assert_eq!(ahead.read(pack, Some(range(1)), PART).expect_err("gone").kind(), ErrorKind::Missing);
    while ahead.0.state().workers > 0 {
        std::thread::yield_now();
    }
    let state = ahead.0.state();
    assert_eq!((state.range_bytes, state.current.len(), state.ready.len()), (0, 0, 0));
}
