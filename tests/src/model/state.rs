//! What is in the storage, what each actor remembers, and what must always hold.

use super::rules::{Rules, Setup};
use super::{actors, prune, writer};

/// Prunes that take part, and three more for [`Model::settle`].
pub(super) const PRUNES: usize = 6;
/// The first of those that tidy up after all others stopped.
pub(super) const JANITORS: usize = 3;

/// Everything has one place: sets are bits.
pub(super) type Set = u16;

/// Packs that are there in the beginning.
pub(super) const FIRST_PACKS: usize = 3;
pub(super) const fn writer_pack(writer: usize) -> usize {
    FIRST_PACKS + writer
}
pub(super) const fn prune_pack(prune: usize) -> usize {
    FIRST_PACKS + 2 + prune
}
const PACKS: usize = FIRST_PACKS + 2 + PRUNES;

pub(super) const FIRST_INDEX: usize = 0;
pub(super) const fn writer_index(writer: usize) -> usize {
    1 + writer
}
pub(super) const ADOPTED_INDEX: usize = 3;
pub(super) const fn repack_index(prune: usize) -> usize {
    4 + prune
}
pub(super) const fn sweep_index(prune: usize) -> usize {
    4 + PRUNES + prune
}
const _: () = assert!(4 + 2 * PRUNES <= Set::BITS as usize, "index objects are bits of a set");

pub(super) const UNDELETE: usize = 2;
pub(super) const fn repack_session(prune: usize) -> usize {
    3 + prune
}
pub(super) const fn sweep_session(prune: usize) -> usize {
    3 + PRUNES + prune
}

pub(super) const KEPT: usize = 0;
pub(super) const FORGETTABLE: usize = 1;
pub(super) const fn writer_snapshot(writer: usize) -> usize {
    2 + writer
}
pub(super) const UNDELETED: usize = 4;

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Register {
    Absent,
    Committed,
    Revoked,
    CommittedWithoutSnapshot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum PlanState {
    #[default]
    Absent,
    Planned,
    Sweep,
    Done,
    Cancelled,
}

/// `prune/N/plan`, `prune/N/state` and `prune/N/done` in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Plan {
    pub(super) state: PlanState,
    pub(super) condemned: Set,
    /// Snapshots that are not reachable any more.
    pub(super) drops: u8,
    /// The final list.
    pub(super) sweep: Set,
}

impl Plan {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, PlanState::Planned | PlanState::Sweep)
    }
}

/// The storage, and what each actor remembers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) packs: Set,
    /// The first packs that this model does without.
    never: Set,
    /// Chunks of each pack; those of writers and prunes are known once they are put.
    pub(super) content: [u8; PACKS],
    pub(super) indexes: Set,
    /// Packs that the index object of an adoption names.
    pub(super) adopted: Set,
    /// Packs that a sweep's index object names, and the index objects that it replaces.
    pub(super) rewritten: [(Set, Set); PRUNES],
    pub(super) intents: Set,
    registers: u32,
    pub(super) snapshots: u8,
    pub(super) forgotten: u8,
    pub(super) grace_over: u8,
    pub(super) plans: [Plan; PRUNES],
    pub(super) writers: [writer::Writer; 2],
    pub(super) prunes: [prune::Prune; PRUNES],
    pub(super) actors: actors::Actors,
}

pub(super) fn bits(set: Set) -> impl Iterator<Item = usize> {
    (0..16).filter(move |bit| set & 1 << bit != 0)
}

impl State {
    /// Which objects are below `prune/`, as far as they tell moments apart: plans, states, and dones, which stay.
    pub(super) fn names_below_prune(&self) -> Set {
        // Whether a plan is there, and whether it is over: of 3 bits each, which is more than a list shows, only where a
        // name comes or goes.
        let kind = |plan: &Plan| match plan.state {
            PlanState::Absent => 0,
            PlanState::Planned => 1,
            PlanState::Sweep | PlanState::Cancelled => 2,
            PlanState::Done => 3,
        };
        self.plans.iter().enumerate().map(|(number, plan)| kind(plan) << (2 * number)).sum()
    }

