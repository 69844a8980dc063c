//! The share of the trials of the real program that continuous integration runs. `./dev campaign` does all of it.

use std::io::Write;
use std::process::Stdio;

use repo_tests::binary::split;
use repo_tests::compare::assert_same_with;
use repo_tests::damage::wait_until;
use repo_tests::real::clock::{Clocks, TEN_YEARS};
use repo_tests::real::place::end;
use repo_tests::real::{disk, kills, soak, suspended};
use repo_tests::tree::{noise, write};
use repo_tests::{Run, Scratch, announced_seed, run_command, words};

#[test]
fn killed_at_any_moment() {
    let killed = kills::kill_many(announced_seed(), 20);
    assert!(killed.kills >= 20 && killed.restores > 0, "{killed:?}");
}

#[test]
fn suspended_longer_than_a_session_may_be_open() {
    let found = suspended::suspend_many(announced_seed(), 8);
    assert!(found.suspended >= 8, "{found:?}");
}

#[test]
fn a_disk_that_is_full_in_the_middle() {
    if let Some(found) = disk::fill_many(announced_seed(), 8) {
        assert!(found.failed + found.succeeded >= 8, "{found:?}");
    }
}

#[test]
fn a_disk_that_fails_in_the_middle() {
    if let Some(found) = disk::fail_many(announced_seed(), 20) {
        assert!(found.failed > 0, "{found:?}");
    }
}

#[test]
fn snapshots_all_the_time_beside_prunes() {
    let soaked = soak::soak(announced_seed(), 10);
    assert!(soaked.snapshots.into_inner() > 0, "nothing was saved");
}

/// A grace time counts from when a prune sees the record, by the prune's clock; so does how long a session was open.
#[test]
fn clocks_ten_years_apart_cost_neither_grace_nor_sessions() {
    let scratch = Scratch::new();
    let Some(clocks) = Clocks::build(&scratch) else { return };
    let at = |ahead: i64, words: Vec<std::ffi::OsString>| -> Run {
        let mut command = scratch.command();
        clocks.ahead(&mut command, ahead);
        run_command(command.args(words))
    };
    for (number, ahead) in [-TEN_YEARS, TEN_YEARS].into_iter().enumerate() {
        let source = scratch.tree(&format!("source-{number}"));
        write(source.join("file"), noise(number as u64, 300_000));
        let id = at(ahead, words!["snapshot", "--json", source]).ok().snapshot_id();
        let listed = scratch.run("snapshots --json").ok().of_type("snapshot");
        let time = listed.iter().find(|snapshot| snapshot["id"] == id.as_str()).expect("listed")["time"].clone();
        let year = |text: &str| text[..4].parse::<i64>().expect("a year");
        let (now, then) = (year(&today()), year(time.as_str().expect("text")));
        assert!((9..=11).contains(&(then - now).abs()), "the clock is wrong: {then} and {now}");

        at(ahead, words!["forget", id]).ok();
        for _ in 0..2 {
            let pruned = scratch.run("prune --json").ok();
            assert_eq!(pruned.summary()["snapshots_dropped"], 0, "{pruned}");
        }
        let target = scratch.file(format!("target-{number}"));
        scratch.restore(&id, &source, &target).ok();
        assert_same_with(&["--no-root"], &source, &target);
        scratch.run_words(words!["undelete", id]).ok();

        // A session that began then, and is in the way of a prune that has something to do.
        let mut command = scratch.command();
        clocks.ahead(&mut command, ahead);
        let pipes = command.args(split("snapshot --stdin x -q")).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.stdout(Stdio::piped()).spawn().expect("started");
        child.stdin.as_mut().expect("a pipe").write_all(&noise(7, 100_000)).expect("it reads");
        let sessions = || scratch.run("session list --json").ok().messages().len();
        wait_until("the session has begun", || sessions() == 1);
        let run = scratch.run("prune --grace 0 --max-unused 0 --json").ends(11);
        assert_eq!(run.summary()["finished"], false, "{run}");
        drop(child.stdin.take());
        end(child).ok();
        scratch.run("prune --grace 0 --max-unused 0").ok();
        scratch.check_clean();
    }
}

/// The date, as another program tells it.
fn today() -> String {
    repo_tests::binary::tool("date", ["+%Y-%m-%d"]).out()
}
