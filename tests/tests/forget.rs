//! `forget` and `undelete`: which snapshots go, what is said about them, and that nothing is ever lost by it.

use std::fs;
use std::path::{Path, PathBuf};

use repo_tests::binary::tool;
use repo_tests::compare::assert_diff_is_silent;
use repo_tests::damage::{Harm, Kind, harm, objects_of, write_object};
use repo_tests::tree::{self, noise, write};
use repo_tests::{Run, Scratch, words};
use serde_json::Value;

/// Takes a snapshot that stands for noon of a day, so that every time zone calls it the same day.
#[track_caller]
fn dated(scratch: &Scratch, source: &Path, day: &str, options: &str) -> String {
    let time = format!("{day}T12:00:00Z");
    let options = repo_tests::binary::split(options);
    scratch
        .run_words(words!["snapshot", "--json", "--time", time, source].into_iter().chain(options))
        .ok()
        .snapshot_id()
}

/// Ids of the snapshots that `snapshots` lists with these options, oldest first.
#[track_caller]
fn listed(scratch: &Scratch, options: &str) -> Vec<String> {
    let run = scratch.run(&format!("snapshots --json {options}")).ok();
    run.of_type("snapshot").iter().map(|snapshot| text(&snapshot["id"])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// What a plan says: ids by action.
fn planned(run: &Run, action: &str) -> Vec<String> {
    let plan = run.of_type("forget");
    plan.iter().filter(|line| line["action"] == action).map(|line| text(&line["snapshot_id"])).collect()
}

#[track_caller]
fn reasons(run: &Run, id: &str) -> Vec<String> {
    let plan = run.of_type("forget");
    let line = plan.iter().find(|line| line["snapshot_id"] == id).unwrap_or_else(|| panic!("{id} is not told\n{run}"));
    line["reasons"].as_array().expect("reasons").iter().map(text).collect()
}

/// Everything below the repository, as another program sees it: names, lengths and times.
fn listing(scratch: &Scratch) -> Vec<String> {
    let run = tool("find", words![scratch.repository(), "-printf", "%P %s %T@\\n"]);
    let mut lines: Vec<String> = run.out().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn names(scratch: &Scratch) -> Vec<String> {
    scratch.objects().into_iter().map(|(name, _)| name).collect()
}

/// The objects that came since `before`; fails if one has gone.
#[track_caller]
fn new_objects(scratch: &Scratch, before: &[String]) -> Vec<String> {
    let after = names(scratch);
    let gone: Vec<_> = before.iter().filter(|name| !after.contains(name)).collect();
    assert!(gone.is_empty(), "{gone:?} are gone");
    after.into_iter().filter(|name| !before.contains(name)).collect()
}

/// A small tree and a snapshot of it on each of the first ten days of March 2020; the first was a Sunday.
fn ten_days() -> (Scratch, PathBuf, Vec<String>) {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    write(source.join("file"), noise(1, 5_000));
    let ids = (1..=10).map(|day| dated(&scratch, &source, &format!("2020-03-{day:02}"), "")).collect();
    (scratch, source, ids)
}

/// The ids of some days, newest first.
fn days(ids: &[String], days: &[usize]) -> Vec<String> {
    days.iter().map(|day| ids[day - 1].clone()).collect()
}

#[test]
fn a_policy_tells_why_and_costs_a_write_for_each() {
    let (scratch, _, ids) = ten_days();
    let (before, before_names) = (listing(&scratch), names(&scratch));
    let policy = "forget --keep-daily 2 --keep-weekly 3 --json";
    let dry = scratch.run(&format!("{policy} --dry-run")).ok();
    assert_eq!(listing(&scratch), before, "a dry run changes nothing");
    assert_eq!(planned(&dry, "keep"), days(&ids, &[10, 9, 8, 1]), "{dry}");
    assert_eq!(planned(&dry, "forget"), days(&ids, &[7, 6, 5, 4, 3, 2]), "{dry}");
    assert_eq!(reasons(&dry, &ids[9]), ["daily snapshot", "weekly snapshot"]);
    assert_eq!(reasons(&dry, &ids[8])[0], "daily snapshot");
    assert_eq!(reasons(&dry, &ids[0]), ["weekly snapshot"]);
    let same_week = format!("weekly: {} is of the same week", &ids[7][..8]);
    assert_eq!(reasons(&dry, &ids[1]), ["daily: enough newer ones", &same_week]);

    let real = scratch.run(policy).ok();
    let plan = |run: &Run| -> Vec<Value> {
        let mut lines = run.of_type("forget");
        lines.iter_mut().for_each(|line| drop(line.as_object_mut().expect("an object").remove("dry_run")));
        lines
    };
    assert_eq!(plan(&dry), plan(&real), "the dry run printed the very plan");
    let summary = real.summary();
    assert_eq!((&summary["snapshots_kept"], &summary["snapshots_forgotten"]), (&4.into(), &6.into()), "{summary}");
    let mut expected: Vec<String> =
        days(&ids, &[7, 6, 5, 4, 3, 2]).iter().map(|id| format!("forgotten/{id}")).collect();
    expected.sort();
    assert_eq!(new_objects(&scratch, &before_names), expected, "one object for each, and nothing else");
    assert_eq!(listed(&scratch, ""), days(&ids, &[1, 8, 9, 10]));
    assert_eq!(listed(&scratch, "--forgotten"), days(&ids, &[2, 3, 4, 5, 6, 7]));
    scratch.check_clean();
    let again = scratch.run(policy).ok().summary();
    assert_eq!(again["snapshots_forgotten"], 0, "{again}");
}

#[test]
fn people_read_the_plan_and_what_comes_next() {
    let (scratch, source, ids) = ten_days();
    let dry = scratch.run("forget --keep-last 3 -n").ok().says("nothing was changed").says("last snapshot");
    assert!(dry.out().contains(&format!("paths {}", source.display())) && dry.out().contains("last: enough"), "{dry}");
    assert!(dry.out().contains(&ids[9][..8]), "{dry}");
    scratch.run("forget --keep-last 3 -n -q").ok().says("last: enough");
    let real = scratch.run("forget --keep-last 3").ok();
    for said in
        ["forgot 7 snapshots, kept 3", "space comes back with `repo prune`", "repo undelete", "snapshots --forgotten"]
    {
        assert!(real.out().contains(said), "{said}\n{real}");
    }
    let quiet = scratch.run("forget --keep-last 2 -q").ok();
    assert!(quiet.out().is_empty(), "{quiet}");
    let table = scratch.run("snapshots --forgotten").ok().says("Forgotten").says("8 forgotten snapshots");
    assert!(table.out().contains(&ids[0][..8]) && !table.out().contains(&ids[9][..8]), "{table}");
}

#[test]
fn every_rule_keeps_what_it_says() {
    let (scratch, source, ids) = ten_days();
    // Years of the past, each on the last day; the newest stays March 10th.
    let years: Vec<String> =
        ["2017-12-31", "2018-12-31", "2019-12-31"].iter().map(|day| dated(&scratch, &source, day, "")).collect();
    let future = dated(&scratch, &source, "2999-01-01", "");
    let keeps = |options: &str| {
        let run = scratch.run(&format!("forget --json --dry-run {options}")).ok();
        let kept = planned(&run, "keep");
        assert_eq!(kept[0], future, "what comes from the future is kept\n{run}");
        assert_eq!(reasons(&run, &future), ["in the future"]);
        kept[1..].to_vec()
    };
    let year = |number: usize| years[number - 2017].clone();
    assert_eq!(keeps("--keep-last 2"), days(&ids, &[10, 9]));
    assert_eq!(keeps("-l 1 -d 3"), days(&ids, &[10, 9, 8]));
    assert_eq!(keeps("--keep-hourly 2"), days(&ids, &[10, 9]));
    assert_eq!(keeps("--keep-yearly unlimited"), [ids[9].clone(), year(2019), year(2018), year(2017)]);
    assert_eq!(keeps("--keep-monthly 2"), [ids[9].clone(), year(2019)]);
    assert_eq!(keeps("--keep-within 2d12h"), days(&ids, &[10, 9, 8]));
    assert_eq!(keeps("--keep-within-weekly 10d"), days(&ids, &[10, 8, 1]));
    assert_eq!(keeps("--keep-within-yearly 2y --keep-last 1"), [ids[9].clone(), year(2019), year(2018)]);
    assert_eq!(keeps("--keep-last unlimited").len(), 13);
    assert_eq!(names(&scratch).iter().filter(|name| name.starts_with("forgotten")).count(), 0);
}

#[test]
fn what_keeps_nothing_is_refused() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    write(source.join("file"), "x");
    let tagged = dated(&scratch, &source, "2020-01-01", "--host a --tag keep");
    let others: Vec<String> =
        ["2020-01-02", "2020-01-03"].iter().map(|day| dated(&scratch, &source, day, "--host b")).collect();
    let before = listing(&scratch);
    for nothing_said in ["forget", "forget --allow-empty", "forget --group-by host", "forget --keep-last 0"] {
        scratch.run(nothing_said).ends(2).says("nothing says what to forget");
    }
    for line in ["forget --host b", "forget --keep-last 0 --host b", "forget --label none-has-it"] {
        scratch.run(line).ends(1).says("the policy keeps nothing").says("--allow-empty");
    }
    let refused = scratch.run("forget --keep-tag keep").ends(1).says("would drop every snapshot of host b");
    assert!(refused.err().contains("--allow-empty") && !refused.err().contains("host a"), "{refused}");
    scratch.run("forget --keep-tag keep --dry-run").ends(1);
    scratch.run("forget --keep-tag keep --prune").ends(1);
    // A tag that no snapshot has may be misspelt: what has any tag stays.
    let misspelt = scratch.run("forget --keep-tag kepe --keep-last 1 --group-by= --json --dry-run").ok();
    assert_eq!(planned(&misspelt, "forget"), [others[0].clone()], "{misspelt}");
    assert!(misspelt.err().contains("kepe"), "{misspelt}");
    assert_eq!(listing(&scratch), before, "nothing of this changed anything");

    scratch.run("forget --keep-tag keep --allow-empty").ok();
    assert_eq!(listed(&scratch, ""), std::slice::from_ref(&tagged));
    assert_eq!(listed(&scratch, "--forgotten"), others);
    scratch.run("forget --allow-empty --host a").ok();
    assert!(listed(&scratch, "").is_empty());
    scratch.check_clean();
    assert_eq!(listed(&scratch, "--forgotten").len(), 3);
}

#[test]
fn filters_leave_the_others_alone_and_groups_are_judged_by_themselves() {
    let scratch = Scratch::new();
    let (source, other) = (scratch.tree("source"), scratch.tree("other"));
    write(source.join("file"), "x");
    write(other.join("file"), "y");
    let mut ids = Vec::new();
    for day in ["2020-01-01", "2020-01-02"] {
        for (path, options) in [
            (&source, "--host a"),
            (&source, "--host b --label db"),
            (&source, "--host b --tag daily"),
            (&other, "--host b"),
        ] {
            ids.push(dated(&scratch, path, day, options));
        }
    }
    let forgets = |options: Vec<std::ffi::OsString>| {
        let line = words!["forget", "--keep-last", "1", "--json", "--dry-run"].into_iter().chain(options);
        let mut found = planned(&scratch.run_words(line).ok(), "forget");
        found.sort();
        found
    };
    let of = |numbers: &[usize]| {
        let mut found: Vec<String> = numbers.iter().map(|number| ids[*number].clone()).collect();
        found.sort();
        found
    };
    assert_eq!(forgets(words![]), of(&[0, 1, 2, 3]), "the older one of each group");
    assert_eq!(forgets(words!["--host", "a"]), of(&[0]));
    assert_eq!(forgets(words!["--host", "a", "--host", "b", "--label", "db"]), of(&[1]));
    assert_eq!(forgets(words!["--tag", "daily"]), of(&[2]));
    assert_eq!(forgets(words!["--path", other]), of(&[3]));
    assert_eq!(forgets(words!["--group-by", ""]).len(), 7, "one group of all");
    assert_eq!(forgets(words!["-g", "host"]).len(), 6);
}

#[test]
fn snapshots_are_forgotten_by_name_and_only_once() {
    let (scratch, _, ids) = ten_days();
    scratch.run(&format!("forget {} {}", &ids[2][..12], ids[4])).ok().says("forgot 2 snapshots");
    let before = listing(&scratch);
    scratch.run(&format!("forget {}", ids[2])).ok().says("already forgotten").says("forgot 0 snapshots");
    let run = scratch.run(&format!("forget {} --json", ids[2])).ok();
    assert_eq!(planned(&run, "none"), [ids[2].clone()], "{run}");
    assert_eq!(run.summary()["snapshots_forgotten_before"], 1);
    // One name that is wrong, and nothing is forgotten at all.
    let missing = "0123456789abcdef";
    for (wrong, said) in [(missing, "does not exist"), ("xyz", "names no snapshot"), ("abc", "names no snapshot")] {
        scratch.run(&format!("forget {} {wrong}", ids[0])).ends(1).says(said);
        scratch.run(&format!("undelete {} {wrong}", ids[2])).ends(1).says(said);
    }
    assert_eq!(listing(&scratch), before);
    // A replaced one is not listed: it is the newer one that a person means.
    let changed = scratch.run(&format!("tag --add x {} --json", ids[0])).ok().of_type("changed");
    let newer = text(&changed[0]["new_snapshot_id"]);
    scratch.run(&format!("forget {}", ids[0])).ends(1).says(&format!("was replaced by {newer}"));
    scratch.run(&format!("forget {newer}")).ok();
    let left = listed(&scratch, "");
    assert!(!left.contains(&ids[0]) && !left.contains(&newer), "the old one does not come back: {left:?}");
    scratch.run("forget latest").ok();
    assert!(!listed(&scratch, "").contains(&ids[9]));
    scratch.check_clean();
}

#[test]
fn a_forgotten_snapshot_is_not_chosen_but_can_be_read() {
    let scratch = Scratch::new();
    let source = tree::small(&scratch.tree("source"), 7);
    let first = dated(&scratch, &source, "2020-01-01", "--tag old");
    let kept = scratch.file("kept");
    repo_tests::scratch::copy_tree(&source, &kept);
    write(source.join("later"), noise(3, 90_000));
    let second = dated(&scratch, &source, "2020-01-02", "");
    scratch.run(&format!("forget {second}")).ok();
    assert_eq!(listed(&scratch, ""), std::slice::from_ref(&first));
    let latest = scratch.run("cat snapshot latest").ok();
    assert!(latest.out().contains(&first), "{latest}");
    let fields = scratch.run("snapshots --json --forgotten").ok().of_type("snapshot");
    assert!(fields[0]["forgotten"].is_string() && fields.len() == 1, "{fields:?}");

    // It can be looked at by its id, and restored.
    for line in ["ls", "stats", "find later --snapshot", "snapshots", "cat snapshot", &format!("diff {first}")] {
        scratch.run(&format!("{line} {}", &second[..16])).ok();
    }
    scratch.run(&format!("find later --snapshot {second}")).ok().says("later");
    let target = scratch.file("target");
    scratch.restore(&second[..10], &source, &target).ok();
    assert_diff_is_silent(&source, &target);

    // Nothing is built on it.
    scratch.run(&format!("tag --add x {second}")).ends(1).says("is forgotten").says("repo undelete");
    let parent = words!["snapshot", "--parent", second, source];
    scratch.run_words(parent).ends(1).says("is forgotten").says("repo undelete");
    let third = scratch.run_words(words!["snapshot", "--json", source]).ok().summary();
    assert_eq!(third["parent"], first.as_str(), "{third}");
    let added = third["data_added"].as_u64().expect("bytes");
    assert!(added < 20_000, "its data is there still; only directories above the source are new: {third}");
    let shown = scratch.run("snapshots --json latest").ok().of_type("snapshot");
    assert_eq!(shown[0]["sequence"], 3, "numbers are not given twice");
    let summary = scratch.check_clean().summary();
    assert_eq!((&summary["snapshots"], &summary["forgotten"]), (&2.into(), &1.into()));

    // A filter does not choose it, either; the only one of a group may be forgotten by its name.
    scratch.run(&format!("forget {first}")).ok();
    assert!(listed(&scratch, "--tag old").is_empty());
    assert_eq!(listed(&scratch, "--tag old --forgotten"), std::slice::from_ref(&first));
    scratch.run("restore latest --tag old --target nowhere").ends(1).says("no snapshot matches");
    let target = scratch.file("target-of-first");
    scratch.restore(&first, &source, &target).ok();
    assert_diff_is_silent(&kept, &target);
}

#[test]
fn undelete_brings_it_back_to_the_byte() {
    let scratch = Scratch::new();
    let source = tree::small(&scratch.tree("source"), 11);
    let old = dated(&scratch, &source, "2020-01-01", "--tag keep,daily --label app --host web1");
    let kept = scratch.file("kept");
    repo_tests::scratch::copy_tree(&source, &kept);
    write(source.join("later"), "x");
    dated(&scratch, &source, "2020-01-02", "--label app --host web1");
    let was = scratch.run(&format!("snapshots --json {old}")).ok().of_type("snapshot").remove(0);
    scratch.run(&format!("undelete {old}")).ok().says("is not forgotten");
    scratch.run(&format!("forget {old}")).ok();

    let before = names(&scratch);
    let run = scratch.run(&format!("undelete {} --json", &old[..8])).ok();
    let message = run.of_type("undelete").remove(0);
    let new = text(&message["new_snapshot_id"]);
    assert_eq!((message["snapshot_id"].as_str(), &message["action"]), (Some(old.as_str()), &"undeleted".into()));
    let added = new_objects(&scratch, &before);
    assert!(
        added.len() == 2 && added[0].ends_with("/register") && added[1] == format!("snapshots/{new}"),
        "a session that has ended, and a snapshot: {added:?}"
    );
    let mut is = scratch.run(&format!("snapshots --json {new}")).ok().of_type("snapshot").remove(0);
    assert_eq!(is["original"], old.as_str());
    for field in ["id", "short_id", "original"] {
        is[field] = was[field].clone();
    }
    let mut was = was;
    was["original"] = Value::Null;
    assert_eq!(is, was, "all else is as it was");
    let target = scratch.file("target");
    scratch.restore(&new, &source, &target).ok();
    assert_diff_is_silent(&kept, &target);

    // Again is nothing new, also after its tags changed; the forgotten one stays forgotten.
    scratch.run(&format!("undelete {old}")).ok().says(&format!("came back before, as {}", &new[..8]));
    let changed = scratch.run(&format!("tag --add x {new} --json")).ok().of_type("changed");
    let newer = text(&changed[0]["new_snapshot_id"]);
    scratch.run(&format!("undelete {old}")).ok().says(&format!("came back before, as {}", &newer[..8]));
    assert_eq!(listed(&scratch, "--forgotten"), std::slice::from_ref(&old));
    assert_eq!(listed(&scratch, "").len(), 2);
    // Forgotten once more, it comes back once more.
    scratch.run(&format!("forget {newer}")).ok();
    scratch.run(&format!("undelete {old} {newer}")).ok();
    assert_eq!(listed(&scratch, "--tag daily").len(), 2, "one with the tag that was added, one without");
    assert_eq!(listed(&scratch, "--tag x").len(), 1);
    assert_eq!(listed(&scratch, "--forgotten").len(), 2);
    scratch.check_clean();
}

/// A prune that may drop the snapshot must not be overlooked. A plan of a later version may drop anything.
#[test]
fn beside_a_prune_undelete_refuses_and_forget_does_not() {
    let (scratch, _, ids) = ten_days();
    scratch.run(&format!("forget {}", ids[0])).ok();
    let plan = scratch.repository().join(format!("prune/{:016x}/plan", 1));
    write(plan, [b"repo\x08\x02\0\0".as_slice(), &[0; 40]].concat());
    scratch.run(&format!("undelete {}", ids[0])).ends(1).says("dropped by a prune");
    assert!(scratch.run("session list --json").ok().messages().is_empty(), "no session is left open");
    assert_eq!(listed(&scratch, "").len(), 9);
    scratch.run(&format!("forget {}", ids[1])).ok();
    assert_eq!(listed(&scratch, "").len(), 8);
}

/// What is damaged is shown, never dropped; and a policy can't go over it.
#[test]
fn a_damaged_record_hides_nothing() {
    let (scratch, source, ids) = ten_days();
    scratch.run(&format!("forget {} {}", ids[0], ids[1])).ok();
    let records = objects_of(&scratch, Kind::Forgotten);
    for way in Harm::ALL {
        let good = harm(&records[0], Some(&records[1]), way).expect("possible");
        let id = records[0].file_name().expect("a name").to_string_lossy().into_owned();
        let run = scratch.run("snapshots --json");
        let found: Vec<String> = run.of_type("snapshot").iter().map(|snapshot| text(&snapshot["id"])).collect();
        assert!(found.contains(&id), "{way:?}: it is shown\n{run}");
        if way == Harm::Missing {
            drop(good);
            continue;
        }
        let run = run.ends(3);
        assert!(run.err().contains(&format!("forgotten/{id}")), "{way:?}: the record is named\n{run}");
        let run = scratch.run("forget --keep-last 1 --dry-run --json").ends(3);
        assert!(planned(&run, "forget").contains(&id), "{way:?}\n{run}");
        scratch.run(&format!("forget {id}")).ends(3).says("is not forgotten");
        scratch.run(&format!("undelete {id}")).ok().says("is not forgotten");
        scratch.restore(&id, &source, &scratch.file(format!("target-{way:?}"))).ok();
        drop(good);
        assert_eq!(listed(&scratch, "").len(), 8, "{way:?}");
    }
    // The others are forgotten all the same.
    let bytes = fs::read(&records[0]).expect("a record");
    write_object(&records[0], &bytes[..bytes.len() - 1]);
    let run = scratch.run("forget --keep-last 3 --json").ends(3);
    assert_eq!(run.summary()["snapshots_forgotten"], 5, "{run}");
    assert_eq!(scratch.run("snapshots --json").ends(3).of_type("snapshot").len(), 4);
}

/// After a prune has dropped a snapshot its record stays.
#[test]
fn a_record_without_a_snapshot_means_nothing() {
    let (scratch, source, ids) = ten_days();
    scratch.run(&format!("forget {}", ids[4])).ok();
    scratch.run("prune --grace 0").ok();
    assert!(!scratch.repository().join("snapshots").join(&ids[4]).exists());
    let run = scratch.check_clean();
    assert!(run.of_type("finding").is_empty(), "{run}");
    assert_eq!(listed(&scratch, "").len(), 9);
    assert!(listed(&scratch, "--forgotten").is_empty());
    scratch.run(&format!("undelete {}", ids[4])).ends(1).says("does not exist");
    scratch.run(&format!("forget {}", ids[4])).ends(1).says("does not exist");
    scratch.snapshot(&source);
    scratch.run("forget --keep-last 2").ok();
    scratch.run("prune --grace 0").ok();
    scratch.run("check").ends(0);
    // Without a record it is damage, as ever.
    let newest = listed(&scratch, "").pop().expect("one is left");
    fs::remove_file(scratch.repository().join("snapshots").join(&newest)).expect("removed");
    scratch.run("check").ends(5).says(&newest);
}

/// How to prune says nothing where nothing is pruned: a grace time was taken for one of `forget` once, and ignored.
#[test]
fn how_to_prune_needs_a_prune() {
    let scratch = Scratch::new();
    let id = scratch.snapshot(&scratch.tree("source"));
    for option in ["--grace 0", "--max-unused 1%", "--max-repack 1M", "--wait 1s", "--revoke-after 0"] {
        scratch.run(&format!("forget {id} {option}")).ends(2).says("--prune");
        assert_eq!(listed(&scratch, ""), [id.as_str()]);
    }
    scratch.run(&format!("forget {id} --grace 0 --prune --dry-run")).ok();
}
