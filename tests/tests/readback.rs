//! A restore says what the file system did not do, whatever the file system said.
//!
//! strace answers system calls with success without doing them, or with errors, as file systems do that can't.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use repo_tests::binary::{run_command, split, tool, under_strace};
use repo_tests::tree::{self, noise, write};
use repo_tests::{Run, Scratch, has_program, is_root, words};
use rustix::fs::{Gid, Uid, XattrFlags};

struct Saved {
    scratch: Scratch,
    source: PathBuf,
    target: PathBuf,
}

impl Saved {
    /// A file for everything that can be told wrongly.
    fn new() -> Self {
        let scratch = Scratch::new();
        let source = scratch.tree("source");
        let file = |name: &str| {
            let path = source.join(name);
            write(&path, noise(7, 5000));
            tree::set_mtime(&path, 1_000_000_000, 7);
            path
        };
        file("plain");
        let owned = file("owned");
        if is_root() {
            rustix::fs::chown(&owned, Some(Uid::from_raw(1234)), Some(Gid::from_raw(5678))).expect("root may");
        }
        fs::set_permissions(file("open-to-all"), fs::Permissions::from_mode(0o666)).expect("a mode");
        rustix::fs::setxattr(file("marked"), "user.mark", b"value", XattrFlags::empty()).expect("an attribute");
        let listed = file("listed");
        if has_program("setfacl") {
            tool("setfacl", words!["-m", "u:1234:rw", listed]);
        }
        let holes = source.join("holes");
        fs::File::create(&holes).and_then(|file| file.set_len(1 << 20)).expect("a sparse file");
        std::os::unix::fs::symlink("plain", source.join("link")).expect("a link");
        fs::create_dir(source.join("directory")).expect("a directory");
        for name in ["holes", "directory"] {
            tree::set_mtime(&source.join(name), 1_000_000_000, 7);
        }
        scratch.snapshot(&source);
        let target = scratch.file("target");
        Self { scratch, source, target }
    }

    /// Restores into an empty place while strace injects; `None` where it can't.
    fn restore(&self, inject: &str, options: &str) -> Option<Run> {
        let mut restore = self.scratch.command();
        let what = format!("latest:{}", self.source.display());
        restore.args(words!["restore", what, "--json", "--target", self.target]).args(split(options));
        Some(run_command(&mut under_strace(&restore, &format!("-qq -o /dev/null -e inject={inject}"))?))
    }

    fn empty_target(&self) {
        let _ = fs::remove_dir_all(&self.target);
    }
}

/// The problems of a run: path and what is said about it.
fn problems(run: &Run) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    run.error_messages().iter().map(|error| (text(&error["item"]["path"]), text(&error["message"]))).collect()
}

#[test]
fn calls_that_do_nothing_are_found_out() {
    let saved = Saved::new();
    for (call, name, text) in [
        ("fchownat", "/owned", "owner is 0, not 1234"),
        ("fchownat", "/owned", "group is 0, not 5678"),
        ("fchmod", "/open-to-all", "mode is 644, not 666"),
        ("utimensat", "/plain", "modification time is "),
        ("utimensat", "/directory", "not @1000000000.000000007"),
        ("utimensat", "/link", "modification time is "),
        ("fsetxattr", "/marked", "extended attribute user.mark is not there"),
        ("fsetxattr", "/listed", "extended attribute system.posix_acl_access is not there"),
        ("ftruncate", "/holes", "size is 0, not 1048576"),
    ] {
        if (name == "/owned" && !is_root()) || (name == "/listed" && !has_program("setfacl")) {
            continue;
        }
        saved.empty_target();
        let Some(run) = saved.restore(&format!("{call}:retval=0"), "") else { return };
        let run = run.ends(3);
        let found = problems(&run);
        let is_told = found.iter().any(|(path, message)| path == name && message.contains(text));
        assert!(is_told, "{call} {name} {text}: {found:#?}");
        // Once for each thing, and only where it is so.
        let once = found.iter().filter(|(path, message)| path == name && message.contains(text)).count();
        assert_eq!(once, 1, "{call}: {found:#?}");
        if call != "utimensat" {
            assert!(found.iter().all(|(path, _)| path != "/plain"), "{call}: {found:#?}");
        }
    }
}

