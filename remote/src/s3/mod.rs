//! A bucket as a storage: Amazon S3, and what speaks its protocol.
//!
//! A key is the prefix, a slash, and the object's name. Nothing is overwritten: where the store decides which of several
//! writers was first (`If-None-Match: *`), that is what decides; where it does not, objects that others may write are looked for
//! before they are written, and the storage does not promise `put_if_absent`. What a store does was found by a probe and is on record in the
//! bucket (`probe.rs`); its name says nothing.
//!
//! A request whose answer was lost may have been executed: whoever tries it again and is told that the object is there
//! reads it and compares.
//!
//! `lock.rs` is what keeps an object from everybody until a time. `past.rs` is another storage: a bucket with versions as it was at a moment.

mod credentials;
mod error;
mod http;
mod list;
mod lock;
mod past;
mod place;
mod probe;
mod sign;
mod upload;
mod xml;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use engine::clock::Timestamp;
use engine::storage::{Capabilities, Lock, ObjectFamily, ObjectName, Outcome, Storage};
use engine::{EngineError, ErrorKind, Result};
use url::Url;

use self::credentials::{Credentials, Profile};
use self::error::Asked;
use self::http::{Answer, Broken, Http, Request};
use self::lock::NewLock;
use self::place::Place;
use self::upload::Look;
use crate::Access;
use crate::ahead::Ahead;
use crate::lend;
use crate::patience::{Failed, Patience};
use crate::throttle::Throttle;

pub(crate) use self::past::{PastStorage, only_read};

/// How often a store is tried that has never answered: its address may be wrong.
const FIRST_ATTEMPTS: u32 = 4;
/// The most of an answer that is XML.
const XML_BYTES: u64 = 16 << 20;
/// The size from which objects are written in parts, and of a part, in bytes, unless an option says another.
const PART_BYTES: u64 = 64 << 20;
/// The sizes that an option may say, in MiB: stores take no smaller parts.
const PART_MEBIBYTES: std::ops::RangeInclusive<u64> = 5..=4096;

/// One request, which may be sent several times.
struct Call<'a> {
    method: &'static str,
    /// As policies name it.
    action: &'static str,
    /// As errors begin.
    subject: String,
    key: &'a str,
    query: Vec<(&'a str, &'a str)>,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    /// SHA-256 of the body.
    digest: Vec<u8>,
    /// The most of the answer's body, in bytes.
    most: u64,
    /// What are answers, too, besides successes: the caller knows what they mean.
    expects: &'static [u16],
}

impl<'a> Call<'a> {
    fn new(method: &'static str, action: &'static str, key: &'a str, subject: String) -> Self {
        let (query, headers, expects) = (Vec::new(), Vec::new(), &[]);
        let call = Self {
            method,
            action,
            subject,
            key,
            query,
            headers,
            body: Bytes::new(),
            digest: Vec::new(),
            most: XML_BYTES,
            expects,
        };
        call.with_body(Bytes::new())
    }

    fn with_body(mut self, body: Bytes) -> Self {
        self.digest = sign::sha256(&body);
        self.body = body;
        self
    }

    /// Whether it has a header that begins like this.
    fn has(&self, header: &str) -> bool {
        self.headers.iter().any(|(name, _)| name.starts_with(header))
    }
}

/// How a store takes what may only be written once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conditional {
    /// It decides who was first.
    Decides,
    /// It does not, or nobody knows: look before.
    Unsure,
    /// It refuses the question.
    Refuses,
}

/// Objects in a bucket.
pub(crate) struct S3Storage {
    http: Http,
    place: Place,
    credentials: Credentials,
    patience: Patience,
    part_bytes: u64,
    /// How objects are locked when they are put.
    new_lock: Option<NewLock>,
    /// What is on record; nothing before that was read.
    recorded: OnceLock<Conditional>,
    /// The store did refuse the condition, whatever was on record.
    refuses_condition: AtomicBool,
    /// The store does not know checksums in headers; it compares the signed one.
    refuses_checksum: AtomicBool,
    /// The bucket was asked, and does not say that it locks nothing.
    may_lock: Mutex<bool>,
    /// Requests without any answer before the first one that had one.
    unanswered: AtomicU32,
    was_answered: AtomicBool,
}

