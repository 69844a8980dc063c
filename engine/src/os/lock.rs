//! Locks between processes on one machine. Only caches are guarded by them, never a repository.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// An exclusive lock on a file, held until it is dropped.
pub struct FileLock(#[expect(dead_code, reason = "held for its lock")] File);

impl FileLock {
    /// Takes the lock if nobody holds it. The file is made if needed and stays.
    ///
    /// # Errors
    /// What the file system says.
    pub fn try_exclusive(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Waits for the lock.
    ///
    /// # Errors
    /// What the file system says.
    pub fn exclusive(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        Ok(Self(file))
    }
}

/// What a cache directory begins with, so that backups leave it out: <https://bford.info/cachedir/>.
const CACHEDIR_TAG: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# This directory can be deleted at any time.\n";

/// Makes `base/name`, with a cache tag in `base`, readable by its owner only.
///
/// # Errors
/// What the file system says.
pub fn create_cache_directory(base: &Path, name: &str) -> io::Result<std::path::PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let path = base.join(name);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
    let tag = base.join("CACHEDIR.TAG");
    if !tag.exists() {
        fs::write(tag, CACHEDIR_TAG)?;
    }
    Ok(path)
}

/// Removes a file that may not be there.
///
/// # Errors
/// What the file system says.
pub fn remove_cached(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
