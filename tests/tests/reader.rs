//! The reader that was written from the specification alone reads what the engine writes, byte for byte.

use std::fs;
use std::path::{Path, PathBuf};

use repo_tests::compare::{assert_diff_is_silent, assert_same, assert_same_with};
use repo_tests::damage::{Harm, Kind, harm, objects_of};
use repo_tests::python::{reader, script, specification};
use repo_tests::scratch::{PASSWORD, copy_tree};
use repo_tests::tree::{self, noise, prose, write};
use repo_tests::{Run, Scratch, is_root, words};
use serde_json::Value;

#[track_caller]
fn ok(run: Run) -> Run {
    assert!(run.status.success(), "{run}");
    run
}

#[track_caller]
fn json(run: &Run) -> Vec<Value> {
    serde_json::from_slice::<Value>(&run.stdout).expect("JSON").as_array().expect("a list").clone()
}

/// Fails unless the reader finds everything in order.
#[track_caller]
fn verify(scratch: &Scratch) {
    let run = ok(reader(scratch, ["verify"]));
    assert!(run.out().contains("no problems"), "{run}");
}

/// Lets the reader restore a whole snapshot; gives the place where `source` came back.
#[track_caller]
fn restore(scratch: &Scratch, snapshot: &str, source: &Path, target: &str) -> PathBuf {
    let target = scratch.file(target);
    ok(reader(scratch, words!["restore", snapshot, target]));
    target.join(source.strip_prefix("/").expect("absolute"))
}

/// Paths that the engine and the reader list.
#[track_caller]
fn assert_same_list(scratch: &Scratch, snapshot: &str) {
    let run = scratch.run_words(["ls", "-R", "--json", snapshot]).ok();
    let raw = |node: &Value| match node["path_bytes"].as_str() {
        Some(hex) => hex.to_owned(),
        None => hex_of(node["path"].as_str().expect("a path").as_bytes()),
    };
    let mut engine: Vec<String> = run.of_type("node").iter().map(raw).collect();
    // Bytes that are no UTF-8 are lone surrogates there: Python itself turns them back.
    let convert = "import json, os, sys\nfor row in json.load(sys.stdin): print(os.fsencode(row['path']).hex())";
    let listed = scratch.file("listed.json");
    fs::write(&listed, reader(scratch, ["ls", "--json", snapshot]).stdout).expect("written");
    let run = repo_tests::run_command(
        std::process::Command::new("sh").args(["-c", "exec python3 -c \"$0\" < \"$1\"", convert]).arg(&listed),
    );
    let mut python: Vec<String> = ok(run).out().lines().map(str::to_owned).collect();
    engine.sort();
    python.sort();
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|path| !those.contains(path)).cloned().collect()
    };
    let different = (only(&engine, &python), only(&python, &engine));
    assert!(different.0.is_empty() && different.1.is_empty(), "one lists what the other does not: {different:?}");
    assert!(engine == python && !python.is_empty(), "each once");
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn everything_with(cipher: &str) {
    let scratch = Scratch::with_options(&format!("--cipher {cipher}"));
    let source = scratch.tree("source");
    tree::everything(&source);
    if is_root() {
        tree::privileged(&source);
    }
    tree::modes_and_times(&source);
    tree::crowd(&source.join("crowd"), 1500);
    scratch.run_words(words!["snapshot", source]).ends(if is_root() { 0 } else { 3 });
    verify(&scratch);
    let back = restore(&scratch, "latest", &source, "target");
    if is_root() {
        assert_same(&source, &back);
        assert_diff_is_silent(&source, &back);
    } else {
        assert_same_with(&["--no-owner", "--skip=modes/file-0000", "--skip=modes/file-0200"], &source, &back);
    }
    assert_same_list(&scratch, "latest");
}

#[test]
fn everything_with_xchacha20() {
    everything_with("xchacha20");
}

#[test]
fn everything_with_aes256gcm() {
    everything_with("aes256gcm");
}

#[test]
fn a_file_with_an_indirect_chunk_list() {
    let scratch = Scratch::with_options("--chunk-size 4K --dump-chunk-size 4K --pack-size 1M");
    let source = scratch.tree("source");
    write(source.join("large"), noise(21, 24_000_000));
    write(
        source.join("database.sqlite"),
        [&b"SQLite format 3\0\x10\0\x01\x01\0\x40\x20\x20"[..], &noise(22, 6_000_000)].concat(),
    );
    write(source.join("text"), prose(3_000_000));
    scratch.snapshot(&source);
    verify(&scratch);
    let back = restore(&scratch, "latest", &source, "target");
    assert_same(&source, &back);
    assert_diff_is_silent(&source, &back);
}

