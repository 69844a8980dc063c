//! Storages that are not a directory of this machine, and the way from an address to a storage.
//!
//! The engine knows the trait [`Storage`] and nothing of networks; everything that waits for another machine is here.
//! What may be slow, refused, answered twice or not at all is turned into the promises of the trait: an object is
//! durable when a write returns, and of several writers of one name at most one is told that it was first.

mod access;
mod address;
mod ahead;
mod files;
mod http;
mod patience;
mod protocol;
mod refusal;
mod s3;
pub mod serve;
mod sftp;
mod ssh;
mod throttle;

use std::sync::Arc;

use bytes::Bytes;
use engine::storage::{LocalStorage, Storage};
use engine::{EngineError, ErrorKind, Result};

use ahead::Ahead;
use s3::{PastStorage, S3Storage};

pub use access::{Access, Lookup, OPTIONS};
pub use address::Address;
pub use refusal::{Cause, Refusal};

/// Opens the storage at `address`, or what it was at the moment of [`Access::as_of`], to be read only. With `create`, what
/// can be made of it is made: a directory, not a bucket.
///
/// # Errors
/// `Invalid` for what is no address, for options that the storage doesn't have, or if there are no credentials;
/// `Unsupported` for storages that this version doesn't know; `NoRepository` if there is no such directory or bucket; `Io`.
pub fn open(address: &str, create: bool, access: &Access) -> Result<Arc<dyn Storage>> {
    let parsed = Address::parse(address)?;
    access.check_options()?;
    if let Some(moment) = access.as_of {
        return match parsed {
            Address::S3 { .. } if create => Err(s3::only_read("cannot make a repository")),
            Address::S3 { endpoint, bucket, prefix } => {
                Ok(Arc::new(PastStorage::open(&endpoint, &bucket, &prefix, access, moment)?))
            }
            other => Err(EngineError::new(
                ErrorKind::Invalid,
                format!("{other} has no earlier states to read: only S3 buckets that keep versions have"),
            )),
        };
    }
    match parsed {
        Address::Local(ref path) => Ok(Arc::new(LocalStorage::open(path, create)?)),
        Address::Sftp(ref remote) => sftp::open(remote, parsed.to_string(), create, access),
        Address::S3 { endpoint, bucket, prefix } => S3Storage::open(&endpoint, &bucket, &prefix, access),
        Address::Rest(url) => http::open_rest(&url, create, access),
        Address::Ssh(ref remote) => http::open_ssh(remote, parsed.to_string(), create, access),
    }
}

/// Opens the storage at `address` for a new repository, and finds out what it promises; that, as lines for people.
///
/// # Errors
/// As [`open`]; `Unsupported`, too, if the storage can't hold a repository.
pub fn create(address: &str, access: &Access) -> Result<(Arc<dyn Storage>, Vec<String>)> {
    match Address::parse(address)? {
        Address::S3 { endpoint, bucket, prefix } if access.as_of.is_none() => {
            access.check_options()?;
            let (storage, found) = S3Storage::create(&endpoint, &bucket, &prefix, access)?;
            Ok((Arc::new(Ahead::new(Arc::new(storage))), found))
        }
        _ => Ok((open(address, true, access)?, Vec::new())),
    }
}

/// Lends what is in a buffer from `start` on, and gives the buffer back. A connection may let go of it only a moment after the
/// answer: then an empty one comes back, since a copy would need as much memory again.
fn lend<T>(buffer: Vec<u8>, start: usize, put: impl FnOnce(Bytes) -> T) -> (T, Vec<u8>) {
    let lent = Bytes::from(buffer);
    let outcome = put(lent.slice(start.min(lent.len())..));
    let buffer = if lent.is_unique() { Vec::from(lent) } else { Vec::new() };
    (outcome, buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_was_lent_comes_back_unless_somebody_holds_on_to_it() {
        let buffer = b"--bytes".to_vec();
        let place = buffer.as_ptr();
        let (seen, buffer) = lend(buffer, 2, |bytes| bytes.to_vec());
        assert_eq!((seen.as_slice(), buffer.as_slice(), buffer.as_ptr()), (&b"bytes"[..], &b"--bytes"[..], place));
        let (held, buffer) = lend(buffer, 2, |bytes| bytes);
        assert_eq!((&held[..], buffer.len()), (&b"bytes"[..], 0), "what is still being sent is not written over");
        assert_eq!(lend(buffer, 2, |bytes| bytes.len()).0, 0);
    }
}
