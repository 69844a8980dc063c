//! Objects that are kept on this machine: what needs no request any more, and what is never believed.

use std::path::PathBuf;

use super::*;

/// A repository of which much is kept, with two snapshots.
fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.repository.keep_objects(1 << 20);
    for i in 0..40 {
        bench.write(&format!("d{}/f{i}", i % 5), i, 9000);
    }
    bench.snapshot();
    bench.write("d1/more", 99, 70_000);
    bench.snapshot();
    bench
}

/// Lists all files of the latest snapshot; how many objects were read for that.
fn list_latest(bench: &Bench) -> usize {
    bench.storage.forget();
    let (_, latest) = bench.latest();
    let index = bench.repository.load_index(&Silent).expect("index");
    let mut count = 0;
    let each = &mut |_: &[u8], _: &crate::model::Node| {
        count += 1;
        Ok(())
    };
    ls(&bench.repository, &index, &latest, b"", true, each).expect("ls");
    assert!(count > 41, "{count}");
    bench.storage.take("read")
}

fn kept(bench: &Bench) -> Vec<PathBuf> {
    let below = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    below(&bench.repository.cache_directory().join("objects"))
        .flat_map(|path| below(&path).collect::<Vec<_>>())
        .collect()
}

#[test]
fn what_was_put_or_listed_once_is_listed_again_without_a_read() {
    let bench = bench();
    assert_eq!(list_latest(&bench), 0, "the writer has what it put");
    fs::remove_dir_all(bench.repository.cache_directory().join("objects")).expect("it was there");
    assert!(list_latest(&bench) > 0);
    assert_eq!(list_latest(&bench), 0);
    // It is what the storage has: sealed.
    assert!(kept(&bench).len() >= 5, "two snapshots, two registers, a segment of trees, the index: {:?}", kept(&bench));
    assert!(bench.restores(&bench.latest().1));
    // Data is not kept.
    let pack = |bytes: &[u8]| bytes.len() > 60_000;
    assert!(!kept(&bench).iter().any(|path| pack(&fs::read(path).expect("readable"))));
}

#[test]
fn a_cache_that_rots_or_vanishes_is_asked_in_vain() {
    let bench = bench();
    let vanish = || fs::remove_dir_all(bench.repository.cache_directory().join("objects")).expect("it was there");
    vanish();
    let first = list_latest(&bench);
    for path in kept(&bench) {
        let mut bytes = fs::read(&path).expect("readable");
        bytes[3] ^= 1;
        fs::write(path, bytes).expect("written");
    }
    assert_eq!(list_latest(&bench), first);
    for path in kept(&bench) {
        fs::write(path, b"short").expect("written");
    }
    assert_eq!(list_latest(&bench), first);
    vanish();
    assert_eq!(list_latest(&bench), first);
    assert_eq!(list_latest(&bench), 0);
}

#[test]
fn a_check_reads_the_storage_whatever_is_kept() {
    let bench = bench();
    list_latest(&bench);
    assert!(!bench.check().is_damaged());
    let [name, ..] = bench.objects(ObjectFamily::Snapshots)[..] else { panic!("there are two") };
    let object = bench.storage.below.read(name, None, 1 << 20).expect("there");
    bench.storage.below.remove(name).expect("removed");
    bench.storage.below.write_new(name, &[&object[1..]]).expect("damaged");
    list_latest(&bench);
    assert!(bench.check().is_damaged());
}

#[test]
fn what_the_storage_has_no_more_is_not_listed_and_no_parent() {
    let bench = bench();
    list_latest(&bench);
    let (id, _) = bench.latest();
    let session = Session::begin(&bench.repository, "host", PROGRAM, &clock()).expect("session");
    session.read_kept(&bench.repository, id).expect("it is there");
    bench.storage.below.remove(ObjectName::Snapshot(id)).expect("removed");
    assert_eq!(session.read_kept(&bench.repository, id).expect_err("gone").kind(), ErrorKind::NotFound);
    assert_ne!(bench.latest().0, id);
}

#[test]
fn what_was_damaged_when_it_was_read_is_not_kept() {
    let bench = bench();
    let _ = fs::remove_dir_all(bench.repository.cache_directory().join("objects"));
    for family in [ObjectFamily::Snapshots, ObjectFamily::Packs, ObjectFamily::Sessions, ObjectFamily::Indexes] {
        for name in bench.objects(family) {
            let object = bench.storage.below.read(name, None, 1 << 20).expect("there");
            let damaged: Vec<u8> = object.iter().map(|byte| byte ^ 1).collect();
            bench.storage.below.remove(name).expect("removed");
            bench.storage.below.write_new(name, &[&damaged]).expect("damaged");
            let list = list_snapshots(&bench.repository, &SnapshotFilter::default());
            let index = bench.repository.load_index(&Silent);
            if let (Ok(list), Ok(index)) = (list, index) {
                let _ = list.snapshots.iter().try_for_each(|(_, snapshot)| {
                    ls(&bench.repository, &index, snapshot, b"", true, &mut |_: &[u8], _: &crate::model::Node| Ok(()))
                });
            }
            bench.storage.below.remove(name).expect("removed");
            bench.storage.below.write_new(name, &[&object]).expect("mended");
        }
    }
    assert_eq!(list_snapshots(&bench.repository, &SnapshotFilter::default()).expect("list").snapshots.len(), 2);
    list_latest(&bench);
    assert!(bench.restores(&bench.latest().1));
}

