//! Restores into real directories, checked with `std`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::clock::Timestamp;
use crate::error::ErrorKind;
use crate::model::{Extent, Metadata, NameTable, NodeKind, Xattr};
use crate::os::AlignedBuffer;
use crate::os::host::{effective_gid, effective_uid};

fn scratch() -> (tempfile::TempDir, TargetDir) {
    let scratch = tempfile::tempdir().expect("there is a place for temporary files");
    let target = Target::open(scratch.path(), false).expect("it is there");
    (scratch, target)
}

fn is_root() -> bool {
    effective_uid() == 0
}

fn owners(mode: OwnerMode) -> OwnerMap {
    OwnerMap::new(mode, NameTable::new(), NameTable::new(), false)
}

fn metadata(mode: u32) -> Metadata {
    let mtime = Timestamp::new(1_234_567_890, 987_654_321);
    Metadata { mode, uid: effective_uid(), gid: effective_gid(), mtime, ..Metadata::default() }
}

/// A file that will be private.
fn create(directory: &TargetDir, name: &[u8]) -> crate::Result<TargetFile> {
    directory.create_file(name, &metadata(0o600), &owners(OwnerMode::Ids))
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").mode() & 0o7777
}

fn xattr(name: &str, value: &[u8]) -> Xattr {
    Xattr { name: name.as_bytes().to_vec(), value: value.to_vec() }
}

