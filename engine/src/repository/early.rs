//! Work of this machine that can be done while a storage that is far away answers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread::{Builder, JoinHandle};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::Repository;
use super::load::RECENT_OBJECTS;
use crate::crypto::{Secret, SlotView, Stretch, Stretched};
use crate::format::IndexObject;
use crate::id::IndexId;
use crate::os::durable;
use crate::os::lock::replace_cached;

const ID_BYTES: usize = 32;

/// A stretching that has begun, on a thread of its own: it takes longer than a round trip, and whoever knows how a slot wants it
/// can begin before the slot is here.
pub struct EarlyStretch {
    stretch: Stretch,
    thread: JoinHandle<Option<Stretched>>,
}

impl EarlyStretch {
    /// Begins; `None` if that can't be.
    pub fn begin(secret: &Secret, stretch: Stretch) -> Option<Self> {
        let secret = secret.clone();
        let thread = Builder::new().spawn(move || stretch.run(&secret).ok()).ok()?;
        Some(Self { stretch, thread })
    }

    /// Whether it is what a slot wants.
    pub(super) fn is_for(&self, view: &SlotView<'_>) -> bool {
        Stretch::of(view) == Some(self.stretch)
    }

    /// What came of it; `None` if nothing did.
    pub(super) fn finish(self) -> Option<Stretched> {
        self.thread.join().ok().flatten()
    }
}

/// Index objects that were opened before a list showed them: nobody is given one that no list has shown.
#[derive(Default)]
pub(super) struct OpenedIndexes(Mutex<HashMap<IndexId, IndexObject>>);

impl OpenedIndexes {
    pub(super) fn take(&self, id: IndexId) -> Option<IndexObject> {
        self.0.lock().expect("no holder of this lock panics").remove(&id)
    }

    /// Those that nobody took are not lacking any more.
    pub(super) fn clear(&self) {
        self.0.lock().expect("no holder of this lock panics").clear();
    }
}

impl Repository {
    /// Remembers which index objects the local index lacked: the next command lacks them, too, most likely.
    pub(super) fn remember_lacking(&self, ids: &[IndexId]) {
        if !self.keeps_objects() || ids.len() > RECENT_OBJECTS {
            return;
        }
        let mut ids = ids.to_vec();
        ids.sort();
        if self.lacking() != ids {
            let lacking: Vec<u8> = ids.iter().flat_map(|id| *id.as_bytes()).collect();
            // Without it the next command takes a little longer.
            let _ = replace_cached(&self.lacking_path(), &lacking);
        }
    }

    /// Remembers one that was just put.
    pub(super) fn remember_put(&self, id: IndexId) {
        self.remember_lacking(&[self.lacking(), vec![id]].concat());
    }

    /// Does `meanwhile`, and opens at the same time the index objects that were lacking last, as far as they are kept.
    pub(super) fn open_indexes_beside<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        let ids = self.lacking();
        if ids.is_empty() {
            return meanwhile();
        }
        let open = || -> HashMap<IndexId, IndexObject> {
            ids.into_par_iter().filter_map(|id| Some((id, self.open_kept_index(id)?))).collect()
        };
        std::thread::scope(|scope| {
            let opening = Builder::new().spawn_scoped(scope, open).ok();
            let done = meanwhile();
            if let Some(opened) = opening.and_then(|thread| thread.join().ok()) {
                self.opened_indexes.0.lock().expect("no holder of this lock panics").extend(opened);
            }
            done
        })
    }

    /// What is remembered, in order; nothing if no objects are kept.
    fn lacking(&self) -> Vec<IndexId> {
        if !self.keeps_objects() {
            return Vec::new();
        }
        let most = (RECENT_OBJECTS * ID_BYTES) as u64;
        let lacking = durable::read_file(&self.lacking_path(), None, most).unwrap_or_default();
        lacking.chunks_exact(ID_BYTES).filter_map(IndexId::from_slice).collect()
    }

    fn lacking_path(&self) -> PathBuf {
        self.cache_directory().join("lacking")
    }
}
