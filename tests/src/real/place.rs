//! A repository, sources that change, and what was saved of them when.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::clock::Clocks;
use crate::binary::{Run, split};
use crate::compare::assert_diff_is_silent;
use crate::scratch::{copy_tree, files_below};
use crate::tree::{Random, write};
use crate::{Scratch, words};

/// Sources of a place.
pub const SOURCES: usize = 2;
/// Files of a source.
const FILES: u64 = 12;
/// Snapshots that are kept, at most.
const KEPT: usize = 5;
/// Nothing may stay unused, and what is forgotten goes at once.
pub const PRUNE: &str = "prune --grace 0 --max-unused 0 --json";

/// A snapshot that exists.
#[derive(Debug, Clone)]
pub struct Saved {
    /// Its id.
    pub id: String,
    /// The source that it is of.
    pub source: PathBuf,
    /// What the source was then.
    pub copy: PathBuf,
}

/// A repository, sources that change, and what was saved of them when.
pub struct Place {
    /// Where everything is.
    pub scratch: Scratch,
    /// What decides.
    pub random: Random,
    /// What must restore.
    pub saved: Vec<Saved>,
    /// Snapshots that somebody asked to forget: they may be listed, or not.
    given_up: Vec<String>,
    clocks: Option<Clocks>,
    copies: u64,
}

impl Place {
    /// A new one, with a snapshot of each source.
    ///
    /// # Panics
    /// As all of this does, if something does not hold.
    pub fn new(seed: u64) -> Self {
        Self::with_scratch(seed, Scratch::empty())
    }

    /// The same in a scratch directory without a repository.
    #[track_caller]
    pub fn with_scratch(seed: u64, scratch: Scratch) -> Self {
        scratch.run("init --pack-size 1M --chunk-size 16K --cipher xchacha20").ok();
        let mut place =
            Self { scratch, random: Random(seed), saved: Vec::new(), given_up: Vec::new(), clocks: None, copies: 0 };
        for number in 0..SOURCES {
            let source = place.source(number);
            for file in 0..FILES {
                let length = 1000 + place.random.below(60_000) as usize;
                let bytes = place.random.bytes(length);
                write(source.join(format!("directory-{}/file-{file}", file % 3)), bytes);
            }
            place.save(number);
        }
        place
    }

    /// From now on some commands believe that it is ten years earlier or later.
    pub fn confuse_clocks(&mut self) {
        self.clocks = Clocks::build(&self.scratch);
    }

    /// A source.
    pub fn source(&self, number: usize) -> PathBuf {
        self.scratch.file(format!("source-{number}"))
    }

    /// Some files of a source become others; one of them takes the bytes of another source's file.
    pub fn change(&mut self, number: usize) {
        let source = self.source(number);
        for _ in 0..1 + self.random.below(3) {
            let file = self.random.below(FILES);
            let length = 1000 + self.random.below(120_000) as usize;
            write(source.join(format!("directory-{}/file-{file}", file % 3)), self.random.bytes(length));
        }
        let file = self.random.below(FILES);
        let from = self.source((number + 1) % SOURCES).join(format!("directory-{}/file-{file}", file % 3));
        if let Ok(bytes) = fs::read(from) {
            write(source.join("directory-0/file-of-another"), bytes);
        }
    }

    /// A copy of a source as it is now.
    pub fn freeze(&mut self, number: usize) -> PathBuf {
        self.copies += 1;
        let copy = self.scratch.file(format!("copy-{}", self.copies));
        copy_tree(&self.source(number), &copy);
        copy
    }

    /// A command with a clock of its own, perhaps.
    pub fn command(&mut self) -> Command {
        let mut command = self.scratch.command();
        if let Some(clocks) = &self.clocks {
            clocks.set(&mut command, &mut self.random);
        }
        command
    }

    /// Starts a command.
    #[track_caller]
    pub fn start<S: AsRef<std::ffi::OsStr>>(&mut self, words: impl IntoIterator<Item = S>) -> Child {
        start(self.command().args(words))
    }

    /// Saves a source; it must succeed.
    #[track_caller]
    pub fn save(&mut self, number: usize) {
        let child = self.start(snapshot_line(&self.source(number)));
        let id = end(child).ok().snapshot_id();
        let copy = self.freeze(number);
        self.saved.push(Saved { id, source: self.source(number), copy });
    }

    /// Takes in what is listed and was not known: the snapshot of an interrupted command, which saved what is in `copy`.
    #[track_caller]
    pub fn take_in(&mut self, source: &Path, copy: &Path) -> bool {
        let mut is_used = false;
        for id in self.listed() {
            if !self.given_up.contains(&id) && !self.saved.iter().any(|saved| saved.id == id) {
                self.saved.push(Saved { id, source: source.to_owned(), copy: copy.to_owned() });
                is_used = true;
            }
        }
        is_used
    }

