//! A limit on bytes a second, shared by all who send or receive.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much is asked for at once: small enough that a slow line stays even.
const PORTION: usize = 16 << 10;

/// When the next byte may pass; nothing if there is no limit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Throttle(Option<Arc<Limit>>);

#[derive(Debug)]
struct Limit {
    bytes_per_second: f64,
    free: Mutex<Instant>,
}

impl Throttle {
    /// A limit, or none.
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        let limit =
            |rate: u64| Arc::new(Limit { bytes_per_second: rate.max(1) as f64, free: Mutex::new(Instant::now()) });
        Self(bytes_per_second.map(limit))
    }

    /// Returns when `bytes` more may have passed. Those who wait do so one after the other.
    pub(crate) fn pass(&self, bytes: usize) {
        std::thread::sleep(self.reserve(bytes));
    }

    /// How long to wait until `bytes` more may have passed, for those who wait in their own way.
    pub(crate) fn reserve(&self, bytes: usize) -> Duration {
        let Some(limit) = &self.0 else { return Duration::ZERO };
        let mut free = limit.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free = (*free).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / limit.bytes_per_second);
        free.saturating_duration_since(Instant::now())
    }

    /// `reader`, no faster than the limit.
    pub(crate) fn reader<R: Read>(&self, reader: R) -> Throttled<R> {
        Throttled { reader, throttle: self.clone() }
    }
}

/// A reader that is held back.
pub(crate) struct Throttled<R> {
    reader: R,
    throttle: Throttle,
}

impl<R: Read> Read for Throttled<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = if self.throttle.0.is_some() { buffer.len().min(PORTION) } else { buffer.len() };
        let count = self.reader.read(&mut buffer[..most])?;
        self.throttle.pass(count);
        Ok(count)
    }
}
