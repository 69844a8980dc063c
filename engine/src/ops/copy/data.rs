//! Data chunks on their way from one repository into others.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{Context, MAX_COPY_TARGETS};
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::{ChunkId, PackId};
use crate::model::{ChunkKind, ChunkRef};
use crate::repository::{ChunkReader, Place, SegmentBuilder, SegmentKey, SegmentPlace, SegmentReader, SessionWriter};

/// A chunk that has to be read, and who lacks it.
#[derive(Clone, Copy)]
pub(super) struct Lacking {
    pub(super) len: u32,
    /// Bit N for target N.
    targets: u16,
}

const _: () = assert!(MAX_COPY_TARGETS <= u16::BITS as usize);

impl Lacking {
    /// A chunk of `len` bytes that all have.
    pub(super) fn nobody(len: u32) -> Self {
        Self { len, targets: 0 }
    }

    /// Target `number` lacks it, too.
    pub(super) fn add(&mut self, number: usize) {
        self.targets |= 1 << number;
    }

    fn by(self, number: usize) -> bool {
        self.targets & (1 << number) != 0
    }
}

/// What became of chunks that were read.
pub(super) struct Fetched {
    /// Of each target: ids here, and what they are there.
    pub(super) became: Vec<HashMap<ChunkId, ChunkId>>,
    /// Of each target: why nothing more can be stored in it.
    pub(super) broken: Vec<Option<EngineError>>,
    /// Why some chunks could not be read.
    pub(super) failures: HashMap<ChunkId, String>,
}

impl Fetched {
    /// Nothing, for so many targets.
    pub(super) fn for_targets(count: usize) -> Self {
        let broken = (0..count).map(|_| None).collect();
        Self { became: vec![HashMap::new(); count], broken, failures: HashMap::new() }
    }

    fn take_in(&mut self, other: Self) {
        for (mine, new) in self.became.iter_mut().zip(other.became) {
            mine.extend(new);
        }
        for (mine, new) in self.broken.iter_mut().zip(other.broken) {
            *mine = mine.take().or(new);
        }
        self.failures.extend(other.failures);
    }
}

/// A segment of the source and the chunks that are needed of it.
type Needed = (SegmentPlace, Vec<(Place, ChunkId, Lacking)>);

/// Reads chunks, each segment once and in the order in which they are stored, and stores them in the targets that lack them.
///
/// # Errors
/// `Interrupted`, `Io` of the source.
pub(super) fn fetch(
    context: &Context<'_>,
    writers: &[SessionWriter<'_>],
    wanted: HashMap<ChunkId, Lacking>,
) -> Result<Fetched> {
    let mut fetched = Fetched::for_targets(writers.len());
    let segments = plan(context, wanted, &mut fetched)?;
    let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results = Mutex::new(fetched);
    let copies = ChunkReader::new(context.source, context.index);
    let work = || -> Result<()> {
        let mut reader = SegmentReader::default();
        let mut stores = Stores::new(writers);
        while let Some(segment) = segments.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stopped.load(Ordering::Relaxed) {
                return Ok(());
            }
            context.stop_if_asked()?;
            copy_segment(&copies, &mut reader, &mut stores, segment)?;
        }
        results.lock().expect("no holder of this lock panics").take_in(stores.finish());
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
fn plan(context: &Context<'_>, wanted: HashMap<ChunkId, Lacking>, fetched: &mut Fetched) -> Result<Vec<Needed>> {
    let mut groups: BTreeMap<SegmentKey, Vec<(Place, ChunkId, Lacking)>> = BTreeMap::new();
    for (id, lacking) in wanted {
        match context.index.find_or_recover_whole(context.source, &ChunkRef { id, len: lacking.len }) {
            Ok(place) => groups.entry(place.segment).or_default().push((place, id, lacking)),
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(error) => drop(fetched.failures.insert(id, error.to_string())),
        }
    }
    let mut segments = Vec::with_capacity(groups.len());
    for (key, mut chunks) in groups {
        // As they lie there: so neighbours stay neighbours.
        chunks.sort_unstable_by_key(|(place, ..)| place.offset);
        segments.push((context.index.segment(key)?, chunks));
    }
    segments.sort_by_key(|(segment, _)| -> (PackId, u32) { (segment.pack(), segment.offset()) });
    Ok(segments)
}

/// Where one thread stores what it reads.
struct Stores<'w, 'a> {
    builders: Vec<SegmentBuilder<'w, 'a>>,
    fetched: Fetched,
}

impl<'w, 'a> Stores<'w, 'a> {
    fn new(writers: &'w [SessionWriter<'a>]) -> Self {
        let builders = writers.iter().map(|writer| SegmentBuilder::new(writer, ChunkKind::Data)).collect();
        Self { builders, fetched: Fetched::for_targets(writers.len()) }
    }

    /// Stores a chunk in all targets that lack it and work.
    fn add(&mut self, id: ChunkId, bytes: &[u8], lacking: Lacking) {
        for (number, builder) in self.builders.iter_mut().enumerate() {
            if !lacking.by(number) || self.fetched.broken[number].is_some() {
                continue;
            }
            match builder.add(bytes) {
                Ok(reference) => drop(self.fetched.became[number].insert(id, reference.id)),
                Err(error) => self.fetched.broken[number] = Some(error),
            }
        }
    }

    fn finish(mut self) -> Fetched {
        for (builder, broken) in self.builders.into_iter().zip(&mut self.fetched.broken) {
            if broken.is_none() {
                *broken = builder.finish().err();
            }
        }
        self.fetched
    }
}

/// Of chunks that are not where they should be, `copies` looks for others.
fn copy_segment(
    copies: &ChunkReader<'_>,
    reader: &mut SegmentReader,
    stores: &mut Stores<'_, '_>,
    (segment, chunks): &Needed,
) -> Result<()> {
    let open = match reader.read(copies.repository(), segment) {
        Err(error) if error.kind() == ErrorKind::Io => return Err(error),
        open => open,
    };
    for (place, id, lacking) in chunks {
        if let Ok(open) = &open
            && let Ok(bytes) = open.chunk(place, id)
        {
            stores.add(*id, bytes, *lacking);
            continue;
        }
        match copies.read(ChunkKind::Data, &ChunkRef { id: *id, len: lacking.len }) {
            Ok(bytes) => stores.add(*id, &bytes, *lacking),
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(error) => drop(stores.fetched.failures.insert(*id, error.to_string())),
        }
    }
    Ok(())
}
