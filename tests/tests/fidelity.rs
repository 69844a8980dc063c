//! A tree with one of everything survives snapshot and restore to the byte and the attribute.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use repo_tests::binary::NOBODY;
use repo_tests::compare::{assert_diff_is_silent, assert_same, assert_same_attributes, assert_same_with, compare_with};
use repo_tests::scratch::copy_tree;
use repo_tests::tree::{self, noise, write};
use repo_tests::{Scratch, is_root, words};

fn one_of_everything(scratch: &Scratch) -> std::path::PathBuf {
    let source = scratch.tree("source");
    tree::everything(&source);
    if is_root() {
        tree::privileged(&source);
    }
    source
}

/// The comparer itself must see what it is there for.
#[test]
fn the_comparer_sees_every_kind_of_difference() {
    let scratch = Scratch::empty();
    let left = one_of_everything(&scratch);
    tree::modes_and_times(&left);
    type Change = fn(&Path);
    let changes: [(&str, Change); 10] = [
        ("content", |t| fs::write(t.join("sizes/one-byte"), [8]).expect("written")),
        ("only in the first", |t| fs::remove_file(t.join("sizes/empty")).expect("removed")),
        ("only in the second", |t| write(t.join("names/new"), "")),
        ("mode", |t| fs::set_permissions(t.join("sizes/block"), PermissionsExt::from_mode(0o601)).expect("mode")),
        ("mtime", |t| tree::set_mtime(&t.join("times/link-1"), 1_700_000_000, 2)),
        ("target", |t| {
            fs::remove_file(t.join("links/absolute")).expect("removed");
            std::os::unix::fs::symlink("/absolute/elsewhere", t.join("links/absolute")).expect("a link");
        }),
        ("hard links", |t| {
            let bytes = fs::read(t.join("links/one/original")).expect("read");
            fs::remove_file(t.join("links/two/deeper/third")).expect("removed");
            write(t.join("links/two/deeper/third"), bytes);
        }),
        ("bytes on disk", |t| {
            let size = fs::metadata(t.join("sparse/only-hole")).expect("there").len();
            write(t.join("sparse/only-hole"), vec![0; size as usize]);
        }),
        ("xattrs", |t| {
            rustix::fs::setxattr(t.join("attributes/file"), "user.text", b"other", rustix::fs::XattrFlags::empty())
                .expect("an attribute");
        }),
        ("type", |t| {
            fs::remove_file(t.join("special/fifo")).expect("removed");
            write(t.join("special/fifo"), "");
        }),
    ];
    for (number, (expected, change)) in changes.into_iter().enumerate() {
        let right = scratch.file(format!("changed-{number}"));
        copy_tree(&left, &right);
        assert_same(&left, &right);
        change(&right);
        let run = compare_with(&[], &left, &right);
        assert!(!run.status.success() && run.out().contains(expected), "{expected} was not seen\n{run}");
        fs::remove_dir_all(&right).expect("removed");
    }
}

#[test]
fn everything_comes_back() {
    let scratch = Scratch::new();
    let source = one_of_everything(&scratch);
    tree::modes_and_times(&source);
    // As an ordinary user two files of the tree can't be read; `everything_of_an_ordinary_user` is about that.
    let code = if is_root() { 0 } else { 3 };
    scratch.run_words(words!["snapshot", source]).ends(code);
    scratch.check_clean();
    for (target, extra) in [("fresh", "--verify"), ("again", "--owner=ids")] {
        let target = scratch.file(target);
        let what = format!("latest:{}", source.display());
        scratch.run_words(words!["restore", what, "--target", target, extra]).ok();
        if is_root() {
            assert_same_with(&["--no-root"], &source, &target);
            assert_diff_is_silent(&source, &target);
            assert_same_attributes(&source, &target);
        } else {
            assert_same_with(&["--no-root", "--skip=modes/file-0000", "--skip=modes/file-0200"], &source, &target);
        }
    }
    // From the root of the snapshot down: the directories above come back too, and the tree's own attributes. A
    // target's are its owner's: they stay as they are.
    let target = scratch.file("from-root");
    scratch.run_words(words!["restore", "latest", "--target", target]).ok();
    let below = target.join(source.strip_prefix("/").expect("absolute"));
    if is_root() {
        assert_same(&source, &below);
    }
}

