//! What prunes have planned, and which of it writers must heed: PROTOCOL.md, chapter 2, and step W2.

use std::collections::BTreeSet;

use super::{Repository, object_error};
use crate::crypto::Keys;
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{self, FormatError, PruneDone, PrunePlan, PruneState, PruneVerdict};
use crate::id::{PackId, PruneId, SnapshotId};
use crate::limits;
use crate::storage::{ObjectFamily, ObjectName, Outcome};

/// A plan that is not over.
#[derive(Debug, Clone)]
pub struct OpenPlan {
    number: PruneId,
    plan: Option<PrunePlan>,
    verdict: Option<PruneVerdict>,
    has_state: bool,
    /// A newer program made it: it is not damaged, only not for this one.
    is_newer: bool,
}

impl OpenPlan {
    /// Its number.
    pub fn number(&self) -> PruneId {
        self.number
    }

    /// What it means to remove; `None` if it can't be read, and then it may mean to remove anything.
    pub fn plan(&self) -> Option<&PrunePlan> {
        self.plan.as_ref()
    }

    /// What was decided about it; `None` if nothing was, or if that can't be read.
    pub fn verdict(&self) -> Option<&PruneVerdict> {
        self.verdict.as_ref()
    }

    /// Whether no writer may use what is in that pack.
    pub fn condemns(&self, pack: &PackId) -> bool {
        let Some(plan) = &self.plan else { return true };
        let is_rescued = match &self.verdict {
            Some(PruneVerdict::Sweep { rescued }) => rescued.binary_search(pack).is_ok(),
            _ => false,
        };
        plan.condemned.binary_search(pack).is_ok() && !is_rescued
    }

    /// Whether it means to remove that snapshot.
    pub fn drops(&self, snapshot: &SnapshotId) -> bool {
        self.plan.as_ref().is_none_or(|plan| plan.dropped.binary_search(snapshot).is_ok())
    }
}

/// The plans that were there at one moment.
#[derive(Debug, Clone, Default)]
pub struct Plans {
    open: Vec<OpenPlan>,
    objects: Vec<ObjectName>,
    problems: Vec<(ObjectName, String)>,
}

impl Plans {
    /// Lists what is below `prune/`, and reads as much of it as is needed to know which plans are open: nothing, where
    /// no plan is. A plan or a state that can't be read leaves the plan open, a done that can't be read ends nothing.
    ///
    /// # Errors
    /// `Io`.
    pub fn load(repository: &Repository) -> Result<Self> {
        let mut found = Self::default();
        let (mut plans, mut dones) = (Vec::new(), BTreeSet::new());
        repository.storage().list(ObjectFamily::Prune, &mut |name, _| {
            match name {
                ObjectName::PrunePlan(number) => plans.push(number),
                ObjectName::PruneDone(number) => drop(dones.insert(number)),
                _ => {}
            }
            found.objects.push(name);
        })?;
        found.objects.sort();
        plans.sort();
        if plans.is_empty() {
            return Ok(found);
        }
        let mut over = None;
        while over.is_none()
            && let Some(number) = dones.pop_last()
        {
            match read_done(repository, number) {
                // Dones are deleted only when there is a later one: the plan was over before.
                Ok(_) => over = Some(number),
                Err(error) if error.kind() == ErrorKind::Missing => over = Some(number),
                Err(error) => found.note(ObjectName::PruneDone(number), error)?,
            }
        }
        for number in plans.into_iter().filter(|number| over.is_none_or(|over| *number > over)) {
            found.read_open(repository, number)?;
        }
        Ok(found)
    }

