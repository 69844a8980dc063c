//! Reading back: what was asked for against what the file system has after the last change.
//!
//! A call that succeeds proves nothing. File systems round times, ignore owners or permissions, rewrite attributes, and
//! some network and user space file systems answer yes to all of it.

use std::collections::BTreeSet;

use super::OwnerMap;
use super::metadata::{Attributes, is_refused_to_all_but_root, permissions};
use crate::clock::Timestamp;
use crate::model::{Metadata, NodeKind, Xattr};
use crate::os::Stat;

/// What an object must be like in the end. What is `None` was not asked for, or its failure is told already.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mode: Option<u32>,
    pub(super) mtime: Option<Timestamp>,
    /// Names of attributes that could not be set or removed.
    pub(super) left_out: BTreeSet<Vec<u8>>,
}

impl Expected {
    /// All that a restore was asked for, whatever came of it: for an object of which only `stat` is known.
    pub(super) fn of(metadata: &Metadata, stat: &Stat, owners: &OwnerMap) -> Self {
        let (uid, gid) = owners.owner(metadata);
        let asks = owners.tells_of_owners() && !owners.leaves_owners();
        let mode = permissions(metadata, stat.kind, stat.uid == uid, stat.gid == gid);
        let ignored = |xattr: &&Xattr| !owners.is_privileged() && is_refused_to_all_but_root(&xattr.name);
        Self {
            size: None,
            uid: asks.then_some(uid),
            gid: asks.then_some(gid),
            mode: (stat.kind != NodeKind::Symlink).then_some(mode),
            mtime: Some(metadata.mtime),
            left_out: metadata.xattrs.iter().filter(ignored).map(|xattr| xattr.name.clone()).collect(),
        }
    }

    /// Leaves an attribute out, unless what was asked for was done. Whether it was.
    pub(super) fn unless(&mut self, is_done: bool, name: &[u8]) -> bool {
        if !is_done {
            self.left_out.insert(name.to_vec());
        }
        is_done
    }

    /// How an object differs, a line for each thing.
    pub(super) fn differences(&self, stat: &Stat) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, there: u64, wanted: Option<u64>| {
            if wanted.is_some_and(|wanted| wanted != there) {
                found.push(format!("{what} is {there}, not {}", wanted.unwrap_or_default()));
            }
        };
        compare("size", stat.size, self.size);
        compare("owner", stat.uid.into(), self.uid.map(u64::from));
        compare("group", stat.gid.into(), self.gid.map(u64::from));
        if let Some(mode) = self.mode.filter(|mode| *mode != stat.mode) {
            found.push(format!("mode is {:o}, not {mode:o}", stat.mode));
        }
        if let Some(mtime) = self.mtime.filter(|mtime| *mtime != stat.mtime) {
            found.push(format!("modification time is {}, not {}", show(stat.mtime), show(mtime)));
        }
        found
    }

    /// How its attributes differ from those of `metadata`, ACLs among them.
    pub(super) fn attribute_differences(&self, there: &[Xattr], metadata: &Metadata, owners: &OwnerMap) -> Vec<String> {
        let change = Attributes::compare(there, &metadata.xattrs, owners.is_privileged());
        let name = |xattr: &Xattr| String::from_utf8_lossy(&xattr.name).into_owned();
        let counts = |xattr: &&&Xattr| !self.left_out.contains(&xattr.name);
        let missing = change.missing.iter().filter(counts).map(|xattr| {
            let is_there = there.iter().any(|other| other.name == xattr.name);
            let what = if is_there { "has another value" } else { "is not there" };
            format!("extended attribute {} {what}", name(xattr))
        });
        let extra = change.extra.iter().filter(counts);
        missing.chain(extra.map(|xattr| format!("extended attribute {} is too many", name(xattr)))).collect()
    }
}

/// A time as `date --date` takes it.
fn show(time: Timestamp) -> String {
    format!("@{}.{:09}", time.seconds, time.nanoseconds)
}

/// The lines as problems of a restore.
pub(super) fn told(differences: Vec<String>) -> impl Iterator<Item = String> {
    differences.into_iter().map(|text| format!("after the restore: {text}"))
}
