//! How stacks are doing, by what the repository holds: ages, proofs, sizes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use engine::clock::Timestamp;
use engine::id::{DomainId, SnapshotId};
use engine::model::Snapshot;
use engine::repository::Proofs;

use crate::manifest::{Duration, Manifest};

/// How old a last snapshot may get where no manifest says it: a day and some slack.
pub const USUAL_MAX_AGE: std::time::Duration = std::time::Duration::from_secs(26 * 3600);
/// Bytes below which growth and collapse say nothing.
const SMALL_BYTES: u64 = 1 << 20;

/// What somebody has to do about a stack. The numbers are exit codes as Nagios has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Health {
    /// Nothing.
    #[default]
    Good = 0,
    /// Look at it.
    Warning = 1,
    /// It would not come back, or not as it was promised.
    Critical = 2,
}

/// How a stack is doing.
#[derive(Debug, Clone, Default)]
pub struct StackStatus {
    /// Its name.
    pub stack: String,
    /// Listed snapshots.
    pub snapshots: u64,
    /// The newest one and its time.
    pub last: Option<(SnapshotId, Timestamp)>,
    /// How old that is, in seconds.
    pub age: Option<u64>,
    /// How old it may get, in seconds.
    pub max_age: u64,
    /// When a trial restore of any of its snapshots last ended, and whether all came back.
    pub tried: Option<(Timestamp, bool)>,
    /// When one last ended well, and the snapshot that it proved.
    pub proved: Option<(Timestamp, SnapshotId)>,
    /// Sizes of all files of the newest snapshot, and of the one before, in bytes.
    pub bytes: u64,
    /// The same of the one before.
    pub bytes_before: Option<u64>,
    /// What the newest snapshot added to the storage, in bytes.
    pub bytes_added: u64,
    /// Items that the newest snapshot could not read.
    pub problems: u64,
    /// What to do about it.
    pub health: Health,
    /// Why, in words; none if all is good.
    pub reasons: Vec<String>,
}

/// What is promised.
#[derive(Debug, Clone, Default)]
pub struct StatusOptions {
    /// How old a last snapshot may get, whatever manifests say.
    pub max_age: Option<std::time::Duration>,
    /// How old the last proof may get; without it, a stack need not be proved.
    pub max_proof_age: Option<std::time::Duration>,
}

/// How each stack is doing that has snapshots, or is declared. By name, ascending. `snapshots` are the listed ones, the
/// oldest first.
pub fn status(
    snapshots: &[(SnapshotId, Snapshot)],
    proofs: &Proofs,
    declared: &[&Manifest],
    options: &StatusOptions,
    now: Timestamp,
) -> Vec<StackStatus> {
    // Of a write-only client's domain apart: what it adds must not make another's look fresh.
    let mut stacks: BTreeMap<(&str, DomainId), Vec<&(SnapshotId, Snapshot)>> = BTreeMap::new();
    for manifest in declared {
        if !snapshots.iter().any(|(_, of)| of.stack.as_ref().is_some_and(|stack| stack.name == manifest.stack)) {
            stacks.entry((&manifest.stack, DomainId::SHARED)).or_default();
        }
    }
    for entry in snapshots {
        if let Some(stack) = &entry.1.stack {
            stacks.entry((&stack.name, entry.1.domain)).or_default().push(entry);
        }
    }
    let of = |((name, _), snapshots): ((&str, DomainId), Vec<&(SnapshotId, Snapshot)>)| {
        let declared = declared.iter().find(|manifest| manifest.stack == name).copied();
        one(name, &snapshots, proofs, declared, options, now)
    };
    stacks.into_iter().map(of).collect()
}

fn one(
    name: &str,
    snapshots: &[&(SnapshotId, Snapshot)],
    proofs: &Proofs,
    declared: Option<&Manifest>,
    options: &StatusOptions,
    now: Timestamp,
) -> StackStatus {
    let mut status = StackStatus { stack: name.to_owned(), snapshots: snapshots.len() as u64, ..Default::default() };
    let Some((id, last)) = snapshots.last() else {
        status.max_age = promised(declared, None, options);
        status.tell(Health::Critical, "no snapshot".into());
        return status;
    };
    let recorded = last.stack.as_ref().and_then(|stack| Manifest::from_recorded(&stack.manifest).ok());
    status.max_age = promised(declared, recorded.as_ref(), options);
    status.last = Some((*id, last.time));
    let age = since(last.time, now);
    status.age = Some(age);
    (status.bytes, status.bytes_added) = (last.statistics.bytes, last.statistics.bytes_added);
    status.problems = last.statistics.problems;
    let before = snapshots.len().checked_sub(2).map(|at| snapshots[at].1.statistics.bytes);
    status.bytes_before = before;
    if age > status.max_age {
        let health = if age > status.max_age.saturating_mul(2) { Health::Critical } else { Health::Warning };
        status.tell(health, format!("the last snapshot is {} old, and may be {}", hours(age), hours(status.max_age)));
    }
    if status.problems > 0 {
        let text = format!("the last snapshot could not read {} items", status.problems);
        status.tell(Health::Warning, text);
    }
    if let Some(before) = before.filter(|before| (*before).max(status.bytes) > SMALL_BYTES) {
        let change = (status.bytes < before / 2, status.bytes / 2 > before);
        if change.0 || change.1 {
            let verb = if change.0 { "shrank" } else { "grew" };
            let text = format!("it {verb} from {before} to {} bytes since the snapshot before", status.bytes);
            status.tell(Health::Warning, text);
        }
    }
    judge_proofs(&mut status, snapshots, proofs, options, now);
    status
}

