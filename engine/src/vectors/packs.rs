//! Segments, packs, index objects.

use minicbor::Encoder;
use serde_json::{Value, json};

use super::{Case, Operation, Tried, assert_bytes, bytes, hex, list, number, object, session_of, small};
use crate::compress::Decompressor;
use crate::crypto::testing::Given;
use crate::crypto::{Keys, SessionKeyRecord, SessionKeys, hash, without_auth};
use crate::format::testing::{index_body, rows, unframe};
use crate::format::{
    Footer, ObjectKind, TAIL_BYTES, Tail, decode_footer, decode_index, decode_tail, encode_footer, encode_index,
    encode_tail, padme, segment_binding,
};
use crate::id::{ChunkId, DomainId};
use crate::model::{ChunkKind, Compression, PackRow, SegmentRow, Suite};

pub(super) const SEGMENT: [Operation; 2] = [("segment", segment), ("open_segment", open_segment)];
pub(super) const PACK: [Operation; 4] = [
    ("padme", padding),
    ("pack", pack),
    ("open_pack_edited", open_pack_edited),
    ("open_pack_resealed", open_pack_resealed),
];
pub(super) const INDEX: [Operation; 4] = [
    ("index", index),
    ("read_index", read_index),
    ("open_index_edited", open_index_edited),
    ("open_index_resealed", open_index_resealed),
];

type Opened<T> = Result<T, Box<dyn std::error::Error>>;

/// The plaintext of a segment, each chunk checked against its id.
fn open_row(row: &SegmentRow, sealed: &[u8], session: &SessionKeys, keys: &Keys, domain: DomainId) -> Opened<Vec<u8>> {
    let mut sealed = sealed.to_vec();
    let text = session.open_segment(&segment_binding(row), &mut sealed)?;
    let mut plain = Vec::new();
    Decompressor::default().decompress(row.compression, text, row.plain_len, &mut plain)?;
    let domain = keys.domain(domain).expect("a full client");
    let mut start = 0;
    for (id, len) in &row.chunks {
        let end = start + *len as usize;
        if domain.chunk_id(row.kind, &plain[start..end]) != *id {
            return Err("a chunk does not match its id".into());
        }
        start = end;
    }
    Ok(plain)
}

/// The row and the sealed segment of some inputs. `random` or the nonce itself is given.
fn seal(keys: &Keys, session: &SessionKeys, inputs: &serde_json::Map<String, Value>) -> (SegmentRow, Vec<u8>, Vec<u8>) {
    let code = |name| number(&inputs[name]) as u8;
    let kind = ChunkKind::from_code(code("kind")).expect("a kind");
    let domain = keys.domain(session.record().domain()).expect("a full client");
    let chunks: Vec<Vec<u8>> = list(&inputs["chunks"]).iter().map(bytes).collect();
    let mut row = SegmentRow {
        session: session.session(),
        offset: 8,
        sealed_len: 0,
        kind,
        suite: Suite::from_code(code("suite")).expect("a suite"),
        compression: Compression::from_code(code("compression")).expect("a compression"),
        plain_len: chunks.iter().map(Vec::len).sum::<usize>() as u32,
        chunks: chunks.iter().map(|chunk| (domain.chunk_id(kind, chunk), chunk.len() as u32)).collect(),
    };
    let aad = session.aad_of(&segment_binding(&row));
    let mut buffer = vec![0; 24];
    buffer.extend(bytes(&inputs["payload"]));
    let drawn = |name| inputs.get(name).map(bytes);
    let (random, nonce) = (drawn("random"), drawn("nonce"));
    {
        let random: Vec<&[u8]> = random.iter().map(Vec::as_slice).collect();
        let nonce: Vec<&[u8]> = nonce.iter().map(Vec::as_slice).collect();
        let _given = Given::new(&random, &nonce);
        session.seal_segment(&segment_binding(&row), &mut buffer);
    }
    row.sealed_len = buffer.len() as u32;
    (row, buffer, aad)
}

fn columns(row: &SegmentRow) -> (Value, Value) {
    let lengths: Vec<u8> = row.chunks.iter().flat_map(|(_, len)| len.to_le_bytes()[..3].to_vec()).collect();
    let ids: Vec<u8> = row.chunks.iter().flat_map(|(id, _)| *id.as_bytes()).collect();
    assert_eq!(ids.len(), row.chunks.len() * ChunkId::LEN);
    (hex(lengths), hex(ids))
}

