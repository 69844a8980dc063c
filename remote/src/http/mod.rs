//! A repository on a `repo serve`, reached by one of two ways: HTTPS, or the pipe of an ssh.
//!
//! Requests are tried again, and an answer that was lost is no answer: whoever put an object, heard nothing and then hears
//! that it existed, reads it back. If it is what was put, it was put. Only registers, of which two writers may put the same
//! bytes and one must learn that it was second, stay with "existed": the safe answer for whoever asks.

mod pipe;
mod rest;
mod ssh;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use engine::clock::Timestamp;
use engine::storage::{Capabilities, ObjectFamily, ObjectName, Outcome, Storage};
use engine::{EngineError, ErrorKind, Result};

use crate::access::Access;
use crate::ahead::Ahead;
use crate::lend;
use crate::patience::{Failed, Patience};
use crate::protocol::{self, Code, LIST_BYTES, MESSAGE_BYTES, Operation, Refusal};
use crate::refusal::Cause;

pub(crate) use rest::open as open_rest;
pub(crate) use ssh::open as open_ssh;

/// How long a request may take besides its bytes.
const TIME: Duration = Duration::from_secs(120);
/// The slowest line that is waited for, in bytes a second.
const SLOWEST: u64 = 8 << 10;
/// How long a list may take.
const LIST_TIME: Duration = Duration::from_secs(3600);

/// A request, for whoever carries it.
#[derive(Debug, Clone)]
struct Ask {
    operation: Operation,
    range: Option<Range<u64>>,
    body: Bytes,
    /// Whether the server is to remove the intent of a register that is put.
    tidies: bool,
    /// How much of the answer is read: one byte more than may be.
    max: u64,
}

impl Ask {
    fn new(operation: Operation, max: u64) -> Self {
        Self { operation, range: None, body: Bytes::new(), tidies: false, max }
    }

    /// How long it may take.
    fn time(&self) -> Duration {
        match self.operation {
            Operation::List(_) => LIST_TIME,
            _ => TIME + Duration::from_secs((self.max + self.body.len() as u64) / SLOWEST),
        }
    }

    /// The value of the header `Range`.
    fn range_header(&self) -> Option<String> {
        let range = self.range.as_ref()?;
        Some(format!("bytes={}-{}", range.start, range.end.saturating_sub(1)))
    }
}

/// What came back.
#[derive(Debug)]
struct Reply {
    status: u16,
    /// Whether `repo serve` says that it is its answer, and not one of something in between.
    is_ours: bool,
    /// Whether the server has tidied up, as it was asked to.
    has_tidied: bool,
    /// The length that was promised.
    len: Option<u64>,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

/// Why nothing came back.
#[derive(Debug)]
enum Broken {
    /// The request can't have been executed.
    Unsent(EngineError),
    /// Whether it was is not known.
    Lost(EngineError),
    /// It will never be.
    ForGood(EngineError),
}

/// Carries requests to a server and answers back. Called from several threads at once.
trait Transport: Send + Sync {
    fn exchange(&self, ask: &Ask) -> Result<Reply, Broken>;
}

/// A repository on a `repo serve`.
struct HttpStorage<T> {
    transport: T,
    /// What messages call it.
    place: String,
    /// Before it has said what it is.
    first: Patience,
    /// After that.
    then: Patience,
    is_known: AtomicBool,
    put_if_absent: AtomicBool,
}

impl<T: Transport + 'static> HttpStorage<T> {
    /// Opens a repository, with `first` as patience until the server has said what it is. What is read first is asked for at
    /// the same time.
    ///
    /// # Errors
    /// `NoRepository` if there is none and it is not to be made; `Invalid` if no such server is there; `Io`.
    fn open(transport: T, place: String, create: bool, first: Patience, access: &Access) -> Result<Arc<dyn Storage>> {
        let storage = Self::unknown(transport, place, first, access.patience()?);
        if create {
            storage.ask_what_it_is(true)?;
            return Ok(Arc::new(Ahead::new(Arc::new(storage))));
        }
        Ahead::open(storage, access, |storage| storage.ask_what_it_is(false))
    }
}

