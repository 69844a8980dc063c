//! What each fuzz target does with some bytes. No libFuzzer here: `engine/tests/fuzz_corpus.rs` includes this file
//! and runs the corpus through it in every test run.
//!
//! A decoder gets the bytes as they are, and again with whatever proves or seals such an object around them: what is
//! behind a seal is reached by a holder of the keys only, but a decoder must survive that one, too. What decodes is
//! encoded and decoded again, and must be the same.

use std::sync::{Arc, LazyLock};

use engine::clock::{FixedClock, Timestamp};
use engine::compress::Decompressor;
use engine::crypto::{Keys, Secret, SessionKeyRecord, SessionKeys, SlotKind, Unlocked, open_slot};
use engine::format::{self, ObjectKind, TAIL_BYTES};
use engine::id::{DomainId, RepositoryId};
use engine::limits;
use engine::model::Compression;

mod repository;

/// Takes any bytes and panics if the engine is at fault.
pub type Target = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Target); 13] = [
    ("config", config),
    ("slot", slot),
    ("record", record),
    ("register", register),
    ("forgotten", forgotten),
    ("prune", prune),
    ("envelope", envelope),
    ("tail", tail),
    ("footer", footer),
    ("index", index),
    ("node", node),
    ("references", references),
    ("repository", repository::mutated),
];

/// Runs one target.
///
/// # Panics
/// If there is none of that name, or if the engine is at fault.
pub fn run(target: &str, data: &[u8]) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target of that name");
    run(data);
}

/// A key slot and the key file that opens it, as in the test vectors.
const SLOT: &[u8] = include_bytes!("../fixed/slot");
const KEY_FILE: &[u8; 32] = include_bytes!("../fixed/key-file");
const REPOSITORY: &[u8; 16] = include_bytes!("../fixed/repository-id");
/// The keys of a session of the same repository.
const RECORD: &[u8] = include_bytes!("../fixed/session-record");

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let repository = RepositoryId::new(*REPOSITORY);
    let (view, _) = format::decode_slot(SLOT).expect("a slot");
    let unlocked = open_slot(&view, repository, &Secret::KeyFile(*KEY_FILE), None).expect("a whole slot");
    let Some(Unlocked::Root(root)) = unlocked else { panic!("the key file of that slot") };
    Keys::new(root, repository)
});

static SESSION: LazyLock<SessionKeys> = LazyLock::new(|| {
    let record = SessionKeyRecord::from_slice(RECORD).expect("its length");
    KEYS.open_session(&record).expect("a record of that repository")
});

fn config(data: &[u8]) {
    let mut proven = [&ObjectKind::Config.header(), data].concat();
    KEYS.append_auth_for_all(&mut proven);
    for object in [data.to_vec(), proven] {
        if let Ok(config) = format::decode_config(&object) {
            let _ = format::verify_config(&object, &KEYS);
            let again = format::encode_config(&config, &KEYS);
            assert_eq!(format::decode_config(&again).as_ref(), Ok(&config));
        }
    }
}

fn slot(data: &[u8]) {
    if let Ok((view, _)) = format::decode_slot(data)
        && view.kind == SlotKind::KeyFile
        && view.kdf.is_none()
    {
        let _ = open_slot(&view, RepositoryId::new(*REPOSITORY), &Secret::KeyFile(*KEY_FILE), None);
    }
}

fn record(data: &[u8]) {
    if let Some(record) = SessionKeyRecord::from_slice(data) {
        let _ = KEYS.open_session(&record);
    }
}

fn register(data: &[u8]) {
    let mut proven = [&ObjectKind::Register.header(), data].concat();
    KEYS.append_auth(&mut proven);
    for object in [data, &proven] {
        if let Ok((register, signer)) = format::decode_register(object, &KEYS) {
            let again = format::encode_register(&register, &KEYS);
            assert_eq!(format::decode_register(&again, &KEYS), Ok((register, signer)));
        }
    }
}

fn forgotten(data: &[u8]) {
    let mut proven = [&ObjectKind::Forgotten.header(), data].concat();
    KEYS.append_auth(&mut proven);
    for object in [data, &proven] {
        if let Ok(record) = format::decode_forgotten(object, &KEYS) {
            let again = format::encode_forgotten(&record, &KEYS);
            assert_eq!(format::decode_forgotten(&again, &KEYS), Ok(record));
        }
    }
}

fn prune(data: &[u8]) {
    let proven = |kind: ObjectKind| {
        let mut object = [&kind.header(), data].concat();
        KEYS.append_auth(&mut object);
        object
    };
    for object in [data, &proven(ObjectKind::PrunePlan)] {
        if let Ok(plan) = format::decode_plan(object, &KEYS) {
            let again = format::encode_plan(&plan, &KEYS);
            assert_eq!(format::decode_plan(&again, &KEYS), Ok(plan));
        }
    }
    for object in [data, &proven(ObjectKind::PruneState)] {
        if let Ok(state) = format::decode_state(object, &KEYS) {
            let again = format::encode_state(&state, &KEYS);
            assert_eq!(format::decode_state(&again, &KEYS), Ok(state));
        }
    }
    for object in [data, &proven(ObjectKind::PruneDone)] {
        if let Ok(done) = format::decode_done(object, &KEYS) {
            let again = format::encode_done(&done, &KEYS);
            assert_eq!(format::decode_done(&again, &KEYS), Ok(done));
        }
    }
}

