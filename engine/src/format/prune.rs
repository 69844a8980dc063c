//! What prunes say: the plan, what was decided about it, that it is over. Spec chapter 14.

use minicbor::Decoder;

use super::cbor::{MapWriter, decoder, read_array, read_fixed, read_map, read_time, read_tuple, required};
use super::{FormatError, ObjectKind};
use crate::clock::Timestamp;
use crate::crypto::Keys;
use crate::id::{PackId, PruneId, SessionId, SnapshotId};
use crate::limits;

/// What a prune means to remove. From when it is durable until it is over, writers don't use what it condemns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunePlan {
    /// Its number.
    pub number: PruneId,
    /// When it was made, by the clock of whoever made it.
    pub time: Timestamp,
    /// Program and version that made it.
    pub program: String,
    /// The packs to remove, ascending, each once.
    pub condemned: Vec<PackId>,
    /// The snapshots to remove, ascending, each once.
    pub dropped: Vec<SnapshotId>,
}

/// What became of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PruneVerdict {
    /// It is carried out, by anyone.
    Sweep {
        /// Condemned packs that are kept after all, ascending, each once.
        rescued: Vec<PackId>,
    },
    /// It is not, and never will be: it is over.
    Cancelled,
}

/// What was decided about a plan, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneState {
    /// The plan.
    pub number: PruneId,
    /// What became of it.
    pub verdict: PruneVerdict,
}

/// A prune is over, and what the next one should know: when each thing that waits for its time was first seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneDone {
    /// The plan; it and all earlier ones are over.
    pub number: PruneId,
    /// When, by the clock of whoever finished it.
    pub time: Timestamp,
    /// Sessions that were open, ascending, each once, and when a prune first saw them so.
    pub sessions: Vec<(SessionId, Timestamp)>,
    /// Forgotten snapshots that are still there, ascending, each once, and when a prune first saw their records.
    pub records: Vec<(SnapshotId, Timestamp)>,
    /// Bytes that were freed.
    pub freed_bytes: u64,
}

/// Encodes and proves a plan. Its ids must ascend.
pub fn encode_plan(plan: &PrunePlan, keys: &Keys) -> Vec<u8> {
    let mut map = MapWriter::default();
    map.unsigned(0, plan.number.number());
    map.time(1, plan.time);
    map.text(2, &plan.program);
    map.bytes(3, &joined(plan.condemned.iter().map(PackId::as_bytes)));
    map.bytes(4, &joined(plan.dropped.iter().map(SnapshotId::as_bytes)));
    prove(ObjectKind::PrunePlan, map, keys)
}

