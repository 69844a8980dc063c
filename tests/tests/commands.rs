//! What `snapshot` leaves out, refuses and tells, and what happens to files that change under it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use repo_tests::compare::{assert_diff_is_silent, assert_same, assert_same_with};
use repo_tests::scratch::copy_tree;
use repo_tests::tree::{self, noise, prose, write};
use repo_tests::{Scratch, words};

/// Paths of the newest snapshot, relative to `source`, as the program lists them.
#[track_caller]
fn saved_below(scratch: &Scratch, source: &Path) -> Vec<String> {
    let prefix = format!("{}/", source.display());
    let nodes = scratch.run("ls -R --json latest").ok().of_type("node");
    let paths = nodes.iter().map(|node| node["path"].as_str().expect("a path").to_owned());
    let mut below: Vec<String> = paths.filter_map(|path| path.strip_prefix(&prefix).map(str::to_owned)).collect();
    below.sort();
    below
}

#[track_caller]
fn snapshot_count(scratch: &Scratch) -> usize {
    scratch.run("snapshots --json").ok().of_type("snapshot").len()
}

/// A tree with something for every kind of exclude.
fn tree_to_exclude_from(source: &Path) {
    for path in [
        "a.tmp",
        "keep.txt",
        "sub/b.tmp",
        "sub/keep.txt",
        "sub/important.tmp",
        "build/out.o",
        "sub/build/out.o",
        "marked/.nobackup",
        "marked/secret",
        "header/TAG",
        "header/data",
        "other-header/TAG",
        "other-header/data",
        "cache/CACHEDIR.TAG",
        "cache/data",
        "false-cache/CACHEDIR.TAG",
        "false-cache/data",
        "ignoring/x.log",
        "ignoring/x.txt",
        "ignoring/deep/y.log",
    ] {
        write(source.join(path), path);
    }
    write(source.join("cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n");
    write(source.join("header/TAG"), "Skip me: yes");
    write(source.join("ignoring/.gitignore"), "*.log\n");
    write(source.join("ignoring/.myignore"), "*.txt\n");
    write(source.join("large"), noise(1, 5000));
}

#[test]
fn excludes_of_every_kind() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    tree_to_exclude_from(&source);
    let anchored = source.join("build");
    write(scratch.file("patterns"), format!("# a comment\n*.tmp\n!important.tmp\n\n{}/\n", anchored.display()));
    scratch.run_words(words!["snapshot", "-q", source]).ok();
    let all = saved_below(&scratch, &source);
    let cases: [(&str, &[&str]); 10] = [
        ("--exclude *.tmp", &["a.tmp", "sub/b.tmp", "sub/important.tmp"]),
        ("--exclude *.tmp --exclude !important.tmp", &["a.tmp", "sub/b.tmp"]),
        ("--exclude build", &["build", "build/out.o", "sub/build", "sub/build/out.o"]),
        ("--exclude-file patterns", &["a.tmp", "sub/b.tmp", "build", "build/out.o"]),
        ("--exclude-if-present .nobackup", &["marked/secret"]),
        ("--exclude-if-present TAG:Skip", &["header/data"]),
        ("--exclude-caches", &["cache/data"]),
        ("--gitignore", &["ignoring/x.log", "ignoring/deep", "ignoring/deep/y.log"]),
        ("--ignore-file .myignore", &["ignoring/x.txt"]),
        ("--exclude-larger-than 4K", &["large"]),
    ];
    for (options, gone) in cases {
        scratch
            .run_words(
                words!["snapshot", "-q", "--label", "excluding"]
                    .into_iter()
                    .chain(repo_tests::binary::split(options))
                    .chain(words![source]),
            )
            .ok();
        let left = saved_below(&scratch, &source);
        let extra: Vec<&String> = left.iter().filter(|path| !all.contains(path)).collect();
        assert!(extra.is_empty(), "{options}: {extra:?}");
        for path in &all {
            let is_gone = !left.contains(path);
            let may_be_either = is_directory_of_excluded(path);
            let wanted = gone.contains(&path.as_str());
            assert!(is_gone == wanted || may_be_either, "{options}: {path}: left out {is_gone}, expected {wanted}");
        }
    }
}

/// The directory itself and its tag may be kept, and what holds only excluded files too.
fn is_directory_of_excluded(path: &str) -> bool {
    ["marked", "marked/.nobackup", "header", "header/TAG", "cache", "cache/CACHEDIR.TAG", "ignoring/deep"]
        .contains(&path)
}

