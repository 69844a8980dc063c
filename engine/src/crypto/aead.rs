//! `seal` of the spec: XChaCha20-Poly1305 with a hedged random nonce, for everything but bulk segments.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};

use super::{CryptoError, Key, random_bytes};

/// Length in bytes of the nonce in front.
pub(super) const NONCE_BYTES: usize = 24;
/// Length in bytes of the tag at the end.
pub(super) const TAG_BYTES: usize = 16;
/// What sealing adds to a length.
pub(super) const SEAL_BYTES: usize = NONCE_BYTES + TAG_BYTES;

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new((&key.0).into())
}

/// Encrypts `buffer[NONCE_BYTES..]` in place under the nonce in front of it and appends the tag.
pub(super) fn encrypt_behind_nonce(key: &Key, aad: &[u8], buffer: &mut Vec<u8>) {
    let (nonce, plain) = buffer.split_at_mut(NONCE_BYTES);
    let nonce: [u8; NONCE_BYTES] = (&*nonce).try_into().expect("split at its length");
    let tag = cipher(key)
        .encrypt_inout_detached(&XNonce::from(nonce), aad, plain.into())
        .expect("a segment is far below the cipher's 256 GiB");
    buffer.extend_from_slice(&tag);
}

/// Decrypts `sealed = nonce ‖ ciphertext ‖ tag` in place; the plaintext is what is returned.
pub(super) fn decrypt_in_place<'a>(key: &Key, aad: &[u8], sealed: &'a mut [u8]) -> Result<&'a mut [u8], CryptoError> {
    if sealed.len() < SEAL_BYTES {
        return Err(CryptoError::TooShort);
    }
    let (nonce, rest) = sealed.split_at_mut(NONCE_BYTES);
    let (text, tag) = rest.split_at_mut(rest.len() - TAG_BYTES);
    let nonce: [u8; NONCE_BYTES] = (&*nonce).try_into().expect("split at its length");
    let tag: [u8; TAG_BYTES] = (&*tag).try_into().expect("split at its length");
    cipher(key)
        .decrypt_inout_detached(&XNonce::from(nonce), aad, (&mut *text).into(), &Tag::from(tag))
        .map_err(|_| CryptoError::NotAuthentic)?;
    Ok(text)
}

/// Seals a small object. `nonce_key` hedges the nonce.
pub(super) fn seal(key: &Key, nonce_key: &Key, aad: &[u8], plain: &[u8]) -> Vec<u8> {
    seal_with(key, &hedged_nonce(nonce_key, aad, plain), aad, plain)
}

/// A random nonce that is another for other content even if the random source repeats itself.
pub(super) fn hedged_nonce(nonce_key: &Key, aad: &[u8], content: &[u8]) -> [u8; NONCE_BYTES] {
    #[cfg(test)]
    if let Some(given) = super::testing::given_nonce() {
        return given;
    }
    let hedge = nonce_key.keyed(&[&random_bytes::<32>(), aad, content]);
    hedge.as_bytes()[..NONCE_BYTES].try_into().expect("24 bytes of 32")
}

fn seal_with(key: &Key, nonce: &[u8], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(plain.len() + SEAL_BYTES);
    buffer.extend_from_slice(nonce);
    buffer.extend_from_slice(plain);
    encrypt_behind_nonce(key, aad, &mut buffer);
    buffer
}

/// Opens what [`seal`] made.
pub(super) fn open(key: &Key, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let mut buffer = sealed.to_vec();
    let plain = decrypt_in_place(key, aad, &mut buffer)?.len();
    buffer.truncate(NONCE_BYTES + plain);
    buffer.drain(..NONCE_BYTES);
    Ok(buffer)
}

/// XChaCha20-Poly1305 with a nonce of zeros, for keys that are used once.
pub(super) fn seal_once(key: &Key, aad: &[u8], plain: &[u8]) -> Vec<u8> {
    seal_with(key, &[0; NONCE_BYTES], aad, plain).split_off(NONCE_BYTES)
}

/// Opens what [`seal_once`] made.
pub(super) fn open_once(key: &Key, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
    open(key, aad, &[&[0; NONCE_BYTES][..], sealed].concat())
}
