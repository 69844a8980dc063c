//! What a command has around it: global options, environment, output, and the repository that they lead to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use engine::ErrorKind;
use engine::clock::{Clock, Stopwatch, Timestamp};
use engine::repository::{EarlyStretch, Index, Repository, Secret};
use engine::storage::{ObjectFamily, ObjectName, Storage};
use remote::Access;

use crate::args::copy::To;
use crate::args::{Global, values};
use crate::environment::Environment;
use crate::exit::{Failure, invalid};
use crate::hint::{KnownSlot, SlotHint};
use crate::output::Output;
use crate::progress::Progress;
use crate::secret::{ATTEMPTS, Source};
use crate::signals::Cancel;
use crate::text;

/// Everything that a command function takes besides its own arguments.
pub(crate) struct Context {
    /// The options that all commands have.
    pub(crate) global: Global,
    /// Where variables are looked up.
    pub(crate) environment: Environment,
    /// Where results go.
    pub(crate) output: Output,
    /// Whether somebody asked to stop.
    pub(crate) cancel: Cancel,
}

impl Context {
    /// The surroundings of one command.
    pub(crate) fn new(global: Global, environment: Environment, cancel: Cancel) -> Self {
        let output = Output::new(&global);
        Self { global, environment, output, cancel }
    }

