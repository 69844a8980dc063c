//! PostgreSQL: Debian's, or the one of a Python wheel, which has pgvector.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Server, as_server_user, directory, first_of, give, succeed};
use crate::binary::{Run, run_command};
use crate::python;

/// A cluster with one superuser, `postgres`, whom everybody may be who reaches the socket.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    programs: PathBuf,
}

impl Postgres {
    /// Debian's newest.
    #[track_caller]
    pub fn start() -> Self {
        let versions = (13..30).rev().map(|version| format!("/usr/lib/postgresql/{version}/bin").into());
        Self::start_from(first_of(versions, "postgresql"))
    }

    /// One with the extension `vector`.
    #[track_caller]
    pub fn start_with_vectors() -> Self {
        let script = "import importlib.util as u; print(u.find_spec('pgserver').submodule_search_locations[0])";
        let run = succeed(Command::new(python::interpreter()).args(["-c", script]));
        Self::start_from(Path::new(run.out().trim()).join("pginstall/bin"))
    }

    fn start_from(programs: PathBuf) -> Self {
        let place = directory("pg");
        // The build may be closed to others, and the wheel is in it.
        let is_open = run_command(as_server_user(programs.join("postgres")).arg("--version")).status.success();
        let programs = if is_open { programs } else { copy_of(&programs, place.path()) };
        let data = place.path().join("data");
        let init = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync", "--locale=C.UTF-8"];
        succeed(as_server_user(programs.join("initdb")).arg("--pgdata").arg(&data).args(init));
        let mut command = as_server_user(programs.join("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(place.path());
        // Nothing of it outlives the test, so nothing need be durable.
        for setting in ["listen_addresses=", "fsync=off", "shared_buffers=16MB", "max_connections=20"] {
            command.args(["-c", setting]);
        }
        let mut ready = Command::new(programs.join("psql"));
        ready.arg("-h").arg(place.path()).args(["-U", "postgres", "-Atc", "select 1"]);
        let ready = std::cell::RefCell::new(ready);
        // Fast shutdown: it does not wait for clients.
        let server = Server::start(place, command, rustix::process::Signal::INT, || {
            run_command(&mut ready.borrow_mut()).status.success()
        });
        Self { server, programs }
    }

    /// The directory that its socket is in: `PGHOST`.
    pub fn host(&self) -> &Path {
        self.server.path()
    }

    /// A program of the same version, `pg_dump` say.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Variables that lead its programs to it.
    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [("PGHOST", self.host().to_owned()), ("PGUSER", "postgres".into())]
    }

    /// A program of it that will talk to it.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.program(name));
        command.envs(self.environment());
        command
    }

    /// Runs SQL in a database; rows as lines, columns with `|` between. Stops at the first error.
    #[track_caller]
    pub fn sql(&self, database: &str, text: &str) -> String {
        let mut command = self.command("psql");
        command.args(["-X", "-v", "ON_ERROR_STOP=1", "-qAt", "-d", database, "-c", text]);
        succeed(&mut command).out().trim_end().to_owned()
    }

    /// Runs SQL that may fail.
    pub fn try_sql(&self, database: &str, text: &str) -> Run {
        run_command(self.command("psql").args(["-X", "-qAt", "-d", database, "-c", text]))
    }

    /// Ends it; its sockets are gone then.
    pub fn stop(&mut self) {
        self.server.stop();
    }
}

/// The installation that programs are in, where the server's user can run it.
fn copy_of(programs: &Path, place: &Path) -> PathBuf {
    let installed = programs.parent().expect("programs are in bin");
    let copy = place.join("installed");
    succeed(Command::new("cp").arg("-a").arg(installed).arg(&copy));
    give(&copy);
    copy.join("bin")
}