#[test]
fn index_objects_that_were_lacking_last_are_opened_while_the_intent_is_put() {
    for remembers in [true, false] {
        let bench = bench();
        let lacking = bench.repository.cache_directory().join("lacking");
        assert_eq!(fs::read(&lacking).expect("remembered").len(), 2 * 32, "of each snapshot one");
        if !remembers {
            fs::remove_file(&lacking).expect("it was there");
        }
        let next = [ObjectFamily::Snapshots];
        let session = Session::begin_before(&bench.repository, "here", PROGRAM, &clock(), &next).expect("begin");
        fs::remove_dir_all(bench.repository.cache_directory().join("objects")).expect("it was there");
        // Of two one is gone by now: that it was opened says nothing.
        let gone = bench.objects(ObjectFamily::Indexes)[0];
        bench.storage.below.remove(gone).expect("removed");
        bench.storage.forget();
        let index = bench.repository.load_index_of(&session, &Silent).expect("index");
        // How the two sessions ended has to be read again, either way.
        assert_eq!(bench.storage.take("read"), if remembers { 2 } else { 3 });
        assert!(index.damaged().is_empty());
        let mut packs = 0;
        index.packs(&mut |_, _| packs += 1).expect("packs");
        assert_eq!(packs, 2, "of data and of trees, of one snapshot");
        assert_eq!(fs::read(&lacking).expect("remembered").len(), 32, "the other one");
    }
}

/// A record that a power cut took may be put again, later: its snapshot has all of the grace time from then on.
#[test]
fn a_record_that_is_kept_does_not_say_since_when_a_snapshot_is_forgotten() {
    let bench = bench();
    let list = || list_snapshots(&bench.repository, &SnapshotFilter::default()).expect("list");
    let old = list().snapshots[0].0;
    let at = |seconds| FixedClock(Timestamp::new(seconds, 0));
    let forget_at = |seconds| {
        let plan = plan_named(&bench.repository, &[old.to_hex()], &SnapshotFilter::default()).expect("plan");
        forget(&bench.repository, &plan, "here", PROGRAM, &at(seconds), &Silent).expect("forget");
    };
    let prune_at = |seconds| {
        let options = PruneOptions { grace_seconds: 100, ..super::pruning::now() };
        prune(&bench.repository, &options, &at(seconds), &Silent).expect("prune").proposal.snapshots
    };
    forget_at(1000);
    assert_eq!((list().snapshots.len(), prune_at(1010)), (1, vec![]));
    bench.storage.below.remove(ObjectName::Forgotten(old)).expect("the power was cut");
    forget_at(2000);
    assert_eq!((list().snapshots.len(), prune_at(2050)), (1, vec![]), "kept is the one of before");
    assert_eq!(prune_at(2100), [old]);
}

/// What is kept of a snapshot says what it needs, and not that anybody else can read it: nothing goes for it.
#[test]
fn a_snapshot_that_only_this_machine_can_read_makes_a_prune_refuse() {
    for replaces in [false, true] {
        let mut bench = super::pruning::bench_to_prune();
        bench.repository.keep_objects(1 << 20);
        let (mut id, snapshot) = bench.latest();
        if replaces {
            let change = TagChange { add: vec!["tag".into()], ..TagChange::default() };
            let changed =
                tag(&bench.repository, &[(id, snapshot)], &change, "here", PROGRAM, &clock()).expect("changed");
            id = changed[0].1;
        }
        let name = ObjectName::Snapshot(id);
        let mut object = bench.storage.below.read(name, None, u64::MAX).expect("there");
        object[50] ^= 1;
        bench.storage.below.remove(name).expect("removed");
        bench.storage.below.write_new(name, &[&object]).expect("damaged");
        assert_eq!(bench.latest().0, id, "it is kept");
        let records = bench.objects(ObjectFamily::Forgotten);
        let there = [ObjectFamily::Packs, ObjectFamily::Snapshots].map(|family| bench.objects(family).len());
        let error = prune(&bench.repository, &super::pruning::now(), &clock(), &Silent).expect_err("it can't be read");
        assert!(error.kind() == ErrorKind::Damaged && error.to_string().contains(&id.to_hex()), "{error}");
        assert_eq!(bench.objects(ObjectFamily::Forgotten), records, "what it replaces is not forgotten for it");
        let left = [ObjectFamily::Packs, ObjectFamily::Snapshots].map(|family| bench.objects(family).len());
        assert!(left[0] >= there[0] && left[1] == there[1], "copies may have been put, nothing is gone: {left:?}");
    }
}
