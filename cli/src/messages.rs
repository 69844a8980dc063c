//! Every message of `--json`. One line each, told apart by `message_type`; `cli/JSON.md` explains the fields.
//!
//! Promise: fields, types and values may be added, never removed or given another meaning.

pub(crate) mod copy;
pub(crate) mod drill;
mod prune;
pub(crate) mod retain;

use serde::Serialize;

use engine::clock::Timestamp;
use engine::id::{SnapshotId, hex};
use engine::model::{Node, NodeKind, Signer, Snapshot};
use engine::monitor::ItemAction;

use crate::text;

mod stack;

pub(crate) use prune::PruneSummary;
pub(crate) use stack::{PartFields, ServiceFields, StackFields};

/// A path as JSON can carry it: text, and its bytes where the text can't say all.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct JsonPath {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
}

impl JsonPath {
    /// The path of these bytes.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(path) => Self { path: path.to_owned(), path_bytes: None },
            Err(_) => Self { path: String::from_utf8_lossy(bytes).into_owned(), path_bytes: Some(hex(bytes)) },
        }
    }
}

/// A message on standard output, but for `error`, `note` and `exit_error`, which go to standard error.
#[derive(Debug, Serialize)]
#[serde(tag = "message_type", rename_all = "snake_case")]
pub(crate) enum Message<'a> {
    /// Progress, a few times per second at most.
    Status {
        stage: &'a str,
        seconds_elapsed: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        seconds_remaining: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        percent_done: Option<f64>,
        items_done: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        total_items: Option<u64>,
        bytes_done: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        total_bytes: Option<u64>,
        error_count: u64,
        current_files: Vec<JsonPath>,
    },
    /// What became of an item, with `--verbose`.
    VerboseStatus { action: &'static str, item: JsonPath, size: u64 },
    /// An item that could not be handled.
    Error { item: JsonPath, message: &'a str },
    /// Something a person should know that is no problem.
    Note { message: &'a str },
    /// The end of a command that failed.
    ExitError {
        code: u8,
        message: String,
        causes: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// A repository was made.
    Initialized { id: String, repository: &'a str, cipher: &'static str, key: String, storage: &'a [String] },
    /// A snapshot.
    Snapshot(Box<SnapshotFields>),
    /// What `snapshot`, `restore`, `check`, `find`, `forget` or `prune` did in all.
    Summary(Summary),
    /// Something in a snapshot, from `ls`.
    Node(Box<NodeFields>),
    /// Something in a snapshot, from `find`.
    Match {
        snapshot: String,
        #[serde(flatten)]
        node: Box<NodeFields>,
    },
    /// A path that differs.
    Change {
        #[serde(flatten)]
        path: JsonPath,
        modifier: &'static str,
    },
    /// A finding of `check`.
    Finding { object: &'a str, message: &'a str, damage: bool, cost_count: u64, costs: Vec<Cost> },
    /// Sizes: of two snapshots' difference, or of the repository.
    Statistics(Statistics),
    /// A snapshot that took the place of another.
    Changed { old_snapshot_id: String, new_snapshot_id: String },
    /// What becomes of a snapshot, from `forget`.
    Forget {
        snapshot_id: String,
        time: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<&'a str>,
        action: &'static str,
        reasons: Vec<String>,
        dry_run: bool,
    },
    /// What became of a snapshot that was to come back.
    Undelete {
        snapshot_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        new_snapshot_id: Option<String>,
        action: &'static str,
    },
    /// What became of a snapshot that was to be copied.
    Copy(copy::CopyFields),
    /// What came of a drill.
    Drill(drill::DrillFields),
    /// How a stack is doing.
    StackStatus(drill::StatusFields),
    /// The locks of what snapshots need, from `retain`.
    Retain(retain::RetainFields),
    /// Something that `repair` did, or would do.
    Repair {
        action: &'static str,
        object: &'a str,
        message: &'a str,
        #[serde(flatten)]
        fields: RepairFields,
        dry_run: bool,
    },
    /// A key slot.
    Key {
        id: String,
        kind: &'static str,
        label: &'a str,
        created: String,
        current: bool,
        write_only: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        host: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        kdf: Option<KdfFields>,
    },
    /// One writer's work.
    Session(SessionFields<'a>),
    /// A session was revoked.
    SessionChange { action: &'static str, id: String },
    /// A key slot was added, removed or replaced.
    KeyChange { action: &'static str, id: String },
    /// What a rotation of the root secret did.
    KeyRotation { epoch: u32, id: Option<String>, removed: Vec<String> },
    /// A recovery code, shown this once.
    RecoveryCode { id: String, words: &'a str },
    /// The cache of a repository.
    Cache { repository_id: String, directory: JsonPath, bytes: u64, last_used: Option<String>, removed: bool },
    /// How fast one core is at something.
    BenchKernel { name: &'a str, material: &'a str, unit: &'static str, per_second: f64 },
    /// The data that a benchmark works on.
    BenchData {
        files: u64,
        directories: u64,
        others: u64,
        bytes: u64,
        sampled_bytes: u64,
        packed_bytes: u64,
        incompressible_bytes: u64,
    },
    /// What a step costs at least, and what it cost.
    BenchStep {
        name: &'a str,
        material: &'a str,
        cores: usize,
        bytes: u64,
        bound_seconds: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        share: Option<f64>,
        stages: Vec<StageFields>,
    },
    /// What became of a stack that was to be saved or restored.
    Stack(StackFields),
    /// A token for a client of `serve`, and the server's line.
    Token { token: &'a str, line: &'a str },
    /// The program.
    Version { version: &'static str, arch: &'static str, os: &'static str },
}

/// A part of a step.
#[derive(Debug, Serialize)]
pub(crate) struct StageFields {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) count: u64,
    pub(crate) core_seconds: f64,
}

/// Costs of Argon2id.
#[derive(Debug, Serialize)]
pub(crate) struct KdfFields {
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
}

/// A path of a snapshot that a finding costs.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) snapshot: String,
    #[serde(flatten)]
    pub(crate) path: JsonPath,
}

/// The fields of a summary depend on the command.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Summary {
    /// Of `snapshot`.
    Snapshot(SnapshotSummary),
    /// Of `restore`.
    Restore(RestoreSummary),
    /// Of `check`.
    Check(CheckSummary),
    /// Of `find`.
    Find { matches: u64, snapshots: u64 },
    /// Of `forget`.
    Forget(ForgetSummary),
    /// Of `prune`.
    Prune(PruneSummary),
    /// Of `retain`.
    Retain(retain::RetainSummary),
    /// Of `repair`.
    Repair(RepairSummary),
    /// Of `copy`.
    Copy(copy::CopySummary),
}

/// One writer's work, as far as it is known.
#[derive(Debug, Serialize)]
pub(crate) struct SessionFields<'a> {
    pub(crate) id: String,
    pub(crate) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) program_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alive: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<&'a str>,
}

/// What a snapshot stored. Names as restic's where the meaning is the same.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotSummary {
    pub(crate) dry_run: bool,
    pub(crate) snapshot_id: Option<String>,
    pub(crate) parent: Option<String>,
    #[serde(flatten)]
    pub(crate) counts: Counts,
    pub(crate) resumed_sessions: u64,
    pub(crate) total_duration: f64,
}

/// Counts of one snapshot.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Counts {
    files_new: u64,
    files_changed: u64,
    files_unmodified: u64,
    total_files_processed: u64,
    total_dirs_processed: u64,
    total_others_processed: u64,
    total_bytes_processed: u64,
    chunks_new: u64,
    data_added: u64,
    data_added_packed: u64,
    error_count: u64,
}

impl From<&engine::model::SnapshotStatistics> for Counts {
    fn from(statistics: &engine::model::SnapshotStatistics) -> Self {
        Self {
            files_new: statistics.files_new,
            files_changed: statistics.files_changed,
            files_unmodified: statistics.files_unchanged,
            total_files_processed: statistics.files,
            total_dirs_processed: statistics.directories,
            total_others_processed: statistics.others,
            total_bytes_processed: statistics.bytes,
            chunks_new: statistics.chunks_new,
            data_added: statistics.bytes_new,
            data_added_packed: statistics.bytes_added,
            error_count: statistics.problems,
        }
    }
}

/// What a restore did.
#[derive(Debug, Serialize)]
pub(crate) struct RestoreSummary {
    pub(crate) dry_run: bool,
    pub(crate) snapshot_id: String,
    pub(crate) files_restored: u64,
    pub(crate) files_skipped: u64,
    pub(crate) directories: u64,
    pub(crate) others: u64,
    pub(crate) files_deleted: u64,
    pub(crate) files_verified: u64,
    pub(crate) total_bytes: u64,
    pub(crate) bytes_written: u64,
    pub(crate) error_count: u64,
    pub(crate) total_duration: f64,
}

/// What a check saw.
#[derive(Debug, Serialize)]
pub(crate) struct CheckSummary {
    pub(crate) damaged: bool,
    pub(crate) num_errors: u64,
    pub(crate) num_leftovers: u64,
    pub(crate) open_sessions: u64,
    pub(crate) unfinished_prunes: u64,
    pub(crate) orphan_packs: u64,
    pub(crate) snapshots: u64,
    pub(crate) forgotten: u64,
    pub(crate) trees: u64,
    pub(crate) packs: u64,
    pub(crate) chunks: u64,
    pub(crate) packs_read: u64,
    pub(crate) bytes_read: u64,
    pub(crate) packs_unverified: u64,
    pub(crate) verified_since: Option<String>,
    pub(crate) heads: Vec<HeadFields>,
    pub(crate) total_duration: f64,
}

/// The last snapshot of a host.
#[derive(Debug, Serialize)]
pub(crate) struct HeadFields {
    pub(crate) host: String,
    pub(crate) sequence: u64,
    pub(crate) snapshot_id: String,
}

/// What was forgotten, and what was not.
#[derive(Debug, Serialize)]
pub(crate) struct ForgetSummary {
    pub(crate) dry_run: bool,
    pub(crate) snapshots_kept: u64,
    pub(crate) snapshots_forgotten: u64,
    pub(crate) snapshots_forgotten_before: u64,
    pub(crate) error_count: u64,
}

/// What a repair says of a pack or a snapshot.
#[derive(Debug, Default, Serialize)]
pub(crate) struct RepairFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chunks_saved: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chunks_elsewhere: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chunks_lost: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) new_snapshot_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lost_count: Option<u64>,
}

/// What a repair did. Counts that a kind of repair does not have are zero.
#[derive(Debug, Default, Serialize)]
pub(crate) struct RepairSummary {
    pub(crate) dry_run: bool,
    pub(crate) repaired: u64,
    pub(crate) repaired_before: u64,
    pub(crate) chunks_saved: u64,
    pub(crate) chunks_lost: u64,
    pub(crate) packs_read: u64,
    pub(crate) bytes_read: u64,
    pub(crate) snapshots_checked: u64,
    pub(crate) error_count: u64,
}

/// The fields of statistics depend on the command.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Statistics {
    /// Of `diff`.
    Diff {
        source_snapshot: String,
        target_snapshot: String,
        added: u64,
        removed: u64,
        changed: u64,
        metadata_changed: u64,
        bytes_added: u64,
        bytes_removed: u64,
    },
    /// Of `stats`.
    Stats {
        snapshots_count: u64,
        total_size: u64,
        total_file_count: u64,
        chunk_count: u64,
        chunk_bytes: u64,
        stored_bytes: u64,
        pack_count: u64,
        pack_bytes: u64,
        index_chunk_count: u64,
        index_bytes: u64,
        repository_bytes: u64,
    },
}

