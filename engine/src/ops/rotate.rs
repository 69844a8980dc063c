//! A new root secret in place of the old one: whoever had that can't read what is stored from now on.
//!
//! The old one is sealed with the new, so nothing that is stored is touched. Until the object that holds it is there, the
//! rotation has not happened; from then on it has, and all that is left is to remove the old key slots. Both may be
//! interrupted, and the next one goes on. No slot goes before the root that holds from now on is known to be there, and
//! a slot that opens it.

use super::init::write_slot;
use super::keys::{KeySlotInfo, list_keys, sealing};
use crate::clock::Clock;
use crate::crypto::{Held, RootSecret, Secret};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{decode_root, encode_root};
use crate::id::{EpochId, SlotId};
use crate::limits;
use crate::monitor::Problem;
use crate::repository::Repository;
use crate::storage::{ObjectName, Outcome};

/// What a rotation did.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The number of the root secret that holds now; the first one has 0.
    pub epoch: u32,
    /// The new key slot; `None` if an interrupted rotation was brought to its end, and nothing else was done.
    pub slot: Option<SlotId>,
    /// Key slots that are gone: whoever used them needs a new one.
    pub removed: Vec<KeySlotInfo>,
    /// Those that should be gone and could not be removed; another rotation does it.
    pub problems: Vec<Problem>,
}

/// Why there was no rotation, as far as is known.
#[derive(Debug)]
pub struct RotationFailure {
    /// What went wrong.
    pub error: EngineError,
    /// Whether the new secret may open the repository, now or when a request that seems lost arrives after all. Then it
    /// is to be kept.
    pub may_open: bool,
}

impl From<EngineError> for RotationFailure {
    fn from(error: EngineError) -> Self {
        Self { error, may_open: false }
    }
}

/// Makes a new root secret, which only `secret` unlocks. All other key slots go, those of write-only clients too: these
/// seal what they store to the old one.
///
/// If an earlier rotation was interrupted, brings it to its end instead.
///
/// # Errors
/// `FormerKey` if somebody else rotated; `OnlyAdds`, `Unsupported`, `Io`: run it again, then, with the new key if it
/// opens the repository.
pub fn rotate(
    repository: &Repository,
    secret: &Secret,
    strong_kdf: bool,
    clock: &dyn Clock,
) -> Result<Rotation, RotationFailure> {
    repository.require_full_key()?;
    repository.require_writable()?;
    let (storage, keys) = (repository.storage(), repository.keys());
    let (slots, _) = list_keys(repository)?;
    let former: Vec<KeySlotInfo> = slots.iter().filter(|slot| slot.epoch < keys.epoch()).cloned().collect();
    if !former.is_empty() {
        let done = Rotation { epoch: keys.epoch(), slot: None, removed: Vec::new(), problems: Vec::new() };
        return Ok(finish(repository, done, repository.slot(), former));
    }
    let label = slots.iter().find(|slot| slot.current).map_or_else(String::new, |slot| slot.label.clone());
    let rotated = keys.rotated().map_err(sealing)?;
    let root = rotated.root().map_err(sealing)?;
    let object = encode_root(root, keys.root().map_err(sealing)?, rotated.epoch(), repository.id());
    let unclear = |error| RotationFailure { error, may_open: true };
    let held = Held::Root(root);
    let slot = write_slot(storage, &rotated, &held, secret, strong_kdf, &label, clock).map_err(unclear)?;
    let name = ObjectName::Root(EpochId::new(rotated.epoch()).expect("one more than another"));
    // An answer that got lost may be of a put that came to pass.
    let put = storage.write_new(name, &[&object]);
    if !matches!(put, Ok(Outcome::Written)) {
        match (holds(repository, name, root, rotated.epoch()), put) {
            (Ok(true), _) => storage.persist(name).map_err(unclear)?,
            // One is there, and will stay: the new secret opens nothing, ever.
            (Ok(false), _) => {
                storage.remove(ObjectName::Key(slot)).map_err(unclear)?;
                return Err(replaced_by_another(name).into());
            }
            (Err(_), Err(error)) | (Err(error), Ok(_)) => return Err(unclear(error)),
        }
    }
    let done = Rotation { epoch: rotated.epoch(), slot: Some(slot), removed: Vec::new(), problems: Vec::new() };
    // Also those of roots that were never put, which open nothing.
    Ok(finish(repository, done, slot, slots))
}

/// Whether the root object that is there is this one; an error if none is, or nobody knows.
fn holds(repository: &Repository, name: ObjectName, root: &RootSecret, epoch: u32) -> Result<bool> {
    let object = repository.storage().read(name, None, limits::SMALL_OBJECT_BYTES)?;
    Ok(decode_root(&object, root, epoch, repository.id()).is_ok())
}

fn replaced_by_another(name: ObjectName) -> EngineError {
    EngineError::new(ErrorKind::FormerKey, format!("object {name} is of another rotation, which was first")).about(name)
}

/// Removes slots that have had their time, if the one that takes their place is there for sure.
fn finish(repository: &Repository, mut done: Rotation, own: SlotId, slots: Vec<KeySlotInfo>) -> Rotation {
    let storage = repository.storage();
    let is_there = storage.read(ObjectName::Key(own), None, limits::SMALL_OBJECT_BYTES);
    for slot in slots.into_iter().filter(|slot| slot.id != own) {
        let name = ObjectName::Key(slot.id);
        let gone = match &is_there {
            Ok(_) => storage.remove(name).map_err(|error| error.to_string()),
            Err(error) => Err(format!("left, since the new key slot can't be seen: {error}")),
        };
        match gone {
            Ok(()) => done.removed.push(slot),
            Err(message) => done.problems.push(Problem { path: name.to_string().into_bytes(), message }),
        }
    }
    done
}