#[test]
fn everything_of_an_ordinary_user() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::for_nobody();
    let source = scratch.tree("source");
    tree::everything(&source);
    write(source.join("closed/inside"), "root's own");
    write(source.join("secret"), "root's own");
    tree::give_to_nobody(&source);
    for (name, mode) in [("closed", 0o700), ("secret", 0o600)] {
        let path = source.join(name);
        rustix::fs::chown(&path, Some(rustix::fs::Uid::ROOT), Some(rustix::fs::Gid::ROOT)).expect("an owner");
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("a mode");
    }
    tree::modes_and_times(&source);

    let run = scratch.run_words(words!["snapshot", "--json", source]).ends(3);
    let unreadable = ["closed", "secret", "modes/file-0000", "modes/file-0200"];
    let named: Vec<String> = run
        .error_messages()
        .iter()
        .filter(|message| message["message_type"] == "error")
        .map(|message| message["item"]["path"].as_str().expect("a path").to_owned())
        .collect();
    for path in unreadable {
        let path = source.join(path).display().to_string();
        assert!(named.contains(&path), "{path} is not named\n{run}");
    }
    assert_eq!(named.len(), unreadable.len(), "{named:?}");
    assert_eq!(run.summary()["error_count"], unreadable.len(), "{run}");
    let listed = scratch.run("snapshots --json").ok().of_type("snapshot");
    assert_eq!(listed[0]["summary"]["error_count"], unreadable.len(), "the snapshot counts them too");

    let target = scratch.file("target");
    scratch.restore("latest", &source, &target).ok();
    let skip: Vec<String> = unreadable.iter().map(|path| format!("--skip={path}")).collect();
    let skip: Vec<&str> = skip.iter().map(String::as_str).chain(["--no-root"]).collect();
    assert_same_with(&skip, &source, &target);
    assert_eq!(fs::metadata(&target).expect("there").uid(), NOBODY);
    scratch.check_clean();
}

#[test]
fn crowded_and_deep_directories_come_back() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    tree::crowd(&source.join("crowd"), 20_000);
    tree::depths(&source.join("depths"), 300);
    scratch.snapshot(&source);
    let target = scratch.file("target");
    scratch.restore("latest", &source, &target).ok();
    assert_same_with(&["--no-root"], &source, &target);
    scratch.check_clean();
    let files = scratch.run_words(words!["ls", "-R", "--json", "latest"]).ok().of_type("node").len();
    assert!(files > 20_600, "{files} nodes are listed");
}

/// In place, over a copy that somebody changed: the result is the same, and what was right is not touched.
#[test]
fn restore_in_place_writes_only_what_differs() {
    let scratch = Scratch::new();
    let source = one_of_everything(&scratch);
    write(source.join("large"), noise(77, 20 << 20));
    tree::modes_and_times(&source);
    scratch.run_words(words!["snapshot", source]).civil();
    let target = scratch.file("target");
    copy_tree(&source, &target);
    spoil(&target);
    assert!(!compare_with(&[], &source, &target).status.success(), "the copy was changed");
    let untouched = ["sizes/random", "sizes/compressible", "sparse/large-hole", "links/one/original"];
    let inode = |path: &str| fs::metadata(target.join(path)).expect("there").ino();
    let before = untouched.map(inode);

    let what = format!("latest:{}", source.display());
    let run =
        scratch.run_words(words!["restore", what, "--target", target, "--overwrite", "--delete", "--json"]).ends(0);
    let summary = run.summary();
    let number = |key: &str| summary[key].as_u64().unwrap_or_else(|| panic!("no {key}\n{run}"));
    assert!(number("total_bytes") > 30 << 20, "{run}");
    assert!(number("bytes_written") < 6 << 20, "only what differs is written\n{run}");
    assert!(number("bytes_written") > 0, "something differed\n{run}");
    assert_eq!(number("files_deleted"), 2, "extra and extra-directory/deeper/file\n{run}");
    assert_eq!(untouched.map(inode), before, "files that were right keep their inode");
    if is_root() {
        assert_same_with(&["--no-root"], &source, &target);
        assert_same_attributes(&source, &target);
    }
    // Once more: nothing is left to do.
    let run =
        scratch.run_words(words!["restore", what, "--target", target, "--overwrite", "--delete", "--json"]).ends(0);
    assert_eq!(run.summary()["bytes_written"], 0, "{run}");
}

/// Changes of every kind.
fn spoil(target: &Path) {
    use std::os::unix::fs::FileExt;
    let large = fs::File::options().write(true).open(target.join("large")).expect("opened");
    large.write_all_at(b"something else", 10 << 20).expect("written");
    drop(large);
    fs::remove_file(target.join("sizes/empty")).expect("removed");
    fs::remove_file(target.join("links/dangling")).expect("removed");
    write(target.join("extra"), "not in the snapshot");
    write(target.join("extra-directory/deeper/file"), "not in the snapshot");
    // Types exchanged: a directory where a file belongs and the other way round.
    fs::remove_file(target.join("sizes/block")).expect("removed");
    fs::create_dir(target.join("sizes/block")).expect("a directory");
    fs::remove_dir(target.join("sizes/empty-directory")).expect("removed");
    write(target.join("sizes/empty-directory"), "a file now");
    fs::set_permissions(target.join("names"), PermissionsExt::from_mode(0o777)).expect("a mode");
    let appended = fs::OpenOptions::new().append(true).open(target.join("sizes/one-byte")).expect("opened");
    std::io::Write::write_all(&mut &appended, b"more").expect("written");
    let shortened = fs::OpenOptions::new().write(true).open(target.join("sizes/block-and-one")).expect("opened");
    shortened.set_len(100).expect("shorter");
    tool_touch(&target.join("times/file-0"));
    rustix::fs::removexattr(target.join("attributes/file"), "user.text").expect("removed");
    let attribute = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(target.join("attributes/directory"), "user.extra", b"x", attribute).expect("set");
}

fn tool_touch(path: &Path) {
    repo_tests::binary::tool("touch", [OsStr::new("-c"), path.as_os_str()]);
}
