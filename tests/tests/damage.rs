//! Every kind of object, harmed in every way: `check` names it and what it costs, restore gives back the rest.

use std::fs;
use std::path::{Path, PathBuf};

use repo_tests::compare::{assert_same_with, differing_paths};
use repo_tests::damage::{self, Harm, Kind, harm, name_of, objects_of, restore_and_compare, two_sources};
use repo_tests::tree::{self, noise, prose, write};
use repo_tests::{Run, Scratch};
use serde_json::Value;

struct Fixture {
    scratch: Scratch,
    /// Snapshot ids and what they hold.
    saved: Vec<(String, PathBuf)>,
}

impl Fixture {
    fn new() -> Self {
        let (scratch, saved) = two_sources();
        Self { scratch, saved }
    }

    fn check(&self, is_cold: bool) -> Run {
        if is_cold {
            let _ = fs::remove_dir_all(self.scratch.cache());
        }
        let run = self.scratch.run("check --read-data --json");
        run.civil();
        run
    }

    /// Restores a snapshot; gives the result and the paths (`./…`) that are not as they were.
    fn restore(&self, number: usize) -> (Run, Vec<String>) {
        let (id, source) = &self.saved[number];
        restore_and_compare(&self.scratch, id, source)
    }

    /// Harms each object of a kind, at most `count` of them, in every way.
    fn harm_each(&self, kind: Kind, count: usize, mut then: impl FnMut(&str, &str)) {
        let objects = objects_of(&self.scratch, kind);
        assert!(!objects.is_empty(), "there are objects of kind {kind:?}");
        for (number, object) in objects.iter().enumerate().take(count) {
            let other = objects.iter().find(|other| *other != object);
            for way in Harm::ALL {
                let Some(good) = harm(object, other.map(PathBuf::as_path), way) else { continue };
                let name = name_of(&self.scratch, object);
                then(&name, &format!("{kind:?} {number} {way:?}, {name}"));
                drop(good);
            }
        }
        // All is good again: what was found was due to the harm.
        let _ = fs::remove_dir_all(self.scratch.cache());
        self.scratch.check_clean();
    }
}

/// Findings of damage, as (object, number of costs, paths by snapshot).
fn damage_of(run: &Run) -> Vec<Value> {
    run.of_type("finding").into_iter().filter(|finding| finding["damage"] == true).collect()
}

