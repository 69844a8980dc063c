//! Storages that are not a directory of this machine, and the way from an address to a storage.
//!
//! The engine knows the trait [`Storage`] and nothing of networks; everything that waits for another machine is here.
//! What may be slow, refused, answered twice or not at all is turned into the promises of the trait: an object is
//! durable when a write returns, and of several writers of one name at most one is told that it was first.

mod access;
mod address;
mod patience;
mod sftp;
mod ssh;
mod throttle;

use std::sync::Arc;

use engine::storage::{LocalStorage, Storage};
use engine::{EngineError, ErrorKind, Result};

pub use access::{Access, Lookup, OPTIONS};
pub use address::Address;

/// Opens the storage at `address`. With `create`, what can be made of it is made: a directory, not a bucket.
///
/// # Errors
/// `Invalid` for what is no address, or for options that the storage doesn't have; `Unsupported` for storages that this
/// version doesn't know; `NoRepository` if there is no such directory; `Io`.
pub fn open(address: &str, create: bool, access: &Access) -> Result<Arc<dyn Storage>> {
    let parsed = Address::parse(address)?;
    access.check_options()?;
    match parsed {
        Address::Local(ref path) => Ok(Arc::new(LocalStorage::open(path, create)?)),
        Address::Sftp(ref remote) => sftp::open(remote, parsed.to_string(), create, access),
        other => Err(EngineError::new(
            ErrorKind::Unsupported,
            format!("storage {other}: not supported by this version, only a local path"),
        )),
    }
}
