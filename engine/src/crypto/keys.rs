//! The root secrets, what derives from them, and what a client has that holds none. Spec chapters 3 and 16.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::client::{Credential, KnownClient};
use super::domain::DomainSecret;
use super::signature::SigningKey;
use super::{CryptoError, DomainKeys, Key, aead, random_bytes};
use crate::id::{ClientId, DomainId, RepositoryId};

/// The secret that every key of a repository comes from. Exists in memory, and wrapped in key slots and roots.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RootSecret(pub(super) [u8; 32]);

impl RootSecret {
    /// A new random one.
    pub fn generate() -> Self {
        Self(random_bytes())
    }
}

/// A root secret and what derives from it alone.
pub(super) struct Root {
    secret: RootSecret,
    pub(super) control: Key,
    pub(super) recipient: StaticSecret,
    pub(super) recipient_public: PublicKey,
    pub(super) label: Key,
    pub(super) former: Key,
    pub(super) signing: SigningKey,
}

impl Root {
    fn new(secret: RootSecret, repository: RepositoryId) -> Self {
        let material: [&[u8]; 2] = [&secret.0, repository.as_bytes()];
        let recipient = StaticSecret::from(Key::derive("repo 2026 v1 recipient x25519", &material).0);
        Self {
            control: Key::derive("repo 2026 v1 control", &material),
            recipient_public: PublicKey::from(&recipient),
            recipient,
            label: Key::derive("repo 2026 v1 slot label", &material),
            former: Key::derive("repo 2026 v1 former root", &material),
            signing: SigningKey::from_seed(Key::derive("repo 2026 v1 signature ed25519", &material)),
            secret,
        }
    }
}

/// Who holds keys.
pub(super) enum Role {
    /// Root secrets, by their epochs; there is one at least.
    Full(Vec<Root>),
    /// What may only add.
    WriteOnly(Credential),
}

/// The keys of a repository that a client holds.
pub struct Keys {
    pub(super) repository: RepositoryId,
    /// The largest that it knows.
    pub(super) epoch: u32,
    pub(super) role: Role,
    /// The write-only clients that a full one knows.
    pub(super) clients: RwLock<HashMap<ClientId, Arc<KnownClient>>>,
}

impl Keys {
    /// Derives the keys of repository `repository`, whose root secret was never replaced.
    pub fn new(root: RootSecret, repository: RepositoryId) -> Self {
        Self::of_epochs(vec![root], repository)
    }

    /// Derives the keys of a repository from its root secrets, in the order of their epochs.
    ///
    /// # Panics
    /// If there are none.
    pub fn of_epochs(roots: Vec<RootSecret>, repository: RepositoryId) -> Self {
        let epoch = u32::try_from(roots.len()).expect("few rotations").checked_sub(1).expect("a root secret");
        let roots = roots.into_iter().map(|root| Root::new(root, repository)).collect();
        Self { repository, epoch, role: Role::Full(roots), clients: RwLock::default() }
    }

    /// The keys of a client that may only add: its credential is of `epoch`.
    pub fn of_client(credential: Credential, repository: RepositoryId, epoch: u32) -> Self {
        Self { repository, epoch, role: Role::WriteOnly(credential), clients: RwLock::default() }
    }

    /// The repository they belong to.
    pub fn repository(&self) -> RepositoryId {
        self.repository
    }

    /// Which root secret new objects are made with.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The client that these are of, if it may only add.
    pub fn client(&self) -> Option<ClientId> {
        match &self.role {
            Role::Full(_) => None,
            Role::WriteOnly(credential) => Some(credential.client),
        }
    }

    /// The domain that these write into.
    pub fn own_domain(&self) -> DomainId {
        match &self.role {
            Role::Full(_) => DomainId::SHARED,
            Role::WriteOnly(credential) => credential.domain,
        }
    }

    /// Root secrets, by their epochs.
    ///
    /// # Errors
    /// If these may only add.
    pub(super) fn roots(&self) -> Result<&[Root], CryptoError> {
        match &self.role {
            Role::Full(roots) => Ok(roots),
            Role::WriteOnly(_) => Err(CryptoError::OnlyAdds),
        }
    }

    /// The root of the largest epoch.
    pub(super) fn newest(&self) -> Result<&Root, CryptoError> {
        Ok(self.roots()?.last().expect("one at least"))
    }

    /// The secret to wrap in another key slot.
    ///
    /// # Errors
    /// If these may only add.
    pub fn root(&self) -> Result<&RootSecret, CryptoError> {
        Ok(&self.newest()?.secret)
    }

    /// The keys of a deduplication domain.
    ///
    /// # Errors
    /// If these may only add, and the domain is another client's.
    pub fn domain(&self, domain: DomainId) -> Result<DomainKeys, CryptoError> {
        match &self.role {
            Role::Full(_) => Ok(DomainKeys::new(self.repository, domain, &self.domain_secret(domain)?)),
            Role::WriteOnly(credential) if credential.domain == domain => {
                Ok(DomainKeys::new(self.repository, domain, &credential.domain_secret))
            }
            Role::WriteOnly(_) => Err(CryptoError::OnlyAdds),
        }
    }

    /// These and a new root secret, which takes the place of the newest.
    ///
    /// # Errors
    /// If these may only add.
    pub fn rotated(&self) -> Result<Self, CryptoError> {
        let mut roots: Vec<RootSecret> = self.roots()?.iter().map(|root| root.secret.clone()).collect();
        roots.push(RootSecret::generate());
        Ok(Self::of_epochs(roots, self.repository))
    }

    /// What to hand to a client of a domain.
    pub(super) fn domain_secret(&self, domain: DomainId) -> Result<DomainSecret, CryptoError> {
        let first = &self.roots()?[0].secret;
        let material: [&[u8]; 3] = [&first.0, self.repository.as_bytes(), domain.as_bytes()];
        Ok(DomainSecret(Key::derive("repo 2026 v1 domain secret", &material)))
    }

    /// What data keys are sealed to.
    pub(super) fn recipient_public(&self) -> &PublicKey {
        match &self.role {
            Role::Full(roots) => &roots.last().expect("one at least").recipient_public,
            Role::WriteOnly(credential) => &credential.recipient_public,
        }
    }

    /// Seals `former` as the root secret before `root`, which is of `epoch`: what follows the epoch in a root's object.
    pub fn seal_former(root: &RootSecret, former: &RootSecret, repository: RepositoryId, place: &[u8]) -> Vec<u8> {
        let root = Root::new(root.clone(), repository);
        aead::seal(&root.former, &root.control, &root_aad(repository, place), &former.0)
    }

    /// Opens what [`Self::seal_former`] made.
    ///
    /// # Errors
    /// If it is damaged, or sealed with another root.
    pub fn open_former(
        root: &RootSecret,
        repository: RepositoryId,
        place: &[u8],
        sealed: &[u8],
    ) -> Result<RootSecret, CryptoError> {
        let root = Root::new(root.clone(), repository);
        let former = zeroize::Zeroizing::new(aead::open(&root.former, &root_aad(repository, place), sealed)?);
        Ok(RootSecret(former.as_slice().try_into().map_err(|_| CryptoError::TooShort)?))
    }
}

/// `place` is header and epoch.
fn root_aad(repository: RepositoryId, place: &[u8]) -> Vec<u8> {
    let (header, epoch) = place.split_at(8);
    [header, repository.as_bytes(), epoch].concat()
}
