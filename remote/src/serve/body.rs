//! Bodies: one read with bounds on length and time, and one that is made while it is sent.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use tokio::sync::mpsc;

use crate::protocol::{Code, Refusal};

/// How fast a body has to come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How long the next bytes may take.
    pub(super) idle: Duration,
    /// How long all of them may take, besides what their number takes.
    pub(super) least: Duration,
    /// The slowest line that is waited for, in bytes a second.
    pub(super) slowest: u64,
}

/// The pace of clients: what they themselves give a request.
pub(super) const PACE: Pace = Pace { idle: Duration::from_secs(60), least: Duration::from_secs(120), slowest: 8 << 10 };

impl Pace {
    /// How long `len` bytes may take.
    pub(super) const fn time(&self, len: u64) -> Duration {
        self.least.saturating_add(Duration::from_secs(len / self.slowest))
    }
}

/// How much of a body that nobody wants is read, in bytes: a client that is sending does not see the answer before.
const DRAINED_BYTES: u64 = 64 << 20;
/// Room that a body gets before it has come, in bytes.
const ROOM_BYTES: u64 = 1 << 20;

/// The body of an answer.
pub(super) type Answer = BoxBody<Bytes, std::io::Error>;

/// A body that is there.
pub(super) fn full(bytes: impl Into<Bytes>) -> Answer {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// A body that others make; an error cuts the connection, so that nobody takes a part for the whole.
pub(super) struct Channelled {
    pieces: mpsc::Receiver<Result<Bytes, std::io::Error>>,
    len: Option<u64>,
}

/// Where the pieces of such a body go.
pub(super) type Pieces = mpsc::Sender<Result<Bytes, std::io::Error>>;

impl Channelled {
    /// A body of `len` bytes, if that is known.
    pub(super) fn pair(len: Option<u64>) -> (Pieces, Answer) {
        let (sender, pieces) = mpsc::channel(1);
        (sender, Self { pieces, len }.boxed())
    }
}

impl Body for Channelled {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.pieces.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.len.map_or_else(hyper::body::SizeHint::default, hyper::body::SizeHint::with_exact)
    }
}

/// Sends a piece; whether anybody still listens. Pieces have [`super::answer::PIECE_BYTES`] at most.
pub(super) async fn send(pieces: &Pieces, piece: Result<Bytes, std::io::Error>) -> bool {
    matches!(tokio::time::timeout(PACE.time(super::answer::PIECE_BYTES), pieces.send(piece)).await, Ok(Ok(())))
}

/// Reads a body of exactly `len` bytes.
///
/// # Errors
/// `Busy` if it does not come, or not fast enough, or breaks: another attempt may succeed. `Invalid` if it is shorter.
pub(super) async fn read<B>(body: B, len: u64, pace: Pace) -> Result<Vec<u8>, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let late = |_| Err(Refusal::new(Code::Busy, "the body does not come fast enough"));
    tokio::time::timeout(pace.time(len), read_all(body, len, pace.idle)).await.unwrap_or_else(late)
}

async fn read_all<B>(mut body: B, len: u64, idle: Duration) -> Result<Vec<u8>, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let short = || Refusal::new(Code::Invalid, "the body is not as long as its Content-Length");
    let mut bytes = Vec::with_capacity(usize::try_from(len.min(ROOM_BYTES)).unwrap_or(0));
    loop {
        let frame = match tokio::time::timeout(idle, body.frame()).await {
            Err(_) => return Err(Refusal::new(Code::Busy, "the body does not come")),
            Ok(Some(Err(_))) => return Err(Refusal::new(Code::Busy, "the body broke off")),
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break,
        };
        let Ok(data) = frame.into_data() else { continue };
        if (bytes.len() + data.len()) as u64 > len {
            return Err(short());
        }
        bytes.extend_from_slice(&data);
    }
    if bytes.len() as u64 == len { Ok(bytes) } else { Err(short()) }
}

/// Reads what is left of a body that was refused, beside the answer, as far as that makes sense. A client that waits to be
/// told to send sends nothing.
pub(super) fn discard(mut body: Incoming, waits: bool) {
    if waits || body.is_end_stream() {
        return;
    }
    let read = async move {
        let mut left = DRAINED_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.into_data().map_or(0, |data| data.len() as u64);
            match left.checked_sub(len) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    tokio::spawn(tokio::time::timeout(PACE.idle, read));
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::from_secs(1 << 30);

    fn read_now(body: Answer, pace: Pace) -> Result<Vec<u8>, Code> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(read(body, 4, pace)).map_err(|refusal| refusal.code)
    }

    /// Bug: an upload that stalled was `invalid`, which clients take for good. Fix: `busy`, which they try again.
    #[test]
    fn a_body_that_stalls_or_breaks_may_be_sent_again() {
        let (patient, idle, slow) = (
            Pace { idle: NEVER, least: NEVER, slowest: 1 },
            Pace { idle: Duration::ZERO, least: NEVER, slowest: 1 },
            Pace { idle: NEVER, least: Duration::ZERO, slowest: 8 },
        );
        assert_eq!(read_now(full("four"), patient), Ok(b"four".to_vec()));
        assert_eq!(read_now(full("two"), patient), Err(Code::Invalid));
        let (_pieces, silent) = Channelled::pair(Some(4));
        assert_eq!(read_now(silent, idle), Err(Code::Busy));
        let (_pieces, silent) = Channelled::pair(Some(4));
        assert_eq!(read_now(silent, slow), Err(Code::Busy), "all of it has a limit, too");
        let (pieces, broken) = Channelled::pair(Some(4));
        pieces.try_send(Err(std::io::Error::other("cut"))).expect("room");
        assert_eq!(read_now(broken, patient), Err(Code::Busy));
    }
}
