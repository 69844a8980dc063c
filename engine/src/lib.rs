//! Encrypted, deduplicating backups of trees and streams.
//!
//! A *repository* lives in a *storage*. [`ops`] holds the verbs; everything below serves them. ARCHITECTURE.md
//! has the map and the invariants; `format-spec/FORMAT.md` the bytes.

pub mod chunker;
pub mod clock;
pub mod compress;
pub mod crypto;
pub mod error;
pub mod format;
pub mod id;
pub mod limits;
pub mod model;
pub mod monitor;
pub mod ops;
pub mod os;
#[cfg(test)]
mod properties;
pub mod repository;
pub mod retention;
pub mod source;
pub mod storage;
pub mod target;
#[cfg(test)]
mod vectors;

pub use error::{EngineError, ErrorKind, Result};
