//! Sessions: how each ended, and how one begins and commits. Spec chapter 6.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Plans, Repository, object_error, read_snapshot};
use crate::clock::Clock;
use crate::crypto::{SessionKeys, hash};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{self, IndexObject, Intent, Register, SessionState};
use crate::id::{DomainId, IndexId, SessionId, SnapshotId};
use crate::limits;
use crate::model::{PackRow, Snapshot};
use crate::monitor::Silent;
use crate::os::identity::ProcessIdentity;
use crate::storage::{ObjectFamily, ObjectName, Outcome};

/// Chunks in packs that wait for an index object, at most, and those of one more pack. A hundred bytes each while the
/// object is made.
pub(super) const INDEX_CHUNKS: usize = 100_000;

/// How every session ended that has a register, and which are open.
#[derive(Debug, Default, Clone)]
pub struct SessionTable {
    states: HashMap<SessionId, SessionState>,
    open: HashSet<SessionId>,
    uncommitted_indexes: HashSet<IndexId>,
    damaged: Vec<(SessionId, String)>,
}

impl SessionTable {
    /// Lists the sessions and reads their registers. A register that can't be read is remembered as damaged and
    /// counts as none: what that session stored is not used.
    ///
    /// # Errors
    /// `Io`.
    pub fn load(repository: &Repository) -> Result<Self> {
        let mut table = Self::default();
        let mut registers = Vec::new();
        repository.storage().list(ObjectFamily::Sessions, &mut |name, _| match name {
            ObjectName::Intent(id) => drop(table.open.insert(id)),
            ObjectName::Register(id) => registers.push(id),
            _ => {}
        })?;
        for id in registers {
            table.open.remove(&id);
            match read_register(repository, id) {
                Ok(Some(state)) => drop(table.states.insert(id, state)),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                Err(error) => table.damaged.push((id, error.to_string())),
            }
        }
        Ok(table)
    }

    /// Whether what a session stored counts.
    pub fn is_committed(&self, session: SessionId) -> bool {
        matches!(self.states.get(&session), Some(SessionState::Committed(_)))
    }

    /// The snapshot that a session committed.
    pub fn snapshot_of(&self, session: SessionId) -> Option<SnapshotId> {
        match self.states.get(&session) {
            Some(SessionState::Committed(snapshot)) => *snapshot,
            _ => None,
        }
    }

    /// Every snapshot that a register names, with its session.
    pub fn snapshots(&self) -> impl Iterator<Item = (SessionId, SnapshotId)> + '_ {
        self.states.keys().filter_map(|session| Some((*session, self.snapshot_of(*session)?)))
    }

    /// Sessions without a register.
    pub fn open(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.open.iter().copied()
    }

    /// Whether its register says that what it stored never counts.
    pub fn is_revoked(&self, session: SessionId) -> bool {
        self.states.get(&session) == Some(&SessionState::Revoked)
    }

    /// Whether it has an intent, and no register.
    pub fn is_open(&self, session: SessionId) -> bool {
        self.open.contains(&session)
    }

    /// Whether the register of a session that something names is unreadable or lost: a writer takes its intent
    /// away only when it has committed.
    pub fn is_lost(&self, session: SessionId) -> bool {
        !self.states.contains_key(&session) && !self.open.contains(&session)
    }

    /// Registers that could not be read, and why.
    pub fn damaged(&self) -> &[(SessionId, String)] {
        &self.damaged
    }

    pub(super) fn mark_uncommitted(&mut self, index: IndexId) {
        self.uncommitted_indexes.insert(index);
    }

    pub(super) fn is_uncommitted_index(&self, index: &IndexId) -> bool {
        self.uncommitted_indexes.contains(index)
    }
}

/// How a session ended; `None` if it has no register.
fn read_register(repository: &Repository, session: SessionId) -> Result<Option<SessionState>> {
    let name = ObjectName::Register(session);
    let object = match repository.storage().read(name, None, limits::SMALL_OBJECT_BYTES) {
        Err(error) if error.kind() == ErrorKind::Missing => return Ok(None),
        other => other?,
    };
    let register = format::decode_register(&object, repository.keys()).map_err(|error| object_error(name, error))?;
    if register.session != session {
        return Err(EngineError::damaged(format!("object {name} belongs to another session")));
    }
    Ok(Some(register.state))
}

/// One writer's work, from intent to register.
pub struct Session {
    keys: Arc<SessionKeys>,
    plans: Plans,
    is_announced: bool,
}