fn kind_of<T>(result: crate::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// An ACL as the kernel wants it: owner, user 1, group, mask, others.
fn acl(owner: u16, user: u16, group: u16, mask: u16, other: u16) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1u16, owner, u32::MAX), (2, user, 1), (4, group, u32::MAX), (16, mask, u32::MAX), (32, other, u32::MAX)]
    {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

#[test]
fn a_target_is_opened_or_created() {
    let (scratch, target) = scratch();
    let below = scratch.path().join("a/b");
    assert_eq!(kind_of(Target::open(&below, false)), Some(ErrorKind::NotFound));
    Target::open(&below, true).and_then(|made| create(&made, b"f")).expect("writable");
    assert!(below.join("f").is_file());
    assert_eq!(kind_of(Target::open(&below.join("f"), true)), Some(ErrorKind::Io));
    assert!(Target::open(&below, true).is_ok());
    let names = target.list().expect("readable");
    assert_eq!(names.iter().collect::<Vec<_>>(), [b"a"]);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let (scratch, target) = scratch();
    let inner = target.make_directory(b"inner", false).expect("writable");
    fs::write(scratch.path().join("f"), b"x").expect("writable");
    for name in [b"".as_slice(), b".", b"..", b"../f", b"/f", b"a/b", b"a\0b"] {
        let owners = owners(OwnerMode::Ids);
        let kinds = [
            kind_of(inner.stat(name)),
            kind_of(inner.make_directory(name, true)),
            kind_of(inner.open_directory(name)),
            kind_of(create(&inner, name)),
            kind_of(inner.open_existing(name)),
            kind_of(inner.symlink(name, b"x")),
            kind_of(inner.read_link(name)),
            kind_of(inner.special(name, NodeKind::Fifo, 0)),
            kind_of(inner.hard_link(&target, b"f", name)),
            kind_of(target.hard_link(&inner, name, b"g")),
            kind_of(inner.remove(name)),
            kind_of(inner.remove_tree(name)),
        ];
        assert!(kinds.iter().all(|kind| *kind == Some(ErrorKind::Invalid)), "{name:?} {kinds:?}");
        assert_eq!(inner.apply_metadata(name, &metadata(0), NodeKind::File, &owners).len(), 1);
    }
    assert_eq!(fs::read(scratch.path().join("f")).expect("there"), b"x");
}

#[test]
fn directories_are_kept_and_links_to_directories_replaced() {
    let (scratch, target) = scratch();
    let outside = tempfile::tempdir().expect("there is a place for temporary files");
    fs::write(outside.path().join("precious"), b"x").expect("writable");
    let first = target.make_directory(b"d", false).expect("writable");
    assert!(first.is_new());
    assert_eq!(mode_of(&scratch.path().join("d")), 0o700);
    create(&first, b"kept").expect("writable");
    let again = target.make_directory(b"d", true).expect("there");
    assert!(!again.is_new() && again.stat(b"kept").expect("readable").is_some());

    // Somebody puts a link in its place: the handle stays where it was, a new one does not follow.
    fs::rename(scratch.path().join("d"), scratch.path().join("moved")).expect("ours");
    symlink(outside.path(), scratch.path().join("d")).expect("writable");
    create(&first, b"written").expect("through the handle");
    assert!(scratch.path().join("moved/written").exists());
    assert_eq!(kind_of(target.open_directory(b"d")), Some(ErrorKind::Io));
    assert_eq!(kind_of(target.make_directory(b"d", false)), Some(ErrorKind::AlreadyExists));
    let replaced = target.make_directory(b"d", true).expect("the link may go");
    create(&replaced, b"written").expect("writable");
    assert!(replaced.is_new() && scratch.path().join("d/written").exists());
    assert_eq!(fs::read_dir(outside.path()).expect("there").count(), 1);
    fs::write(scratch.path().join("file"), b"").expect("writable");
    assert!(target.make_directory(b"file", true).expect("the file may go").is_new());
}

#[test]
fn files_are_created_once_and_never_through_links() {
    let (scratch, target) = scratch();
    let name = b"f\xff".as_slice();
    let path = scratch.path().join(OsStr::from_bytes(name));
    let file = create(&target, name).expect("writable");
    file.write_at(b"end", 7).expect("writable");
    assert_eq!(fs::read(&path).expect("there"), b"\0\0\0\0\0\0\0end");
    assert_eq!(mode_of(&path), 0o600);
    assert_eq!(kind_of(create(&target, name)), Some(ErrorKind::AlreadyExists));
    let again = target.open_existing(name).expect("there");
    let mut bytes = [0; 8];
    assert_eq!(again.read_at(&mut bytes, 5).expect("readable"), 5);
    assert_eq!(&bytes[..5], b"\0\0end");
    fs::write(scratch.path().join("outside"), b"x").expect("writable");
    symlink("outside", scratch.path().join("link")).expect("writable");
    assert_eq!(kind_of(create(&target, b"link")), Some(ErrorKind::AlreadyExists));
    assert_eq!(kind_of(target.open_existing(b"link")), Some(ErrorKind::Io));
    target.special(b"fifo", NodeKind::Fifo, 0).expect("everybody may");
    assert_eq!(kind_of(target.open_existing(b"fifo")), Some(ErrorKind::Io), "and it does not wait");
    assert_eq!(fs::read(scratch.path().join("outside")).expect("there"), b"x");
}

#[test]
fn holes_are_kept_and_made() {
    let (scratch, target) = scratch();
    let file = create(&target, b"f").expect("writable");
    file.set_len(4 << 20).expect("writable");
    file.write_at(&[1; 65536], 1 << 20).expect("writable");
    assert_eq!(file.data_extents(4 << 20, 10).expect("readable"), Some(vec![Extent { offset: 1 << 20, len: 65536 }]));
    file.punch_hole(1 << 20, 65536).expect("inside the file");
    file.punch_hole(0, 0).expect("nothing to do");
    let stat = fs::metadata(scratch.path().join("f")).expect("there");
    assert_eq!((stat.len(), stat.blocks()), (4 << 20, 0));
    file.preallocate(1 << 20).expect("there is space");
    file.preallocate(0).expect("nothing to do");
    assert_eq!(file.stat().expect("open").size, 4 << 20);
    file.set_len(3).expect("writable");
    assert_eq!(fs::read(scratch.path().join("f")).expect("there"), [0; 3]);
}

#[test]
fn both_ways_of_writing_lose_nothing_of_each_other() {
    let (scratch, target) = scratch();
    let mut file = create(&target, b"f").expect("writable");
    let expected: Vec<u8> = (0..3_000_001_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    file.prepare_direct(expected.len() as u64).expect("writable");
    assert_eq!(fs::metadata(scratch.path().join("f")).expect("there").len(), expected.len() as u64);
    // Pieces that end anywhere, neighbours by different threads and different ways, the last ones first.
    let pieces: Vec<(usize, &[u8])> = (0..expected.len()).step_by(70_001).zip(expected.chunks(70_001)).collect();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (file, pieces) = (&file, &pieces);
            scope.spawn(move || {
                let mut buffer = AlignedBuffer::default();
                for (number, (offset, bytes)) in pieces.iter().enumerate().rev().filter(|(n, _)| n % 3 == thread) {
                    let offset = *offset as u64;
                    if number % 2 == 0 || !file.write_direct_at(bytes, offset, &mut buffer).expect("writable") {
                        file.write_at(bytes, offset).expect("writable");
                    }
                }
            });
        }
    });
    assert!(fs::read(scratch.path().join("f")).expect("there") == expected);
    let unprepared = create(&target, b"g").expect("writable");
    assert!(!unprepared.write_direct_at(b"bytes", 0, &mut AlignedBuffer::default()).expect("no error"));
}

