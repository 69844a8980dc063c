//! Running commands and keeping what they said.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use serde_json::Value;

/// The ordinary user that root becomes.
pub const NOBODY: u32 = 65534;

/// The exit codes that the manual promises.
const DOCUMENTED: [i32; 10] = [0, 1, 2, 3, 4, 5, 10, 11, 12, 130];

/// The binary under test.
pub fn repo_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("REPO_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the path of the test executable");
    let directory = test.parent().expect("target/PROFILE/deps/test, or target/PROFILE/campaign");
    let profile = directory.parent().filter(|_| directory.ends_with("deps")).unwrap_or(directory);
    let binary = profile.join("repo");
    assert!(binary.is_file(), "{} is missing: build the binary first, or set REPO_BIN", binary.display());
    binary
}

/// Copies the binary to where everybody may run it: the build directory may be closed to others. Another process does
/// that, for the reason of [`write_program`](crate::tree::write_program).
#[track_caller]
pub fn copy_binary(to: &Path) {
    tool("install", crate::words!["-m", "755", repo_binary(), to]);
}

/// A command that has ended.
#[derive(Debug)]
pub struct Run {
    /// The command line, for messages.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Run {
    /// Puts an output and the line that made it together.
    pub fn new(line: String, output: Output) -> Self {
        Self { line, status: output.status, stdout: output.stdout, stderr: output.stderr }
    }

    /// The exit code; 128 + N after signal N.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Fails unless the program ended in a way that the manual promises, without a panic.
    #[track_caller]
    pub fn civil(&self) -> &Self {
        let err = self.err();
        assert!(!err.contains("panicked"), "a panic\n{self}");
        assert!(self.status.code().is_some_and(|code| DOCUMENTED.contains(&code)), "no documented end\n{self}");
        self
    }

    /// Fails unless the exit code is this one.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        self.civil();
        assert!(self.code() == code, "expected exit code {code}\n{self}");
        self
    }

    /// Fails unless the exit code is 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.ends(0)
    }

    /// Fails unless standard output or standard error contains `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.out().contains(text) || self.err().contains(text), "`{text}` is not said\n{self}");
        self
    }

    /// All messages of `--json` on standard output.
    #[track_caller]
    pub fn messages(&self) -> Vec<Value> {
        parse_lines(&self.stdout, self)
    }

    /// All messages of `--json` on standard error.
    #[track_caller]
    pub fn error_messages(&self) -> Vec<Value> {
        parse_lines(&self.stderr, self)
    }

    /// Messages of one type from standard output.
    #[track_caller]
    pub fn of_type(&self, message_type: &str) -> Vec<Value> {
        self.messages().into_iter().filter(|message| message["message_type"] == message_type).collect()
    }

    /// The one summary.
    #[track_caller]
    pub fn summary(&self) -> Value {
        let found = self.of_type("summary");
        assert!(found.len() == 1, "{} summaries\n{self}", found.len());
        found.into_iter().next().expect("one")
    }

    /// The id of the snapshot that was made.
    #[track_caller]
    pub fn snapshot_id(&self) -> String {
        let summary = self.summary();
        summary["snapshot_id"].as_str().unwrap_or_else(|| panic!("no snapshot id\n{self}")).to_owned()
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |text: String| -> String {
            let count = text.chars().count();
            if count > 4000 { text.chars().take(4000).collect::<String>() + "…" } else { text }
        };
        write!(
            f,
            "$ {}\nended with {}\n--- stdout\n{}\n--- stderr\n{}",
            self.line,
            self.status,
            short(self.out()),
            short(self.err())
        )
    }
}

#[track_caller]
fn parse_lines(bytes: &[u8], run: &Run) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|_| panic!("not UTF-8\n{run}"));
    let parse = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}\n{run}"));
        assert!(value["message_type"].is_string(), "no message_type: {line}\n{run}");
        value
    };
    text.lines().map(parse).collect()
}

/// The command line of a command, for messages.
pub fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs a command to its end without input.
#[track_caller]
pub fn run_command(command: &mut Command) -> Run {
    let line = line_of(command);
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("cannot run {line}: {error}"));
    Run::new(line, output)
}

/// A command as strace runs it, which watches all its threads as `options` say; `None` where tracing is not possible.
pub fn under_strace(command: &Command, options: &str) -> Option<Command> {
    let probe = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        return None;
    }
    let mut strace = Command::new("strace");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        strace.current_dir(directory);
    }
    strace.arg("-f").args(split(options)).arg(command.get_program()).args(command.get_args());
    Some(strace)
}

/// Runs another program and fails unless it ends with 0.
#[track_caller]
pub fn tool<I: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = I>) -> Run {
    let run = run_command(Command::new(program).args(arguments));
    assert!(run.status.success(), "{run}");
    run
}

/// Arguments of different types as one list: `words![a, "b", path]`.
#[macro_export]
macro_rules! words {
    ($($word:expr),* $(,)?) => { vec![$(std::ffi::OsString::from(&$word)),*] };
}

/// Splits a line at blanks, for arguments without any.
pub fn split(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}
