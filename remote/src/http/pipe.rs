//! The way through a pipe: HTTP/2 over one stream of bytes each way, so that one process carries many requests at once.
//! The runtime that waits for it lives here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use engine::{EngineError, ErrorKind, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::Child;
use tokio::runtime::Runtime;

use super::{Ask, Broken, Reply, Transport, retry_after};
use crate::protocol::{self, RepositoryName};
use crate::throttle::Throttle;

/// How much may be under way in one answer, and in all of them, in bytes.
const WINDOWS: (u32, u32) = (2 << 20, 16 << 20);
/// How long the other side may be silent before it is asked for a sign of life, and how long it may take for that.
const SILENCE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(60));
/// How long a process that has closed its pipe may take to say how it ended.
const END: Duration = Duration::from_secs(5);
/// How long it is waited for that a connection is over when a request failed, and between two looks: the request may hear of it
/// first, or have failed alone.
const CLOSED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(2));
/// How much passes the limits at once, in bytes.
const PORTION: usize = 64 << 10;

/// Bytes there and back.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A stream, and the process behind it.
pub(super) type Dialled = (Box<dyn Stream>, Option<Child>);
/// Makes a stream; called in the runtime.
pub(super) type Dial = Box<dyn Fn() -> Result<Dialled> + Send + Sync>;

/// A connection that is made again when it broke.
pub(super) struct Pipe {
    dial: Dial,
    runtime: Runtime,
    current: Mutex<Option<Arc<Connection>>>,
    was_answered: AtomicBool,
    up: Throttle,
    down: Throttle,
}

struct Connection {
    sender: http2::SendRequest<Full<Bytes>>,
    child: Mutex<Option<Child>>,
}

impl Pipe {
    pub(super) fn new(dial: Dial, up: Throttle, down: Throttle) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| EngineError::with_source(ErrorKind::Io, "cannot wait for a pipe", error))?;
        let (current, was_answered) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { dial, runtime, current, was_answered, up, down })
    }

    /// The connection that is there, or a new one. Whoever was never let in does not knock again: some machines lock out who
    /// asks too often, and a person may have been asked for a password.
    fn connection(&self) -> Result<Arc<Connection>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = current.as_ref().filter(|connection| !connection.sender.is_closed()) {
            return Ok(Arc::clone(connection));
        }
        if let Some(connection) = current.as_ref().filter(|_| !self.was_answered.load(Ordering::Relaxed)) {
            let why = connection.end(&self.runtime).unwrap_or_else(|| "the connection broke".to_owned());
            return Err(EngineError::new(ErrorKind::Io, why));
        }
        let connection = Arc::new(self.connect()?);
        *current = Some(Arc::clone(&connection));
        Ok(connection)
    }

    fn connect(&self) -> Result<Connection> {
        self.runtime.block_on(async {
            let (stream, mut child) = (self.dial)()?;
            let begun = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(WINDOWS.0)
                .initial_connection_window_size(WINDOWS.1)
                .keep_alive_interval(SILENCE.0)
                .keep_alive_timeout(SILENCE.1)
                .handshake(TokioIo::new(stream))
                .await;
            let (sender, connection) = match begun {
                Ok(both) => both,
                Err(error) => {
                    // It may have ended before the first word.
                    let why = ended(child.as_mut()).await.unwrap_or_else(|| "cannot begin to speak".to_owned());
                    return Err(EngineError::with_source(ErrorKind::Io, why, error));
                }
            };
            tokio::spawn(async {
                // What it ends with is the requests' matter.
                let _ = connection.await;
            });
            Ok(Connection { sender, child: Mutex::new(child) })
        })
    }

    fn request(ask: &Ask) -> Result<Request<Full<Bytes>>, Broken> {
        let (method, path) = ask.operation.request("");
        let uri = format!("http://pipe/{}{path}", RepositoryName::only());
        let mut request = Request::builder().method(method).uri(uri).header(protocol::HEADER, protocol::VERSION);
        if let Some(range) = ask.range_header() {
            request = request.header(hyper::header::RANGE, range);
        }
        if ask.tidies {
            request = request.header(protocol::TIDY_HEADER, protocol::TIDY_INTENT);
        }
        let request = request.body(Full::new(ask.body.clone()));
        request.map_err(|error| Broken::ForGood(EngineError::with_source(ErrorKind::Invalid, "no request", error)))
    }
}

impl Transport for Pipe {
    fn exchange(&self, ask: &Ask) -> Result<Reply, Broken> {
        let request = Self::request(ask)?;
        let connection = self.connection().map_err(Broken::Unsent)?;
        // Before it is sent, since the pipe takes as much as it can: less even than on a socket, and as much in the long run.
        ask.body.chunks(PORTION).for_each(|portion| self.up.pass(portion.len()));
        let mut sender = connection.sender.clone();
        let exchanged = self.runtime.block_on(async {
            let work = async {
                sender.ready().await?;
                read(sender.send_request(request).await?, ask.max).await
            };
            // Made in here: a timeout needs the runtime.
            tokio::time::timeout(ask.time(), work).await
        });
        let reply = match exchanged {
            Ok(Ok(reply)) => {
                self.was_answered.store(true, Ordering::Relaxed);
                reply
            }
            Ok(Err(error)) => {
                let why = connection.end(&self.runtime).unwrap_or_else(|| "the connection broke".to_owned());
                return Err(Broken::Lost(EngineError::with_source(ErrorKind::Io, why, error)));
            }
            Err(_) => return Err(Broken::Lost(EngineError::new(ErrorKind::Io, "the server does not answer"))),
        };
        reply.body.chunks(PORTION).for_each(|portion| self.down.pass(portion.len()));
        Ok(reply)
    }
}

impl Connection {
    /// How the process ended, if it did.
    fn end(&self, runtime: &Runtime) -> Option<String> {
        let closed = async {
            while !self.sender.is_closed() {
                tokio::time::sleep(CLOSED.1).await;
            }
        };
        // Made in there: a timeout needs the runtime.
        runtime.block_on(async { tokio::time::timeout(CLOSED.0, closed).await }).ok()?;
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        runtime.block_on(ended(child.as_mut()))
    }
}

/// How a process ended that has closed its pipe.
async fn ended(child: Option<&mut Child>) -> Option<String> {
    let status = tokio::time::timeout(END, child?.wait()).await.ok()?.ok()?;
    Some(format!("the connection broke: ssh ended with {status}"))
}

async fn read(response: Response<Incoming>, max: u64) -> Result<Reply, hyper::Error> {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let mut reply = Reply {
        status: response.status().as_u16(),
        is_ours: header(protocol::HEADER) == Some(protocol::VERSION),
        has_tidied: header(protocol::TIDY_HEADER).is_some(),
        len: header("content-length").and_then(|len| len.parse().ok()),
        retry_after: retry_after(header("retry-after")),
        body: Vec::new(),
    };
    let max = if reply.status < 300 { max } else { protocol::MESSAGE_BYTES };
    reply.body.reserve_exact(usize::try_from(reply.len.unwrap_or(0).min(max)).unwrap_or(0));
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            reply.body.extend_from_slice(&data);
        }
        if reply.body.len() as u64 > max {
            break;
        }
    }
    Ok(reply)
}