fn costs_of(findings: &[Value], snapshot: &str) -> Vec<String> {
    let all = findings.iter().flat_map(|finding| finding["costs"].as_array().expect("costs").iter());
    let ours = all.filter(|cost| cost["snapshot"] == snapshot);
    let mut paths: Vec<String> = ours.map(|cost| cost["path"].as_str().expect("a path").to_owned()).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// What `check` says is lost must be what a restore does not give back: each lost path is named or below a named
/// one, and nothing below a named one came back.
#[track_caller]
fn assert_costs_are_the_losses(costs: &[String], lost: &[String], source: &Path, what: &str) {
    let source = source.to_str().expect("UTF-8");
    let lost: Vec<String> = lost.iter().map(|path| path.replacen('.', source, 1)).collect();
    let is_below =
        |path: &str, above: &str| path == above || path.starts_with(&format!("{}/", above.trim_end_matches('/')));
    for path in &lost {
        assert!(costs.iter().any(|cost| is_below(path, cost)), "{what}: {path} is lost but not named: {costs:?}");
    }
    for cost in costs {
        // The directories above the source can be named when they are what is lost.
        let named = if is_below(source, cost) { source } else { cost };
        let below = repo_tests::scratch::files_below(Path::new(named));
        let files: Vec<PathBuf> = if below.is_empty() { vec![named.into()] } else { below };
        for file in files {
            let file = file.to_str().expect("UTF-8");
            assert!(lost.iter().any(|path| is_below(file, path)), "{what}: {file} is named ({cost}) but came back");
        }
    }
}

fn pack_damage(kind: Kind, count: usize) {
    let fixture = Fixture::new();
    let mut costly = 0;
    fixture.harm_each(kind, count, |object, what| {
        let run = fixture.check(false);
        assert_eq!(run.code(), 5, "{what}\n{run}");
        let findings = damage_of(&run);
        assert!(findings.iter().any(|finding| finding["object"] == object), "{what}: not named\n{run}");
        let cold = fixture.check(true);
        assert_eq!(cold.code(), 5, "{what}, without a cache\n{cold}");
        for (number, (id, source)) in fixture.saved.iter().enumerate() {
            let (restored, lost) = fixture.restore(number);
            let costs = costs_of(&findings, id);
            assert_costs_are_the_losses(&costs, &lost, source, &format!("{what}\n{run}\n{restored}"));
            let expected: &[i32] = match (costs.is_empty(), kind) {
                (true, _) => &[0],
                (false, Kind::DataPack) => &[3],
                // The way to the path that was asked for may be lost.
                _ => &[3, 5],
            };
            assert!(expected.contains(&restored.code()), "{what}, costs {costs:?}\n{restored}");
            costly += usize::from(!costs.is_empty());
        }
    });
    assert!(costly > 5, "some of it costs something");
}

#[test]
fn a_pack_of_data_costs_the_files_in_it() {
    pack_damage(Kind::DataPack, 3);
}

#[test]
fn a_pack_of_trees_costs_what_is_below() {
    pack_damage(Kind::TreePack, 2);
}

#[test]
fn an_index_object_costs_nothing() {
    let fixture = Fixture::new();
    fixture.harm_each(Kind::Index, 2, |object, what| {
        for is_cold in [false, true] {
            let run = fixture.check(is_cold);
            assert_eq!(run.code(), 5, "{what}, cold {is_cold}\n{run}");
            let findings = damage_of(&run);
            // Of an index object that is gone only the packs that it listed are left to tell.
            let named = findings.iter().any(|finding| finding["object"] == object);
            assert!(named || what.contains("Missing"), "{what}: not named\n{run}");
            for number in 0..2 {
                let (restored, lost) = fixture.restore(number);
                assert!(lost.is_empty(), "{what}, cold {is_cold}: {lost:?}\n{restored}");
                assert_eq!(restored.code(), 0, "{what}, cold {is_cold}\n{restored}");
            }
        }
    });
}

#[test]
fn all_index_objects_gone_cost_nothing() {
    let fixture = Fixture::new();
    for object in objects_of(&fixture.scratch, Kind::Index) {
        fs::remove_file(object).expect("removed");
    }
    for is_cold in [false, true] {
        let run = fixture.check(is_cold);
        assert_eq!(run.code(), 5, "{run}");
        for number in 0..2 {
            let (restored, lost) = fixture.restore(number);
            assert!(lost.is_empty() && restored.code() == 0, "{lost:?}\n{restored}");
        }
    }
}

/// A snapshot's own object, or the register that makes it count.
fn snapshot_damage(kind: Kind) {
    let fixture = Fixture::new();
    fixture.harm_each(kind, 2, |object, what| {
        let run = fixture.check(true);
        assert_eq!(run.code(), 5, "{what}\n{run}");
        let session = Path::new(object).parent().expect("above").display().to_string();
        let is_named = |finding: &Value| {
            let text = format!("{} {}", finding["object"], finding["message"]);
            text.contains(object) || (kind == Kind::Register && text.contains(&session))
        };
        let lost_snapshot = |finding: &Value| finding["object"].as_str().is_some_and(|o| o.starts_with("snapshots/"));
        let findings = damage_of(&run);
        let named = findings.iter().any(|f| is_named(f) || (what.contains("Missing") && lost_snapshot(f)));
        assert!(named, "{what}: not named\n{run}");
        let mut complete = 0;
        for number in 0..2 {
            let (restored, lost) = fixture.restore(number);
            assert!([0, 1, 3, 5].contains(&restored.code()), "{what}\n{restored}");
            assert!(lost.is_empty() || restored.code() != 0, "{what}: {lost:?}\n{restored}");
            complete += usize::from(lost.is_empty() && restored.code() == 0);
        }
        assert!(complete >= 1 || what.contains("Swap"), "{what}: the other snapshot can still be restored");
    });
}

#[test]
fn a_snapshot_object_costs_that_snapshot() {
    snapshot_damage(Kind::Snapshot);
}

#[test]
fn a_register_costs_its_session() {
    snapshot_damage(Kind::Register);
}

#[test]
fn the_intent_of_an_open_session_costs_nothing() {
    let fixture = Fixture::new();
    fixture.harm_each(Kind::Intent, 1, |object, what| {
        let run = fixture.check(true);
        assert!([0, 5].contains(&run.code()), "{what}\n{run}");
        let named = run.of_type("finding").iter().any(|finding| finding["object"] == object);
        assert!(named || what.contains("Missing"), "{what}: not named\n{run}");
        for number in 0..2 {
            let (restored, lost) = fixture.restore(number);
            assert!(lost.is_empty() && restored.code() == 0, "{what}: {lost:?}\n{restored}");
        }
    });
}

/// A record that is damaged hides nothing; the snapshots are checked and restored, forgotten or not.
#[test]
fn the_record_of_a_forgotten_snapshot_costs_nothing() {
    let fixture = Fixture::new();
    for (id, _) in &fixture.saved {
        fixture.scratch.run(&format!("forget {id}")).ok();
    }
    fixture.harm_each(Kind::Forgotten, 2, |object, what| {
        let run = fixture.check(true);
        let is_missing = what.contains("Missing");
        assert_eq!(run.code(), if is_missing { 0 } else { 5 }, "{what}\n{run}");
        let named = damage_of(&run).iter().any(|finding| finding["object"] == object);
        assert!(named != is_missing, "{what}: not named\n{run}");
        for number in 0..2 {
            let (restored, lost) = fixture.restore(number);
            assert!(lost.is_empty() && restored.code() == 0, "{what}: {lost:?}\n{restored}");
        }
    });
    // What is forgotten is still there, and must stay whole.
    let mut costs = 0;
    for pack in objects_of(&fixture.scratch, Kind::DataPack).into_iter().take(3) {
        let good = harm(&pack, None, Harm::Flip(500)).expect("possible");
        let run = fixture.check(true);
        assert_eq!(run.code(), 5, "{run}");
        costs += fixture.saved.iter().map(|(id, _)| costs_of(&damage_of(&run), id).len()).sum::<usize>();
        drop(good);
    }
    assert!(costs > 0, "it says which paths of forgotten snapshots are lost");
}

#[test]
fn config_and_the_only_key_are_refused_by_name() {
    let fixture = Fixture::new();
    for kind in [Kind::Config, Kind::Key] {
        fixture.harm_each(kind, 1, |object, what| {
            let run = fixture.check(true);
            assert!([1, 5, 10, 12].contains(&run.code()), "{what}\n{run}");
            // A slot that opens although it is damaged, in its label, is a finding.
            let said = run.err() + &run.out();
            let named = said.contains(object) || said.contains("config") || said.contains("key");
            assert!(named, "{what}: not named\n{run}");
            let missing_config = kind == Kind::Config && what.contains("Missing");
            assert_eq!(run.code() == 10, missing_config, "10 is for no repository at all; {what}\n{run}");
        });
    }
}

/// One key of two: the other one opens everything, and `check` says which is bad.
#[test]
fn one_damaged_key_of_two_is_found_through_the_other() {
    let fixture = Fixture::new();
    let other = fixture.scratch.file("other-key");
    fixture.scratch.run_words(repo_tests::words!["key", "add", "--new-key-file", other]).ok();
    let keys = objects_of(&fixture.scratch, Kind::Key);
    let listed = fixture.scratch.run("key list --json").ok().of_type("key");
    let current = listed.iter().find(|key| key["current"] == true).expect("the key in use")["id"].clone();
    let unused = keys.iter().find(|path| !path.ends_with(current.as_str().expect("text"))).expect("the other");
    for way in Harm::ALL {
        if way == Harm::Swap {
            continue;
        }
        let good = harm(unused, None, way).expect("possible");
        let run = fixture.check(true);
        // A key that was removed on purpose looks the same as one that is missing.
        let expected = if way == Harm::Missing { 0 } else { 5 };
        assert_eq!(run.code(), expected, "{way:?}\n{run}");
        if way != Harm::Missing {
            let name = name_of(&fixture.scratch, unused);
            assert!(damage_of(&run).iter().any(|finding| finding["object"] == name.as_str()), "{way:?}\n{run}");
        }
        let (restored, lost) = fixture.restore(1);
        assert!(lost.is_empty() && restored.code() == 0, "{way:?}: {lost:?}\n{restored}");
        drop(good);
    }
}

/// An object where the other kind belongs.
#[test]
fn an_object_in_the_place_of_another_kind_is_refused() {
    let fixture = Fixture::new();
    let kinds = [Kind::DataPack, Kind::Index, Kind::Snapshot, Kind::Register, Kind::Key, Kind::Config];
    let objects: Vec<PathBuf> = kinds.iter().map(|kind| objects_of(&fixture.scratch, *kind)[0].clone()).collect();
    for (number, object) in objects.iter().enumerate() {
        let other = &objects[(number + 1) % objects.len()];
        let good = harm(object, Some(other), Harm::Swap).expect("possible");
        let run = fixture.check(true);
        assert!([1, 5, 12].contains(&run.code()), "{} and {}\n{run}", object.display(), other.display());
        drop(good);
    }
}

/// Single bits of a tiny repository: each one that is another is found. The padding of a pack is part of what its
/// name covers, so there is no byte that does not matter.
#[test]
fn every_flipped_bit_is_found() {
    let scratch = Scratch::with_options("--cipher xchacha20");
    let source = scratch.tree("source");
    write(source.join("data"), noise(1, 900));
    write(source.join("prose"), prose(3_000));
    let id = scratch.snapshot(&source);
    scratch.run(&format!("forget {id}")).ok();
    scratch.run(&format!("undelete {id}")).ok();
    scratch.check_clean();
    let seed = repo_tests::seed();
    let step = if repo_tests::is_slow() { 1 } else { 61 };
    let mut bit = if step == 1 { 0 } else { seed % step };
    let mut missed = Vec::new();
    let mut tried = 0;
    for (name, length) in scratch.objects() {
        let path = scratch.repository().join(&name);
        let good = fs::read(&path).expect("an object");
        while bit < 8 * length {
            let mut bad = good.clone();
            bad[(bit / 8) as usize] ^= 1 << (bit % 8);
            damage::write_object(&path, &bad);
            let run = scratch.run("check --read-data --json");
            run.civil();
            if ![1, 5, 10, 12].contains(&run.code()) {
                missed.push(format!("{name} byte {} of {length} bit {}", bit / 8, bit % 8));
            }
            tried += 1;
            bit += step;
        }
        bit -= 8 * length;
        damage::write_object(&path, &good);
    }
    assert!(missed.is_empty(), "seed {seed}: {} of {tried} flips were not found: {missed:#?}", missed.len());
    assert!(tried > 1_000, "{tried} bits were tried");
    scratch.check_clean();
}

/// What is right in the target already needs no pack: a restore in place must not spoil it.
#[test]
fn restore_in_place_keeps_what_is_right_when_packs_are_gone() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    tree::small(&source, 3);
    write(source.join("linked"), noise(8, 150_000));
    fs::hard_link(source.join("linked"), source.join("other-name")).expect("a hard link");
    scratch.snapshot(&source);
    let target = scratch.file("target");
    repo_tests::scratch::copy_tree(&source, &target);
    for pack in objects_of(&scratch, Kind::DataPack) {
        fs::remove_file(pack).expect("removed");
    }
    let what = format!("latest:{}", source.display());
    let run = scratch.run_words(repo_tests::words!["restore", what, "--target", target, "--overwrite"]);
    let lost = differing_paths(&source, &target);
    assert!(lost.is_empty(), "{lost:?} were right before\n{run}");
    run.ok();
}

