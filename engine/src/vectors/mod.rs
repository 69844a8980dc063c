//! Runs the test vectors of `format-spec/vectors`; their README has the schema.
//!
//! Positive vectors are decoded, and encoded again byte for byte; negative ones must be refused. A file, an operation
//! or a vector that nothing here runs fails the tests, too.

mod clients;
mod crypto;
mod cutting;
mod objects;
mod packs;
mod prune;
mod repository;
mod trees;

use std::collections::BTreeSet;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::crypto::testing::Given;
use crate::crypto::{Credential, DomainKeys, Keys, KnownClient, RootSecret, SessionKeys};
use crate::id::{ClientId, DomainId, RepositoryId};

/// `Err`: refused.
type Tried = Result<(), Box<dyn Error>>;
type Operation = (&'static str, fn(&Case<'_>) -> Tried);

/// One vector, with what its file says in common.
struct Case<'a> {
    topic: &'a Topic,
    inputs: Map<String, Value>,
    expected: Option<&'a Value>,
}

struct Topic {
    vectors: Vec<Value>,
    common: Map<String, Value>,
}

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../format-spec/vectors"))
}

fn load(topic: &str) -> Topic {
    let path = directory().join(format!("{topic}.json"));
    let text = std::fs::read_to_string(&path).expect("the vectors are beside the specification");
    let mut file: Value = serde_json::from_str(&text).expect("vectors are JSON");
    assert_eq!((file["topic"].as_str(), file["format_version"].as_u64()), (Some(topic), Some(1)));
    let Value::Array(vectors) = file["vectors"].take() else { panic!("{topic}: no vectors") };
    let Value::Object(common) = file["common"].take() else { panic!("{topic}: nothing in common") };
    Topic { vectors, common }
}

/// Runs every vector of a file; how many there were.
fn run(topic: &str, operations: &[Operation]) -> usize {
    let file = load(topic);
    let mut failures = Vec::new();
    let mut unused: BTreeSet<&str> = operations.iter().map(|(name, _)| *name).collect();
    let mut count = 0;
    for vector in &file.vectors {
        let (name, op) = (string(&vector["name"]), string(&vector["op"]));
        unused.remove(op);
        let Some((_, operation)) = operations.iter().find(|(name, _)| *name == op) else {
            failures.push(format!("{name}: nothing does operation {op}"));
            continue;
        };
        let mut inputs = file.common.clone();
        inputs.extend(object(&vector["inputs"]).clone());
        let case = Case { topic: &file, inputs, expected: vector.get("expected") };
        let negative = vector.get("error").is_some();
        assert!(negative != case.expected.is_some(), "{name}: neither positive nor negative");
        match catch_unwind(AssertUnwindSafe(|| operation(&case).map_err(|error| error.to_string()))) {
            Ok(Ok(())) if negative => failures.push(format!("{name}: accepted, though {}", vector["why"])),
            Ok(Err(error)) if !negative => failures.push(format!("{name}: refused: {error}")),
            Ok(_) => {}
            Err(_) => failures.push(format!("{name}: panicked")),
        }
        count += 1;
    }
    assert!(failures.is_empty(), "{topic}:\n{}", failures.join("\n"));
    assert!(unused.is_empty(), "{topic}: operations without a vector: {unused:?}");
    assert_eq!(count, file.vectors.len());
    count
}

macro_rules! topics {
    ($($topic:ident: $operations:expr;)*) => {
        const TOPICS: &[&str] = &[$(stringify!($topic)),*];

        $(#[test]
        fn $topic() {
            let count = run(stringify!($topic), &$operations);
            assert!(count > 0);
        })*
    };
}

topics! {
    keys: crypto::KEYS;
    slots: crypto::SLOTS;
    roots: clients::ROOTS;
    clients: clients::CLIENTS;
    session_key: crypto::SESSION_KEY;
    config: objects::CONFIG;
    envelope: objects::ENVELOPE;
    register: objects::REGISTER;
    forgotten: objects::FORGOTTEN;
    prune: prune::PRUNE;
    segment: packs::SEGMENT;
    pack: packs::PACK;
    index: packs::INDEX;
    tree: trees::TREE;
    chunker: cutting::CHUNKER;
    tree_cut: cutting::TREE_CUT;
    cbor: objects::CBOR;
}

#[test]
fn every_file_has_a_topic() {
    let files: BTreeSet<String> = std::fs::read_dir(directory())
        .expect("the vectors are beside the specification")
        .filter_map(|entry| entry.expect("readable").file_name().to_str()?.strip_suffix(".json").map(str::to_owned))
        .collect();
    assert_eq!(files, TOPICS.iter().map(|topic| (*topic).to_owned()).collect());
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("{value} is no object"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no array"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn small(value: &Value) -> u32 {
    u32::try_from(number(value)).expect("a number below 2^32")
}

/// The bytes of hexadecimal digits.
fn bytes(value: &Value) -> Vec<u8> {
    let text = string(value);
    let mut bytes = vec![0; text.len() / 2];
    crate::id::unhex(text, &mut bytes).unwrap_or_else(|| panic!("{text} is not hexadecimal"));
    bytes
}

fn fixed<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap_or_else(|_| panic!("{value} is not {N} bytes"))
}

