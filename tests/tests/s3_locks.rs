//! Object lock: what `retain` locks in a bucket, what a thief can do then, and what a prune does that meets locks. The server
//! is moto's; what is locked is asked by Amazon's client, and what that is good for by the reader in Python.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use repo_tests::binary::split;
use repo_tests::compare::assert_diff_is_silent;
use repo_tests::python::reader;
use repo_tests::servers::S3;
use repo_tests::tree::{self, noise, write};
use repo_tests::{Run, Scratch, run_command, words};
use serde_json::{Value, json};

/// Prints each version: key, whether it is the last one, its lock's mode, and for how many hours that lasts.
const LOCKS: &str = "\
import datetime, json
now = datetime.datetime.now(datetime.timezone.utc)
for page in s3.get_paginator('list_object_versions').paginate(Bucket='locked', Prefix='host/data/'):
  for entry in page.get('Versions', []):
    head = s3.head_object(Bucket='locked', Key=entry['Key'], VersionId=entry['VersionId'])
    until = head.get('ObjectLockRetainUntilDate')
    hours = round((until - now).total_seconds() / 3600) if until else None
    print(json.dumps([entry['Key'][10:], entry['IsLatest'], head.get('ObjectLockMode'), hours]))";

/// Removes all objects, then tries to remove each version; prints how many of those stayed.
const THEFT: &str = "\
from botocore.exceptions import ClientError
pages = lambda: s3.get_paginator('list_object_versions').paginate(Bucket='locked', Prefix='host/data/')
versions = [entry for page in pages() for entry in page.get('Versions', [])]
for entry in versions:
  if entry['IsLatest']: s3.delete_object(Bucket='locked', Key=entry['Key'])
stayed = 0
for entry in versions:
  try: s3.delete_object(Bucket='locked', Key=entry['Key'], VersionId=entry['VersionId'])
  except ClientError as error:
    assert error.response['Error']['Code'] == 'AccessDenied', error
    stayed += 1
print(stayed)";

/// Ends when the store's clock, which counts seconds, is beyond all that is there; prints the time of the last version.
const MOMENT: &str = "\
times = [entry['LastModified'] for page in
  s3.get_paginator('list_object_versions').paginate(Bucket='locked', Prefix='host/')
  for entry in page.get('Versions', []) + page.get('DeleteMarkers', [])]
while True:
  s3.put_object(Bucket='backups', Key='clock', Body=b'')
  if s3.head_object(Bucket='backups', Key='clock')['LastModified'] > max(times): break
print(max(times).strftime('%Y-%m-%dT%H:%M:%SZ'))";

/// A lock: mode and hours that are left.
type Lock = (String, i64);

struct Bucket {
    s3: S3,
    scratch: Scratch,
    source: PathBuf,
}

impl Bucket {
    /// With object lock and a repository of small packs.
    fn new() -> Self {
        let s3 = S3::start();
        let scratch = Scratch::empty();
        let source = tree::small(&scratch.tree("source"), 1);
        let bucket = Self { s3, scratch, source };
        bucket.run("init --pack-size 1M").ok().says("object lock: on");
        bucket
    }

    fn run_words(&self, words: Vec<std::ffi::OsString>) -> Run {
        run_command(self.s3.command_on_locks(&self.scratch, "host/data").args(words))
    }

    fn run(&self, line: &str) -> Run {
        self.run_words(split(line))
    }

    /// A snapshot with two megabytes that no other one has.
    #[track_caller]
    fn snapshot(&self, seed: u64, options: &str) -> String {
        write(self.source.join("large"), noise(seed, 2_000_000));
        let words = words!["snapshot", "--json", self.source];
        self.run_words(words.into_iter().chain(split(options)).collect()).ok().snapshot_id()
    }

