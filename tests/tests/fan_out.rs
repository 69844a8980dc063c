//! `snapshot --to`: one read of the source for several repositories, and what one of them that fails does to the others.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use repo_tests::binary::{Run, run_command, split, under_strace};
use repo_tests::compare::assert_diff_is_silent;
use repo_tests::damage::wait_until;
use repo_tests::scratch::files_below;
use repo_tests::servers::{RepoServe, make_token};
use repo_tests::stack::Stack;
use repo_tests::tree::{noise, prose, small, write};
use repo_tests::{Scratch, words};
use serde_json::Value;

/// A machine with something to save, and a server for others' repositories.
struct Setup {
    scratch: Scratch,
    source: PathBuf,
    served: Scratch,
    server: RepoServe,
    token: String,
}

impl Setup {
    /// With a server that has these further arguments, on which `far` and `away` are repositories.
    fn new(arguments: &str) -> Self {
        let (scratch, served) = (Scratch::with_options("--pack-size 1M"), Scratch::empty());
        let source = small(&scratch.tree("source"), 1);
        write(source.join("mine/large"), noise(5, 3_000_000));
        write(source.join("mine/prose"), prose(400_000));
        let token = make_token(&served, "*", "all");
        let server = RepoServe::with_tokens(&served, arguments);
        let setup = Self { scratch, source, served, server, token };
        for place in [setup.place("far"), setup.place("away")] {
            setup.at(&place, "init --pack-size 1M").ok();
        }
        setup
    }

    fn place(&self, name: &str) -> String {
        self.server.place(name)
    }

    /// The repository in a directory.
    fn near(&self) -> String {
        self.scratch.repository().to_str().expect("text").to_owned()
    }

    /// A further repository in a directory.
    fn another(&self, name: &str) -> String {
        let place = self.scratch.file(name).to_str().expect("text").to_owned();
        self.at(&place, "init").ok();
        place
    }

    fn command(&self, place: &str, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = self.scratch.command();
        command.env("REPO_REPOSITORY", place).args(words);
        for variable in ["REPO_TOKEN", "REPO_TO_TOKEN", "REPO_TO_TOKEN_2"] {
            command.env(variable, &self.token);
        }
        command
    }

    #[track_caller]
    fn at(&self, place: &str, line: &str) -> Run {
        run_command(&mut self.command(place, split(line)))
    }

    fn snapshot(&self, first: &str, others: &[&str], options: &str) -> Command {
        let mut all = words!["snapshot", "--json", &self.source];
        others.iter().for_each(|other| all.extend(words!["--to", other]));
        self.command(first, all.into_iter().chain(split(options)))
    }

    #[track_caller]
    fn run(&self, first: &str, others: &[&str], options: &str) -> Run {
        run_command(&mut self.snapshot(first, others, options))
    }

    /// The latest snapshot of a repository is what is in the source, and nothing there is damaged.
    #[track_caller]
    fn assert_restores(&self, place: &str) {
        self.assert_restores_from(place, &self.source);
    }

    /// The same, if it is elsewhere in the snapshot.
    #[track_caller]
    fn assert_restores_from(&self, place: &str, path: &Path) {
        let target = self.scratch.file("target");
        let _ = fs::remove_dir_all(&target);
        self.at(place, &format!("restore latest:{} --target {}", path.display(), target.display())).ok();
        assert_diff_is_silent(&self.source, &target);
        self.at(place, "check --read-data").ok();
    }

    #[track_caller]
    fn count(&self, place: &str) -> usize {
        self.at(place, "snapshots --json").ok().of_type("snapshot").len()
    }
}

/// The summaries of the snapshot and of the copies.
#[track_caller]
fn summaries(run: &Run) -> (Value, Value) {
    let all: [Value; 2] = run.of_type("summary").try_into().unwrap_or_else(|_| panic!("not two summaries\n{run}"));
    let [snapshot, copies] = all;
    (snapshot, copies)
}

/// Requests of a server for packs.
fn pack_reads(log: &str, repository: &str) -> usize {
    log.lines().filter(|line| line.contains(" GET ") && line.contains(&format!("/{repository}/packs/"))).count()
}