impl S3Storage {
    /// Opens a bucket and reads what is on record about its store.
    ///
    /// # Errors
    /// `Invalid` for options, an address or credentials that can't be; `NoRepository` if there is no bucket; `Io`.
    pub(crate) fn open(endpoint: &Url, bucket: &str, prefix: &str, access: &Access) -> Result<Arc<dyn Storage>> {
        let mut storage = Self::unprobed(endpoint, bucket, prefix, access)?;
        match access.option("s3.probe") {
            Some("again") => drop(storage.probe()?),
            Some(other) => {
                return Err(EngineError::new(
                    ErrorKind::Invalid,
                    format!("option s3.probe={other}: again is expected"),
                ));
            }
            None => {}
        }
        Ahead::open(storage, access, |storage| {
            if storage.recorded.get().is_none() {
                let _ = storage.recorded.set(storage.read_record()?);
            }
            Ok(())
        })
    }

    /// Opens a bucket for a new repository, finds out what its store does, and puts that on record; what was found, as
    /// lines for people. A bucket that has a repository is left alone.
    ///
    /// # Errors
    /// As [`Self::open`]; `Unsupported` if the store can't hold a repository.
    pub(crate) fn create(endpoint: &Url, bucket: &str, prefix: &str, access: &Access) -> Result<(Self, Vec<String>)> {
        let mut storage = Self::unprobed(endpoint, bucket, prefix, access)?;
        if storage.length(ObjectName::Config)?.is_some() {
            return Ok((storage, Vec::new()));
        }
        let found = storage.probe()?;
        Ok((storage, found))
    }

    fn unprobed(endpoint: &Url, bucket: &str, prefix: &str, access: &Access) -> Result<Self> {
        let profile = Profile::load(access)?;
        let part_bytes = match access.number("s3.part-size")? {
            None => PART_BYTES,
            Some(mebibytes) if PART_MEBIBYTES.contains(&mebibytes) => mebibytes << 20,
            Some(other) => {
                let text = format!("option s3.part-size={other}: 5 to 4096 is expected, in MiB");
                return Err(EngineError::new(ErrorKind::Invalid, text));
            }
        };
        Ok(Self {
            http: Http::new(Throttle::new(access.upload_limit), Throttle::new(access.download_limit))?,
            place: Place::new(endpoint, bucket, prefix, access, &profile)?,
            credentials: Credentials::new(access.clone(), profile),
            patience: access.patience()?,
            part_bytes,
            new_lock: NewLock::of(access)?,
            recorded: OnceLock::new(),
            refuses_condition: AtomicBool::new(false),
            refuses_checksum: AtomicBool::new(false),
            may_lock: Mutex::default(),
            unanswered: AtomicU32::new(0),
            was_answered: AtomicBool::new(false),
        })
    }

    fn conditional(&self) -> Conditional {
        if self.refuses_condition.load(Ordering::Relaxed) { Conditional::Refuses } else { self.on_record() }
    }

    fn on_record(&self) -> Conditional {
        self.recorded.get().copied().unwrap_or(Conditional::Unsure)
    }

    /// Sends a request until there is an answer.
    fn call(&self, call: &Call<'_>) -> Result<Answer> {
        self.patience.run(|_| self.attempt(call))
    }

    /// Sends a request once: a success, or a status that the call expects.
    fn attempt(&self, call: &Call<'_>) -> Result<Answer, Failed> {
        let now = jiff::Timestamp::now();
        let keys = self.credentials.keys(now).map_err(Failed::ForGood)?;
        let url = self.place.url(call.key, &call.query);
        let mut request = Request { method: call.method, url, headers: call.headers.clone(), body: call.body.clone() };
        sign::sign(&mut request, &engine::id::hex(&call.digest), &keys, &self.place.region, now);
        let answer = self.http.send(&request, call.most).map_err(|broken| self.unanswered(call, broken))?;
        self.was_answered.store(true, Ordering::Relaxed);
        if answer.is_success() || call.expects.contains(&answer.status) {
            return Ok(answer);
        }
        let failed = self.asked(call).refused(&answer, now);
        let is_expired = error::EXPIRED.contains(&xml::fault(&answer.body).code.as_str());
        match failed {
            Failed::ForGood(error) if is_expired && self.credentials.have_ended(&keys) => {
                Err(Failed::Again(error, None))
            }
            failed => Err(failed),
        }
    }