#[test]
fn links_and_special_files_are_created() {
    let (scratch, target) = scratch();
    let other = target.make_directory(b"other", false).expect("writable");
    target.symlink(b"link", b"nowhere \xff").expect("writable");
    assert_eq!(fs::read_link(scratch.path().join("link")).expect("a link").as_os_str().as_bytes(), b"nowhere \xff");
    assert_eq!(target.read_link(b"link").expect("a link"), b"nowhere \xff");
    target.special(b"fifo", NodeKind::Fifo, 0).expect("everybody may");
    target.special(b"socket", NodeKind::Socket, 0).expect("everybody may");
    let file_type = |name: &str| fs::symlink_metadata(scratch.path().join(name)).expect("there").file_type();
    assert!(file_type("fifo").is_fifo() && file_type("socket").is_socket());
    // Containers take this right even from root.
    if is_root() && target.special(b"null", NodeKind::CharDevice, 0x103).is_ok() {
        assert!(file_type("null").is_char_device());
        assert_eq!(fs::symlink_metadata(scratch.path().join("null")).expect("there").rdev(), 0x103);
    }
    for name in [b"link".as_slice(), b"fifo"] {
        other.hard_link(&target, name, name).expect("same file system");
        assert_eq!(target.stat(name).expect("readable"), other.stat(name).expect("readable"));
        assert_eq!(kind_of(other.hard_link(&target, name, name)), Some(ErrorKind::AlreadyExists));
    }
    assert_eq!(kind_of(target.symlink(b"fifo", b"x")), Some(ErrorKind::AlreadyExists));
}

#[test]
fn removal_takes_the_tree_and_leaves_what_links_lead_to() {
    let (scratch, target) = scratch();
    let outside = tempfile::tempdir().expect("there is a place for temporary files");
    fs::write(outside.path().join("precious"), b"x").expect("writable");
    fs::create_dir_all(scratch.path().join("t/a/b")).expect("writable");
    fs::write(scratch.path().join("t/a/f"), b"").expect("writable");
    symlink(outside.path(), scratch.path().join("t/a/link")).expect("writable");
    symlink(outside.path(), scratch.path().join("link")).expect("writable");
    fs::set_permissions(scratch.path().join("t/a"), fs::Permissions::from_mode(0o000)).expect("ours");
    assert_eq!(kind_of(target.remove(b"t")), Some(ErrorKind::Io), "it is not empty");
    target.remove_tree(b"t").expect("ours");
    target.remove_tree(b"link").expect("ours");
    target.remove_tree(b"nothing").expect("it is not there");
    target.remove(b"nothing").expect("it is not there");
    target.make_directory(b"empty", false).expect("writable");
    target.remove(b"empty").expect("empty");
    assert_eq!(fs::read_dir(scratch.path()).expect("there").count(), 0);
    assert_eq!(fs::read(outside.path().join("precious")).expect("there"), b"x");
}

