//! Which lock an object has to get: pure.

use crate::clock::Timestamp;
use crate::storage::{Lock, LockMode};

/// The least that a lock has to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) until: Timestamp,
    /// What may be lacking of that.
    pub(super) slack_seconds: i64,
    pub(super) mode: LockMode,
    pub(super) now: Timestamp,
}

impl Wanted {
    /// The lock that takes the place of the present one; nothing if that is enough. It never ends sooner, and one that
    /// nobody may end stays one.
    pub(super) fn beyond(&self, present: Option<Lock>) -> Option<Lock> {
        let wanted = Lock { until: self.until, mode: self.mode };
        let Some(present) = present.filter(|lock| lock.until > self.now) else { return Some(wanted) };
        let least = self.until.seconds.saturating_sub(self.slack_seconds.max(0));
        let is_enough = present.until.seconds >= least && present.mode >= self.mode;
        let longer = Lock { until: present.until.max(self.until), mode: present.mode.max(self.mode) };
        (!is_enough).then_some(longer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted = Wanted { until: at(1000), slack_seconds: 100, mode: LockMode::Governance, now: at(50) };

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::new(seconds, 0)
    }

    fn lock(until: i64, mode: LockMode) -> Option<Lock> {
        Some(Lock { until: at(until), mode })
    }

    #[test]
    fn a_lock_is_extended_when_it_lacks_more_than_the_slack() {
        use LockMode::Governance as G;
        for (present, expected) in [
            (None, lock(1000, G)),
            (lock(50, G), lock(1000, G)),
            (lock(51, G), lock(1000, G)),
            (lock(899, G), lock(1000, G)),
            (lock(900, G), None),
            (lock(1000, G), None),
            (lock(5000, G), None),
        ] {
            assert_eq!(WANTED.beyond(present), expected, "{present:?}");
        }
        assert_eq!(Wanted { slack_seconds: 0, ..WANTED }.beyond(lock(999, G)), lock(1000, G));
        assert_eq!(Wanted { slack_seconds: i64::MIN, ..WANTED }.beyond(lock(999, G)), lock(1000, G));
    }

    #[test]
    fn no_lock_ever_becomes_less() {
        use LockMode::{Compliance as C, Governance as G};
        let strict = Wanted { mode: C, ..WANTED };
        // More of the one is no reason for less of the other.
        assert_eq!(strict.beyond(lock(5000, G)), lock(5000, C));
        assert_eq!(strict.beyond(lock(100, G)), lock(1000, C));
        assert_eq!(strict.beyond(lock(900, C)), None);
        assert_eq!(WANTED.beyond(lock(100, C)), lock(1000, C));
        assert_eq!(WANTED.beyond(lock(950, C)), None);
        // One that has ended is none.
        assert_eq!(WANTED.beyond(lock(50, C)), lock(1000, G));
    }
}
