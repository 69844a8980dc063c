//! Which snapshots a policy keeps: restic's rules as a pure function, with a reason for every snapshot.
//!
//! It knows no repository and no clock. What restic documents holds here: rules are or-ed, each group is judged by
//! itself, only periods that have snapshots are counted, the newest of a period is kept, and a counting rule that has
//! not used up its number keeps the oldest snapshot as well. `engine/tests/retention_restic.rs` compares with answers
//! of the real restic. In four things it differs, each time to keep more:
//!
//! - A snapshot from the future (by the clock of whoever asks) is kept and not counted. With restic, a machine whose
//!   clock ran ahead once uses up the numbers, and the snapshots of today go.
//! - A tag that no snapshot has is likely misspelt. While the policy names one, every snapshot with any tag is kept,
//!   since it may be the one that was meant; others are judged as ever.
//! - A policy without rules is refused, and so is one that leaves a group without snapshots, unless told so.
//! - Snapshots of the same time are ordered by their number on the host and by id, so that the answer does not depend
//!   on the order in which they were read.
//!
//! Periods are those of the wall clock: the offset from UTC comes in with each snapshot. A duration goes back from
//! the newest snapshot of the group that is not in the future, on its wall clock; a day that a month does not have
//! runs over into the next month, as it does in restic (a month before March 31st is March 3rd, or 2nd).

mod calendar;
mod policy;
mod reason;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::clock::Timestamp;
use crate::id::{DomainId, SnapshotId};
use crate::model::{Signer, Snapshot};
use calendar::{Limit, WallClock};

pub use policy::{Count, GroupBy, ParseError, Policy, Span, TagList};
pub use reason::{DropReason, KeepReason, Period};

/// What retention looks at in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The snapshot.
    pub id: SnapshotId,
    /// The time it stands for.
    pub time: Timestamp,
    /// What the wall clock was ahead of UTC at that time, in seconds: it decides which day it was.
    pub utc_offset_seconds: i32,
    /// Counts up on its host.
    pub sequence: u64,
    /// The machine it was taken on.
    pub host: String,
    /// What was asked for.
    pub paths: Vec<Vec<u8>>,
    /// One name for a series of snapshots.
    pub label: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// The stack that it is of.
    pub stack: Option<String>,
    /// The deduplication domain that it is in: others are judged apart.
    pub domain: DomainId,
    /// Who made it: write-only clients are not believed what times they say.
    pub signer: Signer,
}

impl Candidate {
    /// What retention looks at in `snapshot`; `utc_offset_seconds` is that of its time where periods are meant.
    pub fn new(id: SnapshotId, snapshot: &Snapshot, utc_offset_seconds: i32) -> Self {
        Self {
            id,
            time: snapshot.time,
            utc_offset_seconds,
            sequence: snapshot.sequence,
            host: snapshot.host.clone(),
            paths: snapshot.paths.clone(),
            label: snapshot.label.clone(),
            tags: snapshot.tags.clone(),
            stack: snapshot.stack.as_ref().map(|stack| stack.name.clone()),
            domain: snapshot.domain,
            signer: snapshot.signer,
        }
    }

    fn wall_clock(&self) -> WallClock {
        WallClock::new(self.time, self.utc_offset_seconds)
    }
}

/// What to apply a policy with.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// What to keep.
    pub policy: &'a Policy,
    /// What makes a group.
    pub group_by: GroupBy,
    /// The time at which the question is asked: later snapshots are from the future.
    pub now: Timestamp,
    /// Every tag that a snapshot of the repository has, also of those that the question is not about. A tag of the
    /// policy that is not among them is unknown.
    pub known_tags: &'a BTreeSet<String>,
    /// Whether a group may be left without snapshots, and all dropped by a policy without rules.
    pub may_empty_groups: bool,
}

/// What the snapshots of a group have in common. A key that is not grouped by is `None`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    /// The stack, of snapshots of one.
    pub stack: Option<String>,
    /// The machine.
    pub host: Option<String>,
    /// The label; `Some(None)` for those without one.
    pub label: Option<Option<String>>,
    /// The paths, ascending, each once.
    pub paths: Option<Vec<Vec<u8>>>,
    /// The tags, ascending, each once.
    pub tags: Option<Vec<String>>,
    /// The domain: whoever may add to one can't have anything dropped in another.
    pub domain: DomainId,
}

