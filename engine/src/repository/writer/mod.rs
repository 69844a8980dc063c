//! The way in for chunks: known? → segment → compress → seal → pack → storage, and the index objects.
//!
//! Any number of workers fill segments of their own through [`SegmentBuilder`]s. A full one is offered to whoever is
//! idle, so that a single large file keeps all cores busy; if nobody is, its worker seals it itself, in its own cache.
//! Two uploader threads write full packs, and an index object when many packs wait for one. There is a fixed number of
//! buffers for packs: that is the back-pressure, and what bounds memory.
//! Invariant: an index object is written only after the packs that it names are durable.

mod claims;
mod pack;
mod segment;

pub use segment::{PlainSegment, SegmentBuilder};

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crossbeam_channel::{Receiver, Sender, bounded};

use self::claims::Claims;
use self::pack::{FinishedPack, OpenPack};
use self::segment::Tools;
use super::known::KnownChunks;
use super::sessions::INDEX_CHUNKS;
use super::{Index, Repository, Session};
use crate::crypto::{DomainKeys, SessionKeyRecord, hash};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::IndexObject;
use crate::id::{ChunkId, SnapshotId};
use crate::model::{ChunkKind, PackRow, SegmentRow};
use crate::storage::{ObjectName, Outcome};

/// Packs that wait for an index object, at most: what an interrupted session has to store again.
const INDEX_PACKS: usize = 32;
/// Full segments that wait for whoever is idle, at most.
const OFFERED_SEGMENTS: usize = 2;
/// Threads that write packs: while the one waits for the storage to say that a pack is durable, the other's is under
/// way.
const UPLOADERS: usize = 2;
/// Buffers for packs of data: one fills and one is written by each uploader. Packs of trees, which are few and seldom
/// full, have buffers of their own.
const PACK_BUFFERS: usize = 1 + UPLOADERS;
/// If the storage is far away, a session's first pack of data is closed at this part of its size: nothing is under way before.
const FIRST_PACK_PART: u64 = 4;
/// Buffers for segments that are kept for the next ones.
const PLAIN_BUFFERS: usize = 4;

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
    /// The domain of the session.
    domain: Arc<DomainKeys>,
    /// What need not be stored; `None` for copies, which are of chunks that the index lists.
    known: Option<KnownChunks<'a>>,
    session: Session,
    dry_run: bool,
    claims: Claims,
    /// The packs that fill, one for each kind of chunk.
    packs: [Mutex<Option<OpenPack>>; 2],
    /// When to close the next pack of data, in bytes.
    close_data_at: AtomicU64,
    /// Buffers that no pack is in.
    buffers: (Sender<Vec<u8>>, Receiver<Vec<u8>>),
    /// What segments are sealed with, while nobody does.
    tools: Mutex<Vec<Tools>>,
    /// Buffers that no segment is in.
    plain_buffers: (Sender<Vec<u8>>, Receiver<Vec<u8>>),
    /// Full packs; `None` tells one uploader that there are no more.
    uploads: Sender<Option<OpenPack>>,
    received: Receiver<Option<OpenPack>>,
    pending: Mutex<Pending>,
    /// Full segments that whoever is idle may seal.
    offered: Sender<PlainSegment>,
    taken: Receiver<PlainSegment>,
    failed: AtomicBool,
    failure: Mutex<Option<EngineError>>,
    /// What it did so far.
    pub statistics: WriterStatistics,
}

impl<'a> SessionWriter<'a> {
    /// Writes into `session`, which has begun before `index` was loaded. With `dry_run` everything happens but the writing.
    pub fn new(repository: &'a Repository, index: &'a Index, session: Session, dry_run: bool) -> Result<Self> {
        // As many packs as there are buffers, and the uploaders' ends: only packs of trees ever have to wait.
        let (uploads, received) = bounded(PACK_BUFFERS + UPLOADERS);
        let buffers = bounded(PACK_BUFFERS);
        for _ in 0..PACK_BUFFERS {
            buffers.0.send(Vec::new()).expect("there is room for each of them");
        }
        let (offered, taken) = bounded(OFFERED_SEGMENTS);
        let part = if repository.storage().capabilities().is_far() { FIRST_PACK_PART } else { 1 };
        let first_pack_size = repository.config().pack_size / part;
        Ok(Self {
            repository,
            domain: repository.domain_keys(session.keys().record().domain())?,
            known: Some(KnownChunks::new(index, session.plans())?),
            session,
            dry_run,
            claims: Claims::default(),
            packs: [Mutex::default(), Mutex::default()],
            close_data_at: AtomicU64::new(first_pack_size),
            buffers,
            tools: Mutex::default(),
            plain_buffers: bounded(PLAIN_BUFFERS),
            uploads,
            received,
            pending: Mutex::default(),
            offered,
            taken,
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            statistics: WriterStatistics::default(),
        })
    }

    /// As [`Self::new`], for copies: it stores chunks, each once, that the index lists already.
    ///
    /// # Errors
    /// `Io`.
    pub fn for_copies(repository: &'a Repository, index: &'a Index, session: Session) -> Result<Self> {
        Ok(Self { known: None, ..Self::new(repository, index, session, false)? })
    }

