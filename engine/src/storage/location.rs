//! From an address to a storage.

use std::path::Path;
use std::sync::Arc;

use super::{LocalStorage, Storage};
use crate::error::{EngineError, ErrorKind, Result};

/// Opens the storage at `address`: a path. With `create`, the directory is made.
///
/// # Errors
/// `Unsupported` for addresses of remote storages; `NoRepository` if there is no directory; `Io`.
pub fn open_location(address: &str, create: bool) -> Result<Arc<dyn Storage>> {
    const REMOTE: [&str; 7] = ["s3:", "sftp:", "rest:", "ssh:", "http:", "https:", "b2:"];
    if let Some(scheme) = REMOTE.iter().find(|scheme| address.starts_with(**scheme)) {
        return Err(EngineError::new(
            ErrorKind::Unsupported,
            format!("storage {address}: {scheme} is not supported by this version, only a local path"),
        ));
    }
    let path = Path::new(address.strip_prefix("file://").unwrap_or(address));
    Ok(Arc::new(LocalStorage::open(path, create)?))
}
