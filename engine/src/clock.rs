//! Time as the engine sees it: handed in, never asked for.

/// A point in time, as the format stores it: seconds since 1970-01-01 UTC and nanoseconds in 0..10⁹.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 UTC, negative before.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// A point in time; nanoseconds beyond a second are cut to the last one.
    pub const fn new(seconds: i64, nanoseconds: u32) -> Self {
        let nanoseconds = if nanoseconds > 999_999_999 { 999_999_999 } else { nanoseconds };
        Self { seconds, nanoseconds }
    }
}

/// Tells the time. The command line gives the system's; tests give one of their own.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Measures how long something takes. Only `bench` asks; what it measures decides nothing but what it reports.
pub trait Stopwatch: Send + Sync {
    /// Nanoseconds since a moment that stays the same; never less than before.
    fn nanoseconds(&self) -> u64;
}

/// A clock that always says the same, for tests and for `--time`.
#[derive(Debug, Clone, Copy)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}
