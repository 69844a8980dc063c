//! The way in for chunks: known? → segment → compress → seal → pack → storage, and the index objects.
//!
//! Any number of workers fill segments of their own through [`SegmentBuilder`]s. A full one is offered to whoever is
//! idle, so that a single large file keeps all cores busy; if nobody is, its worker seals it itself, in its own cache. One uploader thread writes full packs, and an index object when many
//! packs wait for one. The channel to it holds a single pack: that is the back-pressure, and what bounds memory.
//! Invariant: an index object is written only after the packs that it names are durable.

mod claims;
mod pack;
mod segment;

pub use segment::{PlainSegment, SegmentBuilder};

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use crossbeam_channel::{Receiver, Sender, bounded};

use self::claims::Claims;
use self::pack::OpenPack;
use self::segment::SealedSegment;
use super::sessions::INDEX_CHUNKS;
use super::{Index, Repository, Session};
use crate::crypto::hash;
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{IndexObject, encode_index};
use crate::id::{ChunkId, IndexId, SnapshotId};
use crate::model::{ChunkKind, PackRow};
use crate::storage::{ObjectName, Outcome};

/// Packs that wait for an index object, at most: what an interrupted session has to store again.
const INDEX_PACKS: usize = 32;
/// Full segments that wait for whoever is idle, at most.
const OFFERED_SEGMENTS: usize = 2;

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
    /// Full segments that whoever is idle may seal.
    offered: Sender<PlainSegment>,
    taken: Receiver<PlainSegment>,
    failed: AtomicBool,
    failure: Mutex<Option<EngineError>>,
    /// What it did so far.
    pub statistics: WriterStatistics,
}

impl<'a> SessionWriter<'a> {
    /// Writes into `session`, which has begun. With `dry_run` everything happens but the writing.
    pub fn new(repository: &'a Repository, index: &'a Index, session: Session, dry_run: bool) -> Result<Self> {
        let (uploads, received) = bounded(1);
        let (offered, taken) = bounded(OFFERED_SEGMENTS);
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
            offered,
            taken,
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            statistics: WriterStatistics::default(),
        })
    }

    /// The repository that it writes to.
    pub fn repository(&self) -> &'a Repository {
        self.repository
    }

    /// Full segments that wait to be sealed, for workers that have nothing else to do.
    pub fn offered_segments(&self) -> &Receiver<PlainSegment> {
        &self.taken
    }

    /// Whether it may be new: `true` gives the chunk to the caller, who must store it.
    fn claim(&self, id: &ChunkId) -> Result<bool> {
        if !self.index_is_empty && self.index.contains(id)? {
            return Ok(false);
        }
        self.claims.insert(id)
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

    /// Writes packs until the guard of [`Self::uploads`] is dropped; run it on a thread of its own.
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

/// Packs that are durable and that no index object names yet.
#[derive(Default)]
struct Pending {
    packs: Vec<PackRow>,
    chunks: usize,
}
