//! A prune, G1 to G10, and whoever goes on with its plan.

use super::state::{
    Model, PRUNES, PlanState, Register, Set, State, Steps, bits, pack_names, prune_pack, repack_index, repack_session,
    sweep_index, sweep_session,
};

/// What a prune remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Prune {
    at: At,
    /// The number of the plan.
    plan: u8,
    /// Sessions that it waits for.
    open: Set,
    /// Packs: condemned, then the final list, then those of the new index object.
    packs: Set,
    drops: u8,
    /// Index objects that are replaced.
    replaces: Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum At {
    #[default]
    Begin,
    Plans,
    Copy,
    NameCopy,
    CommitCopy,
    Scan,
    Plan,
    Sessions,
    Resolve,
    Rescue,
    State,
    SweepIntent,
    Rewrite,
    NameRewritten,
    CommitRewritten,
    DeleteIndexes,
    DropRecords,
    DropSnapshots,
    DeletePacks,
    Done,
    End,
}

pub(super) fn steps(model: &Model, state: &State, number: usize, steps: &mut Steps) {
    let mut turn = Turn { model, state, number, me: state.prunes[number], steps };
    match turn.me.at {
        At::Begin | At::Plans => turn.begin(),
        At::Copy | At::NameCopy | At::CommitCopy => turn.copy(),
        At::Scan => turn.scan(),
        At::Plan => turn.put_plan(),
        At::Sessions | At::Resolve => turn.resolve(),
        At::Rescue | At::State => turn.decide(),
        At::SweepIntent | At::Rewrite | At::NameRewritten | At::CommitRewritten => turn.rewrite(),
        At::DeleteIndexes | At::DropSnapshots | At::DropRecords | At::DeletePacks | At::Done => turn.sweep(),
        At::End => {}
    }
}

/// One prune's turn in one state.
struct Turn<'a> {
    model: &'a Model,
    state: &'a State,
    number: usize,
    me: Prune,
    steps: &'a mut Steps,
}

