//! Who owns what is restored.

use std::collections::HashMap;
use std::sync::Mutex;

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
    strict: bool,
    privileged: bool,
}

impl OwnerMap {
    /// `users` and `groups` are those of the snapshot. `strict`: owners that can't be set are told without being root,
    /// too.
    pub fn new(mode: OwnerMode, users: NameTable, groups: NameTable, strict: bool) -> Self {
        let privileged = os::host::effective_uid() == 0;
        Self { mode, users, groups, accounts: Accounts::new(), known: Mutex::default(), strict, privileged }
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
        if self.mode == OwnerMode::Ids {
            return (metadata.uid, metadata.gid);
        }
        let mut known = self.known.lock().expect("no holder of this lock panics");
        if known.len() > KNOWN_OWNERS {
            known.clear();
        }
        *known.entry((metadata.uid, metadata.gid)).or_insert_with(|| self.ask(metadata))
    }

    fn ask(&self, metadata: &Metadata) -> (u32, u32) {
        let uid = self.users.get(&metadata.uid).and_then(|name| self.accounts.user_id(name));
        let gid = self.groups.get(&metadata.gid).and_then(|name| self.accounts.group_id(name));
        (uid.unwrap_or(metadata.uid), gid.unwrap_or(metadata.gid))
    }
}
