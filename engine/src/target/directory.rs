//! A directory that a restore writes into.

use std::ffi::OsStr;
use std::io::{self, ErrorKind as IoKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::birth::Births;
use super::metadata::apply;
use super::readback::Expected;
use super::{OwnerMap, TargetFile, remove};
use crate::error::{EngineError, ErrorKind, Result};
use crate::model::{Metadata, NodeKind, is_valid_name};
use crate::os::{Directory, Names, Stat};

/// The place of a restore.
#[derive(Debug)]
pub struct Target;

impl Target {
    /// Opens the directory that a person named, through links in its path; creates it, and those above, if `create`.
    ///
    /// # Errors
    /// `NotFound` if there is none and none is to be created; `Io` if it can't be opened or created.
    pub fn open(path: &Path, create: bool) -> Result<TargetDir> {
        let opened = match Directory::open_path_following(path) {
            Err(error) if create && error.kind() == IoKind::NotFound => Directory::create_path_following(path),
            other => other,
        };
        match opened {
            Ok(handle) => Ok(TargetDir { handle, path: path.to_owned(), is_new: false, births: Arc::default() }),
            Err(error) if error.kind() == IoKind::NotFound => {
                Err(EngineError::with_source(ErrorKind::NotFound, format!("cannot open {}", path.display()), error))
            }
            Err(error) => Err(EngineError::io("open", path, error)),
        }
    }
}

/// An open directory below a target. All names are single components; others are refused as `Invalid`.
#[derive(Debug)]
pub struct TargetDir {
    pub(super) handle: Directory,
    path: PathBuf,
    is_new: bool,
    /// What new files in it are like; shared with directories that are made in it, which inherit that.
    births: Arc<Births>,
}

impl TargetDir {
    /// Where it was when it was opened, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether [`Self::make_directory`] created it: then nothing is in it.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// All names in it, in ascending order of their bytes. One thread at a time.
    ///
    /// # Errors
    /// `Io` if it can't be read.
    pub fn list(&self) -> Result<Names> {
        self.handle.list().map_err(|error| EngineError::io("list", &self.path, error))
    }

    /// What is there; `None` if the name is free.
    ///
    /// # Errors
    /// `Io` if that can't be told.
    pub fn stat(&self, name: &[u8]) -> Result<Option<Stat>> {
        self.check(name)?;
        match self.handle.stat(name) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == IoKind::NotFound => Ok(None),
            Err(error) => Err(self.error("look at", name, error)),
        }
    }

    /// What the kernel says about the directory itself.
    ///
    /// # Errors
    /// `Io` if the file system fails.
    pub fn stat_self(&self) -> Result<Stat> {
        self.handle.stat_self().map_err(|error| EngineError::io("look at", &self.path, error))
    }

    /// Where the symbolic link `name` points.
    ///
    /// # Errors
    /// `Io` if it is no link or can't be read.
    pub fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.check(name)?;
        self.handle.read_link(name).map_err(|error| self.error("read the symbolic link", name, error))
    }

    /// Creates a directory that only its owner may enter, or opens the one that is there. Anything else in its place,
    /// a link to a directory too, is removed if `replace`.
    ///
    /// One that is there and that we own, but may not read, enter and change, is made so: the caller sets its metadata
    /// at the end anyway.
    ///
    /// # Errors
    /// `AlreadyExists` if something else is there and not to be replaced; `Io` if the system refuses.
    pub fn make_directory(&self, name: &[u8], replace: bool) -> Result<Self> {
        self.check(name)?;
        if !self.is_new
            && let Ok(there) = open_own(&self.handle, name)
        {
            return self.child(name, false, Ok(there));
        }
        let mut created = self.handle.make_directory(name);
        if let Err(error) = &created
            && error.kind() == IoKind::AlreadyExists
            && self.stat(name)?.is_some_and(|stat| stat.kind != NodeKind::Directory)
        {
            if !replace {
                return Err(self.taken(name));
            }
            self.remove_if_there(name, Directory::remove_file)?;
            created = self.handle.make_directory(name);
        }
        match created {
            Ok(()) => self.child(name, true, open_own(&self.handle, name)),
            Err(error) if error.kind() == IoKind::AlreadyExists => {
                self.child(name, false, open_own(&self.handle, name))
            }
            Err(error) => Err(self.error("create directory", name, error)),
        }
    }

    /// Opens a directory that is there.
    ///
    /// # Errors
    /// `Io` if it isn't, is something else, or can't be read.
    pub fn open_directory(&self, name: &[u8]) -> Result<Self> {
        self.check(name)?;
        self.child(name, false, self.handle.open_directory(name, false))
    }

    fn child(&self, name: &[u8], is_new: bool, opened: io::Result<Directory>) -> Result<Self> {
        let handle = opened.map_err(|error| self.error("open directory", name, error))?;
        let births = if is_new { Arc::clone(&self.births) } else { Arc::default() };
        Ok(Self { handle, path: self.path_of(name), is_new, births })
    }

    /// Creates an empty file that will get `metadata` when it is complete ([`TargetFile::apply_metadata`]). Until
    /// then, nobody can read it who couldn't read it then.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken; `Io` if the system refuses.
    pub fn create_file(&self, name: &[u8], metadata: &Metadata, owners: &OwnerMap) -> Result<TargetFile> {
        self.check(name)?;
        let mode = self.births.mode_to_ask(metadata, owners);
        let file = match self.handle.create_file(name, mode) {
            Err(error) if error.kind() == IoKind::AlreadyExists => return Err(self.taken(name)),
            other => other.map_err(|error| self.error("create", name, error))?,
        };
        let birth = self.births.of(mode, &file).map_err(|error| self.error("look at", name, error))?;
        Ok(TargetFile::new(file, self.path_of(name), Some(birth)))
    }

    /// Opens the regular file that is there, to write into it. If it has several hard links, all of them change with
    /// it: see [`TargetFile::stat`].
    ///
    /// # Errors
    /// `Io` if there is none, or it can't be read and written.
    pub fn open_existing(&self, name: &[u8]) -> Result<TargetFile> {
        self.check(name)?;
        let file = self.handle.open_file_writable(name).map_err(|error| self.error("open", name, error))?;
        let stat = file.stat().map_err(|error| self.error("look at", name, error))?;
        if stat.kind != NodeKind::File {
            let error = io::Error::new(IoKind::InvalidInput, "it is not a regular file");
            return Err(self.error("open", name, error));
        }
        Ok(TargetFile::new(file, self.path_of(name), None))
    }

    /// Opens the regular file that is there, to read it back.
    ///
    /// # Errors
    /// `Io` if there is none, or it can't be read.
    pub fn open_readable(&self, name: &[u8]) -> Result<TargetFile> {
        self.check(name)?;
        let file = self.handle.open_file(name, false).map_err(|error| self.error("open", name, error))?;
        Ok(TargetFile::new(file, self.path_of(name), None))
    }

    /// Creates a symbolic link.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken; `Io` if the system refuses.
    pub fn symlink(&self, name: &[u8], target: &[u8]) -> Result<()> {
        self.create(name, "create symbolic link", |handle| handle.make_symlink(name, target))
    }

    /// Creates a fifo, a socket, or the device with number `rdev`.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken; `Io` if the system refuses, as it does for devices to all but root.
    pub fn special(&self, name: &[u8], kind: NodeKind, rdev: u64) -> Result<()> {
        self.create(name, "create special file", |handle| handle.make_special(name, kind, rdev))
    }

    /// Gives what is called `from_name` in `from` another name here.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken; `Io` if the system refuses.
    pub fn hard_link(&self, from: &Self, from_name: &[u8], name: &[u8]) -> Result<()> {
        self.check(from_name)?;
        self.create(name, "create hard link", |handle| handle.make_hard_link(name, &from.handle, from_name))
    }

    fn create(&self, name: &[u8], operation: &str, call: impl FnOnce(&Directory) -> io::Result<()>) -> Result<()> {
        self.check(name)?;
        match call(&self.handle) {
            Err(error) if error.kind() == IoKind::AlreadyExists => Err(self.taken(name)),
            other => other.map_err(|error| self.error(operation, name, error)),
        }
    }

    /// Removes a file, link, special file, or empty directory, if it is there.
    ///
    /// # Errors
    /// `Io` if the system refuses.
    pub fn remove(&self, name: &[u8]) -> Result<()> {
        match self.stat(name)? {
            Some(stat) if stat.kind == NodeKind::Directory => self.remove_if_there(name, Directory::remove_directory),
            _ => self.remove_if_there(name, Directory::remove_file),
        }
    }

    /// Removes what is there with all that is below. Links are removed, not followed; what another file system is
    /// mounted on is left, and an error.
    ///
    /// # Errors
    /// `Io` at the first thing that can't be removed; what came before it is gone.
    pub fn remove_tree(&self, name: &[u8]) -> Result<()> {
        match self.stat(name)? {
            Some(stat) if stat.kind == NodeKind::Directory => remove::tree(self, name),
            _ => self.remove_if_there(name, Directory::remove_file),
        }
    }

    fn remove_if_there(&self, name: &[u8], call: fn(&Directory, &[u8]) -> io::Result<()>) -> Result<()> {
        match call(&self.handle, name) {
            Err(error) if error.kind() != IoKind::NotFound => Err(self.error("remove", name, error)),
            _ => Ok(()),
        }
    }

    /// Sets owner, attributes, permissions and time of `name`, which must be a `kind`; see [`OwnerMap`] for owners.
    /// Removes attributes that it has and `metadata` has not. Then reads all that back. Returns what could not be set,
    /// and what is not as it was set, one line each.
    ///
    /// Meant for links and special files. For the rest, [`TargetFile::apply_metadata`] and
    /// [`Self::apply_own_metadata`] are cheaper, and sure to concern what was written and nothing that was put in its
    /// place, such as a hard link to something outside.
    pub fn apply_metadata(&self, name: &[u8], metadata: &Metadata, kind: NodeKind, owners: &OwnerMap) -> Vec<String> {
        if !is_valid_name(name) {
            return vec!["not a name".to_owned()];
        }
        match self.handle.pin(name) {
            Ok(pinned) => apply(&pinned, metadata, kind, None, owners),
            Err(error) => vec![format!("cannot set metadata: {error}")],
        }
    }

    /// [`Self::apply_metadata`] for the directory itself. After everything below is done: each entry that is created
    /// changes the time, and the permissions may forbid to go on.
    pub fn apply_own_metadata(&self, metadata: &Metadata, owners: &OwnerMap) -> Vec<String> {
        apply(&self.handle.pin_self(), metadata, NodeKind::Directory, None, owners)
    }

    /// How the metadata of `name` differs from `metadata`, as far as a restore as `owners` says has to bring it back: a
    /// line for each thing.
    ///
    /// # Errors
    /// `Io` if it can't be read.
    pub fn differences(&self, name: &[u8], metadata: &Metadata, owners: &OwnerMap) -> Result<Vec<String>> {
        self.check(name)?;
        let read = || {
            let pinned = self.handle.pin(name)?;
            Ok((pinned.stat()?, pinned.xattrs()?))
        };
        let (stat, there) = read().map_err(|error| self.error("look at", name, error))?;
        let expected = Expected::of(metadata, &stat, owners);
        let mut found = expected.differences(&stat);
        found.extend(expected.attribute_differences(&there, metadata, owners));
        Ok(found)
    }

    pub(super) fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(name))
    }

    pub(super) fn error(&self, operation: &str, name: &[u8], error: io::Error) -> EngineError {
        EngineError::io(operation, &self.path_of(name), error)
    }

    fn taken(&self, name: &[u8]) -> EngineError {
        let path = self.path_of(name);
        EngineError::new(ErrorKind::AlreadyExists, format!("{} exists already", path.display()))
    }

    fn check(&self, name: &[u8]) -> Result<()> {
        if is_valid_name(name) {
            return Ok(());
        }
        let text = String::from_utf8_lossy(name);
        Err(EngineError::new(ErrorKind::Invalid, format!("{text:?} is not a name in {}", self.path.display())))
    }
}

/// Opens a directory for everything. One that we own, but that its permissions keep us from, is made ours first.
pub(super) fn open_own(above: &Directory, name: &[u8]) -> io::Result<Directory> {
    let directory = match above.open_directory(name, false) {
        Err(error) if error.kind() == IoKind::PermissionDenied => {
            let pinned = above.pin(name)?;
            let stat = pinned.stat()?;
            if stat.kind != NodeKind::Directory {
                return Err(error);
            }
            pinned.set_mode(stat.mode | 0o700).map_err(|_| error)?;
            above.open_directory(name, false)?
        }
        other => other?,
    };
    let stat = directory.stat_self()?;
    if stat.mode & 0o700 != 0o700 && stat.uid == crate::os::host::effective_uid() && stat.uid != 0 {
        directory.pin_self().set_mode(stat.mode | 0o700)?;
    }
    Ok(directory)
}
