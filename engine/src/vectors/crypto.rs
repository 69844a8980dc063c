//! Keys, slots, session key records.

use serde_json::json;

use super::{Case, Operation, Tried, assert_bytes, bytes, hex, session_of, string};
use crate::crypto::testing::{Given, public_key, seal, unseal};
use crate::crypto::{
    Credential, Held, KdfParameters, Keys, RootSecret, SESSION_KEY_RECORD_BYTES, Secret, SessionKeyRecord, SessionKeys,
    Unlocked, open_slot, read_label,
};
use crate::format::{decode_slot, encode_slot};
use crate::model::ChunkKind;

pub(super) const KEYS: [Operation; 6] = [
    ("root_keys", root_keys),
    ("domain_keys", domain_keys),
    ("chunk_id", chunk_id),
    ("session_keys", session_keys),
    ("seal", sealing),
    ("unseal", unsealing),
];
pub(super) const SLOTS: [Operation; 4] =
    [("slot", slot), ("open_slot", open), ("key_file", key_file), ("recovery_code", recovery_code)];
pub(super) const SESSION_KEY: [Operation; 2] = [("record", record), ("open_record", open_record)];

fn root_keys(case: &Case<'_>) -> Tried {
    let [control, recipient, public, label, signature_public, former] = case.keys().bytes();
    let found = json!({
        "signature_public": hex(signature_public), "former_root_key": hex(former),
        "control_key": hex(control), "recipient_secret": hex(recipient), "recipient_public": hex(public),
        "label_key": hex(label),
    });
    assert_eq!(Some(&found), case.expected);
    Ok(())
}

fn domain_keys(case: &Case<'_>) -> Tried {
    let keys = case.domain();
    let secret = case.keys().domain_secret_bytes(case.domain_id());
    let [data_id, tree_id, tree_chunker, index] = keys.bytes();
    let gear = keys.gear_table();
    let table: Vec<u8> = gear.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    let found = json!({
        "domain_secret": hex(secret), "data_id_key": hex(data_id), "tree_id_key": hex(tree_id), "tree_chunker_key": hex(tree_chunker),
        "index_key": hex(index), "gear_first": gear[0], "gear_last": gear[255],
        "gear_table_hash": hex(crate::crypto::hash(&table)),
    });
    assert_eq!(Some(&found), case.expected);
    Ok(())
}

fn chunk_id(case: &Case<'_>) -> Tried {
    let kind = ChunkKind::from_code(case.number("kind") as u8).ok_or("kind")?;
    assert_eq!(hex(case.domain().chunk_id(kind, &case.bytes("plaintext")).as_bytes()), *case.expected("id"));
    Ok(())
}

/// The keys that the data key of the inputs gives.
fn direct_session(case: &Case<'_>) -> SessionKeys {
    let mut record = [0; SESSION_KEY_RECORD_BYTES];
    record[..16].copy_from_slice(&case.bytes("session_id"));
    let record = SessionKeyRecord::from_slice(&record).expect("its length");
    // The repository is no part of the derivation.
    SessionKeys::of_data_key(crate::id::RepositoryId::new([0; 16]), record, &case.fixed("dek"))
}

fn session_keys(case: &Case<'_>) -> Tried {
    let [segment, nonce, object] = direct_session(case).bytes();
    let found = json!({"segment_key": hex(segment), "nonce_key": hex(nonce), "object_key": hex(object)});
    assert_eq!(Some(&found), case.expected);
    Ok(())
}

fn sealing(case: &Case<'_>) -> Tried {
    let (aad, plain) = (case.bytes("aad"), case.bytes("plaintext"));
    let sealed = {
        let _given = Given::new(&[&case.bytes("random")], &[]);
        seal(case.fixed("key"), case.fixed("nonce_key"), &aad, &plain)
    };
    assert_bytes(&sealed, &bytes(case.expected("sealed")));
    assert_eq!(hex(&sealed[..24]), *case.expected("nonce"));
    assert_eq!(unseal(case.fixed("key"), &aad, &sealed)?, plain);
    Ok(())
}

fn unsealing(case: &Case<'_>) -> Tried {
    unseal(case.fixed("key"), &case.bytes("aad"), &case.bytes("sealed"))?;
    Ok(())
}

fn secret(kind: u64, bytes: &[u8]) -> Result<Secret, Box<dyn std::error::Error>> {
    Ok(match kind {
        1 => Secret::Password(bytes.to_vec()),
        2 => Secret::KeyFile(bytes.try_into()?),
        3 => Secret::RecoveryCode(bytes.try_into()?),
        other => return Err(format!("kind {other}").into()),
    })
}

/// What a slot holds, and when it was made.
fn open_fully(case: &Case<'_>, object: &[u8], secret: &Secret) -> Result<(Unlocked, i64), Box<dyn std::error::Error>> {
    let (view, created) = decode_slot(object)?;
    let unlocked = open_slot(&view, case.repository_id(), secret, None)?.ok_or("another secret")?;
    if let Unlocked::Root(root) = &unlocked {
        read_label(&keys_of(case, root, view.epoch), &view)?;
    }
    Ok((unlocked, created))
}

/// The keys of a root secret of an epoch; those before it are not known here, and nothing in a slot is of them.
fn keys_of(case: &Case<'_>, root: &RootSecret, epoch: u32) -> Keys {
    Keys::of_epochs(vec![root.clone(); epoch as usize + 1], case.repository_id())
}

