//! From a request to its answer: who asks, may they, and then the work, on a thread that may block.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use engine::limits::MIB;
use engine::storage::{ObjectFamily, ObjectName};
use hyper::body::{Body, Incoming};
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue, RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Request, Response, StatusCode};

use super::access::{ClientId, Credentials, Grant, Watched, hash_of};
use super::activity::{Activity, watched};
use super::body::{self, Answer, Channelled, full};
use super::metrics::{Metrics, OneMore};
use super::rules::{self, Verbs};
use super::share::{Shared, keeping};
use super::store::Repositories;
use crate::protocol::{self, Capabilities, Code, Operation, Refusal, RepositoryName};

// Of each of these, the second number is what one client may have.

/// How much memory the bodies of all uploads take together, in MiB. A larger one has to be alone.
const UPLOADS_MIB: (u32, u32) = (256, 128);
/// Bodies up to this length do not wait for larger ones: a commit must not wait for packs.
const SMALL_BYTES: u64 = MIB;
/// How many small bodies there may be at once.
const SMALL_UPLOADS: (u32, u32) = (64, 16);
/// How many lists are made at once: each takes a thread.
const LISTS: (u32, u32) = (16, 4);
/// How much memory the pieces of all downloads take together, in units of [`UNIT_BYTES`].
const DOWNLOADS: (u32, u32) = (4096, 1024);
/// What the pieces of downloads are measured in.
const UNIT_BYTES: u64 = 64 << 10;
/// How much of an object is read at once, in bytes.
pub(super) const PIECE_BYTES: u64 = MIB;
/// How old what an upload left must be at least before a client may have it removed, in seconds.
const UNFINISHED_SECONDS: i64 = 24 * 60 * 60;

/// Who is let in.
pub(super) enum Gate {
    /// Those in a file.
    File(Watched),
    /// Everybody who gets here: on a loopback address, a socket, or the streams of ssh.
    Open,
}

/// What all connections of a server share.
pub(super) struct Service {
    pub(super) repositories: Repositories,
    pub(super) gate: Gate,
    /// What anybody may do at most.
    pub(super) most: Verbs,
    pub(super) metrics: Metrics,
    /// Takes a line for each request.
    pub(super) log: Option<super::Log>,
    /// Takes what an administrator should know.
    pub(super) warn: super::Log,
    uploads: Shared,
    small_uploads: Shared,
    lists: Shared,
    downloads: Shared,
}

/// What is known of the other end of a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer {
    /// For the log.
    pub(super) address: String,
    pub(super) certificate: Option<[u8; 32]>,
    pub(super) common_name: Option<String>,
    /// What the connection is doing.
    pub(super) activity: Arc<Activity>,
}

impl Service {
    pub(super) fn new(
        repositories: Repositories,
        gate: Gate,
        most: Verbs,
        log: Option<super::Log>,
        warn: super::Log,
    ) -> Self {
        Self {
            repositories,
            gate,
            most,
            metrics: Metrics::default(),
            log,
            warn,
            uploads: Shared::new(UPLOADS_MIB.0, UPLOADS_MIB.1),
            small_uploads: Shared::new(SMALL_UPLOADS.0, SMALL_UPLOADS.1),
            lists: Shared::new(LISTS.0, LISTS.1),
            downloads: Shared::new(DOWNLOADS.0, DOWNLOADS.1),
        }
    }

