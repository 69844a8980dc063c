//! Config, envelopes, registers, CBOR itself.

use minicbor::Encoder;
use serde_json::{Value, json};

use super::{Case, Operation, Tried, assert_bytes, bytes, hex, list, number, small, string};
use crate::clock::Timestamp;
use crate::crypto::testing::Given;
use crate::crypto::{Credential, Keys, SessionKeys, hash};
use crate::format::testing::{encode_snapshot_body, envelope_body, envelope_of, map_value, snapshot_body, value_len};
use crate::format::{
    ForgottenRecord, Intent, ObjectKind, Proof, ProvenService, Register, SessionState, WhyForgotten, decode_config,
    decode_forgotten, decode_intent, decode_proof, decode_register, decode_snapshot, encode_config, encode_forgotten,
    encode_intent, encode_proof, encode_register, encode_snapshot, envelope_record, verify_config,
};
use crate::id::{ClientId, DomainId, RepositoryId, SessionId, SnapshotId};
use crate::model::{ChunkerParameters, Config, Content, NameTable, PageParameters, Snapshot, StackRecord, Suite};

pub(super) const CONFIG: [Operation; 2] = [("config", config), ("read_config", read_config)];
pub(super) const ENVELOPE: [Operation; 6] = [
    ("intent", intent),
    ("read_intent", read_intent),
    ("snapshot", snapshot),
    ("read_snapshot", read_snapshot),
    ("proof", proof),
    ("read_proof", read_proof),
];
pub(super) const REGISTER: [Operation; 3] =
    [("register", register), ("read_register", read_register), ("read_register_as_client", read_register_as_client)];
pub(super) const FORGOTTEN: [Operation; 2] = [("forgotten", forgotten), ("read_forgotten", read_forgotten)];
pub(super) const CBOR: [Operation; 2] = [("value", value), ("decode", decode)];

pub(super) fn time(value: &Value) -> Timestamp {
    let nanoseconds = small(&value[1]);
    Timestamp { seconds: value[0].as_i64().expect("seconds"), nanoseconds }
}

pub(super) fn shown_time(time: Timestamp) -> Value {
    json!([time.seconds, time.nanoseconds])
}

pub(super) fn profile(value: &Value) -> ChunkerParameters {
    assert_eq!(value["chunker"], 1);
    ChunkerParameters {
        min: small(&value["min"]),
        average: small(&value["average"]),
        max: small(&value["max"]),
        strict_mask: number(&value["strict_mask"]),
        loose_mask: number(&value["loose_mask"]),
    }
}

pub(super) fn pages(value: &Value) -> PageParameters {
    assert_eq!(value["chunker"], 2);
    PageParameters { min: small(&value["min"]), max: small(&value["max"]) }
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().map(|text| string(text).to_owned()).collect()
}

fn opened_config(case: &Case<'_>, object: &[u8]) -> Result<Config, Box<dyn std::error::Error>> {
    let config = decode_config(object)?;
    verify_config(object, &case.keys())?;
    Ok(config)
}

fn config(case: &Case<'_>) -> Tried {
    let config = Config {
        id: case.repository_id(),
        created: time(case.input("created")),
        suite: Suite::from_code(case.number("suite") as u8).ok_or("suite")?,
        pack_size: case.number("pack_size"),
        segment_size: small(case.input("segment_size")),
        files: profile(&case.input("profiles")[0]),
        dumps: profile(&case.input("profiles")[1]),
        pages: pages(&case.input("profiles")[2]),
        features_read: texts(case.input("read")),
        features_write: texts(case.input("write")),
        features_prune: texts(case.input("prune")),
    };
    let object = encode_config(&config, &case.keys());
    assert_bytes(&object, &bytes(case.expected("config")));
    assert_eq!(opened_config(case, &object)?, config);
    Ok(())
}