#[test]
fn permissions_and_times_are_set_on_every_kind() {
    let (scratch, target) = scratch();
    let owners = owners(OwnerMode::Ids);
    let file = create(&target, b"file").expect("writable");
    assert_eq!(file.apply_metadata(&metadata(0o6555), None, &owners), [""; 0]);
    let directory = target.make_directory(b"dir", false).expect("writable");
    create(&directory, b"below").expect("writable");
    assert_eq!(directory.apply_own_metadata(&metadata(0o3500), &owners), [""; 0]);
    target.special(b"fifo", NodeKind::Fifo, 0).expect("everybody may");
    assert_eq!(target.apply_metadata(b"fifo", &metadata(0o640), NodeKind::Fifo, &owners), [""; 0]);
    target.symlink(b"link", b"file").expect("writable");
    assert_eq!(target.apply_metadata(b"link", &metadata(0o777), NodeKind::Symlink, &owners), [""; 0]);
    for (name, mode) in [("file", 0o6555), ("dir", 0o3500), ("fifo", 0o640), ("link", 0o777)] {
        let stat = fs::symlink_metadata(scratch.path().join(name)).expect("there");
        assert_eq!(stat.mode() & 0o7777, mode, "{name}");
        assert_eq!((stat.mtime(), stat.mtime_nsec()), (1_234_567_890, 987_654_321), "{name}");
    }
    // In place, on what is read-only by now.
    let again = target.make_directory(b"dir", true).expect("there");
    create(&again, b"more").expect("it was made writable");
    fs::set_permissions(scratch.path().join("dir"), fs::Permissions::from_mode(0o000)).expect("ours");
    target.make_directory(b"dir", true).expect("it was made readable");
    let wrong = target.apply_metadata(b"link", &metadata(0o777), NodeKind::File, &owners);
    assert_eq!(wrong, ["cannot set metadata: something else is there now"]);
    assert_eq!(target.apply_metadata(b"nothing", &metadata(0), NodeKind::File, &owners).len(), 1);
}

#[test]
fn attributes_are_set_and_superfluous_ones_removed() {
    let (scratch, target) = scratch();
    let owners = owners(OwnerMode::Ids);
    let file = create(&target, b"f").expect("writable");
    let mut wanted = metadata(0o444);
    wanted.xattrs = vec![xattr("user.a", b"\0\xff"), xattr("user.b", &[1; 3000])];
    let problems = file.apply_metadata(&wanted, None, &owners);
    if problems.iter().any(|problem| problem.contains("not supported")) {
        return;
    }
    assert_eq!(problems, [""; 0]);
    let read = || target.handle.xattrs(b"f").expect("readable");
    assert_eq!(read(), wanted.xattrs);
    let mut getfattr = std::process::Command::new("getfattr");
    if let Ok(output) = getfattr.args(["-d", "-e", "hex"]).arg(scratch.path().join("f")).output() {
        assert!(String::from_utf8_lossy(&output.stdout).contains("user.a=0x00ff"), "{output:?}");
    }
    // Again, on a file that is read-only by now: one changes, one goes.
    let mut wanted = metadata(0o444);
    wanted.xattrs = vec![xattr("user.a", b"new")];
    assert_eq!(file.apply_metadata(&wanted, None, &owners), [""; 0]);
    assert_eq!(read(), wanted.xattrs);
    assert_eq!(mode_of(&scratch.path().join("f")), 0o444);
    let mut wanted = metadata(0o644);
    wanted.xattrs = vec![xattr("trusted.x", b"1")];
    let problems = file.apply_metadata(&wanted, None, &owners);
    if is_root() && problems.is_empty() {
        assert_eq!(read(), wanted.xattrs);
        target.symlink(b"link", b"f").expect("writable");
        assert_eq!(target.apply_metadata(b"link", &wanted, NodeKind::Symlink, &owners), [""; 0]);
        assert_eq!(target.handle.xattrs(b"link").expect("readable"), wanted.xattrs);
        assert_eq!(file.apply_metadata(&metadata(0o644), None, &owners), [""; 0]);
        assert_eq!(target.handle.xattrs(b"link").expect("readable").len(), 1, "the link's own");
    } else if !is_root() {
        assert_eq!(problems, [""; 0], "only root can, so it is silent");
    }
    if !is_root() {
        assert_eq!(read(), []);
    }
}

