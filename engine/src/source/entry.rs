//! What a walk finds: an entry, and the bytes of a file.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::paths::join;
use crate::error::{EngineError, ErrorKind, Result};
use crate::limits::MIB;
use crate::model::{Extent, Metadata, Node, NodeKind, Xattr};
use crate::os::{Directory, File, Stat};

/// A file with more stretches of data than this is read as if it had no holes: its node would get too long.
const MOST_EXTENTS: usize = 4096;

/// Something that a walk found. Holds the directory open that it is in, so it can be opened on any thread, later;
/// whoever keeps many entries keeps many directories open.
#[derive(Debug)]
pub struct Entry {
    /// The node, without content, extended attributes and extents.
    pub node: Node,
    place: Arc<EntryPlace>,
    /// Its own path in snapshot and source. `None`: the place's, and its name.
    paths: Option<(Vec<u8>, Option<Vec<u8>>)>,
    /// Its name in the directory, if it isn't called the same in the snapshot.
    real_name: Option<Vec<u8>>,
    /// Whether its access time may be left alone, which only the owner and root may ask for.
    quietly: bool,
}

/// Where entries are: one for all of a directory.
#[derive(Debug)]
pub(super) struct EntryPlace {
    /// Path of the directory in the snapshot.
    pub(super) path: Vec<u8>,
    /// Path in the source, if it isn't the same.
    pub(super) source: Option<Vec<u8>>,
    /// `None`: only in the snapshot, above the place that was asked for.
    pub(super) directory: Option<Arc<Directory>>,
}

impl Entry {
    /// One in a directory that holds more of the kind.
    pub(super) fn below(place: Arc<EntryPlace>, node: Node, quietly: bool) -> Self {
        Self { node, place, paths: None, real_name: None, quietly }
    }

    /// One that is only in the snapshot.
    /// A directory above a place that something is put at: mode 0755, owner and group 0, and the time 0.
    pub fn made_up(path: Vec<u8>, name: Vec<u8>) -> Self {
        let metadata = Metadata { mode: 0o755, ..Metadata::default() };
        Self::placed_above(path, Node::new(name, NodeKind::Directory, metadata))
    }

    fn placed_above(path: Vec<u8>, node: Node) -> Self {
        let place = Arc::new(EntryPlace { path: Vec::new(), source: None, directory: None });
        Self { node, place, paths: Some((path, None)), real_name: None, quietly: false }
    }

    /// One with paths of its own. `source`: its path there, if it isn't `path`.
    pub(super) fn at(
        path: Vec<u8>,
        source: Option<Vec<u8>>,
        directory: Arc<Directory>,
        real_name: Option<Vec<u8>>,
        node: Node,
        quietly: bool,
    ) -> Self {
        let place = Arc::new(EntryPlace { path: Vec::new(), source: None, directory: Some(directory) });
        Self { node, place, paths: Some((path, source)), real_name, quietly }
    }

    /// Whether it holds the same directory open as the other.
    pub fn is_beside(&self, other: &Self) -> bool {
        match (&self.place.directory, &other.place.directory) {
            (Some(ours), Some(others)) => Arc::ptr_eq(ours, others),
            (None, None) => true,
            _ => false,
        }
    }

    /// Absolute path in the snapshot.
    pub fn path(&self) -> Cow<'_, [u8]> {
        match &self.paths {
            Some((path, _)) => Cow::Borrowed(path),
            None => Cow::Owned(join(&self.place.path, &self.node.name)),
        }
    }

    /// Absolute path in the source, for messages.
    pub fn source_path(&self) -> Cow<'_, [u8]> {
        match (&self.paths, &self.place.source) {
            (Some((_, Some(source))), _) => Cow::Borrowed(source),
            (None, Some(source)) => Cow::Owned(join(source, &self.node.name)),
            _ => self.path(),
        }
    }

    fn real_name(&self) -> &[u8] {
        self.real_name.as_deref().unwrap_or(&self.node.name)
    }

    fn io_error(&self, operation: &str, error: io::Error) -> EngineError {
        EngineError::io(operation, Path::new(OsStr::from_bytes(&self.source_path())), error)
    }

    /// Extended attributes, names ascending; none where the file system has no such thing. Read now, since an
    /// unchanged file doesn't need them.
    ///
    /// # Errors
    /// `Io` if they can't be read.
    pub fn xattrs(&self) -> Result<Vec<Xattr>> {
        match &self.place.directory {
            Some(directory) => {
                directory.xattrs(self.real_name()).map_err(|error| self.io_error("read extended attributes of", error))
            }
            None => Ok(Vec::new()),
        }
    }

    /// Opens a regular file. It may be another than the one that was found: programs replace files by renaming. What
    /// [`SourceFile::node`] says belongs to what is read.
    ///
    /// # Errors
    /// `Invalid` if the entry isn't a file; `Io` if it can't be read, or is no file any more.
    pub fn open(&self) -> Result<SourceFile> {
        let (NodeKind::File, Some(directory)) = (self.node.kind, &self.place.directory) else {
            let path = String::from_utf8_lossy(&self.source_path()).into_owned();
            return Err(EngineError::new(ErrorKind::Invalid, format!("{path} is not a file")));
        };
        let opened = directory.open_file(self.real_name(), self.quietly);
        let file = opened.map_err(|error| self.io_error("open", error))?;
        SourceFile::new(file, self).map_err(|error| self.io_error("read", error))
    }
}

