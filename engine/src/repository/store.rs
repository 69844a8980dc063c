//! One redb database of the local index: chunk id to place.
//!
//! It is a cache of index objects and never an authority. Inserts are sorted. Nothing is taken out: what does not count
//! any more is hidden.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use redb::{
    Builder, Database, Durability, MultimapTableDefinition, ReadOnlyDatabase, ReadOnlyMultimapTable, ReadOnlyTable,
    ReadableDatabase, ReadableMultimapTable, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction,
};

use super::hidden::{Held, Hidden};
use super::rows::{
    ALL_IDS, ChunkPlace, ChunkRow, ChunkRows, IdRange, PackRow, Rows, SegmentExtent, SegmentRow, SegmentView, ShortId,
    StoreResult, decode_chunk, decode_pack, decode_segment, encode_pack, encode_segment, missing, push_chunks,
    segment_extent, session_of, short_id,
};
use crate::crypto::{SESSION_KEY_RECORD_BYTES, SessionKeyRecord};
use crate::format::IndexObject;
use crate::id::{ChunkId, ClientId, DomainId, IndexId, PackId, SessionId};
use crate::model::Signer;

/// Pages that a reader keeps, in bytes.
const READ_CACHE_BYTES: usize = 16 << 20;
/// Pages that an import keeps before it writes them out, in bytes.
const WRITE_CACHE_BYTES: usize = 32 << 20;
/// Chunks that an import sorts at once; 26 bytes each.
const IMPORT_CHUNKS: usize = 1 << 20;

/// Changes whenever the tables do; another one in the file means: build it again.
const SCHEMA: u64 = 6;

const CHUNKS: TableDefinition<ShortId, ChunkRow> = TableDefinition::new("chunks");
/// Further places of chunks that several packs hold.
const COPIES: MultimapTableDefinition<ShortId, ChunkRow> = MultimapTableDefinition::new("copies");
const SEGMENTS: TableDefinition<u32, SegmentRow> = TableDefinition::new("segments");
const PACKS: TableDefinition<u32, PackRow> = TableDefinition::new("packs");
const PACK_NUMBERS: TableDefinition<[u8; 32], u32> = TableDefinition::new("pack numbers");
/// The same of packs that are listed in the domains of write-only clients: what these say is in a pack need not be, and
/// never stands for what is, also where a full client copied it.
const CLAIMS: MultimapTableDefinition<[u8; 32], u32> = MultimapTableDefinition::new("claimed packs");
const SESSIONS: TableDefinition<u32, [u8; SESSION_KEY_RECORD_BYTES]> = TableDefinition::new("sessions");
/// Each index object's number, and what is here of it: [`EMPTY`], [`ROWS`] or [`LOSSES`].
const OBJECTS: TableDefinition<[u8; 32], (u32, u8)> = TableDefinition::new("index objects");
/// Which write-only client signed an index object; nothing of those of full clients.
const OBJECT_CLIENTS: TableDefinition<[u8; 32], [u8; 16]> = TableDefinition::new("clients of index objects");
/// Which index object lists which packs, by their numbers.
const OBJECT_PACKS: MultimapTableDefinition<u32, u32> = MultimapTableDefinition::new("packs of index objects");
/// Which index object replaces which.
const REPLACES: MultimapTableDefinition<[u8; 32], [u8; 32]> = MultimapTableDefinition::new("replaced index objects");
const LOST: TableDefinition<ShortId, ()> = TableDefinition::new("lost chunks");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// Nothing: another one replaced it.
const EMPTY: u8 = 0;
/// All that it lists.
const ROWS: u8 = 1;
/// The same, and lost chunks.
const LOSSES: u8 = 2;

/// A database of which more than one part in so many is hidden is made anew.
const HIDDEN_SHARE: u64 = 2;

enum Backing {
    Shared(ReadOnlyDatabase),
    Own(Database),
}

impl Backing {
    fn begin_read(&self) -> StoreResult<redb::ReadTransaction> {
        Ok(match self {
            Self::Shared(database) => database.begin_read(),
            Self::Own(database) => database.begin_read(),
        }?)
    }
}