#[test]
fn inherited_acls_do_not_stay_and_wanted_ones_do() {
    let (scratch, target) = scratch();
    let owners = owners(OwnerMode::Ids);
    let mut above = metadata(0o755);
    above.xattrs = vec![xattr("system.posix_acl_default", &acl(7, 7, 5, 7, 5))];
    let directory = target.make_directory(b"d", false).expect("writable");
    let problems = directory.apply_own_metadata(&above, &owners);
    if problems.iter().any(|problem| problem.contains("not supported")) {
        return;
    }
    assert_eq!(problems, [""; 0]);
    let plain = create(&directory, b"plain").expect("writable");
    assert_eq!(directory.handle.xattrs(b"plain").expect("readable").len(), 1, "inherited");
    assert_eq!(plain.apply_metadata(&metadata(0o640), None, &owners), [""; 0]);
    assert_eq!(directory.handle.xattrs(b"plain").expect("readable"), []);
    assert_eq!(mode_of(&scratch.path().join("d/plain")), 0o640);
    let mut wanted = metadata(0o670);
    wanted.xattrs = vec![xattr("system.posix_acl_access", &acl(6, 7, 4, 7, 0))];
    let with_acl = create(&directory, b"with").expect("writable");
    assert_eq!(with_acl.apply_metadata(&wanted, None, &owners), [""; 0]);
    assert_eq!(directory.handle.xattrs(b"with").expect("readable"), wanted.xattrs);
    assert_eq!(mode_of(&scratch.path().join("d/with")), 0o670);
    let sub = directory.make_directory(b"sub", false).expect("writable");
    assert_eq!(sub.apply_own_metadata(&metadata(0o750), &owners), [""; 0]);
    assert_eq!(directory.handle.xattrs(b"sub").expect("readable"), []);
}

#[test]
fn owners_by_name_by_number_or_not_at_all() {
    let (scratch, target) = scratch();
    let table = |id: u32, name: &str| NameTable::from([(id, name.as_bytes().to_vec())]);
    let foreign = Metadata { uid: 54_321, gid: 54_322, ..metadata(0o6755) };
    let apply = |name: &[u8], owners: &OwnerMap| {
        let file = create(&target, name).expect("writable");
        let problems = file.apply_metadata(&foreign, None, owners);
        let stat = fs::metadata(scratch.path().join(OsStr::from_bytes(name))).expect("there");
        (stat.uid(), stat.gid(), stat.mode() & 0o7777, problems.len())
    };
    let named = |mode, strict| OwnerMap::new(mode, table(54_321, "root"), table(54_322, "no such group"), strict);
    let (uid, gid) = (effective_uid(), effective_gid());
    assert_eq!(apply(b"left", &named(OwnerMode::Leave, true)), left_alone(uid, gid));
    if is_root() {
        assert_eq!(apply(b"ids", &named(OwnerMode::Ids, false)), (54_321, 54_322, 0o6755, 0));
        assert_eq!(apply(b"names", &named(OwnerMode::Names, false)), (0, 54_322, 0o6755, 0));
    } else {
        // Not ours to give away: no problem, but no rights of ours to lend either.
        assert_eq!(apply(b"ids", &named(OwnerMode::Ids, false)), (uid, gid, 0o755, 0));
        assert_eq!(apply(b"strict", &named(OwnerMode::Ids, true)), (uid, gid, 0o755, 1));
    }
    // The name on the other machine is this one here: then the setuid bit is right.
    let accounts = crate::os::Accounts::new();
    if let (Some(user), Some(group)) = (accounts.user_name(uid), accounts.group_name(gid)) {
        let tables = (NameTable::from([(54_321, user)]), NameTable::from([(54_322, group)]));
        let mine = OwnerMap::new(OwnerMode::Names, tables.0, tables.1, false);
        assert_eq!(apply(b"mine", &mine), (uid, gid, 0o6755, 0));
    }
}

/// As root, `root` is the wanted user: setuid stays. The group is another.
fn left_alone(uid: u32, gid: u32) -> (u32, u32, u32, usize) {
    (uid, gid, if uid == 0 { 0o4755 } else { 0o755 }, 0)
}

#[test]
fn directories_and_files_can_be_shared_by_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<TargetDir>();
    is_shared::<TargetFile>();
    is_shared::<OwnerMap>();
}
