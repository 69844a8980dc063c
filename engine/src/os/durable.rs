//! Files that are there after a power cut, and never half there.
//!
//! A new file is written under a temporary name in its own directory, synced, given its name without ever
//! replacing one, and the directory is synced. A failed sync means that the bytes may be lost although they can
//! still be read (the kernel drops the error with the page), so the file is thrown away and the caller told.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, renameat_with};
use rustix::io::{Errno, ReadWriteFlags};

use super::direct;
use super::file::fill;
use crate::crypto::random_bytes;
use crate::id::hex;

/// How names of files in the making begin. Listings leave them out.
pub const TEMPORARY_PREFIX: &str = ".tmp-";

/// Files from this length on are written past the page cache, in bytes.
const DIRECT_FROM_BYTES: usize = 1 << 20;

/// What became of a request to make a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It is there now, durably.
    New,
    /// One was there before, durably; it was not touched.
    Existed,
}

/// Makes `directory/name` of `parts`, unless there is one.
///
/// # Errors
/// What the file system says; nothing is left under `name` then.
pub fn create_file(directory: &Path, name: &str, parts: &[&[u8]]) -> io::Result<Created> {
    let target = directory.join(name);
    if target.symlink_metadata().is_ok() {
        // Whoever made it may not have got so far. What is answered here is built upon.
        sync_directory(directory)?;
        return Ok(Created::Existed);
    }
    let temporary = match parts.iter().map(|part| part.len()).sum::<usize>() >= DIRECT_FROM_BYTES {
        true => Temporary::filled_directly(directory, parts)?,
        false => Temporary::filled(directory, parts)?,
    };
    let created = temporary.publish(&target)?;
    sync_directory(directory)?;
    Ok(created)
}

/// Makes a directory and its missing parents, each of them durable.
///
/// # Errors
/// What the file system says.
pub fn create_directories(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    // The parent of a relative path's first part is empty, and means here.
    let parent = match path.parent() {
        Some(parent) if parent == Path::new("") => Path::new("."),
        Some(parent) => parent,
        None => return Err(io::ErrorKind::NotFound.into()),
    };
    create_directories(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        other => other?,
    }
    sync_directory(parent)
}

/// Reads a file, or a range of it.
///
/// # Errors
/// What the file system says; `UnexpectedEof` if the range is not all there; `FileTooLarge` if there is more
/// than `max` to read.
pub fn read_file(path: &Path, range: Option<Range<u64>>, max: u64) -> io::Result<Vec<u8>> {
    let (file, start, len) = open_range(path, range, max)?;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        // Into memory that nobody has filled with zeros, as much as the kernel gives at once.
        let offset = start + bytes.len() as u64;
        match rustix::io::pread(&file, spare_capacity(&mut bytes), offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // An allocator may give more room than was asked for.
    bytes.truncate(len);
    Ok(bytes)
}

/// The same for what nobody reads again soon: what is not in the page cache already does not come to be there, where the
/// kernel can do that. So nobody else's files have to leave it, and no pages have to be found for it, which can take longer
/// than the disk does.
///
/// # Errors
/// As [`read_file`].
pub fn read_file_once(path: &Path, range: Option<Range<u64>>, max: u64) -> io::Result<Vec<u8>> {
    let (file, start, len) = open_range(path, range, max)?;
    let mut bytes = vec![0; len];
    match fill(&mut bytes, start, |rest, offset| read_uncached(&file, rest, offset))? {
        filled if filled < len => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(bytes),
    }
}

/// Reads without leaving anything in the page cache: `RWF_DONTCACHE`, since Linux 6.14. Before, and on file systems that
/// don't know it, as any other read.
fn read_uncached(file: &File, buffer: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
    let flags = ReadWriteFlags::from_bits_retain(0x80);
    match rustix::io::preadv2(file, &mut [io::IoSliceMut::new(buffer)], offset, flags) {
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => rustix::io::pread(file, buffer, offset),
        other => other,
    }
}

/// A file, and where in it how many bytes are to be read.
fn open_range(path: &Path, range: Option<Range<u64>>, max: u64) -> io::Result<(File, u64, usize)> {
    let file = File::open(path)?;
    let range = match range {
        Some(range) => range,
        None => 0..file.metadata()?.len(),
    };
    let len = range.end - range.start;
    if len > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{len} bytes where at most {max} belong")));
    }
    Ok((file, range.start, usize::try_from(len).map_err(io::Error::other)?))
}

/// Calls `each` with name and length of every file in a directory, and with every subdirectory (no length).
///
/// # Errors
/// What the file system says. A directory that isn't there is empty.
pub fn list_directory(path: &Path, each: &mut dyn FnMut(&str, Option<u64>)) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => each(name, None),
            Ok(metadata) => each(name, Some(metadata.len())),
            // Removed between listing and asking: as if it had not been listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes a file durably. One that isn't there is removed already.
///
/// # Errors
/// What the file system says.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    path.parent().map_or(Ok(()), sync_directory)
}

/// Removes a directory if there is nothing in it. Only tidiness: it need not be durable.
pub fn remove_empty_directory(path: &Path) {
    let _ = fs::remove_dir(path);
}

