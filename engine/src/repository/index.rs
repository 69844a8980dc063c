//! Which chunk is where, and what index objects and footers say.

mod losses;
mod renewal;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, OnceLock};

use super::rows::{ALL_IDS, ChunkPlace, Rows, SegmentView, StoreResult};
use super::store::Store;
use super::{Repository, SessionTable, object_error};
use crate::crypto::hash;
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{self, INDEX_HEAD_BYTES, IndexObject, TAIL_BYTES};
use crate::id::{ChunkId, DomainId, IndexId, PackId};
use crate::limits;
use crate::model::{ChunkKind, ChunkRef, PackRow};
use crate::storage::{ObjectFamily, ObjectName};

/// Tells the segments of one loaded index apart: which database, and which row.
pub type SegmentKey = (u8, u32);

/// Where a segment is and how to open it. Two are the same segment if their `key` is.
#[derive(Debug, Clone)]
pub struct SegmentPlace {
    /// Tells segments of one loaded index apart.
    pub key: SegmentKey,
    view: SegmentView,
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

    /// The domain of its chunks.
    pub fn domain(&self) -> DomainId {
        self.view.record.domain()
    }

    /// Length in bytes of its chunks together.
    pub fn plain_len(&self) -> u32 {
        self.view.plain_len
    }

    /// What its chunks hold.
    pub fn kind(&self) -> ChunkKind {
        self.view.kind
    }

    pub(super) fn view(&self) -> &SegmentView {
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
    pub(super) stores: Vec<Box<dyn Rows>>,
    /// From footers of packs that no index object lists; made when a chunk is found nowhere else.
    recovered: OnceLock<Recovered>,
    pub(super) sessions: SessionTable,
    pub(super) damaged: Vec<(IndexId, EngineError)>,
    /// Index objects that others, which count, take the place of. Complete only if the index was loaded anew.
    pub(super) replaced: HashSet<IndexId>,
    /// Packs that a repair took out of the index. As complete as that.
    pub(super) taken_out: HashSet<PackId>,
    /// Packs that it does not list, whatever index objects say; and those of them that index objects do list.
    pub(super) without: HashSet<PackId>,
    pub(super) left_out: HashSet<PackId>,
    /// The only packs whose footers are looked into; `None`: all that it does not list.
    pub(crate) recoverable: Option<HashSet<PackId>>,
    /// Packs in which chunks were found through their footers only.
    found_by_footers: Mutex<HashSet<PackId>>,
    /// What it says now, if a pack that it names turned out to be gone.
    later: OnceLock<Box<Index>>,
    /// Held while that is loaded: packs that are gone and that what was loaded names all the same.
    renewing: Mutex<HashSet<PackId>>,
    /// The number of its first store: different ones for itself and what was loaded later.
    first_store: u8,
}

/// The private store, past any that a loaded index has.
const RECOVERED: u8 = u8::MAX;

impl Repository {
    /// Reads and opens an index object.
    ///
    /// # Errors
    /// `Missing`, `Damaged`, `Unsupported`, `Io`.
    pub fn read_index(&self, id: IndexId) -> Result<IndexObject> {
        self.open_index(id, &self.storage().read(ObjectName::Index(id), None, limits::INDEX_BYTES)?)
    }

    /// As [`Self::read_index`], of one that a list has just shown.
    ///
    /// # Errors
    /// As there.
    pub(super) fn read_listed_index(&self, id: IndexId) -> Result<IndexObject> {
        if let Some(object) = self.opened_indexes.take(id).filter(|_| self.keeps_objects()) {
            return Ok(object);
        }
        self.read_kept_object(ObjectName::Index(id), limits::INDEX_BYTES, |object| self.open_index(id, object))
    }

