//! Locks on all that a restore of some snapshots needs, so that nobody can remove it before a time.
//!
//! A storage locks an object for a time that is counted from when it was put, and a snapshot of today needs packs that were
//! put long ago. So locks have to be made longer, again and again: for what is needed (`needs.rs`), and for nothing else,
//! so that a prune gets the rest. No lock ever ends sooner by this (`plan.rs`).
//!
//! It announces nothing, as any reader. What a prune takes away meanwhile is elsewhere, and looked for once more.

mod needs;
mod plan;

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use self::needs::Needs;
use self::plan::Wanted;
use crate::clock::{Clock, Timestamp};
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::SnapshotId;
use crate::model::Snapshot;
use crate::monitor::{ItemAction, Monitor, Problem, ProblemLog};
use crate::repository::Repository;
use crate::storage::{LockMode, ObjectName};

/// How often what is needed is looked for, if some of it is missing: a prune may have put it elsewhere.
const ROUNDS: usize = 2;
/// How many ask the storage at once. Each waits most of the time.
const LANES: usize = 16;
/// So many refusals without one success are not about single objects.
const MOST_REFUSALS: usize = 20;

/// What to lock, and how.
#[derive(Debug, Clone, Copy)]
pub struct RetainOptions {
    /// Until when; whole seconds count.
    pub until: Timestamp,
    /// A lock that ends sooner by so many seconds at most is left as it is.
    pub slack_seconds: i64,
    /// Who may end a lock sooner. One that nobody may end stays like that.
    pub mode: LockMode,
    /// Look and tell, change nothing.
    pub dry_run: bool,
}

/// The locks of objects of one family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FamilyLocks {
    /// Objects that are needed and there.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those whose lock was not enough: it is now, or, in a dry run, would be.
    pub extended: u64,
    /// Bytes of these.
    pub bytes_extended: u64,
    /// Those that were not locked at all.
    pub unlocked: u64,
    /// When the first of the locks ends, as they were found; without those that were none.
    pub first_end: Option<Timestamp>,
}

/// What was locked.
#[derive(Debug, Clone, Default)]
pub struct RetainReport {
    /// By the directory of the family, `config` for itself.
    pub families: BTreeMap<&'static str, FamilyLocks>,
    /// The first of the problems: what is needed and missing or damaged, and what could not be locked.
    pub problems: Vec<Problem>,
    /// How many there were.
    pub problem_count: u64,
}

impl RetainReport {
    /// All families together.
    pub fn total(&self) -> FamilyLocks {
        self.families.values().fold(FamilyLocks::default(), |mut sum, family| {
            sum.objects += family.objects;
            sum.bytes += family.bytes;
            sum.extended += family.extended;
            sum.bytes_extended += family.bytes_extended;
            sum.unlocked += family.unlocked;
            sum.first_end = sum.first_end.into_iter().chain(family.first_end).min();
            sum
        })
    }
}

/// Makes the locks of all that restoring `snapshots` needs last, where they end too soon.
///
/// # Errors
/// `Unsupported` if the storage locks nothing; `Invalid` if the time has passed; what the storage says if it refuses
/// everything; `Interrupted`, `Io`. What was locked before stays so.
pub fn retain(
    repository: &Repository,
    snapshots: &[(SnapshotId, Snapshot)],
    options: &RetainOptions,
    clock: &dyn Clock,
    monitor: &dyn Monitor,
) -> Result<RetainReport> {
    if !repository.storage().capabilities().locks {
        return Err(EngineError::new(ErrorKind::Unsupported, "this storage has no object lock"));
    }
    let now = clock.now();
    if options.until <= now {
        return Err(EngineError::new(ErrorKind::Invalid, "the time until which to lock has passed"));
    }
    let until = Timestamp::new(options.until.seconds, 0);
    let wanted = Wanted { until, slack_seconds: options.slack_seconds, mode: options.mode, now };
    let run = Run { repository, wanted, dry_run: options.dry_run, monitor, shared: Mutex::default() };
    let mut problems = Vec::new();
    for round in 1..=ROUNDS {
        let Needs { objects, problems: mut found, is_missing } = needs::find(repository, snapshots, monitor)?;
        let is_gone = run.lock_all(objects, &mut found)?;
        problems = found;
        if round == ROUNDS || !(is_missing || is_gone) {
            break;
        }
    }
    let log = ProblemLog::new(monitor);
    problems.into_iter().for_each(|problem: Problem| log.add(&problem.path, problem.message));
    let shared = run.shared.into_inner().expect("no holder of this lock panics");
    let (problems, problem_count) = log.finish();
    Ok(RetainReport { families: shared.families, problems, problem_count })
}