#[test]
fn each_file_is_opened_once_and_nothing_is_downloaded_again() {
    let setup = Setup::new("--metrics 127.0.0.1:0");
    let (far, away, near) = (setup.place("far"), setup.place("away"), setup.near());
    let trace = setup.scratch.file("trace");
    let command = setup.snapshot(&far, &[&away, &near], "");
    let traced = under_strace(&command, &format!("-qq -e trace=open,openat,openat2 -o {}", trace.display()));
    let is_traced = traced.is_some();
    let run = run_command(&mut traced.unwrap_or(command)).ok();
    let (snapshot, copies) = summaries(&run);
    assert_eq!(copies["repositories"], 2, "{run}");
    assert_eq!(copies["snapshots_copied"], 2, "{run}");
    assert!(copies["bytes_read"].as_u64() > Some(3_000_000), "{run}");
    if is_traced {
        let trace = fs::read_to_string(&trace).expect("a trace");
        let opened = |name: &str| trace.lines().filter(|line| line.contains(&format!("\"{name}\""))).count();
        assert_eq!((opened("large"), opened("prose")), (1, 1), "{trace}");
    }
    let log = setup.server.settled_log();
    assert!(log.contains("PUT /far/packs/"), "the log is read as it is meant\n{log}");
    assert_eq!((pack_reads(&log, "far"), pack_reads(&log, "away")), (0, 0), "{log}");
    for place in [&far, &away, &near] {
        setup.assert_restores(place);
    }
    let listed = setup.at(&near, "snapshots --json").ok().of_type("snapshot");
    assert_eq!(listed[0]["copied_from"]["snapshot_id"], snapshot["snapshot_id"]);

    // The next time only what changed is read.
    write(setup.source.join("mine/new"), noise(77, 100_000));
    let before = setup.server.settled_log().len();
    let run = setup.run(&far, &[&away, &near], "").ok();
    assert_eq!(summaries(&run).1["bytes_read"], 100_000, "{run}");
    let log = setup.server.settled_log()[before..].to_owned();
    assert!(pack_reads(&log, "far") <= 1, "{log}");
    for place in [&far, &away, &near] {
        setup.assert_restores(place);
    }
    let in_cache = files_below(&setup.scratch.cache());
    assert!(in_cache.iter().all(|file| !file.to_string_lossy().contains("unnamed")), "{in_cache:?}");
}

#[test]
fn an_unchanged_snapshot_costs_few_requests() {
    let setup = Setup::new("");
    let (far, away) = (setup.place("far"), setup.place("away"));
    // The directories above belong to others, who change them.
    setup.run(&far, &[&away], "--as /saved").ok();
    // Even without what this machine remembers of the copies.
    for directory in fs::read_dir(setup.scratch.cache()).expect("a cache").flatten() {
        for file in
            files_below(&directory.path()).into_iter().filter(|file| file.to_string_lossy().contains("copied-to"))
        {
            fs::remove_file(file).expect("removed");
        }
    }
    let before = setup.server.settled_log().len();
    let run = setup.run(&far, &[&away], "--as /saved").ok();
    let (snapshot, copies) = summaries(&run);
    assert_eq!((&copies["bytes_read"], &copies["data_added_packed"]), (&0.into(), &0.into()), "{run}");
    assert_eq!(snapshot["data_added_packed"], 0, "{run}");
    let log = setup.server.settled_log()[before..].to_owned();
    let requests = |repository: &str| log.lines().filter(|line| line.contains(&format!("/{repository}/"))).count();
    // The lists of the copy and its index are the second half.
    assert!(requests("far") <= 30 && requests("away") <= 30, "{} {}\n{log}", requests("far"), requests("away"));
    assert_eq!((pack_reads(&log, "away"), log.matches("PUT /away/packs/").count()), (0, 0), "{log}");
    setup.assert_restores_from(&away, Path::new("/saved"));
}