struct Tables {
    chunks: ReadOnlyTable<ShortId, ChunkRow>,
    copies: ReadOnlyMultimapTable<ShortId, ChunkRow>,
    segments: ReadOnlyTable<u32, SegmentRow>,
    packs: ReadOnlyTable<u32, PackRow>,
    pack_numbers: ReadOnlyTable<[u8; 32], u32>,
    claims: ReadOnlyMultimapTable<[u8; 32], u32>,
    sessions: ReadOnlyTable<u32, [u8; SESSION_KEY_RECORD_BYTES]>,
    objects: ReadOnlyTable<[u8; 32], (u32, u8)>,
    object_clients: ReadOnlyTable<[u8; 32], [u8; 16]>,
    object_packs: ReadOnlyMultimapTable<u32, u32>,
    replaces: ReadOnlyMultimapTable<[u8; 32], [u8; 32]>,
    lost: ReadOnlyTable<ShortId, ()>,
}

impl Tables {
    fn open(backing: &Backing) -> StoreResult<Self> {
        let read = backing.begin_read()?;
        if read.open_table(META)?.get("schema")?.map(|schema| schema.value()) != Some(SCHEMA) {
            return Err(redb::Error::Corrupted("another schema".into()));
        }
        Ok(Self {
            chunks: read.open_table(CHUNKS)?,
            copies: read.open_multimap_table(COPIES)?,
            segments: read.open_table(SEGMENTS)?,
            packs: read.open_table(PACKS)?,
            pack_numbers: read.open_table(PACK_NUMBERS)?,
            claims: read.open_multimap_table(CLAIMS)?,
            sessions: read.open_table(SESSIONS)?,
            objects: read.open_table(OBJECTS)?,
            object_clients: read.open_table(OBJECT_CLIENTS)?,
            object_packs: read.open_multimap_table(OBJECT_PACKS)?,
            replaces: read.open_multimap_table(REPLACES)?,
            lost: read.open_table(LOST)?,
        })
    }
}

/// Index objects on their way into a store: each is cut into rows at once, rows go in sorted, many at a time.
pub(super) struct Import<'s> {
    store: &'s mut Store,
    transaction: WriteTransaction,
    chunks: Vec<(ShortId, ChunkRow)>,
}

impl Import<'_> {
    /// Remembers an index object that another one replaces: only what it replaces itself.
    pub(super) fn add_replaced(&mut self, id: IndexId, replaces: &[IndexId]) -> StoreResult<()> {
        import_object(&self.transaction, id, EMPTY, replaces).map(drop)
    }

    /// Takes an index object in.
    pub(super) fn add(&mut self, id: IndexId, object: &IndexObject) -> StoreResult<()> {
        import_places(&self.transaction, id, object, &mut self.chunks)?;
        if self.chunks.len() >= IMPORT_CHUNKS {
            self.insert_chunks()?;
        }
        Ok(())
    }

    fn insert_chunks(&mut self) -> StoreResult<()> {
        self.chunks.sort_unstable();
        let mut table = self.transaction.open_table(CHUNKS)?;
        let mut copies = self.transaction.open_multimap_table(COPIES)?;
        for (id, row) in self.chunks.drain(..) {
            if let Some(older) = table.insert(id, row)? {
                copies.insert(id, older.value())?;
            }
        }
        Ok(())
    }

    /// Ends the import; the store shows what came in.
    pub(super) fn finish(mut self) -> StoreResult<()> {
        self.insert_chunks()?;
        self.transaction.commit()?;
        self.store.refresh()
    }
}

/// An open database with a consistent view of it.
pub(super) struct Store {
    tables: Tables,
    hidden: Hidden,
    backing: Backing,
}

