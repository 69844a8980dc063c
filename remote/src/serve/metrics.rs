//! What a server counts, in the text form of Prometheus. No names of repositories, objects or people.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counters since the start.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    /// Bytes of objects that were received.
    pub(super) received_bytes: AtomicU64,
    /// Bytes of objects and lists that were sent.
    pub(super) sent_bytes: AtomicU64,
    /// Requests that are being worked on.
    pub(super) in_flight: AtomicU64,
    /// Connections that are open.
    pub(super) connections: AtomicU64,
}

impl Metrics {
    /// Counts a request that was answered.
    pub(super) fn count(&self, verb: &'static str, status: u16) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry((verb, status)).or_default() += 1;
    }

    /// The text.
    pub(super) fn text(&self) -> String {
        let mut text = String::from("# TYPE repo_serve_requests_total counter\n");
        for ((verb, status), count) in self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = writeln!(text, "repo_serve_requests_total{{verb=\"{verb}\",status=\"{status}\"}} {count}");
        }
        for (name, kind, value) in [
            ("repo_serve_received_bytes_total", "counter", &self.received_bytes),
            ("repo_serve_sent_bytes_total", "counter", &self.sent_bytes),
            ("repo_serve_requests_in_flight", "gauge", &self.in_flight),
            ("repo_serve_connections", "gauge", &self.connections),
        ] {
            let _ = writeln!(text, "# TYPE {name} {kind}\n{name} {}", value.load(Ordering::Relaxed));
        }
        text
    }
}

/// One more of something, until it is dropped.
#[derive(Debug)]
pub(super) struct OneMore<'a>(&'a AtomicU64);

impl<'a> OneMore<'a> {
    /// Counts up.
    pub(super) fn of(gauge: &'a AtomicU64) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge)
    }
}

impl Drop for OneMore<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
