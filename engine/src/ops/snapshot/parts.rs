//! Snapshots of several parts, each at a place of its own: paths, and streams that others make on demand. They come
//! together in one session, or not at all.

use std::io::Read;
use std::path::PathBuf;
use std::thread::Scope;

use super::driver::{Driver, exclude_rules, gather_with};
use super::former::Former;
use super::profile::Profile;
use super::stream::fill;
use super::worker::{StreamError, Worker};
use super::{Gathered, SnapshotOptions};
use crate::clock::Timestamp;
use crate::error::{EngineError, ErrorKind, Result};
use crate::model::{Metadata, Node, NodeKind, Snapshot};
use crate::monitor::{ItemAction, ProblemLog};
use crate::os::host;
use crate::repository::{ChunkReader, SessionWriter};
use crate::source::{Entry, Scout, Walker, normalize};

/// A part of a snapshot.
pub struct SnapshotPart<'a> {
    /// Where it is in the snapshot, absolute.
    pub at: Vec<u8>,
    /// Where it comes from.
    pub source: PartSource<'a>,
}

impl SnapshotPart<'_> {
    /// The path that it comes from; `None` of a stream.
    pub(super) fn source_path(&self) -> Option<&[u8]> {
        match &self.source {
            PartSource::Path { path, .. } => Some(path),
            PartSource::Stream(_) => None,
        }
    }
}

/// Where a part comes from.
pub enum PartSource<'a> {
    /// What is at a path. That it isn't there is an error, not a problem.
    Path {
        /// The path, absolute.
        path: Vec<u8>,
        /// What to leave out, beside what the options say; see `source::ExcludeOptions::rooted`.
        excludes: Vec<(PathBuf, Vec<String>)>,
    },
    /// A stream, which becomes a file. It is asked for when its turn comes.
    Stream(Box<dyn FnOnce() -> Result<Box<dyn PartStream + 'a>> + 'a>),
}

/// How large a part turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSize {
    /// Where it is in the snapshot, absolute.
    pub at: Vec<u8>,
    /// Sizes of all its files together, in bytes.
    pub bytes: u64,
}

/// The bytes of a part.
pub trait PartStream: Read + Send {
    /// Asked when the bytes have ended.
    ///
    /// # Errors
    /// There will be no snapshot: what came is not what was asked for.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Hears when paths are read.
pub trait AroundPaths {
    /// The first path comes next.
    ///
    /// # Errors
    /// There will be no snapshot.
    fn before(&mut self) -> Result<()>;

    /// All of the last path has been read. It is not called if anything fails before.
    ///
    /// # Errors
    /// There will be no snapshot.
    fn after(&mut self) -> Result<()>;
}

/// What is to be gathered.
pub(super) struct WantedParts<'p, 'i, 'w> {
    /// In the order of their places.
    pub(super) parts: Vec<SnapshotPart<'i>>,
    pub(super) around: &'p mut dyn AroundPaths,
    pub(super) options: &'p SnapshotOptions,
    /// What it is compared with.
    pub(super) parent: Option<&'w Snapshot>,
    /// The time of streams.
    pub(super) time: Timestamp,
}

/// Puts parts into the order of a snapshot's trees, and their places into normal form.
///
/// # Errors
/// `Invalid` if there are none, two are at one place or one in the other, or one is at the root; `NotFound` if a path
/// isn't there.
pub(super) fn arrange(parts: &mut [SnapshotPart<'_>]) -> Result<()> {
    let invalid = |text: String| Err(EngineError::new(ErrorKind::Invalid, text));
    for part in parts.iter_mut() {
        part.at = normalize(&part.at)?;
    }
    parts.sort_by(|a, b| names(&a.at).cmp(names(&b.at)));
    if parts.first().is_none_or(|part| part.at == b"/") {
        return invalid("nothing to snapshot was named".into());
    }
    for pair in parts.windows(2) {
        if names(&pair[1].at).zip(names(&pair[0].at)).all(|(a, b)| a == b) {
            return invalid(format!("two parts of a snapshot at {}", String::from_utf8_lossy(&pair[0].at)));
        }
    }
    for part in parts.iter_mut() {
        if let PartSource::Path { path, .. } = &mut part.source {
            *path = normalize(path)?;
            let real = PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path));
            if !crate::os::path_exists(&real) {
                return Err(EngineError::new(ErrorKind::NotFound, format!("{} does not exist", real.display())));
            }
        }
    }
    Ok(())
}

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
}