#[test]
fn one_that_fails_in_the_middle_keeps_no_other_from_its_snapshot() {
    for is_first in [true, false] {
        let setup = Setup::new("--quota 1M");
        let (far, near, another) = (setup.place("far"), setup.near(), setup.another("another"));
        let (first, others) = if is_first { (&far, [&near, &another]) } else { (&near, [&far, &another]) };
        let run = setup.run(first, &others.map(String::as_str), "").ends(3).says("quota").says(&far);
        let (snapshot, copies) = summaries(&run);
        assert!(snapshot["snapshot_id"].is_string(), "{run}");
        assert_eq!((&copies["repositories"], &copies["repositories_failed"]), (&2.into(), &1.into()), "{run}");
        assert_eq!([&near, &another, &far].map(|place| setup.count(place)), [1, 1, 0], "{run}");
        setup.assert_restores(&near);
        setup.assert_restores(&another);
        // The same directory, without a quota: what was stored before is used.
        let Setup { scratch, source, served, server, token } = setup;
        drop(server);
        let server = RepoServe::with_tokens(&served, "");
        let setup = Setup { scratch, source, served, server, token };
        let far = setup.place("far");
        let (first, others) = if is_first { (&far, [&near, &another]) } else { (&near, [&far, &another]) };
        write(setup.source.join("new"), noise(78, 100_000));
        setup.run(first, &others.map(String::as_str), "").ok();
        assert_eq!([&near, &another, &far].map(|place| setup.count(place)), [2, 2, 1]);
        for place in [&near, &another, &far] {
            setup.assert_restores(place);
        }
    }
}

#[test]
fn one_that_is_out_of_reach_is_left_out_and_named() {
    let mut setup = Setup::new("");
    let (far, near, another) = (setup.place("far"), setup.near(), setup.another("another"));
    let unmounted = setup.scratch.file("unmounted").to_str().expect("text").to_owned();
    setup.server.kill();
    for (first, others) in [(&near, [&far, &another]), (&far, [&near, &another]), (&near, [&unmounted, &another])] {
        let run = setup.run(first, &others.map(String::as_str), "").ends(3).says("is left out");
        let (_, copies) = summaries(&run);
        assert_eq!((&copies["repositories"], &copies["repositories_failed"]), (&2.into(), &1.into()), "{run}");
    }
    assert_eq!([&near, &another].map(|place| setup.count(place)), [3, 3]);
    setup.assert_restores(&another);
    // If that leaves one, it gets its snapshot; if it leaves none, that is a failure.
    let run = setup.run(&near, &[&far], "").ends(3);
    assert_eq!(summaries(&run).1["repositories_failed"], 1, "{run}");
    setup.run(&unmounted, &[&unmounted], "").ends(10).says("no repository");
}

#[test]
fn what_a_person_can_mistype_shows_before_anything_is_read() {
    let setup = Setup::new("");
    let (far, near) = (setup.place("far"), setup.near());
    let trace = setup.scratch.file("trace");
    let stranger = Scratch::new();
    let theirs = stranger.repository().to_str().expect("text").to_owned();
    for (others, code, said) in [
        (vec![far.as_str(), theirs.as_str()], 12, theirs.as_str()),
        (vec![&far, &near], 1, "the repository that"),
        (vec![&far, &far], 1, "named twice"),
        (vec!["b2:bucket"], 1, "b2"),
    ] {
        let command = setup.snapshot(&near, &others, "");
        let traced = under_strace(&command, &format!("-qq -e trace=open,openat,openat2 -o {}", trace.display()));
        let is_traced = traced.is_some();
        run_command(&mut traced.unwrap_or(command)).ends(code).says(said);
        if is_traced {
            let trace = fs::read_to_string(&trace).expect("a trace");
            assert!(!trace.contains("\"mine\"") && !trace.contains("\"large\""), "{trace}");
        }
    }
    setup.run(&near, &[], "--spool-size 1G").ends(2);
    assert_eq!([&far, &near].map(|place| setup.count(place)), [0, 0]);
}

