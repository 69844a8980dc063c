//! The way over HTTPS, and over HTTP to this machine.

use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::storage::Storage;
use engine::{EngineError, ErrorKind, Result};
use reqwest::blocking::{Body, Client, Response};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RANGE, RETRY_AFTER};
use reqwest::{Certificate, Identity, Method, redirect};
use tokio_rustls::rustls;
use url::{Host, Url};

use super::{Ask, Broken, HttpStorage, Reply, Transport, retry_after};
use crate::access::Access;
use crate::files::read_small;
use crate::protocol::{self, RepositoryName};
use crate::throttle::Throttle;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(30);
/// How long a connection without a request is kept: less than a server does.
const IDLE: Duration = Duration::from_secs(20);
/// After how long a connection that says nothing is looked after.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Length in bytes of the largest file with a token.
const TOKEN_BYTES: u64 = 4 << 10;
/// Length in bytes of the largest file of certificates.
const PEM_BYTES: u64 = 1 << 20;

/// Opens the repository at `url`.
///
/// # Errors
/// `Invalid` for an address or a file that is none; `NoRepository`; `Io`.
pub(crate) fn open(url: &Url, create: bool, access: &Access) -> Result<Arc<dyn Storage>> {
    let place = format!("rest:{url}");
    let transport = Rest::new(url, access)?;
    HttpStorage::open(transport, place, create, access.patience()?.briefly(), access)
}

struct Rest {
    client: Client,
    /// Scheme, host, port and repository.
    base: String,
    /// If there is a limit. Without one a body goes out as it is, which is faster than through a reader.
    up: Option<Throttle>,
    down: Throttle,
}

