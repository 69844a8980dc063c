//! Directories: nodes to tree chunks and back, streaming, however many there are.

use super::{ChunkReader, ContentReader, ContentWriter, SegmentBuilder};
use crate::chunker::TreeCutter;
use crate::crypto::DomainKeys;
use crate::error::{EngineError, Result};
use crate::format::{decode_node, encode_node};
use crate::model::{ChunkKind, Content, Node};

/// Takes the nodes of one directory in order of their names.
#[derive(Default)]
pub struct DirectoryWriter {
    chunk: Vec<u8>,
    cutter: TreeCutter,
    content: ContentWriter,
}

impl DirectoryWriter {
    /// Adds the next node.
    ///
    /// # Errors
    /// `Io`, `Interrupted`.
    pub fn add(&mut self, node: &Node, keys: &DomainKeys, trees: &mut SegmentBuilder<'_, '_>) -> Result<()> {
        let start = self.chunk.len();
        encode_node(node, &mut self.chunk);
        self.added(start, &node.name, keys, trees)
    }

    /// Adds the next node as it was encoded before.
    ///
    /// # Errors
    /// `Io`, `Interrupted`.
    pub fn add_encoded(
        &mut self,
        encoded: &[u8],
        name: &[u8],
        keys: &DomainKeys,
        trees: &mut SegmentBuilder<'_, '_>,
    ) -> Result<()> {
        let start = self.chunk.len();
        self.chunk.extend_from_slice(encoded);
        self.added(start, name, keys, trees)
    }

    fn added(
        &mut self,
        start: usize,
        name: &[u8],
        keys: &DomainKeys,
        trees: &mut SegmentBuilder<'_, '_>,
    ) -> Result<()> {
        let len = self.chunk.len() - start;
        if self.cutter.ends_before(len) {
            let rest = self.chunk.split_off(start);
            self.flush(trees)?;
            self.chunk = rest;
        }
        if self.cutter.add(len, || keys.tree_cut_hash(name)) { self.flush(trees) } else { Ok(()) }
    }

    fn flush(&mut self, trees: &mut SegmentBuilder<'_, '_>) -> Result<()> {
        let reference = trees.add(&self.chunk)?;
        self.content.push(reference, trees)?;
        self.chunk.clear();
        self.cutter.reset();
        Ok(())
    }

    /// The content of the directory.
    ///
    /// # Errors
    /// `Io`, `Interrupted`.
    pub fn finish(mut self, trees: &mut SegmentBuilder<'_, '_>) -> Result<Content> {
        if !self.chunk.is_empty() {
            self.flush(trees)?;
        }
        match self.content.finish(trees)? {
            Content::Chunks(chunks) if chunks.is_empty() => Ok(Content::Inline(Vec::new())),
            content => Ok(content),
        }
    }
}

/// Gives the nodes of one directory in order of their names.
pub struct DirectoryReader<'a> {
    chunks: &'a ChunkReader<'a>,
    content: ContentReader<'a>,
    bytes: Vec<u8>,
    position: usize,
    /// Where the last node began.
    last_start: usize,
    last_name: Vec<u8>,
}

impl<'a> DirectoryReader<'a> {
    /// Begins with the first node.
    pub fn new(chunks: &'a ChunkReader<'a>, content: &Content) -> Self {
        let bytes = match content {
            Content::Inline(bytes) => bytes.clone(),
            _ => Vec::new(),
        };
        let content = ContentReader::new(chunks, content);
        Self { chunks, content, bytes, position: 0, last_start: 0, last_name: Vec::new() }
    }

    /// The next node.
    ///
    /// # Errors
    /// `Missing`, `Damaged`, `Io` of a tree chunk. Its nodes are left out; calling again goes on behind it.
    pub fn read_next(&mut self) -> Result<Option<Node>> {
        while self.position == self.bytes.len() {
            let Some(reference) = self.content.read_next()? else { return Ok(None) };
            self.bytes = self.chunks.read(ChunkKind::Tree, &reference)?;
            self.position = 0;
        }
        let decoded = decode_node(&self.bytes[self.position..]);
        let (node, len) = match decoded {
            Ok((node, len)) if self.last_name < node.name => (node, len),
            other => {
                // What follows in this chunk can't be told apart any more.
                self.position = self.bytes.len();
                let why = other.err().map_or("names are not in order".to_owned(), |error| error.to_string());
                return Err(EngineError::damaged(format!("directory listing: {why}")));
            }
        };
        self.last_start = self.position;
        self.position += len;
        self.last_name.clone_from(&node.name);
        Ok(Some(node))
    }

    /// The bytes of the node that [`Self::read_next`] gave last, and did give.
    pub fn last_encoded(&self) -> &[u8] {
        &self.bytes[self.last_start..self.position]
    }

    /// The node of a name, if there is one. Reads from here on; names come in order.
    ///
    /// # Errors
    /// As [`Self::read_next`].
    pub fn find(&mut self, name: &[u8]) -> Result<Option<Node>> {
        while let Some(node) = self.read_next()? {
            if node.name.as_slice() >= name {
                return Ok((node.name == name).then_some(node));
            }
        }
        Ok(None)
    }
}
