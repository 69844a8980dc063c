//! s3s-fs, a store that keeps objects as files of a directory, which is its one bucket, `backups`.
//!
//! Only `./dev storages` installs it, and names the program in `REPO_TEST_S3S`.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Server;
use super::garage::free_port;
use super::s3::KEYS;

/// The variable that names the program.
pub const S3S: &str = "REPO_TEST_S3S";

/// A running server.
#[derive(Debug)]
pub struct S3sFs {
    server: Option<Server>,
    root: PathBuf,
    program: PathBuf,
    port: u16,
}

impl S3sFs {
    /// Starts it with a directory; `None` if nobody has named the program.
    #[track_caller]
    pub fn start(root: &Path) -> Option<Self> {
        let program = PathBuf::from(std::env::var_os(S3S)?);
        std::fs::create_dir_all(root.join("backups")).expect("a bucket");
        let mut server = Self { server: None, root: root.to_owned(), program, port: 0 };
        server.start_again(KEYS[1].1);
        Some(server)
    }

    /// Starts it on what is there, on another port, with the secret that it takes.
    #[track_caller]
    pub fn start_again(&mut self, secret: &str) {
        let log = tempfile::Builder::new().prefix("repo-s3s-").tempdir().expect("a directory");
        let port = free_port();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program).args(["--host", "127.0.0.1", "--port"]);
        command.arg(port.to_string()).args(["--access-key", KEYS[0].1, "--secret-key", secret]).arg(&self.root);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let is_ready = || TcpStream::connect(address).is_ok();
        self.server = Some(Server::start(log, command, rustix::process::Signal::KILL, is_ready));
        self.port = port;
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.server = None;
    }
}
