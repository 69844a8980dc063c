//! Who owns what is restored.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::error::{EngineError, ErrorKind, Result};
use crate::model::{Metadata, NameTable};
use crate::os::{self, Accounts};

/// Answers that are remembered.
const KNOWN_OWNERS: usize = 4096;

/// How owners of the snapshot become owners here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OwnerMode {
    /// Who has the same name here; by number where there is none.
    #[default]
    Names,
    /// By number.
    Ids,
    /// Owners stay as they come: for what is new, those of this process.
    Leave,
}

/// Owners of a snapshot and what becomes of them here.
///
/// Only root can give files away. For root, an owner that can't be set is a problem. For everybody else it is the
/// usual case and told only if `strict`; a group that they are in is set. Where owner or group are not those of the
/// snapshot in the end, whatever the reason, a file does not get its setuid or setgid bit: it would lend the rights
/// of somebody else.
#[derive(Debug)]
pub struct OwnerMap {
    mode: OwnerMode,
    users: NameTable,
    groups: NameTable,
    accounts: Accounts,
    /// Answers that were given: a tree has few owners and many files.
    known: Mutex<HashMap<(u32, u32), (u32, u32)>>,
    /// Users and groups that become others, whatever their names are.
    mapped_users: HashMap<u32, u32>,
    mapped_groups: HashMap<u32, u32>,
    strict: bool,
    privileged: bool,
}

impl OwnerMap {
    /// `users` and `groups` are those of the snapshot. `strict`: owners that can't be set are told without being root,
    /// too.
    pub fn new(mode: OwnerMode, users: NameTable, groups: NameTable, strict: bool) -> Self {
        let privileged = os::host::effective_uid() == 0;
        Self {
            mode,
            users,
            groups,
            accounts: Accounts::new(),
            known: Mutex::default(),
            mapped_users: HashMap::new(),
            mapped_groups: HashMap::new(),
            strict,
            privileged,
        }
    }

    /// Makes some users and groups others: pairs of a name or number in the snapshot and one here. A map counts before
    /// names and numbers do; it does nothing if owners stay as they come.
    ///
    /// # Errors
    /// `Invalid` if the snapshot or this machine has none of that name.
    pub fn with_map(mut self, users: &[(String, String)], groups: &[(String, String)]) -> Result<Self> {
        self.mapped_users = resolve("user", users, &self.users, |name| self.accounts.user_id(name))?;
        self.mapped_groups = resolve("group", groups, &self.groups, |name| self.accounts.group_id(name))?;
        Ok(self)
    }

    /// Whether this is root, who can set everything.
    pub(super) fn is_privileged(&self) -> bool {
        self.privileged
    }

    pub(super) fn tells_of_owners(&self) -> bool {
        self.strict || self.privileged
    }

    pub(super) fn leaves_owners(&self) -> bool {
        self.mode == OwnerMode::Leave
    }

    /// Whose it is here: user and group.
    pub(super) fn owner(&self, metadata: &Metadata) -> (u32, u32) {
        if self.mode == OwnerMode::Ids && self.mapped_users.is_empty() && self.mapped_groups.is_empty() {
            return (metadata.uid, metadata.gid);
        }
        let mut known = self.known.lock().expect("no holder of this lock panics");
        if known.len() > KNOWN_OWNERS {
            known.clear();
        }
        *known.entry((metadata.uid, metadata.gid)).or_insert_with(|| self.ask(metadata))
    }

    fn ask(&self, metadata: &Metadata) -> (u32, u32) {
        let by_name = self.mode != OwnerMode::Ids;
        let named = |table: &NameTable, id| table.get(&id).filter(|_| by_name).cloned();
        let user = || named(&self.users, metadata.uid).and_then(|name| self.accounts.user_id(&name));
        let group = || named(&self.groups, metadata.gid).and_then(|name| self.accounts.group_id(&name));
        let uid = self.mapped_users.get(&metadata.uid).copied().or_else(user);
        let gid = self.mapped_groups.get(&metadata.gid).copied().or_else(group);
        (uid.unwrap_or(metadata.uid), gid.unwrap_or(metadata.gid))
    }
}

/// Numbers for names, in the snapshot and here.
fn resolve(
    what: &str,
    pairs: &[(String, String)],
    table: &NameTable,
    id_here: impl Fn(&[u8]) -> Option<u32>,
) -> Result<HashMap<u32, u32>> {
    let none = |name: &str, place: &str| {
        EngineError::new(ErrorKind::Invalid, format!("there is no {what} {name} {place}; a number always goes"))
    };
    let mut map = HashMap::new();
    for (old, new) in pairs {
        let in_table = table.iter().find(|(_, name)| name.as_slice() == old.as_bytes()).map(|(id, _)| *id);
        let from = in_table.or_else(|| old.parse().ok()).ok_or_else(|| none(old, "in the snapshot"))?;
        let to = id_here(new.as_bytes()).or_else(|| new.parse().ok()).ok_or_else(|| none(new, "on this machine"))?;
        map.insert(from, to);
    }
    Ok(map)
}
