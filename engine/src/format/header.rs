//! The first eight bytes of every object. Spec chapter 2.

use super::FormatError;

/// Length in bytes.
pub const HEADER_BYTES: usize = 8;
const MAGIC: &[u8; 4] = b"repo";
const VERSION: u8 = 1;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// Parameters and features.
    Config = 1,
    /// A key slot.
    Key = 2,
    /// A pack.
    Pack = 3,
    /// An index object.
    Index = 4,
    /// A snapshot.
    Snapshot = 5,
    /// A session's intent.
    Intent = 6,
    /// A session's register.
    Register = 7,
    /// What a prune means to remove.
    PrunePlan = 8,
    /// What a prune decided in the end.
    PruneState = 9,
    /// A prune is over.
    PruneDone = 10,
    /// The record of a forgotten snapshot.
    Forgotten = 11,
    /// Bytes that a prune may delete when the storage is full.
    PruneReserve = 12,
    /// What came of a trial restore.
    Proof = 13,
    /// Who may add snapshots and read none.
    Client = 14,
    /// What counts of such a client that has ended.
    ClientEnd = 15,
    /// A former root secret.
    Root = 16,
}

impl ObjectKind {
    /// The header of such an object.
    pub const fn header(self) -> [u8; HEADER_BYTES] {
        [MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], self as u8, VERSION, 0, 0]
    }

    /// Checks the header of `object` and returns what follows.
    ///
    /// # Errors
    /// If it is no object of this kind, or of a version that this program doesn't know.
    pub fn strip(self, object: &[u8]) -> Result<&[u8], FormatError> {
        let (header, rest) =
            object.split_first_chunk::<HEADER_BYTES>().ok_or(FormatError::Malformed("shorter than its header"))?;
        if &header[..4] != MAGIC {
            return Err(FormatError::Malformed("no repository object"));
        }
        if header[4] != self as u8 {
            return Err(FormatError::Malformed("an object of another kind"));
        }
        if header[5] != VERSION {
            return Err(FormatError::Version(header[5]));
        }
        if header[6..] != [0, 0] {
            return Err(FormatError::Malformed("header"));
        }
        Ok(rest)
    }
}
