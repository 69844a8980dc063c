//! Which chunks a writer may build on: PROTOCOL.md, W3.

use std::collections::HashSet;

use super::rows::Rows;
use super::{Index, Plans};
use crate::error::Result;
use crate::id::ChunkId;

/// The chunks that an index lists, in packs that no open plan condemns.
pub(super) struct KnownChunks<'a> {
    index: &'a Index,
    is_empty: bool,
    /// For each store of the index the numbers of condemned packs; nothing at all if no plan is open.
    condemned: Option<Vec<HashSet<u32>>>,
}

impl<'a> KnownChunks<'a> {
    /// Looks up which packs of `index`, which was loaded after `plans` were, are condemned.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn new(index: &'a Index, plans: &Plans) -> Result<Self> {
        let condemned_in = |store: &dyn Rows| {
            let mut condemned = HashSet::new();
            Index::store_result(store.packs(&mut |number, id, _| {
                if plans.condemns(&id) {
                    condemned.insert(number);
                }
            }))?;
            Ok(condemned)
        };
        let condemned = if plans.open().is_empty() {
            None
        } else {
            Some(index.listing_stores().map(condemned_in).collect::<Result<Vec<_>>>()?)
        };
        Ok(Self { index, is_empty: index.most_chunks()? == 0, condemned })
    }

    /// Whether the chunk need not be stored.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn contains(&self, id: &ChunkId) -> Result<bool> {
        match &self.condemned {
            _ if self.is_empty => Ok(false),
            None => self.index.contains(id),
            Some(condemned) => Index::store_result((|| {
                for (store, condemned) in self.index.listing_stores().zip(condemned) {
                    for row in store.copies(id)? {
                        if !condemned.contains(&store.segment_extent(row.segment)?.pack) {
                            return Ok(true);
                        }
                    }
                }
                Ok(false)
            })()),
        }
    }
}
