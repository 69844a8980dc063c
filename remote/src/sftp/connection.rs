//! One process that speaks SFTP, and what it can do.

use engine::{EngineError, ErrorKind, Result};
use openssh_sftp_client::{Sftp, SftpOptions};
use tokio::process::Child;

use crate::ssh;

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
        let sftp = Sftp::new(input, output, SftpOptions::default()).await.map_err(|error| {
            EngineError::with_source(
                ErrorKind::Io,
                format!("cannot reach {place} by SFTP ({})", words.join(" ")),
                error,
            )
        })?;
        Ok(Self { sftp, _process: process })
    }

    #[cfg(test)]
    pub(super) fn process_id(&self) -> Option<u32> {
        self._process.id()
    }

    /// Whether it can give a file a second name, if nothing has that name.
    pub(super) fn has_hard_links(&self) -> bool {
        self.sftp.support_hardlink()
    }
}
