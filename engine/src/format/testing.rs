//! Ways in for tests: what lies below seals and proofs.

use minicbor::{Decoder, Encoder};

use super::{FormatError, ObjectKind, cbor, envelope, index, pack, snapshot, tree};
use crate::crypto::{Keys, SessionKeyRecord, SessionKeys};
use crate::format::{Footer, IndexObject};
use crate::id::DomainId;
use crate::model::{Content, SegmentRow, Snapshot};

/// The length of the value that `bytes` begins with.
pub(crate) fn value_len(bytes: &[u8]) -> Result<usize, FormatError> {
    cbor::value_len(bytes)
}

/// The CBOR of a frame.
pub(crate) fn unframe(frame: &[u8]) -> Result<&[u8], FormatError> {
    pack::unframe(frame)
}

/// A map with values that are encoded already.
pub(crate) fn map_value(entries: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut map = cbor::MapWriter::default();
    for (key, value) in entries {
        map.entry(*key, |w| {
            w.writer_mut().extend_from_slice(value);
            Ok(())
        });
    }
    let mut out = Vec::new();
    map.finish(&mut out);
    out
}

/// An envelope with any body.
pub(crate) fn envelope_of(kind: ObjectKind, keys: &Keys, session: &SessionKeys, body: &[u8]) -> Vec<u8> {
    envelope::encode_envelope(kind, keys, session, body)
}

/// An envelope's body.
pub(crate) fn envelope_body(kind: ObjectKind, keys: &Keys, object: &[u8]) -> Result<Vec<u8>, FormatError> {
    Ok(envelope::decode_envelope(kind, keys, object)?.2)
}

/// An array of segment rows, checked as those of a pack whose segments end before `end`.
pub(crate) fn rows(bytes: &[u8], sessions: &[SessionKeyRecord], end: u64) -> Result<Vec<SegmentRow>, FormatError> {
    let rows = pack::read_rows(&mut cbor::decoder(bytes)?, sessions)?;
    pack::check_places(&rows, end)?;
    Ok(rows)
}

/// The frame of a footer.
pub(crate) fn footer_body(frame: &[u8], domain: DomainId, end: u64) -> Result<Footer, FormatError> {
    pack::decode_body(frame, domain, end)
}

/// The frame of an index object.
pub(crate) fn index_body(frame: &[u8], domain: DomainId) -> Result<IndexObject, FormatError> {
    index::decode_body(frame, domain)
}

/// The body of a snapshot.
pub(crate) fn snapshot_body(body: &[u8]) -> Result<Snapshot, FormatError> {
    snapshot::decode_body(body)
}

/// The body of a snapshot, encoded.
pub(crate) fn encode_snapshot_body(snapshot: &Snapshot) -> Vec<u8> {
    let mut body = Vec::new();
    snapshot::snapshot_map(snapshot).finish(&mut body);
    body
}

/// A content alone.
pub(crate) fn content(bytes: &[u8]) -> Result<Content, FormatError> {
    let mut decoder: Decoder<'_> = cbor::decoder(bytes)?;
    tree::read_content(&mut decoder)
}

/// A content alone, encoded.
pub(crate) fn encode_content(content: &Content) -> Vec<u8> {
    let mut out = Vec::new();
    tree::write_content(&mut Encoder::new(&mut out), content).expect("a Vec takes everything");
    out
}
