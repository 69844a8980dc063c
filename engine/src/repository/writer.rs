//! The way in for chunks: known? → segment → compress → seal → pack → storage, and the index objects.
//!
//! Any number of workers fill segments of their own through [`SegmentBuilder`]s and seal them, each in its own
//! cache; only sealed segments are shared. One uploader thread writes full packs, and an index object when many
//! packs wait for one. The channel to it holds a single pack: that is the back-pressure, and what bounds memory.
//! Invariant: an index object is written only after the packs that it names are durable.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, RwLock};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::store::{Store, short_id};
use super::{Index, Repository, Session};
use crate::compress::{Compressor, Decompressor};
use crate::crypto::{SEGMENT_OVERHEAD_BYTES, SegmentBinding, hash, random_bytes};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{
    Footer, HEADER_BYTES, IndexObject, ObjectKind, TAIL_BYTES, Tail, encode_footer, encode_index, encode_tail, padme,
    segment_table_hash,
};
use crate::id::{ChunkId, IndexId, PackId, SnapshotId};
use crate::model::{ChunkKind, ChunkRef, Compression, PackRow, SegmentRow};
use crate::storage::{ObjectName, Outcome};

/// zstd's level for data.
const DATA_LEVEL: i32 = 3;
/// zstd's level for trees, which are few.
const TREE_LEVEL: i32 = 3;
/// Chunks in packs that wait for an index object, at most.
const INDEX_CHUNKS: usize = 200_000;
/// Packs that wait for an index object, at most: what an interrupted session has to store again.
const INDEX_PACKS: usize = 32;
/// New ids that are kept in memory; more go into a private database. About 32 bytes each.
const CLAIMS_IN_MEMORY: u64 = 1_000_000;
const CLAIM_SHARDS: usize = 64;
const NONCE_BYTES: usize = 24;

/// What a session stored.
#[derive(Debug, Default)]
pub struct WriterStatistics {
    /// Chunks that the repository did not have.
    pub chunks_new: AtomicU64,
    /// Their plaintext bytes.
    pub bytes_new: AtomicU64,
    /// Bytes of packs and index objects.
    pub bytes_added: AtomicU64,
}

impl WriterStatistics {
    /// Puts its counts where a snapshot keeps them.
    pub fn add_to(&self, statistics: &mut crate::model::SnapshotStatistics) {
        statistics.chunks_new = self.chunks_new.load(Ordering::Relaxed);
        statistics.bytes_new = self.bytes_new.load(Ordering::Relaxed);
        statistics.bytes_added = self.bytes_added.load(Ordering::Relaxed);
    }
}

/// One session's writing side. Shared by its workers.
pub struct SessionWriter<'a> {
    repository: &'a Repository,
    index: &'a Index,
    index_is_empty: bool,
    session: Session,
    dry_run: bool,
    claims: Claims,
    packs: [Mutex<OpenPack>; 2],
    uploads: Sender<OpenPack>,
    received: Receiver<OpenPack>,
    failed: AtomicBool,
    failure: Mutex<Option<EngineError>>,
    /// What it did so far.
    pub statistics: WriterStatistics,
}

impl<'a> SessionWriter<'a> {
    /// Writes into `session`, which has begun. With `dry_run` everything happens but the writing.
    pub fn new(repository: &'a Repository, index: &'a Index, session: Session, dry_run: bool) -> Result<Self> {
        let (uploads, received) = bounded(1);
        Ok(Self {
            repository,
            index,
            index_is_empty: index.chunk_count()? == 0,
            session,
            dry_run,
            claims: Claims::default(),
            packs: [Mutex::default(), Mutex::default()],
            uploads,
            received,
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            statistics: WriterStatistics::default(),
        })
    }

