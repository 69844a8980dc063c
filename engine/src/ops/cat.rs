//! Showing single objects, for people who want to see what is inside.

use std::fmt::Write as _;

use super::list::{SnapshotFilter, find_snapshot};
use crate::clock::Timestamp;
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{self, PruneVerdict, WhyForgotten};
use crate::id::{ChunkId, PruneId, hex};
use crate::limits;
use crate::model::{ChunkRef, Content, Snapshot};
use crate::repository::{ChunkReader, Index, Repository, object_error, read_done, read_plan, read_record, read_state};
use crate::storage::{ObjectFamily, ObjectName};

/// Which object. Ids by their first digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatObject {
    /// The parameters.
    Config,
    /// A snapshot.
    Snapshot(String),
    /// An index object.
    Index(String),
    /// A pack's footer.
    Pack(String),
    /// A session's intent and register.
    Session(String),
    /// Plan, state and end of a prune, by its number, in decimal or as in their names.
    Prune(String),
    /// The record of a forgotten snapshot, by the first digits of the snapshot's id.
    Record(String),
    /// A key slot, without its secrets.
    Key(String),
    /// A chunk's bytes; the whole id.
    Chunk(String),
}

/// What there is to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatOutput {
    /// Indented JSON.
    Json(String),
    /// The bytes of a chunk.
    Bytes(Vec<u8>),
}

/// Shows an object. `index` is needed for chunks.
///
/// # Errors
/// `NotFound`, `Ambiguous`, `Invalid`, `Damaged`, `Missing`, `Io`.
pub fn cat(repository: &Repository, index: Option<&Index>, object: &CatObject) -> Result<CatOutput> {
    let mut json = Json::default();
    match object {
        CatObject::Config => config(repository, &mut json),
        CatObject::Snapshot(spec) => {
            let (id, snapshot) = find_snapshot(repository, spec, &SnapshotFilter::default())?;
            json.text("id", &id.to_hex());
            show_snapshot(&snapshot, &mut json);
        }
        CatObject::Index(prefix) => {
            let ObjectName::Index(id) = find_object(repository, ObjectFamily::Indexes, prefix)? else {
                unreachable!("the family holds nothing else")
            };
            let object = repository.read_index(id)?;
            json.text("id", &id.to_hex());
            json.text("session", &object.session.to_hex());
            let packs = object.packs.iter().map(|pack| {
                let mut json = Json::default();
                json.text("id", &pack.id.to_hex());
                json.number("length", pack.len);
                json.raw("segments", &segments(&pack.segments));
                json.finish()
            });
            json.raw("packs", &array(packs));
        }
        CatObject::Pack(prefix) => {
            let name = find_object(repository, ObjectFamily::Packs, prefix)?;
            pack(repository, name, &mut json)?;
        }
        CatObject::Session(prefix) => session(repository, prefix, &mut json)?,
        CatObject::Prune(number) => prune(repository, number, &mut json)?,
        CatObject::Record(prefix) => record(repository, prefix, &mut json)?,
        CatObject::Key(prefix) => key(repository, prefix, &mut json)?,
        CatObject::Chunk(id) => return chunk(repository, index, id).map(CatOutput::Bytes),
    }
    Ok(CatOutput::Json(json.finish()))
}

fn find_object(repository: &Repository, family: ObjectFamily, prefix: &str) -> Result<ObjectName> {
    let mut found = Vec::new();
    repository.storage().list(family, &mut |name, _| {
        let path = name.to_string();
        let id = match name {
            ObjectName::Intent(id) | ObjectName::Register(id) => id.to_hex(),
            _ => path.rsplit('/').next().unwrap_or_default().to_owned(),
        };
        if id.starts_with(prefix) {
            found.push(name);
        }
    })?;
    found.sort();
    found.dedup_by_key(|name| match name {
        ObjectName::Intent(id) | ObjectName::Register(id) => id.to_hex(),
        other => other.to_string(),
    });
    match found.as_slice() {
        [name] => Ok(*name),
        [] => Err(EngineError::new(
            ErrorKind::NotFound,
            format!("nothing in {}/ begins with {prefix}", family.directory()),
        )),
        more => Err(EngineError::new(
            ErrorKind::Ambiguous,
            format!("{} objects in {}/ begin with {prefix}", more.len(), family.directory()),
        )),
    }
}