    /// The domain that an index object which can't be read says it is of: its readers are to learn that it is replaced. The
    /// shared one if there is no such domain.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn claimed_domain(&self, id: IndexId) -> Result<DomainId> {
        let domain = match self.read_index_domain(id) {
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Ok(Some(domain)) => domain,
            _ => return Ok(DomainId::SHARED),
        };
        let is_known = domain != DomainId::SHARED && self.read_clients()?.0.iter().any(|(it, _)| it.domain == domain);
        Ok(if is_known { domain } else { DomainId::SHARED })
    }

    /// The domain that an index object says it is of, by its first bytes and without any key; `None` if it says none.
    ///
    /// # Errors
    /// `Missing`, `Damaged` if it is too short, `Io`.
    pub(crate) fn read_index_domain(&self, id: IndexId) -> Result<Option<DomainId>> {
        let head = self.storage().read(ObjectName::Index(id), Some(0..INDEX_HEAD_BYTES), INDEX_HEAD_BYTES)?;
        Ok(format::index_domain(&head).ok())
    }

    /// Whether an index object says that it is of a domain that is `wanted`; not if it says none, or is gone.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn is_index_of(&self, id: IndexId, wanted: impl Fn(DomainId) -> bool) -> Result<bool> {
        match self.read_index_domain(id) {
            Err(error) if error.kind() == ErrorKind::Io => Err(error),
            read => Ok(read.ok().flatten().is_some_and(wanted)),
        }
    }

    /// All index objects that are there, in order.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn list_indexes(&self) -> Result<Vec<IndexId>> {
        let mut ids = Vec::new();
        self.storage().list(ObjectFamily::Indexes, &mut |name, _| {
            if let ObjectName::Index(id) = name {
                ids.push(id);
            }
        })?;
        ids.sort();
        Ok(ids)
    }

    /// Says that [`Self::read_listed_index`] will be asked for all of these.
    pub(super) fn expect_indexes(&self, ids: &[IndexId]) {
        let names = ids.iter().map(|id| ObjectName::Index(*id));
        let lacking: Vec<ObjectName> = names.filter(|name| !self.is_kept(*name)).collect();
        if lacking.len() > 1 {
            self.storage().expect(&[], &lacking);
        }
    }

    /// One that is kept, opened; that it is kept does not say that it is there.
    pub(super) fn open_kept_index(&self, id: IndexId) -> Option<IndexObject> {
        self.open_index(id, &self.kept_object(ObjectName::Index(id), None, limits::INDEX_BYTES)?).ok()
    }

    fn open_index(&self, id: IndexId, object: &[u8]) -> Result<IndexObject> {
        let name = ObjectName::Index(id);
        if hash(object) != *id.as_bytes() {
            return Err(EngineError::damaged(format!("object {name} does not have the content that its name says")));
        }
        self.decode_signed(name, |keys| format::decode_index(object, keys))
    }

    /// Seals an index object and puts it, durably; its id and its length in bytes. The packs that it names must be durable.
    /// With `dry_run` it is not put.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn put_index(&self, index: &IndexObject, dry_run: bool) -> Result<(IndexId, u64)> {
        let bytes = format::encode_index(index, self.keys(), &*self.domain_keys(index.domain)?);
        let id = IndexId::new(hash(&bytes));
        if !dry_run {
            self.storage().write_own(ObjectName::Index(id), &[&bytes])?;
            self.keep_object(ObjectName::Index(id), None, &bytes);
            self.remember_put(id);
        }
        Ok((id, bytes.len() as u64))
    }

    /// All packs that are there, and their lengths in bytes.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn list_packs(&self) -> Result<BTreeMap<PackId, u64>> {
        let mut packs = BTreeMap::new();
        self.each_pack(&mut |id, len| {
            packs.insert(id, len);
        })?;
        Ok(packs)
    }

    /// Tells of all packs in the order of the storage.
    fn each_pack(&self, each: &mut dyn FnMut(PackId, u64)) -> Result<()> {
        self.storage().list(ObjectFamily::Packs, &mut |name, len| {
            if let ObjectName::Pack(id) = name {
                each(id, len);
            }
        })
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
        format::decode_footer(&sealed, &*self.domain_keys(tail.domain)?, tail.epoch, start).map_err(damaged)
    }

    /// A private store of all packs that `index` does not list, whoever wrote them and however that ended: a chunk
    /// that its id proves may always be read, if only never built upon.
    fn recover_from_footers(&self, index: &Index) -> Result<Recovered> {
        let (mut packs, mut unread) = (Vec::new(), None);
        self.each_pack(&mut |id, len| packs.push((id, len)))?;
        let mut store = self.private_store()?;
        let mut import = store.import(false).map_err(store_error)?;
        for (id, len) in packs {
            let is_left_out = index.recoverable.as_ref().is_some_and(|packs| !packs.contains(&id));
            if is_left_out || index.vouches_for(&id)? {
                continue;
            }
            // A pack that can't be read costs what it holds, not what others hold.
            let footer = match self.read_footer(id, len) {
                Ok(footer) => footer,
                Err(error) if error.is_unanswered() => {
                    unread.get_or_insert(error);
                    continue;
                }
                Err(_) => continue,
            };
            let Some(first) = footer.sessions.first() else { continue };
            let (session, domain) = (first.session(), first.domain());
            let packs = vec![PackRow { id, len, segments: footer.segments }];
            let object = IndexObject { sessions: footer.sessions, packs, ..IndexObject::empty(session, domain) };
            import.add(IndexId::new(*id.as_bytes()), &object).map_err(store_error)?;
        }
        import.finish().map_err(store_error)?;
        Ok(Recovered { store, unread })
    }
}

