//! S3: what becomes of a repository in a bucket when requests fail, answers are lost or make no sense, and permissions are
//! missing. The server is moto's.

use repo_tests::servers::{Bucket, S3};
use repo_tests::tree::{noise, write};
use repo_tests::{run_command, words};
use serde_json::{Value, json};

/// Two who end a session write the same bytes, and only the one that was first may go on.
#[test]
fn who_ends_a_session_is_not_told_on_a_guess_that_it_was_first() {
    let s3 = S3::start_with(&[]);
    let access = s3.access();
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