    fn asked<'a>(&'a self, call: &'a Call<'_>) -> Asked<'a> {
        let (bucket, region, endpoint) = (&self.place.bucket, &self.place.region, &self.place.endpoint);
        Asked { action: call.action, subject: &call.subject, bucket, region, endpoint }
    }

    fn unanswered(&self, call: &Call<'_>, broken: Broken) -> Failed {
        let is_new = !self.was_answered.load(Ordering::Relaxed)
            && self.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= FIRST_ATTEMPTS;
        self.asked(call).broken(broken, is_new)
    }

    /// The length of an object in bytes, if it is there.
    fn length(&self, name: ObjectName) -> Result<Option<u64>> {
        self.length_of(&self.place.key(name), &format!("cannot look for {name}"))
    }

    fn length_of(&self, key: &str, subject: &str) -> Result<Option<u64>> {
        self.patience.run(|_| self.try_length_of(key, subject))
    }

    fn try_length_of(&self, key: &str, subject: &str) -> Result<Option<u64>, Failed> {
        let mut call = Call::new("HEAD", "s3:GetObject", key, subject.to_owned());
        call.expects = &[404];
        let answer = self.attempt(&call)?;
        if answer.status == 404 {
            return Ok(None);
        }
        let length = answer.header("content-length").and_then(|length| length.parse().ok());
        length.map(Some).ok_or_else(|| self.asked(&call).senseless("the answer has no length"))
    }

    /// Reads a key; nothing if it isn't there. At most `most` bytes: [`Answer::is_cut`] says that there are more.
    fn get(&self, key: &str, subject: &str, range: Option<&Range<u64>>, most: u64) -> Result<Option<Answer>> {
        self.get_version(key, None, subject, range, most)
    }

    /// The same of one version of a key.
    fn get_version(
        &self,
        key: &str,
        version: Option<&str>,
        subject: &str,
        range: Option<&Range<u64>>,
        most: u64,
    ) -> Result<Option<Answer>> {
        let action = if version.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" };
        let mut call = Call::new("GET", action, key, subject.to_owned());
        call.query.extend(version.map(|version| ("versionId", version)));
        if let Some(range) = range {
            call.headers.push(("range", format!("bytes={}-{}", range.start, range.end - 1)));
        }
        call.most = most;
        call.expects = &[404, 416];
        self.patience.run(|_| {
            let answer = self.attempt(&call)?;
            match answer.status {
                404 if xml::fault(&answer.body).code == "NoSuchBucket" => {
                    Err(self.asked(&call).refused(&answer, jiff::Timestamp::now()))
                }
                404 => Ok(None),
                _ => Ok(Some(answer)),
            }
        })
    }

    fn put_object(&self, name: ObjectName, body: Bytes, look: Look) -> Result<Outcome> {
        // Whoever ends a session writes the same register as anybody else who ends it, and may only go on if it was first.
        let is_told_apart = !matches!(name, ObjectName::Register(_));
        self.put_new(&self.place.key(name), &format!("cannot write {name}"), body, is_told_apart, look)
    }

    /// Reads an object, one version of it if that is named, or a range that is not empty.
    fn read_version(
        &self,
        name: ObjectName,
        version: Option<&str>,
        range: Option<Range<u64>>,
        max: u64,
    ) -> Result<Vec<u8>> {
        let subject = format!("cannot read {name}");
        let key = self.place.key(name);
        let Some(range) = range else {
            let answer = self.get_version(&key, version, &subject, None, max)?.ok_or_else(|| missing(name))?;
            return match answer.status {
                416 => Err(cut_short(name)),
                _ if answer.is_cut => Err(too_large(name)),
                _ => Ok(answer.body),
            };
        };
        let wanted = range.end.saturating_sub(range.start);
        if wanted > max {
            return Err(too_large(name));
        }
        let answer = self.get_version(&key, version, &subject, Some(&range), wanted)?.ok_or_else(|| missing(name))?;
        let is_whole = answer.status == 200 && range.start == 0;
        match answer.status {
            416 => Err(cut_short(name)),
            206 if starts_at(&answer, range.start) && answer.body.len() as u64 == wanted && !answer.is_cut => {
                Ok(answer.body)
            }
            206 if starts_at(&answer, range.start) && !answer.is_cut => Err(cut_short(name)),
            200 if is_whole && answer.body.len() as u64 == wanted => Ok(answer.body),
            200 if is_whole => Err(cut_short(name)),
            status => {
                let text = format!(
                    "{subject}: the store sent another range than bytes {}-{} ({status})",
                    range.start,
                    range.end - 1
                );
                Err(EngineError::new(ErrorKind::Unsupported, text).about(name))
            }
        }
    }
}