impl Store {
    /// Makes or opens a database that no other process has open, to import into.
    pub(super) fn open_own(path: &Path) -> StoreResult<Self> {
        let database = Builder::new().set_cache_size(WRITE_CACHE_BYTES).create(path)?;
        let transaction = database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            let schema = meta.get("schema")?.map(|schema| schema.value());
            match schema {
                None => drop(meta.insert("schema", SCHEMA)?),
                Some(SCHEMA) => {}
                Some(_) => return Err(redb::Error::Corrupted("another schema".into())),
            }
            transaction.open_table(CHUNKS)?;
            transaction.open_multimap_table(COPIES)?;
            transaction.open_table(SEGMENTS)?;
            transaction.open_table(PACKS)?;
            transaction.open_table(PACK_NUMBERS)?;
            transaction.open_multimap_table(CLAIMS)?;
            transaction.open_table(SESSIONS)?;
            transaction.open_table(OBJECTS)?;
            transaction.open_table(OBJECT_CLIENTS)?;
            transaction.open_multimap_table(OBJECT_PACKS)?;
            transaction.open_multimap_table(REPLACES)?;
            transaction.open_table(LOST)?;
        }
        transaction.commit()?;
        Self::view(Backing::Own(database))
    }

    /// Opens a database that other processes may be reading too.
    pub(super) fn open_shared(path: &Path) -> StoreResult<Self> {
        let database = Builder::new().set_cache_size(READ_CACHE_BYTES).open_read_only(path)?;
        Self::view(Backing::Shared(database))
    }

    fn view(backing: Backing) -> StoreResult<Self> {
        let tables = Tables::open(&backing)?;
        Ok(Self { tables, hidden: Hidden::default(), backing })
    }

    /// Begins to take index objects in. `durable`: the database is to survive this process.
    ///
    /// # Panics
    /// If the store was opened shared.
    pub(super) fn import(&mut self, durable: bool) -> StoreResult<Import<'_>> {
        let transaction = self.begin_write(durable)?;
        Ok(Import { store: self, transaction, chunks: Vec::new() })
    }

    fn begin_write(&self, durable: bool) -> StoreResult<WriteTransaction> {
        let Backing::Own(database) = &self.backing else { panic!("only a store of one's own takes imports") };
        let mut transaction = database.begin_write()?;
        if !durable {
            transaction.set_durability(Durability::None).expect("no savepoint exists");
        }
        Ok(transaction)
    }

    fn refresh(&mut self) -> StoreResult<()> {
        self.tables = Tables::open(&self.backing)?;
        self.hidden = Hidden::default();
        Ok(())
    }

    /// What it holds of index objects.
    pub(super) fn held(&self) -> StoreResult<Held> {
        let mut held = Held::default();
        for row in self.tables.objects.iter()? {
            let (id, row) = row?;
            let objects = if row.value().1 == EMPTY { &mut held.empty } else { &mut held.rows };
            objects.insert(IndexId::new(id.value()));
        }
        for row in self.tables.replaces.iter()? {
            let (by, replaced) = row?;
            for old in replaced {
                held.replaces.push((IndexId::new(by.value()), IndexId::new(old?.value())));
            }
        }
        Ok(held)
    }

    /// Hides what only index objects list that don't count. `false` if it is too much of all, or if what they say can't
    /// be told from what others say: then the database has to be made anew.
    pub(super) fn hide(&mut self, counts: &dyn Fn(&IndexId, Option<ClientId>) -> bool) -> StoreResult<bool> {
        self.hidden = Hidden::default();
        let (mut counting, mut some_do_not) = (HashSet::new(), false);
        for row in self.tables.objects.iter()? {
            let (id, row) = row?;
            let client = self.tables.object_clients.get(id.value())?.map(|client| ClientId::new(client.value()));
            match (row.value(), counts(&IndexId::new(id.value()), client)) {
                ((_, EMPTY), _) => {}
                ((number, _), true) => drop(counting.insert(number)),
                ((_, LOSSES), false) => return Ok(false),
                ((_, _), false) => some_do_not = true,
            }
        }
        if !some_do_not {
            return Ok(true);
        }
        let (mut listed, mut others) = (HashSet::new(), HashSet::new());
        for row in self.tables.object_packs.iter()? {
            let (object, packs) = row?;
            let numbers = if counting.contains(&object.value()) { &mut listed } else { &mut others };
            for pack in packs {
                numbers.insert(pack?.value());
            }
        }
        others.retain(|pack| !listed.contains(pack));
        let mut hidden = Hidden::of(others);
        let mut count = 0;
        self.segments(&mut |number, extent| {
            if hidden.has_pack(extent.pack) {
                hidden.add_segment(number);
                count += 1;
            }
        })?;
        self.hidden = hidden;
        Ok(count * HIDDEN_SHARE <= self.tables.segments.len()?)
    }

    /// The places of a chunk that are not hidden; first the one that counts: `first`, or the newest of the others.
    fn shown(&self, id: ShortId, first: ChunkRow) -> StoreResult<Vec<ChunkPlace>> {
        let mut places = vec![decode_chunk(first)];
        for row in self.tables.copies.get(id)? {
            places.push(decode_chunk(row?.value()));
        }
        if self.hidden.has_segment(places[0].segment) {
            places.sort_unstable_by_key(|place| std::cmp::Reverse(place.segment));
        }
        places.retain(|place| !self.hidden.has_segment(place.segment));
        Ok(places)
    }

    /// The place that counts of a chunk, if one does.
    fn first_shown(&self, id: ShortId, first: ChunkRow) -> StoreResult<Option<ChunkPlace>> {
        let place = decode_chunk(first);
        if self.hidden.has_segment(place.segment) {
            return Ok(self.shown(id, first)?.first().copied());
        }
        Ok(Some(place))
    }
}

