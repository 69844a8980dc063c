//! Real servers for tests, databases, S3 and the program's own: each in a directory of its own, reached by a socket in it
//! or a port that is free, and gone with the test, also when that panics or is killed.
//!
//! PostgreSQL and MariaDB refuse to run as root, so root runs them as nobody. They come from Debian's packages (see `dev`);
//! the PostgreSQL that knows pgvector is in a Python wheel, `tests/requirements.txt`.

mod bucket;
pub mod every;
mod garage;
mod mariadb;
mod postgres;
mod proxy;
mod redis;
mod s3;
mod s3s;
mod serve;
mod sshd;

pub use bucket::{Bucket, kind_of};
pub use garage::{GARAGE, Garage};
pub use mariadb::MariaDb;
pub use postgres::Postgres;
pub use proxy::Proxy;
pub use redis::Redis;
pub use s3::S3;
pub use s3s::{S3S, S3sFs};
pub use serve::{RepoServe, curl, make_token};
pub use sshd::Sshd;

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::binary::{NOBODY, Run, run_command};
use crate::damage::wait_until;
use crate::is_root;

/// A running server and the directory that all of it is in.
#[derive(Debug)]
struct Server {
    process: Child,
    stop: rustix::process::Signal,
    directory: tempfile::TempDir,
}

impl Server {
    /// Starts `command` and waits until `is_ready`. Sockets are in the directory, so its path must be short.
    fn start(
        directory: tempfile::TempDir,
        mut command: Command,
        stop: rustix::process::Signal,
        is_ready: impl Fn() -> bool,
    ) -> Self {
        let log = std::fs::File::create(directory.path().join("log")).expect("a log file");
        let copy = log.try_clone().expect("the same file");
        let process = command.stdin(Stdio::null()).stdout(log).stderr(copy).spawn().expect("the server starts");
        let mut server = Self { process, stop, directory };
        wait_until("the server answers", || {
            if let Some(status) = server.process.try_wait().expect("a state") {
                let log = std::fs::read_to_string(server.path().join("log")).unwrap_or_default();
                panic!("the server ended with {status}:\n{log}");
            }
            is_ready()
        });
        server
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Ends it the way an administrator would.
    fn stop(&mut self) {
        let id = rustix::process::Pid::from_raw(self.process.id() as i32).expect("an id");
        let _ = rustix::process::kill_process(id, self.stop);
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return self.stop();
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A directory that the server's user owns.
fn directory(name: &str) -> tempfile::TempDir {
    let directory = tempfile::Builder::new().prefix(&format!("repo-{name}-")).tempdir().expect("a directory");
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("its mode");
    give(directory.path());
    directory
}

/// Gives a path to the server's user.
fn give(path: &Path) {
    if is_root() {
        let (uid, gid) = (rustix::fs::Uid::from_raw(NOBODY), rustix::fs::Gid::from_raw(NOBODY));
        rustix::fs::chown(path, Some(uid), Some(gid)).expect("root can give it away");
    }
}

/// A command as the server's user, which ends when the test's thread does.
fn as_server_user(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"]);
    }
    command.args(["--pdeathsig", "KILL", "--"]).arg(program.as_ref()).current_dir("/").env("LC_ALL", "C.UTF-8");
    command
}

/// Runs a command and fails unless it ends with 0.
#[track_caller]
fn succeed(command: &mut Command) -> Run {
    let run = run_command(command);
    assert!(run.status.success(), "{run}");
    run
}

/// The first of these that is there.
#[track_caller]
fn first_of(places: impl IntoIterator<Item = PathBuf>, package: &str) -> PathBuf {
    let mut places = places.into_iter();
    places.find(|place| place.exists()).unwrap_or_else(|| panic!("{package} is missing: run ./dev setup"))
}
