//! What every storage must do, run on every storage: those of the engine below, others by their own tests.

use super::{Lock, LockMode, ObjectFamily, ObjectName, Outcome, Storage};
use crate::clock::Timestamp;
use crate::error::ErrorKind;
use crate::id::{IndexId, PackId, ProofId, PruneId, SessionId, SlotId, SnapshotId};

/// Tries all that a storage promises on one that is empty, and leaves it empty.
///
/// # Panics
/// With what it did not do.
pub fn check_conformance(storage: &dyn Storage) {
    what_is_written_is_listed_and_read(storage);
    nothing_is_overwritten_and_removal_is_idempotent(storage);
    short_and_large_objects_are_damage(storage);
    what_locks_nothing_says_so(storage);
    other_ways_of_writing_are_writing(storage);
    what_is_expected_is_what_is_there(storage);
    if storage.capabilities().put_if_absent {
        of_parallel_writers_exactly_one_wins(storage);
    }
}

fn names() -> [ObjectName; 11] {
    [
        ObjectName::Config,
        ObjectName::Key(SlotId::new([1; 16])),
        ObjectName::Pack(PackId::new([2; 32])),
        ObjectName::Index(IndexId::new([3; 32])),
        ObjectName::Snapshot(SnapshotId::new([4; 32])),
        ObjectName::Intent(SessionId::new([5; 16])),
        ObjectName::Register(SessionId::new([5; 16])),
        ObjectName::Forgotten(SnapshotId::new([4; 32])),
        ObjectName::Proof(ProofId::new([7; 32])),
        ObjectName::PrunePlan(PruneId::FIRST),
        ObjectName::PruneReserve,
    ]
}

fn listed(storage: &dyn Storage) -> Vec<(ObjectName, u64)> {
    let mut all = Vec::new();
    for family in ObjectFamily::ALL {
        storage.list(family, &mut |name, len| all.push((name, len))).expect("list");
    }
    all.sort();
    all
}

fn what_is_written_is_listed_and_read(storage: &dyn Storage) {
    assert_eq!(listed(storage), [], "it is empty");
    for name in names() {
        let parts: [&[u8]; 3] = [b"some", b"", b" bytes"];
        assert_eq!(storage.write_new(name, &parts).expect("write"), Outcome::Written, "{name}");
        assert_eq!(storage.read(name, None, 10).expect("read"), b"some bytes", "{name}");
        assert_eq!(storage.read(name, Some(2..6), 4).expect("range"), b"me b", "{name}");
        assert_eq!(storage.read_once(name, None, 10).expect("read"), b"some bytes", "{name}");
        assert_eq!(storage.read_once(name, Some(2..6), 4).expect("range"), b"me b", "{name}");
        storage.persist(name).expect("persist");
    }
    let mut expected: Vec<_> = names().iter().map(|name| (*name, 10)).collect();
    expected.sort();
    assert_eq!(listed(storage), expected);
    for name in names() {
        storage.remove(name).expect("remove");
    }
    assert_eq!(listed(storage), []);
}

fn nothing_is_overwritten_and_removal_is_idempotent(storage: &dyn Storage) {
    for name in names() {
        storage.write_new(name, &[b"first"]).expect("write");
        assert_eq!(storage.write_new(name, &[b"second"]).expect("write"), Outcome::Existed, "{name}");
        assert_eq!(storage.read(name, None, 10).expect("read"), b"first", "{name}");
        storage.remove(name).expect("remove");
        storage.remove(name).expect("remove again");
        storage.persist(name).expect("nothing has to last");
        assert_eq!(storage.read(name, None, 10).expect_err("gone").kind(), ErrorKind::Missing, "{name}");
    }
    assert_eq!(listed(storage), []);
}

fn short_and_large_objects_are_damage(storage: &dyn Storage) {
    let name = names()[2];
    storage.write_new(name, &[b"0123456789"]).expect("write");
    for (range, max) in [(Some(5..11), 100), (Some(20..21), 100), (None, 9), (Some(0..8), 7)] {
        let read = storage.read(name, range.clone(), max);
        for error in [read, storage.read_once(name, range.clone(), max)].map(|read| read.expect_err("refused")) {
            assert_eq!(error.kind(), ErrorKind::Damaged, "{range:?} {max}: {error}");
            assert!(error.to_string().contains(&name.to_string()), "{error}");
        }
    }
    storage.remove(name).expect("remove");
}

fn what_locks_nothing_says_so(storage: &dyn Storage) {
    if storage.capabilities().locks {
        return;
    }
    let name = names()[2];
    storage.write_new(name, &[b"0123456789"]).expect("write");
    let lock = Lock { until: Timestamp::new(10_000_000_000, 0), mode: LockMode::Governance };
    let errors = [storage.lock(name).map(drop), storage.retain(name, &lock)].map(|result| result.expect_err("refused"));
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(&name.to_string()), "{error}");
    }
    storage.remove(name).expect("nothing is locked");
}