    /// The locks of the last versions, as Amazon's client sees them.
    fn locks(&self) -> BTreeMap<String, Option<Lock>> {
        let rows = self.s3.amazon(LOCKS);
        let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).expect("a row"));
        rows.filter(|row| row[1] == true)
            .map(|row| {
                let lock = row[2].as_str().map(|mode| (mode.to_owned(), row[3].as_i64().expect("hours")));
                (row[0].as_str().expect("a key").to_owned(), lock)
            })
            .collect()
    }

    /// The objects that are locked.
    fn locked(&self) -> BTreeSet<String> {
        self.locks().into_iter().filter(|(_, lock)| lock.is_some()).map(|(key, _)| key).collect()
    }

    /// Objects in a directory of this machine, where the reader finds them.
    fn download(&self, keys: &BTreeSet<String>) {
        let place = self.scratch.repository();
        let _ = fs::remove_dir_all(&place);
        fs::create_dir(&place).expect("a directory");
        let list = serde_json::to_string(keys).expect("JSON");
        self.s3.amazon(&format!(
            "import json, pathlib\nfor key in json.loads('{list}'):\n  path = pathlib.Path({place:?}) / key\n  \
             path.parent.mkdir(parents=True, exist_ok=True)\n  s3.download_file('locked', 'host/data/' + key, str(path))"
        ));
    }

    /// Whether the reader gets a snapshot back from what was downloaded.
    fn reader_restores(&self, snapshot: &str) -> bool {
        let target = self.scratch.file("target");
        let _ = fs::remove_dir_all(&target);
        let run = reader(&self.scratch, words!["restore", snapshot, target]);
        if run.status.success() {
            assert_diff_is_silent(&self.source, &target.join(self.source.strip_prefix("/").expect("absolute")));
        }
        run.status.success()
    }

    /// How many requests of a kind there were since the last call: `HEAD`, `retention`, `object-lock`.
    fn requests(&self) -> (usize, usize, usize) {
        let requests = self.s3.requests();
        let count = |is: &dyn Fn(&str, &str) -> bool| {
            let text = |request: &Value, name: &str| request[name].as_str().expect("text").to_owned();
            requests.iter().filter(|request| is(&text(request, "method"), &text(request, "query"))).count()
        };
        (
            count(&|method, _| method == "HEAD"),
            count(&|method, query| method == "PUT" && query.contains("retention=")),
            count(&|_, query| query.contains("object-lock=")),
        )
    }
}

fn packs(keys: &BTreeSet<String>) -> BTreeSet<String> {
    keys.iter().filter(|key| key.starts_with("packs/")).cloned().collect()
}

#[test]
fn what_the_kept_snapshots_need_is_locked_and_no_other_pack() {
    let bucket = Bucket::new();
    let first = bucket.snapshot(1, "");
    let kept = [bucket.snapshot(2, ""), bucket.snapshot(3, "")];
    bucket.run(&format!("forget {first}")).ok();
    assert_eq!(bucket.locked(), BTreeSet::new());
    bucket.s3.requests();

    let dry = bucket.run("retain --for 30d --dry-run --json").ok();
    let (heads, puts, _) = bucket.requests();
    assert_eq!(puts, 0, "{dry}");
    let run = bucket.run("retain --for 30d --json").ok();
    let locked = bucket.locked();
    let count = locked.len();
    assert_eq!(heads, count);
    for run in [&dry, &run] {
        assert_eq!(run.summary()["objects_extended"], count, "{run}");
        assert_eq!((&run.summary()["snapshots"], &run.summary()["mode"]), (&json!(2), &json!("governance")), "{run}");
        let kinds: Vec<Value> = run.of_type("retain").iter().map(|message| message["kind"].clone()).collect();
        assert_eq!(kinds, ["config", "forgotten", "index", "keys", "packs", "sessions", "snapshots"], "{run}");
    }
    assert!(bucket.locks().values().flatten().all(|lock| *lock == ("GOVERNANCE".to_owned(), 720)));

    // What is locked is enough for another program, and no pack of it too much.
    bucket.download(&locked);
    assert!(bucket.reader_restores(&kept[1]), "what is locked is enough");
    write(bucket.source.join("large"), noise(2, 2_000_000));
    assert!(bucket.reader_restores(&kept[0]), "what is locked is enough");
    assert!(locked.contains(&format!("forgotten/{first}")) && !locked.contains(&format!("snapshots/{first}")));
    assert!(!locked.iter().any(|key| key.starts_with("prune/") || key.ends_with("/intent") || key == "storage.json"));
    for pack in packs(&locked) {
        let path = bucket.scratch.repository().join(&pack);
        let bytes = fs::read(&path).expect("a pack");
        fs::remove_file(&path).expect("removed");
        let restores = |seed, snapshot| {
            write(bucket.source.join("large"), noise(seed, 2_000_000));
            bucket.reader_restores(snapshot)
        };
        assert!(!restores(2, &kept[0]) || !restores(3, &kept[1]), "nobody needs {pack}");
        fs::write(&path, bytes).expect("as it was");
    }
}

