//! G2: what is needed is copied out of packs that have little of it. A segment of which all is needed is moved as it
//! is, since its row says whose key seals it; of others, the chunks that are needed are stored anew.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::compress::Decompressor;
use crate::crypto::SessionKeyRecord;
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{Footer, segment_binding};
use crate::id::{ChunkId, DomainId, PackId};
use crate::model::{ChunkKind, SegmentRow};
use crate::monitor::{Monitor, ProblemLog};
use crate::repository::{Census, SegmentBuilder, SessionWriter};
use crate::storage::ObjectName;

/// Segments that follow each other are read at once, so many bytes together.
const READ_BYTES: u64 = 1 << 20;

/// Copies what is needed of `packs`, given with their lengths; the ones that could not be read whole, which are
/// problems. When this returns, all is durable and in index objects of the writer's session.
///
/// # Errors
/// `Interrupted`; `Io` if the storage takes no more.
pub(super) fn copy(
    writer: &SessionWriter<'_>,
    census: &Census,
    packs: &[(PackId, u64)],
    problems: &ProblemLog<'_>,
) -> Result<HashSet<PackId>> {
    let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let failed = Mutex::new(HashSet::new());
    let work = || {
        let mut copier = Copier::new(writer, census);
        let result = loop {
            let Some((id, len)) = packs.get(next.fetch_add(1, Ordering::Relaxed)) else { break Ok(()) };
            if problems.monitor().cancelled() {
                break Err(EngineError::new(ErrorKind::Interrupted, "interrupted"));
            }
            if stopped.load(Ordering::Relaxed) {
                return Ok(());
            }
            match copier.copy_pack(*id, *len, problems.monitor()) {
                Ok(()) => problems.monitor().advance(1, 0),
                Err(error) if writer.has_failed() => break Err(error),
                Err(error) => {
                    problems.add(ObjectName::Pack(*id).to_string().as_bytes(), format!("{error}; it stays"));
                    failed.lock().expect("no holder of this lock panics").insert(*id);
                }
            }
        };
        result.and_then(|()| copier.finish()).inspect_err(|_| stopped.store(true, Ordering::Relaxed))
    };
    writer.run(|| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..rayon::current_num_threads()).map(|_| scope.spawn(work)).collect();
            let panicked = |_| Err(EngineError::new(ErrorKind::Io, "a thread that copies panicked"));
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(panicked))
        })
    })?;
    Ok(failed.into_inner().expect("no holder of this lock panics"))
}

/// Copies packs, one after the other; one a thread.
struct Copier<'w, 'a> {
    writer: &'w SessionWriter<'a>,
    census: &'w Census,
    data: SegmentBuilder<'w, 'a>,
    trees: SegmentBuilder<'w, 'a>,
    decompressor: Decompressor,
    plain: Vec<u8>,
}

impl<'w, 'a> Copier<'w, 'a> {
    fn new(writer: &'w SessionWriter<'a>, census: &'w Census) -> Self {
        Self {
            writer,
            census,
            data: SegmentBuilder::new(writer, ChunkKind::Data),
            trees: SegmentBuilder::new(writer, ChunkKind::Tree),
            decompressor: Decompressor::default(),
            plain: Vec::new(),
        }
    }

    fn finish(self) -> Result<()> {
        self.data.finish()?;
        self.trees.finish()
    }

    fn copy_pack(&mut self, id: PackId, len: u64, monitor: &dyn Monitor) -> Result<()> {
        let Footer { sessions, mut segments } = self.writer.repository().read_footer(id, len)?;
        let domain = self.writer.domain().domain();
        if sessions.iter().any(|record| record.domain() != domain) {
            // A client lied of it: what is moved would be listed where nobody can read it.
            return Err(EngineError::damaged("it is not of the domain that it is listed in"));
        }
        segments.sort_unstable_by_key(|row| row.offset);
        let census = self.census;
        segments.retain(|row| row.chunks.iter().any(|(chunk, _)| census.is_needed_at(chunk, &id, row.offset)));
        let mut rest = segments.as_slice();
        while let Some(first) = rest.first() {
            let start = u64::from(first.offset);
            let end_of = |row: &SegmentRow| u64::from(row.offset) + u64::from(row.sealed_len);
            // What lies between them is read along: it is cheaper than another request.
            let count = rest.iter().take_while(|row| end_of(row) - start <= READ_BYTES).count().max(1);
            let (run, others) = rest.split_at(count);
            rest = others;
            let end = run.last().map_or(start, end_of);
            let storage = self.writer.repository().storage();
            let mut bytes = storage.read(ObjectName::Pack(id), Some(start..end), end - start)?;
            monitor.advance(0, end - start);
            for row in run {
                let range = (u64::from(row.offset) - start) as usize..(end_of(row) - start) as usize;
                self.copy_segment(id, row, &sessions, &mut bytes[range])?;
            }
        }
        Ok(())
    }

    fn copy_segment(
        &mut self,
        pack: PackId,
        row: &SegmentRow,
        sessions: &[SessionKeyRecord],
        sealed: &mut [u8],
    ) -> Result<()> {
        let damaged = || EngineError::damaged(format!("segment at {} can't be opened", row.offset));
        let repository = self.writer.repository();
        let record = sessions.iter().find(|record| record.session() == row.session).ok_or_else(damaged)?;
        let keys = repository.session_keys(record)?;
        let binding = segment_binding(row);
        let needed = |chunk: &ChunkId| self.census.is_needed_at(chunk, &pack, row.offset);
        let is_trusted = record.domain() == DomainId::SHARED;
        if is_trusted && row.chunks.iter().all(|(chunk, _)| needed(chunk)) {
            // Opening proves that it is what its writer sealed, and that one had checked every chunk.
            let mut opened = sealed.to_vec();
            keys.open_segment(&binding, &mut opened).map_err(|_| damaged())?;
            return self.writer.move_segment(row.clone(), record, sealed);
        }
        let text = keys.open_segment(&binding, sealed).map_err(|_| damaged())?;
        self.decompressor.decompress(row.compression, text, row.plain_len, &mut self.plain).map_err(|_| damaged())?;
        let mut offset = 0;
        for (chunk, len) in &row.chunks {
            let bytes = self.plain.get(offset..offset + *len as usize).ok_or_else(damaged)?;
            offset += *len as usize;
            if !needed(chunk) {
                continue;
            }
            let builder = if row.kind == ChunkKind::Data { &mut self.data } else { &mut self.trees };
            if builder.add(bytes)?.id != *chunk {
                return Err(EngineError::damaged(format!("chunk {chunk} does not have the content that its id says")));
            }
        }
        Ok(())
    }
}