/// What the footers of packs say that no index object lists.
struct Recovered {
    store: Store,
    /// Why one of them could not be read, though it may be all right: then what is in none of the others is not known to be
    /// missing.
    unread: Option<EngineError>,
}

/// The error for a local database that fails in use.
pub(super) fn store_error(error: redb::Error) -> EngineError {
    EngineError::with_source(ErrorKind::Io, "local index (remove it with `repo cache clear`)", error)
}

impl Index {
    /// Of nothing.
    pub(super) fn empty(sessions: SessionTable) -> Self {
        Self {
            stores: Vec::new(),
            recovered: OnceLock::new(),
            sessions,
            damaged: Vec::new(),
            replaced: HashSet::new(),
            taken_out: HashSet::new(),
            without: HashSet::new(),
            left_out: HashSet::new(),
            recoverable: None,
            found_by_footers: Mutex::default(),
            later: OnceLock::new(),
            renewing: Mutex::default(),
            first_store: 0,
        }
    }

    /// Index objects that could not be read.
    pub fn damaged(&self) -> &[(IndexId, EngineError)] {
        &self.damaged
    }

    /// How each session ended.
    pub fn sessions(&self) -> &SessionTable {
        &self.sessions
    }

    /// Whether it belongs to a session that did not commit.
    pub(super) fn skips(&self, id: &IndexId) -> bool {
        self.sessions.is_uncommitted_index(id)
    }

    /// Whether an index object that was there when this was loaded counts, as far as is known: its session is committed,
    /// and nothing takes its place.
    pub(crate) fn counts(&self, id: &IndexId) -> bool {
        !self.replaced.contains(id) && !self.skips(id)
    }

    /// The stores that hold what index objects list.
    pub(super) fn listing_stores(&self) -> impl Iterator<Item = &dyn Rows> {
        self.stores.iter().map(Box::as_ref)
    }

    fn stores(&self) -> impl Iterator<Item = (u8, &dyn Rows)> {
        let recovered = self.recovered.get().map(|recovered| (RECOVERED, &recovered.store as &dyn Rows));
        (self.first_store..).zip(self.stores.iter().map(Box::as_ref)).chain(recovered)
    }