fn envelope(data: &[u8]) {
    for object in [data, &enveloped(ObjectKind::Intent, data)] {
        if let Ok((session, intent)) = format::decode_intent(object, &KEYS) {
            let again = format::encode_intent(&intent, &KEYS, &session);
            assert_eq!(format::decode_intent(&again, &KEYS).expect("just encoded").1, intent);
        }
    }
    for object in [data, &enveloped(ObjectKind::Snapshot, data)] {
        if let Ok((id, snapshot)) = format::decode_snapshot(object, &KEYS) {
            let again = format::encode_snapshot(&snapshot, &KEYS, &SESSION);
            let (_, decoded) = format::decode_snapshot(&again, &KEYS).expect("just encoded");
            assert_eq!(decoded, snapshot, "of session {id}");
        }
    }
    for object in [data, &enveloped(ObjectKind::Client, data)] {
        if let Ok(client) = format::decode_client(object, &KEYS) {
            let again = format::encode_client(&client, &KEYS, &SESSION);
            assert_eq!(format::decode_client(&again, &KEYS), Ok(client));
        }
    }
    for object in [data, &enveloped(ObjectKind::ClientEnd, data)] {
        if let Ok((id, time, end)) = format::decode_client_end(object, &KEYS) {
            let again = format::encode_client_end(id, time, &end, &KEYS, &SESSION);
            assert_eq!(format::decode_client_end(&again, &KEYS), Ok((id, time, end)));
        }
    }
    for object in [data, &enveloped(ObjectKind::Proof, data)] {
        if let Ok(proof) = format::decode_proof(object, &KEYS) {
            let again = format::encode_proof(&proof, &KEYS, &SESSION);
            assert_eq!(format::decode_proof(&again, &KEYS), Ok(proof));
        }
    }
}

/// `body` sealed and proven as an object of `kind`.
fn enveloped(kind: ObjectKind, body: &[u8]) -> Vec<u8> {
    let record = SESSION.record().as_bytes();
    let aad = [&kind.header()[..], REPOSITORY, record].concat();
    let mut object = [&kind.header()[..], record, &SESSION.seal_object(&aad, body)].concat();
    KEYS.append_auth(&mut object);
    object
}

fn tail(data: &[u8]) {
    for len in [data.len() as u64, limits::PACK_BYTES, u64::MAX] {
        if let Ok(tail) = format::decode_tail(data, len) {
            assert_eq!(format::encode_tail(&tail)[..], data[data.len() - TAIL_BYTES..]);
        }
    }
}

fn footer(data: &[u8]) {
    let domain = KEYS.domain(DomainId::SHARED).expect("a full client");
    let read = |sealed: &[u8]| format::decode_footer(sealed, &domain, 0, limits::PACK_BYTES);
    for sealed in [data.to_vec(), domain.seal_footer(0, data), domain.seal_footer(0, &framed(data))] {
        if let Ok(footer) = read(&sealed) {
            let again = format::encode_footer(&footer, &domain, 0);
            assert_eq!(read(&again).as_ref(), Ok(&footer));
        }
    }
}

fn index(data: &[u8]) {
    let domain = KEYS.domain(DomainId::SHARED).expect("a full client");
    let header = ObjectKind::Index.header();
    let place = [&header[..], DomainId::SHARED.as_bytes(), &0u32.to_le_bytes()].concat();
    let seal = |frame: &[u8]| {
        let mut object = [&place[..], &domain.seal_index(&header, 0, frame)].concat();
        KEYS.append_auth(&mut object);
        object
    };
    for object in [data.to_vec(), seal(data), seal(&framed(data))] {
        if let Ok(index) = format::decode_index(&object, &KEYS) {
            let again = format::encode_index(&index, &KEYS, &domain);
            assert_eq!(format::decode_index(&again, &KEYS), Ok(index));
        }
    }
}

/// `cbor` with its length before and zeros behind it.
fn framed(cbor: &[u8]) -> Vec<u8> {
    let mut frame = [&(cbor.len() as u32).to_le_bytes()[..], cbor].concat();
    frame.resize(frame.len().next_multiple_of(4096), 0);
    frame
}

fn node(data: &[u8]) {
    let mut rest = data;
    while let Ok((node, len)) = format::decode_node(rest) {
        assert!(len > 0 && len <= rest.len());
        let mut again = Vec::new();
        format::encode_node(&node, &mut again);
        assert_eq!(format::decode_node(&again), Ok((node, again.len())));
        rest = &rest[len..];
    }
}

fn references(data: &[u8]) {
    if let Ok(references) = format::decode_references(data) {
        assert_eq!(format::encode_references(&references), data);
    }
    // What a segment holds, of the length that the first bytes say.
    if let Some((len, text)) = data.split_first_chunk::<4>() {
        let len = u32::from_le_bytes(*len) % (limits::SEGMENT_PLAIN_BYTES + 1);
        let mut plain = Vec::new();
        if Decompressor::default().decompress(Compression::Zstd, text, len, &mut plain).is_ok() {
            assert_eq!(plain.len(), len as usize);
        }
    }
}

fn clock() -> FixedClock {
    FixedClock(Timestamp::new(1_700_000_000, 0))
}

/// A storage that is shared with a repository.
type SharedStorage = Arc<engine::storage::MemoryStorage>;
