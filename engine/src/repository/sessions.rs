//! Sessions: how each ended, and how one begins and commits. Spec chapter 6.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::listed::{EarlyLists, ListedSessions, heeded_plans};
use super::{Plans, Repository, read_snapshot};
use crate::clock::Clock;
use crate::crypto::SessionKeys;
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{self, Intent, Register, SessionState};
use crate::id::{DomainId, IndexId, SessionId, SnapshotId};
use crate::limits;
use crate::model::{Signer, Snapshot};
use crate::os::host::ProcessIdentity;
use crate::storage::{ObjectFamily, ObjectName, Outcome};

/// Chunks in packs that wait for an index object, at most, and those of one more pack. A hundred bytes each while the
/// object is made.
pub(super) const INDEX_CHUNKS: usize = 100_000;

/// How every session ended that has a register, and which are open.
#[derive(Debug, Default, Clone)]
pub struct SessionTable {
    states: HashMap<SessionId, (SessionState, Signer)>,
    /// Sessions that others ended whose signatures these keys can't check: a write-only client knows itself and full clients.
    others: HashSet<SessionId>,
    open: HashSet<SessionId>,
    uncommitted_indexes: HashMap<IndexId, SessionId>,
    damaged: Vec<(SessionId, String)>,
    /// Sessions whose registers were looked for again.
    looked_again: HashSet<SessionId>,
}

impl SessionTable {
    /// What is listed now.
    ///
    /// # Errors
    /// `Io`.
    pub fn load(repository: &Repository) -> Result<Self> {
        Self::of(repository, &ListedSessions::load(repository)?)
    }

