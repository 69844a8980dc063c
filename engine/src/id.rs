//! Identifiers as distinct types.
//!
//! Ids of 32 bytes are hashes, ids of 16 bytes are random. One macro makes them all, so that none can be
//! passed for another.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected {expected_digits} lower-case hexadecimal digits")]
pub struct ParseIdError {
    expected_digits: usize,
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Takes the bytes as they are.
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The id in `bytes`, if their number is right.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Some(Self(bytes.try_into().ok()?))
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Lower-case hexadecimal digits.
            pub fn to_hex(&self) -> String {
                hex(&self.0)
            }

            /// The first eight digits, as people see them.
            pub fn short(&self) -> String {
                hex(&self.0[..4])
            }

            /// Reads what [`Self::to_hex`] writes.
            ///
            /// # Errors
            /// If `text` has another length or other characters.
            pub fn from_hex(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0u8; $len];
                unhex(text, &mut bytes).ok_or(ParseIdError { expected_digits: $len * 2 })?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }
    };
}

id_type!(
    /// Keyed hash of a chunk's plaintext.
    ChunkId, 32
);
id_type!(
    /// Hash of a pack's bytes.
    PackId, 32
);
id_type!(
    /// Hash of an index object's bytes.
    IndexId, 32
);
id_type!(
    /// Hash of a snapshot object's bytes.
    SnapshotId, 32
);
id_type!(
    /// Hash of a proof object's bytes.
    ProofId, 32
);
id_type!(
    /// Names a repository for ever.
    RepositoryId, 16
);
id_type!(
    /// Names one writer's work.
    SessionId, 16
);
id_type!(
    /// Names a key slot.
    SlotId, 16
);
id_type!(
    /// Names a client that may add snapshots and read none.
    ClientId, 16
);
id_type!(
    /// Names a deduplication domain.
    DomainId, 16
);

/// Numbers the root secrets that took the place of another one, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochId(NonZeroU32);

impl EpochId {
    /// That of a number; the first root secret has 0, and took nobody's place.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        self.0.get()
    }

    /// Reads what [`fmt::Display`] writes: eight lower-case hexadecimal digits.
    ///
    /// # Errors
    /// If `text` has another length or other characters, or is zero.
    pub fn from_hex(text: &str) -> Result<Self, ParseIdError> {
        let mut bytes = [0; 4];
        let number = unhex(text, &mut bytes).and_then(|()| Self::new(u32::from_be_bytes(bytes)));
        number.ok_or(ParseIdError { expected_digits: 8 })
    }
}

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Numbers the plans of prune, from 1: at any time only the one with the largest number may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PruneId(NonZeroU64);

impl PruneId {
    /// The first plan of a repository.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The plan of that number; none has 0.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0.get()
    }

    /// The one that follows, if there are more numbers.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }

    /// Reads what [`fmt::Display`] writes: 16 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// If `text` has another length or other characters, or is zero.
    pub fn from_hex(text: &str) -> Result<Self, ParseIdError> {
        let mut bytes = [0; 8];
        let number = unhex(text, &mut bytes).and_then(|()| Self::new(u64::from_be_bytes(bytes)));
        number.ok_or(ParseIdError { expected_digits: 16 })
    }
}

impl fmt::Display for PruneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl DomainId {
    /// The domain shared by all clients that hold the root secret.
    pub const SHARED: Self = Self([0; 16]);
}

/// Lower-case hexadecimal digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// Fills `out` from lower-case digits; `None` if length or characters are wrong.
pub fn unhex(text: &str, out: &mut [u8]) -> Option<()> {
    let digits = text.as_bytes();
    if digits.len() != out.len() * 2 {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_refuses_what_it_does_not_write() {
        let id = SessionId::new(*b"0123456789abcdef");
        assert_eq!(SessionId::from_hex(&id.to_hex()), Ok(id));
        for wrong in ["", "00", &"0".repeat(31), &"0".repeat(33), &"A".repeat(32), &"é".repeat(16)] {
            assert!(SessionId::from_hex(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn plans_are_numbered_from_one_and_their_names_sort_as_they_do() {
        let two = PruneId::FIRST.next().expect("there are more");
        assert_eq!((two.number(), two.to_string().as_str()), (2, "0000000000000002"));
        let last = PruneId::new(u64::MAX).expect("not zero");
        assert_eq!((last.to_string().as_str(), last.next()), ("ffffffffffffffff", None));
        for id in [PruneId::FIRST, two, last] {
            assert_eq!(PruneId::from_hex(&id.to_string()), Ok(id));
        }
        for wrong in ["0000000000000000", "1", "000000000000000G", "00000000000000000001"] {
            assert!(PruneId::from_hex(wrong).is_err(), "{wrong}");
        }
        assert_eq!(PruneId::new(0), None);
    }
}
