//! What is listed when a session begins, and when: PROTOCOL.md, chapter 3, W2 and W3.

use std::collections::HashSet;

use super::{Plans, Repository};
use crate::error::Result;
use crate::id::SessionId;
use crate::storage::{ObjectFamily, ObjectName};

/// What a list showed of sessions.
#[derive(Debug, Default, Clone)]
pub(super) struct ListedSessions {
    pub(super) intents: HashSet<SessionId>,
    pub(super) registers: Vec<SessionId>,
}

impl ListedSessions {
    /// Lists them.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn load(repository: &Repository) -> Result<Self> {
        let mut found = Self::default();
        repository.storage().list(ObjectFamily::Sessions, &mut |name, _| match name {
            ObjectName::Intent(id) => drop(found.intents.insert(id)),
            ObjectName::Register(id) => found.registers.push(id),
            _ => {}
        })?;
        Ok(found)
    }

    /// Those without a register, in order.
    pub(super) fn open(&self) -> Vec<SessionId> {
        let ended: HashSet<&SessionId> = self.registers.iter().collect();
        let mut open: Vec<_> = self.intents.iter().filter(|id| !ended.contains(id)).copied().collect();
        open.sort();
        open
    }
}

/// What was listed before an intent was put, because it was asked for while the repository was opened.
pub(super) struct EarlyLists {
    prune: Vec<ObjectName>,
    sessions: ListedSessions,
}

impl EarlyLists {
    /// `None` if nobody asked.
    pub(super) fn take(repository: &Repository) -> Result<Option<Self>> {
        let storage = repository.storage();
        if ![ObjectFamily::Prune, ObjectFamily::Sessions].iter().all(|family| storage.is_expected(*family)) {
            return Ok(None);
        }
        let mut prune = Vec::new();
        storage.list(ObjectFamily::Prune, &mut |name, _| prune.push(name))?;
        prune.sort();
        Ok(Some(Self { prune, sessions: ListedSessions::load(repository)? }))
    }
}

/// The plans that a writer heeds, and the sessions that there are if `next`, which it lists after it has loaded the index, is
/// something. All that is asked for at once then.
///
/// With early lists, W3 needs not wait for W2: it is asked for at the same time. If no plan was open before the intent was
/// put, and below `prune/` is what was there then, no plan was open at any moment between, so nothing that was listed
/// meanwhile has been swept (PROTOCOL.md, chapter 3). Otherwise what was asked for is forgotten, and asked for again.
pub(super) fn heeded_plans(
    repository: &Repository,
    early: Option<EarlyLists>,
    next: &[ObjectFamily],
) -> Result<(Plans, Option<ListedSessions>)> {
    let storage = repository.storage();
    let after: Vec<ObjectFamily> = [ObjectFamily::Indexes].iter().chain(next).copied().collect();
    match early {
        Some(_) => storage.expect(&[&[ObjectFamily::Prune], after.as_slice()].concat(), &[]),
        // What was asked for before the intent was put says too little.
        None if next.is_empty() => storage.forget_expected(),
        None => storage.expect(&[ObjectFamily::Prune, ObjectFamily::Sessions], &[]),
    }
    let mut plans = Plans::load(repository)?;
    let is_quiet = |early: &EarlyLists| early.prune == plans.objects() && plans.names_no_open_plan();
    if let Some(early) = early.filter(is_quiet) {
        return Ok((plans, Some(early.sessions)));
    }
    plans.cancel_damaged(repository)?;
    if next.is_empty() {
        return Ok((plans, None));
    }
    // Listed beside the plans they are good: a register that is there stays.
    let listed = ListedSessions::load(repository)?;
    storage.forget_expected();
    storage.expect(&after, &[]);
    Ok((plans, Some(listed)))
}
