//! Which chunk is where: the local redb database, brought up to date from index objects.
//!
//! The database in the cache directory is shared: whoever needs it updates it under a lock, then opens it
//! read-only. While other processes read, it can't be updated; what it lacks then goes into a private database
//! that is unlinked as soon as it is open, so that it ends with the process however that ends. A database that is
//! not byte for byte what its last writer left (its hash is kept beside it), does not open, has another schema, or
//! holds index objects that don't count any more is deleted and built again.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::store::{SegmentRowView, Store, StoreResult};
use super::{Repository, SessionTable, object_error};
use crate::crypto::{hash, random_bytes};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{self, IndexObject, TAIL_BYTES};
use crate::id::{ChunkId, IndexId, PackId, hex};
use crate::limits;
use crate::model::{ChunkKind, PackRow};
use crate::monitor::Monitor;
use crate::os::durable;
use crate::os::lock::{FileLock, hash_file, remove_cached, write_cached};
use crate::storage::{ObjectFamily, ObjectName};

/// Tells the segments of one loaded index apart: which database, and which row.
pub type SegmentKey = (u8, u32);

/// Where a segment is and how to open it. Two are the same segment if their `key` is.
#[derive(Debug, Clone)]
pub struct SegmentPlace {
    /// Tells segments of one loaded index apart.
    pub key: SegmentKey,
    view: SegmentRowView,
}

impl SegmentPlace {
    /// The pack that holds it.
    pub fn pack(&self) -> PackId {
        self.view.pack
    }

    /// First byte in the pack.
    pub fn offset(&self) -> u32 {
        self.view.offset
    }

    /// Length in bytes in the pack.
    pub fn sealed_len(&self) -> u32 {
        self.view.sealed_len
    }

    /// Length in bytes of its chunks together.
    pub fn plain_len(&self) -> u32 {
        self.view.plain_len
    }

    /// What its chunks hold.
    pub fn kind(&self) -> ChunkKind {
        self.view.kind
    }

    pub(super) fn view(&self) -> &SegmentRowView {
        &self.view
    }
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which segment; [`Index::segment`] says where that is.
    pub segment: SegmentKey,
    /// First byte in the segment's plaintext.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

/// A loaded index.
pub struct Index {
    stores: Vec<Store>,
    /// From footers of packs that no index object lists; made when a chunk is found nowhere else.
    recovered: OnceLock<Option<Store>>,
    sessions: SessionTable,
    damaged: Vec<(IndexId, EngineError)>,
    /// Index objects that others, which count, take the place of.
    replaced: HashSet<IndexId>,
}

/// The private store, past any that a loaded index has.
const RECOVERED: u8 = u8::MAX;

impl Repository {
    /// Brings the local index up to date and opens it.
    ///
    /// An index object that can't be read is left out and remembered ([`Index::damaged`]): chunks that only it
    /// lists are found through the packs' footers when they are needed.
    ///
    /// # Errors
    /// `Io`, `Damaged` if sessions can't be listed or read.
    pub fn load_index(&self, monitor: &dyn Monitor) -> Result<Index> {
        let (listed, mut index) = self.empty_index()?;
        if let Some(problem) = self.cache_problem() {
            monitor.note(&format!("{problem}; going on without a cache"));
        }
        let shared = self.update_shared(&listed, &mut index, monitor);
        let (store, held) = match shared {
            Ok(Some(found)) => found,
            Ok(None) => (None, HashSet::new()),
            Err(error) => {
                monitor.note(&format!("local index: {error}; going on without it"));
                (None, HashSet::new())
            }
        };
        index.stores.extend(store);
        let missing: Vec<IndexId> = listed.difference(&held).copied().collect();
        let known_bad: HashSet<IndexId> = index.damaged.iter().map(|(id, _)| *id).collect();
        let missing: Vec<IndexId> =
            missing.into_iter().filter(|id| !known_bad.contains(id) && !index.skips(id)).collect();
        if missing.is_empty() {
            return Ok(index);
        }
        let mut private = self.private_store()?;
        let outdated = self.import(&mut private, &missing, &mut index, false, monitor)?;
        index.stores.push(private);
        if outdated || index.replaced.iter().any(|id| held.contains(id)) {
            // Which objects are replaced is known now: begin anew, with those that count.
            self.import_all(&listed, &mut index, monitor)?;
        }
        Ok(index)
    }

