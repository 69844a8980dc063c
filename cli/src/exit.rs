//! How a command ends: exit codes, the shape of errors, hints and colours. The only file that knows them.

use std::error::Error as _;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use engine::{EngineError, ErrorKind};

use crate::context::Context;
use crate::messages::Message;
use crate::output::Output;
use crate::text;

/// Everything was done.
const DONE: u8 = 0;
/// Nothing, or not what was asked for, was done.
const FAILED: u8 = 1;
/// The command line makes no sense. clap uses the same number.
const USAGE: u8 = 2;
/// It was done, but for some items.
const PROBLEMS: u8 = 3;
/// Prune ended the session.
const REVOKED: u8 = 4;
/// The repository is damaged.
const DAMAGE: u8 = 5;
/// There is no repository.
const NO_REPOSITORY: u8 = 10;
/// Somebody else holds what is needed.
const IN_USE: u8 = 11;
/// The password opens nothing.
const WRONG_PASSWORD: u8 = 12;
/// A signal asked to stop: 128 + SIGINT, as shells say it.
pub(crate) const INTERRUPTED: u8 = 130;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default();
const LOCKED: &str = "the store keeps it until its time is over; a later prune tries again";
/// What a person would type, in the demo.
pub(crate) const TYPED: Style = AnsiColor::Green.on_default().bold();
/// Headings of the demo.
pub(crate) const HEADING: Style = Style::new().bold();

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As it should.
    Done,
    /// Some items could not be handled; they were named.
    Problems,
    /// The repository has damage; it was named.
    Damage,
    /// It can't go on before others have ended; they were named.
    Waiting,
    /// What `status` says, with the codes of Nagios.
    Health(stacks::Health),
}

impl Outcome {
    /// The outcome of a verb that counts its problems.
    pub(crate) fn of_problems(count: u64) -> Self {
        if count == 0 { Self::Done } else { Self::Problems }
    }

    fn code(self) -> u8 {
        match self {
            Self::Done => DONE,
            Self::Problems => PROBLEMS,
            Self::Damage => DAMAGE,
            Self::Waiting => IN_USE,
            Self::Health(health) => health as u8,
        }
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine, or the system below it, says so.
    Engine(EngineError),
    /// The arguments don't fit together in a way that the parser can't know.
    Usage(String),
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// A failed system call that is the command line's own.
pub(crate) fn io_failure(operation: &str, path: &std::path::Path, error: std::io::Error) -> Failure {
    Failure::Engine(EngineError::io(operation, path, error))
}

/// A request that the situation does not allow.
pub(crate) fn invalid(subject: impl Into<String>) -> Failure {
    Failure::Engine(EngineError::new(ErrorKind::Invalid, subject))
}

/// The exit code of a kind of error. No wildcard: a new kind has to be thought about.
fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::NoRepository => NO_REPOSITORY,
        ErrorKind::WrongPassword => WRONG_PASSWORD,
        ErrorKind::Damaged | ErrorKind::Missing => DAMAGE,
        ErrorKind::InUse => IN_USE,
        ErrorKind::SessionRevoked => REVOKED,
        ErrorKind::Interrupted => INTERRUPTED,
        ErrorKind::AlreadyExists
        | ErrorKind::Unsupported
        | ErrorKind::NotFound
        | ErrorKind::Ambiguous
        | ErrorKind::Invalid
        | ErrorKind::Forgotten
        | ErrorKind::OnlyAdds
        | ErrorKind::FormerKey
        | ErrorKind::Refused
        | ErrorKind::Locked
        | ErrorKind::CommandFailed
        | ErrorKind::Io => FAILED,
    }
}

