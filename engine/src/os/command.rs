//! A command whose output is read as a stream.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A running command: reading yields its standard output. Its standard error is ours, its standard input is empty.
///
/// Dropped before [`Self::finish`], it is killed.
#[derive(Debug)]
pub struct StreamCommand {
    child: Option<Child>,
    output: Option<ChildStdout>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandEnd {
    /// It ended by itself; 0 is success.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl CommandEnd {
    /// Whether it ended by itself with 0.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl std::fmt::Display for CommandEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl StreamCommand {
    /// Starts the program `argv[0]` with the arguments that follow, without a shell.
    ///
    /// # Errors
    /// If `argv` is empty (`InvalidInput`) or the program can't be started.
    pub fn spawn(argv: &[OsString]) -> io::Result<Self> {
        let [program, arguments @ ..] = argv else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a command without a program"));
        };
        let mut child = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take();
        Ok(Self { child: Some(child), output })
    }

    /// Closes the pipe, waits for the end, and says how it was. A command that still writes then dies of SIGPIPE:
    /// read to the end first.
    ///
    /// # Errors
    /// If the system can't say.
    pub fn finish(mut self) -> io::Result<CommandEnd> {
        self.output = None;
        let mut child = self.child.take().expect("only this consuming call and drop take it");
        let status = child.wait()?;
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => CommandEnd::Code(code),
            (None, signal) => CommandEnd::Signal(signal.unwrap_or(0)),
        })
    }
}

impl Read for StreamCommand {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.output {
            Some(output) => output.read(buffer),
            None => Ok(0),
        }
    }
}

impl Drop for StreamCommand {
    fn drop(&mut self) {
        self.output = None;
        if let Some(mut child) = self.child.take() {
            // Nobody is left to hear of it; it has ended already if it can't be killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::host::process_is_alive;

    fn shell(script: &str) -> StreamCommand {
        StreamCommand::spawn(&["sh".into(), "-c".into(), script.into()]).expect("there is a shell")
    }

    #[test]
    fn output_and_end_of_a_command() {
        let mut command = shell("printf 'a\\0b'; exit 3");
        let mut output = Vec::new();
        command.read_to_end(&mut output).expect("the pipe can be read");
        assert_eq!(output, b"a\0b");
        assert_eq!(command.finish().expect("it ends"), CommandEnd::Code(3));
        assert_eq!(shell("kill -TERM $$").finish().expect("it ends"), CommandEnd::Signal(15));
        assert!(shell("test -z \"$(cat)\"").finish().expect("it ends").is_success(), "its input is empty");
    }

    #[test]
    fn what_can_not_start_is_an_error() {
        assert_eq!(StreamCommand::spawn(&[]).expect_err("no program").kind(), io::ErrorKind::InvalidInput);
        let missing = StreamCommand::spawn(&["/no/such/program".into()]).expect_err("no such program");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_dropped_command_is_killed() {
        let mut command = StreamCommand::spawn(&["sleep".into(), "1000".into()]).expect("there is `sleep`");
        let process_id = command.child.as_mut().expect("it runs").id();
        drop(command);
        assert!(!process_is_alive(process_id.into()));
    }
}
