//! Ed25519 (RFC 8032): what those can check who hold no secret of the repository. Spec chapter 6.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::{CryptoError, Key};

/// Length in bytes of a signature.
pub(super) const SIGNATURE_BYTES: usize = 64;
/// Length in bytes of a public key.
pub(super) const PUBLIC_KEY_BYTES: usize = 32;

/// What signs.
pub(super) struct SigningKey {
    /// What it is made of, to be handed on.
    pub(super) seed: Key,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    pub(super) fn from_seed(seed: Key) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed.0).expect("every 32 bytes are a seed");
        Self { seed, pair }
    }

    pub(super) fn public(&self) -> [u8; PUBLIC_KEY_BYTES] {
        self.pair.public_key().as_ref().try_into().expect("32 bytes")
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.pair.sign(message).as_ref().try_into().expect("64 bytes")
    }
}

/// Whether `signature` is one of `message` by the owner of a public key.
pub(super) fn verify(public: &[u8; PUBLIC_KEY_BYTES], message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).map_err(|_| CryptoError::NotAuthentic)
}
