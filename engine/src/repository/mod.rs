//! An opened repository: keys, config, index, and the ways in and out for chunks. It has no verbs; `ops` does.

mod adoption;
mod census;
mod clients;
mod content;
mod directory;
mod early;
mod hidden;
mod index;
mod known;
mod listed;
mod load;
mod local_state;
mod objects;
mod plans;
mod proofs;
mod reader;
mod recent;
mod rows;
mod seen;
mod sessions;
mod snapshots;
mod store;
mod translation;
mod trees_ahead;
mod writer;

pub use census::{Census, MARKS_AT_ONCE, PackCount};
pub use content::{ContentReader, ContentWriter};
pub use directory::{DirectoryReader, DirectoryWriter};
pub use early::EarlyStretch;
pub use index::{Index, Place, SegmentKey, SegmentPlace};
pub use objects::PastCache;
pub use plans::{OpenPlan, Plans, put_done, put_plan, put_state, read_done, read_plan, read_state};
pub use proofs::{Proofs, put_proof};
pub use reader::{ChunkReader, OpenSegment, SegmentReader};
pub use sessions::{Session, SessionTable};
pub(crate) use snapshots::read_snapshots_with_records_as_they_are;
pub use snapshots::{SnapshotSet, read_snapshots};
pub use translation::Translation;
pub use trees_ahead::TreesAhead;
pub use writer::{PlainSegment, SegmentBuilder, SessionWriter, WriterStatistics};

pub(crate) use adoption::adopt_dead_sessions;
pub(crate) use sessions::{end_session, has_died, read_intent, revoke_session, writer_of};
pub(crate) use snapshots::{put_record, read_lasting_snapshot, read_record, read_snapshot};
pub(crate) use writer::write_snapshot;

pub use crate::crypto::{Secret, Stretch};
pub use crate::format::{Proof, ProvenService};

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use crate::crypto::{
    CryptoError, DomainKeys, Keys, RootSecret, SessionKeyRecord, SessionKeys, SlotView, Unlocked, open_slot,
};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{self, FormatError};
use crate::id::{DomainId, EpochId, RepositoryId, SessionId, SlotId};
use crate::limits;
use crate::model::{Config, Signer};
use crate::os::lock::CacheDirectory;
use crate::storage::{ObjectFamily, ObjectName, SpooledStorage, Storage};

/// A repository whose keys are at hand.
pub struct Repository {
    storage: Arc<dyn Storage>,
    config: Config,
    keys: Keys,
    domain: Arc<DomainKeys>,
    /// Those of other domains, as far as they were asked for.
    domains: Mutex<HashMap<DomainId, Arc<DomainKeys>>>,
    clients: clients::Clients,
    local: local_state::LocalState,
    slot: OpenedSlot,
    /// A root newer than that of the keys.
    newer_root: Option<EpochId>,
    cache: CacheDirectory,
    sessions: Mutex<HashMap<SessionId, Arc<SessionKeys>>>,
    objects: Option<objects::ObjectCache>,
    opened_indexes: early::OpenedIndexes,
    spool: Option<Arc<SpooledStorage>>,
    told_of_an_earlier_state: AtomicBool,
}

impl Repository {
    /// Opens the repository in `storage` with a secret of one of its key slots. `cache` is the directory for the
    /// caches of all repositories. Takes one Argon2id computation per password slot that is tried.
    ///
    /// # Errors
    /// `NoRepository`, `WrongPassword`, `Unsupported` (newer format or features), `Damaged`, `Io`.
    pub fn open(storage: Arc<dyn Storage>, secret: &Secret, cache: &Path) -> Result<Self> {
        Self::open_begun(storage, secret, &mut None, cache)
    }