/// Snapshots to three repositories that were killed, one at its beginning and one among its copies, and the third of
/// these; `None` if one was done before.
#[track_caller]
fn killed_snapshots(seed: u64) -> Option<(Setup, String)> {
    let setup = Setup::new("");
    for file in 0..30 {
        write(setup.source.join(format!("many/file-{file}")), noise(seed + file, 1_000_000));
    }
    let (far, near, another) = (setup.place("far"), setup.near(), setup.another("another"));
    let stored = |place: &Path| files_below(&place.join("packs")).len();
    let far_packs = setup.server.root().join("far");
    for is_copying in [false, true] {
        let mut command = setup.snapshot(&far, &[&near, &another], "");
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        wait_until("packs are there", || {
            let there = if is_copying { stored(&setup.scratch.repository()) } else { stored(&far_packs) };
            there >= 3 || child.try_wait().expect("a state").is_some()
        });
        child.kill().expect("it can be killed");
        let is_done = child.wait().expect("its end").success();
        let large = files_below(&setup.scratch.cache())
            .into_iter()
            .filter(|file| fs::metadata(file).is_ok_and(|metadata| metadata.len() > 10_000_000));
        assert_eq!(large.collect::<Vec<_>>(), Vec::<PathBuf>::new(), "no copies of packs are left");
        if is_done || setup.count(&near) > 0 {
            // There is no snapshot of a half.
            setup.assert_restores(&near);
            return None;
        }
    }
    Some((setup, another))
}

#[test]
fn after_a_kill_the_next_run_is_right_and_nothing_is_left_in_the_cache() {
    // Again, with other data, until none is done before it is killed.
    let (setup, another) =
        (1..=5).find_map(|number| killed_snapshots(100 * number)).expect("two that are killed in time");
    let (far, near) = (setup.place("far"), setup.near());
    setup.run(&far, &[&near, &another], "").ok();
    for place in [&far, &near, &another] {
        setup.assert_restores(place);
    }
}

#[test]
fn streams_commands_and_stacks_go_to_all_of_them() {
    let setup = Setup::new("");
    let (far, near) = (setup.place("far"), setup.near());
    let dump = |place: &str, what: &str| setup.at(place, &format!("dump latest:/{what}")).ok().stdout;
    let line = split(&format!("snapshot --stdin-from-command app.sql --to {near} -- cat"));
    run_command(&mut setup.command(&far, line.into_iter().chain(words![setup.source.join("mine/prose")]))).ok();
    let text = fs::read(setup.source.join("mine/prose")).expect("there");
    assert_eq!((dump(&far, "app.sql"), dump(&near, "app.sql")), (text.clone(), text));
    let mut fed = setup.command(&far, split(&format!("snapshot --stdin fed --to {near}")));
    let mut child = fed.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("starts");
    let fed = noise(3, 2_000_000);
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), &fed).expect("taken");
    assert!(child.wait().expect("its end").success());
    assert_eq!((dump(&far, "fed"), dump(&near, "fed")), (fed.clone(), fed));
    // A command that fails makes no snapshot anywhere.
    setup.at(&far, &format!("snapshot --stdin-from-command bad --to {near} -- false")).ends(1);
    assert_eq!([&far, &near].map(|place| setup.count(place)), [2, 2]);

    let manifest = "stack: shop\npersist:\n  media: { subpath: ./data/media }\nservices:\n  db:\n    backup:\n      \
                    dump: \"cat SCRATCH/db\"\n      restore: \"cat > $STACK_DIRECTORY/restored\"\n";
    let stack = Stack::new(manifest);
    let second = stack.scratch.file("second");
    run_command(stack.command(["init"]).env("REPO_REPOSITORY", &second)).ok();
    let run = stack.run("stack snapshot --json --to SCRATCH/second").ok();
    assert_eq!(run.of_type("copy")[0]["action"], "copied", "{run}");
    assert_eq!(stack.calls().iter().filter(|call| call.contains("exec -T db")).count(), 1, "one dump for both");
    let restore = stack.fill("stack restore latest --stack shop --target SCRATCH/new");
    run_command(stack.command(restore.split_whitespace()).env("REPO_REPOSITORY", &second)).ok();
    assert_eq!(fs::read(stack.scratch.file("new/restored")).expect("restored"), prose(2_000_000));
    assert_diff_is_silent(&stack.root.join("data/media"), &stack.scratch.file("new/data/media"));
    stack.run("stack snapshot --to SCRATCH/none").ends(3).says("is left out");
}

