//! Why another machine does not do what it is asked, as something that advice can be given for.

use std::fmt;

/// The cause of a refusal, as far as somebody may do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The bucket does not exist.
    NoBucket,
    /// The credentials do not allow it.
    Denied,
    /// There are no credentials, or they are not accepted.
    Credentials,
    /// The clocks differ too much.
    Clock,
    /// It is in another region, or at another address.
    Region,
    /// The store keeps the object for a time that was set.
    Locked,
    /// The bucket locks no objects.
    NoLocks,
    /// At the moment that was asked for there was nothing yet.
    TooEarly,
    /// The store does not know how to do that.
    NotImplemented,
    /// The name of the host has no address.
    Name,
    /// The certificate is not trusted.
    Tls,
    /// There is no connection, or none that lasts.
    Unreachable,
    /// It has too much to do, or is out of order.
    Busy,
    /// Something else, which its text says.
    Other,
}

/// What another machine said, or did not say: the source of an [`engine::EngineError`].
#[derive(Debug, Clone)]
pub struct Refusal {
    cause: Cause,
    text: String,
}

impl Refusal {
    pub(crate) fn new(cause: Cause, text: impl Into<String>) -> Self {
        Self { cause, text: text.into() }
    }

    /// The cause.
    pub fn cause(&self) -> Cause {
        self.cause
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}
