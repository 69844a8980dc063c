//! S3: a repository in a bucket, what it asks for, and what stores do: with conditional writes and without, with versions and
//! locks. The server is moto's; it checks each signature with Amazon's own code. What goes wrong is in `s3_failures.rs`, and
//! what every storage must do in `storages.rs`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use repo_tests::damage::wait_until;
use repo_tests::servers::{Bucket, S3};
use repo_tests::tree::{noise, write};
use repo_tests::{run_command, words};
use serde_json::json;

#[test]
fn a_repository_in_a_bucket_does_all_that_one_in_a_directory_does() {
    let bucket = Bucket::empty();
    let run = bucket.run("init --pack-size 16M").ok().says("one winner of 32 writers, for each of 20 keys");
    run.says("versions of objects: not kept");
    write(bucket.source.join("larger"), noise(6, 20_000_000));
    let first = bucket.snapshot("-o s3.part-size=5");
    let requests = bucket.s3.requests();
    let parts = requests.iter().filter(|request| request["query"].as_str().expect("text").contains("partNumber="));
    assert!(parts.count() >= 4, "16 MiB are sent in parts of 5");
    let last = requests.iter().find(|request| request["method"] == "POST" && request["bytes"] != 0).expect("an end");
    assert_eq!(last["headers"]["if_none_match"], "*", "{last}");
    bucket.assert_whole(&first);

    std::fs::remove_file(bucket.source.join("larger")).expect("one file less");
    let second = bucket.snapshot("");
    bucket.run("forget --keep-last 1").ok();
    bucket.run("prune --grace 0 --max-unused 0").ok().says("freed");
    bucket.assert_whole(&second);
    let keys = bucket.s3.keys();
    assert!(keys.iter().all(|key| key.starts_with("host/data/")), "{keys:?}");
    assert!(keys.iter().any(|key| key == "host/data/storage.json"), "{keys:?}");
    assert!(!keys.iter().any(|key| key.contains("probe")), "{keys:?}");
    bucket.run("init").ends(1).says("use the repository that is there");
}

