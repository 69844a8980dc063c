//! Standard output: text or JSON Lines. Buffered when nobody is looking; ends quietly when nobody listens.

use std::io::{BufWriter, IsTerminal, Stdout, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::{EngineError, ErrorKind, Result};

use crate::args::Global;
use crate::exit;
use crate::messages::Message;

/// Where results go, and how.
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    verbose: u8,
    /// Whether a person watches, so that every line shows at once.
    terminal: bool,
    closed: AtomicBool,
    stdout: Mutex<BufWriter<anstream::AutoStream<Stdout>>>,
}

impl Output {
    /// An output as the global options want it.
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            terminal: std::io::stdout().is_terminal(),
            closed: AtomicBool::new(false),
            stdout: Mutex::new(BufWriter::with_capacity(64 << 10, anstream::stdout())),
        }
    }

    /// Whether messages are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether only results and problems are wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// How often `--verbose` was given.
    pub(crate) fn verbosity(&self) -> u8 {
        self.verbose
    }

    /// Whether standard output is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether the reader of standard output has gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Prints a line of text: data, also with `--quiet`.
    pub(crate) fn line(&self, text: &str) -> Result<()> {
        self.write(|out| writeln!(out, "{text}"), self.terminal)
    }

    /// Prints a line that sums up what was done, unless that is not wanted.
    pub(crate) fn summary(&self, text: &str) -> Result<()> {
        if self.quiet || self.json { Ok(()) } else { self.line(text) }
    }

    /// Prints a message as a line of JSON.
    pub(crate) fn message(&self, message: &Message<'_>) -> Result<()> {
        let line = json(message)
            .map_err(|error| EngineError::with_source(ErrorKind::Invalid, "cannot write a message as JSON", error))?;
        // Whoever reads progress wants it now.
        let flush = self.terminal || matches!(message, Message::Status { .. } | Message::VerboseStatus { .. });
        self.write(|out| writeln!(out, "{line}"), flush)
    }

    /// The same on standard error, where nothing can be done about a failure.
    pub(crate) fn json_to_stderr(&self, message: &Message<'_>) {
        if let Ok(line) = json(message) {
            exit::tell(format_args!("{line}"));
        }
    }

    /// Warns on standard error; with `--json` as a note.
    pub(crate) fn warn(&self, message: &str) {
        if self.json {
            self.json_to_stderr(&Message::Note { message });
        } else {
            exit::warning(message);
        }
    }

    /// Says something that helps but is no result, on standard error.
    pub(crate) fn note(&self, message: &str) {
        if self.quiet {
            return;
        }
        if self.json {
            self.json_to_stderr(&Message::Note { message });
        } else {
            exit::tell(format_args!("{message}"));
        }
    }

    /// Writes out what is buffered.
    pub(crate) fn flush(&self) -> Result<(), exit::Failure> {
        Ok(self.write(|_| Ok(()), true)?)
    }

    fn write(
        &self,
        fill: impl FnOnce(&mut BufWriter<anstream::AutoStream<Stdout>>) -> std::io::Result<()>,
        flush: bool,
    ) -> Result<()> {
        let mut out = self.stdout.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let result = fill(&mut out).and_then(|()| if flush { out.flush() } else { Ok(()) });
        result.map_err(|error| self.failed(error))
    }

    /// What a failed write means: a reader who left is remembered, so that the end can be quiet.
    fn failed(&self, error: std::io::Error) -> EngineError {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            self.closed.store(true, Ordering::Relaxed);
        }
        EngineError::with_source(ErrorKind::Io, "cannot write to standard output", error)
    }
}

/// Standard output for bytes: nothing is changed on the way.
pub(crate) struct RawOutput<'a> {
    output: &'a Output,
    // Unlike `Stdout`, a file does not look for line ends in what passes.
    file: std::fs::File,
}

impl<'a> RawOutput<'a> {
    /// Standard output of this process; what `output` holds goes out first.
    pub(crate) fn new(output: &'a Output) -> Result<Self> {
        output.write(|_| Ok(()), true)?;
        let duplicate = rustix::io::dup(std::io::stdout()).map_err(|error| output.failed(error.into()))?;
        Ok(Self { output, file: duplicate.into() })
    }
}

impl Write for RawOutput<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes).inspect_err(|error| {
            if error.kind() == std::io::ErrorKind::BrokenPipe {
                self.output.closed.store(true, Ordering::Relaxed);
            }
        })
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
/// A message as one line. JSON allows DEL as it is, but what strips colours would take it for one of theirs.
fn json(message: &Message<'_>) -> serde_json::Result<String> {
    Ok(serde_json::to_string(message)?.replace('\u{7f}', "\\u007f"))
}