impl Session {
    /// Begins: announces itself by an intent, durably (W1), and then reads the plans that prunes have (W2). What the
    /// session builds on must be read after this.
    ///
    /// # Errors
    /// `Io`, `Unsupported`.
    pub fn begin(repository: &Repository, host: &str, program: &str, clock: &dyn Clock) -> Result<Self> {
        repository.require_writable()?;
        let keys = repository.keys().new_session(DomainId::SHARED);
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
        if repository.storage().write_new(name, &[&object])? == Outcome::Existed {
            return Err(EngineError::new(ErrorKind::AlreadyExists, format!("object {name} exists")));
        }
        // Only now: a prune whose plan this does not see yet sees the intent.
        match heeded_plans(repository) {
            Ok(plans) => Ok(Self { keys: Arc::new(keys), plans, is_announced: true }),
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
        let keys = Arc::new(repository.keys().new_session(DomainId::SHARED));
        Ok(Self { keys, plans: Plans::load(repository)?, is_announced: false })
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

    /// Its id.
    pub fn id(&self) -> SessionId {
        self.keys.session()
    }

    /// Its keys.
    pub fn keys(&self) -> &Arc<SessionKeys> {
        &self.keys
    }

    /// Commits, then takes the intent away. Everything that the session wrote must be durable.
    ///
    /// # Errors
    /// `SessionRevoked` if someone ended the session before; `Io`, and then whether it is committed is not known.
    pub fn commit(self, repository: &Repository, snapshot: Option<SnapshotId>) -> Result<()> {
        let wanted = SessionState::Committed(snapshot);
        let found = put_register(repository, self.id(), wanted)?;
        if found != wanted {
            return Err(EngineError::new(
                ErrorKind::SessionRevoked,
                format!("session {} was ended by another process", self.id()),
            ));
        }
        // Only tidiness: a register says all that an intent could. Append-only storages keep it.
        let _ = repository.storage().remove(ObjectName::Intent(self.id()));
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

/// The plans that a writer heeds.
fn heeded_plans(repository: &Repository) -> Result<Plans> {
    let mut plans = Plans::load(repository)?;
    plans.cancel_damaged(repository)?;
    Ok(plans)
}

/// Writes a register unless there is one; how the session ended, then.
fn put_register(repository: &Repository, session: SessionId, state: SessionState) -> Result<SessionState> {
    let object = format::encode_register(&Register { session, state }, repository.keys());
    match repository.storage().write_new(ObjectName::Register(session), &[&object])? {
        Outcome::Written => Ok(state),
        Outcome::Existed => read_register(repository, session)?.ok_or_else(|| {
            EngineError::damaged(format!("object {} is there and is not", ObjectName::Register(session)))
        }),
    }
}

/// Ends a session of somebody else, unless it has ended: what it stored never counts. How it ended.
///
/// # Errors
/// `Damaged`, `Unsupported` if it has a register that can't be read; `Io`.
pub(crate) fn revoke(repository: &Repository, session: SessionId) -> Result<SessionState> {
    put_register(repository, session, SessionState::Revoked)
}

/// Whether the process of a session has certainly ended: it ran on this machine, and is not there any more.
pub(crate) fn has_died(repository: &Repository, session: SessionId) -> bool {
    read_intent(repository, session).is_ok_and(|intent| {
        let writer = ProcessIdentity { process: intent.process, boot: intent.boot };
        ProcessIdentity::current().knows_ended(&writer)
    })
}

/// Reads an intent.
///
/// # Errors
/// `Missing`, `Damaged`, `Unsupported`, `Io`.
pub(crate) fn read_intent(repository: &Repository, session: SessionId) -> Result<Intent> {
    let name = ObjectName::Intent(session);
    let object = repository.storage().read(name, None, limits::ENVELOPE_BYTES)?;
    let (keys, intent) =
        format::decode_intent(&object, repository.keys()).map_err(|error| object_error(name, error))?;
    if keys.session() != session {
        return Err(EngineError::damaged(format!("object {name} belongs to another session")).about(name));
    }
    Ok(intent)
}

/// Takes over what interrupted writers of this machine left behind: a session whose process has certainly
/// ended is committed without a snapshot, so that its chunks count. How many there were.
///
/// This is safe at any time: index objects name only durable packs, and a writer that is alive after all finds
/// its register taken and fails, which loses nothing.
///
/// # Errors
/// `Io`.
pub(crate) fn adopt_dead_sessions(repository: &Repository, host: &str) -> Result<u64> {
    let me = ProcessIdentity::current();
    let mut adopted = 0;
    for session in SessionTable::load(repository)?.open() {
        let name = ObjectName::Intent(session);
        let Ok(intent) = read_intent(repository, session) else { continue };
        let writer = ProcessIdentity { process: intent.process, boot: intent.boot };
        if intent.host != host || !me.knows_ended(&writer) {
            continue;
        }
        index_leftovers(repository, session)?;
        let found = put_register(repository, session, SessionState::Committed(None))?;
        if found == SessionState::Committed(None) {
            adopted += 1;
        }
        let _ = repository.storage().remove(name);
    }
    Ok(adopted)
}

/// Writes the index objects that a dead session did not get to: of every pack of its own, from the packs' footers. A
/// pack that it did list is listed twice then, which does no harm.
fn index_leftovers(repository: &Repository, session: SessionId) -> Result<()> {
    let index = repository.load_index(&Silent)?;
    let mut listed = Vec::new();
    repository.storage().list(ObjectFamily::Packs, &mut |name, len| {
        if let ObjectName::Pack(id) = name {
            listed.push((id, len));
        }
    })?;
    let mut pending = IndexObject::empty(session);
    let mut chunks = 0;
    for (id, len) in listed {
        if index.has_pack(&id)? {
            continue;
        }
        // What can't be read was not finished, or is damaged: check tells.
        let Ok(footer) = repository.read_footer(id, len) else { continue };
        if footer.sessions.iter().any(|record| record.session() != session) {
            continue;
        }
        chunks += footer.segments.iter().map(|segment| segment.chunks.len()).sum::<usize>();
        pending.sessions = footer.sessions;
        pending.packs.push(PackRow { id, len, segments: footer.segments });
        if chunks >= INDEX_CHUNKS {
            write_index(repository, &std::mem::replace(&mut pending, IndexObject::empty(session)))?;
            chunks = 0;
        }
    }
    if pending.packs.is_empty() { Ok(()) } else { write_index(repository, &pending) }
}

fn write_index(repository: &Repository, index: &IndexObject) -> Result<()> {
    let bytes = format::encode_index(index, repository.domain(), 0);
    repository.storage().write_new(ObjectName::Index(IndexId::new(hash(&bytes))), &[&bytes])?;
    Ok(())
}
