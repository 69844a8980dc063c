//! Writers beside a prune: which plans count, and what a writer that heeds one does.

use super::swept::client;
use super::*;
use crate::format::{ObjectKind, PruneDone, PrunePlan, PruneState, PruneVerdict};
use crate::id::{PackId, PruneId};
use crate::repository::{Plans, put_done, put_plan, put_state};

fn number(number: u64) -> PruneId {
    PruneId::new(number).expect("not zero")
}

impl Bench {
    pub(super) fn packs(&self) -> Vec<PackId> {
        let names = self.objects(ObjectFamily::Packs).into_iter();
        names.map(|name| if let ObjectName::Pack(id) = name { id } else { panic!("{name}") }).collect()
    }

    pub(super) fn plan(&self, of: u64, mut condemned: Vec<PackId>, mut dropped: Vec<SnapshotId>) {
        condemned.sort();
        dropped.sort();
        let program = PROGRAM.to_owned();
        let plan = PrunePlan { number: number(of), time: clock().now(), program, condemned, dropped };
        put_plan(&self.repository, &plan).expect("plan");
    }

    pub(super) fn state(&self, of: u64, verdict: PruneVerdict) -> Result<PruneVerdict> {
        put_state(&self.repository, &PruneState { number: number(of), verdict })
    }

    pub(super) fn done(&self, of: u64) {
        let (sessions, records) = (Vec::new(), Vec::new());
        let done = PruneDone { number: number(of), time: clock().now(), sessions, records, freed_bytes: 0 };
        put_done(&self.repository, &done).expect("done");
    }

    fn open_plans(&self) -> Vec<u64> {
        let plans = Plans::load(&self.repository).expect("plans");
        plans.open().iter().map(|plan| plan.number().number()).collect()
    }

    /// Changes a byte of an object that can't be read any more then.
    fn spoil(&self, name: ObjectName) {
        let mut bytes = self.storage.below.read(name, None, 1 << 20).expect("it is there");
        *bytes.last_mut().expect("not empty") ^= 1;
        self.storage.below.remove(name).expect("remove");
        self.storage.below.write_new(name, &[&bytes]).expect("write");
    }

    /// Snapshots the same content without a parent: every chunk is looked up.
    pub(super) fn stored_again(&self) -> u64 {
        let options = SnapshotOptions { force: true, ..options() };
        self.snapshot_with(&options, &Silent).expect("snapshot").statistics.chunks_new
    }
}

#[test]
fn a_plan_is_open_until_it_is_cancelled_or_done() {
    let bench = Bench::new();
    let next = || Plans::load(&bench.repository).expect("plans").next_number().expect("a number").number();
    assert_eq!((bench.open_plans(), next()), (vec![], 1));
    bench.plan(1, vec![], vec![]);
    assert_eq!((bench.open_plans(), next()), (vec![1], 2));
    let sweep = PruneVerdict::Sweep { rescued: vec![] };
    assert_eq!(bench.state(1, sweep.clone()).expect("state"), sweep);
    assert_eq!(bench.state(1, PruneVerdict::Cancelled).expect("state"), sweep, "the first one holds");
    assert_eq!(bench.open_plans(), [1]);
    bench.done(1);
    assert_eq!((bench.open_plans(), next()), (vec![], 2));
    bench.plan(2, vec![], vec![]);
    assert_eq!(bench.state(2, PruneVerdict::Cancelled).expect("state"), PruneVerdict::Cancelled);
    assert_eq!((bench.open_plans(), next()), (vec![], 3));
    // An earlier number that somebody used late, and one that is left after its done was removed.
    bench.done(7);
    bench.plan(3, vec![], vec![]);
    bench.plan(8, vec![], vec![]);
    assert_eq!((bench.open_plans(), next()), (vec![8], 9));
}

#[test]
fn no_plan_means_one_list_and_no_read() {
    let bench = Bench::new();
    bench.done(1);
    bench.storage.forget();
    assert!(bench.open_plans().is_empty());
    assert_eq!((bench.storage.take("list prune"), bench.storage.take("read")), (1, 0));
}

#[test]
fn what_cannot_be_read_of_a_prune_leaves_its_plan_open() {
    let bench = Bench::new();
    bench.write("a", 1, 1000);
    bench.snapshot();
    let pack = bench.packs()[0];
    bench.plan(1, vec![], vec![]);
    bench.state(1, PruneVerdict::Cancelled).expect("state");
    bench.spoil(ObjectName::PruneState(number(1)));
    bench.done(1);
    bench.spoil(ObjectName::PruneDone(number(1)));
    let plans = Plans::load(&bench.repository).expect("plans");
    assert_eq!((plans.open().len(), plans.problems().len()), (1, 2));
    assert!(!plans.condemns(&pack), "the plan itself can be read");
    bench.spoil(ObjectName::PrunePlan(number(1)));
    let plans = Plans::load(&bench.repository).expect("plans");
    assert_eq!((plans.open().len(), plans.problems().len()), (1, 3));
    assert!(plans.condemns(&pack) && plans.drops(&bench.latest().0), "nobody knows what it is about");
    // It has a state, so it can't be cancelled. A snapshot stores everything again, and is whole.
    assert!(bench.snapshot().statistics.chunks_new > 0);
    assert_eq!(bench.open_plans(), [1]);
    assert!(bench.restores(&bench.latest().1));
}

