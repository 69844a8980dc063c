//! Damage of every kind, and then the repairs: what can be restored only grows, a second repair finds nothing, and what
//! a source still has is whole again after its next snapshot.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use repo_tests::compare::differing_paths;
use repo_tests::damage::{
    Harm, Kind, harm, name_of, objects_of, restore_and_compare, start_endless_snapshot, two_sources,
};
use repo_tests::tree::{self, Random, noise, write};
use repo_tests::{Run, Scratch, words};
use serde_json::Value;

struct Fixture {
    scratch: Scratch,
    saved: Vec<(String, PathBuf)>,
}

impl Fixture {
    fn new() -> Self {
        let (scratch, saved) = two_sources();
        Self { scratch, saved }
    }

    fn run(&self, line: &str) -> Run {
        let run = self.scratch.run(&format!("{line} --json"));
        run.civil();
        run
    }

    /// What a snapshot of a source does not give back.
    fn lost(&self, id: &str, source: &Path) -> Vec<String> {
        restore_and_compare(&self.scratch, id, source).1
    }

    /// The same of all snapshots.
    fn losses(&self) -> BTreeMap<String, Vec<String>> {
        self.saved.iter().map(|(id, source)| (id.clone(), self.lost(id, source))).collect()
    }

    /// All three repairs; what each said.
    fn repair(&self) -> [Run; 3] {
        ["repair index", "repair packs", "repair snapshots"].map(|line| {
            let run = self.run(line);
            assert!([0, 3].contains(&run.code()), "{run}");
            run
        })
    }

    #[track_caller]
    fn assert_nothing_to_repair(&self, what: &str) {
        let before = self.scratch.objects();
        for line in ["repair index", "repair packs", "repair snapshots"] {
            let run = self.run(line);
            assert_eq!(run.summary()["repaired"], 0, "{what}\n{run}");
        }
        assert_eq!(self.scratch.objects(), before, "{what}: nothing was written");
    }
}

/// Every path of `after` is lost before, too.
#[track_caller]
fn assert_no_more_is_lost(before: &BTreeMap<String, Vec<String>>, after: &BTreeMap<String, Vec<String>>, what: &str) {
    for (id, lost) in after {
        for path in lost {
            let above = |known: &String| path == known || path.starts_with(&format!("{known}/")) || known == ".";
            assert!(before[id].iter().any(above), "{what}: {path} of {id} could be restored before");
        }
    }
}

fn repeated(run: &Run) -> Vec<(String, String)> {
    let pairs = run.of_type("repair").into_iter().filter_map(|message| {
        Some((message["snapshot_id"].as_str()?.to_owned(), message["new_snapshot_id"].as_str()?.to_owned()))
    });
    pairs.collect()
}

/// What a snapshot holds, by its own listing.
fn listed(scratch: &Scratch, id: &str, source: &Path) -> Vec<String> {
    let run = scratch.run_words(words!["ls", "-R", format!("{id}:{}", source.display())]).ok();
    run.out().lines().map(str::to_owned).collect()
}

/// The slow tests try them all.
const WAYS: [Harm; 7] =
    [Harm::Flip(350), Harm::FlipEnd(20), Harm::Swap, Harm::Missing, Harm::FlipHeader(4), Harm::Cut(500), Harm::Empty];

