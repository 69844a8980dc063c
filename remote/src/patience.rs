//! Trying again: exponential backoff with full jitter.
//!
//! Many clients whose requests failed at the same moment must not come back at the same moment: each waits a random
//! time between nothing and a bound that doubles ("Exponential Backoff and Jitter", AWS Architecture Blog, 2015).

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

/// How long requests are tried again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    first: Duration,
    total: Duration,
    attempts: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { first: FIRST, total: PATIENCE, attempts: ATTEMPTS }
    }
}

impl Patience {
    /// For the first request: a place that is not there should be told soon.
    pub(crate) fn brief() -> Self {
        Self { first: FIRST, total: Duration::from_secs(10), attempts: 4 }
    }

    /// One attempt.
    pub(crate) fn none() -> Self {
        Self { first: FIRST, total: Duration::ZERO, attempts: 1 }
    }

    /// For tests: as often, and at once.
    #[cfg(test)]
    pub(crate) fn hurried() -> Self {
        Self { first: Duration::from_millis(1), total: Duration::from_secs(10), attempts: 6 }
    }

    /// Makes attempts, told their number from 0 on, until one works, one fails for good, or patience ends.
    pub(crate) fn run<T>(&self, mut attempt: impl FnMut(u32) -> Result<T, Failed>) -> Result<T> {
        let mut waited = Duration::ZERO;
        let mut bound = self.first;
        for number in 0.. {
            let (error, told) = match attempt(number) {
                Ok(value) => return Ok(value),
                Err(Failed::ForGood(error)) => return Err(error),
                Err(Failed::Again(error, told)) => (error, told),
            };
            let wait = told.unwrap_or(Duration::ZERO).min(LARGEST) + jitter(bound);
            waited += wait;
            if number + 1 >= self.attempts || waited > self.total {
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