/// What to do about an error, if that can be said. `verb` is the command that was running.
fn hint_of(error: &EngineError, verb: &str) -> Option<&'static str> {
    if let Some(hint) = refusal_below(error).and_then(|refusal| hint_of_refusal(refusal.cause())) {
        return Some(hint);
    }
    match (error.kind(), verb) {
        (ErrorKind::NoRepository, _) => {
            Some("check the place given with -r or REPO_REPOSITORY, or make one: repo init")
        }
        (ErrorKind::AlreadyExists, "init") => Some("use the repository that is there, or choose another place"),
        (ErrorKind::AlreadyExists, "restore") => {
            Some("choose another directory, or write into this one with --overwrite")
        }
        (ErrorKind::AlreadyExists, _) => Some("choose another name; nothing was changed"),
        (ErrorKind::WrongPassword, _) => Some(
            "check which password is used: flags, REPO_PASSWORD_COMMAND, _FILE, REPO_KEY_FILE, REPO_PASSWORD; a recovery code works as a password too",
        ),
        (ErrorKind::Unsupported, "retain") => Some(
            "use a bucket with object lock (docs/s3.md), or repo serve --append-only, which lets clients remove nothing",
        ),
        (ErrorKind::Unsupported, _) => Some("a newer version of repo may read it"),
        (ErrorKind::Damaged | ErrorKind::Missing, _) => {
            Some("`repo check --read-data` says what it costs; other snapshots and paths can still be restored")
        }
        (ErrorKind::NotFound, "session") => Some("list the sessions: repo session list --all"),
        (ErrorKind::InUse, "session") => Some("stop that process; or, if that is meant, say --force"),
        (ErrorKind::NotFound, "key") => Some("list the keys: repo key list"),
        (ErrorKind::NotFound, _) => {
            Some("list the snapshots: repo snapshots; and what is in them: repo ls SNAPSHOT:PATH")
        }
        (ErrorKind::Ambiguous, _) => Some("give more digits of the id"),
        (ErrorKind::Forgotten, _) => Some("bring it back first: repo undelete SNAPSHOT"),
        (ErrorKind::OnlyAdds, _) => Some(
            "a write-only key makes snapshots; do the rest where there is a key that can read: repo key list shows which",
        ),
        (ErrorKind::FormerKey, _) => Some(
            "open the repository with a new key; who has one makes more: repo key add, with --like for one that can only add",
        ),
        (ErrorKind::Refused, "repair") => {
            Some("see what is missing with repo check; the order is: repair index, repair packs, repair snapshots")
        }
        (ErrorKind::Refused, _) => {
            Some("nothing was forgotten; if that is meant, say --allow-empty, with --dry-run to see it first")
        }
        (ErrorKind::Locked, _) => Some(LOCKED),
        (ErrorKind::InUse, _) => Some("wait for the other process, then run the command again"),
        (ErrorKind::SessionRevoked, _) => Some("run the command again: it starts a new session"),
        (ErrorKind::Interrupted, "snapshot") => Some("what was stored so far is used by the next snapshot"),
        (ErrorKind::CommandFailed, _) => Some("no snapshot was made; see what the command said above"),
        (ErrorKind::Io, _) => hint_of_io(error.io_error()?.kind()),
        (ErrorKind::Interrupted | ErrorKind::Invalid, _) => None,
    }
}

/// What another machine said, if that is what an error comes from.
fn refusal_below(error: &EngineError) -> Option<&remote::Refusal> {
    let mut next = error.source();
    while let Some(cause) = next {
        match cause.downcast_ref() {
            Some(refusal) => return Some(refusal),
            None => next = cause.source(),
        }
    }
    None
}

fn hint_of_refusal(cause: remote::Cause) -> Option<&'static str> {
    use remote::Cause;
    match cause {
        Cause::NoBucket => Some("make the bucket with the tools of the store, or check its name: repo makes none"),
        Cause::Denied => Some(
            "docs/s3.md has the policy that a backup needs; objects of others are denied, too, if they don't exist",
        ),
        Cause::Credentials => {
            Some("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give -o s3.profile=NAME")
        }
        Cause::Clock => Some("set the clock, and let it be set over the network (systemd-timesyncd, chrony)"),
        Cause::Region => Some("give the region that the store names: -o s3.region=REGION, and its address"),
        Cause::Locked => Some(LOCKED),
        Cause::NoLocks => Some("turn object lock on for the bucket with the tools of the store; docs/s3.md says how"),
        Cause::TooEarly => Some("give a later time; one without an offset is local time"),
        Cause::NotImplemented => Some("docs/s3.md says what a store must have"),
        Cause::Name => Some("check the address given with -r, and the network"),
        Cause::Tls => Some("let SSL_CERT_FILE name the certificates to trust, if the store has one of its own"),
        Cause::Unreachable => {
            Some("check the address and the network, then run the command again: what was stored is used")
        }
        Cause::Busy => Some("run the command again later: what was stored is used"),
        Cause::Other => None,
    }
}

