//! A new root secret in place of the old one: whoever had that can't read what is stored from now on.
//!
//! The old one is sealed with the new, so nothing that is stored is touched. Until the object that holds it is there, the
//! rotation has not happened; from then on it has, and all that is left is to remove the old key slots. Both may be
//! interrupted, and the next one goes on.

use super::init::write_slot;
use super::keys::{KeySlotInfo, list_keys, sealing};
use crate::clock::Clock;
use crate::crypto::{Held, Secret};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::encode_root;
use crate::id::{EpochId, SlotId};
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
}

/// Makes a new root secret, which only `secret` unlocks. All other key slots go, those of write-only clients too: these
/// seal what they store to the old one.
///
/// If an earlier rotation was interrupted, brings it to its end instead.
///
/// # Errors
/// `AlreadyExists` if somebody else rotated meanwhile; `OnlyAdds`, `Unsupported`, `Io`: run it again, then.
pub fn rotate(repository: &Repository, secret: &Secret, strong_kdf: bool, clock: &dyn Clock) -> Result<Rotation> {
    repository.require_full_key()?;
    repository.require_writable()?;
    let (storage, keys) = (repository.storage(), repository.keys());
    let (slots, _) = list_keys(repository)?;
    let former: Vec<KeySlotInfo> = slots.iter().filter(|slot| slot.epoch < keys.epoch()).cloned().collect();
    // Slots of a root that was never put open nothing.
    for slot in slots.iter().filter(|slot| slot.epoch > keys.epoch()) {
        storage.remove(ObjectName::Key(slot.id))?;
    }
    if !former.is_empty() {
        remove(repository, &former)?;
        return Ok(Rotation { epoch: keys.epoch(), slot: None, removed: former });
    }
    let label = slots.iter().find(|slot| slot.current).map_or_else(String::new, |slot| slot.label.clone());
    let rotated = keys.rotated().map_err(sealing)?;
    let root = rotated.root().map_err(sealing)?;
    let slot = write_slot(storage, &rotated, &Held::Root(root), secret, strong_kdf, &label, clock)?;
    let object = encode_root(root, keys.root().map_err(sealing)?, rotated.epoch(), repository.id());
    let name = ObjectName::Root(EpochId::new(rotated.epoch()).expect("one more than another"));
    if storage.write_new(name, &[&object])? == Outcome::Existed {
        storage.remove(ObjectName::Key(slot))?;
        let text = "the root secret was replaced by somebody else: open the repository with the new key";
        return Err(EngineError::new(ErrorKind::AlreadyExists, text));
    }
    remove(repository, &slots)?;
    Ok(Rotation { epoch: rotated.epoch(), slot: Some(slot), removed: slots })
}

fn remove(repository: &Repository, slots: &[KeySlotInfo]) -> Result<()> {
    slots.iter().try_for_each(|slot| repository.storage().remove(ObjectName::Key(slot.id)))
}
