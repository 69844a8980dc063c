//! What a snapshot says about itself. Spec chapter 10.

use std::collections::BTreeMap;

use super::{Content, Signer};
use crate::clock::Timestamp;
use crate::id::{DomainId, RepositoryId, SnapshotId};
use crate::monitor::Problem;

/// Numeric ids and the names they had where the snapshot was taken.
pub type NameTable = BTreeMap<u32, Vec<u8>>;

/// What one snapshot found and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnapshotStatistics {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Everything else.
    pub others: u64,
    /// Sizes of all files together, in bytes.
    pub bytes: u64,
    /// Files that the parent did not have.
    pub files_new: u64,
    /// Files that the parent had otherwise.
    pub files_changed: u64,
    /// Files taken over from the parent.
    pub files_unchanged: u64,
    /// Chunks that the repository did not have.
    pub chunks_new: u64,
    /// Their plaintext bytes.
    pub bytes_new: u64,
    /// Bytes that the storage grew by.
    pub bytes_added: u64,
    /// Items that could not be read.
    pub problems: u64,
}

/// A snapshot, as its object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The time it stands for.
    pub time: Timestamp,
    /// The machine it was taken on.
    pub host: String,
    /// The deduplication domain of its chunks. Of the object around it, as the next.
    pub domain: DomainId,
    /// Who made it.
    pub signer: Signer,
    /// What was asked for, absolute paths.
    pub paths: Vec<Vec<u8>>,
    /// The root directory.
    pub root: Content,
    /// Tags, sorted, each once.
    pub tags: Vec<String>,
    /// One name for a series of snapshots.
    pub label: Option<String>,
    /// The snapshot that it was compared with.
    pub parent: Option<SnapshotId>,
    /// The one before it on its host, so that a hidden one shows.
    pub previous: Option<SnapshotId>,
    /// Counts up on its host, from 1.
    pub sequence: u64,
    /// What was found and stored.
    pub statistics: SnapshotStatistics,
    /// The first of the problems; `statistics.problems` counts all.
    pub problems: Vec<Problem>,
    /// Program and version that wrote it.
    pub program: String,
    /// Names of users.
    pub users: NameTable,
    /// Names of groups.
    pub groups: NameTable,
    /// The snapshot that it takes the place of.
    pub replaces: Option<SnapshotId>,
    /// The first snapshot of such a chain.
    pub original: Option<SnapshotId>,
    /// Who ran it.
    pub user: Option<String>,
    /// When the work began.
    pub started: Option<Timestamp>,
    /// When the work ended.
    pub finished: Option<Timestamp>,
    /// The stack that it is of.
    pub stack: Option<StackRecord>,
    /// What it is a copy of.
    pub copied_from: Option<CopyOrigin>,
}

impl Snapshot {
    /// One of nothing, with no number yet.
    pub fn empty(domain: DomainId, signer: Signer) -> Self {
        Self {
            time: Timestamp::default(),
            host: String::new(),
            domain,
            signer,
            paths: Vec::new(),
            root: Content::Inline(Vec::new()),
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
            stack: None,
            copied_from: None,
        }
    }
}

/// What a snapshot of a stack says about the stack. A stack is known by its name, on whatever machine it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StackRecord {
    /// The stack's name.
    pub name: String,
    /// Its manifest, JSON.
    pub manifest: String,
    /// What the snapshot is made of, in the order of its paths.
    pub parts: Vec<StackPart>,
    /// What was noticed about its services when it was taken.
    pub facts: Vec<StackFact>,
}

/// A part of a stack's snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackPart {
    /// Where it is in the snapshot, absolute.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: StackPartKind,
    /// Sizes of all its files together, in bytes.
    pub bytes: u64,
}

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StackPartKind {
    /// Files.
    Persist,
    /// What a command printed.
    Dump,
    /// Files that were sealed to another recipient.
    Secrets,
}

impl StackPartKind {
    /// The number in a snapshot.
    pub fn code(self) -> u64 {
        match self {
            Self::Persist => 1,
            Self::Dump => 2,
            Self::Secrets => 3,
        }
    }

    /// The kind with this number.
    pub fn from_code(code: u64) -> Option<Self> {
        [Self::Persist, Self::Dump, Self::Secrets].into_iter().find(|kind| kind.code() == code)
    }
}

/// Something that was noticed about a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackFact {
    /// The service.
    pub service: String,
    /// What it is about: `image`, `verify`, `engine`.
    pub what: String,
    /// The answer.
    pub value: String,
}

/// The snapshot that copies are of: the first one, also of a copy of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CopyOrigin {
    /// The repository that it was taken in.
    pub repository: RepositoryId,
    /// Its id there.
    pub snapshot: SnapshotId,
}
