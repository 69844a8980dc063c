//! What `bench` prints, leaves behind and refuses. Never how fast anything is.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use repo_tests::compare::assert_same;
use repo_tests::scratch::copy_tree;
use repo_tests::tree::{self, noise, prose, write};
use repo_tests::{Scratch, words};
use serde_json::Value;

/// What is left in the directory that the benchmark worked in.
fn left(scratch: &Scratch) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(scratch.file("work")).expect("the directory");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[track_caller]
fn assert_positive(message: &Value, field: &str) {
    assert!(message[field].as_f64().is_some_and(|number| number > 0.0 && number.is_finite()), "{field}: {message}");
}

#[test]
fn kernels_need_neither_repository_nor_data() {
    let scratch = Scratch::empty();
    scratch.tree("work");
    let run = scratch.run("bench --json --scratch work").ok();
    let kernels = run.of_type("bench_kernel");
    let names: BTreeSet<(&str, &str)> =
        kernels.iter().map(|k| (k["name"].as_str().expect("text"), k["material"].as_str().expect("text"))).collect();
    assert_eq!(names.len(), kernels.len(), "each once\n{run}");
    for wanted in [
        ("read from the page cache", "any"),
        ("write to the page cache", "any"),
        ("write a pack, durably", "any"),
        ("list and look at entries", "any"),
        ("look up a known chunk", "any"),
        ("look up a new chunk", "any"),
        ("seal, XChaCha20-Poly1305", "any"),
        ("open, AES-256-GCM", "any"),
        ("cut, files", "noise"),
        ("cut, dumps", "text"),
        ("chunk ids", "text"),
        ("zstd, level 1", "text"),
        ("zstd, level 3", "text"),
        ("decompress", "text"),
    ] {
        assert!(names.contains(&wanted), "{wanted:?}\n{run}");
    }
    let units = BTreeSet::from(["byte", "entry", "file", "chunk", "object"]);
    for kernel in &kernels {
        assert_positive(kernel, "per_second");
        assert!(units.contains(kernel["unit"].as_str().expect("text")), "{kernel}");
    }
    assert!(run.of_type("bench_data").is_empty());
    for step in run.of_type("bench_step") {
        assert_positive(&step, "bound_seconds");
        assert!(step.get("seconds").is_none() && step.get("share").is_none(), "{step}");
    }
    assert_eq!(left(&scratch), Vec::<std::path::PathBuf>::new());
    assert!(!scratch.repository().exists() && !scratch.cache().exists(), "only the scratch directory is written to");
}

#[test]
fn data_gets_a_real_run_and_stays_as_it_was() {
    let scratch = Scratch::empty();
    scratch.tree("work");
    let source = tree::small(&scratch.tree("source"), 1);
    write(source.join("large/noise"), noise(5, 3_000_000));
    write(source.join("large/prose"), prose(3_000_000));
    let copy = scratch.file("copy");
    copy_tree(&source, &copy);
    let other = scratch.file("one-file");
    write(&other, noise(6, 10_000));
    let run = scratch.run_words(words!["bench", "--json", "--scratch", scratch.file("work"), source, other]).ok();
    let data = run.of_type("bench_data");
    assert_eq!(data.len(), 1);
    let files = repo_tests::scratch::files_below(&source);
    let regular = files.iter().filter(|path| path.symlink_metadata().expect("there").is_file());
    let sizes: Vec<u64> = regular.map(|path| path.metadata().expect("there").len()).collect();
    assert_eq!(data[0]["files"], sizes.len() + 1);
    assert_eq!(data[0]["bytes"], sizes.iter().sum::<u64>() + 10_000);
    assert_eq!(data[0]["others"], 1, "a link");
    assert!(data[0]["packed_bytes"].as_u64() < data[0]["sampled_bytes"].as_u64(), "{run}");
    assert!(data[0]["incompressible_bytes"].as_u64() > Some(1 << 20), "{run}");
    let steps = run.of_type("bench_step");
    let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().expect("text")).collect();
    assert_eq!(names, ["first snapshot", "unchanged snapshot", "check of all data", "restore"]);
    for step in &steps {
        for field in ["bound_seconds", "seconds", "share", "cores", "bytes"] {
            assert_positive(step, field);
        }
        let number = |value: &Value| value.as_f64().expect("a number");
        let stages: f64 =
            step["stages"].as_array().expect("stages").iter().map(|stage| number(&stage["core_seconds"])).sum();
        let bound = number(&step["bound_seconds"]);
        assert!((stages / number(&step["cores"]) / bound - 1.0).abs() < 1e-6, "{step}");
        assert!((bound / number(&step["seconds"]) / number(&step["share"]) - 1.0).abs() < 1e-6, "{step}");
    }
    assert!(run.of_type("bench_kernel").iter().any(|kernel| kernel["material"] == "data at hand"));
    assert_eq!(left(&scratch), Vec::<std::path::PathBuf>::new());
    assert_same(&copy, &source);
}

#[test]
fn people_see_tables() {
    let scratch = Scratch::empty();
    scratch.tree("work");
    let source = tree::small(&scratch.tree("source"), 2);
    let run = scratch.run_words(words!["bench", "--scratch", scratch.file("work"), source]).ok();
    for text in ["One core", "Roofline of", "share", "Data at hand:", "first snapshot, data at hand:"] {
        assert!(run.out().contains(text), "{text}\n{run}");
    }
}

#[test]
fn places_that_are_not_there() {
    let scratch = Scratch::empty();
    scratch.tree("work");
    scratch.run_words(words!["bench", "--scratch", scratch.file("work"), scratch.file("nope")]).ends(1).says("nope");
    assert_eq!(left(&scratch), Vec::<std::path::PathBuf>::new());
    scratch.run_words(words!["bench", "--scratch", scratch.file("nowhere")]).ends(1).says("nowhere");
}

#[test]
fn an_interruption_leaves_nothing_behind() {
    let scratch = Scratch::empty();
    scratch.tree("work");
    let mut command = scratch.command();
    command.args(["bench", "--scratch", "work"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("it runs");
    let since = Instant::now();
    while left(&scratch).is_empty() && since.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
    assert_eq!(child.wait().expect("its end").code(), Some(130));
    assert_eq!(left(&scratch), Vec::<std::path::PathBuf>::new());
}