    /// As [`Self::open`], with what was begun with this secret for the slot that it is expected to open. That is taken if it is
    /// for a slot that is there.
    ///
    /// # Errors
    /// As there.
    pub fn open_begun(
        storage: Arc<dyn Storage>,
        secret: &Secret,
        early: &mut Option<EarlyStretch>,
        cache: &Path,
    ) -> Result<Self> {
        let object =
            storage.read(ObjectName::Config, None, limits::SMALL_OBJECT_BYTES).map_err(|error| match error.kind() {
                ErrorKind::Missing => EngineError::new(ErrorKind::NoRepository, "no repository here: it has no config"),
                _ => error,
            })?;
        let config = format::decode_config(&object).map_err(|error| object_error(ObjectName::Config, error))?;
        let (keys, slot, newer_root) = unlock(&*storage, config.id, secret, early)?;
        format::verify_config(&object, &keys).map_err(|error| object_error(ObjectName::Config, error))?;
        let cache = CacheDirectory::open(cache, &config.id.to_hex())?;
        let domain = keys.domain(keys.own_domain()).expect("keys open their own domain");
        Ok(Self {
            storage,
            config,
            keys,
            domain: Arc::new(domain),
            domains: Mutex::default(),
            clients: clients::Clients::default(),
            local: local_state::LocalState::default(),
            slot,
            newer_root,
            cache,
            sessions: Mutex::default(),
            objects: None,
            opened_indexes: early::OpenedIndexes::default(),
            spool: None,
            told_of_an_earlier_state: AtomicBool::new(false),
        })
    }

    /// Names it for ever.
    pub fn id(&self) -> RepositoryId {
        self.config.id
    }

    /// What it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where its objects are.
    pub fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// Keeps copies of packs that are written from now on, on this machine, so many bytes at most: they are read again soon.
    /// Nothing if the storage is a directory of this machine.
    ///
    /// # Errors
    /// `Io` if there is no place for them; all is as before then.
    pub fn spool_writes(&mut self, limit_bytes: u64) -> Result<()> {
        if self.spool.is_some() || !self.storage.capabilities().is_far() {
            return Ok(());
        }
        let spool = SpooledStorage::new(Arc::clone(&self.storage), self.cache.path(), limit_bytes)?;
        let spool = self.spool.insert(Arc::new(spool));
        self.storage = Arc::clone(spool) as Arc<dyn Storage>;
        Ok(())
    }

    /// Gives the room of these copies back: what was written until now is not read again.
    pub fn clear_spool(&self) {
        if let Some(spool) = &self.spool {
            spool.clear();
        }
    }

    /// The keys that were unlocked.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The keys of the domain that new chunks go into: full clients share one.
    pub fn domain(&self) -> &Arc<DomainKeys> {
        &self.domain
    }

    /// The keys of any domain, derived once.
    ///
    /// # Errors
    /// `OnlyAdds` if these keys are of another one and may only add.
    pub fn domain_keys(&self, domain: DomainId) -> Result<Arc<DomainKeys>> {
        if domain == self.domain.domain() {
            return Ok(Arc::clone(&self.domain));
        }
        let mut domains = self.domains.lock().expect("no holder of this lock panics");
        if let Some(keys) = domains.get(&domain) {
            return Ok(Arc::clone(keys));
        }
        let keys = Arc::new(self.keys.domain(domain).map_err(only_adds)?);
        domains.insert(domain, Arc::clone(&keys));
        Ok(keys)
    }

    /// Who makes what is written through this.
    pub fn signer(&self) -> Signer {
        self.keys.client().map_or(Signer::Full, Signer::Client)
    }

    /// Whether the key that opened it can only add snapshots.
    pub fn only_adds(&self) -> bool {
        self.keys.client().is_some()
    }

    /// Refuses what needs to read, or to change what others did.
    ///
    /// # Errors
    /// `OnlyAdds`.
    pub fn require_full_key(&self) -> Result<()> {
        if self.only_adds() { Err(only_adds(CryptoError::OnlyAdds)) } else { Ok(()) }
    }

    /// The key slot that the secret opened.
    pub fn slot(&self) -> SlotId {
        self.slot.id
    }

