//! Comparing two snapshots: both trees side by side, equal subtrees skipped by their content.

use std::cmp::Ordering;

use super::browse::{Descend, Visit, find_node, show, walk};
use crate::error::{EngineError, ErrorKind, Result};
use crate::model::{Content, Node, NodeKind, Snapshot};
use crate::repository::{ChunkReader, DirectoryReader, Index, Repository};

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiffKind {
    /// Only the second has it.
    Added,
    /// Only the first has it.
    Removed,
    /// Content or link target differ.
    Modified,
    /// Only owner, mode, time or attributes differ.
    Metadata,
    /// It is of another type.
    Type,
}

/// Counts of differences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffReport {
    /// Nodes.
    pub added: u64,
    /// Nodes.
    pub removed: u64,
    /// Nodes.
    pub modified: u64,
    /// Nodes.
    pub metadata: u64,
    /// Bytes of files that are new or modified, in the second.
    pub bytes_added: u64,
    /// Bytes of files that are gone or modified, in the first.
    pub bytes_removed: u64,
}

/// Compares what is below `left.1` in one snapshot with what is below `right.1` in another.
///
/// # Errors
/// `NotFound`; `Invalid` if a path is no directory; `Damaged`, `Missing`, `Io`; what `each` returns.
pub fn diff(
    repository: &Repository,
    index: &Index,
    left: (&Snapshot, &[u8]),
    right: (&Snapshot, &[u8]),
    metadata: bool,
    each: &mut dyn FnMut(DiffKind, &[u8]) -> Result<()>,
) -> Result<DiffReport> {
    let chunks = ChunkReader::new(repository, index);
    let content = |(snapshot, path): (&Snapshot, &[u8])| match find_node(&chunks, snapshot, path)? {
        None => Ok(snapshot.root.clone()),
        Some(Node { kind: NodeKind::Directory, content: Some(content), .. }) => Ok(content),
        Some(_) => Err(EngineError::new(ErrorKind::Invalid, format!("{} is not a directory", show(path)))),
    };
    let (left, right) = (content(left)?, content(right)?);
    let mut comparison = Comparison { chunks: &chunks, metadata, each, report: DiffReport::default() };
    comparison.directories(&left, &right)?;
    Ok(comparison.report)
}

struct Comparison<'a> {
    chunks: &'a ChunkReader<'a>,
    metadata: bool,
    each: &'a mut dyn FnMut(DiffKind, &[u8]) -> Result<()>,
    report: DiffReport,
}

/// Two listings of one directory, each with its next node at hand.
struct Level<'a> {
    left: DirectoryReader<'a>,
    right: DirectoryReader<'a>,
    next: (Option<Node>, Option<Node>),
    path_len: usize,
}

impl<'a> Level<'a> {
    fn new(chunks: &'a ChunkReader<'a>, left: &Content, right: &Content, path_len: usize) -> Result<Self> {
        let (mut left, mut right) = (DirectoryReader::new(chunks, left), DirectoryReader::new(chunks, right));
        let next = (left.read_next()?, right.read_next()?);
        Ok(Self { left, right, next, path_len })
    }

    /// The nodes of the smallest name that is left.
    fn take(&mut self) -> Result<Option<(Option<Node>, Option<Node>)>> {
        let order = match &self.next {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => left.name.cmp(&right.name),
        };
        let left = if order.is_le() { std::mem::replace(&mut self.next.0, self.left.read_next()?) } else { None };
        let right = if order.is_ge() { std::mem::replace(&mut self.next.1, self.right.read_next()?) } else { None };
        Ok(Some((left, right)))
    }
}

impl Comparison<'_> {
    fn directories(&mut self, left: &Content, right: &Content) -> Result<()> {
        let mut path = Vec::new();
        let mut stack = vec![Level::new(self.chunks, left, right, 0)?];
        while let Some(level) = stack.last_mut() {
            path.truncate(level.path_len);
            let Some(pair) = level.take()? else {
                stack.pop();
                continue;
            };
            path.push(b'/');
            path.extend_from_slice(match &pair {
                (Some(node), _) | (None, Some(node)) => &node.name,
                (None, None) => unreachable!("take gives at least one"),
            });
            match &pair {
                (Some(left), Some(right)) => {
                    self.nodes(&path, left, right)?;
                    if let (true, true, Some(a), Some(b)) =
                        (left.is_directory(), right.is_directory(), &left.content, &right.content)
                        && a != b
                    {
                        stack.push(Level::new(self.chunks, a, b, path.len())?);
                    }
                }
                (Some(node), None) => self.whole(DiffKind::Removed, &path, node)?,
                (None, Some(node)) => self.whole(DiffKind::Added, &path, node)?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn nodes(&mut self, path: &[u8], left: &Node, right: &Node) -> Result<()> {
        if left.kind != right.kind {
            self.report.modified += 1;
            (self.each)(DiffKind::Type, path)?;
            // Of a directory that became a file, or the other way round, everything below it is gone or new.
            self.below(DiffKind::Removed, path, left)?;
            self.report.bytes_removed += left.size;
            self.report.bytes_added += right.size;
            return self.below(DiffKind::Added, path, right);
        }
        let content = !left.is_directory() && (left.content != right.content || left.extents != right.extents);
        if content || left.target != right.target || left.rdev != right.rdev || left.size != right.size {
            self.report.modified += 1;
            self.report.bytes_removed += left.size;
            self.report.bytes_added += right.size;
            return (self.each)(DiffKind::Modified, path);
        }
        if self.metadata && metadata_differs(left, right) {
            self.report.metadata += 1;
            return (self.each)(DiffKind::Metadata, path);
        }
        Ok(())
    }

    /// Everything below a node that only one side has, told one by one.
    fn whole(&mut self, kind: DiffKind, path: &[u8], node: &Node) -> Result<()> {
        self.count(kind, node);
        (self.each)(kind, path)?;
        self.below(kind, path, node)
    }

    fn below(&mut self, kind: DiffKind, path: &[u8], node: &Node) -> Result<()> {
        let Some(content) = node.content.as_ref().filter(|_| node.is_directory()) else { return Ok(()) };
        let chunks = self.chunks;
        walk(chunks, content, path, &mut |path, visit| {
            match visit {
                Visit::Node(node) => {
                    self.count(kind, node);
                    (self.each)(kind, path)?;
                }
                Visit::Left => {}
                Visit::Damaged(error) => {
                    return Err(EngineError::new(error.kind(), format!("below {}: {error}", show(path))));
                }
            }
            Ok(Descend::Yes)
        })
    }

    fn count(&mut self, kind: DiffKind, node: &Node) {
        if kind == DiffKind::Added {
            self.report.added += 1;
            self.report.bytes_added += node.size;
        } else {
            self.report.removed += 1;
            self.report.bytes_removed += node.size;
        }
    }
}

/// What people can see and set; inode and ctime differ between machines.
fn metadata_differs(left: &Node, right: &Node) -> bool {
    let (a, b) = (&left.metadata, &right.metadata);
    a.mode != b.mode || a.uid != b.uid || a.gid != b.gid || a.mtime != b.mtime || a.xattrs != b.xattrs
}
