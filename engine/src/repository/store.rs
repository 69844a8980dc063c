//! One redb database of the local index: chunk id to place.
//!
//! It is a cache of index objects and never an authority. Ids are cut to 16 bytes here (false matches of 10⁹
//! chunks: 10⁻²¹), since whoever reads a chunk checks the whole id. Rows have fixed widths; inserts are sorted.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use redb::{
    Builder, Database, Durability, MultimapTableDefinition, ReadOnlyDatabase, ReadOnlyMultimapTable, ReadOnlyTable,
    ReadableDatabase, ReadableMultimapTable, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction,
};

use crate::crypto::{SESSION_KEY_RECORD_BYTES, SessionKeyRecord};
use crate::format::{IndexObject, segment_table_hash};
use crate::id::{ChunkId, IndexId, PackId, SessionId};
use crate::model::{ChunkKind, Compression, SegmentRow, Suite};

/// Pages that a reader keeps, in bytes.
const READ_CACHE_BYTES: usize = 24 << 20;
/// Pages that an import keeps before it writes them out, in bytes.
const WRITE_CACHE_BYTES: usize = 32 << 20;
/// Chunks that an import sorts at once; 26 bytes each.
const IMPORT_CHUNKS: usize = 1 << 20;

/// Changes whenever the tables do; another one in the file means: build it again.
const SCHEMA: u64 = 2;

pub(super) const SHORT_ID_BYTES: usize = 16;
const CHUNK_ROW_BYTES: usize = 10;
const SEGMENT_ROW_BYTES: usize = 55;
const PACK_ROW_BYTES: usize = 40;

type ShortId = [u8; SHORT_ID_BYTES];
type ChunkRow = [u8; CHUNK_ROW_BYTES];

const CHUNKS: TableDefinition<ShortId, ChunkRow> = TableDefinition::new("chunks");
/// Further places of chunks that several packs hold.
const COPIES: MultimapTableDefinition<ShortId, ChunkRow> = MultimapTableDefinition::new("copies");
const SEGMENTS: TableDefinition<u32, [u8; SEGMENT_ROW_BYTES]> = TableDefinition::new("segments");
const PACKS: TableDefinition<u32, [u8; PACK_ROW_BYTES]> = TableDefinition::new("packs");
const PACK_NUMBERS: TableDefinition<[u8; 32], u32> = TableDefinition::new("pack numbers");
const SESSIONS: TableDefinition<u32, [u8; SESSION_KEY_RECORD_BYTES]> = TableDefinition::new("sessions");
const OBJECTS: TableDefinition<[u8; 32], ()> = TableDefinition::new("index objects");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

pub(super) type StoreResult<T> = Result<T, redb::Error>;

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkRowView {
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) len: u32,
}

/// Where a segment is, and how to open it.
#[derive(Debug, Clone)]
pub(super) struct SegmentRowView {
    pub(super) pack: PackId,
    pub(super) pack_len: u64,
    pub(super) offset: u32,
    pub(super) sealed_len: u32,
    pub(super) plain_len: u32,
    pub(super) kind: ChunkKind,
    pub(super) suite: Suite,
    pub(super) compression: Compression,
    pub(super) table_hash: [u8; 32],
    pub(super) record: SessionKeyRecord,
}

