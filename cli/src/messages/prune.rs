//! What `prune` says.

use serde::Serialize;

/// What was removed, and what was meant to be.
#[derive(Debug, Default, Serialize)]
pub(crate) struct PruneSummary {
    pub(crate) dry_run: bool,
    pub(crate) finished: bool,
    pub(crate) snapshots_dropped: u64,
    pub(crate) packs_unused: u64,
    pub(crate) bytes_unused: u64,
    pub(crate) packs_orphaned: u64,
    pub(crate) bytes_orphaned: u64,
    pub(crate) packs_to_repack: u64,
    pub(crate) bytes_to_repack: u64,
    pub(crate) bytes_to_free: u64,
    pub(crate) bytes_kept: u64,
    pub(crate) bytes_left_unused: u64,
    pub(crate) bytes_copied: u64,
    pub(crate) packs_deleted: u64,
    pub(crate) bytes_freed: u64,
    pub(crate) packs_rescued: u64,
    pub(crate) objects_deferred: u64,
    pub(crate) objects_locked: u64,
    pub(crate) bytes_locked: u64,
    pub(crate) snapshots_locked: u64,
    pub(crate) locked_until: Option<String>,
    pub(crate) plans_resumed: u64,
    pub(crate) sessions_revoked: Vec<String>,
    pub(crate) sessions_waited_for: Vec<String>,
    pub(crate) error_count: u64,
    pub(crate) total_duration: f64,
}
