//! Writing a file's bytes, or a directory as a tar archive, to a stream.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use tar::{EntryType, Header};

use super::browse::{Descend, Visit, components, find_node, show, walk};
use crate::error::{EngineError, ErrorKind, Result};
use crate::model::{ChunkKind, Content, Extent, LinkGroup, Node, NodeKind, Snapshot};
use crate::monitor::Monitor;
use crate::repository::{ChunkReader, ContentReader, Index, Repository};

/// Writes the bytes of the file at `path`, holes as zeros.
///
/// # Errors
/// `NotFound`; `Invalid` if it is no file; `Damaged`, `Missing`; `Io` of the storage or of `out`.
pub fn dump_file(
    repository: &Repository,
    index: &Index,
    snapshot: &Snapshot,
    path: &[u8],
    out: &mut (dyn Write + Send),
) -> Result<()> {
    let chunks = ChunkReader::new(repository, index);
    match find_node(&chunks, snapshot, path)? {
        Some(node) if node.kind == NodeKind::File => {
            let mut reader = FileReader::new(&chunks, &node);
            io::copy(&mut reader, out).map_err(|error| reader.failure.take().unwrap_or_else(|| output_error(error)))?;
            Ok(())
        }
        Some(node) if node.kind == NodeKind::Directory => {
            Err(EngineError::new(ErrorKind::Invalid, format!("{} is a directory", show(path))))
        }
        Some(_) => Err(EngineError::new(ErrorKind::Invalid, format!("{} is not a file", show(path)))),
        None => Err(EngineError::new(ErrorKind::Invalid, "/ is a directory")),
    }
}

fn output_error(error: io::Error) -> EngineError {
    EngineError::with_source(ErrorKind::Io, "cannot write the output", error)
}

/// A file's bytes as a stream, with holes as zeros. The engine's own error of a failed read is in `failure`.
struct FileReader<'a> {
    chunks: &'a ChunkReader<'a>,
    content: ContentReader<'a>,
    inline: Option<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    /// Stretches of the file in order: data (`true`) or a hole.
    stretches: std::vec::IntoIter<(bool, u64)>,
    stretch: (bool, u64),
    failure: Option<EngineError>,
}

impl<'a> FileReader<'a> {
    fn new(chunks: &'a ChunkReader<'a>, node: &Node) -> Self {
        let empty = Content::Inline(Vec::new());
        let content = node.content.as_ref().unwrap_or(&empty);
        let inline = match content {
            Content::Inline(bytes) => Some(bytes.clone()),
            _ => None,
        };
        let whole = [Extent { offset: 0, len: node.size }];
        let extents = node.extents.as_deref().unwrap_or(&whole);
        let mut stretches = Vec::new();
        let mut position = 0;
        for extent in extents {
            stretches.push((false, extent.offset - position));
            stretches.push((true, extent.len));
            position = extent.offset + extent.len;
        }
        stretches.push((false, node.size.saturating_sub(position)));
        Self {
            chunks,
            content: ContentReader::new(chunks, content),
            inline,
            current: Vec::new(),
            position: 0,
            stretches: stretches.into_iter(),
            stretch: (false, 0),
            failure: None,
        }
    }

    fn fill(&mut self) -> Result<bool> {
        if self.position < self.current.len() {
            return Ok(true);
        }
        self.position = 0;
        self.current = match self.inline.take() {
            Some(bytes) => bytes,
            None => match self.content.read_next()? {
                Some(reference) => self.chunks.read(ChunkKind::Data, &reference)?,
                None => return Ok(false),
            },
        };
        Ok(!self.current.is_empty())
    }
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.stretch.1 == 0 {
            match self.stretches.next() {
                Some(stretch) => self.stretch = stretch,
                None => return Ok(0),
            }
        }
        let room = buffer.len().min(usize::try_from(self.stretch.1).unwrap_or(usize::MAX));
        let len = if self.stretch.0 {
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => {
                    let text = error.to_string();
                    self.failure = Some(error);
                    return Err(io::Error::other(text));
                }
            }
            let len = room.min(self.current.len() - self.position);
            buffer[..len].copy_from_slice(&self.current[self.position..self.position + len]);
            self.position += len;
            len
        } else {
            buffer[..room].fill(0);
            room
        };
        self.stretch.1 -= len as u64;
        Ok(len)
    }
}

/// Writes what is at `path` (everything, if it is `/`) as a tar archive with PAX headers: names, owners, times in
/// nanoseconds, extended attributes, hard links. Names are relative to the last component of `path`.
///
/// # Errors
/// `NotFound`; `Damaged` or `Missing` of a chunk, and then the archive ends early; `Io`.
pub fn dump_tar(
    repository: &Repository,
    index: &Index,
    snapshot: &Snapshot,
    path: &[u8],
    out: &mut (dyn Write + Send),
    monitor: &dyn Monitor,
) -> Result<()> {
    let chunks = ChunkReader::new(repository, index);
    let mut archive =
        Archive { tar: tar::Builder::new(out), chunks: &chunks, snapshot, links: HashMap::new(), monitor };
    let base = components(path).last().unwrap_or(b".").to_vec();
    let node = find_node(&chunks, snapshot, path)?;
    let content = match &node {
        None => Some(&snapshot.root),
        Some(node) => {
            archive.append(&base, node)?;
            node.content.as_ref().filter(|_| node.is_directory())
        }
    };
    if let Some(content) = content {
        walk(&chunks, content, &base, &mut |path, visit| {
            match visit {
                Visit::Node(node) => archive.append(path, node)?,
                Visit::Left => {}
                Visit::Damaged(error) => {
                    return Err(EngineError::new(error.kind(), format!("{}: {error}", show(path))));
                }
            }
            if monitor.cancelled() {
                return Err(EngineError::new(ErrorKind::Interrupted, "interrupted"));
            }
            Ok(Descend::Yes)
        })?;
    }
    archive.tar.finish().map_err(output_error)
}