    /// The repository that it writes to.
    pub fn repository(&self) -> &'a Repository {
        self.repository
    }

    /// The keys of the domain that it writes into.
    pub fn domain(&self) -> &Arc<DomainKeys> {
        &self.domain
    }

    /// The session that it writes for.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Full segments that wait to be sealed, for workers that have nothing else to do.
    pub fn offered_segments(&self) -> &Receiver<PlainSegment> {
        &self.taken
    }

    /// Whether it may be new: `true` gives the chunk to the caller, who must store it.
    fn claim(&self, id: &ChunkId) -> Result<bool> {
        if self.known.as_ref().map_or(Ok(false), |known| known.contains(id))? {
            return Ok(false);
        }
        self.claims.insert(id)
    }

    /// Whether a chunk is stored already, or this session has taken it in.
    ///
    /// # Errors
    /// `Io`.
    pub fn has(&self, id: &ChunkId) -> Result<bool> {
        if self.known.as_ref().map_or(Ok(false), |known| known.contains(id))? {
            return Ok(true);
        }
        self.claims.contains(id)
    }

    /// An empty buffer for a segment, used or new.
    fn plain_buffer(&self) -> Vec<u8> {
        self.plain_buffers.1.try_recv().unwrap_or_default()
    }

    /// Keeps a segment's buffer for the next one.
    fn give_back(&self, mut plain: Vec<u8>) {
        plain.clear();
        let _ = self.plain_buffers.0.try_send(plain);
    }

    fn append(&self, row: SegmentRow, sealed: &[u8]) -> Result<()> {
        self.append_of(row, sealed, None)
    }

    /// Takes over a segment as another session sealed it; `row` is what its pack's footer says, `sealed` was found to
    /// open.
    ///
    /// # Errors
    /// `Io` if the uploaders failed.
    pub fn move_segment(&self, row: SegmentRow, record: &SessionKeyRecord, sealed: &[u8]) -> Result<()> {
        debug_assert_eq!(row.session, record.session());
        self.append_of(row, sealed, Some(record))
    }

    fn append_of(&self, row: SegmentRow, sealed: &[u8], other: Option<&SessionKeyRecord>) -> Result<()> {
        let pack_size = self.repository.config().pack_size;
        let mut open = self.pack(row.kind);
        let pack = match &mut *open {
            Some(pack) => pack,
            none => {
                let buffer = match row.kind {
                    // All who have data to store wait for the same buffer.
                    ChunkKind::Data => self.buffers.1.recv().expect("the writer itself holds a sender"),
                    ChunkKind::Tree => Vec::new(),
                };
                none.insert(OpenPack::new(buffer, row.kind, pack_size))
            }
        };
        if let Some(record) = other {
            pack.add_session(record);
        }
        let is_data = row.kind == ChunkKind::Data;
        let close_at = if is_data { self.close_data_at.load(Ordering::Relaxed) } else { pack_size };
        pack.push(row, sealed);
        if pack.is_full(close_at) {
            if is_data {
                self.close_data_at.store(pack_size, Ordering::Relaxed);
            }
            self.uploads.send(open.take()).expect("the writer itself holds a receiver");
        }
        drop(open);
        self.check_failure()
    }

    fn pack(&self, kind: ChunkKind) -> MutexGuard<'_, Option<OpenPack>> {
        self.packs[usize::from(kind == ChunkKind::Tree)].lock().expect("no holder of this lock panics")
    }

    fn tools(&self) -> MutexGuard<'_, Vec<Tools>> {
        self.tools.lock().expect("no holder of this lock panics")
    }

    /// Fails if an uploader did; its own error is told by [`Self::run`].
    fn check_failure(&self) -> Result<()> {
        if self.has_failed() {
            return Err(EngineError::new(ErrorKind::Io, "the session can't go on"));
        }
        Ok(())
    }

    /// Runs `work`, which fills builders and finishes them, while threads of its own write what comes. When this
    /// returns, everything is durable and in index objects, also if `work` failed: what it stored is kept.
    ///
    /// # Errors
    /// The uploaders', since it is the cause of all others; else what `work` returns; `Io`.
    pub fn run<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let done = std::thread::scope(|scope| {
            (0..UPLOADERS).for_each(|_| drop(scope.spawn(|| self.run_uploader())));
            let _end = EndOfUploads(self);
            work()
        });
        self.finish_uploads()?;
        done
    }

    /// Writes packs until their end comes.
    fn run_uploader(&self) {
        // After a failure packs are still taken, so that nobody waits for ever.
        while let Ok(Some(pack)) = self.received.recv() {
            let kind = pack.kind;
            if self.has_failed() {
                self.free_buffer(kind, Vec::new());
                continue;
            }
            // A bug must not leave workers waiting for a thread that is gone.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.write_pack(pack)))
                .unwrap_or_else(|_| Err(EngineError::new(ErrorKind::Io, "the uploader panicked")));
            if let Err(error) = result {
                self.failure.lock().expect("no holder of this lock panics").get_or_insert(error);
                self.failed.store(true, Ordering::Release);
                self.free_buffer(kind, Vec::new());
            }
        }
    }

    /// The buffer of a pack, or one in its stead, can be used again.
    fn free_buffer(&self, kind: ChunkKind, buffer: Vec<u8>) {
        if kind == ChunkKind::Data {
            // There is room for each of them; one too many would be dropped.
            let _ = self.buffers.0.try_send(buffer);
        }
    }

    fn write_pack(&self, pack: OpenPack) -> Result<()> {
        let kind = pack.kind;
        let mut finished = pack.finish(&self.domain, &self.session);
        self.statistics.bytes_added.fetch_add(finished.row.len, Ordering::Relaxed);
        if !self.dry_run {
            // Before it is sent: what is in a buffer that was lent is not known. Nothing asks for this unless an index names it.
            self.keep_trees(&finished);
            let (name, storage) = (ObjectName::Pack(finished.row.id), self.repository.storage());
            let (written, buffer) = storage.write_lent(name, std::mem::take(&mut finished.buffer), finished.start);
            finished.buffer = buffer;
            written?;
        }
        self.free_buffer(kind, finished.buffer);
        let full = {
            let mut pending = self.pending.lock().expect("no holder of this lock panics");
            pending.chunks += finished.row.segments.iter().map(|segment| segment.chunks.len()).sum::<usize>();
            pending.packs.push(finished.row);
            for record in finished.sessions {
                if !pending.sessions.contains(&record) {
                    pending.sessions.push(record);
                }
            }
            let is_full = pending.chunks >= INDEX_CHUNKS || pending.packs.len() >= INDEX_PACKS;
            is_full.then(|| std::mem::take(&mut *pending))
        };
        full.map_or(Ok(()), |pending| self.write_index(pending))
    }

    /// The next snapshot compares with these trees: it need not fetch what was just sent.
    fn keep_trees(&self, pack: &FinishedPack) {
        for row in pack.row.segments.iter().filter(|row| row.kind == ChunkKind::Tree) {
            let range = u64::from(row.offset)..u64::from(row.offset) + u64::from(row.sealed_len);
            let sealed = pack.bytes().get(row.offset as usize..).and_then(|rest| rest.get(..row.sealed_len as usize));
            if let Some(sealed) = sealed {
                self.repository.keep_object(ObjectName::Pack(pack.row.id), Some(&range), sealed);
            }
        }
    }

    /// Writes the last index object. The uploaders have ended.
    fn finish_uploads(&self) -> Result<()> {
        if let Some(failure) = self.failure.lock().expect("no holder of this lock panics").take() {
            return Err(failure);
        }
        let pending = std::mem::take(&mut *self.pending.lock().expect("no holder of this lock panics"));
        if pending.packs.is_empty() {
            return Ok(());
        }
        self.write_index(pending).inspect_err(|_| self.failed.store(true, Ordering::Release))
    }

    fn write_index(&self, pending: Pending) -> Result<()> {
        let empty = IndexObject::empty(self.session.id(), self.domain.domain());
        let object = IndexObject { sessions: pending.sessions, packs: pending.packs, ..empty };
        let (id, len) = self.repository.put_index(&object, self.dry_run)?;
        self.statistics.bytes_added.fetch_add(len, Ordering::Relaxed);
        self.claims.spill(self.repository, id, object)
    }

    /// Sends what is left and ends the uploaders.
    fn end_uploads(&self) {
        for kind in [ChunkKind::Data, ChunkKind::Tree] {
            if let Some(pack) = self.pack(kind).take() {
                self.uploads.send(Some(pack)).expect("the writer itself holds a receiver");
            }
        }
        for _ in 0..UPLOADERS {
            self.uploads.send(None).expect("as above");
        }
    }

    /// Writes a snapshot object for this session.
    ///
    /// # Errors
    /// `Io`.
    pub fn write_snapshot(&self, snapshot: &crate::model::Snapshot) -> Result<SnapshotId> {
        write_snapshot(self.repository, &self.session, snapshot)
    }

    /// Commits the session, after [`Self::run`].
    ///
    /// # Errors
    /// `Io` if the uploaders failed; `SessionRevoked`; `Io`.
    pub fn commit(self, snapshot: Option<SnapshotId>) -> Result<()> {
        self.check_failure()?;
        self.session.commit(self.repository, snapshot)
    }

    /// Whether the storage failed: then nothing can be committed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}

/// Ends the uploaders when it is dropped: a panic must not leave their threads waiting.
struct EndOfUploads<'w, 'a>(&'w SessionWriter<'a>);

impl Drop for EndOfUploads<'_, '_> {
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
    session.look_for_end(repository);
    match repository.storage().write_own(ObjectName::Snapshot(id), &[&object])? {
        Outcome::Written | Outcome::Existed => {
            repository.keep_own_snapshot(session.id(), id, snapshot)?;
            repository.keep_object(ObjectName::Snapshot(id), None, &object);
            Ok(id)
        }
    }
}

/// Packs that are durable and that no index object names yet.
#[derive(Default)]
struct Pending {
    packs: Vec<PackRow>,
    /// Whose keys seal their segments.
    sessions: Vec<SessionKeyRecord>,
    chunks: usize,
}
