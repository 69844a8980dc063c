//! Key slots. Spec chapter 5.

use super::{FormatError, ObjectKind};
use crate::crypto::{
    CryptoError, Held, KdfParameters, Keys, SLOT_BYTES, Secret, SlotKind, SlotView, credential_slot_bytes,
    random_bytes, write_slot,
};
use crate::id::SlotId;
use crate::limits;

const KDF_NONE: u8 = 0;
const KDF_ARGON2ID: u8 = 1;

/// Wraps a root secret or a credential for `secret` in a new slot of the epoch of `keys`, a full client's.
///
/// # Errors
/// If the key derivation can't run (memory); if `keys` may only add.
pub(crate) fn encode_slot(
    keys: &Keys,
    held: &Held<'_>,
    secret: &Secret,
    kdf: Option<KdfParameters>,
    created_seconds: i64,
    label: &str,
) -> Result<(SlotId, Vec<u8>), CryptoError> {
    let id = match held {
        Held::Root(_) => SlotId::new(random_bytes()),
        // One slot each, so that it can be told whose it is without the secret.
        Held::Credential(credential) => SlotId::new(*credential.client().as_bytes()),
    };
    let mut head = [0u8; 84];
    head[..8].copy_from_slice(&ObjectKind::Key.header());
    head[8..24].copy_from_slice(id.as_bytes());
    head[24] = match secret.kind() {
        SlotKind::Password => 1,
        SlotKind::KeyFile => 2,
        SlotKind::RecoveryCode => 3,
    };
    head[26] = u8::from(matches!(held, Held::Credential(_)));
    head[28..32].copy_from_slice(&keys.epoch().to_le_bytes());
    if let Some(kdf) = kdf {
        head[25] = KDF_ARGON2ID;
        head[32..36].copy_from_slice(&kdf.memory_kib.to_le_bytes());
        head[36..40].copy_from_slice(&kdf.passes.to_le_bytes());
        head[40..44].copy_from_slice(&kdf.lanes.to_le_bytes());
    }
    head[44..52].copy_from_slice(&created_seconds.to_le_bytes());
    head[52..84].copy_from_slice(&random_bytes::<32>());
    Ok((id, write_slot(keys, held, secret, kdf, id, &head, label)?))
}

/// Decodes a slot and checks its limits, so that trying a secret on it is safe. The second value is when it was
/// made, in seconds since 1970.
///
/// # Errors
/// If it is malformed, or asks for too little or too much of the key derivation.
pub fn decode_slot(object: &[u8]) -> Result<(SlotView<'_>, i64), FormatError> {
    ObjectKind::Key.strip(object)?;
    let bytes = object;
    if bytes.len() < SLOT_BYTES {
        return Err(FormatError::Malformed("key slot of a wrong length"));
    }
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let epoch = u32_at(28);
    if epoch > limits::EPOCHS {
        return Err(FormatError::OverLimit("key epoch"));
    }
    let (only_adds, len) = match bytes[26] {
        0 => (false, SLOT_BYTES),
        1 => (true, credential_slot_bytes(epoch)),
        other => return Err(FormatError::Unknown("what a key slot holds", other.into())),
    };
    if bytes.len() != len {
        return Err(FormatError::Malformed("key slot of a wrong length"));
    }
    let kind = match bytes[24] {
        1 => SlotKind::Password,
        2 => SlotKind::KeyFile,
        3 => SlotKind::RecoveryCode,
        other => return Err(FormatError::Unknown("kind of key slot", other.into())),
    };
    if bytes[27] != 0 {
        return Err(FormatError::Malformed("key slot"));
    }
    let parameters = KdfParameters { memory_kib: u32_at(32), passes: u32_at(36), lanes: u32_at(40) };
    let kdf = match (bytes[25], kind) {
        (KDF_ARGON2ID, _) if parameters.within_limits() => Some(parameters),
        (KDF_ARGON2ID, _) => return Err(FormatError::OverLimit("Argon2id parameters")),
        (KDF_NONE, SlotKind::KeyFile | SlotKind::RecoveryCode) if bytes[32..44] == [0; 12] => None,
        (KDF_NONE, SlotKind::KeyFile | SlotKind::RecoveryCode) => {
            return Err(FormatError::Malformed("parameters of no key derivation"));
        }
        (KDF_NONE, SlotKind::Password) => return Err(FormatError::Malformed("a password slot without key derivation")),
        (other, _) => return Err(FormatError::Unknown("key derivation", other.into())),
    };
    let id = SlotId::from_slice(&bytes[8..24]).expect("16 bytes");
    let created = i64::from_le_bytes(bytes[44..52].try_into().expect("eight bytes"));
    Ok((SlotView { bytes, id, kind, kdf, epoch, only_adds }, created))
}
