//! The wrappers against real directories, checked with `std` where it can tell.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind as IoKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::clock::Timestamp;
use crate::model::{Extent, NodeKind};

fn scratch() -> (tempfile::TempDir, Directory) {
    let scratch = tempfile::tempdir().expect("there is a place for temporary files");
    let directory = Directory::open_path_following(scratch.path()).expect("it was just made");
    (scratch, directory)
}

fn name(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[test]
fn stat_says_what_std_says() {
    let (scratch, directory) = scratch();
    let path = scratch.path().join(name(b"f\xff\n"));
    fs::write(&path, b"hello").expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).expect("ours");
    fs::hard_link(&path, scratch.path().join("other")).expect("same file system");
    let stat = directory.stat(b"f\xff\n").expect("it is there");
    let expected = fs::symlink_metadata(&path).expect("it is there");
    assert_eq!((stat.kind, stat.mode, stat.size, stat.links), (NodeKind::File, 0o4751, 5, 2));
    assert_eq!((stat.uid, stat.gid), (expected.uid(), expected.gid()));
    assert_eq!(stat.identity(), (expected.dev(), expected.ino()));
    assert_eq!(stat.blocks, expected.blocks());
    assert_eq!((stat.mtime.seconds, i64::from(stat.mtime.nanoseconds)), (expected.mtime(), expected.mtime_nsec()));
    assert_eq!((stat.ctime.seconds, i64::from(stat.ctime.nanoseconds)), (expected.ctime(), expected.ctime_nsec()));
    assert_eq!(stat.metadata().links, Some(2));
    let null = Directory::open_path_following(Path::new("/dev")).and_then(|dev| dev.stat(b"null")).expect("Linux");
    assert_eq!(null.kind, NodeKind::CharDevice);
    assert_eq!(null.rdev, fs::metadata("/dev/null").expect("Linux").rdev());
    assert_eq!(directory.stat_self().expect("open").metadata().links, None);
}

#[test]
fn listing_gives_every_name_in_order() {
    let (scratch, directory) = scratch();
    let mut expected: Vec<Vec<u8>> =
        (0..5000).map(|n| format!("file-{n}-{}", "x".repeat(n % 40)).into_bytes()).collect();
    expected.push(b"\xfe\xff".to_vec());
    for file in &expected {
        fs::write(scratch.path().join(name(file)), b"").expect("writable");
    }
    expected.sort();
    for _ in 0..2 {
        let names = directory.list().expect("readable");
        assert_eq!(names.iter().collect::<Vec<_>>(), expected, "a second listing begins anew");
    }
}

#[test]
fn nothing_goes_through_a_link() {
    let (scratch, directory) = scratch();
    fs::create_dir(scratch.path().join("d")).expect("writable");
    fs::write(scratch.path().join("f"), b"x").expect("writable");
    symlink("d", scratch.path().join("to-d")).expect("writable");
    symlink("f", scratch.path().join("to-f")).expect("writable");
    symlink("nowhere", scratch.path().join("to-nothing")).expect("writable");
    assert!(directory.open_directory(b"to-d", true).is_err());
    assert!(directory.pass_directory(b"to-d").is_err());
    assert!(directory.open_file(b"to-f", true).is_err());
    assert!(directory.open_file_writable(b"to-f").is_err());
    assert_eq!(directory.create_file(b"to-nothing", 0o600).map(drop).map_err(|e| e.kind()), Err(IoKind::AlreadyExists));
    assert!(!scratch.path().join("nowhere").exists());
    assert_eq!(directory.stat(b"to-d").expect("there").kind, NodeKind::Symlink);
    assert_eq!(directory.stat_following(b"to-d").expect("there").kind, NodeKind::Directory);
    assert_eq!(directory.read_link(b"to-nothing").expect("a link"), b"nowhere");
    assert!(directory.pass_directory_following(b"to-d").is_ok());
}