impl<T: Transport> HttpStorage<T> {
    fn unknown(transport: T, place: String, first: Patience, then: Patience) -> Self {
        let (is_known, put_if_absent) = (AtomicBool::new(false), AtomicBool::new(true));
        Self { transport, place, first, then, is_known, put_if_absent }
    }

    fn ask_what_it_is(&self, create: bool) -> Result<()> {
        let reply = self.ask(&Ask::new(Operation::Capabilities, MESSAGE_BYTES))?;
        let said: protocol::Capabilities = serde_json::from_slice(&reply.body)
            .map_err(|error| EngineError::with_source(ErrorKind::Invalid, self.no_server(), error))?;
        if !said.exists && !create {
            return Err(EngineError::new(ErrorKind::NoRepository, format!("no repository at {}", self.place)));
        }
        self.put_if_absent.store(said.put_if_absent, Ordering::Relaxed);
        self.is_known.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn patience(&self) -> &Patience {
        if self.is_known.load(Ordering::Relaxed) { &self.then } else { &self.first }
    }

    fn no_server(&self) -> String {
        format!("what answers at {} is no repo serve", self.place)
    }

    /// Makes a request until it is answered; refusals are errors.
    fn ask(&self, ask: &Ask) -> Result<Reply> {
        self.patience().run(|_| self.attempt(ask).map_err(|error| self.failed(ask, error)))
    }

    fn attempt(&self, ask: &Ask) -> Result<Reply, Unanswered> {
        let reply = self.transport.exchange(ask).map_err(Unanswered::Broken)?;
        if (200..300).contains(&reply.status) && reply.is_ours {
            return Ok(reply);
        }
        let refusal = Refusal::parse(reply.status, &reply.body).filter(|_| reply.is_ours);
        Err(refusal.map_or(Unanswered::Strange(reply.status, reply.retry_after), |refusal| {
            Unanswered::Refused(refusal, reply.retry_after)
        }))
    }

    /// What a request without an answer is to whoever waits for one.
    fn failed(&self, ask: &Ask, error: Unanswered) -> Failed {
        let about = self.about(&ask.operation);
        match error {
            Unanswered::Broken(Broken::Unsent(error) | Broken::Lost(error)) => {
                let why = crate::Refusal::new(Cause::Unreachable, causes_of(&error));
                Failed::Again(EngineError::with_source(ErrorKind::Io, about, why), None)
            }
            Unanswered::Broken(Broken::ForGood(error)) => Failed::ForGood(error.during(about)),
            Unanswered::Strange(status, after) => {
                // Proxies say such things while a server starts, or when it is slow.
                let text = format!("{about}: {} (status {status})", self.no_server());
                match status {
                    408 | 425 | 429 | 500.. => Failed::Again(EngineError::new(ErrorKind::Io, text), after),
                    _ => Failed::ForGood(EngineError::new(ErrorKind::Invalid, text)),
                }
            }
            Unanswered::Refused(refusal, after) => {
                let error = refused(&about, object_of(&ask.operation), &refusal);
                match refusal.code {
                    Code::Busy | Code::Failed => Failed::Again(error, after),
                    _ => Failed::ForGood(error),
                }
            }
        }
    }

    fn about(&self, operation: &Operation) -> String {
        match operation {
            Operation::Capabilities => format!("cannot open {}", self.place),
            Operation::List(family) => format!("cannot list {} at {}", protocol::family_name(*family), self.place),
            Operation::Get(name) | Operation::Head(name) => format!("cannot read {name} at {}", self.place),
            Operation::Put(name) => format!("cannot write {name} at {}", self.place),
            Operation::Delete(name) => format!("cannot remove {name} at {}", self.place),
            Operation::Persist(name) => format!("cannot sync {name} at {}", self.place),
            Operation::Unfinished(_) => format!("cannot tidy {}", self.place),
        }
    }

    /// An earlier attempt may have put the object that is there now.
    fn was_it_this_one(&self, name: ObjectName, body: &[u8]) -> Result<Outcome> {
        if matches!(name, ObjectName::Register(_)) {
            return Ok(Outcome::Existed);
        }
        match self.read(name, None, body.len() as u64) {
            Ok(there) if there == body => Ok(Outcome::Written),
            Ok(_) => Ok(Outcome::Existed),
            Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Missing) => Ok(Outcome::Existed),
            Err(error) => Err(error),
        }
    }