    /// As [`Self::load`]; what will be listed after that is asked for beside the registers.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn load_before(repository: &Repository, next: &[ObjectFamily]) -> Result<Self> {
        let listed = ListedSessions::load(repository)?;
        repository.storage().expect(next, &[]);
        Self::of(repository, &listed)
    }

    /// Reads the registers of sessions that were listed. A register that can't be read is remembered as damaged and
    /// counts as none: what that session stored is not used. Registers of sessions that have just ended are made to last:
    /// who loads this builds on them, and their writers may have died before they were sure of that.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn of(repository: &Repository, listed: &ListedSessions) -> Result<Self> {
        let mut table = Self { open: listed.intents.clone(), ..Self::default() };
        if repository.only_adds() {
            // Of few of them it can check who made them, and it needs fewer: they are read when they are asked for.
            table.others.extend(&listed.registers);
            table.open.retain(|id| !table.others.contains(id));
            return Ok(table);
        }
        for id in &listed.registers {
            // Its writer takes the intent away when it knows that the register lasts. In this order: what is read then does.
            if table.open.remove(id) {
                repository.storage().persist(ObjectName::Register(*id))?;
            }
        }
        // What is kept of a register that is sure to last is right for ever.
        let open = |id: SessionId, object: &[u8]| state_in(repository, id, object);
        let (of, max) = (ObjectName::Register, limits::SMALL_OBJECT_BYTES);
        repository.read_kept_objects(&listed.registers, of, max, open, |id, state| match state {
            Ok(state) => {
                table.states.insert(id, state);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Missing => Ok(()),
            Err(error) if error.kind() == ErrorKind::Io => Err(error),
            Err(error) => {
                table.damaged.push((id, error.to_string()));
                Ok(())
            }
        })?;
        Ok(table)
    }

    /// The sessions that have a register, also one that can't be read.
    pub(super) fn ended(&self) -> impl Iterator<Item = SessionId> + '_ {
        let unread = self.damaged.iter().map(|(id, _)| id).chain(&self.others);
        self.states.keys().chain(unread).copied()
    }

    /// Whether a session is committed: what its signer stored in its name counts.
    pub fn is_committed(&self, session: SessionId) -> bool {
        matches!(self.states.get(&session), Some((SessionState::Committed(_), _)))
    }

    /// Whether an object that `signer` made in the name of a session counts.
    pub fn is_committed_by(&self, session: SessionId, signer: Signer) -> bool {
        matches!(self.states.get(&session), Some((SessionState::Committed(_), by)) if *by == signer)
    }

    /// How a session ended; `None` if it has no register that can be read.
    pub fn end_of(&self, session: SessionId) -> Option<SessionState> {
        self.states.get(&session).map(|(state, _)| *state)
    }

    /// Who ended a session.
    pub(crate) fn signer_of(&self, session: SessionId) -> Option<Signer> {
        self.states.get(&session).map(|(_, signer)| *signer)
    }

    /// The snapshot that a session committed.
    pub fn snapshot_of(&self, session: SessionId) -> Option<SnapshotId> {
        match self.states.get(&session) {
            Some((SessionState::Committed(snapshot), _)) => *snapshot,
            _ => None,
        }
    }

    /// Every snapshot that a register names, with its session.
    pub fn snapshots(&self) -> impl Iterator<Item = (SessionId, SnapshotId)> + '_ {
        self.states.keys().filter_map(|session| Some((*session, self.snapshot_of(*session)?)))
    }

    /// What a signer ended, and how.
    pub(crate) fn ended_by(&self, signer: Signer) -> impl Iterator<Item = (SessionId, SessionState)> + '_ {
        self.states.iter().filter(move |(_, (_, by))| *by == signer).map(|(id, (state, _))| (*id, *state))
    }

    /// Sessions without a register.
    pub fn open(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.open.iter().copied()
    }

    /// Whether its register says that what it stored never counts.
    pub fn is_revoked(&self, session: SessionId) -> bool {
        matches!(self.states.get(&session), Some((SessionState::Revoked, _)))
    }

    /// Whether it has an intent, and no register.
    pub fn is_open(&self, session: SessionId) -> bool {
        self.open.contains(&session)
    }

    /// Whether the register of a session that something names is unreadable or lost: a writer takes its intent
    /// away only when it has committed.
    pub fn is_lost(&self, session: SessionId) -> bool {
        !self.states.contains_key(&session) && !self.open.contains(&session) && !self.others.contains(&session)
    }

    /// Those of which [`Self::is_lost`] is true, after a second look if there are any: a session that began after these were
    /// listed left its intent before anything else, so that finds it.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn still_lost(
        &self,
        repository: &Repository,
        sessions: impl IntoIterator<Item = SessionId>,
    ) -> Result<HashSet<SessionId>> {
        let mut lost: HashSet<SessionId> = sessions.into_iter().filter(|session| self.is_lost(*session)).collect();
        if !lost.is_empty() {
            let now = Self::load(repository)?;
            lost.retain(|session| now.is_lost(*session));
        }
        Ok(lost)
    }

    /// Registers that could not be read, and why.
    pub fn damaged(&self) -> &[(SessionId, String)] {
        &self.damaged
    }

    /// Whether what a session stored counts, also if it committed after this was loaded: prune takes index objects away
    /// that such a session replaced.
    pub(super) fn is_committed_by_now(
        &mut self,
        repository: &Repository,
        session: SessionId,
        signer: Signer,
    ) -> Result<bool> {
        if !self.states.contains_key(&session) && self.looked_again.insert(session) {
            repository.storage().persist(ObjectName::Register(session))?;
            match read_register(repository, session) {
                Ok(Some(end)) => {
                    self.open.remove(&session);
                    self.states.insert(session, end);
                }
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
        Ok(self.is_committed_by(session, signer))
    }

    /// How a session of this write-only client ended, whether that was read before or not.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn look_up(&self, repository: &Repository, session: SessionId) -> Result<Option<End>> {
        if let Some(end) = self.states.get(&session) {
            return Ok(Some(*end));
        }
        // Its writer may have died before it was sure that it lasts, and what is built on it has to.
        repository.storage().persist(ObjectName::Register(session))?;
        match read_register(repository, session) {
            Err(error) if error.kind() == ErrorKind::Io => Err(error),
            end => Ok(end.ok().flatten()),
        }
    }

    pub(super) fn mark_uncommitted(&mut self, index: IndexId, session: SessionId) {
        self.uncommitted_indexes.insert(index, session);
    }

    pub(super) fn is_uncommitted_index(&self, index: &IndexId) -> bool {
        self.uncommitted_indexes.contains_key(index)
    }

    /// The index objects of some sessions, as far as an index that was loaded met them.
    pub(super) fn uncommitted_indexes(&self, of: &HashSet<SessionId>) -> Vec<IndexId> {
        self.uncommitted_indexes.iter().filter(|(_, session)| of.contains(session)).map(|(id, _)| *id).collect()
    }
}

/// How a session ended, and who says so.
type End = (SessionState, Signer);

/// How a session ended; `None` if it has no register.
fn read_register(repository: &Repository, session: SessionId) -> Result<Option<End>> {
    let object = repository.storage().read(ObjectName::Register(session), None, limits::SMALL_OBJECT_BYTES);
    if_there(object.and_then(|object| state_in(repository, session, &object)))
}

