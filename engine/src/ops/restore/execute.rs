//! The second stage of a window: segments are read, and their chunks written to wherever they belong.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;

use super::finish::{finish, open};
use super::place::stretches;
use super::ways::LARGE_PIECE_BYTES;
use super::window::FileState;
use super::{Context, add};
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::{ChunkId, PackId};
use crate::model::{ChunkKind, ChunkRef};
use crate::os::AlignedBuffer;
use crate::repository::{OpenSegment, Place, SegmentKey, SegmentPlace, SegmentReader};
use crate::storage::ObjectName;
use crate::target::TargetFile;

/// Bytes of neighbouring segments that are read by one request of a storage that is far away, at most.
const READ_TOGETHER_BYTES: u64 = 2 << 20;
/// Zeros that a restore leaves out lie in blocks of this many bytes.
const BLOCK_BYTES: usize = 4096;

/// What a thread needs again and again.
#[derive(Default)]
pub(super) struct Buffers {
    reader: SegmentReader,
    /// Chunks of a segment that were checked.
    checked: HashSet<(u32, ChunkId)>,
    /// What is read from files.
    pub(super) bytes: Vec<u8>,
    /// What is written past the page cache.
    aligned: AlignedBuffer,
}

/// A segment and what it is needed for.
pub(super) struct Segment {
    place: SegmentPlace,
    /// In the order of the files.
    uses: Vec<Use>,
}

/// One chunk's use in one file.
#[derive(Clone, Copy)]
struct Use {
    place: Place,
    reference: ChunkRef,
    /// Its number in the window.
    file: usize,
    /// Where it begins in the file's stream.
    offset: u64,
}

/// Which segments are needed, in the order in which they are stored. Files for which nothing can be had are finished.
pub(super) fn plan(context: &Context<'_>, files: &[FileState<'_>]) -> Result<Vec<Segment>> {
    let index = context.chunks.index();
    let mut groups: BTreeMap<SegmentKey, Vec<Use>> = BTreeMap::new();
    for (number, file) in files.iter().enumerate() {
        let mut work = file.work();
        if work.wanted.is_empty() {
            continue;
        }
        let mut count = 0;
        for (offset, reference) in work.wanted.clone().into_iter().flat_map(|wanted| &file.chunks[wanted]) {
            match index.find_or_recover_whole(context.repository, reference) {
                Ok(place) => {
                    count += 1;
                    let entry = Use { place, reference: *reference, file: number, offset: *offset };
                    groups.entry(place.segment).or_default().push(entry);
                }
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                Err(error) => work.fail(|| error.to_string()),
            }
        }
        file.left.store(count, Ordering::Release);
        drop(work);
        if count == 0 {
            finish(context, file, None);
        }
    }
    let mut segments = Vec::with_capacity(groups.len());
    for (key, uses) in groups {
        segments.push(Segment { place: index.segment(key)?, uses });
    }
    segments.sort_by_key(|segment| -> (PackId, u32) { (segment.place.pack(), segment.place.offset()) });
    Ok(segments)
}

