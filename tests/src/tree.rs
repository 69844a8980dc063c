//! Trees to save: random data from a seed, and one with one of everything.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs as rfs;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use crate::binary::{NOBODY, tool};
use crate::words;

/// Numbers that look random and come from a seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// So many bytes that don't compress.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// Bytes that don't compress, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    Random(seed).bytes(length)
}

/// Lines of text, different ones, that compress well.
pub fn prose(length: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(length + 64);
    let mut line = 0_u64;
    while text.len() < length {
        text.extend_from_slice(format!("{line}: all work and no play, {} times\n", line * line % 977).as_bytes());
        line += 1;
    }
    text.truncate(length);
    text
}

/// Writes a file, with the directories above it.
#[track_caller]
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().expect("a directory above")).expect("a directory for the file");
    fs::write(path, bytes).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

/// Writes a program, with the directories above it.
///
/// Another process does that: a file that is open for writing can't be run, and what this one has open is open too in a
/// child that the thread of another test has just started.
#[track_caller]
pub fn write_program(path: &Path, text: &str) {
    let line = r#"mkdir -p "${0%/*}" && printf %s "$1" > "$0" && chmod 755 "$0""#;
    tool("sh", words!["-c", line, path, text]);
}

/// Sets the modification time of anything.
#[track_caller]
pub fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rfs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("a time");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("a mode");
}

fn set_owner(path: &Path, uid: u32, gid: u32) {
    let (uid, gid) = (rfs::Uid::from_raw(uid), rfs::Gid::from_raw(gid));
    rfs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).expect("an owner");
}

fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    rfs::lsetxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|error| panic!("attribute {name} of {}: {error}", path.display()));
}

/// Gives a tree away with everything in it.
pub fn give_to_nobody(tree: &Path) {
    let owner = format!("{NOBODY}:{NOBODY}");
    tool("chown", [OsStr::new("-hR"), OsStr::new(&owner), tree.as_os_str()]);
}

/// One of everything that an ordinary user can have. `modes_and_times` must follow, after owners are set.
pub fn everything(tree: &Path) {
    names(&tree.join("names"));
    attributes(&tree.join("attributes"));
    links(&tree.join("links"));
    special(&tree.join("special"));
    sparse(&tree.join("sparse"));
    sizes(&tree.join("sizes"));
    for kind in ["modes", "times"] {
        fs::create_dir_all(tree.join(kind)).expect("a directory");
    }
    for mode in MODES {
        write(tree.join(format!("modes/file-{mode:04o}")), format!("mode {mode:o}"));
    }
    for mode in DIRECTORY_MODES {
        write(tree.join(format!("modes/directory-{mode:04o}/file")), "in it");
    }
    for (number, _) in TIMES.iter().enumerate() {
        write(tree.join(format!("times/file-{number}")), "time");
        fs::create_dir(tree.join(format!("times/directory-{number}"))).expect("a directory");
        symlink("nowhere", tree.join(format!("times/link-{number}"))).expect("a link");
    }
}

const MODES: [u32; 12] =
    [0o0000, 0o0400, 0o0200, 0o0600, 0o0644, 0o0755, 0o0777, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777];
const DIRECTORY_MODES: [u32; 5] = [0o0500, 0o0700, 0o1777, 0o2755, 0o0555];
/// Seconds and nanoseconds: now-ish, the smallest parts, before 1970, 1901, beyond 32 bits.
const TIMES: [(i64, i64); 8] = [
    (1_700_000_000, 123_456_789),
    (1_700_000_000, 1),
    (1_700_000_000, 999_999_999),
    (0, 0),
    (-1, 500_000_000),
    (-2_000_000_000, 7),
    (4_294_967_296, 42),
    (15_000_000_000, 987_654_321),
];

/// What a change of owner would undo, and what writing below would change.
pub fn modes_and_times(tree: &Path) {
    for mode in MODES {
        set_mode(&tree.join(format!("modes/file-{mode:04o}")), mode);
    }
    for mode in DIRECTORY_MODES {
        set_mode(&tree.join(format!("modes/directory-{mode:04o}")), mode);
    }
    for (number, (seconds, nanoseconds)) in TIMES.into_iter().enumerate() {
        for kind in ["file", "directory", "link"] {
            set_mtime(&tree.join(format!("times/{kind}-{number}")), seconds, nanoseconds);
        }
    }
    for part in ["special/fifo", "special/socket", "links/dangling", "sizes/empty", "sizes/empty-directory"] {
        set_mtime(&tree.join(part), 1_234_567_890, 98_765_432);
    }
    set_mtime(&tree.join("names"), 1_000_000_000, 5);
    set_mtime(tree, -86_400, 250_000_000);
}