fn config(repository: &Repository, json: &mut Json) {
    let config = repository.config();
    json.text("id", &config.id.to_hex());
    json.number("version", 1u64);
    json.number("created", config.created.seconds);
    json.text("suite", &format!("{:?}", config.suite));
    json.number("pack_size", config.pack_size);
    json.number("segment_size", config.segment_size);
    for (name, p) in [("files", config.files), ("dumps", config.dumps)] {
        let mut profile = Json::default();
        profile.number("min", p.min);
        profile.number("average", p.average);
        profile.number("max", p.max);
        profile.text("strict_mask", &format!("{:016x}", p.strict_mask));
        profile.text("loose_mask", &format!("{:016x}", p.loose_mask));
        json.raw(name, &profile.finish());
    }
    let mut pages = Json::default();
    pages.number("min", config.pages.min);
    pages.number("max", config.pages.max);
    json.raw("pages", &pages.finish());
    json.raw("features_read", &array(config.features_read.iter().map(|feature| quote(feature))));
    json.raw("features_write", &array(config.features_write.iter().map(|feature| quote(feature))));
    json.raw("features_prune", &array(config.features_prune.iter().map(|feature| quote(feature))));
}

fn show_snapshot(snapshot: &Snapshot, json: &mut Json) {
    let lossy = |bytes: &Vec<u8>| quote(&String::from_utf8_lossy(bytes));
    json.number("time", snapshot.time.seconds);
    json.text("host", &snapshot.host);
    json.raw("paths", &array(snapshot.paths.iter().map(lossy)));
    json.raw("tags", &array(snapshot.tags.iter().map(|tag| quote(tag))));
    if let Some(label) = &snapshot.label {
        json.text("label", label);
    }
    json.raw("root", &content(&snapshot.root));
    for (name, id) in [
        ("parent", snapshot.parent),
        ("previous", snapshot.previous),
        ("replaces", snapshot.replaces),
        ("original", snapshot.original),
    ] {
        if let Some(id) = id {
            json.text(name, &id.to_hex());
        }
    }
    json.number("sequence", snapshot.sequence);
    json.text("program", &snapshot.program);
    for (name, table) in [("users", &snapshot.users), ("groups", &snapshot.groups)] {
        let mut names = Json::default();
        table.iter().for_each(|(id, name)| names.text(&id.to_string(), &String::from_utf8_lossy(name)));
        json.raw(name, &names.finish());
    }
    json.number("problems", snapshot.statistics.problems);
}

fn content(content: &Content) -> String {
    let list = |references: &[ChunkRef]| {
        array(references.iter().map(|reference| {
            let mut json = Json::default();
            json.text("chunk", &reference.id.to_hex());
            json.number("length", reference.len);
            json.finish()
        }))
    };
    let mut json = Json::default();
    match content {
        Content::Inline(bytes) => json.text("inline", &hex(bytes)),
        Content::Chunks(references) => json.raw("chunks", &list(references)),
        Content::Lists { depth, lists } => {
            json.number("depth", *depth);
            json.raw("lists", &list(lists));
        }
    }
    json.finish()
}

fn segments(rows: &[crate::model::SegmentRow]) -> String {
    array(rows.iter().map(|row| {
        let mut json = Json::default();
        json.number("offset", row.offset);
        json.number("sealed_length", row.sealed_len);
        json.number("plain_length", row.plain_len);
        json.text("kind", &format!("{:?}", row.kind));
        json.text("suite", &format!("{:?}", row.suite));
        json.text("compression", &format!("{:?}", row.compression));
        let chunks = row.chunks.iter().map(|(id, len)| {
            let mut json = Json::default();
            json.text("id", &id.to_hex());
            json.number("length", *len);
            json.finish()
        });
        json.raw("chunks", &array(chunks));
        json.finish()
    }))
}

