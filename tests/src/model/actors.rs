//! Who forgets, who undeletes, who reads, and the time that passes.

use super::rules::Setup;
use super::state::{FORGETTABLE, KEPT, Model, Register, State, Steps, UNDELETE, UNDELETED, bits, pack_names};

/// What they remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Actors {
    undelete: Undelete,
    reader: Reader,
    has_forgotten: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Undelete {
    #[default]
    Begin,
    Intent,
    Plans,
    Look,
    Write,
    Commit,
    Succeeded,
    /// The snapshot is gone, or about to go.
    Refused,
    Revoked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Reader {
    #[default]
    Begin,
    /// It knows a pack that has the chunk.
    Found(u8),
    Missed,
    Read,
    Failed,
}

pub(super) fn steps(model: &Model, state: &State, steps: &mut Steps) {
    let bit = 1 << FORGETTABLE;
    if model.setup.forgets {
        if !state.actors.has_forgotten {
            let mut next = state.clone();
            next.forgotten |= bit;
            next.actors.has_forgotten = true;
            steps.push(next, || "somebody forgets the snapshot of \"c\"".into());
        } else if state.grace_over & bit == 0 && state.forgotten & bit != 0 {
            let mut next = state.clone();
            next.grace_over |= bit;
            steps.push(next, || "its grace is over".into());
        }
    }
    if model.setup.undeletes {
        undelete(model, state, steps);
    }
    if model.setup.reads {
        read(model, state, steps);
    }
}

fn undelete(model: &Model, state: &State, steps: &mut Steps) {
    let bit = 1 << FORGETTABLE;
    let rules = &model.rules;
    let there = state.snapshots & bit != 0;
    let dropped = state.plans.iter().any(|plan| plan.is_open() && plan.drops & bit != 0);
    let mut step = |at: Undelete, name: &'static str| move_on(state, steps, at, name);
    match state.actors.undelete {
        Undelete::Begin if state.forgotten & bit == 0 => {}
        Undelete::Begin | Undelete::Look if !there => step(Undelete::Refused, "finds no snapshot"),
        Undelete::Begin if !rules.undelete_session => step(Undelete::Write, "finds the snapshot"),
        Undelete::Begin if !rules.undelete_intent_first => step(Undelete::Intent, "lists the plans"),
        Undelete::Begin => step(Undelete::Plans, "puts its intent"),
        Undelete::Intent => step(Undelete::Look, "puts its intent"),
        Undelete::Plans if dropped && rules.undelete_heeds_plans => {
            step(Undelete::Refused, "finds a plan that drops the snapshot");
        }
        Undelete::Plans => step(Undelete::Look, "lists the plans"),
        Undelete::Look => step(Undelete::Write, "reads the snapshot"),
        Undelete::Write if !rules.undelete_session => step(Undelete::Succeeded, "removes the record"),
        Undelete::Write => step(Undelete::Commit, "puts a new snapshot of \"c\""),
        Undelete::Commit if state.register(UNDELETE) == Register::Absent => step(Undelete::Succeeded, "commits"),
        Undelete::Commit => step(Undelete::Revoked, "finds its session revoked"),
        Undelete::Succeeded | Undelete::Refused | Undelete::Revoked => {}
    }
    // What the step does to the storage follows from where it leads.
    let Some(next) = steps.states.last_mut().filter(|next| next.actors.undelete != state.actors.undelete) else {
        return;
    };
    match next.actors.undelete {
        Undelete::Plans if rules.intents => next.intents |= 1 << UNDELETE,
        Undelete::Look if state.actors.undelete == Undelete::Intent => next.intents |= 1 << UNDELETE,
        Undelete::Commit => next.snapshots |= 1 << UNDELETED,
        Undelete::Succeeded if !rules.undelete_session => next.forgotten &= !bit,
        Undelete::Succeeded | Undelete::Refused => {
            let committed = next.actors.undelete == Undelete::Succeeded;
            let register = if committed { Register::Committed } else { Register::CommittedWithoutSnapshot };
            next.put_register(UNDELETE, register);
            next.intents &= !(1 << UNDELETE);
        }
        _ => {}
    }
}

fn move_on(state: &State, steps: &mut Steps, at: Undelete, name: &'static str) {
    let mut next = state.clone();
    next.actors.undelete = at;
    steps.push(next, || format!("undelete: {name}"));
}

/// Restores the chunk of the snapshot that stays.
fn read(model: &Model, state: &State, steps: &mut Steps) {
    let mut step = |at: Reader, name: String| {
        let mut next = state.clone();
        next.actors.reader = at;
        steps.push(next, || format!("reader: {name}"));
    };
    match state.actors.reader {
        Reader::Begin | Reader::Missed => {
            let rows = state.rows_of(state.counted_indexes(&model.rules));
            let mut found = false;
            for pack in bits(rows).filter(|pack| state.content[*pack] & model.need(KEPT) != 0) {
                found = true;
                step(
                    Reader::Found(pack as u8),
                    format!("loads the index, finds {:?} in {}", 'd', pack_names(1 << pack)),
                );
            }
            if !found {
                step(Reader::Failed, "loads the index, finds no place".into());
            }
        }
        Reader::Found(pack) => match state.packs & 1 << pack != 0 {
            true => step(Reader::Read, "reads".into()),
            false if model.rules.reader_reloads => step(Reader::Missed, "finds that pack gone".into()),
            false => step(Reader::Failed, "finds that pack gone".into()),
        },
        Reader::Read | Reader::Failed => {}
    }
}

pub(super) fn violation(model: &Model, state: &State) -> Option<String> {
    let bit = 1 << FORGETTABLE;
    if state.actors.reader == Reader::Failed {
        return Some("a reader can't restore a snapshot that is there".into());
    }
    if state.actors.undelete == Undelete::Refused && state.grace_over & bit == 0 {
        return Some("undelete is refused within the grace".into());
    }
    if state.actors.undelete == Undelete::Succeeded && !model.rules.undelete_session {
        let rows = state.rows_of(state.counted_indexes(&model.rules)) & state.packs;
        if state.snapshots & bit == 0 || Setup::C & !state.chunks(rows) != 0 {
            return Some("undelete reports success and the snapshot can't be restored".into());
        }
    }
    None
}
