//! What `restore` writes, leaves, removes and refuses.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use repo_tests::binary::{split, tool, under_strace};
use repo_tests::compare::assert_same_with;
use repo_tests::scratch::files_below;
use repo_tests::tree::{self, noise, write};
use repo_tests::{Run, Scratch, is_root, run_command, words};

struct Saved {
    scratch: Scratch,
    source: PathBuf,
    target: PathBuf,
}

impl Saved {
    fn new() -> Self {
        let scratch = Scratch::new();
        let source = tree::small(&scratch.tree("source"), 1);
        scratch.snapshot(&source);
        let target = scratch.file("target");
        Self { scratch, source, target }
    }

    /// Restores the source (or `below` it) with options.
    fn restore(&self, below: &str, options: &str) -> Run {
        let what: OsString = format!("latest:{}{below}", self.source.display()).into();
        let line = words!["restore", "--json", what, "--target", self.target];
        self.scratch.run_words(line.into_iter().chain(split(options)))
    }

    #[track_caller]
    fn assert_same(&self) {
        assert_same_with(&["--no-root"], &self.source, &self.target);
    }

    fn names(&self) -> Vec<String> {
        let below = |path: &PathBuf| path.strip_prefix(&self.target).expect("below").display().to_string();
        files_below(&self.target).iter().map(below).collect()
    }
}

/// Names, lengths, times and inodes of everything: changes when anything is written.
fn state(directory: &Path) -> Vec<(PathBuf, u64, i64, i64, u64)> {
    let describe = |path: PathBuf| {
        let data = fs::symlink_metadata(&path).expect("there");
        (path, data.len(), data.mtime(), data.mtime_nsec(), data.ino())
    };
    files_below(directory).into_iter().map(describe).collect()
}

#[test]
fn a_target_that_holds_something_is_refused() {
    let saved = Saved::new();
    write(saved.target.join("precious"), "mine");
    for options in ["", "--delete", "--delete --dry-run"] {
        saved.restore("", options).ends(1).says("overwrite");
        assert_eq!(saved.names(), ["precious"], "{options}");
    }
    saved.restore("", "--overwrite").ok();
    assert_eq!(fs::read(saved.target.join("precious")).expect("read"), b"mine");
    saved.restore("", "--overwrite --delete").ok();
    saved.assert_same();
    write(saved.scratch.file("file"), "x");
    let line = words!["restore", "latest", "--target", saved.scratch.file("file"), "--overwrite"];
    assert_ne!(saved.scratch.run_words(line).civil().code(), 0, "a file is no target");
    assert_eq!(fs::read(saved.scratch.file("file")).expect("read"), b"x");
    saved.scratch.run("restore latest").ends(2);
    saved.restore("", "--overwrite=sometimes").ends(2).says("if-changed");
    // Where nothing is, nothing can be lost.
    fs::remove_dir_all(&saved.target).expect("removed");
    saved.restore("", "--delete").ok();
    saved.assert_same();
}

#[test]
fn a_dry_run_changes_nothing() {
    let saved = Saved::new();
    let run = saved.restore("", "--dry-run").ok();
    assert_eq!(run.summary()["dry_run"], true);
    assert!(!saved.target.exists());
    write(saved.target.join("noise/file-3"), "changed");
    write(saved.target.join("extra"), "extra");
    let before = state(&saved.target);
    let run = saved.restore("", "--dry-run --overwrite --delete").ok();
    assert_eq!(run.summary()["files_deleted"], 1, "{run}");
    assert_eq!(state(&saved.target), before);
}

#[test]
fn what_is_right_already_is_not_written() {
    let saved = Saved::new();
    saved.restore("", "").ok();
    let before = state(&saved.target);
    let again = saved.restore("", "--overwrite --delete").ok().summary();
    assert_eq!([&again["files_restored"], &again["bytes_written"], &again["files_deleted"]], [0, 0, 0], "{again}");
    assert_eq!(state(&saved.target), before);
    // One byte in the middle of a file, its size and time as before.
    let file = saved.target.join("noise/file-5");
    let mut bytes = fs::read(&file).expect("read");
    bytes[150_000] ^= 1;
    fs::write(&file, bytes).expect("written");
    let fixed = saved.restore("", "--overwrite --delete").ok().summary();
    assert_eq!(fixed["files_restored"], 1, "{fixed}");
    assert!(fixed["bytes_written"].as_u64() < Some(300_000), "only what differs: {fixed}");
    saved.assert_same();
}

