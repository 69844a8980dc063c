//! What the kernel says about a file system object.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags};

use crate::clock::Timestamp;
use crate::model::{Metadata, NodeKind};

/// What `statx` says about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: NodeKind,
    /// Permissions with setuid, setgid and sticky: 12 bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Space taken, in units of 512 bytes.
    pub blocks: u64,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of content or metadata.
    pub ctime: Timestamp,
    /// Device that holds it, as `makedev` writes it.
    pub device: u64,
    /// Inode on it.
    pub inode: u64,
    /// Number of hard links.
    pub links: u64,
    /// Device number of a device, as `makedev` writes it.
    pub rdev: u64,
}

impl Stat {
    /// Device and inode: what tells an object from all others while it exists.
    pub fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// The part that a node stores; extended attributes are empty.
    pub fn metadata(&self) -> Metadata {
        let linked = self.kind != NodeKind::Directory && self.links > 1;
        Metadata {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            ctime: Some(self.ctime),
            inode: Some(self.inode),
            device: Some(self.device),
            links: linked.then_some(self.links),
            xattrs: Vec::new(),
        }
    }

    /// The object called `name` in `directory`; follows it if it is a link and `follow` says so.
    pub(super) fn at(directory: impl AsFd, name: &[u8], follow: bool) -> io::Result<Self> {
        // Looking at a mount point of the automounter must not mount what is there.
        let mut flags = AtFlags::NO_AUTOMOUNT;
        if !follow {
            flags |= AtFlags::SYMLINK_NOFOLLOW;
        }
        Self::from_statx(&rustix::fs::statx(directory, name, flags, StatxFlags::BASIC_STATS)?)
    }

    /// The open object itself; works for handles opened with `O_PATH` too.
    pub(super) fn of(handle: impl AsFd) -> io::Result<Self> {
        Self::from_statx(&rustix::fs::statx(handle, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?)
    }

    fn from_statx(statx: &Statx) -> io::Result<Self> {
        let raw_mode = u32::from(statx.stx_mode);
        let kind = match FileType::from_raw_mode(raw_mode) {
            FileType::RegularFile => NodeKind::File,
            FileType::Directory => NodeKind::Directory,
            FileType::Symlink => NodeKind::Symlink,
            FileType::BlockDevice => NodeKind::BlockDevice,
            FileType::CharacterDevice => NodeKind::CharDevice,
            FileType::Fifo => NodeKind::Fifo,
            FileType::Socket => NodeKind::Socket,
            FileType::Unknown => return Err(io::Error::new(io::ErrorKind::Unsupported, "unknown type of file")),
        };
        Ok(Self {
            kind,
            mode: raw_mode & 0o7777,
            uid: statx.stx_uid,
            gid: statx.stx_gid,
            size: statx.stx_size,
            blocks: statx.stx_blocks,
            mtime: Timestamp::new(statx.stx_mtime.tv_sec, statx.stx_mtime.tv_nsec),
            ctime: Timestamp::new(statx.stx_ctime.tv_sec, statx.stx_ctime.tv_nsec),
            device: rustix::fs::makedev(statx.stx_dev_major, statx.stx_dev_minor),
            inode: statx.stx_ino,
            links: u64::from(statx.stx_nlink),
            rdev: rustix::fs::makedev(statx.stx_rdev_major, statx.stx_rdev_minor),
        })
    }
}
