//! A directory with a repository, a cache and room for trees, gone at the end of the test.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::binary::{NOBODY, Run, copy_binary, line_of, repo_binary, run_command, split};

/// The password of repositories that have one.
pub const PASSWORD: &str = "correct horse";

/// A scratch directory with everything in it that the program gets to see.
#[derive(Debug)]
pub struct Scratch {
    directory: tempfile::TempDir,
    /// Whether commands run as an ordinary user.
    user: Option<u32>,
    binary: PathBuf,
}

impl Scratch {
    /// Without a repository.
    pub fn empty() -> Self {
        let directory = tempfile::Builder::new().prefix("repo-test-").tempdir().expect("a scratch directory");
        // Ordinary users work in here too.
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("its mode");
        Self { directory, user: None, binary: repo_binary() }
    }

    /// With a repository that a key file opens: no key derivation, so that commands are fast.
    pub fn new() -> Self {
        Self::with_options("")
    }

    /// The same with options for `init`, at blanks.
    pub fn with_options(options: &str) -> Self {
        let scratch = Self::empty();
        scratch.run_words([OsString::from("init")].into_iter().chain(split(options))).ok();
        scratch
    }

    /// With a repository for an ordinary user, who also runs all commands. Needs root.
    pub fn for_nobody() -> Self {
        let mut scratch = Self::empty();
        rustix::fs::chown(
            scratch.path(),
            Some(rustix::fs::Uid::from_raw(NOBODY)),
            Some(rustix::fs::Gid::from_raw(NOBODY)),
        )
        .expect("root can give it away");
        scratch.binary = scratch.file("repo-binary");
        copy_binary(&scratch.binary);
        scratch.user = Some(NOBODY);
        scratch.run("init").ok();
        scratch
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A path in it.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// The repository.
    pub fn repository(&self) -> PathBuf {
        self.file("repository")
    }

    /// The cache directory.
    pub fn cache(&self) -> PathBuf {
        self.file("cache")
    }

    /// The key file that opens the repository.
    pub fn key_file(&self) -> PathBuf {
        self.file("key-file")
    }

    /// A new directory for a tree.
    pub fn tree(&self, name: &str) -> PathBuf {
        let path = self.file(name);
        std::fs::create_dir_all(&path).expect("a directory for a tree");
        path
    }

    /// The command with this environment and no arguments yet.
    pub fn command(&self) -> Command {
        let mut command = match self.user {
            None => Command::new(&self.binary),
            Some(user) => as_user(user, &self.binary),
        };
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("REPO_") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(self.path())
            .env("REPO_REPOSITORY", self.repository())
            .env("REPO_CACHE_DIR", self.cache())
            .env("REPO_KEY_FILE", self.key_file())
            .env("NO_COLOR", "1")
            .env("HOME", self.path());
        command
    }

    /// Runs a command given as a line without blanks in its words.
    #[track_caller]
    pub fn run(&self, line: &str) -> Run {
        self.run_words(split(line))
    }

    /// Runs a command given as words.
    #[track_caller]
    pub fn run_words<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Run {
        run_command(self.command().args(words))
    }

    /// Runs a command that reads `input`.
    #[track_caller]
    pub fn run_with_input(&self, line: &str, input: &[u8]) -> Run {
        let mut command = self.command();
        command.args(split(line));
        let text = line_of(&command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {text}: {error}"));
        let mut pipe = child.stdin.take().expect("a pipe");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // Whoever has read enough closes the pipe.
                let _ = pipe.write_all(input);
            });
            Run::new(text, child.wait_with_output().expect("the end of the command"))
        })
    }

    /// Saves a path and gives the snapshot's id.
    #[track_caller]
    pub fn snapshot(&self, path: &Path) -> String {
        self.run_words([OsStr::new("snapshot"), OsStr::new("--json"), path.as_os_str()]).ok().snapshot_id()
    }

    /// Adds more index objects than a command keeps in memory: the next one writes the local database.
    #[track_caller]
    pub fn fill_index(&self) {
        for number in 0..9_u64 {
            self.run_with_input("snapshot --stdin filler --label filler", &crate::tree::noise(7_000 + number, 100))
                .ok();
        }
    }

    /// Restores what is at `path` in a snapshot to a new directory.
    #[track_caller]
    pub fn restore(&self, snapshot: &str, path: &Path, target: &Path) -> Run {
        let mut what = OsString::from(format!("{snapshot}:"));
        what.push(path);
        self.run_words([OsStr::new("restore"), &what, OsStr::new("--target"), target.as_os_str(), OsStr::new("--json")])
    }

    /// Fails unless a full check finds no damage.
    #[track_caller]
    pub fn check_clean(&self) -> Run {
        let run = self.run("check --read-data --json").ok();
        assert_eq!(run.summary()["damaged"], false, "{run}");
        run
    }

    /// Names and lengths of all objects. What a running program renames meanwhile is missing.
    pub fn objects(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        for path in files_below(&self.repository()) {
            let length = match std::fs::symlink_metadata(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                metadata => metadata.expect("an object").len(),
            };
            let name = path.strip_prefix(self.repository()).expect("below").to_string_lossy().into_owned();
            found.push((name, length));
        }
        found.sort();
        found
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// A command that another user runs.
pub fn as_user(user: u32, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    let (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
    command.args([uid.as_str(), gid.as_str(), "--clear-groups", "--"]).arg(program);
    command
}

/// All files below a directory, sorted.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else { continue };
        for entry in entries.filter_map(Result::ok) {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Copies a directory with everything in it.
pub fn copy_tree(from: &Path, to: &Path) {
    crate::binary::tool("cp", [OsStr::new("-a"), OsStr::new("-T"), from.as_os_str(), to.as_os_str()]);
}