#[test]
fn metadata_of_every_kind_can_be_changed_and_links_keep_their_target() {
    let (scratch, directory) = scratch();
    let target = scratch.path().join("target");
    fs::write(&target, b"x").expect("writable");
    let before = fs::metadata(&target).expect("there");
    symlink("target", scratch.path().join("link")).expect("writable");
    fs::create_dir(scratch.path().join("dir")).expect("writable");
    fs::write(scratch.path().join("locked"), b"").expect("writable");
    fs::set_permissions(scratch.path().join("locked"), fs::Permissions::from_mode(0o000)).expect("ours");
    directory.make_special(b"fifo", NodeKind::Fifo, 0).expect("everybody may");
    directory.make_special(b"socket", NodeKind::Socket, 0).expect("everybody may");
    for kind in ["link", "dir", "locked", "fifo", "socket"] {
        let pinned = directory.pin(kind.as_bytes()).expect(kind);
        pinned.set_mtime(Timestamp::new(-5, 123_456_789)).expect(kind);
        let stat = fs::symlink_metadata(scratch.path().join(kind)).expect(kind);
        assert_eq!((stat.mtime(), stat.mtime_nsec()), (-5, 123_456_789), "{kind}");
        if kind != "link" {
            pinned.set_mode(0o5432).expect(kind);
            let stat = fs::symlink_metadata(scratch.path().join(kind)).expect(kind);
            assert_eq!(stat.mode() & 0o7777, 0o5432, "{kind}");
        }
        if host::effective_uid() == 0 {
            pinned.set_owner(Some(12), Some(34)).expect(kind);
            let stat = fs::symlink_metadata(scratch.path().join(kind)).expect(kind);
            assert_eq!((stat.uid(), stat.gid()), (12, 34), "{kind}");
        }
    }
    let after = fs::metadata(&target).expect("there");
    assert_eq!((after.mtime(), after.uid(), after.mode()), (before.mtime(), before.uid(), before.mode()));
}

#[test]
fn extended_attributes_of_files_and_directories() {
    let (scratch, directory) = scratch();
    fs::write(scratch.path().join("f"), b"").expect("writable");
    fs::create_dir(scratch.path().join("d")).expect("writable");
    for kind in [b"f".as_slice(), b"d"] {
        assert_eq!(directory.xattrs(kind).expect("readable"), []);
        let pinned = directory.pin(kind).expect("there");
        // Some file systems have none (older tmpfs); nothing to check there.
        match pinned.set_xattr(b"user.b", b"\0\xff") {
            Err(error) if error.kind() == IoKind::Unsupported => return,
            other => other.expect("ours"),
        }
        pinned.set_xattr(b"user.a", &[7; 2000]).expect("ours");
        pinned.set_xattr(b"user.empty", b"").expect("ours");
        let found = directory.xattrs(kind).expect("readable");
        let found: Vec<_> = found.iter().map(|xattr| (xattr.name.as_slice(), xattr.value.as_slice())).collect();
        let expected: [(&[u8], &[u8]); 3] = [(b"user.a", &[7; 2000]), (b"user.b", b"\0\xff"), (b"user.empty", b"")];
        assert_eq!(found, expected);
        pinned.remove_xattr(b"user.b").expect("ours");
        assert_eq!(directory.pin(kind).and_then(|pinned| pinned.xattrs()).expect("readable").len(), 2);
    }
    assert_eq!(directory.open_file(b"f", true).and_then(|file| file.xattrs()).expect("readable").len(), 2);
}

#[test]
fn root_sets_attributes_of_links_and_fifos_themselves() {
    if host::effective_uid() != 0 {
        return;
    }
    let (scratch, directory) = scratch();
    fs::write(scratch.path().join("f"), b"").expect("writable");
    symlink("f", scratch.path().join("link")).expect("writable");
    directory.make_special(b"fifo", NodeKind::Fifo, 0).expect("everybody may");
    for kind in [b"link".as_slice(), b"fifo"] {
        match directory.pin(kind).expect("there").set_xattr(b"trusted.x", b"1") {
            Err(error) if error.kind() == IoKind::Unsupported || error.kind() == IoKind::PermissionDenied => return,
            other => other.expect("we are root"),
        }
        assert_eq!(directory.xattrs(kind).expect("readable").len(), 1);
    }
    assert_eq!(directory.xattrs(b"f").expect("readable"), [], "the link was not followed");
}

