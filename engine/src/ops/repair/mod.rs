//! Repairs: what damage left is made whole again as far as it goes. format-spec/PROTOCOL.md, chapter 6, "Repair".
//!
//! Each is a session that only adds: packs, index objects, snapshots. It removes nothing, replaces nothing that can be
//! read with something that holds less, and writes nothing where nothing is broken. The order is index, packs,
//! snapshots: each builds on what the one before it made known.

mod index;
mod packs;
mod snapshots;

pub use index::{IndexRepair, repair_index};
pub use packs::{PackRepair, PacksRepair, repair_packs};
pub use snapshots::{SnapshotRepair, SnapshotsRepair, repair_snapshots};

use crate::clock::Clock;
use crate::crypto::SessionKeyRecord;
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{Footer, PruneState, PruneVerdict};
use crate::id::{DomainId, PruneId, SessionId};
use crate::monitor::Monitor;
use crate::repository::{Index, OpenPlan, Repository, Session, SessionTable, put_state};

/// How often a repair begins anew because prunes plan something meanwhile.
const ATTEMPTS: usize = 5;

/// How to repair.
#[derive(Debug, Clone, Default)]
pub struct RepairOptions {
    /// Say what would be done, and write nothing.
    pub dry_run: bool,
    /// The machine's name.
    pub host: String,
    /// Program and version.
    pub program: String,
}

/// W1 and W2. A repair copies rows of index objects: behind a sweep that it did not see, they would make packs count
/// that are gone. So it waits until no plan is open that was decided.
pub(super) fn begin(
    repository: &Repository,
    domain: DomainId,
    options: &RepairOptions,
    clock: &dyn Clock,
) -> Result<Session> {
    let session = begin_beside_sweep(repository, domain, options, clock)?;
    match session.plans().open().first().map(OpenPlan::number) {
        None => Ok(session),
        Some(number) => {
            session.give_up(repository);
            Err(in_the_way(number))
        }
    }
}

/// The same for a repair that heeds what an open plan sweeps. A plan that nobody has decided about is cancelled: its prune
/// refuses what is damaged, and would wait for the repair as the repair for it.
fn begin_beside_sweep(
    repository: &Repository,
    domain: DomainId,
    options: &RepairOptions,
    clock: &dyn Clock,
) -> Result<Session> {
    for _ in 0..ATTEMPTS {
        let session = Session::begin_in(repository, domain, &options.host, &options.program, clock)?;
        let mut open = session.plans().open().iter();
        let Some(number) = open.find(|plan| plan.verdict().is_none()).map(OpenPlan::number) else { return Ok(session) };
        let is_known = session.plans().open().iter().all(|plan| plan.plan().is_some());
        session.give_up(repository);
        if !is_known {
            return Err(in_the_way(number));
        }
        put_state(repository, &PruneState { number, verdict: PruneVerdict::Cancelled })?;
    }
    Err(EngineError::new(ErrorKind::InUse, "other prunes are at work"))
}

fn in_the_way(number: PruneId) -> EngineError {
    let text = format!("prune {number} is not finished: run prune first, it goes on where that one stopped");
    EngineError::new(ErrorKind::InUse, text)
}

fn stop_if_asked(monitor: &dyn Monitor) -> Result<()> {
    if monitor.cancelled() { Err(EngineError::new(ErrorKind::Interrupted, "interrupted")) } else { Ok(()) }
}

/// Adds session key records that are not there yet.
fn add_records(records: &mut Vec<SessionKeyRecord>, more: &[SessionKeyRecord]) {
    for record in more {
        if !records.iter().any(|known| known.session() == record.session()) {
            records.push(record.clone());
        }
    }
}

/// Tells packs that count, or would if a register were not lost, from what open and revoked sessions left.
struct Owners<'a> {
    index: &'a Index,
    /// Listed later than the index: a session that began meanwhile left its intent before anything else.
    later: SessionTable,
}

impl<'a> Owners<'a> {
    fn new(repository: &Repository, index: &'a Index) -> Result<Self> {
        Ok(Self { index, later: SessionTable::load(repository)? })
    }

    /// Whether all sessions that have data in a pack are committed, or have lost their registers.
    fn are_entitled(&self, footer: &Footer) -> bool {
        footer.sessions.iter().all(|record| self.is_entitled(record.session()))
    }

    fn is_entitled(&self, session: SessionId) -> bool {
        let sessions = self.index.sessions();
        sessions.is_committed(session) || (sessions.is_lost(session) && self.later.is_lost(session))
    }

    /// Whether none of the sessions that have data in a pack goes on: what they left may have been taken over by one that
    /// is committed, of which an index object said so.
    fn have_ended(&self, footer: &Footer) -> bool {
        let has_ended = |session| self.is_entitled(session) || self.index.sessions().is_revoked(session);
        footer.sessions.iter().all(|record| has_ended(record.session()))
    }
}
