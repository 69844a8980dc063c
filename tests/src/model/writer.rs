//! A writer, W1 to W8, and what it takes over from a dead one.

use super::rules::Adoption;
use super::state::{
    ADOPTED_INDEX, Model, Register, Set, State, Steps, chunk_names, pack_names, writer_index, writer_pack,
    writer_snapshot,
};

/// What a writer remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Writer {
    /// Steps done.
    at: u8,
    failed: bool,
    condemned: Set,
    /// Chunks that it stores.
    missing: u8,
    /// Packs of the dead writer that it takes over; or those that it found in an index that it loaded beside the plans.
    adopted: Set,
    /// What was below `prune/` before it announced itself.
    seen: Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Look,
    Intent,
    LoadBeside,
    Plans,
    Revoke,
    FindPacks,
    NamePacks,
    CommitDead,
    Load,
    Pack,
    Index,
    Snapshot,
    Commit,
    ReadRegister,
    PutRegister,
    Tidy,
}

use Step::{
    Commit, CommitDead, FindPacks, Index, Intent, Load, LoadBeside, Look, NamePacks, Pack, Plans, PutRegister,
    ReadRegister, Revoke, Snapshot, Tidy,
};

/// What a writer does, in this order.
fn program(model: &Model, adopts: bool) -> &'static [Step] {
    let rules = &model.rules;
    if adopts {
        return match rules.adoption {
            Adoption::CommitTheDead => {
                &[FindPacks, NamePacks, CommitDead, Intent, Plans, Load, Pack, Index, Snapshot, Commit, Tidy]
            }
            _ => &[Intent, Plans, Revoke, FindPacks, NamePacks, Load, Pack, Index, Snapshot, Commit, Tidy],
        };
    }
    if model.setup.early {
        return &[Look, Intent, LoadBeside, Plans, Load, Pack, Index, Snapshot, Commit, Tidy];
    }
    if !rules.intent_first {
        return &[Plans, Load, Intent, Pack, Index, Snapshot, Commit, Tidy];
    }
    if !rules.atomic_register {
        return &[Intent, Plans, Load, Pack, Index, Snapshot, ReadRegister, PutRegister, Tidy];
    }
    if !rules.pack_before_index {
        return &[Intent, Plans, Load, Index, Snapshot, Commit, Pack, Tidy];
    }
    &[Intent, Plans, Load, Pack, Index, Snapshot, Commit, Tidy]
}

fn adopts(model: &Model, number: usize) -> bool {
    model.setup.adopts && number == 1
}

impl Writer {
    /// Whether it tells its user that the snapshot exists.
    pub(super) fn succeeded(&self, model: &Model, number: usize) -> bool {
        let program = program(model, adopts(model, number));
        !self.failed && usize::from(self.at) + 1 >= program.len()
    }
}

pub(super) fn steps(model: &Model, state: &State, number: usize, steps: &mut Steps) {
    let want = model.setup.writers[number];
    let writer = state.writers[number];
    if want == 0 {
        return;
    }
    let pack = 1 << writer_pack(number);
    let put_once = state.content[writer_pack(number)] != 0;
    if model.setup.retries && put_once && state.packs & pack == 0 {
        let mut next = state.clone();
        next.packs |= pack;
        steps.push(next, || format!("writer {number}: a delayed retry puts {} again", pack_names(pack)));
    }
    let program = program(model, adopts(model, number));
    let named = program.iter().position(|step| *step == Index).is_some_and(|at| usize::from(writer.at) > at);
    if model.setup.interrupts && named && !writer.failed && state.register(number) == Register::Absent {
        let mut next = state.clone();
        next.put_register(number, Register::CommittedWithoutSnapshot);
        next.intents &= !(1 << number);
        next.writers[number].failed = true;
        steps.push(next, || format!("writer {number}: is interrupted, commits without a snapshot"));
    }
    let Some(step) = program.get(usize::from(writer.at)).filter(|_| !writer.failed) else { return };
    let mut next = state.clone();
    next.writers[number].at += 1;
    match step {
        Look | Intent | LoadBeside | Plans | Load | Pack | Index | Snapshot => {
            work(model, &mut next, number, *step);
            let is_loaded = *step == Plans && model.setup.early && takes_what_was_loaded(model, &mut next, number);
            let writer = &mut next.writers[number];
            writer.at += u8::from(is_loaded);
            // Nothing to store: no pack, no index object.
            while (*step == Load || is_loaded)
                && writer.missing == 0
                && matches!(program[usize::from(writer.at)], Pack | Index)
            {
                writer.at += 1;
            }
        }
        Revoke | FindPacks | NamePacks | CommitDead => {
            adopt(model, &mut next, number, *step);
            if *step == Revoke && next.writers[number].adopted == 0 {
                // Nothing to take over: on to the index.
                next.writers[number].at += 2;
            }
            next.writers[number].adopted &= !ADOPTING;
        }
        Commit | ReadRegister | PutRegister | Tidy => end(model, &mut next, number, *step),
    }
    steps.push(next.clone(), || {
        let after = &next.writers[number];
        let detail = match step {
            Plans => format!(", condemned are {}", pack_names(after.condemned)),
            Load => format!(", missing is {:?}", chunk_names(after.missing)),
            FindPacks => format!(" of writer 0: {}", pack_names(after.adopted)),
            _ if after.failed => " and fails: the session was ended by another process".into(),
            _ => String::new(),
        };
        format!("writer {number}: {}{detail}", name(*step))
    });
}

