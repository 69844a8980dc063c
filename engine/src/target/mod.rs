//! What a restore writes: directories, files and their metadata, below an open directory handle.
//!
//! Trees can be hostile, and so can other processes in the same place: every operation takes one name, relative to a
//! handle, and never goes through a symbolic link. Whatever is swapped in meanwhile, nothing outside the target is
//! read, written or removed.

mod birth;
mod directory;
mod file;
mod metadata;
mod owner;
mod readback;
mod remove;

pub use directory::{Target, TargetDir};
pub use file::TargetFile;
pub use owner::{OwnerMap, OwnerMode};

#[cfg(test)]
mod tests;
