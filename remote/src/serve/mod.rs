//! `repo serve`: repositories of a directory for clients on other machines, over HTTP.
//!
//! The server holds no key and reads no object: it knows names, lengths and hashes. What is in `rules.rs` is all that
//! protects a repository from its own clients. An async runtime waits for connections here; all work on files is in
//! `store.rs`, on threads that may block.

mod access;
mod activity;
mod answer;
mod body;
mod listen;
mod metrics;
mod rules;
mod share;
mod store;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;

use engine::{EngineError, ErrorKind, Result};

pub use access::{NewToken, new_token};
pub use tls::TlsFiles;

use access::Watched;
use answer::{Gate, Service};
use rules::Verbs;
use store::Repositories;

#[cfg(test)]
pub(crate) use listen::testing;

/// Takes lines for people.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// Whether somebody asked to stop.
pub type Stop = Arc<dyn Fn() -> bool + Send + Sync>;

/// What a server serves, where, and to whom.
pub struct ServeOptions {
    /// The directory that repositories are below; with `stdio`, the repository.
    pub path: PathBuf,
    /// Addresses with ports; port 0 is one that is free.
    pub listen: Vec<String>,
    /// A socket in the file system.
    pub socket: Option<PathBuf>,
    /// Serve one client on the standard streams and end with it.
    pub stdio: bool,
    /// TLS on `listen`.
    pub tls: Option<TlsFiles>,
    /// Who is known.
    pub tokens: Option<PathBuf>,
    /// Let everybody in who reaches a loopback address or the socket.
    pub no_auth: bool,
    /// Nobody may do more than an append-only client may.
    pub append_only: bool,
    /// Bytes that a repository may have.
    pub quota: Option<u64>,
    /// An address for `/health` and `/metrics` alone.
    pub metrics: Option<String>,
    /// Plain HTTP on other addresses than loopback.
    pub insecure_plain_http: bool,
    /// Takes a line for each request.
    pub log: Option<Log>,
    /// Takes where it listens.
    pub announce: Log,
    /// Takes what an administrator should know.
    pub warn: Log,
}

fn invalid(why: &str) -> EngineError {
    EngineError::new(ErrorKind::Invalid, why)
}

/// Serves until `stop` says so, or the client on the standard streams has gone. Requests that were begun are finished,
/// within half a minute.
///
/// # Errors
/// `Invalid` if it would be open to strangers, or can't use a file; `Io` if it can't listen.
pub fn serve(options: &ServeOptions, stop: &Stop) -> Result<()> {
    let gate = gate(options)?;
    if !options.stdio && !options.path.is_dir() {
        return Err(EngineError::new(
            ErrorKind::Invalid,
            format!("{} is no directory: repositories would be below it", options.path.display()),
        ));
    }
    let most = if options.append_only { Verbs::APPEND_ONLY } else { Verbs::ALL };
    let repositories = Repositories::new(&options.path, options.stdio, options.quota);
    let service = Service::new(repositories, gate, most, options.log.clone(), Arc::clone(&options.warn));
    listen::run(Arc::new(service), options, stop)
}

fn gate(options: &ServeOptions) -> Result<Gate> {
    if options.stdio {
        if !options.listen.is_empty() || options.socket.is_some() || options.tls.is_some() || options.metrics.is_some()
        {
            return Err(invalid("--stdio serves one client on the standard streams, and listens nowhere"));
        }
        if options.tokens.is_some() {
            return Err(invalid("--stdio asks for no tokens: ssh has asked already"));
        }
        return Ok(Gate::Open);
    }
    if options.listen.is_empty() && options.socket.is_none() {
        return Err(invalid("nowhere to listen: --listen ADDRESS:PORT, --unix SOCKET or --stdio"));
    }
    match (&options.tokens, options.no_auth) {
        (Some(_), true) => Err(invalid("--no-auth and --tokens contradict each other")),
        (Some(path), false) => Ok(Gate::File(Watched::open(path)?)),
        (None, true) => Ok(Gate::Open),
        (None, false) => {
            Err(invalid("everybody would be let in: --tokens FILE says who is known (or --no-auth, on loopback only)"))
        }
    }
}
