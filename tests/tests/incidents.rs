//! What users of other programs lost data by, tried on this one. INCIDENTS.md has the whole list.

use std::fs;
use std::path::{Path, PathBuf};

use repo_tests::compare::assert_same_with;
use repo_tests::damage::{Kind, objects_of, write_object};
use repo_tests::tree::{noise, write};
use repo_tests::{Scratch, words};

fn fixture() -> (Scratch, PathBuf, String) {
    let scratch = Scratch::with_options("--pack-size 1M --chunk-size 64K --cipher xchacha20");
    let source = scratch.tree("source");
    for file in 0..4 {
        write(source.join(format!("file-{file}")), noise(file, 600_000));
    }
    let id = scratch.snapshot(&source);
    (scratch, source, id)
}

#[track_caller]
fn assert_restores(scratch: &Scratch, id: &str, source: &Path) {
    let target = scratch.file("target");
    let _ = fs::remove_dir_all(&target);
    scratch.restore(id, source, &target).ok();
    assert_same_with(&["--no-root"], source, &target);
}

/// restic #4612: a list that failed looked like an empty one, and a prune could delete everything.
#[test]
fn restic_4612_a_list_without_packs_is_not_an_empty_repository() {
    let (scratch, source, id) = fixture();
    let (packs, away) = (scratch.repository().join("packs"), scratch.file("away"));
    fs::rename(&packs, &away).expect("moved");
    fs::create_dir(&packs).expect("made");
    let run = scratch.run("prune --grace 0 --max-unused 0");
    run.civil();
    assert_ne!(run.code(), 0, "{run}");
    fs::remove_dir_all(&packs).expect("removed");
    fs::rename(&away, &packs).expect("back");
    assert_restores(&scratch, &id, &source);
}

/// restic pull 21977: a key or a config that was cut short made the program panic.
#[test]
fn restic_21977_every_length_of_config_and_key_is_refused() {
    let (scratch, ..) = fixture();
    for kind in [Kind::Config, Kind::Key] {
        let object = objects_of(&scratch, kind).remove(0);
        let good = fs::read(&object).expect("read");
        for length in (0..good.len()).step_by(7) {
            write_object(&object, &good[..length]);
            let run = scratch.run("snapshots");
            run.civil();
            assert_ne!(run.code(), 0, "{kind:?} of {length} bytes\n{run}");
        }
        write_object(&object, &good);
    }
    scratch.check_clean();
}

/// borg #9748: a missing chunk was restored as zeros, and nobody was told.
#[test]
fn borg_9748_a_missing_chunk_is_told_with_its_file() {
    let (scratch, source, id) = fixture();
    fs::remove_file(objects_of(&scratch, Kind::DataPack).remove(0)).expect("ours");
    let target = scratch.file("target");
    let run = scratch.restore(&id, &source, &target).ends(3);
    let mut wrong = 0;
    for file in 0..4 {
        let name = format!("file-{file}");
        if fs::read(target.join(&name)).ok() != fs::read(source.join(&name)).ok() {
            wrong += 1;
            assert!(run.err().contains(&name), "{name} is not whole, and not told\n{run}");
        }
    }
    assert!(wrong > 0, "the pack was needed");
}

/// borg #9868: two writers stored the same chunks at once, and compaction failed on them.
#[test]
fn borg_9868_the_same_data_twice_at_once_and_then_a_prune() {
    let scratch = Scratch::with_options("--pack-size 1M --chunk-size 64K --cipher xchacha20");
    let source = scratch.tree("source");
    write(source.join("noise"), noise(1, 6_000_000));
    let start = |label: &str| {
        let mut command = scratch.command();
        command.args(words!["snapshot", "-q", "--force", "--label", label, source]).spawn().expect("started")
    };
    let children = [start("one"), start("two")];
    children.into_iter().for_each(|mut child| assert!(child.wait().expect("its end").success()));
    scratch.run("prune --grace 0 --max-unused 0").ok();
    scratch.check_clean();
    for label in ["one", "two"] {
        let listed = scratch.run(&format!("snapshots --label {label} --json")).ok().of_type("snapshot").remove(0);
        assert_restores(&scratch, listed["id"].as_str().expect("text"), &source);
    }
}

/// rustic #392: a pack with the same blob several times was counted wrong by prune.
#[test]
fn rustic_392_zeros_and_a_prune() {
    let scratch = Scratch::with_options("--pack-size 1M --chunk-size 64K --cipher xchacha20");
    let source = scratch.tree("source");
    write(source.join("zeros"), vec![0; 5_000_000]);
    write(source.join("zeros-and-more"), [vec![0; 1_000_000], noise(1, 500_000), vec![0; 1_000_000]].concat());
    let first = scratch.snapshot(&source);
    write(source.join("zeros"), vec![0; 3_000_000]);
    let second = scratch.snapshot(&source);
    scratch.run(&format!("forget {first}")).ok();
    scratch.run("prune --grace 0 --max-unused 0").ok();
    scratch.check_clean();
    assert_restores(&scratch, &second, &source);
}

/// kopia #1087: two maintenance jobs at the same time deleted what was needed.
#[test]
fn kopia_1087_several_prunes_at_once() {
    let (scratch, source, first) = fixture();
    for file in 0..3 {
        write(source.join(format!("file-{file}")), noise(100 + file, 600_000));
    }
    let second = scratch.snapshot(&source);
    scratch.run(&format!("forget {first}")).ok();
    let prune = || scratch.command().args(["prune", "-q", "--grace", "0", "--max-unused", "0"]).spawn();
    let children: Vec<_> = (0..3).map(|_| prune().expect("started")).collect();
    for mut child in children {
        let code = child.wait().expect("its end").code();
        assert!([Some(0), Some(3), Some(4), Some(11)].contains(&code), "{code:?}");
    }
    scratch.check_clean();
    assert_restores(&scratch, &second, &source);
    scratch.run("prune --grace 0 --max-unused 0").ok();
    scratch.check_clean();
}
