//! The one error type of the engine: what kind, which object, and what lay below.
//!
//! The engine states; advice, colours and exit codes are the command line's.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What the engine's functions return.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// What went wrong, as far as a caller may want to react to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// There is no repository at that place.
    NoRepository,
    /// There is one already, or the target holds something else.
    AlreadyExists,
    /// No key slot opens with the secret that was given.
    WrongPassword,
    /// The repository needs a version or a feature that this program does not have.
    Unsupported,
    /// Bytes that are not what they should be: damage or an attack.
    Damaged,
    /// An object that should be there is not.
    Missing,
    /// What was asked for (snapshot, path, key slot) does not exist.
    NotFound,
    /// What was asked for names more than one thing.
    Ambiguous,
    /// The request contradicts itself or the situation.
    Invalid,
    /// The snapshot was forgotten: it can be read, and nothing can be built on it.
    Forgotten,
    /// The request would drop more than was likely meant, and nobody said that this is meant.
    Refused,
    /// Another process holds what is needed.
    InUse,
    /// The key can only add snapshots, and this needs one that can read.
    OnlyAdds,
    /// The key is of before a rotation: it reads what was stored before that, and writes nothing.
    FormerKey,
    /// The storage keeps an object until a time that was set, whoever asks.
    Locked,
    /// Prune ended this session; what it stored does not count.
    SessionRevoked,
    /// The person or the system asked to stop.
    Interrupted,
    /// A command that feeds a snapshot failed.
    CommandFailed,
    /// Storage or file system refused: permission, space, I/O.
    Io,
}

/// An error with its kind, the object it is about, and its cause, which clones share.
#[derive(Debug, Clone)]
pub struct EngineError {
    kind: ErrorKind,
    subject: String,
    object: Option<String>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl EngineError {
    /// An error without a cause below. `subject` says operation and object, lower case, no period.
    pub fn new(kind: ErrorKind, subject: impl Into<String>) -> Self {
        Self { kind, subject: subject.into(), object: None, source: None }
    }

    /// An error with its cause.
    pub fn with_source(
        kind: ErrorKind,
        subject: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, subject: subject.into(), object: None, source: Some(Arc::from(source.into())) }
    }

    /// Something in the repository is damaged.
    pub fn damaged(subject: impl Into<String>) -> Self {
        Self::new(ErrorKind::Damaged, subject)
    }

    /// A failed system call on `path`; `operation` is a verb in the infinitive.
    pub fn io(operation: &str, path: &Path, source: impl Into<std::io::Error>) -> Self {
        Self::with_source(ErrorKind::Io, format!("cannot {operation} {}", path.display()), source.into())
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Operation and object, without the cause.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Whether it says nothing about what is there: the storage gave no answer, or somebody asked to stop.
    pub fn is_unanswered(&self) -> bool {
        matches!(self.kind, ErrorKind::Io | ErrorKind::Interrupted)
    }

    /// The same error, known to be about an object of the repository.
    #[must_use]
    pub fn about(mut self, object: impl fmt::Display) -> Self {
        self.object.get_or_insert_with(|| object.to_string());
        self
    }

    /// The object of the repository that it is about, by its name in the storage.
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }

    /// The same error, told as part of a larger operation.
    #[must_use]
    pub fn during(mut self, operation: impl fmt::Display) -> Self {
        self.subject = format!("{operation}: {}", self.subject);
        self
    }

    /// The operating system's error at the bottom, if there is one.
    pub fn io_error(&self) -> Option<&std::io::Error> {
        self.source.as_deref()?.downcast_ref()
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for EngineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
