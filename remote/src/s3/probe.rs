//! What a store really does, found by trying, and on record in the bucket.
//!
//! The record is `storage.json` below the prefix: plain JSON, no object of the repository. It holds nothing that damage to
//! it could turn against the repository: whoever can write to the bucket can do worse. Without a record nothing is promised.
//!
//! Stores were found that refuse conditional writes, that ignore them, and that let several of many parallel writers win.

use std::ops::ControlFlow;

use engine::{EngineError, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::xml::{self, ObjectLock, Versioning};
use super::{Call, Conditional, S3Storage};
use crate::patience::Failed;
use crate::refusal::{Cause, Refusal};

/// How many write one key at the same time.
const WRITERS: u8 = 32;
/// How many keys they race for.
const KEYS: u8 = 20;
/// The most of the record, in bytes.
const RECORD_BYTES: u64 = 64 << 10;
/// The record's name below the prefix.
const RECORD: &str = "storage.json";

/// How the store took conditional writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    /// Of many writers one was told that it was first, for every key.
    OneWinner,
    /// Of many writers several were.
    SeveralWinners,
    /// The second of two was, too.
    Ignored,
    /// It was an error.
    Refused,
}

/// What is on record. What a later version adds is ignored.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    conditional_writes: Verdict,
    #[serde(default)]
    versioning: Option<String>,
    #[serde(default)]
    object_lock: Option<bool>,
}

/// How one writer of many fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Try {
    Won,
    Lost,
    /// An answer was lost before it lost, so that it may have won.
    Unclear,
    Refused,
}

impl Verdict {
    fn conditional(self) -> Conditional {
        match self {
            Self::OneWinner => Conditional::Decides,
            Self::SeveralWinners | Self::Ignored => Conditional::Unsure,
            Self::Refused => Conditional::Refuses,
        }
    }

    fn line(self) -> &'static str {
        match self {
            Self::OneWinner => "conditional writes: one winner of 32 writers, for each of 20 keys",
            Self::SeveralWinners => {
                "conditional writes: several of 32 writers won; prune ends no sessions here, and must not run twice at once"
            }
            Self::Ignored => "conditional writes: ignored; prune ends no sessions here, and must not run twice at once",
            Self::Refused => "conditional writes: refused; prune ends no sessions here, and must not run twice at once",
        }
    }
}

impl Record {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.conditional_writes.line().to_owned()];
        lines.push(match self.versioning.as_deref() {
            None => "versions of objects: not known (the store does not say)".into(),
            Some("Enabled") => {
                "versions of objects: kept; a lifecycle rule should end old ones, or prune frees nothing".into()
            }
            Some("Suspended") => "versions of objects: suspended".into(),
            Some(_) => "versions of objects: not kept".into(),
        });
        match self.object_lock {
            None => {}
            Some(true) => lines.push("object lock: on".into()),
            Some(false) => lines.push("object lock: off".into()),
        }
        lines
    }
}

impl S3Storage {
    /// What is on record.
    pub(super) fn read_record(&self) -> Result<Conditional> {
        let Some(answer) = self.get(&self.place.key(RECORD), "cannot read storage.json", None, RECORD_BYTES)? else {
            return Ok(Conditional::Unsure);
        };
        let record: Option<Record> = serde_json::from_slice(&answer.body).ok();
        Ok(record.map_or(Conditional::Unsure, |record| record.conditional_writes.conditional()))
    }

