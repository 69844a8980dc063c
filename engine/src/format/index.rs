//! Index objects. Spec chapter 8.

use minicbor::Decoder;

use super::cbor::{MapWriter, decoder, read_array, read_fixed, read_map, read_tuple, required};
use super::envelope::check_signer;
use super::pack::{check_places, frame, read_rows, read_sessions, unframe, write_rows, write_sessions};
use super::{FormatError, HEADER_BYTES, ObjectKind, TAIL_BYTES};
use crate::crypto::{DomainKeys, Keys, SessionKeyRecord};
use crate::id::{ChunkId, DomainId, IndexId, PackId, SessionId};
use crate::limits;
use crate::model::{PackRow, Signer};

const PLACE_BYTES: usize = 20;
/// Secrets of domains are those of the first root.
const DOMAIN_EPOCH: u32 = 0;
/// The longest `auth` that an index object has, in bytes: room for it is made at once.
const AUTH_BYTES: usize = 97;
/// The first bytes of an index object, which say its domain without any key.
pub const INDEX_HEAD_BYTES: u64 = (HEADER_BYTES + PLACE_BYTES) as u64;
const MAX_PACKS: u64 = 1 << 20;
/// Lost chunks in one index object, at most: their ids take half of its length. The same for packs taken out.
pub const MAX_LOST: usize = 1 << 20;

/// What an index object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexObject {
    /// The domain of all that it lists. Of the object around it, as the next.
    pub domain: DomainId,
    /// Who made it.
    pub signer: Signer,
    /// The session that wrote it; it counts if that one is committed.
    pub session: SessionId,
    /// The sessions whose keys seal the segments.
    pub sessions: Vec<SessionKeyRecord>,
    /// The packs.
    pub packs: Vec<PackRow>,
    /// Index objects that it takes the place of.
    pub replaces: Vec<IndexId>,
    /// Chunks that were found to be lost: whoever builds on what needs one looks whether it is stored again.
    pub lost: Vec<ChunkId>,
    /// Packs that a repair took out of the index, since they are damaged.
    pub taken_out: Vec<PackId>,
}

impl IndexObject {
    /// One of a domain that lists nothing.
    pub fn empty(session: SessionId, domain: DomainId) -> Self {
        Self {
            domain,
            signer: Signer::Full,
            session,
            sessions: Vec::new(),
            packs: Vec::new(),
            replaces: Vec::new(),
            lost: Vec::new(),
            taken_out: Vec::new(),
        }
    }
}

/// Encodes, seals and proves an index object of a domain.
pub fn encode_index(index: &IndexObject, keys: &Keys, domain: &DomainKeys) -> Vec<u8> {
    let mut map = MapWriter::default();
    map.bytes(0, index.session.as_bytes());
    map.entry(1, |w| write_sessions(w, &index.sessions));
    map.entry(2, |w| {
        w.array(index.packs.len() as u64)?;
        for pack in &index.packs {
            w.array(3)?.bytes(pack.id.as_bytes())?.u64(pack.len)?;
            write_rows(w, &index.sessions, &pack.segments)?;
        }
        Ok(())
    });
    map.entry(3, |w| {
        w.array(index.replaces.len() as u64)?;
        index.replaces.iter().try_for_each(|id| w.bytes(id.as_bytes()).map(drop))
    });
    if !index.lost.is_empty() {
        map.bytes(4, &index.lost.iter().flat_map(|id| *id.as_bytes()).collect::<Vec<u8>>());
    }
    if !index.taken_out.is_empty() {
        map.bytes(5, &index.taken_out.iter().flat_map(|id| *id.as_bytes()).collect::<Vec<u8>>());
    }
    let header = ObjectKind::Index.header();
    // Each copy goes before the next but one is made: they have some MiB.
    let frame = frame(map);
    let sealed = domain.seal_index(&header, DOMAIN_EPOCH, &frame);
    drop(frame);
    let mut object = Vec::with_capacity(HEADER_BYTES + PLACE_BYTES + sealed.len() + AUTH_BYTES);
    object.extend_from_slice(&header);
    object.extend_from_slice(domain.domain().as_bytes());
    object.extend_from_slice(&DOMAIN_EPOCH.to_le_bytes());
    object.extend_from_slice(&sealed);
    // Write-only clients check what full ones put into their domain.
    if domain.domain() == DomainId::SHARED {
        keys.append_auth(&mut object)
    } else {
        keys.append_auth_for_all(&mut object)
    }
    object
}

