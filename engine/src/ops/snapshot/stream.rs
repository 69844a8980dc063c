//! Snapshots of a stream: one file, under the path that the caller gave.

use std::io::{ErrorKind as IoKind, Read};

use super::Gathered;
use super::trees::TreeBuilder;
use super::worker::{StreamError, Worker};
use crate::clock::Timestamp;
use crate::error::{EngineError, ErrorKind, Result};
use crate::model::{Metadata, Node, NodeKind, Profile};
use crate::monitor::{ItemAction, ProblemLog};
use crate::os::host;
use crate::repository::SessionWriter;

pub(super) fn gather_stream(
    writer: &SessionWriter<'_>,
    path: &[u8],
    read: &mut (dyn Read + Send),
    finish: Box<dyn FnOnce() -> Result<()> + '_>,
    time: Timestamp,
    problems: &ProblemLog<'_>,
) -> Result<Gathered> {
    problems.monitor().stage("reading the stream", None, None);
    problems.monitor().current(path);
    let mut worker = Worker::new(writer, problems);
    let mut size = 0u64;
    let stored = worker.stream(Some(Profile::Dumps), &mut |buffer| {
        let count = fill(read, buffer)?;
        size += count as u64;
        Ok(count)
    });
    worker.finish()?;
    let content = stored.map_err(|error| match error {
        StreamError::Source(error) | StreamError::Fatal(error) => error,
    })?;
    // The producer has the last word: what it wrote before it failed is not what was asked for.
    finish()?;

    let mut trees = TreeBuilder::new(writer);
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
            trees.enter(Node::new(part.to_vec(), NodeKind::Directory, metadata(0o700)));
            depth += 1;
        } else {
            let mut node = Node::new(part.to_vec(), NodeKind::File, metadata(0o600));
            node.size = size;
            node.content = Some(content.clone());
            trees.add(&node)?;
        }
    }
    (0..depth).try_for_each(|_| trees.leave())?;
    trees.statistics.files_new += 1;
    problems.monitor().advance(1, 0);
    problems.monitor().item(ItemAction::New, path, size);
    trees.finish()
}

/// Fills the buffer, or reads to the end.
fn fill(read: &mut (dyn Read + Send), buffer: &mut [u8]) -> Result<usize> {
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
