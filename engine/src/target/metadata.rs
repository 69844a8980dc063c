//! Owner, attributes, permissions and time, in the one order in which none undoes another.

use std::io::{self, ErrorKind as IoKind};

use super::OwnerMap;
use super::birth::Birth;
use super::readback::{Expected, told};
use crate::model::{Metadata, NodeKind, Xattr};
use crate::os::{Pinned, Stat};

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

/// Sets everything that isn't right yet and returns what could not be set, and what is not as it was set.
///
/// 1. The owner: changing it clears setuid and file capabilities.
/// 2. Attributes but ACLs: an ordinary user can't set them on what the permissions will make read-only. Attributes
///    that are too many go, an inherited ACL above all: with it, the group bits of `chmod` would be its mask.
/// 3. Permissions.
/// 4. ACLs, which agree with the permissions.
/// 5. The time: all of the above is done, nothing changes it any more.
///
/// What is as it should be is not set again: each call would change the time of the last status change, by which
/// other programs tell what was touched. Where nothing is set, what was seen at first is what is there in the end;
/// otherwise it is looked at again. `size` is that of a file that is complete.
pub(super) fn apply(
    pinned: &Pinned<'_>,
    metadata: &Metadata,
    kind: NodeKind,
    size: Option<u64>,
    owners: &OwnerMap,
) -> Vec<String> {
    let mut problems = Vec::new();
    let mut expected = Expected { size, ..Expected::default() };
    let before = match pinned.stat() {
        Ok(stat) => stat,
        Err(error) => return vec![format!("cannot set metadata: {error}")],
    };
    if before.kind != kind {
        return vec!["cannot set metadata: something else is there now".to_owned()];
    }
    let (mode, mut changed) = set_owner(pinned, metadata, &before, owners, &mut expected, &mut problems);
    let there = pinned.xattrs().unwrap_or_else(|error| {
        problems.push(format!("cannot read extended attributes: {error}"));
        Vec::new()
    });
    let change = Attributes::compare(&there, &metadata.xattrs, owners.is_privileged());
    let has_mode = kind != NodeKind::Symlink;
    if change.needs_writing && !owners.is_privileged() && kind == NodeKind::File && before.mode & 0o200 == 0 {
        // Only so that attributes can be set; if it fails, they will tell.
        let _ = pinned.set_mode(before.mode & 0o777 | 0o200);
        changed = true;
    }
    for extra in &change.extra {
        let operation = format!("remove extended attribute {}", String::from_utf8_lossy(&extra.name));
        let is_gone = tell(&mut problems, &operation, pinned.remove_xattr(&extra.name));
        changed |= expected.unless(is_gone, &extra.name);
    }
    for xattr in change.missing.iter().filter(|xattr| !is_acl(&xattr.name)) {
        let is_set = set_xattr(pinned, xattr, owners.is_privileged(), &mut problems);
        changed |= expected.unless(is_set, &xattr.name);
    }
    let missing_acl = change.missing.iter().any(|xattr| is_acl(&xattr.name));
    expected.mode = has_mode.then_some(mode);
    if has_mode && (changed || missing_acl || before.mode != mode) {
        changed = true;
        let is_set = tell(&mut problems, "set permissions", pinned.set_mode(mode));
        expected.mode = is_set.then_some(mode);
        // All of them, since the call before changed their mask.
        for xattr in metadata.xattrs.iter().filter(|xattr| is_acl(&xattr.name)) {
            let is_set = set_xattr(pinned, xattr, owners.is_privileged(), &mut problems);
            expected.unless(is_set, &xattr.name);
        }
    }
    // What is not to be set again is as it should be, or was never there.
    let has_attributes = changed && !(there.is_empty() && metadata.xattrs.is_empty());
    expected.mtime = Some(metadata.mtime);
    if before.mtime != metadata.mtime {
        changed = true;
        let is_set = tell(&mut problems, "set the time", pinned.set_mtime(metadata.mtime));
        expected.mtime = is_set.then_some(metadata.mtime);
    }
    let after = if changed { pinned.stat() } else { Ok(before) };
    problems.extend(read_back(&expected, after));
    if has_attributes {
        match pinned.xattrs() {
            Ok(there) => problems.extend(told(expected.attribute_differences(&there, metadata, owners))),
            Err(error) => problems.push(format!("cannot read extended attributes: {error}")),
        }
    }
    problems
}

/// What is not as it was set.
fn read_back(expected: &Expected, after: io::Result<Stat>) -> Vec<String> {
    match after {
        Ok(stat) => told(expected.differences(&stat)).collect(),
        Err(error) => vec![format!("cannot be read back: {error}")],
    }
}

/// [`apply`] for a file that was made as `birth` says and has been written since: only what differs from that. That it
/// was born like others before is seen when it is read back; attributes, which it neither has nor needs, are not.
pub(super) fn apply_to_new(
    pinned: &Pinned<'_>,
    metadata: &Metadata,
    birth: &Birth,
    size: Option<u64>,
    owners: &OwnerMap,
) -> Vec<String> {
    if !birth.is_plain || !metadata.xattrs.is_empty() || birth.owner != owners.owner(metadata) {
        return apply(pinned, metadata, NodeKind::File, size, owners);
    }
    let mut problems = Vec::new();
    let mode = metadata.mode & 0o7777;
    let (uid, gid) = birth.owner;
    let mut expected = Expected { size, uid: Some(uid), gid: Some(gid), mode: Some(mode), ..Expected::default() };
    if birth.mode != mode && !tell(&mut problems, "set permissions", pinned.set_mode(mode)) {
        expected.mode = None;
    }
    if tell(&mut problems, "set the time", pinned.set_mtime(metadata.mtime)) {
        expected.mtime = Some(metadata.mtime);
    }
    problems.extend(read_back(&expected, pinned.stat()));
    problems
}