fn pack(repository: &Repository, name: ObjectName, json: &mut Json) -> Result<()> {
    let ObjectName::Pack(id) = name else { unreachable!("the family holds nothing else") };
    let mut len = 0;
    repository.storage().list(ObjectFamily::Packs, &mut |listed, bytes| {
        if listed == name {
            len = bytes;
        }
    })?;
    let footer = repository.read_footer(id, len)?;
    json.text("id", &id.to_hex());
    json.number("length", len);
    json.raw("sessions", &array(footer.sessions.iter().map(|record| quote(&record.session().to_hex()))));
    json.raw("segments", &segments(&footer.segments));
    Ok(())
}

fn session(repository: &Repository, prefix: &str, json: &mut Json) -> Result<()> {
    let (ObjectName::Intent(id) | ObjectName::Register(id)) = find_object(repository, ObjectFamily::Sessions, prefix)?
    else {
        unreachable!("the family holds nothing else")
    };
    json.text("id", &id.to_hex());
    let read = |name| match repository.storage().read(name, None, limits::ENVELOPE_BYTES) {
        Err(error) if error.kind() == ErrorKind::Missing => Ok(None),
        other => other.map(Some),
    };
    let intent = ObjectName::Intent(id);
    if let Some(object) = read(intent)? {
        let (_, intent) =
            format::decode_intent(&object, repository.keys()).map_err(|error| object_error(intent, error))?;
        json.number("started", intent.started.seconds);
        json.text("host", &intent.host);
        json.number("process", intent.process);
        json.text("program", &intent.program);
    }
    let register = ObjectName::Register(id);
    match read(register)? {
        None => json.text("state", "open"),
        Some(object) => {
            let (register, _) = repository.decode_signed(register, |keys| format::decode_register(&object, keys))?;
            match register.state {
                format::SessionState::Revoked => json.text("state", "revoked"),
                format::SessionState::Committed(snapshot) => {
                    json.text("state", "committed");
                    if let Some(snapshot) = snapshot {
                        json.text("snapshot", &snapshot.to_hex());
                    }
                }
            }
        }
    }
    Ok(())
}

fn prune(repository: &Repository, number: &str, json: &mut Json) -> Result<()> {
    let id = number.parse().ok().and_then(PruneId::new).or_else(|| PruneId::from_hex(number).ok());
    let id = id.ok_or_else(|| EngineError::new(ErrorKind::Invalid, format!("{number:?} is no number of a prune")))?;
    let missing_as_none = |error: EngineError| if error.kind() == ErrorKind::Missing { Ok(()) } else { Err(error) };
    json.number("number", id.number());
    let empty = json.fields.len();
    match read_plan(repository, id) {
        Ok(plan) => {
            let mut shown = Json::default();
            shown.number("time", plan.time.seconds);
            shown.text("program", &plan.program);
            shown.raw("condemned", &array(plan.condemned.iter().map(|id| quote(&id.to_hex()))));
            shown.raw("dropped", &array(plan.dropped.iter().map(|id| quote(&id.to_hex()))));
            json.raw("plan", &shown.finish());
        }
        Err(error) => missing_as_none(error)?,
    }
    match read_state(repository, id) {
        Ok(PruneVerdict::Cancelled) => json.text("state", "cancelled"),
        Ok(PruneVerdict::Sweep { rescued }) => {
            json.text("state", "sweep");
            json.raw("rescued", &array(rescued.iter().map(|id| quote(&id.to_hex()))));
        }
        Err(error) => missing_as_none(error)?,
    }
    match read_done(repository, id) {
        Ok(done) => {
            let noticed = |id: String, time: Timestamp| {
                let mut noticed = Json::default();
                noticed.text("id", &id);
                noticed.number("time", time.seconds);
                noticed.finish()
            };
            let mut shown = Json::default();
            shown.number("time", done.time.seconds);
            shown.raw("sessions", &array(done.sessions.iter().map(|(id, time)| noticed(id.to_hex(), *time))));
            shown.raw("records", &array(done.records.iter().map(|(id, time)| noticed(id.to_hex(), *time))));
            shown.number("freed_bytes", done.freed_bytes);
            json.raw("done", &shown.finish());
        }
        Err(error) => missing_as_none(error)?,
    }
    if json.fields.len() == empty {
        return Err(EngineError::new(ErrorKind::NotFound, format!("nothing is left of prune {}", id.number())));
    }
    Ok(())
}