    /// Reads a plan that no done ends, the state first: objects of plans that are over are removed in the other order,
    /// so where the plan is still there, the state that was there is, too.
    fn read_open(&mut self, repository: &Repository, number: PruneId) -> Result<()> {
        let (mut has_state, mut verdict) = (true, None);
        match read_state(repository, number) {
            Ok(PruneVerdict::Cancelled) => return Ok(()),
            Ok(sweep) => verdict = Some(sweep),
            Err(error) if error.kind() == ErrorKind::Missing => has_state = false,
            Err(error) => self.note(ObjectName::PruneState(number), error)?,
        }
        let (mut plan, mut is_newer) = (None, false);
        match read_plan(repository, number) {
            Ok(read) => plan = Some(read),
            Err(error) if error.kind() == ErrorKind::Missing => return Ok(()),
            Err(error) => {
                is_newer = error.kind() == ErrorKind::Unsupported;
                self.note(ObjectName::PrunePlan(number), error)?;
            }
        }
        self.open.push(OpenPlan { number, plan, verdict, has_state, is_newer });
        Ok(())
    }

    /// Remembers what can't be read.
    fn note(&mut self, name: ObjectName, error: EngineError) -> Result<()> {
        if error.kind() == ErrorKind::Io {
            return Err(error);
        }
        self.problems.push((name, error.to_string()));
        Ok(())
    }

    /// Cancels the plans that are damaged and that nobody has decided about: nobody can go on with such a plan, and to
    /// heed it would mean to use nothing of what is there.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn cancel_damaged(&mut self, repository: &Repository) -> Result<()> {
        if repository.only_adds() {
            // It can't tell, and heeds what it finds.
            return Ok(());
        }
        for open in std::mem::take(&mut self.open) {
            let state = PruneState { number: open.number, verdict: PruneVerdict::Cancelled };
            let is_damaged = open.plan.is_none() && !open.is_newer;
            let is_over = is_damaged
                && !open.has_state
                && match put_state(repository, &state) {
                    // Whoever may only append leaves it to others, and heeds it.
                    Err(error) if is_denied(&error) => false,
                    Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                    decided => decided.is_ok_and(|verdict| verdict == PruneVerdict::Cancelled),
                };
            if !is_over {
                self.open.push(open);
            }
        }
        Ok(())
    }

    /// The plans that are open, in the order of their numbers. Prunes see to it that there is at most one; whoever finds
    /// more heeds them all.
    pub fn open(&self) -> &[OpenPlan] {
        &self.open
    }

    /// Whether an open plan condemns that pack.
    pub fn condemns(&self, pack: &PackId) -> bool {
        self.open.iter().any(|plan| plan.condemns(pack))
    }

    /// Whether an open plan drops that snapshot.
    pub fn drops(&self, snapshot: &SnapshotId) -> bool {
        self.open.iter().any(|plan| plan.drops(snapshot))
    }

    /// The number that a new plan has to take.
    ///
    /// # Errors
    /// `Damaged` if there are no more numbers: somebody who does not count made the last one.
    pub fn next_number(&self) -> Result<PruneId> {
        let largest = self.numbers().max();
        largest
            .map_or(Some(PruneId::FIRST), PruneId::next)
            .ok_or_else(|| EngineError::damaged("the last number for a plan of prune is taken"))
    }

    /// The numbers of all plans of which some object is left, over or not.
    fn numbers(&self) -> impl Iterator<Item = PruneId> + '_ {
        self.objects.iter().filter_map(|name| match name {
            ObjectName::PrunePlan(number) | ObjectName::PruneState(number) | ObjectName::PruneDone(number) => {
                Some(*number)
            }
            _ => None,
        })
    }

    /// Whether, by the names alone, no plan is open: there is a done for each, or a later one.
    pub(super) fn names_no_open_plan(&self) -> bool {
        let plans = self.objects.iter().filter_map(|name| match name {
            ObjectName::PrunePlan(number) => Some(*number),
            _ => None,
        });
        plans.max() <= self.done().last().copied()
    }

    /// Everything that is below `prune/`, the reserve included, in the order of names.
    pub fn objects(&self) -> &[ObjectName] {
        &self.objects
    }

    /// The numbers of the prunes that said that they are done, ascending. That they can be read is not sure.
    pub fn done(&self) -> Vec<PruneId> {
        let number = |name: &ObjectName| if let ObjectName::PruneDone(number) = name { Some(*number) } else { None };
        self.objects.iter().filter_map(number).collect()
    }

    /// Objects that had to be read and can't be, and why.
    pub fn problems(&self) -> &[(ObjectName, String)] {
        &self.problems
    }
}