    /// Puts an object. `tidies`: whether the server is to remove the intent of a register; after that, whether it did.
    fn put(&self, name: ObjectName, body: Bytes, tidies: &mut bool) -> Result<Outcome> {
        let ask = Ask { body, tidies: *tidies, ..Ask::new(Operation::Put(name), MESSAGE_BYTES) };
        *tidies = false;
        let mut is_doubtful = false;
        let outcome = self.patience().run(|_| match self.attempt(&ask) {
            Ok(reply) => {
                *tidies = reply.has_tidied;
                Ok(Some(Outcome::Written))
            }
            Err(Unanswered::Refused(refusal, _)) if refusal.code == Code::Existed => {
                Ok(if is_doubtful { None } else { Some(Outcome::Existed) })
            }
            Err(error) => {
                is_doubtful |= error.is_doubtful();
                Err(self.failed(&ask, error))
            }
        })?;
        outcome.map_or_else(|| self.was_it_this_one(name, &ask.body), Ok)
    }

    fn len(&self, name: ObjectName) -> Result<u64> {
        let reply = self.ask(&Ask::new(Operation::Head(name), 0))?;
        reply
            .len
            .ok_or_else(|| EngineError::new(ErrorKind::Invalid, format!("cannot read {name}: {}", self.no_server())))
    }
}

/// Why an attempt did not do what was asked.
#[derive(Debug)]
enum Unanswered {
    Broken(Broken),
    /// An answer that is not of `repo serve`.
    Strange(u16, Option<Duration>),
    Refused(Refusal, Option<Duration>),
}

impl Unanswered {
    /// Whether the request may have been executed all the same.
    fn is_doubtful(&self) -> bool {
        match self {
            Self::Broken(Broken::Unsent(_) | Broken::ForGood(_)) => false,
            Self::Broken(Broken::Lost(_)) | Self::Strange(..) => true,
            Self::Refused(refusal, _) => refusal.code == Code::Failed,
        }
    }
}

/// An error and those below it in a line, each once.
fn causes_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        // An engine's error tells the one below it, too; that it was a client who sent a request is no news.
        let text =
            cause.downcast_ref().map_or_else(|| cause.to_string(), |error: &EngineError| error.subject().to_owned());
        if !text.starts_with("client error") && text != "error sending request" && said.last() != Some(&text) {
            said.push(text);
        }
        next = cause.source();
    }
    said.join(": ")
}

fn object_of(operation: &Operation) -> Option<ObjectName> {
    match operation {
        Operation::Get(name)
        | Operation::Head(name)
        | Operation::Put(name)
        | Operation::Delete(name)
        | Operation::Persist(name) => Some(*name),
        Operation::Capabilities | Operation::List(_) | Operation::Unfinished(_) => None,
    }
}

/// A refusal as an error; those that a person can do something about as the system's own error of that kind.
fn refused(about: &str, object: Option<ObjectName>, refusal: &Refusal) -> EngineError {
    use std::io::ErrorKind as Io;
    let said = format!("the server refused: {}", refusal.message);
    let io = |kind| EngineError::with_source(ErrorKind::Io, about, std::io::Error::new(kind, said.clone()));
    let error = match (refusal.code, object) {
        (Code::Missing, Some(name)) => EngineError::new(ErrorKind::Missing, format!("object {name} is missing")),
        (Code::OutOfRange, Some(name)) => EngineError::damaged(format!("object {name} is cut short")),
        (Code::Unauthorized | Code::Forbidden, _) => io(Io::PermissionDenied),
        (Code::Quota, _) => io(Io::QuotaExceeded),
        (Code::Full, _) => io(Io::StorageFull),
        (Code::Unsupported, _) => EngineError::new(ErrorKind::Unsupported, format!("{about}: {said}")),
        _ => io(Io::Other),
    };
    match object {
        Some(name) => error.about(name),
        None => error,
    }
}

