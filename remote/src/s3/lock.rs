//! Object lock: a version of an object that nobody can remove before a time.
//!
//! `retain` and the option `s3.lock` set it; nothing here ever asks to pass one by or to make one shorter
//! (`x-amz-bypass-governance-retention` is not sent), so that a store refuses what would.

use std::sync::PoisonError;

use engine::clock::Timestamp;
use engine::storage::{Lock, LockMode, ObjectName};
use engine::{EngineError, ErrorKind, Result};
use md5::{Digest, Md5};

use super::http::Answer;
use super::upload::base64;
use super::{Call, S3Storage, missing};
use crate::Access;
use crate::patience::Failed;
use crate::refusal::{Cause, Refusal};

const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";

/// The longest time that Amazon locks for, a hundred years, in seconds.
const LONGEST_SECONDS: i64 = 36_500 * 86_400;

/// The lock that each object gets when it is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NewLock {
    seconds: i64,
    mode: LockMode,
}

impl NewLock {
    /// What the options say.
    ///
    /// # Errors
    /// `Invalid` for values that they don't have, and for a mode without a time.
    pub(super) fn of(access: &Access) -> Result<Option<Self>> {
        let invalid = |text: String| EngineError::new(ErrorKind::Invalid, text);
        let mode = match access.option("s3.lock-mode") {
            None | Some("governance") => LockMode::Governance,
            Some("compliance") => LockMode::Compliance,
            Some(other) => {
                return Err(invalid(format!("option s3.lock-mode={other}: governance or compliance is expected")));
            }
        };
        let Some(time) = access.option("s3.lock") else {
            return match access.option("s3.lock-mode") {
                None => Ok(None),
                Some(_) => Err(invalid("option s3.lock-mode: s3.lock has to say for how long".into())),
            };
        };
        let seconds = seconds(time).filter(|seconds| (1..=LONGEST_SECONDS).contains(seconds));
        let seconds = seconds
            .ok_or_else(|| invalid(format!("option s3.lock={time}: a number with h, d or w is expected, as in 30d")))?;
        Ok(Some(Self { seconds, mode }))
    }
}

fn seconds(text: &str) -> Option<i64> {
    let units = [("h", 3600), ("d", 86_400), ("w", 7 * 86_400)];
    let (number, factor) = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    number.parse::<u32>().ok().map(|number| i64::from(number) * factor)
}

fn name_of(mode: LockMode) -> &'static str {
    match mode {
        LockMode::Governance => "GOVERNANCE",
        LockMode::Compliance => "COMPLIANCE",
    }
}

/// A checksum that some stores insist on where locks are set. What keeps bytes from being changed is the signed hash.
pub(super) fn content_md5(body: &[u8]) -> (&'static str, String) {
    ("content-md5", base64(&Md5::digest(body)))
}