/// Harm, the three repairs, then the next snapshots of the sources.
fn damage_and_repair(kind: Kind, ways: &[Harm]) {
    let mut costly = 0;
    for way in ways {
        let fixture = Fixture::new();
        let objects = objects_of(&fixture.scratch, kind);
        let Some(good) = harm(&objects[0], objects.get(1).map(PathBuf::as_path), *way) else { continue };
        // The harm stays.
        std::mem::forget(good);
        let what = format!("{kind:?} {way:?} {}", name_of(&fixture.scratch, &objects[0]));
        let before = fixture.losses();
        costly += usize::from(before.values().any(|lost| !lost.is_empty()));

        let objects_before = fixture.scratch.objects();
        for line in ["repair index -n", "repair packs -n"] {
            fixture.run(line);
        }
        assert_eq!(fixture.scratch.objects(), objects_before, "{what}: a dry run writes nothing");

        let runs = fixture.repair();
        let after = fixture.losses();
        assert_no_more_is_lost(&before, &after, &what);
        // A repaired snapshot is whole: it restores without problems, and holds all that the old one gives back.
        let pairs = repeated(&runs[2]);
        for (id, source) in &fixture.saved {
            let new = pairs.iter().find(|(old, _)| old == id).map(|(_, new)| new);
            let hopeless = runs[2].of_type("repair").into_iter().filter(|message| message["action"] == "none");
            let is_hopeless = hopeless.filter(|message| message["snapshot_id"] == id.as_str()).count() > 0;
            assert_eq!(new.is_some() || is_hopeless, !after[id].is_empty(), "{what}: {after:?}\n{}", runs[2]);
            let Some(new) = new else { continue };
            let target = fixture.scratch.file("repaired");
            let _ = fs::remove_dir_all(&target);
            if fixture.scratch.run_words(words!["ls", format!("{new}:{}", source.display())]).code() == 0 {
                fixture.scratch.restore(new, source, &target).ok();
                let lost = differing_paths(source, &target);
                assert_eq!(lost, after[id], "{what}: what it is without is what was lost");
            }
        }
        fixture.assert_nothing_to_repair(&what);
        // What is lost stays damage, with or without its data being read, until it is stored again.
        let is_lost = after.values().any(|lost| !lost.is_empty());
        for line in ["check", "check --read-data"] {
            let check = fixture.run(line);
            assert_eq!(check.code(), if is_lost { 5 } else { 0 }, "{what}\n{check}");
        }

        // What the sources still have is stored again, although nothing in them has changed.
        for (_, source) in &fixture.saved {
            let id = fixture.scratch.snapshot(source);
            assert!(fixture.lost(&id, source).is_empty(), "{what}: the next snapshot is whole");
        }
        let healed = fixture.losses();
        assert_no_more_is_lost(&after, &healed, &what);
        if kind == Kind::DataPack {
            assert!(healed.values().all(Vec::is_empty), "{what}: old snapshots are whole again: {healed:?}");
            let check = fixture.run("check --read-data");
            assert_eq!(check.code(), 0, "{what}\n{check}");
            // And a prune takes away what the repair left.
            let prune = fixture.scratch.run("prune --grace 0 --max-unused 0").ok();
            let check = fixture.run("check --read-data");
            assert_eq!(check.code(), 0, "{what}\n{prune}\n{check}");
            assert!(check.of_type("finding").iter().all(|finding| finding["damage"] == false), "{check}");
            assert!(fixture.losses().values().all(Vec::is_empty), "{what}: whole after a prune");
        }
        fixture.assert_nothing_to_repair(&what);
    }
    assert!(costly > 0 || kind == Kind::Index, "some of it costs something");
}

#[test]
fn damaged_packs_of_data() {
    damage_and_repair(Kind::DataPack, &WAYS[..if repo_tests::is_slow() { 7 } else { 4 }]);
}

#[test]
fn damaged_packs_of_trees() {
    damage_and_repair(Kind::TreePack, &WAYS[..if repo_tests::is_slow() { 7 } else { 4 }]);
}

#[test]
fn damaged_and_lost_index_objects() {
    damage_and_repair(Kind::Index, &[Harm::Flip(350), Harm::Empty, Harm::Missing, Harm::Swap]);
}

#[test]
fn all_index_objects_come_back_from_the_packs() {
    let fixture = Fixture::new();
    let objects = objects_of(&fixture.scratch, Kind::Index);
    objects.iter().for_each(|object| fs::remove_file(object).expect("ours"));
    assert_eq!(fixture.run("check").code(), 5);
    fixture.run("repair index");
    fixture.scratch.check_clean();
    fixture.assert_nothing_to_repair("all index objects");
    // They count: nothing is stored again.
    let (_, source) = &fixture.saved[0];
    let run = fixture.scratch.run_words(words!["snapshot", "--force", "--json", source]).ok();
    // Others change the directories above the source meanwhile.
    assert!(run.summary()["data_added"].as_u64() < Some(10_000), "{run}");
}

