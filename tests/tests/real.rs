//! The share of the trials of the real program that continuous integration runs. `./dev campaign` does all of it.

use repo_tests::announced_seed;
use repo_tests::real::{disk, kills, soak, suspended};

#[test]
fn killed_at_any_moment() {
    let killed = kills::kill_many(announced_seed(), 20);
    assert!(killed.kills >= 20 && killed.restores > 0, "{killed:?}");
}

#[test]
fn suspended_longer_than_a_session_may_be_open() {
    let found = suspended::suspend_many(announced_seed(), 8);
    assert!(found.suspended >= 8, "{found:?}");
}

#[test]
fn a_disk_that_is_full_in_the_middle() {
    if let Some(found) = disk::fill_many(announced_seed(), 8) {
        assert!(found.failed + found.succeeded >= 8, "{found:?}");
    }
}

#[test]
fn a_disk_that_fails_in_the_middle() {
    if let Some(found) = disk::fail_many(announced_seed(), 20) {
        assert!(found.failed > 0, "{found:?}");
    }
}

#[test]
fn snapshots_all_the_time_beside_prunes() {
    let soaked = soak::soak(announced_seed(), 10);
    assert!(soaked.snapshots.into_inner() > 0, "nothing was saved");
}
