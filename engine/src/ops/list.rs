//! Listing and choosing snapshots, forgotten ones too.

use crate::error::{EngineError, ErrorKind, Result};
use crate::format::ForgottenRecord;
use crate::id::SnapshotId;
use crate::model::Snapshot;
use crate::monitor::Problem;
use crate::repository::{Index, Repository, SessionTable, SnapshotSet, read_snapshot, read_snapshots};
use crate::storage::ObjectFamily;

/// Which snapshots; an empty list is no condition.
#[derive(Debug, Clone, Default)]
pub struct SnapshotFilter {
    /// One of these hosts.
    pub hosts: Vec<String>,
    /// All of these tags.
    pub tags: Vec<String>,
    /// One of these labels.
    pub labels: Vec<String>,
    /// One of these paths, absolute.
    pub paths: Vec<Vec<u8>>,
    /// Of one of these stacks.
    pub stacks: Vec<String>,
}

impl SnapshotFilter {
    /// Whether a snapshot fits.
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        let host = self.hosts.is_empty() || self.hosts.contains(&snapshot.host);
        let tags = self.tags.iter().all(|tag| snapshot.tags.contains(tag));
        let label = self.labels.is_empty() || snapshot.label.as_ref().is_some_and(|label| self.labels.contains(label));
        let path = self.paths.is_empty() || self.paths.iter().any(|path| snapshot.paths.contains(path));
        let of = snapshot.stack.as_ref();
        let stack = self.stacks.is_empty() || of.is_some_and(|stack| self.stacks.contains(&stack.name));
        host && tags && label && path && stack
    }
}

/// Snapshots, and what is wrong with others.
#[derive(Debug, Default)]
pub struct SnapshotList {
    /// Oldest first.
    pub snapshots: Vec<(SnapshotId, Snapshot)>,
    /// Those that can't be read.
    pub problems: Vec<Problem>,
}

/// Forgotten snapshots, and what is wrong with others.
#[derive(Debug, Default)]
pub struct ForgottenList {
    /// Oldest first, each with what says that it is forgotten.
    pub snapshots: Vec<(SnapshotId, Snapshot, ForgottenRecord)>,
    /// Snapshots and records that can't be read.
    pub problems: Vec<Problem>,
}

/// All snapshots that match, oldest first. Forgotten ones are not among them.
///
/// # Errors
/// `Io`.
pub fn list_snapshots(repository: &Repository, filter: &SnapshotFilter) -> Result<SnapshotList> {
    Ok(matching(load(repository)?, filter))
}

/// As [`list_snapshots`], of the snapshots that there were when the index was loaded.
///
/// # Errors
/// `Io`.
pub fn list_snapshots_of(repository: &Repository, index: &Index, filter: &SnapshotFilter) -> Result<SnapshotList> {
    Ok(matching(load_of(repository, index.sessions())?, filter))
}

fn matching(mut set: SnapshotSet, filter: &SnapshotFilter) -> SnapshotList {
    set.snapshots.retain(|(_, snapshot)| filter.matches(snapshot));
    SnapshotList { snapshots: set.snapshots, problems: set.problems }
}

/// All forgotten snapshots that match, oldest first.
///
/// # Errors
/// `Io`.
pub fn list_forgotten(repository: &Repository, filter: &SnapshotFilter) -> Result<ForgottenList> {
    let mut set = load(repository)?;
    let mut snapshots = Vec::new();
    for (id, snapshot) in set.forgotten {
        if let Some(record) = set.records.remove(&id).filter(|_| filter.matches(&snapshot)) {
            snapshots.push((id, snapshot, record));
        }
    }
    Ok(ForgottenList { snapshots, problems: set.problems })
}

/// All snapshots; what is wrong with registers is among the problems.
pub(super) fn load(repository: &Repository) -> Result<SnapshotSet> {
    load_of(repository, &SessionTable::load_before(repository, &[ObjectFamily::Snapshots, ObjectFamily::Forgotten])?)
}

fn load_of(repository: &Repository, sessions: &SessionTable) -> Result<SnapshotSet> {
    let mut set = read_snapshots(repository, sessions)?;
    let registers = sessions.damaged().iter().map(|(session, message)| Problem {
        path: format!("sessions/{session}/register").into_bytes(),
        message: message.clone(),
    });
    set.problems.extend(registers);
    Ok(set)
}

/// The snapshot that `spec` names: the beginning of an id (at least four digits), `latest`, or `latest~N` for the
/// Nth before it. The filter narrows `latest`. A forgotten or replaced one is found by its id only.
///
/// # Errors
/// `NotFound`, `Ambiguous`, `Invalid`, `Io`.
pub fn find_snapshot(repository: &Repository, spec: &str, filter: &SnapshotFilter) -> Result<(SnapshotId, Snapshot)> {
    // A name that can't be one costs no request.
    parse(spec)?;
    choose(&load(repository)?, spec, filter)
}

