//! Redis.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Server, as_server_user, directory, give, succeed};
use crate::binary::run_command;

/// A server that saves only when it is asked to.
#[derive(Debug)]
pub struct Redis {
    server: Server,
}

impl Redis {
    /// Starts it, empty.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_in(directory("redis"))
    }

    /// Starts it with what a dump holds.
    #[track_caller]
    pub fn start_with(dump: &Path) -> Self {
        let place = directory("redis");
        std::fs::copy(dump, place.path().join("dump.rdb")).expect("a copy of the dump");
        give(&place.path().join("dump.rdb"));
        Self::start_in(place)
    }

    fn start_in(place: tempfile::TempDir) -> Self {
        let socket = place.path().join("socket");
        let mut command = as_server_user("redis-server");
        command.args(["--port", "0", "--save", "", "--unixsocketperm", "777", "--dir"]).arg(place.path());
        command.arg("--unixsocket").arg(&socket);
        let ready = || run_command(Command::new("redis-cli").arg("-s").arg(&socket).arg("ping")).out().contains("PONG");
        Self { server: Server::start(place, command, rustix::process::Signal::TERM, ready) }
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.server.path().join("socket")
    }

    /// Runs one command, its words given one by one; what it answers.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> String {
        succeed(Command::new("redis-cli").arg("-s").arg(self.socket()).args(words)).out().trim_end().to_owned()
    }

    /// Ends it without saving.
    pub fn stop(&mut self) {
        self.server.stop();
    }
}