fn judge_proofs(
    status: &mut StackStatus,
    snapshots: &[&(SnapshotId, Snapshot)],
    proofs: &Proofs,
    options: &StatusOptions,
    now: Timestamp,
) {
    for (id, snapshot) in snapshots {
        let Some(proof) = proofs.last_of(snapshot) else { continue };
        if status.tried.is_none_or(|(time, _)| time <= proof.finished) {
            status.tried = Some((proof.finished, proof.is_good));
        }
        if proof.is_good && status.proved.is_none_or(|(time, _)| time <= proof.finished) {
            status.proved = Some((proof.finished, *id));
        }
    }
    if status.tried.is_some_and(|(_, is_good)| !is_good) {
        status.tell(Health::Critical, "the last drill failed".into());
    }
    let Some(most) = options.max_proof_age.map(|age| age.as_secs()) else { return };
    match status.proved.map(|(time, _)| since(time, now)) {
        None => status.tell(Health::Warning, "no drill has proved it".into()),
        Some(age) if age > most => {
            status.tell(Health::Warning, format!("the last proof is {} old, and may be {}", hours(age), hours(most)));
        }
        Some(_) => {}
    }
}

impl StackStatus {
    fn tell(&mut self, health: Health, reason: String) {
        self.health = self.health.max(health);
        self.reasons.push(reason);
    }
}

fn promised(declared: Option<&Manifest>, recorded: Option<&Manifest>, options: &StatusOptions) -> u64 {
    let of = |manifest: Option<&Manifest>| manifest?.max_age.as_ref()?.parse::<Duration>().ok().map(|age| age.0);
    options.max_age.or_else(|| of(declared.or(recorded))).unwrap_or(USUAL_MAX_AGE).as_secs()
}

/// Seconds from then to now; none if then is in the future.
fn since(then: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.seconds.saturating_sub(then.seconds)).unwrap_or(0)
}

fn hours(seconds: u64) -> String {
    match seconds / 3600 {
        0 => format!("{} min", seconds / 60),
        hours if hours < 72 => format!("{hours} h"),
        hours => format!("{} days", hours / 24),
    }
}