#[test]
fn holes_are_found_and_made() {
    let (scratch, directory) = scratch();
    let file = directory.create_file(b"f", 0o600).expect("writable");
    file.set_len(10 << 20).expect("writable");
    file.write_at(&[1; 65536], 1 << 20).expect("writable");
    file.write_at(&[2; 65536], 5 << 20).expect("writable");
    let extents = file.data_extents(10 << 20, 100).expect("readable").expect("few");
    let both = [Extent { offset: 1 << 20, len: 65536 }, Extent { offset: 5 << 20, len: 65536 }];
    assert_eq!(extents, both);
    assert_eq!(file.data_extents(10 << 20, 1).expect("readable"), None);
    let cut = file.data_extents((5 << 20) + 100, 100).expect("readable").expect("few");
    assert_eq!(cut[1], Extent { offset: 5 << 20, len: 100 });
    file.punch_hole(1 << 20, 65536).expect("the file system has holes");
    assert_eq!(file.data_extents(10 << 20, 100).expect("readable").expect("few"), both[1..]);
    let other = fs::File::open(scratch.path().join("f")).expect("ours");
    let mut bytes = [9; 4];
    other.read_exact_at(&mut bytes, 1 << 20).expect("readable");
    assert_eq!(bytes, [0; 4]);
    let stat = other.metadata().expect("readable");
    assert_eq!((stat.len(), stat.mode() & 0o777), (10 << 20, 0o600));
    assert!(stat.blocks() * 512 < 1 << 20);
}

#[test]
fn a_descent_of_3000_levels_comes_back_with_few_handles() {
    let (scratch, root) = scratch();
    let mut descent = Descent::new();
    let identity = root.stat_self().expect("open").identity();
    descent.push(Some(Arc::new(root)), Some(identity), 0);
    for depth in 1..=3000 {
        let above = Arc::clone(descent.directory().expect("the deepest one is open"));
        above.make_directory(b"a directory with a name that is not short").expect("writable");
        let below = above.open_directory(b"a directory with a name that is not short", false).expect("just made");
        let identity = below.stat_self().expect("open").identity();
        descent.push(Some(Arc::new(below)), Some(identity), depth);
        if depth == 3000 {
            let fds = fs::read_dir("/proc/self/fd").expect("Linux").count();
            assert!(fds < 1000, "{fds} handles, those of other tests included");
        }
    }
    while let Some((depth, reopened)) = descent.pop() {
        reopened.expect("nothing was moved");
        if let Some(directory) = descent.directory() {
            directory.remove_directory(b"a directory with a name that is not short").expect("empty");
            assert_eq!(descent.top(), Some(&(depth - 1)));
        }
    }
    assert_eq!(fs::read_dir(scratch.path()).expect("there").count(), 0);
}

#[test]
fn a_descent_does_not_come_back_to_another_directory() {
    let (scratch, root) = scratch();
    let mut descent = Descent::new();
    let identity = root.stat_self().expect("open").identity();
    descent.push(Some(Arc::new(root)), Some(identity), 0);
    for depth in 1..=100 {
        let above = Arc::clone(descent.directory().expect("the deepest one is open"));
        above.make_directory(b"d").expect("writable");
        let below = above.open_directory(b"d", false).expect("just made");
        let identity = below.stat_self().expect("open").identity();
        descent.push(Some(Arc::new(below)), Some(identity), depth);
    }
    let at = |depth: usize| scratch.path().join("d/".repeat(depth));
    fs::create_dir(scratch.path().join("elsewhere")).expect("writable");
    fs::rename(at(10), scratch.path().join("elsewhere/d")).expect("same file system");
    let mut failed = Vec::new();
    while let Some((depth, reopened)) = descent.pop() {
        if reopened.is_err() {
            failed.push(depth - 1);
        }
    }
    assert_eq!(failed, (0..=9).rev().collect::<Vec<_>>(), "not the one that it was moved to, nor those above");
}
