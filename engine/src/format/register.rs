//! Registers: how a session ended. Spec chapter 6.

use super::cbor::{MapWriter, decoder, read_fixed, read_map, required};
use super::{FormatError, ObjectKind};
use crate::crypto::Keys;
use crate::id::{SessionId, SnapshotId};
use crate::model::Signer;

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// What it stored counts; the snapshot, if there is one, exists.
    Committed(Option<SnapshotId>),
    /// What it stored does not count.
    Revoked,
}

/// The commit point of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register {
    /// The session.
    pub session: SessionId,
    /// How it ended.
    pub state: SessionState,
}

/// Encodes and proves a register.
pub fn encode_register(register: &Register, keys: &Keys) -> Vec<u8> {
    let mut map = MapWriter::default();
    map.bytes(0, register.session.as_bytes());
    match register.state {
        SessionState::Committed(snapshot) => {
            map.unsigned(1, 1);
            if let Some(snapshot) = snapshot {
                map.bytes(2, snapshot.as_bytes());
            }
        }
        SessionState::Revoked => map.unsigned(1, 2),
    }
    let mut object = ObjectKind::Register.header().to_vec();
    map.finish(&mut object);
    keys.append_auth_for_all(&mut object);
    object
}

/// Decodes and verifies a register, and says who made it.
///
/// # Errors
/// If it is malformed, not authentic, or in a state that this program doesn't know.
pub fn decode_register(object: &[u8], keys: &Keys) -> Result<(Register, Signer), FormatError> {
    ObjectKind::Register.strip(object)?;
    let (proven, signer) = keys.check_auth_for_all(object)?;
    let mut decoder = decoder(ObjectKind::Register.strip(proven)?)?;
    let (mut session, mut state, mut snapshot) = (None, None, None);
    read_map(&mut decoder, |key, d| {
        match key {
            0 => session = Some(SessionId::new(read_fixed(d)?)),
            1 => state = Some(d.u64()?),
            2 => snapshot = Some(SnapshotId::new(read_fixed(d)?)),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let state = match required(state)? {
        1 => SessionState::Committed(snapshot),
        2 => SessionState::Revoked,
        other => return Err(FormatError::Unknown("session state", other)),
    };
    Ok((Register { session: required(session)?, state }, signer))
}
