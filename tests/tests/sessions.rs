//! Sessions as a person sees them: who is at work, what was interrupted, and ending what nobody will end.

use std::process::Child;

use repo_tests::damage::{leave_session_open, start_endless_snapshot};
use repo_tests::tree::noise;
use repo_tests::{Run, Scratch};
use serde_json::Value;

#[track_caller]
fn sessions(scratch: &Scratch, options: &str) -> Vec<Value> {
    scratch.run(&format!("session list --json {options}")).ok().messages()
}

#[track_caller]
fn only_session(scratch: &Scratch) -> Value {
    let mut found = sessions(scratch, "");
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn id_of(session: &Value) -> String {
    session["id"].as_str().expect("an id").to_owned()
}

/// Lets the stream of an endless snapshot end.
fn let_it_end(mut child: Child) -> Run {
    drop(child.stdin.take());
    Run::new("the snapshot of a stream".into(), child.wait_with_output().expect("its end"))
}

#[test]
fn a_running_session_is_listed_and_a_revoked_writer_says_so() {
    let scratch = Scratch::new();
    let child = start_endless_snapshot(&scratch, &noise(1, 3_000_000));
    let session = only_session(&scratch);
    assert_eq!((&session["state"], &session["alive"]), (&"open".into(), &true.into()), "{session}");
    assert_eq!(session["process"], child.id());
    assert_eq!(session["hostname"], rustix::system::uname().nodename().to_str().expect("text"));
    assert!(session["program_version"].as_str().is_some_and(|program| program.starts_with("repo ")), "{session}");
    scratch.run("session list").ok().says("running");

    let id = id_of(&session);
    let refused = scratch.run(&format!("session revoke {id}")).ends(11);
    assert!(refused.err().contains("running here") && refused.err().contains("--force"), "{refused}");
    assert_eq!(only_session(&scratch)["state"], "open", "nothing was done");
    let run = scratch.run(&format!("session revoke --json --force {}", &id[..8])).ok();
    assert_eq!((&run.messages()[0]["action"], &run.messages()[0]["id"]), (&"revoked".into(), &id.as_str().into()));

    let run = let_it_end(child).ends(4);
    assert!(run.err().contains("the session was revoked") && run.err().contains("again"), "{run}");
    assert!(scratch.run("snapshots --json").ok().messages().is_empty());
    scratch.check_clean();
    // Again, as it says.
    let run = scratch.run_with_input("snapshot --stdin endless --json", &noise(1, 3_000_000)).ok();
    assert!(run.summary()["snapshot_id"].is_string(), "{run}");
    scratch.check_clean();
}

#[test]
fn an_interrupted_session_is_reported_and_can_be_revoked() {
    let scratch = Scratch::new();
    leave_session_open(&scratch, 1);
    let session = only_session(&scratch);
    assert_eq!((&session["state"], &session["alive"]), (&"open".into(), &false.into()), "{session}");
    scratch.run("session list").ok().says("interrupted");
    let check = scratch.run("check --json").ok().summary();
    assert_eq!((&check["damaged"], &check["open_sessions"]), (&false.into(), &1.into()), "{check}");
    assert_eq!((&check["unfinished_prunes"], &check["orphan_packs"]), (&0.into(), &0.into()), "{check}");

    let id = id_of(&session);
    scratch.run(&format!("session revoke {id}")).ok().says("revoked");
    assert!(sessions(&scratch, "").is_empty());
    let all = sessions(&scratch, "--all");
    assert_eq!((all.len(), &all[0]["state"]), (1, &"revoked".into()), "{all:?}");
    scratch.run(&format!("session revoke {id}")).ok().says("revoked before");
    scratch.run(&format!("cat session {id}")).ok().says("\"revoked\"");
    assert_eq!(scratch.run("check --json").ok().summary()["open_sessions"], 0);
}

#[test]
fn what_is_committed_cannot_be_revoked() {
    let scratch = Scratch::new();
    let source = repo_tests::tree::small(&scratch.tree("source"), 1);
    let snapshot = scratch.snapshot(&source);
    assert!(sessions(&scratch, "").is_empty());
    let all = sessions(&scratch, "--all");
    assert_eq!((all.len(), &all[0]["state"]), (1, &"committed".into()), "{all:?}");
    assert_eq!(all[0]["snapshot_id"], snapshot.as_str());
    let run = scratch.run(&format!("session revoke --force {}", id_of(&all[0]))).ends(1);
    assert!(run.err().contains("is committed"), "{run}");
    let target = scratch.file("target");
    scratch.restore("latest", &source, &target).ok();
    scratch.check_clean();
    for (wrong, code) in [("ffffffffffff", 1), ("\"\"", 1), ("xyz", 1)] {
        scratch.run(&format!("session revoke {wrong}")).ends(code);
    }
}

/// The dead one's register is taken, and the next snapshot finds what it stored.
#[test]
fn the_next_snapshot_revokes_a_dead_session_and_uses_what_it_stored() {
    let scratch = Scratch::with_options("--pack-size 1M");
    let mut child = start_endless_snapshot(&scratch, &noise(7, 12_000_000));
    repo_tests::damage::wait_until("packs are there", || {
        scratch.objects().iter().filter(|(name, _)| name.starts_with("packs/")).count() >= 6
    });
    child.kill().expect("killed");
    child.wait().expect("its end");
    let id = id_of(&only_session(&scratch));
    let run = scratch.run_with_input("snapshot --stdin endless --json", &noise(7, 12_000_000)).ok();
    assert_eq!(run.summary()["resumed_sessions"], 1, "{run}");
    assert!(run.summary()["data_added"].as_u64().is_some_and(|added| added < 8_000_000), "{run}");
    let all = sessions(&scratch, "--all");
    let dead = all.iter().find(|session| session["id"] == id.as_str()).expect("it is listed");
    assert_eq!(dead["state"], "revoked");
    scratch.check_clean();
}

#[test]
fn cat_shows_the_record_of_a_forgotten_snapshot() {
    let scratch = Scratch::new();
    let source = repo_tests::tree::small(&scratch.tree("source"), 1);
    let snapshot = scratch.snapshot(&source);
    scratch.run("cat record 00").ends(1);
    scratch.run(&format!("forget {snapshot}")).ok();
    let shown: Value =
        serde_json::from_str(&scratch.run(&format!("cat record {}", &snapshot[..8])).ok().out()).expect("JSON");
    assert_eq!((&shown["snapshot"], &shown["why"]), (&snapshot.as_str().into(), &"forgotten".into()), "{shown}");
    scratch.run("cat prune 1").ends(1);
    scratch.run("cat prune x").ends(1);
}