/// Reads a snapshot of which the whole id is known, and that it exists: one request, where [`find_snapshot`] looks at all.
///
/// # Errors
/// `Missing`, `Damaged`, `Unsupported`, `Io`.
pub fn read_known_snapshot(repository: &Repository, id: SnapshotId) -> Result<Snapshot> {
    read_snapshot(repository, id).map(|(_, snapshot)| snapshot)
}

/// As [`find_snapshot`], among the snapshots that there were when the index was loaded.
///
/// # Errors
/// As there.
pub fn find_snapshot_of(
    repository: &Repository,
    index: &Index,
    spec: &str,
    filter: &SnapshotFilter,
) -> Result<(SnapshotId, Snapshot)> {
    parse(spec)?;
    choose(&load_of(repository, index.sessions())?, spec, filter)
}

/// As [`find_snapshot`] for several names, which are looked for in one list; with an index, among the snapshots that there were
/// when it was loaded.
///
/// # Errors
/// As there.
pub fn find_snapshots<S: AsRef<str>>(
    repository: &Repository,
    index: Option<&Index>,
    specs: &[S],
    filter: &SnapshotFilter,
) -> Result<Vec<(SnapshotId, Snapshot)>> {
    specs.iter().try_for_each(|spec| parse(spec.as_ref()).map(drop))?;
    let set = match index {
        Some(index) => load_of(repository, index.sessions())?,
        None => load(repository)?,
    };
    specs.iter().map(|spec| choose(&set, spec.as_ref(), filter)).collect()
}

/// What a name asks for.
enum Spec<'a> {
    /// So many before the latest.
    Latest(usize),
    /// The beginning of an id.
    Prefix(&'a str),
}

fn parse(spec: &str) -> Result<Spec<'_>> {
    match spec.strip_prefix("latest") {
        Some("") => Ok(Spec::Latest(0)),
        Some("~") => Ok(Spec::Latest(1)),
        Some(rest) => {
            let back = rest.strip_prefix('~').and_then(|number| number.parse().ok());
            back.map(Spec::Latest).ok_or_else(|| invalid(spec))
        }
        None if spec.len() < 4 || !spec.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) => {
            Err(invalid(spec))
        }
        None => Ok(Spec::Prefix(spec)),
    }
}

/// [`find_snapshot`] among snapshots that were read already.
pub(super) fn choose(set: &SnapshotSet, spec: &str, filter: &SnapshotFilter) -> Result<(SnapshotId, Snapshot)> {
    let not_found = |why: String| EngineError::new(ErrorKind::NotFound, why);
    let prefix = match parse(spec)? {
        Spec::Latest(back) => {
            let fitting: Vec<_> = set.snapshots.iter().filter(|(_, snapshot)| filter.matches(snapshot)).collect();
            // Whoever may add to one domain can call a stack as another one is called.
            let mut domains: Vec<_> = fitting.iter().map(|(_, snapshot)| snapshot.domain).collect();
            domains.dedup();
            if !filter.stacks.is_empty()
                && filter.hosts.is_empty()
                && domains.iter().any(|domain| *domain != domains[0])
            {
                let text = format!(
                    "{spec}: snapshots of stack {} were made with several keys: name the host",
                    filter.stacks[0]
                );
                return Err(EngineError::new(ErrorKind::Ambiguous, text));
            }
            return match fitting.len().checked_sub(back.saturating_add(1)) {
                Some(at) => Ok(fitting[at].clone()),
                None if fitting.is_empty() => Err(not_found("no snapshot matches".into())),
                None => Err(not_found(format!("{spec}: only {} snapshots match", fitting.len()))),
            };
        }
        Spec::Prefix(prefix) => prefix,
    };
    // A replaced or forgotten snapshot is not listed, but whoever wrote its id down can still have it.
    let mut found: Vec<_> = set.existing().filter(|(id, _)| id.to_hex().starts_with(prefix)).collect();
    match (found.pop(), found.is_empty()) {
        (Some(snapshot), true) => Ok(snapshot.clone()),
        (Some(_), false) => {
            Err(EngineError::new(ErrorKind::Ambiguous, format!("snapshot {spec}: {} ids begin so", found.len() + 1)))
        }
        (None, _) => {
            let name = format!("snapshots/{prefix}");
            match set.problems.iter().find(|problem| problem.path.starts_with(name.as_bytes())) {
                Some(problem) => Err(EngineError::damaged(problem.message.clone())),
                None => Err(not_found(format!("snapshot {spec} does not exist"))),
            }
        }
    }
}

fn invalid(spec: &str) -> EngineError {
    EngineError::new(
        ErrorKind::Invalid,
        format!("{spec:?} names no snapshot: expected latest, latest~N or at least 4 digits of an id"),
    )
}