fn segment(case: &Case<'_>) -> Tried {
    let (keys, session) = (case.keys(), case.session());
    let (row, sealed, aad) = seal(&keys, &session, &case.inputs);
    assert_bytes(&aad, &bytes(case.expected("aad")));
    assert_bytes(&sealed, &bytes(case.expected("segment")));
    assert_eq!(hex(&sealed[..24]), *case.expected("nonce"));
    let (lengths, ids) = columns(&row);
    let expected = [case.expected("lengths"), case.expected("ids"), case.expected("plain_length")];
    assert_eq!([&lengths, &ids, &json!(row.plain_len)], expected);
    let chunks: Vec<u8> = list(case.input("chunks")).iter().flat_map(bytes).collect();
    assert_bytes(&open_row(&row, &sealed, &session, &keys, case.domain_id())?, &chunks);
    Ok(())
}

fn open_segment(case: &Case<'_>) -> Tried {
    let (row, sealed, session) = (case.input("row"), case.bytes("segment"), case.session());
    let mut encoded = Vec::new();
    Encoder::new(&mut encoded)
        .array(1)
        .and_then(|w| w.array(9)?.u8(0)?.u8(8)?.u64(sealed.len() as u64))
        .and_then(|w| w.u64(number(&row["kind"]))?.u64(number(&row["suite"]))?.u64(number(&row["compression"])))
        .and_then(|w| w.u64(number(&row["plain_length"]))?.bytes(&bytes(&row["lengths"]))?.bytes(&bytes(&row["ids"])))
        .expect("a Vec takes everything");
    let rows = rows(&encoded, std::slice::from_ref(session.record()), 8 + sealed.len() as u64)?;
    open_row(&rows[0], &sealed, &session, &case.keys(), case.domain_id())?;
    Ok(())
}

fn padding(case: &Case<'_>) -> Tried {
    assert_eq!(padme(case.number("length")), number(case.expected("padded")));
    Ok(())
}

fn shown_rows(rows: &[SegmentRow], records: &[SessionKeyRecord]) -> Vec<Value> {
    let shown = |row: &SegmentRow| {
        let record = records.iter().find(|record| record.session() == row.session).expect("its record");
        let (lengths, ids) = columns(row);
        json!({
            "record": hex(record.as_bytes()), "offset": row.offset, "sealed_length": row.sealed_len,
            "kind": row.kind.code(), "suite": row.suite.code(), "compression": row.compression.code(),
            "plain_length": row.plain_len, "lengths": lengths, "ids": ids,
        })
    };
    rows.iter().map(shown).collect()
}

/// Tail, footer and all segments of a pack.
fn open_pack(keys: &Keys, pack: &[u8]) -> Opened<(Tail, Footer, Vec<Vec<u8>>)> {
    ObjectKind::Pack.strip(pack)?;
    let tail = decode_tail(pack, pack.len() as u64)?;
    let start = pack.len() - TAIL_BYTES - tail.footer_len as usize;
    let sealed = &pack[start..pack.len() - TAIL_BYTES];
    let footer = decode_footer(sealed, &keys.domain(tail.domain)?, tail.epoch, start as u64)?;
    let mut plains = Vec::new();
    for row in &footer.segments {
        let record = footer.sessions.iter().find(|record| record.session() == row.session).ok_or("no record")?;
        let sealed = &pack[row.offset as usize..][..row.sealed_len as usize];
        plains.push(open_row(row, sealed, &keys.open_session(record)?, keys, tail.domain)?);
    }
    Ok((tail, footer, plains))
}

fn pack(case: &Case<'_>) -> Tried {
    let keys = case.keys();
    let sessions: Vec<SessionKeys> =
        list(case.input("sessions")).iter().map(|inputs| session_of(&keys, object(inputs))).collect();
    let mut pack = ObjectKind::Pack.header().to_vec();
    let (mut segments, mut plains) = (Vec::new(), Vec::new());
    for inputs in list(case.input("segments")) {
        let session = &sessions[number(&inputs["session"]) as usize];
        let (mut row, sealed, _) = seal(&keys, session, object(inputs));
        row.offset = pack.len() as u32;
        pack.extend(sealed);
        segments.push(row);
        plains.push(list(&inputs["chunks"]).iter().flat_map(bytes).collect::<Vec<u8>>());
    }
    let footer = Footer { sessions: sessions.iter().map(|session| session.record().clone()).collect(), segments };
    let sealed = {
        let _given = Given::new(&[], &[&case.bytes("footer_nonce")]);
        encode_footer(&footer, &case.domain(), 0)
    };
    let filling = case.bytes("padding");
    let unpadded = (pack.len() + sealed.len()) as u64;
    assert_eq!(padme(unpadded), unpadded + filling.len() as u64);
    let tail = Tail { domain: case.domain_id(), epoch: 0, footer_len: sealed.len() as u32 };
    pack.extend([filling, sealed.clone(), encode_tail(&tail).to_vec()].concat());

    assert_bytes(&pack, &bytes(case.expected("pack")));
    assert_eq!(hex(hash(&pack)), *case.expected("name"));
    assert_bytes(unframe(&case.domain().open_footer(0, &sealed)?)?, &bytes(case.expected("footer_cbor")));
    assert_eq!(json!(shown_rows(&footer.segments, &footer.sessions)), *case.expected("rows"));
    assert_eq!(open_pack(&keys, &pack)?, (tail, footer, plains));
    Ok(())
}

