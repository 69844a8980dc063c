//! What a storage needs besides its address: options, credentials, limits.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use engine::clock::Timestamp;
use engine::storage::{ObjectFamily, ObjectName};
use engine::{EngineError, ErrorKind, Result};

use crate::patience::Patience;

/// Every option that some storage has, as `-o NAME=VALUE` sets it, and what it is for.
pub const OPTIONS: &[(&str, &str)] = &[
    ("rest.ca-file", "file with the only authorities that may speak for a repo serve"),
    ("rest.client-cert", "file with the certificate that a repo serve is shown"),
    ("rest.client-key", "file with its key"),
    ("rest.token-file", "file with the token for a repo serve"),
    ("retry.seconds", "how long requests that fail are tried again, waits together; 180 if not said, 0 is not at all"),
    ("s3.bucket-lookup", "whether the bucket is in the path or in the name of the host: path, dns or auto"),
    ("s3.lock", "for how long objects are locked when they are put: 30d"),
    ("s3.lock-mode", "governance: who has the right to may end a lock sooner; compliance: nobody may"),
    ("s3.part-size", "the size of parts, from which objects are sent in parts, in MiB"),
    ("s3.probe", "`again` finds out anew what the store does, and puts it on record"),
    ("s3.profile", "the profile of ~/.aws that credentials are taken from, and no other place"),
    ("s3.region", "the region of the bucket"),
    ("ssh.command", "the command that is ssh, with options"),
    ("ssh.remote-command", "the command that is repo on the other machine"),
];

/// The most that an option may ask for: who wants to wait longer runs the command again.
const MAX_PATIENCE_SECONDS: u64 = 24 * 3600;

/// How variables are looked up: the command line decides what the environment is.
pub type Lookup = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// Options, environment and limits for the storages of one command.
#[derive(Clone)]
pub struct Access {
    options: BTreeMap<String, String>,
    lookup: Lookup,
    /// Bytes a second that may be sent, of all requests together.
    pub upload_limit: Option<u64>,
    /// Bytes a second that may be received, of all requests together.
    pub download_limit: Option<u64>,
    /// The moment that is to be read instead of the present.
    pub as_of: Option<Timestamp>,
    /// What will be listed as soon as the storage is open, besides key slots: a storage that is far away may ask for it while
    /// it opens.
    pub first_lists: Vec<ObjectFamily>,
    /// What will be read then, besides the config, as far as anybody knows.
    pub first_objects: Vec<ObjectName>,
}

impl Access {
    /// Options as `NAME=VALUE`, and the environment.
    ///
    /// # Errors
    /// `Invalid` if one has no `=`.
    pub fn new(options: &[String], lookup: Lookup) -> Result<Self> {
        let split = |option: &String| match option.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(EngineError::new(ErrorKind::Invalid, format!("option {option}: NAME=VALUE is expected"))),
        };
        let options = options.iter().map(split).collect::<Result<_>>()?;
        Ok(Self { options, lookup, ..Self::none() })
    }

    /// No options, no variables, no limits.
    pub fn none() -> Self {
        Self {
            options: BTreeMap::new(),
            lookup: Arc::new(|_| None),
            upload_limit: None,
            download_limit: None,
            as_of: None,
            first_lists: Vec::new(),
            first_objects: Vec::new(),
        }
    }

    /// The value of an option.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        debug_assert!(OPTIONS.iter().any(|(known, _)| *known == name), "{name} is not in the list of options");
        self.options.get(name).map(String::as_str)
    }

    /// The value of an option that is a number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>> {
        let parse = |value: &str| {
            let expected = |_| EngineError::new(ErrorKind::Invalid, format!("option {name}={value}: not a number"));
            value.parse().map_err(expected)
        };
        self.option(name).map(parse).transpose()
    }

    /// How long requests are tried again.
    ///
    /// # Errors
    /// `Invalid` for an option `retry.seconds` that is no number, or more than a day.
    pub(crate) fn patience(&self) -> Result<Patience> {
        match self.number("retry.seconds")? {
            None => Ok(Patience::default()),
            Some(seconds @ ..=MAX_PATIENCE_SECONDS) => Ok(Patience::of_seconds(seconds)),
            Some(other) => Err(EngineError::new(
                ErrorKind::Invalid,
                format!("option retry.seconds={other}: at most {MAX_PATIENCE_SECONDS} is expected"),
            )),
        }
    }

    /// The value of a variable, unless it is empty.
    ///
    /// # Errors
    /// `Invalid` if it is not UTF-8.
    pub(crate) fn variable(&self, name: &str) -> Result<Option<String>> {
        let text = |value: OsString| {
            value.into_string().map_err(|_| EngineError::new(ErrorKind::Invalid, format!("{name} is not UTF-8")))
        };
        (self.lookup)(name).filter(|value| !value.is_empty()).map(text).transpose()
    }

    /// A path that a variable names.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        (self.lookup)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// Refuses options that no storage has: a word mistyped must not be ignored.
    pub(crate) fn check_options(&self) -> Result<()> {
        match self.options.keys().find(|name| !OPTIONS.iter().any(|(known, _)| known == name)) {
            None => Ok(()),
            Some(name) => {
                let known: Vec<_> = OPTIONS.iter().map(|(known, _)| *known).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Err(EngineError::new(ErrorKind::Invalid, format!("unknown option {name} (there are: {known})")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_nobody_knows_is_refused() {
        let access = Access::new(&["s3.regoin=x".into()], Access::none().lookup).expect("well formed");
        let error = access.check_options().expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("s3.regoin"), "{error}");
        assert!(Access::new(&["no value".into()], Access::none().lookup).is_err());
    }
}