/// Gathers parts; gives their places and sizes in bytes, too.
pub(super) fn gather_parts<'s, 'w>(
    scope: &'s Scope<'s, 'w>,
    scout: &'w Scout,
    writer: &'w SessionWriter<'_>,
    chunks: &'w ChunkReader<'w>,
    wanted: WantedParts<'_, '_, 'w>,
    problems: &'w ProblemLog<'w>,
) -> Result<(Gathered, Vec<PartSize>)> {
    let WantedParts { parts, around, options, parent, time } = wanted;
    let mut sizes = Vec::new();
    let gathered = gather_with(scope, scout, writer, chunks, parent, problems, |driver| {
        // How many directories the parts before have left open.
        let mut open = 0;
        let places: Vec<Vec<u8>> = parts.iter().map(|part| part.at.clone()).collect();
        let is_path = |part: &SnapshotPart<'_>| matches!(part.source, PartSource::Path { .. });
        let (first_path, last_path) = (parts.iter().position(is_path), parts.iter().rposition(is_path));
        for (number, part) in parts.into_iter().enumerate() {
            let keep = places.get(number + 1).map_or(0, |next| shared(&part.at, next));
            let bytes_before = driver.trees.statistics.bytes;
            if first_path == Some(number) {
                around.before()?;
            }
            match part.source {
                PartSource::Path { path, excludes } => {
                    let rules = exclude_rules(writer, options, excludes)?;
                    let walker = Walker::new_at(&path, &part.at, &rules, problems)?.with_scout(scout);
                    driver.walk(walker, open, keep)?;
                }
                PartSource::Stream(start) => {
                    let depth = enter_above(driver, &part.at, open);
                    let (action, former) = driver.former(names(&part.at).last().unwrap_or_default());
                    driver.ready(read_stream(writer, problems, &part.at, time, former, start)?, action)?;
                    (keep..depth).for_each(|_| driver.leave());
                }
            }
            if last_path == Some(number) {
                around.after()?;
            }
            open = keep;
            sizes.push(PartSize { at: part.at, bytes: driver.trees.statistics.bytes - bytes_before });
        }
        Ok(())
    })?;
    Ok((gathered, sizes))
}

/// How many directories above two places are the same.
fn shared(a: &[u8], b: &[u8]) -> usize {
    let above = |path| names(path).count().saturating_sub(1);
    names(a).zip(names(b)).take_while(|(a, b)| a == b).count().min(above(a)).min(above(b))
}

/// Stores a stream in this thread; workers seal what it offers them.
fn read_stream<'i>(
    writer: &SessionWriter<'_>,
    problems: &ProblemLog<'_>,
    at: &[u8],
    time: Timestamp,
    former: Option<Former<'_>>,
    start: Box<dyn FnOnce() -> Result<Box<dyn PartStream + 'i>> + 'i>,
) -> Result<Node> {
    problems.monitor().current(at);
    let mut stream = start()?;
    let mut worker = Worker::new(writer, problems);
    let mut size = 0u64;
    let stored = worker.stream(Profile::of_stream, former, &mut |buffer| {
        let count = fill(&mut *stream, buffer)?;
        size += count as u64;
        Ok(count)
    });
    worker.finish()?;
    let content = stored.map_err(|error| match error {
        StreamError::Source(error) | StreamError::Fatal(error) => error,
    })?;
    // The producer has the last word: what it wrote before it failed is not what was asked for.
    stream.finish()?;
    let metadata = Metadata {
        mode: 0o600,
        uid: host::effective_uid(),
        gid: host::effective_gid(),
        mtime: time,
        ..Metadata::default()
    };
    let name = names(at).last().unwrap_or_default().to_vec();
    let mut node = Node::new(name, NodeKind::File, metadata);
    (node.size, node.content) = (size, Some(content));
    problems.monitor().advance(1, 0);
    problems.monitor().item(ItemAction::New, at, size);
    Ok(node)
}

/// Enters the directories above a place as [`Walker::new_at`] makes them, but for the first ones, which are open. Gives
/// how many there are.
fn enter_above(driver: &mut Driver<'_, '_>, at: &[u8], open: usize) -> usize {
    let above: Vec<&[u8]> = names(at).collect();
    let above = &above[..above.len().saturating_sub(1)];
    for depth in open..above.len() {
        let path = [b"/", above[..=depth].join(&b'/').as_slice()].concat();
        driver.enter(Entry::made_up(path, above[depth].to_vec()));
    }
    above.len()
}
