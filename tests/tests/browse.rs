//! Choosing snapshots, and looking into them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use repo_tests::binary::{split, tool};
use repo_tests::compare::{assert_diff_is_silent, assert_same_with};
use repo_tests::scratch::files_below;
use repo_tests::tree::{self, noise, write};
use repo_tests::{Scratch, is_root, words};
use serde_json::Value;

/// Four snapshots that differ in host, label, tags and path; ids from the oldest on.
fn four_snapshots(scratch: &Scratch) -> Vec<String> {
    let (one, two) = (scratch.tree("one"), scratch.tree("two"));
    write(one.join("file"), "1");
    write(two.join("file"), "2");
    let save = |options: &str, path: &Path| {
        let words = split(&format!("snapshot --json {options}")).into_iter().chain(words![path]);
        scratch.run_words(words).ok().snapshot_id()
    };
    vec![
        save("--host web1 --label home --tag daily,keep --time 2026-01-01T00:00:00Z", &one),
        save("--host web2 --label home --tag daily --time 2026-01-02T00:00:00Z", &one),
        save("--host web1 --label work --tag weekly --time 2026-01-03T00:00:00Z", &two),
        save("--host web1 --tag daily,weekly --time 2026-01-04T00:00:00Z", &two),
    ]
}

#[track_caller]
fn listed(scratch: &Scratch, options: &str) -> Vec<String> {
    let run = scratch.run(&format!("snapshots --json {options}")).ok();
    run.of_type("snapshot").iter().map(|snapshot| snapshot["id"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn snapshots_are_filtered_and_named() {
    let scratch = Scratch::new();
    let ids = four_snapshots(&scratch);
    let pick = |numbers: &[usize]| -> Vec<String> { numbers.iter().map(|&number| ids[number].clone()).collect() };
    let one = scratch.file("one");
    for (options, wanted) in [
        (String::new(), pick(&[0, 1, 2, 3])),
        ("--host web1".into(), pick(&[0, 2, 3])),
        ("--host web1 --host web2".into(), pick(&[0, 1, 2, 3])),
        ("--label home".into(), pick(&[0, 1])),
        ("--tag daily".into(), pick(&[0, 1, 3])),
        ("--tag daily,weekly".into(), pick(&[3])),
        ("--tag keep --tag daily".into(), pick(&[0])),
        (format!("--path {}", one.display()), pick(&[0, 1])),
        ("--host web1 --tag daily --last 1".into(), pick(&[3])),
        ("--last 2".into(), pick(&[2, 3])),
        ("--host nobody".into(), Vec::new()),
        ("latest".into(), pick(&[3])),
        ("latest~3".into(), pick(&[0])),
        ("--label home latest".into(), pick(&[1])),
        ("--label home latest~1".into(), pick(&[0])),
        (ids[2][..8].to_owned(), pick(&[2])),
        (ids[2].clone(), pick(&[2])),
    ] {
        assert_eq!(listed(&scratch, &options), wanted, "snapshots {options}");
    }
    for name in ["latest~4", "aaaaaaaaaaaa", "abc", "12", "nonsense", "latest~x", "latest~-1", "--host nobody latest"] {
        let run = scratch.run(&format!("ls {name}")).civil().code();
        assert!(run == 1 || run == 2, "ls {name}: {run}");
    }
}

#[test]
fn ls_lists_what_find_finds() {
    let scratch = Scratch::new();
    let source = tree::small(&scratch.tree("source"), 1);
    scratch.snapshot(&source);
    let lines = |run: repo_tests::Run| -> Vec<String> {
        let mut lines: Vec<String> = run.out().lines().map(|line| line.trim_end_matches('/').to_owned()).collect();
        lines.sort();
        lines
    };
    let found = |options: &[&str]| -> Vec<String> {
        let words: Vec<OsString> = words![source].into_iter().chain(options.iter().map(OsString::from)).collect();
        lines(tool("find", words))
    };
    let inside = format!("latest:{}", source.display());
    assert_eq!(lines(scratch.run(&format!("ls -R {inside}")).ok()), found(&["-mindepth", "1"]));
    assert_eq!(lines(scratch.run(&format!("ls {inside}")).ok()), found(&["-mindepth", "1", "-maxdepth", "1"]));
    let matches = |options: &str| -> Vec<String> {
        let run = scratch.run(&format!("find --json --snapshot latest {options}")).ok();
        let mut paths: Vec<String> =
            run.of_type("match").iter().map(|m| m["path"].as_str().expect("a path").to_owned()).collect();
        assert_eq!(run.summary()["matches"], paths.len());
        paths.sort();
        paths
    };
    assert_eq!(matches("file-1*"), found(&["-name", "file-1*"]));
    assert_eq!(matches("-i FILE-?.TXT"), found(&["-name", "file-?.txt"]));
    assert_eq!(matches(&format!("{}/noise/*", source.display())), found(&["-path", "*/noise/*"]));
    assert_eq!(
        matches("--min-size 5000 --max-size 80000 file-*"),
        found(&["-type", "f", "-size", "+4999c", "-size", "-80001c"])
    );
    assert!(matches("nothing-like-this").is_empty());
    tree::set_mtime(&source.join("noise/file-2"), 1_000_000_000, 0);
    scratch.snapshot(&source);
    assert_eq!(matches("--older 2005-01-01 file-*"), [source.join("noise/file-2").to_str().expect("UTF-8")]);
    for name in ["ls latest:/nope", "dump latest:/nope", "cat snapshot ffffffff", "cat chunk abc", "cat pack ffff"] {
        scratch.run(name).ends(1);
    }
    for name in ["cat config", "cat snapshot latest", "cat snapshot latest --json"] {
        serde_json::from_slice::<Value>(&scratch.run(name).ok().stdout).expect("JSON");
    }
}

#[test]
fn names_with_control_characters_are_told_apart_in_json() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    let mut names: Vec<String> = (1..0x20_u8).chain([0x7f]).map(|byte| format!("a{}b", char::from(byte))).collect();
    names.extend(
        ['\u{80}', '\u{9b}', '\u{85}', '\u{200b}', '\u{202e}', '\u{2028}', '\u{feff}'].map(|c| format!("a{c}b")),
    );
    for name in &names {
        write(source.join(name), name);
    }
    scratch.snapshot(&source);
    let run = scratch.run("ls -R --json latest").ok();
    let told: Vec<String> =
        run.of_type("node").iter().map(|n| n["name"].as_str().expect("a name").to_owned()).collect();
    let lost: Vec<&String> = names.iter().filter(|name| !told.contains(name)).collect();
    assert!(lost.is_empty(), "not listed: {lost:?}");
    // On a terminal none of them may do anything.
    let text = scratch.run("ls -R latest").ok().out();
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
}

#[test]
fn dump_writes_files_and_archives() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    tree::everything(&source);
    if is_root() {
        tree::privileged(&source);
    }
    tree::modes_and_times(&source);
    fs::remove_file(source.join("special/socket")).expect("no socket: tar has no such type");
    scratch.run_words(words!["snapshot", "-q", source]).civil();
    let what = format!("latest:{}", source.display());
    let large = fs::read(source.join("sparse/odd-size")).expect("read");
    assert!(scratch.run(&format!("dump {what}/sparse/odd-size")).ok().stdout == large);
    scratch.run_words(words!["dump", "--output", scratch.file("out.tar"), what]).ok();
    assert!(scratch.run_words(["dump", &what]).ok().stdout == fs::read(scratch.file("out.tar")).expect("read"));
    let target = scratch.tree("target");
    let options = ["--xattrs", "--xattrs-include=*", "-p", "--numeric-owner", "-xf"].map(OsString::from);
    tool("tar", options.into_iter().chain(words![scratch.file("out.tar"), "-C", target]));
    if is_root() {
        let target = target.join("source");
        assert_diff_is_silent(&source, &target);
        // GNU tar keeps neither the times of symlinks in all cases nor holes.
        let run = repo_tests::compare::compare_with(&["--no-root"], &source, &target);
        let bad: Vec<String> =
            run.out().lines().filter(|line| !line.contains("bytes on disk")).map(str::to_owned).collect();
        assert!(bad.len() <= 1, "tar: {bad:?}");
    }
    let one = scratch.tree("one");
    fs::write(scratch.file("one.tar"), scratch.run(&format!("dump --archive tar {what}/sizes/block")).ok().stdout)
        .expect("written");
    tool("tar", words!["-xf", scratch.file("one.tar"), "-C", one]);
    assert_eq!(files_below(&one).len(), 1);
    assert!(fs::read(&files_below(&one)[0]).expect("read") == noise(1, 4096));
    // Nothing appears under the name before it is complete.
    scratch.run_words(words!["dump", "--output", scratch.file("never"), "latest:/nope"]).ends(1);
    assert!(!scratch.file("never").exists());
}

#[test]
fn diff_marks_every_kind_of_change() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    for name in ["same", "content", "gone", "kind", "meta", "deep/er/gone"] {
        write(source.join(name), name);
    }
    scratch.snapshot(&source);
    write(source.join("content"), "other content");
    fs::remove_file(source.join("gone")).expect("removed");
    fs::remove_dir_all(source.join("deep")).expect("removed");
    fs::remove_file(source.join("kind")).expect("removed");
    write(source.join("new/inside"), "1234");
    fs::create_dir(source.join("kind")).expect("a directory");
    tree::set_mtime(&source.join("meta"), 5, 5);
    scratch.snapshot(&source);
    let marks = |options: &str| -> Vec<String> {
        let run = scratch.run(&format!("diff --json {options} latest~1:{0} latest:{0}", source.display())).ok();
        assert_eq!(run.of_type("statistics").len(), 1, "{run}");
        let mark = |change: &Value| {
            let path = PathBuf::from(change["path"].as_str().expect("a path"));
            let below = path.strip_prefix(&source).unwrap_or(&path).display().to_string();
            format!("{} {}", change["modifier"].as_str().expect("a mark"), below.trim_start_matches('/'))
        };
        let mut marks: Vec<String> = run.of_type("change").iter().map(mark).collect();
        marks.sort();
        marks
    };
    let plain = ["+ new", "+ new/inside", "- deep", "- deep/er", "- deep/er/gone", "- gone", "M content", "T kind"];
    assert_eq!(marks(""), plain);
    assert!(marks("--metadata").contains(&"U meta".to_owned()), "{:?}", marks("--metadata"));
    let same = scratch.run("diff --json latest latest").ok();
    assert!(same.of_type("change").is_empty(), "{same}");
}

