//! Giving space back: what no snapshot needs is removed, beside any number of writers. PROTOCOL.md, chapter 6, is what
//! this does, step by step.
//!
//! One look at everything (`survey.rs`) gives a proposal (`plan.rs`, pure). What is needed of packs that have little of
//! it is copied (`repack.rs`), then the plan is put, sessions are resolved, what turned out to be needed is rescued, and
//! the rest goes (`sweep.rs`). Where nothing can have become unused since the last look, a memo says so (`memo.rs`).
//! Whoever finds a plan open goes on with it, from wherever it stands.

mod memo;
mod plan;
mod repack;
mod survey;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

pub use plan::{MaxUnused, PruneProposal};

use self::memo::Memo;
use self::plan::{Bounds, Noticed};
use self::survey::Survey;
use crate::clock::{Clock, Timestamp};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{PrunePlan, PruneState, PruneVerdict};
use crate::id::{DomainId, PackId, PruneId, SessionId, SnapshotId};
use crate::monitor::{Monitor, Problem, ProblemLog};
use crate::repository::{
    Index, OpenPlan, Plans, Repository, Session, SessionTable, SessionWriter, end_session, has_died, put_plan,
    put_state,
};
use crate::storage::{ObjectFamily, ObjectName, Outcome};

/// How often a prune begins anew because others change what it looks at.
const ROUNDS: usize = 8;

/// What a writer has not touched for so long, and not finished, it never will: a day, in seconds.
const UNFINISHED_SECONDS: i64 = 24 * 60 * 60;

/// How to prune.
pub struct PruneOptions<'a> {
    /// Look and tell, change nothing.
    pub dry_run: bool,
    /// How long forgotten snapshots are kept, in seconds; 0: not at all.
    pub grace_seconds: i64,
    /// How much of what stays may be unused.
    pub max_unused: MaxUnused,
    /// Bytes that may be copied at most.
    pub max_repack: Option<u64>,
    /// Sessions that were open for so many seconds are revoked if they are in the way; 0: all that are.
    pub revoke_after_seconds: i64,
    /// The machine's name.
    pub host: String,
    /// Program and version.
    pub program: String,
    /// Asked while sessions that began before the plan are open: whether to look again, after some time.
    pub wait: &'a (dyn Fn(&[SessionId]) -> bool + Sync),
}

/// What a prune did.
#[derive(Debug, Clone, Default)]
pub struct PruneReport {
    /// What it meant to do; of a dry run, what it would do.
    pub proposal: PruneProposal,
    /// Plans that were carried out to their end, those of others included.
    pub plans_done: u64,
    /// Of these, those that somebody else had begun.
    pub plans_resumed: u64,
    /// Bytes of packs that were copied, as they were put.
    pub bytes_copied: u64,
    /// Packs that were removed.
    pub packs_deleted: u64,
    /// Their bytes.
    pub bytes_freed: u64,
    /// Condemned packs that turned out to be needed.
    pub packs_rescued: u64,
    /// Objects that the storage did not let go, those that are locked among them; they are left to a later prune.
    pub deferred: u64,
    /// Those of them that are locked.
    pub locked: LockedObjects,
    /// Dropped snapshots that are locked. Not zero: their plan waits for them to go, and so do the packs that it condemned.
    pub snapshots_locked: u64,
    /// Sessions that were revoked.
    pub revoked: Vec<SessionId>,
    /// Sessions that have to end before the plan can go on. Not empty: the prune is not finished, and the next one goes
    /// on with it.
    pub waiting_for: Vec<SessionId>,
    /// The first of the problems.
    pub problems: Vec<Problem>,
    /// How many there were.
    pub problem_count: u64,
}

/// What a storage keeps until a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LockedObjects {
    /// How many there are.
    pub objects: u64,
    /// Bytes of the packs among them.
    pub bytes: u64,
    /// When the last of them can go, as far as the storage says.
    pub until: Option<Timestamp>,
}