    /// Whether, by these names alone, a plan may be open.
    pub(super) fn has_plan_that_may_be_open(&self) -> bool {
        let done = self.plans.iter().rposition(|plan| plan.state == PlanState::Done);
        let is_left = |plan: &Plan| !matches!(plan.state, PlanState::Absent | PlanState::Done);
        self.plans.iter().skip(done.map_or(0, |done| done + 1)).any(is_left)
    }

    pub(super) fn register(&self, session: usize) -> Register {
        match self.registers >> (2 * session) & 3 {
            0 => Register::Absent,
            1 => Register::Committed,
            2 => Register::Revoked,
            _ => Register::CommittedWithoutSnapshot,
        }
    }

    /// Writes a register whatever it says; [`Self::put_register`] is the protocol's way.
    pub(super) fn overwrite_register(&mut self, session: usize, register: Register) {
        self.registers = self.registers & !(3 << (2 * session)) | (register as u32) << (2 * session);
    }

    /// Writes a register unless there is one; whether it did.
    pub(super) fn put_register(&mut self, session: usize, register: Register) -> bool {
        let absent = self.register(session) == Register::Absent;
        if absent {
            self.overwrite_register(session, register);
        }
        absent
    }

    pub(super) fn is_committed(&self, session: usize) -> bool {
        matches!(self.register(session), Register::Committed | Register::CommittedWithoutSnapshot)
    }

    /// The session that an index object belongs to; `None` if it was committed before all began.
    pub(super) fn owner(&self, index: usize, rules: &Rules) -> Option<usize> {
        match index {
            FIRST_INDEX => None,
            1 | 2 => Some(index - 1),
            ADOPTED_INDEX if rules.adoption == super::Adoption::CommitTheDead => Some(0),
            ADOPTED_INDEX => Some(1),
            _ if index < sweep_index(0) => Some(repack_session(index - repack_index(0))),
            _ if rules.sweep_session => Some(sweep_session(index - sweep_index(0))),
            _ => None,
        }
    }

    /// Packs that an index object names.
    pub(super) fn rows(&self, index: usize) -> Set {
        match index {
            FIRST_INDEX => ((1 << FIRST_PACKS) - 1) & !self.never,
            1 | 2 => 1 << writer_pack(index - 1),
            ADOPTED_INDEX => self.adopted,
            _ if index < sweep_index(0) => 1 << prune_pack(index - repack_index(0)),
            _ => self.rewritten[index - sweep_index(0)].0,
        }
    }

    pub(super) fn rows_of(&self, indexes: Set) -> Set {
        bits(indexes).fold(0, |rows, index| rows | self.rows(index))
    }

    /// Index objects of committed sessions.
    fn committed_indexes(&self, rules: &Rules) -> Set {
        let committed = |index: &usize| self.owner(*index, rules).is_none_or(|session| self.is_committed(session));
        bits(self.indexes).filter(committed).fold(0, |set, index| set | 1 << index)
    }

    /// Index objects that others replace.
    pub(super) fn replaced_indexes(&self, rules: &Rules) -> Set {
        bits(self.committed_indexes(rules))
            .filter(|index| *index >= sweep_index(0))
            .fold(0, |set, index| set | self.rewritten[index - sweep_index(0)].1)
    }

    /// Index objects that count.
    pub(super) fn counted_indexes(&self, rules: &Rules) -> Set {
        self.committed_indexes(rules) & !self.replaced_indexes(rules)
    }

    /// Chunks in any of these packs.
    pub(super) fn chunks(&self, packs: Set) -> u8 {
        bits(packs).fold(0, |chunks, pack| chunks | self.content[pack])
    }