    /// The repository that it writes to.
    pub fn repository(&self) -> &'a Repository {
        self.repository
    }

    /// Whether it may be new: `true` gives the chunk to the caller, who must store it.
    fn claim(&self, id: &ChunkId) -> Result<bool> {
        if !self.index_is_empty && self.index.contains(id)? {
            return Ok(false);
        }
        self.claims.insert(id)
    }

    fn seal(
        &self,
        kind: ChunkKind,
        plain: &[u8],
        chunks: Vec<(ChunkId, u32)>,
        tools: &mut Tools,
    ) -> Result<SealedSegment> {
        let plain_len = u32::try_from(plain.len()).expect("segments are closed far below 4 GiB");
        let mut sealed = Vec::with_capacity(NONCE_BYTES + plain.len() / 2);
        sealed.resize(NONCE_BYTES, 0);
        let compression = tools.compressor.compress(plain, &mut sealed);
        let suite = self.repository.config().suite;
        let binding =
            SegmentBinding { kind, suite, compression, plain_len, chunk_table_hash: segment_table_hash(&chunks) };
        self.session.keys().seal_segment(&binding, &mut sealed);
        self.verify(&binding, &sealed, plain, tools)?;
        sealed.shrink_to_fit();
        let row = SegmentRow {
            session: self.session.id(),
            offset: 0,
            sealed_len: u32::try_from(sealed.len()).expect("a segment has at most 16 MiB"),
            kind,
            suite,
            compression,
            plain_len,
            chunks,
        };
        Ok(SealedSegment { row, sealed })
    }

    /// Opens what was sealed and compares it: memory that flips a bit must not reach the storage unnoticed.
    fn verify(&self, binding: &SegmentBinding, sealed: &[u8], plain: &[u8], tools: &mut Tools) -> Result<()> {
        tools.opened.clear();
        tools.opened.extend_from_slice(sealed);
        let broken = || EngineError::damaged("a segment could not be read back: this machine's memory may be faulty");
        let text = self.session.keys().open_segment(binding, &mut tools.opened).map_err(|_| broken())?;
        let same = match binding.compression {
            Compression::None => text == plain,
            compression => {
                tools
                    .decompressor
                    .decompress(compression, text, binding.plain_len, &mut tools.plain)
                    .map_err(|_| broken())?;
                tools.plain == plain
            }
        };
        if same { Ok(()) } else { Err(broken()) }
    }

    fn append(&self, segment: SealedSegment) -> Result<()> {
        let full = {
            let mut pack = self.pack(segment.row.kind);
            pack.push(segment);
            (pack.len >= self.repository.config().pack_size).then(|| std::mem::take(&mut *pack))
        };
        match full {
            Some(pack) => self.upload(pack),
            None => self.check_failure(),
        }
    }

    fn pack(&self, kind: ChunkKind) -> MutexGuard<'_, OpenPack> {
        self.packs[usize::from(kind == ChunkKind::Tree)].lock().expect("no holder of this lock panics")
    }

    fn upload(&self, pack: OpenPack) -> Result<()> {
        self.check_failure()?;
        self.uploads.send(pack).expect("the writer itself holds a receiver");
        Ok(())
    }

    /// Fails if the uploader did; its own error is told by [`Self::finish`].
    fn check_failure(&self) -> Result<()> {
        if self.failed.load(Ordering::Acquire) {
            return Err(EngineError::new(ErrorKind::Io, "the session can't go on"));
        }
        Ok(())
    }

    /// Writes packs until [`Self::end_uploads`] says that there are no more; run it on a thread of its own.
    pub fn run_uploader(&self) {
        let mut pending = Pending::default();
        // After a failure packs are still taken, so that nobody waits for ever.
        while let Ok(pack) = self.received.recv() {
            let last = pack.is_end;
            if self.failed.load(Ordering::Acquire) {
                if last { break } else { continue }
            }
            let work = || if last { self.write_index(&mut pending) } else { self.write_pack(pack, &mut pending) };
            // A bug must not leave workers waiting for a thread that is gone.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
                .unwrap_or_else(|_| Err(EngineError::new(ErrorKind::Io, "the uploader panicked")));
            if let Err(error) = result {
                *self.failure.lock().expect("no holder of this lock panics") = Some(error);
                self.failed.store(true, Ordering::Release);
            }
            if last {
                break;
            }
        }
    }

    fn write_pack(&self, pack: OpenPack, pending: &mut Pending) -> Result<()> {
        let finished = pack.finish(self.repository, &self.session);
        self.statistics.bytes_added.fetch_add(finished.row.len, Ordering::Relaxed);
        if !self.dry_run {
            let parts: Vec<&[u8]> = finished.parts.iter().map(Vec::as_slice).collect();
            self.repository.storage().write_new(ObjectName::Pack(finished.row.id), &parts)?;
        }
        pending.chunks += finished.row.segments.iter().map(|segment| segment.chunks.len()).sum::<usize>();
        pending.packs.push(finished.row);
        if pending.chunks >= INDEX_CHUNKS || pending.packs.len() >= INDEX_PACKS {
            self.write_index(pending)?;
        }
        Ok(())
    }

    fn write_index(&self, pending: &mut Pending) -> Result<()> {
        if pending.packs.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(pending);
        let object = IndexObject {
            session: self.session.id(),
            sessions: vec![self.session.keys().record().clone()],
            packs: pending.packs,
            replaces: Vec::new(),
        };
        let bytes = encode_index(&object, self.repository.domain(), 0);
        let id = IndexId::new(hash(&bytes));
        self.statistics.bytes_added.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if !self.dry_run {
            self.repository.storage().write_new(ObjectName::Index(id), &[&bytes])?;
        }
        self.claims.spill(self.repository, id, object)
    }

    /// A guard that ends the uploader when it is dropped, whatever happens until then.
    pub fn uploads(&self) -> Uploads<'_, 'a> {
        Uploads(self)
    }

    /// Sends what is left and ends the uploader. All builders must be finished; [`Self::commit`] comes when the
    /// uploader's thread has ended.
    fn end_uploads(&self) {
        for kind in [ChunkKind::Data, ChunkKind::Tree] {
            let pack = std::mem::take(&mut *self.pack(kind));
            if !pack.segments.is_empty() {
                self.uploads.send(pack).expect("the writer itself holds a receiver");
            }
        }
        self.uploads.send(OpenPack { is_end: true, ..OpenPack::default() }).expect("as above");
    }

    /// Writes a snapshot object for this session.
    ///
    /// # Errors
    /// `Io`.
    pub fn write_snapshot(&self, snapshot: &crate::model::Snapshot) -> Result<SnapshotId> {
        write_snapshot(self.repository, &self.session, snapshot)
    }

    /// Commits the session; the uploader has ended.
    ///
    /// # Errors
    /// The uploader's, if it failed; `SessionRevoked`; `Io`.
    pub fn commit(self, snapshot: Option<SnapshotId>) -> Result<()> {
        self.take_failure()?;
        self.session.commit(self.repository, snapshot)
    }

    /// The error that stopped the uploader.
    ///
    /// # Errors
    /// That error.
    pub fn take_failure(&self) -> Result<()> {
        match self.failure.lock().expect("no holder of this lock panics").take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Ends the uploader when it is dropped: a panic must not leave its thread waiting.
pub struct Uploads<'w, 'a>(&'w SessionWriter<'a>);

impl Drop for Uploads<'_, '_> {
    fn drop(&mut self) {
        self.0.end_uploads();
    }
}

/// Writes a snapshot object for a session; it exists once the session's register names it.
///
/// # Errors
/// `Io`.
pub(crate) fn write_snapshot(
    repository: &Repository,
    session: &Session,
    snapshot: &crate::model::Snapshot,
) -> Result<SnapshotId> {
    let object = crate::format::encode_snapshot(snapshot, repository.keys(), session.keys());
    let id = SnapshotId::new(hash(&object));
    match repository.storage().write_new(ObjectName::Snapshot(id), &[&object])? {
        Outcome::Written | Outcome::Existed => Ok(id),
    }
}

/// What a worker seals with: contexts and buffers.
struct Tools {
    compressor: Compressor,
    decompressor: Decompressor,
    opened: Vec<u8>,
    plain: Vec<u8>,
}

struct SealedSegment {
    row: SegmentRow,
    sealed: Vec<u8>,
}

/// Fills segments with new chunks. One a worker and kind of chunk.
pub struct SegmentBuilder<'w, 'a> {
    writer: &'w SessionWriter<'a>,
    kind: ChunkKind,
    plain: Vec<u8>,
    chunks: Vec<(ChunkId, u32)>,
    tools: Tools,
}

impl<'w, 'a> SegmentBuilder<'w, 'a> {
    /// An empty one.
    pub fn new(writer: &'w SessionWriter<'a>, kind: ChunkKind) -> Self {
        let level = match kind {
            ChunkKind::Data => DATA_LEVEL,
            ChunkKind::Tree => TREE_LEVEL,
        };
        let tools = Tools {
            compressor: Compressor::new(level),
            decompressor: Decompressor::default(),
            opened: Vec::new(),
            plain: Vec::new(),
        };
        Self { writer, kind, plain: Vec::new(), chunks: Vec::new(), tools }
    }

    /// Takes a chunk in, if the repository doesn't have it.
    ///
    /// # Errors
    /// `Io`.
    pub fn add(&mut self, chunk: &[u8]) -> Result<ChunkRef> {
        let id = self.writer.repository.domain().chunk_id(self.kind, chunk);
        let len = u32::try_from(chunk.len()).expect("chunks are far below 4 GiB");
        if self.writer.claim(&id)? {
            self.plain.extend_from_slice(chunk);
            self.chunks.push((id, len));
            self.writer.statistics.chunks_new.fetch_add(1, Ordering::Relaxed);
            self.writer.statistics.bytes_new.fetch_add(u64::from(len), Ordering::Relaxed);
            if self.plain.len() >= self.writer.repository.config().segment_size as usize {
                self.seal()?;
            }
        }
        Ok(ChunkRef { id, len })
    }

    fn seal(&mut self) -> Result<()> {
        let chunks = std::mem::take(&mut self.chunks);
        let sealed = self.writer.seal(self.kind, &self.plain, chunks, &mut self.tools)?;
        self.plain.clear();
        self.writer.append(sealed)
    }

    /// Seals what is left.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(mut self) -> Result<()> {
        if self.chunks.is_empty() { Ok(()) } else { self.seal() }
    }
}

