//! Reading snapshots: which exist, which of them are forgotten, and what they say.

use std::collections::BTreeMap;

use super::{Repository, SessionTable, object_error};
use crate::crypto::hash;
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{self, ForgottenRecord};
use crate::id::{DomainId, SessionId, SnapshotId};
use crate::limits;
use crate::model::Snapshot;
use crate::monitor::Problem;
use crate::storage::{ObjectFamily, ObjectName, Outcome};

/// The snapshots of a repository, and what is wrong with others.
#[derive(Debug, Default)]
pub struct SnapshotSet {
    /// Those that exist and are neither forgotten nor replaced, oldest first.
    pub snapshots: Vec<(SnapshotId, Snapshot)>,
    /// Those that a newer one replaces.
    pub replaced: Vec<(SnapshotId, Snapshot)>,
    /// Those that exist and have a record, oldest first; replaced ones among them.
    pub forgotten: Vec<(SnapshotId, Snapshot)>,
    /// The records of forgetting that can be read, also of snapshots that are gone.
    pub records: BTreeMap<SnapshotId, ForgottenRecord>,
    /// Snapshots that a register names and records, as far as they can't be read. Such a record hides nothing.
    pub problems: Vec<Problem>,
    /// Forgotten snapshots that a register names and that are gone: dropped by a prune, if there was one.
    pub gone: Vec<SnapshotId>,
    /// Objects whose session did not commit them.
    pub uncommitted: Vec<(SnapshotId, SessionId)>,
}

impl SnapshotSet {
    /// Those of one domain.
    #[must_use]
    pub fn of_domain(mut self, domain: DomainId) -> Self {
        for some in [&mut self.snapshots, &mut self.replaced, &mut self.forgotten] {
            some.retain(|(_, snapshot)| snapshot.domain == domain);
        }
        self
    }

    /// All that exist, listed or not.
    pub fn existing(&self) -> impl Iterator<Item = &(SnapshotId, Snapshot)> {
        self.snapshots.iter().chain(&self.replaced).chain(&self.forgotten)
    }

    /// A host's last snapshot in a domain by its own count, and the number of the next one.
    pub fn last_of_host(&self, host: &str, domain: DomainId) -> (Option<SnapshotId>, u64) {
        let all = self.existing().filter(|(_, snapshot)| snapshot.host == host && snapshot.domain == domain);
        let last = all.max_by_key(|(id, snapshot)| (snapshot.sequence, *id));
        last.map_or((None, 1), |(id, last)| (Some(*id), limits::SNAPSHOT_NUMBER.min(last.sequence + 1)))
    }

    /// The snapshot that replaces one of a domain: another domain's replaces nothing in it.
    pub fn replacement_of(&self, old: SnapshotId, domain: DomainId) -> Option<SnapshotId> {
        let replaces = |snapshot: &Snapshot| snapshot.replaces == Some(old) && snapshot.domain == domain;
        self.existing().find(|(_, snapshot)| replaces(snapshot)).map(|(id, _)| *id)
    }
}

/// Reads every snapshot that exists.
///
/// # Errors
/// `Io`. Damaged ones are problems.
pub fn read_snapshots(repository: &Repository, sessions: &SessionTable) -> Result<SnapshotSet> {
    read_set(repository, sessions, false)
}

/// As [`read_snapshots`], for whoever builds on the time of a record: one that a power cut took may have been put again, later.
///
/// # Errors
/// As there.
pub(crate) fn read_snapshots_with_records_as_they_are(
    repository: &Repository,
    sessions: &SessionTable,
) -> Result<SnapshotSet> {
    read_set(repository, sessions, true)
}

fn read_set(repository: &Repository, sessions: &SessionTable, records_as_they_are: bool) -> Result<SnapshotSet> {
    let mut set = SnapshotSet::default();
    let mut listed: Vec<SnapshotId> = Vec::new();
    let is_ahead = |family: &ObjectFamily| repository.storage().is_expected(*family);
    let was_ahead = [ObjectFamily::Snapshots, ObjectFamily::Forgotten].iter().any(is_ahead);
    repository.storage().list(ObjectFamily::Snapshots, &mut |name, _| {
        if let ObjectName::Snapshot(id) = name {
            listed.push(id);
        }
    })?;
    listed.sort();
    if repository.only_adds() {
        return repository.own_snapshots(sessions, &listed);
    }
    let mut promised: Vec<SnapshotId> = sessions.snapshots().map(|(_, snapshot)| snapshot).collect();
    promised.sort();
    let open = |id: SnapshotId, object: &[u8]| open_snapshot(repository, id, object);
    let (of, max) = (ObjectName::Snapshot, limits::ENVELOPE_BYTES);
    repository.read_kept_objects(&listed, of, max, open, |id, read| {
        match read {
            Ok((session, snapshot))
                if sessions.snapshot_of(session) == Some(id)
                    && sessions.signer_of(session) == Some(snapshot.signer) =>
            {
                set.snapshots.push((id, snapshot));
            }
            Ok((session, _)) => set.uncommitted.push((id, session)),
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(error) => set.problems.push(problem(id, error.to_string())),
        }
        Ok(())
    })?;
    set.snapshots.sort_by_key(|(id, _)| *id);
    set.uncommitted.sort();
    read_records(repository, &mut set, records_as_they_are)?;
    let is_lost = |id: &SnapshotId| listed.binary_search(id).is_err() && !set.records.contains_key(id);
    if was_ahead && promised.iter().any(is_lost) {
        // What was asked for ahead may be of different moments: its record may have come, and the snapshot gone, after the
        // records were listed, and another that was put may be in neither.
        repository.storage().forget_expected();
        return read_set(repository, sessions, records_as_they_are);
    }
    // With a record it was dropped, and is not lost.
    for id in promised.into_iter().filter(|id| listed.binary_search(id).is_err()) {
        if set.records.contains_key(&id) {
            set.gone.push(id);
        } else {
            set.problems.push(problem(id, format!("object {} is missing", ObjectName::Snapshot(id))));
        }
    }
    // Across domains nobody replaces anything: who may write into one can't make another's go.
    let replaced: Vec<(SnapshotId, DomainId)> =
        set.snapshots.iter().filter_map(|(_, snapshot)| Some((snapshot.replaces?, snapshot.domain))).collect();
    for (id, snapshot) in std::mem::take(&mut set.snapshots) {
        let is_replaced = replaced.contains(&(id, snapshot.domain));
        let place = match (set.records.contains_key(&id), is_replaced) {
            (true, _) => &mut set.forgotten,
            (false, true) => &mut set.replaced,
            (false, false) => &mut set.snapshots,
        };
        place.push((id, snapshot));
    }
    for some in [&mut set.snapshots, &mut set.forgotten] {
        some.sort_by_key(|(id, snapshot)| (snapshot.time, snapshot.sequence, *id));
    }
    Ok(set)
}

