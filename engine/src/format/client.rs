//! Clients that may add snapshots and read none: who they are, and what counts of one that has ended. Spec chapter 16.

use minicbor::Decoder;

use super::cbor::{MapWriter, decoder, read_fixed, read_map, read_time, required};
use super::envelope::{decode_envelope, encode_envelope};
use super::{FormatError, ObjectKind};
use crate::clock::Timestamp;
use crate::crypto::{ClientEnd, Keys, SessionKeys};
use crate::id::{ClientId, DomainId, IndexId, SessionId};

/// Who may add snapshots and read none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRecord {
    /// The client.
    pub id: ClientId,
    /// The domain that it writes into.
    pub domain: DomainId,
    /// The Ed25519 key that its signatures are checked with.
    pub public_key: [u8; 32],
    /// The host whose snapshots it adds.
    pub host: String,
    /// When it was made.
    pub created: Timestamp,
    /// What its maker called it.
    pub label: String,
}

/// Encodes, seals and proves the record of a client. `session` is for this object alone.
pub fn encode_client(client: &ClientRecord, keys: &Keys, session: &SessionKeys) -> Vec<u8> {
    let mut map = MapWriter::default();
    map.bytes(0, client.id.as_bytes());
    map.bytes(1, client.domain.as_bytes());
    map.bytes(2, &client.public_key);
    map.text(3, &client.host);
    map.time(4, client.created);
    map.text(5, &client.label);
    let mut body = Vec::new();
    map.finish(&mut body);
    encode_envelope(ObjectKind::Client, keys, session, &body)
}

/// Verifies, opens and decodes the record of a client.
///
/// # Errors
/// If it is malformed or not authentic.
pub fn decode_client(object: &[u8], keys: &Keys) -> Result<ClientRecord, FormatError> {
    let (_, _, body) = decode_envelope(ObjectKind::Client, keys, object)?;
    let mut decoder = decoder(&body)?;
    let (mut id, mut domain, mut public_key, mut host, mut created, mut label) = (None, None, None, None, None, None);
    read_map(&mut decoder, |key, d| {
        match key {
            0 => id = Some(ClientId::new(read_fixed(d)?)),
            1 => domain = Some(DomainId::new(read_fixed(d)?)),
            2 => public_key = Some(read_fixed(d)?),
            3 => host = Some(d.str()?.to_owned()),
            4 => created = Some(read_time(d)?),
            5 => label = Some(d.str()?.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let (domain, host): (_, String) = (required(domain)?, required(host)?);
    if domain == DomainId::SHARED || host.is_empty() {
        return Err(FormatError::Malformed("domain or host of a client"));
    }
    Ok(ClientRecord {
        id: required(id)?,
        domain,
        public_key: required(public_key)?,
        host,
        created: required(created)?,
        label: required(label)?,
    })
}

/// Encodes, seals and proves the end of a client. `session` is for this object alone.
pub fn encode_client_end(
    id: ClientId,
    time: Timestamp,
    end: &ClientEnd,
    keys: &Keys,
    session: &SessionKeys,
) -> Vec<u8> {
    let mut map = MapWriter::default();
    map.bytes(0, id.as_bytes());
    map.time(1, time);
    map.bytes(2, &sorted(end.sessions.iter().map(|id| id.as_bytes())).concat());
    map.bytes(3, &sorted(end.indexes.iter().map(|id| id.as_bytes())).concat());
    let mut body = Vec::new();
    map.finish(&mut body);
    encode_envelope(ObjectKind::ClientEnd, keys, session, &body)
}

fn sorted<'i, const N: usize>(ids: impl Iterator<Item = &'i [u8; N]>) -> Vec<[u8; N]> {
    let mut ids: Vec<[u8; N]> = ids.copied().collect();
    ids.sort_unstable();
    ids
}

/// Verifies, opens and decodes the end of a client: of which, when, and what counts.
///
/// # Errors
/// If it is malformed or not authentic.
pub fn decode_client_end(object: &[u8], keys: &Keys) -> Result<(ClientId, Timestamp, ClientEnd), FormatError> {
    let (_, _, body) = decode_envelope(ObjectKind::ClientEnd, keys, object)?;
    let mut decoder = decoder(&body)?;
    let (mut id, mut time, mut sessions, mut indexes) = (None, None, None, None);
    read_map(&mut decoder, |key, d| {
        match key {
            0 => id = Some(ClientId::new(read_fixed(d)?)),
            1 => time = Some(read_time(d)?),
            2 => sessions = Some(read_ids(d)?.iter().map(|id| SessionId::new(*id)).collect()),
            3 => indexes = Some(read_ids(d)?.iter().map(|id| IndexId::new(*id)).collect()),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let end = ClientEnd { sessions: required(sessions)?, indexes: required(indexes)? };
    Ok((required(id)?, required(time)?, end))
}

/// Ids that ascend, one after the other.
fn read_ids<'b, const N: usize>(d: &mut Decoder<'b>) -> Result<&'b [[u8; N]], FormatError> {
    let (ids, rest) = d.bytes()?.as_chunks::<N>();
    if rest.is_empty() && ids.is_sorted_by(|a, b| a < b) {
        Ok(ids)
    } else {
        Err(FormatError::Malformed("ids that do not ascend"))
    }
}
