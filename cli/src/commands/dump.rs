//! `dump`: writes a file, or a directory as tar, to standard output or a file.

use std::io::Write;
use std::path::Path;

use engine::ErrorKind;
use engine::model::{NodeKind, Snapshot};
use engine::ops;
use engine::repository::{Index, Repository};

use crate::args::browse::{ArchiveFormat, Dump};
use crate::context::Context;
use crate::exit::{Failure, Outcome, invalid, io_failure};
use crate::output::RawOutput;
use crate::progress::Progress;
use crate::text;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Dump) -> Result<Outcome, Failure> {
    let progress = context.progress(false);
    let (repository, index) = context.open_indexed(&progress)?;
    let what = &arguments.what;
    let (_, snapshot) = ops::find_snapshot_of(&repository, &index, &what.snapshot, &arguments.filter.to_engine())?;
    let node = ops::node_at(&repository, &index, &snapshot, &what.path)?;
    let kind = node.map_or(NodeKind::Directory, |node| node.kind);
    let as_tar = kind == NodeKind::Directory || arguments.archive == Some(ArchiveFormat::Tar);
    if !as_tar && kind != NodeKind::File {
        let path = text::path(&what.path);
        return Err(invalid(format!("{path} is neither a file nor a directory; --archive tar can hold it")));
    }
    let dump = Dumping { repository: &repository, index: &index, snapshot: &snapshot, path: &what.path, as_tar };
    match &arguments.output {
        Some(file) => dump.to_file(file, &progress)?,
        None => {
            if as_tar && context.output.is_terminal() {
                return Err(Failure::Usage("an archive is not for a terminal: use --output FILE or > FILE".into()));
            }
            dump.write(&mut RawOutput::new(&context.output)?, &progress)?;
        }
    }
    Ok(Outcome::of_problems(progress.problem_count()))
}

struct Dumping<'a> {
    repository: &'a Repository,
    index: &'a Index,
    snapshot: &'a Snapshot,
    path: &'a [u8],
    as_tar: bool,
}

impl Dumping<'_> {
    fn write(&self, out: &mut (dyn Write + Send), progress: &Progress<'_>) -> Result<(), Failure> {
        if self.as_tar {
            ops::dump_tar(self.repository, self.index, self.snapshot, self.path, out, progress)?;
        } else {
            ops::dump_file(self.repository, self.index, self.snapshot, self.path, out)?;
        }
        Ok(())
    }

    /// The file appears, or is replaced, when it is complete. A device or a pipe is written as it is.
    fn to_file(&self, file: &Path, progress: &Progress<'_>) -> Result<(), Failure> {
        let failed = |error| io_failure("write", file, error);
        let special = match std::fs::metadata(file) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(engine::EngineError::new(
                    ErrorKind::AlreadyExists,
                    format!("{} is a directory", file.display()),
                )
                .into());
            }
            Ok(metadata) => !metadata.is_file(),
            Err(_) => false,
        };
        if special {
            let mut out = std::fs::OpenOptions::new().write(true).open(file).map_err(failed)?;
            return self.write(&mut out, progress);
        }
        let directory = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // Readable by its owner only, as everything that was encrypted before.
        let mut unfinished = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        self.write(&mut unfinished, progress)?;
        unfinished.as_file().sync_all().map_err(failed)?;
        unfinished.persist(file).map_err(|error| failed(error.error))?;
        Ok(())
    }
}
