//! Which key slot opened the repository at an address last, and how that wants its secret to be stretched: it can be asked for
//! before anybody has listed the slots, and the stretching begins before it is here. Nothing of that is secret. It is in the cache
//! of the repository; if it is wrong, a request and a stretching were in vain.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};

use engine::crypto::{KdfParameters, SALT_BYTES};
use engine::id::{SlotId, hex, unhex};
use engine::repository::{Repository, Stretch};

/// The file in the cache of a repository: a line of the address, the slot, and the costs and salt if there are any.
const FILE: &str = "slot";
/// Its length in bytes, at most.
const MOST_BYTES: u64 = 256;

/// A slot that may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownSlot {
    /// Its name.
    pub(crate) id: SlotId,
    /// What it wants, if anything.
    pub(crate) stretch: Option<Stretch>,
}

impl KnownSlot {
    fn of(repository: &Repository) -> Self {
        Self { id: repository.slot(), stretch: repository.stretch() }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let id = SlotId::from_hex(words.next()?).ok()?;
        Some(Self { id, stretch: parse_stretch(words) })
    }
}

impl std::fmt::Display for KnownSlot {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}", self.id.to_hex())?;
        let Some(Stretch { kdf, salt }) = self.stretch else { return Ok(()) };
        write!(to, " {} {} {} {}", kdf.memory_kib, kdf.passes, kdf.lanes, hex(&salt))
    }
}

fn parse_stretch<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Stretch> {
    let mut number = || words.next()?.parse().ok();
    let kdf = KdfParameters { memory_kib: number()?, passes: number()?, lanes: number()? };
    let mut salt = [0; SALT_BYTES];
    unhex(words.next()?, &mut salt)?;
    Some(Stretch { kdf, salt })
}

/// What is known of an address.
pub(crate) struct SlotHint {
    caches: PathBuf,
    address: String,
}

impl SlotHint {
    /// Looks in the caches of all repositories.
    pub(crate) fn of(caches: &Path, address: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        address.hash(&mut hasher);
        Self { caches: caches.to_owned(), address: format!("{:016x}", hasher.finish()) }
    }

    /// The slot.
    pub(crate) fn read(&self) -> Option<KnownSlot> {
        let caches = fs::read_dir(&self.caches).ok()?;
        caches.flatten().find_map(|cache| {
            let mut text = String::new();
            fs::File::open(cache.path().join(FILE)).ok()?.take(MOST_BYTES).read_to_string(&mut text).ok()?;
            let (address, slot) = text.trim_end().split_once(' ')?;
            if address == self.address { KnownSlot::parse(slot) } else { None }
        })
    }

    /// Remembers the slot that has opened it, in its cache.
    pub(crate) fn remember(&self, repository: &Repository) {
        self.write(repository.cache_directory(), KnownSlot::of(repository));
    }

    fn write(&self, cache: &Path, slot: KnownSlot) {
        if self.read() != Some(slot) {
            // Without it the next command asks a little later.
            let _ = fs::write(cache.join(FILE), format!("{} {slot}\n", self.address));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(byte: u8) -> KnownSlot {
        let stretch = Stretch { kdf: KdfParameters::DEFAULT, salt: [byte; SALT_BYTES] };
        KnownSlot { id: SlotId::new([byte; 16]), stretch: Some(stretch) }
    }

    #[test]
    fn an_address_has_the_slot_that_was_last() {
        let caches = tempfile::tempdir().expect("a directory");
        let (one, other) = (SlotHint::of(caches.path(), "rest:one"), SlotHint::of(caches.path(), "rest:other"));
        assert_eq!(one.read(), None);
        for name in ["a", "b"] {
            fs::create_dir(caches.path().join(name)).expect("made");
        }
        one.write(&caches.path().join("a"), slot(1));
        one.write(&caches.path().join("a"), slot(2));
        other.write(&caches.path().join("b"), KnownSlot { stretch: None, ..slot(3) });
        assert_eq!((one.read(), other.read()), (Some(slot(2)), Some(KnownSlot { stretch: None, ..slot(3) })));
        fs::write(caches.path().join("a/slot"), "nonsense").expect("written");
        assert_eq!(one.read(), None);
    }

    #[test]
    fn costs_that_make_no_sense_are_none() {
        let known = slot(1).to_string();
        assert_eq!(KnownSlot::parse(&known), Some(slot(1)));
        for wrong in [known.replace("65536", "-1"), known.replace(" 3 ", " "), known[..known.len() - 1].to_owned()] {
            assert_eq!(KnownSlot::parse(&wrong), Some(KnownSlot { stretch: None, ..slot(1) }), "{wrong}");
        }
    }
}