/// A pack in the making.
#[derive(Default)]
struct OpenPack {
    segments: Vec<SealedSegment>,
    len: u64,
    /// No pack: the end of the session's packs.
    is_end: bool,
}

struct FinishedPack {
    row: PackRow,
    parts: Vec<Vec<u8>>,
}

impl OpenPack {
    fn push(&mut self, mut segment: SealedSegment) {
        let offset = self.len.max(HEADER_BYTES as u64);
        segment.row.offset = u32::try_from(offset).expect("packs are closed far below 4 GiB");
        debug_assert!(segment.sealed.len() > SEGMENT_OVERHEAD_BYTES);
        self.len = offset + segment.sealed.len() as u64;
        self.segments.push(segment);
    }

    fn finish(self, repository: &Repository, session: &Session) -> FinishedPack {
        let mut parts = vec![ObjectKind::Pack.header().to_vec()];
        let mut rows = Vec::with_capacity(self.segments.len());
        for segment in self.segments {
            rows.push(segment.row);
            parts.push(segment.sealed);
        }
        let footer = Footer { sessions: vec![session.keys().record().clone()], segments: rows };
        let sealed = encode_footer(&footer, repository.domain(), 0);
        let tail = Tail {
            domain: repository.domain().domain(),
            epoch: 0,
            footer_len: u32::try_from(sealed.len()).expect("footers stay below their limit"),
        };
        let before_tail = self.len + sealed.len() as u64;
        let padding = padme(before_tail) - before_tail;
        parts.push(random_padding(padding));
        parts.push(sealed);
        parts.push(encode_tail(&tail).to_vec());

        let mut hasher = blake3::Hasher::new();
        for part in &parts {
            hasher.update(part);
        }
        let id = PackId::new(*hasher.finalize().as_bytes());
        let len = before_tail + padding + TAIL_BYTES as u64;
        FinishedPack { row: PackRow { id, len, segments: footer.segments }, parts }
    }
}