    /// Packs that open plans condemn.
    pub(super) fn condemned(&self) -> Set {
        self.condemned_but(PRUNES)
    }

    /// The same without one plan.
    pub(super) fn condemned_but(&self, without: usize) -> Set {
        self.plans.iter().enumerate().filter(|(number, _)| *number != without).fold(0, |set, (_, plan)| {
            set | match plan.state {
                PlanState::Planned => plan.condemned,
                PlanState::Sweep => plan.sweep,
                _ => 0,
            }
        })
    }

    pub(super) fn open_plan(&self) -> Option<usize> {
        self.plans.iter().position(Plan::is_open)
    }

    /// Whether a register says that the snapshot exists.
    pub(super) fn is_promised(&self, snapshot: usize) -> bool {
        match snapshot {
            KEPT | FORGETTABLE => true,
            UNDELETED => self.register(UNDELETE) == Register::Committed,
            _ => self.register(snapshot - writer_snapshot(0)) == Register::Committed,
        }
    }
}

/// The steps that actors can take in a state.
#[derive(Default)]
pub(super) struct Steps {
    pub(super) states: Vec<State>,
    pub(super) names: Vec<String>,
    named: bool,
}

impl Steps {
    /// Steps that know their names, which takes time.
    pub(super) fn named() -> Self {
        Self { named: true, ..Self::default() }
    }

    pub(super) fn clear(&mut self) {
        self.states.clear();
        self.names.clear();
    }

    pub(super) fn push(&mut self, state: State, name: impl FnOnce() -> String) {
        self.states.push(state);
        if self.named {
            self.names.push(name());
        }
    }
}

/// The names of packs, for traces.
pub(super) fn pack_names(packs: Set) -> String {
    let name = |pack: usize| match pack {
        0..FIRST_PACKS => format!("P{pack}"),
        3 | 4 => format!("W{}", pack - writer_pack(0)),
        _ => format!("G{}", pack - prune_pack(0)),
    };
    format!("{{{}}}", bits(packs).map(name).collect::<Vec<_>>().join(" "))
}

/// The names of chunks, for traces.
pub(super) fn chunk_names(chunks: u8) -> String {
    let mut names = String::new();
    for (chunk, name) in [(Setup::C, 'c'), (Setup::D, 'd'), (Setup::E, 'e'), (Setup::N, 'n')] {
        if chunks & chunk != 0 {
            names.push(name);
        }
    }
    names
}

/// Who takes part, and what they heed.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// What actors heed.
    pub rules: Rules,
    /// Who takes part.
    pub setup: Setup,
}

impl Model {
    pub(super) fn first(&self) -> State {
        let mut content = [0; PACKS];
        content[..FIRST_PACKS].copy_from_slice(&self.setup.packs);
        let packs = (0..FIRST_PACKS).filter(|pack| content[*pack] != 0).fold(0, |set, pack| set | 1 << pack);
        State {
            packs,
            never: ((1 << FIRST_PACKS) - 1) & !packs,
            content,
            indexes: 1 << FIRST_INDEX,
            adopted: 0,
            rewritten: Default::default(),
            intents: 0,
            registers: 0,
            snapshots: 1 << KEPT | u8::from(self.setup.forgets) << FORGETTABLE,
            forgotten: 0,
            grace_over: 0,
            plans: Default::default(),
            writers: Default::default(),
            prunes: Default::default(),
            actors: Default::default(),
        }
    }

    pub(super) fn steps(&self, state: &State, steps: &mut Steps) {
        for number in 0..2 {
            writer::steps(self, state, number, steps);
        }
        for number in 0..self.setup.prunes {
            prune::steps(self, state, number, steps);
        }
        actors::steps(self, state, steps);
    }

    /// Chunks that a snapshot needs.
    pub(super) fn need(&self, snapshot: usize) -> u8 {
        match snapshot {
            KEPT => Setup::D,
            FORGETTABLE | UNDELETED => Setup::C,
            _ => self.setup.writers[snapshot - writer_snapshot(0)],
        }
    }

