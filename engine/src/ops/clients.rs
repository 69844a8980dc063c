//! Write-only clients: how one is made, which there are, and how one ends. Spec chapter 16.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::init::write_slot;
use super::keys::sealing;
use super::repair::{RepairOptions, begin};
use crate::clock::{Clock, Timestamp};
use crate::crypto::{ClientEnd, Held, Secret};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{self, ClientRecord, IndexObject, SessionState};
use crate::id::{ClientId, DomainId, IndexId, PackId, SessionId, SlotId, SnapshotId};
use crate::limits;
use crate::model::Signer;
use crate::monitor::{Problem, Silent};
use crate::repository::{Repository, SessionTable, read_record, read_snapshot};
use crate::storage::{ObjectFamily, ObjectName, Outcome};

/// A write-only client as people see it.
#[derive(Debug, Clone)]
pub struct ClientInfo {
    /// Its id, and that of its key slot.
    pub id: ClientId,
    /// The deduplication domain that it stores in.
    pub domain: DomainId,
    /// The host whose snapshots it adds.
    pub host: String,
    /// What its maker called it.
    pub label: String,
    /// When it was made.
    pub created: Timestamp,
    /// Whether nothing that it puts counts any more.
    pub has_ended: bool,
}

/// The write-only clients, oldest first, and those that can't be read.
///
/// # Errors
/// `OnlyAdds`, `Io`.
pub fn list_clients(repository: &Repository) -> Result<(Vec<ClientInfo>, Vec<Problem>)> {
    repository.require_full_key()?;
    let (clients, problems) = repository.read_clients()?;
    let info = |(record, known): (ClientRecord, crate::crypto::KnownClient)| ClientInfo {
        id: record.id,
        domain: record.domain,
        host: record.host,
        label: record.label,
        created: record.created,
        has_ended: known.end.is_some(),
    };
    let mut clients: Vec<ClientInfo> = clients.into_iter().map(info).collect();
    clients.sort_by_key(|client| (client.created, client.id));
    Ok((clients, problems))
}

/// What to make a write-only client with.
#[derive(Debug, Clone, Default)]
pub struct NewClient {
    /// The host whose snapshots it adds; those of others it can't.
    pub host: String,
    /// A name for people.
    pub label: String,
    /// Beginning of the id, or label, of a client whose domain it goes on with; `None`: a new domain.
    pub like: Option<String>,
    /// Argon2id with 512 MiB instead of 64, if the secret is a password.
    pub strong_kdf: bool,
    /// The machine that does it, program and version.
    pub by: RepairOptions,
}

/// Makes a write-only client, whose credential `secret` unlocks.
///
/// # Errors
/// `Invalid` without a host; `NotFound` and `Ambiguous` for the client that it is to be like; `OnlyAdds`, `Unsupported`, `Io`.
pub fn add_client(repository: &Repository, secret: &Secret, new: &NewClient, clock: &dyn Clock) -> Result<ClientInfo> {
    repository.require_writable()?;
    if new.host.is_empty() {
        return Err(EngineError::new(ErrorKind::Invalid, "a write-only key needs a host"));
    }
    let domain = new.like.as_deref().map(|like| domain_like(repository, like)).transpose()?;
    if let Some(domain) = domain {
        vouch(repository, domain, &new.by, clock)?;
    }
    let keys = repository.keys();
    let credential = keys.new_credential(domain).map_err(sealing)?;
    let record = ClientRecord {
        id: credential.client(),
        domain: credential.domain(),
        public_key: credential.public_key(),
        host: new.host.clone(),
        created: clock.now(),
        label: new.label.clone(),
    };
    // First: what is signed by a client without a record can't be verified.
    let object = format::encode_client(&record, keys, &keys.new_session(DomainId::SHARED));
    repository.storage().write_new(ObjectName::Client(record.id), &[&object])?;
    let held = Held::Credential(&credential);
    write_slot(repository.storage(), keys, &held, secret, new.strong_kdf, &new.label, clock)?;
    let ClientRecord { id, domain, host, label, created, .. } = record;
    Ok(ClientInfo { id, domain, host, label, created, has_ended: false })
}

/// Lists again, as a full client, what write-only ones have listed in a domain: a client can't check what others signed, and whoever
/// goes on in a domain is to find what is there.
fn vouch(repository: &Repository, domain: DomainId, by: &RepairOptions, clock: &dyn Clock) -> Result<()> {
    // It copies rows, and keeps out of the way of sweeps as a repair does.
    let session = begin(repository, domain, by, clock)?;
    let relist = || -> Result<()> {
        let index = repository.load_index_anew(&Silent)?;
        for id in indexes_of(repository, domain)? {
            // Anybody who has a client's key can put garbage.
            let Some(object) = legible(repository.read_index(id))? else { continue };
            let counts = index.sessions().is_committed_by(object.session, object.signer)
                && repository.counts_of_its_client(&id, &object)
                && !index.replaced().contains(&id);
            if object.signer != Signer::Full && counts {
                let own = IndexObject { session: session.id(), replaces: vec![id], ..object };
                repository.put_index(&own, false)?;
            }
        }
        Ok(())
    };
    match relist() {
        Ok(()) => session.commit(repository, None),
        Err(error) => {
            session.give_up(repository);
            Err(error)
        }
    }
}

fn domain_like(repository: &Repository, like: &str) -> Result<DomainId> {
    let (clients, _) = list_clients(repository)?;
    let fits = |client: &&ClientInfo| client.label == like || (like.len() >= 4 && client.id.to_hex().starts_with(like));
    let domains: HashSet<DomainId> = clients.iter().filter(fits).map(|client| client.domain).collect();
    match (domains.len(), domains.into_iter().next()) {
        (1, Some(domain)) => Ok(domain),
        (0, _) => Err(EngineError::new(ErrorKind::NotFound, format!("write-only key {like:?} does not exist"))),
        _ => Err(EngineError::new(ErrorKind::Ambiguous, format!("write-only key {like:?}: several are called so"))),
    }
}