/// Bytes that look like the sealed ones around them.
fn random_padding(len: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(len).expect("at most 64 KiB")];
    blake3::Hasher::new_keyed(&random_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Packs that are durable and that no index object names yet.
#[derive(Default)]
struct Pending {
    packs: Vec<PackRow>,
    chunks: usize,
}

/// Ids that this session stores or stored. What is in written index objects may move to a private database.
struct Claims {
    shards: Vec<Mutex<HashSet<[u8; 16]>>>,
    count: AtomicU64,
    spilled: RwLock<Option<Store>>,
}

impl Default for Claims {
    fn default() -> Self {
        let shards = (0..CLAIM_SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, count: AtomicU64::new(0), spilled: RwLock::new(None) }
    }
}

impl Claims {
    fn shard(&self, id: &[u8; 16]) -> MutexGuard<'_, HashSet<[u8; 16]>> {
        self.shards[usize::from(id[15]) % CLAIM_SHARDS].lock().expect("no holder of this lock panics")
    }

    /// `true` for the first to ask.
    fn insert(&self, id: &ChunkId) -> Result<bool> {
        let short = short_id(id);
        // The shard stays locked meanwhile: what moves to the database is in the one or the other.
        let mut shard = self.shard(&short);
        if shard.contains(&short) {
            return Ok(false);
        }
        if let Some(store) = &*self.spilled.read().expect("no holder of this lock panics")
            && Index::store_result(store.chunk(id))?.is_some()
        {
            return Ok(false);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(shard.insert(short))
    }

    /// Moves what an index object names out of memory, if there is much.
    fn spill(&self, repository: &Repository, id: IndexId, object: IndexObject) -> Result<()> {
        if self.count.load(Ordering::Relaxed) < CLAIMS_IN_MEMORY {
            return Ok(());
        }
        let mut moved: HashMap<u8, Vec<[u8; 16]>> = HashMap::new();
        let segments = object.packs.iter().flat_map(|pack| &pack.segments);
        for (id, _) in segments.flat_map(|segment| &segment.chunks) {
            let short = short_id(id);
            moved.entry(short[15] % CLAIM_SHARDS as u8).or_default().push(short);
        }
        {
            let mut spilled = self.spilled.write().expect("no holder of this lock panics");
            let store = match &mut *spilled {
                Some(store) => store,
                none => none.insert(repository.private_store()?),
            };
            Index::store_result(store.import(&[(id, object)], false))?;
        }
        for ids in moved.values() {
            let mut shard = self.shard(&ids[0]);
            ids.iter().for_each(|id| {
                shard.remove(id);
            });
            self.count.fetch_sub(ids.len() as u64, Ordering::Relaxed);
            shard.shrink_to_fit();
        }
        Ok(())
    }
}
