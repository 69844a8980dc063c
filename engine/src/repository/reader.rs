//! The way out for chunks: read a segment, open it, decompress it, check each chunk against its id.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::{Index, Place, Repository, SegmentKey, SegmentPlace, TreesAhead, object_error};
use crate::compress::Decompressor;
use crate::crypto::{DomainKeys, SegmentBinding};
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::{ChunkId, DomainId};
use crate::limits;
use crate::model::{ChunkKind, ChunkRef, Compression};
use crate::storage::ObjectName;

/// How many opened segments a [`ChunkReader`] keeps if nobody says: about as many mebibytes.
const CACHED_SEGMENTS: usize = 12;

/// Opens segments with buffers of its own; one a thread.
#[derive(Default)]
pub struct SegmentReader {
    decompressor: Decompressor,
    /// What was read last, opened in place.
    sealed: Vec<u8>,
    /// What it decompresses to.
    plain: Vec<u8>,
}

/// The plaintext of a segment.
pub struct OpenSegment<'a> {
    plain: &'a [u8],
    kind: ChunkKind,
    /// The keys of its domain: they name its chunks.
    domain: Arc<DomainKeys>,
}

impl SegmentReader {
    /// Reads a segment from its pack and opens it.
    ///
    /// # Errors
    /// `Missing`, `Damaged`, `Io`.
    pub fn read(&mut self, repository: &Repository, segment: &SegmentPlace) -> Result<OpenSegment<'_>> {
        let (start, len) = (u64::from(segment.offset()), u64::from(segment.sealed_len()));
        let (name, range) = (ObjectName::Pack(segment.pack()), start..start + len);
        if segment.kind() == ChunkKind::Data {
            let sealed = repository.storage().read_once(name, Some(range), len)?;
            return self.open(repository, segment, sealed);
        }
        // What lists and marks need, the next command needs, too.
        if let Some(sealed) = repository.kept_object(name, Some(&range), len) {
            return self.open(repository, segment, sealed);
        }
        let sealed = repository.storage().read(name, Some(range.clone()), len)?;
        let copy = repository.keeps_objects().then(|| sealed.clone());
        let open = self.open(repository, segment, sealed)?;
        if let Some(sealed) = copy {
            repository.keep_object(name, Some(&range), &sealed);
        }
        Ok(open)
    }

    /// Opens a segment whose sealed bytes are at hand.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn open(
        &mut self,
        repository: &Repository,
        segment: &SegmentPlace,
        sealed: Vec<u8>,
    ) -> Result<OpenSegment<'_>> {
        self.sealed = sealed;
        let view = segment.view();
        let name = ObjectName::Pack(segment.pack());
        let keys = repository.session_keys(&view.record)?;
        let binding = SegmentBinding {
            kind: view.kind,
            suite: view.suite,
            compression: view.compression,
            plain_len: view.plain_len,
            chunk_table_hash: view.table_hash,
        };
        let text = keys
            .open_segment(&binding, &mut self.sealed)
            .map_err(|error| object_error(name, error.into()).during(format_args!("segment at {}", view.offset)))?;
        let plain = match view.compression {
            // Without a copy: what is not compressed is much.
            Compression::None if text.len() == view.plain_len as usize => text,
            compression => {
                self.decompressor.decompress(compression, text, view.plain_len, &mut self.plain).map_err(|error| {
                    let text = format!("segment at {} of {name}", view.offset);
                    EngineError::with_source(ErrorKind::Damaged, text, error).about(name)
                })?;
                &self.plain
            }
        };
        Ok(OpenSegment { plain, kind: view.kind, domain: repository.domain_keys(view.record.domain())? })
    }
}

impl OpenSegment<'_> {
    /// A chunk's bytes, checked against its id.
    ///
    /// # Errors
    /// `Damaged` if the place holds something else.
    pub fn chunk(&self, place: &Place, id: &ChunkId) -> Result<&[u8]> {
        chunk_in(self.plain, self.kind, &self.domain, place, id)
    }

    /// Bytes of chunks that follow each other. Only for those that [`Self::chunk`] has found to be right.
    ///
    /// # Panics
    /// If there are not as many bytes: then they were not checked.
    pub fn bytes(&self, offset: u32, len: u32) -> &[u8] {
        &self.plain[offset as usize..][..len as usize]
    }
}

fn chunk_in<'a>(
    plain: &'a [u8],
    kind: ChunkKind,
    domain: &DomainKeys,
    place: &Place,
    id: &ChunkId,
) -> Result<&'a [u8]> {
    let (start, len) = (place.offset as usize, place.len as usize);
    plain
        .get(start..start + len)
        .filter(|chunk| domain.chunk_id(kind, chunk) == *id)
        .ok_or_else(|| EngineError::damaged(format!("chunk {id} does not have the content that its id says")))
}

/// Reads single chunks, and keeps the segments that it opened last: neighbours are asked for together.
pub struct ChunkReader<'a> {
    repository: &'a Repository,
    index: &'a Index,
    cached_segments: usize,
    renews: bool,
    cache: Mutex<Cache>,
}

