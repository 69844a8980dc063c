//! Interrupted and killed snapshots, several writers, one cache for several processes.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use repo_tests::compare::assert_same_with;
use repo_tests::damage::wait_until;
use repo_tests::scratch::files_below;
use repo_tests::tree::{self, Random, noise, write};
use repo_tests::{Run, Scratch, words};

const FILES: u64 = 60;
const FILE_LENGTH: usize = 1_000_000;

fn start<S: AsRef<OsStr>>(scratch: &Scratch, words: impl IntoIterator<Item = S>) -> Child {
    let mut command = scratch.command();
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started")
}

#[track_caller]
fn end(child: Child) -> Run {
    Run::new(format!("process {}", child.id()), child.wait_with_output().expect("its end"))
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let id = rustix::process::Pid::from_raw(child.id() as i32).expect("an id");
    // It may have ended already.
    let _ = rustix::process::kill_process(id, signal);
}

fn large_tree(scratch: &Scratch, seed: u64) -> PathBuf {
    let source = scratch.tree("source");
    for number in 0..FILES {
        write(source.join(format!("directory-{}/file-{number}", number % 7)), noise(seed + number, FILE_LENGTH));
    }
    source
}

fn packs(scratch: &Scratch) -> usize {
    let is_pack = |path: &&PathBuf| path.file_name().is_some_and(|name| name.len() == 64);
    files_below(&scratch.repository().join("packs")).iter().filter(is_pack).count()
}

/// No damage, and a restore that is identical, after a snapshot that stored this much.
#[track_caller]
fn finish(scratch: &Scratch, source: &Path) -> u64 {
    let run = scratch.run("check --read-data --json").ok();
    assert_eq!(run.summary()["damaged"], false, "{run}");
    let run = scratch.run_words(words!["snapshot", "--json", source]).ok();
    let added = run.summary()["data_added"].as_u64().expect("a number");
    let target = scratch.file("target");
    let _ = fs::remove_dir_all(&target);
    scratch.restore("latest", source, &target).ok();
    assert_same_with(&["--no-root"], source, &target);
    scratch.check_clean();
    added
}

/// A large tree whose first snapshot was interrupted in the middle, and what that one said.
#[track_caller]
fn interrupted_snapshot() -> (Scratch, PathBuf, Run) {
    // It can be done before the signal arrives: again, with other data, until it is not.
    for seed in 1..=5 {
        let scratch = Scratch::with_options("--pack-size 1M");
        let source = large_tree(&scratch, 100 * seed);
        let mut child = start(&scratch, words!["snapshot", "--json", source]);
        wait_until("a few packs are there", || packs(&scratch) >= 8);
        signal(&child, rustix::process::Signal::INT);
        wait_until("it ends", || child.try_wait().expect("a state").is_some());
        let run = end(child);
        if run.code() != 0 {
            return (scratch, source, run);
        }
    }
    panic!("all were done before the signal");
}

#[test]
fn ctrl_c_ends_cleanly_and_the_next_one_resumes() {
    let (scratch, source, run) = interrupted_snapshot();
    let run = run.ends(130);
    assert!(scratch.run("snapshots --json").ok().messages().is_empty(), "no snapshot of half a tree");
    let last = run.error_messages();
    assert!(last.iter().any(|message| message["message_type"] == "exit_error" && message["code"] == 130), "{run}");
    let added = finish(&scratch, &source);
    assert!(added < FILES * FILE_LENGTH as u64 - 4_000_000, "{added} bytes are stored again");
}

#[test]
fn a_stream_is_interrupted() {
    let scratch = Scratch::new();
    let child = repo_tests::damage::start_endless_snapshot(&scratch, &noise(1, 3_000_000));
    signal(&child, rustix::process::Signal::INT);
    let mut child = child;
    let pipe = child.stdin.take();
    wait_until("it ends", || child.try_wait().expect("a state").is_some());
    drop(pipe);
    end(child).ends(130);
    assert!(scratch.run("snapshots --json").ok().messages().is_empty());
    scratch.check_clean();
}

#[test]
fn a_command_is_interrupted_with_its_snapshot() {
    let scratch = Scratch::new();
    let line = words!["snapshot", "--stdin-from-command", "x", "--", "sh", "-c", "echo $$ > pid; exec sleep 1000"];
    let mut child = start(&scratch, &line);
    let pid = || fs::read_to_string(scratch.file("pid")).ok().and_then(|text| text.trim().parse::<i32>().ok());
    wait_until("the command runs", || pid().is_some());
    signal(&child, rustix::process::Signal::INT);
    wait_until("it ends", || child.try_wait().expect("a state").is_some());
    let left = pid().is_some_and(|pid| Path::new(&format!("/proc/{pid}/exe")).exists());
    if left {
        let id = rustix::process::Pid::from_raw(pid().expect("an id")).expect("an id");
        let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
    }
    end(child).ends(130);
    assert!(!left, "the command is not left behind");
}

