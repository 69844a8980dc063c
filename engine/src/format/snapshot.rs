//! Snapshots. Spec chapter 10.

use minicbor::Decoder;

use super::cbor::{
    MapWriter, Writer, Written, decoder, read_array, read_fixed, read_map, read_texts, read_time, read_tuple, required,
};
use super::envelope::{decode_envelope, encode_envelope};
use super::tree::{read_content, write_content};
use super::{FormatError, ObjectKind};
use crate::crypto::{Keys, SessionKeys};
use crate::id::{DomainId, RepositoryId, SessionId, SnapshotId};
use crate::limits;
use crate::model::{
    CopyOrigin, NameTable, Signer, Snapshot, SnapshotStatistics, StackFact, StackPart, StackPartKind, StackRecord,
};
use crate::monitor::Problem;

const MAX_ITEMS: u64 = 1 << 20;

/// Encodes, seals and proves a snapshot.
pub fn encode_snapshot(snapshot: &Snapshot, keys: &Keys, session: &SessionKeys) -> Vec<u8> {
    encode_envelope(ObjectKind::Snapshot, keys, session, &encode_snapshot_body(snapshot))
}

pub(super) fn snapshot_map(snapshot: &Snapshot) -> MapWriter {
    let mut map = MapWriter::default();
    map.time(0, snapshot.time);
    map.text(1, &snapshot.host);
    map.entry(2, |w| {
        w.array(snapshot.paths.len() as u64)?;
        snapshot.paths.iter().try_for_each(|path| w.bytes(path).map(drop))
    });
    map.entry(3, |w| write_content(w, &snapshot.root));
    map.texts(4, &snapshot.tags);
    if let Some(label) = &snapshot.label {
        map.text(5, label);
    }
    if let Some(parent) = snapshot.parent {
        map.bytes(6, parent.as_bytes());
    }
    if let Some(previous) = snapshot.previous {
        map.bytes(7, previous.as_bytes());
    }
    map.unsigned(8, snapshot.sequence);
    map.entry(9, |w| {
        let counts = statistics_fields(&snapshot.statistics);
        w.map(counts.len() as u64)?;
        (0u64..).zip(counts).try_for_each(|(key, count)| w.u64(key)?.u64(count).map(drop))
    });
    write_problems(&mut map, 10, &snapshot.problems);
    map.text(11, &snapshot.program);
    for (key, table) in [(12, &snapshot.users), (13, &snapshot.groups)] {
        map.entry(key, |w| {
            w.array(table.len() as u64)?;
            table.iter().try_for_each(|(id, name)| w.array(2)?.u32(*id)?.bytes(name).map(drop))
        });
    }
    if let Some(replaces) = snapshot.replaces {
        map.bytes(14, replaces.as_bytes());
    }
    if let Some(original) = snapshot.original {
        map.bytes(15, original.as_bytes());
    }
    if let Some(user) = &snapshot.user {
        map.text(16, user);
    }
    if let Some(started) = snapshot.started {
        map.time(17, started);
    }
    if let Some(finished) = snapshot.finished {
        map.time(18, finished);
    }
    if let Some(stack) = &snapshot.stack {
        map.entry(19, |w| write_stack(w, stack));
    }
    if let Some(CopyOrigin { repository, snapshot }) = &snapshot.copied_from {
        map.entry(20, |w| w.array(2)?.bytes(repository.as_bytes())?.bytes(snapshot.as_bytes()).map(drop));
    }
    map
}

/// Verifies, opens and decodes a snapshot, and says which session it belongs to. Whether it exists is for that
/// session's register to say.
///
/// # Errors
/// If it is malformed or not authentic.
pub fn decode_snapshot(object: &[u8], keys: &Keys) -> Result<(SessionId, Snapshot), FormatError> {
    let (session, signer, body) = decode_envelope(ObjectKind::Snapshot, keys, object)?;
    let mut snapshot = decode_body(&body)?;
    (snapshot.domain, snapshot.signer) = (session.record().domain(), signer);
    if let Signer::Client(id) = signer {
        // Whatever it says itself: nobody is to take it for a snapshot of another host.
        if let Some(client) = keys.known_client(&id) {
            snapshot.host.clone_from(&client.host);
        }
        // What it says of other snapshots is for full clients to say.
        (snapshot.replaces, snapshot.original, snapshot.copied_from) = (None, None, None);
    }
    Ok((session.session(), snapshot))
}

