//! Making a repository.

use crate::clock::Clock;
use crate::crypto::{Held, KdfParameters, Keys, RootSecret, Secret, measure_suites, random_bytes};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{decode_config, encode_config, encode_slot};
use crate::id::{RepositoryId, SlotId};
use crate::model::{ChunkerParameters, Config, PageParameters, Suite};
use crate::storage::{ObjectFamily, ObjectName, Outcome, Storage};

/// Usual chunk of the `files` profile, in bytes.
const FILES_CHUNK: u32 = 64 << 10;
/// Usual chunk of the `dumps` profile, in bytes.
const DUMPS_CHUNK: u32 = 16 << 10;
/// A chunk a page, between what the index can bear and what rarely changes as a whole.
const PAGES: PageParameters = PageParameters { min: 4 << 10, max: 16 << 10 };
/// Packs of 16 MiB: two of them in memory (one filling, one on its way) fit in 100 MiB with everything else.
const PACK_SIZE: u64 = 16 << 20;
const SEGMENT_SIZE: u32 = 1 << 20;

/// What seals segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CipherChoice {
    /// Whatever is faster on this machine.
    #[default]
    Auto,
    /// XChaCha20-Poly1305.
    XChaCha20Poly1305,
    /// AES-256-GCM.
    Aes256Gcm,
}

/// What to make a repository with.
#[derive(Debug, Clone, Default)]
pub struct InitOptions {
    /// What seals segments.
    pub cipher: CipherChoice,
    /// Usual chunk of the `files` profile in bytes, a power of two; `None`: 64 KiB. The average is a quarter less.
    pub chunk_size: Option<u32>,
    /// The same of the `dumps` profile; `None`: 16 KiB.
    pub dump_chunk_size: Option<u32>,
    /// Bytes at which a pack is closed; `None`: 16 MiB.
    pub pack_size: Option<u64>,
    /// Argon2id with 512 MiB instead of 64.
    pub strong_kdf: bool,
    /// Label of the first key slot.
    pub label: String,
}

/// What was made.
#[derive(Debug, Clone)]
pub struct InitReport {
    /// Names the repository for ever.
    pub id: RepositoryId,
    /// What seals its segments.
    pub suite: Suite,
    /// Bytes a second of XChaCha20-Poly1305 and AES-256-GCM, if they were measured.
    pub measured: Option<(u64, u64)>,
    /// Its first key slot.
    pub slot: SlotId,
}

/// Makes a repository in an empty storage. `config` is written last: without it there is no repository.
///
/// # Errors
/// `AlreadyExists` if there is one, or other objects; `Invalid` for sizes out of bounds; `Io`.
pub fn init(storage: &dyn Storage, secret: &Secret, options: &InitOptions, clock: &dyn Clock) -> Result<InitReport> {
    let leftovers = require_empty(storage)?;
    let (suite, measured) = choose_suite(options.cipher);
    let config = Config {
        id: RepositoryId::new(random_bytes()),
        created: clock.now(),
        suite,
        pack_size: options.pack_size.unwrap_or(PACK_SIZE),
        segment_size: SEGMENT_SIZE,
        files: profile(options.chunk_size.unwrap_or(FILES_CHUNK))?,
        dumps: profile(options.dump_chunk_size.unwrap_or(DUMPS_CHUNK))?,
        pages: PAGES,
        features_read: Vec::new(),
        features_write: Vec::new(),
        features_prune: Vec::new(),
    };
    let keys = Keys::new(RootSecret::generate(), config.id);
    let object = encode_config(&config, &keys);
    // What no reader would accept must not be written: the bounds are checked by the reader's own code.
    decode_config(&object)
        .map_err(|error| EngineError::with_source(ErrorKind::Invalid, "repository settings", error))?;
    let held = Held::Root(keys.root().expect("just made"));
    let slot = write_slot(storage, &keys, &held, secret, options.strong_kdf, &options.label, clock)?;
    match storage.write_new(ObjectName::Config, &[&object])? {
        Outcome::Written => {
            // Of no use to anybody now; and where they can't be removed, only in the way of those who look for theirs.
            leftovers.into_iter().for_each(|slot| drop(storage.remove(ObjectName::Key(slot))));
            Ok(InitReport { id: config.id, suite, measured, slot })
        }
        Outcome::Existed => {
            let _ = storage.remove(ObjectName::Key(slot));
            Err(EngineError::new(ErrorKind::AlreadyExists, "a repository was made here meanwhile"))
        }
    }
}