#[test]
fn an_anchored_exclude_counts_from_the_root() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    write(source.join("inner/file"), "x");
    write(source.join("other"), "x");
    scratch.run_words(words!["snapshot", "-q", "--exclude", source.join("inner"), source]).ok();
    assert_eq!(saved_below(&scratch, &source), ["other"]);
}

#[test]
fn one_file_system_stays_there() {
    let scratch = Scratch::new();
    // /dev/shm is a file system of its own where it exists; a link to it must not be followed either way.
    let shared = Path::new("/dev/shm");
    let same = |path: &Path| std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).expect("metadata"));
    if !shared.is_dir() || same(shared) == same(Path::new("/dev")) {
        return;
    }
    scratch.run("snapshot -q -x --exclude /dev/fd --exclude /dev/std* /dev").civil();
    let nodes = scratch.run("ls -R --json latest:/dev").ok().of_type("node");
    assert!(nodes.iter().any(|node| node["path"] == "/dev/null" && node["type"] == "chardev"));
    assert!(!nodes.iter().any(|node| node["path"].as_str().expect("a path").starts_with("/dev/shm/")));
}

#[test]
fn another_path_can_be_recorded() {
    let scratch = Scratch::new();
    let source = tree::small(&scratch.tree("source"), 1);
    scratch.run_words(words!["snapshot", "-q", "--as", "/srv/app", source]).ok();
    let target = scratch.file("target");
    scratch.run_words(words!["restore", "latest:/srv/app", "--target", target]).ok();
    assert_same_with(&["--no-root"], &source, &target);
    let listed = scratch.run("snapshots --json").ok().of_type("snapshot");
    assert_eq!(listed[0]["paths"], serde_json::json!(["/srv/app"]));
    scratch.run_words(words!["snapshot", "--as", "/x", source, scratch.file("key-file")]).civil();
    assert_eq!(snapshot_count(&scratch), 1, "two sources have no one place");
}

#[test]
fn a_stream_is_saved() {
    let scratch = Scratch::new();
    for (number, bytes) in [Vec::new(), vec![7], noise(1, 3_000_000), prose(2_000_000)].into_iter().enumerate() {
        scratch.run_with_input("snapshot -q --stdin name.bin", &bytes).ok();
        assert!(scratch.run("dump latest:/name.bin").ok().stdout == bytes, "stream {number}");
    }
    scratch.run_words(["snapshot", "-q", "--stdin-from-command", "made", "--", "seq", "100000"]).ok();
    let seq = repo_tests::binary::tool("seq", ["100000"]);
    assert!(scratch.run("dump latest:/made").ok().stdout == seq.stdout);
    scratch.check_clean();
}

#[test]
fn a_command_that_fails_makes_no_snapshot() {
    let scratch = Scratch::new();
    let half = "head -c 3000000 /dev/urandom; ";
    for (words, cause) in [
        (vec!["sh".to_owned(), "-c".into(), format!("{half} exit 1")], "exit status: 1"),
        (vec!["sh".into(), "-c".into(), format!("{half} kill -9 $$")], "signal"),
        (vec!["sh".into(), "-c".into(), format!("{half} kill -TERM $$")], "signal"),
        (vec!["false".into()], "exit status: 1"),
        (vec!["no-such-command-anywhere".into()], "no-such-command-anywhere"),
        (vec![scratch.path().to_str().expect("UTF-8").to_owned()], "denied"),
    ] {
        let line = ["snapshot", "--stdin-from-command", "made", "--"].into_iter().map(str::to_owned).chain(words);
        scratch.run_words(line).ends(1).says(cause);
        assert_eq!(snapshot_count(&scratch), 0);
    }
    scratch.check_clean();
    // What was stored on the way is no obstacle.
    scratch.run_words(["snapshot", "-q", "--stdin-from-command", "made", "--", "echo", "fine"]).ok();
    assert_eq!(scratch.run("dump latest:/made").ok().out(), "fine\n");
}