impl Rows for Store {
    fn has_lost(&self) -> StoreResult<bool> {
        Ok(!self.tables.lost.is_empty()?)
    }

    fn was_lost(&self, id: &ChunkId) -> StoreResult<bool> {
        Ok(self.tables.lost.get(short_id(id))?.is_some())
    }

    fn chunk_count(&self) -> StoreResult<u64> {
        if self.hidden.is_empty() {
            return self.most_chunks();
        }
        self.chunk_rows(ALL_IDS)?.try_fold(0, |count, row| row.map(|_| count + 1))
    }

    fn most_chunks(&self) -> StoreResult<u64> {
        Ok(self.tables.chunks.len()?)
    }

    fn chunk(&self, id: &ChunkId) -> StoreResult<Option<ChunkPlace>> {
        let id = short_id(id);
        self.tables.chunks.get(id)?.map_or(Ok(None), |row| self.first_shown(id, row.value()))
    }

    fn copies(&self, id: &ChunkId) -> StoreResult<Vec<ChunkPlace>> {
        let id = short_id(id);
        self.tables.chunks.get(id)?.map_or(Ok(Vec::new()), |row| self.shown(id, row.value()))
    }

    fn further_copies(&self, each: &mut dyn FnMut(ShortId, ChunkPlace)) -> StoreResult<()> {
        for rows in self.tables.copies.iter()? {
            let id = rows?.0.value();
            let first = self.tables.chunks.get(id)?.ok_or_else(missing)?.value();
            self.shown(id, first)?.into_iter().skip(1).for_each(|place| each(id, place));
        }
        Ok(())
    }

    fn segment(&self, number: u32) -> StoreResult<SegmentView> {
        let row = self.tables.segments.get(number)?.ok_or_else(missing)?.value();
        let pack = self.tables.packs.get(segment_extent(&row)?.pack)?.ok_or_else(missing)?.value();
        let record = self.tables.sessions.get(session_of(&row))?.ok_or_else(missing)?.value();
        decode_segment(&row, &pack, SessionKeyRecord::from_slice(&record).ok_or_else(missing)?)
    }

    fn segment_extent(&self, number: u32) -> StoreResult<SegmentExtent> {
        segment_extent(&self.tables.segments.get(number)?.ok_or_else(missing)?.value())
    }

    fn segments(&self, each: &mut dyn FnMut(u32, SegmentExtent)) -> StoreResult<()> {
        for row in self.tables.segments.iter()? {
            let (number, row) = row?;
            each(number.value(), segment_extent(&row.value())?);
        }
        Ok(())
    }

    fn packs(&self, each: &mut dyn FnMut(u32, PackId, u64)) -> StoreResult<()> {
        for row in self.tables.packs.iter()? {
            let (number, row) = row?;
            if !self.hidden.has_pack(number.value()) {
                let (id, len) = decode_pack(&row.value());
                each(number.value(), id, len);
            }
        }
        Ok(())
    }

