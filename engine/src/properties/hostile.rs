//! Decoders take any bytes: random ones, and changed ones of valid objects, behind seals and proofs too.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{bytes, config, end, footer, index, keys, node, snapshot};
use crate::compress::Decompressor;
use crate::crypto::{Held, KdfParameters, Secret, SessionKeyRecord, read_label, without_auth};
use crate::format::testing::{
    content, encode_snapshot_body, envelope_of, footer_body, index_body, rows, snapshot_body, unframe, value_len,
};
use crate::format::{
    ObjectKind, decode_config, decode_done, decode_footer, decode_forgotten, decode_index, decode_intent, decode_node,
    decode_plan, decode_references, decode_register, decode_slot, decode_snapshot, decode_state, decode_tail,
    encode_config, encode_footer, encode_index, encode_node, encode_slot, envelope_record, verify_config,
};
use crate::id::DomainId;
use crate::model::Compression;

/// A change to some bytes.
#[derive(Debug, Clone)]
enum Change {
    Set(usize, u8),
    Flip(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let at = || any::<usize>();
    // Heads of long strings, arrays and maps; breaks; tags.
    let heads = prop_oneof![
        Just(vec![0xff; 9]),
        Just(vec![0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0]),
        Just(vec![0x5b, 0xff]),
        Just(vec![0xbb, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        Just(vec![0x81; 64]),
        Just(vec![0xc1]),
        Just(vec![0x9f]),
        bytes(12)
    ];
    let change = prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, to)| Change::Set(at, to)),
        (at(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        at().prop_map(Change::Cut),
        (at(), heads).prop_map(|(at, new)| Change::Insert(at, new)),
        (at(), 1..40usize).prop_map(|(at, len)| Change::Remove(at, len)),
        (at(), 1..80usize).prop_map(|(at, len)| Change::Repeat(at, len)),
    ];
    vec(change, 1..4)
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let place = |at: &usize| at % (bytes.len() + 1);
        match change {
            Change::Set(at, _) | Change::Flip(at, _) if place(at) == bytes.len() => {}
            Change::Set(at, to) => {
                let at = place(at);
                bytes[at] = *to;
            }
            Change::Flip(at, bit) => {
                let at = place(at);
                bytes[at] ^= 1 << bit;
            }
            Change::Cut(at) => bytes.truncate(place(at)),
            Change::Insert(at, new) => {
                let at = place(at);
                drop(bytes.splice(at..at, new.iter().copied()));
            }
            Change::Remove(at, len) => {
                let (start, len) = (place(at), *len);
                drop(bytes.drain(start..(start + len).min(bytes.len())));
            }
            Change::Repeat(at, len) => {
                let (start, len) = (place(at), *len);
                let part = bytes[start..(start + len).min(bytes.len())].to_vec();
                drop(bytes.splice(start..start, part));
            }
        }
    }
    bytes
}

/// CBOR as the frame that it should be in.
fn framed(cbor: &[u8]) -> Vec<u8> {
    let mut frame = [&u32::try_from(cbor.len()).expect("short").to_le_bytes(), cbor].concat();
    frame.resize(frame.len().next_multiple_of(4096), 0);
    frame
}

/// Everything that takes bytes from a storage.
fn decode_all(bytes: &[u8]) {
    let keys = keys();
    let domain = keys.domain(DomainId::SHARED).expect("a full client");
    let _ = decode_config(bytes);
    let _ = verify_config(bytes, &keys);
    if let Ok((view, _)) = decode_slot(bytes) {
        let _ = read_label(&keys, &view);
    }
    let _ = decode_register(bytes, &keys);
    let _ = decode_forgotten(bytes, &keys);
    let _ = decode_plan(bytes, &keys);
    let _ = decode_state(bytes, &keys);
    let _ = decode_done(bytes, &keys);
    let _ = decode_intent(bytes, &keys);
    let _ = decode_snapshot(bytes, &keys);
    let _ = envelope_record(ObjectKind::Snapshot, bytes);
    let _ = decode_tail(bytes, bytes.len() as u64);
    let _ = decode_footer(bytes, &domain, 0, bytes.len() as u64);
    let _ = decode_index(bytes, &keys);
    let _ = unframe(bytes);
    if let Some(record) = bytes.get(..117).and_then(SessionKeyRecord::from_slice) {
        assert!(keys.open_session(&record).is_err());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Secret::from_key_file(text);
        let _ = Secret::from_recovery_words(text);
    }
    let mut out = Vec::new();
    for len in [0, 1, 4096] {
        let _ = Decompressor::default().decompress(Compression::Zstd, bytes, len, &mut out);
    }
    decode_opened(bytes);
}

/// Everything that takes what was inside a seal.
fn decode_opened(bytes: &[u8]) {
    let keys = keys();
    let _ = value_len(bytes);
    let _ = content(bytes);
    let _ = decode_node(bytes);
    let _ = decode_references(bytes);
    let _ = snapshot_body(bytes);
    let _ = rows(bytes, &[], u64::MAX);
    let frame = framed(bytes);
    let _ = footer_body(&frame, DomainId::SHARED, u64::MAX);
    let _ = index_body(&frame, DomainId::SHARED);
    let mut register = [&ObjectKind::Register.header(), bytes].concat();
    keys.append_auth(&mut register);
    let _ = decode_register(&register, &keys);
    let mut record = [&ObjectKind::Forgotten.header(), bytes].concat();
    keys.append_auth(&mut record);
    let _ = decode_forgotten(&record, &keys);
    let proven = |kind: ObjectKind| {
        let mut object = [&kind.header(), bytes].concat();
        keys.append_auth(&mut object);
        object
    };
    let _ = decode_plan(&proven(ObjectKind::PrunePlan), &keys);
    let _ = decode_state(&proven(ObjectKind::PruneState), &keys);
    let _ = decode_done(&proven(ObjectKind::PruneDone), &keys);
    let mut proven = [&ObjectKind::Config.header(), bytes].concat();
    keys.append_auth_for_all(&mut proven);
    let _ = decode_config(&proven);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes_never_panic(bytes in bytes(600), kind in 0..12u8) {
        decode_all(&bytes);
        decode_all(&[b"repo", &[kind, 1, 0, 0], &bytes[..]].concat());
    }

    #[test]
    fn random_cbor_like_bytes_never_panic(parts in vec(prop_oneof![
        Just(vec![0xa2, 0x00]), Just(vec![0x01]), Just(vec![0x82, 0x00, 0x40]), Just(vec![0x83, 2, 1]), Just(vec![0x80]),
        (0..24u8).prop_map(|n| vec![0xa0 + n]), (0..24u8).prop_map(|n| vec![n]), bytes(4),
        Just([&[0x58, 117][..], &[0; 117]].concat()), Just([&[0x58, 32][..], &[0; 32]].concat()),
    ], 0..30)) {
        decode_opened(&parts.concat());
    }

    #[test]
    fn changed_nodes_never_panic(node in node(), changes in changes()) {
        let mut encoded = Vec::new();
        encode_node(&node, &mut encoded);
        let encoded = changed(encoded, &changes);
        // What is accepted says the same when it is written again.
        if let Ok((node, len)) = decode_node(&encoded) {
            prop_assert!(len <= encoded.len());
            let mut again = Vec::new();
            encode_node(&node, &mut again);
            prop_assert_eq!(decode_node(&again).expect("a node"), (node, again.len()));
        }
    }

    #[test]
    fn changed_snapshots_never_panic(snapshot in snapshot(), changes in changes()) {
        let body = changed(encode_snapshot_body(&snapshot), &changes);
        let direct = snapshot_body(&body);
        let keys = keys();
        let session = keys.new_session(DomainId::SHARED);
        for kind in [ObjectKind::Snapshot, ObjectKind::Intent] {
            let object = envelope_of(kind, &keys, &session, &body);
            let _ = decode_intent(&object, &keys);
            if let Ok((_, opened)) = decode_snapshot(&object, &keys) {
                prop_assert_eq!(&direct, &Ok(opened));
            }
        }
        if let Ok(snapshot) = direct {
            prop_assert_eq!(snapshot_body(&encode_snapshot_body(&snapshot)), Ok(snapshot));
        }
    }

    #[test]
    fn changed_footers_never_panic(footer in footer(), changes in changes()) {
        let domain = keys().domain(DomainId::SHARED).expect("a full client");
        let sealed = encode_footer(&footer, &domain, 0);
        let end = end(&footer.segments);
        let frame = domain.open_footer(0, &sealed).expect("a footer");
        let _ = footer_body(&framed(&changed(unframe(&frame).expect("a frame").to_vec(), &changes)), DomainId::SHARED, end);
        let _ = footer_body(&changed(frame, &changes), DomainId::SHARED, end);
        let outside = changed(sealed.clone(), &changes);
        prop_assert!(outside == sealed || decode_footer(&outside, &domain, 0, end).is_err());
    }

    #[test]
    fn changed_indexes_never_panic(index in index(), changes in changes()) {
        let keys = keys();
        let domain = keys.domain(DomainId::SHARED).expect("a full client");
        let object = encode_index(&index, &keys, &domain);
        let sealed = &without_auth(&object).expect("a proof")[28..];
        let frame = domain.open_index(&ObjectKind::Index.header(), 0, sealed).expect("an index");
        let _ = index_body(&framed(&changed(unframe(&frame).expect("a frame").to_vec(), &changes)), DomainId::SHARED);
        let outside = changed(object.clone(), &changes);
        prop_assert!(outside == object || decode_index(&outside, &keys).is_err());
    }

    #[test]
    fn changed_configs_never_pass(config in config(), changes in changes()) {
        let object = encode_config(&config, &keys());
        let outside = changed(object.clone(), &changes);
        let _ = decode_config(&outside);
        prop_assert!(outside == object || verify_config(&outside, &keys()).is_err());
        // With the proof right, what is accepted says the same when it is written again.
        let mut proven = changed(without_auth(&object).expect("a proof").to_vec(), &changes);
        keys().append_auth_for_all(&mut proven);
        if let Ok(config) = decode_config(&proven) {
            prop_assert_eq!(decode_config(&encode_config(&config, &keys())), Ok(config));
        }
    }

    #[test]
    fn changed_slots_never_open(label in "[a-z]{0,115}", changes in changes()) {
        let keys = keys();
        let secret = Secret::KeyFile([5; 32]);
        let (_, object) = encode_slot(&keys, &Held::Root(keys.root().expect("a full client")), &secret, None, 0, &label).expect("no key derivation");
        let outside = changed(object.clone(), &changes);
        prop_assume!(outside != object);
        if let Ok((view, _)) = decode_slot(&outside) {
            // A change of the label alone leaves the root secret as it is.
            let root = crate::crypto::open_slot(&view, keys.repository(), &secret, None);
            prop_assert!(!matches!(root, Ok(Some(_))) || read_label(&keys, &view).is_err());
        }
    }
}

#[test]
fn parameters_of_the_key_derivation_have_bounds() {
    for wrong in [
        (65535, 1, 1),
        (65536, 0, 1),
        (65536, 1, 0),
        (65536, 17, 1),
        (65536, 1, 17),
        (4 << 20, 5, 1),
        ((4 << 20) + 1, 1, 1),
    ] {
        let (memory_kib, passes, lanes) = wrong;
        assert!(!KdfParameters { memory_kib, passes, lanes }.within_limits(), "{wrong:?}");
    }
    assert!(KdfParameters { memory_kib: 4 << 20, passes: 4, lanes: 16 }.within_limits());
}
