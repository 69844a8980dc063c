//! Key slots: who can open the repository.

use super::init::write_slot;
use crate::clock::{Clock, Timestamp};
use crate::crypto::{Secret, SlotKind, read_label};
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
    let label = read_label(repository.keys(), &view).map_err(|error| damaged(error.into()))?;
    let kind = match view.kind {
        SlotKind::Password => "password",
        SlotKind::KeyFile => "key file",
        SlotKind::RecoveryCode => "recovery code",
    };
    let kdf = view.kdf.map(|kdf| (kdf.memory_kib, kdf.passes, kdf.lanes));
    let created = Timestamp::new(created, 0);
    Ok(KeySlotInfo { id: view.id, kind, label, created, current: view.id == repository.slot(), kdf })
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
    write_slot(repository.storage(), repository.keys(), secret, strong_kdf, label, clock)
}

/// Removes the slot whose id begins with `slot`. The last one stays; the one in use goes only with `force`. A
/// damaged one can be removed too.
///
/// # Errors
/// `NotFound`, `Ambiguous`, `Invalid`, `Io`.
pub fn remove_key(repository: &Repository, slot: &str, force: bool) -> Result<SlotId> {
    let mut all = Vec::new();
    repository.storage().list(ObjectFamily::Keys, &mut |name, _| {
        if let ObjectName::Key(id) = name {
            all.push(id);
        }
    })?;
    let found: Vec<SlotId> = all.iter().copied().filter(|id| id.to_hex().starts_with(slot)).collect();
    let id = match found.as_slice() {
        _ if slot.is_empty() => return Err(EngineError::new(ErrorKind::Invalid, "an empty id names no key slot")),
        [] => return Err(EngineError::new(ErrorKind::NotFound, format!("key slot {slot} does not exist"))),
        [id] => *id,
        more => {
            let text = format!("key slot {slot}: {} ids begin so", more.len());
            return Err(EngineError::new(ErrorKind::Ambiguous, text));
        }
    };
    if all.len() == 1 {
        let text = format!("key slot {id} is the last one: without it nobody could open the repository");
        return Err(EngineError::new(ErrorKind::Invalid, text));
    }
    if id == repository.slot() && !force {
        let text = format!("key slot {id} is the one that opened the repository just now");
        return Err(EngineError::new(ErrorKind::Invalid, text));
    }
    repository.storage().remove(ObjectName::Key(id))?;
    Ok(id)
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