fn hint_of_io(kind: std::io::ErrorKind) -> Option<&'static str> {
    use std::io::ErrorKind as Io;
    match kind {
        Io::StorageFull | Io::QuotaExceeded => {
            Some("make room, then run the command again; nothing that counts was lost")
        }
        Io::PermissionDenied => Some(
            "check the owner and mode of that path, and who runs the command; for a server, which token is used (REPO_TOKEN, REPO_TOKEN_FILE) and what it allows",
        ),
        Io::ReadOnlyFilesystem => Some("the file system is mounted read-only"),
        Io::NotFound => Some("check the path"),
        _ => None,
    }
}

/// Ends the process before it has begun.
pub(crate) fn cannot_start(error: &std::io::Error) -> ExitCode {
    tell(format_args!("{ERROR}repo: error:{ERROR:#} cannot handle signals: {error}"));
    ExitCode::from(FAILED)
}

/// Says how the command ended and gives its exit code.
pub(crate) fn finish(context: &Context, verb: &str, result: Result<Outcome, Failure>) -> ExitCode {
    let result = match (result, context.output.flush()) {
        (Ok(outcome), Err(failure)) if !context.output.is_closed() && outcome == Outcome::Done => Err(failure),
        (result, _) => result,
    };
    // Whoever read the output has seen enough, as `head` does: no error, but a problem stays one.
    if context.output.is_closed() && !context.cancel.is_requested() {
        return ExitCode::from(result.map_or(DONE, Outcome::code));
    }
    match result {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(failure) => {
            let failure = if context.cancel.is_requested() { interrupted(verb, failure) } else { failure };
            let code = failure_code(&failure);
            report(&context.output, verb, &failure, code);
            ExitCode::from(code)
        }
    }
}

/// A failure after a signal is the signal's, whatever it looks like further down: a stream that ended, say.
fn interrupted(verb: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Engine(error) if error.kind() != ErrorKind::Interrupted => {
            Failure::Engine(EngineError::with_source(ErrorKind::Interrupted, format!("{verb} was stopped"), error))
        }
        other => other,
    }
}

fn failure_code(failure: &Failure) -> u8 {
    match failure {
        Failure::Engine(error) => code_of(error.kind()),
        Failure::Usage(_) => USAGE,
    }
}

fn report(output: &Output, verb: &str, failure: &Failure, code: u8) {
    let (message, causes, hint) = match failure {
        Failure::Engine(error) => {
            (error.subject().to_owned(), causes_of(error), hint_of(error, verb).map(str::to_owned))
        }
        Failure::Usage(message) => (message.clone(), Vec::new(), Some(format!("see repo help {verb}"))),
    };
    if output.is_json() {
        output.json_to_stderr(&Message::ExitError { code, message, causes, hint });
        return;
    }
    tell(format_args!("{ERROR}repo: error:{ERROR:#} {}", text::plain(&message)));
    for cause in causes {
        tell(format_args!("  because: {}", text::plain(&cause)));
    }
    if let Some(hint) = hint {
        tell(format_args!("{HINT}hint:{HINT:#} {hint}"));
    }
}

/// The errors below, each once.
fn causes_of(error: &EngineError) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        // An error that repeats the one below it adds nothing.
        if !causes.last().is_some_and(|last| last.ends_with(&said)) {
            causes.push(said);
        }
        next = cause.source();
    }
    causes
}