/// When something about an entry was changed last, for all of them, as `find` reports it.
fn status_changes(directory: &Path) -> Vec<u8> {
    let run = tool("find", words![directory, "-printf", "%p %C@\\0"]);
    assert!(run.stdout.split(|&byte| byte == 0).count() > 50, "{run}");
    run.stdout.clone()
}

#[test]
fn an_identical_tree_is_not_touched() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    tree::everything(&source);
    if is_root() {
        tree::privileged(&source);
    }
    tree::modes_and_times(&source);
    scratch.run_words(words!["snapshot", source]).civil();
    let target = scratch.file("target");
    let what = format!("latest:{}", source.display());
    scratch.run_words(words!["restore", what, "--target", target]).ok();
    // An ordinary user has to open closed directories first.
    let before = status_changes(&target);
    for option in ["--overwrite", "--overwrite=if-changed"] {
        let run = scratch.run_words(words!["restore", "--json", "-v", what, "--target", target, option]).ok();
        let summary = run.summary();
        assert_eq!([&summary["files_restored"], &summary["bytes_written"]], [0, 0], "{run}");
        if is_root() {
            assert_eq!(status_changes(&target), before, "{option}");
        }
    }
}

#[test]
fn a_change_that_keeps_size_and_time_is_found_unless_times_are_believed() {
    let saved = Saved::new();
    saved.restore("", "").ok();
    let file = saved.target.join("noise/file-5");
    let right = fs::read(&file).expect("read");
    let mtime = fs::metadata(&file).expect("there");
    let spoil = |keep_time: bool| {
        let mut bytes = right.clone();
        bytes[1000] ^= 1;
        fs::write(&file, bytes).expect("written");
        if keep_time {
            tree::set_mtime(&file, mtime.mtime(), mtime.mtime_nsec());
        }
    };
    // The options, whether the time tells of the change, and how many files are made right.
    for (options, keep_time, restored) in [
        ("--overwrite", true, 1),
        ("--overwrite=always", true, 1),
        ("--overwrite=if-changed", false, 1),
        ("--overwrite=if-changed", true, 0),
        ("--overwrite=if-changed --dry-run", true, 0),
        ("--overwrite --dry-run", true, 1),
    ] {
        spoil(keep_time);
        let summary = saved.restore("", options).ok().summary();
        assert_eq!(summary["files_restored"], restored, "{options} {summary}");
        let made_right = restored == 1 && !options.contains("dry-run");
        assert_eq!(fs::read(&file).expect("read") == right, made_right, "{options}");
    }
    // And reading back tells what was believed wrongly.
    saved.restore("", "--overwrite=if-changed --verify").ends(3).says("noise/file-5");
}

#[test]
fn metadata_is_made_right_where_the_content_is() {
    let saved = Saved::new();
    saved.restore("", "").ok();
    let at = |name: &str| saved.target.join(name);
    let inodes =
        || ["noise/file-1", "noise/file-2", "noise/file-3"].map(|name| fs::metadata(at(name)).expect("there").ino());
    let before = inodes();
    for option in ["--overwrite", "--overwrite=if-changed"] {
        fs::set_permissions(at("noise/file-1"), fs::Permissions::from_mode(0o600)).expect("a mode");
        tree::set_mtime(&at("noise/file-2"), 1_000_000_000, 7);
        rustix::fs::setxattr(at("noise/file-3"), "user.extra", b"x", rustix::fs::XattrFlags::empty()).expect("set");
        tree::set_mtime(&at("text/deep"), 1_000_000_000, 7);
        let summary = saved.restore("", option).ok().summary();
        assert_eq!([&summary["files_restored"], &summary["bytes_written"]], [0, 0], "{option} {summary}");
        saved.assert_same();
        let mut empty = [0u8; 64];
        assert_eq!(rustix::fs::listxattr(at("noise/file-3"), &mut empty), Ok(0), "{option}");
    }
    assert_eq!(inodes(), before);
}