fn other_ways_of_writing_are_writing(storage: &dyn Storage) {
    let (pack, session) = (names()[2], SessionId::new([5; 16]));
    // What buffer comes back is not said: a connection may hold on to the one that was lent a moment longer than its answer takes.
    assert_eq!(storage.write_lent(pack, b"--bytes".to_vec(), 2).0.expect("write"), Outcome::Written);
    assert_eq!(storage.read(pack, None, 10).expect("read"), b"bytes");
    if storage.capabilities().put_if_absent {
        assert_eq!(storage.write_lent(pack, b"--other".to_vec(), 2).0.expect("write"), Outcome::Existed);
        assert_eq!(storage.write_own(pack, &[b"other"]).expect("write"), Outcome::Existed);
    }
    assert_eq!(storage.read(pack, None, 10).expect("read"), b"bytes");
    storage.remove(pack).expect("remove");
    assert_eq!(storage.write_own(pack, &[b"o", b"wn"]).expect("write"), Outcome::Written);
    assert_eq!(storage.read(pack, None, 10).expect("read"), b"own");
    storage.remove(pack).expect("remove");
    let (intent, register) = (ObjectName::Intent(session), ObjectName::Register(session));
    storage.write_new(intent, &[b"begun"]).expect("write");
    assert_eq!(storage.write_and_tidy(register, &[b"en", b"ded"], intent).expect("write"), Outcome::Written);
    assert_eq!(listed(storage), [(register, 5)]);
    storage.write_new(intent, &[b"begun"]).expect("write");
    assert_eq!(storage.write_and_tidy(register, &[b"other"], intent).expect("write"), Outcome::Existed);
    assert_eq!(storage.read(register, None, 10).expect("read"), b"ended");
    storage.read(intent, None, 10).expect("of a session that another one ended it is left to others");
    storage.remove(intent).expect("remove");
    storage.remove(register).expect("remove");
}

fn what_is_expected_is_what_is_there(storage: &dyn Storage) {
    let (there, missing) = (names()[4], names()[3]);
    storage.write_new(there, &[b"bytes"]).expect("write");
    storage.expect(&[ObjectFamily::Snapshots, ObjectFamily::Indexes], &[there, missing]);
    let mut found = Vec::new();
    for family in [ObjectFamily::Snapshots, ObjectFamily::Indexes, ObjectFamily::Keys] {
        storage.list(family, &mut |name, len| found.push((name, len))).expect("list");
    }
    assert_eq!(found, [(there, 5)]);
    assert_eq!(storage.read(there, None, 10).expect("read"), b"bytes");
    assert_eq!(storage.read(missing, None, 10).expect_err("missing").kind(), ErrorKind::Missing);
    storage.expect(&[ObjectFamily::Snapshots], &[]);
    storage.forget_expected();
    assert!(!storage.is_expected(ObjectFamily::Snapshots));
    storage.remove(there).expect("remove");
    assert_eq!(listed(storage), []);
}

fn of_parallel_writers_exactly_one_wins(storage: &dyn Storage) {
    for round in 0..20u8 {
        let name = ObjectName::Register(SessionId::new([round; 16]));
        let winners = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8u8)
                .map(|writer| scope.spawn(move || (writer, storage.write_new(name, &[&[writer]]).expect("write"))))
                .collect();
            let outcomes: Vec<_> = writers.into_iter().map(|writer| writer.join().expect("join")).collect();
            outcomes.into_iter().filter(|(_, o)| *o == Outcome::Written).map(|(w, _)| w).collect::<Vec<_>>()
        });
        assert_eq!(winners.len(), 1, "winners");
        assert_eq!(storage.read(name, None, 1).expect("read"), winners);
        storage.remove(name).expect("remove");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{LocalStorage, MemoryStorage, SpooledStorage};
    use super::*;

    /// Each implementation of [`Storage`] in `storage/`, empty. [`every_storage_is_here`] fails if one is left out.
    fn storages() -> Vec<(&'static str, Arc<dyn Storage>, Option<tempfile::TempDir>)> {
        let scratch = tempfile::tempdir().expect("scratch");
        let local = LocalStorage::open(&scratch.path().join("deep/repository"), true).expect("open");
        let spooled =
            SpooledStorage::new(Arc::new(MemoryStorage::default()), scratch.path(), 1 << 20).expect("a spool");
        vec![
            ("LocalStorage", Arc::new(local), Some(scratch)),
            ("MemoryStorage", Arc::new(MemoryStorage::default()), None),
            ("SpooledStorage", Arc::new(spooled), None),
        ]
    }

    #[test]
    fn every_storage_is_here() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/storage");
        let mut implementations = Vec::new();
        for file in std::fs::read_dir(directory).expect("sources") {
            let text = std::fs::read_to_string(file.expect("entry").path()).expect("source");
            implementations.extend(
                text.lines()
                    .filter_map(|line| line.strip_prefix("impl Storage for "))
                    .map(|rest| rest.replace(" {", "")),
            );
        }
        implementations.sort();
        let mut tested: Vec<_> = storages().iter().map(|(name, ..)| name.to_string()).collect();
        tested.sort();
        assert_eq!(implementations, tested);
    }

    #[test]
    fn each_does_what_it_must() {
        for (_, storage, _scratch) in storages() {
            check_conformance(&*storage);
        }
    }
}
