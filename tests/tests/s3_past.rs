//! `--as-of`: a repository in a bucket with versions as it was before somebody destroyed it. The server is moto's, and the
//! thief uses Amazon's client.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use repo_tests::binary::split;
use repo_tests::compare::assert_diff_is_silent;
use repo_tests::scratch::files_below;
use repo_tests::servers::{Bucket, S3};
use repo_tests::tree::{noise, write};
use repo_tests::{Scratch, run_command, words};
use serde_json::json;

/// Ends when the store's clock, which counts seconds, is beyond all that is there; prints the time of the last version.
const MOMENT: &str = "\
def times():
  for page in s3.get_paginator('list_object_versions').paginate(Bucket='backups', Prefix='host/'):
    for entry in page.get('Versions', []) + page.get('DeleteMarkers', []): yield entry['LastModified']
last = max(times())
while True:
  s3.put_object(Bucket='backups', Key='clock', Body=b'')
  if s3.head_object(Bucket='backups', Key='clock')['LastModified'] > last: break
print(last.strftime('%Y-%m-%dT%H:%M:%SZ'))";

/// Removes all, then puts rubbish in place of the config, a pack and a register.
const THEFT: &str = "\
keys = [object['Key'] for page in s3.get_paginator('list_objects_v2').paginate(Bucket='backups', Prefix='host/')
        for object in page['Contents']]
for key in keys: s3.delete_object(Bucket='backups', Key=key)
for part in ['config', '/packs/', '/register']:
  s3.put_object(Bucket='backups', Key=next(key for key in keys if part in key), Body=b'pay')";

/// With versions and a repository. Lists come in pages of five.
fn bucket_with_versions() -> Bucket {
    let s3 = S3::start_with(&[("MOTO_S3_DEFAULT_MAX_KEYS", "5")]);
    s3.amazon("s3.put_bucket_versioning(Bucket='backups', VersioningConfiguration={'Status': 'Enabled'})");
    Bucket::on(s3).with_repository()
}

fn moment_of(bucket: &Bucket) -> String {
    bucket.s3.amazon(MOMENT).trim().to_owned()
}

/// How many versions and markers the bucket has.
fn versions_of(bucket: &Bucket) -> String {
    let code = "print(sum(len(page.get('Versions', [])) + len(page.get('DeleteMarkers', [])) for page in \
                s3.get_paginator('list_object_versions').paginate(Bucket='backups')))";
    bucket.s3.amazon(code)
}

/// All files of the cache.
fn remembered_by(bucket: &Bucket) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |path: PathBuf| fs::read(&path).ok().map(|bytes| (path, bytes));
    files_below(&bucket.scratch.cache()).into_iter().filter_map(read).collect()
}

#[test]
fn what_a_thief_removed_and_overwrote_is_read_as_it_was() {
    let bucket = bucket_with_versions();
    let first = bucket.snapshot("");
    let moment = moment_of(&bucket);
    bucket.s3.amazon(THEFT);
    let run = bucket.run("snapshots");
    assert_ne!(run.civil().code(), 0, "{run}");
    let before = versions_of(&bucket);

    let past = |line: &str| bucket.run(&format!("{line} --as-of {moment}"));
    past("snapshots").ok().says(&first[..8]);
    past("ls --recursive latest").ok().says("large");
    past("find large").ok().says("large");
    bucket.assert_restores("latest", &["--as-of", &moment]);
    let check = past("check --read-data --json").ok();
    assert_eq!(check.summary()["damaged"], false, "{check}");

    // All of it gets out, into a repository with keys of its own, and is whole there.
    let other = Scratch::new();
    let to = words!["copy", "--to", other.repository(), "--to-key-file", other.key_file(), "--as-of", moment];
    bucket.run_words(to).ok().says("copied 1 snapshot");
    other.check_clean();
    other.restore("latest", &bucket.source, &other.file("target")).ok();
    assert_diff_is_silent(&bucket.source, &other.file("target"));

    for line in [
        "init",
        "forget --keep-last 1",
        "prune",
        "tag --add x latest",
        "drill --all",
        "snapshot /etc/hostname",
        "snapshots -o s3.probe=again",
    ] {
        let run = past(line);
        assert!(matches!(run.code(), 1 | 3), "{run}");
        run.says("an earlier state can only be read");
    }
    let spare = bucket.scratch.file("spare");
    let run = bucket.run_words(words!["key", "add", "--new-key-file", spare, "--as-of", moment]);
    run.ends(1).says("an earlier state can only be read");
    assert_eq!(versions_of(&bucket), before, "nothing was written");
}

#[test]
fn what_this_machine_knows_of_the_present_stays_as_it_is() {
    let bucket = bucket_with_versions();
    let first = bucket.snapshot("");
    let moment = moment_of(&bucket);
    write(bucket.source.join("new"), noise(6, 2_000_000));
    for _ in 0..9 {
        bucket.snapshot("");
    }
    let last = bucket.snapshot("");
    bucket.run("check --read-data").ok();
    let before = remembered_by(&bucket);
    let past = |line: &str| bucket.run(&format!("{line} --as-of {moment}"));

    let run = past("snapshots --json").ok();
    assert!(run.out().contains(&first) && !run.out().contains(&last), "{run}");
    for line in ["snapshots", "ls latest", "check --read-data"] {
        let run = past(line).ok();
        assert!(!run.err().contains("earlier state") && !run.out().contains("earlier state"), "{run}");
    }
    assert_eq!(remembered_by(&bucket), before, "the cache is of the present");

    // What was pruned since is there again, and the present does not see it.
    bucket.run(&format!("forget {first}")).ok();
    bucket.run("forget --keep-last 1").ok();
    bucket.run("prune --grace 0 --max-unused 0").ok();
    fs::remove_file(bucket.source.join("new")).expect("as it was first");
    bucket.assert_restores("latest", &["--as-of", &moment]);
    let check = bucket.run("check --read-data --json").ok();
    assert_eq!(check.summary()["damaged"], false, "{check}");
    bucket.run("snapshots --json").ok().says(&last);
}

#[test]
fn what_has_no_past_says_so() {
    let bucket = bucket_with_versions();
    bucket.snapshot("");
    bucket.run("snapshots --as-of 2020-01-01").ends(10).says("there was no repository here").says("at 20");
    bucket.run("snapshots --as-of yesterday").ends(2).says("2026-11-21T04:00:00Z");
    let denied = |rule: serde_json::Value| {
        let mut rule = rule;
        rule["do"] = "status".into();
        rule["status"] = "403 Forbidden".into();
        rule["code"] = "AccessDenied".into();
        bucket.s3.set_faults(&json!([rule]));
        let run = bucket.run("snapshots --as-of now").ends(1);
        bucket.s3.assert_all_failed();
        run
    };
    denied(json!({"method": "GET", "query": "versions="})).says("s3:ListBucketVersions is denied on bucket backups");
    denied(json!({"method": "GET", "query": "versionId="})).says("s3:GetObjectVersion is denied on bucket backups");
    // Who may not ask whether there are versions may still read them.
    bucket.s3.set_faults(
        &json!([{"query": "versioning=", "do": "status", "status": "403 Forbidden", "code": "AccessDenied"}]),
    );
    bucket.run("snapshots --as-of now").ok();
    bucket.s3.assert_all_failed();

    Scratch::new().run("snapshots --as-of now").ends(1).says("only S3 buckets that keep versions");
    let plain = S3::start();
    let run = |line: &str| run_command(plain.command(&bucket.scratch, "r").args(split(line)));
    run("init").ok();
    run("snapshots --as-of now").ends(1).says("bucket backups keeps no versions");
}
