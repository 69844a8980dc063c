//! Sealing of segments: the bulk path. Spec chapter 7.
//!
//! Buffers are `nonce ‖ text ‖ tag` and are worked on in place: a megabyte is neither copied nor allocated.

use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::aead::{NONCE_BYTES, SEAL_BYTES, TAG_BYTES, decrypt_in_place, encrypt_behind_nonce, hedged_nonce};
use super::{CryptoError, Key, SessionKeys};
use crate::model::{ChunkKind, Compression, Suite};

/// What sealing adds to the length of a segment's (compressed) text, in bytes.
pub const SEGMENT_OVERHEAD_BYTES: usize = SEAL_BYTES;

/// What a segment's seal binds besides repository and session.
pub struct SegmentBinding {
    /// What its chunks hold.
    pub kind: ChunkKind,
    /// What seals it.
    pub suite: Suite,
    /// How the text is compressed.
    pub compression: Compression,
    /// Length in bytes before compression.
    pub plain_len: u32,
    /// Hash of chunk lengths and ids.
    pub chunk_table_hash: [u8; 32],
}

impl SessionKeys {
    /// Seals `buffer[24..]` in place; the first 24 bytes are overwritten by the nonce, the tag is appended.
    ///
    /// # Panics
    /// If `buffer` is shorter than the nonce.
    pub fn seal_segment(&self, binding: &SegmentBinding, buffer: &mut Vec<u8>) {
        let aad = self.segment_aad(binding);
        let text_len = u32::try_from(buffer.len() - NONCE_BYTES).expect("a segment has at most 16 MiB");
        // The chunk ids in the table stand for the content, so the megabyte need not be hashed once more.
        let nonce = hedged_nonce(&self.nonce, &aad, &text_len.to_le_bytes());
        buffer[..NONCE_BYTES].copy_from_slice(&nonce);
        self.encrypt(binding.suite, &aad, buffer);
    }

    fn encrypt(&self, suite: Suite, aad: &[u8], buffer: &mut Vec<u8>) {
        match suite {
            Suite::XChaCha20Poly1305 => encrypt_behind_nonce(&self.segment, aad, buffer),
            Suite::Aes256Gcm => {
                let key = self.aes_key(&buffer[..NONCE_BYTES]);
                let tag = key
                    .seal_in_place_separate_tag(zero_nonce(), Aad::from(aad), &mut buffer[NONCE_BYTES..])
                    .expect("a segment is far below the cipher's 64 GiB");
                buffer.extend_from_slice(tag.as_ref());
            }
        }
    }

    /// Opens a sealed segment in place and returns its (compressed) text.
    ///
    /// # Errors
    /// If it is damaged or anything in `binding` is not what it was sealed with.
    pub fn open_segment<'a>(&self, binding: &SegmentBinding, sealed: &'a mut [u8]) -> Result<&'a [u8], CryptoError> {
        let aad = self.segment_aad(binding);
        if sealed.len() < SEAL_BYTES {
            return Err(CryptoError::TooShort);
        }
        match binding.suite {
            Suite::XChaCha20Poly1305 => decrypt_in_place(&self.segment, &aad, sealed).map(|text| &*text),
            Suite::Aes256Gcm => {
                let (nonce, rest) = sealed.split_at_mut(NONCE_BYTES);
                let key = self.aes_key(nonce);
                let text_len = rest.len() - TAG_BYTES;
                key.open_in_place(zero_nonce(), Aad::from(aad.as_slice()), rest)
                    .map_err(|_| CryptoError::NotAuthentic)?;
                Ok(&rest[..text_len])
            }
        }
    }

    /// AES-GCM's nonce is too short to be random, so each segment has a key of its own, and a nonce of zeros.
    fn aes_key(&self, nonce: &[u8]) -> LessSafeKey {
        let key = Key(*self.segment.keyed(&[nonce]).as_bytes());
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key.0).expect("AES-256 keys have 32 bytes"))
    }

    pub(super) fn segment_aad(&self, binding: &SegmentBinding) -> Vec<u8> {
        let codes = [binding.kind.code(), binding.suite.code(), binding.compression.code()];
        let mut aad = Vec::with_capacity(96);
        aad.extend_from_slice(b"repo v1 segment");
        aad.extend_from_slice(self.repository.as_bytes());
        aad.extend_from_slice(self.session().as_bytes());
        aad.extend_from_slice(&codes);
        aad.extend_from_slice(&binding.plain_len.to_le_bytes());
        aad.extend_from_slice(&binding.chunk_table_hash);
        aad
    }
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Speed of both suites on this machine in bytes a second, XChaCha20-Poly1305 first. Takes about 40 ms.
pub fn measure_suites() -> (u64, u64) {
    let keys = super::Keys::new(super::RootSecret::generate(), crate::id::RepositoryId::new([0; 16]));
    let session = keys.new_session(crate::id::DomainId::SHARED);
    let measure = |suite| {
        let binding = SegmentBinding {
            kind: ChunkKind::Data,
            suite,
            compression: Compression::None,
            plain_len: 1 << 20,
            chunk_table_hash: [0; 32],
        };
        let mut buffer = vec![0u8; NONCE_BYTES + (1 << 20)];
        let (start, mut sealed) = (Instant::now(), 0u64);
        while start.elapsed() < Duration::from_millis(20) {
            session.seal_segment(&binding, &mut buffer);
            buffer.truncate(NONCE_BYTES + (1 << 20));
            sealed += 1 << 20;
        }
        (sealed as f64 / start.elapsed().as_secs_f64()) as u64
    };
    (measure(Suite::XChaCha20Poly1305), measure(Suite::Aes256Gcm))
}
