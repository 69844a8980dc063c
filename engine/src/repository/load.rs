//! Loads the index: from the local redb database, and from index objects.
//!
//! The database in the cache directory is shared: whoever finds that it lacks much updates it under a lock, then opens
//! it read-only. What came since, if it is little, is read into memory by each command. While other processes read, it
//! can't be updated; what it lacks then goes into a private database that is unlinked as soon as it is open, so that it
//! ends with the process however that ends. What it has of index objects that are gone or replaced is hidden. A database
//! that is not byte for byte what its last writer left (its hash is kept beside it), does not open, has another schema,
//! or hides much is deleted and built again. For an earlier state of the repository it is neither asked nor touched.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use super::hidden::Held;
use super::index::{Index, store_error};
use super::recent::Recent;
use super::rows::{Rows, StoreResult};
use super::store::{Import, Store};
use super::{Repository, Session, SessionTable};
use crate::crypto::random_bytes;
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::IndexObject;
use crate::id::{ClientId, IndexId, PackId, hex};
use crate::monitor::Monitor;
use crate::os::durable;
use crate::os::lock::{FileLock, hash_file, remove_cached, write_cached};
use crate::storage::{ObjectFamily, ObjectName};

/// The index objects that there are, and their lengths in bytes.
struct Listed(HashMap<IndexId, u64>);

impl Listed {
    fn has(&self, id: &IndexId) -> bool {
        self.0.contains_key(id)
    }

    /// What a store that holds `held` lacks, without what does not count.
    fn missing(&self, held: &Held, index: &Index) -> Vec<IndexId> {
        self.0.keys().filter(|id| !held.has(id, &index.replaced) && !index.skips(id)).copied().collect()
    }

    /// Hides what a store has of objects that are gone or replaced, or of clients whose end denies them. `false`: it has to
    /// be made anew.
    fn hide_rest(&self, repository: &Repository, store: &mut Store, replaced: &HashSet<IndexId>) -> StoreResult<bool> {
        let of_its_client = |id: &IndexId, client: Option<ClientId>| {
            client.is_none_or(|client| repository.counts_of_client(id, &client))
        };
        store.hide(&|id, client| self.has(id) && !replaced.contains(id) && of_its_client(id, client))
    }
}

/// Index objects that are kept in memory instead of writing them into the database, at most.
pub(super) const RECENT_OBJECTS: usize = 8;
/// Their bytes together, at most: some 250,000 chunks.
const RECENT_BYTES: u64 = 8 << 20;

/// Whether so many index objects are kept in memory.
fn is_little(objects: usize, bytes: u64) -> bool {
    objects <= RECENT_OBJECTS && bytes <= RECENT_BYTES
}

/// How many seconds commands wait for another one that writes the database: ten million chunks take half of it.
const PATIENCE: u64 = 60;

/// How often the database is brought up to date: it may turn out to be damaged or outdated, and then, in the order in
/// which objects were read, to hold what others replace. That is known the third time.
const ATTEMPTS: usize = 3;

/// How often an index is loaded anew because objects went away meanwhile. Each time means that another prune came by.
const LOADS: usize = 8;

impl Repository {
    /// Opens the local index, with what it lacks: a little is only kept in memory, for more it is brought up to date.
    ///
    /// An index object that can't be read is left out and remembered ([`Index::damaged`]): chunks that only it
    /// lists are found through the packs' footers when they are needed.
    ///
    /// # Errors
    /// `Io`, `Damaged` if sessions can't be listed or read.
    pub fn load_index(&self, monitor: &dyn Monitor) -> Result<Index> {
        self.load_settled(SessionTable::load(self)?, &[], monitor)
    }

    /// As [`Self::load_index`], for whoever lists snapshots and records next, and does so at once.
    ///
    /// # Errors
    /// As [`Self::load_index`].
    pub fn load_index_before_snapshots(&self, monitor: &dyn Monitor) -> Result<Index> {
        let next = [ObjectFamily::Indexes, ObjectFamily::Snapshots, ObjectFamily::Forgotten];
        let sessions = SessionTable::load_before(self, &next)?;
        self.load_settled(sessions, &[], monitor)
    }