impl<T: Transport> Storage for HttpStorage<T> {
    fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        let ask = Ask::new(Operation::List(family), LIST_BYTES);
        let rows = self.patience().run(|_| {
            let reply = self.attempt(&ask).map_err(|error| self.failed(&ask, error))?;
            let cut = |why: &str| EngineError::new(ErrorKind::Io, format!("{}: {why}", self.about(&ask.operation)));
            if reply.body.len() as u64 > LIST_BYTES {
                return Err(Failed::ForGood(cut("a list that is longer than any can be")));
            }
            protocol::parse_list(family, &reply.body).map_err(|why| Failed::Again(cut(why), None))
        })?;
        rows.into_iter().for_each(|(name, len)| each(name, len));
        Ok(())
    }

    fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        let too_large =
            || EngineError::damaged(format!("object {name} is too large: more than {max} bytes")).about(name);
        let short = || EngineError::damaged(format!("object {name} is cut short")).about(name);
        let mut ask = Ask::new(Operation::Get(name), max);
        if let Some(range) = range {
            let len = range.end.saturating_sub(range.start);
            if len > max {
                return Err(too_large());
            }
            // HTTP has no way to ask for nothing.
            if len == 0 {
                return if self.len(name)? < range.end { Err(short()) } else { Ok(Vec::new()) };
            }
            (ask.range, ask.max) = (Some(range), len);
        }
        let reply = self.ask(&ask)?;
        let len = reply.body.len() as u64;
        match (&ask.range, reply.status) {
            (None, 200) if len <= max => Ok(reply.body),
            (None, 200) => Err(too_large()),
            (Some(_), 206) if len == ask.max => Ok(reply.body),
            (Some(_), 206) => Err(short()),
            _ => Err(EngineError::new(ErrorKind::Invalid, format!("cannot read {name}: {}", self.no_server()))),
        }
    }

    fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        self.put(name, Bytes::from(parts.concat()), &mut false)
    }

    fn write_lent(&self, name: ObjectName, buffer: Vec<u8>, start: usize) -> (Result<Outcome>, Vec<u8>) {
        lend(buffer, start, |body| self.put(name, body, &mut false))
    }

    fn write_and_tidy(&self, name: ObjectName, parts: &[&[u8]], leftover: ObjectName) -> Result<Outcome> {
        let mut tidies =
            matches!((name, leftover), (ObjectName::Register(ended), ObjectName::Intent(begun)) if ended == begun);
        let outcome = self.put(name, Bytes::from(parts.concat()), &mut tidies)?;
        if outcome == Outcome::Written && !tidies {
            let _ = self.remove(leftover);
        }
        Ok(outcome)
    }

    fn remove(&self, name: ObjectName) -> Result<()> {
        self.ask(&Ask::new(Operation::Delete(name), MESSAGE_BYTES)).map(drop)
    }

    fn persist(&self, name: ObjectName) -> Result<()> {
        self.ask(&Ask::new(Operation::Persist(name), MESSAGE_BYTES)).map(drop)
    }

    fn remove_unfinished(&self, before: Timestamp) -> Result<u64> {
        let reply = self.ask(&Ask::new(Operation::Unfinished(before.seconds), MESSAGE_BYTES))?;
        let said: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        Ok(said["removed"].as_u64().unwrap_or(0))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            put_if_absent: self.put_if_absent.load(Ordering::Relaxed),
            local_directory: None,
            is_past: false,
            locks: false,
        }
    }
}

/// The header `Retry-After` in seconds; a date is as none.
fn retry_after(value: Option<&str>) -> Option<Duration> {
    value?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