/// One flipped bit must neither stop backups nor make them store everything again for ever.
#[test]
fn a_plan_that_nobody_can_read_is_cancelled_by_the_next_writer() {
    let bench = Bench::new();
    bench.write("a", 1, 1000);
    bench.snapshot();
    bench.plan(1, bench.packs(), vec![bench.latest().0]);
    bench.spoil(ObjectName::PrunePlan(number(1)));
    let dry = SnapshotOptions { dry_run: true, ..options() };
    bench.snapshot_with(&dry, &Silent).expect("dry run");
    assert_eq!(bench.open_plans(), [1], "a dry run writes nothing");
    let report = bench.snapshot();
    assert_eq!((report.statistics.chunks_new, report.parent.is_some()), (0, true));
    assert!(bench.open_plans().is_empty());
    // Whoever made the plan and still has it in memory finds out in time.
    let decided = bench.state(1, PruneVerdict::Sweep { rescued: vec![] }).expect("state");
    assert_eq!(decided, PruneVerdict::Cancelled);
    // What a newer program wrote is another matter.
    let name = ObjectName::PrunePlan(number(2));
    let mut newer = ObjectKind::PrunePlan.header().to_vec();
    newer[5] = 2;
    bench.storage.below.write_new(name, &[&newer, &[0; 40]]).expect("write");
    bench.snapshot();
    assert_eq!(bench.open_plans(), [2]);
}

#[test]
fn chunks_in_condemned_packs_are_stored_again_and_others_are_not() {
    let bench = Bench::new();
    bench.write("a", 1, 3 << 20);
    let all = bench.snapshot().statistics.chunks_new;
    let (mut trees, mut data) = (Vec::new(), Vec::new());
    let index = bench.repository.load_index(&Silent).expect("index");
    for pack in bench.packs() {
        let mut kind = None;
        let mut note =
            |place: crate::repository::Place, _| kind = Some(index.segment(place.segment).expect("row").kind());
        index.chunks_of_pack(&pack, &mut note).expect("index");
        if kind == Some(crate::model::ChunkKind::Tree) { trees.push(pack) } else { data.push(pack) }
    }
    drop(index);
    assert_eq!((trees.len(), data.len()), (1, 1));
    assert_eq!(bench.stored_again(), 0);
    bench.plan(1, data.clone(), vec![]);
    let again = bench.stored_again();
    assert!(again > 10 && again < all, "{again} of {all}");
    assert!(bench.restores(&bench.latest().1));
    // Now there are copies that no plan condemns, whichever of the two places the local index finds first.
    assert_eq!(bench.stored_again(), 0);
    let packs: Vec<PackId> = bench.packs().into_iter().filter(|pack| !trees.contains(pack)).collect();
    bench.state(1, PruneVerdict::Cancelled).expect("state");
    for (plan, pack) in (2..).zip(&packs) {
        bench.plan(plan, vec![*pack], vec![]);
        assert_eq!(bench.stored_again(), 0, "{pack} is not the only one");
        bench.state(plan, PruneVerdict::Cancelled).expect("state");
    }
    // All of them condemned, but one rescued.
    bench.plan(9, packs.clone(), vec![]);
    bench.state(9, PruneVerdict::Sweep { rescued: vec![packs[0]] }).expect("state");
    assert_eq!(bench.stored_again(), 0);
}

/// What is taken over without looking at each chunk must not be about to go.
#[test]
fn nothing_is_built_on_a_snapshot_that_a_plan_drops() {
    let bench = Bench::new();
    bench.write("a", 1, 100_000);
    let first = bench.snapshot().snapshot.expect("a snapshot");
    bench.write("b", 2, 100_000);
    let second = bench.snapshot().snapshot.expect("a snapshot");
    bench.plan(1, bench.packs(), vec![second]);
    assert_eq!(bench.snapshot().parent, Some(first), "the latest that stays");
    let named = SnapshotOptions { parent: Some(second), ..options() };
    let error = bench.snapshot_with(&named, &Silent).expect_err("it goes");
    assert_eq!(error.kind(), ErrorKind::Forgotten);
    let (id, snapshot) =
        find_snapshot(&bench.repository, &second.to_hex(), &SnapshotFilter::default()).expect("it is there");
    let change = TagChange { add: vec!["kept".into()], ..TagChange::default() };
    let error = tag(&bench.repository, &[(id, snapshot)], &change, "here", PROGRAM, &clock()).expect_err("it goes");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let names = [second.to_hex()];
    let plan = plan_named(&bench.repository, &names, &SnapshotFilter::default()).expect("plan");
    forget(&bench.repository, &plan, "here", PROGRAM, &clock(), &Silent).expect("forget");
    let error = undelete(&bench.repository, &names, "here", PROGRAM, &clock()).expect_err("it goes");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // No session is left open by any of these.
    let sessions = SessionTable::load(&bench.repository).expect("sessions");
    assert_eq!(sessions.open().count(), 0);
    assert!(bench.restores(&bench.latest().1));
}

