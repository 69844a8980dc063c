//! A bucket as it was at a moment: of each key the newest version that is not younger than that.
//!
//! It is only read, by the ids of versions. Whoever removes or overwrites objects in a bucket that keeps versions puts
//! markers and versions in front of those that were there; here they are behind the moment, and do not exist. What a store
//! lists of a family of objects is kept for as long as the command runs: the past does not change.
//!
//! Times are the store's, by its own clock.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use engine::clock::Timestamp;
use engine::storage::{Capabilities, Lock, ObjectFamily, ObjectName, Outcome, Storage};
use engine::{EngineError, ErrorKind, Result};
use url::Url;

use super::list::{PAGES, endless};
use super::xml::{self, Listing, Versioning};
use super::{Call, S3Storage, below, is_within, missing};
use crate::Access;
use crate::refusal::{Cause, Refusal};

/// The longest id of a version, in bytes, as Amazon has it.
const VERSION_BYTES: usize = 1024;

/// A version of an object.
struct Version {
    id: String,
    /// In bytes, as the list says.
    length: u64,
}

/// The objects of a family that there were.
type Family = Arc<HashMap<ObjectName, Version>>;

/// Objects that were in a bucket.
pub(crate) struct PastStorage {
    bucket: S3Storage,
    moment: jiff::Timestamp,
    families: Mutex<HashMap<ObjectFamily, Family>>,
}

/// The error of whoever wants to write.
pub(crate) fn only_read(subject: impl std::fmt::Display) -> EngineError {
    EngineError::new(ErrorKind::Invalid, format!("{subject}: an earlier state can only be read"))
}

impl PastStorage {
    /// Opens a bucket as it was.
    ///
    /// # Errors
    /// As [`S3Storage::open`]; `Invalid`, too, if the bucket keeps no versions; `NoRepository` if there was none.
    pub(crate) fn open(endpoint: &Url, bucket: &str, prefix: &str, access: &Access, moment: Timestamp) -> Result<Self> {
        if access.option("s3.probe").is_some() {
            return Err(only_read("option s3.probe"));
        }
        let moment = jiff::Timestamp::new(moment.seconds, moment.nanoseconds.cast_signed())
            .map_err(|error| EngineError::with_source(ErrorKind::Invalid, "no such moment", error))?;
        let bucket = S3Storage::unprobed(endpoint, bucket, prefix, access)?;
        bucket.require_versions()?;
        let storage = Self { bucket, moment, families: Mutex::default() };
        if storage.family(ObjectFamily::Config)?.is_empty() {
            let place = &storage.bucket.place;
            let text = format!("bucket {} had no config below {:?} at {moment}", place.bucket, place.prefix);
            let refusal = Refusal::new(Cause::TooEarly, text);
            return Err(EngineError::with_source(ErrorKind::NoRepository, "there was no repository here", refusal));
        }
        Ok(storage)
    }

    /// What there was of a family.
    fn family(&self, family: ObjectFamily) -> Result<Family> {
        let mut families = self.families.lock().expect("no holder of this lock panics");
        if let Some(known) = families.get(&family) {
            return Ok(Arc::clone(known));
        }
        let listed = Arc::new(self.bucket.list_past(family, self.moment)?);
        families.insert(family, Arc::clone(&listed));
        Ok(listed)
    }
}

impl S3Storage {
    /// Refuses a bucket that never kept versions. One that does not say is taken, and its lists show what it has.
    fn require_versions(&self) -> Result<()> {
        let mut call = Call::new("GET", "s3:GetBucketVersioning", "", "cannot read an earlier state".to_owned());
        call.query = vec![("versioning", "")];
        call.expects = &[403];
        let answer = self.call(&call)?;
        let versioning = if answer.is_success() { xml::parse_any::<Versioning>(&answer.body).ok() } else { None };
        // One that was suspended has what it kept before.
        if versioning.is_none_or(|versioning| matches!(versioning.status.as_str(), "Enabled" | "Suspended")) {
            return Ok(());
        }
        let text = format!("bucket {} keeps no versions: what was removed or overwritten is gone", self.place.bucket);
        let refusal = Refusal::new(Cause::NotImplemented, text);
        Err(EngineError::with_source(ErrorKind::Invalid, call.subject, refusal))
    }

    fn list_past(&self, family: ObjectFamily, moment: jiff::Timestamp) -> Result<HashMap<ObjectName, Version>> {
        let below = below(family);
        let subject = format!("cannot list versions of {below}");
        let prefix = self.place.key(&below);
        let mut found = Newest { moment, versions: HashMap::new() };
        let (mut key_marker, mut id_marker) = (String::new(), String::new());
        for _ in 0..PAGES {
            let page = self.versions(&prefix, &subject, &key_marker, &id_marker)?;
            for (name, listed) in page.versions {
                let name = name.strip_prefix(&self.place.prefix).and_then(ObjectName::parse);
                if let Some(name) = name.filter(|name| name.family() == family) {
                    found.add(name, listed);
                }
            }
            match page.next {
                None => return Ok(found.finish()),
                Some(next) => (key_marker, id_marker) = next,
            }
        }
        Err(endless(&subject))
    }

