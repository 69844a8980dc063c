//! Arguments of `serve`.

use std::path::PathBuf;

use super::values;

const EXAMPLES: &str = "Examples:
  repo serve --path /srv/backup --listen 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem --tokens tokens
  repo serve --path /srv/backup --unix /run/repo.sock --tokens tokens --append-only --quota 500G
  repo serve --stdio --append-only --path /srv/backup/laptop
  repo serve token --repository laptop --allow put,list,get --tokens tokens

Clients say rest:https://HOST:8443/laptop, and have their token in REPO_TOKEN or REPO_TOKEN_FILE. The last but one is what
ssh runs for ssh://HOST/srv/backup/laptop; with it as the command of a key in authorized_keys that key can do nothing else.

The server needs no password, and can't read what it keeps. docs/serve.md says what a thief with a token can do and what not.";

/// Serve repositories to other machines, over HTTP or ssh
///
/// Repositories are directories below --path, made by the first `repo init`. Who may do what is in the file of tokens; it
/// is read again when it changes. SIGTERM and SIGINT finish the requests that were begun.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Serve {
    #[command(subcommand)]
    pub(crate) action: Option<ServeAction>,

    /// The directory that repositories are below; with --stdio, the repository
    #[arg(long, value_name = "DIR", required = true)]
    pub(crate) path: Option<PathBuf>,

    /// Listen on an address; port 0 is one that is free
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Vec<String>,

    /// Listen on a socket in the file system, for its owner and group
    #[arg(long, value_name = "SOCKET")]
    pub(crate) unix: Option<PathBuf>,

    /// Serve one client on standard input and output, as ssh does
    #[arg(long, conflicts_with_all = ["listen", "unix", "tokens", "metrics", "tls_cert", "no_auth"])]
    pub(crate) stdio: bool,

    /// The server's certificate and those above it, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The certificate's key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Authorities that sign the certificates of clients, in PEM; the file of tokens says what each may do
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) client_ca: Option<PathBuf>,

    /// Who is known, and may do what: see `repo serve token`
    #[arg(long, value_name = "FILE", conflicts_with = "no_auth")]
    pub(crate) tokens: Option<PathBuf>,

    /// Let everybody in who reaches a loopback address or the socket
    #[arg(long)]
    pub(crate) no_auth: bool,

    /// Let nobody remove or replace anything, or add a way in, whatever the file of tokens says
    #[arg(long)]
    pub(crate) append_only: bool,

    /// The most that each repository may take (500G)
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) quota: Option<u64>,

    /// Say /metrics, for Prometheus, and /health on an address of their own
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<String>,

    /// Allow addresses that are not this machine's own without TLS: whoever listens there has the tokens
    #[arg(long)]
    pub(crate) insecure_plain_http: bool,
}

/// What else there is to do for a server.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ServeAction {
    Token(Token),
}

/// Make a token for a client
///
/// The repositories are given with --repository: a name, with * for any part of one and ** for any number of parts. The
/// token is printed once. The server's file has a line with its hash, the repositories and what may be done; the line is
/// printed, too, or added to --tokens.
#[derive(Debug, clap::Args)]
pub(crate) struct Token {
    /// What it may do: list, get, put, lock, keys, forget, prune, delete; or all
    #[arg(long, value_name = "VERBS", default_value = "put,list,get")]
    pub(crate) allow: String,

    /// What logs call it
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Add the line to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) tokens: Option<PathBuf>,
}