fn hex(bytes: impl AsRef<[u8]>) -> Value {
    Value::String(crate::id::hex(bytes.as_ref()))
}

/// Fails with the first difference in view: vectors are too long to be printed.
fn assert_bytes(found: &[u8], expected: &[u8]) {
    if found != expected {
        let at = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
        let near = |bytes: &[u8]| crate::id::hex(&bytes[at..(at + 16).min(bytes.len())]);
        let (a, b) = (near(found), near(expected));
        panic!("differs at {at}: {a}, expected {b} (lengths {}, {})", found.len(), expected.len());
    }
}

impl Case<'_> {
    fn input(&self, name: &str) -> &Value {
        self.inputs.get(name).unwrap_or_else(|| panic!("input {name} is missing"))
    }

    fn expected(&self, name: &str) -> &Value {
        let expected = self.expected.expect("a positive vector");
        expected.get(name).unwrap_or_else(|| panic!("{name} is not among what is expected"))
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        bytes(self.input(name))
    }

    fn fixed<const N: usize>(&self, name: &str) -> [u8; N] {
        fixed(self.input(name))
    }

    fn number(&self, name: &str) -> u64 {
        number(self.input(name))
    }

    fn repository_id(&self) -> RepositoryId {
        RepositoryId::new(self.fixed("repository_id"))
    }

    fn domain_id(&self) -> DomainId {
        DomainId::new(self.fixed("domain"))
    }

    /// The keys of a full client, who knows the write-only one of the inputs, if there is one.
    fn keys(&self) -> Keys {
        let root = |name: &str| RootSecret::from_bytes(self.fixed(name));
        let roots = match self.inputs.contains_key("former") {
            true => vec![root("former"), root("root")],
            false => vec![root("root")],
        };
        let keys = Keys::of_epochs(roots, self.repository_id());
        if let Some(client) = self.inputs.get("client") {
            let [id, domain] = ["id", "domain"].map(|name| fixed(&client[name]));
            let public_key = credential(&keys, client).public_key();
            let (domain, host) = (DomainId::new(domain), string(&client["host"]).to_owned());
            keys.learn_clients([(ClientId::new(id), KnownClient { domain, public_key, host, end: None })]);
        }
        keys
    }

    /// The keys of whoever makes the object of a positive vector.
    fn maker(&self) -> Keys {
        let keys = self.keys();
        match self.inputs.get("client") {
            Some(client) => Keys::of_client(credential(&keys, client), self.repository_id(), keys.epoch()),
            None => keys,
        }
    }

    fn domain(&self) -> DomainKeys {
        self.keys().domain(self.domain_id()).expect("a full client")
    }

    /// The session of the inputs, begun as any is.
    fn session(&self) -> SessionKeys {
        session_of(&self.keys(), &self.inputs)
    }

    /// What the positive vector `base` of an operation expects.
    fn base(&self, op: &str) -> &Value {
        let name = self.input("base");
        let found = self.topic.vectors.iter().find(|vector| vector["op"] == op && vector["name"] == *name);
        &found.unwrap_or_else(|| panic!("no vector {name}"))["expected"]
    }

    /// Those of `object`, cut and patched as the inputs say.
    fn edited(&self, mut object: Vec<u8>) -> Vec<u8> {
        if let Some(len) = self.input("truncate").as_u64() {
            object.truncate(usize::try_from(len).expect("a length"));
        }
        for patch in list(self.input("patches")) {
            let (at, new) = (number(&patch["at"]) as usize, bytes(&patch["bytes"]));
            object[at..at + new.len()].copy_from_slice(&new);
        }
        object
    }

    /// The frame of the inputs, with its zeros.
    fn frame(&self) -> Vec<u8> {
        let mut frame = self.bytes("frame");
        frame.resize(self.number("frame_length") as usize, 0);
        frame
    }
}

/// What the client of the inputs holds.
fn credential(keys: &Keys, client: &Value) -> Credential {
    let (id, domain) = (ClientId::new(fixed(&client["id"])), DomainId::new(fixed(&client["domain"])));
    Credential::of(keys, id, domain, fixed(&client["seed"]))
}

fn session_of(keys: &Keys, inputs: &Map<String, Value>) -> SessionKeys {
    let (dek, ephemeral, id) =
        (bytes(&inputs["dek"]), bytes(&inputs["ephemeral_secret"]), bytes(&inputs["session_id"]));
    let _given = Given::new(&[&dek, &ephemeral, &id], &[]);
    keys.new_session(DomainId::new(fixed(&inputs["domain"])))
}