fn read_config(case: &Case<'_>) -> Tried {
    let config = opened_config(case, &case.bytes("config"))?;
    let found = json!({
        "repository_id": hex(config.id.as_bytes()), "suite": config.suite.code(), "pack_size": config.pack_size,
        "write": config.features_write, "prune": config.features_prune,
    });
    assert!(case.expected.is_none_or(|expected| *expected == found), "{found}");
    Ok(())
}

fn shown_intent(intent: &Intent) -> Value {
    json!({
        "started": shown_time(intent.started), "host": intent.host, "process": intent.process, "boot": intent.boot,
        "program": intent.program,
    })
}

/// Makes an envelope of the vector's own bytes: nonce, record and proof are the same whatever the body.
pub(super) fn check_envelope(case: &Case<'_>, kind: ObjectKind, encoded: &dyn Fn(&Keys, &SessionKeys) -> Vec<u8>) {
    let expected = bytes(case.expected("object"));
    let (nonce, body) = (case.bytes("nonce"), case.bytes("cbor"));
    let (keys, session) = (case.maker(), case.session());
    for make in [encoded, &|keys: &Keys, session: &SessionKeys| envelope_of(kind, keys, session, &body)] {
        let _given = Given::new(&[], &[&nonce]);
        assert_bytes(&make(&keys, &session), &expected);
    }
    assert_bytes(&envelope_body(kind, &case.keys(), &expected).expect("an envelope"), &body);
    let record = envelope_record(kind, &expected).expect("an envelope");
    assert_eq!(hex(record.as_bytes()), *case.expected("record"));
    assert_eq!(record, *session.record());
}

fn intent(case: &Case<'_>) -> Tried {
    let (session, intent) = decode_intent(&bytes(case.expected("object")), &case.keys())?;
    assert_eq!(shown_intent(&intent), *case.expected("fields"));
    assert_eq!(session.bytes(), case.session().bytes());
    check_envelope(case, ObjectKind::Intent, &|keys, session| encode_intent(&intent, keys, session));
    Ok(())
}

fn read_intent(case: &Case<'_>) -> Tried {
    let (_, intent) = decode_intent(&case.bytes("object"), &case.keys())?;
    let found = json!({"fields": shown_intent(&intent)});
    assert!(case.expected.is_none_or(|expected| *expected == found), "{found}");
    Ok(())
}

pub(super) fn shown_content(content: &Content) -> Value {
    let shown = |references: &[crate::model::ChunkRef]| -> Vec<Value> {
        references.iter().map(|chunk| json!({"id": hex(chunk.id.as_bytes()), "length": chunk.len})).collect()
    };
    match content {
        Content::Inline(bytes) => json!({"inline": hex(bytes)}),
        Content::Chunks(chunks) => json!({"chunks": shown(chunks)}),
        Content::Lists { depth, lists } => json!({"depth": depth, "chunks": shown(lists)}),
    }
}

fn shown_snapshot(s: &Snapshot) -> Value {
    let id = |id: Option<SnapshotId>| id.map(|id| hex(id.as_bytes()));
    let names = |table: &NameTable| -> Vec<Value> { table.iter().map(|(id, name)| json!([id, hex(name)])).collect() };
    let n = &s.statistics;
    json!({
        "time": shown_time(s.time), "host": s.host, "paths": s.paths.iter().map(hex).collect::<Vec<_>>(),
        "root": shown_content(&s.root), "tags": s.tags, "label": s.label, "parent": id(s.parent),
        "previous": id(s.previous), "number": s.sequence,
        "statistics": [
            n.files, n.directories, n.others, n.bytes, n.files_new, n.files_changed, n.files_unchanged, n.chunks_new,
            n.bytes_new, n.bytes_added, n.problems,
        ],
        "problems": s.problems.iter().map(|p| json!([hex(&p.path), p.message])).collect::<Vec<_>>(),
        "program": s.program, "users": names(&s.users), "groups": names(&s.groups), "replaces": id(s.replaces),
        "first": id(s.original), "user": s.user, "started": s.started.map(shown_time),
        "finished": s.finished.map(shown_time),
        "stack": s.stack.as_ref().map(shown_stack),
        "copied_from": s.copied_from.map(|from| [hex(from.repository.as_bytes()), hex(from.snapshot.as_bytes())]),
    })
}