#[test]
fn stats_count_what_is_there() {
    let scratch = Scratch::new();
    let source = tree::small(&scratch.tree("source"), 1);
    scratch.snapshot(&source);
    scratch.snapshot(&source);
    let stats = scratch.run("stats --json").ok().of_type("statistics").remove(0);
    let files: Vec<u64> = files_below(&source)
        .iter()
        .filter(|path| !path.is_symlink())
        .map(|path| fs::metadata(path).expect("a file").len())
        .collect();
    assert_eq!(stats["snapshots_count"], 2);
    assert_eq!(stats["total_file_count"], 2 * files.len());
    assert_eq!(stats["total_size"], 2 * files.iter().sum::<u64>());
    assert_eq!(stats["repository_bytes"], scratch.objects().iter().map(|(_, length)| length).sum::<u64>());
    let packs: Vec<u64> = scratch.objects().iter().filter(|o| o.0.starts_with("packs/")).map(|o| o.1).collect();
    assert_eq!(stats["pack_count"], packs.len());
    assert_eq!(stats["pack_bytes"], packs.iter().sum::<u64>());
    let latest = scratch.run("stats --json latest").ok().of_type("statistics").remove(0);
    assert_eq!(latest["total_file_count"], files.len());
}

#[test]
fn tags_and_labels_change() {
    let scratch = Scratch::new();
    let ids = four_snapshots(&scratch);
    let describe = |options: &str| -> Vec<(Value, Value, Value)> {
        let run = scratch.run(&format!("snapshots --json {options}")).ok();
        run.of_type("snapshot").iter().map(|s| (s["tags"].clone(), s["label"].clone(), s["time"].clone())).collect()
    };
    let before = describe("");
    let run = scratch.run(&format!("tag --json --add new --remove daily {}", &ids[0][..12])).ok();
    let changed = run.of_type("changed");
    assert_eq!(changed[0]["old_snapshot_id"], ids[0].as_str());
    assert!(!listed(&scratch, "").contains(&ids[0]), "the old one is gone from the list");
    // It can't be changed a second time: that would make two out of one.
    scratch.run(&format!("tag --add twice {}", ids[0])).civil();
    assert_eq!(listed(&scratch, "").len(), 4, "still four snapshots");
    let after = describe("");
    assert_eq!(after.len(), 4);
    assert_eq!(after[0].2, before[0].2, "it stands for the same time");
    assert_eq!(after[1..], before[1..]);
    let mut tags: Vec<&str> = after[0].0.as_array().expect("tags").iter().filter_map(Value::as_str).collect();
    tags.sort_unstable();
    assert_eq!(tags, ["keep", "new"]);
    scratch.run("tag --set monthly --tag daily").ok();
    assert_eq!(describe("--tag monthly").len(), 2);
    assert!(describe("--tag daily").is_empty());
    scratch.run("tag --label other latest").ok();
    assert_eq!(describe("--label other").len(), 1);
    scratch.run("tag --add x nope1234").ends(1);
    scratch.run("tag latest").ends(2);
    scratch.run("tag --add x").ends(2);
    scratch.check_clean();
    let target = scratch.file("target");
    scratch.restore("latest", &scratch.file("two"), &target).ok();
    assert_same_with(&["--no-root"], &scratch.file("two"), &target);
}

