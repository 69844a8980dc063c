//! Extended attributes as a sorted list.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::pinned::Way;
use crate::model::Xattr;

/// Reads the attributes of `name` in `directory`; of a link, its own.
///
/// Through `/proc/self/fd`, since the kernel has no such call by directory handle (before 6.13): one system call for
/// the usual object that has none, instead of three with an `O_PATH` handle of its own.
pub(super) fn read_at(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<Xattr>> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    collect(|buffer| rustix::fs::llistxattr(&*path, buffer), |name, buffer| rustix::fs::lgetxattr(&*path, name, buffer))
}

/// Reads the attributes of an object that is held.
pub(super) fn read(way: &Way<'_>) -> io::Result<Vec<Xattr>> {
    match way {
        Way::Handle(handle) => collect(
            |buffer| rustix::fs::flistxattr(handle, buffer),
            |name, buffer| rustix::fs::fgetxattr(handle, name, buffer),
        ),
        Way::Path(path) => collect(
            |buffer| rustix::fs::listxattr(*path, buffer),
            |name, buffer| rustix::fs::getxattr(*path, name, buffer),
        ),
    }
}

fn collect(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<Xattr>> {
    let names = match read_growing(&list) {
        Ok(names) => names,
        // The file system has no extended attributes.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut xattrs = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        match read_growing(|buffer| get(name, buffer)) {
            Ok(value) => xattrs.push(Xattr { name: name.to_vec(), value }),
            // Removed since it was listed, or listed without a value (some network file systems).
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    xattrs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    xattrs.dedup_by(|a, b| a.name == b.name);
    Ok(xattrs)
}

/// The kernel's bound on a value and on a list of names, in bytes.
const LARGEST_BYTES: usize = 64 << 10;

/// Calls `read` with a small buffer first, then with the largest that the kernel fills.
fn read_growing(read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; 512];
    match read(&mut small) {
        Ok(len) => return Ok(small[..len].to_vec()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error),
    }
    let mut large = vec![0; LARGEST_BYTES];
    let len = read(&mut large)?;
    large.truncate(len);
    large.shrink_to_fit();
    Ok(large)
}
