//! One process that speaks SFTP, and what it can do.

use std::time::Duration;

use engine::{EngineError, ErrorKind, Result};
use openssh_sftp_client::{Error as SftpError, Sftp, SftpOptions};
use tokio::process::Child;
use tokio::time::timeout;

use crate::refusal::{Cause, Refusal};
use crate::ssh;

/// How long a server may take to say hello; ssh may have to ask a person for a password.
const HELLO: Duration = Duration::from_secs(180);

/// An error of the library in the words of the system, where it has some.
pub(super) fn told(error: &SftpError) -> String {
    match error {
        SftpError::IOError(error) => error.to_string(),
        SftpError::RecursiveErrors(both) => told(&both.original_error),
        SftpError::RecursiveErrors3(all) => told(&all.err1),
        other => other.to_string(),
    }
}

/// A process and the conversation with it. Many requests may be under way at once.
pub(super) struct Connection {
    pub(super) sftp: Sftp,
    /// Ends with this.
    _process: Child,
}

impl Connection {
    /// Starts the process and says hello.
    ///
    /// # Errors
    /// `Io` if it can't be run, or ends, or speaks something else. What ssh says itself is on standard error.
    pub(super) async fn start(words: &[String], place: &str) -> Result<Self> {
        let (process, input, output) = ssh::start(words)?;
        let text = format!("cannot reach {place} by SFTP");
        let sftp = match timeout(HELLO, Sftp::new(input, output, SftpOptions::default())).await {
            Ok(Ok(sftp)) => sftp,
            Ok(Err(error)) => {
                let why = Refusal::new(Cause::Unreachable, format!("the connection broke: {}", told(&error)));
                return Err(EngineError::with_source(ErrorKind::Io, text, why));
            }
            Err(_) => return Err(EngineError::new(ErrorKind::Io, format!("{text}: no answer within {HELLO:?}"))),
        };
        Ok(Self { sftp, _process: process })
    }

    #[cfg(test)]
    pub(super) fn process_id(&self) -> Option<u32> {
        self._process.id()
    }

    /// Whether nothing but a rename that replaces what is there can give a file its name.
    pub(super) fn would_replace(&self) -> bool {
        !self.has_hard_links() && self.sftp.support_posix_rename()
    }

    /// Whether it can give a file a second name, if nothing has that name.
    pub(super) fn has_hard_links(&self) -> bool {
        self.sftp.support_hardlink()
    }
}