/// Removes what no snapshot needs, as far as it may be removed yet.
///
/// # Errors
/// `Damaged` if something can't be right: nothing was removed then. `InUse` if other prunes are in the way.
/// `SessionRevoked`, `Unsupported`, `Damaged`, `Interrupted`, `Io`: the next prune goes on from there.
pub fn prune(
    repository: &Repository,
    options: &PruneOptions<'_>,
    clock: &dyn Clock,
    monitor: &dyn Monitor,
) -> Result<PruneReport> {
    repository.require_writable()?;
    let problems = ProblemLog::new(monitor);
    let mut run = Run {
        repository,
        options,
        clock,
        monitor,
        problems: &problems,
        own: HashSet::new(),
        may_copy: true,
        report: PruneReport::default(),
    };
    let ran = run.run();
    // Where it failed, something may be under way that nobody has asked for.
    repository.storage().forget_expected();
    ran?;
    let mut report = run.report;
    (report.problems, report.problem_count) = problems.finish();
    Ok(report)
}

/// One call of prune.
struct Run<'a> {
    repository: &'a Repository,
    options: &'a PruneOptions<'a>,
    clock: &'a dyn Clock,
    monitor: &'a dyn Monitor,
    problems: &'a ProblemLog<'a>,
    /// Sessions of this call.
    own: HashSet<SessionId>,
    /// Whether there is room for copies, as far as is known.
    may_copy: bool,
    report: PruneReport,
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// There is no more to do, or not before sessions have ended.
    Ended,
    /// The storage keeps what has to go first: the plan stays open.
    Blocked,
    /// What was looked at is not so any more.
    Again,
}

/// What became of the sessions that a plan has to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Resolved {
    All,
    Open(Vec<SessionId>),
    /// Nobody knows for how long one of them was open: a new plan is needed.
    Unknown,
}

