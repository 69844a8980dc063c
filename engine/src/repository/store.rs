//! One redb database of the local index: chunk id to place.
//!
//! It is a cache of index objects and never an authority. Inserts are sorted.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use redb::{
    Builder, Database, Durability, MultimapTableDefinition, ReadOnlyDatabase, ReadOnlyMultimapTable, ReadOnlyTable,
    ReadableDatabase, ReadableMultimapTable, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction,
};

use super::rows::{
    ChunkPlace, ChunkRow, ChunkRows, PackRow, Rows, SegmentExtent, SegmentRow, SegmentView, ShortId, StoreResult,
    decode_chunk, decode_pack, decode_segment, encode_pack, encode_segment, missing, push_chunks, segment_extent,
    session_of, short_id,
};
use crate::crypto::{SESSION_KEY_RECORD_BYTES, SessionKeyRecord};
use crate::format::IndexObject;
use crate::id::{ChunkId, IndexId, PackId, SessionId};

/// Pages that a reader keeps, in bytes.
const READ_CACHE_BYTES: usize = 24 << 20;
/// Pages that an import keeps before it writes them out, in bytes.
const WRITE_CACHE_BYTES: usize = 32 << 20;
/// Chunks that an import sorts at once; 26 bytes each.
const IMPORT_CHUNKS: usize = 1 << 20;

/// Changes whenever the tables do; another one in the file means: build it again.
const SCHEMA: u64 = 3;

const CHUNKS: TableDefinition<ShortId, ChunkRow> = TableDefinition::new("chunks");
/// Further places of chunks that several packs hold.
const COPIES: MultimapTableDefinition<ShortId, ChunkRow> = MultimapTableDefinition::new("copies");
const SEGMENTS: TableDefinition<u32, SegmentRow> = TableDefinition::new("segments");
const PACKS: TableDefinition<u32, PackRow> = TableDefinition::new("packs");
const PACK_NUMBERS: TableDefinition<[u8; 32], u32> = TableDefinition::new("pack numbers");
const SESSIONS: TableDefinition<u32, [u8; SESSION_KEY_RECORD_BYTES]> = TableDefinition::new("sessions");
const OBJECTS: TableDefinition<[u8; 32], ()> = TableDefinition::new("index objects");
const LOST: TableDefinition<ShortId, ()> = TableDefinition::new("lost chunks");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

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
    sessions: ReadOnlyTable<u32, [u8; SESSION_KEY_RECORD_BYTES]>,
    objects: ReadOnlyTable<[u8; 32], ()>,
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
            sessions: read.open_table(SESSIONS)?,
            objects: read.open_table(OBJECTS)?,
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
            transaction.open_table(SESSIONS)?;
            transaction.open_table(OBJECTS)?;
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
        Ok(Self { tables, backing })
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
        Ok(())
    }
}

impl Rows for Store {
    fn has_lost(&self) -> StoreResult<bool> {
        Ok(!self.tables.lost.is_empty()?)
    }

    fn was_lost(&self, id: &ChunkId) -> StoreResult<bool> {
        Ok(self.tables.lost.get(short_id(id))?.is_some())
    }

    fn objects(&self) -> StoreResult<HashSet<IndexId>> {
        self.tables.objects.iter()?.map(|row| Ok(IndexId::new(row?.0.value()))).collect()
    }

    fn chunk_count(&self) -> StoreResult<u64> {
        Ok(self.tables.chunks.len()?)
    }

    fn chunk(&self, id: &ChunkId) -> StoreResult<Option<ChunkPlace>> {
        Ok(self.tables.chunks.get(short_id(id))?.map(|row| decode_chunk(row.value())))
    }

    fn copies(&self, id: &ChunkId) -> StoreResult<Vec<ChunkPlace>> {
        let Some(first) = self.chunk(id)? else { return Ok(Vec::new()) };
        let mut places = vec![first];
        for row in self.tables.copies.get(short_id(id))? {
            places.push(decode_chunk(row?.value()));
        }
        Ok(places)
    }

    fn further_copies(&self, each: &mut dyn FnMut(ShortId, ChunkPlace)) -> StoreResult<()> {
        for rows in self.tables.copies.iter()? {
            let (id, rows) = rows?;
            for row in rows {
                each(id.value(), decode_chunk(row?.value()));
            }
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
            let (id, len) = decode_pack(&row.value());
            each(number.value(), id, len);
        }
        Ok(())
    }

    fn has_pack(&self, id: &PackId) -> StoreResult<bool> {
        Ok(self.tables.pack_numbers.get(id.as_bytes())?.is_some())
    }

    fn chunk_rows(&self) -> StoreResult<ChunkRows<'_>> {
        let rows = self.tables.chunks.iter()?;
        Ok(Box::new(rows.map(|row| match row {
            Ok((id, row)) => Ok((id.value(), decode_chunk(row.value()))),
            Err(error) => Err(error.into()),
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
    let mut segment_table = transaction.open_table(SEGMENTS)?;
    let mut session_table = transaction.open_table(SESSIONS)?;
    let first_session = next_number(&session_table)?;
    let mut next_pack = next_number(&pack_table)?;
    let mut next_segment = next_number(&segment_table)?;
    transaction.open_table(OBJECTS)?.insert(id.as_bytes(), ())?;
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
        if pack_numbers.get(pack.id.as_bytes())?.is_some() {
            // Two index objects may list one pack; the rows are the same.
            continue;
        }
        pack_numbers.insert(pack.id.as_bytes(), next_pack)?;
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

fn next_number<V: redb::Value>(table: &redb::Table<'_, u32, V>) -> StoreResult<u32> {
    Ok(table.last()?.map_or(0, |(number, _)| number.value() + 1))
}
