//! Messages about stacks.

use serde::Serialize;

use super::JsonPath;

/// What became of a stack.
#[derive(Debug, Default, Serialize)]
pub(crate) struct StackFields {
    pub(crate) stack: String,
    /// `saved`, `failed`, `restored`, `listed`, `good`, `bad`.
    pub(crate) action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) parts: Vec<PartFields>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) services: Vec<ServiceFields>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) missing_secrets: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshots: Option<u64>,
    pub(crate) total_bytes: u64,
    pub(crate) data_added_packed: u64,
    pub(crate) error_count: u64,
    pub(crate) dry_run: bool,
}

/// A part of a stack's snapshot.
#[derive(Debug, Serialize)]
pub(crate) struct PartFields {
    #[serde(flatten)]
    pub(crate) path: JsonPath,
    pub(crate) kind: &'static str,
    pub(crate) bytes: u64,
}

/// A service that was restored, or not.
#[derive(Debug, Serialize)]
pub(crate) struct ServiceFields {
    pub(crate) service: String,
    pub(crate) bytes: u64,
    pub(crate) restored: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verified: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recorded: Option<String>,
}
