//! What write-only clients say of packs, and what becomes of it.

use super::adoption::with_dead_writer;
use super::locks::Safe;
use super::pruning::forget_old;
use super::*;
use crate::repository::SnapshotSet;

/// A write-only client of a repository, which has stored nothing yet.
fn add_write_only(bench: &Bench, storage: Arc<dyn Storage>) -> Repository {
    let secret = Secret::generate_key_file();
    let by = RepairOptions { host: "here".into(), program: PROGRAM.into(), ..RepairOptions::default() };
    let new = NewClient { host: "here".into(), label: String::new(), like: None, strong_kdf: false, by };
    add_client(&bench.repository, &secret, &new, &clock()).expect("add");
    Repository::open(storage, &secret, &bench.scratch.path().join("write-only")).expect("open")
}

fn snapshot_of(bench: &Bench, repository: &Repository) {
    snapshot(repository, tree(&bench.source()), &options(), &clock(), &Silent).expect("snapshot");
}

fn index_object_of(bench: &Bench, domain: DomainId) -> IndexObject {
    let indexes = bench.objects(ObjectFamily::Indexes).into_iter().filter_map(|name| match name {
        ObjectName::Index(id) => Some(bench.repository.read_index(id).expect("whole")),
        _ => None,
    });
    indexes.into_iter().find(|object| object.domain == domain).expect("its index object")
}

/// It reads its own domain only: that an object which a lock keeps is replaced is said there, too.
#[test]
fn a_write_only_client_does_not_build_on_what_a_prune_swept() {
    for left in ["nothing", "something"] {
        let safe = Safe::new(Bench::new());
        let write_only = add_write_only(&safe.bench, Arc::new(Arc::clone(&safe.vault)));
        for round in 0..3 {
            if left == "something" {
                safe.bench.write("kept", 100, 40_000);
            }
            (0..6).for_each(|i| safe.bench.write(&format!("d/f{i}"), round * 10 + i, 40_000));
            snapshot_of(&safe.bench, &write_only);
        }
        safe.vault.lock_all(&safe.bench, 30, |name| matches!(name, ObjectName::Index(_)));
        forget_old(&safe.bench.repository);
        let report = safe.prune();
        assert!(report.packs_deleted > 0, "{report:?}");
        let there = safe.bench.objects(ObjectFamily::Packs);
        let mut listed = 0;
        let index = write_only.load_index(&Silent).expect("index");
        let mut check = |id, _| {
            listed += 1;
            assert!(there.contains(&ObjectName::Pack(id)), "{left}: {id} is listed and gone");
        };
        index.packs(&mut check).expect("packs");
        assert!(listed > 0);
        // What was there before comes back: it has to be stored again.
        (0..6).for_each(|i| safe.bench.write(&format!("d/f{i}"), i, 40_000));
        snapshot_of(&safe.bench, &write_only);
        assert!(!safe.bench.check().is_damaged(), "{left}");
        assert!(safe.bench.restores(&safe.bench.latest().1), "{left}");
    }
}

#[test]
fn what_a_write_only_client_lists_for_a_dead_session_of_others_is_not_adopted() {
    let (bench, dead) = with_dead_writer();
    let write_only = add_write_only(&bench, Arc::new(Arc::clone(&bench.storage)));
    snapshot_of(&bench, &write_only);
    let domain = write_only.domain().domain();
    let own = index_object_of(&bench, domain);
    let pack = own.packs[0].id;
    let lie = IndexObject { session: dead, ..own };
    write_only.put_index(&lie, false).expect("put");
    assert_eq!(bench.snapshot().resumed_sessions, 1);
    for name in bench.objects(ObjectFamily::Indexes) {
        let ObjectName::Index(id) = name else { continue };
        let object = bench.repository.read_index(id).expect("all that is there can be read");
        assert!(object.domain == domain || object.packs.iter().all(|row| row.id != pack));
    }
    let index = bench.repository.load_index_anew(&Silent).expect("index");
    assert!(index.has_pack(&pack).expect("pack") && !index.vouches_for(&pack).expect("pack"));
    assert!(!bench.check().is_damaged());
}

#[test]
fn packs_that_a_write_only_client_makes_up_are_no_storage_that_is_not_all_there() {
    let bench = Bench::new();
    bench.write("f", 1, 60_000);
    bench.snapshot();
    let write_only = add_write_only(&bench, Arc::new(Arc::clone(&bench.storage)));
    snapshot_of(&bench, &write_only);
    let own = index_object_of(&bench, write_only.domain().domain());
    let made_up = |n: u8| PackRow { id: PackId::new([n; 32]), ..own.packs[0].clone() };
    write_only.put_index(&IndexObject { packs: (0..20).map(made_up).collect(), ..own.clone() }, false).expect("put");
    let options = RepairOptions { host: "here".into(), program: PROGRAM.into(), ..RepairOptions::default() };
    let repair = || repair_packs(&bench.repository, &[], &options, &clock(), &Silent);
    let report = repair().expect("most of the packs that full clients list are there");
    assert_eq!(report.packs.len(), 20, "{report:?}");
    assert!(bench.restores(&bench.latest().1));
    // Nor do they hide that those are gone.
    for name in bench.objects(ObjectFamily::Packs) {
        bench.storage.below.remove(name).expect("remove");
    }
    assert_eq!(repair().expect_err("all are gone").kind(), ErrorKind::Refused);
}

#[test]
fn what_another_domain_says_that_it_replaces_stays() {
    let bench = Bench::new();
    bench.write("f", 1, 3000);
    bench.snapshot();
    let (old, snapshot) = bench.latest();
    let by = |domain| Snapshot { replaces: Some(old), domain, ..snapshot.clone() };
    let (claims, replaces) = (SnapshotId::new([1; 32]), SnapshotId::new([2; 32]));
    let other = DomainId::new([7; 16]);
    let snapshots = vec![(claims, by(other)), (replaces, by(snapshot.domain))];
    let set = SnapshotSet { snapshots, ..SnapshotSet::default() };
    assert_eq!(set.replacement_of(old, snapshot.domain), Some(replaces));
    let claimed = SnapshotSet { snapshots: vec![(claims, by(other))], ..SnapshotSet::default() };
    assert_eq!(claimed.replacement_of(old, snapshot.domain), None);
}