/// A request costs money and a round trip: who adds one says so here.
#[test]
fn every_command_makes_as_many_requests_as_it_needs() {
    let bucket = Bucket::empty();
    bucket.run("init --pack-size 16M").ok();
    let mut init = bucket.counts();
    init.retain(|kind, _| !kind.contains("probe"));
    let open = [("GET storage.json", 1), ("GET config", 1), ("LIST keys", 1), ("GET keys", 1)];
    let counted = |pairs: &[(&str, usize)]| -> BTreeMap<String, usize> {
        pairs.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect()
    };
    let with_open = |more: &[(&str, usize)]| counted(&[&open, more].concat());
    assert_eq!(
        init,
        counted(&[
            ("HEAD config", 1),
            ("GET versioning=", 1),
            ("GET object-lock=", 1),
            ("PUT storage.json", 1),
            ("LIST config", 1),
            ("LIST keys", 1),
            ("LIST packs", 1),
            ("LIST index", 1),
            ("LIST snapshots", 1),
            ("LIST sessions", 1),
            ("LIST forgotten", 1),
            ("LIST proofs", 1),
            ("LIST prune", 1),
            ("LIST clients", 1),
            ("LIST roots", 1),
            ("PUT keys", 1),
            ("PUT config", 1),
        ])
    );

    // Without the real directories above the source: others change those meanwhile.
    bucket.snapshot("--as /data");
    let first = bucket.counts();
    let writes = |counts: &BTreeMap<String, usize>, method: &str| {
        let all = counts.iter().filter(|(kind, _)| kind.starts_with(method));
        all.map(|(kind, count)| (kind.clone(), *count)).collect::<BTreeMap<_, _>>()
    };
    let stored = [("PUT index", 1), ("PUT packs", 2), ("PUT sessions", 2), ("PUT snapshots", 1)];
    assert_eq!(writes(&first, "PUT"), counted(&stored));
    assert_eq!(writes(&first, "HEAD"), counted(&[]), "where the store decides nothing is looked for before");
    assert_eq!(writes(&first, "DELETE"), counted(&[("DELETE sessions", 1)]));
    assert_eq!(first.values().sum::<usize>(), 17, "{first:?}");

    bucket.snapshot("--as /data");
    let unchanged = bucket.counts();
    assert_eq!(writes(&unchanged, "PUT"), counted(&[("PUT sessions", 2), ("PUT snapshots", 1)]));
    // Nothing that the first one put is fetched; the plans are listed before the intent and after it.
    let lists = [("LIST sessions", 1), ("LIST snapshots", 1), ("LIST forgotten", 1)];
    let session = [("PUT sessions", 2), ("PUT snapshots", 1), ("DELETE sessions", 1)];
    let others = [("LIST index", 1), ("LIST prune", 2)];
    assert_eq!(unchanged, with_open(&[&lists[..], &session, &others].concat()));

    // Snapshots and registers are kept in the cache, also by whoever put them.
    bucket.run("snapshots").ok();
    assert_eq!(bucket.counts(), with_open(&lists));
    bucket.run("snapshots --cache-size 0").ok();
    assert_eq!(bucket.counts(), with_open(&[&lists[..], &[("GET sessions", 2), ("GET snapshots", 2)]].concat()));

    // A list of files needs no object that this machine has put or read.
    for line in ["ls latest", "ls -R latest", "find nothing", "diff latest~1 latest"] {
        bucket.run(line).ok();
        assert_eq!(bucket.counts(), with_open(&[&lists[..], &[("LIST index", 1)]].concat()), "{line}");
    }
    bucket.run("check").ok();
    let check = bucket.counts();
    assert!(check.values().sum::<usize>() <= 24, "{check:?}");
    bucket.run("prune").ok();
    let prune = bucket.counts();
    assert!(prune.values().sum::<usize>() <= 50, "{prune:?}");
}

#[test]
fn it_does_what_every_storage_must() {
    // Lists come in pages of three.
    let s3 = S3::start_with(&[("MOTO_S3_DEFAULT_MAX_KEYS", "3")]);
    let access = s3.access();
    for prefix in ["plain", "", "with space/and+plus&ü"] {
        let (storage, found) = remote::create(&s3.address(prefix), &access).expect("a storage");
        assert!(found[0].contains("one winner"), "{found:?}");
        assert!(storage.capabilities().put_if_absent);
        engine::storage::check_conformance(&*storage);
    }
    // What was on record is what is promised; where nothing is, nothing is.
    assert!(remote::open(&s3.address("plain"), false, &access).expect("opens").capabilities().put_if_absent);
    let unknown = remote::open(&s3.address("elsewhere"), false, &access).expect("opens");
    assert!(!unknown.capabilities().put_if_absent);
    engine::storage::check_conformance(&*unknown);
}

#[test]
fn without_conditional_writes_all_works_but_that_prune_ends_no_sessions() {
    for (mode, said) in [("ignored", "ignored"), ("refused", "refused"), ("racy", "several of 32 writers won")] {
        let bucket = Bucket::empty();
        bucket.s3.set_mode(mode);
        bucket.run("init --pack-size 1M").ok().says(&format!("conditional writes: {said}"));
        let first = bucket.snapshot("");
        bucket.s3.set_faults(&json!([
            {"method": "PUT", "match": "/register$", "do": "lose", "times": 1},
            {"method": "PUT", "match": "/snapshots/", "do": "lose", "times": 1},
        ]));
        write(bucket.source.join("new"), noise(9, 100_000));
        let second = bucket.snapshot("");
        bucket.s3.assert_all_failed();
        bucket.assert_whole(&second);

        bucket.run(&format!("forget {first}")).ok();
        bucket.run("prune --grace 0 --max-unused 0").ok();
        bucket.assert_whole(&second);
    }
}

