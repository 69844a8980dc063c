//! HTTP as blocking calls, bounded in bytes and in silence.
//!
//! The async runtime that reqwest needs is in this file and nowhere else. (`reqwest::blocking` has a limit on the time of a
//! whole request only, which a large object on a slow line would exceed; here it is silence that ends a request.)

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use engine::{EngineError, ErrorKind, Result};
use hyper::body::{Body, Frame, SizeHint};
use reqwest::header::HeaderMap;
use tokio::runtime::Runtime;
use tokio::time::{Sleep, sleep, timeout};
use url::Url;

use crate::throttle::Throttle;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(30);
/// How long nothing may move before a request counts as lost.
const SILENCE: Duration = Duration::from_secs(60);
/// How long the metadata service of a machine may take: it is on the same machine, or not there at all.
const NEAR: Duration = Duration::from_secs(2);
/// How much of a body is sent at once.
const PORTION: usize = 64 << 10;
/// The most room that is made for an answer because it says that it is so long, in bytes.
const RESERVED_BYTES: u64 = 64 << 20;
/// The most of an error's body, in bytes.
pub(super) const ERROR_BYTES: u64 = 64 << 10;

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) url: Url,
    /// Names in lower case.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

/// A whole answer, or as much of it as was wanted.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// There is more than was wanted.
    pub(super) is_cut: bool,
}

/// Why there is no whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Broken {
    /// The host's name has no address.
    Name(String),
    /// The server's certificate is not trusted, or it speaks no TLS.
    Tls(String),
    /// No connection was made, so that nothing was sent.
    Connect(String),
    /// The connection ended or fell silent: what the server did is not known.
    Lost(String),
}

impl Answer {
    /// A header, unless it isn't text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether it says that all went well.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A client with a pool of connections. May be used from many threads.
pub(super) struct Http {
    runtime: Runtime,
    client: reqwest::Client,
    silence: Duration,
    upload: Throttle,
    download: Throttle,
}

impl Http {
    /// A client for storages.
    ///
    /// # Errors
    /// `Io` if there are no threads, or no certificates to trust.
    pub(super) fn new(upload: Throttle, download: Throttle) -> Result<Self> {
        // One connection for each request that is under way: one for all would be as fast as its one stream.
        let client = reqwest::Client::builder().http1_only().connect_timeout(CONNECT).tcp_nodelay(true);
        Self::build(client, SILENCE, upload, download)
    }

    /// A client for the metadata of this machine: impatient, and never through a proxy.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn near() -> Result<Self> {
        let client = reqwest::Client::builder().http1_only().no_proxy().connect_timeout(NEAR);
        Self::build(client, NEAR, Throttle::default(), Throttle::default())
    }

    fn build(client: reqwest::ClientBuilder, silence: Duration, upload: Throttle, download: Throttle) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime =
            runtime.map_err(|error| EngineError::with_source(ErrorKind::Io, "cannot start the network", error))?;
        // A redirect would have to be signed anew; and another place is for a person to choose. Trying again is ours.
        let client = client
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(concat!("repo/", env!("CARGO_PKG_VERSION")))
            .build();
        let client =
            client.map_err(|error| EngineError::with_source(ErrorKind::Io, "cannot start the network", error))?;
        Ok(Self { runtime, client, silence, upload, download })
    }

    /// Sends a request and takes at most `most` bytes of the answer's body; of an answer that is no success, what its
    /// error may need.
    pub(super) fn send(&self, request: &Request, most: u64) -> Result<Answer, Broken> {
        self.runtime.block_on(self.exchange(request, most))
    }

    async fn exchange(&self, request: &Request, most: u64) -> Result<Answer, Broken> {
        let sent = Arc::new(AtomicU64::new(0));
        let mut head = Box::pin(self.built(request, &sent)?.send());
        let response = loop {
            let before = sent.load(Ordering::Relaxed);
            match timeout(self.silence, &mut head).await {
                Ok(response) => break response.map_err(broken)?,
                Err(_) if sent.load(Ordering::Relaxed) == before => return Err(self.silent()),
                Err(_) => {}
            }
        };
        self.received(response, most).await
    }

    fn built(&self, request: &Request, sent: &Arc<AtomicU64>) -> Result<reqwest::RequestBuilder, Broken> {
        let method = reqwest::Method::from_bytes(request.method.as_bytes());
        let method = method.map_err(|error| Broken::Connect(error.to_string()))?;
        let has_body = !request.body.is_empty() || matches!(request.method, "PUT" | "POST");
        let mut builder = self.client.request(method, request.url.clone());
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        if has_body {
            builder = builder.header("content-length", request.body.len());
            let sending = Sending {
                rest: request.body.clone(),
                sent: Arc::clone(sent),
                throttle: self.upload.clone(),
                wait: None,
            };
            builder = builder.body(reqwest::Body::wrap(sending));
        }
        Ok(builder)
    }

    async fn received(&self, mut response: reqwest::Response, most: u64) -> Result<Answer, Broken> {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let most = if response.status().is_success() { most } else { ERROR_BYTES };
        let expected = response.content_length().unwrap_or(0).min(most).min(RESERVED_BYTES);
        let mut body = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
        let mut is_cut = false;
        while let Some(chunk) =
            timeout(self.silence, response.chunk()).await.map_err(|_| self.silent())?.map_err(lost)?
        {
            sleep(self.download.reserve(chunk.len())).await;
            let room = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(body.len());
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                is_cut = true;
                break;
            }
        }
        Ok(Answer { status, headers, body, is_cut })
    }

    fn silent(&self) -> Broken {
        Broken::Lost(format!("nothing moved for {} seconds", self.silence.as_secs()))
    }
}