    fn versions(&self, prefix: &str, subject: &str, key_marker: &str, id_marker: &str) -> Result<Page> {
        let mut call = Call::new("GET", "s3:ListBucketVersions", "", subject.to_owned());
        call.query = vec![("versions", ""), ("prefix", prefix), ("encoding-type", "url")];
        if !key_marker.is_empty() {
            call.query.push(("key-marker", key_marker));
            call.query.extend((!id_marker.is_empty()).then_some(("version-id-marker", id_marker)));
        }
        self.patience.run(|_| {
            let answer = self.attempt(&call)?;
            let page = Page::read(&answer.body).map_err(|text| self.asked(&call).senseless(text))?;
            let is_stuck =
                page.next.as_ref().is_some_and(|(key, id)| key.is_empty() || (key == key_marker && id == id_marker));
            if is_stuck {
                return Err(self.asked(&call).senseless("the list goes on, and the store does not say where"));
            }
            Ok(page)
        })
    }
}

/// A page of a list of versions, with keys as they are.
#[derive(Debug, Default)]
struct Page {
    versions: Vec<(String, Moment)>,
    /// Key and version where the list goes on, if it does.
    next: Option<(String, String)>,
}

/// What a key was from a time on.
#[derive(Debug, PartialEq, Eq)]
struct Moment {
    time: jiff::Timestamp,
    /// Id and length; nothing if it was removed.
    version: Option<(String, u64)>,
}

impl Page {
    fn read(body: &[u8]) -> Result<Self, String> {
        let listing: Listing = xml::parse(body, "ListVersionsResult")?;
        let (mut is_truncated, mut encoding, mut entries) = (false, None, Vec::new());
        let mut next = (String::new(), String::new());
        for item in listing.items {
            match item {
                xml::Item::IsTruncated(said) => is_truncated = said,
                xml::Item::NextKeyMarker(key) => next.0 = key,
                xml::Item::NextVersionIdMarker(id) => next.1 = id,
                xml::Item::EncodingType(said) => encoding = Some(said),
                xml::Item::Version(entry) => entries.push((false, entry)),
                xml::Item::DeleteMarker(entry) => entries.push((true, entry)),
                xml::Item::Other => {}
            }
        }
        let encoding = encoding.as_deref();
        let mut versions = Vec::with_capacity(entries.len());
        for (is_marker, entry) in entries {
            let time = entry.last_modified.parse().map_err(|_| "a version has no time".to_owned())?;
            if entry.version_id.len() > VERSION_BYTES || (entry.version_id.is_empty() && !is_marker) {
                return Err("a version has no id".to_owned());
            }
            let version = (!is_marker).then_some((entry.version_id, entry.size));
            versions.push((xml::decoded(&entry.key, encoding), Moment { time, version }));
        }
        let next = is_truncated.then(|| (xml::decoded(&next.0, encoding), next.1));
        Ok(Self { versions, next })
    }
}

/// The newest version of each object that is not younger than a moment.
struct Newest {
    moment: jiff::Timestamp,
    versions: HashMap<ObjectName, Moment>,
}

impl Newest {
    /// Of two of the same time the first counts: stores list the newest first, and Amazon's times are whole seconds.
    fn add(&mut self, name: ObjectName, listed: Moment) {
        if listed.time <= self.moment && self.versions.get(&name).is_none_or(|known| known.time < listed.time) {
            self.versions.insert(name, listed);
        }
    }

    /// Those that were there.
    fn finish(self) -> HashMap<ObjectName, Version> {
        let there = |(name, listed): (ObjectName, Moment)| {
            let (id, length) = listed.version?;
            Some((name, Version { id, length }))
        };
        self.versions.into_iter().filter_map(there).collect()
    }
}