impl GroupKey {
    fn of(candidate: &Candidate, by: GroupBy) -> Self {
        fn set<T: Ord + Clone>(values: &[T]) -> Vec<T> {
            values.iter().cloned().collect::<BTreeSet<T>>().into_iter().collect()
        }
        let stack = candidate.stack.clone().filter(|_| by.stack);
        // A stack that moved is the same stack.
        let is_of_none = stack.is_none();
        Self {
            stack,
            host: (by.host && is_of_none).then(|| candidate.host.clone()),
            label: by.label.then(|| candidate.label.clone()),
            paths: (by.paths && is_of_none).then(|| set(&candidate.paths)),
            tags: by.tags.then(|| set(&candidate.tags)),
            domain: candidate.domain,
        }
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.stack.as_ref().map(|stack| format!("stack {stack}")));
        parts.extend(self.host.as_ref().map(|host| format!("host {host}")));
        parts.extend(self.label.iter().flatten().map(|label| format!("label {label}")));
        if let Some(paths) = &self.paths {
            let paths: Vec<_> = paths.iter().map(|path| String::from_utf8_lossy(path)).collect();
            parts.push(format!("paths {}", paths.join(" ")));
        }
        if let Some(tags) = &self.tags {
            parts.push(if tags.is_empty() { "no tags".into() } else { format!("tags {}", tags.join(",")) });
        }
        if self.domain != DomainId::SHARED {
            parts.push(format!("domain {}", &self.domain.to_hex()[..8]));
        }
        f.write_str(&if parts.is_empty() { "all snapshots".into() } else { parts.join(", ") })
    }
}

/// Kept or dropped, and why. The reasons are never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// At least one rule keeps it: all that do.
    Keep(Vec<KeepReason>),
    /// No rule keeps it: what each of them says.
    Drop(Vec<DropReason>),
}

/// What becomes of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The snapshot.
    pub id: SnapshotId,
    /// What becomes of it.
    pub verdict: Verdict,
}

impl Decision {
    /// Whether it is kept.
    pub fn is_kept(&self) -> bool {
        matches!(self.verdict, Verdict::Keep(_))
    }
}

/// What becomes of the snapshots of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What they have in common.
    pub key: GroupKey,
    /// Newest first.
    pub decisions: Vec<Decision>,
}

impl Group {
    /// How many are kept.
    pub fn kept(&self) -> usize {
        self.decisions.iter().filter(|decision| decision.is_kept()).count()
    }

    /// How many are dropped.
    pub fn dropped(&self) -> usize {
        self.decisions.len() - self.kept()
    }
}

/// What becomes of every snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// By key, ascending; none is empty.
    pub groups: Vec<Group>,
    /// Tags of the policy that no snapshot has, ascending: people should be told.
    pub unknown_tags: Vec<String>,
}

impl Retention {
    /// Those that are dropped, group by group, newest first.
    pub fn dropped(&self) -> impl Iterator<Item = SnapshotId> + '_ {
        let all = self.groups.iter().flat_map(|group| &group.decisions);
        all.filter(|decision| !decision.is_kept()).map(|decision| decision.id)
    }

    /// How many are kept.
    pub fn kept(&self) -> usize {
        self.groups.iter().map(Group::kept).sum()
    }
}

/// Why a policy is not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has no rules, or only some that ask for nothing.
    #[error("the policy keeps nothing")]
    KeepsNothing,
    /// It would leave these groups without snapshots.
    #[error("the policy would drop every snapshot of {}", list(.0))]
    EmptiesGroups(Vec<GroupKey>),
}

