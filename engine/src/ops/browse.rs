//! Looking into snapshots: nodes by path, listings, and the walk that others build on.

use crate::crypto::hash_parts;
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::encode_references;
use crate::limits;
use crate::model::{Content, Node, Snapshot};
use crate::repository::{ChunkReader, DirectoryReader, Index, Repository};

/// What a walk meets.
pub(super) enum Visit<'a> {
    /// A node below its path; directories before what is in them. All but a directory's kind and content may be taken.
    Node(&'a mut Node),
    /// All that is in a directory has been visited.
    Left,
    /// A listing could not be read; what was lost is below this directory.
    Damaged(&'a EngineError),
}

/// Whether to go into a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Descend {
    Yes,
    No,
}

/// Walks everything below a directory's content, depth first, names in order. `path` is the directory's own and
/// is extended for each visit; memory grows with the depth only.
///
/// # Errors
/// What `visit` returns; `Damaged` below a directory is for `visit` to judge.
pub(super) fn walk(
    chunks: &ChunkReader<'_>,
    content: &Content,
    path: &[u8],
    visit: &mut dyn FnMut(&[u8], Visit<'_>) -> Result<Descend>,
) -> Result<()> {
    let mut path = path.to_vec();
    let mut stack = vec![(DirectoryReader::new(chunks, content), path.len())];
    while let Some((directory, parent_len)) = stack.last_mut() {
        let parent_len = *parent_len;
        path.truncate(parent_len);
        match directory.read_next() {
            Ok(None) => {
                stack.pop();
                if !stack.is_empty() {
                    visit(&path, Visit::Left)?;
                }
            }
            Err(error) => drop(visit(&path, Visit::Damaged(&error))?),
            Ok(Some(mut node)) => {
                if path.last() != Some(&b'/') {
                    path.push(b'/');
                }
                path.extend_from_slice(&node.name);
                let descend = visit(&path, Visit::Node(&mut node))?;
                if let (Descend::Yes, true, Some(content)) = (descend, node.is_directory(), &node.content) {
                    if stack.len() >= limits::DIRECTORY_DEPTH {
                        let error = EngineError::damaged("directories are nested too deep");
                        visit(&path, Visit::Damaged(&error))?;
                        continue;
                    }
                    stack.push((DirectoryReader::new(chunks, content), path.len()));
                }
            }
        }
    }
    Ok(())
}

/// Names a content, to know it again.
pub(super) fn content_key(content: &Content) -> [u8; 16] {
    let hash = match content {
        Content::Inline(bytes) => hash_parts(&[b"i", bytes]),
        Content::Chunks(references) => hash_parts(&[b"c", &encode_references(references)]),
        Content::Lists { depth, lists } => hash_parts(&[&[*depth], &encode_references(lists)]),
    };
    hash[..16].try_into().expect("16 of 32 bytes")
}

/// The components of a path, without empty ones and `.`.
pub(super) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// The node of a path in a snapshot; `None` for the root.
///
/// # Errors
/// `NotFound` with the part that isn't there; `Damaged`, `Missing`, `Io`.
pub fn node_at(repository: &Repository, index: &Index, snapshot: &Snapshot, path: &[u8]) -> Result<Option<Node>> {
    find_node(&ChunkReader::new(repository, index), snapshot, path)
}

pub(super) fn find_node(chunks: &ChunkReader<'_>, snapshot: &Snapshot, path: &[u8]) -> Result<Option<Node>> {
    let mut found: Option<Node> = None;
    let mut so_far = Vec::new();
    for part in components(path) {
        let content = match &found {
            None => Some(&snapshot.root),
            Some(node) if node.is_directory() => node.content.as_ref(),
            Some(_) => None,
        };
        so_far.push(b'/');
        so_far.extend_from_slice(part);
        let missing = || EngineError::new(ErrorKind::NotFound, format!("{} is not in the snapshot", show(&so_far)));
        let content = content.ok_or_else(missing)?;
        found = Some(DirectoryReader::new(chunks, content).find(part)?.ok_or_else(missing)?);
    }
    Ok(found)
}

/// A path in an error message.
pub(super) fn show(path: &[u8]) -> String {
    path.escape_ascii().to_string().replace("\\'", "'").replace("\\\"", "\"")
}

/// Calls `each` with the nodes of a directory and their full paths, all below it if `recursive`; with the node
/// itself if `path` is no directory.
///
/// # Errors
/// `NotFound`; `Damaged` or `Missing` at the end if a listing could not be read, after everything else was
/// listed; `Io`; what `each` returns.
pub fn ls(
    repository: &Repository,
    index: &Index,
    snapshot: &Snapshot,
    path: &[u8],
    recursive: bool,
    each: &mut dyn FnMut(&[u8], &Node) -> Result<()>,
) -> Result<()> {
    let chunks = ChunkReader::new(repository, index);
    let mut base: Vec<u8> = Vec::new();
    for part in components(path) {
        base.push(b'/');
        base.extend_from_slice(part);
    }
    let node = find_node(&chunks, snapshot, path)?;
    let content = match &node {
        None => &snapshot.root,
        Some(Node { content: Some(content), kind: crate::model::NodeKind::Directory, .. }) => content,
        Some(node) => return each(&base, node),
    };
    list_all(&chunks, content, &base, recursive, each)
}

/// Lists below a content; the first unreadable listing is told at the end.
pub(super) fn list_all(
    chunks: &ChunkReader<'_>,
    content: &Content,
    base: &[u8],
    recursive: bool,
    each: &mut dyn FnMut(&[u8], &Node) -> Result<()>,
) -> Result<()> {
    let mut damage = None;
    walk(chunks, content, base, &mut |path, visit| {
        match visit {
            Visit::Node(node) => each(path, node)?,
            Visit::Left => {}
            Visit::Damaged(error) => {
                let text = format!("below {}: {error}", show(if path.is_empty() { b"/" } else { path }));
                damage.get_or_insert(EngineError::new(error.kind(), text));
            }
        }
        Ok(if recursive { Descend::Yes } else { Descend::No })
    })?;
    damage.map_or(Ok(()), Err)
}
