//! A benchmark without a watch: time passes by counting, so that every figure is known beforehand.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::clock::{FixedClock, Timestamp};
use crate::monitor::Silent;

/// A watch on which a round of every kernel is one pass.
#[derive(Default)]
struct Ticking(AtomicU64);

const TICK: u64 = 20_000_000;

impl Stopwatch for Ticking {
    fn nanoseconds(&self) -> u64 {
        self.0.fetch_add(TICK, Ordering::Relaxed)
    }
}

/// Stops at the so-many-th question.
struct StopAfter(AtomicU64, u64);

impl Monitor for StopAfter {
    fn cancelled(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) >= self.1
    }
}

struct Bench {
    scratch: tempfile::TempDir,
    data: tempfile::TempDir,
    watch: Ticking,
}

impl Bench {
    fn new() -> Self {
        let directory = || tempfile::tempdir().expect("scratch");
        Self { scratch: directory(), data: directory(), watch: Ticking::default() }
    }

    fn tools<'a>(&'a self, monitor: &'a dyn Monitor) -> BenchTools<'a> {
        const CLOCK: FixedClock = FixedClock(Timestamp::new(10_000_000_000, 0));
        BenchTools { scratch: self.scratch.path(), stopwatch: &self.watch, clock: &CLOCK, monitor }
    }

    fn paths(&self) -> Vec<Vec<u8>> {
        vec![self.data.path().as_os_str().as_bytes().to_vec()]
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.data.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, bytes).expect("a file");
    }
}

#[test]
fn a_kernel_is_judged_by_its_best_round() {
    let bench = Bench::new();
    let tools = bench.tools(&Silent);
    let mut meter = Meter::new(&tools);
    let mut passes = 0;
    let cost = meter.measure("x", "y", (Unit::File, 1000), &mut || {
        passes += 1;
        if passes == 2 {
            // Something else ran meanwhile.
            bench.watch.nanoseconds();
        }
        Ok(())
    });
    assert_eq!((cost.expect("measured"), passes), (20_000.0, 3));
    let kernel = meter.kernels[0];
    assert_eq!((kernel.name, kernel.material, kernel.unit, kernel.per_second), ("x", "y", Unit::File, 50_000.0));
}

#[test]
fn small_data_is_sampled_whole_and_in_order() {
    let bench = Bench::new();
    let contents = [("a/x", 700_000, 1u64), ("b", 0, 2), ("c/d/e", 2_500_000, 3), ("f", 10, 4)];
    let contents = contents.map(|(name, len, seed)| (name, material::noise(seed, len)));
    for (name, bytes) in &contents {
        bench.write(name, bytes);
    }
    std::os::unix::fs::symlink("f", bench.data.path().join("link")).expect("a link");
    let tools = bench.tools(&Silent);
    let paths = bench.paths();
    let data = Data::new(&tools, &paths).expect("data");
    let totals = data.count().expect("counted");
    assert_eq!((totals.files, totals.directories, totals.others, totals.bytes), (4, 4, 1, 3_200_010));
    let material = data.sample(&totals).expect("a sample");
    let all: Vec<u8> = contents.into_iter().flat_map(|(_, bytes)| bytes).collect();
    assert!(material.segments.concat() == all, "{} bytes of {}", material.len(), all.len());
    assert_eq!(material.segments.len(), 4);
}

#[test]
fn large_data_is_sampled_at_even_distances() {
    let bench = Bench::new();
    // A file of holes: where a piece comes from shows in what was written there.
    let file = fs::File::create(bench.data.path().join("image")).expect("a file");
    file.set_len(320 << 20).expect("a size");
    for number in 0..32u64 {
        std::os::unix::fs::FileExt::write_all_at(&file, &[number as u8 + 1], (number * 10) << 20).expect("a byte");
    }
    let tools = bench.tools(&Silent);
    let paths = bench.paths();
    let data = Data::new(&tools, &paths).expect("data");
    let material = data.sample(&data.count().expect("counted")).expect("a sample");
    let firsts: Vec<u8> = material.segments.iter().map(|segment| segment[0]).collect();
    assert_eq!(firsts, (1..=32).collect::<Vec<u8>>());
    assert_eq!(material.len(), 32 << 20);
}

