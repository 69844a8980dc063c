//! The names of one directory on a walk, with what is known about them already, and what is announced to the scouts.

use std::collections::VecDeque;
use std::sync::Arc;

use super::scout::{BLOCK_NAMES, Scout, Seen, Task, Ticket};
use crate::model::NodeKind;
use crate::os::{Directory, Names, Stat};

/// How many directories of one listing are announced at a time.
const DIRECTORIES_AHEAD: usize = 32;
/// How many blocks of names are announced at a time.
const BLOCKS_AHEAD: usize = 2;

/// A name, and what was found out about it ahead.
pub(super) struct Listed<'a> {
    pub(super) name: Vec<u8>,
    /// `None`: not looked at yet.
    pub(super) stat: Option<Stat>,
    /// For a directory that is being read.
    pub(super) ticket: Option<Ticket<'a>>,
}

/// The names of a directory, in order.
pub(super) struct Listing<'a> {
    names: Arc<Names>,
    next: usize,
    /// Of the names of the current block, which begins at `block_start`. May be shorter than the block.
    stats: Vec<Option<Stat>>,
    block_start: usize,
    /// The blocks after the current one, in order.
    blocks: VecDeque<Ticket<'a>>,
    /// Directories that are being read, with their indexes.
    directories: VecDeque<(usize, Ticket<'a>)>,
    /// The first name that was not considered for `directories`.
    considered: usize,
}

impl<'a> Listing<'a> {
    /// `stats` are those of the first names.
    pub(super) fn new(names: Names, stats: Vec<Option<Stat>>) -> Self {
        Self {
            names: Arc::new(names),
            next: 0,
            stats,
            block_start: 0,
            blocks: VecDeque::new(),
            directories: VecDeque::new(),
            considered: 0,
        }
    }

    pub(super) fn has_more(&self) -> bool {
        self.next < self.names.len()
    }

    /// The next name.
    pub(super) fn next(&mut self) -> Option<Listed<'a>> {
        let index = self.next;
        let name = self.names.get(index)?.to_vec();
        self.next += 1;
        if index == self.block_start + BLOCK_NAMES {
            self.block_start = index;
            self.stats = match self.blocks.pop_front().map(Ticket::redeem) {
                Some(Seen::Look(stats)) => stats,
                _ => Vec::new(),
            };
        }
        let stat = self.stats.get(index - self.block_start).copied().flatten();
        while self.directories.front().is_some_and(|(announced, _)| *announced < index) {
            self.directories.pop_front();
        }
        let is_announced = self.directories.front().is_some_and(|(announced, _)| *announced == index);
        let ticket = if is_announced { self.directories.pop_front() } else { None };
        Some(Listed { name, stat, ticket: ticket.map(|(_, ticket)| ticket) })
    }

    /// Announces what comes: the next blocks of names, and the next directories that the walk will go into.
    pub(super) fn look_ahead(
        &mut self,
        scout: &'a Scout,
        directory: &Arc<Directory>,
        goes_into: impl Fn(&[u8], &Stat) -> Option<bool>,
    ) {
        self.announce_blocks(scout, directory);
        // In batches: asking the scouts for each directory alone would wake them for each.
        if self.directories.len() > DIRECTORIES_AHEAD / 2 {
            return;
        }
        self.considered = self.considered.max(self.next).max(self.block_start);
        let (mut indexes, mut tasks) = (Vec::new(), Vec::new());
        while self.directories.len() + tasks.len() < DIRECTORIES_AHEAD {
            let Some(stat) = self.stats.get(self.considered - self.block_start) else { break };
            let index = self.considered;
            self.considered += 1;
            let Some(stat) = stat.filter(|stat| stat.kind == NodeKind::Directory) else { continue };
            let name = self.names.get(index).expect("only names were looked at");
            if let Some(quietly) = goes_into(name, &stat) {
                indexes.push(index);
                tasks.push(Task::Read { above: Arc::clone(directory), name: name.to_vec(), quietly });
            }
        }
        if !tasks.is_empty() {
            self.directories.extend(indexes.into_iter().zip(scout.announce(tasks)));
        }
    }

    fn announce_blocks(&mut self, scout: &'a Scout, directory: &Arc<Directory>) {
        while self.blocks.len() < BLOCKS_AHEAD {
            let start = self.block_start + (self.blocks.len() + 1) * BLOCK_NAMES;
            let end = self.names.len().min(start + BLOCK_NAMES);
            if start >= end {
                break;
            }
            let task =
                Task::Look { directory: Arc::clone(directory), names: Arc::clone(&self.names), range: start..end };
            self.blocks.extend(scout.announce(vec![task]));
        }
    }
}
