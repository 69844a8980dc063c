//! Two trees compared by other programs: `compare.py`, `diff` and `getfattr`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binary::{Run, run_command};
use crate::has_program;

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compare.py")
}

/// What `compare.py` says about two trees, with options for it.
#[track_caller]
pub fn compare_with(options: &[&str], left: &Path, right: &Path) -> Run {
    run_command(Command::new("python3").arg(script()).args(options).args([left, right]))
}

/// Fails unless two trees are the same in every way that the file system shows.
#[track_caller]
pub fn assert_same(left: &Path, right: &Path) {
    assert_same_with(&[], left, right);
}

/// The same with options for `compare.py`.
#[track_caller]
pub fn assert_same_with(options: &[&str], left: &Path, right: &Path) {
    let run = compare_with(options, left, right);
    assert!(run.status.success(), "the trees differ\n{run}");
}

/// Fails unless `diff` finds the same names, types and bytes.
#[track_caller]
pub fn assert_diff_is_silent(left: &Path, right: &Path) {
    let run = run_command(Command::new("diff").args(["-r", "--no-dereference"]).args([left, right]));
    let out = run.out();
    // diff has nothing to compare devices, fifos and sockets by, and says so.
    let told: Vec<&str> = out.lines().filter(|line| !is_about_special_files(line)).collect();
    assert!(told.is_empty() && run.code() <= 1, "diff: {told:?}\n{run}");
}

fn is_about_special_files(line: &str) -> bool {
    let twice = |kind: &str| line.matches(kind).count() == 2;
    line.starts_with("File ")
        && ["is a fifo", "is a socket", "is a character special file", "is a block special file"].into_iter().any(twice)
}

/// Fails unless `getfattr` prints the same attributes for both; does nothing where it is not installed.
#[track_caller]
pub fn assert_same_attributes(left: &Path, right: &Path) {
    if !has_program("getfattr") {
        return;
    }
    let (left, right) = (attributes(left), attributes(right));
    assert!(!left.is_empty(), "there are attributes to compare");
    assert_eq!(left, right);
}

#[track_caller]
fn attributes(directory: &Path) -> Vec<String> {
    let options = ["-R", "-P", "-h", "-d", "-m", "-", "-e", "hex", "."].map(OsStr::new);
    let run = run_command(Command::new("getfattr").args(options).current_dir(directory));
    assert!(run.status.success(), "{run}");
    let mut blocks: Vec<String> = run.out().split("\n\n").map(str::to_owned).filter(|b| !b.is_empty()).collect();
    blocks.sort();
    blocks
}

/// Paths (`./a/b`) whose name, type or content differs.
#[track_caller]
pub fn differing_paths(left: &Path, right: &Path) -> Vec<String> {
    let run = compare_with(&["--content-only", "--paths"], left, right);
    assert!(run.stderr.is_empty() && run.code() <= 1, "{run}");
    let mut paths: Vec<String> = run.out().lines().map(str::to_owned).collect();
    paths.dedup();
    paths
}