/// Reads the records. One that is damaged is a problem and hides nothing: forgetting is the way to deletion.
fn read_records(repository: &Repository, set: &mut SnapshotSet, as_they_are: bool) -> Result<()> {
    let mut listed = Vec::new();
    repository.storage().list(ObjectFamily::Forgotten, &mut |name, _| {
        if let ObjectName::Forgotten(id) = name {
            listed.push(id);
        }
    })?;
    listed.sort();
    let _past_what_is_kept = as_they_are.then(|| repository.past_object_cache());
    let open = |id: SnapshotId, object: &[u8]| open_record(repository, id, object);
    let (of, max) = (ObjectName::Forgotten, limits::SMALL_OBJECT_BYTES);
    repository.read_kept_objects(&listed, of, max, open, |id, read| {
        match read {
            Ok(record) => drop(set.records.insert(id, record)),
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(error) => set.problems.push(Problem {
                path: ObjectName::Forgotten(id).to_string().into_bytes(),
                message: format!("{error}; the snapshot counts as not forgotten"),
            }),
        }
        Ok(())
    })?;
    Ok(())
}

/// Reads the record of a forgotten snapshot.
///
/// # Errors
/// `Missing`, `Damaged`, `Unsupported`, `Io`.
pub(crate) fn read_record(repository: &Repository, id: SnapshotId) -> Result<ForgottenRecord> {
    let name = ObjectName::Forgotten(id);
    open_record(repository, id, &repository.storage().read(name, None, limits::SMALL_OBJECT_BYTES)?)
}

fn open_record(repository: &Repository, id: SnapshotId, object: &[u8]) -> Result<ForgottenRecord> {
    let name = ObjectName::Forgotten(id);
    let record = format::decode_forgotten(object, repository.keys()).map_err(|error| object_error(name, error))?;
    if record.snapshot != id {
        return Err(EngineError::damaged(format!("object {name} belongs to another snapshot")).about(name));
    }
    Ok(record)
}

/// Puts a record unless there is one: from then on the snapshot is not listed.
///
/// # Errors
/// `Io`.
pub(crate) fn put_record(repository: &Repository, record: &ForgottenRecord) -> Result<Outcome> {
    let object = format::encode_forgotten(record, repository.keys());
    repository.storage().write_new(ObjectName::Forgotten(record.snapshot), &[&object])
}

fn problem(id: SnapshotId, message: String) -> Problem {
    Problem { path: ObjectName::Snapshot(id).to_string().into_bytes(), message }
}

/// Reads a snapshot from the storage, so that it is there, and says which session it belongs to.
///
/// # Errors
/// `Missing`, `Damaged`, `Unsupported`, `Io`.
pub(crate) fn read_snapshot(repository: &Repository, id: SnapshotId) -> Result<(SessionId, Snapshot)> {
    let object = repository.storage().read(ObjectName::Snapshot(id), None, limits::ENVELOPE_BYTES)?;
    open_snapshot(repository, id, &object)
}

/// As [`read_snapshot`], from what is kept of it, too: it says what the snapshot was, not that it is there.
///
/// # Errors
/// `Missing`, `Damaged`, `Unsupported`, `Io`.
pub(crate) fn read_lasting_snapshot(repository: &Repository, id: SnapshotId) -> Result<Snapshot> {
    let open = |object: &[u8]| open_snapshot(repository, id, object);
    let read = repository.read_kept_object(ObjectName::Snapshot(id), limits::ENVELOPE_BYTES, open);
    read.map(|(_, snapshot)| snapshot)
}

fn open_snapshot(repository: &Repository, id: SnapshotId, object: &[u8]) -> Result<(SessionId, Snapshot)> {
    let name = ObjectName::Snapshot(id);
    if hash(object) != *id.as_bytes() {
        return Err(EngineError::damaged(format!("object {name} does not have the content that its name says")));
    }
    repository.decode_signed(name, |keys| format::decode_snapshot(object, keys))
}