    fn grant(&self, peer: &Peer, headers: &HeaderMap, repository: &RepositoryName) -> Result<Grant, Refusal> {
        let Gate::File(file) = &self.gate else {
            return Ok(Grant { client: ClientId::ANYBODY, label: "-".to_owned(), verbs: self.most });
        };
        let credentials = Credentials {
            token: bearer(headers).map(hash_of),
            certificate: peer.certificate,
            common_name: peer.common_name.clone(),
        };
        let found = file.current(|text| (self.warn)(text)).grant(&credentials, repository);
        let mut grant =
            found.ok_or_else(|| Refusal::new(Code::Unauthorized, "no token or certificate that is known"))?;
        grant.verbs = grant.verbs.within(self.most);
        Ok(grant)
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Answers a request; what can't be done is an answer, too.
pub(super) async fn answer(
    service: Arc<Service>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let began = Instant::now();
    let _in_flight = OneMore::of(&service.metrics.in_flight);
    let under_way = peer.activity.begin();
    if request.method() == "GET" && request.uri().path() == "/health" {
        return Ok(with_headers(Response::new(watched(full("ok\n"), under_way))));
    }
    let (line, word) = (format!("{} {}", request.method(), shown(request.uri().path())), word_of(&request));
    let mut label = String::from("-");
    let response = match work(&service, &peer, request, &mut label).await {
        Ok(response) => response,
        Err(refusal) => refused(&refusal),
    };
    let status = response.status().as_u16();
    service.metrics.count(word, status);
    if let Some(log) = &service.log {
        let millis = began.elapsed().as_millis();
        log(&format!("{} {label} {line} {status} {millis} ms", peer.address));
    }
    Ok(with_headers(response.map(|body| watched(body, under_way))))
}

/// A path for the log, which a stranger chose.
fn shown(path: &str) -> String {
    path.chars().take(300).flat_map(char::escape_debug).collect()
}

fn word_of(request: &Request<Incoming>) -> &'static str {
    let uri = request.uri();
    protocol::parse(request.method().as_str(), uri.path(), uri.query())
        .map_or("none", |(_, operation)| operation.word())
}

fn with_headers(mut response: Response<Answer>) -> Response<Answer> {
    response.headers_mut().insert(protocol::HEADER, HeaderValue::from_static(protocol::VERSION));
    response
}

fn refused(refusal: &Refusal) -> Response<Answer> {
    let mut response = Response::new(full(refusal.body()));
    *response.status_mut() = StatusCode::from_u16(refusal.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match refusal.code {
        Code::Unauthorized => drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
        Code::Busy => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
        _ => {}
    }
    response
}

async fn work(
    service: &Arc<Service>,
    peer: &Peer,
    request: Request<Incoming>,
    label: &mut String,
) -> Result<Response<Answer>, Refusal> {
    let (head, body) = request.into_parts();
    if head.headers.get(protocol::HEADER).is_some_and(|version| version != protocol::VERSION) {
        let text = format!("this server speaks version {} of the protocol", protocol::VERSION);
        return Err(Refusal::new(Code::Unsupported, text));
    }
    let (repository, operation) = protocol::parse(head.method.as_str(), head.uri.path(), head.uri.query())?;
    let waits = head.headers.contains_key(EXPECT);
    let grant = match service.grant(peer, &head.headers, &repository) {
        Ok(grant) => grant,
        Err(refusal) => {
            body::discard(body, waits);
            return Err(refusal);
        }
    };
    peer.activity.known();
    label.clone_from(&grant.label);
    let at = At { service: Arc::clone(service), client: grant.client, repository };
    if service.repositories.verifies {
        let allowed = at.run(move |at| {
            let is_there = |name| at.service.repositories.has(&at.repository, name).map_err(|refusal| refusal.message);
            rules::check(grant.verbs, &operation, is_there).map_err(|why| Refusal::new(Code::Forbidden, why))
        });
        if let Err(refusal) = allowed.await {
            body::discard(body, waits);
            return Err(refusal);
        }
    }
    match operation {
        Operation::Capabilities => at.capabilities(grant.verbs).await,
        Operation::List(family) => at.list(family).await,
        Operation::Get(name) => at.get(name, head.headers.get(RANGE)).await,
        Operation::Head(name) => at.head(name).await,
        Operation::Put(name) => {
            let tidies = head.headers.get(protocol::TIDY_HEADER).is_some_and(|what| what == protocol::TIDY_INTENT);
            at.put(name, body, waits, tidies).await
        }
        Operation::Delete(name) => {
            at.run(move |at| at.service.repositories.remove(&at.repository, name)).await.map(|()| done())
        }
        Operation::Persist(name) => {
            at.run(move |at| at.service.repositories.persist(&at.repository, name)).await.map(|()| done())
        }
        Operation::Unfinished(before) => at.remove_unfinished(before).await,
    }
}

fn done() -> Response<Answer> {
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A repository of a server, as one request sees it.
#[derive(Clone)]
struct At {
    service: Arc<Service>,
    client: ClientId,
    repository: RepositoryName,
}

impl At {
    /// Does work that blocks.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let at = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&at)).await;
        done.unwrap_or_else(|_| Err(Refusal::new(Code::Failed, "the server failed")))
    }

    async fn capabilities(&self, verbs: Verbs) -> Result<Response<Answer>, Refusal> {
        let exists = self.run(|at| Ok(at.service.repositories.find(&at.repository)?.is_some())).await?;
        let said = Capabilities { put_if_absent: true, exists, verbs: verbs.words() };
        let text = serde_json::to_string(&said).map_err(|_| Refusal::new(Code::Failed, "the server failed"))?;
        Ok(Response::new(full(text)))
    }

    async fn head(&self, name: ObjectName) -> Result<Response<Answer>, Refusal> {
        let len = self.run(move |at| at.service.repositories.len(&at.repository, name)).await?;
        let mut response = Response::new(full(""));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len));
        Ok(response)
    }