/// An open file of the source.
#[derive(Debug)]
pub struct SourceFile {
    file: File,
    /// As it was when it was opened.
    stat: Stat,
    name: Vec<u8>,
    path: Vec<u8>,
    /// What is read: the data extents, or all as one.
    ranges: Vec<Extent>,
    sparse: bool,
    /// Which range is being read, and how much of it has been.
    range: usize,
    done: u64,
    bytes_read: u64,
}

impl SourceFile {
    fn new(file: File, entry: &Entry) -> io::Result<Self> {
        let stat = file.stat()?;
        if stat.kind != NodeKind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no longer a regular file"));
        }
        // Fewer blocks than bytes: holes, or compression. Without, nothing is asked, and preallocated space is read
        // as the zeros that it holds.
        let extents = match stat.blocks.saturating_mul(512) < stat.size {
            true => file.data_extents(stat.size, MOST_EXTENTS)?,
            false => None,
        };
        let extents = extents.filter(|extents| extents.iter().map(|extent| extent.len).sum::<u64>() < stat.size);
        if stat.size > MIB {
            file.will_read_all();
        }
        let mut source = Self {
            file,
            stat,
            name: entry.node.name.clone(),
            path: entry.source_path().into_owned(),
            ranges: Vec::new(),
            sparse: false,
            range: 0,
            done: 0,
            bytes_read: 0,
        };
        match extents {
            Some(extents) => {
                source.ranges = extents;
                source.sparse = true;
            }
            None => source.ignore_holes(),
        }
        Ok(source)
    }

    /// Begins anew and reads holes as zeros: for a sparse file that gets shorter while it is read.
    pub fn ignore_holes(&mut self) {
        self.ranges = vec![Extent { offset: 0, len: self.stat.size }];
        (self.sparse, self.range, self.done, self.bytes_read) = (false, 0, 0, 0);
    }

    /// The node as it was when the file was opened, without content, extended attributes and extents. If fewer bytes
    /// come than its size says, the caller corrects the size.
    pub fn node(&self) -> Node {
        bare_node(self.name.clone(), &self.stat)
    }

    /// Extended attributes, names ascending.
    ///
    /// # Errors
    /// `Io` if they can't be read.
    pub fn xattrs(&self) -> Result<Vec<Xattr>> {
        self.file.xattrs().map_err(|error| self.error("read extended attributes of", error))
    }

    /// Size in bytes when it was opened, holes included.
    pub fn size(&self) -> u64 {
        self.stat.size
    }

    /// Where the file holds data, ascending and not touching. `None` if it has no holes, or too many.
    pub fn extents(&self) -> Option<&[Extent]> {
        self.sparse.then_some(self.ranges.as_slice())
    }

    /// How many bytes [`Self::read`] gave.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Fills `buffer` with what comes next of the stream: the extents one after the other, or the whole file. Gives
    /// less only at the end, which is never beyond the size at opening, and earlier if the file got shorter.
    ///
    /// # Errors
    /// `Io` if the file can't be read. If it has extents and got shorter, the stream would no longer fit them: then
    /// the cause is `UnexpectedEof`, and [`Self::ignore_holes`] allows another try.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let Some(&range) = self.ranges.get(self.range) else {
                break;
            };
            let room = buffer.len() - filled;
            let wanted = usize::try_from(range.len - self.done).map_or(room, |left| left.min(room));
            let place = &mut buffer[filled..filled + wanted];
            let count =
                self.file.read_at(place, range.offset + self.done).map_err(|error| self.error("read", error))?;
            filled += count;
            self.done += count as u64;
            self.bytes_read += count as u64;
            if count < wanted {
                if self.sparse {
                    let error = io::Error::new(io::ErrorKind::UnexpectedEof, "it got shorter while it was read");
                    return Err(self.error("read", error));
                }
                // What may be appended from now on would not follow what was read.
                self.ranges.truncate(self.range);
            } else if self.done == range.len {
                self.range += 1;
                self.done = 0;
            }
        }
        Ok(filled)
    }

    /// Whether the file changed since it was opened: size, times, or number of bytes. Asked after the last byte.
    ///
    /// # Errors
    /// `Io` if the file system fails.
    pub fn finish(self) -> Result<bool> {
        let now = self.file.stat().map_err(|error| self.error("look at", error))?;
        let same = now.size == self.stat.size && now.mtime == self.stat.mtime && now.ctime == self.stat.ctime;
        let complete = self.sparse || self.bytes_read == self.stat.size;
        Ok(!(same && complete))
    }

    fn error(&self, operation: &str, error: io::Error) -> EngineError {
        EngineError::io(operation, Path::new(OsStr::from_bytes(&self.path)), error)
    }
}

/// A node without what has to be read for it.
pub(super) fn bare_node(name: Vec<u8>, stat: &Stat) -> Node {
    let mut node = Node::new(name, stat.kind, stat.metadata());
    match stat.kind {
        NodeKind::File => node.size = stat.size,
        NodeKind::BlockDevice | NodeKind::CharDevice => node.rdev = stat.rdev,
        NodeKind::Directory | NodeKind::Symlink | NodeKind::Fifo | NodeKind::Socket => {}
    }
    node
}
