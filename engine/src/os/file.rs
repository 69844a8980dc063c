//! An open file.

use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Advice, FallocateFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::{AlignedBuffer, Pinned, Stat, direct};
use crate::model::{Extent, Xattr};

/// What `statfs` calls btrfs.
const BTRFS: i64 = 0x9123_683E;

/// A file that is open for writing past the page cache.
#[derive(Debug)]
pub struct DirectFile {
    handle: OwnedFd,
}

impl DirectFile {
    /// Writes those of `bytes` that are whole pages of the file, where they belong if the first is at `offset`; which
    /// these are.
    ///
    /// # Errors
    /// `InvalidInput` if the file system wants another alignment; if the file can't be written.
    pub fn write_pages_at(&self, bytes: &[u8], offset: u64, buffer: &mut AlignedBuffer) -> io::Result<Range<usize>> {
        let pages = direct::whole_pages(offset, bytes.len());
        direct::write_at(&self.handle, &bytes[pages.clone()], offset + pages.start as u64, buffer)?;
        Ok(pages)
    }
}

/// An open file. Reading and writing name their place, so several threads can share it.
#[derive(Debug)]
pub struct File {
    handle: OwnedFd,
}

impl File {
    pub(super) fn new(handle: OwnedFd) -> Self {
        Self { handle }
    }

    /// What the kernel says about it.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn stat(&self) -> io::Result<Stat> {
        Stat::of(&self.handle)
    }

    /// Extended attributes, sorted. None where the file system has no such thing.
    ///
    /// # Errors
    /// If one can't be read.
    pub fn xattrs(&self) -> io::Result<Vec<Xattr>> {
        self.pin().xattrs()
    }

    /// A handle to change its metadata with.
    pub fn pin(&self) -> Pinned<'_> {
        Pinned::open(self.handle.as_fd())
    }

    /// Fills `buffer` from `offset` on. Returns fewer bytes only at the end of the file.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        fill(buffer, offset, |rest, offset| rustix::io::pread(&self.handle, rest, offset))
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// If the file can't be written; some of the bytes may have been.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        write_all_at(&self.handle, bytes, offset)
    }

    /// Opens the same file once more, for writing past the page cache.
    ///
    /// # Errors
    /// `Unsupported` or `InvalidInput` if its file system can't do that, or had better not; if it can't be opened.
    pub fn open_direct(&self) -> io::Result<DirectFile> {
        // It compresses what goes through the page cache, and nothing else.
        if rustix::fs::fstatfs(&self.handle)?.f_type as i64 == BTRFS {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let path = format!("/proc/self/fd/{}", self.handle.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        Ok(DirectFile { handle: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Cuts or extends the file to `len` bytes; what is new is a hole.
    ///
    /// # Errors
    /// If the file can't be written or the file system has no files of that size.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        Ok(rustix::fs::ftruncate(&self.handle, len)?)
    }

    /// Makes `len` bytes from `offset` on a hole that reads as zeros. The size stays.
    ///
    /// # Errors
    /// `Unsupported` if the file system has no holes.
    pub fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        retry(|| rustix::fs::fallocate(&self.handle, flags, offset, len))
    }

    /// Reserves space for the first `len` bytes. The size stays.
    ///
    /// # Errors
    /// `Unsupported` if the file system can't; `StorageFull` if there is too little space.
    pub fn preallocate(&self, len: u64) -> io::Result<()> {
        retry(|| rustix::fs::fallocate(&self.handle, FallocateFlags::KEEP_SIZE, 0, len))
    }

    /// Tells the kernel that the file will be read from front to back.
    pub fn will_read_all(&self) {
        // Advice only: what can't be advised is read all the same.
        let _ = rustix::fs::fadvise(&self.handle, 0, None::<NonZeroU64>, Advice::Sequential);
    }

    /// Where the first `size` bytes hold data, ascending and not touching; `None` if there are more than `most`
    /// stretches or the file system can't tell. Moves the handle's position.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn data_extents(&self, size: u64, most: usize) -> io::Result<Option<Vec<Extent>>> {
        let mut extents: Vec<Extent> = Vec::new();
        let mut offset = 0;
        while offset < size {
            let start = match rustix::fs::seek(&self.handle, SeekFrom::Data(offset)) {
                Ok(start) if start < size => start,
                Ok(_) | Err(Errno::NXIO) => break,
                Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let end = match rustix::fs::seek(&self.handle, SeekFrom::Hole(start)) {
                Ok(end) => end.min(size),
                // The file was cut meanwhile.
                Err(Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            };
            if end <= start {
                // A file that is written meanwhile can turn data into a hole between the two calls.
                offset = start + 1;
                continue;
            }
            match extents.last_mut() {
                Some(last) if last.offset + last.len == start => last.len += end - start,
                _ => extents.push(Extent { offset: start, len: end - start }),
            }
            if extents.len() > most {
                return Ok(None);
            }
            offset = end;
        }
        Ok(Some(extents))
    }
}

/// Fills `buffer` by reads from `offset` on, whatever `read` is. Returns fewer bytes only at the end of the file.
pub(super) fn fill(
    buffer: &mut [u8],
    offset: u64,
    read: impl Fn(&mut [u8], u64) -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}

/// Writes all of `bytes` at `offset`.
pub(super) fn write_all_at(file: impl AsFd, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(&file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn retry(call: impl Fn() -> rustix::io::Result<()>) -> io::Result<()> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Reads a whole file that a person named, following links, if it has at most `most` bytes.
///
/// # Errors
/// If it can't be read; `FileTooLarge` if it is larger.
pub fn read_path_following(path: &std::path::Path, most: u64) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}