    /// How that slot wants its secret to be stretched, if it does.
    pub fn stretch(&self) -> Option<Stretch> {
        self.slot.stretch
    }

    /// What is wrong with a key of before a rotation: what has been stored since, it can't read, and whatever it stored
    /// would be open to all who had such a key.
    pub fn former_key(&self) -> Option<EngineError> {
        let name = ObjectName::Root(self.newer_root?);
        let text = format!("this key is of before a rotation: object {name} has what replaced it");
        Some(EngineError::new(ErrorKind::FormerKey, text).about(name))
    }

    /// Where its cache is. It may vanish at any time.
    pub fn cache_directory(&self) -> &Path {
        self.cache.path()
    }

    /// Why the cache that was asked for can't be used, if it can't: another one stands in, until the end.
    pub fn cache_problem(&self) -> Option<&str> {
        self.cache.problem()
    }

    /// The keys of a session, opened once.
    ///
    /// # Errors
    /// `Damaged` if the record doesn't open; `Unsupported`.
    pub fn session_keys(&self, record: &SessionKeyRecord) -> Result<Arc<SessionKeys>> {
        let mut sessions = self.sessions.lock().expect("no holder of this lock panics");
        if let Some(keys) = sessions.get(&record.session()).filter(|keys| keys.record() == record) {
            return Ok(Arc::clone(keys));
        }
        let keys = self.keys.open_session(record).map_err(|error| match error {
            CryptoError::OnlyAdds => only_adds(error),
            error => {
                EngineError::with_source(ErrorKind::Damaged, format!("keys of session {}", record.session()), error)
            }
        })?;
        let keys = Arc::new(keys);
        sessions.insert(record.session(), Arc::clone(&keys));
        Ok(keys)
    }

    /// Whether this is the repository as it was once.
    pub(crate) fn is_past(&self) -> bool {
        self.storage.capabilities().is_past
    }

    /// Refuses to write if the repository needs a feature for that which this program lacks, or is one of the past, or the
    /// key is.
    ///
    /// # Errors
    /// `Unsupported`; `Invalid` in an earlier state; `FormerKey`.
    pub fn require_writable(&self) -> Result<()> {
        if self.is_past() {
            return Err(EngineError::new(ErrorKind::Invalid, "cannot write: an earlier state can only be read"));
        }
        if let Some(error) = self.former_key() {
            return Err(error);
        }
        match self.config.features_write.first() {
            None => Ok(()),
            Some(feature) => Err(EngineError::new(
                ErrorKind::Unsupported,
                format!("cannot write: the repository needs feature {feature:?}"),
            )),
        }
    }
}

/// The error for what a key can't do that only adds.
fn only_adds(error: CryptoError) -> EngineError {
    EngineError::new(ErrorKind::OnlyAdds, error.to_string())
}

/// The error for an object whose bytes are not what they should be.
pub(crate) fn object_error(name: ObjectName, error: FormatError) -> EngineError {
    if error == FormatError::Crypto(CryptoError::OnlyAdds) {
        return only_adds(CryptoError::OnlyAdds).about(name);
    }
    let kind = if error.is_unsupported() { ErrorKind::Unsupported } else { ErrorKind::Damaged };
    EngineError::with_source(kind, format!("object {name}"), error).about(name)
}

/// The slot that the secret opened.
struct OpenedSlot {
    id: SlotId,
    stretch: Option<Stretch>,
}