/// Every command's JSON is JSON, and with `--quiet` nothing is said but results.
#[test]
fn json_parses_and_quiet_is_quiet() {
    let scratch = Scratch::new();
    let source = tree::small(&scratch.tree("source"), 1);
    let (a, b) = (source.display(), scratch.file("target"));
    let lines = [
        format!("snapshot {a}"),
        format!("snapshot --force {a}"),
        format!("snapshot -n {a}"),
        format!("restore latest:{a} -t {}", b.display()),
        format!("restore latest:{a} -t {} --overwrite --delete --verify", b.display()),
        "check".into(),
        "check --read-data".into(),
        "check --read-data-subset 1/2".into(),
        "check --read-data-subset 50%".into(),
        "check --read-data-subset 1M".into(),
        "tag --add x latest".into(),
        "cache clear".into(),
    ];
    for line in &lines {
        for option in ["--json", "--quiet"] {
            let _ = fs::remove_dir_all(&b);
            if line.contains("--delete") {
                write(b.join("removed-by-delete"), "");
            }
            let run = scratch.run(&format!("{line} {option}")).ok();
            if option == "--json" {
                run.messages();
                run.error_messages();
            } else {
                let is_silent = run.stdout.is_empty() && run.stderr.is_empty();
                assert!(is_silent || line.starts_with("tag") || line.starts_with("cache"), "{run}");
            }
        }
    }
    for line in ["snapshots", "ls -R", "find *", "diff latest latest~1", "stats", "key list", "cache list", "version"] {
        let messages = scratch.run(&format!("{line} --json")).ok().messages();
        assert!(!messages.is_empty(), "{line}");
    }
    let failed = scratch.run("ls nope1234 --json").ends(1);
    assert!(
        failed.messages().is_empty() && failed.error_messages().last().expect("one")["message_type"] == "exit_error"
    );
}
