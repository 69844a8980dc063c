//! Locks between processes on one machine. Only caches are guarded by them, never a repository.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::crypto::random_bytes;
use crate::error::{EngineError, Result};

/// How long to wait until a lock is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// An exclusive lock on a file, held until it is dropped.
pub struct FileLock(#[expect(dead_code, reason = "held for its lock")] File);

impl FileLock {
    /// Takes the lock if nobody holds it. The file is made if needed and stays.
    ///
    /// # Errors
    /// What the file system says.
    pub fn try_exclusive(path: &Path) -> io::Result<Option<Self>> {
        let file = open_lock(path)?;
        Ok(if try_lock(&file)? { Some(Self(file)) } else { None })
    }

    /// Waits for the lock, so many seconds at most. Who holds it may be suspended.
    ///
    /// # Errors
    /// `TimedOut` if somebody else held it all the time; what the file system says.
    pub fn exclusive(path: &Path, patience: u64) -> io::Result<Self> {
        let file = open_lock(path)?;
        let end = Instant::now() + Duration::from_secs(patience);
        while !try_lock(&file)? {
            if Instant::now() >= end {
                let text = format!("another process has had it locked for {patience} s");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        Ok(Self(file))
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

/// Whether nobody else holds the lock.
fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// What a cache directory begins with, so that backups leave it out: <https://bford.info/cachedir/>.
const CACHEDIR_TAG: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# This directory can be deleted at any time.\n";

/// Makes `base/name`, with a cache tag in `base`, readable by its owner only.
///
/// # Errors
/// What the file system says.
fn create_cache_directory(base: &Path, name: &str) -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let path = base.join(name);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
    let tag = base.join("CACHEDIR.TAG");
    if !tag.exists() {
        fs::write(tag, CACHEDIR_TAG)?;
    }
    Ok(path)
}

/// A directory for a cache; a temporary one where the one that was asked for can't be had.
pub struct CacheDirectory {
    path: PathBuf,
    problem: Option<String>,
}

impl CacheDirectory {
    /// Opens or makes `base/name`.
    ///
    /// # Errors
    /// `Io` if a temporary one can't be made either.
    pub fn open(base: &Path, name: &str) -> Result<Self> {
        let error = match create_cache_directory(base, name).and_then(|path| may_write(&path).map(|()| path)) {
            Ok(path) => return Ok(Self { path, problem: None }),
            Err(error) => error,
        };
        let scratch = std::env::temp_dir().join(format!("repo-cache-{}", crate::id::hex(&random_bytes::<8>())));
        let path = create_cache_directory(&scratch, name)
            .map_err(|error| EngineError::io("make cache directory", &scratch, error))?;
        Ok(Self { path, problem: Some(format!("cannot use the cache in {}: {error}", base.display())) })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why it is not the one that was asked for.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}

impl Drop for CacheDirectory {
    fn drop(&mut self) {
        if let (Some(_), Some(scratch)) = (&self.problem, self.path.parent()) {
            let _ = fs::remove_dir_all(scratch);
        }
    }
}

fn may_write(path: &Path) -> io::Result<()> {
    drop(FileLock::try_exclusive(&path.join("index.lock"))?);
    Ok(())
}

/// Writes a file of a cache.
///
/// # Errors
/// What the file system says.
pub fn write_cached(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes)
}

/// Puts a file of a cache in the place of what was there.
///
/// # Errors
/// What the file system says.
pub fn replace_cached(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    fs::rename(&new, path)
}

/// BLAKE3 of a file, by all cores. About 0.2 s for a gibibyte that is in memory.
///
/// # Errors
/// What the file system says.
pub fn hash_file(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 2 << 20];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(*hasher.finalize().as_bytes()),
            count => hasher.update_rayon(&buffer[..count]),
        };
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_nobody_gives_back_is_not_waited_for_forever() {
        let scratch = tempfile::tempdir().expect("scratch");
        let path = scratch.path().join("lock");
        let held = FileLock::exclusive(&path, 0).expect("free");
        let error = FileLock::exclusive(&path, 0).err().expect("held");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| FileLock::exclusive(&path, 600));
            drop(held);
            waits.join().expect("no panic").expect("given back");
        });
    }
}
