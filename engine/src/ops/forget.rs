//! Forgetting snapshots: first a plan, which is data and can be shown, then one record for each snapshot of it.
//!
//! It removes nothing, and it needs no session, since it makes nothing count: PROTOCOL.md, chapter 4. A forgotten
//! snapshot stays whole until a prune drops it.

use std::collections::{BTreeMap, BTreeSet};

use super::list::{SnapshotFilter, choose, load};
use crate::clock::{Clock, Timestamp};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{ForgottenRecord, WhyForgotten};
use crate::id::SnapshotId;
use crate::model::Snapshot;
use crate::monitor::{Monitor, Problem};
use crate::repository::{Proofs, Repository, SnapshotSet, put_record, read_record};
use crate::retention::{Candidate, DropReason, GroupBy, GroupKey, KeepReason, Policy, Request, Verdict, retain};
use crate::storage::{ObjectName, Outcome};

/// What becomes of a snapshot, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The policy keeps it.
    Keep(Vec<KeepReason>),
    /// The policy does not keep it, but of its stack it is the last that a drill has proved.
    KeepProved,
    /// The policy does not keep it.
    Drop(Vec<DropReason>),
    /// It was named.
    Named,
    /// It was named, and forgotten at that time already.
    ForgottenBefore(Timestamp),
}

impl Fate {
    /// Whether it is to be forgotten now.
    pub fn is_forgotten_now(&self) -> bool {
        matches!(self, Self::Drop(_) | Self::Named)
    }
}

/// A snapshot in a plan.
#[derive(Debug, Clone)]
pub struct PlannedSnapshot {
    /// The snapshot's id.
    pub id: SnapshotId,
    /// What it says about itself.
    pub snapshot: Snapshot,
    /// What becomes of it.
    pub fate: Fate,
}

/// Snapshots that were judged together.
#[derive(Debug, Clone)]
pub struct PlannedGroup {
    /// What they have in common; `None` for snapshots that were named.
    pub key: Option<GroupKey>,
    /// Newest first, or as they were named.
    pub snapshots: Vec<PlannedSnapshot>,
}

/// What is to be forgotten, and what is not.
#[derive(Debug, Clone, Default)]
pub struct ForgetPlan {
    /// By key, ascending.
    pub groups: Vec<PlannedGroup>,
    /// Tags of the policy that no listed snapshot has, ascending: as long as it names one, all with a tag are kept.
    pub unknown_tags: Vec<String>,
    /// Snapshots and records that can't be read: nothing was planned for these.
    pub problems: Vec<Problem>,
}

impl ForgetPlan {
    /// Every snapshot that the plan looks at.
    pub fn snapshots(&self) -> impl Iterator<Item = &PlannedSnapshot> {
        self.groups.iter().flat_map(|group| &group.snapshots)
    }

    /// Those that are to be forgotten now.
    pub fn dropped(&self) -> impl Iterator<Item = SnapshotId> {
        self.snapshots().filter(|planned| planned.fate.is_forgotten_now()).map(|planned| planned.id)
    }

    /// How many are kept.
    pub fn kept(&self) -> u64 {
        self.snapshots().filter(|planned| matches!(planned.fate, Fate::Keep(_) | Fate::KeepProved)).count() as u64
    }
}

/// A policy, and which snapshots it is about.
pub struct PolicyRequest<'a> {
    /// What to keep.
    pub policy: &'a Policy,
    /// What makes a group.
    pub group_by: GroupBy,
    /// Which snapshots; the others are left alone.
    pub filter: &'a SnapshotFilter,
    /// Whether a group may be left without snapshots.
    pub may_empty_groups: bool,
    /// Now: snapshots from the future are kept.
    pub now: Timestamp,
    /// What the wall clock is ahead of UTC at a time, in seconds: it decides which day that is.
    pub utc_offset: &'a dyn Fn(Timestamp) -> i32,
}

/// What a policy keeps and drops. Forgotten snapshots are not looked at.
///
/// # Errors
/// `Refused` if it keeps nothing, or nothing of a group, and the request does not allow that; `Io`.
pub fn plan_policy(repository: &Repository, request: &PolicyRequest<'_>) -> Result<ForgetPlan> {
    let set = load(repository)?;
    let proved = last_proved(repository, &set)?;
    let known_tags: BTreeSet<String> = set.snapshots.iter().flat_map(|(_, s)| s.tags.iter().cloned()).collect();
    let mut chosen: BTreeMap<SnapshotId, Snapshot> =
        set.snapshots.into_iter().filter(|(_, snapshot)| request.filter.matches(snapshot)).collect();
    let candidates: Vec<Candidate> = chosen
        .iter()
        .map(|(id, snapshot)| Candidate::new(*id, snapshot, (request.utc_offset)(snapshot.time)))
        .collect();
    let retention = retain(
        &candidates,
        &Request {
            policy: request.policy,
            group_by: request.group_by,
            now: request.now,
            known_tags: &known_tags,
            may_empty_groups: request.may_empty_groups,
        },
    )
    .map_err(|refusal| EngineError::new(ErrorKind::Refused, refusal.to_string()))?;
    let groups = retention.groups.into_iter().map(|group| {
        let planned = group.decisions.into_iter().filter_map(|decision| {
            let fate = match decision.verdict {
                Verdict::Keep(reasons) => Fate::Keep(reasons),
                Verdict::Drop(_) if proved.contains(&decision.id) => Fate::KeepProved,
                Verdict::Drop(reasons) => Fate::Drop(reasons),
            };
            Some(PlannedSnapshot { id: decision.id, snapshot: chosen.remove(&decision.id)?, fate })
        });
        PlannedGroup { key: Some(group.key), snapshots: planned.collect() }
    });
    Ok(ForgetPlan { groups: groups.collect(), unknown_tags: retention.unknown_tags, problems: set.problems })
}

