//! The verbs: each a function over an opened repository. Holding an index proves that it is loaded.

mod bench;
mod browse;
mod cat;
mod check;
mod clients;
mod copy;
mod diff;
mod dump;
mod find;
mod forget;
mod init;
mod keys;
mod list;
mod mark;
mod pack;
mod prune;
mod repair;
mod restore;
mod retain;
mod rotate;
mod sessions;
mod snapshot;
mod stats;
mod tag;
mod undelete;

#[cfg(test)]
mod tests;

pub use bench::{BenchOptions, BenchReport, BenchTools, DataReport, KernelSpeed, Stage, StepReport, Unit, bench};
pub use browse::{ls, node_at};
pub use cat::{CatObject, CatOutput, cat};
pub use check::{CheckOptions, CheckReport, Finding, Head, ReadData, check};
pub use clients::{ClientInfo, EndedClient, NewClient, add_client, list_clients, slot_of_client};
pub use copy::{Copied, CopyOptions, CopyReport, MAX_COPY_TARGETS, TargetReport, check_copy_targets, copy};
pub use diff::{DiffKind, DiffReport, diff};
pub use dump::{dump_file, dump_tar};
pub use find::{FindOptions, find};
pub use forget::{
    Fate, ForgetPlan, ForgetReport, PlannedGroup, PlannedSnapshot, PolicyRequest, forget, plan_named, plan_policy,
};
pub use init::{CipherChoice, InitOptions, InitReport, init};
pub use keys::{KeySlotInfo, RemovedKey, add_key, change_password, list_keys, remove_key};
pub use list::{
    ForgottenList, SnapshotFilter, SnapshotList, find_snapshot, find_snapshot_of, find_snapshots, list_forgotten,
    list_snapshots, list_snapshots_of, read_known_snapshot,
};
pub use prune::{LockedObjects, MaxUnused, PruneOptions, PruneProposal, PruneReport, prune};
pub use repair::{
    IndexRepair, PackRepair, PacksRepair, RepairOptions, SnapshotRepair, SnapshotsRepair, repair_index, repair_packs,
    repair_snapshots,
};
pub use restore::{Overwrite, Ownership, RestoreOptions, RestoreReport, restore};
pub use retain::{FamilyLocks, RetainOptions, RetainReport, retain};
pub use rotate::{Rotation, RotationFailure, rotate};
pub use sessions::{SessionEnd, SessionInfo, SessionWriterInfo, list_sessions, revoke_sessions};
pub use snapshot::{
    AroundPaths, Describe, PartSize, PartSource, PartStream, SnapshotInput, SnapshotOptions, SnapshotPart,
    SnapshotReport, snapshot,
};
pub use stats::{Stats, stats};
pub use tag::{TagChange, tag};
pub use undelete::{Undeleted, undelete};
