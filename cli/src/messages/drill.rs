//! What `drill` and `status` say.

use serde::Serialize;

/// What came of a drill.
#[derive(Debug, Serialize)]
pub(crate) struct DrillFields {
    pub(crate) stack: String,
    pub(crate) snapshot_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proof_id: Option<String>,
    pub(crate) good: bool,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) services: Vec<ProvenFields>,
    pub(crate) error_count: u64,
    pub(crate) duration: f64,
}

/// How far a service was tried.
#[derive(Debug, Serialize)]
pub(crate) struct ProvenFields {
    pub(crate) service: String,
    pub(crate) state: &'static str,
}

/// How a stack is doing.
#[derive(Debug, Default, Serialize)]
pub(crate) struct StatusFields {
    pub(crate) stack: String,
    pub(crate) state: &'static str,
    pub(crate) reasons: Vec<String>,
    pub(crate) snapshots: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) age_seconds: Option<u64>,
    pub(crate) max_age_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drilled: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proved: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proved_snapshot_id: Option<String>,
    pub(crate) bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_before: Option<u64>,
    pub(crate) data_added_packed: u64,
    pub(crate) error_count: u64,
}