/// Each look is a round trip, one after the other.
#[test]
fn where_a_store_does_not_decide_only_what_others_may_write_is_looked_for() {
    for mode in ["ignored", "refused", "racy"] {
        let bucket = Bucket::empty();
        bucket.s3.set_mode(mode);
        bucket.run("init").ok();
        bucket.snapshot("--as /data");
        bucket.counts();
        let second = bucket.snapshot("--as /data");
        let unchanged = bucket.counts();
        let looks = |counts: &BTreeMap<String, usize>| -> Vec<(String, usize)> {
            counts.clone().into_iter().filter(|(kind, _)| kind.starts_with("HEAD") || kind == "GET sessions").collect()
        };
        // Whether somebody has ended the session.
        assert_eq!(looks(&unchanged), [("GET sessions".to_owned(), 1)], "{mode}: {unchanged:?}");
        assert_eq!(unchanged.values().sum::<usize>(), 15, "{mode}: {unchanged:?}");
        bucket.run(&format!("forget {second}")).ok();
        assert_eq!(looks(&bucket.counts()), [("HEAD forgotten".to_owned(), 1)], "{mode}");
    }
}

/// The same in both kinds of stores but for who ends a session that was killed.
#[test]
fn a_prune_ends_sessions_only_where_the_store_decides_who_was_first() {
    for (mode, ends) in [("atomic", true), ("ignored", false)] {
        let bucket = Bucket::empty();
        bucket.s3.set_mode(mode);
        bucket.run("init --pack-size 1M").ok();
        let first = bucket.snapshot("");
        std::fs::remove_file(bucket.source.join("large")).expect("one file less");
        bucket.snapshot("");
        bucket.run(&format!("forget {first}")).ok();
        // A request is on record before it is done, so the store is asked for the intent itself.
        let intents = || bucket.s3.keys().iter().filter(|key| key.ends_with("/intent")).count();
        let before = intents();
        let mut command = bucket.command();
        let mut child =
            command.args(["snapshot", "--stdin", "endless", "-q"]).stdin(Stdio::piped()).spawn().expect("it starts");
        wait_until("the session has begun", || intents() > before);
        child.kill().expect("ours");
        child.wait().expect("its end");
        let prune = bucket.run("prune --grace 0 --max-unused 0");
        if ends {
            prune.ok().says("revoked session").says("freed");
        } else {
            let prune = prune.ends(11).says("not finished: 1 session");
            let session = bucket.run("session list --json").ok().messages()[0]["id"].as_str().map(str::to_owned);
            let session = session.unwrap_or_else(|| panic!("no session\n{prune}"));
            bucket.run(&format!("session revoke {session}")).ok();
            bucket.run("prune --grace 0 --max-unused 0").ok().says("freed");
        }
        bucket.assert_whole("latest");
    }
}

