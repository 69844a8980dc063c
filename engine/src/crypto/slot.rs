//! Key slots: the root secret under a password, a key file or a recovery code. Spec chapter 5.

use argon2::{Algorithm, Argon2, Params, Version};
use bip39::Mnemonic;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Credential, CryptoError, Key, Keys, RootSecret, Stretched, aead, credential_bytes, random_bytes};
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::{RepositoryId, SlotId};
use crate::limits;

/// Length in bytes of a key slot that holds the root secret.
pub const SLOT_BYTES: usize = 344;
/// Length in bytes of one that holds a credential of an epoch.
pub const fn credential_slot_bytes(epoch: u32) -> usize {
    SLOT_BYTES - ROOT_BYTES + credential_bytes(epoch)
}

const ROOT_BYTES: usize = 32;
/// Length in bytes of the salt that its secret is stretched with.
pub const SALT_BYTES: usize = 32;
/// Where that begins.
const SALT_AT: usize = 52;
/// Where what it holds begins, sealed.
const SEALED_AT: usize = 116;
/// Length in bytes of the longest label.
pub const LABEL_BYTES: usize = 115;
const LABEL_PLAIN_BYTES: usize = LABEL_BYTES + 1;
const KEY_FILE_PREFIX: &str = "repo-key-1 ";

/// What opens a key slot.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub enum Secret {
    /// Whatever a person chose; stretched by Argon2id.
    Password(Vec<u8>),
    /// 32 random bytes in a file.
    KeyFile([u8; 32]),
    /// 32 random bytes on paper.
    RecoveryCode([u8; 32]),
}

impl Secret {
    /// A new key file.
    pub fn generate_key_file() -> Self {
        Self::KeyFile(random_bytes())
    }

    /// A new recovery code.
    pub fn generate_recovery_code() -> Self {
        Self::RecoveryCode(random_bytes())
    }

    /// What to store in the key file, or to print; `None` for a password.
    pub fn to_text(&self) -> Option<Zeroizing<String>> {
        match self {
            Self::Password(_) => None,
            Self::KeyFile(bytes) => Some(Zeroizing::new(format!("{KEY_FILE_PREFIX}{}", crate::id::hex(bytes)))),
            Self::RecoveryCode(bytes) => {
                let words = Mnemonic::from_entropy(bytes).expect("32 bytes are a valid length");
                Some(Zeroizing::new(words.to_string()))
            }
        }
    }

    /// Reads what [`Self::to_text`] writes for a key file.
    ///
    /// # Errors
    /// `Invalid` if it is something else.
    pub fn from_key_file(text: &str) -> Result<Self> {
        let mut bytes = [0u8; 32];
        let digits = text.trim_ascii().strip_prefix(KEY_FILE_PREFIX);
        digits.and_then(|digits| crate::id::unhex(digits, &mut bytes)).ok_or_else(|| {
            EngineError::new(ErrorKind::Invalid, "not a key file: one line, `repo-key-1` and 64 hexadecimal digits")
        })?;
        Ok(Self::KeyFile(bytes))
    }

    /// Reads the 24 words of a recovery code; `None` if a word or the checksum is wrong.
    pub fn from_recovery_words(text: &str) -> Option<Self> {
        let words = Zeroizing::new(text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase());
        let entropy = Zeroizing::new(Mnemonic::parse_normalized(&words).ok()?.to_entropy());
        Some(Self::RecoveryCode(entropy.as_slice().try_into().ok()?))
    }

    /// What it is made of.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Password(password) => password,
            Self::KeyFile(bytes) | Self::RecoveryCode(bytes) => bytes,
        }
    }

    /// The kind of slot that it opens.
    pub fn kind(&self) -> SlotKind {
        match self {
            Self::Password(_) => SlotKind::Password,
            Self::KeyFile(_) => SlotKind::KeyFile,
            Self::RecoveryCode(_) => SlotKind::RecoveryCode,
        }
    }
}

/// What opens a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// A password.
    Password,
    /// A key file.
    KeyFile,
    /// A recovery code.
    RecoveryCode,
}