    /// Reads every index object, whatever the cache says: for those who are to judge the objects themselves.
    ///
    /// # Errors
    /// As [`Self::load_index`].
    pub fn load_index_anew(&self, monitor: &dyn Monitor) -> Result<Index> {
        let (listed, mut index) = self.empty_index()?;
        if self.import_all(&listed, &mut index, monitor)? {
            self.import_all(&listed, &mut index, monitor)?;
        }
        Ok(index)
    }

    /// An index of nothing, and the objects that there are.
    fn empty_index(&self) -> Result<(HashSet<IndexId>, Index)> {
        let sessions = SessionTable::load(self)?;
        let mut listed = HashSet::new();
        self.storage().list(ObjectFamily::Indexes, &mut |name, _| {
            if let ObjectName::Index(id) = name {
                listed.insert(id);
            }
        })?;
        let index = Index {
            stores: Vec::new(),
            recovered: OnceLock::new(),
            sessions,
            damaged: Vec::new(),
            replaced: HashSet::new(),
        };
        Ok((listed, index))
    }

    /// Makes the index anew, in a private store. Whether an object turned out to be replaced too late.
    fn import_all(&self, listed: &HashSet<IndexId>, index: &mut Index, monitor: &dyn Monitor) -> Result<bool> {
        index.stores.clear();
        index.damaged.clear();
        let mut all = self.private_store()?;
        let ids: Vec<IndexId> = listed.iter().copied().collect();
        let outdated = self.import(&mut all, &ids, index, false, monitor)?;
        index.stores.push(all);
        Ok(outdated)
    }

    /// Updates the shared database if nobody reads it, then opens it for reading. `None` if it can't be had.
    fn update_shared(
        &self,
        listed: &HashSet<IndexId>,
        index: &mut Index,
        monitor: &dyn Monitor,
    ) -> Result<Option<(Option<Store>, HashSet<IndexId>)>> {
        let path = self.shared_path();
        let lock = self.cache_directory().join("index.lock");
        let _lock = FileLock::exclusive(&lock).map_err(|error| EngineError::io("lock", &lock, error))?;
        match self.bring_up_to_date(listed, index, monitor) {
            Ok(()) => {}
            // Somebody is reading it: it is good, only perhaps not complete.
            Err(Update::InUse) => {}
            Err(Update::Broken) => {
                monitor.note("local index: damaged, building it again");
                remove_cached(&path).map_err(|error| EngineError::io("remove", &path, error))?;
                index.damaged.clear();
                match self.bring_up_to_date(listed, index, monitor) {
                    Ok(()) => {}
                    Err(Update::InUse | Update::Broken) => return Ok(None),
                    Err(Update::Failed(error)) => return Err(error),
                }
            }
            Err(Update::Failed(error)) => return Err(error),
        }
        let opened = Store::open_shared(&path).and_then(|store| Ok((store.objects()?, store)));
        match opened {
            Ok((held, store)) if held.is_subset(listed) => Ok(Some((Some(store), held))),
            // It holds what does not count any more, and can't be rebuilt while others read it.
            Ok(_) => Ok(None),
            Err(_) => Ok(None),
        }
    }

