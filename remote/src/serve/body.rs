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

/// How long the next bytes of a body may take, either way.
pub(super) const IDLE: Duration = Duration::from_secs(60);
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
        let (sender, pieces) = mpsc::channel(2);
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

/// Sends a piece; whether anybody still listens.
pub(super) async fn send(pieces: &Pieces, piece: Result<Bytes, std::io::Error>) -> bool {
    matches!(tokio::time::timeout(IDLE, pieces.send(piece)).await, Ok(Ok(())))
}

/// Reads a body of exactly `len` bytes.
///
/// # Errors
/// `Invalid` if it is shorter, or does not come.
pub(super) async fn read(mut body: Incoming, len: u64) -> Result<Vec<u8>, Refusal> {
    let short = || Refusal::new(Code::Invalid, "the body is not as long as its Content-Length");
    let mut bytes = Vec::with_capacity(usize::try_from(len.min(ROOM_BYTES)).unwrap_or(0));
    loop {
        let frame = match tokio::time::timeout(IDLE, body.frame()).await {
            Err(_) => return Err(Refusal::new(Code::Invalid, "the body does not come")),
            Ok(Some(Err(_))) => return Err(short()),
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
    tokio::spawn(tokio::time::timeout(IDLE, read));
}
