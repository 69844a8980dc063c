//! Lists of objects and of unfinished uploads, page by page; and removal.

use engine::Result;
use engine::clock::Timestamp;
use engine::storage::ObjectName;

use super::xml::{self, Page, Uploads};
use super::{Call, S3Storage};

/// The most pages of a list: a hundred million objects. A store that goes on beyond that goes on for ever.
pub(super) const PAGES: usize = 100_000;

impl S3Storage {
    /// Calls `each` with the name below the prefix and the length of all keys that begin with `below`.
    ///
    /// A page that fails is asked for again, so that no object is named twice or left out.
    pub(super) fn list_below(&self, below: &str, each: &mut dyn FnMut(&str, u64)) -> Result<()> {
        let prefix = self.place.key(below);
        let subject = format!("cannot list {below}");
        let mut token = None;
        for _ in 0..PAGES {
            let page = self.page(&prefix, &subject, token.as_deref())?;
            for listed in &page.contents {
                let key = xml::decoded(&listed.key, page.encoding_type.as_deref());
                if let Some(name) = key.strip_prefix(&self.place.prefix) {
                    each(name, listed.size);
                }
            }
            if !page.is_truncated {
                return Ok(());
            }
            token = page.next_continuation_token;
        }
        Err(endless(&subject))
    }

    fn page(&self, prefix: &str, subject: &str, token: Option<&str>) -> Result<Page> {
        let mut call = Call::new("GET", "s3:ListBucket", "", subject.to_owned());
        call.query = vec![("list-type", "2"), ("prefix", prefix), ("encoding-type", "url")];
        call.query.extend(token.map(|token| ("continuation-token", token)));
        self.patience.run(|_| {
            let answer = self.attempt(&call)?;
            let page: Page =
                xml::parse(&answer.body, "ListBucketResult").map_err(|text| self.asked(&call).senseless(text))?;
            // One that says that it goes on, and not where, or where it was, would be half a list, or one without an end.
            let next = page.next_continuation_token.as_deref().filter(|next| !next.is_empty());
            if page.is_truncated && (next.is_none() || next == token) {
                return Err(self.asked(&call).senseless("the list goes on, and the store does not say where"));
            }
            Ok(page)
        })
    }

    /// Aborts uploads in parts that began before a time and would have become objects. How many there were.
    pub(super) fn abort_uploads(&self, before: Timestamp) -> Result<u64> {
        let subject = "cannot list unfinished uploads";
        let (mut key_marker, mut id_marker) = (String::new(), String::new());
        let mut count = 0;
        for _ in 0..PAGES {
            let page = self.uploads(subject, &key_marker, &id_marker)?;
            for upload in &page.uploads {
                let key = xml::decoded(&upload.key, page.encoding_type.as_deref());
                let is_ours = key.strip_prefix(&self.place.prefix).and_then(ObjectName::parse).is_some();
                let began: Option<jiff::Timestamp> = upload.initiated.parse().ok();
                if is_ours && began.is_some_and(|began| began.as_second() < before.seconds) {
                    self.abort(&key, &upload.upload_id)?;
                    count += 1;
                }
            }
            if !page.is_truncated {
                return Ok(count);
            }
            (key_marker, id_marker) =
                (xml::decoded(&page.next_key_marker, page.encoding_type.as_deref()), page.next_upload_id_marker);
        }
        Err(endless(subject))
    }

    fn uploads(&self, subject: &str, key_marker: &str, id_marker: &str) -> Result<Uploads> {
        let mut call = Call::new("GET", "s3:ListBucketMultipartUploads", "", subject.to_owned());
        call.query = vec![("uploads", ""), ("prefix", &self.place.prefix), ("encoding-type", "url")];
        if !key_marker.is_empty() {
            call.query.extend([("key-marker", key_marker), ("upload-id-marker", id_marker)]);
        }
        self.patience.run(|_| {
            let answer = self.attempt(&call)?;
            let page: Uploads = xml::parse(&answer.body, "ListMultipartUploadsResult")
                .map_err(|text| self.asked(&call).senseless(text))?;
            let next = xml::decoded(&page.next_key_marker, page.encoding_type.as_deref());
            if page.is_truncated && (next.is_empty() || (next == key_marker && page.next_upload_id_marker == id_marker))
            {
                return Err(self.asked(&call).senseless("the list goes on, and the store does not say where"));
            }
            Ok(page)
        })
    }

    /// Ends an upload in parts of which nothing comes. One that is not there has ended.
    pub(super) fn abort(&self, key: &str, upload: &str) -> Result<()> {
        let mut call = Call::new("DELETE", "s3:AbortMultipartUpload", key, format!("cannot abort the upload of {key}"));
        call.query = vec![("uploadId", upload)];
        call.expects = &[404];
        self.call(&call).map(drop)
    }

    /// Removes a key. One that isn't there is removed. In a bucket with versions this puts a marker, and the object counts
    /// as absent.
    pub(super) fn delete(&self, key: &str, subject: &str) -> Result<()> {
        let mut call = Call::new("DELETE", "s3:DeleteObject", key, subject.to_owned());
        call.expects = &[404];
        self.patience.run(|_| {
            let answer = self.attempt(&call)?;
            let is_elsewhere = answer.status == 404 && xml::fault(&answer.body).code == "NoSuchBucket";
            if is_elsewhere { Err(self.asked(&call).refused(&answer, jiff::Timestamp::now())) } else { Ok(()) }
        })
    }
}

pub(super) fn endless(subject: &str) -> engine::EngineError {
    engine::EngineError::new(engine::ErrorKind::Io, format!("{subject}: the list has no end"))
}
