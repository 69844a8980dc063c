//! `copy`: what is copied, what is not read twice, and what damage and interruptions leave behind.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use repo_tests::binary::split;
use repo_tests::compare::assert_same_with;
use repo_tests::damage::{Harm, Kind, harm, objects_of, wait_until};
use repo_tests::scratch::files_below;
use repo_tests::tree::{self, Random, noise, prose, write};
use repo_tests::{Run, Scratch, announced_seed, python, words};
use serde_json::Value;

/// Two repositories with keys of their own.
struct Pair {
    from: Scratch,
    to: Scratch,
    source: PathBuf,
}

impl Pair {
    fn new() -> Self {
        Self::with_options("")
    }

    fn with_options(options: &str) -> Self {
        let from = Scratch::with_options(options);
        let source = tree::small(&from.tree("source"), 1);
        write(source.join("large"), noise(5, 3_000_000));
        write(source.join("text.sql"), prose(800_000));
        tree::everything(&from.tree("source/everything"));
        Self { to: Scratch::with_options(options), from, source }
    }

    fn words(&self, what: &str) -> Vec<OsString> {
        let to = words!["--to", self.to.repository(), "--to-key-file", self.to.key_file()];
        words!["copy", "--json"].into_iter().chain(to).chain(split(what)).collect()
    }

    fn copy(&self, what: &str) -> Run {
        self.from.run_words(self.words(what))
    }

    fn snapshot(&self, options: &str) -> String {
        self.from.run_words(words!["snapshot", "--json", self.source].into_iter().chain(split(options))).snapshot_id()
    }

    /// What is in the copies is what was in the source when it was snapshotted, which is now in `as_it_was`.
    #[track_caller]
    fn assert_restores(&self, copy: &str, as_it_was: &Path) {
        let target = self.to.file("target");
        let _ = fs::remove_dir_all(&target);
        self.to.restore(copy, &self.source, &target).ok();
        assert_same_with(&["--no-root"], as_it_was, &target);
    }
}

fn number(summary: &Value, field: &str) -> u64 {
    summary[field].as_u64().unwrap_or_else(|| panic!("{field} of {summary}"))
}

/// Old and new ids and what became of them.
fn copies(run: &Run) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of =
        |message: Value| (text(&message["snapshot_id"]), text(&message["new_snapshot_id"]), text(&message["action"]));
    run.of_type("copy").into_iter().map(of).collect()
}

fn as_it_was(from: &Path, to: PathBuf) -> PathBuf {
    repo_tests::binary::tool("cp", words!["-a", from, to]);
    to
}

#[test]
fn copies_hold_the_same_and_a_second_run_writes_nothing() {
    let pair = Pair::new();
    let first = pair.snapshot("--tag a,b --label app --host web1 --time 2024-01-02T03:04:05Z");
    let was = as_it_was(&pair.source, pair.from.file("was"));
    write(pair.source.join("large"), [noise(5, 1_500_000), noise(6, 900_000)].concat());
    fs::remove_file(pair.source.join("text.sql")).expect("removed");
    let second = pair.snapshot("--tag c --label app --host web1");
    let run = pair.copy("").ok();
    let summary = run.summary();
    assert_eq!(number(&summary, "snapshots_copied"), 2, "{run}");
    let done = copies(&run);
    assert_eq!(done.iter().map(|(old, ..)| old.as_str()).collect::<Vec<_>>(), [&first, &second], "the oldest first");
    pair.assert_restores(&done[0].1, &was);
    pair.assert_restores(&done[1].1, &pair.source);
    pair.to.check_clean();
    pair.to.run("check --read-data").ok();

    // All that they say of themselves is the same, but for names of objects.
    let say = |scratch: &Scratch| scratch.run("snapshots --json").ok().of_type("snapshot");
    let (old, new) = (say(&pair.from), say(&pair.to));
    for (old, new) in old.iter().zip(&new) {
        for field in ["time", "hostname", "username", "label", "tags", "paths", "started", "finished", "summary"] {
            assert_eq!(old[field], new[field], "{field}");
        }
        assert_eq!(new["copied_from"]["snapshot_id"], old["id"]);
        assert_ne!(new["id"], old["id"]);
    }
    assert_eq!(new[1]["parent"], new[0]["id"], "the parent is the copy of the parent");
    // No id of the one is in the other: they are sealed and named by other keys.
    let names = |scratch: &Scratch| scratch.objects().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let both = names(&pair.from).into_iter().filter(|name| name.len() > 32 && names(&pair.to).contains(name));
    assert_eq!(both.collect::<Vec<_>>(), [""; 0]);

    let before = pair.to.objects();
    let run = pair.copy("").ok();
    assert_eq!(pair.to.objects(), before, "nothing is written");
    let summary = run.summary();
    assert_eq!(["snapshots_copied_before", "chunks_read"].map(|field| number(&summary, field)), [2, 0], "{run}");
    assert_eq!(copies(&run)[1], (second, done[1].1.clone(), "copied before".into()));
}