    /// As [`Self::load_index`], for a session that has begun: what it took over is listed, too (W3).
    ///
    /// # Errors
    /// As [`Self::load_index`].
    pub fn load_index_of(&self, session: &Session, monitor: &dyn Monitor) -> Result<Index> {
        self.load_settled(session.table(self)?, session.adopted(), monitor)
    }

    /// Begins anew if index objects go away meanwhile: a prune, or whoever takes over a dead session, first puts others
    /// in their place.
    fn load_settled(&self, sessions: SessionTable, own: &[IndexId], monitor: &dyn Monitor) -> Result<Index> {
        let mut index = self.load_once(sessions, own, monitor)?;
        for _ in 0..LOADS {
            if !index.damaged.iter().any(|(_, error)| error.kind() == ErrorKind::Missing) {
                break;
            }
            index = self.load_once(SessionTable::load(self)?, own, monitor)?;
        }
        self.opened_indexes.clear();
        self.tell_of_an_earlier_state(index.sessions(), monitor);
        Ok(index)
    }

    /// `own`: index objects that count though their session is not committed, because it is the one that asks.
    fn load_once(&self, sessions: SessionTable, own: &[IndexId], monitor: &dyn Monitor) -> Result<Index> {
        let (mut listed, mut index) = self.empty_index(sessions)?;
        let own_bytes = own.iter().filter_map(|id| listed.0.remove(id)).sum();
        if let Some(problem) = self.cache_problem() {
            monitor.note(&format!("{problem}; going on without a cache"));
        }
        if self.is_past() {
            // The database is of the present, and stays so.
            self.import_all(&listed, &mut index, monitor)?;
            return Ok(index);
        }
        match self.load_as_it_is(&listed, &mut index, monitor)? {
            AsItIs::Loaded => {}
            AsItIs::Locked(error) => {
                monitor.note(&format!("local index: {error}; going on without it"));
                self.import_all(&listed, &mut index, monitor)?;
            }
            AsItIs::Lacking(lock) => {
                index.stores.clear();
                index.damaged.clear();
                index.taken_out.clear();
                self.load_up_to_date(&listed, lock, &mut index, monitor)?;
            }
        }
        if !own.is_empty() {
            index.stores.push(self.load_own(own, own_bytes)?);
        }
        Ok(index)
    }

    /// Index objects that only the one who asks may use: never in a store that others see.
    fn load_own(&self, own: &[IndexId], bytes: u64) -> Result<Box<dyn Rows>> {
        if is_little(own.len(), bytes) {
            let mut recent = Recent::default();
            for id in own {
                recent.add(&self.read_listed_index(*id)?);
            }
            recent.sort();
            return Ok(Box::new(recent));
        }
        let mut private = self.private_store()?;
        let mut import = private.import(false).map_err(store_error)?;
        for id in own {
            import.add(*id, &self.read_index(*id)?).map_err(store_error)?;
        }
        import.finish().map_err(store_error)?;
        Ok(Box::new(private))
    }

    /// Opens the shared database as it is, and reads the few objects that it lacks into memory.
    fn load_as_it_is(&self, listed: &Listed, index: &mut Index, monitor: &dyn Monitor) -> Result<AsItIs> {
        let (lock, store) = match self.open_as_it_is() {
            Ok(Some(found)) => found,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(AsItIs::Locked(error)),
            Ok(None) | Err(_) => return Ok(AsItIs::Lacking(None)),
        };
        let (mut store, held) = store.unzip();
        let held = held.unwrap_or_default();
        index.replaced.extend(held.replaced(|id| listed.has(id)));
        let missing = listed.missing(&held, index);
        let bytes: u64 = missing.iter().map(|id| listed.0[id]).sum();
        if !is_little(missing.len(), bytes) {
            return Ok(AsItIs::Lacking(Some(lock)));
        }
        drop(lock);
        self.remember_lacking(&missing);
        let mut recent = Recent::default();
        if self.take_in(&missing, index, &mut recent, monitor)? {
            // One of them replaces another that was read before.
            recent = Recent::default();
            index.damaged.clear();
            index.taken_out.clear();
            self.take_in(&missing, index, &mut recent, monitor)?;
        }
        recent.sort();
        if let Some(store) = &mut store
            && !listed.hide_rest(self, store, &index.replaced).unwrap_or(false)
        {
            return Ok(AsItIs::Lacking(None));
        }
        index.stores.extend(store.map(|store| Box::new(store) as Box<dyn Rows>));
        if !missing.is_empty() {
            index.stores.push(Box::new(recent));
        }
        Ok(AsItIs::Loaded)
    }

