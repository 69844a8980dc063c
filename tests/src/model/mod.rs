//! A model of sessions and prune, and an explorer that tries every order of its steps.
//!
//! What it models is format-spec/PROTOCOL.md, step by step; `rules` names everything that the protocol asks for, so
//! that each rule can be broken and the explorer must find what breaks with it. Each operation on the storage is one
//! step of one actor, and any actor may stop for ever or come back late at any step, since the explorer also tries
//! never to go on with it. What the model can't show: storages whose lists are stale, damaged objects, and more actors
//! than there are slots.

mod actors;
mod explorer;
mod prune;
mod rules;
mod scenarios;
mod state;
mod writer;

pub use explorer::{Explored, Stopping, Violation, explore, wander};
pub use rules::{Adoption, Rules, Setup};
pub use scenarios::{Scenario, broken, holding};
pub use state::Model;
