//! What the answers of a store mean: whether to try again, and the cause in words.

use std::time::Duration;

use engine::{EngineError, ErrorKind};
use jiff::Timestamp;

use super::http::{Answer, Broken};
use super::xml::{self, Fault};
use crate::Refusal;
use crate::patience::Failed;
use crate::refusal::Cause;

/// From how many seconds on two clocks differ so much that signatures are refused. Amazon takes 15 minutes.
const SKEW_SECONDS: i64 = 300;

/// The most of a store's own words that is told.
const MESSAGE_CHARACTERS: usize = 300;

/// Errors that say `4xx` and go away by themselves.
const PASSING: [&str; 9] = [
    "SlowDown",
    "RequestTimeout",
    "OperationAborted",
    "ConditionalRequestConflict",
    "InternalError",
    "ServiceUnavailable",
    "TooManyRequests",
    // The bytes changed on their way.
    "BadDigest",
    "XAmzContentSHA256Mismatch",
];

/// Errors of credentials that have ended, and may be renewed.
pub(super) const EXPIRED: [&str; 3] = ["ExpiredToken", "TokenRefreshRequired", "ExpiredTokenException"];

/// What was asked of which store.
pub(super) struct Asked<'a> {
    /// The request as policies name it: `s3:GetObject`.
    pub(super) action: &'static str,
    /// What was to be done to what, as errors begin: `cannot read packs/…`.
    pub(super) subject: &'a str,
    pub(super) bucket: &'a str,
    pub(super) region: &'a str,
    pub(super) endpoint: &'a str,
}

impl Asked<'_> {
    fn error(&self, kind: ErrorKind, cause: Cause, text: String) -> EngineError {
        EngineError::with_source(kind, self.about(), Refusal::new(cause, text))
    }

    /// What was to be done, and where.
    fn about(&self) -> String {
        format!("{} at s3:{}/{}", self.subject, self.endpoint, self.bucket)
    }

    /// An answer that is no success.
    pub(super) fn refused(&self, answer: &Answer, now: Timestamp) -> Failed {
        let fault = xml::fault(&answer.body);
        if is_passing(answer.status, &fault) {
            let text = format!("the store says {}", said(answer.status, &fault));
            return Failed::Again(self.error(ErrorKind::Io, Cause::Busy, text), retry_after(answer));
        }
        if is_full(answer.status, &fault) {
            let full = std::io::Error::new(
                std::io::ErrorKind::StorageFull,
                format!("the store is full ({})", said(answer.status, &fault)),
            );
            return Failed::ForGood(EngineError::with_source(ErrorKind::Io, self.about(), full));
        }
        let (kind, cause, text) = self.cause(answer, &fault, now);
        Failed::ForGood(self.error(kind, cause, text))
    }

    fn cause(&self, answer: &Answer, fault: &Fault, now: Timestamp) -> (ErrorKind, Cause, String) {
        let said = said(answer.status, fault);
        if let Some(skew) = skew(answer, now).filter(|_| matches!(answer.status, 400 | 401 | 403)) {
            let text = format!("the clock of this machine is {skew}, so that signatures are refused ({said})");
            return (ErrorKind::Io, Cause::Clock, text);
        }
        if fault.code == "RequestTimeTooSkewed" {
            return (ErrorKind::Io, Cause::Clock, format!("the clock of this machine is not the store's ({said})"));
        }
        if let Some(region) = other_region(answer, fault).filter(|region| region != self.region) {
            let text = format!("bucket {} is in region {region}, not in {} ({said})", self.bucket, self.region);
            return (ErrorKind::Io, Cause::Region, text);
        }
        match (fault.code.as_str(), answer.status) {
            ("NoSuchBucket", _) => (
                ErrorKind::NoRepository,
                Cause::NoBucket,
                format!("there is no bucket {} at {}", self.bucket, self.endpoint),
            ),
            ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "AuthFailure", _) => {
                (ErrorKind::Io, Cause::Credentials, format!("the store does not accept the credentials ({said})"))
            }
            (code, _) if EXPIRED.contains(&code) => {
                (ErrorKind::Io, Cause::Credentials, format!("the credentials have ended ({said})"))
            }
            ("InvalidRequest", _) if fault.message.replace(' ', "").contains("ObjectLockConfiguration") => {
                (ErrorKind::Unsupported, Cause::NoLocks, format!("bucket {} has no object lock ({said})", self.bucket))
            }
            (code, status) if is_lock(code, &fault.message) && matches!(status, 400 | 403 | 409) => {
                (ErrorKind::Locked, Cause::Locked, format!("the object is locked ({said})"))
            }
            (_, 401 | 403) => {
                (ErrorKind::Io, Cause::Denied, format!("{} is denied on bucket {} ({said})", self.action, self.bucket))
            }
            ("NotImplemented", _) | (_, 501) => (
                ErrorKind::Unsupported,
                Cause::NotImplemented,
                format!("the store does not have this: {} ({said})", self.action),
            ),
            (_, 301 | 302 | 303 | 307 | 308) => {
                let elsewhere = answer.header("location").unwrap_or("another address");
                (ErrorKind::Io, Cause::Region, format!("the store refers to {elsewhere} ({said})"))
            }
            _ => (ErrorKind::Io, Cause::Other, format!("the store says {said}")),
        }
    }

    /// No answer, or a part of one. `is_new` if no request to this store has ever been answered.
    pub(super) fn broken(&self, broken: Broken, is_new: bool) -> Failed {
        let endpoint = self.endpoint;
        let error = |cause, text| self.error(ErrorKind::Io, cause, text);
        match broken {
            Broken::Tls(text) => {
                Failed::ForGood(error(Cause::Tls, format!("no secure connection to {endpoint}: {text}")))
            }
            Broken::Name(text) => again_unless(is_new, error(Cause::Name, format!("no address of {endpoint}: {text}"))),
            Broken::Connect(text) => {
                again_unless(is_new, error(Cause::Unreachable, format!("no connection to {endpoint}: {text}")))
            }
            Broken::Lost(text) => {
                Failed::Again(error(Cause::Unreachable, format!("the answer of {endpoint} was lost: {text}")), None)
            }
        }
    }

    /// An answer that makes no sense. It may be a gateway's.
    pub(super) fn senseless(&self, text: impl std::fmt::Display) -> Failed {
        Failed::Again(self.error(ErrorKind::Io, Cause::Other, text.to_string()), None)
    }
}

