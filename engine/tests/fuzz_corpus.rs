//! Runs the corpus of every fuzz target, and simple mutations of it, so that what fuzzing once found stays fixed
//! without a fuzzer. `./dev fuzz` goes on from here.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/lib.rs"]
pub mod fuzz;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn names_in(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(directory)).expect("a directory of the fuzz crate");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name().into_string();
    let mut names: Vec<String> = entries.map(|entry| name(entry).expect("names are text")).collect();
    names.sort();
    names
}

/// Runs a target and says which bytes it was, should it panic.
fn run(target: &str, seed: &str, data: &[u8]) {
    let result = std::panic::catch_unwind(|| fuzz::run(target, data));
    assert!(result.is_ok(), "target {target}, from seed {seed}: {:02x?}", &data[..data.len().min(4096)]);
}

fn replay(target: &str) {
    let seeds = names_in(&format!("corpus/{target}"));
    assert!(!seeds.is_empty(), "target {target} has a corpus");
    for seed in seeds {
        let data = fs::read(root().join("corpus").join(target).join(&seed)).expect("a readable seed");
        run(target, &seed, &data);
        // A whole repository takes a thousand times as long as an object, and mutates itself.
        if target != "repository" {
            mutations(&data, |mutated| run(target, &seed, mutated));
        }
    }
}

/// Cuts everywhere, and flips in three ways everywhere; in steps, if there is much.
fn mutations(data: &[u8], mut each: impl FnMut(&[u8])) {
    let step = data.len().div_ceil(100).max(1);
    for at in (0..data.len()).step_by(step) {
        each(&data[..at]);
        for flip in [0x01, 0x80, 0xff] {
            let mut mutated = data.to_vec();
            mutated[at] ^= flip;
            each(&mutated);
        }
    }
}

macro_rules! replay_each {
    ($($target:ident)*) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })*

        const REPLAYED: &[&str] = &[$(stringify!($target)),*];
    };
}

replay_each!(config slot record register forgotten prune envelope tail footer index node references repository);

#[test]
fn every_target_is_fuzzed_and_replayed() {
    let mut names: Vec<String> = fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.sort();
    let mut replayed = REPLAYED.to_vec();
    replayed.sort_unstable();
    let files: Vec<String> = names.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names_in("fuzz_targets"), files);
    assert_eq!(names_in("corpus"), names);
    assert_eq!(replayed, names);
}
