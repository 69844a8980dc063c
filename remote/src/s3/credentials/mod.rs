//! Who asks: the first place that has credentials decides. Those that end are renewed before they do.
//!
//! Places, in order: the environment, the profile, the service of a container, the service of a machine. With
//! `-o s3.profile` only that profile is looked at.

mod metadata;
mod profile;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use engine::{EngineError, ErrorKind, Result};
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

pub(super) use profile::Profile;

use crate::Access;
use crate::refusal::{Cause, Refusal};

/// How long before their end credentials are renewed.
const EARLY: SignedDuration = SignedDuration::from_mins(5);

/// A pair of keys, perhaps with a token and an end.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) access: String,
    pub(super) secret: Zeroizing<String>,
    pub(super) token: Option<Zeroizing<String>>,
    expires: Option<Timestamp>,
}

impl Keys {
    /// Keys that don't end.
    pub(super) fn new(access: String, secret: String) -> Self {
        Self { access, secret: Zeroizing::new(secret), token: None, expires: None }
    }

    fn with_token(self, token: Option<String>) -> Self {
        Self { token: token.filter(|token| !token.is_empty()).map(Zeroizing::new), ..self }
    }

    fn is_good_until(&self, time: Timestamp) -> bool {
        self.expires.is_none_or(|expires| expires > time)
    }
}

/// Where keys come from, and those that came.
pub(super) struct Credentials {
    access: Access,
    profile: Profile,
    held: Mutex<Option<Keys>>,
}

impl Credentials {
    /// Looks at nothing yet.
    pub(super) fn new(access: Access, profile: Profile) -> Self {
        Self { access, profile, held: Mutex::new(None) }
    }

