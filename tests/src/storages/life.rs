//! What every storage promises, and all that one does with a repository.

use std::fs;
use std::sync::Arc;

use engine::ErrorKind;
use engine::storage::{ObjectFamily, ObjectName, Outcome, Storage, check_conformance};

use crate::compare::assert_diff_is_silent;
use crate::run_command;
use crate::servers::every::{Kind, Place};
use crate::sim::campaign::Campaign;
use crate::sim::client::Verb;
use crate::sim::disk::Disk;
use crate::sim::world::World;
use crate::tree::{noise, small, write};
use crate::words;

/// What a store is found to do with conditional writes, in the words of `init`.
pub fn expected_probe(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Moto => Some("conditional writes: one winner"),
        Kind::MotoIgnoring | Kind::Garage => Some("conditional writes: ignored"),
        // It looks, and then writes: whether the probe sees that is chance.
        Kind::S3sFs => Some("conditional writes: "),
        _ => None,
    }
}

/// Runs the conformance suite; what the probe found, in a line.
///
/// # Panics
/// With what does not hold.
pub fn conformance(place: &Place) -> String {
    let (storage, found) = place.open("conformance", true).expect("a storage");
    if place.kind().verifies() {
        real_objects(&*storage);
    } else {
        check_conformance(&*storage);
    }
    let probe = found.first().cloned().unwrap_or_default();
    if let Some(expected) = expected_probe(place.kind()) {
        assert!(probe.starts_with(expected), "{found:?}");
        assert_eq!(storage.capabilities().put_if_absent, probe.contains("one winner"), "{found:?}");
        // It is on record for whoever comes next.
        let (again, _) = place.open("conformance", false).expect("a storage");
        assert_eq!(again.capabilities().put_if_absent, storage.capabilities().put_if_absent);
    } else {
        assert!(storage.capabilities().put_if_absent, "{}", place.kind().name());
    }
    probe
}

/// The suite for servers that take nothing but objects of repositories, and keep some of them whoever asks: what is written
/// is listed and read, nothing is overwritten, what may be removed is, and of parallel writers one wins. (The engine's own
/// suite runs on `repo serve` without these rules in the tests of `remote`.)
fn real_objects(storage: &dyn Storage) {
    let disk = a_repository();
    let bytes_of = |name: &ObjectName| &disk.objects()[name].bytes;
    // Keys go before the config.
    let mut names: Vec<ObjectName> = disk.objects().keys().copied().collect();
    names.sort_by_key(|name| !matches!(name, ObjectName::Key(_)));
    for name in &names {
        let (bytes, len) = (bytes_of(name), bytes_of(name).len() as u64);
        let is_register = matches!(name, ObjectName::Register(_));
        let writers = if is_register { 8 } else { 1 };
        let winners = std::thread::scope(|scope| {
            let writers: Vec<_> =
                (0..writers).map(|_| scope.spawn(|| storage.write_new(*name, &[&bytes[..7], &bytes[7..]]))).collect();
            let outcomes = writers.into_iter().map(|writer| writer.join().expect("no panic").expect("written"));
            outcomes.filter(|outcome| *outcome == Outcome::Written).count()
        });
        assert_eq!(winners, 1, "{name}");
        assert_eq!(storage.write_new(*name, &[bytes]).expect("asked"), Outcome::Existed, "{name}");
        storage.persist(*name).expect("persist");
        assert_eq!(storage.read(*name, None, len).expect("read")[..], bytes[..], "{name}");
        assert_eq!(storage.read_once(*name, Some(2..6), 4).expect("a range")[..], bytes[2..6], "{name}");
        for (range, max) in [(Some(len - 1..len + 1), len), (Some(len..len + 1), len), (None, len - 1), (Some(0..4), 3)]
        {
            let error = storage.read(*name, range.clone(), max).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Damaged, "{name} {range:?} {max}: {error}");
        }
    }
    let list = || {
        let mut all = Vec::new();
        for family in ObjectFamily::ALL {
            storage.list(family, &mut |name, len| all.push((name, len))).expect("a list");
        }
        all.sort();
        all
    };
    let lengths = |names: &mut dyn Iterator<Item = &ObjectName>| -> Vec<(ObjectName, u64)> {
        let mut all: Vec<_> = names.map(|name| (*name, bytes_of(name).len() as u64)).collect();
        all.sort();
        all
    };
    assert_eq!(list(), lengths(&mut names.iter()));
    let stays =
        |name: &ObjectName| matches!(name, ObjectName::Config | ObjectName::Register(_) | ObjectName::Forgotten(_));
    for name in names.iter().filter(|name| !stays(name)) {
        storage.remove(*name).expect("removed");
        storage.remove(*name).expect("removed already");
        storage.persist(*name).expect("nothing has to last");
        assert_eq!(storage.read(*name, None, 1 << 30).expect_err("gone").kind(), ErrorKind::Missing, "{name}");
    }
    assert_eq!(list(), lengths(&mut names.iter().filter(|name| stays(name))));
}

/// Objects of a repository that the engine made in memory.
fn a_repository() -> Disk {
    let campaign = Campaign::new().expect("a scratch directory");
    let world = World::new(1, Disk::default());
    let ledger = Arc::default();
    let machine = campaign.machine(&world, 0, campaign.new_cache(), &ledger);
    machine.run(&Verb::Init).expect("a repository");
    for number in 0..8 {
        machine.run(&Verb::Stream(number)).expect("a snapshot");
    }
    for verb in [Verb::Tree(0), Verb::Forget(0)] {
        machine.run(&verb).expect("done");
    }
    world.disk()
}

/// `init`, a snapshot, a changed one, `forget`, `prune`, `check`, `restore`: at the end all is there and nothing is damaged.
///
/// # Panics
/// With what does not hold.
pub fn live(place: &Place) {
    let name = "life";
    let run = |line: &str| place.run(name, line);
    let source = small(&place.scratch.tree("life-source"), 1);
    write(source.join("large"), noise(5, 2_500_000));
    let init = run("init --pack-size 1M").ok();
    if let Some(expected) = expected_probe(place.kind()) {
        init.says(expected);
    }
    run("init").ends(1).says("use the repository that is there");
    place.run("nothing", "snapshots").ends(10);
    let first = run_command(place.command(name).args(words!["snapshot", "--json", source])).ok().snapshot_id();
    write(source.join("new"), noise(99, 500_000));
    fs::remove_file(source.join("large")).expect("one file less");
    run_command(place.command(name).args(words!["snapshot", source])).ok();
    let check = run("check --read-data --json").ok();
    assert_eq!(check.summary()["damaged"], false, "{check}");
    run(&format!("forget {first}")).ok();
    run("prune --grace 0 --max-unused 0").ok().says("freed");
    let check = run("check --read-data --json").ok();
    assert_eq!(check.summary()["damaged"], false, "{check}");
    let target = place.scratch.file("life-target");
    let what = format!("latest:{}", source.display());
    run_command(place.command(name).args(words!["restore", what, "--target", target])).ok();
    assert_diff_is_silent(&source, &target);
    assert_eq!(run("snapshots --json").ok().of_type("snapshot").len(), 1);
}