    /// The shared database, if there is one, and what it holds, with the lock against those who would write it. `None` if
    /// it isn't good.
    fn open_as_it_is(&self) -> io::Result<Option<Found>> {
        let path = self.shared_path();
        let lock = FileLock::exclusive(&self.cache_directory().join("index.lock"), PATIENCE)?;
        if !path.exists() {
            return Ok(Some((lock, None)));
        }
        if !is_sealed(&path) {
            return Ok(None);
        }
        Ok(open_shared(&path).ok().map(|store| (lock, Some(store))))
    }

    /// Brings the shared database up to date and opens it; what it can't take goes into a private one. With a lock, it was
    /// found to be good.
    fn load_up_to_date(
        &self,
        listed: &Listed,
        lock: Option<FileLock>,
        index: &mut Index,
        monitor: &dyn Monitor,
    ) -> Result<()> {
        let (mut shared, held) = match self.update_shared(listed, lock, index, monitor) {
            Ok(found) => found.unzip(),
            Err(error) => {
                monitor.note(&format!("local index: {error}; going on without it"));
                (None, None)
            }
        };
        let held = held.unwrap_or_default();
        index.replaced.extend(held.replaced(|id| listed.has(id)));
        let known_bad: HashSet<IndexId> = index.damaged.iter().map(|(id, _)| *id).collect();
        let mut missing = listed.missing(&held, index);
        missing.retain(|id| !known_bad.contains(id));
        let mut private = None;
        if !missing.is_empty() {
            let store = private.insert(self.private_store()?);
            self.import(store, &missing, index, false, monitor)?;
        }
        // Which objects are replaced is known now.
        for store in shared.iter_mut().chain(&mut private) {
            if !listed.hide_rest(self, store, &index.replaced).map_err(store_error)? {
                return self.import_all(listed, index, monitor);
            }
        }
        index.stores.extend(shared.into_iter().chain(private).map(|store| Box::new(store) as Box<dyn Rows>));
        Ok(())
    }

    /// Reads every index object, whatever the cache says: for those who are to judge the objects themselves.
    ///
    /// # Errors
    /// As [`Self::load_index`].
    pub fn load_index_anew(&self, monitor: &dyn Monitor) -> Result<Index> {
        self.load_index_without(HashSet::new(), monitor)
    }

    /// As [`Self::load_index_anew`], for whoever lists `next` after it, and `whole` with all that is in it: that is asked for as
    /// soon as the index is listed, since what it names was there then.
    ///
    /// # Errors
    /// As [`Self::load_index`].
    pub(crate) fn load_index_anew_before(
        &self,
        next: &[ObjectFamily],
        whole: &[ObjectFamily],
        monitor: &dyn Monitor,
    ) -> Result<Index> {
        let sessions = SessionTable::load_before(self, &[ObjectFamily::Indexes])?;
        let (listed, index) = self.empty_index(sessions)?;
        // Index objects first: to take them in is work.
        self.expect_indexes(&listed.0.keys().copied().collect::<Vec<_>>());
        self.storage().expect(next, &[]);
        self.storage().expect_whole(whole);
        self.import_anew(&listed, index, monitor)
    }

    /// As [`Self::load_index_anew`], as if no index object listed these packs.
    ///
    /// # Errors
    /// As [`Self::load_index`].
    pub(crate) fn load_index_without(&self, packs: HashSet<PackId>, monitor: &dyn Monitor) -> Result<Index> {
        let (listed, mut index) = self.empty_index(SessionTable::load(self)?)?;
        index.without = packs;
        self.import_anew(&listed, index, monitor)
    }

    fn import_anew(&self, listed: &Listed, mut index: Index, monitor: &dyn Monitor) -> Result<Index> {
        self.import_all(listed, &mut index, monitor)?;
        // What replaces them has all that they listed and that is still there.
        let replaced = &index.replaced;
        index.damaged.retain(|(id, _)| !replaced.contains(id));
        Ok(index)
    }

