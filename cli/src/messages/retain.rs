//! What `retain` says.

use serde::Serialize;

/// The locks of objects of one kind.
#[derive(Debug, Serialize)]
pub(crate) struct RetainFields {
    /// The directory that they are in.
    pub(crate) kind: &'static str,
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    pub(crate) objects_extended: u64,
    pub(crate) bytes_extended: u64,
    pub(crate) objects_unlocked: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_end: Option<String>,
    pub(crate) dry_run: bool,
}

/// What was locked.
#[derive(Debug, Default, Serialize)]
pub(crate) struct RetainSummary {
    pub(crate) dry_run: bool,
    pub(crate) snapshots: u64,
    pub(crate) until: String,
    pub(crate) mode: &'static str,
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    pub(crate) objects_extended: u64,
    pub(crate) bytes_extended: u64,
    pub(crate) objects_unlocked: u64,
    pub(crate) first_end: Option<String>,
    pub(crate) error_count: u64,
    pub(crate) total_duration: f64,
}