impl Turn<'_> {
    /// A step: `change` is what it does to the storage and to what the prune remembers.
    fn step(&mut self, at: At, name: &str, change: impl FnOnce(&mut State, &mut Prune)) {
        let mut next = self.state.clone();
        let mut me = self.me;
        me.at = at;
        change(&mut next, &mut me);
        if me.at == At::End {
            me = Prune { at: At::End, ..Prune::default() };
        }
        next.prunes[self.number] = me;
        let number = self.number;
        self.steps.push(next, || format!("prune {number}: {name}"));
    }

    fn plan(&self) -> &super::state::Plan {
        &self.state.plans[usize::from(self.me.plan)]
    }

    /// G1.
    fn begin(&mut self) {
        let (state, session) = (self.state, repack_session(self.number));
        let intents = self.model.rules.intents;
        if self.me.at == At::Begin {
            self.step(At::Plans, "puts its intent", |next, _| {
                if intents {
                    next.intents |= 1 << session;
                }
            });
            return;
        }
        if !self.model.rules.one_plan {
            let plan = self.number as u8;
            return self.step(At::Copy, "lists the plans", |_, me| me.plan = plan);
        }
        let Some(open) = state.open_plan() else {
            let free = state.plans.iter().position(|plan| plan.state == PlanState::Absent).unwrap_or(PRUNES - 1);
            return self.step(At::Copy, "lists the plans: none is open", |_, me| me.plan = free as u8);
        };
        if !self.model.rules.resumed {
            return self.step(At::End, "lists the plans, leaves the open one to others", |_, _| ());
        }
        // Its own session has nothing to do any more.
        let end_session = |next: &mut State| {
            next.put_register(session, Register::CommittedWithoutSnapshot);
            next.intents &= !(1 << session);
        };
        let at = if state.plans[open].state == PlanState::Sweep { At::SweepIntent } else { At::Sessions };
        self.step(at, "lists the plans, goes on with the open one", |next, me| {
            me.plan = open as u8;
            end_session(next);
        });
        let undecided = state.plans[open].state == PlanState::Planned;
        if self.model.setup.cancel && (undecided || !self.model.rules.cancelled_once) {
            self.step(At::End, "lists the plans, cancels the open one", |next, _| {
                next.plans[open].state = PlanState::Cancelled;
                end_session(next);
            });
        }
    }

    /// G2.
    fn copy(&mut self) {
        let (state, number) = (self.state, self.number);
        let session = repack_session(number);
        match self.me.at {
            At::Copy => {
                let copied = self.to_copy();
                if copied == 0 {
                    return self.step(At::CommitCopy, "loads the index, nothing to copy", |_, _| ());
                }
                let name = format!("loads the index, copies {:?} into G{number}", super::state::chunk_names(copied));
                self.step(At::NameCopy, &name, |next, _| {
                    next.packs |= 1 << prune_pack(number);
                    next.content[prune_pack(number)] = copied;
                });
            }
            At::NameCopy => self.step(At::CommitCopy, "puts an index object for the copies", |next, _| {
                next.indexes |= 1 << repack_index(number);
            }),
            _ if state.register(session) == Register::Absent => {
                self.step(At::Scan, "commits its session", |next, _| {
                    next.put_register(session, Register::CommittedWithoutSnapshot);
                    next.intents &= !(1 << session);
                });
            }
            _ => self.step(At::End, "finds its session revoked", |_, _| ()),
        }
    }

    /// Live chunks that are in packs with dead ones only.
    fn to_copy(&self) -> u8 {
        let (model, state) = (self.model, self.state);
        let alive = model.reachable(state, !model.expired(state));
        let rows = state.rows_of(state.counted_indexes(&model.rules)) & state.packs & !state.condemned();
        let (mut mixed, mut clean) = (0, 0);
        for pack in bits(rows) {
            match state.content[pack] & !alive {
                0 => clean |= state.content[pack],
                _ => mixed |= state.content[pack] & alive,
            }
        }
        mixed & !clean
    }

    /// G3: what is condemned, and which snapshots go.
    fn scan(&mut self) {
        let (model, state) = (self.model, self.state);
        let revoked = (0..2).filter(|writer| state.register(*writer) == Register::Revoked);
        let invalid = revoked.fold(0, |set, writer| set | 1 << super::state::writer_snapshot(writer));
        let invalid =
            invalid | u8::from(state.register(super::state::UNDELETE) == Register::Revoked) << super::state::UNDELETED;
        let drops = (model.expired(state) | invalid) & state.snapshots;
        let alive = model.reachable(state, !drops);
        let others = state.condemned();
        let rows = state.rows_of(state.counted_indexes(&model.rules)) & state.packs & !others;
        let mut kept = rows;
        let mut condemned = state.packs & !rows & !others;
        for pack in bits(rows) {
            let elsewhere = state.chunks(kept & !(1 << pack));
            if state.content[pack] & alive & !elsewhere == 0 {
                kept &= !(1 << pack);
                condemned |= 1 << pack;
            }
        }
        if condemned == 0 && drops == 0 {
            return self.step(At::End, "scans: nothing to do", |_, _| ());
        }
        let early = !model.rules.plan_before_sessions;
        let name = format!("scans, would condemn {}", pack_names(condemned));
        self.step(At::Plan, &name, |next, me| {
            me.packs = condemned;
            me.drops = drops;
            if early {
                me.open = next.intents;
            }
        });
    }

    /// G3, the plan.
    fn put_plan(&mut self) {
        let early = !self.model.rules.plan_before_sessions;
        let at = if early { At::Resolve } else { At::Sessions };
        let stale = PlanState::Done;
        match self.plan().state {
            // Its objects were cleared away: nothing keeps anybody from putting them again.
            state if state == PlanState::Absent || (state == stale && !self.model.rules.number_checked) => {
                self.step(at, "puts its plan", |next, me| {
                    let plan = &mut next.plans[usize::from(me.plan)];
                    plan.state = PlanState::Planned;
                    plan.condemned = me.packs;
                    plan.drops = me.drops;
                    me.packs = 0;
                    me.drops = 0;
                })
            }
            PlanState::Planned | PlanState::Sweep => self.step(At::Sessions, "finds another's plan", |_, me| {
                *me = Prune { at: me.at, plan: me.plan, ..Prune::default() };
            }),
            _ => self.step(At::End, "finds that plan done", |_, _| ()),
        }
    }

    /// G4 and G5.
    fn resolve(&mut self) {
        let state = self.state;
        if self.me.at == At::Sessions {
            return self.step(At::Resolve, "lists the sessions", |next, me| me.open = next.intents);
        }
        let Some(session) = bits(self.me.open).next().filter(|_| self.model.rules.resolved) else {
            return self.step(At::Rescue, "has no session to wait for", |_, me| me.open = 0);
        };
        if state.register(session) != Register::Absent {
            self.step(At::Resolve, "finds a session ended", |_, me| me.open &= !(1 << session));
        } else if self.model.setup.revoke {
            let name = format!("revokes {}", session_name(session));
            self.step(At::Resolve, &name, |next, me| {
                next.put_register(session, Register::Revoked);
                me.open &= !(1 << session);
            });
        }
    }

    /// G6 and G7.
    fn decide(&mut self) {
        let (model, state, plan) = (self.model, self.state, *self.plan());
        if self.me.at == At::Rescue {
            let mut list = plan.condemned;
            if model.rules.rescue {
                let others = state.condemned_but(usize::from(self.me.plan));
                let lost = plan.condemned | if model.rules.other_plans_seen { others } else { 0 };
                let rows = state.rows_of(state.counted_indexes(&model.rules)) & state.packs;
                let alive = model.reachable(state, !plan.drops);
                let endangered = alive & !state.chunks(rows & !lost);
                for pack in bits(list & rows).filter(|pack| state.content[*pack] & endangered != 0) {
                    list &= !(1 << pack);
                }
            }
            let name = format!("lists snapshots and index again, rescues {}", pack_names(plan.condemned & !list));
            return self.step(At::State, &name, |_, me| me.packs = list);
        }
        let once = model.rules.state_once;
        // When this plan or a later one is done, its objects are cleared away: nothing keeps anybody from putting them again.
        let cleared = state.plans[usize::from(self.me.plan)..].iter().any(|plan| plan.state == PlanState::Done);
        let unchecked = cleared && !model.rules.state_checked;
        match plan.state {
            PlanState::Done | PlanState::Cancelled if unchecked => {
                self.step(self.after_state(), "puts the state of a plan that is over: sweep", |next, me| {
                    let plan = &mut next.plans[usize::from(me.plan)];
                    plan.state = PlanState::Sweep;
                    plan.sweep = me.packs;
                    me.packs = 0;
                });
            }
            PlanState::Planned => self.step(self.after_state(), "puts the state: sweep", |next, me| {
                let plan = &mut next.plans[usize::from(me.plan)];
                plan.state = PlanState::Sweep;
                plan.sweep = me.packs;
                me.packs = 0;
            }),
            PlanState::Sweep => self.step(self.after_state(), "finds the state put", |next, me| {
                if !once {
                    next.plans[usize::from(me.plan)].sweep = me.packs;
                }
                me.packs = 0;
            }),
            _ => self.step(At::End, "finds the plan over", |_, _| ()),
        }
    }

    fn after_state(&self) -> At {
        if self.model.rules.index_before_packs { At::SweepIntent } else { At::DeletePacks }
    }

    /// G8: objects that name swept packs are replaced by one that does not.
    fn rewrite(&mut self) {
        let (model, state, number) = (self.model, self.state, self.number);
        let (session, index) = (sweep_session(number), sweep_index(number));
        let fenced = model.rules.sweep_session;
        match self.me.at {
            At::SweepIntent => self.step(At::Rewrite, "begins a session for the index", |next, _| {
                if fenced {
                    next.intents |= 1 << session;
                }
            }),
            At::Rewrite => {
                let sweep = self.plan().sweep;
                let counted = state.counted_indexes(&model.rules);
                let naming = bits(counted).filter(|index| state.rows(*index) & sweep != 0);
                let naming = naming.fold(0, |set: Set, index| set | 1 << index);
                let replaced = state.replaced_indexes(&model.rules) & state.indexes;
                let invalid = |index: &usize| {
                    state.owner(*index, &model.rules).is_some_and(|owner| state.register(owner) == Register::Revoked)
                };
                let invalid = bits(state.indexes).filter(invalid).fold(0, |set: Set, index| set | 1 << index);
                let rows = state.rows_of(naming) & !sweep;
                let carried = if model.rules.replaced_carried { replaced } else { 0 };
                let at = if naming == 0 { At::CommitRewritten } else { At::NameRewritten };
                self.step(at, "loads the index", |_, me| {
                    me.packs = rows;
                    me.drops = u8::from(naming != 0);
                    me.replaces = naming | carried;
                    me.open = naming | replaced | invalid;
                });
            }
            At::NameRewritten => {
                let name = format!("puts an index object for {}, in place of others", pack_names(self.me.packs));
                self.step(At::CommitRewritten, &name, |next, me| {
                    next.indexes |= 1 << index;
                    next.rewritten[number] = (me.packs, me.replaces);
                });
            }
            _ if !fenced || state.register(session) == Register::Absent => {
                self.step(At::DeleteIndexes, "commits that session", |next, me| {
                    if fenced {
                        next.put_register(session, Register::CommittedWithoutSnapshot);
                        next.intents &= !(1 << session);
                    }
                    *me = Prune { at: me.at, plan: me.plan, open: me.open, ..Prune::default() };
                });
            }
            _ => self.step(At::End, "finds that session revoked", |_, _| ()),
        }
    }

    /// G9 and G10: what is not needed any more goes, one object at a time.
    fn sweep(&mut self) {
        let (state, plan) = (self.state, *self.plan());
        let packs_first = !self.model.rules.index_before_packs;
        match self.me.at {
            At::DeleteIndexes => {
                let left = self.me.open & state.indexes;
                for index in bits(left) {
                    self.step(At::DeleteIndexes, "deletes a replaced index object", |next, _| {
                        next.indexes &= !(1 << index);
                    });
                }
                if left == 0 || self.model.setup.locked {
                    let drop = if self.model.rules.records_kept { At::DropSnapshots } else { At::DropRecords };
                    let at = if plan.drops == 0 { At::DeletePacks } else { drop };
                    let at = if packs_first && plan.drops == 0 { At::Done } else { at };
                    self.step(at, "is through with index objects", |_, me| me.open = 0);
                }
            }
            At::DropRecords => self.step(At::DropSnapshots, "deletes records of forgetting", |next, _| {
                next.forgotten &= !plan.drops;
            }),
            At::DropSnapshots => {
                let at = if packs_first { At::Done } else { At::DeletePacks };
                self.step(at, "deletes dropped snapshots", |next, _| next.snapshots &= !plan.drops);
            }
            At::DeletePacks => {
                let left = plan.sweep & state.packs;
                for pack in bits(left) {
                    let name = format!("deletes {}", pack_names(1 << pack));
                    self.step(At::DeletePacks, &name, |next, _| next.packs &= !(1 << pack));
                }
                if left == 0 || self.model.setup.locked {
                    let at = if packs_first { At::SweepIntent } else { At::Done };
                    self.step(at, "is through with packs", |_, _| ());
                }
            }
            _ => {
                let forget = !self.model.rules.registers_kept;
                self.step(At::End, "is done", |next, me| {
                    next.plans[usize::from(me.plan)].state = PlanState::Done;
                    for writer in (0..2).filter(|_| forget) {
                        if next.register(writer) == Register::Revoked {
                            next.overwrite_register(writer, Register::Absent);
                            next.intents &= !(1 << writer);
                        }
                    }
                });
            }
        }
    }
}

fn session_name(session: usize) -> String {
    match session {
        0 | 1 => format!("writer {session}"),
        super::state::UNDELETE => "the undelete".into(),
        _ if session < sweep_session(0) => format!("the copying of prune {}", session - repack_session(0)),
        _ => format!("the sweep of prune {}", session - sweep_session(0)),
    }
}
