//! Where connections come from, and how the server ends. The runtime of `serve` lives here.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use engine::{EngineError, ErrorKind, Result};
use futures_util::future::select;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use super::activity::{Activity, Limits};
use super::answer::{PIECE_BYTES, Peer, Service, answer};
use super::body::{Answer, PACE, full};
use super::metrics::OneMore;
use super::{ServeOptions, Stop, tls};

/// How long requests that were begun may take after the end was asked for.
const GRACE: Duration = Duration::from_secs(30);
/// How often it is asked whether to stop.
const ASK: Duration = Duration::from_millis(100);
/// How long a stranger may take to become known, from the first byte over the handshake to a request that is granted; and
/// anybody for the head of a request.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection of HTTP/2 may be silent before it is asked for a sign of life.
const SILENCE: Duration = Duration::from_secs(30);
/// How long connections may do nothing.
const LIMITS: Limits = Limits { first: PATIENCE, idle: Duration::from_secs(120), stall: PACE.time(PIECE_BYTES) };
/// How many connections for metrics there may be at once, beside the others.
const METRICS_CONNECTIONS: usize = 16;
/// How many connections there may be at once.
const CONNECTIONS: usize = 1024;
/// How many requests one connection of HTTP/2 may have at once.
const STREAMS: u32 = 64;
/// How much may be under way on one stream, and on one connection, in bytes: one stream alone fills a line of 80 MB/s over 50 ms.
const WINDOWS: (u32, u32) = (4 << 20, 16 << 20);
/// Threads for work that blocks.
const THREADS: usize = 64;

/// Serves until `stop` says so.
pub(super) fn run(service: Arc<Service>, options: &ServeOptions, stop: &Stop) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(std::thread::available_parallelism().map_or(2, |count| count.get().min(8)))
        .max_blocking_threads(THREADS)
        .build()
        .map_err(|error| EngineError::with_source(ErrorKind::Io, "cannot start the server", error))?;
    let result = runtime.block_on(async {
        if options.stdio {
            let io = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
            let graceful = GracefulShutdown::new();
            let served = tokio::spawn(serve_pipe(service, io, graceful.watcher()));
            while !stop() && !served.is_finished() {
                tokio::time::sleep(ASK).await;
            }
            finish(graceful, options).await;
            return Ok(());
        }
        listen(service, options, stop).await
    });
    // A read of the standard input may never end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Lets requests that were begun end.
async fn finish(graceful: GracefulShutdown, options: &ServeOptions) {
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        (options.warn)("some requests did not end in time");
    }
}

async fn asked(stop: &Stop) {
    while !stop() {
        tokio::time::sleep(ASK).await;
    }
}

/// A listener, and how its connections begin.
enum Door {
    Tcp(TcpListener, Option<TlsAcceptor>),
    Socket(UnixListener),
    /// For `/health` and `/metrics`.
    Metrics(TcpListener),
}

async fn listen(service: Arc<Service>, options: &ServeOptions, stop: &Stop) -> Result<()> {
    let doors = open_doors(options)?;
    let graceful = Arc::new(GracefulShutdown::new());
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut tasks = tokio::task::JoinSet::new();
    for door in doors {
        let room = match door {
            // Whoever watches must get in when all others do not.
            Door::Metrics(_) => Arc::new(Semaphore::new(METRICS_CONNECTIONS)),
            Door::Tcp(..) | Door::Socket(_) => Arc::clone(&room),
        };
        tasks.spawn(accept(Arc::clone(&service), door, Arc::clone(&graceful), room));
    }
    asked(stop).await;
    // Those who come now are refused by the system; those who are here are answered.
    tasks.abort_all();
    while tasks.join_next().await.is_some() {}
    if let Some(graceful) = Arc::into_inner(graceful) {
        finish(graceful, options).await;
    }
    if let Some(socket) = &options.socket {
        let _ = std::fs::remove_file(socket);
    }
    Ok(())
}

fn open_doors(options: &ServeOptions) -> Result<Vec<Door>> {
    let acceptor = options.tls.as_ref().map(tls::configuration).transpose()?.map(TlsAcceptor::from);
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    let mut doors = Vec::new();
    for text in &options.listen {
        let is_plain = acceptor.is_none() && !options.insecure_plain_http;
        let listener = bind(text, |address| refusal(address, is_plain, options.no_auth))?;
        (options.announce)(&format!("listening on {scheme}://{}", local(&listener)?));
        doors.push(Door::Tcp(listener, acceptor.clone()));
    }
    if let Some(path) = &options.socket {
        doors.push(Door::Socket(bind_socket(path)?));
        (options.announce)(&format!("listening on {}", path.display()));
    }
    if let Some(text) = &options.metrics {
        let listener = bind(text, |address| refusal(address, !options.insecure_plain_http, false))?;
        (options.announce)(&format!("metrics on http://{}/metrics", local(&listener)?));
        doors.push(Door::Metrics(listener));
    }
    Ok(doors)
}