/// Keys that every snapshot has.
const REQUIRED: [u64; 11] = [0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13];

/// A snapshot as it is inside of its envelope.
pub(crate) fn encode_snapshot_body(snapshot: &Snapshot) -> Vec<u8> {
    let mut body = Vec::new();
    snapshot_map(snapshot).finish(&mut body);
    body
}

/// Decodes what [`encode_snapshot_body`] made.
pub(crate) fn decode_snapshot_body(body: &[u8]) -> Result<Snapshot, FormatError> {
    decode_body(body)
}

/// Decodes the map in a snapshot's envelope.
pub(super) fn decode_body(body: &[u8]) -> Result<Snapshot, FormatError> {
    let mut decoder = decoder(body)?;
    let mut s = Snapshot::empty(DomainId::SHARED, Signer::Full);
    let mut found = Vec::new();
    read_map(&mut decoder, |key, d| {
        match key {
            0 => s.time = read_time(d)?,
            1 => d.str()?.clone_into(&mut s.host),
            2 => s.paths = read_paths(d)?,
            3 => s.root = read_content(d)?,
            4 => s.tags = read_tags(d)?,
            5 => s.label = Some(d.str()?.to_owned()),
            6 => s.parent = Some(SnapshotId::new(read_fixed(d)?)),
            7 => s.previous = Some(SnapshotId::new(read_fixed(d)?)),
            8 => s.sequence = d.u64()?,
            9 => s.statistics = read_statistics(d)?,
            10 => s.problems = read_problems(d)?,
            11 => d.str()?.clone_into(&mut s.program),
            12 => s.users = read_names(d)?,
            13 => s.groups = read_names(d)?,
            14 => s.replaces = Some(SnapshotId::new(read_fixed(d)?)),
            15 => s.original = Some(SnapshotId::new(read_fixed(d)?)),
            16 => s.user = Some(d.str()?.to_owned()),
            17 => s.started = Some(read_time(d)?),
            18 => s.finished = Some(read_time(d)?),
            19 => s.stack = Some(read_stack(d)?),
            20 => s.copied_from = Some(read_origin(d)?),
            _ => return Ok(false),
        }
        found.push(key);
        Ok(true)
    })?;
    if !REQUIRED.iter().all(|key| found.contains(key)) {
        return Err(FormatError::Malformed("a required field is missing"));
    }
    if s.sequence == 0 || s.sequence > limits::SNAPSHOT_NUMBER {
        return Err(FormatError::Malformed("number of a snapshot"));
    }
    Ok(s)
}

fn write_stack(w: &mut Writer<'_>, stack: &StackRecord) -> Written {
    w.map(4)?.u64(0)?.str(&stack.name)?.u64(1)?.str(&stack.manifest)?;
    w.u64(2)?.array(stack.parts.len() as u64)?;
    for part in &stack.parts {
        w.array(3)?.bytes(&part.path)?.u64(part.kind.code())?.u64(part.bytes)?;
    }
    w.u64(3)?.array(stack.facts.len() as u64)?;
    stack.facts.iter().try_for_each(|f| w.array(3)?.str(&f.service)?.str(&f.what)?.str(&f.value).map(drop))
}

