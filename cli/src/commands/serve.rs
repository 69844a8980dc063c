//! `serve`: lets other machines use the repositories of this one.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use remote::serve::{self, ServeOptions, TlsFiles};

use crate::args::serve::{Serve, ServeAction, Token};
use crate::context::Context;
use crate::exit::{self, Failure, Outcome, io_failure};
use crate::messages::Message;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Serve) -> Result<Outcome, Failure> {
    if let Some(ServeAction::Token(arguments)) = &arguments.action {
        return token(context, arguments);
    }
    let path = arguments.path.clone().ok_or_else(|| Failure::Usage("--path DIR is needed".into()))?;
    let tls = match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(certificate), Some(key)) => Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            client_authorities: arguments.client_ca.clone(),
        }),
        _ => None,
    };
    let (is_quiet, cancel) = (context.output.is_quiet(), context.cancel.clone());
    // Standard output may be a client's, so all that is said is said on standard error.
    let line: serve::Log = Arc::new(|text| exit::tell(format_args!("{text}")));
    let options = ServeOptions {
        path,
        listen: arguments.listen.clone(),
        socket: arguments.unix.clone(),
        stdio: arguments.stdio,
        tls,
        tokens: arguments.tokens.clone(),
        no_auth: arguments.no_auth,
        append_only: arguments.append_only,
        quota: arguments.quota,
        metrics: arguments.metrics.clone(),
        insecure_plain_http: arguments.insecure_plain_http,
        log: (context.output.verbosity() > 0).then(|| Arc::clone(&line)),
        announce: if is_quiet { Arc::new(|_| ()) } else { line },
        warn: Arc::new(exit::warning),
    };
    let stop: serve::Stop = Arc::new(move || cancel.is_requested());
    serve::serve(&options, &stop)?;
    Ok(Outcome::Done)
}

/// Makes a token. It is printed and kept nowhere.
fn token(context: &Context, arguments: &Token) -> Result<Outcome, Failure> {
    let Some(repositories) = &context.global.repository else {
        return Err(Failure::Usage("for which repositories? --repository NAME".into()));
    };
    let made = serve::new_token(repositories, &arguments.allow, arguments.name.as_deref())?;
    if let Some(path) = &arguments.tokens {
        append(path, &made.line).map_err(|error| io_failure("write", path, error))?;
    }
    if context.output.is_json() {
        context.output.message(&Message::Token { token: &made.token, line: &made.line })?;
    } else if arguments.tokens.is_some() {
        context.output.line(&made.token)?;
    } else {
        context.output.line(&format!("token: {}", made.token))?;
        context.output.line(&format!("line for the file of tokens: {}", made.line))?;
    }
    Ok(Outcome::Done)
}

/// Adds a line to a file that is its owner's alone, if it is new.
fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()
}
