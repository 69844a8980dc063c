//! Who is at work, or was: listing sessions, and ending those that nobody will end.

use crate::clock::Timestamp;
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::{SessionId, SnapshotId};
use crate::os::host::ProcessIdentity;
use crate::repository::{Repository, SessionTable, read_intent, revoke_session, writer_of};
use crate::storage::{ObjectFamily, ObjectName};

/// How a session ended, if it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// It did not: it runs, or was interrupted.
    Open,
    /// What it stored counts, and its snapshot exists, if there is one.
    Committed(Option<SnapshotId>),
    /// Nothing that it stored counts.
    Revoked,
    /// Its register can't be read.
    Damaged,
}

/// One writer's work.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    /// Its id.
    pub id: SessionId,
    /// How it ended.
    pub end: SessionEnd,
    /// What its intent says, as long as there is one.
    pub writer: Option<SessionWriterInfo>,
    /// Why its intent can't be read.
    pub problem: Option<String>,
}

/// Who works in a session.
#[derive(Debug, Clone)]
pub struct SessionWriterInfo {
    /// On which machine.
    pub host: String,
    /// In which process.
    pub process: u64,
    /// Program and version.
    pub program: String,
    /// Since when, by that machine's clock.
    pub started: Timestamp,
    /// Whether the process is there; `None` if that can't be seen from here.
    pub is_alive: Option<bool>,
}

/// Lists sessions, the oldest first: those that are open, or with `all` also those that have ended. `host` is the name
/// of this machine.
///
/// # Errors
/// `Io`.
pub fn list_sessions(repository: &Repository, host: &str, all: bool) -> Result<Vec<SessionInfo>> {
    let table = SessionTable::load(repository)?;
    let mut sessions = Vec::new();
    for id in listed(repository)? {
        let end = end_of(&table, id);
        if all || end == SessionEnd::Open {
            sessions.extend(look_at(repository, host, id, end)?);
        }
    }
    let started = |session: &SessionInfo| session.writer.as_ref().map(|writer| writer.started);
    sessions.sort_by_key(|session| (started(session), session.id));
    Ok(sessions)
}

/// The sessions of which there is any object.
fn listed(repository: &Repository) -> Result<Vec<SessionId>> {
    let mut ids = Vec::new();
    repository.storage().list(ObjectFamily::Sessions, &mut |name, _| {
        if let ObjectName::Intent(id) | ObjectName::Register(id) = name {
            ids.push(id);
        }
    })?;
    ids.sort();
    ids.dedup();
    Ok(ids)
}

fn end_of(table: &SessionTable, id: SessionId) -> SessionEnd {
    match table.end_of(id) {
        Some(crate::format::SessionState::Committed(snapshot)) => SessionEnd::Committed(snapshot),
        Some(crate::format::SessionState::Revoked) => SessionEnd::Revoked,
        None if table.damaged().iter().any(|(damaged, _)| *damaged == id) => SessionEnd::Damaged,
        None => SessionEnd::Open,
    }
}

/// What there is to know of a session; nothing of an open one whose intent is gone: it has just ended.
fn look_at(repository: &Repository, host: &str, id: SessionId, end: SessionEnd) -> Result<Option<SessionInfo>> {
    let (mut writer, mut problem) = (None, None);
    match read_intent(repository, id) {
        Ok(intent) => {
            let (me, other) = (ProcessIdentity::current(), writer_of(&intent));
            let is_alive = match intent.host == host {
                true if me.knows_ended(&other) => Some(false),
                true if me.knows_running(&other) => Some(true),
                _ => None,
            };
            let (process, started) = (intent.process, intent.started);
            writer = Some(SessionWriterInfo { host: intent.host, process, program: intent.program, started, is_alive });
        }
        Err(error) if error.kind() == ErrorKind::Missing && end == SessionEnd::Open => return Ok(None),
        Err(error) if error.kind() == ErrorKind::Missing => {}
        Err(error) if error.kind() == ErrorKind::Io => return Err(error),
        Err(error) => problem = Some(error.to_string()),
    }
    Ok(Some(SessionInfo { id, end, writer, problem }))
}

/// Ends the open sessions of these ids, or first digits of ids: nothing that they stored will ever count, and writers
/// that are still at it fail when they want to commit. Whether each was revoked only now. All names are looked up first.
///
/// Whoever says this says that these writers will not come back; with `force` also of one that runs on this machine.
///
/// # Errors
/// `NotFound`, `Ambiguous`, `Io`; `Invalid` for a session that is committed: what it stored counts for ever; `InUse` for one
/// that runs on this machine. Those named before are revoked then.
pub fn revoke_sessions(
    repository: &Repository,
    names: &[String],
    host: &str,
    force: bool,
) -> Result<Vec<(SessionId, bool)>> {
    let known = listed(repository)?;
    let ids = names.iter().map(|name| choose(&known, name)).collect::<Result<Vec<_>>>()?;
    let mut revoked = Vec::with_capacity(ids.len());
    for id in ids {
        let writer = look_at(repository, host, id, SessionEnd::Open)?.and_then(|session| session.writer);
        if let Some(writer) = writer.filter(|writer| writer.is_alive == Some(true) && !force) {
            let text = format!("session {id} is running here, as process {}", writer.process);
            return Err(EngineError::new(ErrorKind::InUse, text));
        }
        revoked.push((id, revoke_session(repository, id)?));
    }
    Ok(revoked)
}

fn choose(known: &[SessionId], name: &str) -> Result<SessionId> {
    let found: Vec<&SessionId> = known.iter().filter(|id| !name.is_empty() && id.to_hex().starts_with(name)).collect();
    match found.as_slice() {
        [id] => Ok(**id),
        [] => Err(EngineError::new(ErrorKind::NotFound, format!("no session begins with {name:?}"))),
        more => Err(EngineError::new(ErrorKind::Ambiguous, format!("{} sessions begin with {name:?}", more.len()))),
    }
}