    fn bring_up_to_date(
        &self,
        listed: &HashSet<IndexId>,
        index: &mut Index,
        monitor: &dyn Monitor,
    ) -> Result<(), Update> {
        let path = self.shared_path();
        if path.exists() {
            // A disk that flips a bit, or a writer that was killed: redb would not notice everywhere.
            if !is_sealed(&path) {
                return Err(Update::Broken);
            }
            // Most commands find nothing to do, and need not open it for writing.
            match Store::open_shared(&path).and_then(|store| store.objects()) {
                Ok(held) if held.is_subset(listed) && listed.iter().all(|id| held.contains(id) || index.skips(id)) => {
                    return Ok(());
                }
                Ok(held) if !held.is_subset(listed) => return Err(Update::Broken),
                _ => {}
            }
        }
        let mut store = Store::open_own(&path).map_err(Update::from)?;
        let held = store.objects().map_err(Update::from)?;
        let missing: Vec<IndexId> = listed.difference(&held).filter(|id| !index.skips(id)).copied().collect();
        let outdated = self.import(&mut store, &missing, index, true, monitor).map_err(Update::Failed)?;
        drop(store);
        seal(&path).map_err(|error| Update::Failed(EngineError::io("write", &path, error)))?;
        if outdated { Err(Update::Broken) } else { Ok(()) }
    }

    fn shared_path(&self) -> PathBuf {
        self.cache_directory().join("index.redb")
    }

    /// A database that nobody else sees and that is gone when it is closed.
    pub(super) fn private_store(&self) -> Result<Store> {
        let path = self.cache_directory().join(format!("private-{}.redb", hex(&random_bytes::<8>())));
        let store = Store::open_own(&path).map_err(store_error)?;
        remove_cached(&path).map_err(|error| EngineError::io("unlink", &path, error))?;
        Ok(store)
    }

    /// Reads index objects and takes those in that count, some hundred thousand chunks at a time. Whether one of
    /// them replaces another that is in already: then the store must be made anew, now that this is known.
    fn import(
        &self,
        store: &mut Store,
        ids: &[IndexId],
        index: &mut Index,
        durable: bool,
        monitor: &dyn Monitor,
    ) -> Result<bool> {
        monitor.stage("reading index", Some(ids.len() as u64), None);
        let mut taken = store.objects().map_err(store_error)?;
        let mut outdated = false;
        let mut import = store.import(durable).map_err(store_error)?;
        for id in ids {
            match self.read_index(*id) {
                Ok(object) if index.sessions.is_committed(object.session) => {
                    outdated |= object.replaces.iter().any(|old| taken.contains(old) && !index.replaced.contains(old));
                    index.replaced.extend(object.replaces.iter().copied());
                    let object = if index.replaced.contains(id) { IndexObject::empty(object.session) } else { object };
                    taken.insert(*id);
                    import.add(*id, &object).map_err(store_error)?;
                }
                Ok(_) => index.sessions.mark_uncommitted(*id),
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                Err(error) => index.damaged.push((*id, error)),
            }
            monitor.advance(1, 0);
        }
        import.finish().map_err(store_error)?;
        Ok(outdated)
    }

    /// Reads and opens an index object.
    ///
    /// # Errors
    /// `Missing`, `Damaged`, `Unsupported`, `Io`.
    pub fn read_index(&self, id: IndexId) -> Result<IndexObject> {
        let name = ObjectName::Index(id);
        let object = self.storage().read(name, None, limits::INDEX_BYTES)?;
        if hash(&object) != *id.as_bytes() {
            return Err(EngineError::damaged(format!("object {name} does not have the content that its name says")));
        }
        let (_, index) = format::decode_index(&object, self.keys()).map_err(|error| object_error(name, error))?;
        Ok(index)
    }

    /// Reads and opens the footer of a pack of `len` bytes.
    ///
    /// # Errors
    /// `Missing`, `Damaged`, `Unsupported`, `Io`.
    pub fn read_footer(&self, id: PackId, len: u64) -> Result<format::Footer> {
        let name = ObjectName::Pack(id);
        let damaged = |error| object_error(name, error);
        let tail_start = len
            .checked_sub(TAIL_BYTES as u64)
            .ok_or_else(|| EngineError::damaged(format!("object {name} is cut short")))?;
        let tail_bytes = self.storage().read(name, Some(tail_start..len), TAIL_BYTES as u64)?;
        let tail = format::decode_tail(&tail_bytes, len).map_err(damaged)?;
        let start = tail_start - u64::from(tail.footer_len);
        let sealed = self.storage().read(name, Some(start..tail_start), limits::INDEX_BYTES)?;
        format::decode_footer(&sealed, &self.keys().domain(tail.domain), tail.epoch, start).map_err(damaged)
    }