/// What counts of a client that has ended.
#[derive(Debug, Clone)]
pub struct EndedClient {
    /// The client.
    pub id: ClientId,
    /// The host whose snapshots it added.
    pub host: String,
    /// What its maker called it.
    pub label: String,
    /// Its sessions that count.
    pub sessions: u64,
    /// Those that it committed and that do not: what they name is not there.
    pub left_out: u64,
}

/// Ends a client: what it committed until now counts, and nothing after that.
pub(super) fn end_client(repository: &Repository, client: &ClientRecord, clock: &dyn Clock) -> Result<EndedClient> {
    repository.require_writable()?;
    let id = client.id;
    let signer = Signer::Client(id);
    // What is counted here is what counts from now on, so it is not taken from a cache.
    let _as_it_is = repository.past_object_cache();
    let sessions = SessionTable::load(repository)?;
    let mut end = ClientEnd { sessions: with_snapshots(repository, &sessions, signer)?, ..ClientEnd::default() };
    let packs = repository.list_packs()?;
    for index in indexes_of(repository, client.domain)? {
        let Some(object) = legible(repository.read_index(index))? else { continue };
        if object.signer != signer || !sessions.is_committed_by(object.session, signer) {
            continue;
        }
        // Whatever became of its snapshot: later ones may need what it lists.
        if end.sessions.contains(&object.session) && is_there(&object, &packs) || is_right(repository, &object, &packs)?
        {
            end.sessions.insert(object.session);
            end.indexes.insert(index);
        }
    }
    let is_left_out = |(session, state): &(SessionId, SessionState)| {
        matches!(state, SessionState::Committed(Some(_))) && !end.sessions.contains(session)
    };
    let left_out = sessions.ended_by(signer).filter(is_left_out).count() as u64;
    let keys = repository.keys();
    let object = format::encode_client_end(id, clock.now(), &end, keys, &keys.new_session(DomainId::SHARED));
    if object.len() as u64 > limits::ENVELOPE_BYTES {
        let text = "more of this client would count than its end can name: remove its snapshots first";
        return Err(EngineError::new(ErrorKind::Unsupported, text));
    }
    let name = ObjectName::ClientEnd(id);
    if repository.storage().write_new(name, &[&object])? == Outcome::Existed {
        repository.storage().persist(name)?;
    }
    // What this machine's index has of it may not count any more.
    repository.forget_local_index();
    Ok(EndedClient {
        id,
        host: client.host.clone(),
        label: client.label.clone(),
        sessions: end.sessions.len() as u64,
        left_out,
    })
}

/// The sessions of a signer that count by their snapshots: these are there and theirs, or a record says that they were.
/// Anybody who has its key can put any number of registers; each costs the end room, so that they name something is not enough.
fn with_snapshots(repository: &Repository, sessions: &SessionTable, signer: Signer) -> Result<HashSet<SessionId>> {
    let storage = repository.storage();
    let (mut there, mut forgotten) = (HashSet::new(), HashSet::new());
    for family in [ObjectFamily::Snapshots, ObjectFamily::Forgotten] {
        storage.list(family, &mut |name, _| match name {
            ObjectName::Snapshot(id) => drop(there.insert(id)),
            ObjectName::Forgotten(id) => drop(forgotten.insert(id)),
            _ => {}
        })?;
    }
    let mut named: HashMap<SnapshotId, Vec<SessionId>> = HashMap::new();
    for (session, state) in sessions.ended_by(signer) {
        if let SessionState::Committed(Some(snapshot)) = state {
            named.entry(snapshot).or_default().push(session);
        }
    }
    let mut found = HashSet::new();
    for (id, by) in named {
        if there.contains(&id) {
            let read = legible(read_snapshot(repository, id))?;
            found.extend(read.map(|(session, _)| session).filter(|session| by.contains(session)));
        } else if forgotten.contains(&id) && legible(read_record(repository, id))?.is_some() {
            found.extend(by);
        }
    }
    Ok(found)
}

/// What was read, unless it can't be: it may be garbage on purpose. That the storage did not answer says nothing.
fn legible<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Err(error) if error.is_unanswered() => Err(error),
        read => Ok(read.ok()),
    }
}

/// Whether all packs that an index object lists are there.
fn is_there(object: &IndexObject, packs: &BTreeMap<PackId, u64>) -> bool {
    object.packs.iter().all(|pack| packs.get(&pack.id) == Some(&pack.len))
}

/// Whether it lists some packs, and their footers say the same of each.
fn is_right(repository: &Repository, object: &IndexObject, packs: &BTreeMap<PackId, u64>) -> Result<bool> {
    if object.packs.is_empty() || !is_there(object, packs) {
        return Ok(false);
    }
    for pack in &object.packs {
        let footer = legible(repository.read_footer(pack.id, pack.len))?;
        if footer.is_none_or(|footer| footer.segments != pack.segments) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The index objects of a domain.
fn indexes_of(repository: &Repository, domain: DomainId) -> Result<Vec<IndexId>> {
    let mut found = Vec::new();
    for id in repository.list_indexes()? {
        if repository.is_index_of(id, |of| of == domain)? {
            found.push(id);
        }
    }
    Ok(found)
}

/// The slot of a client's credential.
pub fn slot_of_client(id: ClientId) -> SlotId {
    SlotId::new(*id.as_bytes())
}
