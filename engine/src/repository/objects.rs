//! Objects of a storage that is far away, kept on this machine as they are: sealed.
//!
//! Only what never changes under its name and is looked at by many commands: segments of trees, snapshots, registers and
//! records. That an object is in here does not say that the storage still has it. So this is asked only for what a list of
//! the storage has shown, or the index lists; who wants to know whether something is there, or is right, asks the storage.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Repository;
use crate::crypto::hash_parts;
use crate::error::Result;
use crate::id::hex;
use crate::os::cached::CachedFiles;
use crate::storage::ObjectName;

/// Bytes of a checksum: the disk of a cache may rot.
const SUM_BYTES: usize = 16;

/// Objects that are asked for together, at most.
const OBJECTS_AT_ONCE: usize = 256;

/// What is kept of objects, and whether it is asked.
pub(super) struct ObjectCache {
    files: CachedFiles,
    /// How many work past it now.
    bypassed: AtomicUsize,
}

/// As long as this is there, all is read from the storage.
pub struct PastCache<'a>(Option<&'a ObjectCache>);

impl Drop for PastCache<'_> {
    fn drop(&mut self) {
        if let Some(cache) = self.0 {
            cache.bypassed.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Repository {
    /// Keeps objects in the cache directory, so many bytes at most: for a storage that is far away.
    /// Not for an earlier state: under the same names the present may have other bytes, which somebody put there.
    pub fn keep_objects(&mut self, limit_bytes: u64) {
        if self.is_past() {
            return;
        }
        let files = CachedFiles::new(self.cache_directory().join("objects"), limit_bytes);
        self.objects = Some(ObjectCache { files, bypassed: AtomicUsize::new(0) });
    }

    /// From now on all is read from the storage, until what this returns is dropped: a check proves what is there.
    #[must_use]
    pub fn past_object_cache(&self) -> PastCache<'_> {
        if let Some(cache) = &self.objects {
            cache.bypassed.fetch_add(1, Ordering::Relaxed);
        }
        PastCache(self.objects.as_ref())
    }

    /// Reads an object of the storage, or what is kept of it, at most `max` bytes, and opens it. Only what opens is kept: what is
    /// damaged may be right tomorrow.
    ///
    /// # Errors
    /// As [`crate::storage::Storage::read`]; whatever `open` says.
    pub(crate) fn read_kept_object<T>(
        &self,
        name: ObjectName,
        max: u64,
        open: impl FnOnce(&[u8]) -> Result<T>,
    ) -> Result<T> {
        if let Some(object) = self.kept_object(name, None, max) {
            return open(&object);
        }
        let object = self.storage().read(name, None, max)?;
        let opened = open(&object)?;
        self.keep_object(name, None, &object);
        Ok(opened)
    }

    /// As [`Self::read_kept_object`], of many that `name` names: those that are not kept are asked for together. `each` hears of
    /// all of them, in no particular order.
    ///
    /// # Errors
    /// What `each` returns.
    pub(crate) fn read_kept_objects<I: Copy, T>(
        &self,
        ids: &[I],
        name: impl Fn(I) -> ObjectName,
        max: u64,
        open: impl Fn(I, &[u8]) -> Result<T>,
        mut each: impl FnMut(I, Result<T>) -> Result<()>,
    ) -> Result<()> {
        for some in ids.chunks(OBJECTS_AT_ONCE) {
            let mut others = Vec::new();
            for id in some {
                match self.kept_object(name(*id), None, max) {
                    Some(object) => each(*id, open(*id, &object))?,
                    None => others.push(*id),
                }
            }
            if others.len() > 1 {
                let names: Vec<ObjectName> = others.iter().map(|id| name(*id)).collect();
                self.storage().expect(&[], &names);
            }
            for id in others {
                each(id, self.read_kept_object(name(id), max, |object| open(id, object)))?;
            }
        }
        Ok(())
    }

    /// What is kept of an object or of a range of it.
    pub(super) fn kept_object(&self, name: ObjectName, range: Option<&Range<u64>>, max: u64) -> Option<Vec<u8>> {
        let cache = self.asked_cache()?;
        let place = place(name, range);
        let mut bytes = cache.files.get(&file_of(&place), max + SUM_BYTES as u64)?;
        let len = bytes.len().checked_sub(SUM_BYTES)?;
        let is_right = bytes[len..] == sum(&place, &bytes[..len]);
        bytes.truncate(len);
        is_right.then_some(bytes)
    }

    /// Whether an object seems to be kept.
    pub(super) fn is_kept(&self, name: ObjectName) -> bool {
        self.asked_cache().is_some_and(|cache| cache.files.has(&file_of(&place(name, None))))
    }

    /// Keeps an object that was found to be right, or a range of it.
    pub(super) fn keep_object(&self, name: ObjectName, range: Option<&Range<u64>>, bytes: &[u8]) {
        if let Some(cache) = self.asked_cache() {
            let place = place(name, range);
            cache.files.put(&file_of(&place), &[bytes, &sum(&place, bytes)].concat());
        }
    }

    /// Whether anything is kept now.
    pub(super) fn keeps_objects(&self) -> bool {
        self.asked_cache().is_some()
    }

    fn asked_cache(&self) -> Option<&ObjectCache> {
        self.objects.as_ref().filter(|cache| cache.bypassed.load(Ordering::Relaxed) == 0)
    }
}

fn place(name: ObjectName, range: Option<&Range<u64>>) -> String {
    match range {
        Some(range) => format!("{name} {}-{}", range.start, range.end),
        None => name.to_string(),
    }
}

fn file_of(place: &str) -> String {
    hex(&hash_parts(&[place.as_bytes()])[..16])
}

fn sum(place: &str, bytes: &[u8]) -> [u8; SUM_BYTES] {
    *hash_parts(&[place.as_bytes(), bytes]).first_chunk().expect("a hash is longer")
}
