//! The environment variables as a value, so that tests and the demo can run a command in one of their own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// Variables that win over the process's own, which may be hidden altogether.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    set: BTreeMap<&'static str, OsString>,
    isolated: bool,
}

impl Environment {
    /// What the process was started with.
    pub(crate) fn system() -> Self {
        Self::default()
    }

    /// An environment in which no variable of the program is set.
    pub(crate) fn isolated() -> Self {
        Self { set: BTreeMap::new(), isolated: true }
    }

    /// The same with one variable set.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.set.insert(name, value.into());
        self
    }

    /// The value of a variable; an empty one counts as not set.
    pub(crate) fn get(&self, name: &str) -> Option<OsString> {
        let value = match self.set.get(name) {
            Some(value) => Some(value.clone()),
            None if self.isolated => None,
            None => std::env::var_os(name),
        };
        value.filter(|value| !value.is_empty())
    }

    /// All variables that are set.
    pub(crate) fn all(&self) -> BTreeMap<OsString, OsString> {
        let mut all: BTreeMap<OsString, OsString> =
            if self.isolated { BTreeMap::new() } else { std::env::vars_os().collect() };
        all.extend(self.set.iter().map(|(name, value)| (OsString::from(name), value.clone())));
        all
    }

    /// The value of a variable that holds a path.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// The person's home directory: `HOME`, or what the system knows of the account.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        match self.path("HOME") {
            Some(home) => Some(home),
            None if self.isolated => None,
            None => etcetera::home_dir().ok(),
        }
    }

    /// Who runs the program, if the environment says so.
    pub(crate) fn user(&self) -> Option<String> {
        let name = self.get("LOGNAME").or_else(|| self.get("USER"))?;
        Some(name.to_string_lossy().into_owned())
    }
}