fn if_there(end: Result<End>) -> Result<Option<End>> {
    match end {
        Err(error) if error.kind() == ErrorKind::Missing => Ok(None),
        other => other.map(Some),
    }
}

fn state_in(repository: &Repository, session: SessionId, object: &[u8]) -> Result<End> {
    let name = ObjectName::Register(session);
    let (register, signer) = repository.decode_signed(name, |keys| format::decode_register(object, keys))?;
    if register.session != session {
        return Err(EngineError::damaged(format!("object {name} belongs to another session")));
    }
    // Of a client that has ended, what was there then counts and nothing else.
    let counts = match signer {
        Signer::Full => true,
        Signer::Client(id) => repository.keys().known_client(&id).is_none_or(|client| client.counts_session(&session)),
    };
    Ok((if counts { register.state } else { SessionState::Revoked }, signer))
}

/// One writer's work, from intent to register.
pub struct Session {
    keys: Arc<SessionKeys>,
    plans: Plans,
    is_announced: bool,
    /// Index objects of its own that list what it took over.
    adopted: Vec<IndexId>,
    /// The sessions that there were, for the index that is loaded next.
    listed: Option<ListedSessions>,
}

impl Session {
    /// Begins: announces itself by an intent, durably (W1), and then reads the plans that prunes have (W2). What the
    /// session builds on must be read after this.
    ///
    /// # Errors
    /// `Io`, `Unsupported`.
    pub fn begin(repository: &Repository, host: &str, program: &str, clock: &dyn Clock) -> Result<Self> {
        Self::begin_in(repository, repository.domain().domain(), host, program, clock)
    }

    /// As [`Self::begin`], for what is stored in another domain than this client's own.
    ///
    /// # Errors
    /// As there.
    pub fn begin_in(
        repository: &Repository,
        domain: DomainId,
        host: &str,
        program: &str,
        clock: &dyn Clock,
    ) -> Result<Self> {
        Self::begin_anywhere(repository, domain, (host, program), clock, &[])
    }