    /// A monitor that shows progress to whoever watches.
    pub(crate) fn progress(&self, statuses: bool) -> Progress<'_> {
        Progress::new(&self.output, &self.cancel, statuses)
    }

    /// Where the repository is.
    pub(crate) fn address(&self) -> Result<String, Failure> {
        let variable = || {
            let value = self.environment.get("REPO_REPOSITORY")?;
            Some(value.into_string().map_err(|_| invalid("REPO_REPOSITORY is not UTF-8")))
        };
        match self.global.repository.clone() {
            Some(address) => Ok(address),
            None => variable().unwrap_or_else(|| {
                Err(Failure::Usage("no repository given: use -r PLACE or set REPO_REPOSITORY".into()))
            }),
        }
    }

    /// What storages need besides their addresses.
    pub(crate) fn access(&self) -> Result<Access, Failure> {
        let mut access = self.access_of(str::to_owned)?;
        access.as_of = self.global.as_of;
        Ok(access)
    }

    /// The same with variables of other names, and of the present: what is copied is written now.
    fn access_of(&self, rename: impl Fn(&str) -> String + Send + Sync + 'static) -> Result<Access, Failure> {
        self.access_with(&self.global.options, rename)
    }

    fn access_with(
        &self,
        options: &[String],
        rename: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Result<Access, Failure> {
        let environment = self.environment.clone();
        let mut access = Access::new(options, Arc::new(move |name| environment.get(&rename(name))))?;
        access.upload_limit = self.global.limit_upload;
        access.download_limit = self.global.limit_download;
        Ok(access)
    }

    /// The directory for the caches of all repositories.
    pub(crate) fn cache_directory(&self) -> Result<PathBuf, Failure> {
        if let Some(directory) = self.global.cache_dir.clone().or_else(|| self.environment.path("REPO_CACHE_DIR")) {
            return Ok(directory);
        }
        // The XDG specification says that a relative path is to be ignored.
        if let Some(base) = self.environment.path("XDG_CACHE_HOME").filter(|base| base.is_absolute()) {
            return Ok(base.join("repo"));
        }
        match self.environment.home() {
            Some(home) => Ok(home.join(".cache/repo")),
            None => Err(invalid(
                "no place for the cache, since there is no home directory: use --cache-dir or set REPO_CACHE_DIR",
            )),
        }
    }

    /// Opens the repository, which may ask for the password. A key that can only add is refused.
    pub(crate) fn open(&self) -> Result<Repository, Failure> {
        self.open_to_list(&[])
    }

    /// The same, to list these as soon as it is open.
    pub(crate) fn open_to_list(&self, lists: &[ObjectFamily]) -> Result<Repository, Failure> {
        let repository = self.open_any(lists)?;
        repository.require_full_key()?;
        Ok(repository)
    }

    /// The same, to begin a session. A key that can only add is good for it.
    pub(crate) fn open_to_add(&self) -> Result<Repository, Failure> {
        self.open_any(&[ObjectFamily::Prune, ObjectFamily::Sessions])
    }

    /// Opens the repository with whatever key.
    pub(crate) fn open_any(&self, lists: &[ObjectFamily]) -> Result<Repository, Failure> {
        let mut access = self.access()?;
        access.first_lists = lists.to_vec();
        let source = Source::choose(&self.global, &self.environment);
        self.open_at(&self.address()?, &source, "repository password: ", access)
    }

    /// Opens the other repositories of `copy`; their addresses, too.
    pub(crate) fn open_others(&self, to: &To) -> Result<Vec<(String, Repository)>, Failure> {
        let variable = || self.environment.get("REPO_TO_REPOSITORY").and_then(|value| value.into_string().ok());
        let mut addresses = to.repositories.clone();
        if addresses.is_empty() {
            addresses.extend(variable());
        }
        if addresses.is_empty() {
            return Err(Failure::Usage("no other repository given: use --to PLACE or set REPO_TO_REPOSITORY".into()));
        }
        let open = |(number, address): (usize, String)| {
            self.open_other(to, number, &address).map(|repository| (address, repository))
        };
        addresses.into_iter().enumerate().map(open).collect()
    }

    /// Opens one of the other repositories, counted from 0. Errors name it.
    pub(crate) fn open_other(&self, to: &To, number: usize, address: &str) -> Result<Repository, Failure> {
        let source = Source::choose_other(to, number, &self.global, &self.environment)?;
        // A token is for one server, and the others must not learn it.
        let mut options = self.global.options.clone();
        options.retain(|option| !option.starts_with("rest.token-file="));
        let access = self.access_with(&options, move |name| match (name, number) {
            ("REPO_TOKEN" | "REPO_TOKEN_FILE", 0) => name.replace("REPO_", "REPO_TO_"),
            ("REPO_TOKEN" | "REPO_TOKEN_FILE", more) => {
                format!("{}_{}", name.replace("REPO_", "REPO_TO_"), more + 1)
            }
            (other, _) => other.to_owned(),
        })?;
        let question = format!("password of {}: ", text::plain(address));
        self.open_at(address, &source, &question, access)
            .map_err(|failure| match failure {
                Failure::Engine(error) if error.kind() == ErrorKind::WrongPassword => {
                    error.during(text::plain(address)).into()
                }
                other => other,
            })
            .and_then(|repository| {
                repository.require_full_key()?;
                Ok(repository)
            })
    }

    /// `question` is what a person is asked, if that is where the password comes from.
    fn open_at(
        &self,
        address: &str,
        source: &Source,
        question: &str,
        mut access: Access,
    ) -> Result<Repository, Failure> {
        let cache = self.cache_directory()?;
        let is_local = remote::Address::parse(address)?.is_local();
        let hint = SlotHint::of(&cache, address);
        let known = if is_local { None } else { hint.read() };
        access.first_objects.extend(known.map(|slot| ObjectName::Key(slot.id)));
        let (mut at_hand, mut early) = self.begin_early(known, source, question)?;
        let storage = remote::open(address, false, &access)?;
        let attempts = if *source == Source::Prompt { ATTEMPTS } else { 1 };
        for attempt in 1.. {
            let secrets = match at_hand.take() {
                Some(secrets) => secrets,
                None => source.existing(question, &self.cancel)?,
            };
            match open_with_any(&storage, &secrets, &mut early, &cache) {
                Err(error) if error.kind() == ErrorKind::WrongPassword && attempt < attempts => {
                    self.output.warn("wrong password, try again");
                }
                Ok(mut repository) => {
                    if let Some(error) = repository.former_key() {
                        self.output.warn(&error.to_string());
                    }
                    if self.global.cache_size > 0 && !is_local {
                        repository.keep_objects(self.global.cache_size);
                        hint.remember(&repository);
                    }
                    return Ok(repository);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(invalid("no attempt to open the repository was made"))
    }

    /// Begins to stretch the password for the slot that is expected to open the repository, before that has answered. A person is not
    /// asked for one before it is known that the place is there.
    fn begin_early(
        &self,
        known: Option<KnownSlot>,
        source: &Source,
        question: &str,
    ) -> Result<(Option<Vec<Secret>>, Option<EarlyStretch>), Failure> {
        let Some(stretch) = known.and_then(|slot| slot.stretch).filter(|_| *source != Source::Prompt) else {
            return Ok((None, None));
        };
        let secrets = source.existing(question, &self.cancel)?;
        // The last one is the password: whatever is before it needs no stretching.
        let early = secrets.last().and_then(|password| EarlyStretch::begin(password, stretch));
        Ok((Some(secrets), early))
    }

    /// Opens the repository and brings the local index up to date.
    pub(crate) fn open_indexed(&self, progress: &Progress<'_>) -> Result<(Repository, Index), Failure> {
        let repository = self.open_to_list(&[ObjectFamily::Sessions])?;
        let index = repository.load_index_before_snapshots(progress)?;
        Ok((repository, index))
    }

    /// This machine's name.
    pub(crate) fn host(&self) -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    /// Who runs the command: the name, or the number if nobody says the name.
    pub(crate) fn user(&self) -> String {
        self.environment.user().unwrap_or_else(|| rustix::process::getuid().as_raw().to_string())
    }
}

/// Tries one secret after the other; the first that fits, or an error other than a wrong password, decides.
fn open_with_any(
    storage: &Arc<dyn Storage>,
    secrets: &[Secret],
    early: &mut Option<EarlyStretch>,
    cache: &std::path::Path,
) -> engine::Result<Repository> {
    let mut last = engine::EngineError::new(ErrorKind::WrongPassword, "no password to try");
    for secret in secrets {
        match Repository::open_begun(Arc::clone(storage), secret, early, cache) {
            Err(error) if error.kind() == ErrorKind::WrongPassword => last = error,
            result => return result,
        }
    }
    Err(last)
}

/// The system's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        values::timestamp(jiff::Timestamp::now())
    }
}

/// The system's watch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemStopwatch(Instant);

impl SystemStopwatch {
    /// One that begins now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

impl Stopwatch for SystemStopwatch {
    fn nanoseconds(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What snapshots say wrote them.
pub(crate) const PROGRAM: &str = concat!("repo ", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    fn context(global: Global, environment: Environment) -> Context {
        Context::new(global, environment, Cancel::default())
    }

    #[test]
    fn the_cache_is_where_the_first_of_four_says() {
        let directory = |environment: Environment| context(Global::default(), environment).cache_directory().ok();
        let home = Environment::isolated().with("HOME", "/home/a");
        assert_eq!(directory(Environment::isolated()), None);
        assert_eq!(directory(home.clone()), Some("/home/a/.cache/repo".into()));
        assert_eq!(directory(home.clone().with("XDG_CACHE_HOME", "relative")), Some("/home/a/.cache/repo".into()));
        let xdg = home.with("XDG_CACHE_HOME", "/x");
        assert_eq!(directory(xdg.clone()), Some("/x/repo".into()));
        let variable = xdg.with("REPO_CACHE_DIR", "/v");
        assert_eq!(directory(variable.clone()), Some("/v".into()));
        let global = Global { cache_dir: Some("/flag".into()), ..Global::default() };
        assert_eq!(context(global, variable).cache_directory().ok(), Some("/flag".into()));
    }

    #[test]
    fn no_repository_given_is_a_usage_error() {
        let result = context(Global::default(), Environment::isolated()).address();
        assert!(matches!(result, Err(Failure::Usage(_))));
    }
}
