//! Snapshots of a stream: one file, under the path that the caller gave.

use std::io::{ErrorKind as IoKind, Read};
use std::thread::Scope;

use crossbeam_channel::{Receiver, bounded, select_biased};

use super::Gathered;
use super::profile::Profile;
use super::trees::TreeBuilder;
use super::worker::{StreamError, Worker};
use crate::clock::Timestamp;
use crate::error::{EngineError, ErrorKind, Result};
use crate::model::{ChunkKind, Metadata, Node, NodeKind};
use crate::monitor::{ItemAction, ProblemLog};
use crate::os::host;
use crate::repository::{SegmentBuilder, SessionWriter};

/// Stores a stream. One thread reads and cuts it; the others compress and seal.
pub(super) fn gather_stream<'s, 'w>(
    scope: &'s Scope<'s, 'w>,
    writer: &'w SessionWriter<'_>,
    path: &[u8],
    read: &mut (dyn Read + Send),
    finish: Box<dyn FnOnce() -> Result<()> + '_>,
    time: Timestamp,
    problems: &ProblemLog<'_>,
) -> Result<Gathered> {
    problems.monitor().stage("reading the stream", None, None);
    problems.monitor().current(path);
    let others = std::thread::available_parallelism().map_or(0, |count| count.get() - 1);
    let (reading, ended) = bounded::<()>(0);
    let sealers: Vec<_> = (0..others)
        .map(|_| {
            let ended = ended.clone();
            scope.spawn(move || seal_offered(writer, &ended))
        })
        .collect();
    let mut worker = Worker::new(writer, problems);
    let mut size = 0u64;
    let stored = worker.stream(Profile::of_stream, None, &mut |buffer| {
        let count = fill(read, buffer)?;
        size += count as u64;
        Ok(count)
    });
    drop(reading);
    let sealed: Result<Vec<()>> =
        sealers.into_iter().map(|sealer| sealer.join().expect("sealers do not panic")).collect();
    sealed?;
    worker.finish()?;
    let content = stored.map_err(|error| match error {
        StreamError::Source(error) | StreamError::Fatal(error) => error,
    })?;
    // The producer has the last word: what it wrote before it failed is not what was asked for.
    finish()?;

    let mut trees = TreeBuilder::new(writer, None);
    let mut parts = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).peekable();
    let mut depth = 0;
    while let Some(part) = parts.next() {
        let metadata = |mode| Metadata {
            mode,
            uid: host::effective_uid(),
            gid: host::effective_gid(),
            mtime: time,
            ..Metadata::default()
        };
        if parts.peek().is_some() {
            trees.enter(Node::new(part.to_vec(), NodeKind::Directory, metadata(0o700)), None);
            depth += 1;
        } else {
            let mut node = Node::new(part.to_vec(), NodeKind::File, metadata(0o600));
            node.size = size;
            node.content = Some(content.clone());
            trees.add(&node)?;
        }
    }
    (0..depth).try_for_each(|_| trees.leave(false))?;
    trees.statistics.files_new += 1;
    problems.monitor().advance(1, 0);
    problems.monitor().item(ItemAction::New, path, size);
    trees.finish(false)
}

/// Seals what the reading thread offers, until that has come to its end.
fn seal_offered(writer: &SessionWriter<'_>, ended: &Receiver<()>) -> Result<()> {
    let mut builder = SegmentBuilder::new(writer, ChunkKind::Data);
    loop {
        select_biased! {
            recv(writer.offered_segments()) -> segment => match segment {
                Ok(segment) => builder.seal(segment)?,
                Err(_) => break,
            },
            recv(ended) -> _ => break,
        }
    }
    builder.finish()
}

/// Fills the buffer, or reads to the end.
pub(super) fn fill(read: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == IoKind::Interrupted => {}
            Err(error) => return Err(EngineError::with_source(ErrorKind::Io, "cannot read the stream", error)),
        }
    }
    Ok(filled)
}
