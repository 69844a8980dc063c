//! What new files of a directory are like before anything is set: learned from the first, not asked of each.

use std::io;
use std::sync::Mutex;

use super::OwnerMap;
use super::metadata::belongs_to_the_machine;
use crate::model::Metadata;
use crate::os::File;

/// Permissions of a file that nobody else may read.
const PRIVATE: u32 = 0o600;
/// Kinds of births that are remembered. There are as many as a tree has different permissions, which is few.
const REMEMBERED: usize = 64;

/// What the system makes of a new file for which permissions were asked: owner, group, umask, inherited attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Birth {
    asked: u32,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    /// Without attributes, but for those that belong to the machine.
    pub(super) is_plain: bool,
}

/// The births that were seen in a directory. What decides about them (umask, the owner of new files, a default ACL)
/// is the same for all files in it, and for the directories that are made in it.
#[derive(Debug, Default)]
pub(super) struct Births(Mutex<Vec<Birth>>);

impl Births {
    /// The permissions to ask for: those that the file will have, if it will belong to who owns new files here anyway.
    /// Otherwise it stays private until it is given away.
    pub(super) fn mode_to_ask(&self, metadata: &Metadata, owners: &OwnerMap) -> u32 {
        let seen = self.0.lock().expect("no holder of this lock panics");
        let owner = owners.owner(metadata);
        // Attributes can be an ACL, without which the permissions would say too much.
        let is_usual = metadata.xattrs.is_empty() && seen.first().is_some_and(|birth| birth.owner == owner);
        if is_usual { metadata.mode & 0o777 } else { PRIVATE }
    }

    /// What `file` is like, which was just made with these permissions.
    pub(super) fn of(&self, asked: u32, file: &File) -> io::Result<Birth> {
        let mut seen = self.0.lock().expect("no holder of this lock panics");
        if let Some(birth) = seen.iter().find(|birth| birth.asked == asked) {
            return Ok(*birth);
        }
        let stat = file.stat()?;
        let is_plain = file.xattrs()?.iter().all(|xattr| belongs_to_the_machine(&xattr.name));
        let birth = Birth { asked, mode: stat.mode, owner: (stat.uid, stat.gid), is_plain };
        if seen.len() < REMEMBERED {
            seen.push(birth);
        }
        Ok(birth)
    }
}