#[test]
fn without_data_there_are_kernels_and_models() {
    let bench = Bench::new();
    let report = super::bench(&BenchOptions::default(), &bench.tools(&Silent)).expect("measured");
    assert_eq!(report.kernels.len() as u64, GENERAL_KERNELS + 2 * MATERIAL_KERNELS);
    let known: std::collections::HashSet<_> = report.kernels.iter().map(|k| (k.name, k.material)).collect();
    assert_eq!(known.len(), report.kernels.len(), "no kernel twice");
    // The watch gives every pass the same time: speed is what was done in a pass.
    let speed = |name: &str| report.kernels.iter().find(|kernel| kernel.name == name).expect(name).per_second;
    assert!((speed("name packs") / (50.0 * (1 << 20) as f64) - 1.0).abs() < 1e-9);
    assert!((speed("make a small file") / 50_000.0 - 1.0).abs() < 1e-9);
    assert!(report.data.is_none());
    let steps: Vec<_> = report.steps.iter().map(|step| (step.step, step.material)).collect();
    let both = |step| [(step, "text"), (step, "noise")];
    for step in ["first snapshot", "check of all data", "restore"].map(both).as_flattened() {
        assert!(steps.contains(step), "{step:?}");
    }
    assert!(report.steps.iter().all(|step| step.bound > 0.0 && step.seconds.is_none() && step.share().is_none()));
}

#[test]
fn with_data_every_step_has_a_bound_and_a_share() {
    let bench = Bench::new();
    for number in 0..20u8 {
        bench.write(&format!("d{}/f{number}", number % 3), &material::noise(number.into(), 200_000));
    }
    bench.write("text", &b"all work and no play ".repeat(100_000));
    let options = BenchOptions { paths: bench.paths(), host: "here".into(), program: "test".into() };
    let report = super::bench(&options, &bench.tools(&Silent)).expect("measured");
    let data = report.data.expect("data");
    assert_eq!((data.files, data.directories, data.bytes), (21, 4, 6_100_000));
    assert_eq!(data.sampled_bytes, data.bytes);
    assert!(data.packed_bytes < data.bytes && data.incompressible_bytes > 3_000_000, "{data:?}");
    assert_eq!(report.problems, 0);
    let names: Vec<_> = report.steps.iter().map(|step| step.step).collect();
    assert_eq!(names, ["first snapshot", "unchanged snapshot", "check of all data", "restore"]);
    for step in &report.steps {
        let sum: f64 = step.stages.iter().map(|stage| stage.seconds).sum();
        assert!((sum / report.cores as f64 / step.bound - 1.0).abs() < 1e-9);
        assert_eq!(step.share(), step.seconds.map(|seconds| step.bound / seconds));
    }
    // Nothing but the data got into the snapshot, and all of it came back.
    let below = bench.data.path().strip_prefix("/").expect("absolute");
    let restored = bench.scratch.path().join("restored").join(below);
    assert_eq!(fs::read(restored.join("text")).expect("restored").len(), 2_100_000);
    assert_eq!(fs::read_dir(restored).expect("restored").count(), 4);
}

#[test]
fn a_scratch_directory_inside_the_data_is_left_out() {
    let bench = Bench::new();
    bench.write("file", b"content");
    let inside = bench.data.path().join("scratch [1] ");
    fs::create_dir(&inside).expect("a directory");
    let tools = BenchTools { scratch: &inside, ..bench.tools(&Silent) };
    let options = BenchOptions { paths: bench.paths(), host: "here".into(), program: "test".into() };
    let report = super::bench(&options, &tools).expect("measured");
    assert_eq!(report.data.expect("data").files, 1);
    let below = bench.data.path().strip_prefix("/").expect("absolute");
    assert_eq!(fs::read_dir(inside.join("restored").join(below)).expect("restored").count(), 1);
}

#[test]
fn it_stops_when_it_is_asked_to() {
    for question in [0, 30, 66] {
        let bench = Bench::new();
        bench.write("file", &material::noise(1, 3_000_000));
        let options = BenchOptions { paths: bench.paths(), ..BenchOptions::default() };
        let error = super::bench(&options, &bench.tools(&StopAfter(0.into(), question))).expect_err("stopped");
        assert_eq!(error.kind(), ErrorKind::Interrupted, "{question}");
    }
}

#[test]
fn a_path_that_is_not_there_is_told_before_anything_is_measured() {
    let bench = Bench::new();
    let paths = vec![bench.data.path().join("nope").as_os_str().as_bytes().to_vec()];
    let options = BenchOptions { paths, ..BenchOptions::default() };
    let error = super::bench(&options, &bench.tools(&Silent)).expect_err("no data");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("nope"), "{error}");
    assert_eq!(bench.watch.0.load(Ordering::Relaxed), 0);
}
