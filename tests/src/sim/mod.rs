//! A storage that fails in every way it may, and what must hold all the same.
//!
//! `disk` is what a storage holds now and after a power cut; `world` shares it among clients, whose requests `port`
//! carries; `schedule` decides by a seed whose turn it is. `client` runs the engine's verbs in this process, `oracle` judges
//! what is left, knowing from `material` what was saved. `crash` tries every request of every verb, `seeds` draws runs of
//! several clients, `flips` damages every bit.

pub mod campaign;
pub mod client;
pub mod crash;
pub mod disk;
pub mod flips;
pub mod material;
pub mod oracle;
pub mod planted;
pub mod port;
pub mod random;
pub mod schedule;
pub mod seeds;
pub mod site;
pub mod world;
