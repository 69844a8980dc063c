//! The share of the campaign that continuous integration runs. `./dev campaign` does all of it.

use repo_tests::sim::campaign::{Campaign, in_parallel};
use repo_tests::sim::crash::{situations, try_situation};
use repo_tests::sim::flips::flip_all;
use repo_tests::sim::planted::is_found;
use repo_tests::sim::seeds::Seeds;
use repo_tests::sim::world::Bug;

/// Of how many crash points one is tried here.
const STRIDE: usize = 7;
/// Runs by seed.
const SEEDS: usize = 600;
/// Of how many bits one is flipped here.
const FLIP_STRIDE: usize = 97;

fn campaign() -> Campaign {
    Campaign::new().expect("a scratch directory")
}

/// The situations whose number leaves this rest, so that they are shared among tests.
fn crash_points(rest: usize) {
    let campaign = campaign();
    for situation in situations().iter().skip(rest).step_by(4) {
        if let Err(violation) = try_situation(&campaign, situation, None, STRIDE) {
            panic!("{}\n{}", violation.what, violation.record);
        }
    }
}

#[test]
fn crash_points_of_the_first_quarter() {
    crash_points(0);
}

#[test]
fn crash_points_of_the_second_quarter() {
    crash_points(1);
}

#[test]
fn crash_points_of_the_third_quarter() {
    crash_points(2);
}

#[test]
fn crash_points_of_the_last_quarter() {
    crash_points(3);
}

#[test]
fn several_clients_by_seed() {
    let campaign = campaign();
    let seeds = Seeds::new(&campaign).expect("repositories to begin with");
    // The same ones each time, so that a change is what makes them fail; `./dev campaign` goes on to others.
    let from: u64 = std::env::var("REPO_TEST_SEED").map_or(0, |text| text.parse().expect("a number"));
    let ran = in_parallel(SEEDS, |number| seeds.run(from.wrapping_add(number as u64), None).map(drop));
    if let Err(violation) = ran {
        panic!("{}\n{}", violation.what, violation.record);
    }
}

/// A client's threads take turns as they come, and what goes by the names of packs goes by chance: about one run in four
/// is not the same the second time, and more of them on a busy machine. But a run is the same only if the requests of all
/// clients are, one after the other: without the seed hardly any would be.
#[test]
fn a_seed_stands_for_one_run() {
    let campaign = campaign();
    let seeds = Seeds::new(&campaign).expect("repositories to begin with");
    let shape = |seed| seeds.run(seed, None).map_or(0, |ran| ran.shape);
    let same = (0..40).filter(|seed| shape(*seed) == shape(*seed)).count();
    assert!(same >= 8, "{same} of 40 runs are the same when repeated");
}

#[test]
fn flipped_bits_are_found() {
    match flip_all(&campaign(), FLIP_STRIDE) {
        Ok(count) => assert!(count > 500, "{count} bits"),
        Err(violation) => panic!("{}", violation.what),
    }
}

#[expect(clippy::print_stdout, reason = "the test harness shows it on request only")]
fn assert_found(bug: Bug) {
    match is_found(&campaign(), bug) {
        Ok(what) => println!("{bug:?}: {what}"),
        Err(what) => panic!("{what}"),
    }
}

macro_rules! planted {
    ($($name:ident: $bug:ident)*) => {
        $(#[test] fn $name() { assert_found(Bug::$bug); })*
    };
}

planted! {
    finds_packs_that_are_not_synced: PacksNotSynced
    finds_a_register_before_its_snapshot: RegisterBeforeSnapshot
    finds_a_register_before_its_index: RegisterBeforeIndex
    finds_packs_removed_before_the_index: PacksRemovedBeforeIndex
    finds_a_register_that_is_overwritten: RegisterOverwritten
    finds_writers_that_see_no_plans: ListsWithoutPlans
    finds_prunes_that_see_no_intents: ListsWithoutIntents
}
