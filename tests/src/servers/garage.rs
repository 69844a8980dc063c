//! Garage, a store that ignores conditional writes: one node with one bucket, `backups`.
//!
//! It takes long to build, so only `./dev storages` installs it, and names the program in `REPO_TEST_GARAGE`.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use super::{Server, succeed};
use crate::binary::split;
use crate::tree::write;

/// The variable that names the program.
pub const GARAGE: &str = "REPO_TEST_GARAGE";
/// A key in the form that Garage wants, and its secret.
pub(super) const KEY: (&str, &str) =
    ("GK0123456789abcdef01234567", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");

/// A running server.
#[derive(Debug)]
pub struct Garage {
    server: Option<Server>,
    place: tempfile::TempDir,
    program: PathBuf,
    port: u16,
}

/// A port that is free now.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port()
}

impl Garage {
    /// Starts it, empty; `None` if nobody has named the program.
    #[track_caller]
    pub fn start() -> Option<Self> {
        let program = PathBuf::from(std::env::var_os(GARAGE)?);
        let place = tempfile::Builder::new().prefix("repo-garage-").tempdir().expect("a directory");
        let mut garage = Self { server: None, place, program, port: 0 };
        garage.start_again();
        garage.run("bucket create backups");
        garage.run(&format!("key import --yes {} {} -n test", KEY.0, KEY.1));
        garage.grant();
        Some(garage)
    }

    fn config(&self) -> PathBuf {
        self.place.path().join("garage.toml")
    }

    /// Starts it on what is there, on another port.
    #[track_caller]
    pub fn start_again(&mut self) {
        let at = self.place.path().display();
        let (rpc, port) = (free_port(), free_port());
        write(
            self.config(),
            format!(
                "metadata_dir = \"{at}/meta\"\ndata_dir = \"{at}/data\"\ndb_engine = \"lmdb\"\nreplication_factor = 1\n\
                 rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\nrpc_secret = \"{}\"\n\
                 [s3_api]\ns3_region = \"us-east-1\"\napi_bind_addr = \"127.0.0.1:{port}\"\nroot_domain = \".s3.localhost\"\n",
                KEY.1
            ),
        );
        let log = tempfile::Builder::new().prefix("repo-garage-log-").tempdir().expect("a directory");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program).arg("-c").arg(self.config());
        command.args(["server", "--single-node"]).env("RUST_LOG", "garage=warn");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let is_ready = || {
            TcpStream::connect(address).is_ok() && self.command("status").output().is_ok_and(|it| it.status.success())
        };
        let server = Server::start(log, command, rustix::process::Signal::KILL, is_ready);
        (self.server, self.port) = (Some(server), port);
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.config()).args(split(line));
        command
    }

    #[track_caller]
    fn run(&self, line: &str) {
        succeed(&mut self.command(line));
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// The key may use the bucket.
    #[track_caller]
    pub fn grant(&self) {
        self.run(&format!("bucket allow --read --write --owner backups --key {}", KEY.0));
    }

    /// The key may no longer use the bucket.
    #[track_caller]
    pub fn revoke(&self) {
        self.run(&format!("bucket deny --read --write --owner backups --key {}", KEY.0));
    }

    /// The bucket may hold so many bytes; without a limit if that is none.
    #[track_caller]
    pub fn limit(&self, bytes: Option<u64>) {
        let limit = bytes.map_or("none".to_owned(), |bytes| bytes.to_string());
        self.run(&format!("bucket set-quotas --max-size {limit} backups"));
    }
}
