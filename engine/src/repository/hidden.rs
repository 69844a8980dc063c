//! Rows of the local database that don't count any more.
//!
//! A prune puts index objects in place of others. Most of what these listed is in the new ones as well, so the database
//! need not be made anew: packs that only objects list that are gone or replaced are hidden, and with them their
//! segments and chunks. What is hidden is worked out whenever the database is opened, from the objects that count then;
//! it is never written down.

use std::collections::HashSet;

use crate::id::IndexId;

/// What a database holds of index objects, whether they count or not.
#[derive(Default)]
pub(super) struct Held {
    /// Objects whose rows it has.
    pub(super) rows: HashSet<IndexId>,
    /// Objects that others replaced when they were read: it has nothing of them.
    pub(super) empty: HashSet<IndexId>,
    /// Objects, and what each of them says that it replaces.
    pub(super) replaces: Vec<(IndexId, IndexId)>,
}

impl Held {
    /// What is replaced, as far as the objects of which `is_there` is true say so.
    pub(super) fn replaced(&self, is_there: impl Fn(&IndexId) -> bool) -> impl Iterator<Item = IndexId> {
        self.replaces.iter().filter(move |(by, _)| is_there(by)).map(|(_, old)| *old)
    }

    /// Whether an object need not be read again: one that was replaced has to be if nothing replaces it any more.
    pub(super) fn has(&self, id: &IndexId, replaced: &HashSet<IndexId>) -> bool {
        self.rows.contains(id) || (self.empty.contains(id) && replaced.contains(id))
    }
}

/// Packs and segments, by their numbers in one database.
#[derive(Default)]
pub(super) struct Hidden {
    packs: HashSet<u32>,
    segments: Vec<u64>,
}

impl Hidden {
    /// Those packs, and no segments yet.
    pub(super) fn of(packs: HashSet<u32>) -> Self {
        Self { packs, segments: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    pub(super) fn has_pack(&self, number: u32) -> bool {
        self.packs.contains(&number)
    }

    /// Hides a segment.
    pub(super) fn add_segment(&mut self, number: u32) {
        let at = number as usize / 64;
        self.segments.resize(self.segments.len().max(at + 1), 0);
        self.segments[at] |= 1 << (number % 64);
    }

    pub(super) fn has_segment(&self, number: u32) -> bool {
        self.segments.get(number as usize / 64).is_some_and(|bits| bits & (1 << (number % 64)) != 0)
    }
}
