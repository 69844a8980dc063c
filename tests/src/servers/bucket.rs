//! A bucket on moto's server with a repository below `host/data`, and what its clients have.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::S3;
use crate::binary::split;
use crate::compare::assert_diff_is_silent;
use crate::tree::{noise, small, write};
use crate::{Run, Scratch, run_command, words};

/// A server and what its clients have.
#[derive(Debug)]
pub struct Bucket {
    /// The server.
    pub s3: S3,
    /// Cache, key file, targets.
    pub scratch: Scratch,
    /// What is saved.
    pub source: PathBuf,
}

impl Bucket {
    /// With a repository.
    #[track_caller]
    pub fn new() -> Self {
        Self::empty().with_repository()
    }

    /// Without a repository.
    #[track_caller]
    pub fn empty() -> Self {
        Self::on(S3::start())
    }

    /// The bucket of a server, without a repository.
    #[track_caller]
    pub fn on(s3: S3) -> Self {
        let scratch = Scratch::empty();
        let source = small(&scratch.tree("source"), 1);
        write(source.join("large"), noise(5, 3_000_000));
        Self { s3, scratch, source }
    }

    /// Makes a repository of small packs; the requests for that are not counted.
    #[track_caller]
    pub fn with_repository(self) -> Self {
        self.run("init --pack-size 1M").ok();
        self.s3.requests();
        self
    }

    /// A command for the repository.
    pub fn command(&self) -> Command {
        self.s3.command(&self.scratch, "host/data")
    }

    /// Runs a command, given as words.
    #[track_caller]
    pub fn run_words(&self, words: Vec<OsString>) -> Run {
        run_command(self.command().args(words))
    }

    /// Runs a command, given as a line without blanks in its words.
    #[track_caller]
    pub fn run(&self, line: &str) -> Run {
        self.run_words(split(line))
    }

    /// Saves the source, with options at blanks; the snapshot's id.
    #[track_caller]
    pub fn snapshot(&self, options: &str) -> String {
        let words = words!["snapshot", "--json", self.source].into_iter().chain(split(options));
        self.run_words(words.collect()).ok().snapshot_id()
    }

    /// Fails unless what is in a snapshot is what is in the source, and there is no damage.
    #[track_caller]
    pub fn assert_whole(&self, snapshot: &str) {
        let run = self.run("check --read-data --json").ok();
        assert_eq!(run.summary()["damaged"], false, "{run}");
        self.assert_restores(snapshot, &[]);
    }

    /// Fails unless what is in a snapshot, read with options, is what is in the source.
    #[track_caller]
    pub fn assert_restores(&self, snapshot: &str, options: &[&str]) {
        let target = self.scratch.file("target");
        let _ = std::fs::remove_dir_all(&target);
        let what = format!("{snapshot}:{}", self.source.display());
        let words = words!["restore", what, "--target", target];
        self.run_words(words.into_iter().chain(options.iter().map(OsString::from)).collect()).ok();
        assert_diff_is_silent(&self.source, &target);
    }

    /// How often each kind of request was made for each kind of object since the last call.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in self.s3.requests() {
            *counts.entry(kind_of(&request)).or_default() += 1;
        }
        counts
    }
}

impl Default for Bucket {
    fn default() -> Self {
        Self::new()
    }
}

/// `PUT packs`, `LIST sessions`, …
pub fn kind_of(request: &Value) -> String {
    let text = |name: &str| request[name].as_str().expect("text");
    let (method, path, query) = (text("method"), text("path"), text("query"));
    let family = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
    match path.strip_prefix("/backups/host/data/") {
        Some(name) => format!("{method} {}", family(name)),
        None if query.contains("list-type=2") => {
            let prefix = query.split("host%2Fdata%2F").nth(1).unwrap_or_default();
            format!("LIST {}", prefix.split('%').next().unwrap_or_default())
        }
        None => format!("{method} {query}"),
    }
}