fn record(repository: &Repository, prefix: &str, json: &mut Json) -> Result<()> {
    let ObjectName::Forgotten(id) = find_object(repository, ObjectFamily::Forgotten, prefix)? else {
        unreachable!("the family holds nothing else")
    };
    let record = read_record(repository, id)?;
    json.text("snapshot", &record.snapshot.to_hex());
    json.number("time", record.time.seconds);
    json.text(
        "why",
        match record.why {
            WhyForgotten::Forgotten => "forgotten",
            WhyForgotten::Replaced => "replaced",
        },
    );
    for (name, text) in [("host", &record.host), ("program", &record.program)] {
        if let Some(text) = text {
            json.text(name, text);
        }
    }
    Ok(())
}

fn key(repository: &Repository, prefix: &str, json: &mut Json) -> Result<()> {
    let name = find_object(repository, ObjectFamily::Keys, prefix)?;
    let (slots, problems) = super::list_keys(repository)?;
    let Some(slot) = slots.iter().find(|slot| ObjectName::Key(slot.id) == name) else {
        let why = problems.into_iter().find(|problem| problem.path == name.to_string().into_bytes());
        return Err(EngineError::damaged(why.map_or_else(|| name.to_string(), |problem| problem.message)));
    };
    json.text("id", &slot.id.to_hex());
    json.text("kind", slot.kind);
    json.text("label", &slot.label);
    json.number("created", slot.created.seconds);
    if let Some((memory, passes, lanes)) = slot.kdf {
        json.number("argon2id_memory_kib", memory);
        json.number("argon2id_passes", passes);
        json.number("argon2id_lanes", lanes);
    }
    Ok(())
}

fn chunk(repository: &Repository, index: Option<&Index>, id: &str) -> Result<Vec<u8>> {
    let id = ChunkId::from_hex(id)
        .map_err(|error| EngineError::with_source(ErrorKind::Invalid, format!("chunk {id}"), error))?;
    let index = index.ok_or_else(|| EngineError::new(ErrorKind::Invalid, "a chunk needs the index"))?;
    let place = index.find_or_recover(repository, &id)?;
    let kind = index.segment(place.segment)?.kind();
    ChunkReader::new(repository, index).read(kind, &ChunkRef { id, len: place.len })
}

/// A JSON object in the making. Only what `cat` needs; the command line's messages are made with serde.
#[derive(Default)]
struct Json {
    fields: Vec<String>,
}

impl Json {
    fn raw(&mut self, name: &str, value: &str) {
        self.fields.push(format!("{}: {value}", quote(name)));
    }

    fn text(&mut self, name: &str, value: &str) {
        self.raw(name, &quote(value));
    }

    fn number(&mut self, name: &str, value: impl std::fmt::Display) {
        self.raw(name, &value.to_string());
    }

    fn finish(self) -> String {
        block('{', &self.fields, '}')
    }
}

fn array(items: impl Iterator<Item = String>) -> String {
    block('[', &items.collect::<Vec<_>>(), ']')
}

fn block(open: char, items: &[String], close: char) -> String {
    if items.is_empty() {
        return format!("{open}{close}");
    }
    format!("{open}\n  {}\n{close}", items.join(",\n").replace('\n', "\n  "))
}

fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if u32::from(c) < 0x20 => write!(quoted, "\\u{:04x}", u32::from(c)).expect("a String takes everything"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
