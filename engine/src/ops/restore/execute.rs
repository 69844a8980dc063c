//! Executing a window: compare what is there, read segments, write, finish files. In parallel throughout.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rayon::prelude::*;

use super::place::{holes, stretches};
use super::window::{FileState, LinkState, Window};
use super::{Context, add};
use crate::error::{ErrorKind, Result};
use crate::id::PackId;
use crate::model::{ChunkKind, ChunkRef, Content, NodeKind};
use crate::monitor::ItemAction;
use crate::repository::{Place, SegmentKey, SegmentPlace, SegmentReader};
use crate::target::TargetFile;

/// How much is copied at once, in bytes.
const COPY_BYTES: usize = 256 << 10;
/// Stretches of data that are compared before a sparse file is made sparse again.
const EXTENTS_COMPARED: usize = 1 << 16;
/// Zeros that a restore leaves out are whole blocks of this many bytes.
const BLOCK_BYTES: usize = 4096;

/// One chunk's use in one file.
struct Use {
    place: Place,
    reference: ChunkRef,
    file: usize,
    /// Where it begins in the file's stream.
    offset: u64,
}

/// Restores the files of a window; the links are for the caller, now that what they link to is there.
pub(super) fn execute<'a>(context: &Context<'a>, window: Window<'a>) -> Result<Vec<LinkState<'a>>> {
    let Window { mut files, links, .. } = window;
    files.par_iter_mut().for_each(|file| prepare(context, file));
    let segments = group_by_segment(context, &files)?;
    let failed = segments.into_par_iter().map_init(SegmentReader::default, |reader, (segment, uses)| {
        context.stop_if_asked()?;
        run_segment(context, reader, &files, &segment, &uses);
        Ok(())
    });
    failed.collect::<Result<()>>()?;
    // What had no chunks to write: empty and inline files, and those that were right already.
    files.par_iter().filter(|file| file.left.load(Ordering::Acquire) == 0).for_each(|file| finish(context, file));
    Ok(links)
}

/// Looks at what is there, and keeps only the chunks that have to be written.
fn prepare(context: &Context<'_>, file: &mut FileState<'_>) {
    if let Err(error) = try_prepare(context, file) {
        file.fail(error.to_string());
        file.chunks.clear();
    }
}

fn try_prepare(context: &Context<'_>, file: &mut FileState<'_>) -> Result<()> {
    let directory = &file.above.directory;
    if directory.is_new() {
        return Ok(());
    }
    let name = &file.node.name;
    let Some(stat) = directory.stat(name)? else { return Ok(()) };
    if stat.kind != NodeKind::File {
        file.in_the_way.store(true, Ordering::Relaxed);
        return Ok(());
    }
    let Ok(existing) = directory.open_existing(name) else {
        file.in_the_way.store(true, Ordering::Relaxed);
        return Ok(());
    };
    file.exists.store(true, Ordering::Relaxed);
    // Writing into a file with names that the snapshot doesn't know would change what those show.
    let shared = stat.links > file.node.metadata.links.unwrap_or(1);
    file.in_the_way.store(shared, Ordering::Relaxed);
    let mut buffer = Vec::new();
    let chunks = std::mem::take(&mut file.chunks);
    for (offset, reference) in chunks {
        let same = stat.size >= file.node.size
            || stretches(file.node.extents.as_deref(), offset, reference.len.into())
                .iter()
                .all(|(at, len)| at + len <= stat.size);
        if !same || !holds(context, file, &existing, offset, &reference, &mut buffer)? {
            file.chunks.push((offset, reference));
        }
    }
    if stat.size != file.node.size || shows_data(file, &existing)? {
        file.written.store(true, Ordering::Relaxed);
    }
    *file.handle.lock().expect("no holder of this lock panics") = Some(Arc::new(existing));
    if !context.options.dry_run && file.written.load(Ordering::Relaxed) {
        let handle = open(file)?;
        handle.set_len(file.node.size)?;
        for (at, len) in file.node.extents.iter().flat_map(|extents| holes(extents, file.node.size)) {
            handle.punch_hole(at, len)?;
        }
    }
    Ok(())
}

/// Whether a sparse file has something, be it zeros, where holes belong.
fn shows_data(file: &FileState<'_>, existing: &TargetFile) -> Result<bool> {
    match &file.node.extents {
        None => Ok(false),
        wanted => Ok(existing.data_extents(file.node.size, EXTENTS_COMPARED)? != *wanted),
    }
}