    /// Tries what the store does, puts it on record, and heeds it; lines for people.
    ///
    /// # Errors
    /// `Unsupported` if it does not show what was written, or shows what was removed; what any request may fail with.
    pub(super) fn probe(&mut self) -> Result<Vec<String>> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| EngineError::with_source(ErrorKind::Io, "no randomness", error))?;
        let below = format!("probe-{}/", engine::id::hex(&random));
        let tried = self.try_all(&below);
        // Also after an error: nothing of it is to stay.
        let tidied = self.tidy(&below);
        let conditional_writes = tried?;
        tidied?;
        let record = Record { conditional_writes, versioning: self.versioning()?, object_lock: self.object_lock()? };
        self.put_record(&record)?;
        self.recorded = conditional_writes.conditional().into();
        Ok(record.lines())
    }

    fn try_all(&self, below: &str) -> Result<Verdict> {
        let keys: Vec<String> = (0..KEYS).map(|number| self.place.key(format!("{below}{number:02}"))).collect();
        let verdict = self.conditional_writes(&keys)?;
        let mut seen = Vec::new();
        self.list_below(below, &mut |name, _| seen.push(self.place.key(name)))?;
        let written = match verdict {
            Verdict::OneWinner => &keys[..],
            Verdict::SeveralWinners | Verdict::Ignored | Verdict::Refused => &keys[..1],
        };
        if !written.iter().all(|key| seen.contains(key)) {
            return Err(unfit("it does not list what was written before"));
        }
        Ok(verdict)
    }

    fn conditional_writes(&self, keys: &[String]) -> Result<Verdict> {
        let [first, others @ ..] = keys else { return Ok(Verdict::Ignored) };
        // Two in turn tell most stores apart, and cost two requests.
        match (self.try_put(first, 0)?, self.try_put(first, 1)?) {
            (Try::Refused, _) | (_, Try::Refused) => {
                self.put(first, "cannot write a probe", vec![0])?;
                return Ok(Verdict::Refused);
            }
            (_, Try::Won) => return Ok(Verdict::Ignored),
            _ => {}
        }
        self.delete(first, "cannot remove a probe")?;
        if self.length_of(first, "cannot look for a probe")?.is_some() {
            return Err(unfit("it shows what was removed before"));
        }
        for key in std::iter::once(first).chain(others) {
            if let ControlFlow::Break(verdict) = self.race(key)? {
                return Ok(verdict);
            }
        }
        Ok(Verdict::OneWinner)
    }

    /// Many write one key at once; goes on if one of them won.
    fn race(&self, key: &str) -> Result<ControlFlow<Verdict>> {
        let tries: Vec<Try> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || self.try_put(key, writer))).collect();
            let joined =
                writers.into_iter().map(|writer| writer.join().unwrap_or_else(|_| Err(unfit("a writer failed"))));
            joined.collect::<Result<_>>()
        })?;
        let winners: Vec<u8> =
            (0..).zip(&tries).filter(|(_, result)| **result == Try::Won).map(|(writer, _)| writer).collect();
        if winners.len() > 1 {
            return Ok(ControlFlow::Break(Verdict::SeveralWinners));
        }
        let there = self.get(key, "cannot read a probe", None, 1)?;
        let there = there.ok_or_else(|| unfit("it does not show what was written before"))?.body;
        let is_right = match winners.first() {
            Some(winner) => there == [*winner],
            // Nobody was told, so it must be one whose answer was lost.
            None => there.first().is_some_and(|byte| tries.get(usize::from(*byte)) == Some(&Try::Unclear)),
        };
        Ok(if is_right { ControlFlow::Continue(()) } else { ControlFlow::Break(Verdict::SeveralWinners) })
    }

    fn try_put(&self, key: &str, writer: u8) -> Result<Try> {
        let mut call =
            Call::new("PUT", "s3:PutObject", key, "cannot write a probe".into()).with_body(vec![writer].into());
        call.expects = &[409, 412];
        let mut may_have_won = false;
        self.patience.run(|_| {
            call.headers = vec![("if-none-match", "*".into())];
            call.headers.extend(self.checksum(&call.digest));
            match self.attempt(&call).map_err(|failed| self.without_checksum(&call, failed)) {
                Ok(answer) if answer.is_success() => Ok(Try::Won),
                Ok(_) => Ok(if may_have_won { Try::Unclear } else { Try::Lost }),
                Err(Failed::ForGood(error)) if is_refusal(&error) => Ok(Try::Refused),
                Err(failed) => {
                    may_have_won |= matches!(failed, Failed::Again(..));
                    Err(failed)
                }
            }
        })
    }

    fn tidy(&self, below: &str) -> Result<()> {
        let mut left = Vec::new();
        self.list_below(below, &mut |name, _| left.push(self.place.key(name)))?;
        left.iter().try_for_each(|key| self.delete(key, "cannot remove a probe"))?;
        for key in left.iter().take(1) {
            if self.length_of(key, "cannot look for a probe")?.is_some() {
                return Err(unfit("it shows what was removed before"));
            }
        }
        let mut is_empty = true;
        self.list_below(below, &mut |_, _| is_empty = false)?;
        if is_empty { Ok(()) } else { Err(unfit("it lists what was removed before")) }
    }

    /// Writes a key that is no object of the repository, whatever is there.
    fn put(&self, key: &str, subject: &str, body: Vec<u8>) -> Result<()> {
        let mut call = Call::new("PUT", "s3:PutObject", key, subject.to_owned()).with_body(body.into());
        self.patience.run(|_| {
            call.headers = self.checksum(&call.digest);
            self.attempt(&call).map(drop).map_err(|failed| self.without_checksum(&call, failed))
        })
    }

    fn put_record(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec_pretty(record);
        let text = text.map_err(|error| EngineError::with_source(ErrorKind::Io, "cannot write storage.json", error))?;
        self.put(&self.place.key(RECORD), "cannot write storage.json", text)
    }

    fn versioning(&self) -> Result<Option<String>> {
        let answer = self.property("versioning", "s3:GetBucketVersioning")?;
        let parsed = answer.and_then(|(_, body)| xml::parse_any::<Versioning>(&body).ok());
        Ok(parsed.map(|versioning| versioning.status))
    }

    pub(super) fn object_lock(&self) -> Result<Option<bool>> {
        Ok(match self.property("object-lock", "s3:GetBucketObjectLockConfiguration")? {
            None => None,
            Some((404, _)) => Some(false),
            Some((_, body)) => {
                xml::parse_any::<ObjectLock>(&body).ok().map(|lock| lock.object_lock_enabled == "Enabled")
            }
        })
    }

    /// A property of the bucket; nothing if it may not be asked for, or the store has none. 404 says that it is not set.
    fn property(&self, name: &str, action: &'static str) -> Result<Option<(u16, Vec<u8>)>> {
        let mut call = Call::new("GET", action, "", format!("cannot read the bucket's {name}"));
        call.query = vec![(name, "")];
        call.expects = &[400, 403, 404, 405, 501];
        let answer = self.call(&call)?;
        let is_told = answer.is_success() || answer.status == 404;
        Ok(is_told.then_some((answer.status, answer.body)))
    }
}