impl Rest {
    fn new(url: &Url, access: &Access) -> Result<Self> {
        let invalid = |why: &str| EngineError::new(ErrorKind::Invalid, format!("address rest:{url}: {why}"));
        let repository = RepositoryName::parse(url.path().trim_matches('/'))
            .ok_or_else(|| invalid("no name of a repository: up to four parts of letters, digits, . _ and -"))?;
        let allowed = access.variable("REPO_INSECURE_PLAIN_HTTP")?.is_some_and(|value| value == "1");
        if url.scheme() == "http" && !is_loopback(url) && !allowed {
            return Err(invalid(
                "a token would cross the network in the clear: use https (or REPO_INSECURE_PLAIN_HTTP=1)",
            ));
        }
        let mut base = url.clone();
        base.set_path("");
        Ok(Self {
            client: client(url, access)?,
            base: format!("{}/{repository}", base.as_str().trim_end_matches('/')),
            up: access.upload_limit.map(|limit| Throttle::new(Some(limit))),
            down: Throttle::new(access.download_limit),
        })
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn client(url: &Url, access: &Access) -> Result<Client> {
    let bad = |what: &str, path: &Path, error: reqwest::Error| {
        EngineError::with_source(ErrorKind::Invalid, format!("cannot use the {what} in {}", path.display()), error)
    };
    let mut headers = HeaderMap::new();
    headers.insert(protocol::HEADER, HeaderValue::from_static(protocol::VERSION));
    if let Some(token) = token(access)? {
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut value = value.map_err(|_| EngineError::new(ErrorKind::Invalid, "a token has no such characters"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let mut builder = Client::builder()
        .default_headers(headers)
        // A token is for the server that was named, and for no other one.
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(None)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .tcp_keepalive(KEEP_ALIVE)
        .https_only(url.scheme() == "https");
    if url.scheme() == "http" {
        // A machine without authorities of its own can't even begin otherwise.
        builder = builder.tls_certs_only([]);
    } else if let Some(path) = access.option("rest.ca-file").map(Path::new) {
        let authorities = Certificate::from_pem_bundle(&read_small(path, PEM_BYTES)?);
        // These and no others: whoever names one wants nobody else to speak for the server.
        builder = builder.tls_certs_only(authorities.map_err(|error| bad("certificates", path, error))?);
    }
    match (access.option("rest.client-cert").map(Path::new), access.option("rest.client-key").map(Path::new)) {
        (Some(certificate), Some(key)) => {
            let mut pem = read_small(key, PEM_BYTES)?;
            pem.push(b'\n');
            pem.extend(read_small(certificate, PEM_BYTES)?);
            let identity = Identity::from_pem(&pem).map_err(|error| bad("certificate and key", certificate, error))?;
            builder = builder.identity(identity);
        }
        (None, None) => {}
        _ => {
            return Err(EngineError::new(
                ErrorKind::Invalid,
                "options rest.client-cert and rest.client-key go together",
            ));
        }
    }
    builder.build().map_err(|error| EngineError::with_source(ErrorKind::Io, "cannot set up HTTPS", error))
}

/// The token: of the file that an option names, of the variable, or of the file that a variable names.
fn token(access: &Access) -> Result<Option<String>> {
    let of_file = |path: &Path| {
        let text = String::from_utf8(read_small(path, TOKEN_BYTES)?)
            .map_err(|_| EngineError::new(ErrorKind::Invalid, format!("{} holds no token", path.display())))?;
        Ok(Some(text.trim().to_owned()))
    };
    if let Some(path) = access.option("rest.token-file") {
        return of_file(Path::new(path));
    }
    match (access.variable("REPO_TOKEN")?, access.path("REPO_TOKEN_FILE")) {
        (Some(token), _) => Ok(Some(token.trim().to_owned())),
        (None, Some(path)) => of_file(&path),
        (None, None) => Ok(None),
    }
}

impl Transport for Rest {
    fn exchange(&self, ask: &Ask) -> Result<Reply, Broken> {
        let (method, path) = ask.operation.request("");
        let method = Method::from_bytes(method.as_bytes()).map_err(|error| for_good("no method", error))?;
        let is_put = method == Method::PUT;
        let mut request = self.client.request(method, format!("{}{path}", self.base)).timeout(ask.time());
        if let Some(range) = ask.range_header() {
            request = request.header(RANGE, range);
        }
        if ask.tidies {
            request = request.header(protocol::TIDY_HEADER, protocol::TIDY_INTENT);
        }
        if is_put {
            let body = ask.body.clone();
            request = request.body(match &self.up {
                None => Body::from(body),
                Some(up) => Body::sized(up.reader(Cursor::new(body)), ask.body.len() as u64),
            });
        }
        let response = request.send().map_err(broken)?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let mut reply = Reply {
            status: response.status().as_u16(),
            is_ours: header(protocol::HEADER) == Some(protocol::VERSION),
            has_tidied: header(protocol::TIDY_HEADER).is_some(),
            len: header("content-length").and_then(|len| len.parse().ok()),
            retry_after: retry_after(header(RETRY_AFTER.as_str())),
            body: Vec::new(),
        };
        self.read_body(response, ask.max, &mut reply)?;
        Ok(reply)
    }
}

impl Rest {
    fn read_body(&self, response: Response, max: u64, reply: &mut Reply) -> Result<(), Broken> {
        // A refusal is longer than nothing, and short.
        let max = if reply.status < 300 { max } else { protocol::MESSAGE_BYTES };
        let room = reply.len.unwrap_or(0).min(max);
        reply.body.reserve_exact(usize::try_from(room).unwrap_or(0));
        let read = self.down.reader(response).take(max + 1).read_to_end(&mut reply.body);
        read.map(drop)
            .map_err(|error| Broken::Lost(EngineError::with_source(ErrorKind::Io, "the answer was cut", error)))
    }
}

fn for_good(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Broken {
    Broken::ForGood(EngineError::with_source(ErrorKind::Invalid, what, error))
}

/// What a request without an answer means.
fn broken(error: reqwest::Error) -> Broken {
    let error = error.without_url();
    let (is_connect, is_builder, why) = (error.is_connect(), error.is_builder(), reason(&error));
    let tls = is_connect && is_tls(&error);
    let error = EngineError::with_source(ErrorKind::Io, why, error);
    match (is_connect, tls || is_builder) {
        (_, true) => Broken::ForGood(error),
        (true, false) => Broken::Unsent(error),
        (false, false) => Broken::Lost(error),
    }
}

fn reason(error: &reqwest::Error) -> &'static str {
    match (error.is_timeout(), error.is_connect()) {
        (true, _) => "the server does not answer",
        (false, true) => "the server can't be reached",
        (false, false) => "the connection broke",
    }
}

/// Whether the other side is not who it should be: that does not change by asking again.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<rustls::Error>().is_some() {
            return true;
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if inner.is_some_and(|inner| is_tls(inner)) {
            return true;
        }
        next = error.source();
    }
    false
}