/// SQLite itself writes the file: 3 rows in 1,000 are updated, all over it.
#[test]
fn a_database_is_stored_by_its_pages() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    let (database, later) = (source.join("chat.db"), scratch.file("later.db"));
    let maker = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/make-sqlite.py");
    ok(script(&maker, words![database, later, "80000"]));
    let first = scratch.run_words(words!["snapshot", "--json", source]).ok().summary();
    fs::copy(&later, &database).expect("copied");
    let second = scratch.run_words(words!["snapshot", "--json", source]).ok().summary();
    let added = |summary: &Value| summary["data_added_packed"].as_u64().expect("bytes");
    assert!(added(&first) > 5_000_000 && added(&second) * 5 < added(&first), "{first} {second}");
    let bytes = fs::read(&later).expect("read");
    let streamed = scratch.run_with_input("snapshot --stdin chat.db --json", &bytes).ok().summary();
    assert_eq!(streamed["chunks_new"], 1, "a stream is cut as the file was; the directory is new: {streamed}");
    verify(&scratch);
    for (number, id) in [&first, &second].into_iter().map(|summary| &summary["snapshot_id"]).enumerate() {
        let id = id.as_str().expect("an id");
        let back = restore(&scratch, &id[..12], &source, &format!("target-{number}"));
        assert_eq!(
            fs::read(back.join("chat.db")).expect("read") == bytes,
            number == 1,
            "the version that was asked for"
        );
    }
    assert_same(&source, &scratch.file("target-1").join(source.strip_prefix("/").expect("absolute")));
}

#[test]
fn a_stream_with_label_and_tags() {
    let scratch = Scratch::new();
    let bytes = [noise(31, 700_000), prose(900_000)].concat();
    let line = "snapshot --stdin app/dump.sql --label db --tag daily,größe --tag keep --host ört --time 2026-01-02T03:04:05.6Z";
    scratch.run_with_input(line, &bytes).ok();
    let found = json(&ok(reader(&scratch, ["snapshots", "--json"])));
    assert_eq!(found.len(), 1);
    let snapshot = &found[0];
    assert_eq!(snapshot["label"], "db");
    let mut tags: Vec<&str> = snapshot["tags"].as_array().expect("tags").iter().filter_map(Value::as_str).collect();
    tags.sort_unstable();
    assert_eq!(tags, ["daily", "größe", "keep"]);
    assert_eq!(snapshot["host"], "ört");
    assert_eq!(snapshot["time"], serde_json::json!([1_767_323_045, 600_000_000]));
    assert_eq!(snapshot["problems"], serde_json::json!([]));
    let target = scratch.file("target");
    ok(reader(&scratch, words!["restore", "latest", target]));
    let files = repo_tests::scratch::files_below(&target);
    assert_eq!(files, [target.join("app/dump.sql")], "one file, where its name says");
    assert!(fs::read(&files[0]).expect("read") == bytes, "the stream comes back");
    verify(&scratch);
}

#[test]
fn several_snapshots_share_their_data() {
    let seed = repo_tests::announced_seed();
    let mut random = tree::Random(seed);
    let scratch = Scratch::with_options("--pack-size 1M");
    let source = tree::small(&scratch.tree("source"), seed);
    let mut saved = Vec::new();
    for number in 0..4 {
        let file = source.join(format!("noise/file-{}", random.below(6)));
        let mut bytes = fs::read(&file).expect("read");
        let place = random.below(bytes.len() as u64 + 1) as usize;
        let new = noise(random.number(), 500);
        bytes.splice(place..place, new);
        fs::write(&file, bytes).expect("written");
        write(source.join(format!("new/file-{number}")), noise(random.number(), 40_000));
        let kept = scratch.file(format!("kept-{number}"));
        copy_tree(&source, &kept);
        saved.push((scratch.snapshot(&source), kept));
    }
    let last = scratch.run_words(words!["snapshot", "--force", "--json", source]).ok().summary();
    // The root directory names those above the source with their times, and /tmp belongs to others too.
    assert!(last["chunks_new"].as_u64() <= Some(1), "all of it is there already: {last}");
    assert!(last["data_added"].as_u64() < Some(1000), "all of it is there already: {last}");
    verify(&scratch);
    let listed = json(&ok(reader(&scratch, ["snapshots", "--json"])));
    assert_eq!(listed.len(), 5);
    for (number, (id, kept)) in saved.iter().enumerate() {
        assert!(listed.iter().any(|snapshot| snapshot["id"] == id.as_str()), "{id} is listed");
        let back = restore(&scratch, &id[..12], &source, &format!("target-{number}"));
        assert_same(kept, &back);
    }
}

