//! Building trees: nodes come in order, each directory is written while it grows.

use super::Gathered;
use crate::error::Result;
use crate::model::{Content, NameTable, Node, NodeKind, SnapshotStatistics};
use crate::os::Accounts;
use crate::repository::{DirectoryWriter, SegmentBuilder, SessionWriter};

/// The directories from the root to where the walk is.
pub(super) struct TreeBuilder<'w, 'a> {
    writer: &'w SessionWriter<'a>,
    chunks: SegmentBuilder<'w, 'a>,
    root: OpenTree,
    /// From below the root to where the walk is.
    open: Vec<(Node, OpenTree)>,
    accounts: Accounts,
    users: NameTable,
    groups: NameTable,
    pub(super) statistics: SnapshotStatistics,
}

/// A directory in the making.
struct OpenTree {
    writer: DirectoryWriter,
    /// The parent snapshot's node of it, but for the root, and what it holds.
    old: Option<(Option<Box<Node>>, Content)>,
    /// Whether all that came so far is in the parent's, too.
    same: bool,
}

impl OpenTree {
    fn new(old: Option<(Option<Box<Node>>, Content)>) -> Self {
        Self { writer: DirectoryWriter::default(), same: old.is_some(), old }
    }

    /// Its content: the parent's, if it holds the same. That is stored as long as the parent is.
    fn finish(self, complete: bool, chunks: &mut SegmentBuilder<'_, '_>) -> Result<(Content, Option<Box<Node>>)> {
        match self.old {
            Some((node, content)) if self.same && complete => Ok((content, node)),
            old => Ok((self.writer.finish(chunks)?, old.and_then(|(node, _)| node))),
        }
    }
}

impl<'w, 'a> TreeBuilder<'w, 'a> {
    /// `parent`: what the parent snapshot's root holds.
    pub(super) fn new(writer: &'w SessionWriter<'a>, parent: Option<Content>) -> Self {
        Self {
            writer,
            chunks: writer.tree_builder(),
            root: OpenTree::new(parent.map(|content| (None, content))),
            open: Vec::new(),
            accounts: Accounts::new(),
            users: NameTable::new(),
            groups: NameTable::new(),
            statistics: SnapshotStatistics::default(),
        }
    }

    /// A directory begins; `old` is the parent's of the same name.
    pub(super) fn enter(&mut self, node: Node, old: Option<Box<Node>>) {
        let old = old.and_then(|old| old.content.clone().map(|content| (Some(old), content)));
        self.open.push((node, OpenTree::new(old)));
    }

    /// The directory that began last ends. `complete`: the parent's has nothing that did not come.
    pub(super) fn leave(&mut self, complete: bool) -> Result<()> {
        let (mut node, tree) = self.open.pop().expect("each directory is entered before it is left");
        let (content, old) = tree.finish(complete, &mut self.chunks)?;
        node.content = Some(content);
        let same = old.is_some_and(|old| *old == node);
        self.add_node(&node, same)
    }

    /// The next node of the current directory, which the parent does not have like this.
    pub(super) fn add(&mut self, node: &Node) -> Result<()> {
        self.add_node(node, false)
    }

    /// The next node of the current directory, as the parent has it.
    pub(super) fn add_same(&mut self, node: &Node, encoded: &[u8]) -> Result<()> {
        self.count(node);
        let tree = self.open.last_mut().map_or(&mut self.root, |(_, tree)| tree);
        tree.writer.add_encoded(encoded, &node.name, self.writer.domain(), &mut self.chunks)
    }

    /// A node of the current directory could not be had: the directory is not the parent's, whatever else is in it.
    pub(super) fn omit(&mut self) {
        self.open.last_mut().map_or(&mut self.root, |(_, tree)| tree).same = false;
    }

    fn add_node(&mut self, node: &Node, same: bool) -> Result<()> {
        self.count(node);
        let tree = self.open.last_mut().map_or(&mut self.root, |(_, tree)| tree);
        tree.same &= same;
        tree.writer.add(node, self.writer.domain(), &mut self.chunks)
    }

    fn count(&mut self, node: &Node) {
        match node.kind {
            NodeKind::File => {
                self.statistics.files += 1;
                self.statistics.bytes += node.size;
            }
            NodeKind::Directory => self.statistics.directories += 1,
            _ => self.statistics.others += 1,
        }
        self.remember_names(node);
    }

    fn remember_names(&mut self, node: &Node) {
        let (uid, gid) = (node.metadata.uid, node.metadata.gid);
        if !self.users.contains_key(&uid) {
            self.users.insert(uid, self.accounts.user_name(uid).unwrap_or_default());
        }
        if !self.groups.contains_key(&gid) {
            self.groups.insert(gid, self.accounts.group_name(gid).unwrap_or_default());
        }
    }

    /// Everything has come. `complete` as for [`Self::leave`].
    pub(super) fn finish(mut self, complete: bool) -> Result<Gathered> {
        let (root, _) = self.root.finish(complete, &mut self.chunks)?;
        self.chunks.finish()?;
        // Numbers without a name were kept only to ask for each once.
        self.users.retain(|_, name| !name.is_empty());
        self.groups.retain(|_, name| !name.is_empty());
        Ok(Gathered { root, stack: None, users: self.users, groups: self.groups, statistics: self.statistics })
    }
}
