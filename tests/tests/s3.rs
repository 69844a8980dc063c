//! S3: a repository in a bucket, and what becomes of it when requests fail, answers are lost, and stores do less than they
//! should. The server is moto's; it checks each signature with Amazon's own code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use repo_tests::compare::assert_diff_is_silent;
use repo_tests::damage::wait_until;
use repo_tests::servers::S3;
use repo_tests::tree::{self, noise, write};
use repo_tests::{Run, Scratch, run_command, words};
use serde_json::{Value, json};

/// A server and what its clients have.
struct Bucket {
    s3: S3,
    scratch: Scratch,
    source: PathBuf,
}

impl Bucket {
    /// With a repository below `host/data`.
    fn new() -> Self {
        let bucket = Self::empty();
        bucket.run("init --pack-size 1M").ok();
        bucket.s3.requests();
        bucket
    }

    fn empty() -> Self {
        Self::on(S3::start())
    }

    fn on(s3: S3) -> Self {
        let scratch = Scratch::empty();
        let source = tree::small(&scratch.tree("source"), 1);
        write(source.join("large"), noise(5, 3_000_000));
        Self { s3, scratch, source }
    }

    fn command(&self) -> Command {
        self.s3.command(&self.scratch, "host/data")
    }

    fn run(&self, line: &str) -> Run {
        run_command(self.command().args(repo_tests::binary::split(line)))
    }

    #[track_caller]
    fn snapshot(&self, options: &str) -> String {
        let words = words!["snapshot", "--json", self.source];
        let words = words.into_iter().chain(repo_tests::binary::split(options));
        run_command(self.command().args(words)).ok().snapshot_id()
    }

    /// What is in a snapshot is what is in the source, and there is no damage.
    #[track_caller]
    fn assert_whole(&self, snapshot: &str) {
        let run = self.run("check --read-data --json").ok();
        assert_eq!(run.summary()["damaged"], false, "{run}");
        self.assert_restores(snapshot, &self.source);
    }

    /// What is in a snapshot is what is in its source.
    #[track_caller]
    fn assert_restores(&self, snapshot: &str, source: &Path) {
        let target = self.scratch.file("target");
        let _ = std::fs::remove_dir_all(&target);
        let what = format!("{snapshot}:{}", source.display());
        run_command(self.command().args(words!["restore", what, "--target", target])).ok();
        assert_diff_is_silent(source, &target);
    }

    /// How often each kind of request was made for each kind of object since the last call.
    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in self.s3.requests() {
            *counts.entry(kind_of(&request)).or_default() += 1;
        }
        counts
    }
}

/// `PUT packs`, `LIST sessions`, …
fn kind_of(request: &Value) -> String {
    let text = |name: &str| request[name].as_str().expect("text");
    let (method, path, query) = (text("method"), text("path"), text("query"));
    let family = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
    match path.strip_prefix("/backups/host/data/") {
        Some(name) => format!("{method} {}", family(name)),
        None if query.contains("list-type=2") => {
            let prefix = query.split("host%2Fdata%2F").nth(1).unwrap_or_default();
            format!("LIST {}", prefix.split('%').next().unwrap_or_default())
        }
        None => format!("{method} {query}"),
    }
}

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
    let lookup = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some("test-access".into()),
        "AWS_SECRET_ACCESS_KEY" => Some("test-secret".into()),
        _ => None,
    };
    let access = remote::Access::new(&[], std::sync::Arc::new(lookup)).expect("no options");
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

/// Two who end a session write the same bytes, and only the one that was first may go on.
#[test]
fn who_ends_a_session_is_not_told_on_a_guess_that_it_was_first() {
    let s3 = S3::start_with(&[]);
    let lookup = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some("test-access".into()),
        "AWS_SECRET_ACCESS_KEY" => Some("test-secret".into()),
        _ => None,
    };
    let access = remote::Access::new(&[], std::sync::Arc::new(lookup)).expect("no options");
    let (storage, _) = remote::create(&s3.address("prefix"), &access).expect("a storage");
    s3.set_faults(&json!([{"method": "PUT", "match": "/(register|snapshots/.*)$", "do": "lose", "times": 2}]));
    let register = engine::storage::ObjectName::Register(engine::id::SessionId::new([1; 16]));
    let snapshot = engine::storage::ObjectName::Snapshot(engine::id::SnapshotId::new([1; 32]));
    assert_eq!(storage.write_new(register, &[b"ended"]).expect("put"), engine::storage::Outcome::Existed);
    assert_eq!(storage.write_new(snapshot, &[b"bytes"]).expect("put"), engine::storage::Outcome::Written);
}

