//! Objects on their way in: whole, or in parts if they are large. Nothing is overwritten.
//!
//! Every body is covered by the signature of its request; a checksum in a header of its own comes with it, since buckets
//! whose objects are locked want one, and stores keep it.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use engine::storage::Outcome;
use engine::{EngineError, ErrorKind, Result};

use super::http::Answer;
use super::lock::content_md5;
use super::xml::{self, Begun};
use super::{Call, Conditional, S3Storage, probe};
use crate::patience::Failed;

/// How often an upload in parts is begun anew, if others write the same key meanwhile.
const ROUNDS: u32 = 5;
/// The most parts of an object, as all stores have it.
const MOST_PARTS: u64 = 10_000;

/// When a key is looked for, where the store does not decide who was first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Before it is written.
    Before,
    /// Before it is written again: nobody else writes it, or it has been looked for.
    BeforeRetries,
}

/// What became of an upload in parts.
enum End {
    Outcome(Outcome),
    /// Somebody else's was being finished at the same time, or this one is gone: begin anew.
    Conflict,
}

impl S3Storage {
    /// Writes a key unless it is there. With `is_told_apart`, nobody else writes the same bytes under it, unless it does not
    /// matter who did: then bytes that are there and the same are those of an attempt whose answer was lost.
    pub(super) fn put_new(
        &self,
        key: &str,
        subject: &str,
        body: Bytes,
        is_told_apart: bool,
        look: Look,
    ) -> Result<Outcome> {
        if body.len() as u64 > self.part_bytes {
            self.put_parts(key, subject, &body)
        } else {
            self.put_whole(key, subject, body, is_told_apart, look)
        }
    }

    fn put_whole(&self, key: &str, subject: &str, body: Bytes, is_told_apart: bool, look: Look) -> Result<Outcome> {
        let mut call = Call::new("PUT", "s3:PutObject", key, subject.to_owned()).with_body(body.clone());
        call.expects = &[412];
        let mut lock = self.lock_headers(key)?;
        if !lock.is_empty() {
            lock.push(content_md5(&body));
        }
        let mut may_be_mine = false;
        self.patience.run(|attempt| {
            if (look == Look::Before || attempt > 0)
                && let Some(outcome) = self.looked_for(key, subject, &body, may_be_mine)?
            {
                return Ok(outcome);
            }
            call.headers = self.condition().into_iter().chain(self.checksum(&call.digest)).collect();
            call.headers.extend_from_slice(&lock);
            match self.attempt(&call) {
                Ok(answer) if answer.status == 412 => self.settled(key, subject, &body, may_be_mine),
                Ok(_) => Ok(Outcome::Written),
                Err(failed) => {
                    let failed = self.without_what_is_refused(&call, failed);
                    may_be_mine |= is_told_apart && matches!(failed, Failed::Again(..));
                    Err(failed)
                }
            }
        })
    }

    /// Where the store does not decide who was first: the outcome, if the key is there.
    fn looked_for(&self, key: &str, subject: &str, body: &[u8], may_be_mine: bool) -> Result<Option<Outcome>, Failed> {
        if self.conditional() == Conditional::Decides || self.try_length_of(key, subject)?.is_none() {
            return Ok(None);
        }
        self.settled(key, subject, body, may_be_mine).map(Some)
    }

    /// The key is there. It is this call's own if an earlier attempt may have been executed, and the bytes are the same.
    fn settled(&self, key: &str, subject: &str, body: &[u8], may_be_mine: bool) -> Result<Outcome, Failed> {
        if !may_be_mine {
            return Ok(Outcome::Existed);
        }
        let there = self.get(key, subject, None, body.len() as u64).map_err(Failed::ForGood)?;
        match there {
            Some(there) if !there.is_cut && there.body == body => Ok(Outcome::Written),
            Some(_) => Ok(Outcome::Existed),
            None => {
                let text = format!("{subject}: it was there, and is not any more");
                Err(Failed::Again(EngineError::new(ErrorKind::Io, text), None))
            }
        }
    }

    /// The header that makes a write the first one or none.
    fn condition(&self) -> Option<(&'static str, String)> {
        (self.conditional() != Conditional::Refuses).then(|| ("if-none-match", "*".to_owned()))
    }

    /// The headers that have a body's checksum.
    pub(super) fn checksum(&self, digest: &[u8]) -> Vec<(&'static str, String)> {
        if self.refuses_checksum.load(Ordering::Relaxed) {
            return Vec::new();
        }
        vec![("x-amz-sdk-checksum-algorithm", "SHA256".to_owned()), ("x-amz-checksum-sha256", base64(digest))]
    }

    /// Stores that do not know checksums refuse the request, and their own words say why: they are left out from then on.
    pub(super) fn without_checksum(&self, call: &Call<'_>, failed: Failed) -> Failed {
        match failed {
            Failed::ForGood(error) if says_checksum(&error) && call.has("x-amz-checksum-") => {
                self.refuses_checksum.store(true, Ordering::Relaxed);
                Failed::Again(error, None)
            }
            failed => failed,
        }
    }

    /// As [`Self::without_checksum`], and the same for the condition, unless it is on record that the store knows that.
    fn without_what_is_refused(&self, call: &Call<'_>, failed: Failed) -> Failed {
        match self.without_checksum(call, failed) {
            Failed::ForGood(error)
                if self.on_record() != Conditional::Decides
                    && probe::is_refusal(&error)
                    && call.has("if-none-match") =>
            {
                self.refuses_condition.store(true, Ordering::Relaxed);
                Failed::Again(error, None)
            }
            failed => failed,
        }
    }