struct Run<'a> {
    repository: &'a Repository,
    wanted: Wanted,
    dry_run: bool,
    monitor: &'a dyn Monitor,
    shared: Mutex<Shared>,
}

/// What the lanes know together.
#[derive(Default)]
struct Shared {
    families: BTreeMap<&'static str, FamilyLocks>,
    /// Objects whose lock is known to be enough.
    done: HashSet<ObjectName>,
    /// What the storage refused in this round.
    refused: Vec<(ObjectName, EngineError)>,
    /// Whether it did what it was asked for, once.
    has_worked: bool,
    /// What ends the command.
    failure: Option<EngineError>,
}

impl Run<'_> {
    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().expect("no holder of this lock panics")
    }

    /// Looks at the lock of each object, and makes it last. Whether one of them is gone.
    fn lock_all(&self, mut objects: Vec<(ObjectName, u64)>, problems: &mut Vec<Problem>) -> Result<bool> {
        {
            let shared = self.shared();
            objects.retain(|(name, _)| !shared.done.contains(name));
        }
        self.monitor.stage("looking at locks", Some(objects.len() as u64), None);
        let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..LANES.min(objects.len()) {
                scope.spawn(|| {
                    while let Some((name, len)) = objects.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if stopped.load(Ordering::Relaxed) || !self.lock_one(*name, *len) {
                            stopped.store(true, Ordering::Relaxed);
                            break;
                        }
                    }
                });
            }
        });
        let mut shared = self.shared();
        if let Some(error) = shared.failure.take() {
            return Err(error);
        }
        let mut refused = std::mem::take(&mut shared.refused);
        // What is gone says nothing of the others.
        let refusal = refused.iter().position(|(_, error)| error.kind() != ErrorKind::Missing);
        if let Some(at) = refusal.filter(|_| !shared.has_worked) {
            return Err(refused.swap_remove(at).1);
        }
        let is_gone = refused.iter().any(|(_, error)| error.kind() == ErrorKind::Missing);
        let problem = |(name, error): (ObjectName, EngineError)| Problem {
            path: name.to_string().into_bytes(),
            message: format!("{error}; it is not locked by this"),
        };
        problems.extend(refused.into_iter().map(problem));
        Ok(is_gone)
    }

    /// Whether to go on.
    fn lock_one(&self, name: ObjectName, len: u64) -> bool {
        let result = if self.monitor.cancelled() {
            Err(EngineError::new(ErrorKind::Interrupted, "interrupted"))
        } else {
            self.extend(name, len)
        };
        self.monitor.advance(1, len);
        let Err(error) = result else { return true };
        let mut shared = self.shared();
        let is_missing = error.kind() == ErrorKind::Missing;
        let is_about_all = !is_missing && !shared.has_worked && shared.refused.len() + 1 >= MOST_REFUSALS;
        if is_about_all || matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Unsupported) {
            shared.failure.get_or_insert(error);
            return false;
        }
        shared.refused.push((name, error));
        true
    }

    fn extend(&self, name: ObjectName, len: u64) -> Result<()> {
        let storage = self.repository.storage();
        let present = storage.lock(name)?.filter(|lock| lock.until > self.wanted.now);
        let longer = self.wanted.beyond(present);
        if let Some(lock) = longer.filter(|_| !self.dry_run) {
            storage.retain(name, &lock)?;
        }
        let action = if longer.is_some() { ItemAction::Changed } else { ItemAction::Unchanged };
        if self.monitor.wants_item(action) {
            self.monitor.item(action, name.to_string().as_bytes(), len);
        }
        let mut shared = self.shared();
        shared.has_worked |= longer.is_some() || self.dry_run;
        shared.done.insert(name);
        let family = match name.family().directory() {
            "" => "config",
            directory => directory,
        };
        let locks = shared.families.entry(family).or_default();
        locks.objects += 1;
        locks.bytes += len;
        locks.extended += u64::from(longer.is_some());
        locks.bytes_extended += longer.map_or(0, |_| len);
        locks.unlocked += u64::from(present.is_none());
        locks.first_end = locks.first_end.into_iter().chain(present.map(|lock| lock.until)).min();
        Ok(())
    }
}
