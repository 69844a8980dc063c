//! OpenSSH's own server on a free port of this machine, for root, with a key of its own.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::garage::free_port;
use crate::binary::{split, tool};
use crate::damage::wait_until;
use crate::tree::write;

/// How many ports are tried.
const PORTS: usize = 5;

/// A running server. It lets root in only if root started it.
#[derive(Debug)]
pub struct Sshd {
    process: Child,
    port: u16,
    place: PathBuf,
}

impl Sshd {
    /// Starts it with keys in `place`, which are made if they aren't there. The user's key may do `command` and nothing else;
    /// without it, anything.
    #[track_caller]
    pub fn start(place: &Path, command: Option<&str>) -> Self {
        let at = place.display();
        for key in ["host", "user"].iter().filter(|key| !place.join(key).exists()) {
            let words = split(&format!("-q -t ed25519 -f {at}/{key} -C {key} -N"));
            tool("ssh-keygen", words.into_iter().chain(["".into()]));
        }
        let (process, port) = Self::run(place);
        let server = Self { process, port, place: place.to_owned() };
        server.let_in(command);
        server
    }

    #[track_caller]
    fn run(place: &Path) -> (Child, u16) {
        std::fs::create_dir_all("/run/sshd").expect("the directory that sshd wants");
        let log = place.join("sshd.log");
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        for _ in 0..PORTS {
            // The system chooses a port that is free now; sshd can't be told to let it choose. If somebody else has it
            // when sshd wants it, sshd ends, and they may answer.
            let port = free_port();
            let mut process = Self::spawn(place, port, &log);
            let mut has_ended = false;
            wait_until("sshd listens, or ends", || {
                has_ended = process.try_wait().expect("a state").is_some();
                has_ended || said().contains("Server listening on ")
            });
            if !has_ended {
                return (process, port);
            }
        }
        panic!("sshd ended on each port:\n{}", said())
    }

    fn spawn(place: &Path, port: u16, log: &Path) -> Child {
        let at = place.display();
        let options = format!(
            "-D -e -f /dev/null -h {at}/host -p {port} -o ListenAddress=127.0.0.1 -o StrictModes=no -o UsePAM=no \
             -o PidFile=none -o PermitRootLogin=yes -o AuthorizedKeysFile={at}/authorized -o MaxStartups=100"
        );
        let log = std::fs::File::create(log).expect("a log");
        let subsystem = ["-o", "Subsystem=sftp internal-sftp"];
        let process = Command::new("/usr/sbin/sshd").args(split(&options)).args(subsystem).stderr(log).spawn();
        process.expect("sshd, which `./dev setup` installs")
    }

    /// Lets the user's key in, for `command` only if there is one.
    pub fn let_in(&self, command: Option<&str>) {
        let public = std::fs::read_to_string(self.place.join("user.pub")).expect("a key");
        let forced = command.map_or(String::new(), |command| format!(",command=\"{command}\""));
        self.authorize(&format!("restrict{forced} {public}"));
    }

    /// Lets nobody in from now on; who is in stays.
    pub fn let_nobody_in(&self) {
        self.authorize("");
    }

    fn authorize(&self, line: &str) {
        let path = self.place.join("authorized");
        write(&path, line);
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).expect("its mode");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The option that names an ssh with the key that is let in.
    pub fn command(&self) -> String {
        let at = self.place.display();
        format!(
            "ssh.command=ssh -F none -i {at}/user -o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new \
             -o UserKnownHostsFile={at}/known -o BatchMode=yes"
        )
    }

    /// Ends it at once. Connections that it has go on.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again, on another port.
    #[track_caller]
    pub fn start_again(&mut self) {
        (self.process, self.port) = Self::run(&self.place);
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill();
    }
}
