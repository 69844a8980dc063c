//! Clients that may add snapshots and read none. Spec chapter 16.

use std::collections::HashSet;
use std::sync::Arc;

use x25519_dalek::PublicKey;
use zeroize::Zeroizing;

use super::domain::DomainSecret;
use super::signature::{PUBLIC_KEY_BYTES, SigningKey};
use super::{CryptoError, Key, Keys, aead, random_bytes};
use crate::id::{ClientId, DomainId, IndexId, SessionId};

/// Length in bytes of a credential of an epoch.
pub const fn credential_bytes(epoch: u32) -> usize {
    FIXED_BYTES + PUBLIC_KEY_BYTES * (epoch as usize + 1)
}

const FIXED_BYTES: usize = 128;

/// What such a client holds, and all that it holds.
pub struct Credential {
    pub(super) client: ClientId,
    pub(super) domain: DomainId,
    pub(super) domain_secret: DomainSecret,
    pub(super) signing: SigningKey,
    pub(super) recipient_public: PublicKey,
    /// Checks what full clients sign: a key for each epoch.
    pub(super) full_public: Vec<[u8; PUBLIC_KEY_BYTES]>,
}

impl Credential {
    /// Which client it makes of its holder.
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// The domain that it writes into.
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// The key that its signatures are checked with.
    pub fn public_key(&self) -> [u8; PUBLIC_KEY_BYTES] {
        self.signing.public()
    }

    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let fixed: [&[u8]; 5] = [
            self.client.as_bytes(),
            self.domain.as_bytes(),
            &self.domain_secret.0.0,
            &self.signing.seed.0,
            self.recipient_public.as_bytes(),
        ];
        Zeroizing::new([fixed.concat(), self.full_public.concat()].concat())
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, CryptoError> {
        let (bytes, keys) = bytes.split_first_chunk::<FIXED_BYTES>().ok_or(CryptoError::TooShort)?;
        let (full_public, rest) = keys.as_chunks::<PUBLIC_KEY_BYTES>();
        if full_public.is_empty() || !rest.is_empty() {
            return Err(CryptoError::Malformed("keys of a credential"));
        }
        let key = |at: usize| -> [u8; 32] { bytes[at..at + 32].try_into().expect("32 bytes") };
        let domain = DomainId::from_slice(&bytes[16..32]).expect("16 bytes");
        if domain == DomainId::SHARED {
            return Err(CryptoError::Malformed("domain of a client"));
        }
        Ok(Self {
            client: ClientId::from_slice(&bytes[..16]).expect("16 bytes"),
            domain,
            domain_secret: DomainSecret(Key(key(32))),
            signing: SigningKey::from_seed(Key(key(64))),
            recipient_public: PublicKey::from(key(96)),
            full_public: full_public.to_vec(),
        })
    }
}

/// What a full client knows of one that may only add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownClient {
    /// The domain that it writes into.
    pub domain: DomainId,
    /// The key that its signatures are checked with.
    pub public_key: [u8; PUBLIC_KEY_BYTES],
    /// The host whose snapshots it adds.
    pub host: String,
    /// What counts of it, if it has ended.
    pub end: Option<ClientEnd>,
}

impl KnownClient {
    /// Whether the register of a session counts that it signed.
    pub fn counts_session(&self, session: &SessionId) -> bool {
        self.end.as_ref().is_none_or(|end| end.sessions.contains(session))
    }

    /// Whether an index object counts that it signed.
    pub fn counts_index(&self, index: &IndexId) -> bool {
        self.end.as_ref().is_none_or(|end| end.indexes.contains(index))
    }
}

/// What counts of what a client signed that has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientEnd {
    /// Sessions whose registers count.
    pub sessions: HashSet<SessionId>,
    /// Index objects that count.
    pub indexes: HashSet<IndexId>,
}

impl Keys {
    /// A new credential: for a domain that there is, or for a new one.
    ///
    /// # Errors
    /// If these may only add.
    pub fn new_credential(&self, domain: Option<DomainId>) -> Result<Credential, CryptoError> {
        let root = self.newest()?;
        let domain = domain.unwrap_or_else(|| DomainId::new(random_bytes()));
        Ok(Credential {
            client: ClientId::new(random_bytes()),
            domain,
            domain_secret: self.domain_secret(domain)?,
            signing: SigningKey::from_seed(Key(random_bytes())),
            recipient_public: root.recipient_public,
            full_public: self.roots()?.iter().map(|root| root.signing.public()).collect(),
        })
    }

    /// Remembers the write-only clients that there are: their signatures can be checked from now on.
    pub fn learn_clients(&self, clients: impl IntoIterator<Item = (ClientId, KnownClient)>) {
        let mut known = self.clients.write().expect("no holder of this lock panics");
        known.extend(clients.into_iter().map(|(id, client)| (id, Arc::new(client))));
    }

    /// What is known of a write-only client.
    pub fn known_client(&self, id: &ClientId) -> Option<Arc<KnownClient>> {
        self.clients.read().expect("no holder of this lock panics").get(id).cloned()
    }

    /// Seals what a client that can't read what it stored keeps of it on its own machine.
    ///
    /// # Errors
    /// If these are of a full client: it keeps nothing.
    pub fn seal_state(&self, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let (key, nonce) = self.state_keys()?;
        Ok(aead::seal(&key, &nonce, aad, plain))
    }

    /// Opens what [`Self::seal_state`] made.
    ///
    /// # Errors
    /// If it is damaged, or another client's.
    pub fn open_state(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        aead::open(&self.state_keys()?.0, aad, sealed)
    }

    fn state_keys(&self) -> Result<(Key, Key), CryptoError> {
        let super::keys::Role::WriteOnly(credential) = &self.role else {
            return Err(CryptoError::Malformed("state of a full client"));
        };
        let material: [&[u8]; 2] = [&credential.signing.seed.0, self.repository.as_bytes()];
        let key = |context| Key::derive(context, &material);
        Ok((key("repo 2026 v1 client state"), key("repo 2026 v1 client state nonce")))
    }
}
