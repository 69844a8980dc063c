//! Session envelopes, and the intent that travels in one. Spec chapter 6.

use super::cbor::{MapWriter, decoder, read_map, read_time, required};
use super::{FormatError, ObjectKind};
use crate::clock::Timestamp;
use crate::crypto::{Keys, SESSION_KEY_RECORD_BYTES, SessionKeyRecord, SessionKeys};
use crate::id::DomainId;
use crate::model::Signer;

/// A session's announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// When it began.
    pub started: Timestamp,
    /// On which machine.
    pub host: String,
    /// In which process.
    pub process: u64,
    /// In which run of that machine's kernel.
    pub boot: String,
    /// Program and version.
    pub program: String,
}

/// Seals `body` for its session and proves it: the whole object.
pub(super) fn encode_envelope(kind: ObjectKind, keys: &Keys, session: &SessionKeys, body: &[u8]) -> Vec<u8> {
    let mut object = kind.header().to_vec();
    object.extend_from_slice(session.record().as_bytes());
    let aad = envelope_aad(kind, keys, session.record());
    object.extend_from_slice(&session.seal_object(&aad, body));
    keys.append_auth(&mut object);
    object
}

/// Verifies and opens an envelope: whose it is, who made it, and its body.
pub(super) fn decode_envelope(
    kind: ObjectKind,
    keys: &Keys,
    object: &[u8],
) -> Result<(SessionKeys, Signer, Vec<u8>), FormatError> {
    let record = envelope_record(kind, object)?;
    let (proven, signer) = keys.check_auth(object)?;
    check_signer(kind, keys, signer, record.domain())?;
    let sealed = proven.get(8 + SESSION_KEY_RECORD_BYTES..).ok_or(FormatError::Malformed("too short"))?;
    let session = keys.open_session(&record)?;
    let body = session.open_object(&envelope_aad(kind, keys, &record), sealed)?;
    Ok((session, signer, body))
}

/// What a write-only client may sign, and of which domain.
pub(super) fn check_signer(kind: ObjectKind, keys: &Keys, signer: Signer, domain: DomainId) -> Result<(), FormatError> {
    let Signer::Client(id) = signer else { return Ok(()) };
    if !matches!(kind, ObjectKind::Intent | ObjectKind::Snapshot | ObjectKind::Index) {
        return Err(FormatError::Malformed("signed by a client that may not make it"));
    }
    let own = keys.known_client(&id).map_or_else(|| keys.own_domain(), |client| client.domain);
    if own == domain { Ok(()) } else { Err(FormatError::Malformed("of another domain than its client's")) }
}

/// The session key record of an envelope, without verifying anything.
///
/// # Errors
/// If it is no object of this kind.
pub fn envelope_record(kind: ObjectKind, object: &[u8]) -> Result<SessionKeyRecord, FormatError> {
    kind.strip(object)?
        .get(..SESSION_KEY_RECORD_BYTES)
        .and_then(SessionKeyRecord::from_slice)
        .ok_or(FormatError::Malformed("too short"))
}

fn envelope_aad(kind: ObjectKind, keys: &Keys, record: &SessionKeyRecord) -> Vec<u8> {
    [&kind.header()[..], keys.repository().as_bytes(), record.as_bytes()].concat()
}

/// Encodes, seals and proves an intent.
pub fn encode_intent(intent: &Intent, keys: &Keys, session: &SessionKeys) -> Vec<u8> {
    encode_envelope(ObjectKind::Intent, keys, session, &encode_intent_body(intent))
}

/// An intent as it is inside of its envelope.
pub(crate) fn encode_intent_body(intent: &Intent) -> Vec<u8> {
    let mut map = MapWriter::default();
    map.time(0, intent.started);
    map.text(1, &intent.host);
    map.unsigned(2, intent.process);
    map.text(3, &intent.boot);
    map.text(4, &intent.program);
    let mut body = Vec::new();
    map.finish(&mut body);
    body
}

/// Verifies, opens and decodes an intent.
///
/// # Errors
/// If it is malformed or not authentic.
pub fn decode_intent(object: &[u8], keys: &Keys) -> Result<(SessionKeys, Intent), FormatError> {
    let (session, _, body) = decode_envelope(ObjectKind::Intent, keys, object)?;
    Ok((session, decode_intent_body(&body)?))
}

/// Decodes what [`encode_intent_body`] made.
pub(crate) fn decode_intent_body(body: &[u8]) -> Result<Intent, FormatError> {
    let mut decoder = decoder(body)?;
    let (mut started, mut host, mut process, mut boot, mut program) = (None, None, None, None, None);
    read_map(&mut decoder, |key, d| {
        match key {
            0 => started = Some(read_time(d)?),
            1 => host = Some(d.str()?.to_owned()),
            2 => process = Some(d.u64()?),
            3 => boot = Some(d.str()?.to_owned()),
            4 => program = Some(d.str()?.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Intent {
        started: required(started)?,
        host: required(host)?,
        process: required(process)?,
        boot: required(boot)?,
        program: required(program)?,
    })
}
