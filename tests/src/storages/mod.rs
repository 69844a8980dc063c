//! What every storage must hold, tried on each with the same code: `life` is conformance and all that one does with a
//! repository, `together` two writers and a prune at once, `faults` commands whose storage fails in the middle, `lost` the
//! simulator's clients on a storage that loses requests and answers. `./dev storages` runs all of it and writes
//! STORAGES.md.

pub mod faults;
pub mod life;
pub mod lost;
pub mod together;