/// A time as the protocol has it, in whole seconds.
fn date(time: Timestamp) -> Result<String> {
    let time = jiff::Timestamp::new(time.seconds, 0)
        .map_err(|error| EngineError::with_source(ErrorKind::Invalid, "no such time to lock until", error))?;
    Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// The lock that an answer tells of.
fn lock_in(answer: &Answer) -> Option<Lock> {
    let until: jiff::Timestamp = answer.header(UNTIL)?.parse().ok()?;
    let mode = match answer.header(MODE)? {
        "COMPLIANCE" => LockMode::Compliance,
        "GOVERNANCE" => LockMode::Governance,
        _ => return None,
    };
    Some(Lock { until: Timestamp::new(until.as_second(), 0), mode })
}

impl S3Storage {
    /// The headers that lock what is put under a key at once. Intents and what prunes put are not locked: nothing that a
    /// restore needs, and all of it is to go soon.
    pub(super) fn lock_headers(&self, key: &str) -> Result<Vec<(&'static str, String)>> {
        let Some(NewLock { seconds, mode }) = self.new_lock else { return Ok(Vec::new()) };
        let is_kept = match key.strip_prefix(&self.place.prefix).and_then(ObjectName::parse) {
            None
            | Some(
                ObjectName::Intent(_)
                | ObjectName::PrunePlan(_)
                | ObjectName::PruneState(_)
                | ObjectName::PruneDone(_)
                | ObjectName::PruneReserve,
            ) => false,
            Some(_) => true,
        };
        if !is_kept {
            return Ok(Vec::new());
        }
        let until = date(Timestamp::new(jiff::Timestamp::now().as_second() + seconds, 0))?;
        Ok(vec![(MODE, name_of(mode).to_owned()), (UNTIL, until)])
    }

    /// The lock of an object, of one version of it if that is named. Who may not see locks sees none.
    pub(super) fn lock_of(&self, name: ObjectName, version: Option<&str>) -> Result<Option<Lock>> {
        self.require_locks()?;
        self.head(name, version).map(|answer| lock_in(&answer))
    }

    fn head(&self, name: ObjectName, version: Option<&str>) -> Result<Answer> {
        let key = self.place.key(name);
        let action = if version.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" };
        let mut call = Call::new("HEAD", action, &key, format!("cannot look at the lock of {name}"));
        call.query.extend(version.map(|version| ("versionId", version)));
        call.expects = &[404];
        let answer = self.call(&call)?;
        if answer.status == 404 { Err(missing(name)) } else { Ok(answer) }
    }

    /// Locks an object, one version of it if that is named.
    pub(super) fn set_lock(&self, name: ObjectName, version: Option<&str>, lock: &Lock) -> Result<()> {
        let until = date(lock.until)?;
        let body = format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{}</Mode><RetainUntilDate>{until}\
             </RetainUntilDate></Retention>",
            name_of(lock.mode)
        );
        let key = self.place.key(name);
        let mut call = Call::new("PUT", "s3:PutObjectRetention", &key, format!("cannot lock {name}"));
        call.query = vec![("retention", "")];
        call.query.extend(version.map(|version| ("versionId", version)));
        let mut call = call.with_body(body.into());
        call.expects = &[404];
        self.patience.run(|_| {
            call.headers = self.checksum(&call.digest);
            call.headers.push(content_md5(&call.body));
            let answer = self.attempt(&call).map_err(|failed| self.without_checksum(&call, failed))?;
            if answer.status == 404 { Err(Failed::ForGood(missing(name))) } else { Ok(()) }
        })
    }

    /// Asks once whether the bucket locks objects. One that does not say is taken: the store refuses what it can't do.
    fn require_locks(&self) -> Result<()> {
        // Held while it asks: others wait for the answer instead of asking, too.
        let mut may_lock = self.may_lock.lock().unwrap_or_else(PoisonError::into_inner);
        if *may_lock {
            return Ok(());
        }
        if self.object_lock()? == Some(false) {
            let text = format!("bucket {} has no object lock", self.place.bucket);
            let refusal = Refusal::new(Cause::NoLocks, text);
            return Err(EngineError::with_source(ErrorKind::Unsupported, "nothing can be locked here", refusal));
        }
        *may_lock = true;
        Ok(())
    }

    /// What a store means that denies the removal of an object: that nobody may, as long as it is locked, or that these
    /// credentials may not. Where there are versions, a removal only hides one, and no lock is in its way.
    pub(super) fn locked_or_denied(&self, name: ObjectName, error: EngineError) -> EngineError {
        let cause = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Refusal>());
        if cause.is_none_or(|refusal| refusal.cause() != Cause::Denied) {
            return error;
        }
        let Ok(answer) = self.head(name, None) else { return error };
        let has_versions = answer.header("x-amz-version-id").is_some_and(|id| id != "null");
        match lock_in(&answer).filter(|_| !has_versions) {
            Some(lock) if lock.until.seconds > jiff::Timestamp::now().as_second() => {
                let until = date(lock.until).unwrap_or_default();
                let refusal = Refusal::new(Cause::Locked, format!("the object is locked until {until}"));
                EngineError::with_source(ErrorKind::Locked, format!("cannot remove {name}"), refusal)
            }
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[&str]) -> Result<Option<NewLock>> {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        NewLock::of(&Access::new(&options, std::sync::Arc::new(|_| None)).expect("options"))
    }

    #[test]
    fn options_say_for_how_long_and_from_whom() {
        let lock = |days: i64, mode| Some(NewLock { seconds: days * 86_400, mode });
        assert_eq!(of(&[]).expect("none"), None);
        assert_eq!(of(&["s3.lock=30d"]).expect("a lock"), lock(30, LockMode::Governance));
        assert_eq!(of(&["s3.lock=2w", "s3.lock-mode=compliance"]).expect("a lock"), lock(14, LockMode::Compliance));
        assert_eq!(of(&["s3.lock=48h", "s3.lock-mode=governance"]).expect("a lock"), lock(2, LockMode::Governance));
        for bad in [
            &["s3.lock=30"][..],
            &["s3.lock=0d"],
            &["s3.lock=-1d"],
            &["s3.lock=36501d"],
            &["s3.lock=99999999999d"],
            &["s3.lock="],
            &["s3.lock=1d", "s3.lock-mode=strict"],
            &["s3.lock-mode=compliance"],
        ] {
            assert_eq!(of(bad).expect_err("refused").kind(), ErrorKind::Invalid, "{bad:?}");
        }
    }

    #[test]
    fn a_lock_is_read_as_stores_write_it() {
        let answer = |headers: &[(&'static str, &str)]| {
            let header = |(name, value): &(&'static str, &str)| {
                (reqwest::header::HeaderName::from_static(name), value.parse().expect("a value"))
            };
            Answer { status: 200, headers: headers.iter().map(header).collect(), body: Vec::new(), is_cut: false }
        };
        let expected = Some(Lock { until: Timestamp::new(1_798_588_800, 0), mode: LockMode::Compliance });
        for time in ["2026-12-30T00:00:00Z", "2026-12-30T00:00:00.000Z", "2026-12-30T00:00:00.999Z"] {
            assert_eq!(lock_in(&answer(&[(MODE, "COMPLIANCE"), (UNTIL, time)])), expected, "{time}");
        }
        for other in [&[][..], &[(MODE, "COMPLIANCE")], &[(UNTIL, "2026-12-30T00:00:00Z")]] {
            assert_eq!(lock_in(&answer(other)), None);
        }
        assert_eq!(lock_in(&answer(&[(MODE, "GOVERNANCE"), (UNTIL, "soon")])), None);
        assert_eq!(date(Timestamp::new(1_798_588_800, 5)).expect("a time"), "2026-12-30T00:00:00Z");
        assert!(date(Timestamp::new(i64::MAX, 0)).is_err());
    }
}
