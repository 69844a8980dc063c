//! Proofs: somebody restored a snapshot, and what came of it. Spec chapter 15.

use minicbor::Decoder;

use super::cbor::{MapWriter, decoder, read_array, read_fixed, read_map, read_time, read_tuple, required};
use super::envelope::{decode_envelope, encode_envelope};
use super::snapshot::{read_problems, write_problems};
use super::tree::{read_content, write_content};
use super::{FormatError, ObjectKind};
use crate::clock::Timestamp;
use crate::crypto::{Keys, SessionKeys};
use crate::id::SnapshotId;
use crate::model::Content;
use crate::monitor::Problem;

const MAX_ITEMS: u64 = 1 << 20;

/// How far a service was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProvenService {
    /// Its dump was read in full.
    Read,
    /// Its dump was restored into a service for trial.
    Restored,
    /// And that one gave the answer that was recorded with the snapshot.
    Verified,
}

/// What came of a trial restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its root: what the proof is of, under whatever id.
    pub root: Content,
    /// When the trial began, by the clock of whoever did it.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// The machine that did it.
    pub host: String,
    /// Program and version that did it.
    pub program: String,
    /// Whether all of it came back as it was.
    pub is_good: bool,
    /// Files that were restored and compared.
    pub files: u64,
    /// Bytes of files and dumps.
    pub bytes: u64,
    /// Services and how far each was tried.
    pub services: Vec<(String, ProvenService)>,
    /// The first of the problems.
    pub problems: Vec<Problem>,
}

/// Encodes, seals and proves a proof. `session` is for this object alone: nothing announces or ends it.
pub fn encode_proof(proof: &Proof, keys: &Keys, session: &SessionKeys) -> Vec<u8> {
    let mut map = MapWriter::default();
    map.bytes(0, proof.snapshot.as_bytes());
    map.entry(1, |w| write_content(w, &proof.root));
    map.time(2, proof.started);
    map.time(3, proof.finished);
    map.text(4, &proof.host);
    map.text(5, &proof.program);
    map.unsigned(6, if proof.is_good { 1 } else { 2 });
    map.unsigned(7, proof.files);
    map.unsigned(8, proof.bytes);
    map.entry(9, |w| {
        w.array(proof.services.len() as u64)?;
        proof.services.iter().try_for_each(|(name, state)| w.array(2)?.str(name)?.u64(code(*state)).map(drop))
    });
    write_problems(&mut map, 10, &proof.problems);
    let mut body = Vec::new();
    map.finish(&mut body);
    encode_envelope(ObjectKind::Proof, keys, session, &body)
}

fn code(state: ProvenService) -> u64 {
    match state {
        ProvenService::Read => 1,
        ProvenService::Restored => 2,
        ProvenService::Verified => 3,
    }
}

/// Verifies, opens and decodes a proof.
///
/// # Errors
/// If it is malformed or not authentic.
pub fn decode_proof(object: &[u8], keys: &Keys) -> Result<Proof, FormatError> {
    let (_, _, body) = decode_envelope(ObjectKind::Proof, keys, object)?;
    let mut decoder = decoder(&body)?;
    let (mut snapshot, mut root, mut started, mut finished) = (None, None, None, None);
    let (mut host, mut program, mut is_good) = (None, None, None);
    let (mut files, mut bytes, mut services, mut problems) = (None, None, None, None);
    read_map(&mut decoder, |key, d| {
        match key {
            0 => snapshot = Some(SnapshotId::new(read_fixed(d)?)),
            1 => root = Some(read_content(d)?),
            2 => started = Some(read_time(d)?),
            3 => finished = Some(read_time(d)?),
            4 => host = Some(d.str()?.to_owned()),
            5 => program = Some(d.str()?.to_owned()),
            6 => is_good = Some(read_result(d)?),
            7 => files = Some(d.u64()?),
            8 => bytes = Some(d.u64()?),
            9 => services = Some(read_services(d)?),
            10 => problems = Some(read_problems(d)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Proof {
        snapshot: required(snapshot)?,
        root: required(root)?,
        started: required(started)?,
        finished: required(finished)?,
        host: required(host)?,
        program: required(program)?,
        is_good: required(is_good)?,
        files: required(files)?,
        bytes: required(bytes)?,
        services: required(services)?,
        problems: required(problems)?,
    })
}

fn read_result(decoder: &mut Decoder<'_>) -> Result<bool, FormatError> {
    match decoder.u64()? {
        1 => Ok(true),
        2 => Ok(false),
        _ => Err(FormatError::Malformed("result of a proof")),
    }
}

fn read_services(decoder: &mut Decoder<'_>) -> Result<Vec<(String, ProvenService)>, FormatError> {
    let mut services = Vec::new();
    read_array(decoder, MAX_ITEMS, |d| {
        let (name, code) = read_tuple(d, 2, |d| Ok((d.str()?.to_owned(), d.u64()?)))?;
        let state = match code {
            1 => ProvenService::Read,
            2 => ProvenService::Restored,
            3 => ProvenService::Verified,
            _ => return Err(FormatError::Malformed("state of a proven service")),
        };
        services.push((name, state));
        Ok(())
    })?;
    Ok(services)
}
