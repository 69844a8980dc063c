//! The types of a manifest. Their documentation is what editors show, by way of the schema.

use std::collections::BTreeMap;

use engine::retention::{Count, Policy, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is left out as a secret if the manifest does not say.
pub(super) const USUAL_SECRETS: [&str; 3] = [".env", "*.env", "secrets/**"];

/// A stack: what of it is saved, and how it comes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The stack's name: what its snapshots are known by, on every machine.
    pub stack: String,
    /// The directory that paths are relative to, absolute; that of the manifest if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The Unix user that commands run as; who runs `repo` if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The name of the compose project; what compose itself takes if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The compose file, relative to the stack's directory; what compose itself finds if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compose: Option<String>,
    /// Paths that hold the stack's state, each under a name of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub persist: BTreeMap<String, Persist>,
    /// Services that need a command to be saved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, Service>,
    /// What never enters a snapshot unless it is sealed: patterns as in a .gitignore beside the manifest.
    #[serde(default = "usual_secrets")]
    pub secrets: Vec<String>,
    /// Which snapshots of the stack are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Names of the repositories that it goes to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// How old the last snapshot may get, such as 26h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<String>,
}

fn usual_secrets() -> Vec<String> {
    USUAL_SECRETS.iter().map(|&pattern| pattern.to_owned()).collect()
}

/// A path that holds state: a directory with all that is in it, or a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Persist {
    /// Where it is, relative to the stack's directory and below it.
    pub subpath: String,
    /// What to leave out of it: patterns as in a .gitignore in that directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

/// A service, as far as saving it needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// How it is saved and brought back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<Backup>,
}

/// The commands that save a service and bring it back. Each runs as `sh -c COMMAND`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// Prints the service's data. It must end with 0, and print something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump: Option<String>,
    /// Reads what `dump` printed, and puts it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<String>,
    /// Ends with 0 if the service is all right; what it prints is recorded with the snapshot, and compared by a drill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<String>,
    /// Makes the service stop writing, before persist paths are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiesce: Option<String>,
    /// Lets it write again. Runs whenever `quiesce` was begun, however that and the snapshot ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
    /// Stop the service while persist paths are read, and start it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stop: bool,
    /// Where the commands run.
    #[serde(default)]
    pub exec: Exec,
    /// The container, for `docker` and `podman`; the service's name if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// How long a command may take, such as 90s, 30m, 1h30m; 2h if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Names of variables that a command gets from the environment of `repo`, beside the usual ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<String>,
    /// How a drill gets a service of its own to restore into; without it a drill only reads the dump.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<Drill>,
}

/// A scratch service for a drill. Both commands run on the host, as the stack's user, in the scratch place; `STACK_NAME` is
/// the name of the stack with `-drill` behind it, and `STACK_DIRECTORY` the scratch place. So are they for `restore` and
/// `verify` then, which must reach the scratch service by these.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    /// Starts an empty service, and ends when that is ready.
    pub start: String,
    /// Ends it. Runs whatever came of the drill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
}

/// Where commands of a service run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Exec {
    /// In the service's container, by `docker compose exec`.
    #[default]
    Compose,
    /// In a container, by `docker exec`.
    Docker,
    /// In a container, by `podman exec`.
    Podman,
    /// On the host.
    Host,
}

/// Which snapshots of a stack are kept.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The newest so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u32>,
    /// The newest of each of so many hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hourly: Option<u32>,
    /// Of so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<u32>,
    /// Of so many weeks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<u32>,
    /// Of so many months.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly: Option<u32>,
    /// Of so many years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yearly: Option<u32>,
    /// All that are not older than the newest by more than this, such as 2d or 1y5m7d2h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
}

impl Retention {
    /// The policy as the engine takes it. A `within` that can't be read is left out; a checked manifest has none.
    pub fn policy(&self) -> Policy {
        let count = |number: Option<u32>| Count::AtMost(number.unwrap_or(0));
        Policy {
            last: count(self.last),
            hourly: count(self.hourly),
            daily: count(self.daily),
            weekly: count(self.weekly),
            monthly: count(self.monthly),
            yearly: count(self.yearly),
            within: self.within.as_ref().and_then(|text| text.parse::<Span>().ok()),
            ..Policy::default()
        }
    }
}

/// A length of time as a manifest writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub std::time::Duration);

impl std::str::FromStr for Duration {
    type Err = &'static str;

    /// Reads numbers with units from days to seconds, such as `1h30m`, larger units first.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected a length of time such as 90s, 30m, 1h30m or 2d";
        const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];
        let (mut seconds, mut rest, mut next) = (0u64, text.trim(), 0);
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or(EXPECTED)?;
            let number: u64 = rest[..end].parse().map_err(|_| EXPECTED)?;
            let unit = rest[end..].chars().next().ok_or(EXPECTED)?;
            let at = UNITS.iter().position(|(name, _)| *name == unit).filter(|at| *at >= next).ok_or(EXPECTED)?;
            seconds = number.checked_mul(UNITS[at].1).and_then(|part| seconds.checked_add(part)).ok_or(EXPECTED)?;
            next = at + 1;
            rest = &rest[end + unit.len_utf8()..];
        }
        if seconds == 0 { Err(EXPECTED) } else { Ok(Self(std::time::Duration::from_secs(seconds))) }
    }
}

/// How long a command may take if the manifest does not say.
const USUAL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2 * 3600);

impl Backup {
    /// How long a command may take.
    pub fn time_limit(&self) -> std::time::Duration {
        let given = self.timeout.as_ref().and_then(|text| text.parse::<Duration>().ok());
        given.map_or(USUAL_TIMEOUT, |duration| duration.0)
    }

    /// Whether the service does not write while persist paths are read.
    pub fn pauses(&self) -> bool {
        self.stop || self.quiesce.is_some()
    }
}

impl Manifest {
    /// The services with commands, by name.
    pub fn backups(&self) -> impl Iterator<Item = (&str, &Backup)> {
        self.services.iter().filter_map(|(name, service)| Some((name.as_str(), service.backup.as_ref()?)))
    }

    /// Persist paths that lie within that of `name`, by name.
    pub fn within<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, String)> + 'a {
        let outer = self.persist.get(name).map(|persist| clean(&persist.subpath)).unwrap_or_default();
        self.persist.iter().filter_map(move |(other, persist)| {
            let inner = clean(&persist.subpath);
            let below = match outer.as_str() {
                "" => Some(inner.as_str()),
                outer => inner.strip_prefix(outer).and_then(|rest| rest.strip_prefix('/')),
            };
            let below = below.filter(|below| other != name && !below.is_empty())?.to_owned();
            Some((other.as_str(), below))
        })
    }
}

/// A subpath without `.` and superfluous slashes; empty for the stack's directory itself.
pub fn clean(subpath: &str) -> String {
    subpath.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}