#[test]
fn an_answer_that_is_lost_is_not_taken_for_another_writer() {
    let bucket = Bucket::new();
    bucket.s3.set_faults(&json!([
        {"method": "PUT", "match": "/intent$", "do": "lose", "times": 1},
        {"method": "PUT", "match": "/packs/", "do": "lose", "times": 2},
        {"method": "PUT", "match": "/index/", "do": "lose", "times": 1},
        {"method": "PUT", "match": "/snapshots/", "do": "lose", "times": 1},
        {"method": "PUT", "match": "/register$", "do": "lose", "times": 1},
        {"method": "DELETE", "match": "/intent$", "do": "lose", "times": 1},
    ]));
    let snapshot = bucket.snapshot("");
    bucket.s3.assert_all_failed();
    let counts = bucket.counts();
    assert_eq!(counts["PUT sessions"], 4, "{counts:?}");
    assert_eq!(counts["PUT snapshots"], 2, "{counts:?}");
    assert_eq!(counts["GET snapshots"], 1, "what is there is read and compared: {counts:?}");
    assert_eq!(counts["DELETE sessions"], 2, "{counts:?}");
    bucket.assert_whole(&snapshot);
}

#[test]
fn what_passes_is_waited_for() {
    let bucket = Bucket::new();
    bucket.s3.set_faults(&json!([
        {"method": "PUT", "match": "/packs/", "do": "status", "status": "503 Slow Down", "code": "SlowDown",
         "headers": {"Retry-After": "0"}, "times": 2},
        {"method": "PUT", "match": "/packs/", "do": "reset", "times": 1},
        {"method": "PUT", "match": "/packs/", "do": "garble", "times": 1},
        {"method": "PUT", "match": "/index/", "do": "status", "status": "500 Internal", "code": "InternalError", "times": 1},
        {"method": "PUT", "match": "/snapshots/", "do": "status", "status": "409 Conflict",
         "code": "ConditionalRequestConflict", "times": 1},
        {"method": "GET", "query": "list-type=2.*index", "do": "html", "times": 1},
        {"method": "GET", "query": "list-type=2.*sessions", "do": "cut", "times": 1},
    ]));
    let snapshot = bucket.snapshot("");
    bucket.s3.assert_all_failed();
    bucket.assert_whole(&snapshot);
}

#[test]
fn an_upload_in_parts_ends_right_whatever_its_end_says() {
    let bucket = Bucket::empty();
    bucket.run("init --pack-size 16M").ok();
    for (number, fault) in [
        json!([{"method": "POST", "query": "^uploadId", "do": "lose", "times": 1}]),
        json!([{"method": "POST", "query": "^uploadId", "do": "error-inside", "code": "InternalError", "times": 1}]),
        json!([{"method": "POST", "query": "^uploadId", "do": "error-inside-after", "code": "InternalError", "times": 1}]),
        json!([{"method": "POST", "query": "^uploadId", "do": "html", "times": 1}]),
        json!([{"method": "POST", "query": "^uploadId", "do": "status", "status": "409 Conflict",
                "code": "ConditionalRequestConflict", "times": 1}]),
        json!([{"method": "PUT", "query": "partNumber=2", "do": "reset", "times": 2}]),
    ]
    .iter()
    .enumerate()
    {
        write(bucket.source.join("large"), noise(100 + number as u64, 12_000_000));
        bucket.s3.set_faults(fault);
        let snapshot = bucket.snapshot("-o s3.part-size=5");
        bucket.s3.assert_all_failed();
        bucket.assert_whole(&snapshot);
    }
    // One that fails for good leaves nothing behind.
    write(bucket.source.join("large"), noise(200, 12_000_000));
    bucket.s3.set_faults(&json!([
        {"method": "POST", "query": "^uploadId", "do": "error-inside", "code": "AccessDenied", "times": 1},
    ]));
    run_command(bucket.command().args(words!["snapshot", bucket.source, "-o", "s3.part-size=5"]))
        .ends(1)
        .says("AccessDenied");
    let left = bucket.s3.amazon("print(len(s3.list_multipart_uploads(Bucket='backups').get('Uploads', [])))");
    assert_eq!(left.trim(), "0");
}

