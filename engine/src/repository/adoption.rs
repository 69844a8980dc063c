//! Taking over what interrupted writers of this machine stored: PROTOCOL.md, chapter 3, A1 to A4.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::sessions::{INDEX_CHUNKS, SessionTable, end_session, which_have_died};
use super::{Index, Repository, Session};
use crate::crypto::SessionKeyRecord;
use crate::error::{ErrorKind, Result};
use crate::format::IndexObject;
use crate::id::{DomainId, IndexId, PackId, SessionId};
use crate::model::PackRow;
use crate::monitor::Silent;
use crate::storage::ObjectName;

/// Takes over what dead writers of this machine stored: from now on it belongs to `session`, which has just begun and
/// has not loaded its index. How many writers there were.
///
/// Each of them is revoked first. One that is alive after all finds that out when it commits, fails, and is run again.
///
/// # Errors
/// `Io`.
pub(crate) fn adopt_dead_sessions(repository: &Repository, session: &mut Session, host: &str) -> Result<u64> {
    // The open sessions whose process has certainly ended on this machine.
    let candidates = which_have_died(repository, &session.others_open(repository)?, host)?;
    if candidates.is_empty() {
        return Ok(0);
    }
    session.forget_listed();
    repository.storage().forget_expected();
    // Which packs no index object names that counts; the session loads an index of its own after this.
    let index = repository.load_index(&Silent)?;
    let mut dead = HashSet::new();
    for id in candidates {
        if revoke(repository, id)? {
            dead.insert(id);
        }
    }
    let mut adoption = Adoption {
        repository,
        session,
        sessions: index.sessions(),
        found: repository.list_packs()?,
        pending: HashMap::new(),
        packs: Vec::new(),
        chunks: 0,
    };
    let listed = index.sessions().uncommitted_indexes(&dead);
    for id in &listed {
        adoption.take_listed(*id)?;
    }
    adoption.take_orphans(&index, &dead)?;
    adoption.put()?;
    // Nothing of a revoked session ever counts. Where removing is not allowed, a prune sees to it.
    let indexes = listed.into_iter().map(ObjectName::Index);
    for name in dead.iter().map(|id| ObjectName::Intent(*id)).chain(indexes) {
        let _ = repository.storage().remove(name);
    }
    Ok(dead.len() as u64)
}

/// A1. Whether this put was the one that decided: what a prune revoked may be about to be swept.
fn revoke(repository: &Repository, session: SessionId) -> Result<bool> {
    match end_session(repository, session) {
        Err(error) if error.kind() != ErrorKind::Io => Ok(false),
        decided => decided,
    }
}

/// Packs on their way from dead sessions to a living one.
struct Adoption<'a> {
    repository: &'a Repository,
    session: &'a mut Session,
    sessions: &'a SessionTable,
    /// Packs that are there and not taken yet, with their lengths in bytes.
    found: BTreeMap<PackId, u64>,
    /// For the next index object: the keys of those who sealed the segments, and the packs.
    pending: HashMap<SessionId, SessionKeyRecord>,
    packs: Vec<PackRow>,
    chunks: usize,
}

impl Adoption<'_> {
    /// A2, the packs that an index object of a dead session names.
    fn take_listed(&mut self, id: IndexId) -> Result<()> {
        match self.repository.read_index(id) {
            // Anybody can name a session of this client. What others said in its name is not what it stored, and what
            // it stored in another domain can't be listed in this one.
            Ok(object) if object.signer != self.repository.signer() || object.domain != self.domain() => Ok(()),
            Ok(object) => {
                let mut packs = object.packs.into_iter();
                packs.try_for_each(|pack| self.take(pack, &object.sessions))
            }
            Err(error) if error.kind() == ErrorKind::Io => Err(error),
            Err(_) => Ok(()),
        }
    }

    /// A2, the packs that nobody lists and whose footers name a dead session.
    fn take_orphans(&mut self, index: &Index, dead: &HashSet<SessionId>) -> Result<()> {
        for (id, len) in self.found.clone() {
            if !self.found.contains_key(&id) || index.has_pack(&id)? {
                continue;
            }
            // What can't be read was not finished, or is damaged: check tells.
            let Ok(footer) = self.repository.read_footer(id, len) else { continue };
            let domain = self.domain();
            let is_theirs = |record: &SessionKeyRecord| dead.contains(&record.session()) && record.domain() == domain;
            if !footer.sessions.is_empty() && footer.sessions.iter().all(is_theirs) {
                self.take(PackRow { id, len, segments: footer.segments }, &footer.sessions)?;
            }
        }
        Ok(())
    }

    /// Takes a pack that is there and not condemned, once.
    fn take(&mut self, pack: PackRow, keys: &[SessionKeyRecord]) -> Result<()> {
        if self.session.plans().condemns(&pack.id) || self.found.get(&pack.id) != Some(&pack.len) {
            return Ok(());
        }
        self.found.remove(&pack.id);
        // A segment of a session that is committed counts by itself, or was taken out of the index by a repair: what a
        // dead one copied from there, and did not commit, is for nobody to bring back.
        if pack.segments.iter().any(|row| self.sessions.is_committed(row.session)) {
            return Ok(());
        }
        // Its writer may have died before that.
        self.repository.storage().persist(ObjectName::Pack(pack.id))?;
        let used = |record: &&SessionKeyRecord| pack.segments.iter().any(|row| row.session == record.session());
        self.pending.extend(keys.iter().filter(used).map(|record| (record.session(), record.clone())));
        self.chunks += pack.segments.iter().map(|segment| segment.chunks.len()).sum::<usize>();
        self.packs.push(pack);
        if self.chunks >= INDEX_CHUNKS { self.put() } else { Ok(()) }
    }

    /// What is taken over is of this domain.
    fn domain(&self) -> DomainId {
        self.repository.domain().domain()
    }

    /// A3: an index object in the name of the session that adopts.
    fn put(&mut self) -> Result<()> {
        if self.packs.is_empty() {
            return Ok(());
        }
        let object = IndexObject {
            sessions: std::mem::take(&mut self.pending).into_values().collect(),
            packs: std::mem::take(&mut self.packs),
            ..IndexObject::empty(self.session.id(), self.domain())
        };
        self.chunks = 0;
        let (id, _) = self.repository.put_index(&object, false)?;
        self.session.note_adopted(id);
        Ok(())
    }
}
