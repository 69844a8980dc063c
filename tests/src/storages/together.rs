//! Two writers and a prune at once, by the program, on one repository.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::life::expected_probe;
use crate::binary::split;
use crate::compare::assert_diff_is_silent;
use crate::scratch::copy_tree;
use crate::servers::every::Place;
use crate::tree::{noise, write};
use crate::{Run, run_command, words};

/// What was done.
#[derive(Debug, Default)]
pub struct Together {
    /// Snapshots, each of which is restored and compared.
    pub snapshots: u64,
    /// Prunes that went to their ends.
    pub prunes: u64,
    /// Prunes that left the rest to the next one.
    pub waiting: u64,
}

/// Machines that save.
const WRITERS: usize = 2;
/// How often a prune that has to wait for sessions is tried in the end.
const TRIES: usize = 3;

/// Each writer makes so many snapshots while one machine prunes all the time.
///
/// # Panics
/// With what does not hold.
pub fn write_and_prune(place: &Place, snapshots: u64) -> Together {
    let name = "together";
    let init = place.run(name, "init --pack-size 1M").ok();
    if let Some(expected) = expected_probe(place.kind()) {
        init.says(expected);
    }
    let (left, prunes, waiting) = (AtomicU64::new(WRITERS as u64), AtomicU64::new(0), AtomicU64::new(0));
    let has_failed = AtomicBool::new(false);
    let saved: Vec<Vec<(String, PathBuf, PathBuf)>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (left, has_failed) = (&left, &has_failed);
                scope.spawn(move || {
                    let ended = Ended(left, has_failed);
                    let saved = save(place, name, writer, snapshots);
                    drop(ended);
                    saved
                })
            })
            .collect();
        // It begins at once, and goes on until all have ended.
        while left.load(Ordering::Acquire) > 0 && !has_failed.load(Ordering::Acquire) {
            let run = run_on(place, name, WRITERS, "prune --grace 0 --max-unused 0");
            match run.civil().code() {
                0 => prunes.fetch_add(1, Ordering::Relaxed),
                11 => waiting.fetch_add(1, Ordering::Relaxed),
                _ => panic!("no end that a prune may have beside others\n{run}"),
            };
        }
        writers.into_iter().map(|writer| writer.join().expect("a writer does not fail")).collect()
    });
    end(place, name);
    let mut count = 0;
    for (id, source, copy) in saved.into_iter().flatten() {
        let target = place.scratch.file(format!("together-target-{count}"));
        let what = format!("{id}:{}", source.display());
        run_command(place.command(name).args(words!["restore", what, "--target", target])).ok();
        assert_diff_is_silent(&copy, &target);
        count += 1;
    }
    Together { snapshots: count, prunes: prunes.into_inner(), waiting: waiting.into_inner() }
}

/// Says that a writer has ended, also if it panics.
struct Ended<'a>(&'a AtomicU64, &'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.1.fetch_or(std::thread::panicking(), Ordering::Release);
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// A command of a machine of its own, with its own cache.
fn run_on(place: &Place, name: &str, machine: usize, line: &str) -> Run {
    let cache = place.scratch.file(format!("together-cache-{machine}"));
    run_command(place.command(name).env("REPO_CACHE_DIR", cache).args(split(line)))
}

/// Snapshots of a source that changes; every second one is forgotten at once, and is work for the prune.
fn save(place: &Place, name: &str, writer: usize, snapshots: u64) -> Vec<(String, PathBuf, PathBuf)> {
    let source = place.scratch.tree(&format!("together-source-{writer}"));
    let mut saved = Vec::new();
    for round in 0..2 * snapshots {
        write(source.join("own"), noise(100 * writer as u64 + round, 300_000));
        // The same bytes come up at both writers, now and later: chunks that a prune is about to remove are needed again.
        write(source.join("shared"), noise(1000 + round % 3, 600_000));
        let run = run_on(place, name, writer, &format!("snapshot --json {}", source.display())).ok();
        let id = run.snapshot_id();
        if round % 2 == 0 {
            run_on(place, name, writer, &format!("forget {id}")).ok();
            continue;
        }
        let copy = place.scratch.file(format!("together-copy-{writer}-{round}"));
        copy_tree(&source, &copy);
        saved.push((id, source.clone(), copy));
    }
    saved
}

/// All have ended: a prune finishes, and nothing is damaged.
fn end(place: &Place, name: &str) {
    let mut run = place.run(name, "prune --grace 0 --max-unused 0");
    for _ in 0..TRIES {
        if run.civil().code() == 0 {
            break;
        }
        run = place.run(name, "prune --grace 0 --max-unused 0");
    }
    run.ok();
    let check = place.run(name, "check --read-data --json").ok();
    assert_eq!(check.summary()["damaged"], false, "{check}");
}
