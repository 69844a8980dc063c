//! An earlier snapshot of the source beside its copy in a target: what is the same here at the same place is there already.
//!
//! So a copy takes over what did not change, as a snapshot does from its parent, without looking at each chunk: the copy was
//! read after the session began, and no prune drops it (PROTOCOL.md, chapter 3, 4).

use crate::model::{Content, Node};
use crate::repository::{ChunkReader, DirectoryReader};

/// The root of an earlier snapshot, here and in its copy.
pub(super) struct Earlier {
    pub(super) here: Content,
    pub(super) there: Content,
}

/// The directories of both on the way to where the walk is.
pub(super) struct Former<'c> {
    here: &'c ChunkReader<'c>,
    there: &'c ChunkReader<'c>,
    /// Nothing where the earlier snapshot has no such directory.
    levels: Vec<Option<Level<'c>>>,
}

struct Level<'c> {
    here: Names<'c>,
    there: Names<'c>,
    /// The directory that was asked for last, if both have it.
    met: Option<(Content, Content)>,
}

impl<'c> Former<'c> {
    /// At the root.
    pub(super) fn new(here: &'c ChunkReader<'c>, there: &'c ChunkReader<'c>, earlier: &Earlier) -> Self {
        let mut former = Self { here, there, levels: Vec::new() };
        former.push(Some((earlier.here.clone(), earlier.there.clone())));
        former
    }

    /// What the content of a node became, if the earlier snapshot has the same under its name. Names come in order.
    pub(super) fn became(&mut self, node: &Node) -> Option<Content> {
        let level = self.levels.last_mut()?.as_mut()?;
        level.met = None;
        let is_same_kind = |old: &Node| old.kind == node.kind;
        let here = level.here.find(&node.name).filter(is_same_kind)?.content?;
        let there = level.there.find(&node.name).filter(is_same_kind)?.content?;
        if node.content.as_ref() == Some(&here) {
            return Some(there);
        }
        level.met = node.is_directory().then_some((here, there));
        None
    }

    /// Goes into the directory that was asked for last.
    pub(super) fn enter(&mut self) {
        let met = self.levels.last_mut().and_then(|level| level.as_mut()?.met.take());
        self.push(met);
    }

    /// Goes back to the directory above.
    pub(super) fn leave(&mut self) {
        self.levels.pop();
    }

    fn push(&mut self, contents: Option<(Content, Content)>) {
        let level = contents.map(|(here, there)| Level {
            here: Names::new(self.here, &here),
            there: Names::new(self.there, &there),
            met: None,
        });
        self.levels.push(level);
    }
}

/// A directory in which names are looked for in their order.
struct Names<'c> {
    /// `None` at its end, or where it can't be read.
    reader: Option<DirectoryReader<'c>>,
    ahead: Option<Node>,
}

impl<'c> Names<'c> {
    fn new(chunks: &'c ChunkReader<'c>, content: &Content) -> Self {
        Self { reader: Some(DirectoryReader::new(chunks, content)), ahead: None }
    }

    fn find(&mut self, name: &[u8]) -> Option<Node> {
        loop {
            if self.ahead.is_none() {
                self.ahead = self.reader.as_mut()?.read_next().ok().flatten();
            }
            match self.ahead.as_ref().map(|node| node.name.as_slice().cmp(name)) {
                // What can't be read is as if it were not there: it is looked up chunk by chunk then.
                None => {
                    self.reader = None;
                    return None;
                }
                Some(std::cmp::Ordering::Less) => self.ahead = None,
                Some(std::cmp::Ordering::Equal) => return self.ahead.take(),
                Some(std::cmp::Ordering::Greater) => return None,
            }
        }
    }
}