/// Decodes and verifies a plan.
///
/// # Errors
/// If it is malformed or not authentic.
pub fn decode_plan(object: &[u8], keys: &Keys) -> Result<PrunePlan, FormatError> {
    let mut d = verified(ObjectKind::PrunePlan, object, keys)?;
    let (mut number, mut time, mut program, mut condemned, mut dropped) = (None, None, None, None, None);
    read_map(&mut d, |key, d| {
        match key {
            0 => number = Some(read_number(d)?),
            1 => time = Some(read_time(d)?),
            2 => program = Some(d.str()?.to_owned()),
            3 => condemned = Some(read_ids(d, PackId::new)?),
            4 => dropped = Some(read_ids(d, SnapshotId::new)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(PrunePlan {
        number: required(number)?,
        time: required(time)?,
        program: required(program)?,
        condemned: required(condemned)?,
        dropped: required(dropped)?,
    })
}

/// Encodes and proves what was decided about a plan. Ids must ascend.
pub fn encode_state(state: &PruneState, keys: &Keys) -> Vec<u8> {
    let mut map = MapWriter::default();
    map.unsigned(0, state.number.number());
    match &state.verdict {
        PruneVerdict::Sweep { rescued } => {
            map.unsigned(1, 1);
            map.bytes(2, &joined(rescued.iter().map(PackId::as_bytes)));
        }
        PruneVerdict::Cancelled => map.unsigned(1, 2),
    }
    prove(ObjectKind::PruneState, map, keys)
}

/// Decodes and verifies what was decided about a plan.
///
/// # Errors
/// If it is malformed, not authentic, or says what this program doesn't know.
pub fn decode_state(object: &[u8], keys: &Keys) -> Result<PruneState, FormatError> {
    let mut d = verified(ObjectKind::PruneState, object, keys)?;
    let (mut number, mut state, mut rescued) = (None, None, None);
    read_map(&mut d, |key, d| {
        match key {
            0 => number = Some(read_number(d)?),
            1 => state = Some(d.u64()?),
            2 => rescued = Some(read_ids(d, PackId::new)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let verdict = match required(state)? {
        1 => PruneVerdict::Sweep { rescued: required(rescued)? },
        2 => PruneVerdict::Cancelled,
        other => return Err(FormatError::Unknown("state of a prune", other)),
    };
    Ok(PruneState { number: required(number)?, verdict })
}

/// Encodes and proves the end of a prune. Ids must ascend.
pub fn encode_done(done: &PruneDone, keys: &Keys) -> Vec<u8> {
    let mut map = MapWriter::default();
    map.unsigned(0, done.number.number());
    map.time(1, done.time);
    write_noticed(&mut map, 2, done.sessions.iter().map(|(id, time)| (&id.as_bytes()[..], *time)));
    write_noticed(&mut map, 3, done.records.iter().map(|(id, time)| (&id.as_bytes()[..], *time)));
    map.unsigned(4, done.freed_bytes);
    prove(ObjectKind::PruneDone, map, keys)
}

/// Decodes and verifies the end of a prune.
///
/// # Errors
/// If it is malformed or not authentic.
pub fn decode_done(object: &[u8], keys: &Keys) -> Result<PruneDone, FormatError> {
    let mut d = verified(ObjectKind::PruneDone, object, keys)?;
    let (mut number, mut time, mut sessions, mut records, mut freed_bytes) = (None, None, None, None, None);
    read_map(&mut d, |key, d| {
        match key {
            0 => number = Some(read_number(d)?),
            1 => time = Some(read_time(d)?),
            2 => sessions = Some(read_noticed(d, SessionId::new)?),
            3 => records = Some(read_noticed(d, SnapshotId::new)?),
            4 => freed_bytes = Some(d.u64()?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(PruneDone {
        number: required(number)?,
        time: required(time)?,
        sessions: required(sessions)?,
        records: required(records)?,
        freed_bytes: required(freed_bytes)?,
    })
}

fn prove(kind: ObjectKind, map: MapWriter, keys: &Keys) -> Vec<u8> {
    let mut object = kind.header().to_vec();
    map.finish(&mut object);
    keys.append_auth_for_all(&mut object);
    object
}

/// A decoder for the map of an object whose proof is right.
fn verified<'o>(kind: ObjectKind, object: &'o [u8], keys: &Keys) -> Result<Decoder<'o>, FormatError> {
    kind.strip(object)?;
    decoder(kind.strip(keys.check_full_auth_for_all(object)?)?)
}

fn read_number(d: &mut Decoder<'_>) -> Result<PruneId, FormatError> {
    PruneId::new(d.u64()?).ok_or(FormatError::Malformed("number of a plan"))
}

fn joined<'i>(ids: impl ExactSizeIterator<Item = &'i [u8; 32]>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ids.len() * 32);
    ids.for_each(|id| bytes.extend_from_slice(id));
    bytes
}

/// Reads ids that stand one after the other in a byte string.
fn read_ids<T: Ord>(d: &mut Decoder<'_>, id: fn([u8; 32]) -> T) -> Result<Vec<T>, FormatError> {
    let (ids, rest) = d.bytes()?.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(FormatError::Malformed("ids of a wrong length"));
    }
    let ids: Vec<T> = ids.iter().map(|bytes| id(*bytes)).collect();
    if ids.is_sorted_by(|a, b| a < b) { Ok(ids) } else { Err(FormatError::Malformed("ids do not ascend")) }
}

fn write_noticed<'i>(map: &mut MapWriter, key: u64, noticed: impl ExactSizeIterator<Item = (&'i [u8], Timestamp)>) {
    map.entry(key, |w| {
        w.array(noticed.len() as u64)?;
        for (id, time) in noticed {
            w.array(2)?.bytes(id)?.array(2)?.i64(time.seconds)?.u32(time.nanoseconds)?;
        }
        Ok(())
    });
}

fn read_noticed<const N: usize, T: Ord>(
    d: &mut Decoder<'_>,
    id: fn([u8; N]) -> T,
) -> Result<Vec<(T, Timestamp)>, FormatError> {
    let mut noticed = Vec::new();
    read_array(d, limits::PRUNE_NOTICED, |d| {
        noticed.push(read_tuple(d, 2, |d| Ok((id(read_fixed(d)?), read_time(d)?)))?);
        Ok(())
    })?;
    if noticed.is_sorted_by(|(a, _), (b, _)| a < b) {
        Ok(noticed)
    } else {
        Err(FormatError::Malformed("ids do not ascend"))
    }
}
