//! A storage, and a copy on this machine of what this process puts there: whoever reads it again soon does not ask the storage.
//!
//! Packs and index objects only: they are large, and their names are hashes of what is in them. All else is the storage's
//! alone, lists included. An object is kept when the storage has it. The copies are sealed as the objects are, in a file
//! without a name, which ends with the process. What does not fit is read from the storage, which takes longer and no more.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Capabilities, Lock, ObjectFamily, ObjectName, Outcome, Storage};
use crate::clock::Timestamp;
use crate::error::{EngineError, Result};
use crate::os::{self, unnamed::UnnamedFile};

/// Of what the file system has room for, the part that copies may take: others want to write there, too.
const FREE_PERCENT: u64 = 50;

/// A storage with copies of what was put.
pub struct SpooledStorage {
    below: Arc<dyn Storage>,
    file: UnnamedFile,
    limit_bytes: u64,
    kept: Mutex<Kept>,
}

/// Where copies are in the file.
#[derive(Default)]
struct Kept {
    places: HashMap<ObjectName, Range<u64>>,
    /// Where the next one goes.
    end_bytes: u64,
    /// The file system has failed: nothing is kept any more.
    has_failed: bool,
}

impl SpooledStorage {
    /// Keeps copies of what is put into `below`, so many bytes at most and half of what is free there, in the file system
    /// that holds `directory`.
    ///
    /// # Errors
    /// `Io`.
    pub fn new(below: Arc<dyn Storage>, directory: &Path, limit_bytes: u64) -> Result<Self> {
        let failed = |error| EngineError::io("keep copies of packs in", directory, error);
        let file = UnnamedFile::create_in(directory).map_err(failed)?;
        let free_bytes = os::free_space(directory).map_err(failed)?.bytes;
        let limit_bytes = limit_bytes.min(free_bytes / 100 * FREE_PERCENT);
        Ok(Self { below, file, limit_bytes, kept: Mutex::default() })
    }

    /// Forgets all copies and gives their room back.
    pub fn clear(&self) {
        self.clear_kept(&mut self.kept());
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no holder of this lock panics")
    }

    fn clear_kept(&self, kept: &mut Kept) {
        kept.places.clear();
        kept.end_bytes = 0;
        kept.has_failed |= self.file.clear().is_err();
    }

    /// Keeps a copy of what is read again soon, if it was written now.
    fn keep_written(&self, name: ObjectName, parts: &[&[u8]], outcome: Outcome) {
        if outcome == Outcome::Written && matches!(name.family(), ObjectFamily::Packs | ObjectFamily::Indexes) {
            self.keep(name, parts);
        }
    }

    /// Keeps a copy if there is room.
    fn keep(&self, name: ObjectName, parts: &[&[u8]]) {
        let len = parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let place = {
            let mut kept = self.kept();
            if kept.has_failed || len > self.limit_bytes.saturating_sub(kept.end_bytes) {
                return;
            }
            let start = kept.end_bytes;
            kept.end_bytes += len;
            start..start + len
        };
        // Others write to other places meanwhile.
        let written = self.file.write_at(parts, place.start);
        let mut kept = self.kept();
        match written {
            Ok(()) if !kept.has_failed => drop(kept.places.insert(name, place)),
            Ok(()) => {}
            Err(_) => {
                // A full disk most likely: whoever else writes there needs the room more.
                kept.has_failed = true;
                self.clear_kept(&mut kept);
            }
        }
    }

    /// A range of a copy, if it is kept and has that range and not more than `max` bytes of it.
    fn copy_of(&self, name: ObjectName, range: Option<&Range<u64>>, max: u64) -> Option<Vec<u8>> {
        let place = self.kept().places.get(&name)?.clone();
        let whole = 0..place.end - place.start;
        let range = range.unwrap_or(&whole);
        let len = range.end.checked_sub(range.start).filter(|len| *len <= max && range.end <= whole.end)?;
        self.file.read_at(usize::try_from(len).ok()?, place.start + range.start).ok()
    }
}