/// Costs of Argon2id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParameters {
    /// KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl KdfParameters {
    /// RFC 9106's second choice. It runs in every command.
    pub const DEFAULT: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 4 };
    /// Eight times the memory.
    pub const STRONG: Self = Self { memory_kib: 512 << 10, passes: 3, lanes: 4 };

    /// Whether they are strong enough to be accepted and small enough to be run.
    pub fn within_limits(&self) -> bool {
        limits::ARGON2_MEMORY_KIB.contains(&self.memory_kib)
            && limits::ARGON2_PASSES.contains(&self.passes)
            && limits::ARGON2_LANES.contains(&self.lanes)
            && u64::from(self.memory_kib) * u64::from(self.passes) <= limits::ARGON2_WORK_KIB
    }

    pub(super) fn run(&self, password: &[u8], salt: &[u8]) -> Result<Key, CryptoError> {
        let failed = |error: argon2::Error| CryptoError::Derivation(error.to_string());
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).map_err(failed)?;
        let mut okm = Key([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password, salt, &mut okm.0)
            .map_err(failed)?;
        Ok(okm)
    }
}

/// The parsed fields of a slot object. `format::slot` makes it from bytes and checks all bounds.
pub struct SlotView<'a> {
    /// All bytes of the object: of one of the two lengths.
    pub bytes: &'a [u8],
    /// Its name.
    pub id: SlotId,
    /// What opens it.
    pub kind: SlotKind,
    /// How the secret is stretched; `None`: not at all.
    pub kdf: Option<KdfParameters>,
    /// Which root secret it holds, or which one a credential is of.
    pub epoch: u32,
    /// Whether it holds the credential of a write-only client.
    pub only_adds: bool,
}

/// What a slot holds.
pub enum Unlocked {
    /// The root secret of its epoch.
    Root(RootSecret),
    /// What may only add.
    Credential(Credential),
}

/// What a slot stores before its secrets: bytes 0 to 84, made by `format::slot`.
pub(crate) type SlotHead = [u8; 84];

/// What is to be put into a slot.
pub(crate) enum Held<'k> {
    /// A root secret.
    Root(&'k RootSecret),
    /// What may only add.
    Credential(&'k Credential),
}

impl Held<'_> {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Root(root) => Zeroizing::new(root.0.to_vec()),
            Self::Credential(credential) => credential.to_bytes(),
        }
    }
}

/// Wraps what a slot is to hold for `secret`: the whole slot object. `keys` are those of its label: a full client's.
///
/// # Errors
/// If the key derivation can't run (memory); if `keys` may only add.
pub(crate) fn write_slot(
    keys: &Keys,
    held: &Held<'_>,
    secret: &Secret,
    kdf: Option<KdfParameters>,
    id: SlotId,
    head: &SlotHead,
    label: &str,
) -> Result<Vec<u8>, CryptoError> {
    let (repository, root) = (keys.repository, keys.newest()?);
    let salt: &[u8] = &head[SALT_AT..];
    let stretched = kdf.map(|kdf| kdf.run(secret.bytes(), salt)).transpose()?;
    let (kek, commitment) = slot_keys(secret, stretched, repository, id)?;
    let mut slot = Vec::with_capacity(credential_slot_bytes(keys.epoch));
    slot.extend_from_slice(head);
    slot.extend_from_slice(&commitment.0);
    let sealed = aead::seal(&kek, &root.control, &slot_aad(repository, &slot), &held.to_bytes());
    slot.extend_from_slice(&sealed);

    let mut end = label.len().min(LABEL_BYTES);
    while !label.is_char_boundary(end) {
        end -= 1;
    }
    let mut plain = [0u8; LABEL_PLAIN_BYTES];
    plain[0] = u8::try_from(end).expect("at most 115");
    plain[1..=end].copy_from_slice(&label.as_bytes()[..end]);
    let sealed = aead::seal(&root.label, &root.control, &slot_aad(repository, &slot), &plain);
    slot.extend_from_slice(&sealed);
    Ok(slot)
}

