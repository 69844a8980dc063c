//! Keys, sealing, proofs. Spec chapters 1, 3, 5, 6, 7.
//!
//! Key bytes never leave this module: others hold typed keys and ask them to seal, open, prove or derive. No
//! function takes a nonce; sealing draws and hedges its own.

mod aead;
mod auth;
mod client;
mod domain;
mod keys;
mod random;
mod segment;
mod session;
mod signature;
mod slot;
mod stretch;
#[cfg(test)]
pub(crate) mod testing;

pub use auth::without_auth;
pub use client::{ClientEnd, Credential, KnownClient, credential_bytes};
pub use domain::DomainKeys;
pub use keys::{Keys, RootSecret};
pub use random::random_bytes;
pub use segment::{SEGMENT_OVERHEAD_BYTES, SegmentBinding, measure_suites};
pub use session::{SESSION_KEY_RECORD_BYTES, SessionKeyRecord, SessionKeys};
pub(crate) use slot::{Held, write_slot};
pub use slot::{
    KdfParameters, LABEL_BYTES, SALT_BYTES, SLOT_BYTES, Secret, SlotKind, SlotView, Unlocked, credential_slot_bytes,
    open_slot, read_label,
};
pub use stretch::{Stretch, Stretched};

use zeroize::{Zeroize, ZeroizeOnDrop};

/// BLAKE3 of some bytes: the name of packs, indexes and snapshots.
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// BLAKE3 of the concatenation of `parts`.
pub fn hash_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// A symmetric key for one purpose.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// `derive(context, material)` of the spec. `context` is one of its fixed strings.
    fn derive(context: &'static str, material: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        for part in material {
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// Keyed BLAKE3 of the concatenation of `parts`.
    fn keyed(&self, parts: &[&[u8]]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize()
    }
}

/// Why something did not open. Says nothing about the key on purpose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// Key, place or bytes are wrong.
    #[error("does not authenticate: damaged, or sealed with another key")]
    NotAuthentic,
    /// Shorter than its fixed parts.
    #[error("too short")]
    TooShort,
    /// A seal kind, epoch, suite or auth kind that this program does not know.
    #[error("{0} {1} is not known to this version")]
    Unknown(&'static str, u32),
    /// Signed by a client that these keys know nothing of.
    #[error("signed by client {0}, which is not known")]
    UnknownClient(crate::id::ClientId),
    /// A full client's keys are needed.
    #[error("needs a full key: this one can only add snapshots")]
    OnlyAdds,
    /// A public key that gives no secret.
    #[error("session key record holds an invalid public key")]
    WeakPublicKey,
    /// The key derivation could not run.
    #[error("cannot derive the key: {0}")]
    Derivation(String),
    /// Opened, and its plaintext is not what it should be.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}