/// Whether an object has this metadata already, so that nothing need be set. `xattrs` are asked for last.
pub(super) fn is_as_wanted(
    stat: &Stat,
    xattrs: impl FnOnce() -> io::Result<Vec<Xattr>>,
    metadata: &Metadata,
    owners: &OwnerMap,
) -> bool {
    stat.mtime == metadata.mtime
        && stat.mode == metadata.mode & 0o7777
        && (stat.uid, stat.gid) == owners.owner(metadata)
        && xattrs().is_ok_and(|there| {
            let change = Attributes::compare(&there, &metadata.xattrs, owners.is_privileged());
            change.missing.is_empty() && change.extra.is_empty()
        })
}

/// What has to happen to extended attributes.
pub(super) struct Attributes<'a> {
    /// There, and to be removed.
    pub(super) extra: Vec<&'a Xattr>,
    /// Wanted, and not there or of another value. What is there already needn't be set, and a label of the machine's
    /// security module could not.
    pub(super) missing: Vec<&'a Xattr>,
    /// Whether some of it takes the right to write.
    needs_writing: bool,
}

impl<'a> Attributes<'a> {
    pub(super) fn compare(there: &'a [Xattr], wanted: &'a [Xattr], privileged: bool) -> Self {
        let is_wanted = |xattr: &Xattr| wanted.iter().any(|other| other.name == xattr.name);
        let may_go = |name: &[u8]| if is_for_root(name) { privileged } else { !belongs_to_the_machine(name) };
        let extra: Vec<&Xattr> = there.iter().filter(|xattr| !is_wanted(xattr) && may_go(&xattr.name)).collect();
        let missing: Vec<&Xattr> = wanted.iter().filter(|xattr| !there.contains(xattr)).collect();
        let is_users = |xattr: &&&Xattr| xattr.name.starts_with(b"user.");
        let needs_writing = extra.iter().chain(&missing).any(|xattr| is_users(&xattr));
        Self { extra, missing, needs_writing }
    }
}

/// Gives it to its owner, as far as possible. Returns the permissions that it may have then, and whether anything
/// changed.
fn set_owner(
    pinned: &Pinned<'_>,
    metadata: &Metadata,
    before: &Stat,
    owners: &OwnerMap,
    expected: &mut Expected,
    problems: &mut Vec<String>,
) -> (u32, bool) {
    let (uid, gid) = owners.owner(metadata);
    let (mut has_uid, mut has_gid) = (before.uid == uid, before.gid == gid);
    let mut changed = false;
    if (!has_uid || !has_gid) && !owners.leaves_owners() {
        match pinned.set_owner(Some(uid), Some(gid)) {
            Ok(()) => (has_uid, has_gid, changed) = (true, true, true),
            Err(error) => {
                // The group alone can be ours to set.
                if !has_gid && pinned.set_owner(None, Some(gid)).is_ok() {
                    (has_gid, changed) = (true, true);
                }
                if owners.tells_of_owners() {
                    problems.push(format!("cannot set owner {uid} and group {gid}: {error}"));
                }
            }
        }
    }
    (expected.uid, expected.gid) = (has_uid.then_some(uid), has_gid.then_some(gid));
    (permissions(metadata, before.kind, has_uid, has_gid), changed)
}

/// The permissions of an object that has its owner and its group, or has not.
pub(super) fn permissions(metadata: &Metadata, kind: NodeKind, has_uid: bool, has_gid: bool) -> u32 {
    let mut mode = metadata.mode & 0o7777;
    // On a directory, setgid lends no rights: what is created in it gets its group.
    if kind != NodeKind::Directory {
        if !has_uid {
            mode &= !SETUID;
        }
        if !has_gid {
            mode &= !SETGID;
        }
    }
    mode
}

/// Sets an attribute. Whether that succeeded.
fn set_xattr(pinned: &Pinned<'_>, xattr: &Xattr, privileged: bool, problems: &mut Vec<String>) -> bool {
    let is_refused = is_refused_to_all_but_root(&xattr.name) && !privileged;
    match pinned.set_xattr(&xattr.name, &xattr.value) {
        Err(error) if is_refused && error.kind() == IoKind::PermissionDenied => false,
        result => {
            let operation = format!("set extended attribute {}", String::from_utf8_lossy(&xattr.name));
            tell(problems, &operation, result)
        }
    }
}

/// What nobody but root can expect to get.
pub(super) fn is_refused_to_all_but_root(name: &[u8]) -> bool {
    name.starts_with(b"trusted.") || name.starts_with(b"security.")
}

/// What a snapshot can have and root alone may change.
fn is_for_root(name: &[u8]) -> bool {
    name.starts_with(b"trusted.") || name == b"security.capability"
}

/// Labels of a security module and the like: they stay, whatever the snapshot says of its own machine's.
pub(super) fn belongs_to_the_machine(name: &[u8]) -> bool {
    !name.starts_with(b"user.") && !is_acl(name) && !is_for_root(name)
}

fn is_acl(name: &[u8]) -> bool {
    name == b"system.posix_acl_access" || name == b"system.posix_acl_default"
}

/// Adds a problem if there was one. Whether there was none.
fn tell(problems: &mut Vec<String>, operation: &str, result: io::Result<()>) -> bool {
    if let Err(error) = &result {
        problems.push(format!("cannot {operation}: {error}"));
    }
    result.is_ok()
}
