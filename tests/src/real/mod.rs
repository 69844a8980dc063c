//! The real program on a real file system, and what systems do to programs: they kill them, suspend them, have no room
//! left, fail at a read or a write, and set clocks wrong.
//!
//! A *place* is a repository, some sources that change, and a copy of each source as it was when it was saved. What must
//! hold whatever happened is in `place.rs`; it is judged by `diff`, not by the program.

pub mod clock;
pub mod disk;
pub mod kills;
pub mod place;
pub mod soak;
pub mod suspended;

pub use place::Place;