/// Whether the file that is there holds a chunk where it belongs.
fn holds(
    context: &Context<'_>,
    file: &FileState<'_>,
    existing: &TargetFile,
    offset: u64,
    reference: &ChunkRef,
    buffer: &mut Vec<u8>,
) -> Result<bool> {
    buffer.resize(reference.len as usize, 0);
    let mut filled = 0;
    for (at, len) in stretches(file.node.extents.as_deref(), offset, reference.len.into()) {
        let part = &mut buffer[filled..filled + len as usize];
        if existing.read_at(part, at)? != part.len() {
            return Ok(false);
        }
        filled += part.len();
    }
    Ok(filled == buffer.len() && context.repository.domain().chunk_id(ChunkKind::Data, buffer) == reference.id)
}

/// Which segments are needed, in the order in which they are stored.
fn group_by_segment(context: &Context<'_>, files: &[FileState<'_>]) -> Result<Vec<(SegmentPlace, Vec<Use>)>> {
    let index = context.chunks.index();
    let mut groups: BTreeMap<SegmentKey, Vec<Use>> = BTreeMap::new();
    for (number, file) in files.iter().enumerate() {
        for (offset, reference) in &file.chunks {
            match index.find_or_recover(context.repository, &reference.id) {
                Ok(place) if place.len == reference.len => {
                    file.left.fetch_add(1, Ordering::Relaxed);
                    let entry = Use { place, reference: *reference, file: number, offset: *offset };
                    groups.entry(place.segment).or_default().push(entry);
                }
                Ok(_) => file.fail(format!("chunk {} has another length than the file says", reference.id)),
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                Err(error) => file.fail(error.to_string()),
            }
        }
    }
    let mut segments = Vec::with_capacity(groups.len());
    for (key, mut uses) in groups {
        // The same chunk is opened and checked once.
        uses.sort_by_key(|entry| (entry.place.offset, entry.file, entry.offset));
        segments.push((index.segment(key)?, uses));
    }
    segments.sort_by_key(|(segment, _)| -> (PackId, u32) { (segment.pack(), segment.offset()) });
    Ok(segments)
}

/// Reads a segment and writes what it holds to wherever it belongs.
fn run_segment(
    context: &Context<'_>,
    reader: &mut SegmentReader,
    files: &[FileState<'_>],
    segment: &SegmentPlace,
    uses: &[Use],
) {
    if context.options.dry_run {
        for entry in uses {
            add(&context.counts.bytes_written, entry.reference.len.into());
            done(context, &files[entry.file], None);
        }
        return;
    }
    let open = match reader.read(context.repository, segment) {
        Ok(open) => open,
        Err(error) => {
            uses.iter().for_each(|entry| done(context, &files[entry.file], Some(error.to_string())));
            return;
        }
    };
    let mut last: Option<(Place, Result<&[u8], String>)> = None;
    for entry in uses {
        let chunk = match &last {
            Some((place, chunk)) if *place == entry.place => chunk.clone(),
            _ => open.chunk(context.repository, &entry.place, &entry.reference.id).map_err(|error| error.to_string()),
        };
        let file = &files[entry.file];
        let written = chunk.clone().and_then(|chunk| write(context, file, entry, chunk).map_err(|e| e.to_string()));
        last = Some((entry.place, chunk));
        done(context, file, written.err());
    }
}

fn write(context: &Context<'_>, file: &FileState<'_>, entry: &Use, chunk: &[u8]) -> Result<()> {
    let handle = open(file)?;
    file.written.store(true, Ordering::Relaxed);
    let skips_zeros = context.options.sparse && file.is_new();
    let mut rest = chunk;
    for (at, len) in stretches(file.node.extents.as_deref(), entry.offset, chunk.len() as u64) {
        let (part, after) = rest.split_at(len as usize);
        rest = after;
        if skips_zeros { write_sparse(&handle, part, at)? } else { handle.write_at(part, at)? }
    }
    add(&context.counts.bytes_written, chunk.len() as u64);
    context.problems.monitor().advance(0, chunk.len() as u64);
    Ok(())
}

/// Writes all but whole blocks of zeros.
fn write_sparse(handle: &TargetFile, bytes: &[u8], at: u64) -> Result<()> {
    let mut position = 0;
    while position < bytes.len() {
        let to_boundary = BLOCK_BYTES - ((at as usize + position) % BLOCK_BYTES);
        let end = bytes.len().min(position + to_boundary);
        let block = &bytes[position..end];
        if block.len() < BLOCK_BYTES || block.iter().any(|&byte| byte != 0) {
            handle.write_at(block, at + position as u64)?;
        }
        position = end;
    }
    Ok(())
}

/// The file to write into, made or made room for at the first write: before that, nothing that is there is lost.
fn open(file: &FileState<'_>) -> Result<Arc<TargetFile>> {
    let mut handle = file.handle.lock().expect("no holder of this lock panics");
    let directory = &file.above.directory;
    let replaces = file.in_the_way.swap(false, Ordering::AcqRel);
    match (&*handle, replaces) {
        (Some(handle), false) => return Ok(Arc::clone(handle)),
        (_, true) => directory.remove_tree(&file.node.name)?,
        (None, false) => {}
    }
    let created = Arc::new(directory.create_file(&file.node.name, file.node.size)?);
    if let Some(existing) = handle.take() {
        // Only what differs will be written; the rest comes from the file that keeps its other names.
        copy(&existing, &created, file.node.size)?;
    }
    *handle = Some(Arc::clone(&created));
    Ok(created)
}

fn copy(from: &TargetFile, to: &TargetFile, size: u64) -> Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut offset = 0;
    while offset < size {
        let room = buffer.len().min(usize::try_from(size - offset).unwrap_or(usize::MAX));
        let count = from.read_at(&mut buffer[..room], offset)?;
        if count == 0 {
            break;
        }
        to.write_at(&buffer[..count], offset)?;
        offset += count as u64;
    }
    Ok(())
}