    /// As [`Self::begin`], for whoever then loads the index and lists `next`, at once: what that takes is asked for ahead. As
    /// [`Self::begin`] if that is nothing.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn begin_before(
        repository: &Repository,
        host: &str,
        program: &str,
        clock: &dyn Clock,
        next: &[ObjectFamily],
    ) -> Result<Self> {
        Self::begin_anywhere(repository, repository.domain().domain(), (host, program), clock, next)
    }

    fn begin_anywhere(
        repository: &Repository,
        domain: DomainId,
        (host, program): (&str, &str),
        clock: &dyn Clock,
        next: &[ObjectFamily],
    ) -> Result<Self> {
        repository.require_writable()?;
        let keys = repository.keys().new_session(domain);
        let identity = ProcessIdentity::current();
        let intent = Intent {
            started: clock.now(),
            host: host.to_owned(),
            process: identity.process,
            boot: identity.boot,
            program: program.to_owned(),
        };
        let object = format::encode_intent(&intent, repository.keys(), &keys);
        let name = ObjectName::Intent(keys.session());
        repository.keep_own_intent(keys.session(), &intent)?;
        let early = if next.is_empty() { None } else { EarlyLists::take(repository)? };
        let put = || repository.storage().write_own(name, &[&object]);
        let outcome = if next.is_empty() { put() } else { repository.open_indexes_beside(put) };
        if outcome? == Outcome::Existed {
            return Err(EngineError::new(ErrorKind::AlreadyExists, format!("object {name} exists")));
        }
        // Only now: a prune whose plan this does not see yet sees the intent.
        match heeded_plans(repository, early, next) {
            Ok((plans, listed)) => {
                Ok(Self { keys: Arc::new(keys), plans, is_announced: true, adopted: Vec::new(), listed })
            }
            Err(error) => {
                let _ = repository.storage().remove(name);
                Err(error)
            }
        }
    }

    /// A session that nobody hears of, for trying what a real one would do.
    ///
    /// # Errors
    /// `Io`.
    pub fn unwritten(repository: &Repository) -> Result<Self> {
        let keys = Arc::new(repository.keys().new_session(repository.domain().domain()));
        let plans = Plans::load(repository)?;
        Ok(Self { keys, plans, is_announced: false, adopted: Vec::new(), listed: None })
    }

    /// What prunes were planning when it began: it uses nothing that is condemned there.
    pub fn plans(&self) -> &Plans {
        &self.plans
    }

    /// Reads a snapshot that this session builds on without looking at each of its chunks: it is there now, after the
    /// session began, and no open plan drops it, so no prune will (PROTOCOL.md, chapter 3, 4).
    ///
    /// # Errors
    /// `NotFound` if a prune dropped it or is about to; `Damaged`, `Unsupported`, `Io`.
    pub(crate) fn read_kept(&self, repository: &Repository, id: SnapshotId) -> Result<Snapshot> {
        if self.plans.drops(&id) {
            return Err(EngineError::new(ErrorKind::NotFound, format!("snapshot {id} is being dropped by a prune")));
        }
        match read_snapshot(repository, id) {
            Ok((_, snapshot)) => Ok(snapshot),
            Err(error) if error.kind() == ErrorKind::Missing => {
                Err(EngineError::new(ErrorKind::NotFound, format!("snapshot {id} was dropped by a prune")))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn note_adopted(&mut self, index: IndexId) {
        self.adopted.push(index);
    }

    /// Index objects of its own that list what it took over.
    pub(super) fn adopted(&self) -> &[IndexId] {
        &self.adopted
    }

    /// The sessions of others that are open, or were when it began, in order.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn others_open(&self, repository: &Repository) -> Result<Vec<SessionId>> {
        let mut open = match &self.listed {
            Some(listed) => listed.open(),
            None => ListedSessions::load(repository)?.open(),
        };
        open.retain(|id| *id != self.id());
        Ok(open)
    }

    /// What was listed when it began is not what there is any more: some are ended now.
    pub(super) fn forget_listed(&mut self) {
        self.listed = None;
    }

    /// The sessions that there were when it began, and how they ended; as there are now, if that changed.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn table(&self, repository: &Repository) -> Result<SessionTable> {
        match &self.listed {
            Some(listed) => SessionTable::of(repository, listed),
            None => SessionTable::load(repository),
        }
    }

    /// Its id.
    pub fn id(&self) -> SessionId {
        self.keys.session()
    }

    /// Its keys.
    pub fn keys(&self) -> &Arc<SessionKeys> {
        &self.keys
    }

    /// Where nothing else decides who ends it first, [`Self::commit`] looks whether it has been ended. For whoever has one thing left to
    /// write before that: it is looked for at the same time.
    pub(super) fn look_for_end(&self, repository: &Repository) {
        if !repository.storage().capabilities().put_if_absent {
            repository.storage().expect(&[], &[ObjectName::Register(self.id())]);
        }
    }

    /// Commits, then takes the intent away. Everything that the session wrote must be durable.
    ///
    /// # Errors
    /// `SessionRevoked` if someone ended the session before; `Io`, and then whether it is committed is not known.
    pub fn commit(self, repository: &Repository, snapshot: Option<SnapshotId>) -> Result<()> {
        let wanted = SessionState::Committed(snapshot);
        // Only tidiness: a register says all that an intent could. Append-only storages keep it.
        let (intent, mut is_tidied) = (ObjectName::Intent(self.id()), false);
        let storage = repository.storage();
        let decided = put_register_with(repository, self.id(), wanted, |register, object| {
            if !storage.capabilities().put_if_absent {
                return storage.write_own(register, &[object]);
            }
            let outcome = storage.write_and_tidy(register, &[object], intent)?;
            is_tidied = outcome == Outcome::Written;
            Ok(outcome)
        })?;
        // An acknowledgement may have been lost, and the register be this one's own.
        if decided.state != wanted || decided.signer != repository.signer() {
            return Err(EngineError::new(
                ErrorKind::SessionRevoked,
                format!("the session was revoked, and nothing that it stored counts (session {})", self.id()),
            ));
        }
        if !is_tidied {
            let _ = storage.remove(intent);
        }
        repository.forget_own_intent(self.id());
        snapshot.into_iter().for_each(|id| repository.tidy_own_state(id));
        Ok(())
    }

    /// Ends a session of which no snapshot will come: what it stored counts. If the storage does not even take that, the
    /// session stays open, and the next one of this machine takes over what it stored.
    pub(crate) fn give_up(self, repository: &Repository) {
        if self.is_announced {
            let _ = self.commit(repository, None);
        }
    }
}

/// How a session ended, and who decided that.
pub(super) struct Decided {
    pub(super) state: SessionState,
    /// Who did: what others say of a session makes nothing count that this client stored.
    signer: Signer,
    /// The put that was just made did.
    pub(super) is_mine: bool,
}

/// Writes a register unless there is one; how the session ended, then.
pub(super) fn put_register(repository: &Repository, session: SessionId, state: SessionState) -> Result<Decided> {
    put_register_with(repository, session, state, |name, object| repository.storage().write_new(name, &[object]))
}