/// Tries `secret` on a slot. `None`: it is not the one for this slot. `early` is what was done with this
/// secret, perhaps for this slot: then it need not be stretched.
///
/// # Errors
/// If the key derivation can't run, or the commitment fits and the rest is damaged.
pub fn open_slot(
    view: &SlotView<'_>,
    repository: RepositoryId,
    secret: &Secret,
    early: Option<Stretched>,
) -> Result<Option<Unlocked>, CryptoError> {
    if view.kind != secret.kind() {
        return Ok(None);
    }
    let early = early.and_then(|early| early.key_for(view));
    let stretched = match view.kdf {
        Some(kdf) if early.is_none() => Some(kdf.run(secret.bytes(), &view.salt())?),
        _ => early,
    };
    let (kek, commitment) = slot_keys(secret, stretched, repository, view.id)?;
    let stored: [u8; 32] = view.bytes[84..SEALED_AT].try_into().expect("32 bytes");
    if blake3::Hash::from(stored) != commitment.0 {
        return Ok(None);
    }
    let (before, sealed) = view.bytes[..view.label_at()].split_at(SEALED_AT);
    let held = Zeroizing::new(aead::open(&kek, &slot_aad(repository, before), sealed)?);
    if view.only_adds {
        let credential = Credential::from_bytes(&held)?;
        if credential.client().as_bytes() != view.id.as_bytes() {
            return Err(CryptoError::Malformed("key slot of another client"));
        }
        return Ok(Some(Unlocked::Credential(credential)));
    }
    let root: [u8; ROOT_BYTES] = held.as_slice().try_into().map_err(|_| CryptoError::TooShort)?;
    Ok(Some(Unlocked::Root(RootSecret(root))))
}

impl SlotView<'_> {
    pub(super) fn salt(&self) -> [u8; SALT_BYTES] {
        self.bytes[SALT_AT..SALT_AT + SALT_BYTES].try_into().expect("32 bytes")
    }

    /// Where the label begins, sealed.
    fn label_at(&self) -> usize {
        self.bytes.len() - LABEL_PLAIN_BYTES - aead::SEAL_BYTES
    }
}

/// The label of a slot.
///
/// # Errors
/// If it is damaged, or of a root secret that these keys don't have.
pub fn read_label(keys: &Keys, view: &SlotView<'_>) -> Result<String, CryptoError> {
    let root = keys.roots()?.get(view.epoch as usize).ok_or(CryptoError::Unknown("key epoch", view.epoch))?;
    let (before, sealed) = view.bytes.split_at(view.label_at());
    let plain = aead::open(&root.label, &slot_aad(keys.repository, before), sealed)?;
    let (len, rest) = plain.split_first().ok_or(CryptoError::TooShort)?;
    let (label, padding) = rest.split_at_checked(usize::from(*len)).ok_or(CryptoError::Malformed("label"))?;
    if padding.iter().any(|&byte| byte != 0) {
        return Err(CryptoError::Malformed("label"));
    }
    String::from_utf8(label.to_vec()).map_err(|_| CryptoError::Malformed("label"))
}

fn slot_keys(
    secret: &Secret,
    stretched: Option<Key>,
    repository: RepositoryId,
    slot: SlotId,
) -> Result<(Key, Key), CryptoError> {
    let okm = match (secret, stretched) {
        (_, Some(stretched)) => stretched,
        (Secret::KeyFile(bytes) | Secret::RecoveryCode(bytes), None) => Key(*bytes),
        (Secret::Password(_), None) => return Err(CryptoError::Unknown("KDF for passwords", 0)),
    };
    let material: [&[u8]; 3] = [&okm.0, repository.as_bytes(), slot.as_bytes()];
    let kek = Key::derive("repo 2026 v1 slot kek", &material);
    let commitment = Key::derive("repo 2026 v1 slot commitment", &material);
    Ok((kek, commitment))
}

fn slot_aad(repository: RepositoryId, bytes: &[u8]) -> Vec<u8> {
    [repository.as_bytes(), bytes].concat()
}