fn shown_stack(stack: &StackRecord) -> Value {
    let parts: Vec<Value> = stack.parts.iter().map(|p| json!([hex(&p.path), p.kind.code(), p.bytes])).collect();
    let facts: Vec<Value> = stack.facts.iter().map(|f| json!([f.service, f.what, f.value])).collect();
    json!([stack.name, stack.manifest, parts, facts])
}

fn snapshot(case: &Case<'_>) -> Tried {
    let object = bytes(case.expected("object"));
    let (session, snapshot) = decode_snapshot(&object, &case.keys())?;
    assert_eq!(shown_snapshot(&snapshot), *case.expected("fields"));
    assert_eq!(hex(session.as_bytes()), *case.input("session_id"));
    assert_eq!(hex(hash(&object)), *case.expected("name"));
    // What a client says of others is not in what is decoded, so it can't be made again from that.
    let said = snapshot_body(&case.bytes("cbor"))?;
    assert_bytes(&encode_snapshot_body(&said), &case.bytes("cbor"));
    check_envelope(case, ObjectKind::Snapshot, &|keys, session| encode_snapshot(&said, keys, session));
    Ok(())
}

fn read_snapshot(case: &Case<'_>) -> Tried {
    let (_, snapshot) = decode_snapshot(&case.bytes("object"), &case.keys())?;
    let found = json!({"fields": shown_snapshot(&snapshot)});
    assert!(case.expected.is_none_or(|expected| *expected == found), "{found}");
    Ok(())
}

fn shown_proof(p: &Proof) -> Value {
    let state = |state: ProvenService| match state {
        ProvenService::Read => 1,
        ProvenService::Restored => 2,
        ProvenService::Verified => 3,
    };
    json!({
        "snapshot": hex(p.snapshot.as_bytes()), "root": shown_content(&p.root), "started": shown_time(p.started),
        "finished": shown_time(p.finished), "host": p.host, "program": p.program,
        "result": if p.is_good { 1 } else { 2 }, "files": p.files, "bytes": p.bytes,
        "services": p.services.iter().map(|(name, s)| json!([name, state(*s)])).collect::<Vec<_>>(),
        "problems": p.problems.iter().map(|p| json!([hex(&p.path), p.message])).collect::<Vec<_>>(),
    })
}

fn proof(case: &Case<'_>) -> Tried {
    let object = bytes(case.expected("object"));
    let proof = decode_proof(&object, &case.keys())?;
    assert_eq!(shown_proof(&proof), *case.expected("fields"));
    assert_eq!(hex(hash(&object)), *case.expected("name"));
    check_envelope(case, ObjectKind::Proof, &|keys, session| encode_proof(&proof, keys, session));
    Ok(())
}

fn read_proof(case: &Case<'_>) -> Tried {
    let proof = decode_proof(&case.bytes("object"), &case.keys())?;
    let found = json!({"fields": shown_proof(&proof)});
    assert!(case.expected.is_none_or(|expected| *expected == found), "{found}");
    Ok(())
}

fn register(case: &Case<'_>) -> Tried {
    let snapshot = case.input("snapshot").as_str().map(|_| SnapshotId::new(case.fixed("snapshot")));
    let state = match case.number("state") {
        1 => SessionState::Committed(snapshot),
        _ => SessionState::Revoked,
    };
    let register = Register { session: SessionId::new(case.fixed("session_id")), state };
    let object = encode_register(&register, &case.maker());
    assert_bytes(&object, &bytes(case.expected("register")));
    assert_eq!(decode_register(&object, &case.keys())?.0, register);
    Ok(())
}

fn read_register(case: &Case<'_>) -> Tried {
    show_register(case, &case.keys())
}