#[test]
fn the_python_reader_reads_what_was_copied() {
    let pair = Pair::new();
    pair.snapshot("");
    pair.copy("").ok();
    let run = python::reader(&pair.to, ["verify"]);
    assert!(run.status.success(), "{run}");
    let list = python::reader(&pair.to, ["snapshots", "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).expect("JSON");
    let ours = pair.to.run("snapshots --json").ok().of_type("snapshot");
    let from = &ours[0]["copied_from"];
    assert_eq!(list[0]["copied_from"], serde_json::json!([from["repository_id"], from["snapshot_id"]]), "{list}");
}

#[test]
fn only_what_is_missing_is_read() {
    let pair = Pair::new();
    pair.snapshot("");
    let all = number(&pair.copy("").ok().summary(), "bytes_read");
    assert!(all > 3_500_000, "{all}");
    write(pair.source.join("new"), noise(77, 200_000));
    pair.snapshot("");
    let run = pair.copy("").ok();
    let summary = run.summary();
    let read = number(&summary, "bytes_read");
    assert!((200_000..260_000).contains(&read), "{run}");
    // Also without its memory: the copies of earlier snapshots say what is there. Where several were not copied, too.
    for file in ["newer", "everything/newer", "newest"] {
        write(pair.source.join(file), noise(78 + file.len() as u64, 200_000));
        pair.snapshot("");
    }
    fs::remove_dir_all(pair.from.cache()).expect("a cache");
    let read = number(&pair.copy("latest").ok().summary(), "bytes_read");
    assert!((600_000..660_000).contains(&read), "{read}");
    pair.assert_restores("latest", &pair.source);
    // With neither it reads more, and stores no more.
    write(pair.source.join("last"), noise(99, 200_000));
    pair.from.run_words(words!["snapshot", "--json", "--force", pair.source]).ok();
    fs::remove_dir_all(pair.from.cache()).expect("a cache");
    let run = pair.copy("latest").ok();
    let summary = run.summary();
    assert!(number(&summary, "bytes_read") >= all, "{run}");
    assert!(number(&summary, "data_added_packed") < 400_000, "{run}");
    pair.assert_restores("latest", &pair.source);
    // The other repository may have lost what is remembered: it gets it again.
    let ids: Vec<String> =
        pair.to.run("snapshots --json").ok().of_type("snapshot").iter().map(|s| s["id"].to_string()).collect();
    pair.to
        .run_words(words!["forget"].into_iter().chain(ids.iter().map(|id| OsString::from(id.trim_matches('"')))))
        .ok();
    pair.to.run("prune --grace 0 --max-unused 0").ok();
    let run = pair.copy("latest").ok();
    assert!(number(&run.summary(), "bytes_read") >= all, "{run}");
    pair.assert_restores("latest", &pair.source);
    pair.to.check_clean();
}

#[test]
fn some_of_them_and_a_dry_run() {
    let pair = Pair::new();
    pair.snapshot("--tag keep");
    write(pair.source.join("more"), noise(9, 50_000));
    let second = pair.snapshot("--label app");
    let before = pair.to.objects();
    let run = pair.copy("--dry-run").ok();
    assert_eq!(number(&run.summary(), "snapshots_copied"), 2, "{run}");
    assert!((14_000_000..19_000_000).contains(&number(&run.summary(), "bytes_read")), "{run}");
    assert_eq!(pair.to.objects(), before, "nothing is written");
    assert_eq!(number(&pair.copy("--label app").ok().summary(), "snapshots_copied"), 1);
    assert_eq!(copies(&pair.copy(&second[..8]).ok())[0].2, "copied before");
    assert_eq!(number(&pair.copy("--tag keep").ok().summary(), "snapshots_copied"), 1);
    // Back where they came from, and into itself.
    let back = words!["copy", "--json", "--to", pair.from.repository(), "--to-key-file", pair.from.key_file()];
    let run = pair.to.run_words(back).ok();
    assert_eq!(number(&run.summary(), "snapshots_copied_before"), 2, "{run}");
    pair.from.run_words(words!["copy", "--to", pair.from.repository()]).ends(1).says("is the repository that");
    pair.from.run("copy").ends(2).says("--to");
    pair.from.run_words(words!["copy", "--to", pair.to.repository()]).ends(12);
}

#[test]
fn cut_anew_they_share_with_what_is_there() {
    let pair = Pair::new();
    pair.snapshot("");
    // The same is in the other repository already, snapshotted there.
    pair.to.snapshot(&pair.source);
    let added = |options: &str| number(&pair.copy(options).ok().summary(), "data_added_packed");
    let recut = added("--recut");
    assert!(recut < 200_000, "{recut}");
    pair.assert_restores("latest", &pair.source);
    write(pair.source.join("more"), noise(9, 50_000));
    pair.snapshot("");
    let little = added("");
    assert!(little < 200_000, "what did not change stays as it was cut: {little}");
    pair.assert_restores("latest", &pair.source);
    pair.snapshot("--force");
    let as_they_are = added("latest");
    assert!(as_they_are > 2_000_000, "{as_they_are}");
    pair.assert_restores("latest", &pair.source);
    pair.to.check_clean();
}

/// Changes a tree in ways that an earlier copy of it can be mistaken about: names come, go, move, and become another kind.
fn change(tree: &Path, random: &mut Random) {
    let place = |random: &mut Random| tree.join(format!("{}/{}", random.below(4), random.below(3)));
    for _ in 0..8 {
        let (place, other, name) = (place(random), place(random), format!("{}", random.below(6)));
        let path = place.join(&name);
        let is_directory = path.is_dir();
        match random.below(5) {
            0 if is_directory => fs::remove_dir_all(&path).expect("removed"),
            0 => drop(fs::remove_file(&path)),
            1 if path.exists() && !other.join(&name).exists() => {
                fs::create_dir_all(&other).expect("a directory");
                fs::rename(&path, other.join(&name)).expect("moved");
            }
            2 if !path.exists() => {
                let length = random.below(90_000) as usize;
                write(path.join(format!("{}", random.below(3))), random.bytes(length));
            }
            3 if !path.exists() => {
                fs::create_dir_all(&path).expect("an empty directory");
            }
            _ if !is_directory => {
                let length = random.below(300_000) as usize;
                write(path, random.bytes(length));
            }
            _ => {}
        }
    }
}

#[test]
fn whatever_changes_between_copies_they_hold_the_same() {
    let mut random = Random(announced_seed());
    let (from, second, third) = (Scratch::new(), Scratch::new(), Scratch::new());
    let source = from.tree("source");
    for _ in 0..8 {
        change(&source, &mut random);
        from.snapshot(&source);
        if random.below(3) == 0 {
            // What was remembered of copies is gone.
            for file in files_below(&from.cache()).iter().filter(|file| file.to_string_lossy().contains("copied-to")) {
                fs::remove_file(file).expect("removed");
            }
        }
        // One of them is behind the other as a rule.
        let others: &[&Scratch] = match random.below(3) {
            0 => &[&second],
            1 => &[&third],
            _ => &[&second, &third],
        };
        to_all(&from, others, "latest").ok();
        for other in others {
            let target = other.file("target");
            let _ = fs::remove_dir_all(&target);
            other.restore("latest", &source, &target).ok();
            assert_same_with(&["--no-root"], &source, &target);
        }
    }
    to_all(&from, &[&second, &third], "").ok();
    for scratch in [&second, &third] {
        scratch.check_clean();
    }
}

#[test]
fn changes_of_tags_come_along_over_two_hops_and_back() {
    let pair = Pair::new();
    let third = Scratch::new();
    let copy = |from: &Scratch, to: &Scratch| to_all(from, &[to], "").ok().summary();
    let listed = |scratch: &Scratch| scratch.run("snapshots --json").ok().of_type("snapshot");
    pair.snapshot("--tag one");
    copy(&pair.from, &pair.to);
    copy(&pair.to, &third);
    pair.to.run("tag latest --add two").ok();
    assert_eq!(number(&copy(&pair.to, &third), "snapshots_copied"), 1);
    assert_eq!(number(&copy(&third, &pair.from), "snapshots_copied"), 1);
    // Each has one that is listed, with both tags; the one before is replaced.
    for scratch in [&pair.from, &pair.to, &third] {
        let [one] = &listed(scratch)[..] else { panic!("more than one: {:?}", listed(scratch)) };
        assert_eq!(one["tags"], serde_json::json!(["one", "two"]));
    }
    for (from, to) in [(&pair.from, &pair.to), (&pair.to, &third), (&third, &pair.from), (&pair.from, &third)] {
        assert_eq!(number(&copy(from, to), "snapshots_copied"), 0);
    }
    // A change that is copied is no change of its own.
    pair.from.run("tag latest --add three").ok();
    copy(&pair.from, &pair.to);
    assert_eq!(number(&copy(&pair.to, &third), "snapshots_copied"), 1);
    assert_eq!(number(&copy(&pair.from, &third), "snapshots_copied"), 0);
    assert_eq!(listed(&third).len(), 1);
    pair.assert_restores("latest", &pair.source);
}

#[test]
fn a_copy_that_lost_something_is_not_built_on() {
    let pair = Pair::new();
    write(pair.source.join("kept/file"), noise(3, 400_000));
    pair.snapshot("");
    pair.copy("").ok();
    // The other repository loses what is in its packs of data, and repairs what it can.
    for pack in objects_of(&pair.to, Kind::DataPack) {
        fs::write(&pack, [0; 1000]).expect("destroyed");
    }
    for verb in ["index", "packs", "snapshots"] {
        let run = pair.to.run(&format!("repair {verb}"));
        assert!([0, 3, 5].contains(&run.code()), "{run}");
    }
    write(pair.source.join("new"), noise(77, 100_000));
    pair.snapshot("");
    pair.copy("latest").ok();
    pair.assert_restores("latest", &pair.source);
}

#[test]
fn what_is_damaged_gets_no_copy_and_the_others_do() {
    let pair = Pair::new();
    let other = pair.from.tree("other");
    write(other.join("file"), "fine");
    let good = pair.from.snapshot(&other);
    let packs_before: Vec<PathBuf> = objects_of(&pair.from, Kind::DataPack);
    let bad = pair.snapshot("");
    let last = pair.from.snapshot(&other);
    let new = objects_of(&pair.from, Kind::DataPack).into_iter().filter(|pack| !packs_before.contains(pack));
    let pack = new.max_by_key(|pack| fs::metadata(pack).expect("there").len()).expect("a pack of the second snapshot");
    let as_it_was = harm(&pack, None, Harm::Flip(350)).expect("a bit is another");
    let run = pair.copy("").ends(3);
    let done = copies(&run);
    let actions: Vec<(&str, &str)> = done.iter().map(|(old, _, action)| (old.as_str(), action.as_str())).collect();
    assert_eq!(actions, [(good.as_str(), "copied"), (&bad, "damaged"), (&last, "copied")], "{run}");
    let errors: Vec<Value> = run.error_messages();
    let names: Vec<&str> = errors.iter().filter_map(|error| error["item"]["path"].as_str()).collect();
    assert!(!names.is_empty() && names.iter().all(|name| name.contains("/source/")), "{run}");
    assert!(errors.iter().any(|error| error["message"].as_str().is_some_and(|text| text.contains("cannot be copied"))));
    assert_eq!(pair.to.run("snapshots --json").ok().of_type("snapshot").len(), 2);
    pair.to.check_clean();
    // What is not in the damaged part was stored: healed, the rest is what it costs.
    drop(as_it_was);
    let run = pair.copy("").ok();
    assert_eq!(number(&run.summary(), "snapshots_copied"), 1, "{run}");
    pair.assert_restores(&copies(&run)[1].1, &pair.source);
}

/// Repositories between which a copy was killed three times; `None` if it was done before.
#[track_caller]
fn killed_copies(seed: u64) -> Option<Pair> {
    let pair = Pair::with_options("--pack-size 1M");
    for file in 0..40 {
        write(pair.source.join(format!("many/file-{file}")), noise(seed + file, 1_000_000));
    }
    pair.snapshot("");
    for packs in [4, 10, 16] {
        let mut command = pair.from.command();
        command.args(pair.words("")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("started");
        let stored = || files_below(&pair.to.repository().join("packs")).len();
        wait_until("packs are there", || stored() >= packs || child.try_wait().expect("a state").is_some());
        child.kill().expect("it can be killed");
        let is_done = child.wait().expect("its end").success();
        if is_done || !pair.to.run("snapshots --json").ok().messages().is_empty() {
            // There is no snapshot of a half.
            pair.assert_restores("latest", &pair.source);
            return None;
        }
    }
    Some(pair)
}

#[test]
fn a_killed_copy_goes_on() {
    // Again, with other data, until none is done before it is killed.
    let pair = (1..=5).find_map(|number| killed_copies(100 * number)).expect("one that is killed in time");
    let run = pair.copy("").ok();
    let summary = run.summary();
    assert!(number(&summary, "resumed_sessions") >= 1, "{run}");
    let whole: u64 =
        pair.from.objects().iter().filter(|(name, _)| name.starts_with("packs/")).map(|(_, len)| len).sum();
    assert!(number(&summary, "data_added_packed") + 5_000_000 < whole, "of {whole}: {run}");
    pair.assert_restores("latest", &pair.source);
    pair.to.run("check --read-data").ok();
}

/// Others that are copied to in one go, with a key file for each.
fn to_all(from: &Scratch, others: &[&Scratch], options: &str) -> Run {
    let mut all = words!["copy", "--json"];
    for other in others {
        all.extend(words!["--to", other.repository(), "--to-key-file", other.key_file()]);
    }
    all.extend(split(options));
    from.run_words(all)
}

/// The ids of copies in one repository.
fn copies_in(run: &Run, other: &Scratch) -> Vec<String> {
    let place = other.repository().to_str().expect("text").to_owned();
    let of = run.of_type("copy").into_iter().filter(|message| message["repository"] == place.as_str());
    of.map(|message| message["new_snapshot_id"].as_str().unwrap_or_default().to_owned()).collect()
}

fn assert_restores_from(other: &Scratch, copy: &str, source: &Path, as_it_was: &Path) {
    let target = other.file("target");
    let _ = fs::remove_dir_all(&target);
    other.restore(copy, source, &target).ok();
    assert_same_with(&["--no-root"], as_it_was, &target);
    other.run("check --read-data").ok();
}

#[test]
fn several_repositories_get_theirs_from_one_read() {
    for options in ["", "--recut"] {
        let pair = Pair::new();
        let (second, third) = (Scratch::new(), Scratch::new());
        pair.snapshot("");
        let before = as_it_was(&pair.source, pair.from.file("before"));
        // The second one knows directories that the third one doesn't.
        to_all(&pair.from, &[&second], options).ok();
        write(pair.source.join("more/deep/new"), noise(77, 2_000_000));
        write(pair.source.join("everything/again"), prose(300_000));
        pair.snapshot("");
        let alone = to_all(&pair.from, &[&pair.to], options).ok().summary();
        let run = to_all(&pair.from, &[&second, &third], options).ok();
        let summary = run.summary();
        assert_eq!(number(&summary, "repositories"), 2, "{run}");
        assert_eq!(number(&summary, "snapshots_copied"), 3, "{run}");
        // What the third one lacks is read; what the second one lacks is a part of that, unless all is cut anew.
        if options.is_empty() {
            assert_eq!(number(&summary, "chunks_read"), number(&alone, "chunks_read"), "{run}");
        }
        let (fourth, fifth) = (Scratch::new(), Scratch::new());
        let fresh = to_all(&pair.from, &[&fourth, &fifth], options).ok().summary();
        assert_eq!(number(&fresh, "chunks_read"), number(&alone, "chunks_read"), "{fresh}");
        for other in [&second, &third] {
            let copies = copies_in(&run, other);
            assert_eq!(copies.len(), 2, "{run}");
            assert_restores_from(other, &copies[0], &pair.source, &before);
            assert_restores_from(other, &copies[1], &pair.source, &pair.source);
        }
        assert_eq!(number(&to_all(&pair.from, &[&third, &second], options).ok().summary(), "bytes_read"), 0);
    }
}

#[test]
fn one_that_fails_keeps_no_other_from_its_copies() {
    for broken_first in [true, false] {
        let pair = Pair::new();
        let broken = Scratch::new();
        pair.snapshot("");
        // Nothing can be put there, and what is there can be read.
        let packs = broken.repository().join("packs");
        let _ = fs::remove_dir_all(&packs);
        write(&packs, b"no directory");
        let order = if broken_first { [&broken, &pair.to] } else { [&pair.to, &broken] };
        let run = to_all(&pair.from, &order, "").ends(3).says(broken.repository().to_str().expect("text"));
        assert_eq!(number(&run.summary(), "repositories_failed"), 1, "{run}");
        assert_eq!((copies_in(&run, &pair.to).len(), copies_in(&run, &broken).len()), (1, 0), "{run}");
        assert_restores_from(&pair.to, "latest", &pair.source, &pair.source);
        // If all fail, that is how the command ends.
        to_all(&pair.from, &[&broken], "").ends(1).says("packs");
        fs::remove_file(&packs).expect("mended");
        to_all(&pair.from, &order, "").ok();
        assert_restores_from(&broken, "latest", &pair.source, &pair.source);
    }
}

#[test]
fn what_can_not_be_meant_is_refused_before_anything_is_done() {
    let pair = Pair::new();
    pair.snapshot("");
    to_all(&pair.from, &[&pair.to, &pair.to], "").ends(1).says("named twice");
    to_all(&pair.from, &[&pair.to, &pair.from], "").ends(1).says("the repository that the snapshots are in");
    let (place, key) = (pair.to.repository(), pair.to.key_file());
    let three = words!["copy", "--to", place, "--to", place, "--to", place, "--to-key-file", key, "--to-key-file", key];
    pair.from.run_words(three).ends(2).says("--to-key-file 2 times for 3 of --to");
    assert!(pair.to.run("snapshots --json").ok().messages().is_empty());
}
