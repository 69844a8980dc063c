//! Removal of a whole tree, however deep, without leaving it.

use std::io::{self, ErrorKind as IoKind};
use std::sync::Arc;

use super::TargetDir;
use super::directory::open_own;
use crate::error::{EngineError, Result};
use crate::model::NodeKind;
use crate::os::{Descent, Directory, Names};

/// A directory that is being emptied.
struct Frame {
    /// Its name in the one above.
    name: Vec<u8>,
    names: Names,
    next: usize,
}

/// Removes the directory `name` in `above` with all that is in it.
pub(super) fn tree(above: &TargetDir, name: &[u8]) -> Result<()> {
    let fail = |error| above.error("remove", name, error);
    let device = above.handle.stat_self().map_err(fail)?.device;
    let mut descent = Descent::new();
    enter(&mut descent, &above.handle, name, device).map_err(fail)?;
    while let Some(next) = next_name(&mut descent) {
        let result = match (next, descent.directory().cloned()) {
            (Some(below), Some(directory)) => remove_one(&mut descent, &directory, &below, device),
            // Empty now: away with it.
            (None, _) => leave(&mut descent, &above.handle),
            (Some(_), None) => Err(io::Error::from(IoKind::NotFound)),
        };
        result.map_err(|error| {
            let path = above.path_of(name);
            EngineError::io("remove something below", &path, error)
        })?;
    }
    Ok(())
}

/// The next name in the deepest directory; `Some(None)` if there is no more, `None` if there is no directory.
fn next_name(descent: &mut Descent<Frame>) -> Option<Option<Vec<u8>>> {
    let frame = descent.top_mut()?;
    let name = frame.names.get(frame.next).map(<[u8]>::to_vec);
    frame.next += 1;
    Some(name)
}

fn remove_one(descent: &mut Descent<Frame>, directory: &Directory, name: &[u8], device: u64) -> io::Result<()> {
    let removed = match directory.stat(name) {
        Ok(stat) if stat.kind == NodeKind::Directory => enter(descent, directory, name, device),
        Ok(_) => directory.remove_file(name),
        Err(error) => Err(error),
    };
    ignore_missing(removed)
}

fn enter(descent: &mut Descent<Frame>, above: &Directory, name: &[u8], device: u64) -> io::Result<()> {
    let directory = open_own(above, name)?;
    let stat = directory.stat_self()?;
    if stat.device != device {
        return Err(io::Error::new(IoKind::CrossesDevices, "another file system is mounted there"));
    }
    let names = directory.list()?;
    let frame = Frame { name: name.to_vec(), names, next: 0 };
    descent.push(Some(Arc::new(directory)), Some(stat.identity()), frame);
    Ok(())
}

fn leave(descent: &mut Descent<Frame>, outermost: &Directory) -> io::Result<()> {
    let Some((frame, reopened)) = descent.pop() else {
        return Ok(());
    };
    reopened?;
    match (descent.depth(), descent.directory()) {
        (0, _) => ignore_missing(outermost.remove_directory(&frame.name)),
        (_, Some(above)) => ignore_missing(above.remove_directory(&frame.name)),
        (_, None) => Err(IoKind::NotFound.into()),
    }
}

/// What somebody else removed is removed.
fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == IoKind::NotFound => Ok(()),
        other => other,
    }
}
