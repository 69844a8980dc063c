//! Redis.

use std::path::PathBuf;
use std::process::Command;

use super::{Server, as_server_user, directory, succeed};
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
        let place = directory("redis");
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