/// Writes a key slot for `secret`.
pub(super) fn write_slot(
    storage: &dyn Storage,
    keys: &Keys,
    held: &Held<'_>,
    secret: &Secret,
    strong_kdf: bool,
    label: &str,
    clock: &dyn Clock,
) -> Result<SlotId> {
    let kdf = match secret {
        // Random secrets need no stretching.
        Secret::KeyFile(_) | Secret::RecoveryCode(_) => None,
        Secret::Password(_) if strong_kdf => Some(KdfParameters::STRONG),
        Secret::Password(_) => Some(KdfParameters::DEFAULT),
    };
    let (slot, object) = encode_slot(keys, held, secret, kdf, clock.now().seconds, label)
        .map_err(|error| EngineError::with_source(ErrorKind::Invalid, "key slot", error))?;
    storage.write_new(ObjectName::Key(slot), &[&object])?;
    Ok(slot)
}

/// Refuses if anything is there but key slots: these are what an interrupted `init` left, and are handed out.
fn require_empty(storage: &dyn Storage) -> Result<Vec<SlotId>> {
    let mut slots = Vec::new();
    storage.expect(&ObjectFamily::ALL, &[]);
    for family in ObjectFamily::ALL {
        let mut found = None;
        storage.list(family, &mut |name, _| match name {
            ObjectName::Key(slot) => slots.push(slot),
            _ => found = Some(name),
        })?;
        match found {
            None => {}
            Some(ObjectName::Config) => {
                return Err(EngineError::new(ErrorKind::AlreadyExists, "there is a repository here already"));
            }
            Some(name) => {
                return Err(EngineError::new(
                    ErrorKind::AlreadyExists,
                    format!("there are parts of a repository here already ({name})"),
                ));
            }
        }
    }
    Ok(slots)
}

fn choose_suite(cipher: CipherChoice) -> (Suite, Option<(u64, u64)>) {
    match cipher {
        CipherChoice::XChaCha20Poly1305 => (Suite::XChaCha20Poly1305, None),
        CipherChoice::Aes256Gcm => (Suite::Aes256Gcm, None),
        CipherChoice::Auto => {
            let (chacha, aes) = measure_suites();
            let suite = if aes > chacha { Suite::Aes256Gcm } else { Suite::XChaCha20Poly1305 };
            (suite, Some((chacha, aes)))
        }
    }
}

/// Smallest and largest size that can be asked for, in bytes.
const CHUNK_SIZES: std::ops::RangeInclusive<u32> = 512..=2 << 20;

/// Settings for chunks of a usual size in bytes: smallest half of it, on average three quarters, largest four times it,
/// one mask for all sizes.
fn profile(size: u32) -> Result<ChunkerParameters> {
    if !size.is_power_of_two() || !CHUNK_SIZES.contains(&size) {
        return Err(EngineError::new(
            ErrorKind::Invalid,
            format!("chunks of {size} bytes: must be a power of two from 512 bytes to 2 MiB"),
        ));
    }
    // After the smallest size each byte ends the chunk with probability 4 / size.
    let bits = size.ilog2() - 2;
    let mask = ((1u64 << bits) - 1) << (62 - bits);
    Ok(ChunkerParameters { min: size / 2, average: size / 4 * 3, max: size * 4, strict_mask: mask, loose_mask: mask })
}