/// Neither of these is damage, and a prune that was interrupted must not look like it.
#[test]
fn check_reports_unfinished_prunes_and_cat_shows_them() {
    let bench = Bench::new();
    bench.write("a", 1, 100_000);
    bench.snapshot();
    let packs = bench.packs();
    bench.plan(1, packs.clone(), vec![]);
    let report = bench.check();
    assert_eq!((report.unfinished_prunes, report.open_sessions, report.is_damaged()), (1, 0, false));
    bench.state(1, PruneVerdict::Sweep { rescued: vec![packs[0]] }).expect("state");
    assert_eq!(bench.check().unfinished_prunes, 1);
    let shown = |number: &str| match cat(&bench.repository, None, &CatObject::Prune(number.into())) {
        Ok(CatOutput::Json(text)) => Ok(text),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.kind()),
    };
    let text = shown("1").expect("it is there");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&json["number"], &json["state"]), (&1.into(), &"sweep".into()));
    assert_eq!(json["plan"]["condemned"].as_array().map(Vec::len), Some(packs.len()));
    assert_eq!(json["rescued"][0], packs[0].to_hex());
    assert_eq!(shown("0000000000000001").as_deref(), Ok(text.as_str()));
    bench.done(1);
    assert!(shown("1").expect("it is there").contains("freed_bytes"));
    assert_eq!((bench.check().unfinished_prunes, bench.check().is_damaged()), (0, false));
    assert_eq!((shown("2"), shown("x")), (Err(ErrorKind::NotFound), Err(ErrorKind::Invalid)));
    bench.spoil(ObjectName::PruneDone(number(1)));
    assert!(bench.check().is_damaged());
}

/// The index objects of a prune's second half count, and the packs are not deleted yet, or may not be.
#[test]
fn packs_that_a_prune_did_not_delete_are_no_damage() {
    let bench = Bench::new();
    bench.write("a", 1, 3 << 20);
    bench.snapshot();
    bench.write("a", 2, 3 << 20);
    bench.snapshot();
    let index = bench.objects(ObjectFamily::Indexes)[0];
    let orphaned = {
        let ObjectName::Index(id) = index else { panic!("{index}") };
        bench.repository.read_index(id).expect("whole").packs.iter().map(|pack| pack.id).collect::<Vec<_>>()
    };
    bench.storage.below.remove(index).expect("remove");
    assert!(bench.check().is_damaged(), "without a prune an index object is missing");
    bench.plan(1, orphaned.clone(), vec![]);
    let report = bench.check();
    assert_eq!((report.orphan_packs, report.unfinished_prunes), (orphaned.len() as u64, 1));
    bench.done(1);
    assert_eq!(bench.check().orphan_packs, orphaned.len() as u64);
}

#[test]
fn a_snapshot_that_came_to_be_between_two_lists_of_a_prune_has_not_lost_its_register() {
    let bench = Bench::new();
    (0..6).for_each(|i| bench.write(&format!("f{i}"), i, 60_000));
    bench.snapshot();
    (0..6).for_each(|i| bench.write(&format!("f{i}"), 100 + i, 50_000));
    bench.snapshot();
    super::pruning::forget_old(&bench.repository);
    // What comes back needs packs that the prune is about to find unneeded.
    (0..6).for_each(|i| bench.write(&format!("f{i}"), i, 60_000));
    let (writer, source) = (bench.writer(), bench.source());
    let save = move || drop(snapshot(&writer, tree(&source), &options(), &clock(), &Silent).expect("snapshot"));
    let pruner = client(&bench, Arc::new(Arc::clone(&bench.storage)));
    bench.storage.forget();
    *bench.storage.before_snapshots.lock().expect("lock") = Some(Box::new(save));
    prune(&pruner, &super::pruning::now(), &clock(), &Silent).expect("nothing is wrong");
    assert_eq!(bench.objects(ObjectFamily::Snapshots).len(), 2, "the old one went, the new one came");
    assert!(!bench.check().is_damaged());
    assert!(bench.restores(&bench.latest().1));
}
