//! Where objects are kept: named, immutable byte strings, and a few things to do with them.
//!
//! A storage never overwrites. It knows nothing of what is in the objects; plaintext never gets here.

#[cfg(any(test, feature = "conformance"))]
mod conformance;
mod local;
mod lock;
mod memory;
mod name;
mod spooled;

#[cfg(any(test, feature = "conformance"))]
pub use conformance::check_conformance;
pub use local::LocalStorage;
pub use lock::{Lock, LockMode};
pub use memory::MemoryStorage;
pub use name::{ObjectFamily, ObjectName};
pub use spooled::SpooledStorage;

use std::ops::Range;

use crate::clock::Timestamp;
use crate::error::{EngineError, ErrorKind, Result};

/// What a storage can promise beyond its methods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Of several writers of one name, exactly one is told that it was first.
    pub put_if_absent: bool,
    /// The directory of this machine that it is in: a snapshot leaves it out.
    pub local_directory: Option<std::path::PathBuf>,
    /// It shows an earlier state: nothing is written, and what this machine knows of the present does not count for it.
    pub is_past: bool,
    /// It can keep objects from everybody until a time: [`Storage::lock`] and [`Storage::retain`] do something.
    pub locks: bool,
}

impl Capabilities {
    /// Whether each request may take a round trip: it is in no directory of this machine.
    pub fn is_far(&self) -> bool {
        self.local_directory.is_none()
    }
}

/// What became of a request to write an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is there now, durably.
    Written,
    /// One of that name was there before; it was not touched.
    Existed,
}

/// A place for objects. Every method may be called from several threads and processes at once.
pub trait Storage: Send + Sync {
    /// Calls `each` with name and length in bytes of every object of a family, in no particular order.
    ///
    /// # Errors
    /// `Io` if the storage can't be listed.
    fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()>;

    /// Reads an object or a range of it; at most `max` bytes.
    ///
    /// # Errors
    /// `Missing` if it isn't there; `Damaged` if it is shorter than the range or longer than `max`; `Io`.
    fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>>;

    /// As [`Self::read`], for what nobody reads again soon: it need not be kept in memory.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn read_once(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        self.read(name, range, max)
    }

    /// Writes an object of `parts`, one after the other, unless there is one of that name. It is durable when
    /// this returns.
    ///
    /// # Errors
    /// `Io`; whether the object is there is not known then.
    fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome>;

    /// As [`Self::write_new`], of a name that nobody else writes, or that whoever writes it has looked for: without
    /// `put_if_absent` it need not be looked for (again).
    ///
    /// # Errors
    /// As [`Self::write_new`].
    fn write_own(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        self.write_new(name, parts)
    }

    /// As [`Self::write_own`], of the bytes from `start` on, with the buffer lent: who sends it need not copy it. It comes back, or
    /// another one does, with whatever is in it then.
    ///
    /// # Errors
    /// As [`Self::write_new`].
    fn write_lent(&self, name: ObjectName, buffer: Vec<u8>, start: usize) -> (Result<Outcome>, Vec<u8>) {
        (self.write_new(name, &[buffer.get(start..).unwrap_or_default()]), buffer)
    }

    /// As [`Self::write_new`]; if the object is there now because of that, `leftover` is removed, or that is at least tried.
    ///
    /// # Errors
    /// As [`Self::write_new`].
    fn write_and_tidy(&self, name: ObjectName, parts: &[&[u8]], leftover: ObjectName) -> Result<Outcome> {
        let outcome = self.write_new(name, parts)?;
        if outcome == Outcome::Written {
            // Whoever finds it can tell that it means nothing any more.
            let _ = self.remove(leftover);
        }
        Ok(outcome)
    }

    /// Removes an object. One that isn't there is removed already.
    ///
    /// # Errors
    /// `Locked` if it is there, and stays until its time is over; `Io`.
    fn remove(&self, name: ObjectName) -> Result<()>;

    /// Returns when an object that was seen is sure to survive a power cut. Whoever put it may have died just before
    /// that. One that isn't there is none of its concern.
    ///
    /// # Errors
    /// `Io`.
    fn persist(&self, name: ObjectName) -> Result<()>;

    /// Removes what interrupted writers left of objects that never came to be, if it was last touched before a time. A
    /// writer that is so slow fails. How many there were.
    ///
    /// # Errors
    /// `Io`.
    fn remove_unfinished(&self, _before: Timestamp) -> Result<u64> {
        Ok(0)
    }

    /// Until when an object can't be removed; nothing if it can be now, or the storage does not say.
    ///
    /// # Errors
    /// `Missing` if it isn't there; `Unsupported` if nothing is ever locked here; `Io`.
    fn lock(&self, name: ObjectName) -> Result<Option<Lock>> {
        Err(locks_nothing(name))
    }

    /// Locks an object. Nobody may be able to make a lock end sooner by this: whoever calls it has asked for the present one.
    ///
    /// # Errors
    /// `Missing` if it isn't there; `Unsupported` if nothing can be locked here; `Locked` if the present lock is more; `Io`.
    fn retain(&self, name: ObjectName, _lock: &Lock) -> Result<()> {
        Err(locks_nothing(name))
    }

    /// Says what will be asked for soon, once each: lists of families, and whole objects that do not change under their
    /// names. A storage that is far away may ask for all of it at once, now; each answer is of a moment after this.
    fn expect(&self, _lists: &[ObjectFamily], _objects: &[ObjectName]) {}

    /// As [`Self::expect`], of lists and of all the objects that they show: these may be asked for as soon as their list is here.
    fn expect_whole(&self, _lists: &[ObjectFamily]) {}

    /// As [`Self::expect`], of ranges of objects that do not change, each to be asked for by [`Self::read`] just as it is given
    /// here. How much that is together is for whoever says so to bound.
    fn expect_ranges(&self, _ranges: &[(ObjectName, Range<u64>)]) {}

    /// Whether a list was expected and not asked for yet, and its answer is here or on its way.
    fn is_expected(&self, _list: ObjectFamily) -> bool {
        false
    }

    /// What was expected and not asked for is not to be handed out any more: what is asked for from now on is of a later moment.
    fn forget_expected(&self) {}

    /// What it promises.
    fn capabilities(&self) -> Capabilities;
}

fn locks_nothing(name: ObjectName) -> EngineError {
    EngineError::new(ErrorKind::Unsupported, format!("object {name} can't be locked: this storage has no object lock"))
}