fn again_unless(for_good: bool, error: EngineError) -> Failed {
    if for_good { Failed::ForGood(error) } else { Failed::Again(error, None) }
}

/// What the store said, as people may want to look it up.
fn said(status: u16, fault: &Fault) -> String {
    match (fault.code.as_str(), fault.message.as_str()) {
        ("", _) => format!("{status}"),
        (code, "") => format!("{status} {code}"),
        (code, message) => {
            let message: String = message.chars().take(MESSAGE_CHARACTERS).collect();
            format!("{status} {code}: {message}")
        }
    }
}

fn is_passing(status: u16, fault: &Fault) -> bool {
    PASSING.contains(&fault.code.as_str()) || matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

fn is_full(status: u16, fault: &Fault) -> bool {
    status == 507
        || matches!(fault.code.as_str(), "QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage")
        || fault.code.ends_with("QuotaExceeded")
        // Garage calls it denied, and says why in words only.
        || fault.message.contains("quota is reached")
}

fn is_lock(code: &str, message: &str) -> bool {
    // `ObjectLockConfigurationNotFoundError` is about a bucket.
    (code.starts_with("ObjectLock") && !code.starts_with("ObjectLockConfiguration"))
        || message.contains("WORM")
        || message.contains("object lock")
}

/// How long the store asks to wait.
fn retry_after(answer: &Answer) -> Option<Duration> {
    answer.header("retry-after")?.trim().parse().ok().map(Duration::from_secs)
}

/// The region that the store names.
fn other_region(answer: &Answer, fault: &Fault) -> Option<String> {
    let named = fault.region.as_deref().or_else(|| answer.header("x-amz-bucket-region"))?;
    let is_about_it = matches!(
        fault.code.as_str(),
        "" | "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "TemporaryRedirect"
            | "IllegalLocationConstraintException"
    );
    (is_about_it && !named.is_empty()).then(|| named.to_owned())
}

/// How far this machine's clock is from the store's, if that is far.
fn skew(answer: &Answer, now: Timestamp) -> Option<String> {
    let theirs = jiff::fmt::rfc2822::parse(answer.header("date")?).ok()?.timestamp();
    let ahead = now.as_second() - theirs.as_second();
    let way = if ahead > 0 { "ahead of" } else { "behind" };
    (ahead.abs() >= SKEW_SECONDS).then(|| format!("{} minutes {way} the store's", ahead.abs() / 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked<'static> = Asked {
        action: "s3:PutObject",
        subject: "cannot write config",
        bucket: "backups",
        region: "us-east-1",
        endpoint: "https://s3.example.org",
    };

    fn answer(status: u16, code: &str, extra: &str, headers: &[(&'static str, &str)]) -> Answer {
        let body = format!("<Error><Code>{code}</Code><Message>because</Message>{extra}</Error>").into_bytes();
        let body = if code.is_empty() { Vec::new() } else { body };
        let headers = headers
            .iter()
            .map(|(name, value)| (reqwest::header::HeaderName::from_static(name), value.parse().expect("a value")));
        Answer { status, headers: headers.collect(), body, is_cut: false }
    }

    fn now() -> Timestamp {
        "2026-11-29T12:00:00Z".parse().expect("a time")
    }

    #[test]
    fn what_goes_away_is_tried_again_and_nothing_else() {
        for (status, code) in [
            (503, "SlowDown"),
            (500, "InternalError"),
            (502, ""),
            (504, ""),
            (429, ""),
            (400, "RequestTimeout"),
            (409, "ConditionalRequestConflict"),
            (409, "OperationAborted"),
            (400, "BadDigest"),
        ] {
            let failed = ASKED.refused(&answer(status, code, "", &[]), now());
            assert!(matches!(failed, Failed::Again(_, None)), "{status} {code}: {failed:?}");
        }
        for (status, code) in
            [(400, "InvalidRequest"), (403, "AccessDenied"), (404, "NoSuchBucket"), (501, ""), (301, ""), (507, "")]
        {
            let failed = ASKED.refused(&answer(status, code, "", &[]), now());
            assert!(matches!(failed, Failed::ForGood(_)), "{status} {code}: {failed:?}");
        }
    }

    #[test]
    fn a_store_says_how_long_to_wait() {
        let failed = ASKED.refused(&answer(503, "SlowDown", "", &[("retry-after", "7")]), now());
        assert!(matches!(failed, Failed::Again(_, Some(wait)) if wait == Duration::from_secs(7)));
    }

    #[test]
    fn each_cause_is_named() {
        let date = ("date", "Sun, 29 Nov 2026 11:18:00 GMT");
        let region = "<Region>eu-central-1</Region>";
        for (answer, cause, text) in [
            (
                answer(404, "NoSuchBucket", "", &[]),
                Cause::NoBucket,
                "there is no bucket backups at https://s3.example.org",
            ),
            (
                answer(403, "AccessDenied", "", &[]),
                Cause::Denied,
                "s3:PutObject is denied on bucket backups (403 AccessDenied: because)",
            ),
            (
                answer(403, "RequestTimeTooSkewed", "", &[date]),
                Cause::Clock,
                "the clock of this machine is 42 minutes ahead of the store's",
            ),
            (
                answer(400, "AuthorizationHeaderMalformed", region, &[]),
                Cause::Region,
                "bucket backups is in region eu-central-1, not in us-east-1",
            ),
            (answer(301, "", "", &[("x-amz-bucket-region", "eu-west-1")]), Cause::Region, "in region eu-west-1"),
            (answer(403, "InvalidAccessKeyId", "", &[]), Cause::Credentials, "does not accept the credentials"),
            (
                answer(501, "NotImplemented", "", &[]),
                Cause::NotImplemented,
                "the store does not have this: s3:PutObject",
            ),
            (answer(403, "AccessDenied", "<x/>", &[]), Cause::Denied, "denied"),
            (answer(403, "ObjectLockedByBucketPolicy", "", &[]), Cause::Locked, "the object is locked"),
            (answer(404, "ObjectLockConfigurationNotFoundError", "", &[]), Cause::Other, "the store says 404"),
        ] {
            let Failed::ForGood(error) = ASKED.refused(&answer, now()) else { panic!("{answer:?} is for good") };
            assert!(
                error.to_string().starts_with("cannot write config at s3:https://s3.example.org/backups: "),
                "{error}"
            );
            assert!(error.to_string().contains(text), "{error}");
            let source = std::error::Error::source(&error).expect("a cause");
            assert_eq!(source.downcast_ref::<Refusal>().expect("a refusal").cause(), cause, "{error}");
        }
    }

    #[test]
    fn a_full_store_is_a_full_storage() {
        let mut of_garage = answer(403, "AccessDenied", "", &[]);
        of_garage.body =
            b"<Error><Code>AccessDenied</Code><Message>Forbidden: Bucket size quota is reached, maximum total \
                           size of objects for this bucket: 1000</Message></Error>"
                .to_vec();
        for answer in [answer(403, "QuotaExceeded", "", &[]), of_garage] {
            let Failed::ForGood(error) = ASKED.refused(&answer, now()) else { panic!("for good") };
            assert_eq!(error.io_error().expect("as a disk says it").kind(), std::io::ErrorKind::StorageFull);
        }
    }

    #[test]
    fn what_was_never_reached_is_not_waited_for() {
        let refused = || Broken::Connect("refused".into());
        assert!(matches!(ASKED.broken(refused(), true), Failed::ForGood(_)));
        assert!(matches!(ASKED.broken(refused(), false), Failed::Again(..)));
        assert!(matches!(ASKED.broken(Broken::Tls("expired".into()), false), Failed::ForGood(_)));
        assert!(matches!(ASKED.broken(Broken::Lost("reset".into()), true), Failed::Again(..)));
    }
}