fn name(step: Step) -> &'static str {
    match step {
        Look => "looks below prune/",
        Intent => "puts its intent",
        LoadBeside => "loads the index, before it knows the plans",
        Plans => "lists the plans",
        Revoke => "revokes the session of writer 0 if it is open",
        FindPacks => "lists packs that no index object names",
        NamePacks => "puts an index object that names them",
        CommitDead => "commits the session of writer 0 without a snapshot",
        Load => "loads the index",
        Pack => "puts its pack",
        Index => "puts its index object",
        Snapshot => "puts its snapshot",
        Commit => "puts its register",
        ReadRegister => "reads its register",
        PutRegister => "puts its register whatever is there",
        Tidy => "removes its intent",
    }
}

fn work(model: &Model, next: &mut State, number: usize, step: Step) {
    let rules = &model.rules;
    match step {
        Look => next.writers[number].seen = next.names_below_prune(),
        LoadBeside => {
            let counted = if rules.only_committed { next.counted_indexes(rules) } else { next.indexes };
            next.writers[number].adopted = next.rows_of(counted);
        }
        Intent if rules.intents => next.intents |= 1 << number,
        Plans if rules.plans_heeded => next.writers[number].condemned = next.condemned(),
        Load => {
            let counted = if rules.only_committed { next.counted_indexes(rules) } else { next.indexes };
            let mine = if adopts(model, number) { next.writers[number].adopted } else { 0 };
            let usable = (next.rows_of(counted) | mine) & !next.writers[number].condemned;
            let missing = model.setup.writers[number] & !next.chunks(usable);
            next.writers[number].missing = missing;
            next.writers[number].condemned = 0;
        }
        Pack if next.writers[number].missing != 0 => {
            next.packs |= 1 << writer_pack(number);
            next.content[writer_pack(number)] = next.writers[number].missing;
        }
        Index if next.writers[number].missing != 0 => next.indexes |= 1 << writer_index(number),
        Snapshot => next.snapshots |= 1 << writer_snapshot(number),
        _ => {}
    }
}

/// Takes the index that was loaded beside the plans, if no plan was open meanwhile.
fn takes_what_was_loaded(model: &Model, next: &mut State, number: usize) -> bool {
    let names = next.names_below_prune();
    let writer = next.writers[number];
    let is_as_before = names == writer.seen || !model.rules.looked_before;
    let is_good = is_as_before && !next.has_plan_that_may_be_open();
    if is_good {
        next.writers[number].missing = model.setup.writers[number] & !next.chunks(writer.adopted);
    }
    (next.writers[number].adopted, next.writers[number].seen) = (0, 0);
    is_good
}

/// Stands in `adopted` for "the dead session is mine to take over" until the packs are known.
const ADOPTING: Set = 1 << 15;

fn adopt(model: &Model, next: &mut State, number: usize, step: Step) {
    let dead = 0;
    let rules = &model.rules;
    match step {
        Revoke if next.intents & 1 << dead != 0 || next.register(dead) != Register::Absent => {
            let won = next.put_register(dead, Register::Revoked);
            let any = rules.adoption == Adoption::TakePacksOfAnyRevoked && next.register(dead) == Register::Revoked;
            if won || any {
                next.writers[number].adopted = ADOPTING;
                next.intents &= !(1 << dead);
            }
        }
        FindPacks => {
            let pack = 1 << writer_pack(dead);
            let unseen = rules.adoption == Adoption::TakePacksUnseen;
            let there = if unseen { pack } else { pack & next.packs };
            let listed = next.rows_of(next.counted_indexes(rules));
            let open = rules.adoption != Adoption::CommitTheDead || next.register(dead) == Register::Absent;
            let found = if open { there & !listed & !next.writers[number].condemned } else { 0 };
            next.writers[number].adopted = found;
        }
        NamePacks if next.writers[number].adopted != 0 => {
            next.indexes |= 1 << ADOPTED_INDEX;
            next.adopted = next.writers[number].adopted;
        }
        CommitDead => {
            next.writers[number].adopted = 0;
            if next.intents & 1 << dead != 0 {
                next.put_register(dead, Register::CommittedWithoutSnapshot);
                next.intents &= !(1 << dead);
            }
        }
        _ => {}
    }
}

fn end(model: &Model, next: &mut State, number: usize, step: Step) {
    match step {
        Commit => {
            let committed = next.put_register(number, Register::Committed);
            next.writers[number].failed = !committed && model.rules.register_heeded;
        }
        ReadRegister => next.writers[number].failed = next.register(number) != Register::Absent,
        PutRegister => next.overwrite_register(number, Register::Committed),
        _ => next.intents &= !(1 << number),
    }
}