fn read_stack(decoder: &mut Decoder<'_>) -> Result<StackRecord, FormatError> {
    let (mut name, mut manifest, mut parts, mut facts) = (None, None, None, None);
    read_map(decoder, |key, d| {
        match key {
            0 => name = Some(d.str()?.to_owned()),
            1 => manifest = Some(d.str()?.to_owned()),
            2 => parts = Some(read_parts(d)?),
            3 => facts = Some(read_facts(d)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let name = required(name)?;
    if name.is_empty() {
        return Err(FormatError::Malformed("name of a stack"));
    }
    Ok(StackRecord { name, manifest: required(manifest)?, parts: required(parts)?, facts: required(facts)? })
}

/// Parts of kinds that are not known are left out: they are files in the snapshot like all others.
fn read_parts(decoder: &mut Decoder<'_>) -> Result<Vec<StackPart>, FormatError> {
    let mut parts = Vec::new();
    read_array(decoder, MAX_ITEMS, |d| {
        let (path, code, bytes) = read_tuple(d, 3, |d| Ok((d.bytes()?.to_vec(), d.u64()?, d.u64()?)))?;
        if !path.starts_with(b"/") {
            return Err(FormatError::Malformed("path that is not absolute"));
        }
        parts.extend(StackPartKind::from_code(code).map(|kind| StackPart { path, kind, bytes }));
        Ok(())
    })?;
    Ok(parts)
}

fn read_facts(decoder: &mut Decoder<'_>) -> Result<Vec<StackFact>, FormatError> {
    let mut facts = Vec::new();
    read_array(decoder, MAX_ITEMS, |d| {
        let (service, what, value) =
            read_tuple(d, 3, |d| Ok((d.str()?.to_owned(), d.str()?.to_owned(), d.str()?.to_owned())))?;
        facts.push(StackFact { service, what, value });
        Ok(())
    })?;
    Ok(facts)
}

fn read_paths(decoder: &mut Decoder<'_>) -> Result<Vec<Vec<u8>>, FormatError> {
    let mut paths = Vec::new();
    read_array(decoder, MAX_ITEMS, |d| {
        let path = d.bytes()?;
        if !path.starts_with(b"/") {
            return Err(FormatError::Malformed("path that is not absolute"));
        }
        paths.push(path.to_vec());
        Ok(())
    })?;
    Ok(paths)
}

fn read_origin(decoder: &mut Decoder<'_>) -> Result<CopyOrigin, FormatError> {
    read_tuple(decoder, 2, |d| {
        let repository = RepositoryId::new(read_fixed(d)?);
        Ok(CopyOrigin { repository, snapshot: SnapshotId::new(read_fixed(d)?) })
    })
}

fn read_tags(decoder: &mut Decoder<'_>) -> Result<Vec<String>, FormatError> {
    let tags = read_texts(decoder, MAX_ITEMS)?;
    if tags.is_sorted_by(|a, b| a < b) { Ok(tags) } else { Err(FormatError::Malformed("tags do not ascend")) }
}

fn statistics_fields(s: &SnapshotStatistics) -> [u64; 11] {
    [
        s.files,
        s.directories,
        s.others,
        s.bytes,
        s.files_new,
        s.files_changed,
        s.files_unchanged,
        s.chunks_new,
        s.bytes_new,
        s.bytes_added,
        s.problems,
    ]
}

fn read_statistics(decoder: &mut Decoder<'_>) -> Result<SnapshotStatistics, FormatError> {
    let mut s = SnapshotStatistics::default();
    let mut fields = 0;
    read_map(decoder, |key, d| {
        let field = match key {
            0 => &mut s.files,
            1 => &mut s.directories,
            2 => &mut s.others,
            3 => &mut s.bytes,
            4 => &mut s.files_new,
            5 => &mut s.files_changed,
            6 => &mut s.files_unchanged,
            7 => &mut s.chunks_new,
            8 => &mut s.bytes_new,
            9 => &mut s.bytes_added,
            10 => &mut s.problems,
            _ => return Ok(false),
        };
        *field = d.u64()?;
        fields += 1;
        Ok(true)
    })?;
    if fields == statistics_fields(&s).len() { Ok(s) } else { Err(FormatError::Malformed("statistics")) }
}

/// The first of the problems, as snapshots and proofs have them.
pub(super) fn write_problems(map: &mut MapWriter, key: u64, problems: &[Problem]) {
    map.entry(key, |w| {
        w.array(problems.len() as u64)?;
        problems.iter().try_for_each(|p| w.array(2)?.bytes(&p.path)?.str(&p.message).map(drop))
    });
}

pub(super) fn read_problems(decoder: &mut Decoder<'_>) -> Result<Vec<Problem>, FormatError> {
    let mut problems = Vec::new();
    read_array(decoder, limits::PROBLEMS_LISTED as u64, |d| {
        let (path, message) = read_tuple(d, 2, |d| Ok((d.bytes()?.to_vec(), d.str()?.to_owned())))?;
        problems.push(Problem { path, message });
        Ok(())
    })?;
    Ok(problems)
}

fn read_names(decoder: &mut Decoder<'_>) -> Result<NameTable, FormatError> {
    let mut names = NameTable::new();
    read_array(decoder, MAX_ITEMS, |d| {
        let (id, name) = read_tuple(d, 2, |d| Ok((d.u32()?, d.bytes()?.to_vec())))?;
        if names.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return Err(FormatError::Malformed("name table does not ascend"));
        }
        names.insert(id, name);
        Ok(())
    })?;
    Ok(names)
}
