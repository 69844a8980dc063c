//! Which key slot opened the repository at an address last: it can be asked for before anybody has listed the slots. Only a name,
//! which is no secret, in the cache of the repository; one that is wrong costs a request that was in vain.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};

use engine::id::SlotId;

/// The file in the cache of a repository.
const FILE: &str = "slot";
/// Its length in bytes, at most.
const MOST_BYTES: u64 = 256;

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
    pub(crate) fn read(&self) -> Option<SlotId> {
        let caches = fs::read_dir(&self.caches).ok()?;
        caches.flatten().find_map(|cache| {
            let mut text = String::new();
            fs::File::open(cache.path().join(FILE)).ok()?.take(MOST_BYTES).read_to_string(&mut text).ok()?;
            let (address, slot) = text.trim_end().split_once(' ')?;
            if address == self.address { SlotId::from_hex(slot).ok() } else { None }
        })
    }

    /// Remembers it in the cache of its repository.
    pub(crate) fn write(&self, cache: &Path, slot: SlotId) {
        if self.read() != Some(slot) {
            // Without it the next command asks a little later.
            let _ = fs::write(cache.join(FILE), format!("{} {}\n", self.address, slot.to_hex()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_slot_that_was_last() {
        let caches = tempfile::tempdir().expect("a directory");
        let (one, other) = (SlotHint::of(caches.path(), "rest:one"), SlotHint::of(caches.path(), "rest:other"));
        assert_eq!(one.read(), None);
        for name in ["a", "b"] {
            fs::create_dir(caches.path().join(name)).expect("made");
        }
        one.write(&caches.path().join("a"), SlotId::new([1; 16]));
        one.write(&caches.path().join("a"), SlotId::new([2; 16]));
        other.write(&caches.path().join("b"), SlotId::new([3; 16]));
        assert_eq!((one.read(), other.read()), (Some(SlotId::new([2; 16])), Some(SlotId::new([3; 16]))));
        fs::write(caches.path().join("a/slot"), "nonsense").expect("written");
        assert_eq!(one.read(), None);
    }
}
