//! Listing and choosing snapshots.

use crate::error::{EngineError, ErrorKind, Result};
use crate::id::SnapshotId;
use crate::model::Snapshot;
use crate::monitor::Problem;
use crate::repository::{Repository, SessionTable, read_snapshots};

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
}

impl SnapshotFilter {
    /// Whether a snapshot fits.
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        let host = self.hosts.is_empty() || self.hosts.contains(&snapshot.host);
        let tags = self.tags.iter().all(|tag| snapshot.tags.contains(tag));
        let label = self.labels.is_empty() || snapshot.label.as_ref().is_some_and(|label| self.labels.contains(label));
        let path = self.paths.is_empty() || self.paths.iter().any(|path| snapshot.paths.contains(path));
        host && tags && label && path
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

/// All snapshots that match, oldest first.
///
/// # Errors
/// `Io`.
pub fn list_snapshots(repository: &Repository, filter: &SnapshotFilter) -> Result<SnapshotList> {
    let sessions = SessionTable::load(repository)?;
    let mut set = read_snapshots(repository, &sessions)?;
    set.snapshots.retain(|(_, snapshot)| filter.matches(snapshot));
    let registers = sessions.damaged().iter().map(|(session, message)| Problem {
        path: format!("sessions/{session}/register").into_bytes(),
        message: message.clone(),
    });
    set.problems.extend(registers);
    Ok(SnapshotList { snapshots: set.snapshots, problems: set.problems })
}

/// The snapshot that `spec` names: the beginning of an id (at least four digits), `latest`, or `latest~N` for the
/// Nth before it. The filter narrows `latest`.
///
/// # Errors
/// `NotFound`, `Ambiguous`, `Invalid`, `Io`.
pub fn find_snapshot(repository: &Repository, spec: &str, filter: &SnapshotFilter) -> Result<(SnapshotId, Snapshot)> {
    let not_found = |why: String| EngineError::new(ErrorKind::NotFound, why);
    if let Some(rest) = spec.strip_prefix("latest") {
        let back = match rest.strip_prefix('~') {
            None if rest.is_empty() => 0,
            Some("") => 1,
            Some(number) => number.parse::<usize>().map_err(|_| invalid(spec))?,
            None => return Err(invalid(spec)),
        };
        let mut list = list_snapshots(repository, filter)?.snapshots;
        let count = list.len();
        return match count.checked_sub(back + 1) {
            Some(at) => Ok(list.swap_remove(at)),
            None if count == 0 => Err(not_found("no snapshot matches".into())),
            None => Err(not_found(format!("{spec}: only {count} snapshots match"))),
        };
    }
    if spec.len() < 4 || !spec.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(invalid(spec));
    }
    let sessions = SessionTable::load(repository)?;
    let set = read_snapshots(repository, &sessions)?;
    // A replaced snapshot is not listed, but whoever wrote its id down can still have it.
    let all = set.snapshots.into_iter().chain(set.replaced);
    let mut found: Vec<_> = all.filter(|(id, _)| id.to_hex().starts_with(spec)).collect();
    match (found.pop(), found.is_empty()) {
        (Some(snapshot), true) => Ok(snapshot),
        (Some(_), false) => {
            Err(EngineError::new(ErrorKind::Ambiguous, format!("snapshot {spec}: {} ids begin so", found.len() + 1)))
        }
        (None, _) => match set.problems.iter().find(|p| String::from_utf8_lossy(&p.path).contains(&format!("/{spec}")))
        {
            Some(problem) => Err(EngineError::damaged(problem.message.clone())),
            None => Err(not_found(format!("snapshot {spec} does not exist"))),
        },
    }
}

fn invalid(spec: &str) -> EngineError {
    EngineError::new(
        ErrorKind::Invalid,
        format!("{spec:?} names no snapshot: expected latest, latest~N or at least 4 digits of an id"),
    )
}