#[test]
fn commands_are_run_again_where_the_first_repository_fails() {
    let setup = Setup::new("--quota 1M");
    let (far, near) = (setup.place("far"), setup.near());
    let large = setup.source.join("mine/large");
    let line = split(&format!("snapshot --stdin-from-command app.bin --to {near} -- cat"));
    run_command(&mut setup.command(&far, line.into_iter().chain(words![large]))).ends(3).says("ended early");
    let dump = setup.at(&near, "dump latest:/app.bin").ok();
    assert!(dump.stdout == fs::read(&large).expect("there"));
    // What comes on standard input comes once.
    let mut command = setup.command(&far, split(&format!("snapshot --stdin app.bin --to {near}")));
    let input = fs::File::open(&large).expect("there");
    let output = command.stdin(input).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!([&far, &near].map(|place| setup.count(place)), [0, 1]);

    let manifest = "stack: shop\npersist:\n  media: { subpath: ./data/media }\nservices:\n  db:\n    backup:\n      \
                    stop: true\n";
    let stack = Stack::new(manifest);
    write(stack.root.join("data/media/new"), noise(9, 3_000_000));
    // The same key file opens all of them.
    fs::copy(setup.scratch.key_file(), stack.scratch.key_file()).expect("copied");
    let near = setup.scratch.repository();
    let mut command = stack.command(words!["stack", "snapshot", "--to", near]);
    command.env("REPO_REPOSITORY", &far).env("REPO_TOKEN", &setup.token);
    run_command(&mut command).ends(3).says("ended early");
    assert_eq!(stack.switched(), ["stop db", "start db", "stop db", "start db"], "services run again both times");
    assert_eq!(setup.count(&setup.near()), 2);
}

#[test]
fn dry_runs_store_nothing_and_what_did_not_change_is_brought_to_all() {
    let setup = Setup::new("");
    let (near, another) = (setup.near(), setup.another("another"));
    let before = setup.scratch.objects();
    let run = setup.run(&near, &[&another], "--dry-run").ok();
    assert!(run.summary()["snapshot_id"].is_null(), "{run}");
    assert_eq!(setup.scratch.objects(), before);
    // The directories above belong to others, who change them.
    setup.run(&near, &[], "--as /saved").ok();
    // There is nothing new, but the other one lacks what there is.
    let run = setup.run(&near, &[&another], "--skip-if-unchanged --as /saved").ok();
    let (snapshot, copies) = summaries(&run);
    assert!(snapshot["snapshot_id"].is_null(), "{run}");
    assert_eq!((&copies["snapshots_copied"], &copies["snapshots_copied_before"]), (&1.into(), &0.into()), "{run}");
    let run = setup.run(&near, &[&another], "--skip-if-unchanged --as /saved").ok();
    assert_eq!(summaries(&run).1["snapshots_copied_before"], 1, "{run}");
    setup.assert_restores_from(&another, Path::new("/saved"));
    assert_eq!([&near, &another].map(|place| setup.count(place)), [1, 1]);

    // What they are kept in is no part of what is saved.
    let all = setup.scratch.path();
    let mut command = setup.command(&near, words!["snapshot", all, "--to", &another]);
    run_command(&mut command).ok();
    let listed = setup.at(&near, &format!("ls --recursive latest:{}", all.display())).ok().out();
    assert!(!listed.contains("/another/") && !listed.contains("/repository/packs"), "{listed}");
    let inside = words!["snapshot", setup.scratch.file("another/packs"), "--to", &another];
    run_command(&mut setup.command(&near, inside)).ends(1).says("inside the repository");
}

#[test]
fn without_room_for_copies_what_others_lack_is_read_again() {
    let setup = Setup::new("");
    let (far, near) = (setup.place("far"), setup.near());
    setup.run(&far, &[&near], "--spool-size 1M").ok();
    let log = setup.server.settled_log();
    assert!(pack_reads(&log, "far") > 0, "{log}");
    setup.assert_restores(&near);
    let away = setup.place("away");
    setup.run(&away, &[&near], "--spool-size 0").ok();
    setup.assert_restores(&near);
}
