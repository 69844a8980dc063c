//! Trying again: exponential backoff with full jitter.
//!
//! Many clients whose requests failed at the same moment must not come back at the same moment: each waits a random
//! time between nothing and a bound that doubles ("Exponential Backoff and Jitter", AWS Architecture Blog, 2015).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::{EngineError, Result};

/// The first bound of a wait.
const FIRST: Duration = Duration::from_millis(200);
/// The largest bound of a wait.
const LARGEST: Duration = Duration::from_secs(20);
/// How long a request waits between its attempts, all waits together, before its error is told. What attempts take does not
/// count: one that failed after minutes on a slow line deserves another.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often at most.
const ATTEMPTS: u32 = 12;

/// Why an attempt failed, and whether another one makes sense.
#[derive(Debug)]
pub(crate) enum Failed {
    /// It may work a little later; not before the given time has passed, if the other side said one.
    Again(EngineError, Option<Duration>),
    /// It will not work.
    ForGood(EngineError),
}

/// How long requests are tried again. Clones are of one place: when one request was given up, others are tried once, until
/// the place answers; or else a command with many items would wait for a server that is gone at each of them.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    first: Duration,
    total: Duration,
    attempts: u32,
    gave_up: Arc<AtomicBool>,
}

impl Default for Patience {
    fn default() -> Self {
        Self::of(FIRST, PATIENCE, ATTEMPTS)
    }
}

impl Patience {
    fn of(first: Duration, total: Duration, attempts: u32) -> Self {
        Self { first, total, attempts, gave_up: Arc::default() }
    }

    /// Until all waits together have taken so long, however often that is; one attempt if it is nothing.
    pub(crate) fn of_seconds(seconds: u64) -> Self {
        let attempts = if seconds == 0 { 1 } else { u32::MAX };
        Self::of(FIRST, Duration::from_secs(seconds), attempts)
    }

    /// The same for the first request: a place that is not there should be told soon.
    pub(crate) fn briefly(&self) -> Self {
        Self::of(FIRST, self.total.min(Duration::from_secs(10)), self.attempts.min(4))
    }

    /// One attempt.
    pub(crate) fn none() -> Self {
        Self::of(FIRST, Duration::ZERO, 1)
    }

    /// For tests: as often, and at once.
    #[cfg(test)]
    pub(crate) fn hurried() -> Self {
        Self::of(Duration::from_millis(1), Duration::from_secs(10), 6)
    }

    /// Makes attempts, told their number from 0 on, until one works, one fails for good, or patience ends.
    pub(crate) fn run<T>(&self, mut attempt: impl FnMut(u32) -> Result<T, Failed>) -> Result<T> {
        let mut waited = Duration::ZERO;
        let mut bound = self.first;
        for number in 0.. {
            let (error, told) = match attempt(number) {
                Ok(value) => {
                    self.gave_up.store(false, Ordering::Relaxed);
                    return Ok(value);
                }
                Err(Failed::ForGood(error)) => return Err(error),
                Err(Failed::Again(error, told)) => (error, told),
            };
            let wait = told.unwrap_or(Duration::ZERO).min(LARGEST) + jitter(bound);
            waited += wait;
            let is_over = number + 1 >= self.attempts || waited > self.total;
            if is_over || self.gave_up.load(Ordering::Relaxed) {
                self.gave_up.store(true, Ordering::Relaxed);
                return Err(if number == 0 { error } else { error.during(format!("after {} attempts", number + 1)) });
            }
            std::thread::sleep(wait);
            bound = (bound * 2).min(LARGEST);
        }
        unreachable!("the loop has no end")
    }
}

/// A random part of `bound`.
fn jitter(bound: Duration) -> Duration {
    let mut bytes = [0; 4];
    // Without randomness all wait as long as they may: slower, and no more at once than before.
    let part = getrandom::fill(&mut bytes).map_or(1.0, |()| f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX));
    bound.mul_f64(part)
}

#[cfg(test)]
mod tests {
    use engine::ErrorKind;

    use super::*;

    fn again() -> Failed {
        Failed::Again(EngineError::new(ErrorKind::Io, "busy"), None)
    }

    #[test]
    fn it_ends_with_the_first_success() {
        let mut count = 0;
        let result = Patience::hurried().run(|number| {
            count += 1;
            if number < 3 { Err(again()) } else { Ok(number) }
        });
        assert_eq!((result.expect("success"), count), (3, 4));
    }

    #[test]
    fn it_ends_and_says_how_often_it_tried() {
        let error = Patience::hurried().run::<()>(|_| Err(again())).expect_err("no patience left");
        assert_eq!(error.to_string(), "after 6 attempts: busy");
    }

    /// Bug: a restore waited for a server that was gone at each of its files. Cause: patience was each request's own. Fix:
    /// when one was given up, others are tried once, until there is an answer.
    #[test]
    fn a_place_that_was_given_up_is_not_waited_for_at_each_request() {
        let patience = Patience::hurried();
        let attempts = |works: bool| {
            let mut count = 0;
            let result = patience.clone().run(|_| {
                count += 1;
                if works { Ok(()) } else { Err(again()) }
            });
            (result.is_ok(), count)
        };
        assert_eq!(attempts(false), (false, 6));
        assert_eq!(attempts(false), (false, 1));
        assert_eq!(attempts(true), (true, 1));
        assert_eq!(attempts(false), (false, 6), "it is there again");
    }

    #[test]
    fn nothing_is_waited_for_without_time() {
        let mut count = 0;
        let result = Patience::of_seconds(0).run::<()>(|_| {
            count += 1;
            Err(again())
        });
        assert_eq!((result.expect_err("no patience").to_string(), count), ("busy".to_owned(), 1));
        assert_eq!(Patience::of_seconds(3).briefly().total, Duration::from_secs(3));
        assert_eq!(Patience::default().briefly().total, Duration::from_secs(10));
    }

    #[test]
    fn what_fails_for_good_is_not_tried_again() {
        let mut count = 0;
        let result = Patience::hurried().run::<()>(|_| {
            count += 1;
            Err(Failed::ForGood(EngineError::new(ErrorKind::Io, "denied")))
        });
        assert_eq!((result.expect_err("denied").to_string(), count), ("denied".to_owned(), 1));
    }
}