/// The plaintext of a segment, and the keys of its domain.
#[derive(Clone)]
struct Opened {
    plain: Arc<Vec<u8>>,
    domain: Arc<DomainKeys>,
}

impl Opened {
    fn of(open: OpenSegment<'_>) -> Self {
        Self { plain: Arc::new(open.plain.to_vec()), domain: open.domain }
    }
}

#[derive(Default)]
struct Cache {
    /// Most recent first.
    segments: VecDeque<(SegmentKey, Opened)>,
    reader: SegmentReader,
    ahead: Option<TreesAhead>,
}

impl Cache {
    /// Opens a segment. What was read ahead and can't be opened is no answer: then it is read by itself.
    fn open(&mut self, repository: &Repository, place: &SegmentPlace) -> Result<Opened> {
        let sealed = self.ahead.as_mut().and_then(|ahead| ahead.sealed(repository.storage(), place));
        let early = sealed.and_then(|sealed| self.reader.open(repository, place, sealed).map(Opened::of).ok());
        early.map_or_else(|| self.reader.read(repository, place).map(Opened::of), Ok)
    }
}

impl<'a> ChunkReader<'a> {
    /// A reader with nothing in its cache.
    pub fn new(repository: &'a Repository, index: &'a Index) -> Self {
        Self { repository, index, cached_segments: CACHED_SEGMENTS, renews: true, cache: Mutex::default() }
    }

    /// A reader that keeps so many segments, one at least, and never looks at a newer index: for those who judge whether
    /// what this one names is there.
    pub fn strict(repository: &'a Repository, index: &'a Index, segments: usize) -> Self {
        Self { cached_segments: segments, renews: false, ..Self::new(repository, index) }
    }

    /// A reader that reads segments of trees ahead.
    pub fn with_trees_ahead(mut self, ahead: Option<TreesAhead>) -> Self {
        self.cache.get_mut().expect("nobody had it yet").ahead = ahead;
        self
    }

    /// The index that it looks in.
    pub fn index(&self) -> &'a Index {
        self.index
    }

    /// The repository that it reads from.
    pub fn repository(&self) -> &'a Repository {
        self.repository
    }

    /// A chunk's bytes, checked against its id and its length.
    ///
    /// # Errors
    /// `Missing`, `Damaged`, `Io`.
    pub fn read(&self, kind: ChunkKind, reference: &ChunkRef) -> Result<Vec<u8>> {
        if self.repository.only_adds() {
            return self.repository.own_tree(reference);
        }
        let mut gone = None;
        loop {
            let place = self.index.find_or_recover(self.repository, &reference.id)?;
            let error = match self.read_at(kind, reference, &place) {
                Err(error) if matches!(error.kind(), ErrorKind::Missing | ErrorKind::Damaged) => error,
                chunk => return chunk,
            };
            if let Some(chunk) = self.read_copy(kind, reference, &place) {
                return Ok(chunk);
            }
            if error.kind() == ErrorKind::Damaged || !self.renews {
                return Err(error);
            }
            // A prune swept the pack, and what is needed of it is elsewhere now.
            let pack = self.index.segment(place.segment)?.pack();
            if gone.replace(pack) == Some(pack) || !self.index.renew(self.repository, &pack)? {
                return Err(error);
            }
        }
    }

    /// A chunk whose first place is not there or holds something else: whoever has a write-only client's key may have
    /// listed it on purpose. Who judges what full clients stored does not look further.
    fn read_copy(&self, kind: ChunkKind, reference: &ChunkRef, tried: &Place) -> Option<Vec<u8>> {
        let domain = self.index.segment(tried.segment).ok()?.domain();
        if !self.renews && domain == DomainId::SHARED {
            return None;
        }
        let copies = self.index.copies(&reference.id).ok()?;
        copies.iter().filter(|place| *place != tried).find_map(|place| self.read_at(kind, reference, place).ok())
    }

    fn read_at(&self, kind: ChunkKind, reference: &ChunkRef, place: &Place) -> Result<Vec<u8>> {
        if place.len != reference.len || reference.len > limits::CHUNK_BYTES {
            return Err(EngineError::damaged(format!("chunk {} has another length than its list says", reference.id)));
        }
        let Opened { plain, domain } = self.segment(place.segment)?;
        match chunk_in(&plain, kind, &domain, place, &reference.id) {
            Ok(chunk) => Ok(chunk.to_vec()),
            Err(error) => Err(error.about(ObjectName::Pack(self.index.segment(place.segment)?.pack()))),
        }
    }

    fn segment(&self, key: SegmentKey) -> Result<Opened> {
        let mut cache = self.cache.lock().expect("no holder of this lock panics");
        if let Some(at) = cache.segments.iter().position(|(cached, _)| *cached == key) {
            let entry = cache.segments.remove(at).expect("just found");
            let opened = entry.1.clone();
            cache.segments.push_front(entry);
            return Ok(opened);
        }
        let place = self.index.segment(key)?;
        let opened = cache.open(self.repository, &place)?;
        cache.segments.truncate(self.cached_segments.saturating_sub(1));
        cache.segments.push_front((key, opened.clone()));
        Ok(opened)
    }
}
