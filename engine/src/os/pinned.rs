//! Changes of metadata on an object that is held, so that nobody can put another in its place meanwhile.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Stat, xattr};
use crate::clock::Timestamp;
use crate::model::Xattr;

/// An object of any kind, held to change its metadata.
///
/// Files and directories that are open anyway are changed through their handle. For the rest (links, fifos, sockets,
/// devices, what can't be read) the kernel wants a path: the one through `/proc/self/fd` leads to the very object that
/// an `O_PATH` handle holds, a symbolic link included.
#[derive(Debug)]
pub struct Pinned<'a> {
    handle: Handle<'a>,
}

#[derive(Debug)]
enum Handle<'a> {
    Open(BorrowedFd<'a>),
    ByPath(OwnedFd, CString),
}

impl<'a> Pinned<'a> {
    /// Works on an open file or directory.
    pub(super) fn open(handle: BorrowedFd<'a>) -> Self {
        Self { handle: Handle::Open(handle) }
    }

    /// Works on what an `O_PATH` handle holds.
    pub(super) fn by_path(handle: OwnedFd) -> Self {
        let path = CString::new(format!("/proc/self/fd/{}", handle.as_raw_fd())).expect("the text has no NUL");
        Self { handle: Handle::ByPath(handle, path) }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.handle {
            Handle::Open(handle) => *handle,
            Handle::ByPath(handle, _) => handle.as_fd(),
        }
    }

    fn way(&self) -> Way<'_> {
        match &self.handle {
            Handle::Open(handle) => Way::Handle(*handle),
            Handle::ByPath(_, path) => Way::Path(path),
        }
    }

    /// What the kernel says about it.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn stat(&self) -> io::Result<Stat> {
        Stat::of(self.fd())
    }

    /// Changes owner and group, those that are given.
    ///
    /// # Errors
    /// If that isn't allowed.
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        Ok(rustix::fs::chownat(self.fd(), c"", uid, gid, AtFlags::EMPTY_PATH)?)
    }

    /// Sets the 12 permission bits. Not for symbolic links, which have none.
    ///
    /// # Errors
    /// If that isn't allowed.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        match self.way() {
            Way::Handle(handle) => rustix::fs::fchmod(handle, mode)?,
            Way::Path(path) => rustix::fs::chmodat(CWD, path, mode, AtFlags::empty())?,
        }
        Ok(())
    }

    /// Sets the time of the last change of the content; leaves the access time.
    ///
    /// # Errors
    /// If that isn't allowed.
    pub fn set_mtime(&self, mtime: Timestamp) -> io::Result<()> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() },
        };
        match self.way() {
            Way::Handle(handle) => rustix::fs::futimens(handle, &times)?,
            // Without /proc from Linux 5.8 on.
            Way::Path(path) => match rustix::fs::utimensat(self.fd(), c"", &times, AtFlags::EMPTY_PATH) {
                Err(Errno::INVAL) => rustix::fs::utimensat(CWD, path, &times, AtFlags::empty())?,
                other => other?,
            },
        }
        Ok(())
    }

    /// Extended attributes, sorted. None where the file system has no such thing.
    ///
    /// # Errors
    /// If one can't be read.
    pub fn xattrs(&self) -> io::Result<Vec<Xattr>> {
        xattr::read(&self.way())
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// If that isn't allowed, or the file system has no such thing.
    pub fn set_xattr(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        let flags = XattrFlags::empty();
        match self.way() {
            Way::Handle(handle) => rustix::fs::fsetxattr(handle, name, value, flags)?,
            Way::Path(path) => rustix::fs::setxattr(path, name, value, flags)?,
        }
        Ok(())
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// If that isn't allowed, or there is none.
    pub fn remove_xattr(&self, name: &[u8]) -> io::Result<()> {
        match self.way() {
            Way::Handle(handle) => rustix::fs::fremovexattr(handle, name)?,
            Way::Path(path) => rustix::fs::removexattr(path, name)?,
        }
        Ok(())
    }
}

/// How to reach an object.
pub(super) enum Way<'a> {
    /// By a handle that was opened for reading or writing.
    Handle(BorrowedFd<'a>),
    /// By a path through `/proc/self/fd`. It ends either in the handle's number, or in a name that isn't followed.
    Path(&'a CStr),
}