/// Files that their owner may read and not write, as version control has thousands.
#[test]
fn read_only_files_of_an_ordinary_user_are_kept_if_they_are_right() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::for_nobody();
    let source = tree::small(&scratch.tree("source"), 1);
    for path in files_below(&source).iter().filter(|path| !path.is_symlink()) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o444)).expect("a mode");
    }
    tree::give_to_nobody(&source);
    scratch.snapshot(&source);
    let target = scratch.file("target");
    let what = format!("latest:{}", source.display());
    scratch.run_words(words!["restore", what, "--target", target]).ok();
    let before = state(&target);
    let line = words!["restore", what, "--target", target, "--overwrite"];
    scratch.run_words(&line).ok();
    assert_eq!(state(&target), before);
    // One that differs makes room.
    fs::write(target.join("noise/file-4"), "other").expect("root may");
    scratch.run_words(&line).ok();
    assert_same_with(&["--no-root"], &source, &target);
}

/// Creating, writing, the time, reading back, closing: the rest is once a directory, once a segment. Reading back is what
/// makes an exit code of 0 mean something; it is one call on the open handle, and attributes are read only where some are.
#[test]
fn a_new_file_takes_five_system_calls() {
    const FILES: usize = 2000;
    let scratch = Scratch::new();
    let traced = scratch.file("calls");
    let source = scratch.tree("source");
    for number in 0..FILES {
        write(source.join(format!("{}/file-{number}", number / 100)), noise(number as u64, 3000));
    }
    scratch.snapshot(&source);
    let what = format!("latest:{}", source.display());
    let mut restore = scratch.command();
    restore.args(words!["restore", what, "--target", scratch.file("target")]);
    let options = format!("-c -U calls,name -o {}", traced.display());
    let Some(mut strace) = under_strace(&restore, &options) else { return };
    assert_eq!(repo_tests::binary::run_command(&mut strace).code(), 0);
    assert_same_with(&["--no-root"], &source, &scratch.file("target"));
    let table = fs::read_to_string(&traced).expect("a table");
    let calls = |names: &[&str]| -> usize {
        let rows = table.lines().filter_map(|line| line.trim().split_once(' '));
        rows.filter(|(_, name)| names.contains(&name.trim())).filter_map(|(count, _)| count.parse::<usize>().ok()).sum()
    };
    for (names, most) in [
        (&["openat", "open"][..], FILES + 400),
        (&["close"], FILES + 400),
        (&["pwrite64"], FILES + 100),
        (&["utimensat"], FILES + 100),
        (&["fchmod", "fchown", "fchownat", "ftruncate", "fallocate", "flistxattr", "fsetxattr"], 200),
        (&["statx", "newfstatat", "fstat"], FILES + 400),
    ] {
        let count = calls(names);
        assert!(count <= most, "{names:?}: {count}\n{table}");
    }
    assert!(calls(&["pwrite64"]) >= FILES, "the table is read as it is meant\n{table}");
}

/// Large files are written through the page cache and past it, whichever is faster: both are tried on the first pieces.
#[test]
fn large_files_come_back_whichever_way_they_are_written() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    write(source.join("large"), noise(1, 30_000_001));
    write(source.join("text"), tree::prose(9_000_003));
    write(source.join("pages"), noise(2, 4 << 20));
    write(source.join("holes"), [noise(3, 2_000_000), vec![0; 5 << 20], noise(4, 2_000_003)].concat());
    write(source.join("just-large"), noise(5, 256 << 10));
    scratch.snapshot(&source);
    let target = scratch.file("target");
    let mut command = scratch.command();
    command.args(["restore", "--verify", "--target"]).arg(&target).arg(format!("latest:{}", source.display()));
    if let Some(mut traced) = under_strace(&command, "-qq -e trace=?open,openat -o trace") {
        run_command(&mut traced).ok();
        let trace = fs::read_to_string(scratch.file("trace")).expect("a trace");
        let is_direct = |line: &&str| line.contains("/proc/self/fd") && line.contains("O_DIRECT");
        assert_eq!(trace.lines().filter(is_direct).count(), 5, "files that may be written past the page cache");
    } else {
        run_command(&mut command).ok();
    }
    assert_same_with(&["--no-root"], &source, &target);
}

#[test]
fn what_is_in_the_way_goes() {
    let saved = Saved::new();
    saved.restore("", "").ok();
    fs::remove_file(saved.target.join("noise/file-3")).expect("removed");
    write(saved.target.join("noise/file-3/inside"), "a directory in the way");
    fs::remove_dir_all(saved.target.join("text")).expect("removed");
    write(saved.target.join("text"), "a file in the way");
    // A symlink where a directory belongs must not lead the restore elsewhere.
    let outside = saved.scratch.tree("outside");
    write(outside.join("file-1"), "outside");
    fs::rename(saved.target.join("noise"), saved.scratch.file("moved")).expect("moved");
    std::os::unix::fs::symlink(&outside, saved.target.join("noise")).expect("a link");
    saved.restore("", "--overwrite --delete").ok();
    saved.assert_same();
    assert_eq!(files_below(&outside), [outside.join("file-1")]);
    assert_eq!(fs::read(outside.join("file-1")).expect("read"), b"outside");
}

