//! `prune`: space comes back, and nothing that counts is ever lost by it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use repo_tests::binary::tool;
use repo_tests::compare::assert_same_with;
use repo_tests::damage::{Kind, leave_session_open, objects_of, start_endless_snapshot, wait_until};
use repo_tests::python;
use repo_tests::tree::{Random, noise, write};
use repo_tests::{Run, Scratch, is_root, words};
use serde_json::Value;

const FILES: u64 = 24;
const FILE_BYTES: usize = 700_000;

/// Without grace, and nothing may stay unused.
const NOW: &str = "prune --grace 0 --max-unused 0 --json";

/// Bytes of the packs, as another program counts them.
fn pack_bytes(scratch: &Scratch) -> u64 {
    // Files in the making that a kill left have other names.
    let packs = words![scratch.repository().join("packs"), "-type", "f", "-name", "[0-9a-f]*", "-printf", "%s\\n"];
    let run = tool("find", packs);
    run.out().lines().map(|line| line.parse::<u64>().expect("a number")).sum()
}

fn names(scratch: &Scratch) -> Vec<String> {
    scratch.objects().into_iter().map(|(name, _)| name).collect()
}

fn number(summary: &Value, field: &str) -> u64 {
    summary[field].as_u64().unwrap_or_else(|| panic!("{field} in {summary}"))
}

/// A tree, and a snapshot of it; then two thirds of its files are others, and there is a second snapshot.
fn two_snapshots() -> (Scratch, PathBuf, String, String) {
    let scratch = Scratch::with_options("--pack-size 2M");
    let source = scratch.tree("source");
    for file in 0..FILES {
        write(source.join(format!("directory-{}/file-{file}", file % 5)), noise(file, FILE_BYTES));
    }
    let first = scratch.snapshot(&source);
    for file in (0..FILES).filter(|file| file % 3 > 0) {
        write(source.join(format!("directory-{}/file-{file}", file % 5)), noise(1000 + file, FILE_BYTES / 2));
    }
    let second = scratch.snapshot(&source);
    (scratch, source, first, second)
}

/// The snapshot restores to the byte, nothing is damaged, and the next snapshot works.
#[track_caller]
fn assert_whole(scratch: &Scratch, snapshot: &str, source: &Path) {
    let target = scratch.file("target");
    let _ = fs::remove_dir_all(&target);
    scratch.restore(snapshot, source, &target).ok();
    assert_same_with(&["--no-root"], source, &target);
    scratch.check_clean();
}

/// What is needed takes this at least: packs have footers and padding besides.
fn assert_lean(scratch: &Scratch, percent: u64) {
    let needed = number(&scratch.run("stats --json").ok().of_type("statistics")[0], "stored_bytes");
    let packs = pack_bytes(scratch);
    assert!(packs * 100 <= needed * (100 + percent), "{packs} bytes in packs for {needed}");
}

fn start(scratch: &Scratch, line: &str) -> Child {
    let mut command = scratch.command();
    let words = repo_tests::binary::split(line);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started")
}

#[track_caller]
fn end(child: Child) -> Run {
    Run::new(format!("process {}", child.id()), child.wait_with_output().expect("its end"))
}