fn put_register_with(
    repository: &Repository,
    session: SessionId,
    state: SessionState,
    write: impl FnOnce(ObjectName, &[u8]) -> Result<Outcome>,
) -> Result<Decided> {
    let object = format::encode_register(&Register { session, state }, repository.keys());
    // Without put-if-absent a register has one writer only (PROTOCOL.md, chapter 8), and reading before is enough.
    if !repository.storage().capabilities().put_if_absent
        && let Some((state, signer)) = read_register(repository, session)?
    {
        return Ok(Decided { state, signer, is_mine: false });
    }
    match write(ObjectName::Register(session), &object)? {
        Outcome::Written => {
            repository.keep_object(ObjectName::Register(session), None, &object);
            Ok(Decided { state, signer: repository.signer(), is_mine: true })
        }
        Outcome::Existed => {
            let (state, signer) = read_register(repository, session)?.ok_or_else(|| {
                EngineError::damaged(format!("object {} is there and is not", ObjectName::Register(session)))
            })?;
            Ok(Decided { state, signer, is_mine: false })
        }
    }
}

/// Ends an open session, so that nothing that it stored will ever count. Whether it was open until now.
///
/// # Errors
/// `Invalid` if it is committed; `Damaged` or `Unsupported` if its register can't be read; `Io`.
pub(crate) fn revoke_session(repository: &Repository, session: SessionId) -> Result<bool> {
    let decided = put_register(repository, session, SessionState::Revoked)?;
    if let SessionState::Committed(_) = decided.state {
        let text = format!("session {session} is committed: what it stored counts");
        return Err(EngineError::new(ErrorKind::Invalid, text));
    }
    Ok(decided.is_mine)
}

/// The process that wrote an intent.
pub(crate) fn writer_of(intent: &Intent) -> ProcessIdentity {
    ProcessIdentity { process: intent.process, boot: intent.boot.clone() }
}

/// Ends a session, unless it has ended. Whether it is this call that did.
///
/// # Errors
/// `Damaged`, `Unsupported` if it has a register that can't be read; `Io`.
pub(crate) fn end_session(repository: &Repository, session: SessionId) -> Result<bool> {
    Ok(put_register(repository, session, SessionState::Revoked)?.is_mine)
}

/// Whether the process of a session has certainly ended: it ran on this machine, of which `host` is the name, and is not
/// there any more. The name tells machines apart that were cloned with their ids.
pub(crate) fn has_died(repository: &Repository, session: SessionId, host: &str) -> bool {
    let me = ProcessIdentity::current();
    read_intent(repository, session).is_ok_and(|intent| is_of_the_dead(&me, &intent, host))
}

fn is_of_the_dead(me: &ProcessIdentity, intent: &Intent, host: &str) -> bool {
    intent.host == host && me.knows_ended(&writer_of(intent))
}

/// Those of the sessions, which a list has just shown, of which [`has_died`] is true.
pub(super) fn which_have_died(repository: &Repository, sessions: &[SessionId], host: &str) -> Result<Vec<SessionId>> {
    if repository.only_adds() {
        // It knows those that it began itself.
        return Ok(sessions.iter().copied().filter(|id| has_died(repository, *id, host)).collect());
    }
    let (me, mut dead) = (ProcessIdentity::current(), Vec::new());
    let open = |session: SessionId, object: &[u8]| open_intent(repository, session, object);
    repository.read_kept_objects(sessions, ObjectName::Intent, limits::ENVELOPE_BYTES, open, |session, intent| {
        if intent.is_ok_and(|intent| is_of_the_dead(&me, &intent, host)) {
            dead.push(session);
        }
        Ok(())
    })?;
    dead.sort();
    Ok(dead)
}

/// Reads an intent.
///
/// # Errors
/// `Missing`, `Damaged`, `Unsupported`, `Io`.
pub(crate) fn read_intent(repository: &Repository, session: SessionId) -> Result<Intent> {
    if repository.only_adds() {
        return repository.own_intent(session);
    }
    let name = ObjectName::Intent(session);
    open_intent(repository, session, &repository.storage().read(name, None, limits::ENVELOPE_BYTES)?)
}

fn open_intent(repository: &Repository, session: SessionId, object: &[u8]) -> Result<Intent> {
    let name = ObjectName::Intent(session);
    let (keys, intent) = repository.decode_signed(name, |keys| format::decode_intent(object, keys))?;
    if keys.session() != session {
        return Err(EngineError::damaged(format!("object {name} belongs to another session")).about(name));
    }
    Ok(intent)
}