/// Which part of which pack a segment is.
#[derive(Debug, Clone, Copy)]
pub(super) struct SegmentExtent {
    pub(super) pack: u32,
    pub(super) offset: u32,
    pub(super) sealed_len: u32,
    pub(super) plain_len: u32,
    pub(super) kind: ChunkKind,
}

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
    segments: ReadOnlyTable<u32, [u8; SEGMENT_ROW_BYTES]>,
    packs: ReadOnlyTable<u32, [u8; PACK_ROW_BYTES]>,
    pack_numbers: ReadOnlyTable<[u8; 32], u32>,
    sessions: ReadOnlyTable<u32, [u8; SESSION_KEY_RECORD_BYTES]>,
    objects: ReadOnlyTable<[u8; 32], ()>,
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

    /// The index objects that it holds.
    pub(super) fn objects(&self) -> StoreResult<HashSet<IndexId>> {
        self.tables.objects.iter()?.map(|row| Ok(IndexId::new(row?.0.value()))).collect()
    }

    /// How many chunks it holds.
    pub(super) fn chunk_count(&self) -> StoreResult<u64> {
        Ok(self.tables.chunks.len()?)
    }

    /// Where a chunk is, if it knows.
    pub(super) fn chunk(&self, id: &ChunkId) -> StoreResult<Option<ChunkRowView>> {
        Ok(self.tables.chunks.get(short_id(id))?.map(|row| decode_chunk(row.value())))
    }

    /// Every place of a chunk; most have one at most.
    pub(super) fn copies(&self, id: &ChunkId) -> StoreResult<Vec<ChunkRowView>> {
        let Some(first) = self.chunk(id)? else { return Ok(Vec::new()) };
        let mut places = vec![first];
        for row in self.tables.copies.get(short_id(id))? {
            places.push(decode_chunk(row?.value()));
        }
        Ok(places)
    }

    /// Calls `each` with every place that is not the first one of its chunk.
    pub(super) fn further_copies(&self, each: &mut dyn FnMut(ShortId, ChunkRowView)) -> StoreResult<()> {
        for rows in self.tables.copies.iter()? {
            let (id, rows) = rows?;
            for row in rows {
                each(id.value(), decode_chunk(row?.value()));
            }
        }
        Ok(())
    }

    /// The number of the pack that a segment is in.
    pub(super) fn pack_of(&self, segment: u32) -> StoreResult<u32> {
        let missing = || redb::Error::Corrupted("a row is missing".into());
        Ok(u32_at(&self.tables.segments.get(segment)?.ok_or_else(missing)?.value(), 0))
    }

    /// A segment by its number.
    pub(super) fn segment(&self, number: u32) -> StoreResult<SegmentRowView> {
        let missing = || redb::Error::Corrupted("a row is missing".into());
        let row = self.tables.segments.get(number)?.ok_or_else(missing)?.value();
        let pack = self.tables.packs.get(u32_at(&row, 0))?.ok_or_else(missing)?.value();
        let record = self.tables.sessions.get(u32_at(&row, 16))?.ok_or_else(missing)?.value();
        let view = SegmentRowView {
            pack: PackId::from_slice(&pack[..32]).ok_or_else(missing)?,
            pack_len: u64::from_le_bytes(pack[32..].try_into().map_err(|_| missing())?),
            offset: u32_at(&row, 4),
            sealed_len: u32_at(&row, 8),
            plain_len: u32_at(&row, 12),
            kind: ChunkKind::from_code(row[20]).ok_or_else(missing)?,
            suite: Suite::from_code(row[21]).ok_or_else(missing)?,
            compression: Compression::from_code(row[22]).ok_or_else(missing)?,
            table_hash: row[23..].try_into().map_err(|_| missing())?,
            record: SessionKeyRecord::from_slice(&record).ok_or_else(missing)?,
        };
        // A row that a broken disk changed must not make anyone allocate gigabytes.
        if view.plain_len > crate::limits::SEGMENT_PLAIN_BYTES || u64::from(view.sealed_len) > view.pack_len {
            return Err(redb::Error::Corrupted("a row is out of bounds".into()));
        }
        Ok(view)
    }

    /// Calls `each` with every pack's number and id.
    pub(super) fn numbered_packs(&self, each: &mut dyn FnMut(u32, PackId)) -> StoreResult<()> {
        for row in self.tables.packs.iter()? {
            let (number, row) = row?;
            each(number.value(), PackId::from_slice(&row.value()[..32]).expect("32 bytes"));
        }
        Ok(())
    }

    /// Calls `each` with every pack and its length.
    pub(super) fn packs(&self, each: &mut dyn FnMut(PackId, u64)) -> StoreResult<()> {
        for row in self.tables.packs.iter()? {
            let row = row?.1.value();
            let len = u64::from_le_bytes(row[32..].try_into().expect("eight bytes"));
            each(PackId::from_slice(&row[..32]).expect("32 bytes"), len);
        }
        Ok(())
    }

    /// Whether it knows a pack.
    pub(super) fn has_pack(&self, id: &PackId) -> StoreResult<bool> {
        Ok(self.tables.pack_numbers.get(id.as_bytes())?.is_some())
    }

    /// Calls `each` with every chunk's cut id and length, in order of ids.
    pub(super) fn chunks(&self, each: &mut dyn FnMut(ShortId, ChunkRowView)) -> StoreResult<()> {
        for row in self.tables.chunks.iter()? {
            let (id, row) = row?;
            each(id.value(), decode_chunk(row.value()));
        }
        Ok(())
    }

    /// Every chunk's cut id and place, in order of ids.
    pub(super) fn chunk_rows(&self) -> StoreResult<impl Iterator<Item = StoreResult<(ShortId, ChunkRowView)>>> {
        let rows = self.tables.chunks.iter()?;
        Ok(rows.map(|row| row.map(|(id, row)| (id.value(), decode_chunk(row.value()))).map_err(redb::Error::from)))
    }

    /// Calls `each` with every segment's number and what a count needs of it, ascending.
    pub(super) fn segments(&self, each: &mut dyn FnMut(u32, SegmentExtent)) -> StoreResult<()> {
        for row in self.tables.segments.iter()? {
            let (number, row) = row?;
            let row = row.value();
            let kind = ChunkKind::from_code(row[20]).ok_or_else(|| redb::Error::Corrupted("a row is broken".into()))?;
            let extent = SegmentExtent {
                pack: u32_at(&row, 0),
                offset: u32_at(&row, 4),
                sealed_len: u32_at(&row, 8),
                plain_len: u32_at(&row, 12),
                kind,
            };
            each(number.value(), extent);
        }
        Ok(())
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
        let mut row = [0; PACK_ROW_BYTES];
        row[..32].copy_from_slice(pack.id.as_bytes());
        row[32..].copy_from_slice(&pack.len.to_le_bytes());
        pack_table.insert(next_pack, row)?;
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

fn push_chunks(segment: &SegmentRow, number: u32, chunks: &mut Vec<(ShortId, ChunkRow)>) {
    let mut offset = 0u32;
    for (id, len) in &segment.chunks {
        let mut row = [0; CHUNK_ROW_BYTES];
        row[..4].copy_from_slice(&number.to_le_bytes());
        row[4..7].copy_from_slice(&offset.to_le_bytes()[..3]);
        row[7..].copy_from_slice(&len.to_le_bytes()[..3]);
        chunks.push((short_id(id), row));
        offset += len;
    }
}

fn encode_segment(segment: &SegmentRow, pack: u32, session: u32) -> [u8; SEGMENT_ROW_BYTES] {
    let mut row = [0; SEGMENT_ROW_BYTES];
    row[..4].copy_from_slice(&pack.to_le_bytes());
    row[4..8].copy_from_slice(&segment.offset.to_le_bytes());
    row[8..12].copy_from_slice(&segment.sealed_len.to_le_bytes());
    row[12..16].copy_from_slice(&segment.plain_len.to_le_bytes());
    row[16..20].copy_from_slice(&session.to_le_bytes());
    row[20] = segment.kind.code();
    row[21] = segment.suite.code();
    row[22] = segment.compression.code();
    row[23..].copy_from_slice(&segment_table_hash(&segment.chunks));
    row
}

fn decode_chunk(row: ChunkRow) -> ChunkRowView {
    ChunkRowView {
        segment: u32_at(&row, 0),
        offset: u32::from_le_bytes([row[4], row[5], row[6], 0]),
        len: u32::from_le_bytes([row[7], row[8], row[9], 0]),
    }
}

pub(super) fn short_id(id: &ChunkId) -> ShortId {
    id.as_bytes()[..SHORT_ID_BYTES].try_into().expect("16 of 32 bytes")
}

fn u32_at(row: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(row[at..at + 4].try_into().expect("four bytes"))
}
