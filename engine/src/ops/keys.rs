//! Key slots: who can open the repository.

use super::clients::{EndedClient, end_client, slot_of_client};
use super::init::write_slot;
use crate::clock::{Clock, Timestamp};
use crate::crypto::{Held, Secret, SlotKind, read_label};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::decode_slot;
use crate::id::SlotId;
use crate::limits;
use crate::monitor::Problem;
use crate::repository::Repository;
use crate::storage::{ObjectFamily, ObjectName};

/// A key slot as people see it.
#[derive(Debug, Clone)]
pub struct KeySlotInfo {
    /// Its id.
    pub id: SlotId,
    /// Whether it can only add snapshots.
    pub only_adds: bool,
    /// Which root secret it holds, or is of.
    pub epoch: u32,
    /// What opens it: `password`, `key file` or `recovery code`.
    pub kind: &'static str,
    /// What its maker called it.
    pub label: String,
    /// When it was made.
    pub created: Timestamp,
    /// Whether the secret at hand opened this one.
    pub current: bool,
    /// Argon2id's memory in KiB, passes and lanes; `None` if the secret is random.
    pub kdf: Option<(u32, u32, u32)>,
}

/// Lists the slots, oldest first, and those that can't be read.
///
/// # Errors
/// `Io`.
pub fn list_keys(repository: &Repository) -> Result<(Vec<KeySlotInfo>, Vec<Problem>)> {
    let mut names = Vec::new();
    repository.storage().list(ObjectFamily::Keys, &mut |name, _| names.push(name))?;
    names.sort();
    let (mut slots, mut problems) = (Vec::new(), Vec::new());
    for name in names {
        match read_slot(repository, name) {
            Ok(slot) => slots.push(slot),
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(error) => {
                problems.push(Problem { path: name.to_string().into_bytes(), message: error.to_string() });
            }
        }
    }
    slots.sort_by_key(|slot| (slot.created, slot.id));
    Ok((slots, problems))
}

fn read_slot(repository: &Repository, name: ObjectName) -> Result<KeySlotInfo> {
    let object = repository.storage().read(name, None, limits::SMALL_OBJECT_BYTES)?;
    let damaged = |error: crate::format::FormatError| crate::repository::object_error(name, error);
    let (view, created) = decode_slot(&object).map_err(damaged)?;
    if name != ObjectName::Key(view.id) {
        return Err(EngineError::damaged(format!("object {name} holds another slot")));
    }
    // Of a root secret that is newer than this one nobody here can say how it is called.
    let label = match view.epoch <= repository.keys().epoch() {
        true => read_label(repository.keys(), &view).map_err(|error| damaged(error.into()))?,
        false => String::new(),
    };
    let kind = match view.kind {
        SlotKind::Password => "password",
        SlotKind::KeyFile => "key file",
        SlotKind::RecoveryCode => "recovery code",
    };
    let kdf = view.kdf.map(|kdf| (kdf.memory_kib, kdf.passes, kdf.lanes));
    let created = Timestamp::new(created, 0);
    Ok(KeySlotInfo {
        id: view.id,
        only_adds: view.only_adds,
        epoch: view.epoch,
        kind,
        label,
        created,
        current: view.id == repository.slot(),
        kdf,
    })
}

/// Adds a slot that `secret` opens.
///
/// # Errors
/// `Io`; `Invalid` if the key derivation can't run.
pub fn add_key(
    repository: &Repository,
    secret: &Secret,
    label: &str,
    strong_kdf: bool,
    clock: &dyn Clock,
) -> Result<SlotId> {
    repository.require_full_key()?;
    let root = repository.keys().root().map_err(sealing)?;
    write_slot(repository.storage(), repository.keys(), &Held::Root(root), secret, strong_kdf, label, clock)
}

