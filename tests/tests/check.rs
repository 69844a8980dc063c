//! What `check` remembers, and what it says of damage that is rare.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use repo_tests::Scratch;
use repo_tests::damage::{Harm, Kind, harm, name_of, objects_of};
use repo_tests::tree::{noise, write};

/// A repository with a dozen packs of data.
fn many_packs() -> Scratch {
    let scratch = Scratch::with_options("--pack-size 1M --chunk-size 64K --cipher xchacha20");
    let source = scratch.tree("source");
    write(source.join("noise"), noise(1, 12_000_000));
    scratch.snapshot(&source);
    scratch
}

fn read(scratch: &Scratch, subset: &str) -> (u64, u64) {
    let summary = scratch.run(&format!("check --read-data-subset {subset} --json")).ok().summary();
    let number = |name: &str| summary[name].as_u64().expect("a number");
    (number("packs_read"), number("packs_unverified"))
}

/// The packs that the cache remembers: 40 bytes each, after 16 bytes.
fn remembered(scratch: &Scratch) -> BTreeSet<Vec<u8>> {
    let files = repo_tests::scratch::files_below(&scratch.cache());
    let Some(path) = files.into_iter().find(|path| path.ends_with("verified")) else { return BTreeSet::new() };
    let bytes = fs::read(path).expect("read");
    bytes[16..bytes.len() - 32].chunks(40).map(|row| row[..32].to_vec()).collect()
}

#[test]
fn a_part_a_night_becomes_a_full_check() {
    for (subset, nights) in [("1/4", 4), ("25%", 4), ("3M", 5), ("2/4", 4)] {
        let scratch = many_packs();
        let packs = scratch.run("check --json").ok().summary()["packs"].as_u64().expect("a number");
        let mut left = packs;
        for night in 1..=nights {
            let (read, unverified) = read(&scratch, subset);
            // New ones first: none is read twice while another was not read at all.
            assert_eq!(unverified, left.saturating_sub(read), "{subset}, night {night}");
            assert!(read < packs, "{subset}: a part only");
            left = unverified;
        }
        assert_eq!(left, 0, "{subset}: all of {packs} packs in {nights} nights");
        let summary = scratch.run("check --json").ok().summary();
        assert!(summary["verified_since"].is_string(), "{summary}");
        scratch.run("check").ok().says("all data was verified since");
    }
}

#[test]
fn new_packs_come_first() {
    let scratch = many_packs();
    scratch.run("check --read-data").ok().says("all data was verified since");
    let known = remembered(&scratch);
    let source = scratch.tree("another");
    write(source.join("noise"), noise(2, 2_000_000));
    scratch.snapshot(&source);
    let summary = scratch.run("check --json").ok().summary();
    let new = summary["packs_unverified"].as_u64().expect("a number");
    assert!(new >= 2, "{summary}");
    scratch.run("check").ok().says("not verified yet");
    // As many as are new, in bytes: no other one is read as long as one of these is left.
    let mut left = new;
    while left > 0 {
        let (read, unverified) = read(&scratch, "1K");
        assert_eq!((read, unverified), (1, left - 1));
        left = unverified;
    }
    assert_eq!(remembered(&scratch).difference(&known).count() as u64, new);
}

/// What was damaged is not remembered as right, and comes first until it is gone.
#[test]
fn damage_is_read_first_until_it_is_gone() {
    let scratch = many_packs();
    scratch.run("check --read-data").ok();
    let pack = objects_of(&scratch, Kind::DataPack).remove(3);
    let good = harm(&pack, None, Harm::Flip(500)).expect("possible");
    let name = name_of(&scratch, &pack);
    let run = scratch.run("check --read-data --json").ends(5);
    assert_eq!(run.summary()["packs_unverified"], 1);
    for _ in 0..3 {
        let run = scratch.run("check --read-data-subset 1K --json").ends(5);
        assert!(run.of_type("finding").iter().any(|finding| finding["object"] == name.as_str()), "{run}");
    }
    drop(good);
    assert_eq!(read(&scratch, "1K"), (1, 0));
}