/// What only root can make.
pub fn privileged(tree: &Path) {
    let place = tree.join("privileged");
    fs::create_dir_all(&place).expect("a directory");
    for (name, uid, gid) in [("root", 0, 0), ("nobody", NOBODY, NOBODY), ("unknown", 54_321, 12_345), ("mixed", 1, 0)] {
        write(place.join(name), name);
        set_owner(&place.join(name), uid, gid);
        fs::create_dir(place.join(format!("directory-{name}"))).expect("a directory");
        set_owner(&place.join(format!("directory-{name}")), uid, gid);
        symlink(name, place.join(format!("link-{name}"))).expect("a link");
        set_owner(&place.join(format!("link-{name}")), uid, gid);
    }
    // A change of owner clears setuid and capabilities: the order of a restore matters.
    write(place.join("setuid"), "setuid of another");
    set_owner(&place.join("setuid"), 54_321, 12_345);
    set_mode(&place.join("setuid"), 0o6755);
    write(place.join("capable"), "capabilities");
    set_owner(&place.join("capable"), 54_321, 12_345);
    // VFS_CAP_REVISION_2, CAP_NET_BIND_SERVICE permitted and effective.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    set_attribute(&place.join("capable"), "security.capability", &capability);
    for (name, kind, major, minor) in [
        ("null", FileType::CharacterDevice, 1, 3),
        ("big-numbers", FileType::CharacterDevice, 300, 70_000),
        ("loop", FileType::BlockDevice, 7, 0),
    ] {
        let device = rfs::makedev(major, minor);
        rfs::mknodat(CWD, place.join(name), kind, Mode::from_raw_mode(0o640), device).expect("a device");
    }
    set_mode(&place.join("null"), 0o666);
    for name in ["root", "directory-root", "link-root", "null"] {
        set_attribute(&place.join(name), "trusted.test", b"\x00\xfftrusted\n");
    }
}

fn names(place: &Path) {
    fs::create_dir_all(place).expect("a directory");
    let mut long = vec![b'l'; 255];
    long[254] = 0xff;
    let names: [&[u8]; 20] = [
        b"not-utf-8-\xff\xfe\x80",
        b"line\nbreak",
        b"tab\tand\rreturn",
        b"\x1b[31mred",
        b" leading and trailing ",
        b"-rf",
        b"--help",
        b"back\\slash",
        b"quote'and\"double",
        b"star*?[a]{b}",
        b"colon:semi;hash#",
        b"$(touch x)`y`",
        b"...",
        b".hidden",
        "größe-日本-🦀".as_bytes(),
        // The same letter, composed and not: two names.
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
        b"\x01",
        b"\x7f",
        &long,
    ];
    for name in names {
        write(place.join(OsStr::from_bytes(name)), name);
    }
    for name in [&b"directory-\xff\n"[..], &[b'D'; 255]] {
        write(place.join(OsStr::from_bytes(name)).join("inside"), "inside");
    }
}

fn attributes(place: &Path) {
    fs::create_dir_all(place.join("directory")).expect("a directory");
    write(place.join("file"), "attributes");
    write(place.join("many"), "many attributes");
    set_attribute(&place.join("file"), "user.text", b"value");
    set_attribute(&place.join("file"), "user.binary", b"\x00\x01\xff\n\"=");
    set_attribute(&place.join("file"), "user.empty", b"");
    set_attribute(&place.join("file"), "user.UPPER with blanks", &noise(3, 900));
    set_attribute(&place.join("directory"), "user.on-directory", b"yes");
    for number in 0..40 {
        set_attribute(&place.join("many"), &format!("user.number-{number}"), format!("{number}").as_bytes());
    }
    if !crate::has_program("setfacl") {
        return;
    }
    fs::create_dir(place.join("acl-directory")).expect("a directory");
    for (name, acl) in [("acl-file", "u:1234:rwx,g:4321:r--,m::rw-"), ("acl-directory", "u:99:r-x,g:98:-w-")] {
        if name == "acl-file" {
            write(place.join(name), "access list");
        }
        tool("setfacl", [OsStr::new("-m"), OsStr::new(acl), place.join(name).as_os_str()]);
    }
    let default = ["-d", "-m", "u:1234:rwx,g:4321:r-x,o::---"].map(OsStr::new);
    tool("setfacl", default.into_iter().chain([place.join("acl-directory").as_os_str()]));
    // What is made in there inherits; a restore must not inherit on top of that.
    write(place.join("acl-directory/inherits"), "inherited");
    write(place.join("acl-directory/plain"), "no list");
    tool("setfacl", [OsStr::new("-b"), place.join("acl-directory/plain").as_os_str()]);
    fs::create_dir(place.join("acl-directory/plain-directory")).expect("a directory");
    tool("setfacl", [OsStr::new("-b"), place.join("acl-directory/plain-directory").as_os_str()]);
}