/// Reads segments, those that lie side by side together if the storage is far away, and writes what they hold.
///
/// # Errors
/// `Interrupted`.
pub(super) fn run_segments(
    context: &Context<'_>,
    buffers: &mut Buffers,
    files: &[FileState<'_>],
    mut segments: &[Segment],
) -> Result<()> {
    while !segments.is_empty() {
        context.stop_if_asked()?;
        let (side_by_side, rest) = segments.split_at(count_side_by_side(context, segments));
        segments = rest;
        let together = if side_by_side.len() > 1 { read_together(context, side_by_side) } else { None };
        let mut start = 0;
        for segment in side_by_side {
            context.stop_if_asked()?;
            let end = start + segment.place.sealed_len() as usize;
            let sealed = together.as_ref().and_then(|bytes| bytes.get(start..end)).map(<[u8]>::to_vec);
            run_segment(context, buffers, files, segment, sealed);
            start = end;
        }
    }
    Ok(())
}

/// How many segments from the first on lie side by side in a pack and are read together; one at least.
fn count_side_by_side(context: &Context<'_>, segments: &[Segment]) -> usize {
    let end = |place: &SegmentPlace| u64::from(place.offset()) + u64::from(place.sealed_len());
    let first = &segments[0].place;
    let follows = |pair: &&[Segment]| {
        let (before, place) = (&pair[0].place, &pair[1].place);
        place.pack() == before.pack()
            && end(before) == u64::from(place.offset())
            && end(place) - u64::from(first.offset()) <= READ_TOGETHER_BYTES
    };
    let is_wanted = context.is_far && !context.options.dry_run && first.kind() == ChunkKind::Data;
    if is_wanted { 1 + segments.windows(2).take_while(follows).count() } else { 1 }
}

/// Their bytes; nothing if they can't be had together: each is read by itself then, and tells what is wrong.
fn read_together(context: &Context<'_>, segments: &[Segment]) -> Option<Vec<u8>> {
    let start = u64::from(segments.first()?.place.offset());
    let len: u64 = segments.iter().map(|segment| u64::from(segment.place.sealed_len())).sum();
    let name = ObjectName::Pack(segments.first()?.place.pack());
    context.repository.storage().read_once(name, Some(start..start + len), len).ok()
}

/// Reads a segment, unless `sealed` is what it is, and writes what it holds to wherever it belongs.
fn run_segment(
    context: &Context<'_>,
    buffers: &mut Buffers,
    files: &[FileState<'_>],
    Segment { place, uses }: &Segment,
    sealed: Option<Vec<u8>>,
) {
    if context.options.dry_run {
        for entry in uses {
            add(&context.counts.bytes_written, entry.reference.len.into());
            done(context, &files[entry.file], 1, None);
        }
        return;
    }
    let Buffers { reader, checked, aligned, .. } = buffers;
    let opened = match sealed {
        Some(sealed) => reader.open(context.repository, place, sealed),
        None => reader.read(context.repository, place),
    };
    let open = match opened {
        Ok(open) => open,
        Err(error) if error.kind() == ErrorKind::Missing => match plan_again(context, place.pack(), uses) {
            Some(elsewhere) => {
                return elsewhere.iter().for_each(|segment| run_segment(context, buffers, files, segment, None));
            }
            // Or nobody swept it: what names it is a lie, or it is lost.
            None => return uses.iter().for_each(|entry| write_copy(context, files, entry, aligned, &error)),
        },
        Err(error) if error.kind() == ErrorKind::Damaged => {
            return uses.iter().for_each(|entry| write_copy(context, files, entry, aligned, &error));
        }
        Err(error) => return fail(context, files, uses, &error),
    };
    checked.clear();
    let mut rest = uses.as_slice();
    while let Some(first) = rest.first() {
        let file = &files[first.file];
        if let Err(error) = check(checked, &open, first) {
            write_copy(context, files, first, aligned, &error);
            rest = &rest[1..];
            continue;
        }
        let (count, len) = neighbours(checked, &open, rest);
        let bytes = open.bytes(first.place.offset, len);
        let written = write(context, file, first.offset, bytes, aligned);
        done(context, file, count, written.err().map(|error| error.to_string()));
        rest = &rest[count..];
    }
}

/// Of a chunk that is not where it should be, writes another copy, if there is one; `error` if not.
fn write_copy(
    context: &Context<'_>,
    files: &[FileState<'_>],
    entry: &Use,
    aligned: &mut AlignedBuffer,
    error: &EngineError,
) {
    let file = &files[entry.file];
    let failure = match context.chunks.read(ChunkKind::Data, &entry.reference) {
        Ok(bytes) => write(context, file, entry.offset, &bytes, aligned).err().map(|error| error.to_string()),
        Err(_) => Some(error.to_string()),
    };
    done(context, file, 1, failure);
}

/// Where the chunks are now that a pack is gone: a prune swept it, and what is needed of it is elsewhere. `None` if not.
fn plan_again(context: &Context<'_>, gone: PackId, uses: &[Use]) -> Option<Vec<Segment>> {
    let index = context.chunks.index();
    if !index.renew(context.repository, &gone).ok()? {
        return None;
    }
    let mut groups: BTreeMap<SegmentKey, Vec<Use>> = BTreeMap::new();
    for entry in uses {
        let place = index.find(&entry.reference.id).ok()??;
        groups.entry(place.segment).or_default().push(Use { place, ..*entry });
    }
    let segment =
        |(key, uses)| index.segment(key).ok().filter(|place| place.pack() != gone).map(|place| Segment { place, uses });
    groups.into_iter().map(segment).collect()
}

/// Chunks that can't be had.
fn fail(context: &Context<'_>, files: &[FileState<'_>], uses: &[Use], error: &EngineError) {
    uses.iter().for_each(|entry| done(context, &files[entry.file], 1, Some(error.to_string())));
}

/// Checks a chunk against its id, unless that was done for another use of it.
fn check(checked: &mut HashSet<(u32, ChunkId)>, open: &OpenSegment<'_>, entry: &Use) -> Result<()> {
    let key = (entry.place.offset, entry.reference.id);
    if !checked.contains(&key) {
        open.chunk(&entry.place, &entry.reference.id)?;
        checked.insert(key);
    }
    Ok(())
}

/// How many uses from the first on, which is checked, are one stretch in the segment and in the file, and its length.
/// They are all checked then.
fn neighbours(checked: &mut HashSet<(u32, ChunkId)>, open: &OpenSegment<'_>, uses: &[Use]) -> (usize, u32) {
    let first = &uses[0];
    let (mut count, mut len) = (1, first.reference.len);
    for entry in &uses[1..] {
        let follows = entry.file == first.file
            && entry.offset == first.offset + u64::from(len)
            && entry.place.offset == first.place.offset + len;
        // One that isn't right is met again, as the first of its own stretch.
        if !follows || check(checked, open, entry).is_err() {
            break;
        }
        count += 1;
        len += entry.reference.len;
    }
    (count, len)
}

/// Writes bytes of a file's stream to where they belong.
fn write(
    context: &Context<'_>,
    file: &FileState<'_>,
    offset: u64,
    bytes: &[u8],
    aligned: &mut AlignedBuffer,
) -> Result<()> {
    let mut work = file.work();
    let handle = open(context, file, &mut work)?;
    work.written = true;
    let skips_zeros = context.options.sparse && work.existing.is_none();
    drop(work);
    let mut rest = bytes;
    for (at, len) in stretches(file.node.extents.as_deref(), offset, bytes.len() as u64) {
        let (part, after) = rest.split_at(len as usize);
        rest = after;
        if skips_zeros {
            write_sparse(&handle, part, at)?;
        } else if len >= LARGE_PIECE_BYTES {
            context.ways.write_at(&handle, part, at, aligned)?;
        } else {
            handle.write_at(part, at)?;
        }
    }
    add(&context.counts.bytes_written, bytes.len() as u64);
    context.problems.monitor().advance(0, bytes.len() as u64);
    Ok(())
}

/// Writes all but blocks of zeros. Where bytes end within a block, its part of them is left out as well: chunks end
/// anywhere, and what nobody writes is zero in the end.
fn write_sparse(handle: &TargetFile, bytes: &[u8], at: u64) -> Result<()> {
    let mut position = 0;
    while position < bytes.len() {
        let to_boundary = BLOCK_BYTES - ((at as usize + position) % BLOCK_BYTES);
        let end = bytes.len().min(position + to_boundary);
        let block = &bytes[position..end];
        if block.iter().any(|&byte| byte != 0) {
            handle.write_at(block, at + position as u64)?;
        }
        position = end;
    }
    Ok(())
}

/// Chunks are written, or can't be; whoever has the last finishes the file.
fn done(context: &Context<'_>, file: &FileState<'_>, count: usize, failure: Option<String>) {
    if let Some(failure) = failure {
        file.work().fail(|| failure);
    }
    if file.left.fetch_sub(count, Ordering::AcqRel) == count {
        finish(context, file, None);
    }
}
