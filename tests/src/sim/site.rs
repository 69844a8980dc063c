//! What machines work on: the simulated world, or a real storage that loses requests (`storages::lost`).

use std::sync::Arc;

use engine::storage::{ObjectName, Storage};

use super::world::Client;

/// A storage that several clients share, and the time there.
pub trait Site: Send + Sync {
    /// The way of one client to it.
    fn open(self: Arc<Self>, client: Client) -> Arc<dyn Storage>;

    /// Seconds since 1970.
    fn now(&self) -> i64;

    /// Objects that a power cut left torn.
    fn torn(&self) -> Vec<ObjectName>;

    /// Puts a reserve of prune that is a few bytes long, so that no prune writes its own.
    fn put_reserve(&self);
}
