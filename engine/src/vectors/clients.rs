//! Write-only clients and former roots.

use serde_json::{Value, json};

use super::objects::{check_envelope, shown_time};
use super::{Case, Operation, Tried, assert_bytes, bytes, hex};
use crate::crypto::testing::Given;
use crate::crypto::{ClientEnd, RootSecret};
use crate::format::{
    ClientRecord, ObjectKind, decode_client, decode_client_end, decode_root, encode_client, encode_client_end,
    encode_root,
};

pub(super) const ROOTS: [Operation; 2] = [("root", root), ("read_root", read_root)];
pub(super) const CLIENTS: [Operation; 4] = [
    ("client", client),
    ("client_end", client_end),
    ("read_client", read_client),
    ("read_client_end", read_client_end),
];

fn epoch(case: &Case<'_>) -> u32 {
    u32::try_from(case.number("epoch")).expect("a small number")
}

fn root(case: &Case<'_>) -> Tried {
    let [root, former] = ["root", "former"].map(|name| RootSecret::from_bytes(case.fixed(name)));
    let object = {
        let _given = Given::new(&[], &[&case.bytes("nonce")]);
        encode_root(&root, &former, epoch(case), case.repository_id())
    };
    assert_bytes(&object, &bytes(case.expected("object")));
    assert_eq!(decode_root(&object, &root, epoch(case), case.repository_id())?.bytes(), former.bytes());
    Ok(())
}

fn read_root(case: &Case<'_>) -> Tried {
    let root = RootSecret::from_bytes(case.fixed("root"));
    decode_root(&case.bytes("object"), &root, epoch(case), case.repository_id())?;
    Ok(())
}

fn shown(client: &ClientRecord) -> Value {
    json!({
        "client_id": hex(client.id.as_bytes()), "domain": hex(client.domain.as_bytes()),
        "signature_public": hex(client.public_key), "host": client.host, "created": shown_time(client.created),
        "label": client.label,
    })
}

fn client(case: &Case<'_>) -> Tried {
    let client = decode_client(&bytes(case.expected("object")), &case.keys())?;
    assert_eq!(shown(&client), *case.expected("fields"));
    check_envelope(case, ObjectKind::Client, &|keys, session| encode_client(&client, keys, session));
    Ok(())
}

fn read_client(case: &Case<'_>) -> Tried {
    let client = decode_client(&case.bytes("object"), &case.keys())?;
    let found = json!({"fields": shown(&client)});
    assert!(case.expected.is_none_or(|expected| *expected == found), "{found}");
    Ok(())
}

fn shown_end((id, time, end): &(crate::id::ClientId, crate::clock::Timestamp, ClientEnd)) -> Value {
    let mut sessions: Vec<_> = end.sessions.iter().map(|id| hex(id.as_bytes()).to_string()).collect();
    let mut indexes: Vec<_> = end.indexes.iter().map(|id| hex(id.as_bytes()).to_string()).collect();
    sessions.sort();
    indexes.sort();
    let plain = |ids: Vec<String>| ids.iter().map(|id| Value::from(id.trim_matches('"'))).collect::<Vec<_>>();
    json!({
        "client_id": hex(id.as_bytes()), "time": shown_time(*time), "sessions": plain(sessions),
        "indexes": plain(indexes),
    })
}

fn client_end(case: &Case<'_>) -> Tried {
    let found = decode_client_end(&bytes(case.expected("object")), &case.keys())?;
    assert_eq!(shown_end(&found), *case.expected("fields"));
    let (id, time, end) = found;
    check_envelope(case, ObjectKind::ClientEnd, &|keys, session| encode_client_end(id, time, &end, keys, session));
    Ok(())
}

fn read_client_end(case: &Case<'_>) -> Tried {
    let found = json!({"fields": shown_end(&decode_client_end(&case.bytes("object"), &case.keys())?)});
    assert!(case.expected.is_none_or(|expected| *expected == found), "{found}");
    Ok(())
}
