//! The data at hand: how much there is, and pieces of it to measure on.
//!
//! A walk of its own, as bare as it can be: it is the floor that a snapshot's walk is compared with. It leaves nothing
//! out but `skip`, and what it can't read it passes over: the real run names that.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::BenchTools;
use super::kernels::stop_if_asked;
use super::material::{Material, SEGMENT_BYTES};
use crate::error::{EngineError, Result};
use crate::model::NodeKind;
use crate::os::{Directory, Stat};

/// Pieces of the data, each as long as a segment: some tens of MiB are held in memory.
const SEGMENTS: u64 = 32;
/// Deeper directories are passed over: the walk holds a handle for each level.
const DEPTH: usize = 256;

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) others: u64,
    /// Sizes of all files, holes included.
    pub(super) bytes: u64,
    /// Space that they take, in bytes.
    pub(super) allocated: u64,
}

impl Totals {
    pub(super) fn entries(&self) -> u64 {
        self.files + self.directories + self.others
    }
}

/// What is looked at.
pub(super) struct Data<'a> {
    tools: &'a BenchTools<'a>,
    paths: &'a [Vec<u8>],
    /// Device and inode of a directory that does not belong to it.
    skip: Option<(u64, u64)>,
}

/// What the walk tells of.
type Each<'e> = &'e mut dyn FnMut(&Directory, &[u8], &Stat) -> Result<()>;

impl<'a> Data<'a> {
    /// The trees and files at `paths`.
    ///
    /// # Errors
    /// `Io` if one of them can't be had.
    pub(super) fn new(tools: &'a BenchTools<'a>, paths: &'a [Vec<u8>]) -> Result<Self> {
        let data = Self { tools, paths, skip: crate::os::path_identity(tools.scratch) };
        data.roots(&mut |_, _, _| Ok(()))?;
        Ok(data)
    }

    /// Counts everything.
    pub(super) fn count(&self) -> Result<Totals> {
        let mut totals = Totals::default();
        self.walk(&mut |_, _, stat| {
            match stat.kind {
                NodeKind::File => {
                    totals.files += 1;
                    totals.bytes += stat.size;
                    totals.allocated += stat.blocks.saturating_mul(512);
                }
                NodeKind::Directory => totals.directories += 1,
                _ => totals.others += 1,
            }
            Ok(())
        })?;
        Ok(totals)
    }

    /// Takes pieces of what `totals` counted, at even distances. What is neighbours in a piece is neighbours in a
    /// segment, so it compresses as that does.
    pub(super) fn sample(&self, totals: &Totals) -> Result<Material> {
        let len = SEGMENT_BYTES as u64;
        let count = totals.bytes.div_ceil(len).clamp(1, SEGMENTS);
        let distance = (totals.bytes / count).max(len);
        let mut segments = vec![Vec::new(); count as usize];
        let mut position = 0u64;
        self.walk(&mut |directory, name, stat| {
            if stat.kind != NodeKind::File || stat.size == 0 {
                return Ok(());
            }
            let (start, end) = (position, position + stat.size);
            position = end;
            let first = (start / distance).min(count);
            let last = (end / distance).min(count - 1);
            for number in first..=last {
                let (from, to) = (start.max(number * distance), end.min(number * distance + len));
                if from < to {
                    let segment = &mut segments[number as usize];
                    read_into(segment, directory, name, from - start, (to - from) as usize);
                }
            }
            Ok(())
        })?;
        segments.retain(|segment| !segment.is_empty());
        Ok(Material { name: "data at hand", segments })
    }

    fn walk(&self, each: Each<'_>) -> Result<()> {
        self.roots(&mut |directory, name, stat| self.visit(directory, name, stat, DEPTH, each))
    }

    /// Tells of the paths themselves.
    fn roots(&self, each: Each<'_>) -> Result<()> {
        for path in self.paths {
            let path = Path::new(OsStr::from_bytes(path));
            let failed = |error| EngineError::io("open", path, error);
            let (above, name) = match (path.parent(), path.file_name()) {
                (Some(above), Some(name)) => (above, name),
                _ => (path, OsStr::new(".")),
            };
            let above = Directory::pass_path_following(above).map_err(failed)?;
            let stat = above.stat(name.as_bytes()).map_err(failed)?;
            each(&above, name.as_bytes(), &stat)?;
        }
        Ok(())
    }

    fn visit(&self, above: &Directory, name: &[u8], stat: &Stat, depth: usize, each: Each<'_>) -> Result<()> {
        each(above, name, stat)?;
        if stat.kind != NodeKind::Directory || depth == 0 || self.skip == Some(stat.identity()) {
            return Ok(());
        }
        stop_if_asked(self.tools)?;
        let Ok(directory) = above.open_directory(name, true) else { return Ok(()) };
        let Ok(names) = directory.list() else { return Ok(()) };
        for name in names.iter() {
            if let Ok(stat) = directory.stat(name) {
                self.visit(&directory, name, &stat, depth - 1, each)?;
            }
        }
        Ok(())
    }
}

/// Appends a part of a file, or what of it can be had.
fn read_into(segment: &mut Vec<u8>, directory: &Directory, name: &[u8], offset: u64, len: usize) {
    let Ok(file) = directory.open_file(name, true) else { return };
    let before = segment.len();
    segment.resize(before + len, 0);
    let count = file.read_at(&mut segment[before..], offset).unwrap_or(0);
    segment.truncate(before + count);
}
