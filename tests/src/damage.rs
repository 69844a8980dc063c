//! Objects of a repository as files, and what can happen to them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::compare::differing_paths;
use crate::scratch::files_below;
use crate::tree::{self, noise, write};
use crate::{Run, Scratch};

/// A repository with two snapshots of different sources that have little in common, packs of both kinds, and a session
/// that was left open; the ids of the snapshots and what they hold.
pub fn two_sources() -> (Scratch, Vec<(String, PathBuf)>) {
    let scratch = Scratch::with_options("--pack-size 1M --chunk-size 64K --cipher xchacha20");
    let mut saved = Vec::new();
    for number in 0..2_u64 {
        let source = scratch.tree(&format!("source-{number}"));
        tree::small(&source, 100 * number);
        write(source.join("shared/noise"), noise(5, 200_000));
        for file in 0..5 {
            write(source.join(format!("large/file-{file}")), noise(number * 10 + file + 50, 700_000));
        }
        tree::crowd(&source.join("crowd"), 60);
        saved.push((scratch.snapshot(&source), source));
    }
    leave_session_open(&scratch, 1);
    scratch.check_clean();
    (scratch, saved)
}

/// Restores a snapshot of `source`; the run, and the paths (`./…`) that are not as they are there.
pub fn restore_and_compare(scratch: &Scratch, id: &str, source: &Path) -> (Run, Vec<String>) {
    let target = scratch.file("target");
    let _ = fs::remove_dir_all(&target);
    let run = scratch.restore(id, source, &target);
    run.civil();
    fs::create_dir_all(&target).expect("a directory");
    let differing = differing_paths(source, &target);
    (run, differing)
}

/// Kinds of objects, packs by what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `config`
    Config,
    /// `keys/…`
    Key,
    /// `packs/…` with the data of files
    DataPack,
    /// `packs/…` with trees
    TreePack,
    /// `index/…`
    Index,
    /// `snapshots/…`
    Snapshot,
    /// `sessions/…/register`
    Register,
    /// `sessions/…/intent`
    Intent,
    /// `forgotten/…`
    Forgotten,
}

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// One bit of the byte at this share (of 1000) of the object's length is another.
    Flip(u64),
    /// One bit of this byte of the header is another.
    FlipHeader(usize),
    /// One bit of the byte so many before the end is another.
    FlipEnd(usize),
    /// Only this share (of 1000) is left.
    Cut(u64),
    /// The last byte is gone.
    CutLast,
    /// There is something behind the end.
    Longer,
    /// Nothing is in it.
    Empty,
    /// It has the content of another one of its kind, and that one its content.
    Swap,
    /// It is gone.
    Missing,
}

impl Harm {
    /// Every kind of harm, at several places.
    pub const ALL: [Self; 17] = [
        Self::FlipHeader(0),
        Self::FlipHeader(4),
        Self::FlipHeader(5),
        Self::FlipHeader(7),
        Self::FlipHeader(8),
        Self::Flip(100),
        Self::Flip(350),
        Self::Flip(500),
        Self::Flip(800),
        Self::FlipEnd(20),
        Self::FlipEnd(1),
        Self::Cut(500),
        Self::CutLast,
        Self::Longer,
        Self::Empty,
        Self::Swap,
        Self::Missing,
    ];
}

/// All objects of a kind, as paths, sorted. For packs the program is asked what they hold.
pub fn objects_of(scratch: &Scratch, kind: Kind) -> Vec<PathBuf> {
    let root = scratch.repository();
    let all = |directory: &str| files_below(&root.join(directory));
    let named = |name: &str| all("sessions").into_iter().filter(|path| path.ends_with(name)).collect();
    let packs = |wanted: &str| {
        let holds = |path: &PathBuf| {
            let id = path.file_name().expect("a name").to_string_lossy().into_owned();
            let run = scratch.run_words(["cat", "pack", &id]).ok();
            let pack: serde_json::Value = serde_json::from_slice(&run.stdout).expect("JSON");
            pack["segments"].as_array().expect("segments").iter().any(|segment| segment["kind"] == wanted)
        };
        all("packs").into_iter().filter(holds).collect()
    };
    match kind {
        Kind::Config => vec![root.join("config")],
        Kind::Key => all("keys"),
        Kind::DataPack => packs("Data"),
        Kind::TreePack => packs("Tree"),
        Kind::Index => all("index"),
        Kind::Snapshot => all("snapshots"),
        Kind::Register => named("register"),
        Kind::Intent => named("intent"),
        Kind::Forgotten => all("forgotten"),
    }
}

/// An object's name in the repository.
pub fn name_of(scratch: &Scratch, object: &Path) -> String {
    object.strip_prefix(scratch.repository()).expect("an object").to_string_lossy().into_owned()
}

/// Does harm to an object; `other` is another one of its kind. Gives back what makes it good again, `None` if
/// this harm is not possible here.
pub fn harm(object: &Path, other: Option<&Path>, harm: Harm) -> Option<Good> {
    let good = Good::keep(object, other.filter(|_| harm == Harm::Swap));
    let mut bytes = good.0[0].1.clone();
    let length = bytes.len();
    let mut flip = |at: usize| {
        bytes[at.min(length - 1)] ^= 1 << (at % 8);
        write_object(object, &bytes);
    };
    match harm {
        Harm::Flip(share) => flip(length * share as usize / 1000),
        Harm::FlipHeader(at) => flip(at),
        Harm::FlipEnd(before) => flip(length - before),
        Harm::Cut(share) => write_object(object, &bytes[..length * share as usize / 1000]),
        Harm::CutLast => write_object(object, &bytes[..length - 1]),
        Harm::Longer => write_object(object, &[&bytes[..], b"more"].concat()),
        Harm::Empty => write_object(object, &[]),
        Harm::Missing => fs::remove_file(object).expect("removed"),
        Harm::Swap => {
            let other = other?;
            write_object(object, &good.0[1].1);
            write_object(other, &bytes);
        }
    }
    Some(good)
}

/// Objects as they were; dropping it puts them back.
#[derive(Debug)]
pub struct Good(Vec<(PathBuf, Vec<u8>)>);

impl Good {
    fn keep(object: &Path, other: Option<&Path>) -> Self {
        let keep = |path: &Path| (path.to_owned(), fs::read(path).expect("an object"));
        Self(std::iter::once(object).chain(other).map(keep).collect())
    }
}

impl Drop for Good {
    fn drop(&mut self) {
        for (path, bytes) in &self.0 {
            write_object(path, bytes);
        }
    }
}

/// Objects may be read-only: what is written takes their place.
pub fn write_object(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, bytes).expect("written");
    fs::rename(&new, path).expect("put in place");
}

/// Waits until something is so; fails after a minute.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "waited a minute until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Starts a snapshot of a stream that does not end, and waits until its session has begun and all of `input` was
/// taken.
pub fn start_endless_snapshot(scratch: &Scratch, input: &[u8]) -> Child {
    let before = objects_of(scratch, Kind::Intent).len();
    let mut child = scratch
        .command()
        .args(["snapshot", "--stdin", "endless", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a snapshot");
    child.stdin.as_mut().expect("a pipe").write_all(input).expect("it reads");
    wait_until("the session has begun", || objects_of(scratch, Kind::Intent).len() > before);
    child
}

/// Leaves a session open, as a writer that was killed does.
pub fn leave_session_open(scratch: &Scratch, seed: u64) {
    let mut child = start_endless_snapshot(scratch, &noise(seed, 1_000_000));
    child.kill().expect("killed");
    child.wait().expect("its end");
}
