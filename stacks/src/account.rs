//! The Unix user that commands of a stack run as.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use engine::{EngineError, ErrorKind, Result};
use rustix::process::{Gid, Uid};
use uzers::os::unix::UserExt;

/// A user of this machine that is not the one that runs this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: OsString,
    /// The number.
    pub uid: u32,
    /// The user's directory.
    pub home: PathBuf,
    gid: u32,
    groups: Vec<u32>,
}

impl Account {
    /// The account of a name or number; `None` if that is who runs this program.
    ///
    /// # Errors
    /// `Invalid` if there is none, or only root could become it and this is not root.
    pub fn find(user: &str) -> Result<Option<Self>> {
        let invalid = |text: String| EngineError::new(ErrorKind::Invalid, text);
        let by_number = || user.parse().ok().and_then(uzers::get_user_by_uid);
        let found = uzers::get_user_by_name(user).or_else(by_number);
        let found = found.ok_or_else(|| invalid(format!("there is no user {user} on this machine")))?;
        let own = rustix::process::geteuid().as_raw();
        if found.uid() == own {
            return Ok(None);
        }
        if own != 0 {
            return Err(invalid(format!("commands of the stack run as {user}: only root, or {user}, can run them")));
        }
        let gid = found.primary_group_id();
        let groups = uzers::get_user_groups(found.name(), gid).unwrap_or_default();
        let mut groups: Vec<u32> = groups.iter().map(uzers::Group::gid).collect();
        groups.push(gid);
        groups.sort_unstable();
        groups.dedup();
        let home = found.home_dir().to_owned();
        Ok(Some(Self { name: found.name().to_owned(), uid: found.uid(), home, gid, groups }))
    }

    /// Lets a command run as this user, with the user's groups.
    pub(crate) fn apply(&self, command: &mut Command) {
        let groups: Vec<Gid> = self.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let become_user = move || {
            // In this order: once it is not root any more, it can't change its groups.
            rustix::thread::set_thread_groups(&groups)?;
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
            Ok(())
        };
        #[expect(unsafe_code, reason = "between fork and exec it makes three system calls, and allocates nothing")]
        // SAFETY: the closure only makes system calls, on memory that was allocated before the fork.
        unsafe {
            command.pre_exec(become_user);
        }
    }
}