struct Archive<'a, 'w> {
    tar: tar::Builder<&'w mut (dyn Write + Send)>,
    chunks: &'a ChunkReader<'a>,
    snapshot: &'a Snapshot,
    links: HashMap<LinkGroup, Vec<u8>>,
    monitor: &'a dyn Monitor,
}

impl Archive<'_, '_> {
    fn append(&mut self, path: &[u8], node: &Node) -> Result<()> {
        let entry_type = match node.kind {
            NodeKind::File => EntryType::Regular,
            NodeKind::Directory => EntryType::Directory,
            NodeKind::Symlink => EntryType::Symlink,
            NodeKind::BlockDevice => EntryType::Block,
            NodeKind::CharDevice => EntryType::Char,
            NodeKind::Fifo => EntryType::Fifo,
            NodeKind::Socket => {
                self.monitor.note(&format!("{}: tar can't hold sockets", show(path)));
                return Ok(());
            }
        };
        let first = node.link_group().and_then(|group| match self.links.entry(group) {
            std::collections::hash_map::Entry::Occupied(entry) => Some(entry.get().clone()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(path.to_vec());
                None
            }
        });
        let target = match (&first, node.kind) {
            (Some(first), _) => Some(first.as_slice()),
            (None, NodeKind::Symlink) => Some(node.target.as_slice()),
            _ => None,
        };
        let mut name = path.to_vec();
        if node.is_directory() {
            name.push(b'/');
        }
        self.append_pax(&name, target, node).map_err(output_error)?;
        let mut header = self.header(node, if first.is_some() { EntryType::Link } else { entry_type });
        set_path(&mut header, &name, target);
        let size = if first.is_none() && node.kind == NodeKind::File { node.size } else { 0 };
        header.set_size(size);
        header.set_cksum();
        if size == 0 {
            return self.tar.append(&header, io::empty()).map_err(output_error);
        }
        let mut reader = FileReader::new(self.chunks, node);
        let written = self.tar.append(&header, &mut reader);
        written.map_err(|error| reader.failure.take().unwrap_or_else(|| output_error(error)))
    }

    fn header(&self, node: &Node, entry_type: EntryType) -> Header {
        let metadata = &node.metadata;
        let mut header = Header::new_ustar();
        header.set_entry_type(entry_type);
        header.set_mode(metadata.mode);
        header.set_uid(metadata.uid.into());
        header.set_gid(metadata.gid.into());
        header.set_mtime(u64::try_from(metadata.mtime.seconds).unwrap_or(0));
        // Names that don't fit are left to the numbers.
        if let Some(name) = self.snapshot.users.get(&metadata.uid).and_then(|name| str::from_utf8(name).ok()) {
            let _ = header.set_username(name);
        }
        if let Some(name) = self.snapshot.groups.get(&metadata.gid).and_then(|name| str::from_utf8(name).ok()) {
            let _ = header.set_groupname(name);
        }
        if matches!(node.kind, NodeKind::BlockDevice | NodeKind::CharDevice) {
            let (major, minor) = crate::os::device_numbers(node.rdev);
            header.set_device_major(major).and_then(|()| header.set_device_minor(minor)).unwrap_or_default();
        }
        header
    }

    /// What a ustar header can't say exactly goes into a PAX header before it.
    fn append_pax(&mut self, name: &[u8], target: Option<&[u8]>, node: &Node) -> io::Result<()> {
        let mtime = node.metadata.mtime;
        let time = if mtime.nanoseconds == 0 {
            mtime.seconds.to_string()
        } else if mtime.seconds >= 0 {
            format!("{}.{:09}", mtime.seconds, mtime.nanoseconds)
        } else {
            // -1.25 is 2 seconds before the epoch and 750 million nanoseconds on.
            let (seconds, nanoseconds) = (-(mtime.seconds + 1), 1_000_000_000 - mtime.nanoseconds);
            format!("-{seconds}.{nanoseconds:09}")
        };
        let mut records: Vec<(Vec<u8>, Vec<u8>)> = vec![(b"mtime".to_vec(), time.into_bytes())];
        records.push((b"path".to_vec(), name.to_vec()));
        if let Some(target) = target {
            records.push((b"linkpath".to_vec(), target.to_vec()));
        }
        if node.size > 0o77_777_777_777 {
            records.push((b"size".to_vec(), node.size.to_string().into_bytes()));
        }
        for xattr in &node.metadata.xattrs {
            records.push(([b"SCHILY.xattr.", xattr.name.as_slice()].concat(), xattr.value.clone()));
        }
        let mut body = Vec::new();
        records.iter().for_each(|(key, value)| pax_record(key, value, &mut body));
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        set_path(&mut header, b"pax", None);
        header.set_cksum();
        self.tar.append(&header, body.as_slice())
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn pax_record(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    out.extend_from_slice(len.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Puts as much of the names into the header as fits; the PAX header has all of them.
fn set_path(header: &mut Header, name: &[u8], target: Option<&[u8]>) {
    let ustar = header.as_ustar_mut().expect("made as one");
    copy_cut(&mut ustar.name, name);
    copy_cut(&mut ustar.linkname, target.unwrap_or_default());
}

fn copy_cut(field: &mut [u8], bytes: &[u8]) {
    let len = field.len().min(bytes.len());
    field[..len].copy_from_slice(&bytes[..len]);
}
