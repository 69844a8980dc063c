//! Snapshots all the time while prunes run in a loop, from several processes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::place::{PRUNE, snapshot_line};
use crate::Scratch;
use crate::compare::assert_diff_is_silent;
use crate::scratch::copy_tree;
use crate::tree::{Random, write};

/// What was done.
#[derive(Debug, Default)]
pub struct Soaked {
    /// Snapshots, each of which was restored and compared at once.
    pub snapshots: AtomicU64,
    /// Prunes that went to their ends.
    pub prunes: AtomicU64,
    /// Prunes that left the rest to the next one.
    pub waiting: AtomicU64,
    /// Snapshots that were restored once more in the end.
    pub kept: AtomicU64,
}

/// Machines that save, each a source of its own.
const WRITERS: usize = 2;
/// Machines that prune.
const PRUNERS: usize = 2;
/// Snapshots of each source that are kept.
const KEPT: usize = 4;
/// Files of a source.
const FILES: u64 = 20;

/// Goes on for so many seconds.
///
/// # Panics
/// If something does not hold; the message has the seed.
pub fn soak(seed: u64, seconds: u64) -> Soaked {
    let scratch = Scratch::with_options("--pack-size 1M --chunk-size 16K --cipher xchacha20");
    let (soaked, until) = (Soaked::default(), Instant::now() + Duration::from_secs(seconds));
    let kept = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for number in 0..WRITERS {
            let (scratch, soaked, kept) = (&scratch, &soaked, &kept);
            scope.spawn(move || kept.lock().expect("no panic").extend(write_on(scratch, soaked, seed, number, until)));
        }
        for _ in 0..PRUNERS {
            scope.spawn(|| prune_on(&scratch, &soaked, until));
        }
    });
    scratch.run(PRUNE).ok();
    scratch.check_clean();
    for (id, source, copy) in kept.into_inner().expect("no panic") {
        assert_restores(&scratch, &id, &source, &copy, "target-kept");
        soaked.kept.fetch_add(1, Ordering::Relaxed);
    }
    soaked
}

type Kept = (String, std::path::PathBuf, std::path::PathBuf);

/// Saves, restores, forgets. What is left in the end.
fn write_on(scratch: &Scratch, soaked: &Soaked, seed: u64, number: usize, until: Instant) -> Vec<Kept> {
    let mut random = Random(seed + number as u64);
    let source = scratch.tree(&format!("source-{number}"));
    for file in 0..FILES {
        write(source.join(format!("directory-{}/file-{file}", file % 4)), random.bytes(30_000));
    }
    let mut kept: Vec<Kept> = Vec::new();
    for round in 0.. {
        if Instant::now() >= until {
            break;
        }
        for _ in 0..3 {
            let file = random.below(FILES);
            // The same bytes come up in all sources, now and later.
            let bytes = Random(random.below(40)).bytes(1000 + random.below(3) as usize * 40_000);
            write(source.join(format!("directory-{}/file-{file}", file % 4)), bytes);
        }
        let copy = scratch.file(format!("copy-{number}-{round}"));
        copy_tree(&source, &copy);
        let id = scratch.run_words(snapshot_line(&source)).ok().snapshot_id();
        assert_restores(scratch, &id, &source, &copy, &format!("target-{number}"));
        soaked.snapshots.fetch_add(1, Ordering::Relaxed);
        kept.push((id, source.clone(), copy));
        while kept.len() > KEPT {
            let (id, _, copy) = kept.remove(random.below(KEPT as u64) as usize);
            scratch.run_words(["forget", &id]).ok();
            std::fs::remove_dir_all(copy).expect("ours");
        }
    }
    kept
}

#[track_caller]
fn assert_restores(scratch: &Scratch, id: &str, source: &std::path::Path, copy: &std::path::Path, target: &str) {
    let target = scratch.file(target);
    let _ = std::fs::remove_dir_all(&target);
    scratch.restore(id, source, &target).ok();
    assert_diff_is_silent(copy, &target);
}

fn prune_on(scratch: &Scratch, soaked: &Soaked, until: Instant) {
    while Instant::now() < until {
        let run = scratch.run(PRUNE);
        match run.civil().code() {
            0 => soaked.prunes.fetch_add(1, Ordering::Relaxed),
            11 => soaked.waiting.fetch_add(1, Ordering::Relaxed),
            _ => panic!("no end that a prune may have beside others\n{run}"),
        };
    }
}