fn list(keys: &[GroupKey]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What becomes of each of `candidates`, whose order does not matter.
///
/// # Errors
/// If the policy keeps nothing, or nothing of a group, unless the request allows that.
pub fn retain(candidates: &[Candidate], request: &Request<'_>) -> Result<Retention, Refusal> {
    let policy = request.policy;
    if policy.is_empty() && !request.may_empty_groups {
        return Err(Refusal::KeepsNothing);
    }
    let named = policy.keep_tags.iter().flat_map(|list| &list.tags);
    let unknown: BTreeSet<&String> = named.filter(|tag| !request.known_tags.contains(*tag)).collect();
    let unknown_tags: Vec<String> = unknown.into_iter().cloned().collect();

    let mut grouped: BTreeMap<GroupKey, Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates {
        grouped.entry(GroupKey::of(candidate, request.group_by)).or_default().push(candidate);
    }
    let groups: Vec<Group> = grouped
        .into_iter()
        .map(|(key, mut members)| {
            members.sort_by_key(|member| std::cmp::Reverse((member.time, member.sequence, member.id)));
            Group { key, decisions: judge(&members, policy, request.now, unknown_tags.first()) }
        })
        .collect();
    let emptied: Vec<GroupKey> =
        groups.iter().filter(|group| group.kept() == 0).map(|group| group.key.clone()).collect();
    if !emptied.is_empty() && !request.may_empty_groups {
        return Err(Refusal::EmptiesGroups(emptied));
    }
    Ok(Retention { groups, unknown_tags })
}

/// Judges one group, newest first.
fn judge(members: &[&Candidate], policy: &Policy, now: Timestamp, unknown_tag: Option<&String>) -> Vec<Decision> {
    let past = members.partition_point(|member| member.time > now);
    let (future, past) = members.split_at(past);
    let back_dated = back_dated(past);
    let (claimed, past): (Vec<&Candidate>, Vec<&Candidate>) =
        past.iter().partition(|member| back_dated.contains(&member.id));
    let mut rules = Rules::new(policy, past.first().copied());
    let mut decisions = Vec::with_capacity(members.len());
    for member in future {
        decisions.push(Decision { id: member.id, verdict: Verdict::Keep(vec![KeepReason::Future]) });
    }
    for member in claimed {
        decisions.push(Decision { id: member.id, verdict: Verdict::Keep(vec![KeepReason::BackDated]) });
    }
    for (position, member) in past.iter().enumerate() {
        let (mut keep, mut drop) = rules.judge(member, position, position + 1 == past.len());
        if let Some(tag) = unknown_tag.filter(|_| !member.tags.is_empty()) {
            keep.push(KeepReason::UnknownTag(tag.clone()));
        }
        if policy.is_empty() {
            drop.push(DropReason::NoRule);
        }
        let verdict = if keep.is_empty() { Verdict::Drop(drop) } else { Verdict::Keep(keep) };
        decisions.push(Decision { id: member.id, verdict });
    }
    if !back_dated.is_empty() {
        let place: BTreeMap<SnapshotId, usize> =
            members.iter().zip(0..).map(|(member, place)| (member.id, place)).collect();
        decisions.sort_by_key(|decision| place[&decision.id]);
    }
    decisions
}

/// What a write-only client made, by its own count, after something that it said was later; and what shares its number with
/// another, which no honest one does twice. Whoever has its key could make snapshots for days that have gone, and have those
/// dropped that are really of these days. So they don't count, and stay.
fn back_dated(members: &[&Candidate]) -> BTreeSet<SnapshotId> {
    let mut claims: Vec<&Candidate> = members.iter().filter(|member| member.signer != Signer::Full).copied().collect();
    claims.sort_by_key(|member| (member.signer, member.sequence, member.time, member.id));
    let mut found = BTreeSet::new();
    for of_one in claims.chunk_by(|a, b| a.signer == b.signer) {
        let mut latest = None;
        for same in of_one.chunk_by(|a, b| a.sequence == b.sequence) {
            let is_claim = |member: &&&Candidate| same.len() > 1 || latest.is_some_and(|latest| member.time < latest);
            found.extend(same.iter().filter(is_claim).map(|member| member.id));
            latest = latest.max(same.last().map(|member| member.time));
        }
    }
    found
}

/// The rules of a policy, and how far they got in a group that is judged from its newest snapshot to its oldest.
struct Rules<'a> {
    keep_tags: &'a [TagList],
    within: Option<(Span, Limit)>,
    counted: Vec<Counted>,
    counted_within: Vec<CountedWithin>,
}