#[test]
fn what_is_remembered_may_be_anything() {
    let scratch = many_packs();
    scratch.run("check --read-data").ok();
    let files = repo_tests::scratch::files_below(&scratch.cache());
    let path: PathBuf = files.into_iter().find(|path| path.ends_with("verified")).expect("it is kept");
    let good = fs::read(&path).expect("read");
    for spoilt in [Vec::new(), good[..good.len() / 2].to_vec(), noise(1, good.len()), {
        let mut flipped = good.clone();
        flipped[20] ^= 1;
        flipped
    }] {
        fs::write(&path, spoilt).expect("written");
        let summary = scratch.run("check --json").ok().summary();
        assert_eq!(summary["packs_unverified"], summary["packs"], "nothing is believed");
        assert!(summary["verified_since"].is_null());
    }
    fs::remove_file(&path).expect("ours");
    fs::create_dir(&path).expect("made");
    scratch.run("check --read-data-subset 1/4").ok();
}

/// A forgotten snapshot that nothing dropped can be brought back, or it is damage.
#[test]
fn a_forgotten_snapshot_that_is_gone_is_damage() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    write(source.join("file"), "content");
    let id = scratch.snapshot(&source);
    scratch.run(&format!("forget {id}")).ok();
    scratch.check_clean();
    let object = objects_of(&scratch, Kind::Snapshot).remove(0);
    let good = harm(&object, None, Harm::Missing).expect("possible");
    let run = scratch.run("check --json").ends(5);
    let finding = run.of_type("finding").remove(0);
    assert_eq!(finding["object"], name_of(&scratch, &object).as_str());
    assert_eq!(finding["costs"][0]["snapshot"], id.as_str());
    drop(good);
    scratch.check_clean();
}

/// A snapshot object that is damaged or gone says whose it is.
#[test]
fn a_damaged_snapshot_costs_all_of_itself() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    write(source.join("file"), "content");
    let id = scratch.snapshot(&source);
    let object = objects_of(&scratch, Kind::Snapshot).remove(0);
    for way in [Harm::Missing, Harm::Empty, Harm::Flip(500)] {
        let good = harm(&object, None, way).expect("possible");
        let finding = scratch.run("check --json").ends(5).of_type("finding").remove(0);
        assert_eq!([&finding["costs"][0]["snapshot"], &finding["costs"][0]["path"]], [id.as_str(), "/"], "{way:?}");
        drop(good);
    }
}

#[test]
fn an_earlier_state_is_known_by_who_saw_a_later_one_and_by_a_head() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    write(source.join("file"), noise(1, 100_000));
    let first = scratch.snapshot(&source);
    let earlier = scratch.file("earlier");
    repo_tests::scratch::copy_tree(&scratch.repository(), &earlier);
    write(source.join("file"), noise(2, 100_000));
    let second = scratch.snapshot(&source);
    let summary = scratch.run(&format!("check --json --head {first} --head {second}")).ok().summary();
    let heads = summary["heads"].as_array().expect("heads").clone();
    assert_eq!(heads.len(), 1, "{summary}");
    assert_eq!((heads[0]["snapshot_id"].as_str(), heads[0]["sequence"].as_u64()), (Some(&*second), Some(2)));

    fs::rename(scratch.repository(), scratch.file("later")).expect("put away");
    repo_tests::scratch::copy_tree(&earlier, &scratch.repository());
    // This machine has seen more. It is said, and the data is saved all the same.
    write(source.join("file"), noise(3, 100_000));
    let run = scratch.run_words(repo_tests::words!["snapshot", "--json", source]).ends(3).says("an earlier state");
    assert_eq!(run.snapshot_id().len(), 64);
    scratch.run("check").ends(5).says("an earlier state").says("sessions/");
    // Another machine knows nothing, unless somebody wrote down how far it had come.
    scratch.run("cache clear").ok();
    scratch.run(&format!("check --head {first}")).ok();
    scratch
        .run(&format!("check --head {second}"))
        .ends(5)
        .says(&format!("snapshots/{second}"))
        .says("an earlier state");
    scratch.run("check --head abc").ends(2).says("64 hex digits");
}

#[test]
fn a_head_that_was_forgotten_and_pruned_still_proves_how_far_it_came() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    write(source.join("file"), noise(1, 100_000));
    scratch.snapshot(&source);
    let head = scratch.snapshot(&source);
    scratch.run(&format!("forget {head}")).ok();
    scratch.run("prune --grace 0").ok();
    assert!(!scratch.repository().join("snapshots").join(&head).exists());
    scratch.run(&format!("check --head {head}")).ok();
}
