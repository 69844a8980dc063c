//! Looking at the files that a target has already: what of them is right and need not be written.

use std::ops::Range;

use super::finish::open;
use super::place::{holes, stretches};
use super::window::{FileState, Work};
use super::{Context, Overwrite};
use crate::error::Result;
use crate::model::{ChunkKind, ChunkRef, NodeKind};
use crate::target::TargetFile;

/// A larger file is compared in parts of about this many bytes, by whoever has time.
const PART_BYTES: u64 = 16 << 20;
/// Bytes that are read at once, unless a chunk is larger.
const READ_BYTES: usize = 1 << 20;
/// Stretches of data that are compared before a sparse file is made sparse again.
const EXTENTS_COMPARED: usize = 1 << 16;

/// Looks at what has the file's name. Whether its content is to be compared; if not, what is wanted is known.
pub(super) fn look(context: &Context<'_>, file: &FileState<'_>) -> bool {
    let mut work = file.work();
    match try_look(context, file, &mut work) {
        Ok(true) => true,
        Ok(false) => {
            if !work.believed && !file.chunks.is_empty() {
                work.wanted.push(0..file.chunks.len());
            }
            false
        }
        Err(error) => {
            work.fail(|| error.to_string());
            false
        }
    }
}

fn try_look(context: &Context<'_>, file: &FileState<'_>, work: &mut Work) -> Result<bool> {
    let directory = &file.above.directory;
    if directory.is_new() {
        return Ok(false);
    }
    let Some(stat) = directory.stat(&file.node.name)? else { return Ok(false) };
    if stat.kind != NodeKind::File {
        work.in_the_way = true;
        return Ok(false);
    }
    // Writing into a file with names that the snapshot doesn't know would change what those show.
    work.in_the_way = stat.links > file.node.metadata.links.unwrap_or(1);
    work.existing = Some(stat);
    let same = stat.size == file.node.size && stat.mtime == file.node.metadata.mtime;
    work.believed = same && context.options.overwrite == Overwrite::IfChanged;
    Ok(!work.believed)
}

/// The parts of a file that are compared apart from each other, as ranges of its chunks; at least one.
pub(super) fn parts(file: &FileState<'_>) -> Vec<Range<usize>> {
    let (mut parts, mut first, mut start) = (Vec::new(), 0, 0);
    for (number, (offset, _)) in file.chunks.iter().enumerate() {
        if offset - start >= PART_BYTES {
            parts.push(first..number);
            (first, start) = (number, *offset);
        }
    }
    parts.push(first..file.chunks.len());
    parts
}

/// Compares chunks with what is there, and wants those that differ. Returns the file, for whoever wants to know more.
pub(super) fn compare(
    context: &Context<'_>,
    file: &FileState<'_>,
    chunks: Range<usize>,
    buffer: &mut Vec<u8>,
) -> Option<TargetFile> {
    let Ok(existing) = file.above.directory.open_readable(&file.node.name) else {
        // What can't be read can't be made right in place.
        let mut work = file.work();
        (work.existing, work.in_the_way) = (None, true);
        work.wanted.extend((!chunks.is_empty()).then_some(chunks));
        return None;
    };
    match differing(context, file, &existing, chunks, buffer) {
        Ok(wanted) if wanted.is_empty() => {}
        Ok(wanted) => file.work().wanted.extend(wanted),
        Err(error) => file.work().fail(|| error.to_string()),
    }
    Some(existing)
}

/// Which of `chunks` are not there.
fn differing(
    context: &Context<'_>,
    file: &FileState<'_>,
    existing: &TargetFile,
    chunks: Range<usize>,
    buffer: &mut Vec<u8>,
) -> Result<Vec<Range<usize>>> {
    let mut wanted: Vec<Range<usize>> = Vec::new();
    let mut next = chunks.start;
    while next < chunks.end {
        // As many neighbours as fit are read together.
        let first = next;
        let mut len = 0;
        while next < chunks.end && (next == first || len + file.chunks[next].1.len as usize <= READ_BYTES) {
            len += file.chunks[next].1.len as usize;
            next += 1;
        }
        buffer.resize(buffer.len().max(len), 0);
        let read = read_stream(file, existing, file.chunks[first].0, &mut buffer[..len])?;
        let mut rest = &buffer[..read];
        for number in first..next {
            let reference = &file.chunks[number].1;
            let (chunk, after) = rest.split_at(rest.len().min(reference.len as usize));
            rest = after;
            if !is_chunk(context, chunk, reference) {
                match wanted.last_mut() {
                    Some(last) if last.end == number => last.end += 1,
                    _ => wanted.push(number..number + 1),
                }
            }
        }
    }
    Ok(wanted)
}

fn is_chunk(context: &Context<'_>, bytes: &[u8], reference: &ChunkRef) -> bool {
    bytes.len() == reference.len as usize && context.domain.chunk_id(ChunkKind::Data, bytes) == reference.id
}

/// Reads bytes of a file's stream. How many there are before the first that is not there.
pub(super) fn read_stream(
    file: &FileState<'_>,
    existing: &TargetFile,
    offset: u64,
    buffer: &mut [u8],
) -> Result<usize> {
    let mut filled = 0;
    for (at, len) in stretches(file.node.extents.as_deref(), offset, buffer.len() as u64) {
        let part = &mut buffer[filled..filled + len as usize];
        let count = existing.read_at(part, at)?;
        filled += count;
        if count < len as usize {
            break;
        }
    }
    Ok(filled)
}

/// After the last comparison: gives a file its size and its holes, if it is to be written at all.
pub(super) fn settle(context: &Context<'_>, file: &FileState<'_>) {
    let mut work = file.work();
    work.wanted.sort_unstable_by_key(|chunks| chunks.start);
    if let Err(error) = try_settle(context, file, &mut work) {
        work.fail(|| error.to_string());
        work.wanted.clear();
    }
    if work.failure.is_some() {
        work.wanted.clear();
    }
}

fn try_settle(context: &Context<'_>, file: &FileState<'_>, work: &mut Work) -> Result<()> {
    let Some(existing) = work.existing else { return Ok(()) };
    if existing.size == file.node.size && !shows_data(file)? {
        return Ok(());
    }
    work.written = true;
    if context.options.dry_run {
        return Ok(());
    }
    let handle = open(context, file, work)?;
    handle.set_len(file.node.size)?;
    for (at, len) in file.node.extents.iter().flat_map(|extents| holes(extents, file.node.size)) {
        handle.punch_hole(at, len)?;
    }
    Ok(())
}

/// Whether a sparse file has something, be it zeros, where holes belong.
fn shows_data(file: &FileState<'_>) -> Result<bool> {
    let Some(wanted) = &file.node.extents else { return Ok(false) };
    let existing = file.above.directory.open_readable(&file.node.name)?;
    Ok(existing.data_extents(file.node.size, EXTENTS_COMPARED)?.as_ref() != Some(wanted))
}