    /// Where a chunk is, if an index object lists it.
    ///
    /// # Errors
    /// `Io` if the local database fails.
    pub fn find(&self, id: &ChunkId) -> Result<Option<Place>> {
        if let Some(later) = self.later.get()
            && let Some(place) = later.find(id)?
        {
            return Ok(Some(place));
        }
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
    /// `Missing` if no pack has it; `Io`, also if a pack that may have it can't be read now.
    pub fn find_or_recover(&self, repository: &Repository, id: &ChunkId) -> Result<Place> {
        if let Some(place) = self.find(id)? {
            return self.note_recovered(place);
        }
        if self.recovered.get().is_none() {
            let _ = self.recovered.set(repository.recover_from_footers(self)?);
        }
        let place = self.find(id)?;
        let missing = || {
            let unread = self.recovered.get().and_then(|recovered| recovered.unread.clone());
            unread.unwrap_or_else(|| EngineError::new(ErrorKind::Missing, format!("no pack holds chunk {id}")))
        };
        place.ok_or_else(missing).and_then(|place| self.note_recovered(place))
    }

    /// Where a chunk is that has to have a certain length; looks where [`Self::find_or_recover`] does.
    ///
    /// # Errors
    /// `Missing` if no pack has it; `Damaged` if all that is listed has another length; `Io`.
    pub fn find_or_recover_whole(&self, repository: &Repository, reference: &ChunkRef) -> Result<Place> {
        let place = self.find_or_recover(repository, &reference.id)?;
        if place.len == reference.len {
            return Ok(place);
        }
        // Whoever has a write-only client's key can list its chunks with other lengths, and what is listed last comes first.
        let right = self.copies(&reference.id)?.into_iter().find(|copy| copy.len == reference.len);
        let wrong = || EngineError::damaged(format!("chunk {} has another length than its list says", reference.id));
        right.ok_or_else(wrong).and_then(|place| self.note_recovered(place))
    }

    /// All places of a chunk.
    ///
    /// # Errors
    /// `Io`.
    pub fn copies(&self, id: &ChunkId) -> Result<Vec<Place>> {
        let mut places = self.later.get().map_or(Ok(Vec::new()), |later| later.copies(id))?;
        for (number, store) in self.stores() {
            let rows = store.copies(id).map_err(store_error)?;
            let place = |row: ChunkPlace| Place { segment: (number, row.segment), offset: row.offset, len: row.len };
            places.extend(rows.into_iter().map(place));
        }
        Ok(places)
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
        let store = match (key.0, self.later.get()) {
            (RECOVERED, _) => self.recovered.get().map(|recovered| &recovered.store as &dyn Rows),
            (number, Some(later)) if number >= later.first_store => return later.segment(key),
            (number, _) => self.stores.get(usize::from(number - self.first_store)).map(Box::as_ref),
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

    /// Whether a pack is listed in the domain of full clients: what is said of it there is in it.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn vouches_for(&self, id: &PackId) -> Result<bool> {
        for (_, store) in self.stores() {
            if store.vouches_for(id).map_err(store_error)? {
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
        self.stores().try_for_each(|(_, store)| store.packs(&mut |_, id, len| each(id, len)).map_err(store_error))
    }

    /// How many chunks it lists.
    ///
    /// # Errors
    /// `Io`.
    pub fn chunk_count(&self) -> Result<u64> {
        self.stores().map(|(_, store)| store.chunk_count().map_err(store_error)).sum()
    }

    /// A number that this is not above, without counting.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn most_chunks(&self) -> Result<u64> {
        self.stores.iter().map(|store| store.most_chunks().map_err(store_error)).sum()
    }

    /// Calls `each` with the first 16 bytes of every chunk's id, and its place.
    ///
    /// # Errors
    /// `Io`.
    pub fn chunks(&self, each: &mut dyn FnMut([u8; 16], Place)) -> Result<()> {
        for (number, store) in self.stores() {
            for row in store.chunk_rows(ALL_IDS).map_err(store_error)? {
                let (id, row) = row.map_err(store_error)?;
                each(id, Place { segment: (number, row.segment), offset: row.offset, len: row.len });
            }
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