/// What a session stored whose register is lost counts again, in the name of another one.
#[test]
fn a_lost_register_is_made_up_for() {
    for way in [Harm::Missing, Harm::Flip(500)] {
        let fixture = Fixture::new();
        let registers = objects_of(&fixture.scratch, Kind::Register);
        for register in &registers {
            std::mem::forget(harm(register, None, way).expect("possible"));
        }
        let check = fixture.run("check");
        assert_eq!(check.code(), 5, "{check}");
        let runs = fixture.repair();
        let pairs = repeated(&runs[2]);
        assert_eq!(pairs.len(), 2, "{}", runs[2]);
        for (id, source) in &fixture.saved {
            let (_, new) = pairs.iter().find(|(old, _)| old == id).expect("it was repeated");
            assert!(fixture.lost(new, source).is_empty(), "{way:?}");
        }
        let check = fixture.run("check --read-data");
        assert_eq!(check.code(), 0, "{way:?}\n{check}");
        fixture.assert_nothing_to_repair(&format!("{way:?}"));
    }
}

/// borg #3444: a repair threw away what was good.
#[test]
fn a_repair_of_a_healthy_repository_writes_nothing() {
    let fixture = Fixture::new();
    let (id, _) = &fixture.saved[0];
    fixture.scratch.run(&format!("forget {id}")).ok();
    fixture.scratch.run("tag --add keep latest").ok();
    fixture.assert_nothing_to_repair("healthy");
    let packs = objects_of(&fixture.scratch, Kind::DataPack);
    let before = fixture.scratch.objects();
    let named = name_of(&fixture.scratch, &packs[0]);
    // The open session's packs are its own affair, also by name.
    fixture.scratch.run(&format!("repair packs {named}")).ok().says("nothing to repair");
    fixture.scratch.run("repair snapshots latest").ok().says("nothing to repair");
    assert_eq!(fixture.scratch.objects(), before);
}

#[test]
fn snapshots_are_repaired_after_packs_and_index() {
    let fixture = Fixture::new();
    let packs = objects_of(&fixture.scratch, Kind::DataPack);
    fs::remove_file(&packs[0]).expect("ours");
    fixture.scratch.run("repair snapshots").ends(1).says("repair packs first");
    fixture.run("repair packs");
    fixture.run("repair snapshots -n");
    let objects = objects_of(&fixture.scratch, Kind::Index);
    let before = fixture.scratch.objects();
    objects.iter().for_each(|object| fs::remove_file(object).expect("ours"));
    // Also what was lost is known from the index only; the chunks that are there must be listed first.
    let run = fixture.scratch.run("repair snapshots");
    assert!(run.code() == 1, "{run}");
    fixture.run("repair index");
    assert!(fixture.scratch.objects().len() <= before.len());
}

/// A storage of which most is not there is not a repository of which most is lost.
#[test]
fn a_storage_without_its_packs_is_refused() {
    let fixture = Fixture::new();
    let packs = fixture.scratch.repository().join("packs");
    let away = fixture.scratch.file("away");
    fs::rename(&packs, &away).expect("moved");
    fs::create_dir(&packs).expect("made");
    let before = fixture.scratch.objects();
    fixture.scratch.run("repair packs").ends(1).says("are not there");
    assert_eq!(fixture.scratch.objects(), before);
    fs::remove_dir(&packs).expect("empty");
    fs::rename(&away, &packs).expect("back");
    fixture.scratch.check_clean();
}

/// A disk or a memory that had a bad day: what a repair called lost is still given back, and is listed again.
#[test]
fn a_pack_that_is_good_after_all_comes_back() {
    let fixture = Fixture::new();
    let packs = objects_of(&fixture.scratch, Kind::DataPack);
    let good: Vec<_> = packs.iter().take(2).filter_map(|pack| harm(pack, None, Harm::Flip(400))).collect();
    let run = fixture.run("repair packs");
    assert_eq!(run.code(), 3, "{run}");
    assert_ne!(run.summary()["chunks_lost"], 0, "{run}");
    drop(good);
    assert!(fixture.losses().values().all(Vec::is_empty), "readers look into packs that were taken out");
    let run = fixture.run("repair index");
    assert_ne!(run.summary()["repaired"], 0, "{run}");
    fixture.scratch.check_clean();
    fixture.assert_nothing_to_repair("good after all");
}