#[test]
fn what_could_not_be_set_is_told_once() {
    let saved = Saved::new();
    for (inject, name, text) in [
        ("fsetxattr:error=EOPNOTSUPP", "/marked", "cannot set extended attribute user.mark"),
        ("fchmod:error=EPERM", "/open-to-all", "cannot set permissions"),
        ("utimensat:error=EPERM", "/plain", "cannot set the time"),
    ] {
        saved.empty_target();
        let Some(run) = saved.restore(inject, "") else { return };
        let found = problems(&run.ends(3));
        let of_it: Vec<&String> = found.iter().filter(|(path, _)| path == name).map(|(_, message)| message).collect();
        assert!(of_it.len() == 1 && of_it[0].contains(text), "{inject}: {found:#?}");
    }
}

#[test]
fn what_was_not_asked_for_is_no_difference() {
    let saved = Saved::new();
    // No owners are set, so a call that would do nothing is never made.
    let Some(run) = saved.restore("fchownat:retval=0", "--owner=leave") else { return };
    run.ok();
    saved.empty_target();
    let Some(run) = saved.restore("fchownat:retval=0", "") else { return };
    if is_root() {
        run.ends(3);
    }
}

/// An attribute that should go and stays, an old owner that stays: in place it is the same.
#[test]
fn in_place_too() {
    let saved = Saved::new();
    let restore = |inject: &str| saved.restore(inject, "--overwrite");
    let Some(run) = restore("swapon:retval=0") else { return };
    run.ok();
    let plain = saved.target.join("plain");
    let is_told = |inject: &str, name: &str, text: &str| {
        let found = problems(&restore(inject).expect("it worked before").ends(3));
        assert!(found.iter().any(|(path, message)| path == name && message.contains(text)), "{inject}: {found:#?}");
    };
    rustix::fs::setxattr(&plain, "user.extra", b"x", XattrFlags::empty()).expect("an attribute");
    is_told("fremovexattr:retval=0", "/plain", "extended attribute user.extra is too many");
    rustix::fs::setxattr(saved.target.join("marked"), "user.mark", b"other", XattrFlags::empty()).expect("one");
    is_told("fsetxattr:retval=0", "/marked", "extended attribute user.mark has another value");
    restore("swapon:retval=0").expect("it worked before").ok();
    let mut empty = [0u8; 64];
    assert_eq!(rustix::fs::listxattr(&plain, &mut empty), Ok(0));
}

/// Reading back at the end of everything says the same of what changed behind the restore's back.
#[test]
fn verify_compares_owners_and_attributes() {
    let saved = Saved::new();
    let Some(run) = saved.restore("fsetxattr:retval=0", "--verify") else { return };
    let found = problems(&run.ends(3));
    let text = "extended attribute user.mark is not there";
    assert!(found.iter().any(|(path, message)| path == "/marked" && message.contains(text)), "{found:#?}");
    saved.empty_target();
    saved.restore("swapon:retval=0", "--verify").expect("it worked before").ok();
}

/// A real file system with small inodes: it keeps whole seconds, and says yes to everything.
#[test]
fn a_file_system_that_rounds_is_named_for_every_file() {
    if !is_root() || !has_program("mkfs.ext2") {
        return;
    }
    let saved = Saved::new();
    let image = saved.scratch.file("image");
    fs::File::create(&image).and_then(|file| file.set_len(16 << 20)).expect("an image");
    tool("mkfs.ext2", words!["-q", "-I", "128", image]);
    let place = saved.scratch.tree("mounted");
    let Some(_mounted) = Mounted::new(&image, &place) else { return };
    let what = format!("latest:{}", saved.source.display());
    let line = words!["restore", what, "--json", "--target", place.join("target")];
    let found = problems(&saved.scratch.run_words(line).ends(3));
    for name in ["/owned", "/marked", "/plain", "/holes", "/directory"] {
        let of_it: Vec<&String> = found.iter().filter(|(path, _)| path == name).map(|(_, message)| message).collect();
        let text = "after the restore: modification time is @1000000000.000000000, not @1000000000.000000007";
        assert_eq!(of_it, [text], "{name}");
    }
}

/// A mounted image, until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// `None` where mounting is not allowed, as in most containers.
    fn new(image: &Path, place: &Path) -> Option<Self> {
        let run = run_command(std::process::Command::new("mount").args(words!["-o", "loop", image, place]));
        run.status.success().then(|| Self(place.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = run_command(std::process::Command::new("umount").arg(&self.0));
    }
}