struct Counted {
    period: Period,
    left: Count,
    seen: Option<Seen>,
}

struct CountedWithin {
    period: Period,
    span: Span,
    limit: Limit,
    seen: Option<Seen>,
}

/// The last snapshot that a rule kept, and the number of its period.
#[derive(Clone, Copy)]
struct Seen {
    period: i64,
    id: SnapshotId,
}

impl<'a> Rules<'a> {
    /// Durations go back from `newest`; without one there is nothing to judge.
    fn new(policy: &'a Policy, newest: Option<&Candidate>) -> Self {
        let before = |span: Span| Some((span, newest?.wall_clock().before(span)));
        Self {
            keep_tags: &policy.keep_tags,
            within: policy.within().and_then(before),
            counted: policy
                .counts()
                .filter(|(_, count)| count.is_set())
                .map(|(period, left)| Counted { period, left, seen: None })
                .collect(),
            counted_within: policy
                .spans()
                .filter_map(|(period, span)| {
                    let (span, limit) = before(span?)?;
                    Some(CountedWithin { period, span, limit, seen: None })
                })
                .collect(),
        }
    }

    /// What keeps a snapshot, and what does not.
    fn judge(&mut self, member: &Candidate, position: usize, oldest: bool) -> (Vec<KeepReason>, Vec<DropReason>) {
        let (mut keep, mut drop) = (Vec::new(), Vec::new());
        let fitting = self.keep_tags.iter().filter(|list| list.fits(&member.tags));
        keep.extend(fitting.cloned().map(KeepReason::Tags));
        if keep.is_empty() && !self.keep_tags.is_empty() {
            drop.push(DropReason::LacksTags);
        }
        if let Some((span, limit)) = self.within {
            match limit.is_before(member.time) {
                true => keep.push(KeepReason::Within(span)),
                false => drop.push(DropReason::OlderThan(None, span)),
            }
        }
        let wall_clock = member.wall_clock();
        for rule in &mut self.counted {
            match rule.judge(wall_clock, member.id, position, oldest) {
                Ok(reason) => keep.push(reason),
                Err(reason) => drop.push(reason),
            }
        }
        for rule in &mut self.counted_within {
            match rule.judge(wall_clock, member, position, oldest) {
                Ok(reason) => keep.push(reason),
                Err(reason) => drop.push(reason),
            }
        }
        (keep, drop)
    }
}

impl Counted {
    fn judge(
        &mut self,
        wall_clock: WallClock,
        id: SnapshotId,
        position: usize,
        oldest: bool,
    ) -> Result<KeepReason, DropReason> {
        if !self.left.is_set() {
            return Err(DropReason::CountUsedUp(self.period));
        }
        let period = self.period.number(wall_clock, position);
        let same = self.seen.filter(|seen| seen.period == period);
        if let Some(seen) = same.filter(|_| !oldest) {
            return Err(DropReason::NewerInPeriod(self.period, seen.id));
        }
        self.seen = Some(Seen { period, id });
        self.left.take_one();
        Ok(KeepReason::Counted { period: self.period, oldest: same.is_some() })
    }
}

impl CountedWithin {
    fn judge(
        &mut self,
        wall_clock: WallClock,
        member: &Candidate,
        position: usize,
        oldest: bool,
    ) -> Result<KeepReason, DropReason> {
        if !self.limit.is_before(member.time) {
            return Err(DropReason::OlderThan(Some(self.period), self.span));
        }
        let period = self.period.number(wall_clock, position);
        let same = self.seen.filter(|seen| seen.period == period);
        if let Some(seen) = same.filter(|_| !oldest) {
            return Err(DropReason::NewerInPeriod(self.period, seen.id));
        }
        self.seen = Some(Seen { period, id: member.id });
        Ok(KeepReason::CountedWithin { period: self.period, span: self.span, oldest: same.is_some() })
    }
}
