//! A directory as a storage.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{Capabilities, ObjectFamily, ObjectName, Outcome, Storage};
use crate::clock::Timestamp;
use crate::error::{EngineError, ErrorKind, Result};
use crate::os::durable;

/// Objects as files below a directory.
pub struct LocalStorage {
    root: PathBuf,
}

impl LocalStorage {
    /// Opens the directory `root`, or makes it.
    ///
    /// # Errors
    /// `NoRepository` if it isn't there and is not to be made; `Io`.
    pub fn open(root: &Path, create: bool) -> Result<Self> {
        if create {
            durable::create_directories(root).map_err(|error| EngineError::io("create", root, error))?;
        } else if !root.is_dir() {
            return Err(EngineError::new(ErrorKind::NoRepository, format!("no repository at {}", root.display())));
        }
        Ok(Self { root: root.to_owned() })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, name: ObjectName) -> PathBuf {
        self.root.join(name.to_string())
    }

    fn read_error(&self, name: ObjectName, error: io::Error) -> EngineError {
        match error.kind() {
            io::ErrorKind::NotFound => {
                EngineError::new(ErrorKind::Missing, format!("object {name} is missing")).about(name)
            }
            io::ErrorKind::UnexpectedEof => EngineError::damaged(format!("object {name} is cut short")).about(name),
            io::ErrorKind::FileTooLarge => {
                EngineError::damaged(format!("object {name} is too large: {error}")).about(name)
            }
            _ => EngineError::io("read", &self.path(name), error),
        }
    }

    fn list_below(&self, directory: &str, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        let path = self.root.join(directory);
        let mut below = Vec::new();
        durable::list_directory(&path, &mut |name, len| {
            let name = format!("{directory}/{name}");
            match len {
                None => below.push(name),
                Some(len) => {
                    if let Some(name) = ObjectName::parse(&name) {
                        each(name, len);
                    }
                }
            }
        })
        .map_err(|error| EngineError::io("list", &path, error))?;
        // Packs and sessions are one level down; nothing is deeper.
        if directory.contains('/') {
            return Ok(());
        }
        below.iter().try_for_each(|directory| self.list_below(directory, each))
    }
}

impl Storage for LocalStorage {
    fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        if family == ObjectFamily::Config {
            return durable::list_directory(&self.root, &mut |name, len| {
                if let (Some(len), Some(name @ ObjectName::Config)) = (len, ObjectName::parse(name)) {
                    each(name, len);
                }
            })
            .map_err(|error| EngineError::io("list", &self.root, error));
        }
        self.list_below(family.directory(), each)
    }

    fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        durable::read_file(&self.path(name), range, max).map_err(|error| self.read_error(name, error))
    }

    fn read_once(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        durable::read_file_once(&self.path(name), range, max).map_err(|error| self.read_error(name, error))
    }

    fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        let (directory, file) = name.split();
        let directory = self.root.join(directory);
        let failed = |error| EngineError::io("write", &self.path(name), error);
        let create = || {
            durable::create_directories(&directory)?;
            durable::create_file(&directory, &file, parts)
        };
        let created = match create() {
            // Somebody found the directory empty, and removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(),
            other => other,
        };
        match created.map_err(failed)? {
            durable::Created::New => Ok(Outcome::Written),
            durable::Created::Existed => Ok(Outcome::Existed),
        }
    }

    fn remove(&self, name: ObjectName) -> Result<()> {
        let path = self.path(name);
        durable::remove_file(&path).map_err(|error| EngineError::io("remove", &path, error))?;
        // A prune has a directory of its own, which nobody needs any more.
        if let (ObjectName::PrunePlan(_) | ObjectName::PruneState(_) | ObjectName::PruneDone(_), Some(above)) =
            (name, path.parent())
        {
            durable::remove_empty_directory(above);
        }
        Ok(())
    }

    fn remove_unfinished(&self, before: Timestamp) -> Result<u64> {
        let remove = |family: ObjectFamily| {
            let path = self.root.join(family.directory());
            let removed = durable::remove_unfinished(&path, before.seconds);
            removed.map_err(|error| EngineError::io("tidy", &path, error))
        };
        ObjectFamily::ALL.into_iter().filter(|family| *family != ObjectFamily::Config).map(remove).sum()
    }

    fn persist(&self, name: ObjectName) -> Result<()> {
        // Its bytes were synced before it got its name: only the name may be missing.
        let directory = self.root.join(name.split().0);
        match durable::sync_directory(&directory) {
            // It is not there: nothing has to last.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|error| EngineError::io("sync", &directory, error)),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { put_if_absent: true, local_directory: Some(self.root.clone()), is_past: false, locks: false }
    }
}
