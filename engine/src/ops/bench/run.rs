//! The real run: everything that a person would do with the data, in the scratch directory.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::kernels::stop_if_asked;
use super::{BenchOptions, BenchTools};
use crate::error::{EngineError, Result};
use crate::model::{SnapshotStatistics, Suite};
use crate::ops::{
    CheckOptions, CipherChoice, InitOptions, ReadData, RestoreOptions, SnapshotFilter, SnapshotInput, SnapshotOptions,
    check, find_snapshot, init, restore, snapshot,
};
use crate::repository::{Repository, Secret};
use crate::storage::{LocalStorage, Storage};

/// What the run did, and how many seconds each step took.
pub(super) struct RealRun {
    pub(super) statistics: SnapshotStatistics,
    pub(super) first: f64,
    pub(super) unchanged: f64,
    pub(super) check: f64,
    pub(super) restore: f64,
    /// Items that a step could not handle.
    pub(super) problems: u64,
}

/// Makes a repository, snapshots twice, checks all data, restores.
pub(super) fn real_run(tools: &BenchTools<'_>, options: &BenchOptions, suite: Suite) -> Result<RealRun> {
    let place = tools.scratch.join("repository");
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(&place, true)?);
    let secret = Secret::generate_key_file();
    let cipher = match suite {
        Suite::XChaCha20Poly1305 => CipherChoice::XChaCha20Poly1305,
        Suite::Aes256Gcm => CipherChoice::Aes256Gcm,
    };
    init(&*storage, &secret, &InitOptions { cipher, ..InitOptions::default() }, tools.clock)?;
    let repository = Repository::open(storage, &secret, &tools.scratch.join("cache"))?;
    let snapshot_options = SnapshotOptions {
        host: options.host.clone(),
        program: options.program.clone(),
        excludes: vec![literal_pattern(tools.scratch)],
        ..SnapshotOptions::default()
    };
    let take = || {
        let input = SnapshotInput::Paths(options.paths.clone());
        snapshot(&repository, input, &snapshot_options, tools.clock, tools.monitor)
    };
    let (first, report) = timed(tools, take)?;
    let statistics = report.statistics;
    let (unchanged, _) = timed(tools, take)?;
    let (checking, report) = timed(tools, || {
        check(
            &repository,
            &CheckOptions { read_data: ReadData::All, ..CheckOptions::default() },
            tools.clock,
            tools.monitor,
        )
    })?;
    if report.is_damaged() {
        return Err(EngineError::damaged("the repository of the benchmark is damaged: this machine may be faulty"));
    }
    let (restoring, problems) = timed(tools, || {
        let index = repository.load_index(tools.monitor)?;
        let (_, latest) = find_snapshot(&repository, "latest", &SnapshotFilter::default())?;
        let (target, how) = (tools.scratch.join("restored"), RestoreOptions::default());
        Ok(restore(&repository, &index, &latest, b"/", &target, &how, tools.monitor)?.problem_count)
    })?;
    let problems = problems + statistics.problems;
    Ok(RealRun { statistics, first, unchanged, check: checking, restore: restoring, problems })
}

/// A result, and the seconds until it was there.
fn timed<T>(tools: &BenchTools<'_>, work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    stop_if_asked(tools)?;
    let start = tools.stopwatch.nanoseconds();
    let result = work()?;
    Ok((tools.stopwatch.nanoseconds().saturating_sub(start) as f64 / 1e9, result))
}

/// A pattern that matches this path only, whatever characters are in it.
fn literal_pattern(path: &Path) -> String {
    let mut pattern = String::new();
    for character in String::from_utf8_lossy(path.as_os_str().as_bytes()).chars() {
        if "*?[]!#\\ ".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}