fn links(place: &Path) {
    write(place.join("one/original"), prose(100_000));
    fs::create_dir_all(place.join("two/deeper")).expect("a directory");
    for (from, to) in [
        ("one/original", "one/same-directory"),
        ("one/original", "two/other-directory"),
        ("one/original", "two/deeper/third"),
    ] {
        fs::hard_link(place.join(from), place.join(to)).expect("a hard link");
    }
    write(place.join("two/empty-linked"), "");
    fs::hard_link(place.join("two/empty-linked"), place.join("one/zz-empty")).expect("a hard link");
    // Same content, not linked: must not become a link.
    write(place.join("one/same-bytes"), prose(100_000));
    for (target, name) in [
        ("nowhere/at-all", "dangling"),
        ("/absolute/nowhere", "absolute"),
        ("one", "to-directory"),
        ("one/original", "to-file"),
        (".", "to-here"),
        ("../../../../../../..", "far-up"),
        ("self", "self"),
    ] {
        symlink(target, place.join(name)).expect("a link");
    }
    symlink(OsStr::from_bytes(b"not-utf-8-\xff\n"), place.join("odd-target")).expect("a link");
    symlink("x".repeat(4095), place.join("long-target")).expect("a link");
    fs::hard_link(place.join("dangling"), place.join("two/linked-link")).expect("a hard link of a link");
}

fn special(place: &Path) {
    fs::create_dir_all(place).expect("a directory");
    for (name, mode) in [("fifo", 0o640), ("fifo-closed", 0o000)] {
        let path = place.join(name);
        rfs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a fifo");
        set_mode(&path, mode);
    }
    fs::hard_link(place.join("fifo"), place.join("fifo-linked")).expect("a hard link");
    // A socket's path is at most 108 bytes long: bind it elsewhere.
    let short = tempfile::tempdir().expect("a directory");
    UnixListener::bind(short.path().join("s")).expect("a socket");
    tool("mv", [short.path().join("s"), place.join("socket")]);
    set_mode(&place.join("socket"), 0o750);
}

fn sparse(place: &Path) {
    fs::create_dir_all(place).expect("a directory");
    let block = 1 << 16;
    let make = |name: &str, size: u64, pieces: &[(u64, usize)]| {
        let file = File::create(place.join(name)).expect("a file");
        file.set_len(size).expect("a size");
        for (number, (offset, length)) in pieces.iter().enumerate() {
            file.write_all_at(&noise(number as u64, *length), *offset).expect("data");
        }
        file.sync_all().expect("blocks on disk");
    };
    make("leading-hole", 10 * block, &[(9 * block, block as usize)]);
    make("trailing-hole", 10 * block, &[(0, block as usize)]);
    make("only-hole", 10 * block, &[]);
    make("odd-size", 10 * block + 12_345, &[(3 * block, 100)]);
    make("large-hole", 200 << 20, &[(100 << 20, 4096), ((200 << 20) - 4096, 4096)]);
    let many: Vec<(u64, usize)> = (0..200).map(|n| (2 * n * block, 4096)).collect();
    make("many-extents", 400 * block, &many);
    // Zeros that were written are no hole.
    write(place.join("written-zeros"), vec![0; 1 << 20]);
}

fn sizes(place: &Path) {
    fs::create_dir_all(place.join("empty-directory")).expect("a directory");
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("one-byte", vec![7]),
        ("block", noise(1, 4096)),
        ("block-and-one", noise(2, 4097)),
        ("compressible", prose(5_000_000)),
        ("random", noise(9, 5_000_000)),
    ] {
        write(place.join(name), bytes);
    }
}

/// A directory with many entries.
pub fn crowd(place: &Path, count: usize) {
    fs::create_dir_all(place).expect("a directory");
    for number in 0..count {
        let path = place.join(format!("entry-{number:06}"));
        match number % 10 {
            0 => fs::create_dir(&path).expect("a directory"),
            1 => symlink(format!("entry-{:06}", number + 1), &path).expect("a link"),
            2..6 => fs::write(&path, []).expect("a file"),
            _ => fs::write(&path, number.to_string()).expect("a file"),
        }
    }
}

/// Directories in directories, so deep that the last one's path is longer than the kernel takes.
pub fn depths(place: &Path, depth: usize) {
    fs::create_dir_all(place).expect("a directory");
    let flags = rfs::OFlags::RDONLY | rfs::OFlags::DIRECTORY;
    let mut current = rfs::open(place, flags, Mode::empty()).expect("the directory");
    for level in 0..depth {
        let name = format!("level-{level:012}");
        rfs::mkdirat(&current, &name, Mode::from_raw_mode(0o755)).expect("a directory");
        current = rfs::openat(&current, &name, flags, Mode::empty()).expect("the directory");
        let flags = rfs::OFlags::WRONLY | rfs::OFlags::CREATE;
        let file = rfs::openat(&current, "file", flags, Mode::from_raw_mode(0o644)).expect("a file");
        rustix::io::write(&file, name.as_bytes()).expect("a few bytes");
    }
}

/// A small tree for tests of other things: a few directories, files of many sizes, a link.
pub fn small(tree: &Path, seed: u64) -> PathBuf {
    for (number, size) in [0, 1, 700, 5_000, 80_000, 300_000].into_iter().enumerate() {
        write(tree.join(format!("noise/file-{number}")), noise(seed + number as u64, size));
        write(tree.join(format!("text/deep/er/file-{number}.txt")), prose(size + number));
    }
    symlink("noise/file-1", tree.join("link")).expect("a link");
    tree.to_owned()
}
