//! What a slot wants done to its secret before it opens: no secret itself, so that it can be kept, and done before the slot is
//! read.

use super::slot::{SALT_BYTES, Secret, SlotKind, SlotView};
use super::{CryptoError, KdfParameters, Key};

/// How a slot wants its secret to be stretched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Costs of Argon2id.
    pub kdf: KdfParameters,
    /// The slot's own.
    pub salt: [u8; SALT_BYTES],
}

impl Stretch {
    /// `None` if a slot wants none.
    pub fn of(view: &SlotView<'_>) -> Option<Self> {
        Some(Self { kdf: view.kdf?, salt: view.salt() })
    }

    /// Does it.
    ///
    /// # Errors
    /// If the costs are not [within limits](KdfParameters::within_limits), or there is no memory for it.
    pub fn run(&self, secret: &Secret) -> Result<Stretched, CryptoError> {
        if !self.kdf.within_limits() {
            return Err(CryptoError::Derivation("its costs are not within limits".to_owned()));
        }
        Ok(Stretched { of: *self, kind: secret.kind(), key: self.kdf.run(secret.bytes(), &self.salt)? })
    }
}

/// What came of it. It is for slots that want the same, and for no other.
pub struct Stretched {
    of: Stretch,
    kind: SlotKind,
    key: Key,
}

impl Stretched {
    /// The key, if it is for this slot.
    pub(super) fn key_for(self, view: &SlotView<'_>) -> Option<Key> {
        (self.kind == view.kind && Stretch::of(view) == Some(self.of)).then_some(self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Held, Keys, RootSecret, open_slot};
    use crate::format::{decode_slot, encode_slot};
    use crate::id::RepositoryId;

    const CHEAP: KdfParameters = KdfParameters { memory_kib: 64 << 10, passes: 1, lanes: 1 };

    #[test]
    fn a_slot_takes_what_was_done_for_it_and_no_other() {
        let keys = Keys::of_epochs(vec![RootSecret::from_bytes([3; 32])], RepositoryId::new([1; 16]));
        let (secret, wrong) = (Secret::Password(b"pass".to_vec()), Secret::Password(b"wrong".to_vec()));
        let held = Held::Root(keys.root().expect("a full client"));
        let (_, object) = encode_slot(&keys, &held, &secret, Some(CHEAP), 0, "").expect("a slot");
        let (view, _) = decode_slot(&object).expect("a slot");
        let stretch = Stretch::of(&view).expect("a password");
        // That it was taken shows in what a wrong one does.
        for (done, stretch, does_open) in [
            (&secret, stretch, true),
            (&wrong, stretch, false),
            (&wrong, Stretch { salt: [0; 32], ..stretch }, true),
            (&wrong, Stretch { kdf: KdfParameters { passes: 2, ..CHEAP }, ..stretch }, true),
            (&Secret::KeyFile([1; 32]), stretch, true),
        ] {
            let early = stretch.run(done).expect("within limits");
            let opened = open_slot(&view, keys.repository(), &secret, Some(early)).expect("whole");
            assert_eq!(opened.is_some(), does_open);
        }
    }

    #[test]
    fn nothing_is_done_that_no_slot_may_want() {
        let kdf = KdfParameters { memory_kib: u32::MAX, passes: 1, lanes: 1 };
        assert!(Stretch { kdf, salt: [0; 32] }.run(&Secret::KeyFile([0; 32])).is_err());
    }
}
