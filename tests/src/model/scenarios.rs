//! Who meets whom: situations in which the protocol holds, and what breaks when one of its rules is left out.

use super::explorer::Stopping;
use super::rules::{Adoption, Rules, Setup};
use super::state::Model;

const C: u8 = Setup::C;
const D: u8 = Setup::D;
const E: u8 = Setup::E;
const N: u8 = Setup::N;

/// A situation with a name.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// For tests and reports.
    pub name: &'static str,
    /// Who takes part, and what they heed.
    pub model: Model,
    /// How to explore it.
    pub stopping: Stopping,
}

/// One pack with what is needed and what is not: `d` has to be copied out of it.
const MIXED: Setup = Setup::NOBODY;
/// Two packs, one of them needed.
const APART: Setup = Setup { packs: [D, C, 0], ..MIXED };
/// Three packs; one is needed, one until its snapshot is forgotten, one is not.
const FORGETTING: Setup = Setup { packs: [D, C, E], forgets: true, ..MIXED };
const UNDELETING: Setup = Setup { forgets: true, undeletes: true, ..MIXED };
/// The second writer takes the first one for dead, which it need not be.
const ADOPTING: Setup = Setup { writers: [N, N], adopts: true, retries: true, ..APART };
const ONE_AND_ONE: Setup = Setup { writers: [C, 0], prunes: 1, ..MIXED };
const TWO_AND_ONE: Setup = Setup { writers: [C, C | D], prunes: 1, ..MIXED };

/// Situations in which the protocol must hold.
pub fn holding() -> Vec<Scenario> {
    let all = [
        ("one_writer_one_prune", ONE_AND_ONE),
        ("two_writers_one_prune", TWO_AND_ONE),
        ("one_writer_two_prunes", Setup { prunes: 2, ..ONE_AND_ONE }),
        ("one_writer_two_prunes_that_may_cancel", Setup { prunes: 2, cancel: true, ..ONE_AND_ONE }),
        ("two_writers_two_prunes", Setup { prunes: 2, ..TWO_AND_ONE }),
        ("two_writers_two_prunes_nothing_to_copy", Setup { prunes: 2, writers: [C, C | N], ..APART }),
        ("three_prunes", Setup { prunes: 3, ..MIXED }),
        ("three_prunes_and_forget", Setup { prunes: 3, ..FORGETTING }),
        ("two_prunes_and_locked_objects", Setup { prunes: 2, locked: true, ..FORGETTING }),
        ("undelete_two_prunes", Setup { prunes: 2, ..UNDELETING }),
        ("undelete_one_writer_two_prunes", Setup { prunes: 2, writers: [C, 0], ..UNDELETING }),
        ("undelete_two_writers_one_prune", Setup { writers: [C, C | D], prunes: 1, ..UNDELETING }),
        ("adoption_one_prune", Setup { prunes: 1, ..ADOPTING }),
        ("adoption_two_prunes", Setup { prunes: 2, ..ADOPTING }),
        ("interrupted_writers", Setup { interrupts: true, writers: [N, C | N], ..TWO_AND_ONE }),
        ("reader_two_prunes", Setup { reads: true, prunes: 2, ..MIXED }),
        ("index_beside_the_plans_two_prunes", Setup { early: true, prunes: 2, ..ONE_AND_ONE }),
        ("index_beside_the_plans_two_writers", Setup { early: true, ..TWO_AND_ONE }),
        (
            "everybody",
            Setup {
                writers: [N, C | N],
                adopts: true,
                retries: true,
                interrupts: true,
                prunes: 2,
                cancel: true,
                reads: true,
                ..UNDELETING
            },
        ),
    ];
    let stopping = Stopping::Tried;
    let scenario = |(name, setup)| Scenario { name, model: Model { rules: Rules::default(), setup }, stopping };
    let mut all: Vec<Scenario> = all.into_iter().map(scenario).collect();
    // A storage without put-if-absent: prune never revokes.
    let rules = Rules { atomic_register: false, ..Rules::default() };
    let model = Model { rules, setup: Setup { revoke: false, ..TWO_AND_ONE } };
    all.push(Scenario { name: "no_put_if_absent_no_revoking", model, stopping });
    all
}

