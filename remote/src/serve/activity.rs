//! What a connection is doing, and when it has done nothing for too long. Whether bytes move says little: a client may answer
//! every sign of life and want nothing. Requests count, and answers that are taken.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};

use super::body::Answer;
use super::share::keeping;

/// How long a connection may do nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Until the first request of somebody who is known.
    pub(super) first: Duration,
    /// Between requests.
    pub(super) idle: Duration,
    /// Until a piece of an answer is taken.
    pub(super) stall: Duration,
}

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    began: Instant,
    /// Whether somebody who is known has asked for something.
    is_known: bool,
    /// When the last request ended.
    idle_since: Instant,
    next: u64,
    /// Since when each request waits for the client to take what there is; not at all while the server works on it.
    requests: HashMap<u64, Option<Instant>>,
}

impl Default for Activity {
    fn default() -> Self {
        let now = Instant::now();
        let state = State { began: now, is_known: false, idle_since: now, next: 0, requests: HashMap::new() };
        Self(Mutex::new(state))
    }
}

impl Activity {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody who is known has asked for something.
    pub(super) fn known(&self) {
        self.lock().is_known = true;
    }

    /// A request is there, until what is returned and all copies of it are dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Arc<Request> {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.requests.insert(id, None);
        Arc::new(Request { activity: Arc::clone(self), id })
    }

    /// When the connection has done nothing for too long, if nothing happens until then.
    fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let state = self.lock();
        if !state.is_known {
            return Some(state.began + limits.first);
        }
        if state.requests.is_empty() {
            return Some(state.idle_since + limits.idle);
        }
        state.requests.values().flatten().min().map(|since| *since + limits.stall)
    }

    /// Returns when the connection has done nothing for too long.
    pub(super) async fn over(&self, limits: &Limits) {
        loop {
            let now = Instant::now();
            // While the server works there is no deadline: whether it still does is asked again.
            let next = self.deadline(limits).unwrap_or(now + limits.first);
            if next <= now {
                return;
            }
            tokio::time::sleep_until(next.into()).await;
        }
    }
}

/// One request, from its head until the last byte of its answer has left.
#[derive(Debug)]
pub(super) struct Request {
    activity: Arc<Activity>,
    id: u64,
}

impl Request {
    /// From now on the client has to take something, or the server to make something.
    fn waits_for_client(&self, is_clients_turn: bool) {
        self.activity.lock().requests.insert(self.id, is_clients_turn.then(Instant::now));
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        state.requests.remove(&self.id);
        state.idle_since = Instant::now();
    }
}

/// The body of the answer to a request, which is not over before the body is.
pub(super) fn watched(body: Answer, request: Arc<Request>) -> Answer {
    request.waits_for_client(true);
    Watched { body, request }.boxed()
}

struct Watched {
    body: Answer,
    request: Arc<Request>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.request.waits_for_client(false);
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.request.waits_for_client(true);
        Poll::Ready(
            frame.map(|frame| frame.map(|frame| frame.map_data(|data| keeping(data, Arc::clone(&self.request))))),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::super::body::{Channelled, full, send};
    use super::*;

    const LIMITS: Limits =
        Limits { first: Duration::from_secs(1), idle: Duration::from_secs(100), stall: Duration::from_secs(10_000) };

    /// Which of the limits holds now.
    fn limit(activity: &Activity) -> Option<u64> {
        let left = activity.deadline(&LIMITS)?.saturating_duration_since(activity.lock().began).as_secs();
        Some(if left < 100 {
            1
        } else if left < 10_000 {
            100
        } else {
            10_000
        })
    }

    /// Bug: a connection stayed for ever if it sent nothing, part of a preface, or nothing but signs of life. Cause: nothing
    /// limited the time to the first request, nor between two. Fix: deadlines that only requests move.
    #[test]
    fn only_requests_of_the_known_move_the_deadline() {
        let activity = Arc::new(Activity::default());
        assert_eq!(limit(&activity), Some(1));
        let stranger = activity.begin();
        assert_eq!(limit(&activity), Some(1), "a request of nobody is no reason to stay");
        drop(stranger);
        let request = activity.begin();
        activity.known();
        assert_eq!(limit(&activity), None, "the server works");
        drop(request);
        assert_eq!(limit(&activity), Some(100));
    }

    /// Bug: an answer that nobody took kept its connection and its memory. Fix: a deadline for each piece.
    #[test]
    fn an_answer_is_under_way_until_its_bytes_have_gone() {
        let activity = Arc::new(Activity::default());
        activity.known();
        let mut body = watched(full("answer"), activity.begin());
        assert_eq!(limit(&activity), Some(10_000), "it has to be taken");
        let frame = body.frame().now_or_never().expect("a piece").expect("a piece").expect("a piece");
        drop(body);
        assert_eq!(limit(&activity), Some(10_000), "its bytes are still here");
        drop(frame);
        assert_eq!(limit(&activity), Some(100));
    }

    #[test]
    fn who_waits_for_the_server_does_not_stall() {
        let activity = Arc::new(Activity::default());
        activity.known();
        let (pieces, body) = Channelled::pair(None);
        let mut body = watched(body, activity.begin());
        assert!(body.frame().now_or_never().is_none());
        assert_eq!(limit(&activity), None);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        assert!(runtime.block_on(send(&pieces, Ok(Bytes::from_static(b"piece")))));
        assert!(body.frame().now_or_never().is_some());
        assert_eq!(limit(&activity), Some(10_000));
    }
}