#[test]
fn credentials_are_found_in_each_place() {
    let bucket = Bucket::new();
    let none = || {
        let mut command = bucket.command();
        command.arg("snapshots").env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        command
    };
    let home = bucket.scratch.file(".aws");
    let keys = "aws_access_key_id = test-access\naws_secret_access_key = test-secret\n";
    write(home.join("credentials"), format!("[default]\n{keys}[broken]\naws_access_key_id=x\n"));
    write(home.join("config"), format!("[profile other]\n{keys}region = eu-west-1\n"));
    run_command(&mut none()).ok();
    run_command(none().env("AWS_PROFILE", "other")).ok();
    bucket.s3.requests();
    run_command(none().args(["-o", "s3.profile=other"])).ok();
    run_command(none().env("AWS_PROFILE", "broken")).ends(1).says("one key of two");
    run_command(none().args(["-o", "s3.profile=missing"])).ends(1).says("profile missing").says("(no keys)");
    std::fs::remove_dir_all(home).expect("gone");

    let container = format!("{}/container", bucket.s3.endpoint());
    let of_container = || {
        let mut command = none();
        command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container);
        command
    };
    bucket.s3.requests();
    run_command(of_container().env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "container-token")).ok();
    let token = &bucket.s3.requests()[0]["headers"]["x_amz_security_token"];
    assert!(token.as_str().is_some_and(|token| token.starts_with("role-token")), "{token}");
    run_command(of_container().env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "x"))
        .ends(1)
        .says("cannot get credentials from");
    let machine = || {
        let mut command = none();
        command.env_remove("AWS_EC2_METADATA_DISABLED").env("AWS_EC2_METADATA_SERVICE_ENDPOINT", bucket.s3.endpoint());
        command
    };
    run_command(&mut machine()).ok();
    // Once for whoever reads it ahead, and once for whoever needs it.
    let ended = |times: u32| {
        let status = "400 Bad Request";
        let rule =
            json!({"match": "/config$", "do": "status", "status": status, "code": "ExpiredToken", "times": times});
        bucket.s3.set_faults(&json!([rule]));
    };
    // A token that ended before its time is renewed, if there is another one.
    ended(2);
    run_command(bucket.command().arg("snapshots").env("AWS_SESSION_TOKEN", "old"))
        .ends(1)
        .says("the credentials have ended");
    ended(1);
    run_command(&mut machine()).ok();
    bucket.s3.assert_all_failed();
}

#[test]
fn in_a_bucket_with_versions_and_locks_what_is_removed_is_absent() {
    let bucket = Bucket::empty();
    bucket.s3.amazon(
        "s3.put_object_lock_configuration(Bucket='locked', ObjectLockConfiguration={'ObjectLockEnabled': 'Enabled', \
         'Rule': {'DefaultRetention': {'Mode': 'COMPLIANCE', 'Days': 1}}})",
    );
    let address = bucket.s3.address("r").replace("/backups/", "/locked/");
    let run = |line: &str| {
        run_command(bucket.command().args(repo_tests::binary::split(line)).env("REPO_REPOSITORY", &address))
    };
    let init = run("init --pack-size 1M").ok();
    init.says("versions of objects: kept").says("object lock: on");
    let snapshot = |source: &Path| {
        run_command(bucket.command().args(words!["snapshot", "--json", source]).env("REPO_REPOSITORY", &address))
            .ok()
            .snapshot_id()
    };
    let first = snapshot(&bucket.source);
    write(bucket.source.join("large"), noise(77, 3_000_000));
    snapshot(&bucket.source);
    run(&format!("forget {first}")).ok();
    run("prune --grace 0 --max-unused 0").ok().says("freed");
    run("check --read-data").ok();
    let counted = bucket.s3.amazon(
        "versions = s3.list_object_versions(Bucket='locked', Prefix='r/packs/')\n\
         print(len(versions.get('DeleteMarkers', [])) > 0, len(versions['Versions']) > len(s3.list_objects_v2(Bucket='locked', Prefix='r/packs/')['Contents']))",
    );
    assert_eq!(counted.trim(), "True True", "old versions are still there for whoever has to go back");
}

/// A store without versions refuses to remove what it locks.
#[test]
fn an_object_that_is_locked_is_left_to_a_later_prune() {
    let bucket = Bucket::new();
    let first = bucket.snapshot("");
    write(bucket.source.join("large"), noise(77, 3_000_000));
    let second = bucket.snapshot("");
    bucket.run(&format!("forget {first}")).ok();
    bucket.s3.set_faults(&json!([
        {"method": "DELETE", "match": "/packs/", "do": "status", "status": "403 Forbidden", "code": "ObjectLocked", "times": 2},
    ]));
    // That is no failure.
    let run = bucket.run("prune --grace 0 --max-unused 0").ok();
    assert!(run.out().contains("2 objects are locked") && run.err().is_empty(), "{run}");
    bucket.s3.assert_all_failed();
    bucket.assert_whole(&second);
    bucket.run("prune --grace 0 --max-unused 0").ok().says("2 packs deleted");
    bucket.assert_whole(&second);
}