/// The database in the cache directory can vanish or be anything at any moment.
#[test]
fn a_damaged_cache_costs_nothing() {
    let fixture = Fixture::new();
    let scratch = &fixture.scratch;
    let database = find_database(scratch);
    let good = fs::read(&database).expect("read");
    type Spoil = fn(&[u8], u64) -> Vec<u8>;
    let ways: [(&str, Spoil); 6] = [
        ("cut", |good, share| good[..(good.len() as u64 * share / 10) as usize].to_vec()),
        ("flipped", |good, share| {
            let mut bytes = good.to_vec();
            let at = (good.len() as u64 - 1) * share / 10;
            bytes[at as usize] ^= 0x10;
            bytes
        }),
        ("a page of noise", |good, share| {
            let mut bytes = good.to_vec();
            let at = ((good.len() as u64 - 4096) * share / 10) as usize / 4096 * 4096;
            bytes[at..at + 4096].copy_from_slice(&noise(share, 4096));
            bytes
        }),
        ("a page of zeros", |good, share| {
            let mut bytes = good.to_vec();
            let at = ((good.len() as u64 - 4096) * share / 10) as usize / 4096 * 4096;
            bytes[at..at + 4096].fill(0);
            bytes
        }),
        ("zeros behind a point", |good, share| {
            let mut bytes = good.to_vec();
            let at = (good.len() as u64 * share / 10) as usize;
            bytes[at..].fill(0);
            bytes
        }),
        ("noise", |good, share| noise(share, good.len())),
    ];
    let mut failed = Vec::new();
    for (what, spoil) in ways {
        for share in 0..=10 {
            fs::write(&database, spoil(&good, share)).expect("written");
            for command in ["check --read-data", "snapshots", "ls -R latest", "restore latest --dry-run --target x"] {
                fs::write(&database, spoil(&good, share)).expect("written");
                let run = scratch.run(command);
                if run.code() != 0 {
                    failed.push(format!("{what}, at {share} tenths: {run}"));
                }
            }
            fs::write(&database, spoil(&good, share)).expect("written");
            if scratch.run("check").code() == 0 {
                fs::write(&database, spoil(&good, share)).expect("written");
                let (restored, lost) = fixture.restore(1);
                assert!(lost.is_empty() && restored.code() == 0, "{what} {share}: {lost:?}\n{restored}");
            }
        }
    }
    assert!(failed.is_empty(), "{} commands failed, first: {:#?}", failed.len(), &failed[..failed.len().min(5)]);
}

