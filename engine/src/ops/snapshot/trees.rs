//! Building trees: nodes come in order, each directory is written while it grows.

use super::Gathered;
use crate::error::Result;
use crate::model::{NameTable, Node, NodeKind, SnapshotStatistics};
use crate::os::Accounts;
use crate::repository::{DirectoryWriter, SegmentBuilder, SessionWriter};

/// The directories from the root to where the walk is.
pub(super) struct TreeBuilder<'w, 'a> {
    writer: &'w SessionWriter<'a>,
    chunks: SegmentBuilder<'w, 'a>,
    root: DirectoryWriter,
    open: Vec<(Node, DirectoryWriter)>,
    accounts: Accounts,
    users: NameTable,
    groups: NameTable,
    pub(super) statistics: SnapshotStatistics,
}

impl<'w, 'a> TreeBuilder<'w, 'a> {
    pub(super) fn new(writer: &'w SessionWriter<'a>) -> Self {
        Self {
            writer,
            chunks: writer.tree_builder(),
            root: DirectoryWriter::default(),
            open: Vec::new(),
            accounts: Accounts::new(),
            users: NameTable::new(),
            groups: NameTable::new(),
            statistics: SnapshotStatistics::default(),
        }
    }

    /// A directory begins.
    pub(super) fn enter(&mut self, node: Node) {
        self.open.push((node, DirectoryWriter::default()));
    }

    /// The directory that began last ends.
    pub(super) fn leave(&mut self) -> Result<()> {
        let (mut node, directory) = self.open.pop().expect("each directory is entered before it is left");
        node.content = Some(directory.finish(&mut self.chunks)?);
        self.add(&node)
    }

    /// The next node of the current directory.
    pub(super) fn add(&mut self, node: &Node) -> Result<()> {
        match node.kind {
            NodeKind::File => {
                self.statistics.files += 1;
                self.statistics.bytes += node.size;
            }
            NodeKind::Directory => self.statistics.directories += 1,
            _ => self.statistics.others += 1,
        }
        self.remember_names(node);
        let directory = self.open.last_mut().map_or(&mut self.root, |(_, directory)| directory);
        directory.add(node, self.writer.repository().domain(), &mut self.chunks)
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

    /// Everything has come.
    pub(super) fn finish(mut self) -> Result<Gathered> {
        let root = self.root.finish(&mut self.chunks)?;
        self.chunks.finish()?;
        // Numbers without a name were kept only to ask for each once.
        self.users.retain(|_, name| !name.is_empty());
        self.groups.retain(|_, name| !name.is_empty());
        Ok(Gathered { root, users: self.users, groups: self.groups, statistics: self.statistics })
    }
}