/// A snapshot as a list shows it.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotFields {
    id: String,
    short_id: String,
    time: String,
    hostname: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<String>,
    tags: Vec<String>,
    paths: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths_bytes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original: Option<String>,
    sequence: u64,
    program_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forgotten: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copied_from: Option<copy::CopiedFrom>,
    summary: Counts,
}

impl SnapshotFields {
    /// The fields of a snapshot.
    pub(crate) fn new(id: SnapshotId, snapshot: &Snapshot) -> Self {
        let lossy = snapshot.paths.iter().any(|path| std::str::from_utf8(path).is_err());
        Self {
            id: id.to_hex(),
            short_id: id.short(),
            time: text::rfc3339(snapshot.time),
            hostname: snapshot.host.clone(),
            username: snapshot.user.clone(),
            label: snapshot.label.clone(),
            stack: snapshot.stack.as_ref().map(|stack| stack.name.clone()),
            tags: snapshot.tags.clone(),
            paths: snapshot.paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect(),
            paths_bytes: lossy.then(|| snapshot.paths.iter().map(|path| hex(path)).collect()),
            parent: snapshot.parent.map(|id| id.to_hex()),
            original: snapshot.original.map(|id| id.to_hex()),
            sequence: snapshot.sequence,
            program_version: snapshot.program.clone(),
            started: snapshot.started.map(text::rfc3339),
            finished: snapshot.finished.map(text::rfc3339),
            client: match snapshot.signer {
                Signer::Full => None,
                Signer::Client(id) => Some(id.to_hex()),
            },
            forgotten: None,
            copied_from: snapshot.copied_from.map(copy::CopiedFrom::new),
            summary: Counts::from(&snapshot.statistics),
        }
    }

