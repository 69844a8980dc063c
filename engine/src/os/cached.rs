//! Files of a cache with a limit on what they take together: what was used least recently goes first.
//!
//! Nothing here has to last, and nothing that is read is believed: whoever puts bytes sees to it that wrong ones are known.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use crate::crypto::random_bytes;

/// Of the limit, what is left when room has to be made: it need not be made again soon.
const KEPT_PERCENT: u64 = 90;

/// The files of one cache. Several processes may use it at once; each counts what it puts itself.
pub struct CachedFiles {
    directory: PathBuf,
    limit_bytes: u64,
    /// What they take; not known before something is put.
    total_bytes: Mutex<Option<u64>>,
}

impl CachedFiles {
    /// Files below `directory`, which is made when it is needed.
    pub fn new(directory: PathBuf, limit_bytes: u64) -> Self {
        Self { directory, limit_bytes, total_bytes: Mutex::new(None) }
    }

    /// The file `name` (hex digits), if it is there and has at most `most` bytes. It counts as used now.
    pub fn get(&self, name: &str, most: u64) -> Option<Vec<u8>> {
        let file = File::options().read(true).write(true).open(self.path(name)).ok()?;
        let mut bytes = Vec::new();
        (&file).take(most + 1).read_to_end(&mut bytes).ok()?;
        // Without this it may only have to go sooner.
        let _ = file.set_modified(SystemTime::now());
        (bytes.len() as u64 <= most).then_some(bytes)
    }

    /// Whether there is a file `name`.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Puts the file `name`, and makes room if there is too much. What fails leaves it out.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        if bytes.len() as u64 > self.limit_bytes || self.write(name, bytes).is_err() {
            return;
        }
        let mut total = self.total_bytes.lock().expect("no holder of this lock panics");
        let now = total
            .map_or_else(|| self.entries().iter().map(|entry| entry.bytes).sum(), |so_far| so_far + bytes.len() as u64);
        *total = Some(if now > self.limit_bytes { self.make_room() } else { now });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name.get(..2).unwrap_or("")).join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(name);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above)?;
        }
        let new = path.with_extension(crate::id::hex(&random_bytes::<8>()));
        fs::write(&new, bytes)?;
        fs::rename(&new, &path).inspect_err(|_| drop(fs::remove_file(&new)))
    }

    /// Removes the files that were used least recently; what is left.
    fn make_room(&self) -> u64 {
        let mut entries = self.entries();
        entries.sort_unstable_by_key(|entry| entry.used);
        let mut left: u64 = entries.iter().map(|entry| entry.bytes).sum();
        for entry in entries {
            if left <= self.limit_bytes / 100 * KEPT_PERCENT {
                break;
            }
            if fs::remove_file(&entry.path).is_ok() {
                left -= entry.bytes;
            }
        }
        left
    }

    fn entries(&self) -> Vec<Entry> {
        let below = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
        let files = below(&self.directory).flat_map(|directory| below(&directory.path()));
        files.filter_map(|file| Entry::of(&file)).collect()
    }
}

struct Entry {
    used: SystemTime,
    bytes: u64,
    path: PathBuf,
}

impl Entry {
    /// What vanishes meanwhile is none.
    fn of(file: &fs::DirEntry) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        Some(Self { used: metadata.modified().ok()?, bytes: metadata.len(), path: file.path() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_least_recently_goes_when_there_is_too_much() {
        let scratch = tempfile::tempdir().expect("scratch");
        let files = CachedFiles::new(scratch.path().join("objects"), 1000);
        let name = |number: u8| format!("{number:02x}00");
        for number in 0..10 {
            files.put(&name(number), &[number; 100]);
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(number));
            let file = File::options().write(true).open(files.path(&name(number))).expect("it is there");
            file.set_modified(time).expect("a time");
        }
        assert_eq!(files.get(&name(0), 100), Some(vec![0; 100]));
        // Now 1 and 2 are the oldest.
        files.put(&name(10), &[10; 100]);
        let there: Vec<u8> = (0..11).filter(|number| files.get(&name(*number), 100).is_some()).collect();
        assert_eq!(there, [0, 3, 4, 5, 6, 7, 8, 9, 10]);
        // What is larger than all of it is not kept, and what is longer than asked for is not given.
        files.put(&name(11), &[0; 1001]);
        assert_eq!(files.get(&name(11), 2000), None);
        assert_eq!(files.get(&name(10), 99), None);
    }
}
