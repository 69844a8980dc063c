//! A reader that meets a pack which a prune swept meanwhile: PROTOCOL.md, chapter 6, "Readers".

use super::Index;
use crate::error::Result;
use crate::id::PackId;
use crate::monitor::Silent;
use crate::repository::Repository;

/// How often an index is loaded again. Each time means that another prune came by.
const RENEWALS: u8 = 8;
/// Stores that one loaded index has, at most.
const STORES: u8 = 16;

impl Index {
    /// Loads what the index says now, since a pack that it names is gone: from then on, [`Self::find`] looks there first.
    /// `false` if that names the pack, too, so that it is missing.
    ///
    /// # Errors
    /// `Io`, `Damaged` if sessions can't be listed or read.
    pub(crate) fn renew(&self, repository: &Repository, gone: &PackId) -> Result<bool> {
        let mut still_named = self.renewing.lock().expect("no holder of this lock panics");
        if still_named.contains(gone) {
            return Ok(false);
        }
        let mut newest = self;
        for _ in 0..RENEWALS {
            let Some(later) = newest.later.get() else {
                let mut now = repository.load_index(&Silent)?;
                now.first_store = newest.first_store + STORES;
                let is_swept = !now.has_pack(gone)?;
                if is_swept {
                    let _ = newest.later.set(Box::new(now));
                } else {
                    // Those who let go of a pack put what names it no more first. So that stays so.
                    still_named.insert(*gone);
                }
                return Ok(is_swept);
            };
            // Somebody else met it before.
            if !later.has_pack(gone)? {
                return Ok(true);
            }
            newest = later;
        }
        Ok(false)
    }
}