/// What a write-only client makes of it, who knows the public key of full clients and nothing else.
fn read_register_as_client(case: &Case<'_>) -> Tried {
    let client = case.input("client");
    let (id, domain) = (ClientId::new(super::fixed(&client["id"])), DomainId::new(super::fixed(&client["domain"])));
    let public = case.bytes("signature_public");
    let credential = Credential::alone(id, domain, super::fixed(&client["seed"]), public.as_chunks().0);
    show_register(case, &Keys::of_client(credential, RepositoryId::new([0; 16]), 0))
}

fn show_register(case: &Case<'_>, keys: &Keys) -> Tried {
    let (register, _) = decode_register(&case.bytes("register"), keys)?;
    let (state, snapshot) = match register.state {
        SessionState::Committed(snapshot) => (1, snapshot.map(|id| hex(id.as_bytes()))),
        SessionState::Revoked => (2, None),
    };
    let found = json!({"session_id": hex(register.session.as_bytes()), "state": state, "snapshot": snapshot});
    assert!(case.expected.is_none_or(|expected| *expected == found), "{found}");
    Ok(())
}

fn forgotten(case: &Case<'_>) -> Tried {
    let text = |name: &str| case.input(name).as_str().map(str::to_owned);
    let record = ForgottenRecord {
        snapshot: SnapshotId::new(case.fixed("snapshot")),
        time: time(case.input("time")),
        why: if case.number("why") == 1 { WhyForgotten::Forgotten } else { WhyForgotten::Replaced },
        host: text("host"),
        program: text("program"),
    };
    let object = encode_forgotten(&record, &case.keys());
    assert_bytes(&object, &bytes(case.expected("forgotten")));
    assert_eq!(decode_forgotten(&object, &case.keys())?, record);
    Ok(())
}

fn read_forgotten(case: &Case<'_>) -> Tried {
    let record = decode_forgotten(&case.bytes("forgotten"), &case.keys())?;
    let why = match record.why {
        WhyForgotten::Forgotten => 1,
        WhyForgotten::Replaced => 2,
    };
    let found = json!({
        "snapshot": hex(record.snapshot.as_bytes()), "time": shown_time(record.time), "why": why, "host": record.host,
        "program": record.program,
    });
    assert!(case.expected.is_none_or(|expected| *expected == found), "{found}");
    Ok(())
}

/// CBOR of a value as the vectors show it, by the engine's writers.
fn encode_value(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let mut w = Encoder::new(&mut out);
    match value {
        Value::Null => drop(w.null()),
        Value::Bool(value) => drop(w.bool(*value)),
        Value::Number(value) => match value.as_u64() {
            Some(value) => drop(w.u64(value)),
            None => drop(w.i64(value.as_i64().expect("an integer"))),
        },
        Value::Array(items) => {
            let _ = w.array(items.len() as u64);
            items.iter().for_each(|item| out.extend(encode_value(item)));
        }
        Value::Object(tagged) => match tagged.iter().next().expect("one entry") {
            (kind, value) if kind == "bytes" => drop(w.bytes(&bytes(value))),
            (kind, value) if kind == "text" => drop(w.str(string(value))),
            (_, entries) => {
                let entries: Vec<(u64, Vec<u8>)> =
                    list(entries).iter().map(|entry| (number(&entry[0]), encode_value(&entry[1]))).collect();
                out = map_value(&entries);
            }
        },
        Value::String(text) => panic!("{text} should be tagged"),
    }
    out
}

fn value(case: &Case<'_>) -> Tried {
    let encoded = bytes(case.expected("cbor"));
    assert_bytes(&encode_value(case.input("value")), &encoded);
    assert_eq!(value_len(&encoded)?, encoded.len());
    assert_eq!(value_len(&[&encoded[..], &encoded].concat())?, encoded.len());
    for cut in 0..encoded.len() {
        assert!(value_len(&encoded[..cut]).is_err(), "accepted when cut to {cut} bytes");
    }
    Ok(())
}

fn decode(case: &Case<'_>) -> Tried {
    let encoded = case.bytes("cbor");
    if value_len(&encoded)? == encoded.len() { Ok(()) } else { Err("bytes after the value".into()) }
}
