//! What `copy` says.

use engine::model::CopyOrigin;
use serde::Serialize;

/// Which snapshot a copy is of.
#[derive(Debug, Serialize)]
pub(super) struct CopiedFrom {
    repository_id: String,
    snapshot_id: String,
}

impl CopiedFrom {
    pub(super) fn new(origin: CopyOrigin) -> Self {
        Self { repository_id: origin.repository.to_hex(), snapshot_id: origin.snapshot.to_hex() }
    }
}

/// What became of a snapshot that was to be copied.
#[derive(Debug, Serialize)]
pub(crate) struct CopyFields {
    /// Where it was to be copied to.
    pub(crate) repository: String,
    pub(crate) snapshot_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) new_snapshot_id: Option<String>,
    pub(crate) action: &'static str,
    pub(crate) dry_run: bool,
}

/// What a copy did.
#[derive(Debug, Default, Serialize)]
pub(crate) struct CopySummary {
    pub(crate) dry_run: bool,
    /// Repositories that were copied to.
    pub(crate) repositories: u64,
    /// Of these, the ones that failed.
    pub(crate) repositories_failed: u64,
    pub(crate) snapshots_copied: u64,
    pub(crate) snapshots_copied_before: u64,
    pub(crate) snapshots_damaged: u64,
    pub(crate) chunks_read: u64,
    pub(crate) bytes_read: u64,
    pub(crate) data_added_packed: u64,
    pub(crate) resumed_sessions: u64,
    pub(crate) error_count: u64,
    pub(crate) total_duration: f64,
}
