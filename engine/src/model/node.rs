//! What a tree holds. Spec chapter 9.

use crate::clock::Timestamp;
use crate::id::ChunkId;

/// Type of a file system object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeKind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Block device.
    BlockDevice,
    /// Character device.
    CharDevice,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
}

/// Names a chunk and says how long its plaintext is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkRef {
    /// The chunk.
    pub id: ChunkId,
    /// Plaintext length in bytes, at least 1.
    pub len: u32,
}

/// Where the bytes of a file, or the nodes of a directory, are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The bytes themselves.
    Inline(Vec<u8>),
    /// Chunks, one after the other.
    Chunks(Vec<ChunkRef>),
    /// Tree chunks that list chunks (depth 1) or lists of the next lower depth.
    Lists {
        /// How many levels of lists there are, at least 1.
        depth: u8,
        /// The lists of the top level.
        lists: Vec<ChunkRef>,
    },
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// Full name with its namespace, without NUL.
    pub name: Vec<u8>,
    /// Value.
    pub value: Vec<u8>,
}

/// A stretch of a sparse file that holds data. Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte in the file.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
}

/// What tells hard links of one file from others, inside one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkGroup {
    /// Device that holds the file.
    pub device: u64,
    /// Inode on it.
    pub inode: u64,
}

/// What `stat` and `listxattr` say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Permissions with setuid, setgid and sticky: 12 bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of content or metadata; `None` for what has none (streams).
    pub ctime: Option<Timestamp>,
    /// Inode, for change detection and hard links.
    pub inode: Option<u64>,
    /// Device that holds it.
    pub device: Option<u64>,
    /// Number of hard links, if a non-directory has more than one.
    pub links: Option<u64>,
    /// Extended attributes, names ascending. ACLs are among them.
    pub xattrs: Vec<Xattr>,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Last component of the path, bytes as the file system gives them.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: NodeKind,
    /// Owner, mode, times, attributes.
    pub metadata: Metadata,
    /// Size of a file in bytes, holes included; 0 for everything else.
    pub size: u64,
    /// Bytes of a file, nodes of a directory.
    pub content: Option<Content>,
    /// Where a symlink points.
    pub target: Vec<u8>,
    /// Device number of a device.
    pub rdev: u64,
    /// Data extents of a sparse file; `None` for a file without holes.
    pub extents: Option<Vec<Extent>>,
}

impl Node {
    /// A node of `kind` with nothing in it.
    pub fn new(name: Vec<u8>, kind: NodeKind, metadata: Metadata) -> Self {
        Self { name, kind, metadata, size: 0, content: None, target: Vec::new(), rdev: 0, extents: None }
    }

    /// The hard-link group it belongs to, if it has more than one link.
    pub fn link_group(&self) -> Option<LinkGroup> {
        let metadata = &self.metadata;
        match (self.kind, metadata.links, metadata.device, metadata.inode) {
            (NodeKind::Directory, ..) | (_, None, ..) => None,
            (_, Some(_), Some(device), Some(inode)) => Some(LinkGroup { device, inode }),
            _ => None,
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == NodeKind::Directory
    }

    /// Bytes that the content stream has: the size without holes.
    pub fn stream_len(&self) -> u64 {
        match &self.extents {
            Some(extents) => extents.iter().map(|extent| extent.len).sum(),
            None => self.size,
        }
    }
}

/// Whether `name` may be the name of a node: a plain component that can't lead out of its directory.
pub fn is_valid_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= crate::limits::NAME_BYTES
        && name != b"."
        && name != b".."
        && !name.iter().any(|&byte| byte == b'/' || byte == 0)
}