/// Why nobody listens there.
fn refusal(address: SocketAddr, is_plain: bool, no_auth: bool) -> Option<&'static str> {
    if address.ip().is_loopback() {
        return None;
    }
    if no_auth {
        return Some("--no-auth is for loopback addresses and sockets only");
    }
    is_plain
        .then_some("tokens would cross the network in the clear: --tls-cert and --tls-key (or --insecure-plain-http)")
}

fn bind(text: &str, refusal: impl Fn(SocketAddr) -> Option<&'static str>) -> Result<TcpListener> {
    let failed = |error| EngineError::with_source(ErrorKind::Io, format!("cannot listen on {text}"), error);
    let addresses: Vec<_> = text.to_socket_addrs().map_err(failed)?.collect();
    if let Some(why) = addresses.iter().find_map(|address| refusal(*address)) {
        return Err(EngineError::new(ErrorKind::Invalid, format!("cannot listen on {text}: {why}")));
    }
    let listener = StdListener::bind(addresses.as_slice()).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    TcpListener::from_std(listener).map_err(failed)
}

fn local(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(|error| EngineError::with_source(ErrorKind::Io, "cannot listen", error))
}

/// A socket for its owner and group. One that a server which died left is replaced.
fn bind_socket(path: &Path) -> Result<UnixListener> {
    let failed = |error| EngineError::io("listen on", path, error);
    let is_left_over = path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path).is_err();
    if is_left_over {
        std::fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}

async fn accept(service: Arc<Service>, door: Door, graceful: Arc<GracefulShutdown>, room: Arc<Semaphore>) {
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        if accept_one(&service, &door, &graceful, permit).await.is_err() {
            // Out of handles, or the other side left at once: neither ends a server.
            tokio::time::sleep(ASK).await;
        }
    }
}

async fn accept_one(
    service: &Arc<Service>,
    door: &Door,
    graceful: &GracefulShutdown,
    permit: OwnedSemaphorePermit,
) -> std::io::Result<()> {
    let service = Arc::clone(service);
    match door {
        Door::Tcp(listener, acceptor) => {
            let (stream, address) = listener.accept().await?;
            let (acceptor, watcher) = (acceptor.clone(), graceful.watcher());
            let peer = Peer { address: address.to_string(), ..Peer::default() };
            tokio::spawn(async move {
                let _permit = permit;
                let activity = Arc::clone(&peer.activity);
                while_active(&activity, &LIMITS, serve_tcp(service, stream, peer, acceptor, watcher)).await;
            });
        }
        Door::Socket(listener) => {
            let (stream, _) = listener.accept().await?;
            let watcher = graceful.watcher();
            let peer = Peer { address: "socket".to_owned(), ..Peer::default() };
            tokio::spawn(async move {
                let _permit = permit;
                let activity = Arc::clone(&peer.activity);
                while_active(&activity, &LIMITS, serve_stream(service, stream, peer, watcher)).await;
            });
        }
        Door::Metrics(listener) => {
            let (stream, _) = listener.accept().await?;
            let watcher = graceful.watcher();
            tokio::spawn(async move {
                let _permit = permit;
                let tell = service_fn(move |request| tell_metrics(Arc::clone(&service), request));
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).keep_alive(false);
                let connection = watcher.watch(builder.serve_connection(TokioIo::new(stream), tell));
                let _ = tokio::time::timeout(PATIENCE, connection).await;
            });
        }
    }
    Ok(())
}

/// Serves a connection until it ends, or has done nothing for too long.
async fn while_active(activity: &Activity, limits: &Limits, serve: impl Future<Output = ()>) {
    select(pin!(serve), pin!(activity.over(limits))).await;
}

async fn serve_tcp(
    service: Arc<Service>,
    stream: TcpStream,
    mut peer: Peer,
    acceptor: Option<TlsAcceptor>,
    watcher: Watcher,
) {
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = acceptor else { return serve_stream(service, stream, peer, watcher).await };
    let Ok(stream) = acceptor.accept(stream).await else { return };
    if let Some([certificate, ..]) = stream.get_ref().1.peer_certificates() {
        peer.certificate = Some(tls::fingerprint(certificate));
        peer.common_name = tls::common_name(certificate);
    }
    serve_stream(service, stream, peer, watcher).await;
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(SILENCE)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1);
    builder
}

async fn serve_stream<S>(service: Arc<Service>, stream: S, peer: Peer, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shared = Arc::clone(&service);
    let _one_more = OneMore::of(&shared.metrics.connections);
    let peer = Arc::new(peer);
    let answer = service_fn(move |request| answer(Arc::clone(&service), Arc::clone(&peer), request));
    // How a connection ends is the client's matter: what it was not told, it asks again.
    let _ = watcher.watch(builder().serve_connection(TokioIo::new(stream), answer).into_owned()).await;
}

