//! Former root secrets. Spec chapter 3.

use super::{FormatError, HEADER_BYTES, ObjectKind};
use crate::crypto::{Keys, RootSecret};
use crate::id::RepositoryId;

const PLACE_BYTES: usize = HEADER_BYTES + 4;

/// Seals the root secret of the epoch before `epoch` with the one of `epoch`.
pub fn encode_root(root: &RootSecret, former: &RootSecret, epoch: u32, repository: RepositoryId) -> Vec<u8> {
    let mut object = ObjectKind::Root.header().to_vec();
    object.extend_from_slice(&epoch.to_le_bytes());
    let sealed = Keys::seal_former(root, former, repository, &object);
    object.extend_from_slice(&sealed);
    object
}

/// Opens what [`encode_root`] made: the root secret of the epoch before.
///
/// # Errors
/// If it is malformed, of another epoch, or sealed with another root.
pub fn decode_root(
    object: &[u8],
    root: &RootSecret,
    epoch: u32,
    repository: RepositoryId,
) -> Result<RootSecret, FormatError> {
    ObjectKind::Root.strip(object)?;
    let (place, sealed) = object.split_at_checked(PLACE_BYTES).ok_or(FormatError::Malformed("too short"))?;
    if epoch == 0 || place[HEADER_BYTES..] != epoch.to_le_bytes() {
        return Err(FormatError::Malformed("root of another epoch"));
    }
    Ok(Keys::open_former(root, repository, place, sealed)?)
}