#[test]
fn space_comes_back_and_what_is_kept_stays_whole() {
    let (scratch, source, first, second) = two_snapshots();
    let full = pack_bytes(&scratch);
    scratch.run(&format!("forget {first}")).ok();
    let run = scratch.run(NOW).ok();
    let summary = run.summary();
    assert_eq!((number(&summary, "snapshots_dropped"), &summary["finished"]), (1, &true.into()), "{run}");
    let left = pack_bytes(&scratch);
    assert!(left * 10 < full * 7, "{left} of {full} bytes are left");
    assert_lean(&scratch, 3);
    assert_whole(&scratch, &second, &source);
    scratch.run_words(words!["restore", first, "--target", scratch.file("gone")]).ends(1);

    // The other implementation reads packs that hold segments of several sessions.
    let out = scratch.file("by-python");
    assert!(python::reader(&scratch, words!["restore", second, out]).status.success());
    assert_same_with(&["--no-root"], &source, &out.join(source.strip_prefix("/").expect("absolute")));

    // A second one finds nothing, and a snapshot builds on what is left.
    let again = scratch.run(NOW).ok().summary();
    assert_eq!((number(&again, "packs_deleted"), number(&again, "packs_to_repack")), (0, 0), "{again}");
    let run = scratch.run_words(words!["snapshot", "--force", "--json", source]).ok();
    assert!(number(&run.summary(), "data_added") < 1000, "only directories above the tree have changed\n{run}");
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_happens() {
    let (scratch, _, first, _) = two_snapshots();
    scratch.run(&format!("forget {first}")).ok();
    let before = scratch.objects();
    let dry = scratch.run(&format!("{NOW} --dry-run")).ok().summary();
    assert_eq!(scratch.objects(), before);
    let real = scratch.run(NOW).ok().summary();
    for field in ["snapshots_dropped", "packs_unused", "bytes_unused", "packs_to_repack", "bytes_to_repack"] {
        assert_eq!(dry[field], real[field], "{field}");
    }
    let (meant, freed) = (number(&dry, "bytes_to_free"), number(&real, "bytes_freed"));
    assert!(meant.abs_diff(freed) * 20 < meant, "{meant} were meant, {freed} were freed");
    let gone = before.iter().filter(|(name, _)| name.starts_with("packs/") && !names(&scratch).contains(name));
    assert_eq!(gone.count() as u64, number(&real, "packs_deleted"));
}

#[test]
fn bounds_are_kept() {
    let (scratch, source, first, second) = two_snapshots();
    scratch.run(&format!("forget {first}")).ok();
    let at_most = 1 << 20;
    let run = scratch.run("prune --grace 0 --max-unused 0 --max-repack 1M --json").ok().summary();
    assert!(number(&run, "bytes_to_repack") <= at_most && number(&run, "bytes_left_unused") > 0, "{run}");
    let run = scratch.run("prune --grace 0 --max-unused unlimited --json").ok().summary();
    assert_eq!(number(&run, "packs_to_repack"), 0, "{run}");
    scratch.run("prune --grace 0 --max-unused 10% --json").ok();
    // Of the packs, not of what is needed; and how chunks fall into packs differs from run to run.
    assert_lean(&scratch, 16);
    scratch.run(NOW).ok();
    assert_lean(&scratch, 3);
    assert_whole(&scratch, &second, &source);
}

#[test]
fn within_the_grace_time_a_forgotten_snapshot_can_come_back() {
    let (scratch, source, first, second) = two_snapshots();
    let full = pack_bytes(&scratch);
    scratch.run(&format!("forget {second}")).ok();
    for _ in 0..2 {
        // The first one notices the record, and still nothing goes.
        let run = scratch.run("prune --json").ok().summary();
        assert_eq!((number(&run, "snapshots_dropped"), number(&run, "packs_deleted")), (0, 0), "{run}");
    }
    assert_eq!(pack_bytes(&scratch), full);
    let run = scratch.run(&format!("undelete --json {second}")).ok();
    let back = run.of_type("undelete")[0]["new_snapshot_id"].as_str().expect("an id").to_owned();
    scratch.run(&format!("forget {first}")).ok();
    scratch.run(NOW).ok();
    assert!(pack_bytes(&scratch) < full);
    assert_whole(&scratch, &back, &source);
}

#[test]
fn forget_prunes_if_it_is_told_to() {
    let (scratch, source, _, second) = two_snapshots();
    let full = pack_bytes(&scratch);
    scratch.run("forget --keep-last 1 --prune").ok();
    assert_eq!(pack_bytes(&scratch), full, "the grace time is not over");
    scratch.run("forget --keep-last 1 --prune --grace 0 --dry-run").ok();
    assert_eq!(pack_bytes(&scratch), full, "a dry run");
    scratch.run("forget --keep-last 1 --prune --grace 0").ok().says("freed");
    assert!(pack_bytes(&scratch) < full);
    assert_whole(&scratch, &second, &source);
}

#[test]
fn a_changed_tag_costs_no_space_for_ever() {
    let (scratch, source, _, second) = two_snapshots();
    scratch.run(&format!("tag --add keep {second}")).ok();
    let snapshots = objects_of(&scratch, Kind::Snapshot).len();
    assert_eq!(snapshots, 3);
    scratch.run(NOW).ok();
    assert_eq!(objects_of(&scratch, Kind::Snapshot).len(), 2, "the one that was replaced is gone");
    assert_whole(&scratch, "latest", &source);
}

#[test]
fn what_a_killed_snapshot_left_goes() {
    let (scratch, source, _, second) = two_snapshots();
    let before = pack_bytes(&scratch);
    // Larger than a pack, so that there is one.
    let mut child = start_endless_snapshot(&scratch, &noise(7, 6_000_000));
    wait_until("a pack is there", || pack_bytes(&scratch) > before);
    child.kill().expect("killed");
    child.wait().expect("its end");
    let run = scratch.run(NOW).ok().summary();
    assert!(number(&run, "packs_orphaned") > 0 && run["finished"] == true, "{run}");
    assert_eq!(pack_bytes(&scratch), before);
    assert_whole(&scratch, &second, &source);
    let run = scratch.run("check --json").ok().summary();
    assert_eq!(number(&run, "num_leftovers"), 0, "{run}");
}

#[test]
fn a_running_snapshot_is_neither_stopped_nor_waited_for() {
    let (scratch, source, first, second) = two_snapshots();
    let full = pack_bytes(&scratch);
    let input = noise(70, 3_000_000);
    let mut child = start_endless_snapshot(&scratch, &input);
    // With nothing to remove there is nobody in the way.
    let run = scratch.run(NOW).ok().summary();
    assert_eq!(number(&run, "packs_deleted"), 0, "{run}");
    scratch.run(&format!("forget {first}")).ok();
    let run = scratch.run(NOW).ends(11).summary();
    assert_eq!(
        (&run["finished"], run["sessions_waited_for"].as_array().map(Vec::len)),
        (&false.into(), Some(1)),
        "{run}"
    );
    // Another snapshot runs meanwhile, beside the open plan.
    let third = scratch.snapshot(&source);
    drop(child.stdin.take());
    assert!(child.wait().expect("its end").success());
    let run = scratch.run(NOW).ok().summary();
    assert_eq!((number(&run, "plans_resumed"), &run["finished"]), (1, &true.into()), "{run}");
    assert!(pack_bytes(&scratch) < full);
    assert_whole(&scratch, &second, &source);
    assert_whole(&scratch, &third, &source);
    let list = scratch.run("snapshots --json").ok().of_type("snapshot");
    let endless = list.iter().find(|snapshot| snapshot["paths"][0] == "/endless").expect("it was saved");
    let run = scratch.run(&format!("dump {}:/endless", endless["id"].as_str().expect("an id"))).ok();
    assert!(run.stdout == input, "the stream is not what it was");
}

#[test]
fn a_session_that_nobody_ends_is_revoked_when_a_person_says_so() {
    let (scratch, source, first, second) = two_snapshots();
    let mut child = start_endless_snapshot(&scratch, &noise(70, 3_000_000));
    scratch.run(&format!("forget {first}")).ok();
    scratch.run(NOW).ends(11);
    let run = scratch.run(&format!("{NOW} --revoke-after 0")).ok().summary();
    assert_eq!(run["sessions_revoked"].as_array().map(Vec::len), Some(1), "{run}");
    drop(child.stdin.take());
    assert_eq!(child.wait().expect("its end").code(), Some(4));
    scratch.run(NOW).ok();
    assert_lean(&scratch, 3);
    assert_whole(&scratch, &second, &source);
}

#[test]
fn a_prune_waits_for_sessions_if_it_is_told_to() {
    let (scratch, source, first, second) = two_snapshots();
    let mut child = start_endless_snapshot(&scratch, &noise(70, 1_000_000));
    scratch.run(&format!("forget {first}")).ok();
    let prune = start(&scratch, &format!("{NOW} --wait 10m"));
    let planned = || names(&scratch).iter().any(|name| name.starts_with("prune/") && name.ends_with("/plan"));
    wait_until("the plan is there", planned);
    drop(child.stdin.take());
    assert!(child.wait().expect("its end").success());
    assert_eq!(end(prune).ok().summary()["finished"], true);
    assert_whole(&scratch, &second, &source);
}

#[test]
fn a_killed_prune_is_finished_by_the_next() {
    let (scratch, source, first, second) = two_snapshots();
    scratch.run(&format!("forget {first}")).ok();
    let mut random = Random(4);
    for _ in 0..25 {
        let mut child = start(&scratch, NOW);
        std::thread::sleep(Duration::from_micros(random.below(120_000)));
        child.kill().expect("killed");
        child.wait().expect("its end");
        scratch.check_clean();
    }
    scratch.run(NOW).ok();
    let run = scratch.run(NOW).ok().summary();
    assert_eq!((number(&run, "packs_deleted"), &run["finished"]), (0, &true.into()), "{run}");
    assert_lean(&scratch, 3);
    assert_whole(&scratch, &second, &source);
}

#[test]
fn several_prunes_at_once_do_what_one_does() {
    let (scratch, source, first, second) = two_snapshots();
    scratch.run(&format!("forget {first}")).ok();
    let prunes: Vec<Child> = (0..3).map(|_| start(&scratch, &format!("{NOW} --wait 1m"))).collect();
    for prune in prunes {
        let run = end(prune);
        assert!([0, 4, 11].contains(&run.civil().code()), "{run}");
    }
    scratch.run(NOW).ok();
    scratch.run(NOW).ok();
    assert_lean(&scratch, 3);
    assert_whole(&scratch, &second, &source);
}

#[test]
fn where_something_is_missing_nothing_is_removed() {
    for kind in [Kind::Snapshot, Kind::Index, Kind::Register, Kind::DataPack] {
        let (scratch, _, first, _) = two_snapshots();
        scratch.run(&format!("forget {first}")).ok();
        let victim = objects_of(&scratch, kind).into_iter().next_back().expect("one");
        // The forgotten snapshot is not missed when its time is over.
        if victim.ends_with(&first) {
            continue;
        }
        fs::remove_file(&victim).expect("ours");
        let packs = pack_bytes(&scratch);
        let run = scratch.run(NOW);
        assert_eq!(run.civil().code(), 5, "{} is gone\n{run}", victim.display());
        assert_eq!(pack_bytes(&scratch), packs, "{run}");
    }
}

#[test]
fn what_the_storage_keeps_is_left_to_a_later_prune() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::for_nobody();
    let source = scratch.tree("source");
    write(source.join("file"), noise(1, 500_000));
    let first = scratch.snapshot(&source);
    write(source.join("file"), noise(2, 500_000));
    repo_tests::tree::give_to_nobody(&source);
    let second = scratch.snapshot(&source);
    scratch.run(&format!("forget {first}")).ok();
    let mode = |mode: &str| drop(tool("chmod", words!["-R", mode, scratch.repository().join("packs")]));
    mode("a-w");
    let run = scratch.run("prune --grace 0 --max-unused unlimited --json").ends(3);
    assert!(number(&run.summary(), "objects_deferred") > 0, "{run}");
    scratch.check_clean();
    mode("u+w");
    let run = scratch.run("prune --grace 0 --max-unused unlimited --json").ok();
    assert!(number(&run.summary(), "packs_orphaned") > 0 && number(&run.summary(), "bytes_freed") > 0, "{run}");
    assert_whole(&scratch, &second, &source);
}