#[test]
fn locks_are_asked_each_night_and_extended_when_a_tenth_is_gone() {
    let bucket = Bucket::new();
    let first = bucket.snapshot(1, "");
    let objects = bucket.run("retain --for 30d --json").ok().summary()["objects"].as_u64().expect("a number") as usize;
    assert_eq!((bucket.requests().1, bucket.locked().len()), (objects, objects));
    let extended = |line: &str| {
        // Without those of Amazon's client.
        bucket.requests();
        let run = bucket.run(line).ok();
        assert_eq!(
            bucket.requests(),
            (objects, run.summary()["objects_extended"].as_u64().expect("a number") as usize, 1)
        );
        run.summary()["objects_extended"].as_u64().expect("a number") as usize
    };
    assert_eq!(extended("retain --for 30d --json"), 0);
    // Of 33 days 29.7 are enough, of 34 it would be 30.6.
    assert_eq!(extended("retain --for 33d --json"), 0);
    assert_eq!(extended("retain --for 34d --json"), objects);
    assert_eq!(extended("retain --for 1d --json"), 0);
    assert!(bucket.locks().values().flatten().all(|lock| *lock == ("GOVERNANCE".to_owned(), 34 * 24)));
    assert_eq!(extended("retain --for 1d --mode compliance --json"), objects);
    assert_eq!(extended("retain --for 50d --json"), objects);
    assert!(bucket.locks().values().flatten().all(|lock| *lock == ("COMPLIANCE".to_owned(), 50 * 24)));
    assert_eq!(extended("retain --until 2199-12-31T00:00:00Z --json"), objects);
    assert_eq!(extended("retain --until 2199-12-31T00:00:00Z --json"), 0);
    assert_eq!(extended(&format!("retain --for 1d --json {first}")), 0);
    assert_eq!(extended("retain --for 1d --json --keep-last 1"), 0);
    bucket.run("retain --for 30d --dry-run").ok().says("0 objects").says("nothing was changed");

    bucket.run("retain --for 1d --host nobody").ends(1).says("no snapshot matches, so nothing is locked");
    bucket.run("retain --until 2020-01-01").ends(1).says("has passed");
    bucket.run("retain").ends(2);
    bucket.run("retain --for 1d --until 2199-01-01").ends(2);
}

/// The thief has all rights but to pass locks by.
#[test]
fn what_is_locked_survives_a_thief_and_is_kept_for_as_long_as_it_takes() {
    let bucket = Bucket::new();
    bucket.snapshot(1, "");
    bucket.snapshot(2, "");
    bucket.run("forget --keep-last 1").ok();
    bucket.run("retain --for 30d").ok();
    let locked = bucket.locked();
    let moment = bucket.s3.amazon(MOMENT).trim().to_owned();
    assert_eq!(bucket.s3.amazon(THEFT).trim(), locked.len().to_string());
    bucket.run("snapshots").ends(10);
    bucket.run("retain --for 30d").ends(10);

    // All that was hidden is there, and can be kept for longer.
    let run = bucket.run(&format!("retain --for 90d --as-of {moment} --json")).ok();
    assert_eq!(run.summary()["objects_extended"], locked.len(), "{run}");
    let rows = bucket.s3.amazon(LOCKS);
    let hours: BTreeSet<i64> = rows
        .lines()
        .map(|row| serde_json::from_str::<Value>(row).expect("a row")[3].as_i64().expect("hours"))
        .collect();
    assert_eq!(hours, [90 * 24].into());
    let target = bucket.scratch.file("target");
    let what = format!("latest:{}", bucket.source.display());
    bucket.run_words(words!["restore", what, "--target", target, "--as-of", moment]).ok();
    assert_diff_is_silent(&bucket.source, &target);
}