/// Tries the secret on every key slot, those of the newest root first, and of these the one that was expected. One that is
/// damaged does not keep others from opening. Says which slot it was, and whether a newer root holds.
fn unlock(
    storage: &dyn Storage,
    repository: RepositoryId,
    secret: &Secret,
    early: &mut Option<EarlyStretch>,
) -> Result<(Keys, OpenedSlot, Option<EpochId>)> {
    let mut slots = Vec::new();
    storage.list(ObjectFamily::Keys, &mut |name, _| slots.push(name))?;
    slots.sort();
    if slots.is_empty() {
        return Err(EngineError::new(ErrorKind::Missing, "the repository has no key slots left"));
    }
    let mut first_damage = None;
    storage.expect(&[], &slots);
    let mut objects = Vec::new();
    for name in slots {
        match storage.read(name, None, limits::SMALL_OBJECT_BYTES) {
            Ok(object) => objects.push((name, object)),
            Err(error) => drop(first_damage.get_or_insert(error)),
        }
    }
    let mut views = Vec::new();
    for (name, object) in &objects {
        match view_slot(*name, object) {
            Ok(view) => views.push((*name, view)),
            Err(error) => drop(first_damage.get_or_insert(error)),
        }
    }
    let is_expected = |view: &SlotView<'_>| early.as_ref().is_some_and(|early| early.is_for(view));
    views.sort_by_key(|(_, view)| std::cmp::Reverse((view.epoch, is_expected(view))));
    let newest = views.first().map_or(0, |(_, view)| view.epoch);
    for (name, view) in views {
        match try_slot(storage, repository, name, &view, secret, early) {
            Ok(Some(keys)) => {
                let slot = OpenedSlot { id: view.id, stretch: Stretch::of(&view) };
                return Ok((keys, slot, newer_root(storage, view.epoch, newest)?));
            }
            Ok(None) => {}
            Err(error) => drop(first_damage.get_or_insert(error)),
        }
    }
    Err(first_damage
        .unwrap_or_else(|| EngineError::new(ErrorKind::WrongPassword, "no key slot opens with this secret")))
}

/// The newest root, if it is newer than `epoch`. A rotation puts its key slot before its root, and removes no other before
/// both are there: unless a slot is of a newer one, nothing needs to be asked.
fn newer_root(storage: &dyn Storage, epoch: u32, newest_slot: u32) -> Result<Option<EpochId>> {
    let mut newer = None;
    if newest_slot > epoch {
        storage.list(ObjectFamily::Roots, &mut |name, _| {
            if let ObjectName::Root(root) = name {
                newer = newer.max(Some(root).filter(|root| root.number() > epoch));
            }
        })?;
    }
    Ok(newer)
}

fn view_slot(name: ObjectName, object: &[u8]) -> Result<SlotView<'_>> {
    let (view, _) = format::decode_slot(object).map_err(|error| object_error(name, error))?;
    if name != ObjectName::Key(view.id) {
        return Err(EngineError::damaged(format!("object {name} holds another slot")));
    }
    Ok(view)
}

fn try_slot(
    storage: &dyn Storage,
    repository: RepositoryId,
    name: ObjectName,
    view: &SlotView<'_>,
    secret: &Secret,
    early: &mut Option<EarlyStretch>,
) -> Result<Option<Keys>> {
    let stretched =
        early.take_if(|early| view.kind == secret.kind() && early.is_for(view)).and_then(EarlyStretch::finish);
    let unlocked = open_slot(view, repository, secret, stretched).map_err(|error| object_error(name, error.into()))?;
    Ok(match unlocked {
        None => None,
        Some(Unlocked::Credential(credential)) => Some(Keys::of_client(credential, repository, view.epoch)),
        Some(Unlocked::Root(root)) => Some(Keys::of_epochs(roots(storage, repository, root, view.epoch)?, repository)),
    })
}

/// All root secrets up to that of `epoch`, in their order: each is sealed with the next.
fn roots(storage: &dyn Storage, repository: RepositoryId, root: RootSecret, epoch: u32) -> Result<Vec<RootSecret>> {
    let mut roots = vec![root];
    for epoch in (1..=epoch).rev().filter_map(EpochId::new) {
        let name = ObjectName::Root(epoch);
        let object = storage.read(name, None, limits::SMALL_OBJECT_BYTES)?;
        let newer = roots.last().expect("the first is there");
        let former = format::decode_root(&object, newer, epoch.number(), repository);
        roots.push(former.map_err(|error| object_error(name, error))?);
    }
    roots.reverse();
    Ok(roots)
}