    /// Forgets the local database: what it holds may not count any more. If it is in use, that stays so until it is not.
    pub(crate) fn forget_local_index(&self) {
        let _ = remove_cached(&seal_path(&self.shared_path()));
    }

    /// An index of nothing, and the objects that there are. They are listed after the sessions were: of what a session has
    /// committed all is there.
    fn empty_index(&self, sessions: SessionTable) -> Result<(Listed, Index)> {
        let mut listed = Listed(HashMap::new());
        self.storage().list(ObjectFamily::Indexes, &mut |name, len| {
            if let ObjectName::Index(id) = name {
                listed.0.insert(id, len);
            }
        })?;
        self.leave_out_other_domains(&mut listed.0)?;
        Ok((listed, Index::empty(sessions)))
    }

    /// Makes the index anew, in a private store.
    fn import_all(&self, listed: &Listed, index: &mut Index, monitor: &dyn Monitor) -> Result<()> {
        // An object may turn out to be replaced when it was taken in. The second time, that is known.
        if self.import_once(listed, index, monitor)? {
            self.import_once(listed, index, monitor)?;
        }
        Ok(())
    }

    /// Whether an object turned out to be replaced too late.
    fn import_once(&self, listed: &Listed, index: &mut Index, monitor: &dyn Monitor) -> Result<bool> {
        index.stores.clear();
        index.damaged.clear();
        // What objects said that turned out to be replaced does not count.
        index.taken_out.clear();
        index.left_out.clear();
        let mut all = self.private_store()?;
        let ids: Vec<IndexId> = listed.0.keys().copied().collect();
        let outdated = self.import(&mut all, &ids, index, false, monitor)?;
        index.stores.push(Box::new(all));
        Ok(outdated)
    }

    /// Updates the shared database if nobody reads it, then opens it for reading. `None` if it can't be had.
    fn update_shared(
        &self,
        listed: &Listed,
        lock: Option<FileLock>,
        index: &mut Index,
        monitor: &dyn Monitor,
    ) -> Result<Option<(Store, Held)>> {
        let path = self.shared_path();
        let mut is_good = lock.is_some();
        let _lock = match lock {
            Some(lock) => lock,
            None => {
                let lock = self.cache_directory().join("index.lock");
                FileLock::exclusive(&lock, PATIENCE).map_err(|error| EngineError::io("lock", &lock, error))?
            }
        };
        for attempt in 1.. {
            let why = match self.bring_up_to_date(listed, is_good, index, monitor) {
                // Somebody is reading it: it is good, only perhaps not complete.
                Ok(()) | Err(Update::InUse) => break,
                Err(Update::Failed(error)) => return Err(error),
                Err(_) if attempt == ATTEMPTS => return Ok(None),
                Err(Update::Outdated) => "the index changed",
                Err(Update::Broken) => "damaged",
            };
            if attempt == 1 {
                monitor.note(&format!("local index: {why}, building it again"));
            }
            remove_cached(&path).map_err(|error| EngineError::io("remove", &path, error))?;
            index.damaged.clear();
            is_good = false;
        }
        Ok(open_shared(&path).ok())
    }