/// Removes what interrupted writers left of files in the making in a directory and the directories in it: those last
/// written before a time in seconds since 1970, by the clock of the file system. How many there were.
///
/// A writer that is at it after all fails when it wants to name its file.
///
/// # Errors
/// What the file system says.
pub fn remove_unfinished(path: &Path, before: i64) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let mut count = 0;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            count += remove_unfinished(&entry.path(), before)?;
        } else if entry.file_name().to_str().is_some_and(|name| name.starts_with(TEMPORARY_PREFIX)) {
            // One that is gone already was finished.
            if entry.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.mtime() < before) {
                fs::remove_file(entry.path())?;
                count += 1;
            }
        }
    }
    Ok(count)
}

/// Makes the names in a directory durable.
///
/// # Errors
/// What the file system says.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some network file systems can't sync a directory, and have nothing better to offer.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
        other => other,
    }
}

/// A file in the making; removed when dropped before it has its name.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn filled(directory: &Path, parts: &[&[u8]]) -> io::Result<Self> {
        let mut temporary = Self::new(directory, OFlags::empty())?;
        parts.iter().try_for_each(|part| temporary.file.write_all(part))?;
        temporary.file.sync_all()?;
        Ok(temporary)
    }

    /// Writes past the page cache. A large object is written once and read by nobody soon: copying it there takes the
    /// time of a processor, drives out what other programs work with, and the sync has to wait for it just the same.
    fn filled_directly(directory: &Path, parts: &[&[u8]]) -> io::Result<Self> {
        let temporary = match Self::new(directory, OFlags::DIRECT) {
            // A file system that can't (tmpfs before Linux 6.6, some of those in user space).
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                return Self::filled(directory, parts);
            }
            other => other?,
        };
        match direct::write(&temporary.file, parts) {
            // It opens, but wants another alignment.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Self::filled(directory, parts),
            Err(error) => Err(error),
            Ok(()) => {
                temporary.file.sync_all()?;
                Ok(temporary)
            }
        }
    }

    fn new(directory: &Path, flags: OFlags) -> io::Result<Self> {
        let path = directory.join(format!("{TEMPORARY_PREFIX}{}", hex(&random_bytes::<16>())));
        let flags = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let handle = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o666))?;
        Ok(Self { path, file: File::from(handle) })
    }

    fn publish(self, target: &Path) -> io::Result<Created> {
        match renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(Created::New),
            Err(Errno::EXIST) => return Ok(Created::Existed),
            // The file system can't rename without replacing: a hard link never replaces either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
        match fs::hard_link(&self.path, target) {
            Ok(()) => Ok(Created::New),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Created::Existed),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename it isn't there any more; otherwise what could not be finished must not stay.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_once_and_leaves_no_traces() {
        let scratch = tempfile::tempdir().expect("scratch");
        let directory = scratch.path().join("a/b");
        create_directories(&directory).expect("directories");
        assert_eq!(create_file(&directory, "x", &[b"one", b"two"]).expect("first"), Created::New);
        assert_eq!(create_file(&directory, "x", &[b"other"]).expect("second"), Created::Existed);
        assert_eq!(fs::read(directory.join("x")).expect("read"), b"onetwo");
        assert_eq!(fs::read_dir(&directory).expect("list").count(), 1);
        assert_eq!(read_file(&directory.join("x"), Some(2..5), 10).expect("range"), b"etw");
        let error = read_file(&directory.join("x"), Some(2..9), 10).expect_err("beyond the end");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(read_file(&directory.join("x"), None, 5).expect_err("limit").kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn long_files_hold_what_their_parts_hold() {
        let scratch = tempfile::tempdir().expect("scratch");
        for len in [DIRECT_FROM_BYTES, DIRECT_FROM_BYTES + 1, 3 * DIRECT_FROM_BYTES - 4097, 9_000_001] {
            let bytes: Vec<u8> = (0..len).map(|i| (i / 7 + i / 4096) as u8).collect();
            let (one, rest) = bytes.split_at(5);
            let (two, three) = rest.split_at(len / 2);
            let name = len.to_string();
            create_file(scratch.path(), &name, &[one, two, three]).expect("made");
            assert!(fs::read(scratch.path().join(name)).expect("read") == bytes, "{len} bytes");
        }
    }

    #[test]
    fn old_unfinished_files_go_and_nothing_else() {
        let scratch = tempfile::tempdir().expect("scratch");
        let below = scratch.path().join("packs/0a");
        create_directories(&below).expect("directories");
        for (name, time) in [(".tmp-old", 1000), (".tmp-new", 3000), ("object", 1000), (".other", 1000)] {
            let file = File::create(below.join(name)).expect("made");
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time);
            file.set_times(fs::FileTimes::new().set_modified(time)).expect("set");
        }
        assert_eq!(remove_unfinished(scratch.path(), 2000).expect("removed"), 1);
        assert!(!below.join(".tmp-old").exists());
        assert_eq!(fs::read_dir(&below).expect("list").count(), 3);
    }

    #[test]
    fn directories_are_made_from_relative_paths_too() {
        let name = format!("scratch-{}", hex(&random_bytes::<8>()));
        create_directories(&Path::new(&name).join("below")).expect("relative");
        assert!(Path::new(&name).join("below").is_dir());
        fs::remove_dir_all(name).expect("clean up");
    }

    #[test]
    fn of_many_writers_one_makes_the_file() {
        let scratch = tempfile::tempdir().expect("scratch");
        let made = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..16u8)
                .map(|i| {
                    let path = scratch.path();
                    scope.spawn(move || create_file(path, "register", &[&[i; 64]]).expect("write") == Created::New)
                })
                .collect();
            writers.into_iter().map(|w| w.join().expect("join")).filter(|&made| made).count()
        });
        assert_eq!(made, 1);
    }
}
