//! MariaDB.

use std::path::PathBuf;
use std::process::Command;

use super::{Server, as_server_user, directory, first_of, succeed};
use crate::binary::run_command;

/// A server whose `root` needs no password on the socket.
#[derive(Debug)]
pub struct MariaDb {
    server: Server,
}

impl MariaDb {
    /// Starts it, without databases.
    #[track_caller]
    pub fn start() -> Self {
        let place = directory("maria");
        let data = place.path().join("data");
        let daemon = first_of(["/usr/sbin/mariadbd".into(), "/usr/bin/mariadbd".into()], "mariadb-server");
        let init =
            ["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"];
        succeed(as_server_user("mariadb-install-db").args(init).arg(format!("--datadir={}", data.display())));
        let mut command = as_server_user(daemon);
        let socket = place.path().join("socket");
        command.args([
            "--no-defaults",
            "--skip-networking",
            "--innodb-buffer-pool-size=16M",
            "--innodb-fast-shutdown=2",
        ]);
        command.args(["--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=8M", "--skip-log-bin"]);
        command.arg(format!("--datadir={}", data.display())).arg(format!("--socket={}", socket.display()));
        command.arg(format!("--pid-file={}", place.path().join("pid").display()));
        let ready = || {
            let mut ping = Command::new("mariadb-admin");
            ping.args(["--no-defaults", "-uroot", "ping"]).arg(format!("--socket={}", socket.display()));
            run_command(&mut ping).status.success()
        };
        Self { server: Server::start(place, command, rustix::process::Signal::TERM, ready) }
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.server.path().join("socket")
    }

    /// A client's program that will talk to it as root.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.args(["--no-defaults", "-uroot"]).arg(format!("--socket={}", self.socket().display()));
        command
    }

    /// Runs SQL in a database, or in none; rows as lines, columns with tabs between.
    #[track_caller]
    pub fn sql(&self, database: &str, text: &str) -> String {
        let mut command = self.command("mariadb");
        command.args(["-NB", "-e", text]);
        if !database.is_empty() {
            command.arg(database);
        }
        succeed(&mut command).out().trim_end().to_owned()
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.server.stop();
    }
}