#[test]
fn files_and_directories_of_a_snapshot() {
    let saved = Saved::new();
    saved.restore("/noise/file-4", "").ok();
    assert_eq!(saved.names(), ["file-4"]);
    assert_eq!(fs::read(saved.target.join("file-4")).expect("read"), noise(5, 80_000));
    fs::remove_dir_all(&saved.target).expect("removed");
    saved.restore("/text", "").ok();
    assert_same_with(&["--no-root"], &saved.source.join("text"), &saved.target);
    fs::remove_dir_all(&saved.target).expect("removed");
    saved.restore("/link", "").ok();
    assert_eq!(fs::read_link(saved.target.join("link")).expect("a link"), Path::new("noise/file-1"));
    saved.restore("/nope", "--overwrite").ends(1).says("nope");
}

#[test]
fn includes_and_excludes() {
    let saved = Saved::new();
    let cases: [(&str, &str, &[&str]); 4] = [
        ("include", "--include file-1*", &["noise/file-1", "text/deep/er/file-1.txt"]),
        ("one of two", "--include file-1 --include *-2.txt", &["noise/file-1", "text/deep/er/file-2.txt"]),
        ("exclude", "--exclude *.txt --exclude link --exclude file-[0-4]", &["noise/file-5"]),
        ("directory", "--exclude noise --exclude text", &["link"]),
    ];
    for (what, options, wanted) in cases {
        let _ = fs::remove_dir_all(&saved.target);
        saved.restore("", options).ok();
        assert_eq!(saved.names(), wanted, "{what}");
    }
    // What is left out of a restore is not what `--delete` is for.
    let _ = fs::remove_dir_all(&saved.target);
    saved.restore("", "").ok();
    write(saved.target.join("noise/extra"), "extra");
    saved.restore("", "--overwrite --delete --exclude text").ok();
    assert!(saved.target.join("text/deep/er/file-3.txt").is_file(), "an excluded directory stays");
    assert!(!saved.target.join("noise/extra").exists());
}

#[test]
fn verify_counts_the_files() {
    let saved = Saved::new();
    let run = saved.restore("", "--verify").ok();
    let files = files_below(&saved.source).iter().filter(|path| !path.is_symlink()).count();
    assert_eq!(run.summary()["files_verified"], files, "{run}");
}

/// Bug: where chunks of zeros ended within a block, the block was written; how many did depended on the keys of the
/// repository, which say where zeros are cut. Cause: only whole blocks counted.
#[test]
fn sparse_makes_holes_of_zeros() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    // Behind the first bytes no chunk begins where a block does.
    write(source.join("zeros"), [noise(2, 999), vec![0; 8 << 20], noise(1, 100_000), vec![0; 4 << 20]].concat());
    scratch.snapshot(&source);
    let what = format!("latest:{}", source.display());
    for (option, few) in [("--owner=ids", false), ("--sparse", true)] {
        let target = scratch.file(format!("target{option}"));
        scratch.run_words(words!["restore", what, "--target", target, option]).ok();
        let blocks = fs::metadata(target.join("zeros")).expect("there").blocks() * 512;
        assert_eq!(blocks < 160 << 10, few, "{option}: {blocks}");
        assert_same_with(&["--no-root", "--content-only"], &source, &target);
    }
}

#[test]
fn owners_by_name_by_number_or_not() {
    if !is_root() {
        return;
    }
    let saved = Saved::new();
    let file = saved.source.join("noise/file-1");
    rustix::fs::chown(&file, Some(rustix::fs::Uid::from_raw(54_321)), Some(rustix::fs::Gid::from_raw(12_345)))
        .expect("owned");
    saved.scratch.snapshot(&saved.source);
    for (how, uid, gid) in [("names", 54_321, 12_345), ("ids", 54_321, 12_345), ("leave", 0, 0)] {
        let _ = fs::remove_dir_all(&saved.target);
        saved.restore("", &format!("--owner {how}")).ok();
        let data = fs::metadata(saved.target.join("noise/file-1")).expect("there");
        assert_eq!((data.uid(), data.gid()), (uid, gid), "{how}");
    }
}
