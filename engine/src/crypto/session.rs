//! Session data keys, and the record that carries one sealed to the recipient. Spec chapter 3.

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::{CryptoError, Key, Keys, aead, random_bytes};
use crate::id::{DomainId, RepositoryId, SessionId};

/// Length in bytes of a session key record.
pub const SESSION_KEY_RECORD_BYTES: usize = 117;
const HEAD_BYTES: usize = 37;
const SEAL_X25519: u8 = 1;

/// A session's data key as it travels: sealed to the repository's recipient.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionKeyRecord(pub(super) [u8; SESSION_KEY_RECORD_BYTES]);

impl SessionKeyRecord {
    /// Takes the bytes as they are; [`Keys::open_session`] checks them.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; SESSION_KEY_RECORD_BYTES] {
        &self.0
    }

    /// Whether one of `records` names another key for its session: a write-only client may say so.
    pub(crate) fn is_other_of(&self, records: &[Self]) -> bool {
        records.iter().any(|other| other.session() == self.session() && other != self)
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        SessionId::from_slice(&self.0[..16]).expect("16 bytes")
    }

    /// Its deduplication domain.
    pub fn domain(&self) -> DomainId {
        DomainId::from_slice(&self.0[16..32]).expect("16 bytes")
    }

    /// Which root secret the recipient belongs to.
    pub fn epoch(&self) -> u32 {
        u32::from_le_bytes(self.0[32..36].try_into().expect("four bytes"))
    }
}

/// The keys of one session.
pub struct SessionKeys {
    pub(super) repository: RepositoryId,
    record: SessionKeyRecord,
    pub(super) segment: Key,
    pub(super) nonce: Key,
    pub(super) object: Key,
}

impl SessionKeys {
    pub(super) fn new(repository: RepositoryId, record: SessionKeyRecord, dek: &[u8; 32]) -> Self {
        let session = record.session();
        let material: [&[u8]; 2] = [dek, session.as_bytes()];
        Self {
            repository,
            segment: Key::derive("repo 2026 v1 session segment", &material),
            nonce: Key::derive("repo 2026 v1 session nonce", &material),
            object: Key::derive("repo 2026 v1 session object", &material),
            record,
        }
    }

    /// The record that carries them.
    pub fn record(&self) -> &SessionKeyRecord {
        &self.record
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        self.record.session()
    }

    /// Seals the body of an intent or a snapshot.
    pub fn seal_object(&self, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        aead::seal(&self.object, &self.nonce, aad, plain)
    }

    /// Opens what [`Self::seal_object`] made.
    ///
    /// # Errors
    /// If it is damaged or belongs elsewhere.
    pub fn open_object(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        aead::open(&self.object, aad, sealed)
    }
}

impl Keys {
    /// Starts a session: a new data key, sealed to the recipient.
    pub fn new_session(&self, domain: DomainId) -> SessionKeys {
        let dek = Zeroizing::new(random_bytes::<32>());
        let ephemeral = StaticSecret::from(random_bytes::<32>());
        let record = self.seal_session_key(SessionId::new(random_bytes()), domain, &dek, &ephemeral);
        SessionKeys::new(self.repository, record, &dek)
    }

    fn seal_session_key(
        &self,
        session: SessionId,
        domain: DomainId,
        dek: &[u8; 32],
        ephemeral: &StaticSecret,
    ) -> SessionKeyRecord {
        let public = PublicKey::from(ephemeral);
        let recipient = self.recipient_public();
        let shared = ephemeral.diffie_hellman(recipient);
        let mut record = [0u8; SESSION_KEY_RECORD_BYTES];
        record[..16].copy_from_slice(session.as_bytes());
        record[16..32].copy_from_slice(domain.as_bytes());
        record[32..36].copy_from_slice(&self.epoch.to_le_bytes());
        record[36] = SEAL_X25519;
        record[HEAD_BYTES..69].copy_from_slice(public.as_bytes());
        let wrapped = aead::seal_once(
            &wrapping_key(shared.as_bytes(), public.as_bytes(), recipient),
            &self.wrapping_aad(&record[..HEAD_BYTES]),
            dek,
        );
        record[69..].copy_from_slice(&wrapped);
        SessionKeyRecord(record)
    }

    /// Opens a session's data key. About 50 µs: callers keep the result per session.
    ///
    /// # Errors
    /// If the record is damaged, of another repository, or of an unknown seal kind or epoch; if these keys may only add.
    pub fn open_session(&self, record: &SessionKeyRecord) -> Result<SessionKeys, CryptoError> {
        let root = self.roots()?.get(record.epoch() as usize);
        let root = root.ok_or(CryptoError::Unknown("key epoch", record.epoch()))?;
        if record.0[36] != SEAL_X25519 {
            return Err(CryptoError::Unknown("seal kind", record.0[36].into()));
        }
        let public: [u8; 32] = record.0[HEAD_BYTES..69].try_into().expect("32 bytes");
        let shared = root.recipient.diffie_hellman(&PublicKey::from(public));
        if !shared.was_contributory() {
            return Err(CryptoError::WeakPublicKey);
        }
        let key = wrapping_key(shared.as_bytes(), &public, &root.recipient_public);
        let dek = Zeroizing::new(aead::open_once(&key, &self.wrapping_aad(&record.0[..HEAD_BYTES]), &record.0[69..])?);
        let dek: &[u8; 32] = dek.as_slice().try_into().map_err(|_| CryptoError::TooShort)?;
        Ok(SessionKeys::new(self.repository, record.clone(), dek))
    }

    fn wrapping_aad(&self, head: &[u8]) -> Vec<u8> {
        [b"repo v1 session key", &self.repository.as_bytes()[..], head].concat()
    }
}

fn wrapping_key(shared: &[u8; 32], ephemeral_public: &[u8; 32], recipient: &PublicKey) -> Key {
    Key::derive("repo 2026 v1 seal x25519", &[shared, ephemeral_public, recipient.as_bytes()])
}