/// The text that Prometheus' textfile collector reads.
pub fn prometheus(stacks: &[StackStatus]) -> String {
    type Value = fn(&StackStatus) -> Option<i128>;
    const METRICS: [(&str, &str, Value); 10] = [
        ("state", "0 good, 1 warning, 2 critical", |s| Some(s.health as i128)),
        ("snapshots", "listed snapshots", |s| Some(s.snapshots.into())),
        ("last_snapshot_timestamp_seconds", "time of the newest snapshot", |s| s.last.map(|(_, t)| t.seconds.into())),
        ("max_age_seconds", "how old the newest snapshot may get", |s| Some(s.max_age.into())),
        ("last_drill_timestamp_seconds", "when a drill last ended", |s| s.tried.map(|(time, _)| time.seconds.into())),
        ("last_drill_good", "whether all came back then", |s| s.tried.map(|(_, good)| good.into())),
        ("last_proof_timestamp_seconds", "when a drill last ended well", |s| s.proved.map(|(t, _)| t.seconds.into())),
        ("size_bytes", "sizes of all files of the newest snapshot", |s| s.last.map(|_| s.bytes.into())),
        ("added_bytes", "what the newest snapshot added to the storage", |s| s.last.map(|_| s.bytes_added.into())),
        ("problems", "items that the newest snapshot could not read", |s| s.last.map(|_| s.problems.into())),
    ];
    let mut text = String::new();
    for (name, help, value) in METRICS {
        let _ = writeln!(text, "# HELP repo_stack_{name} {help}\n# TYPE repo_stack_{name} gauge");
        for stack in stacks {
            if let Some(value) = value(stack) {
                // Names of stacks have no characters that would need an escape.
                let _ = writeln!(text, "repo_stack_{name}{{stack=\"{}\"}} {value}", stack.stack);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use engine::model::{Content, SnapshotStatistics, StackRecord};
    use engine::repository::Proof;

    use super::*;

    const HOUR: i64 = 3600;

    fn snapshot(name: &str, hour: i64, bytes: u64, max_age: &str) -> (SnapshotId, Snapshot) {
        let manifest = format!(r#"{{"stack":"{name}","persist":{{"a":{{"subpath":"a"}}}}{max_age}}}"#);
        let stack = StackRecord { name: name.into(), manifest, ..Default::default() };
        let snapshot = Snapshot {
            time: Timestamp::new(hour * HOUR, 0),
            host: "host".into(),
            domain: DomainId::SHARED,
            signer: engine::model::Signer::Full,
            paths: Vec::new(),
            root: Content::Inline(hour.to_le_bytes().to_vec()),
            tags: Vec::new(),
            label: None,
            parent: None,
            previous: None,
            sequence: 1,
            statistics: SnapshotStatistics { bytes, ..SnapshotStatistics::default() },
            problems: Vec::new(),
            program: String::new(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            replaces: None,
            original: None,
            user: None,
            started: None,
            finished: None,
            stack: Some(stack),
            copied_from: None,
        };
        (SnapshotId::new([hour as u8; 32]), snapshot)
    }

    fn proof(of: &(SnapshotId, Snapshot), hour: i64, is_good: bool) -> (engine::id::ProofId, Proof) {
        let time = Timestamp::new(hour * HOUR, 0);
        let proof = Proof {
            snapshot: of.0,
            root: of.1.root.clone(),
            started: time,
            finished: time,
            host: String::new(),
            program: String::new(),
            is_good,
            files: 1,
            bytes: 1,
            services: Vec::new(),
            problems: Vec::new(),
        };
        (engine::id::ProofId::new([hour as u8; 32]), proof)
    }

    fn at(snapshots: &[(SnapshotId, Snapshot)], proofs: Vec<(engine::id::ProofId, Proof)>, hour: i64) -> StackStatus {
        let proofs = Proofs { proofs, problems: Vec::new() };
        let options = StatusOptions { max_age: None, max_proof_age: Some(std::time::Duration::from_secs(48 * 3600)) };
        let mut found = status(snapshots, &proofs, &[], &options, Timestamp::new(hour * HOUR, 0));
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    #[test]
    fn ages_are_judged_by_what_is_promised() {
        for (max_age, hour, health) in [
            ("", 36, Health::Good),
            ("", 37, Health::Warning),
            ("", 63, Health::Critical),
            (r#","max_age":"2h""#, 12, Health::Good),
            (r#","max_age":"2h""#, 13, Health::Warning),
            (r#","max_age":"2h""#, 15, Health::Critical),
            // A clock that was ahead.
            ("", 1, Health::Good),
        ] {
            let snapshots = [snapshot("a", 10, 5, max_age)];
            let proofs = vec![proof(&snapshots[0], hour, true)];
            let found = at(&snapshots, proofs, hour);
            assert_eq!(found.health, health, "{max_age} {hour} {:?}", found.reasons);
        }
    }

    #[test]
    fn the_last_drill_counts() {
        let snapshots = [snapshot("a", 10, 5, ""), snapshot("a", 11, 5, "")];
        let found = at(&snapshots, Vec::new(), 12);
        assert_eq!((found.health, found.proved), (Health::Warning, None));
        let good = vec![proof(&snapshots[0], 11, true)];
        assert_eq!(at(&snapshots, good.clone(), 12).proved.map(|(_, id)| id), Some(snapshots[0].0));
        let then_bad = [good.clone(), vec![proof(&snapshots[1], 12, false)]].concat();
        let found = at(&snapshots, then_bad.clone(), 12);
        assert_eq!((found.health, found.proved.is_some()), (Health::Critical, true));
        let then_good = [then_bad, vec![proof(&snapshots[1], 13, true)]].concat();
        assert_eq!(at(&snapshots, then_good, 14).health, Health::Good);
    }

    #[test]
    fn collapse_and_explosion() {
        for (before, now, health) in [
            (100 << 20, 49 << 20, Health::Warning),
            (100 << 20, 51 << 20, Health::Good),
            (10 << 20, 22 << 20, Health::Warning),
            (10, 1000, Health::Good),
        ] {
            let snapshots = [snapshot("a", 10, before, ""), snapshot("a", 11, now, "")];
            let proofs = vec![proof(&snapshots[1], 11, true)];
            assert_eq!(at(&snapshots, proofs, 12).health, health, "{before} {now}");
        }
    }
}
