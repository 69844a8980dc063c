//! A stack to save and restore: files, a compose file, and a stand-in for the container engine, which checks what it is
//! asked for and runs commands itself. No engine runs where these tests do.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binary::{Run, run_command};
use crate::scratch::Scratch;
use crate::tree::{write, write_program};

/// What stands in for `docker` and `podman`. It writes down how it was called, and refuses what no engine would take.
const STAND_IN: &str = r#"#!/bin/sh
here=$(dirname "$0")
name=$(basename "$0")
printf '%s %s\n' "$name" "$*" >> "$here/calls"
refuse() { echo "stand-in: $name refuses: $*" >&2; exit 64; }
case "$1" in
--version) echo "$name version 99.1"; exit 0 ;;
inspect) [ "$2 $3" = "--format {{.Config.Image}} {{.Image}}" ] || refuse "$@"; echo "postgres:17 sha256:feed"; exit 0 ;;
stop | start) echo "$1 $2" >> "$here/state"; exit 0 ;;
exec)
    [ "$2" = -i ] || refuse "$@"
    shift 2
    while [ "$1" = -e ]; do shift 2; done
    shift
    exec "$@" ;;
compose) [ "$name" = docker ] || refuse "$@" ;;
*) refuse "$@" ;;
esac
shift
while [ "$1" = -f ] || [ "$1" = -p ]; do shift 2; done
verb=$1
shift
case "$verb" in
ps) [ "$1" = -q ] || refuse "$@"; echo c0ffee ;;
stop | start) echo "$verb $1" >> "$here/state" ;;
exec)
    [ "$1" = -T ] || refuse "$@"
    shift
    while [ "$1" = -e ]; do shift 2; done
    shift
    exec "$@" ;;
*) refuse "$verb" "$@" ;;
esac
"#;

/// A stack in a scratch directory.
#[derive(Debug)]
pub struct Stack {
    /// The repository, and all else.
    pub scratch: Scratch,
    /// The stack's directory.
    pub root: PathBuf,
}

impl Stack {
    /// A stack with this manifest, in which `SCRATCH` is the scratch directory. Its files: `data/media` with two files
    /// and the directory `data/media/thumbs`, `config` with a file and a log, `compose.yaml`, and a database of one
    /// file, `db` beside the stack.
    pub fn new(manifest: &str) -> Self {
        Self::in_scratch(Scratch::new(), manifest)
    }

    /// The same in a scratch directory that is there.
    pub fn in_scratch(scratch: Scratch, manifest: &str) -> Self {
        let root = scratch.tree("shop");
        let stack = Self { scratch, root };
        write(stack.root.join("data/media/a.jpg"), "picture a");
        write(stack.root.join("data/media/b.jpg"), vec![7; 300_000]);
        write(stack.root.join("data/media/thumbs/a.png"), "small a");
        write(stack.root.join("config/app.ini"), "colour=red");
        write(stack.root.join("config/app.log"), "noise");
        write(stack.root.join("compose.yaml"), "services:\n  db: { image: postgres }\n  web: { image: nginx }\n");
        write(stack.database(), crate::tree::prose(2_000_000));
        stack.declare(manifest);
        for name in ["docker", "podman"] {
            write_program(&stack.scratch.file("bin").join(name), STAND_IN);
        }
        stack
    }

    /// Writes the manifest.
    pub fn declare(&self, manifest: &str) {
        write(self.root.join("stack.yaml"), self.fill(manifest));
    }

    /// A text with the scratch directory put in.
    pub fn fill(&self, text: &str) -> String {
        text.replace("SCRATCH", &self.scratch.path().to_string_lossy())
    }

    /// What the database holds.
    pub fn database(&self) -> PathBuf {
        self.scratch.file("db")
    }

    /// The program, in the stack's directory, with the stand-in before all other engines.
    pub fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = self.scratch.command();
        command
            .env("PATH", format!("{}:{path}", self.scratch.file("bin").display()))
            .current_dir(&self.root)
            .args(words);
        command
    }

    /// Runs a line without blanks in its words.
    #[track_caller]
    pub fn run(&self, line: &str) -> Run {
        run_command(&mut self.command(self.fill(line).split_whitespace()))
    }

    /// How the stand-in was called, a line each.
    pub fn calls(&self) -> Vec<String> {
        lines(&self.scratch.file("bin/calls"))
    }

    /// Which services were stopped and started.
    pub fn switched(&self) -> Vec<String> {
        lines(&self.scratch.file("bin/state"))
    }

    /// Ids of the snapshots that are listed, oldest first.
    pub fn snapshots(&self) -> Vec<String> {
        let found = self.run("snapshots --json").ok().of_type("snapshot");
        found.iter().map(|snapshot| snapshot["id"].as_str().expect("an id").to_owned()).collect()
    }
}

fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}
