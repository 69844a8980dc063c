//! The operating system, as thin typed wrappers: the only place that names `std::fs`, `std::process`, `std::env`
//! or system calls.
//!
//! Everything works below an open directory handle, one component at a time, and never through a symbolic link
//! unless the function's name says so. Errors are those of the operating system, without a path: the callers know
//! it and say it.

pub mod account;
pub mod cached;
pub mod command;
pub mod descent;
mod direct;
pub mod directory;
pub mod durable;
pub mod file;
pub mod host;
pub mod lock;
pub mod names;
pub mod pinned;
pub mod stat;
pub mod unnamed;
mod xattr;

pub use account::Accounts;
pub use command::{CommandEnd, StreamCommand};
pub use descent::Descent;
pub use direct::AlignedBuffer;
pub use directory::Directory;
pub use file::File;
pub use names::Names;
pub use pinned::Pinned;
pub use stat::Stat;

#[cfg(test)]
mod tests;

/// Major and minor number of a device.
pub fn device_numbers(device: u64) -> (u32, u32) {
    (rustix::fs::major(device), rustix::fs::minor(device))
}

/// Device and inode of what a path leads to, links followed; `None` if it leads nowhere.
pub fn path_identity(path: &std::path::Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Whether there is something at a path, be it a link that leads nowhere.
pub fn path_exists(path: &std::path::Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// A path without links and dots; `None` if it leads nowhere.
pub fn real_path(path: &std::path::Path) -> Option<std::path::PathBuf> {
    std::fs::canonicalize(path).ok()
}

/// What a file system still has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeSpace {
    /// Bytes that whoever runs this may write.
    pub bytes: u64,
    /// Files that whoever runs this may make; `None` if there is no limit but the bytes.
    pub files: Option<u64>,
}

/// What the file system that holds `path` still has room for.
///
/// # Errors
/// If there is nothing at `path`, or the file system doesn't say.
pub fn free_space(path: &std::path::Path) -> std::io::Result<FreeSpace> {
    let space = rustix::fs::statvfs(path)?;
    let files = (space.f_files > 0).then_some(space.f_favail);
    Ok(FreeSpace { bytes: space.f_bavail.saturating_mul(space.f_frsize), files })
}

/// Asks for as many open files as this process may have, at most 32768; how many it has then.
pub fn raise_open_file_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const WANTED: u64 = 32 << 10;
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(WANTED);
    let possible = limit.maximum.unwrap_or(WANTED).min(WANTED);
    if current < possible && setrlimit(Resource::Nofile, Rlimit { current: Some(possible), ..limit }).is_ok() {
        return possible as usize;
    }
    current.min(WANTED) as usize
}
