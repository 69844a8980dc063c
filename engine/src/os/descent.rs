//! A path of open directories, as deep as one likes, with a bounded number of handles.

use std::io;
use std::sync::Arc;

use super::Directory;

/// How many handles a descent keeps open besides those that are pinned. A process may have 1024 by default.
const OPEN_HANDLES: usize = 64;

/// The directories from where a walk began to where it is, each with what the walk knows about it.
///
/// Only the deepest 64 are kept open. On the way back, the others are opened again through `..` of their child, and
/// taken only if device and inode are the same: a directory that was moved away meanwhile must not lead the walk
/// elsewhere. Keeping handles and not paths means that no path gets too long and no link is ever followed.
#[derive(Debug)]
pub struct Descent<T> {
    levels: Vec<Level<T>>,
}

#[derive(Debug)]
struct Level<T> {
    /// `None`: closed for now, or never open.
    directory: Option<Arc<Directory>>,
    /// Device and inode, if it may be closed and opened again.
    identity: Option<(u64, u64)>,
    value: T,
}

impl<T> Default for Descent<T> {
    fn default() -> Self {
        Self { levels: Vec::new() }
    }
}

impl<T> Descent<T> {
    /// Nowhere.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many levels there are.
    pub fn depth(&self) -> usize {
        self.levels.len()
    }

    /// Goes into `directory`, which must be in the deepest one; `None` for one that has no handle. `identity` (device
    /// and inode) allows to close and reopen it; without, it stays open.
    pub fn push(&mut self, directory: Option<Arc<Directory>>, identity: Option<(u64, u64)>, value: T) {
        self.levels.push(Level { directory, identity, value });
        if self.levels.len() <= OPEN_HANDLES {
            return;
        }
        let mut closable = self.levels.iter().filter(|level| level.directory.is_some() && level.identity.is_some());
        if closable.nth(OPEN_HANDLES).is_some() {
            let shallowest = self
                .levels
                .iter_mut()
                .find(|level| level.directory.is_some() && level.identity.is_some())
                .expect("the line above counted more than one");
            shallowest.directory = None;
        }
    }

    /// What is known about the deepest directory.
    pub fn top(&self) -> Option<&T> {
        self.levels.last().map(|level| &level.value)
    }

    /// As [`Self::top`], to change it.
    pub fn top_mut(&mut self) -> Option<&mut T> {
        self.levels.last_mut().map(|level| &mut level.value)
    }

    /// The deepest directory, unless it has no handle.
    pub fn directory(&self) -> Option<&Arc<Directory>> {
        self.levels.last()?.directory.as_ref()
    }

    /// Leaves the deepest directory.
    ///
    /// The second value is an error if the one above, the deepest now, could not be opened again; it is without a
    /// handle then. `None` at the end.
    pub fn pop(&mut self) -> Option<(T, io::Result<()>)> {
        let left = self.levels.pop()?;
        let reopened = match self.levels.last_mut() {
            Some(Level { directory: directory @ None, identity: Some(identity), .. }) => {
                reopen(left.directory.as_deref(), *identity).map(|parent| *directory = Some(Arc::new(parent)))
            }
            _ => Ok(()),
        };
        Some((left.value, reopened))
    }
}

fn reopen(child: Option<&Directory>, identity: (u64, u64)) -> io::Result<Directory> {
    // A child that could not be reopened itself leads nowhere.
    if let Some(parent) = child.map(Directory::parent).transpose()?
        && parent.stat_self()?.identity() == identity
    {
        return Ok(parent);
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "a directory was moved meanwhile"))
}