/// Of each stack, the newest listed snapshot that a drill has proved: without it nobody knows of any that it comes back. A
/// stack is one of its domain: a write-only client can call its own like another's.
fn last_proved(repository: &Repository, set: &SnapshotSet) -> Result<BTreeSet<SnapshotId>> {
    let proofs = Proofs::load(repository)?;
    let mut last = BTreeMap::new();
    for (id, snapshot) in set.snapshots.iter().filter(|(_, snapshot)| proofs.proves(snapshot)) {
        last.insert((snapshot.stack.as_ref().map(|stack| stack.name.clone()), snapshot.domain), *id);
    }
    Ok(last.into_values().collect())
}

/// A plan to forget the snapshots of these names (see [`super::find_snapshot`]), whatever else there is.
///
/// # Errors
/// `NotFound`, also for a snapshot that was replaced; `Refused` for the last of its stack that a drill has proved;
/// `Ambiguous`, `Invalid`, `Damaged`, `Io`.
pub fn plan_named(repository: &Repository, names: &[String], filter: &SnapshotFilter) -> Result<ForgetPlan> {
    let set = load(repository)?;
    let proved = last_proved(repository, &set)?;
    let mut snapshots: Vec<PlannedSnapshot> = Vec::with_capacity(names.len());
    for name in names {
        let (id, snapshot) = choose(&set, name, filter)?;
        if snapshots.iter().any(|planned| planned.id == id) {
            continue;
        }
        let fate = match set.records.get(&id) {
            Some(record) => Fate::ForgottenBefore(record.time),
            None => Fate::Named,
        };
        if fate == Fate::Named
            && let Some(newer) = set.replacement_of(id, snapshot.domain)
        {
            // It is not listed anyway; what the person sees of it is the newer one.
            return Err(EngineError::new(ErrorKind::NotFound, format!("snapshot {id} was replaced by {newer}")));
        }
        if fate == Fate::Named && proved.contains(&id) {
            let text =
                format!("snapshot {id} is the last of its stack that a drill has proved: drill a newer one first");
            return Err(EngineError::new(ErrorKind::Refused, text));
        }
        snapshots.push(PlannedSnapshot { id, snapshot, fate });
    }
    Ok(ForgetPlan { groups: vec![PlannedGroup { key: None, snapshots }], ..ForgetPlan::default() })
}

/// What was forgotten.
#[derive(Debug, Clone, Default)]
pub struct ForgetReport {
    /// Those that were forgotten now, in the order of the plan.
    pub forgotten: Vec<SnapshotId>,
    /// Those that somebody else forgot since the plan was made.
    pub before: Vec<SnapshotId>,
    /// Those that have a damaged record, which can't be replaced. They stay listed.
    pub problems: Vec<Problem>,
}

/// Carries out a plan: one write for each snapshot that it drops, and nothing else. `host` and `program` say in the
/// records who did it.
///
/// # Errors
/// `Unsupported`, `Interrupted`, `Io`; what was forgotten before stays so.
pub fn forget(
    repository: &Repository,
    plan: &ForgetPlan,
    host: &str,
    program: &str,
    clock: &dyn Clock,
    monitor: &dyn Monitor,
) -> Result<ForgetReport> {
    repository.require_writable()?;
    let mut report = ForgetReport::default();
    for id in plan.dropped() {
        if monitor.cancelled() {
            return Err(EngineError::new(ErrorKind::Interrupted, "interrupted"));
        }
        let record = ForgottenRecord {
            snapshot: id,
            time: clock.now(),
            why: WhyForgotten::Forgotten,
            host: Some(host.to_owned()),
            program: Some(program.to_owned()),
        };
        if put_record(repository, &record)? == Outcome::Written {
            report.forgotten.push(id);
            continue;
        }
        match read_record(repository, id) {
            Ok(_) => report.before.push(id),
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(error) => {
                let path = ObjectName::Forgotten(id).to_string().into_bytes();
                let problem = Problem { path, message: format!("{error}; snapshot {id} is not forgotten") };
                monitor.problem(&problem);
                report.problems.push(problem);
            }
        }
    }
    Ok(report)
}
