//! What repairs wrote into the index, and what they ask of it.

use std::collections::HashSet;

use super::{Index, Place, RECOVERED, store_error};
use crate::error::Result;
use crate::format::IndexObject;
use crate::id::{ChunkId, IndexId, PackId};

impl Index {
    /// Index objects that others take the place of. All of them only if the index was loaded anew.
    pub fn replaced(&self) -> &HashSet<IndexId> {
        &self.replaced
    }

    /// Packs that index objects list and this does not, since it was loaded without them.
    pub(crate) fn left_out(&self) -> &HashSet<PackId> {
        &self.left_out
    }

    /// Packs that no index object lists, and in which [`Self::find_or_recover`] found something nevertheless.
    pub(crate) fn found_by_footers(&self) -> HashSet<PackId> {
        self.found_by_footers.lock().expect("no holder of this lock panics").clone()
    }

    /// Packs that a repair took out of the index. All of them only if the index was loaded anew.
    pub fn taken_out(&self) -> &HashSet<PackId> {
        &self.taken_out
    }

    /// Whether chunks were found to be lost at some time: only then [`Self::is_lost`] can be true.
    ///
    /// # Errors
    /// `Io` if the local database fails.
    pub fn knows_of_losses(&self) -> Result<bool> {
        for store in &self.stores {
            if store.has_lost().map_err(store_error)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a chunk was found to be lost, and not stored again since.
    ///
    /// # Errors
    /// `Io` if the local database fails.
    pub fn is_lost(&self, id: &ChunkId) -> Result<bool> {
        for store in &self.stores {
            if store.was_lost(id).map_err(store_error)? {
                return Ok(!self.contains(id)?);
            }
        }
        Ok(false)
    }

    /// Takes the packs out of an index object that this index does not list.
    pub(in crate::repository) fn leave_out(&mut self, object: &mut IndexObject) {
        let left_out = object.packs.iter().map(|pack| pack.id).filter(|id| self.without.contains(id));
        self.left_out.extend(left_out);
        object.packs.retain(|pack| !self.without.contains(&pack.id));
    }

    /// Remembers the pack of a place that was found by its footer.
    pub(super) fn note_recovered(&self, place: Place) -> Result<Place> {
        if place.segment.0 == RECOVERED {
            let pack = self.segment(place.segment)?.pack();
            self.found_by_footers.lock().expect("no holder of this lock panics").insert(pack);
        }
        Ok(place)
    }
}