#[test]
fn what_is_forgotten_is_not_listed_and_comes_back_by_its_id() {
    let scratch = Scratch::new();
    let source = tree::small(&scratch.tree("source"), 17);
    let first = scratch.snapshot(&source);
    let kept = scratch.file("kept");
    copy_tree(&source, &kept);
    write(source.join("later"), noise(51, 5_000));
    let second = scratch.snapshot(&source);
    let ids = || -> Vec<Value> {
        json(&ok(reader(&scratch, ["snapshots", "--json"])))
            .into_iter()
            .map(|snapshot| snapshot["id"].clone())
            .collect()
    };
    scratch.run(&format!("forget {first} {second}")).ok();
    assert_eq!(ids(), Vec::<Value>::new());
    assert_eq!(reader(&scratch, ["ls", "latest"]).code(), 1);
    verify(&scratch);
    assert_same(&kept, &restore(&scratch, &first[..12], &source, "target-first"));
    assert_same(&source, &restore(&scratch, &second, &source, "target-second"));

    let back = scratch.run(&format!("undelete {first} --json")).ok().of_type("undelete");
    assert_eq!(ids(), [back[0]["new_snapshot_id"].clone()]);
    assert_same(&kept, &restore(&scratch, "latest", &source, "target-back"));
    let shown = json(&ok(reader(&scratch, ["snapshots", "--json"])));
    assert_eq!((&shown[0]["first"], &shown[0]["replaces"]), (&Value::from(first.as_str()), &Value::Null));

    // Damage hides nothing there, either.
    let records = objects_of(&scratch, Kind::Forgotten);
    for way in [Harm::FlipHeader(4), Harm::Flip(500), Harm::FlipEnd(1), Harm::CutLast, Harm::Empty, Harm::Swap] {
        let good = harm(&records[0], Some(&records[1]), way).expect("possible");
        let run = reader(&scratch, ["verify"]);
        assert!(run.code() == 1 && run.err().contains("forgotten/"), "{way:?}\n{run}");
        assert!(ids().len() >= 2, "{way:?}");
        drop(good);
    }
    verify(&scratch);
}

#[test]
fn a_password_and_a_recovery_code_open_it() {
    let scratch = Scratch::new();
    write(scratch.file("password"), format!("{PASSWORD}\n"));
    scratch.run("key add --new-password-file password").ok();
    let code = scratch.run("key recovery --json").ok().of_type("recovery_code");
    write(scratch.file("words"), code[0]["words"].as_str().expect("words"));
    let source = tree::small(&scratch.tree("source"), 5);
    scratch.snapshot(&source);
    for (option, file) in [("--password-file", "password"), ("--recovery-file", "words")] {
        let target = scratch.file(format!("target{option}"));
        let words = words![scratch.repository(), option, scratch.file(file), "restore", "latest", target];
        ok(script(&specification("reader/repo_reader.py"), words));
        assert_same(&source, &target.join(source.strip_prefix("/").expect("absolute")));
    }
    write(scratch.file("wrong"), "wrong horse");
    let words = words![scratch.repository(), "--password-file", scratch.file("wrong"), "snapshots"];
    assert_eq!(script(&specification("reader/repo_reader.py"), words).code(), 1);
}

#[test]
fn the_reader_refuses_a_flipped_pack() {
    let scratch = Scratch::with_options("--pack-size 1M");
    let source = scratch.tree("source");
    write(source.join("data"), noise(41, 3_000_000));
    scratch.snapshot(&source);
    verify(&scratch);
    for kind in [Kind::DataPack, Kind::TreePack] {
        for pack in objects_of(&scratch, kind) {
            for way in [Harm::FlipHeader(2), Harm::Flip(500), Harm::FlipEnd(1), Harm::CutLast, Harm::Missing] {
                let good = harm(&pack, None, way).expect("possible");
                let run = reader(&scratch, ["verify"]);
                assert!(run.code() == 1 && !run.err().contains("Traceback"), "{kind:?} {way:?}\n{run}");
                drop(good);
            }
        }
    }
    verify(&scratch);
    let pack = objects_of(&scratch, Kind::DataPack).remove(0);
    let _good = harm(&pack, None, Harm::Flip(300));
    let target = scratch.file("target");
    let run = reader(&scratch, words!["restore", "latest", target]);
    assert!(run.code() == 1 && !run.err().contains("Traceback"), "{run}");
}
