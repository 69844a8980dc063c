//! A file system without room, and one that fails.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use super::place::{PRUNE, Place, end, snapshot_line, start};
use crate::binary::split;
use crate::{Scratch, has_program, is_root, run_command, words};

/// What was tried.
#[derive(Debug, Default, Clone, Copy)]
pub struct Failed {
    /// Commands that met the failure.
    pub failed: u64,
    /// Commands that went by without it.
    pub succeeded: u64,
}

/// A small file system at a place, gone at the end.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// One of 12 MiB. `None` if this user can't mount one.
    pub fn mount(place: PathBuf) -> Option<Self> {
        Self::mount_of(place, 12)
    }

    /// One of so many MiB. `None` if this user can't mount one.
    pub fn mount_of(place: PathBuf, mebibytes: u64) -> Option<Self> {
        if !is_root() {
            return None;
        }
        fs::create_dir_all(&place).expect("a directory");
        let size = format!("size={mebibytes}m,mode=755");
        let options = ["-t", "tmpfs", "-o", &size, "tmpfs"];
        let run = run_command(Command::new("mount").args(options).arg(&place));
        run.status.success().then_some(Self(place))
    }

    /// Leaves so many bytes free.
    pub fn fill(&self, free: u64) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).expect("a file");
        let block = vec![0_u8; 4096];
        while file.write_all(&block).is_ok() {}
        let length = file.metadata().expect("a file").len();
        file.set_len(length.saturating_sub(free)).expect("shorter");
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Fills the disk so many times, in the middle of a snapshot or a prune. `None` if this user can't mount one.
///
/// # Panics
/// If something does not hold after one of them; the message has the seed.
pub fn fill_many(seed: u64, count: u64) -> Option<Failed> {
    let scratch = Scratch::empty();
    let disk = SmallDisk::mount(scratch.repository())?;
    let mut place = Place::with_scratch(seed, scratch);
    place.scratch.run(PRUNE).ok();
    let mut found = Failed::default();
    for _ in 0..count {
        place.change(0);
        let copy = place.freeze(0);
        let free = place.random.below(400_000);
        let filler = disk.fill(free);
        let line = if place.random.below(3) == 0 { split(PRUNE) } else { snapshot_line(&place.source(0)) };
        note(&mut found, place.scratch.run_words(line).civil().code());
        // Prune has a reserve: it frees what is unused even now.
        let given_up = place.give_up_some();
        if !given_up.is_empty() {
            place.scratch.run_words(["forget".to_owned()].into_iter().chain(given_up)).civil();
        }
        let pruned = place.scratch.run(PRUNE);
        assert_eq!(pruned.civil().code(), 0, "prune on a full disk, {free} bytes were free\n{pruned}");
        fs::remove_file(filler).expect("ours");
        let source = place.source(0);
        if !place.take_in(&source, &copy) {
            let _ = fs::remove_dir_all(&copy);
        }
        place.assert_whole();
        place.assert_works();
    }
    place.assert_whole();
    Some(found)
}

fn note(found: &mut Failed, code: i32) {
    match code {
        0 => found.succeeded += 1,
        _ => found.failed += 1,
    }
}

/// System calls that may fail. The loader makes the first ones of some.
const CALLS: [(&str, u64); 14] = [
    ("fsync", 0),
    ("fdatasync", 0),
    ("pwrite64", 0),
    ("write", 0),
    ("pread64", 8),
    ("read", 20),
    ("openat", 20),
    ("getdents64", 0),
    ("linkat,link,renameat2,rename", 0),
    ("unlink,unlinkat", 0),
    ("statx", 4),
    ("ftruncate", 0),
    ("mkdir,mkdirat", 0),
    ("writev,pwritev,pwritev2", 0),
];

/// Lets a system call of a snapshot, a prune or a repair fail so many times, by `strace`. `None` where there is none.
///
/// # Panics
/// If something does not hold after one of them; the message has the seed.
pub fn fail_many(seed: u64, count: u64) -> Option<Failed> {
    if !has_program("strace") {
        return None;
    }
    let mut place = Place::new(seed);
    let mut found = Failed::default();
    for _ in 0..count {
        place.change(0);
        let copy = place.freeze(0);
        let line = match place.random.below(4) {
            0 | 1 => snapshot_line(&place.source(0)),
            2 => split(PRUNE),
            _ => words!["repair", "index"],
        };
        let (calls, first) = CALLS[place.random.below(CALLS.len() as u64) as usize];
        // Calls of a thread are counted: the first ones are the likely ones.
        let width = 1 << place.random.below(5);
        let at = first + 1 + place.random.below(width);
        // Only once, or from there on.
        let times = if place.random.below(3) == 0 { "+" } else { "" };
        let inject = format!("inject={calls}:error=EIO:when={at}{times}");
        let traced = place.scratch.command();
        let mut command = Command::new("strace");
        let envs = traced.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.args(["-f", "-qq", "-o", "/dev/null", "--seccomp-bpf", "-e"]).arg(format!("trace={calls}"));
        command
            .arg("-e")
            .arg(inject)
            .arg(traced.get_program())
            .args(&line)
            .envs(envs)
            .current_dir(place.scratch.path());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("REPO_")) {
            if traced.get_envs().all(|(known, value)| known != name || value.is_none()) {
                command.env_remove(name);
            }
        }
        let run = end(start(&mut command));
        assert!(!run.err().contains("panicked"), "{calls} {at}{times}: a panic of {line:?}\n{run}");
        note(&mut found, run.code());
        let source = place.source(0);
        let is_listed = place.take_in(&source, &copy);
        if !is_listed {
            let _ = fs::remove_dir_all(&copy);
        } else if run.code() != 0 {
            place.accept_part();
        }
        place.assert_whole();
        place.assert_works();
    }
    place.assert_whole();
    Some(found)
}