#[test]
fn objects_can_be_locked_when_they_are_put() {
    let bucket = Bucket::new();
    bucket.s3.requests();
    let options = "-o s3.lock=10d -o s3.lock-mode=compliance";
    let id = bucket.snapshot(1, options);
    let expected = Some(("COMPLIANCE".to_owned(), 240));
    let locks = bucket.locks();
    let of = |family: &str| locks.iter().filter(|(key, _)| key.starts_with(family)).collect::<Vec<_>>();
    for family in ["packs/", "index/", "snapshots/", "sessions/"] {
        assert!(!of(family).is_empty() && of(family).iter().all(|(_, lock)| **lock == expected), "{family} {locks:?}");
    }
    let is_locked = |request: &Value| request["headers"].get("x_amz_object_lock_mode").is_some();
    let intents = |request: &&Value| request["path"].as_str().is_some_and(|path| path.ends_with("/intent"));
    let requests = bucket.s3.requests();
    let puts: Vec<&Value> = requests.iter().filter(|request| request["method"] == "PUT").collect();
    assert!(puts.iter().all(|request| is_locked(request) != intents(request)), "{puts:?}");
    assert_eq!(puts.iter().filter(|request| intents(request)).count(), 1);

    // In parts, the beginning says it.
    let scratch = Scratch::empty();
    let run = |line: &str| run_command(bucket.s3.command_on_locks(&scratch, "large").args(split(line)));
    run("init --pack-size 16M -o s3.lock=10d").ok();
    write(scratch.tree("large").join("file"), noise(9, 12_000_000));
    bucket.s3.requests();
    run(&format!("snapshot {} -o s3.lock=10d -o s3.part-size=5", scratch.file("large").display())).ok();
    let requests = bucket.s3.requests();
    let begun: Vec<&Value> = requests.iter().filter(|request| request["query"] == "uploads=").collect();
    assert!(!begun.is_empty() && begun.iter().all(|request| is_locked(request)), "{begun:?}");

    // What a prune puts for itself is not locked; what it copies is.
    bucket.snapshot(2, options);
    bucket.run(&format!("forget {id}")).ok();
    bucket.s3.requests();
    bucket.run(&format!("prune --grace 0 --max-unused 0 {options}")).ok().says("freed");
    for put in bucket.s3.requests().iter().filter(|request| request["method"] == "PUT") {
        let path = put["path"].as_str().expect("a path");
        assert_eq!(is_locked(put), !path.contains("/prune/") && !path.ends_with("/intent"), "{path}");
    }
    bucket.run("snapshots -o s3.lock=soon").ends(1).says("as in 30d");
    let plain = |line: &str| run_command(bucket.s3.command(&bucket.scratch, "plain").args(split(line)));
    plain("init -o s3.lock=10d").ends(1).says("bucket backups has no object lock");
}

/// A lock is in nobody's way there: a removal hides what is locked.
#[test]
fn with_versions_a_removal_that_is_denied_is_a_problem() {
    let bucket = Bucket::new();
    let first = bucket.snapshot(1, "-o s3.lock=10d");
    bucket.snapshot(2, "-o s3.lock=10d");
    bucket.run(&format!("forget {first}")).ok();
    bucket.s3.set_faults(&json!([{"method": "DELETE", "match": "/packs/", "do": "status", "status": "403 Forbidden",
        "code": "AccessDenied", "times": 1}]));
    bucket.run("prune --grace 0 --max-unused 0").ends(3).says("s3:DeleteObject is denied");
    bucket.s3.assert_all_failed();
    bucket.run("prune --grace 0 --max-unused 0").ok().says("1 pack deleted");
}

