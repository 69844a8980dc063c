//! A snapshot that goes to several repositories: into the first, and from there to the others, so that the source is read
//! once.
//!
//! All of them are opened before anything is read: what a person can mistype shows at once. One that can't be reached is
//! left out, and is a problem in the end; if that is the first, the next takes its place.

use std::path::PathBuf;

use engine::id::SnapshotId;
use engine::ops::{self, CopyOptions, CopyReport};
use engine::repository::Repository;
use engine::{EngineError, ErrorKind};

use super::copy::{Shown, show};
use crate::args::copy::FanOut;
use crate::context::{Context, PROGRAM, SystemClock};
use crate::exit::Failure;
use crate::progress::Progress;
use crate::text;

/// The repositories that a snapshot goes to, and their addresses.
pub(super) struct Places {
    /// Those that work: at least one, which is snapshotted into.
    working: Vec<(String, Repository)>,
    /// Others were asked for.
    is_fan_out: bool,
    /// How many did not work.
    failed: u64,
    directories: Vec<PathBuf>,
    spool_bytes: u64,
}

impl Places {
    /// Opens the repository and all others.
    pub(super) fn open(context: &Context, arguments: &FanOut) -> Result<Self, Failure> {
        let addresses = &arguments.to.repositories;
        let mut places = Self {
            working: Vec::new(),
            is_fan_out: !addresses.is_empty(),
            failed: 0,
            directories: Vec::new(),
            spool_bytes: arguments.spool_size,
        };
        if !places.is_fan_out {
            places.working.push((context.address()?, context.open_to_add()?));
            return Ok(places);
        }
        let mut failure = None;
        places.add(context, context.address()?, context.open(), &mut failure)?;
        for (number, address) in addresses.iter().enumerate() {
            let opened = context.open_other(&arguments.to, number, address);
            places.add(context, address.clone(), opened, &mut failure)?;
        }
        let Some(((_, first), others)) = places.working.split_first() else {
            return Err(failure.expect("none works, and there is more than one").into());
        };
        let others: Vec<_> = others.iter().map(|(_, repository)| repository).collect();
        ops::check_copy_targets(first, &others)?;
        // What they hold is no part of what is saved, whichever of them works in the end.
        for (_, repository) in &places.working {
            places.directories.extend(repository.storage().capabilities().local_directory);
            places.directories.push(repository.cache_directory().to_owned());
        }
        places.prepare_first(context);
        Ok(places)
    }

    fn add(
        &mut self,
        context: &Context,
        address: String,
        opened: Result<Repository, Failure>,
        first_failure: &mut Option<EngineError>,
    ) -> Result<(), Failure> {
        match opened {
            Ok(repository) => self.working.push((address, repository)),
            Err(Failure::Engine(error)) if is_out_of_reach(&error) && !context.cancel.is_requested() => {
                context.output.warn(&format!("{} is left out: {error}", text::plain(&address)));
                self.failed += 1;
                first_failure.get_or_insert(error);
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    /// What is written there is read again when it is copied.
    fn prepare_first(&mut self, context: &Context) {
        if self.working.len() < 2 || self.spool_bytes == 0 {
            return;
        }
        let (address, first) = &mut self.working[0];
        if let Err(error) = first.spool_writes(self.spool_bytes) {
            let address = text::plain(address);
            context.output.note(&format!("what the others lack will be read from {address} again: {error}"));
        }
    }

    /// The repository that is snapshotted into.
    pub(super) fn first(&self) -> &Repository {
        &self.working[0].1
    }

    /// Directories of all of them, which are no part of what is saved.
    pub(super) fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// How many did not work.
    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    /// A snapshot into the first has failed, and can be taken again: whether there is another first now.
    pub(super) fn replace_first(&mut self, context: &Context, failure: &Failure) -> bool {
        let Failure::Engine(error) = failure else { return false };
        if self.working.len() < 2 || !is_out_of_reach(error) || context.cancel.is_requested() {
            return false;
        }
        let (address, _) = self.working.remove(0);
        self.failed += 1;
        context.output.warn(&format!("the snapshot in {} ended early: {error}", text::plain(&address)));
        self.prepare_first(context);
        true
    }

    /// Says where a snapshot that was not made would have gone.
    pub(super) fn show_dry_run(&self, context: &Context) -> Result<(), Failure> {
        if let others @ 1.. = self.working.len() - 1 {
            let others = text::count(others as u64, "other repository", "other repositories");
            context.output.summary(&format!("it would be copied to {others}"))?;
        }
        Ok(())
    }

    /// Copies a snapshot of the first repository to the others; how many problems there were. One that fails takes no part
    /// any more.
    pub(super) fn copy(&mut self, context: &Context, snapshot: SnapshotId) -> Result<u64, Failure> {
        if !self.is_fan_out {
            return Ok(0);
        }
        let progress = context.progress(true);
        let report = match self.run_copy(context, snapshot, &progress) {
            Ok(report) => report,
            // After a signal nothing goes on. Anything else is said, and is no failure: the snapshot was made.
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error.into()),
            Err(error) => {
                drop(progress);
                let address = text::plain(&self.working[0].0);
                context.output.warn(&format!("the snapshot in {address} is not copied: {error}"));
                return Ok(self.working.len() as u64 - 1);
            }
        };
        self.first().clear_spool();
        let addresses: Vec<String> = self.working[1..].iter().map(|(address, _)| address.clone()).collect();
        let shown = Shown {
            addresses: &addresses,
            names_places: true,
            dry_run: false,
            unreadable: 0,
            failed_before: self.failed,
        };
        show(context, &shown, &report, progress)?;
        let mut works = report.targets.iter().map(|target| target.failure.is_none());
        let mut is_first = true;
        let before = self.working.len();
        self.working.retain(|_| std::mem::take(&mut is_first) || works.next().unwrap_or(true));
        self.failed += (before - self.working.len()) as u64;
        Ok(report.problem_count)
    }

    fn run_copy(&self, context: &Context, id: SnapshotId, progress: &Progress<'_>) -> engine::Result<CopyReport> {
        let others: Vec<_> = self.working[1..].iter().map(|(_, repository)| repository).collect();
        if others.is_empty() {
            return Ok(CopyReport::default());
        }
        let first = self.first();
        let snapshot = ops::read_known_snapshot(first, id)?;
        let index = first.load_index(progress)?;
        let options = CopyOptions { host: context.host(), program: PROGRAM.into(), dry_run: false, recut: false };
        ops::copy(first, &index, &[(id, snapshot)], &others, &options, &SystemClock, progress)
    }
}

/// Whether an error is one of a storage that may work again tomorrow; a disk that is not mounted has no repository.
fn is_out_of_reach(error: &EngineError) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::NoRepository)
}
