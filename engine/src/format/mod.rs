//! The format: bytes to model and back. Pure; `format-spec/FORMAT.md` is its specification.
//!
//! Decoders take any bytes: they never panic and never allocate past [`crate::limits`]. What they return has been
//! checked as far as it can be without other objects.

mod cbor;
mod client;
mod config;
mod envelope;
mod forgotten;
mod header;
mod index;
mod pack;
mod proof;
mod prune;
mod register;
mod root;
mod slot;
mod snapshot;
#[cfg(test)]
pub(crate) mod testing;
mod tree;

pub use client::{ClientRecord, decode_client, decode_client_end, encode_client, encode_client_end};
pub use config::{decode_config, encode_config, verify_config};
pub use envelope::{Intent, decode_intent, encode_intent, envelope_record};
pub(crate) use envelope::{decode_intent_body, encode_intent_body};
pub use forgotten::{ForgottenRecord, WhyForgotten, decode_forgotten, encode_forgotten};
pub use header::{HEADER_BYTES, ObjectKind};
pub use index::{INDEX_HEAD_BYTES, IndexObject, MAX_LOST, decode_index, encode_index, index_domain};
pub use pack::{
    Footer, TAIL_BYTES, Tail, decode_footer, decode_tail, encode_footer, encode_tail, padme, segment_binding,
    segment_table_hash,
};
pub use proof::{Proof, ProvenService, decode_proof, encode_proof};
pub use prune::{
    PruneDone, PrunePlan, PruneState, PruneVerdict, decode_done, decode_plan, decode_state, encode_done, encode_plan,
    encode_state,
};
pub use register::{Register, SessionState, decode_register, encode_register};
pub use root::{decode_root, encode_root};
pub use slot::decode_slot;
pub(crate) use slot::encode_slot;
pub use snapshot::{decode_snapshot, encode_snapshot};
pub(crate) use snapshot::{decode_snapshot_body, encode_snapshot_body};
pub use tree::{REFERENCE_BYTES, decode_node, decode_references, encode_node, encode_references};

use crate::crypto::CryptoError;

/// Why bytes are not the object that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Cut off, or not made of what it should be made of.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// Longer or larger than the limits allow.
    #[error("over the limit: {0}")]
    OverLimit(&'static str),
    /// A version of the format that this program does not know.
    #[error("format version {0} is newer than this program")]
    Version(u8),
    /// A feature that this program does not know.
    #[error("feature {0:?} is not known to this version")]
    Feature(String),
    /// A number that stands for something unknown.
    #[error("{0} {1} is not known to this version")]
    Unknown(&'static str, u64),
    /// The seal or the proof is wrong.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl FormatError {
    /// Whether a newer program may be able to read it.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Version(_) | Self::Feature(_) | Self::Unknown(..) | Self::Crypto(CryptoError::Unknown(..)))
    }
}

impl From<minicbor::decode::Error> for FormatError {
    fn from(_: minicbor::decode::Error) -> Self {
        Self::Malformed("broken CBOR")
    }
}
