//! Streams to take a snapshot of: standard input, and what a command prints.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use engine::{EngineError, ErrorKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::exit::Failure;
use crate::signals::Cancel;

/// How long a wait for bytes takes at most until it looks whether to stop.
const PATIENCE: Duration = Duration::from_millis(250);

/// Bytes of a descriptor. A read that waits ends when somebody asks to stop: a blocked system call would be
/// continued after the signal's handler and never return.
#[derive(Debug)]
pub(super) struct Stream {
    file: std::fs::File,
    cancel: Cancel,
}

impl Stream {
    fn new(descriptor: OwnedFd, cancel: &Cancel) -> Self {
        Self { file: descriptor.into(), cancel: cancel.clone() }
    }

    /// Standard input of this process.
    pub(super) fn standard_input(cancel: &Cancel) -> Result<Self, Failure> {
        let descriptor = rustix::io::dup(io::stdin()).map_err(|error| {
            EngineError::with_source(ErrorKind::Io, "cannot read standard input", io::Error::from(error))
        })?;
        Ok(Self::new(descriptor, cancel))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(PATIENCE.subsec_nanos()) };
        loop {
            if self.cancel.is_requested() {
                // Not `Interrupted`, which readers take as a wish to try again.
                return Err(io::Error::other("stopped by a signal"));
            }
            let mut wait = [PollFd::from_borrowed_fd(self.file.as_fd(), PollFlags::IN)];
            match poll(&mut wait, Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return self.file.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A running command that feeds a snapshot. It ends with the snapshot, whatever becomes of that.
#[derive(Debug)]
pub(super) struct Feeder {
    child: Child,
    program: String,
}

impl Feeder {
    /// Starts the command; its standard error is this process's own.
    pub(super) fn start(command: &[OsString], cancel: &Cancel) -> Result<(Self, Stream), Failure> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| Failure::Usage("--stdin-from-command needs a command after `--`".into()))?;
        let name = program.to_string_lossy().into_owned();
        let cannot_start = |error: io::Error| {
            EngineError::with_source(ErrorKind::CommandFailed, format!("cannot run `{name}`"), error)
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(cannot_start)?;
        let stdout = child.stdout.take();
        let feeder = Self { child, program: name.clone() };
        let stdout = stdout.ok_or_else(|| cannot_start(io::Error::other("it has no standard output")))?;
        Ok((feeder, Stream::new(stdout.into(), cancel)))
    }

    /// Waits for the end of the command, which must be a good one.
    pub(super) fn finish(mut self) -> engine::Result<()> {
        let status = self.child.wait().map_err(|error| {
            EngineError::with_source(ErrorKind::CommandFailed, format!("cannot wait for `{}`", self.program), error)
        })?;
        if status.success() {
            return Ok(());
        }
        Err(EngineError::new(ErrorKind::CommandFailed, format!("`{}` failed: {status}", self.program)))
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        // Both do nothing to a command that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(command: &[&str]) -> (Vec<u8>, engine::Result<()>) {
        let command: Vec<OsString> = command.iter().map(OsString::from).collect();
        let (feeder, mut stream) = Feeder::start(&command, &Cancel::default()).expect("it starts");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("it reads");
        (bytes, feeder.finish())
    }

    #[test]
    fn a_command_gives_its_output_and_must_succeed() {
        let (bytes, end) = feed(&["printf", "abc"]);
        assert_eq!(bytes, b"abc");
        assert!(end.is_ok());
        let (bytes, end) = feed(&["sh", "-c", "printf half; exit 3"]);
        assert_eq!(bytes, b"half");
        assert_eq!(end.err().map(|error| error.kind()), Some(ErrorKind::CommandFailed));
        assert!(Feeder::start(&["/no/such/program".into()], &Cancel::default()).is_err());
        assert!(Feeder::start(&[], &Cancel::default()).is_err());
    }

    #[test]
    fn a_command_that_nobody_waits_for_is_ended() {
        let command: Vec<OsString> = ["sleep", "600"].iter().map(OsString::from).collect();
        let (feeder, _stream) = Feeder::start(&command, &Cancel::default()).expect("it starts");
        let started = std::time::Instant::now();
        drop(feeder);
        assert!(started.elapsed() < Duration::from_secs(60));
    }
}