/// A body on its way out.
struct Sending {
    rest: Bytes,
    sent: Arc<AtomicU64>,
    throttle: Throttle,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(wait) = &mut self.wait {
            std::task::ready!(wait.as_mut().poll(context));
            self.wait = None;
        }
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let most = self.rest.len().min(PORTION);
        let portion = self.rest.split_to(most);
        let delay = self.throttle.reserve(portion.len());
        if !delay.is_zero() {
            self.wait = Some(Box::pin(sleep(delay)));
        }
        self.sent.fetch_add(portion.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(portion))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// What went wrong before there was an answer.
fn broken(error: reqwest::Error) -> Broken {
    let (is_name, is_connect) = (error.is_dns(), error.is_connect());
    let said = causes(error);
    if is_name {
        Broken::Name(said)
    } else if is_connect
        && ["certificate", "tls", "TLS", "handshake", "corrupt message"].iter().any(|word| said.contains(word))
    {
        Broken::Tls(said)
    } else if is_connect {
        Broken::Connect(said)
    } else {
        Broken::Lost(said)
    }
}

fn lost(error: reqwest::Error) -> Broken {
    Broken::Lost(causes(error))
}

/// The error and those below it, each once, without the address: the caller says that better.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut said = Vec::new();
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        said.push(cause.to_string());
        next = cause.source();
    }
    // Who sends is no news.
    said.retain(|text| !text.starts_with("client error"));
    said.dedup();
    if said.is_empty() { error.to_string() } else { said.join(": ") }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// Long enough for any machine.
    const PATIENT: Duration = Duration::from_secs(60);
    const IMPATIENT: Duration = Duration::from_millis(200);

    /// What becomes of a request whose answer is these bytes, and then the end of the connection, or silence.
    fn exchange(answer: &'static [u8], ends: bool, patience: Duration, most: u64) -> Result<Answer, Broken> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/key", listener.local_addr().expect("an address")).parse().expect("an address");
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let server = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().expect("a client");
            let mut asked = Vec::new();
            let mut byte = [0];
            // An impatient client may have gone already.
            while !asked.ends_with(b"\r\n\r\n") && connection.read_exact(&mut byte).is_ok() {
                asked.extend(byte);
            }
            let _ = connection.write_all(answer);
            if !ends {
                let _ = is_done.recv();
            }
        });
        let client = reqwest::Client::builder().http1_only().no_proxy();
        let http = Http::build(client, patience, Throttle::default(), Throttle::default());
        let request = Request { method: "GET", url, headers: Vec::new(), body: Bytes::new() };
        let result = http.expect("a client").send(&request, most);
        drop(done);
        server.join().expect("the server");
        result
    }

    #[test]
    fn no_more_is_taken_than_is_wanted() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789";
        let whole = exchange(answer, true, PATIENT, 10).expect("an answer");
        assert_eq!((whole.body.as_slice(), whole.is_cut), (&b"0123456789"[..], false));
        let cut = exchange(answer, true, PATIENT, 9).expect("an answer");
        assert_eq!((cut.body.as_slice(), cut.is_cut), (&b"012345678"[..], true));
        // What it says of its length is not believed: no room is made for that, and the rest is not waited for.
        let boast = b"HTTP/1.1 200 OK\r\ncontent-length: 9000000000000000000\r\n\r\n01";
        let boast = exchange(boast, false, PATIENT, 1);
        assert!(boast.expect("an answer").is_cut);
    }

    #[test]
    fn half_an_answer_is_none() {
        for (answer, ends) in [
            (&b""[..], true),
            (b"", false),
            (b"HTTP/1.1 200 OK\r\ncontent-le", true),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234", true),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234", false),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n", true),
        ] {
            let patience = if ends { PATIENT } else { IMPATIENT };
            let broken = exchange(answer, ends, patience, 100).expect_err("half an answer");
            assert!(matches!(broken, Broken::Lost(_)), "{answer:?} {ends}: {broken:?}");
        }
    }
}
