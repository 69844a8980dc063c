//! Ways in for tests: randomness that is given instead of drawn, and keys to look at.
//!
//! What is sealed in tests goes through the same code as everywhere: nothing takes a nonce, it is only drawn from here.

use std::cell::RefCell;
use std::collections::VecDeque;

use x25519_dalek::PublicKey;

use super::domain::DomainSecret;
use super::signature::SigningKey;
use super::{
    Credential, CryptoError, DomainKeys, Key, Keys, RootSecret, SegmentBinding, SessionKeyRecord, SessionKeys, aead,
};
use crate::id::{ClientId, DomainId, RepositoryId};

thread_local! {
    static RANDOM: RefCell<VecDeque<Vec<u8>>> = const { RefCell::new(VecDeque::new()) };
    static NONCES: RefCell<VecDeque<Vec<u8>>> = const { RefCell::new(VecDeque::new()) };
}

/// While it lives, what this thread draws comes from its lists, until they are used up; all must be.
pub(crate) struct Given(());

impl Given {
    /// `random` replaces what the system gives, `nonces` what is made from that.
    pub(crate) fn new(random: &[&[u8]], nonces: &[&[u8]]) -> Self {
        RANDOM.with_borrow_mut(|queue| queue.extend(random.iter().map(|bytes| bytes.to_vec())));
        NONCES.with_borrow_mut(|queue| queue.extend(nonces.iter().map(|bytes| bytes.to_vec())));
        Self(())
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        let left = RANDOM.take().len() + NONCES.take().len();
        assert!(left == 0 || std::thread::panicking(), "{left} given random values were not asked for");
    }
}

pub(super) fn given_random<const N: usize>() -> Option<[u8; N]> {
    RANDOM
        .with_borrow_mut(VecDeque::pop_front)
        .map(|bytes| bytes.try_into().expect("random bytes of the length asked for"))
}

pub(super) fn given_nonce() -> Option<[u8; aead::NONCE_BYTES]> {
    NONCES.with_borrow_mut(VecDeque::pop_front).map(|bytes| bytes.try_into().expect("a nonce of 24 bytes"))
}

impl RootSecret {
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> [u8; 32] {
        self.0
    }
}

impl Keys {
    /// Control key, recipient's secret and public key, label key, public key of signatures, former root key.
    pub(crate) fn bytes(&self) -> [[u8; 32]; 6] {
        let root = self.newest().expect("a full client");
        [
            root.control.0,
            root.recipient.to_bytes(),
            root.recipient_public.to_bytes(),
            root.label.0,
            root.signing.public(),
            root.former.0,
        ]
    }
}

impl Keys {
    /// What the keys of a domain derive from.
    pub(crate) fn domain_secret_bytes(&self, domain: DomainId) -> [u8; 32] {
        self.domain_secret(domain).expect("a full client").0.0
    }
}

impl Credential {
    /// That of a client of the repository of `keys`.
    pub(crate) fn of(keys: &Keys, client: ClientId, domain: DomainId, seed: [u8; 32]) -> Self {
        let made = keys.new_credential(Some(domain)).expect("a full client");
        Self { client, signing: SigningKey::from_seed(Key(seed)), ..made }
    }

    /// One that can check signatures, and do nothing else.
    pub(crate) fn alone(client: ClientId, domain: DomainId, seed: [u8; 32], full_public: &[[u8; 32]]) -> Self {
        Self {
            client,
            domain,
            domain_secret: DomainSecret(Key([0; 32])),
            signing: SigningKey::from_seed(Key(seed)),
            recipient_public: PublicKey::from([0; 32]),
            full_public: full_public.to_vec(),
        }
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, CryptoError> {
        Self::from_bytes(bytes)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.to_bytes().to_vec()
    }
}

impl DomainKeys {
    /// Data id key, tree id key, tree chunker key, index key.
    pub(crate) fn bytes(&self) -> [[u8; 32]; 4] {
        [self.data_id.0, self.tree_id.0, self.tree_chunker.0, self.index.0]
    }
}

impl SessionKeys {
    /// Those of a data key that no record carries.
    pub(crate) fn of_data_key(repository: RepositoryId, record: SessionKeyRecord, dek: &[u8; 32]) -> Self {
        Self::new(repository, record, dek)
    }

    /// Segment key, nonce key, object key.
    pub(crate) fn bytes(&self) -> [[u8; 32]; 3] {
        [self.segment.0, self.nonce.0, self.object.0]
    }

    pub(crate) fn aad_of(&self, binding: &SegmentBinding) -> Vec<u8> {
        self.segment_aad(binding)
    }
}

/// `seal` of the spec with any keys.
pub(crate) fn seal(key: [u8; 32], nonce_key: [u8; 32], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    aead::seal(&Key(key), &Key(nonce_key), aad, plain)
}

/// Opens what [`seal`] made.
pub(crate) fn unseal(key: [u8; 32], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
    aead::open(&Key(key), aad, sealed)
}

/// The public key of an X25519 secret.
pub(crate) fn public_key(secret: [u8; 32]) -> [u8; 32] {
    PublicKey::from(&x25519_dalek::StaticSecret::from(secret)).to_bytes()
}