    /// Chunks that these snapshots need, as far as they are there and committed.
    pub(super) fn reachable(&self, state: &State, snapshots: u8) -> u8 {
        bits(u16::from(snapshots & state.snapshots))
            .filter(|snapshot| state.is_promised(*snapshot))
            .fold(0, |chunks, snapshot| chunks | self.need(snapshot))
    }

    /// Snapshots that were forgotten long enough ago.
    pub(super) fn expired(&self, state: &State) -> u8 {
        if self.rules.grace { state.forgotten & state.grace_over } else { state.forgotten }
    }

    /// What does not hold in a state.
    pub(super) fn violation(&self, state: &State) -> Option<String> {
        let rows = state.rows_of(state.counted_indexes(&self.rules));
        let missing = rows & !state.packs;
        let there = state.chunks(rows & state.packs);
        for snapshot in [KEPT, FORGETTABLE, writer_snapshot(0), writer_snapshot(1), UNDELETED] {
            let name = ["the kept", "the forgettable", "writer 0's", "writer 1's", "the undeleted"][snapshot];
            let bit = 1 << snapshot;
            if !state.is_promised(snapshot) || (snapshot == FORGETTABLE && !self.setup.forgets) {
                continue;
            }
            if state.snapshots & bit == 0 {
                // Dropped for good, after its grace.
                if state.grace_over & bit == 0 {
                    return Some(format!("{name} snapshot is gone"));
                }
            } else if state.forgotten & state.grace_over & bit == 0 && self.need(snapshot) & !there != 0 {
                return Some(format!("{name} snapshot can't be restored"));
            }
        }
        if missing != 0 {
            return Some(format!("the index names packs that are not there: {}", pack_names(missing)));
        }
        for number in 0..2 {
            let succeeded = self.setup.writers[number] != 0 && state.writers[number].succeeded(self, number);
            if succeeded && state.register(number) != Register::Committed {
                return Some(format!("writer {number} reports success and has no snapshot"));
            }
        }
        actors::violation(self, state)
    }

    /// What is wrong with a state if everybody stopped in it for good: one prune after another, alone, must reclaim all
    /// that is not reachable, and end every plan. (A session with nothing to reclaim may stay open.)
    pub(super) fn stuck(&self, state: &State) -> Option<String> {
        let mut state = state.clone();
        let model = Self { rules: self.rules, setup: Setup { revoke: true, cancel: false, ..self.setup } };
        for janitor in JANITORS..PRUNES {
            let mut left = 200;
            loop {
                let mut steps = Steps::default();
                prune::steps(&model, &state, janitor, &mut steps);
                let Some(next) = steps.states.into_iter().next() else { break };
                state = next;
                left -= 1;
                if left == 0 {
                    return Some("a prune that runs alone does not end".into());
                }
                if let Some(what) = model.violation(&state) {
                    return Some(format!("a prune that runs alone breaks it: {what}"));
                }
            }
        }
        let alive = self.reachable(&state, !self.expired(&state));
        let rows = state.rows_of(state.counted_indexes(&self.rules));
        let copies = bits(state.packs)
            .map(|pack| state.content[pack])
            .fold((0, 0), |(once, twice), chunks| (once | chunks, twice | once & chunks));
        if state.open_plan().is_some() {
            Some("a plan stays open".into())
        } else if rows != state.packs {
            let (rows, packs) = (pack_names(rows), pack_names(state.packs));
            Some(format!("the index names {rows}, there are {packs}"))
        } else if copies != (alive, 0) {
            let (there, twice) = (chunk_names(copies.0), chunk_names(copies.1));
            Some(format!("reachable are {:?}, stored {there:?}, twice {twice:?}", chunk_names(alive)))
        } else {
            None
        }
    }
}