/// A repair that is killed at any moment can be run again, and nothing was lost in between.
#[test]
fn a_killed_repair_costs_nothing() {
    let fixture = Fixture::new();
    for pack in objects_of(&fixture.scratch, Kind::DataPack).iter().take(2) {
        std::mem::forget(harm(pack, None, Harm::Flip(500)).expect("possible"));
    }
    fs::remove_file(&objects_of(&fixture.scratch, Kind::Index)[0]).expect("ours");
    let before = fixture.losses();
    let original = fixture.scratch.file("original");
    repo_tests::scratch::copy_tree(&fixture.scratch.repository(), &original);
    let seed = repo_tests::seed();
    let mut random = Random(seed);
    for round in 0..if repo_tests::is_slow() { 100 } else { 8 } {
        fs::remove_dir_all(fixture.scratch.repository()).expect("ours");
        repo_tests::scratch::copy_tree(&original, &fixture.scratch.repository());
        for line in [["repair", "index"], ["repair", "packs"], ["repair", "snapshots"]] {
            let mut child = fixture.scratch.command().args(line).arg("-q").spawn().expect("started");
            std::thread::sleep(Duration::from_micros(random.below(60_000)));
            child.kill().expect("killed");
            child.wait().expect("its end");
        }
        let what = format!("seed {seed}, round {round}");
        assert_no_more_is_lost(&before, &fixture.losses(), &what);
        fixture.repair();
        assert_no_more_is_lost(&before, &fixture.losses(), &what);
        fixture.assert_nothing_to_repair(&what);
        for (_, source) in &fixture.saved {
            let id = fixture.scratch.snapshot(source);
            let lost = fixture.lost(&id, source);
            assert!(lost.is_empty(), "{what}: {lost:?}\n{}", fixture.run("check --read-data"));
        }
        assert_eq!(fixture.run("check --read-data").code(), 0, "{what}");
    }
}

/// A prune refuses what is damaged, so a repair must not wait for it; and what was replaced is no damage.
#[test]
fn a_repair_and_an_unfinished_prune_do_not_wait_for_each_other() {
    for way in [Harm::Cut(500), Harm::Missing] {
        let scratch = Scratch::with_options("--pack-size 1M");
        let source = scratch.tree("source");
        let mut ids = Vec::new();
        for number in 0..3 {
            write(source.join("file"), noise(number, 500_000));
            ids.push(scratch.snapshot(&source));
        }
        scratch.run(&format!("forget {}", ids[0])).ok();
        // Its session has to end before the plan of the prune can go on.
        let mut writer = start_endless_snapshot(&scratch, &noise(9, 100_000));
        let prune = "prune --grace 0 --max-unused 0 --json";
        assert_eq!(scratch.run(prune).ends(11).summary()["finished"], false);
        for object in objects_of(&scratch, Kind::Index) {
            std::mem::forget(harm(&object, None, way).expect("possible"));
        }
        drop(writer.stdin.take());
        writer.wait().expect("its end");
        assert_ne!(scratch.run(prune).civil().code(), 0, "nothing is removed beside damage");
        let run = scratch.run("repair index --json").ok();
        assert_ne!(run.summary()["repaired"], 0, "{run}");
        scratch.run(prune).ok();
        scratch.check_clean();
        let target = scratch.file("target");
        let _ = fs::remove_dir_all(&target);
        scratch.restore(&ids[2], &source, &target).ok();
        assert!(differing_paths(&source, &target).is_empty());
    }
}

