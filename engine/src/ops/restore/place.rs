//! Directories of the target that are in use, and where the bytes of a stream belong in a file.

use std::sync::Arc;

use super::{Context, add};
use crate::model::{Extent, Metadata, Node};
use crate::target::TargetDir;

/// A directory of the target. Its metadata is set when the last who uses it lets go: files below it that are under
/// way, and directories in it, hold it.
pub(super) struct OpenDirectory<'a> {
    context: &'a Context<'a>,
    pub(super) directory: TargetDir,
    /// `None` for the target itself, which is not the snapshot's.
    metadata: Option<Metadata>,
    path: Vec<u8>,
    /// Set after this one's own; holding it is all it is for.
    _above: Option<Arc<OpenDirectory<'a>>>,
}

impl<'a> OpenDirectory<'a> {
    pub(super) fn root(context: &'a Context<'a>, directory: TargetDir) -> Arc<Self> {
        Arc::new(Self { context, directory, metadata: None, path: b"/".to_vec(), _above: None })
    }

    pub(super) fn below(
        context: &'a Context<'a>,
        directory: TargetDir,
        node: &Node,
        path: &[u8],
        above: Arc<OpenDirectory<'a>>,
    ) -> Arc<Self> {
        add(&context.counts.directories, 1);
        let metadata = Some(node.metadata.clone());
        Arc::new(Self { context, directory, metadata, path: path.to_vec(), _above: Some(above) })
    }
}

impl Drop for OpenDirectory<'_> {
    fn drop(&mut self) {
        let Some(metadata) = self.metadata.as_ref().filter(|_| !self.context.options.dry_run) else { return };
        for problem in self.directory.apply_own_metadata(metadata, &self.context.owners) {
            self.context.problems.add(&self.path, problem);
        }
    }
}

/// Stretches of a file that `len` bytes of its stream from `offset` on belong to: file offset and length.
pub(super) fn stretches(extents: Option<&[Extent]>, offset: u64, len: u64) -> Vec<(u64, u64)> {
    let Some(extents) = extents else { return vec![(offset, len)] };
    let (mut found, mut stream, end) = (Vec::new(), 0, offset + len);
    for extent in extents {
        let (from, to) = (offset.max(stream), end.min(stream + extent.len));
        if from < to {
            found.push((extent.offset + (from - stream), to - from));
        }
        stream += extent.len;
        if stream >= end {
            break;
        }
    }
    found
}

/// What of a file is not in its extents.
pub(super) fn holes(extents: &[Extent], size: u64) -> Vec<(u64, u64)> {
    let mut holes = Vec::new();
    let mut position = 0;
    for extent in extents {
        if extent.offset > position {
            holes.push((position, extent.offset - position));
        }
        position = extent.offset + extent.len;
    }
    if size > position {
        holes.push((position, size - position));
    }
    holes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_and_holes_cover_the_file() {
        let extents = [Extent { offset: 10, len: 5 }, Extent { offset: 20, len: 10 }];
        assert_eq!(stretches(Some(&extents), 0, 15), [(10, 5), (20, 10)]);
        assert_eq!(stretches(Some(&extents), 3, 4), [(13, 2), (20, 2)]);
        assert_eq!(stretches(Some(&extents), 5, 1), [(20, 1)]);
        assert_eq!(stretches(None, 7, 3), [(7, 3)]);
        assert_eq!(holes(&extents, 40), [(0, 10), (15, 5), (30, 10)]);
        assert_eq!(holes(&[], 4), [(0, 4)]);
    }
}