fn missing(name: ObjectName) -> EngineError {
    EngineError::new(ErrorKind::Missing, format!("object {name} is missing")).about(name)
}

fn too_large(name: ObjectName) -> EngineError {
    EngineError::damaged(format!("object {name} is too large")).about(name)
}

fn cut_short(name: ObjectName) -> EngineError {
    EngineError::damaged(format!("object {name} is cut short")).about(name)
}

/// What the names of a family begin with.
fn below(family: ObjectFamily) -> String {
    match family {
        ObjectFamily::Config => "config".to_owned(),
        other => format!("{}/", other.directory()),
    }
}

/// What reading no bytes at a place in an object of a length says.
fn is_within(name: ObjectName, start: u64, length: Option<u64>) -> Result<Vec<u8>> {
    let length = length.ok_or_else(|| missing(name))?;
    if start <= length { Ok(Vec::new()) } else { Err(cut_short(name)) }
}

impl Storage for S3Storage {
    fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        self.list_below(&below(family), &mut |name, length| {
            if let Some(name) = ObjectName::parse(name).filter(|name| name.family() == family) {
                each(name, length);
            }
        })
    }

    fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        match range {
            Some(range) if range.is_empty() => is_within(name, range.start, self.length(name)?),
            range => self.read_version(name, None, range, max),
        }
    }

    fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        self.put_object(name, Bytes::from(parts.concat()), Look::Before)
    }

    fn write_own(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        self.put_object(name, Bytes::from(parts.concat()), Look::BeforeRetries)
    }

    fn write_lent(&self, name: ObjectName, buffer: Vec<u8>, start: usize) -> (Result<Outcome>, Vec<u8>) {
        lend(buffer, start, |body| self.put_object(name, body, Look::BeforeRetries))
    }

    fn remove(&self, name: ObjectName) -> Result<()> {
        self.delete(&self.place.key(name), &format!("cannot remove {name}"))
            .map_err(|error| self.locked_or_denied(name, error))
    }

    /// What a store has acknowledged is durable.
    fn persist(&self, _: ObjectName) -> Result<()> {
        Ok(())
    }

    fn remove_unfinished(&self, before: Timestamp) -> Result<u64> {
        self.abort_uploads(before)
    }

    fn lock(&self, name: ObjectName) -> Result<Option<Lock>> {
        self.lock_of(name, None)
    }

    fn retain(&self, name: ObjectName, lock: &Lock) -> Result<()> {
        self.set_lock(name, None, lock)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            put_if_absent: self.conditional() == Conditional::Decides,
            local_directory: None,
            is_past: false,
            locks: true,
        }
    }
}

/// Whether a partial answer begins where it should; one that does not say so is taken at its word.
fn starts_at(answer: &Answer, start: u64) -> bool {
    let said =
        answer.header("content-range").and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
    said.is_none_or(|said: u64| said == start)
}