/// Reads a plan, whether it is open or over.
///
/// # Errors
/// `Missing`, `Damaged`, `Unsupported`, `Io`.
pub fn read_plan(repository: &Repository, number: PruneId) -> Result<PrunePlan> {
    let name = ObjectName::PrunePlan(number);
    let plan = read(repository, name, format::decode_plan)?;
    if plan.number == number { Ok(plan) } else { Err(of_another(name)) }
}

/// Reads what was decided about a plan.
///
/// # Errors
/// `Missing`, `Damaged`, `Unsupported`, `Io`.
pub fn read_state(repository: &Repository, number: PruneId) -> Result<PruneVerdict> {
    let name = ObjectName::PruneState(number);
    let state = read(repository, name, format::decode_state)?;
    if state.number == number { Ok(state.verdict) } else { Err(of_another(name)) }
}

/// Reads how a prune ended.
///
/// # Errors
/// `Missing`, `Damaged`, `Unsupported`, `Io`.
pub fn read_done(repository: &Repository, number: PruneId) -> Result<PruneDone> {
    let name = ObjectName::PruneDone(number);
    let done = read(repository, name, format::decode_done)?;
    if done.number == number { Ok(done) } else { Err(of_another(name)) }
}

fn read<T>(repository: &Repository, name: ObjectName, decode: fn(&[u8], &Keys) -> Result<T, FormatError>) -> Result<T> {
    let object = repository.storage().read(name, None, limits::PRUNE_BYTES)?;
    decode(&object, repository.keys()).map_err(|error| object_error(name, error))
}

fn of_another(name: ObjectName) -> EngineError {
    EngineError::damaged(format!("object {name} belongs to another plan")).about(name)
}

/// Puts a plan, if there is none of its number (G3). Its ids must ascend.
///
/// # Errors
/// `Invalid` if it is larger than the format allows: nothing was put. `Io`.
pub fn put_plan(repository: &Repository, plan: &PrunePlan) -> Result<Outcome> {
    put(repository, ObjectName::PrunePlan(plan.number), &format::encode_plan(plan, repository.keys()))
}

/// Puts what is to become of a plan, if that is not decided (G7). What holds: the one that was there, if there was one.
///
/// # Errors
/// `Invalid` as for [`put_plan`]; `Damaged` or `Unsupported` if the one that was there can't be read; `Io`.
pub fn put_state(repository: &Repository, state: &PruneState) -> Result<PruneVerdict> {
    let object = format::encode_state(state, repository.keys());
    match put(repository, ObjectName::PruneState(state.number), &object)? {
        Outcome::Written => Ok(state.verdict.clone()),
        Outcome::Existed => read_state(repository, state.number),
    }
}

/// Puts the end of a prune, unless somebody else did (G10). Ids must ascend.
///
/// # Errors
/// `Invalid` as for [`put_plan`]; `Io`.
pub fn put_done(repository: &Repository, done: &PruneDone) -> Result<Outcome> {
    put(repository, ObjectName::PruneDone(done.number), &format::encode_done(done, repository.keys()))
}

/// Whatever is put must be readable. One that was there may not be durable yet, and is built upon as if it were.
fn put(repository: &Repository, name: ObjectName, object: &[u8]) -> Result<Outcome> {
    if object.len() as u64 > limits::PRUNE_BYTES {
        let text = format!("object {name} would be larger than {} MiB", limits::PRUNE_BYTES / limits::MIB);
        return Err(EngineError::new(ErrorKind::Invalid, text));
    }
    let outcome = repository.storage().write_new(name, &[object])?;
    if outcome == Outcome::Existed {
        repository.storage().persist(name)?;
    }
    Ok(outcome)
}
/// Whether the storage takes no such thing from us.
fn is_denied(error: &EngineError) -> bool {
    error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}