#[test]
fn a_dry_run_writes_nothing() {
    let scratch = Scratch::new();
    let source = tree::small(&scratch.tree("source"), 1);
    let empty = scratch.objects();
    let run = scratch.run_words(words!["snapshot", "--dry-run", "--json", source]).ok();
    assert_eq!(run.summary()["dry_run"], true);
    assert!(run.summary()["snapshot_id"].is_null());
    assert!(run.summary()["data_added"].as_u64() > Some(300_000), "{run}");
    assert_eq!(scratch.objects(), empty);
    scratch.snapshot(&source);
    write(source.join("new"), noise(7, 100_000));
    let before = scratch.objects();
    scratch.run_words(words!["snapshot", "-n", source]).ok();
    scratch.run_words(words!["snapshot", "-n", "-vv", source]).ok().says("new");
    scratch.run_with_input("snapshot -n --stdin x", &noise(8, 500_000)).ok();
    assert_eq!(scratch.objects(), before);
    scratch.check_clean();
}

#[test]
fn an_unchanged_snapshot_costs_next_to_nothing() {
    let scratch = Scratch::new();
    let source = tree::small(&scratch.tree("source"), 1);
    tree::crowd(&source.join("crowd"), 500);
    // The directories above, which others may change, are not part of it.
    let line = words!["snapshot", "--json", "--as", "/data", source];
    scratch.run_words(&line).ok();
    // Files as new as the first snapshot are read again by the second.
    scratch.run_words(&line).ok();
    let before = scratch.objects();
    let run = scratch.run_words(&line).ok();
    let summary = run.summary();
    assert_eq!([&summary["files_new"], &summary["files_changed"], &summary["chunks_new"]], [0, 0, 0], "{run}");
    let new: Vec<(String, u64)> = scratch.objects().into_iter().filter(|object| !before.contains(object)).collect();
    assert!(new.len() <= 3, "{new:?}");
    assert!(new.iter().map(|(_, length)| length).sum::<u64>() < 4096, "{new:?}");

    let before = scratch.objects();
    let run = scratch.run_words(line.iter().chain(&words!["--skip-if-unchanged"])).ok();
    assert!(run.summary()["snapshot_id"].is_null(), "{run}");
    let names =
        |objects: Vec<(String, u64)>| objects.into_iter().filter(|o| !o.0.starts_with("sessions/")).collect::<Vec<_>>();
    assert_eq!(names(scratch.objects()), names(before));
    write(source.join("new"), "new");
    let run = scratch.run_words(line.iter().chain(&words!["--skip-if-unchanged"])).ok();
    assert!(run.summary()["snapshot_id"].is_string(), "{run}");
    scratch.check_clean();
}

#[test]
fn a_file_rewritten_with_the_same_size_and_time_is_saved() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    let file = source.join("file");
    for round in 0..30_u8 {
        write(&file, [round; 100]);
        tree::set_mtime(&file, 1_700_000_000, 0);
        scratch.snapshot(&source);
        let what = words!["dump", format!("latest:{}", file.display())];
        assert_eq!(scratch.run_words(what).ok().stdout, [round; 100], "round {round}");
    }
}

#[test]
fn missing_paths() {
    let scratch = Scratch::new();
    let source = tree::small(&scratch.tree("source"), 1);
    scratch.run_words(words!["snapshot", scratch.file("nope")]).ends(1).says("nope");
    scratch.run_words(words!["snapshot", scratch.file("nope"), scratch.file("nor-this")]).ends(1);
    scratch.run("snapshot").ends(2);
    assert_eq!(snapshot_count(&scratch), 0);
    let run = scratch.run_words(words!["snapshot", "--json", scratch.file("nope"), source]).ends(3);
    assert_eq!(run.summary()["error_count"], 1);
    let errors = run.error_messages();
    let named = errors
        .iter()
        .any(|e| e["message_type"] == "error" && e["item"]["path"].as_str() == scratch.file("nope").to_str());
    assert!(named, "{run}");
    let target = scratch.file("target");
    scratch.restore("latest", &source, &target).ok();
    assert_same_with(&["--no-root"], &source, &target);
}