/// Prints a line to standard error, where nothing can be done about a failure. (`eprintln!` would panic.)
pub(crate) fn tell(line: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

/// A line for a person about something that is no failure of the command.
pub(crate) fn warning(message: &str) {
    tell(format_args!("{WARNING}warning:{WARNING:#} {message}"));
}

/// A line for a person about an item that could not be handled.
pub(crate) fn problem(path: &[u8], message: &str) {
    tell(format_args!("{WARNING}problem:{WARNING:#} {}: {}", text::path(path), text::plain(message)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All kinds; the match makes the compiler ask for the line of a new one.
    fn every_kind() -> Vec<ErrorKind> {
        let all = vec![
            ErrorKind::NoRepository,
            ErrorKind::AlreadyExists,
            ErrorKind::WrongPassword,
            ErrorKind::Unsupported,
            ErrorKind::Damaged,
            ErrorKind::Missing,
            ErrorKind::NotFound,
            ErrorKind::Ambiguous,
            ErrorKind::Invalid,
            ErrorKind::Forgotten,
            ErrorKind::OnlyAdds,
            ErrorKind::FormerKey,
            ErrorKind::Refused,
            ErrorKind::Locked,
            ErrorKind::InUse,
            ErrorKind::SessionRevoked,
            ErrorKind::Interrupted,
            ErrorKind::CommandFailed,
            ErrorKind::Io,
        ];
        for kind in &all {
            match kind {
                ErrorKind::NoRepository
                | ErrorKind::AlreadyExists
                | ErrorKind::WrongPassword
                | ErrorKind::Unsupported
                | ErrorKind::Damaged
                | ErrorKind::Missing
                | ErrorKind::NotFound
                | ErrorKind::Ambiguous
                | ErrorKind::Invalid
                | ErrorKind::Forgotten
                | ErrorKind::OnlyAdds
                | ErrorKind::FormerKey
                | ErrorKind::Refused
                | ErrorKind::Locked
                | ErrorKind::InUse
                | ErrorKind::SessionRevoked
                | ErrorKind::Interrupted
                | ErrorKind::CommandFailed
                | ErrorKind::Io => {}
            }
        }
        all
    }

    #[test]
    fn every_kind_has_the_code_that_is_promised() {
        let codes: Vec<u8> = every_kind().into_iter().map(code_of).collect();
        assert_eq!(codes, [10, 1, 12, 1, 5, 5, 1, 1, 1, 1, 1, 1, 1, 1, 11, 4, 130, 1, 1]);
        assert_eq!(failure_code(&Failure::Usage(String::new())), 2);
        assert_eq!([Outcome::Done, Outcome::Problems, Outcome::Damage].map(Outcome::code), [0, 3, 5]);
    }

    #[test]
    fn hints_are_one_line_without_a_period() {
        for kind in every_kind() {
            for verb in ["init", "snapshot", "restore", "key", "repair"] {
                if let Some(hint) = hint_of(&EngineError::new(kind, "x"), verb) {
                    assert!(!hint.contains('\n') && !hint.ends_with('.'), "{kind:?}: {hint}");
                }
            }
        }
    }

    #[test]
    fn hints_about_other_machines_are_one_line_without_a_period() {
        use remote::Cause;
        for cause in [
            Cause::NoBucket,
            Cause::Denied,
            Cause::Credentials,
            Cause::Clock,
            Cause::Region,
            Cause::Locked,
            Cause::NoLocks,
            Cause::TooEarly,
            Cause::NotImplemented,
            Cause::Name,
            Cause::Tls,
            Cause::Unreachable,
            Cause::Busy,
        ] {
            let hint = hint_of_refusal(cause).expect("all of these have one");
            assert!(!hint.contains('\n') && !hint.ends_with('.'), "{cause:?}: {hint}");
        }
    }

    #[test]
    fn full_and_forbidden_places_get_a_hint() {
        use std::io::ErrorKind as Io;
        for kind in [Io::StorageFull, Io::PermissionDenied, Io::ReadOnlyFilesystem] {
            let error = EngineError::with_source(ErrorKind::Io, "cannot write x", std::io::Error::from(kind));
            assert!(hint_of(&error, "snapshot").is_some(), "{kind:?}");
        }
    }

    #[test]
    fn causes_are_told_from_the_top_down() {
        let inner = EngineError::with_source(ErrorKind::Io, "cannot read b", std::io::Error::other("disk on fire"));
        let outer = EngineError::with_source(ErrorKind::Damaged, "cannot open a", inner);
        assert_eq!(causes_of(&outer), ["cannot read b: disk on fire"]);
    }
}