#[test]
fn a_full_disk_is_no_obstacle() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::empty();
    let disk = scratch.tree("repository");
    tool("mount", words!["-t", "tmpfs", "-o", "size=40m", "tmpfs", disk]);
    let unmount = Unmount(&disk);
    scratch.run("init --pack-size 2M").ok();
    let source = scratch.tree("source");
    // Packs of what goes only, and others that hold some of both, which can't be rewritten while there is no room.
    write(source.join("goes"), noise(1, 8_000_000));
    let first = scratch.snapshot(&source);
    write(source.join("goes, too"), noise(2, 2_000_000));
    write(source.join("stays"), noise(3, 6_000_000));
    let between = scratch.snapshot(&source);
    fs::remove_file(source.join("goes")).expect("ours");
    fs::remove_file(source.join("goes, too")).expect("ours");
    let second = scratch.snapshot(&source);
    // The first prune puts the reserve.
    scratch.run(NOW).ok();
    assert!(disk.join("prune/reserve").is_file());
    scratch.run(&format!("forget {first} {between}")).ok();
    fill(&disk.join("filler"));
    let full = scratch.run(NOW).ok();
    fs::remove_file(disk.join("filler")).expect("ours");
    assert!(pack_bytes(&scratch) < 9_000_000, "{}\n{full}", pack_bytes(&scratch));
    scratch.run(NOW).ok();
    assert!(disk.join("prune/reserve").is_file());
    assert_whole(&scratch, &second, &source);
    drop(unmount);
}

/// Unmounts a directory at the end, also of a test that failed.
struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// Makes a file that takes all the room that there is.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).expect("a file");
    let block = vec![0u8; 1 << 12];
    while file.write_all(&block).is_ok() {}
}

#[test]
fn sessions_of_others_are_left_alone() {
    let (scratch, source, _, second) = two_snapshots();
    leave_session_open(&scratch, 3);
    // It has died on this machine: it is in nobody's way, and its intent goes.
    scratch.run(NOW).ok();
    assert_whole(&scratch, &second, &source);
}