#[test]
fn uploads_that_nobody_ends_are_aborted_by_a_prune() {
    let bucket = Bucket::new();
    let pack = format!("packs/00/{:064}", 0);
    // moto says of every upload that it began in 2010.
    bucket.s3.amazon(&format!(
        "for key in ['host/data/{pack}', 'host/data/other', 'host/{pack}']:\n  \
         s3.create_multipart_upload(Bucket='backups', Key=key)"
    ));
    bucket.run("prune").ok();
    let left = bucket
        .s3
        .amazon("for upload in s3.list_multipart_uploads(Bucket='backups').get('Uploads', []): print(upload['Key'])");
    let mut left: Vec<_> = left.lines().collect();
    left.sort_unstable();
    assert_eq!(left, ["host/data/other", &format!("host/{pack}")], "what is not the repository's is left alone");
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
        bucket.s3.requests();
        let mut command = bucket.command();
        let mut child =
            command.args(["snapshot", "--stdin", "endless", "-q"]).stdin(Stdio::piped()).spawn().expect("it starts");
        let begun = |requests: Vec<Value>| requests.iter().any(|request| kind_of(request) == "PUT sessions");
        wait_until("the session has begun", || begun(bucket.s3.requests()));
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
fn writers_and_prunes_share_a_bucket() {
    let bucket = Bucket::new();
    let first = bucket.snapshot("");
    write(bucket.source.join("large"), noise(50, 3_000_000));
    let second = bucket.snapshot("");
    bucket.run(&format!("forget {first}")).ok();
    let sources: Vec<PathBuf> = (0..3)
        .map(|number| {
            let source = tree::small(&bucket.scratch.tree(&format!("writer-{number}")), 10 * number);
            write(source.join("large"), noise(60 + number, 2_000_000));
            source
        })
        .collect();
    // Each with a cache of its own, as on a machine of its own.
    let command = |number: usize| {
        let mut command = bucket.command();
        command.env("REPO_CACHE_DIR", bucket.scratch.file(format!("cache-{number}")));
        command
    };
    let snapshots = |number: usize| -> Vec<String> {
        let snapshot =
            |_| run_command(command(number).args(words!["snapshot", "--json", sources[number]])).ok().snapshot_id();
        (0..3).map(snapshot).collect()
    };
    let saved: Vec<Vec<String>> = std::thread::scope(|scope| {
        let snapshots = &snapshots;
        let writers: Vec<_> = (0..3).map(|number| scope.spawn(move || snapshots(number))).collect();
        for _ in 0..4 {
            let run = run_command(command(9).args(["prune", "--grace", "0", "--max-unused", "0"]));
            assert!([0, 11].contains(&run.civil().code()), "{run}");
        }
        writers.into_iter().map(|writer| writer.join().expect("a writer")).collect()
    });
    bucket.run("prune --grace 0 --max-unused 0").ok();
    for (source, snapshots) in sources.iter().zip(saved) {
        snapshots.iter().for_each(|snapshot| bucket.assert_restores(snapshot, source));
    }
    bucket.assert_whole(&second);
}

#[test]
fn a_host_that_may_remove_nothing_makes_snapshots() {
    let bucket = Bucket::new();
    bucket.s3.set_faults(&json!([
        {"method": "DELETE", "do": "status", "status": "403 Forbidden", "code": "AccessDenied", "times": 2},
    ]));
    bucket.snapshot("");
    let second = bucket.snapshot("");
    bucket.s3.assert_all_failed();
    assert_eq!(bucket.counts()["DELETE sessions"], 2, "what is denied is not asked for again");
    bucket.assert_whole(&second);
}

/// Sizes and answers of the other side are not believed.
#[test]
fn answers_that_make_no_sense_end_in_errors() {
    let bucket = Bucket::new();
    bucket.snapshot("");
    let pack = bucket.s3.keys().into_iter().find(|key| key.contains("/packs/")).expect("a pack");
    bucket.s3.amazon(&format!("s3.put_object(Bucket='backups', Key='{pack}', Body=b'short')"));
    let config = "s3.put_object(Bucket='backups', Key='host/data/config', Body=b'x' * 10_000_000)";
    bucket.run("check --read-data").ends(5);
    bucket.s3.amazon(config);
    bucket.s3.requests();
    bucket.run("snapshots").ends(5).says("config is too large");
}

#[test]
fn each_failure_names_its_cause_and_what_to_do() {
    let bucket = Bucket::new();
    let fault = |rule: Value| bucket.s3.set_faults(&json!([rule]));
    let status =
        |status: &str, code: &str| json!({"match": "storage.json$", "do": "status", "status": status, "code": code});

    let elsewhere = bucket.s3.address("x").replace("/backups/", "/nowhere/");
    bucket
        .run(&format!("snapshots -r {elsewhere}"))
        .ends(10)
        .says("there is no bucket nowhere")
        .says("make the bucket");
    bucket.run(&format!("snapshots -r {}", bucket.s3.address("x"))).ends(10).says("it has no config");
    let with = |name: &str, value: &str| run_command(bucket.command().args(["snapshots"]).env(name, value));
    with("AWS_SECRET_ACCESS_KEY", "wrong")
        .ends(1)
        .says("SignatureDoesNotMatch")
        .says("does not accept the credentials");
    with("AWS_ACCESS_KEY_ID", "wrong").ends(1).says("InvalidAccessKeyId").says("hint: set AWS_ACCESS_KEY_ID");
    run_command(bucket.command().arg("snapshots").env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY"))
        .ends(1)
        .says("no credentials for S3")
        .says("AWS_EC2_METADATA_DISABLED is set");

    fault(status("403 Forbidden", "AccessDenied"));
    bucket.run("snapshots").ends(1).says("s3:GetObject is denied on bucket backups");
    let mut skewed = status("403 Forbidden", "RequestTimeTooSkewed");
    skewed["headers"] = json!({"Date": "Sun, 29 Nov 2020 00:00:00 GMT"});
    fault(skewed);
    bucket.run("snapshots").ends(1).says("ahead of the store's").says("hint: set the clock");
    let mut region = status("400 Bad Request", "AuthorizationHeaderMalformed");
    region["elements"] = json!({"Region": "eu-central-1"});
    fault(region);
    bucket
        .run("snapshots")
        .ends(1)
        .says("bucket backups is in region eu-central-1, not in us-east-1")
        .says("s3.region");
    fault(status("501 Not Implemented", "NotImplemented"));
    bucket.run("snapshots").ends(1).says("the store does not have this: s3:GetObject");
    fault(
        json!({"method": "PUT", "match": "/intent$", "do": "status", "status": "403 Forbidden", "code": "QuotaExceeded"}),
    );
    run_command(bucket.command().args(words!["snapshot", bucket.source])).ends(1).says("hint: make room");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    bucket.run(&format!("snapshots -r s3:http://{closed}/backups")).ends(1).says("no connection to http://127.0.0.1");
    let tls = bucket.s3.address("x").replace("http://", "https://");
    bucket.run(&format!("snapshots -r {tls}")).ends(1).says("no secure connection").says("SSL_CERT_FILE");
    bucket.run("snapshots -o s3.regoin=x").ends(1).says("unknown option s3.regoin").says("s3.region");
    bucket.run("snapshots -o s3.part-size=4").ends(1).says("5 to 4096 is expected");
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
    let ended = || {
        let rule = json!({"match": "/config$", "do": "status", "status": "400 Bad Request", "code": "ExpiredToken"});
        bucket.s3.set_faults(&json!([rule]));
    };
    // A token that ended before its time is renewed, if there is another one.
    ended();
    run_command(bucket.command().arg("snapshots").env("AWS_SESSION_TOKEN", "old"))
        .ends(1)
        .says("the credentials have ended");
    ended();
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