    /// `is_good`: the database was found to be what its last writer left.
    fn bring_up_to_date(
        &self,
        listed: &Listed,
        is_good: bool,
        index: &mut Index,
        monitor: &dyn Monitor,
    ) -> Result<(), Update> {
        let path = self.shared_path();
        if path.exists() {
            // A disk that flips a bit, or a writer that was killed: redb would not notice everywhere.
            if !is_good && !is_sealed(&path) {
                return Err(Update::Broken);
            }
            // Whoever was here before may have brought all that is needed.
            if let Ok((mut store, held)) = open_shared(&path) {
                index.replaced.extend(held.replaced(|id| listed.has(id)));
                if listed.missing(&held, index).is_empty() {
                    let is_right = listed.hide_rest(self, &mut store, &index.replaced).map_err(Update::from)?;
                    return if is_right { Ok(()) } else { Err(Update::Outdated) };
                }
            }
        }
        let mut store = Store::open_own(&path).map_err(Update::from)?;
        let held = store.held().map_err(Update::from)?;
        let missing = listed.missing(&held, index);
        self.import(&mut store, &missing, index, true, monitor).map_err(Update::Failed)?;
        if !listed.hide_rest(self, &mut store, &index.replaced).map_err(Update::from)? {
            // Without the seal nobody believes it, whatever becomes of this process.
            return Err(Update::Outdated);
        }
        drop(store);
        seal(&path).map_err(|error| Update::Failed(EngineError::io("write", &path, error)))
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

    /// Imports index objects into a database: as [`Self::take_in`].
    fn import(
        &self,
        store: &mut Store,
        ids: &[IndexId],
        index: &mut Index,
        durable: bool,
        monitor: &dyn Monitor,
    ) -> Result<bool> {
        let mut import = store.import(durable).map_err(store_error)?;
        let outdated = self.take_in(ids, index, &mut import, monitor)?;
        import.finish().map_err(store_error)?;
        Ok(outdated)
    }

    /// Reads index objects and hands those out that count. Whether one of them replaces another that was handed out
    /// before: its rows have to be hidden, or all to be taken in anew, now that this is known.
    fn take_in(
        &self,
        ids: &[IndexId],
        index: &mut Index,
        into: &mut dyn TakesIn,
        monitor: &dyn Monitor,
    ) -> Result<bool> {
        monitor.stage("reading index", Some(ids.len() as u64), None);
        self.expect_indexes(ids);
        let (mut taken, mut outdated) = (HashSet::new(), false);
        for id in ids {
            match self.read_listed_index(*id) {
                Ok(mut object)
                    if self.counts_of_its_client(id, &object)
                        && index.sessions.is_committed_by_now(self, object.session, object.signer)? =>
                {
                    index.replaced.extend(object.replaces.iter().copied());
                    outdated |= object.replaces.iter().any(|old| taken.contains(old));
                    if index.replaced.contains(id) {
                        into.take_replaced(*id, &object.replaces).map_err(store_error)?;
                    } else {
                        index.taken_out.extend(object.taken_out.iter().copied());
                        index.leave_out(&mut object);
                        into.take(*id, &object).map_err(store_error)?;
                        taken.insert(*id);
                    }
                }
                Ok(object) => index.sessions.mark_uncommitted(*id, object.session),
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                Err(error) => index.damaged.push((*id, error)),
            }
            monitor.advance(1, 0);
        }
        Ok(outdated)
    }
}

/// Opens the shared database to read it; with what it holds.
fn open_shared(path: &Path) -> StoreResult<(Store, Held)> {
    let store = Store::open_shared(path)?;
    let held = store.held()?;
    Ok((store, held))
}

/// What index objects are read into.
trait TakesIn {
    /// Takes an object in that counts.
    fn take(&mut self, id: IndexId, object: &IndexObject) -> StoreResult<()>;

    /// Learns of one that another one replaces.
    fn take_replaced(&mut self, id: IndexId, replaces: &[IndexId]) -> StoreResult<()>;
}

impl TakesIn for Recent {
    fn take(&mut self, _: IndexId, object: &IndexObject) -> StoreResult<()> {
        self.add(object);
        Ok(())
    }

    fn take_replaced(&mut self, _: IndexId, _: &[IndexId]) -> StoreResult<()> {
        Ok(())
    }
}

impl TakesIn for Import<'_> {
    fn take(&mut self, id: IndexId, object: &IndexObject) -> StoreResult<()> {
        self.add(id, object)
    }

    fn take_replaced(&mut self, id: IndexId, replaces: &[IndexId]) -> StoreResult<()> {
        self.add_replaced(id, replaces)
    }
}

/// The lock, and the database with what it holds, if there is one.
type Found = (FileLock, Option<(Store, Held)>);

/// What became of opening the shared database as it is.
enum AsItIs {
    Loaded,
    /// Another process does not give it back.
    Locked(io::Error),
    /// It lacks much, or has to be made anew; with the lock if it is good.
    Lacking(Option<FileLock>),
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
    /// It holds index objects that are gone or replaced.
    Outdated,
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