/// Of a directory whose listing is lost nothing is left but its name; what is beside it stays.
#[test]
fn lost_directories_are_left_out_and_the_rest_stays() {
    let scratch = Scratch::with_options("--pack-size 1M --chunk-size 64K --cipher xchacha20");
    let source = scratch.tree("source");
    tree::crowd(&source.join("above/crowd"), 40);
    write(source.join("above/beside"), noise(2, 50_000));
    let first = scratch.snapshot(&source);
    let old = objects_of(&scratch, Kind::TreePack);
    // The directories above are in a pack of trees of their own now, the crowd is in the first one only.
    write(source.join("above/later"), noise(3, 50_000));
    let id = scratch.snapshot(&source);
    old.iter().for_each(|pack| std::mem::forget(harm(pack, None, Harm::Empty).expect("possible")));
    assert_eq!(scratch.run("repair packs").code(), 3);
    let run = scratch.run("repair snapshots --json").ends(3);
    let (_, new) = repeated(&run).into_iter().find(|(old, _)| *old == id).expect("it was repeated");
    let target = scratch.file("target");
    scratch.restore(&new, &source, &target).ok();
    let lost = differing_paths(&source, &target);
    assert!(!lost.is_empty() && lost.iter().all(|path| path.starts_with("./above/crowd/")), "{lost:?}\n{run}");
    assert!(target.join("above/crowd").is_dir() && target.join("above/later").is_file());
    // And the next snapshot stores it again.
    let id = scratch.snapshot(&source);
    let target = scratch.file("next");
    scratch.restore(&id, &source, &target).ok();
    assert!(differing_paths(&source, &target).is_empty());
    // Only the first snapshot's way to the source is nowhere any more.
    let findings = scratch.run("check --read-data --json").ends(5).of_type("finding");
    let costs = findings.iter().flat_map(|finding| finding["costs"].as_array().expect("costs"));
    assert!(costs.into_iter().all(|cost| cost["snapshot"] == first.as_str()), "{findings:?}");
}

/// A second repair at the same time finds its work done, or does it again: both end, and nothing is lost.
#[test]
fn two_repairs_at_once() {
    let fixture = Fixture::new();
    for pack in objects_of(&fixture.scratch, Kind::DataPack).iter().take(2) {
        std::mem::forget(harm(pack, None, Harm::Flip(500)).expect("possible"));
    }
    let before = fixture.losses();
    let children: Vec<_> =
        (0..2).map(|_| fixture.scratch.command().args(["repair", "packs", "-q"]).spawn().expect("started")).collect();
    for mut child in children {
        let code = child.wait().expect("its end").code();
        assert!([Some(0), Some(3)].contains(&code), "{code:?}");
    }
    assert_no_more_is_lost(&before, &fixture.losses(), "two repairs");
    fixture.repair();
    fixture.assert_nothing_to_repair("two repairs");
}

/// The snapshot that a repair made is the one before it without what was lost, and says so.
#[test]
fn a_repaired_snapshot_says_what_it_is() {
    let fixture = Fixture::new();
    let (id, source) = &fixture.saved[1];
    let packs = objects_of(&fixture.scratch, Kind::DataPack);
    // What comes first is by chance, and need not be of this snapshot.
    let mut losses = packs.iter().map(|pack| {
        fs::remove_file(pack).expect("ours");
        fixture.lost(id, source)
    });
    let lost = losses.find(|lost| !lost.is_empty()).expect("some pack is of it");
    fixture.run("repair packs");
    let run = fixture.run("repair snapshots");
    let (_, new) = repeated(&run).into_iter().find(|(old, _)| old == id).expect("it was repeated");
    let snapshots = fixture.run("snapshots").of_type("snapshot");
    let of = |id: &str| snapshots.iter().find(|snapshot| snapshot["id"] == id).expect("listed").clone();
    let (old, new_fields): (Value, Value) = (of(id), of(&new));
    assert_eq!(new_fields["original"], old["id"]);
    assert_eq!([&new_fields["time"], &new_fields["paths"]], [&old["time"], &old["paths"]]);
    assert_eq!(new_fields["summary"]["error_count"], lost.len(), "{lost:?}");
    let (before, after) = (listed(&fixture.scratch, id, source), listed(&fixture.scratch, &new, source));
    assert_eq!(before.len() - after.len(), lost.len());
    // `latest` is the one that can be restored.
    let target = fixture.scratch.file("latest");
    fixture.scratch.restore("latest", source, &target).ok();
    // Forgetting the old one is a person's work; it comes back as it was.
    fixture.scratch.run(&format!("forget {id}")).ok();
    let back = fixture.run(&format!("undelete {id}")).of_type("undelete").remove(0);
    assert_eq!(back["action"], "undeleted", "the repaired one is not the same");
}
