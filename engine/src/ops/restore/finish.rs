//! The beginning and the end of each file that is written: its handle, what no segment brings, its metadata.

use std::sync::Arc;

use super::look::read_stream;
use super::place::stretches;
use super::ways::LARGE_FILE_BYTES;
use super::window::{FileState, Work};
use super::{Context, add};
use crate::error::Result;
use crate::model::{Content, NodeKind};
use crate::monitor::ItemAction;
use crate::os::Stat;
use crate::target::TargetFile;

/// How much is copied at once, in bytes.
const COPY_BYTES: usize = 256 << 10;

/// The file to write into, made or made room for at the first write: before that, nothing that is there is lost.
pub(super) fn open(context: &Context<'_>, file: &FileState<'_>, work: &mut Work) -> Result<Arc<TargetFile>> {
    if let Some(handle) = &work.handle {
        return Ok(Arc::clone(handle));
    }
    let directory = &file.above.directory;
    let name = &file.node.name;
    let existing = match &work.existing {
        Some(stat) if work.in_the_way => directory.open_readable(name).ok().filter(|there| is_the_one(there, stat)),
        Some(stat) => match directory.open_existing(name).ok().filter(|there| is_the_one(there, stat)) {
            Some(handle) => return Ok(Arc::clone(work.handle.insert(Arc::new(handle)))),
            // It may be read but not written.
            None => directory.open_readable(name).ok().filter(|there| is_the_one(there, stat)),
        },
        None => None,
    };
    if work.in_the_way || work.existing.is_some() {
        directory.remove_tree(name)?;
        work.in_the_way = false;
    }
    let mut created = directory.create_file(name, &file.node.metadata, &context.owners)?;
    if file.node.extents.is_some() || context.options.sparse {
        // The end may be a hole, which nobody writes.
        created.set_len(file.node.size)?;
    } else if file.node.size >= LARGE_FILE_BYTES {
        created.prepare_direct(file.node.size)?;
    }
    if let Some(existing) = existing {
        // Only what differs will be written; the rest comes from the file that keeps its other names.
        copy(&existing, &created, file.node.size)?;
    }
    Ok(Arc::clone(work.handle.insert(Arc::new(created))))
}

/// Whether an open file is the one that was looked at: another could have been put in its place.
fn is_the_one(file: &TargetFile, looked_at: &Stat) -> bool {
    file.stat().is_ok_and(|stat| stat.identity() == looked_at.identity())
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

/// Ends the work on a file: the rest of its content, its metadata, and what is told about it. `existing` is what the
/// target has, if it is open anyway.
pub(super) fn finish(context: &Context<'_>, file: &FileState<'_>, existing: Option<&TargetFile>) {
    let mut work = file.work();
    let problems = &context.problems;
    // Of a file that can't be had at all, none is made, and what is there stays.
    let untouched = work.failure.is_some() && !work.written;
    if !context.options.dry_run && !untouched {
        if let Err(error) = finish_content(context, file, &mut work, existing) {
            work.fail(|| error.to_string());
        }
        set_metadata(context, file, &work, existing);
    }
    work.handle = None;
    if let Some(failure) = work.failure.take() {
        let what = if untouched { "not restored" } else { "not restored completely" };
        problems.add(&file.path, format!("{what}: {failure}"));
        return;
    }
    let is_new = work.existing.is_none();
    let wrote = work.written || is_new || !work.wanted.is_empty();
    let (counter, action) = match (wrote, is_new) {
        (false, _) => (&context.counts.files_unchanged, ItemAction::Unchanged),
        (true, true) => (&context.counts.files, ItemAction::New),
        (true, false) => (&context.counts.files, ItemAction::Changed),
    };
    add(counter, 1);
    add(&context.counts.bytes, file.node.size);
    problems.monitor().item(action, &file.path, file.node.size);
    problems.monitor().advance(1, if wrote { 0 } else { file.node.size });
}

/// What no segment brings: the file itself, if it is empty, inline bytes, and the size of one that lacks its end.
fn finish_content(
    context: &Context<'_>,
    file: &FileState<'_>,
    work: &mut Work,
    existing: Option<&TargetFile>,
) -> Result<()> {
    if work.believed {
        return Ok(());
    }
    let is_new = work.existing.is_none();
    if is_new || work.in_the_way {
        open(context, file, work)?;
    }
    if is_new && work.failure.is_some() {
        return open(context, file, work)?.set_len(file.node.size);
    }
    let Some(Content::Inline(bytes)) = file.node.content.as_ref().filter(|_| file.chunks.is_empty()) else {
        return Ok(());
    };
    if !is_new && work.handle.as_deref().or(existing).is_some_and(|existing| holds(file, existing, bytes)) {
        return Ok(());
    }
    work.written = true;
    let handle = open(context, file, work)?;
    let mut rest = bytes.as_slice();
    for (at, len) in stretches(file.node.extents.as_deref(), 0, bytes.len() as u64) {
        let (part, after) = rest.split_at(len as usize);
        handle.write_at(part, at)?;
        rest = after;
    }
    if bytes.len() as u64 != file.node.size {
        handle.set_len(file.node.size)?;
    }
    add(&context.counts.bytes_written, bytes.len() as u64);
    Ok(())
}

/// Whether the file that is there has these bytes as its stream.
fn holds(file: &FileState<'_>, existing: &TargetFile, bytes: &[u8]) -> bool {
    let mut there = vec![0; bytes.len()];
    read_stream(file, existing, 0, &mut there).is_ok_and(|count| there[..count] == *bytes)
}

/// Sets metadata: of what was written in any case, of what was right only if it isn't what it should be.
fn set_metadata(context: &Context<'_>, file: &FileState<'_>, work: &Work, existing: Option<&TargetFile>) {
    let (directory, name, metadata) = (&file.above.directory, &file.node.name, &file.node.metadata);
    // What it lacks is told, so that its size need not be.
    let size = work.failure.is_none().then_some(file.node.size);
    let problems = match (&work.handle, &work.existing) {
        (Some(handle), _) => handle.apply_metadata(metadata, size, &context.owners),
        // It could not be made, which is told already.
        (None, None) => return,
        (None, Some(stat)) => {
            let opened;
            let there = match existing {
                Some(existing) => Ok(existing),
                None => {
                    opened = directory.open_readable(name);
                    opened.as_ref()
                }
            };
            match there {
                Ok(there) if there.has_metadata(stat, metadata, &context.owners) => return,
                Ok(there) if is_the_one(there, stat) => there.apply_metadata(metadata, size, &context.owners),
                Ok(_) => vec!["cannot set metadata: something else is there now".to_owned()],
                // Its owner may change it without being allowed to read it.
                Err(_) => directory.apply_metadata(name, metadata, NodeKind::File, &context.owners),
            }
        }
    };
    problems.into_iter().for_each(|problem| context.problems.add(&file.path, problem));
}
