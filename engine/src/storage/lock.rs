//! Locks: what keeps an object from being removed or replaced, by whoever asks, until a time.
//!
//! A lock is the storage's, not the repository's: nothing in the format knows of it. It is only ever made longer here.

use crate::clock::Timestamp;

/// Who may take a lock away before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockMode {
    /// Those whom the storage's owner gave that right.
    Governance,
    /// Nobody, the storage's owner included.
    Compliance,
}

impl LockMode {
    /// In lower case, as people write it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Governance => "governance",
            Self::Compliance => "compliance",
        }
    }
}

/// A lock on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lock {
    /// Its end. Storages count whole seconds.
    pub until: Timestamp,
    /// Who may end it sooner.
    pub mode: LockMode,
}