    fn has_pack(&self, id: &PackId) -> StoreResult<bool> {
        if self.vouches_for(id)? {
            return Ok(true);
        }
        for number in self.tables.claims.get(id.as_bytes())? {
            if !self.hidden.has_pack(number?.value()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn vouches_for(&self, id: &PackId) -> StoreResult<bool> {
        let number = self.tables.pack_numbers.get(id.as_bytes())?;
        Ok(number.is_some_and(|number| !self.hidden.has_pack(number.value())))
    }

    fn chunk_rows(&self, ids: IdRange) -> StoreResult<ChunkRows<'_>> {
        let rows = self.tables.chunks.range(ids)?;
        Ok(Box::new(rows.filter_map(|row| match row {
            Err(error) => Some(Err(error.into())),
            Ok((id, row)) => {
                let id = id.value();
                self.first_shown(id, row.value()).map(|place| Some((id, place?))).transpose()
            }
        })))
    }
}

/// Adds an object's sessions, packs and segments, and collects the rows of their chunks.
fn import_places(
    transaction: &WriteTransaction,
    id: IndexId,
    object: &IndexObject,
    chunks: &mut Vec<(ShortId, ChunkRow)>,
) -> StoreResult<()> {
    let mut pack_table = transaction.open_table(PACKS)?;
    let mut pack_numbers = transaction.open_table(PACK_NUMBERS)?;
    let mut claims = transaction.open_multimap_table(CLAIMS)?;
    let mut segment_table = transaction.open_table(SEGMENTS)?;
    let mut session_table = transaction.open_table(SESSIONS)?;
    let first_session = next_number(&session_table)?;
    let mut next_pack = next_number(&pack_table)?;
    let mut next_segment = next_number(&segment_table)?;
    let state = if object.lost.is_empty() { ROWS } else { LOSSES };
    let number = import_object(transaction, id, state, &object.replaces)?;
    let mut object_packs = transaction.open_multimap_table(OBJECT_PACKS)?;
    if let Signer::Client(client) = object.signer {
        transaction.open_table(OBJECT_CLIENTS)?.insert(id.as_bytes(), client.as_bytes())?;
    }
    if !object.lost.is_empty() {
        let mut lost = transaction.open_table(LOST)?;
        object.lost.iter().try_for_each(|id| lost.insert(short_id(id), ()).map(drop))?;
    }
    let mut sessions: HashMap<SessionId, u32> = HashMap::new();
    for (number, record) in (first_session..).zip(&object.sessions) {
        session_table.insert(number, record.as_bytes())?;
        sessions.insert(record.session(), number);
    }
    for pack in &object.packs {
        if object.domain == DomainId::SHARED {
            let known = pack_numbers.get(pack.id.as_bytes())?.map(|number| number.value());
            object_packs.insert(number, known.unwrap_or(next_pack))?;
            if known.is_some() {
                // Two index objects may list one pack; the rows are the same.
                continue;
            }
            pack_numbers.insert(pack.id.as_bytes(), next_pack)?;
        } else {
            object_packs.insert(number, next_pack)?;
            claims.insert(pack.id.as_bytes(), next_pack)?;
        }
        pack_table.insert(next_pack, encode_pack(pack))?;
        for segment in &pack.segments {
            let session = sessions.get(&segment.session).copied().unwrap_or(u32::MAX);
            segment_table.insert(next_segment, encode_segment(segment, next_pack, session))?;
            push_chunks(segment, next_segment, chunks);
            next_segment += 1;
        }
        next_pack += 1;
    }
    Ok(())
}

/// Notes an index object, what is here of it, and what it replaces; its number.
fn import_object(transaction: &WriteTransaction, id: IndexId, state: u8, replaces: &[IndexId]) -> StoreResult<u32> {
    let mut objects = transaction.open_table(OBJECTS)?;
    let known = objects.get(id.as_bytes())?.map(|row| row.value().0);
    let number = known.unwrap_or(u32::try_from(objects.len()?).map_err(|_| missing())?);
    objects.insert(id.as_bytes(), (number, state))?;
    let mut table = transaction.open_multimap_table(REPLACES)?;
    replaces.iter().try_for_each(|old| table.insert(id.as_bytes(), old.as_bytes()).map(drop))?;
    Ok(number)
}

fn next_number<V: redb::Value>(table: &redb::Table<'_, u32, V>) -> StoreResult<u32> {
    Ok(table.last()?.map_or(0, |(number, _)| number.value() + 1))
}
