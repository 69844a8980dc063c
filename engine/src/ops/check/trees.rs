//! Can every directory be read, and is every chunk that it names there? What does each damage cost?

use std::collections::HashSet;

use super::{Check, short};
use crate::error::{ErrorKind, Result};
use crate::id::SnapshotId;
use crate::model::{ChunkRef, Content, Node, Snapshot};
use crate::ops::browse::{Descend, Visit, content_key, walk};
use crate::repository::{ChunkReader, ContentReader, Index, TreesAhead};

impl Check<'_> {
    /// Walks every directory once, however many snapshots hold it.
    pub(super) fn walk_trees(
        &mut self,
        index: &Index,
        snapshots: &[(SnapshotId, Snapshot)],
        mut ahead: Option<TreesAhead>,
    ) -> Result<()> {
        let repository = self.repository;
        let monitor = self.monitor;
        if let Some(ahead) = &mut ahead {
            ahead.begin_in_order(repository.storage(), index, snapshots.iter().map(|(_, snapshot)| &snapshot.root))?;
        }
        let chunks = ChunkReader::new(repository, index).with_trees_ahead(ahead);
        let mut seen = HashSet::new();
        monitor.stage("checking trees", Some(snapshots.len() as u64), None);
        for (_, snapshot) in snapshots {
            if seen.insert(content_key(&snapshot.root)) {
                self.report.trees += 1;
                walk(&chunks, &snapshot.root, b"", &mut |path, visit| {
                    self.stop_if_asked()?;
                    self.visit(&chunks, &mut seen, path, visit)
                })?;
            }
            monitor.advance(1, 0);
        }
        // Of trees that no snapshot needs nobody asks for what was read ahead.
        repository.storage().forget_expected();
        Ok(())
    }

    fn visit(
        &mut self,
        chunks: &ChunkReader<'_>,
        seen: &mut HashSet<[u8; 16]>,
        path: &[u8],
        visit: Visit<'_>,
    ) -> Result<Descend> {
        match visit {
            Visit::Node(node) => {
                let Some(content) = &node.content else { return Ok(Descend::No) };
                if node.is_directory() {
                    if !seen.insert(content_key(content)) {
                        return Ok(Descend::No);
                    }
                    self.report.trees += 1;
                } else {
                    self.monitor.current(path);
                    self.file(chunks, content)?;
                }
            }
            Visit::Left => {}
            Visit::Damaged(error) => {
                let text = error.to_string();
                if !self.damage.trees.contains_key(&text) {
                    // A pack that is known to be damaged explains it.
                    let known = error.object().and_then(|object| self.finding_of(object));
                    let finding = match known {
                        Some(finding) => finding,
                        None => self.find_error(error, "trees")?,
                    };
                    self.damage.trees.insert(text, finding);
                }
            }
        }
        Ok(Descend::Yes)
    }

    fn finding_of(&self, object: &str) -> Option<usize> {
        self.report.findings.iter().position(|finding| finding.object == object && finding.damage)
    }

    /// Every chunk of a file is listed somewhere.
    fn file(&mut self, chunks: &ChunkReader<'_>, content: &Content) -> Result<()> {
        let mut reader = ContentReader::new(chunks, content);
        loop {
            match reader.read_next() {
                Ok(None) => return Ok(()),
                Ok(Some(reference)) => self.reference(chunks, &reference)?,
                Err(error) => {
                    let text = error.to_string();
                    if !self.damage.trees.contains_key(&text) {
                        let finding = self.find_error(&error, "trees")?;
                        self.damage.trees.insert(text, finding);
                    }
                }
            }
        }
    }

    fn reference(&mut self, chunks: &ChunkReader<'_>, reference: &ChunkRef) -> Result<()> {
        if self.damage.chunks.contains_key(&short(&reference.id)) {
            return Ok(());
        }
        let Err(problem) = chunks.index().find_or_recover_whole(self.repository, reference) else { return Ok(()) };
        let is_lost = problem.kind() == ErrorKind::Missing && chunks.index().is_lost(&reference.id)?;
        let finding = match self.damage.lost.filter(|_| is_lost) {
            Some(finding) => finding,
            None if is_lost => {
                let text = "chunks are lost: a repair found no pack that has them, and they were not stored again";
                let finding = self.find("packs", text, true);
                *self.damage.lost.insert(finding)
            }
            None => self.find_error(&problem, &format!("chunk {}", reference.id))?,
        };
        self.damage.chunks.insert(short(&reference.id), finding);
        Ok(())
    }

    /// Names the paths that each damage costs. Subtrees without any are walked once.
    pub(super) fn attribute(&mut self, index: &Index, snapshots: &[(SnapshotId, Snapshot)]) -> Result<()> {
        let repository = self.repository;
        let chunks = ChunkReader::new(repository, index);
        self.monitor.stage("finding what the damage costs", Some(snapshots.len() as u64), None);
        let mut clean: HashSet<[u8; 16]> = HashSet::new();
        for (id, snapshot) in snapshots {
            // Costs found so far when a directory was entered: if none came, the directory is clean.
            let mut entered: Vec<([u8; 16], u64)> = Vec::new();
            let mut costs = 0u64;
            walk(&chunks, &snapshot.root, b"", &mut |path, visit| {
                self.stop_if_asked()?;
                match visit {
                    Visit::Node(node) => {
                        if node.is_directory() {
                            let key = node.content.as_ref().map(content_key).unwrap_or_default();
                            if clean.contains(&key) {
                                return Ok(Descend::No);
                            }
                            entered.push((key, costs));
                        } else {
                            costs += u64::from(self.attribute_file(&chunks, *id, path, node)?);
                        }
                    }
                    Visit::Left => {
                        if let Some((key, before)) = entered.pop()
                            && before == costs
                        {
                            clean.insert(key);
                        }
                    }
                    Visit::Damaged(error) => {
                        costs += 1;
                        if let Some(finding) = self.damage.trees.get(&error.to_string()).copied() {
                            self.cost(finding, *id, if path.is_empty() { b"/" } else { path });
                        }
                    }
                }
                Ok(Descend::Yes)
            })?;
            self.monitor.advance(1, 0);
        }
        Ok(())
    }

    /// Whether a file is damaged; tells the finding that explains it.
    fn attribute_file(
        &mut self,
        chunks: &ChunkReader<'_>,
        snapshot: SnapshotId,
        path: &[u8],
        node: &Node,
    ) -> Result<bool> {
        let Some(content) = &node.content else { return Ok(false) };
        let mut reader = ContentReader::new(chunks, content);
        loop {
            let finding = match reader.read_next() {
                Ok(None) => return Ok(false),
                Ok(Some(reference)) => self.finding_of_chunk(chunks.index(), &reference)?,
                Err(error) => self.damage.trees.get(&error.to_string()).copied(),
            };
            if let Some(finding) = finding {
                self.cost(finding, snapshot, path);
                return Ok(true);
            }
        }
    }

    fn finding_of_chunk(&self, index: &Index, reference: &ChunkRef) -> Result<Option<usize>> {
        if let Some(finding) = self.damage.chunks.get(&short(&reference.id)) {
            return Ok(Some(*finding));
        }
        if self.damage.packs.is_empty() {
            return Ok(None);
        }
        // As long as one of the packs that have it is whole, it can be read.
        let mut damaged = None;
        for place in index.copies(&reference.id)?.iter().filter(|place| place.len == reference.len) {
            match self.damage.packs.get(&index.segment(place.segment)?.pack()) {
                None => return Ok(None),
                finding => damaged = damaged.or(finding.copied()),
            }
        }
        Ok(damaged)
    }
}