/// A chunk is written, or can't be; whoever has the last finishes the file.
fn done(context: &Context<'_>, file: &FileState<'_>, failure: Option<String>) {
    if let Some(failure) = failure {
        file.fail(failure);
    }
    if file.left.fetch_sub(1, Ordering::AcqRel) == 1 {
        finish(context, file);
        // So that the last pass over files without chunks leaves it alone.
        file.left.store(usize::MAX, Ordering::Release);
    }
}

fn finish(context: &Context<'_>, file: &FileState<'_>) {
    let problems = &context.problems;
    let failed = file.failure.lock().expect("no holder of this lock panics").is_some();
    // Of a file that can't be had at all, none is made, and what is there stays.
    let untouched = failed && !file.written.load(Ordering::Relaxed);
    if !context.options.dry_run
        && !untouched
        && let Err(error) = finish_content(context, file)
    {
        file.fail(error.to_string());
    }
    let failure = file.failure.lock().expect("no holder of this lock panics").take();
    let handle = file.handle.lock().expect("no holder of this lock panics").take();
    if let (Some(handle), false) = (handle, context.options.dry_run || untouched) {
        for problem in handle.apply_metadata(&file.node.metadata, &context.owners) {
            problems.add(&file.path, problem);
        }
    }
    if let Some(failure) = failure {
        let what = if untouched { "not restored" } else { "not restored completely" };
        problems.add(&file.path, format!("{what}: {failure}"));
        return;
    }
    let wrote = file.written.load(Ordering::Relaxed) || file.is_new() || !file.chunks.is_empty();
    let (counter, action) = match (wrote, file.is_new()) {
        (false, _) => (&context.counts.files_unchanged, ItemAction::Unchanged),
        (true, true) => (&context.counts.files, ItemAction::New),
        (true, false) => (&context.counts.files, ItemAction::Changed),
    };
    add(counter, 1);
    add(&context.counts.bytes, file.node.size);
    problems.monitor().item(action, &file.path, file.node.size);
    problems.monitor().advance(1, if wrote { 0 } else { file.node.size });
}

/// What no segment brings: the file itself, if it is empty, and inline bytes.
fn finish_content(context: &Context<'_>, file: &FileState<'_>) -> Result<()> {
    let handle = open(file)?;
    let Some(Content::Inline(bytes)) = file.node.content.as_ref().filter(|_| file.chunks.is_empty()) else {
        return Ok(());
    };
    let mut there = vec![0; bytes.len()];
    if !file.is_new() && handle.read_at(&mut there, 0)? == bytes.len() && there == *bytes {
        return Ok(());
    }
    file.written.store(true, Ordering::Relaxed);
    let handle = open(file)?;
    let mut rest = bytes.as_slice();
    for (at, len) in stretches(file.node.extents.as_deref(), 0, bytes.len() as u64) {
        let (part, after) = rest.split_at(len as usize);
        handle.write_at(part, at)?;
        rest = after;
    }
    add(&context.counts.bytes_written, bytes.len() as u64);
    Ok(())
}