impl Storage for SpooledStorage {
    fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        self.below.list(family, each)
    }

    fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        match self.copy_of(name, range.as_ref(), max) {
            Some(bytes) => Ok(bytes),
            None => self.below.read(name, range, max),
        }
    }

    fn read_once(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        match self.copy_of(name, range.as_ref(), max) {
            Some(bytes) => Ok(bytes),
            None => self.below.read_once(name, range, max),
        }
    }

    fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        let outcome = self.below.write_new(name, parts)?;
        self.keep_written(name, parts, outcome);
        Ok(outcome)
    }

    fn write_own(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        let outcome = self.below.write_own(name, parts)?;
        self.keep_written(name, parts, outcome);
        Ok(outcome)
    }

    fn write_and_tidy(&self, name: ObjectName, parts: &[&[u8]], leftover: ObjectName) -> Result<Outcome> {
        self.kept().places.remove(&leftover);
        self.below.write_and_tidy(name, parts, leftover)
    }

    fn remove(&self, name: ObjectName) -> Result<()> {
        self.kept().places.remove(&name);
        self.below.remove(name)
    }

    fn persist(&self, name: ObjectName) -> Result<()> {
        self.below.persist(name)
    }

    fn remove_unfinished(&self, before: Timestamp) -> Result<u64> {
        self.below.remove_unfinished(before)
    }

    fn lock(&self, name: ObjectName) -> Result<Option<Lock>> {
        self.below.lock(name)
    }

    fn retain(&self, name: ObjectName, lock: &Lock) -> Result<()> {
        self.below.retain(name, lock)
    }

    fn expect(&self, lists: &[ObjectFamily], objects: &[ObjectName]) {
        self.below.expect(lists, objects);
    }

    fn expect_whole(&self, lists: &[ObjectFamily]) {
        self.below.expect_whole(lists);
    }

    fn expect_ranges(&self, ranges: &[(ObjectName, Range<u64>)]) {
        self.below.expect_ranges(ranges);
    }

    fn is_expected(&self, list: ObjectFamily) -> bool {
        self.below.is_expected(list)
    }

    fn forget_expected(&self) {
        self.below.forget_expected();
    }

    fn capabilities(&self) -> Capabilities {
        self.below.capabilities()
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryStorage;
    use super::*;
    use crate::id::{IndexId, PackId, SnapshotId};

    fn spooled(limit_bytes: u64) -> (SpooledStorage, Arc<MemoryStorage>, tempfile::TempDir) {
        let scratch = tempfile::tempdir().expect("scratch");
        let below = Arc::new(MemoryStorage::default());
        let storage = SpooledStorage::new(Arc::clone(&below) as Arc<dyn Storage>, scratch.path(), limit_bytes);
        (storage.expect("made"), below, scratch)
    }

    fn pack(number: u8) -> ObjectName {
        ObjectName::Pack(PackId::new([number; 32]))
    }

    #[test]
    fn copies_answer_for_objects_that_the_storage_does_not_give() {
        let (storage, below, _scratch) = spooled(1000);
        let index = ObjectName::Index(IndexId::new([1; 32]));
        let snapshot = ObjectName::Snapshot(SnapshotId::new([1; 32]));
        for name in [pack(1), pack(2), index, snapshot] {
            storage.write_new(name, &[b"one ", b"bytes"]).expect("written");
            // Somebody else takes it away, whom this does not hear of.
            below.remove(name).expect("removed");
        }
        assert_eq!(storage.read_once(pack(2), Some(2..6), 9).expect("a copy"), b"e by");
        assert!(storage.read(index, None, 9).is_ok());
        assert!(storage.read(index, None, 8).is_err(), "more than was asked for");
        assert!(storage.read(snapshot, None, 9).is_err(), "not kept");
        storage.clear();
        assert!(storage.read(pack(1), None, 9).is_err());
        storage.write_new(pack(3), &[b"new"]).expect("written");
        below.remove(pack(3)).expect("removed");
        assert_eq!(storage.read(pack(3), None, 9).expect("a copy"), b"new");
    }

    #[test]
    fn what_does_not_fit_is_read_from_the_storage() {
        let (storage, below, _scratch) = spooled(100);
        for number in 0..3 {
            storage.write_new(pack(number), &[&[number; 40]]).expect("written");
        }
        assert_eq!(storage.read(pack(2), None, 40).expect("there"), [2; 40]);
        (0..3).for_each(|number| below.remove(pack(number)).expect("removed"));
        let kept = (0..3).filter(|number| storage.read(pack(*number), None, 40).is_ok()).collect::<Vec<_>>();
        assert_eq!(kept, [0, 1]);
    }
}