impl Storage for PastStorage {
    fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        self.family(family)?.iter().for_each(|(name, version)| each(*name, version.length));
        Ok(())
    }

    fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        let family = self.family(name.family())?;
        let version = family.get(&name).ok_or_else(|| missing(name))?;
        match range {
            Some(range) if range.is_empty() => is_within(name, range.start, Some(version.length)),
            range => self.bucket.read_version(name, Some(&version.id), range, max),
        }
    }

    fn write_new(&self, name: ObjectName, _: &[&[u8]]) -> Result<Outcome> {
        Err(only_read(format!("cannot write {name}")))
    }

    fn remove(&self, name: ObjectName) -> Result<()> {
        Err(only_read(format!("cannot remove {name}")))
    }

    /// What was there is not lost by a power cut any more.
    fn persist(&self, _: ObjectName) -> Result<()> {
        Ok(())
    }

    fn remove_unfinished(&self, _: Timestamp) -> Result<u64> {
        Err(only_read("cannot remove unfinished uploads"))
    }

    fn lock(&self, name: ObjectName) -> Result<Option<Lock>> {
        let family = self.family(name.family())?;
        self.bucket.lock_of(name, Some(&family.get(&name).ok_or_else(|| missing(name))?.id))
    }

    /// Locks the version that there was: nothing of the past is changed by that, and nobody can take it away then.
    fn retain(&self, name: ObjectName, lock: &Lock) -> Result<()> {
        let family = self.family(name.family())?;
        self.bucket.set_lock(name, Some(&family.get(&name).ok_or_else(|| missing(name))?.id), lock)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { put_if_absent: false, local_directory: None, is_past: true, locks: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Amazon sends it: versions and markers of all keys in one list, the newest of a key first.
    const PAGE: &[u8] = br#"<?xml version="1.0" encoding="UTF-8"?>
<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
  <Name>backups</Name><Prefix>a%20b/</Prefix><KeyMarker/><VersionIdMarker/><MaxKeys>4</MaxKeys>
  <IsTruncated>true</IsTruncated>
  <NextKeyMarker>a%20b/config</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker>
  <EncodingType>url</EncodingType>
  <DeleteMarker><Key>a%20b/config</Key><VersionId>m2</VersionId><IsLatest>true</IsLatest>
    <LastModified>2026-11-29T04:00:02.000Z</LastModified><Owner><ID>1</ID></Owner></DeleteMarker>
  <Version><Key>a%20b/config</Key><VersionId>v2</VersionId><IsLatest>false</IsLatest>
    <LastModified>2026-11-29T04:00:02.000Z</LastModified><ETag>&quot;x&quot;</ETag><Size>7</Size>
    <Owner><ID>1</ID><DisplayName>x</DisplayName></Owner><StorageClass>STANDARD</StorageClass></Version>
  <DeleteMarker><Key>a%20b/config</Key><VersionId>m1</VersionId><IsLatest>false</IsLatest>
    <LastModified>2026-11-29T04:00:01.000Z</LastModified></DeleteMarker>
  <Version><Key>a%20b/config</Key><VersionId>v1</VersionId><IsLatest>false</IsLatest>
    <LastModified>2026-11-29T04:00:00.000Z</LastModified><Size>5</Size></Version>
  <CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes>
</ListVersionsResult>"#;

    fn at(moment: &str) -> Option<(String, u64)> {
        let page = Page::read(PAGE).expect("a page");
        let mut newest = Newest { moment: moment.parse().expect("a time"), versions: HashMap::new() };
        for (key, listed) in page.versions {
            assert_eq!(key, "a b/config");
            newest.add(ObjectName::Config, listed);
        }
        newest.finish().remove(&ObjectName::Config).map(|version| (version.id, version.length))
    }

    #[test]
    fn of_each_key_the_newest_version_that_is_not_younger_counts() {
        assert_eq!(Page::read(PAGE).expect("a page").next, Some(("a b/config".into(), "v1".into())));
        assert_eq!(at("2026-11-29T03:59:59.999Z"), None);
        assert_eq!(at("2026-11-29T04:00:00Z"), Some(("v1".into(), 5)));
        assert_eq!(at("2026-11-29T04:00:00.999Z"), Some(("v1".into(), 5)));
        assert_eq!(at("2026-11-29T04:00:01Z"), None);
        assert_eq!(at("2026-11-29T04:00:02Z"), None, "of the same second the first in the list is the newest");
    }

    #[test]
    fn what_is_no_list_of_versions_is_refused() {
        let entry = |time: &str, id: &str| {
            format!(
                "<ListVersionsResult><Version><Key>config</Key><VersionId>{id}</VersionId>\
                 <LastModified>{time}</LastModified></Version></ListVersionsResult>"
            )
        };
        let time = "2026-11-29T04:00:00Z";
        assert!(Page::read(entry(time, "null").as_bytes()).is_ok());
        for bad in [
            entry("yesterday", "1"),
            entry("", "1"),
            entry(time, ""),
            entry(time, &"x".repeat(VERSION_BYTES + 1)),
            "<ListBucketResult/>".to_owned(),
            "<ListVersionsResult><IsTruncated>perhaps</IsTruncated></ListVersionsResult>".to_owned(),
        ] {
            assert!(Page::read(bad.as_bytes()).is_err(), "{bad}");
        }
        let empty = Page::read(b"<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>");
        assert!(empty.is_ok_and(|page| page.versions.is_empty() && page.next.is_none()));
    }
}