fn open_pack_edited(case: &Case<'_>) -> Tried {
    open_pack(&case.keys(), &case.edited(bytes(&case.base("pack")["pack"])))?;
    Ok(())
}

fn open_pack_resealed(case: &Case<'_>) -> Tried {
    let mut pack = bytes(&case.base("pack")["pack"]);
    let tail = decode_tail(&pack, pack.len() as u64)?;
    let sealed = {
        let _given = Given::new(&[], &[&case.bytes("footer_nonce")]);
        case.domain().seal_footer(0, &case.frame())
    };
    assert_eq!(sealed.len(), tail.footer_len as usize);
    let end = pack.len() - TAIL_BYTES;
    pack[end - sealed.len()..end].copy_from_slice(&sealed);
    open_pack(&case.keys(), &pack)?;
    Ok(())
}

fn shown_index(index: &crate::format::IndexObject) -> Value {
    let pack = |pack: &PackRow| {
        let rows = shown_rows(&pack.segments, &index.sessions);
        json!({"id": hex(pack.id.as_bytes()), "length": pack.len, "rows": rows})
    };
    json!({
        "domain": hex(index.domain.as_bytes()), "session_id": hex(index.session.as_bytes()),
        "records": index.sessions.iter().map(|record| hex(record.as_bytes())).collect::<Vec<_>>(),
        "replaces": index.replaces.iter().map(|id| hex(id.as_bytes())).collect::<Vec<_>>(),
        "packs": index.packs.iter().map(pack).collect::<Vec<_>>(),
        "lost": hex(index.lost.iter().flat_map(|id| *id.as_bytes()).collect::<Vec<u8>>()),
        "taken_out": hex(index.taken_out.iter().flat_map(|id| *id.as_bytes()).collect::<Vec<u8>>()),
    })
}

fn index(case: &Case<'_>) -> Tried {
    let object = bytes(case.expected("object"));
    let index = decode_index(&object, &case.keys())?;
    let mut found = shown_index(&index);
    found["object"] = hex(&object);
    found["name"] = hex(hash(&object));
    assert_eq!(Some(&found), case.expected);
    assert_eq!(index.domain, case.domain_id());
    let frame = case.domain().open_index(&ObjectKind::Index.header(), 0, &without_auth(&object)?[28..])?;
    assert_bytes(unframe(&frame)?, &case.bytes("cbor"));
    // What a client says of others is not in what is decoded, so it can't be made again from that.
    let said = index_body(&frame, index.domain)?;
    let _given = Given::new(&[], &[&case.bytes("nonce")]);
    assert_bytes(&encode_index(&said, &case.maker(), &case.domain()), &object);
    Ok(())
}

fn read_index(case: &Case<'_>) -> Tried {
    let found = shown_index(&decode_index(&case.bytes("object"), &case.keys())?);
    assert!(case.expected.is_none_or(|expected| *expected == found), "{found}");
    Ok(())
}

fn open_index_edited(case: &Case<'_>) -> Tried {
    decode_index(&case.edited(bytes(&case.base("index")["object"])), &case.keys())?;
    Ok(())
}

fn open_index_resealed(case: &Case<'_>) -> Tried {
    let (header, epoch) = (ObjectKind::Index.header(), small(case.input("epoch")));
    let mut object = header.to_vec();
    object.extend(case.bytes("domain"));
    object.extend(epoch.to_le_bytes());
    let _given = Given::new(&[], &[&case.bytes("nonce")]);
    object.extend(case.domain().seal_index(&header, epoch, &case.frame()));
    case.keys().append_auth(&mut object);
    decode_index(&object, &case.keys())?;
    Ok(())
}
