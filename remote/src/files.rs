//! Small files that a person names: tokens, certificates, keys.

use std::io::Read;
use std::path::Path;

use engine::{EngineError, ErrorKind, Result};

/// Reads a file of at most `max` bytes.
///
/// # Errors
/// `Io`; `Invalid` if it is larger, and so not what was meant.
pub(crate) fn read_small(path: &Path, max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| EngineError::io("open", path, error))?;
    file.take(max + 1).read_to_end(&mut bytes).map_err(|error| EngineError::io("read", path, error))?;
    if bytes.len() as u64 > max {
        return Err(EngineError::new(ErrorKind::Invalid, format!("{} is larger than {max} bytes", path.display())));
    }
    Ok(bytes)
}
