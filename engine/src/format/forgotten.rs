//! Records of forgetting: a snapshot is not listed any more, and why. Spec chapter 10.

use super::cbor::{MapWriter, decoder, read_fixed, read_map, read_time, required};
use super::{FormatError, ObjectKind};
use crate::clock::Timestamp;
use crate::crypto::Keys;
use crate::id::SnapshotId;

/// Why a snapshot has a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyForgotten {
    /// A person or a policy said so.
    Forgotten,
    /// Another one took its place; put by the first prune that sees it.
    Replaced,
}

/// The record of a forgotten snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgottenRecord {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// When it was forgotten, by the clock of whoever did it.
    pub time: Timestamp,
    /// Why.
    pub why: WhyForgotten,
    /// The machine that did it.
    pub host: Option<String>,
    /// Program and version that did it.
    pub program: Option<String>,
}

/// Encodes and proves a record.
pub fn encode_forgotten(record: &ForgottenRecord, keys: &Keys) -> Vec<u8> {
    let mut map = MapWriter::default();
    map.bytes(0, record.snapshot.as_bytes());
    map.time(1, record.time);
    map.unsigned(
        2,
        match record.why {
            WhyForgotten::Forgotten => 1,
            WhyForgotten::Replaced => 2,
        },
    );
    if let Some(host) = &record.host {
        map.text(3, host);
    }
    if let Some(program) = &record.program {
        map.text(4, program);
    }
    let mut object = ObjectKind::Forgotten.header().to_vec();
    map.finish(&mut object);
    keys.append_auth(&mut object);
    object
}

/// Decodes and verifies a record.
///
/// # Errors
/// If it is malformed, not authentic, or says a reason that this program doesn't know.
pub fn decode_forgotten(object: &[u8], keys: &Keys) -> Result<ForgottenRecord, FormatError> {
    ObjectKind::Forgotten.strip(object)?;
    let mut decoder = decoder(ObjectKind::Forgotten.strip(keys.check_full_auth(object)?)?)?;
    let (mut snapshot, mut time, mut why, mut host, mut program) = (None, None, None, None, None);
    read_map(&mut decoder, |key, d| {
        match key {
            0 => snapshot = Some(SnapshotId::new(read_fixed(d)?)),
            1 => time = Some(read_time(d)?),
            2 => why = Some(d.u64()?),
            3 => host = Some(d.str()?.to_owned()),
            4 => program = Some(d.str()?.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let why = match required(why)? {
        1 => WhyForgotten::Forgotten,
        2 => WhyForgotten::Replaced,
        other => return Err(FormatError::Unknown("reason of forgetting", other)),
    };
    Ok(ForgottenRecord { snapshot: required(snapshot)?, time: required(time)?, why, host, program })
}