/// One wrong bit in the database, at places all over it, must neither look like damage of the repository nor
/// keep anything from being restored.
#[test]
fn a_flipped_bit_of_the_cache_costs_nothing() {
    let fixture = Fixture::new();
    fixture.check(false).ok();
    let database = find_database(&fixture.scratch);
    let good = fs::read(&database).expect("read");
    let step = if repo_tests::is_slow() { 97 } else { good.len() / 300 };
    let mut failed = Vec::new();
    for at in (0..good.len()).step_by(step) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&database, bytes).expect("written");
        let run = fixture.scratch.run("check --read-data");
        if run.code() != 0 {
            failed.push(format!("byte {at} of {}: {run}", good.len()));
        }
    }
    assert!(failed.is_empty(), "{} flips cost something, first: {:#?}", failed.len(), &failed[..failed.len().min(3)]);
}

fn find_database(scratch: &Scratch) -> PathBuf {
    scratch.fill_index();
    scratch.check_clean();
    let files = repo_tests::scratch::files_below(&scratch.cache());
    files.into_iter().find(|path| path.ends_with("index.redb")).expect("the local index")
}

#[test]
fn a_cache_that_can_not_be_used_costs_nothing() {
    let fixture = Fixture::new();
    find_database(&fixture.scratch);
    let cache = fixture.scratch.cache();
    let below =
        fs::read_dir(&cache).expect("there").filter_map(Result::ok).find(|e| e.path().is_dir()).expect("one").path();
    let spoilt: [(&str, &dyn Fn()); 4] = [
        ("a directory instead of the database", &|| {
            fs::remove_file(below.join("index.redb")).expect("removed");
            fs::create_dir(below.join("index.redb")).expect("made");
        }),
        ("no lock file", &|| fs::remove_file(below.join("index.lock")).expect("removed")),
        ("a file instead of the repository's cache", &|| {
            fs::remove_dir_all(&below).expect("removed");
            fs::write(&below, "x").expect("written");
        }),
        ("a file instead of the cache", &|| {
            fs::remove_dir_all(&cache).expect("removed");
            fs::write(&cache, "x").expect("written");
        }),
    ];
    for (what, spoil) in spoilt {
        spoil();
        let (restored, lost) = fixture.restore(0);
        assert!(lost.is_empty() && restored.code() == 0, "{what}: {lost:?}\n{restored}");
        let source = fixture.scratch.tree("another");
        write(source.join("file"), what);
        let id = fixture.scratch.snapshot(&source);
        let target = fixture.scratch.file("another-target");
        let _ = fs::remove_dir_all(&target);
        fixture.scratch.restore(&id, &source, &target).ok();
        assert_same_with(&["--no-root"], &source, &target);
        if cache.is_file() {
            fs::remove_file(&cache).expect("removed");
        } else {
            fs::remove_dir_all(&cache).expect("removed");
        }
        fixture.check(false).ok();
    }
}

/// Killed at any moment while the local index is made, the next command has a good one.
#[test]
fn a_half_written_cache_costs_nothing() {
    let scratch = Scratch::with_options("--chunk-size 1K --cipher xchacha20");
    let source = scratch.tree("source");
    write(source.join("noise"), noise(4, 12_000_000));
    let id = scratch.snapshot(&source);
    scratch.fill_index();
    let seed = repo_tests::seed();
    let mut random = tree::Random(seed);
    for round in 0..25 {
        let _ = fs::remove_dir_all(scratch.cache());
        let mut child = scratch.command().args(["check", "-q"]).spawn().expect("started");
        std::thread::sleep(std::time::Duration::from_micros(random.below(40_000)));
        child.kill().expect("killed");
        child.wait().expect("its end");
        let target = scratch.file(format!("target-{round}"));
        let run = scratch.restore(&id, &source, &target);
        assert_eq!(run.code(), 0, "seed {seed}, round {round}\n{run}");
        assert_same_with(&["--no-root"], &source, &target);
        fs::remove_dir_all(&target).expect("removed");
    }
    scratch.check_clean();
}