/// In a store without versions.
#[test]
fn a_prune_defers_what_is_locked_and_frees_it_later() {
    let bucket = Bucket::new();
    bucket.s3.set_keeps(true);
    let first = bucket.snapshot(1, "-o s3.lock=10d");
    let second = bucket.snapshot(2, "");
    bucket.run(&format!("forget {first}")).ok();
    // The packs wait for the snapshot.
    let all = packs(&bucket.locks().into_keys().collect());
    for _ in 0..2 {
        let run = bucket.run("prune --grace 0 --max-unused 0 --json").ok();
        let summary = run.summary();
        assert_eq!((&summary["snapshots_locked"], &summary["packs_deleted"]), (&json!(1), &json!(0)), "{run}");
        assert!(packs(&bucket.locks().into_keys().collect()).is_superset(&all));
        bucket.run("check --read-data").ok();
    }
    let run = bucket.run("prune --grace 0 --max-unused 0").ok();
    assert!(run.err().contains("1 dropped snapshot among these") && !run.err().contains("problem"), "{run}");

    let end = |keys: &str| {
        bucket.s3.amazon(&format!(
            "for object in s3.list_objects_v2(Bucket='locked', Prefix='host/data/{keys}')['Contents']:\n  \
             s3.put_object_retention(Bucket='locked', Key=object['Key'], Retention={{'Mode': 'COMPLIANCE', \
             'RetainUntilDate': '2020-01-01T00:00:00Z'}})"
        ))
    };
    end("snapshots/");
    let run = bucket.run("prune --grace 0 --max-unused 0 --json").ok();
    let summary = run.summary();
    assert_eq!((&summary["plans_resumed"], &summary["snapshots_locked"]), (&json!(1), &json!(0)), "{run}");
    assert!(
        summary["objects_locked"].as_u64() > Some(1) && summary["bytes_locked"].as_u64() > Some(1_000_000),
        "{run}"
    );
    assert!(summary["locked_until"].is_string() && summary["error_count"] == 0, "{run}");
    bucket.run("check --read-data").ok();

    // A removal that is denied for another reason is a problem.
    bucket.s3.set_faults(&json!([{"method": "DELETE", "match": "/packs/", "do": "status", "status": "403 Forbidden",
        "code": "AccessDenied", "times": 1}]));
    end("packs/");
    let run = bucket.run("prune --grace 0 --max-unused 0").ends(3);
    run.says("1 object could not be deleted");
    bucket.s3.assert_all_failed();
    end("index/");
    bucket.run("prune --grace 0 --max-unused 0").ok().says("deleted");
    assert_eq!(bucket.run("prune --grace 0 --max-unused 0 --json").ok().summary()["objects_locked"], 0);
    bucket.run("check --read-data").ok();
    bucket.download(&bucket.locks().into_keys().collect());
    assert!(bucket.reader_restores(&second));
}

#[test]
fn where_nothing_can_be_locked_that_is_said() {
    let local = Scratch::new();
    let source = local.tree("source");
    write(source.join("file"), noise(1, 1000));
    local.snapshot(&source);
    let run = local.run("retain --for 30d").ends(1).says("no object lock");
    run.says("use a bucket with object lock");

    let bucket = Bucket::new();
    bucket.snapshot(1, "");
    let plain = |line: &str| run_command(bucket.s3.command(&bucket.scratch, "plain").args(split(line)));
    plain("init").ok();
    plain(&format!("snapshot {}", bucket.source.display())).ok();
    for line in ["retain --for 30d", "retain --for 30d --dry-run"] {
        plain(line).ends(1).says("bucket backups has no object lock").says("turn object lock on");
    }
    // Where the bucket does not say, the first refusal does.
    let silent = json!({"query": "object-lock=", "do": "status", "status": "403 Forbidden", "code": "AccessDenied"});
    bucket.s3.set_faults(&json!([silent]));
    plain("retain --for 30d").ends(1).says("bucket backups has no object lock");
    bucket.s3.assert_all_failed();

    let denied = |times: usize| {
        bucket
            .s3
            .set_faults(&json!([{"method": "PUT", "query": "retention=", "do": "status", "status": "403 Forbidden",
            "code": "AccessDenied", "times": times}]));
    };
    denied(1000);
    bucket.run("retain --for 30d").ends(1).says("s3:PutObjectRetention is denied on bucket locked");
    // One that is refused does not keep the others from being locked.
    denied(1);
    bucket.run("retain --for 30d").ends(3).says("it is not locked by this");
    bucket.run("retain --for 30d").ok().says("locked 1 object until");
}