/// Removes the slot whose id begins with `slot`. The last one that can read stays; the one in use goes only with `force`. A
/// damaged one can be removed too. If it is a write-only client's, that has ended: what it stored before stays, and nothing
/// that it may put later counts.
///
/// # Errors
/// `NotFound`, `Ambiguous`, `Invalid`, `OnlyAdds`, `Io`.
pub fn remove_key(repository: &Repository, slot: &str, force: bool, clock: &dyn Clock) -> Result<RemovedKey> {
    repository.require_full_key()?;
    let mut all = Vec::new();
    repository.storage().list(ObjectFamily::Keys, &mut |name, _| {
        if let ObjectName::Key(id) = name {
            all.push(id);
        }
    })?;
    // One whose slot is gone, too: it can't begin anew, and may be at work.
    let (clients, _) = repository.read_clients()?;
    let going = clients.iter().filter(|(_, known)| known.end.is_none()).map(|(client, _)| slot_of_client(client.id));
    let mut known: Vec<SlotId> = all.iter().copied().chain(going).collect();
    known.sort();
    known.dedup();
    let found: Vec<SlotId> = known.into_iter().filter(|id| id.to_hex().starts_with(slot)).collect();
    let id = match found.as_slice() {
        _ if slot.is_empty() => return Err(EngineError::new(ErrorKind::Invalid, "an empty id names no key slot")),
        [] => return Err(EngineError::new(ErrorKind::NotFound, format!("key slot {slot} does not exist"))),
        [id] => *id,
        more => {
            let text = format!("key slot {slot}: {} ids begin so", more.len());
            return Err(EngineError::new(ErrorKind::Ambiguous, text));
        }
    };
    let client = clients.into_iter().find(|(client, _)| slot_of_client(client.id) == id).map(|(client, _)| client);
    let Some(client) = client else {
        refuse_last(repository, id, force)?;
        repository.storage().remove(ObjectName::Key(id))?;
        return Ok(RemovedKey { slot: id, ended: None });
    };
    let ended = end_client(repository, &client, clock)?;
    repository.storage().remove(ObjectName::Key(id))?;
    Ok(RemovedKey { slot: id, ended: Some(ended) })
}

/// A key that nobody can use any more.
#[derive(Debug, Clone)]
pub struct RemovedKey {
    /// Its slot.
    pub slot: SlotId,
    /// What became of the write-only client whose it was.
    pub ended: Option<EndedClient>,
}

/// Without a slot that can read nobody could open the repository. One of another epoch is of before a rotation, or of one
/// that did not come to its end.
fn refuse_last(repository: &Repository, id: SlotId, force: bool) -> Result<()> {
    let (slots, _) = list_keys(repository)?;
    let reads = |slot: &KeySlotInfo| !slot.only_adds && slot.epoch == repository.keys().epoch();
    if slots.iter().all(|slot| !reads(slot) || slot.id == id) {
        let text = format!("key slot {id} is the last one: without it nobody could open the repository");
        return Err(EngineError::new(ErrorKind::Invalid, text));
    }
    if id == repository.slot() && !force {
        let text = format!("key slot {id} is the one that opened the repository just now");
        return Err(EngineError::new(ErrorKind::Invalid, text));
    }
    Ok(())
}

/// Adds a slot for `secret`, with the label of the one in use, and removes that one.
///
/// # Errors
/// As [`add_key`]; the old slot is still there then.
pub fn change_password(
    repository: &Repository,
    secret: &Secret,
    strong_kdf: bool,
    clock: &dyn Clock,
) -> Result<SlotId> {
    let label = read_slot(repository, ObjectName::Key(repository.slot()))?.label;
    let new = add_key(repository, secret, &label, strong_kdf, clock)?;
    repository.storage().remove(ObjectName::Key(repository.slot()))?;
    Ok(new)
}

/// The error for what can't be sealed.
pub(super) fn sealing(error: crate::crypto::CryptoError) -> EngineError {
    EngineError::with_source(ErrorKind::Invalid, "key", error)
}