    /// A private store of all packs that `index` does not list, whoever wrote them and however that ended: a chunk
    /// that its id proves may always be read, if only never built upon.
    fn recover_from_footers(&self, index: &Index) -> Result<Store> {
        let mut packs = Vec::new();
        self.storage().list(ObjectFamily::Packs, &mut |name, len| {
            if let ObjectName::Pack(id) = name {
                packs.push((id, len));
            }
        })?;
        let mut store = self.private_store()?;
        let mut import = store.import(false).map_err(store_error)?;
        for (id, len) in packs {
            if index.has_pack(&id)? {
                continue;
            }
            // A pack that can't be read costs what it holds, not what others hold.
            let Ok(footer) = self.read_footer(id, len) else { continue };
            let Some(session) = footer.sessions.first().map(|record| record.session()) else { continue };
            let packs = vec![PackRow { id, len, segments: footer.segments }];
            let object = IndexObject { session, sessions: footer.sessions, packs, replaces: Vec::new() };
            import.add(IndexId::new(*id.as_bytes()), &object).map_err(store_error)?;
        }
        import.finish().map_err(store_error)?;
        Ok(store)
    }
}

/// Where the hash of a database is kept.
fn seal_path(database: &Path) -> PathBuf {
    database.with_extension("hash")
}

/// Notes what a database that was closed well looks like.
fn seal(database: &Path) -> std::io::Result<()> {
    write_cached(&seal_path(database), &hash_file(database)?)
}

fn is_sealed(database: &Path) -> bool {
    let expected = durable::read_file(&seal_path(database), None, 32);
    matches!((expected, hash_file(database)), (Ok(expected), Ok(found)) if expected == found)
}

/// Why the shared database could not be brought up to date.
enum Update {
    InUse,
    Broken,
    Failed(EngineError),
}

impl From<redb::Error> for Update {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            redb::Error::Io(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::StorageFull
                        | std::io::ErrorKind::PermissionDenied
                        | std::io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                Self::Failed(EngineError::with_source(ErrorKind::Io, "local index", error))
            }
            _ => Self::Broken,
        }
    }
}

/// The error for a local database that fails in use.
pub(super) fn store_error(error: redb::Error) -> EngineError {
    EngineError::with_source(ErrorKind::Io, "local index (remove it with `repo cache clear`)", error)
}

impl Index {
    /// Index objects that could not be read.
    pub fn damaged(&self) -> &[(IndexId, EngineError)] {
        &self.damaged
    }

    /// How each session ended.
    pub fn sessions(&self) -> &SessionTable {
        &self.sessions
    }

    fn skips(&self, id: &IndexId) -> bool {
        self.sessions.is_uncommitted_index(id)
    }

    /// The stores that hold what index objects list.
    pub(super) fn listing_stores(&self) -> &[Store] {
        &self.stores
    }

    fn stores(&self) -> impl Iterator<Item = (u8, &Store)> {
        let recovered = self.recovered.get().and_then(Option::as_ref).map(|store| (RECOVERED, store));
        (0u8..).zip(&self.stores).chain(recovered)
    }

    /// Where a chunk is, if an index object lists it.
    ///
    /// # Errors
    /// `Io` if the local database fails.
    pub fn find(&self, id: &ChunkId) -> Result<Option<Place>> {
        for (number, store) in self.stores() {
            if let Some(row) = store.chunk(id).map_err(store_error)? {
                return Ok(Some(Place { segment: (number, row.segment), offset: row.offset, len: row.len }));
            }
        }
        Ok(None)
    }

