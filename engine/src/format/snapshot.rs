//! Snapshots. Spec chapter 10.

use minicbor::Decoder;

use super::cbor::{MapWriter, array_len, at_end, read_array, read_fixed, read_map, read_texts, read_time, required};
use super::envelope::{decode_envelope, encode_envelope};
use super::tree::{read_content, write_content};
use super::{FormatError, ObjectKind};
use crate::crypto::{Keys, SessionKeys};
use crate::id::{SessionId, SnapshotId};
use crate::limits;
use crate::model::{NameTable, Snapshot, SnapshotStatistics};
use crate::monitor::Problem;

const MAX_ITEMS: u64 = 1 << 20;

/// Encodes, seals and proves a snapshot.
pub fn encode_snapshot(snapshot: &Snapshot, keys: &Keys, session: &SessionKeys) -> Vec<u8> {
    let mut body = Vec::new();
    snapshot_map(snapshot).finish(&mut body);
    encode_envelope(ObjectKind::Snapshot, keys, session, &body)
}

fn snapshot_map(snapshot: &Snapshot) -> MapWriter {
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
    map.entry(10, |w| {
        w.array(snapshot.problems.len() as u64)?;
        snapshot.problems.iter().try_for_each(|p| w.array(2)?.bytes(&p.path)?.str(&p.message).map(drop))
    });
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
    map
}

/// Verifies, opens and decodes a snapshot, and says which session it belongs to. Whether it exists is for that
/// session's register to say.
///
/// # Errors
/// If it is malformed or not authentic.
pub fn decode_snapshot(object: &[u8], keys: &Keys) -> Result<(SessionId, Snapshot), FormatError> {
    let (session, body) = decode_envelope(ObjectKind::Snapshot, keys, object)?;
    let mut decoder = Decoder::new(&body);
    let (mut time, mut host, mut root, mut sequence, mut program) = (None, None, None, None, None);
    let mut s = Snapshot {
        time: crate::clock::Timestamp::default(),
        host: String::new(),
        paths: Vec::new(),
        root: crate::model::Content::Inline(Vec::new()),
        tags: Vec::new(),
        label: None,
        parent: None,
        previous: None,
        sequence: 0,
        statistics: SnapshotStatistics::default(),
        problems: Vec::new(),
        program: String::new(),
        users: NameTable::new(),
        groups: NameTable::new(),
        replaces: None,
        original: None,
        user: None,
        started: None,
        finished: None,
    };
    read_map(&mut decoder, |key, d| {
        match key {
            0 => time = Some(read_time(d)?),
            1 => host = Some(d.str()?.to_owned()),
            2 => read_array(d, MAX_ITEMS, |d| {
                s.paths.push(d.bytes()?.to_vec());
                Ok(())
            })?,
            3 => root = Some(read_content(d)?),
            4 => s.tags = read_texts(d, MAX_ITEMS)?,
            5 => s.label = Some(d.str()?.to_owned()),
            6 => s.parent = Some(SnapshotId::new(read_fixed(d)?)),
            7 => s.previous = Some(SnapshotId::new(read_fixed(d)?)),
            8 => sequence = Some(d.u64()?),
            9 => s.statistics = read_statistics(d)?,
            10 => s.problems = read_problems(d)?,
            11 => program = Some(d.str()?.to_owned()),
            12 => s.users = read_names(d)?,
            13 => s.groups = read_names(d)?,
            14 => s.replaces = Some(SnapshotId::new(read_fixed(d)?)),
            15 => s.original = Some(SnapshotId::new(read_fixed(d)?)),
            16 => s.user = Some(d.str()?.to_owned()),
            17 => s.started = Some(read_time(d)?),
            18 => s.finished = Some(read_time(d)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    at_end(&decoder)?;
    s.time = required(time)?;
    s.host = required(host)?;
    s.root = required(root)?;
    s.sequence = required(sequence)?;
    s.program = required(program)?;
    Ok((session.session(), s))
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
        Ok(true)
    })?;
    Ok(s)
}

fn read_problems(decoder: &mut Decoder<'_>) -> Result<Vec<Problem>, FormatError> {
    let mut problems = Vec::new();
    read_array(decoder, limits::PROBLEMS_LISTED as u64, |d| {
        if array_len(d)? != 2 {
            return Err(FormatError::Malformed("problem"));
        }
        problems.push(Problem { path: d.bytes()?.to_vec(), message: d.str()?.to_owned() });
        Ok(())
    })?;
    Ok(problems)
}

fn read_names(decoder: &mut Decoder<'_>) -> Result<NameTable, FormatError> {
    let mut names = NameTable::new();
    read_array(decoder, MAX_ITEMS, |d| {
        if array_len(d)? != 2 {
            return Err(FormatError::Malformed("name table"));
        }
        names.insert(d.u32()?, d.bytes()?.to_vec());
        Ok(())
    })?;
    Ok(names)
}