#[test]
fn repository_and_cache_leave_themselves_out() {
    let scratch = Scratch::new();
    tree::small(&scratch.tree("inner/source"), 1);
    scratch.run_words(words!["snapshot", "-q", scratch.path()]).ok();
    scratch.run_words(words!["snapshot", "-q", scratch.path()]).ok();
    let paths = saved_below(&scratch, scratch.path());
    assert!(paths.iter().any(|path| path == "inner/source/noise/file-3"), "{paths:?}");
    assert!(paths.iter().any(|path| path == "key-file"), "{paths:?}");
    let inside =
        |path: &&String| path.starts_with("repository/") || path.starts_with("cache/") && !path.ends_with(".TAG");
    assert!(!paths.iter().any(|path| inside(&path)), "{paths:?}");
    for place in [scratch.repository(), scratch.repository().join("packs"), scratch.repository().join("config")] {
        scratch.run_words(words!["snapshot", place]).ends(1).says("repository");
    }
    // The way there does not matter.
    std::os::unix::fs::symlink(scratch.repository(), scratch.file("link")).expect("a link");
    scratch.run_words(words!["snapshot", scratch.file("link/packs")]).ends(1).says("repository");
    assert_eq!(snapshot_count(&scratch), 2);
}

/// One of the things that programs do to files at any time.
fn disturb(live: &Path, random: &mut tree::Random) {
    let file = live.join(format!("file-{}", random.below(8)));
    match random.below(6) {
        0 => {
            if let Ok(mut open) = OpenOptions::new().append(true).open(&file) {
                let _ = open.write_all(&noise(random.number(), 10_000));
            }
        }
        1 => {
            let _ = OpenOptions::new().write(true).open(&file).and_then(|open| open.set_len(random.below(300_000)));
        }
        2 => {
            let new = live.join("being-written");
            let length = random.below(500_000) as usize;
            if fs::write(&new, noise(random.number(), length)).is_ok() {
                let _ = fs::rename(&new, &file);
            }
        }
        3 => {
            let _ = fs::remove_file(&file);
        }
        4 => {
            let directory = live.join("directory");
            if fs::create_dir(&directory).is_err() {
                let _ = fs::remove_dir_all(&directory);
            } else {
                let _ = fs::write(directory.join("inside"), "x");
            }
        }
        _ => {
            let _ = fs::write(&file, noise(random.number(), 400_000));
        }
    }
}

#[test]
fn files_that_change_while_they_are_read() {
    let seed = repo_tests::announced_seed();
    let scratch = Scratch::with_options("--chunk-size 4K --pack-size 1M");
    let source = scratch.tree("source");
    let still = tree::small(&source.join("still"), seed);
    let live = source.join("live");
    for number in 0..8 {
        write(live.join(format!("file-{number}")), noise(seed + number, 400_000));
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = tree::Random(seed);
            while !is_over.load(Ordering::Relaxed) {
                disturb(&live, &mut random);
            }
        });
        for _ in 0..8 {
            let run = scratch.run_words(words!["snapshot", "--json", source]);
            let code = run.civil().code();
            if code != 0 && code != 3 {
                is_over.store(true, Ordering::Relaxed);
                panic!("{run}");
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    scratch.check_clean();
    for number in 0..8 {
        let target = scratch.file(format!("target-{number}"));
        scratch.restore(&format!("latest~{number}"), &source, &target).ok();
        assert_same(&still, &target.join("still"));
    }
    // When all is quiet, a snapshot is exact.
    scratch.snapshot(&source);
    let target = scratch.file("quiet");
    scratch.restore("latest", &source, &target).ok();
    assert_same_with(&["--no-root"], &source, &target);
}

/// Restores the newest snapshot of `source` and compares it with what was kept.
#[track_caller]
fn assert_latest_is(scratch: &Scratch, source: &Path, kept: &Path, target: &str) {
    let target = scratch.file(target);
    scratch.restore("latest", source, &target).ok();
    assert_diff_is_silent(kept, &target);
}

#[test]
fn a_directory_becomes_a_file_and_back() {
    let scratch = Scratch::new();
    let source = tree::small(&scratch.tree("source"), 1);
    scratch.snapshot(&source);
    fs::remove_dir_all(source.join("noise")).expect("removed");
    write(source.join("noise"), "a file now");
    fs::remove_file(source.join("link")).expect("removed");
    write(source.join("link/inside"), "a directory now");
    let kept: PathBuf = scratch.file("kept");
    copy_tree(&source, &kept);
    scratch.snapshot(&source);
    assert_latest_is(&scratch, &source, &kept, "target");
    fs::remove_file(source.join("noise")).expect("removed");
    fs::remove_dir_all(source.join("link")).expect("removed");
    tree::small(&source, 2);
    scratch.snapshot(&source);
    assert_latest_is(&scratch, &source, &source, "again");
}
