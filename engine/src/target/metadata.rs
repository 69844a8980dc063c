//! Owner, attributes, permissions and time, in the one order in which none undoes another.

use std::io::{self, ErrorKind as IoKind};

use super::OwnerMap;
use crate::model::{Metadata, NodeKind, Xattr};
use crate::os::{Pinned, Stat};

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

/// Sets everything and returns what could not be set.
///
/// 1. The owner: changing it clears setuid and file capabilities.
/// 2. Attributes but ACLs: an ordinary user can't set them on what the permissions will make read-only. Attributes
///    that are too many go, an inherited ACL above all: with it, the group bits of `chmod` would be its mask.
/// 3. Permissions.
/// 4. ACLs, which agree with the permissions.
/// 5. The time: all of the above is done, nothing changes it any more.
pub(super) fn apply(pinned: &Pinned<'_>, metadata: &Metadata, kind: NodeKind, owners: &OwnerMap) -> Vec<String> {
    let mut problems = Vec::new();
    let before = match pinned.stat() {
        Ok(stat) => stat,
        Err(error) => return vec![format!("cannot set metadata: {error}")],
    };
    if before.kind != kind {
        return vec!["cannot set metadata: something else is there now".to_owned()];
    }
    let mode = set_owner(pinned, metadata, &before, owners, &mut problems);
    let has_mode = kind != NodeKind::Symlink;
    if has_mode && !owners.is_privileged() && kind == NodeKind::File && before.mode & 0o200 == 0 {
        // Only so that attributes can be set; if it fails, they will tell.
        let _ = pinned.set_mode(before.mode & 0o777 | 0o200);
    }
    let there = pinned.xattrs().unwrap_or_else(|error| {
        problems.push(format!("cannot read extended attributes: {error}"));
        Vec::new()
    });
    let wanted = |name: &[u8]| metadata.xattrs.iter().find(|xattr| xattr.name == name);
    for extra in there.iter().filter(|xattr| wanted(&xattr.name).is_none()) {
        remove_xattr(pinned, &extra.name, owners.is_privileged(), &mut problems);
    }
    let (acls, others): (Vec<&Xattr>, Vec<_>) = metadata.xattrs.iter().partition(|xattr| is_acl(&xattr.name));
    // What is there already needn't be set, and a label of the machine's security module could not.
    for xattr in others.iter().filter(|xattr| !there.contains(xattr)) {
        set_xattr(pinned, xattr, owners.is_privileged(), &mut problems);
    }
    if has_mode {
        tell(&mut problems, "set permissions", pinned.set_mode(mode));
        for xattr in acls {
            set_xattr(pinned, xattr, owners.is_privileged(), &mut problems);
        }
    }
    tell(&mut problems, "set the time", pinned.set_mtime(metadata.mtime));
    problems
}

/// Gives it to its owner, as far as possible. Returns the permissions that it may have then.
fn set_owner(
    pinned: &Pinned<'_>,
    metadata: &Metadata,
    before: &Stat,
    owners: &OwnerMap,
    problems: &mut Vec<String>,
) -> u32 {
    let (uid, gid) = owners.owner(metadata);
    let (mut has_uid, mut has_gid) = (before.uid == uid, before.gid == gid);
    let differs = !has_uid || !has_gid;
    if differs && !owners.leaves_owners() {
        match pinned.set_owner(Some(uid), Some(gid)) {
            Ok(()) => (has_uid, has_gid) = (true, true),
            Err(error) => {
                // The group alone can be ours to set.
                has_gid = has_gid || pinned.set_owner(None, Some(gid)).is_ok();
                if owners.tells_of_owners() {
                    problems.push(format!("cannot set owner {uid} and group {gid}: {error}"));
                }
            }
        }
    }
    let mut mode = metadata.mode & 0o7777;
    // On a directory, setgid lends no rights: what is created in it gets its group.
    if before.kind != NodeKind::Directory {
        if !has_uid {
            mode &= !SETUID;
        }
        if !has_gid {
            mode &= !SETGID;
        }
    }
    mode
}

/// Removes an attribute that the snapshot doesn't have. Labels of a security module belong to the machine and stay.
fn remove_xattr(pinned: &Pinned<'_>, name: &[u8], privileged: bool, problems: &mut Vec<String>) {
    let is_for_root = name.starts_with(b"trusted.") || name == b"security.capability";
    if name.starts_with(b"user.") || is_acl(name) || privileged && is_for_root {
        let operation = format!("remove extended attribute {}", String::from_utf8_lossy(name));
        tell(problems, &operation, pinned.remove_xattr(name));
    }
}

fn set_xattr(pinned: &Pinned<'_>, xattr: &Xattr, privileged: bool, problems: &mut Vec<String>) {
    let is_for_root = xattr.name.starts_with(b"trusted.") || xattr.name.starts_with(b"security.");
    match pinned.set_xattr(&xattr.name, &xattr.value) {
        Err(error) if is_for_root && !privileged && error.kind() == IoKind::PermissionDenied => {}
        result => {
            let operation = format!("set extended attribute {}", String::from_utf8_lossy(&xattr.name));
            tell(problems, &operation, result);
        }
    }
}

fn is_acl(name: &[u8]) -> bool {
    name == b"system.posix_acl_access" || name == b"system.posix_acl_default"
}

fn tell(problems: &mut Vec<String>, operation: &str, result: io::Result<()>) {
    if let Err(error) = result {
        problems.push(format!("cannot {operation}: {error}"));
    }
}