/// Whether a store says that it knows no conditional writes, in whatever words.
pub(super) fn is_refusal(error: &EngineError) -> bool {
    let said = error.to_string().to_ascii_lowercase();
    error.kind() == ErrorKind::Unsupported || said.contains("if-none-match") || said.contains("notimplemented")
}

fn unfit(text: &str) -> EngineError {
    let refusal = Refusal::new(Cause::NotImplemented, text);
    EngineError::with_source(ErrorKind::Unsupported, "the store can't hold a repository", refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_with_what_others_added() {
        let record: Record =
            serde_json::from_str(r#"{"conditional_writes":"one-winner","later":1}"#).expect("a record");
        assert_eq!(record.conditional_writes.conditional(), Conditional::Decides);
        let text = serde_json::to_string(&record).expect("JSON");
        assert_eq!(text, r#"{"conditional_writes":"one-winner","versioning":null,"object_lock":null}"#);
        assert!(serde_json::from_str::<Record>(r#"{"conditional_writes":"perhaps"}"#).is_err());
    }

    #[test]
    fn only_one_winner_is_a_promise() {
        for verdict in [Verdict::SeveralWinners, Verdict::Ignored, Verdict::Refused] {
            assert_ne!(verdict.conditional(), Conditional::Decides);
            assert!(verdict.line().contains("prune"));
        }
    }
}