    fn put_parts(&self, key: &str, subject: &str, body: &Bytes) -> Result<Outcome> {
        let length = body.len() as u64;
        let part = self.part_bytes.max(length.div_ceil(MOST_PARTS));
        let part = usize::try_from(part).unwrap_or(usize::MAX);
        for _ in 0..ROUNDS {
            let upload = self.begin(key, subject)?;
            let end = self
                .send_parts(key, subject, &upload, body, part)
                .and_then(|parts| self.complete(key, subject, &upload, &parts, body));
            if !matches!(end, Ok(End::Outcome(Outcome::Written))) {
                // What is left costs money, and a prune aborts it later.
                let _ = self.abort(key, &upload);
            }
            if let End::Outcome(outcome) = end? {
                return Ok(outcome);
            }
        }
        Err(EngineError::new(ErrorKind::Io, format!("{subject}: others write the same key again and again")))
    }

    fn begin(&self, key: &str, subject: &str) -> Result<String> {
        let mut call = Call::new("POST", "s3:PutObject", key, subject.to_owned());
        call.query = vec![("uploads", "")];
        let lock = self.lock_headers(key)?;
        self.patience.run(|_| {
            let is_refused = self.refuses_checksum.load(Ordering::Relaxed);
            call.headers.clone_from(&lock);
            call.headers.extend((!is_refused).then(|| ("x-amz-checksum-algorithm", "SHA256".to_owned())));
            let answer = self.attempt(&call).map_err(|failed| self.without_what_is_refused(&call, failed))?;
            let begun: Begun = xml::parse(&answer.body, "InitiateMultipartUploadResult")
                .map_err(|text| self.asked(&call).senseless(text))?;
            if begun.upload_id.is_empty() {
                return Err(self.asked(&call).senseless("the upload has no name"));
            }
            Ok(begun.upload_id)
        })
    }

    /// Entity tags and checksums of the parts.
    fn send_parts(
        &self,
        key: &str,
        subject: &str,
        upload: &str,
        body: &Bytes,
        part: usize,
    ) -> Result<Vec<(String, Option<String>)>> {
        let mut sent = Vec::new();
        let mut start = 0;
        while start < body.len() {
            let piece = body.slice(start..body.len().min(start.saturating_add(part)));
            start += piece.len();
            let number = (sent.len() + 1).to_string();
            let mut call = Call::new("PUT", "s3:PutObject", key, subject.to_owned()).with_body(piece);
            call.query = vec![("partNumber", &number), ("uploadId", upload)];
            call.headers = self.checksum(&call.digest);
            let checksum = call.headers.last().map(|(_, checksum)| checksum.clone());
            let tag = self.patience.run(|_| {
                let answer = self.attempt(&call)?;
                let tag = answer.header("etag").map(str::to_owned);
                tag.ok_or_else(|| self.asked(&call).senseless("the part has no tag"))
            })?;
            sent.push((tag, checksum));
        }
        Ok(sent)
    }

    fn complete(
        &self,
        key: &str,
        subject: &str,
        upload: &str,
        parts: &[(String, Option<String>)],
        body: &Bytes,
    ) -> Result<End> {
        let list = Bytes::from(xml::completion(parts));
        let mut call = Call::new("POST", "s3:PutObject", key, subject.to_owned()).with_body(list);
        call.query = vec![("uploadId", upload)];
        call.expects = &[404, 409, 412];
        let mut may_be_mine = false;
        self.patience.run(|_| {
            if let Some(outcome) = self.looked_for(key, subject, body, may_be_mine)? {
                return Ok(End::Outcome(outcome));
            }
            call.headers = self.condition().into_iter().collect();
            let end = self.attempt(&call).and_then(|answer| match answer.status {
                412 => self.settled(key, subject, body, may_be_mine).map(End::Outcome),
                409 => Ok(End::Conflict),
                404 if may_be_mine => self.after_lost_completion(key, subject, body),
                404 => Ok(End::Conflict),
                _ if xml::fault(&answer.body).code == "PreconditionFailed" => {
                    self.settled(key, subject, body, may_be_mine).map(End::Outcome)
                }
                _ => self.completed(&call, &answer),
            });
            end.map_err(|failed| {
                let failed = self.without_what_is_refused(&call, failed);
                may_be_mine |= matches!(failed, Failed::Again(..));
                failed
            })
        })
    }

    /// The upload is gone, and an answer was lost before: it was completed then, or aborted by somebody.
    fn after_lost_completion(&self, key: &str, subject: &str, body: &[u8]) -> Result<End, Failed> {
        match self.try_length_of(key, subject)? {
            None => Ok(End::Conflict),
            Some(_) => self.settled(key, subject, body, true).map(End::Outcome),
        }
    }

    /// A store that takes its time says that all goes well, and how it ended in the body.
    fn completed(&self, call: &Call<'_>, answer: &Answer) -> Result<End, Failed> {
        match xml::root(&answer.body).as_str() {
            "CompleteMultipartUploadResult" => Ok(End::Outcome(Outcome::Written)),
            "Error" => {
                let mut refused = Answer { headers: answer.headers.clone(), body: answer.body.clone(), ..*answer };
                // As the error would have come by itself: 4xx unless its name says that it passes.
                let is_unknown = xml::fault(&answer.body).code == "NotImplemented";
                refused.status = if is_unknown { 501 } else { 400 };
                Err(self.asked(call).refused(&refused, jiff::Timestamp::now()))
            }
            _ => Err(self.asked(call).senseless("the answer does not say whether the upload is complete")),
        }
    }
}

fn says_checksum(error: &EngineError) -> bool {
    error.to_string().to_ascii_lowercase().contains("checksum")
}

/// Base64 with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= group.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 4648.
    #[test]
    fn base64_is_that_of_the_standard() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, expected) in vectors {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
    }
}
