//! Stacks: what belongs to one is declared in a manifest, saved as one snapshot, and brought back as one.
//!
//! It knows processes, users and YAML, which the engine does not; it runs declared commands and copies declared paths,
//! and knows no database by name. [`load`] reads a manifest, [`stack_snapshot`] and [`stack_restore`] do the work.

pub mod account;
pub mod check;
pub mod drill;
pub mod hook;
pub mod init;
pub mod manifest;
mod pause;
mod placed;
pub mod restore;
pub mod secrets;
pub mod snapshot;
pub mod status;
pub mod templates;

pub use drill::{DrillOptions, DrillReport, drill};
pub use hook::{HookCommand, HookEnd, HookInput, HookOutput, Surroundings, run_hook};
pub use manifest::{LoadError, Manifest, Mistake, Stack, find, load};
pub use restore::{StackRestoreOptions, StackRestoreReport, stack_restore};
pub use snapshot::{StackSnapshotOptions, StackSnapshotReport, stack_snapshot};
pub use status::{Health, StackStatus, StatusOptions, status};