#[test]
fn a_killed_snapshot_costs_little() {
    let seed = repo_tests::announced_seed();
    let mut random = Random(seed);
    let scratch = Scratch::with_options("--pack-size 1M");
    let source = large_tree(&scratch, seed);
    let mut killed = 0;
    for moment in [0, 1, 3, 10, 20, 30] {
        let before = packs(&scratch);
        let mut child = start(&scratch, words!["snapshot", "--json", source]);
        let is_over = |child: &mut Child| child.try_wait().expect("a state").is_some();
        wait_until("so many packs are there", || is_over(&mut child) || packs(&scratch) >= before + moment);
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        signal(&child, rustix::process::Signal::KILL);
        let run = end(child);
        killed += u64::from(run.code() == 137);
        // Harmless leftovers are no damage.
        let check = scratch.run("check --read-data --json").ok();
        assert_eq!(check.summary()["damaged"], false, "after {moment} packs\n{check}");
    }
    assert!(killed >= 3, "{killed} of 6 were killed in time");
    let added = finish(&scratch, &source);
    assert!(added < FILES * FILE_LENGTH as u64 / 2, "{added} bytes are stored again");
}

#[test]
fn a_killed_restore_can_be_finished() {
    let scratch = Scratch::with_options("--pack-size 1M");
    let source = large_tree(&scratch, 5);
    scratch.snapshot(&source);
    let target = scratch.file("target");
    let what = format!("latest:{}", source.display());
    let line = words!["restore", what, "--target", target];
    let child = start(&scratch, &line);
    wait_until("files come", || files_below(&target).len() >= 5);
    signal(&child, rustix::process::Signal::KILL);
    end(child);
    scratch.run_words(line.iter().chain(&words!["--overwrite", "--delete"])).ok();
    assert_same_with(&["--no-root"], &source, &target);
}

#[test]
fn two_snapshots_at_the_same_time() {
    let scratch = Scratch::with_options("--pack-size 1M");
    let mut sources = Vec::new();
    for number in 0..3_u64 {
        let source = tree::small(&scratch.tree(&format!("source-{number}")), number * 50);
        for file in 0..10 {
            // Half of it is the same in all of them.
            write(source.join(format!("file-{file}")), noise(1000 + file + (file % 2) * number * 100, 700_000));
        }
        sources.push(source);
    }
    for round in 0..2 {
        let children: Vec<Child> = sources.iter().map(|s| start(&scratch, words!["snapshot", "--json", s])).collect();
        let ids: Vec<String> = children.into_iter().map(|child| end(child).ok().snapshot_id()).collect();
        scratch.check_clean();
        for (number, (id, source)) in ids.iter().zip(&sources).enumerate() {
            let target = scratch.file(format!("target-{round}-{number}"));
            scratch.restore(id, source, &target).ok();
            assert_same_with(&["--no-root"], source, &target);
        }
        for source in &sources {
            write(source.join("new"), noise(7, 900_000));
        }
    }
}

#[test]
fn many_processes_share_a_cache() {
    let scratch = Scratch::with_options("--pack-size 1M");
    let source = tree::small(&scratch.tree("source"), 1);
    tree::crowd(&source.join("crowd"), 300);
    let first = scratch.snapshot(&source);
    scratch.fill_index();
    for round in 0..3 {
        // Each round begins without a cache, so that all of them build it.
        fs::remove_dir_all(scratch.cache()).expect("removed");
        let mut children = Vec::new();
        for number in 0..2_u64 {
            let other = scratch.tree(&format!("other-{round}-{number}"));
            write(other.join("file"), noise(round * 10 + number + 100, 2_000_000));
            children.push(start(&scratch, words!["snapshot", "--json", other]));
            let what = format!("{first}:{}", source.display());
            let target = scratch.file(format!("target-{round}-{number}"));
            children.push(start(&scratch, words!["restore", what, "--target", target]));
            children.push(start(&scratch, words!["check", "--read-data"]));
            children.push(start(&scratch, words!["ls", "-R", first]));
            children.push(start(&scratch, words!["stats"]));
        }
        let runs: Vec<Run> = children.into_iter().map(end).collect();
        for run in runs {
            run.ok();
        }
        for number in 0..2 {
            assert_same_with(&["--no-root"], &source, &scratch.file(format!("target-{round}-{number}")));
        }
    }
    scratch.check_clean();
}
