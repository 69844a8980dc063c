//! What a snapshot reads: a walk over named paths, and the files it finds.
//!
//! A walk goes below directory handles and never through a symbolic link, except above the paths that a person named.
//! Nothing in the file system stops it: what can't be read is a problem, what vanished a note.

mod entry;
mod exclude;
mod frame;
mod ignore_file;
mod listing;
mod paths;
mod scout;
mod walk;

pub use entry::{Entry, SourceFile};
pub use exclude::{ExcludeOptions, ExcludeRules};
pub use paths::normalize;
pub use scout::{EndOfScouts, Scout};
pub use walk::{WalkEvent, Walker};

#[cfg(test)]
mod tests;