/// What the explorer must find: each leaves out one rule.
pub fn broken() -> Vec<Scenario> {
    let all = Rules::default();
    let undelete = Setup { prunes: 1, ..UNDELETING };
    let adoption = Setup { prunes: 1, ..ADOPTING };
    let three = Setup { prunes: 3, ..FORGETTING };
    let two = Setup { prunes: 2, ..FORGETTING };
    [
        // The seven of the first model, in Python.
        ("no_intents", Rules { intents: false, ..all }, ONE_AND_ONE),
        ("no_rescue", Rules { rescue: false, ..all }, ONE_AND_ONE),
        ("intent_after_the_index_was_loaded", Rules { intent_first: false, ..all }, ONE_AND_ONE),
        (
            "index_loaded_beside_the_plans",
            Rules { looked_before: false, ..all },
            Setup { early: true, prunes: 2, ..ONE_AND_ONE },
        ),
        ("register_read_and_then_put", Rules { atomic_register: false, ..all }, ONE_AND_ONE),
        ("writer_ignores_plans", Rules { plans_heeded: false, ..all }, ONE_AND_ONE),
        ("chunks_of_uncommitted_sessions_used", Rules { only_committed: false, ..all }, TWO_AND_ONE),
        (
            "rescue_ignores_other_plans",
            Rules { one_plan: false, other_plans_seen: false, ..all },
            Setup { prunes: 2, ..ONE_AND_ONE },
        ),
        // Writers.
        ("writer_ignores_that_it_was_revoked", Rules { register_heeded: false, ..all }, ONE_AND_ONE),
        (
            "index_object_before_its_pack",
            Rules { pack_before_index: false, ..all },
            Setup { writers: [N, 0], ..ONE_AND_ONE },
        ),
        // Adoption.
        ("adoption_commits_the_dead", Rules { adoption: Adoption::CommitTheDead, ..all }, adoption),
        ("adoption_of_undurable_packs", Rules { adoption: Adoption::TakePacksUnseen, ..all }, adoption),
        (
            "adoption_of_what_prune_revoked",
            Rules { adoption: Adoption::TakePacksOfAnyRevoked, ..all },
            Setup { prunes: 2, packs: [D, 0, 0], ..ADOPTING },
        ),
        // Prune.
        ("sessions_listed_before_the_plan_is_put", Rules { plan_before_sessions: false, ..all }, ONE_AND_ONE),
        ("open_sessions_not_resolved", Rules { resolved: false, ..all }, ONE_AND_ONE),
        ("two_plans_at_once", Rules { one_plan: false, ..all }, two),
        ("plan_number_used_again", Rules { number_checked: false, ..all }, three),
        (
            "state_of_a_plan_that_is_over",
            Rules { state_checked: false, ..all },
            Setup { packs: [D, C, E], prunes: 3, cancel: true, revoke: false, ..ONE_AND_ONE },
        ),
        ("state_written_twice", Rules { state_once: false, ..all }, Setup { writers: [C, C], prunes: 2, ..APART }),
        (
            "cancelled_after_the_decision",
            Rules { cancelled_once: false, ..all },
            Setup { prunes: 2, cancel: true, ..ONE_AND_ONE },
        ),
        ("packs_deleted_before_the_index", Rules { index_before_packs: false, ..all }, Setup { prunes: 2, ..MIXED }),
        ("index_objects_of_a_committed_session", Rules { sweep_session: false, ..all }, three),
        ("replaced_index_objects_come_back", Rules { replaced_carried: false, ..all }, Setup { locked: true, ..two }),
        ("registers_of_revoked_sessions_deleted", Rules { registers_kept: false, ..all }, ONE_AND_ONE),
        ("open_plan_left_to_others", Rules { resumed: false, ..all }, ONE_AND_ONE),
        // Forget and undelete.
        ("no_grace", Rules { grace: false, ..all }, undelete),
        ("record_of_forgetting_deleted_first", Rules { records_kept: false, ..all }, undelete),
        ("undelete_after_the_packs_went", Rules { undelete_heeds_plans: false, ..all }, undelete),
        ("undelete_lists_plans_before_its_intent", Rules { undelete_intent_first: false, ..all }, undelete),
        ("undelete_by_removing_the_record", Rules { undelete_session: false, ..all }, undelete),
        // Readers.
        ("reader_never_reloads", Rules { reader_reloads: false, ..all }, Setup { reads: true, prunes: 1, ..MIXED }),
    ]
    .into_iter()
    .map(|(name, rules, setup)| {
        // This one loses nothing; it only never ends.
        let stopping = if rules.resumed { Stopping::NotTried } else { Stopping::Tried };
        Scenario { name, model: Model { rules, setup }, stopping }
    })
    .collect()
}