impl Run<'_> {
    fn run(&mut self) -> Result<()> {
        for _ in 0..ROUNDS {
            match self.round() {
                Ok(Round::Ended | Round::Blocked) => return Ok(()),
                Ok(Round::Again) => {}
                // Every step may be done twice: with more room, all begins anew, and copies nothing.
                Err(error) if is_full(&error) && self.spend_reserve()? => {
                    self.monitor.note("the storage is full: using the reserve, copying nothing");
                    self.may_copy = false;
                }
                Err(error) => return Err(error),
            }
        }
        Err(EngineError::new(ErrorKind::InUse, "other prunes are at work"))
    }

    /// G1: W1 and W2, to load the index and then list `next`, if that is something. Its session is one of this run.
    fn begin(&mut self, next: &[ObjectFamily]) -> Result<Session> {
        let Self { repository, options, clock, .. } = self;
        let session = Session::begin_before(repository, &options.host, &options.program, *clock, next)?;
        self.own.insert(session.id());
        Ok(session)
    }

    fn end(&mut self, session: Session) -> Result<()> {
        let id = session.id();
        session.commit(self.repository, None)?;
        self.own.remove(&id);
        Ok(())
    }

    fn round(&mut self) -> Result<Round> {
        let storage = self.repository.storage();
        if self.options.dry_run {
            storage.expect(&[ObjectFamily::Prune, ObjectFamily::Sessions], &[]);
            let before = self.remembered(&Plans::load(self.repository)?)?;
            let index = self.repository.load_index_before_snapshots(self.monitor)?;
            return self.look(&before, index).map(|_| Round::Ended);
        }
        // A round builds on what it listed itself.
        storage.forget_expected();
        let session = self.begin(&[ObjectFamily::Snapshots, ObjectFamily::Forgotten])?;
        let plans = session.plans().clone();
        let round = match plans.open().first() {
            Some(open) => self.end(session).and_then(|()| self.resume(open)),
            None => match self.look_in(&session) {
                Ok(looked) => self.carry_out(session, &plans, looked),
                Err(error) => self.end(session).and(Err(error)),
            },
        };
        match round {
            // Whoever finishes a plan meanwhile takes away what this was looking at, and then the plan.
            Err(error)
                if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Missing)
                    && Plans::load(self.repository)?.objects() != plans.objects() =>
            {
                Ok(Round::Again)
            }
            round => round,
        }
    }

    fn look_in(&mut self, session: &Session) -> Result<(Option<Survey>, bool)> {
        let before = self.remembered(session.plans())?;
        let index = self.repository.load_index_of(session, self.monitor)?;
        self.look(&before, index)
    }

    /// The scan, and what follows from it; no survey if there is nothing to do.
    fn look(&mut self, before: &Noticed, index: Index) -> Result<(Option<Survey>, bool)> {
        // After the index: what it names was there then.
        self.repository.storage().expect(&[ObjectFamily::Packs], &[]);
        let (inventory, has_news) = self.take_stock(index, before)?;
        let bounds = Bounds {
            max_unused: if self.may_copy { self.options.max_unused } else { MaxUnused::Unlimited },
            max_repack: self.options.max_repack,
            pack_size: self.repository.config().pack_size,
        };
        if let Some(nothing) = Memo::load(self.repository).and_then(|memo| memo.proposal(&inventory, &bounds)) {
            self.report.proposal = nothing;
            return Ok((None, has_news));
        }
        let existing = inventory.snapshots.existing().map(|(id, _)| *id).collect();
        let survey = self.survey(inventory)?;
        let orphans = self.orphans(&survey)?;
        let dropped: Vec<SnapshotId> = survey.dropped.iter().copied().collect();
        self.report.proposal = plan::plan(survey.census.packs(), orphans, dropped, &bounds);
        if self.report.proposal.is_empty() {
            Memo::new(existing, &survey.packs, &self.report.proposal).save(self.repository);
            return Ok((None, has_news));
        }
        Ok((Some(survey), has_news))
    }

    /// From G2 on.
    fn carry_out(&mut self, session: Session, plans: &Plans, looked: (Option<Survey>, bool)) -> Result<Round> {
        let (survey, has_news) = looked;
        let mut number = plans.next_number()?;
        if has_news {
            // What waits for its time must be on record before sessions are waited for: that may take more than this run.
            if self.put_plan(number, Vec::new(), Vec::new())? == Round::Again {
                self.end(session)?;
                return Ok(Round::Again);
            }
            number = number.next().ok_or_else(|| EngineError::damaged("there are no more numbers for plans"))?;
        }
        let Some(survey) = survey else {
            self.end(session)?;
            self.tidy()?;
            return Ok(Round::Ended);
        };
        let mut condemned: HashSet<PackId> = self.report.proposal.condemned().into_iter().collect();
        if self.report.proposal.repack.is_empty() {
            self.end(session)?;
        } else {
            for pack in self.copy(session, &survey)? {
                condemned.remove(&pack);
            }
        }
        drop(survey);
        let mut condemned: Vec<PackId> = condemned.into_iter().collect();
        condemned.sort_unstable();
        let dropped = self.report.proposal.snapshots.clone();
        let round = self.put_plan(number, condemned, dropped)?;
        if round == Round::Ended && self.report.waiting_for.is_empty() {
            self.tidy()?;
        }
        Ok(round)
    }

    fn tidy(&mut self) -> Result<()> {
        self.repository.storage().expect(&[ObjectFamily::Sessions, ObjectFamily::Prune], &[]);
        // Only tidiness.
        let now = self.clock.now();
        let before = Timestamp { seconds: now.seconds.saturating_sub(UNFINISHED_SECONDS), ..now };
        let _ = self.repository.storage().remove_unfinished(before);
        self.remove_old_intents()?;
        self.restock_reserve()
    }

    /// G2: the packs that could not be copied after all.
    fn copy(&mut self, session: Session, survey: &Survey) -> Result<HashSet<PackId>> {
        let wanted: HashSet<&PackId> = self.report.proposal.repack.iter().collect();
        // In the order in which they were listed: what belongs together stays together.
        let mut by_domain: BTreeMap<DomainId, Vec<(PackId, u64)>> = BTreeMap::new();
        for pack in survey.census.packs().iter().filter(|pack| wanted.contains(&pack.id)) {
            by_domain.entry(pack.domain).or_default().push((pack.id, pack.len));
        }
        let all = || by_domain.values().flatten();
        self.monitor.stage("copying", Some(all().count() as u64), Some(all().map(|(_, len)| len).sum()));
        let shared = by_domain.remove(&DomainId::SHARED).unwrap_or_default();
        let mut failed = self.copy_domain(session, survey, &shared)?;
        for (domain, packs) in by_domain {
            let Self { repository, options, clock, .. } = self;
            let session = Session::begin_in(repository, domain, &options.host, &options.program, *clock)?;
            self.own.insert(session.id());
            if session.plans().open().is_empty() {
                failed.extend(self.copy_domain(session, survey, &packs)?);
            } else {
                // Somebody else's plan may have packs of these.
                self.end(session)?;
                failed.extend(packs.iter().map(|(id, _)| *id));
            }
        }
        Ok(failed)
    }

    /// The same for packs of one domain, which is the session's.
    fn copy_domain(&mut self, session: Session, survey: &Survey, packs: &[(PackId, u64)]) -> Result<HashSet<PackId>> {
        let id = session.id();
        let writer = SessionWriter::for_copies(self.repository, &survey.index, session)?;
        let copied = repack::copy(&writer, &survey.census, packs, self.problems);
        self.report.bytes_copied += writer.statistics.bytes_added.load(std::sync::atomic::Ordering::Relaxed);
        match copied {
            Ok(failed) => {
                writer.commit(None)?;
                self.own.remove(&id);
                Ok(failed)
            }
            Err(error) => {
                if !writer.has_failed() && writer.commit(None).is_ok() {
                    self.own.remove(&id);
                }
                Err(error)
            }
        }
    }

    /// G3: puts a plan, and goes on with it if it is the one that holds.
    fn put_plan(&mut self, number: PruneId, condemned: Vec<PackId>, dropped: Vec<SnapshotId>) -> Result<Round> {
        let program = self.options.program.clone();
        let plan = PrunePlan { number, time: self.clock.now(), program, condemned, dropped };
        let outcome = put_plan(self.repository, &plan)?;
        // From here on only what is listed after the plan counts.
        self.repository.storage().forget_expected();
        if outcome == Outcome::Existed {
            return Ok(Round::Again);
        }
        if self.is_over(number)? {
            return Ok(Round::Again);
        }
        self.finish(&plan, None)
    }

    /// Whether others used this number and cleared away what they had put, while this prune was suspended. To be asked
    /// after something of that number was put: if it was not there, that may be because it is over.
    fn is_over(&self, number: PruneId) -> Result<bool> {
        Ok(Plans::load(self.repository)?.done().iter().any(|done| *done >= number))
    }

    /// Goes on with a plan that was there.
    fn resume(&mut self, open: &OpenPlan) -> Result<Round> {
        let Some(plan) = open.plan() else {
            return Err(EngineError::damaged(format!("plan {} of prune can't be read", open.number())));
        };
        // What is looked at again must be of after all sessions have ended.
        self.repository.storage().forget_expected();
        // Whoever put them may have died before they would last, and what follows from them does.
        self.repository.storage().persist(ObjectName::PrunePlan(plan.number))?;
        if open.verdict().is_some() {
            self.repository.storage().persist(ObjectName::PruneState(plan.number))?;
        }
        let round = self.finish(plan, open.verdict())?;
        if round == Round::Ended && self.report.waiting_for.is_empty() {
            self.report.plans_resumed += 1;
            return Ok(Round::Again);
        }
        Ok(round)
    }

    /// G4 to G10.
    fn finish(&mut self, plan: &PrunePlan, verdict: Option<&PruneVerdict>) -> Result<Round> {
        let verdict = match verdict {
            Some(verdict) => verdict.clone(),
            None => match self.decide(plan)? {
                Some(verdict) => verdict,
                None if self.report.waiting_for.is_empty() => return Ok(Round::Again),
                None => return Ok(Round::Ended),
            },
        };
        let PruneVerdict::Sweep { rescued } = verdict else { return Ok(Round::Again) };
        self.report.packs_rescued += rescued.len() as u64;
        let is_swept = |pack: &PackId| rescued.binary_search(pack).is_err();
        let swept: Vec<PackId> = plan.condemned.iter().copied().filter(is_swept).collect();
        let freed = if does_nothing(plan) { Some(0) } else { self.sweep(plan, &swept)? };
        let Some(freed) = freed else { return Ok(Round::Blocked) };
        self.report.bytes_freed += freed;
        let before = self.remembered(&Plans::load(self.repository)?)?;
        let sessions = SessionTable::load(self.repository)?;
        let noticed = self.notice(&before, &sessions, self.existing_on_record()?);
        self.conclude(plan.number, &noticed, freed)?;
        self.report.plans_done += u64::from(!does_nothing(plan));
        Ok(Round::Ended)
    }

    /// G4 to G7. `None`: sessions are in the way, or the plan is not to be carried out.
    fn decide(&mut self, plan: &PrunePlan) -> Result<Option<PruneVerdict>> {
        let mut verdict = PruneVerdict::Sweep { rescued: Vec::new() };
        if !does_nothing(plan) {
            match self.resolve(plan)? {
                Resolved::All => {}
                Resolved::Open(sessions) => {
                    self.report.waiting_for = sessions;
                    return Ok(None);
                }
                Resolved::Unknown => {
                    put_state(self.repository, &PruneState { number: plan.number, verdict: PruneVerdict::Cancelled })?;
                    return Ok(None);
                }
            }
            match self.rescue(plan) {
                Ok(rescued) => verdict = PruneVerdict::Sweep { rescued },
                Err(error) => {
                    // Somebody else may have decided meanwhile, and be sweeping what this was looking at.
                    let plans = Plans::load(self.repository)?;
                    let same = plans.open().iter().any(|open| open.number() == plan.number && open.verdict().is_none());
                    let is_transient = matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Missing);
                    return if is_transient && !same { Ok(None) } else { Err(error) };
                }
            }
        }
        let verdict = put_state(self.repository, &PruneState { number: plan.number, verdict })?;
        Ok(if self.is_over(plan.number)? { None } else { Some(verdict) })
    }

    /// G4 and G5: all sessions that are open now have to end.
    fn resolve(&mut self, plan: &PrunePlan) -> Result<Resolved> {
        let mut open: Vec<SessionId> = SessionTable::load(self.repository)?.open().collect();
        open.sort_unstable();
        let may_revoke = self.repository.storage().capabilities().put_if_absent;
        let after = self.options.revoke_after_seconds;
        loop {
            let before = self.remembered(&Plans::load(self.repository)?)?;
            let now = self.clock.now();
            for session in &open {
                if self.own.contains(session) {
                    // There was no room to end it. It is the only writer of that register.
                    end_session(self.repository, *session)?;
                    continue;
                }
                let is_over = may_revoke
                    && (before.is_idle(session, now, after) || has_died(self.repository, *session, &self.options.host));
                if is_over && end_session(self.repository, *session)? {
                    self.report.revoked.push(*session);
                }
            }
            let sessions = SessionTable::load(self.repository)?;
            // What others decided is built upon from here: it must not come back undecided.
            for session in open.iter().filter(|session| !sessions.is_open(**session)) {
                self.repository.storage().persist(ObjectName::Register(*session))?;
            }
            open.retain(|session| sessions.is_open(*session));
            if open.is_empty() {
                return Ok(Resolved::All);
            }
            if self.monitor.cancelled() {
                return Err(EngineError::new(ErrorKind::Interrupted, "interrupted"));
            }
            if !(self.options.wait)(&open) {
                let is_unknown = |session: &SessionId| !before.sessions.contains_key(session);
                let is_old = now.seconds.saturating_sub(plan.time.seconds) >= after;
                return Ok(if is_old && may_revoke && open.iter().any(is_unknown) {
                    Resolved::Unknown
                } else {
                    Resolved::Open(open)
                });
            }
        }
    }
}

/// Whether a plan only says what was noticed.
fn does_nothing(plan: &PrunePlan) -> bool {
    plan.condemned.is_empty() && plan.dropped.is_empty()
}

/// Whether the storage has no room left.
fn is_full(error: &EngineError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if matches!(kind, Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        cause = error.source();
    }
    false
}
