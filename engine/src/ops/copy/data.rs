//! Data chunks on their way from one repository into the other.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{Context, CopyReport};
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::{ChunkId, PackId};
use crate::model::{ChunkKind, ChunkRef, Content};
use crate::ops::snapshot::Cutter;
use crate::repository::{
    ChunkReader, ContentReader, Place, SegmentBuilder, SegmentKey, SegmentPlace, SegmentReader, SessionWriter,
};

/// What became of chunks that were read.
#[derive(Default)]
pub(super) struct Fetched {
    /// Ids here, and what they are there.
    pub(super) became: HashMap<ChunkId, ChunkId>,
    /// Why some could not be read.
    pub(super) failures: HashMap<ChunkId, String>,
}

/// A segment of the source and the chunks that are needed of it.
type Needed = (SegmentPlace, Vec<(Place, ChunkId)>);

/// Reads chunks, each segment once and in the order in which they are stored, and stores them in the target.
///
/// # Errors
/// `Interrupted`, `Io` of either.
pub(super) fn fetch(
    context: &Context<'_>,
    writer: &SessionWriter<'_>,
    wanted: HashMap<ChunkId, u32>,
) -> Result<Fetched> {
    let mut fetched = Fetched::default();
    let segments = plan(context, wanted, &mut fetched)?;
    let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results = Mutex::new(fetched);
    let work = || -> Result<()> {
        let mut reader = SegmentReader::default();
        let mut data = SegmentBuilder::new(writer, ChunkKind::Data);
        let mut mine = Fetched::default();
        while let Some(segment) = segments.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stopped.load(Ordering::Relaxed) {
                return Ok(());
            }
            context.stop_if_asked()?;
            copy_segment(context, &mut reader, &mut data, segment, &mut mine)?;
        }
        data.finish()?;
        let mut all = results.lock().expect("no holder of this lock panics");
        all.became.extend(mine.became);
        all.failures.extend(mine.failures);
        Ok(())
    };
    let work = || work().inspect_err(|_| stopped.store(true, Ordering::Relaxed));
    std::thread::scope(|scope| {
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(segments.len());
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        let panicked = |_| Err(EngineError::new(ErrorKind::Io, "a thread that copies panicked"));
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(panicked))
    })?;
    Ok(results.into_inner().expect("no holder of this lock panics"))
}

/// Where chunks are, segment by segment. Those that are nowhere are failures.
fn plan(context: &Context<'_>, wanted: HashMap<ChunkId, u32>, fetched: &mut Fetched) -> Result<Vec<Needed>> {
    let mut groups: BTreeMap<SegmentKey, Vec<(Place, ChunkId)>> = BTreeMap::new();
    for (id, len) in wanted {
        match context.index.find_or_recover(context.source, &id) {
            Ok(place) if place.len == len => groups.entry(place.segment).or_default().push((place, id)),
            Ok(_) => drop(fetched.failures.insert(id, format!("chunk {id} has another length than the file says"))),
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(error) => drop(fetched.failures.insert(id, error.to_string())),
        }
    }
    let mut segments = Vec::with_capacity(groups.len());
    for (key, mut chunks) in groups {
        // As they lie there: so neighbours stay neighbours.
        chunks.sort_unstable_by_key(|(place, _)| place.offset);
        segments.push((context.index.segment(key)?, chunks));
    }
    segments.sort_by_key(|(segment, _)| -> (PackId, u32) { (segment.pack(), segment.offset()) });
    Ok(segments)
}

fn copy_segment(
    context: &Context<'_>,
    reader: &mut SegmentReader,
    data: &mut SegmentBuilder<'_, '_>,
    (segment, chunks): &Needed,
    fetched: &mut Fetched,
) -> Result<()> {
    let open = match reader.read(context.source, segment) {
        Ok(open) => open,
        Err(error) if error.kind() == ErrorKind::Io => return Err(error),
        Err(error) => {
            fetched.failures.extend(chunks.iter().map(|(_, id)| (*id, error.to_string())));
            return Ok(());
        }
    };
    for (place, id) in chunks {
        match open.chunk(context.source, place, id) {
            Ok(bytes) => drop(fetched.became.insert(*id, data.add(bytes)?.id)),
            Err(error) => drop(fetched.failures.insert(*id, error.to_string())),
        }
    }
    Ok(())
}

/// Stores a file's stream as the target cuts it; what its content is there.
///
/// # Errors
/// Whatever keeps a chunk from being read; `Io` of the target, `Interrupted`.
pub(super) fn recut(
    chunks: &ChunkReader<'_>,
    cutter: &mut Cutter<'_, '_>,
    content: &Content,
    report: &mut CopyReport,
) -> Result<Content> {
    let mut references = ContentReader::new(chunks, content);
    let mut rest: Vec<u8> = Vec::new();
    let mut at = 0;
    let mut read = |buffer: &mut [u8]| -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            if at == rest.len() {
                let Some(reference) = references.read_next()? else { break };
                rest = read_chunk(chunks, &reference, report)?;
                at = 0;
            }
            let count = (buffer.len() - filled).min(rest.len() - at);
            buffer[filled..filled + count].copy_from_slice(&rest[at..at + count]);
            filled += count;
            at += count;
        }
        Ok(filled)
    };
    cutter.cut(&mut read)
}

fn read_chunk(chunks: &ChunkReader<'_>, reference: &ChunkRef, report: &mut CopyReport) -> Result<Vec<u8>> {
    let bytes = chunks.read(ChunkKind::Data, reference)?;
    report.chunks_read += 1;
    report.bytes_read += bytes.len() as u64;
    Ok(bytes)
}