    /// The same of a snapshot that was forgotten at `time`.
    pub(crate) fn forgotten_at(self, time: Timestamp) -> Self {
        Self { forgotten: Some(text::rfc3339(time)), ..self }
    }
}

/// A node of a tree.
#[derive(Debug, Serialize)]
pub(crate) struct NodeFields {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    path: JsonPath,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    mode: u32,
    permissions: String,
    mtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    linktarget: Option<JsonPath>,
}

impl NodeFields {
    /// The fields of a node of `snapshot` at `path`.
    pub(crate) fn new(snapshot: &Snapshot, path: &[u8], node: &Node) -> Self {
        let metadata = &node.metadata;
        let name = |table: &engine::model::NameTable, id: u32| {
            table.get(&id).map(|name| String::from_utf8_lossy(name).into_owned())
        };
        Self {
            name: String::from_utf8_lossy(&node.name).into_owned(),
            kind: kind_name(node.kind),
            path: JsonPath::new(path),
            uid: metadata.uid,
            gid: metadata.gid,
            user: name(&snapshot.users, metadata.uid),
            group: name(&snapshot.groups, metadata.gid),
            size: (node.kind == NodeKind::File).then_some(node.size),
            mode: metadata.mode,
            permissions: text::mode(node.kind, metadata.mode),
            mtime: text::rfc3339(metadata.mtime),
            ctime: metadata.ctime.map(text::rfc3339),
            inode: metadata.inode,
            links: metadata.links,
            linktarget: (node.kind == NodeKind::Symlink).then(|| JsonPath::new(&node.target)),
        }
    }
}

/// Types as restic names them.
fn kind_name(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::File => "file",
        NodeKind::Directory => "dir",
        NodeKind::Symlink => "symlink",
        NodeKind::BlockDevice => "dev",
        NodeKind::CharDevice => "chardev",
        NodeKind::Fifo => "fifo",
        NodeKind::Socket => "socket",
    }
}

/// What became of an item, in a word.
pub(crate) fn action_name(action: ItemAction) -> &'static str {
    match action {
        ItemAction::New => "new",
        ItemAction::Changed => "changed",
        ItemAction::Unchanged => "unchanged",
        ItemAction::Deleted => "deleted",
    }
}

#[cfg(test)]
mod tests;
