//! An open directory, and what can be done to the names in it.
//!
//! Names are single components; none of these functions follows a symbolic link, except where the name says so.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::{File, Names, Pinned, Stat, xattr};
use crate::model::{NodeKind, Xattr};

/// Length in bytes of the buffer for a listing: a few thousand names a system call.
const LISTING_BYTES: usize = 64 << 10;

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    handle: OwnedFd,
}

impl Directory {
    /// Opens the directory at `path`, which a person named: follows links in it.
    ///
    /// # Errors
    /// If there is none, or it can't be read.
    pub fn open_path_following(path: &Path) -> io::Result<Self> {
        let handle = rustix::fs::openat(CWD, path, READ | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Self { handle })
    }

    /// Opens the directory at `path`, which a person named, as a place to go through: see [`Self::pass_directory`].
    ///
    /// # Errors
    /// If there is none, or a directory above it may not be entered.
    pub fn pass_path_following(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { handle: rustix::fs::openat(CWD, path, flags, Mode::empty())? })
    }

    /// Creates the directories of `path` that aren't there, with the usual permissions, and opens it.
    ///
    /// # Errors
    /// If one of them can't be created or opened.
    pub fn create_path_following(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        Self::open_path_following(path)
    }

    /// Opens a directory in this one for listing. `quietly` leaves its access time alone, which only the owner may.
    ///
    /// # Errors
    /// If it isn't there, is something else (a link too), or can't be read.
    pub fn open_directory(&self, name: &[u8], quietly: bool) -> io::Result<Self> {
        let flags = READ | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        Ok(Self { handle: open_quietly(self.handle.as_fd(), name, flags, quietly)? })
    }

    /// Opens a directory in this one as a place to go through: it can't be listed, and needs no right to be read.
    ///
    /// # Errors
    /// If it isn't there or is something else.
    pub fn pass_directory(&self, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(Self { handle: rustix::fs::openat(&self.handle, name, flags, Mode::empty())? })
    }

    /// As [`Self::pass_directory`], but goes where `name` leads if it is a link.
    ///
    /// # Errors
    /// If there is no directory.
    pub fn pass_directory_following(&self, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { handle: rustix::fs::openat(&self.handle, name, flags, Mode::empty())? })
    }

    /// The directory that holds this one now.
    pub(super) fn parent(&self) -> io::Result<Self> {
        self.open_directory(b"..", false)
    }

    /// Opens a regular file for reading; never waits, whatever `name` is. `quietly` as for directories.
    ///
    /// # Errors
    /// If it isn't there, is a link, or can't be read. A fifo or a device opens: look at [`File::stat`].
    pub fn open_file(&self, name: &[u8], quietly: bool) -> io::Result<File> {
        Ok(File::new(open_quietly(self.handle.as_fd(), name, READ | OFlags::NOFOLLOW, quietly)?))
    }

    /// Opens a file for reading and writing; otherwise as [`Self::open_file`].
    ///
    /// # Errors
    /// If it isn't there, is a link, or can't be written.
    pub fn open_file_writable(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(File::new(rustix::fs::openat(&self.handle, name, flags, Mode::empty())?))
    }

    /// Creates a file, open for reading and writing. Of the permissions `mode`, it gets those that the umask, or a
    /// default ACL of the directory, allows.
    ///
    /// # Errors
    /// If the name is taken, by a dangling link too.
    pub fn create_file(&self, name: &[u8], mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(File::new(rustix::fs::openat(&self.handle, name, flags, Mode::from_raw_mode(mode))?))
    }

    /// What the kernel says about the directory itself.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn stat_self(&self) -> io::Result<Stat> {
        Stat::of(&self.handle)
    }

    /// What the kernel says about `name`.
    ///
    /// # Errors
    /// If it isn't there.
    pub fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        Stat::at(&self.handle, name, false)
    }

    /// What the kernel says about the object that `name` leads to.
    ///
    /// # Errors
    /// If it isn't there.
    pub fn stat_following(&self, name: &[u8]) -> io::Result<Stat> {
        Stat::at(&self.handle, name, true)
    }

    /// All names, in order. The handle's position moves: one listing at a time.
    ///
    /// # Errors
    /// If the directory can't be read.
    pub fn list(&self) -> io::Result<Names> {
        rustix::fs::seek(&self.handle, rustix::fs::SeekFrom::Start(0))?;
        let mut buffer: Vec<u8> = Vec::with_capacity(LISTING_BYTES);
        let mut listing = RawDir::new(&self.handle, buffer.spare_capacity_mut());
        let mut names = Names::default();
        while let Some(entry) = listing.next() {
            match entry {
                Ok(entry) => {
                    let name = entry.file_name().to_bytes();
                    if name != b"." && name != b".." {
                        names.push(name);
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        names.sort();
        Ok(names)
    }

    /// Where the symbolic link `name` points.
    ///
    /// # Errors
    /// If it isn't there or is no link.
    pub fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.handle, name, Vec::new())?.into_bytes())
    }

    /// Creates a directory that only its owner may enter.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn make_directory(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.handle, name, Mode::RWXU)?)
    }

    /// Creates a symbolic link to `target`.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn make_symlink(&self, name: &[u8], target: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.handle, name)?)
    }

    /// Creates a fifo, a socket or a device with number `rdev`.
    ///
    /// # Errors
    /// If the name is taken, or a device is to be made without the right to do so.
    pub fn make_special(&self, name: &[u8], kind: NodeKind, rdev: u64) -> io::Result<()> {
        let (file_type, rdev) = match kind {
            NodeKind::BlockDevice => (FileType::BlockDevice, rdev),
            NodeKind::CharDevice => (FileType::CharacterDevice, rdev),
            NodeKind::Fifo => (FileType::Fifo, 0),
            NodeKind::Socket => (FileType::Socket, 0),
            NodeKind::File | NodeKind::Directory | NodeKind::Symlink => return Err(Errno::INVAL.into()),
        };
        Ok(rustix::fs::mknodat(&self.handle, name, file_type, Mode::RUSR | Mode::WUSR, rdev)?)
    }

    /// Gives the object called `from_name` in `from` another name here; a link is itself linked.
    ///
    /// # Errors
    /// If the name is taken, or the file systems differ.
    pub fn make_hard_link(&self, name: &[u8], from: &Self, from_name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::linkat(&from.handle, from_name, &self.handle, name, AtFlags::empty())?)
    }

    /// Removes what isn't a directory.
    ///
    /// # Errors
    /// If it isn't there, or is a directory.
    pub fn remove_file(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.handle, name, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// If it isn't there, isn't empty, or is something else.
    pub fn remove_directory(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.handle, name, AtFlags::REMOVEDIR)?)
    }

    /// Extended attributes of `name`, sorted; of a link, its own. None where the file system has no such thing.
    ///
    /// # Errors
    /// If it isn't there, or an attribute can't be read.
    pub fn xattrs(&self, name: &[u8]) -> io::Result<Vec<Xattr>> {
        xattr::read_at(self.handle.as_fd(), name)
    }

    /// A handle to change the metadata of `name` with, whatever it is; of a link, its own.
    ///
    /// # Errors
    /// If it isn't there.
    pub fn pin(&self, name: &[u8]) -> io::Result<Pinned<'_>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Pinned::by_path(rustix::fs::openat(&self.handle, name, flags, Mode::empty())?))
    }

    /// A handle to change the metadata of the directory itself with.
    pub fn pin_self(&self) -> Pinned<'_> {
        Pinned::open(self.handle.as_fd())
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// Reading, without waiting for the other end of a fifo.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Opens without touching the access time if `quietly`. The kernel refuses that to all but the owner and root; a
/// root without that capability (containers) gets the plain way.
fn open_quietly(directory: BorrowedFd<'_>, name: &[u8], flags: OFlags, quietly: bool) -> io::Result<OwnedFd> {
    if quietly {
        match rustix::fs::openat(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => {}
            other => return Ok(other?),
        }
    }
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}
