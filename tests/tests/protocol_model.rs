//! The protocol of sessions and prune holds in every order of steps, and each of its rules is needed.
//!
//! Here every situation is explored up to a bound; `./dev model` goes on from there.

use std::collections::BTreeSet;

use repo_tests::announced_seed;
use repo_tests::model::{Model, Rules, Scenario, Setup, Stopping, broken, explore, holding, wander};

/// States of a situation that are tried here, at most.
const HOLDING_STATES: usize = 300_000;
/// No leak needs as many.
const BROKEN_STATES: usize = 6_000_000;

fn find(scenarios: Vec<Scenario>, name: &str) -> Scenario {
    scenarios.into_iter().find(|scenario| scenario.name == name).expect("a scenario of that name")
}

fn assert_holds(name: &str) {
    let scenario = find(holding(), name);
    let explored = explore(&scenario.model, HOLDING_STATES, scenario.stopping);
    if let Some(violation) = explored.violation {
        panic!("{name}: {}\n  {}", violation.what, violation.trace.join("\n  "));
    }
    assert!(explored.states > 100, "something happened: {explored:?}");
}

#[expect(clippy::print_stdout, reason = "the test harness shows it on request only")]
fn assert_found(name: &str) {
    let scenario = find(broken(), name);
    let explored = explore(&scenario.model, BROKEN_STATES, scenario.stopping);
    let Some(violation) = explored.violation else {
        panic!("{name}: nothing found in {} states", explored.states);
    };
    println!("{name}: {}\n  {}", violation.what, violation.trace.join("\n  "));
}

macro_rules! every {
    ($names:ident, $assert:ident: $($name:ident)*) => {
        const $names: &[&str] = &[$(stringify!($name)),*];
        $(#[test] fn $name() { $assert(stringify!($name)); })*
    };
}

every! { HOLDING, assert_holds:
    one_writer_one_prune
    two_writers_one_prune
    one_writer_two_prunes
    one_writer_two_prunes_that_may_cancel
    two_writers_two_prunes
    two_writers_two_prunes_nothing_to_copy
    three_prunes
    three_prunes_and_forget
    two_prunes_and_locked_objects
    undelete_two_prunes
    undelete_one_writer_two_prunes
    undelete_two_writers_one_prune
    adoption_one_prune
    adoption_two_prunes
    interrupted_writers
    reader_two_prunes
    index_beside_the_plans_two_prunes
    index_beside_the_plans_two_writers
    everybody
    no_put_if_absent_no_revoking
}

every! { BROKEN, assert_found:
    no_intents
    no_rescue
    intent_after_the_index_was_loaded
    index_loaded_beside_the_plans
    register_read_and_then_put
    writer_ignores_plans
    chunks_of_uncommitted_sessions_used
    rescue_ignores_other_plans
    writer_ignores_that_it_was_revoked
    index_object_before_its_pack
    adoption_commits_the_dead
    adoption_of_undurable_packs
    adoption_of_what_prune_revoked
    sessions_listed_before_the_plan_is_put
    open_sessions_not_resolved
    two_plans_at_once
    plan_number_used_again
    state_of_a_plan_that_is_over
    state_written_twice
    cancelled_after_the_decision
    packs_deleted_before_the_index
    index_objects_of_a_committed_session
    replaced_index_objects_come_back
    registers_of_revoked_sessions_deleted
    open_plan_left_to_others
    no_grace
    record_of_forgetting_deleted_first
    undelete_after_the_packs_went
    undelete_lists_plans_before_its_intent
    undelete_by_removing_the_record
    reader_never_reloads
}

#[test]
fn every_scenario_is_a_test() {
    let names = |scenarios: Vec<Scenario>| scenarios.iter().map(|scenario| scenario.name).collect::<Vec<_>>();
    let mut holding_names = names(holding());
    let mut tests = HOLDING.to_vec();
    holding_names.sort_unstable();
    tests.sort_unstable();
    assert_eq!(holding_names, tests);
    assert_eq!(names(broken()), BROKEN);
}

/// Each rule in the text is marked with the variant that shows why it is there.
#[test]
fn the_specification_names_every_variant() {
    let text = include_str!("../../format-spec/PROTOCOL.md");
    let names: BTreeSet<&str> = text.split('*').filter(|part| part.contains('_') && is_name(part)).collect();
    let known: BTreeSet<&str> = BROKEN.iter().chain(&["no_put_if_absent_no_revoking"]).copied().collect();
    assert_eq!(names, known);
}

fn is_name(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Exploring in order does not get to the end of this one.
#[test]
fn everybody_by_chance() {
    let (steps, violation) = wander(&find(holding(), "everybody").model, announced_seed(), 3000);
    if let Some(violation) = violation {
        panic!("{}\n  {}", violation.what, violation.trace.join("\n  "));
    }
    assert!(steps > 10_000, "{steps}");
}

/// Counted by hand, so that the explorer is checked against something.
#[test]
fn small_models_have_as_many_states_as_on_paper() {
    let count = |setup| {
        let explored = explore(&Model { rules: Rules::default(), setup }, 1000, Stopping::NotTried);
        (explored.states, explored.depth, explored.complete)
    };
    // Eight steps in a row.
    let alone = Setup { writers: [Setup::N, 0], ..Setup::NOBODY };
    assert_eq!(count(alone), (9, 8, true));
    // Two: forgotten, and its grace over.
    let forgets = Setup { forgets: true, ..Setup::NOBODY };
    assert_eq!(count(forgets), (3, 2, true));
    // The writer does not look at what was forgotten: every pair.
    assert_eq!(count(Setup { forgets: true, ..alone }), (27, 10, true));
}

#[test]
fn a_bound_is_kept() {
    let explored = explore(&find(holding(), "two_writers_two_prunes").model, 1000, Stopping::NotTried);
    assert_eq!((explored.states, explored.complete), (1000, false));
}