fn slot(case: &Case<'_>) -> Tried {
    let secret = secret(case.number("kind"), &case.bytes("secret"))?;
    let epoch = u32::try_from(case.number("epoch"))?;
    let root = RootSecret::from_bytes(case.fixed("root"));
    let keys = keys_of(case, &root, epoch);
    let parameter = |name| u32::try_from(case.number(name)).expect("a small number");
    let kdf = (case.number("kdf") == 1).then(|| KdfParameters {
        memory_kib: parameter("memory"),
        passes: parameter("passes"),
        lanes: parameter("lanes"),
    });
    let (created, label) = (case.input("created").as_i64().ok_or("created")?, string(case.input("label")));
    let credential = case.input("credential").as_str().map(|_| case.bytes("credential"));
    let credential = credential.map(|bytes| Credential::read(&bytes)).transpose()?;
    let held = credential.as_ref().map_or(Held::Root(&root), Held::Credential);
    let (id, object) = {
        let (slot_id, salt) = (case.bytes("slot_id"), case.bytes("salt"));
        let random: Vec<&[u8]> = if credential.is_some() { vec![&salt] } else { vec![&slot_id, &salt] };
        let nonces = [case.bytes("root_nonce"), case.bytes("label_nonce")];
        let _given = Given::new(&random, &nonces.each_ref().map(Vec::as_slice));
        encode_slot(&keys, &held, &secret, kdf, created, label)?
    };
    assert_bytes(&object, &bytes(case.expected("slot")));
    assert_eq!(hex(id.as_bytes()), *case.input("slot_id"));
    let (view, _) = decode_slot(&object)?;
    assert_eq!((view.id, view.kdf, view.kind, view.epoch), (id, kdf, secret.kind(), epoch));
    assert_eq!(read_label(&keys, &view)?, label);
    let (opened, found_created) = open_fully(case, &object, &secret)?;
    assert_eq!(found_created, created);
    match opened {
        Unlocked::Root(root) => assert_eq!(hex(root.bytes()), *case.input("root")),
        Unlocked::Credential(opened) => assert_eq!(hex(opened.bytes()), *case.input("credential")),
    }
    Ok(())
}

fn open(case: &Case<'_>) -> Tried {
    let object = case.bytes("slot");
    let kind = object.get(24).copied().ok_or("too short")?;
    open_fully(case, &object, &secret(kind.into(), &case.bytes("secret"))?)?;
    Ok(())
}

fn key_file(case: &Case<'_>) -> Tried {
    let file = String::from_utf8(case.bytes("file"))?;
    let found = Secret::from_key_file(&file)?;
    let Secret::KeyFile(secret) = &found else { panic!("another kind of secret") };
    assert_eq!(hex(secret), *case.expected("secret"));
    assert_eq!(found.to_text().ok_or("no text")?.as_str(), file.trim());
    Ok(())
}

fn recovery_code(case: &Case<'_>) -> Tried {
    let code = string(case.input("code"));
    let found = Secret::from_recovery_words(code).ok_or("no recovery code")?;
    let Secret::RecoveryCode(secret) = &found else { panic!("another kind of secret") };
    assert_eq!(hex(secret), *case.expected("secret"));
    let words: Vec<String> = code.split_whitespace().map(str::to_lowercase).collect();
    assert_eq!(found.to_text().ok_or("no text")?.as_str(), words.join(" "));
    Ok(())
}

fn record(case: &Case<'_>) -> Tried {
    // Of an epoch before the newest, made before that one was there.
    let session = match (case.inputs.contains_key("former"), case.number("epoch")) {
        (true, 0) => {
            let former = Keys::new(RootSecret::from_bytes(case.fixed("former")), case.repository_id());
            session_of(&former, &case.inputs)
        }
        _ => case.session(),
    };
    let record = session.record();
    assert_bytes(record.as_bytes(), &bytes(case.expected("record")));
    assert_eq!(hex(record.session().as_bytes()), *case.input("session_id"));
    assert_eq!((record.domain(), u64::from(record.epoch())), (case.domain_id(), case.number("epoch")));
    assert_eq!(record.as_bytes()[37..69], public_key(case.fixed("ephemeral_secret")));
    let opened = case.keys().open_session(record)?;
    assert_eq!(opened.bytes(), direct_session(case).bytes());
    Ok(())
}

fn open_record(case: &Case<'_>) -> Tried {
    let record = SessionKeyRecord::from_slice(&case.bytes("record")).ok_or("of another length")?;
    case.keys().open_session(&record)?;
    Ok(())
}

/// Every nonce is hedged: with a random source that repeats itself, other content has another nonce.
#[test]
fn a_random_source_that_repeats_itself_repeats_no_nonce() {
    let nonce = |aad: &[u8], plain: &[u8]| {
        let _given = Given::new(&[&[7; 32]], &[]);
        seal([1; 32], [2; 32], aad, plain)[..24].to_vec()
    };
    assert_eq!(nonce(b"a", b"b"), nonce(b"a", b"b"));
    assert_ne!(nonce(b"a", b"b"), nonce(b"a", b"c"));
    assert_ne!(nonce(b"a", b"b"), nonce(b"c", b"b"));
}