    /// Keys that are good for the next minutes.
    ///
    /// # Errors
    /// `Invalid` if no place has any, or the one that has some can't be read; `Io` if a service does not answer.
    pub(super) fn keys(&self, now: Timestamp) -> Result<Keys> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let old = held.take();
        if let Some(keys) = old.as_ref().filter(|keys| keys.is_good_until(now.saturating_add(EARLY).unwrap_or(now))) {
            *held = old.clone();
            return Ok(keys.clone());
        }
        match (self.find(), old) {
            (Ok(new), _) => {
                *held = Some(new.clone());
                Ok(new)
            }
            // They could not be renewed early, and there is time.
            (Err(_), Some(old)) if old.is_good_until(now) => {
                *held = Some(old.clone());
                Ok(old)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The store says that these have ended, whatever was known of their end. Whether there are others now.
    pub(super) fn have_ended(&self, ended: &Keys) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let differ = |keys: &Keys| keys.access != ended.access || keys.token != ended.token;
        if held.as_ref().is_some_and(differ) {
            return true;
        }
        let found = self.find().ok().filter(differ);
        let is_renewed = found.is_some();
        *held = found;
        is_renewed
    }

    fn find(&self) -> Result<Keys> {
        let mut tried = Vec::new();
        if !self.profile.is_wanted
            && let Some(keys) = self.of_environment(&mut tried)?
        {
            return Ok(keys);
        }
        if let Some(keys) = self.profile.keys(&mut tried)? {
            return Ok(keys);
        }
        if !self.profile.is_wanted {
            if let Some(keys) = metadata::of_container(&self.access, &mut tried)? {
                return Ok(keys);
            }
            if let Some(keys) = metadata::of_machine(&self.access, &mut tried)? {
                return Ok(keys);
            }
        }
        let text = format!("looked at: {}", tried.join("; "));
        let refusal = Refusal::new(Cause::Credentials, text);
        Err(EngineError::with_source(ErrorKind::Invalid, "no credentials for S3", refusal))
    }

    fn of_environment(&self, tried: &mut Vec<String>) -> Result<Option<Keys>> {
        let access = self.access.variable("AWS_ACCESS_KEY_ID")?;
        let secret = self.access.variable("AWS_SECRET_ACCESS_KEY")?;
        match (access, secret) {
            (Some(access), Some(secret)) => {
                let token = self.access.variable("AWS_SESSION_TOKEN")?;
                Ok(Some(Keys::new(access, secret).with_token(token)))
            }
            (None, None) => {
                tried.push("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (not set)".into());
                Ok(None)
            }
            (Some(_), None) => Err(half("AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not")),
            (None, Some(_)) => Err(half("AWS_SECRET_ACCESS_KEY is set, and AWS_ACCESS_KEY_ID is not")),
        }
    }
}

fn half(text: &str) -> EngineError {
    EngineError::with_source(ErrorKind::Invalid, "no credentials for S3", Refusal::new(Cause::Credentials, text))
}

/// The directory of a person's settings.
fn settings(access: &Access) -> Option<PathBuf> {
    access.path("HOME").map(|home| home.join(".aws"))
}

/// A file's text; nothing if it isn't there.
fn read_if_there(path: &Path) -> Result<Option<Zeroizing<String>>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(EngineError::io("read", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::sync::Arc;

    use super::*;

    fn access(variables: &[(&str, &str)], options: &[&str]) -> Access {
        let mut all: BTreeMap<String, OsString> = BTreeMap::new();
        all.insert("AWS_EC2_METADATA_DISABLED".into(), "true".into());
        all.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))));
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        Access::new(&options, Arc::new(move |name| all.get(name).cloned())).expect("options")
    }

    fn find(access: Access) -> Result<Keys> {
        let profile = Profile::load(&access)?;
        Credentials::new(access, profile).keys(Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_environment_comes_before_the_profile_unless_one_is_named() {
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("credentials");
        std::fs::write(&file, "[default]\naws_access_key_id=d\naws_secret_access_key=x\n[other]\naws_access_key_id = o\naws_secret_access_key = y\n").expect("a file");
        let file = file.to_str().expect("UTF-8");
        let keys = [("AWS_ACCESS_KEY_ID", "e"), ("AWS_SECRET_ACCESS_KEY", "z"), ("AWS_SESSION_TOKEN", "t")];
        let shared = ("AWS_SHARED_CREDENTIALS_FILE", file);
        let found = find(access(&[keys[0], keys[1], keys[2], shared], &[])).expect("keys");
        assert_eq!((found.access.as_str(), found.token.expect("a token").as_str()), ("e", "t"));
        assert_eq!(find(access(&[shared], &[])).expect("keys").access, "d");
        assert_eq!(find(access(&[shared, ("AWS_PROFILE", "other")], &[])).expect("keys").access, "o");
        assert_eq!(find(access(&[keys[0], keys[1], shared], &["s3.profile=other"])).expect("keys").access, "o");
    }

    #[test]
    fn all_places_that_were_looked_at_are_named() {
        let Err(error) = find(access(&[("HOME", "/nowhere")], &[])) else { panic!("there are none") };
        assert_eq!(error.kind(), ErrorKind::Invalid);
        for place in [
            "AWS_ACCESS_KEY_ID",
            "/nowhere/.aws/credentials",
            "default",
            "AWS_CONTAINER_CREDENTIALS",
            "AWS_EC2_METADATA_DISABLED",
        ] {
            assert!(error.to_string().contains(place), "{place}: {error}");
        }
        let Err(error) = find(access(&[("AWS_ACCESS_KEY_ID", "e")], &[])) else { panic!("a half") };
        assert!(error.to_string().contains("AWS_SECRET_ACCESS_KEY is not"), "{error}");
    }

    #[test]
    fn keys_are_renewed_before_they_end_and_used_to_the_end_if_that_fails() {
        let place = tempfile::tempdir().expect("a directory");
        let held = Keys {
            expires: Some("2026-11-29T12:00:00Z".parse().expect("a time")),
            ..Keys::new("old".into(), "x".into())
        };
        let file = place.path().join("credentials");
        let access = access(&[("AWS_SHARED_CREDENTIALS_FILE", file.to_str().expect("UTF-8"))], &[]);
        let profile = Profile::load(&access).expect("none");
        let credentials = Credentials::new(access, profile);
        *credentials.held.lock().expect("free") = Some(held);
        let at = |time: &str| credentials.keys(time.parse().expect("a time")).map(|keys| keys.access);
        assert_eq!(at("2026-11-29T11:00:00Z").expect("far from the end"), "old");
        assert_eq!(at("2026-11-29T11:58:00Z").expect("still good, and no others"), "old");
        assert!(at("2026-11-29T12:00:01Z").is_err());
        std::fs::write(&file, "[default]\naws_access_key_id=new\naws_secret_access_key=x\n").expect("a file");
        assert_eq!(at("2026-11-29T11:58:00Z").expect("others"), "new");
    }
}
