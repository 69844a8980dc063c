//! The program ssh, which knows hosts, keys and who asks for passwords.

use std::process::Stdio;

use engine::{EngineError, ErrorKind, Result};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::access::Access;
use crate::address::Remote;

/// The command line up to the host: the program and what it is told of its way.
///
/// # Errors
/// `Invalid` for an option `ssh.command` that is no command.
pub(crate) fn words(remote: &Remote, access: &Access) -> Result<Vec<String>> {
    let command = access.option("ssh.command").unwrap_or("ssh");
    let invalid = |why: &str| EngineError::new(ErrorKind::Invalid, format!("option ssh.command={command}: {why}"));
    let mut words = shell_words::split(command).map_err(|_| invalid("quotes that don't match"))?;
    if words.is_empty() {
        return Err(invalid("no command"));
    }
    // A network that has changed, or forgot the connection, says nothing: this notices after a minute and a half.
    words.extend(["-o", "ServerAliveInterval=30"].map(str::to_owned));
    if let Some(port) = remote.port {
        words.extend(["-p".to_owned(), port.to_string()]);
    }
    Ok(words)
}

/// Starts a command; its standard error is ours. It ends when what this returns is dropped.
///
/// # Errors
/// `Io` if it can't be run.
pub(crate) fn start(words: &[String]) -> Result<(Child, ChildStdin, ChildStdout)> {
    let failed = |error| EngineError::with_source(ErrorKind::Io, format!("cannot run {}", words.join(" ")), error);
    let mut command = Command::new(words.first().map_or("ssh", String::as_str));
    command.args(words.get(1..).unwrap_or_default()).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(failed(std::io::ErrorKind::BrokenPipe.into()));
    };
    Ok((child, input, output))
}