    /// Ids of all snapshots that are listed.
    #[track_caller]
    pub fn listed(&self) -> Vec<String> {
        let listed = self.scratch.run("snapshots --json").ok().of_type("snapshot");
        listed.iter().map(|snapshot| snapshot["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// A snapshot is about to be forgotten: it is not expected any more.
    pub fn give_up(&mut self, position: usize) -> String {
        let saved = self.saved.remove(position);
        let _ = fs::remove_dir_all(&saved.copy);
        self.given_up.push(saved.id.clone());
        saved.id
    }

    /// The same for as many as are too many; never the newest.
    pub fn give_up_some(&mut self) -> Vec<String> {
        let mut given_up = Vec::new();
        while self.saved.len() > KEPT {
            let position = self.random.below(self.saved.len() as u64 - 1) as usize;
            given_up.push(self.give_up(position));
        }
        given_up
    }

    /// The last snapshot of `copy` was made by a command that told of problems: what it has is right, but not all is there.
    /// It is forgotten.
    #[track_caller]
    pub fn accept_part(&mut self) {
        let saved = self.saved.last().expect("it was taken in").clone();
        let target = self.scratch.file("target");
        let _ = fs::remove_dir_all(&target);
        self.scratch.restore(&saved.id, &saved.source, &target);
        let run = crate::run_command(Command::new("diff").arg("-r").args([&saved.copy, &target]));
        let is_less = |line: &str| line.starts_with(&format!("Only in {}", saved.copy.display()));
        assert!(run.out().lines().all(is_less), "more than left out\n{run}");
        let id = self.give_up(self.saved.len() - 1);
        self.scratch.run_words(["forget", &id]).ok();
    }

    /// What must hold: no damage, every snapshot that exists is listed and restores to the byte.
    #[track_caller]
    pub fn assert_whole(&self) {
        let check = self.scratch.run("check --read-data --json").ok();
        assert_eq!(check.summary()["damaged"], false, "{check}");
        self.assert_restores();
    }

    /// Every snapshot that exists is listed and restores to the byte.
    #[track_caller]
    pub fn assert_restores(&self) {
        let listed = self.listed();
        for saved in &self.saved {
            assert!(listed.contains(&saved.id), "snapshot {} is not listed: {listed:?}", saved.id);
            let target = self.scratch.file("target");
            let _ = fs::remove_dir_all(&target);
            self.scratch.restore(&saved.id, &saved.source, &target).ok();
            assert_diff_is_silent(&saved.copy, &target);
        }
    }

    /// The next snapshot and the next prune work.
    #[track_caller]
    pub fn assert_works(&mut self) {
        let number = self.random.below(SOURCES as u64) as usize;
        self.change(number);
        self.save(number);
        let given_up = self.give_up_some();
        if !given_up.is_empty() {
            let mut command = self.command();
            crate::run_command(command.arg("forget").args(given_up)).ok();
        }
        let mut command = self.command();
        let pruned = crate::run_command(command.args(split(PRUNE))).ok();
        assert_eq!(pruned.summary()["finished"], true, "{pruned}");
    }

    /// Cuts an index object in half, or removes it.
    pub fn harm_index(&mut self) {
        let objects = files_below(&self.scratch.repository().join("index"));
        let whole: Vec<_> =
            objects.iter().filter(|path| path.file_name().is_some_and(|name| name.len() == 64)).collect();
        let Some(path) = whole.get(self.random.below(whole.len().max(1) as u64) as usize) else { return };
        if self.random.below(2) == 0 {
            fs::remove_file(path).expect("ours");
        } else {
            let bytes = fs::read(path).expect("an object");
            crate::damage::write_object(path, &bytes[..bytes.len() / 2]);
        }
    }
}

/// The command line that saves a source.
pub fn snapshot_line(source: &Path) -> Vec<std::ffi::OsString> {
    words!["snapshot", "--json", source]
}

/// Starts a command.
#[track_caller]
pub fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started")
}

/// Waits for the end of a command.
pub fn end(child: Child) -> Run {
    Run::new(format!("process {}", child.id()), child.wait_with_output().expect("its end"))
}

/// Sends a signal to a process, which may have ended.
pub fn signal(child: &Child, signal: rustix::process::Signal) {
    let id = rustix::process::Pid::from_raw(child.id() as i32).expect("an id");
    let _ = rustix::process::kill_process(id, signal);
}