    async fn get(&self, name: ObjectName, range: Option<&HeaderValue>) -> Result<Response<Answer>, Refusal> {
        let range = range.map(parse_range).transpose()?;
        let len = self.run(move |at| at.service.repositories.len(&at.repository, name)).await?;
        let (start, end) = range.unwrap_or((0, len));
        if end > len || start > end {
            return Err(Refusal::new(Code::OutOfRange, format!("object {name} has {len} bytes")));
        }
        // The first piece is read before anything is answered: most are the only one, and its errors have a status.
        let first_end = end.min(start + PIECE_BYTES);
        let first = self.piece(name, start..first_end).await?;
        self.service.metrics.sent_bytes.fetch_add(end - start, Ordering::Relaxed);
        let body = if first_end == end {
            full(first)
        } else {
            let (pieces, body) = Channelled::pair(Some(end - start));
            tokio::spawn(self.clone().send_pieces(name, first, first_end..end, pieces));
            body
        };
        let mut response = Response::new(body);
        if range.is_some() {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let value = format!("bytes {start}-{}/{len}", end.saturating_sub(1));
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(hyper::header::CONTENT_RANGE, value);
            }
        }
        Ok(response)
    }

    /// A piece of an object, which has its room until it was sent or given up.
    async fn piece(&self, name: ObjectName, range: std::ops::Range<u64>) -> Result<Bytes, Refusal> {
        let units = u32::try_from((range.end - range.start).div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let room = self.service.downloads.take(self.client, units.max(1)).await?;
        let read = move |at: &Self| {
            let bytes = at.service.repositories.read(&at.repository, name, range)?;
            Ok(keeping(bytes, room))
        };
        self.run(read).await
    }

    async fn send_pieces(self, name: ObjectName, first: Bytes, rest: std::ops::Range<u64>, pieces: body::Pieces) {
        let mut next = rest.start;
        let mut piece = Ok(first);
        loop {
            let is_error = piece.is_err();
            let sent = piece.map_err(|refusal: Refusal| std::io::Error::other(refusal.message));
            if !body::send(&pieces, sent).await || is_error || next >= rest.end {
                return;
            }
            let end = rest.end.min(next + PIECE_BYTES);
            piece = self.piece(name, next..end).await;
            next = end;
        }
    }

    async fn list(&self, family: ObjectFamily) -> Result<Response<Answer>, Refusal> {
        // Until the last piece has gone: those that wait to be sent are memory, too.
        let turn = Arc::new(self.service.lists.take(self.client, 1).await?);
        // What can't be listed at all has a status.
        self.run(|at| at.service.repositories.find(&at.repository)).await?;
        let (pieces, body) = Channelled::pair(None);
        let at = self.clone();
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            let mut listens = true;
            let mut send = |text: &mut String| {
                let piece = Bytes::from(std::mem::take(text));
                at.service.metrics.sent_bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
                listens = listens && runtime.block_on(body::send(&pieces, Ok(keeping(piece, Arc::clone(&turn)))));
            };
            let listed = at.service.repositories.list(&at.repository, family, &mut |name, len| {
                text.push_str(&protocol::list_line(name, len));
                if text.len() >= 64 << 10 {
                    send(&mut text);
                }
            });
            match listed {
                Ok(()) => {
                    text.push_str(protocol::LIST_END);
                    text.push('\n');
                    send(&mut text);
                }
                Err(refusal) => {
                    runtime.block_on(body::send(&pieces, Err(std::io::Error::other(refusal.message))));
                }
            }
        });
        Ok(Response::new(body))
    }

    async fn put(
        &self,
        name: ObjectName,
        body: Incoming,
        waits: bool,
        tidies: bool,
    ) -> Result<Response<Answer>, Refusal> {
        let reserved = match body.size_hint().exact() {
            None => Err(Refusal::new(Code::NoLength, "a Content-Length is needed")),
            Some(len) if len > protocol::largest(name) => {
                let text = format!("object {name} can't have more than {} bytes", protocol::largest(name));
                Err(Refusal::new(Code::TooLarge, text))
            }
            Some(len) => {
                let reserve = move |at: &Self| at.service.repositories.reserve(&at.repository, len);
                self.run(reserve).await.map(|reservation| (len, reservation))
            }
        };
        let (len, reservation) = match reserved {
            Ok(reserved) => reserved,
            Err(refusal) => {
                body::discard(body, waits);
                return Err(refusal);
            }
        };
        let room = if len <= SMALL_BYTES {
            self.service.small_uploads.take(self.client, 1).await?
        } else {
            let mib = u32::try_from(len.div_ceil(MIB)).unwrap_or(u32::MAX);
            self.service.uploads.take(self.client, mib).await?
        };
        let bytes = body::read(body, len, body::PACE).await?;
        self.service.metrics.received_bytes.fetch_add(len, Ordering::Relaxed);
        let write = move |at: &Self| {
            // Here and not outside: the memory is taken until the thread is done, also if the client has gone.
            let _room = room;
            at.service.repositories.put(&at.repository, name, &bytes, reservation)?;
            // Whoever may put a register may remove the intent beside it (`rules.rs`).
            Ok(match name {
                ObjectName::Register(id) if tidies => {
                    at.service.repositories.remove(&at.repository, ObjectName::Intent(id)).is_ok()
                }
                _ => false,
            })
        };
        let is_tidied = self.run(write).await?;
        let mut response = Response::new(full(""));
        *response.status_mut() = StatusCode::CREATED;
        if is_tidied {
            response.headers_mut().insert(protocol::TIDY_HEADER, HeaderValue::from_static(protocol::TIDY_INTENT));
        }
        Ok(response)
    }

    async fn remove_unfinished(&self, before: i64) -> Result<Response<Answer>, Refusal> {
        // Nobody's clock but the server's own says that an upload is over.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        let latest = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(UNFINISHED_SECONDS);
        let before = before.min(latest);
        let removed = self.run(move |at| at.service.repositories.remove_unfinished(&at.repository, before)).await?;
        Ok(Response::new(full(format!("{{\"removed\":{removed}}}"))))
    }
}

/// `bytes=FIRST-LAST`, and nothing else that HTTP has; the end is one more than the last.
fn parse_range(value: &HeaderValue) -> Result<(u64, u64), Refusal> {
    let read = || {
        let (first, last) = value.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse::<u64>().ok()?.checked_add(1)?))
    };
    read().ok_or_else(|| Refusal::new(Code::Invalid, "a range is bytes=FIRST-LAST"))
}