/// Serves one client, whom ssh has asked who it is, in HTTP/2 alone.
async fn serve_pipe<S>(service: Arc<Service>, stream: S, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = Arc::new(Peer { address: "pipe".to_owned(), ..Peer::default() });
    let answer = service_fn(move |request| answer(Arc::clone(&service), Arc::clone(&peer), request));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(SILENCE)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1);
    let _ = watcher.watch(builder.serve_connection(TokioIo::new(stream), answer)).await;
}

async fn tell_metrics(
    service: Arc<Service>,
    request: Request<Incoming>,
) -> std::result::Result<Response<Answer>, Infallible> {
    let (status, text) = match (request.method().as_str(), request.uri().path()) {
        ("GET", "/metrics") => (200, service.metrics.text()),
        ("GET", "/health") => (200, "ok\n".to_owned()),
        _ => (404, "there are /metrics and /health\n".to_owned()),
    };
    let mut response = Response::new(full(text));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    Ok(response)
}

/// Servers for tests of the storages that talk to them.
#[cfg(test)]
pub(crate) mod testing {
    use std::path::Path;
    use std::sync::atomic::Ordering;

    use super::super::answer::Gate;
    use super::super::body::{Channelled, send};
    use super::super::rules::Verbs;
    use super::super::store::Repositories;
    use super::*;

    /// A server that takes any bytes, on a loopback address, until the test ends.
    pub(crate) struct TestServer {
        /// Where it is.
        pub(crate) address: SocketAddr,
        _runtime: tokio::runtime::Runtime,
    }

    fn service(root: &Path, is_only: bool) -> Arc<Service> {
        let mut repositories = Repositories::new(root, is_only, None);
        repositories.verifies = false;
        Arc::new(Service::new(repositories, Gate::Open, Verbs::ALL, None, Arc::new(|_| {})))
    }

    impl TestServer {
        pub(crate) fn start(root: &Path) -> Self {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
            let service = service(root, false);
            let _inside = runtime.enter();
            let listener = bind("127.0.0.1:0", |_| None).expect("a listener");
            let address = listener.local_addr().expect("an address");
            let graceful = Arc::new(GracefulShutdown::new());
            let room = Arc::new(Semaphore::new(CONNECTIONS));
            runtime.spawn(accept(service, Door::Tcp(listener, None), graceful, room));
            drop(_inside);
            Self { address, _runtime: runtime }
        }
    }

    /// Serves the repository in `root` on a stream.
    pub(crate) async fn serve_on<S>(root: &Path, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        serve_pipe(service(root, true), stream, GracefulShutdown::new().watcher()).await;
    }

    /// Bug: through a pipe, requests that were begun were cut when the server was asked to end.
    #[test]
    fn a_pipe_that_is_asked_to_end_finishes_what_was_begun() {
        let scratch = tempfile::tempdir().expect("scratch");
        let service = service(scratch.path(), true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (theirs, ours) = tokio::io::duplex(64 << 10);
            let graceful = GracefulShutdown::new();
            tokio::spawn(serve_pipe(Arc::clone(&service), ours, graceful.watcher()));
            let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(theirs)).await;
            let (mut sender, connection) = client.expect("a connection");
            tokio::spawn(connection);
            let (pieces, body) = Channelled::pair(Some(4));
            let request = Request::put("http://pipe/repository/config").body(body).expect("a request");
            let answer = tokio::spawn(sender.send_request(request));
            while service.metrics.in_flight.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
            let ended = tokio::spawn(graceful.shutdown());
            assert!(send(&pieces, Ok("four".into())).await);
            drop(pieces);
            assert_eq!(answer.await.expect("no panic").expect("an answer").status(), 201);
            ended.await.expect("it ends");
        });
        assert_eq!(std::fs::read(scratch.path().join("config")).expect("it is there"), b"four");
    }

    /// Bug: a connection that said nothing, or only the beginning of HTTP/2, stayed for ever. The client never closes here,
    /// so that the server ends it or the test does not end.
    #[test]
    fn a_connection_without_a_request_ends() {
        let scratch = tempfile::tempdir().expect("scratch");
        let service = service(scratch.path(), false);
        let hour = Duration::from_secs(3600);
        let limits = Limits { first: Duration::from_millis(1), idle: hour, stall: hour };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            for said in ["", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /health HTTP/1.1\r\n\r\n"] {
                let (mut theirs, ours) = tokio::io::duplex(4096);
                tokio::io::AsyncWriteExt::write_all(&mut theirs, said.as_bytes()).await.expect("room");
                let (peer, graceful) = (Peer::default(), GracefulShutdown::new());
                let activity = Arc::clone(&peer.activity);
                let serve = serve_stream(Arc::clone(&service), ours, peer, graceful.watcher());
                while_active(&activity, &limits, serve).await;
            }
        });
    }
}