/// The domain that an index object says it belongs to, by its first [`INDEX_HEAD_BYTES`].
///
/// # Errors
/// If it is no index object.
pub fn index_domain(head: &[u8]) -> Result<DomainId, FormatError> {
    let place = ObjectKind::Index.strip(head)?.first_chunk::<16>();
    place.map(|domain| DomainId::new(*domain)).ok_or(FormatError::Malformed("too short"))
}

/// Verifies, opens and decodes an index object; the domain that it says it belongs to chooses the key.
///
/// # Errors
/// If it is malformed, damaged, not authentic, or of an unknown epoch.
pub fn decode_index(object: &[u8], keys: &Keys) -> Result<IndexObject, FormatError> {
    let is_shared = index_domain(object)? == DomainId::SHARED;
    let (proven, signer) = if is_shared { keys.check_auth(object)? } else { keys.check_auth_for_all(object)? };
    let body = ObjectKind::Index.strip(proven)?;
    let (place, sealed) = body.split_first_chunk::<PLACE_BYTES>().ok_or(FormatError::Malformed("too short"))?;
    let domain = DomainId::from_slice(&place[..16]).expect("16 bytes");
    check_signer(ObjectKind::Index, keys, signer, domain)?;
    let epoch = u32::from_le_bytes(place[16..].try_into().expect("four bytes"));
    if epoch != DOMAIN_EPOCH {
        return Err(FormatError::Unknown("key epoch", epoch.into()));
    }
    let frame = keys.domain(domain)?.open_index(&ObjectKind::Index.header(), epoch, sealed)?;
    let mut object = decode_body(&frame, domain)?;
    if let Signer::Client(_) = signer {
        // What it says of other objects is for full clients to say.
        (object.replaces, object.lost, object.taken_out) = (Vec::new(), Vec::new(), Vec::new());
    }
    object.signer = signer;
    Ok(object)
}

/// Decodes the frame of an index object of `domain`.
pub(super) fn decode_body(frame: &[u8], domain: DomainId) -> Result<IndexObject, FormatError> {
    let mut decoder = decoder(unframe(frame)?)?;
    let (mut session, mut sessions, mut packs, mut replaces) = (None, None, None, None);
    let (mut lost, mut taken_out) = (Vec::new(), Vec::new());
    read_map(&mut decoder, |key, d| {
        match key {
            0 => session = Some(SessionId::new(read_fixed(d)?)),
            1 => sessions = Some(read_sessions(d, domain)?),
            2 => packs = Some(read_packs(d, sessions.as_deref().unwrap_or_default())?),
            3 => replaces = Some(read_replaces(d)?),
            4 => lost = read_ids(d)?.iter().map(|id| ChunkId::new(*id)).collect(),
            5 => taken_out = read_ids(d)?.iter().map(|id| PackId::new(*id)).collect(),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(IndexObject {
        domain,
        signer: Signer::Full,
        session: required(session)?,
        sessions: required(sessions)?,
        packs: required(packs)?,
        replaces: required(replaces)?,
        lost,
        taken_out,
    })
}

fn read_packs(d: &mut Decoder<'_>, sessions: &[SessionKeyRecord]) -> Result<Vec<PackRow>, FormatError> {
    let mut packs = Vec::new();
    read_array(d, MAX_PACKS, |d| {
        packs.push(read_tuple(d, 3, |d| read_pack(d, sessions))?);
        Ok(())
    })?;
    Ok(packs)
}

fn read_replaces(d: &mut Decoder<'_>) -> Result<Vec<IndexId>, FormatError> {
    let mut replaces = Vec::new();
    read_array(d, MAX_PACKS, |d| {
        replaces.push(IndexId::new(read_fixed(d)?));
        Ok(())
    })?;
    Ok(replaces)
}

/// Ids of what was lost, one after the other.
fn read_ids<'b>(d: &mut Decoder<'b>) -> Result<&'b [[u8; 32]], FormatError> {
    let (ids, rest) = d.bytes()?.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(FormatError::Malformed("column of ids"));
    }
    if ids.len() > MAX_LOST {
        return Err(FormatError::OverLimit("column of ids"));
    }
    Ok(ids)
}

fn read_pack(d: &mut Decoder<'_>, sessions: &[SessionKeyRecord]) -> Result<PackRow, FormatError> {
    let id = PackId::new(read_fixed(d)?);
    let len = d.u64()?;
    if len > limits::PACK_BYTES || len < (HEADER_BYTES + TAIL_BYTES) as u64 {
        return Err(FormatError::OverLimit("pack"));
    }
    let segments = read_rows(d, sessions)?;
    check_places(&segments, len - TAIL_BYTES as u64)?;
    Ok(PackRow { id, len, segments })
}