    /// Where a chunk is; looks into the footers of unlisted packs before it gives up.
    ///
    /// # Errors
    /// `Missing` if no pack has it; `Io`.
    pub fn find_or_recover(&self, repository: &Repository, id: &ChunkId) -> Result<Place> {
        if let Some(place) = self.find(id)? {
            return Ok(place);
        }
        if self.recovered.get().is_none() {
            let store = repository.recover_from_footers(self)?;
            let _ = self.recovered.set(Some(store));
        }
        self.find(id)?.ok_or_else(|| EngineError::new(ErrorKind::Missing, format!("no pack holds chunk {id}")))
    }

    /// Whether an index object that counts lists the chunk: only then may a writer build on it.
    ///
    /// # Errors
    /// `Io`.
    pub fn contains(&self, id: &ChunkId) -> Result<bool> {
        for store in &self.stores {
            if store.chunk(id).map_err(store_error)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where the segment of a place is.
    ///
    /// # Errors
    /// `Io` if the local database fails or is damaged.
    pub fn segment(&self, key: SegmentKey) -> Result<SegmentPlace> {
        let store = match key.0 {
            RECOVERED => self.recovered.get().and_then(Option::as_ref),
            number => self.stores.get(usize::from(number)),
        };
        let store = store.expect("places come from this index");
        Ok(SegmentPlace { key, view: store.segment(key.1).map_err(store_error)? })
    }

    /// Whether it lists a pack.
    ///
    /// # Errors
    /// `Io`.
    pub fn has_pack(&self, id: &PackId) -> Result<bool> {
        for (_, store) in self.stores() {
            if store.has_pack(id).map_err(store_error)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Calls `each` with every pack and its length in bytes.
    ///
    /// # Errors
    /// `Io`.
    pub fn packs(&self, each: &mut dyn FnMut(PackId, u64)) -> Result<()> {
        self.stores().try_for_each(|(_, store)| store.packs(each).map_err(store_error))
    }

    /// How many chunks it lists.
    ///
    /// # Errors
    /// `Io`.
    pub fn chunk_count(&self) -> Result<u64> {
        self.stores().map(|(_, store)| store.chunk_count().map_err(store_error)).sum()
    }

    /// Calls `each` with the first 16 bytes of every chunk's id, and its place.
    ///
    /// # Errors
    /// `Io`.
    pub fn chunks(&self, each: &mut dyn FnMut([u8; 16], Place)) -> Result<()> {
        for (number, store) in self.stores() {
            store
                .chunks(&mut |id, row| {
                    each(id, Place { segment: (number, row.segment), offset: row.offset, len: row.len });
                })
                .map_err(store_error)?;
        }
        Ok(())
    }

    /// Calls `each` with every further place of chunks that several packs hold: those that [`Self::chunks`] leaves out.
    /// A pack that two index objects list may come up here, too.
    ///
    /// # Errors
    /// `Io`.
    pub fn further_copies(&self, each: &mut dyn FnMut([u8; 16], Place)) -> Result<()> {
        for (number, store) in self.stores() {
            store
                .further_copies(&mut |id, row| {
                    each(id, Place { segment: (number, row.segment), offset: row.offset, len: row.len });
                })
                .map_err(store_error)?;
        }
        Ok(())
    }

    /// Calls `each` with every chunk that it lists in one pack. Reads the whole index.
    ///
    /// # Errors
    /// `Io`.
    pub fn chunks_of_pack(&self, pack: &PackId, each: &mut dyn FnMut(Place, [u8; 16])) -> Result<()> {
        let mut known: std::collections::HashMap<SegmentKey, bool> = std::collections::HashMap::new();
        let mut failure = None;
        self.chunks(&mut |id, place| {
            let inside = *known.entry(place.segment).or_insert_with(|| match self.segment(place.segment) {
                Ok(segment) => segment.pack() == *pack,
                Err(error) => {
                    failure = Some(error);
                    false
                }
            });
            if inside {
                each(place, id);
            }
        })?;
        failure.map_or(Ok(()), Err)
    }

    /// A store's result as the engine's, for those who keep a store of their own beside an index.
    pub(super) fn store_result<T>(result: StoreResult<T>) -> Result<T> {
        result.map_err(store_error)
    }
}
