//! Every storage that there is, started in one way, and what may happen to one: it is killed, cut off, it lets nobody in, or
//! it is full. Whoever adds a storage adds it to [`KINDS`].

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use engine::storage::{LocalStorage, Storage};
use serde_json::json;

use super::{GARAGE, Garage, Proxy, RepoServe, S3, S3S, S3sFs, Sshd, make_token};
use crate::binary::{repo_binary, split};
use crate::real::disk::SmallDisk;
use crate::scratch::files_below;
use crate::tree::{write, write_program};
use crate::{Run, Scratch, is_root, run_command};

/// A kind of storage, and of what serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory, on a file system of its own where one can be mounted.
    Local,
    /// moto's S3 server.
    Moto,
    /// The same, which ignores conditional writes.
    MotoIgnoring,
    /// Garage.
    Garage,
    /// s3s-fs.
    S3sFs,
    /// `repo serve`.
    Http,
    /// `repo serve --stdio` through a script that stands in for ssh.
    SshStandIn,
    /// `repo serve --stdio` through OpenSSH.
    Ssh,
    /// OpenSSH's SFTP server.
    Sftp,
}

/// All of them. Memory is no place for commands: conformance and campaign have it besides.
pub const KINDS: [Kind; 9] = [
    Kind::Local,
    Kind::Moto,
    Kind::MotoIgnoring,
    Kind::Garage,
    Kind::S3sFs,
    Kind::Http,
    Kind::SshStandIn,
    Kind::Ssh,
    Kind::Sftp,
];

/// The size of small file systems, in MiB.
const DISK_MEBIBYTES: u64 = 64;
/// What an object takes of a quota at least, in bytes (docs/serve.md).
const LEAST: u64 = 4096;
/// A line for a file of tokens that lets nobody in.
const NOBODY_IS_KNOWN: &str = "blake3:0000000000000000000000000000000000000000000000000000000000000000 none list\n";
/// So many times is for ever.
const FOR_EVER: u64 = 1_000_000_000;

impl Kind {
    /// What reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local directory",
            Self::Moto => "S3: moto",
            Self::MotoIgnoring => "S3: moto, ignores conditional writes",
            Self::Garage => "S3: Garage",
            Self::S3sFs => "S3: s3s-fs",
            Self::Http => "HTTP: repo serve",
            Self::SshStandIn => "ssh: stand-in",
            Self::Ssh => "ssh: OpenSSH",
            Self::Sftp => "SFTP: OpenSSH",
        }
    }

    /// Whether what it needs is here.
    pub fn is_here(self) -> bool {
        match self {
            Self::Garage => std::env::var_os(GARAGE).is_some(),
            Self::S3sFs => std::env::var_os(S3S).is_some(),
            // sshd lets root in only if root started it.
            Self::Ssh | Self::Sftp => is_root(),
            _ => true,
        }
    }

    /// Whether it is a bucket.
    pub fn is_s3(self) -> bool {
        matches!(self, Self::Moto | Self::MotoIgnoring | Self::Garage | Self::S3sFs)
    }

    /// Whether its server takes nothing but objects of repositories.
    pub fn verifies(self) -> bool {
        matches!(self, Self::Http | Self::SshStandIn | Self::Ssh)
    }

    /// Whether it is reached over a network.
    pub fn is_remote(self) -> bool {
        !matches!(self, Self::Local | Self::SshStandIn)
    }
}

#[derive(Debug)]
enum Server {
    None,
    Moto(S3),
    Garage(Garage),
    S3sFs(S3sFs),
    Http(Option<RepoServe>),
    Sshd(Sshd),
}

/// A running storage with room for several repositories, behind a proxy where there is a network.
#[derive(Debug)]
pub struct Place {
    kind: Kind,
    server: Server,
    proxy: Option<Proxy>,
    /// Variables for commands, and for storages that a test opens itself.
    variables: Vec<(&'static str, OsString)>,
    /// Options, as `NAME=VALUE`.
    options: Vec<String>,
    disk: Option<SmallDisk>,
    filler: Option<PathBuf>,
    /// Names of repositories that there were commands for.
    names: Mutex<BTreeSet<String>>,
    /// The file of tokens as it lets the client in.
    tokens: String,
    /// What commands have: source, cache, key file.
    pub scratch: Scratch,
}

impl Place {
    /// Starts a storage, empty; `None` if what it needs isn't here.
    #[track_caller]
    pub fn start(kind: Kind) -> Option<Self> {
        let scratch = Scratch::empty();
        let (variables, options, disk, tokens) = (Vec::new(), Vec::new(), None, String::new());
        let (proxy, filler, names) = (None, None, Mutex::default());
        let mut place =
            Self { kind, server: Server::None, proxy, variables, options, disk, filler, names, tokens, scratch };
        match kind {
            _ if !kind.is_here() => return None,
            Kind::Local => place.disk = SmallDisk::mount_of(place.root(), DISK_MEBIBYTES),
            Kind::Moto | Kind::MotoIgnoring => {
                let server = S3::start();
                server.set_mode(if kind == Kind::Moto { "atomic" } else { "ignored" });
                place.set_keys(super::s3::KEYS[0].1, super::s3::KEYS[1].1);
                place.server = Server::Moto(server);
            }
            Kind::Garage => {
                place.set_keys(super::garage::KEY.0, super::garage::KEY.1);
                place.server = Server::Garage(Garage::start()?);
            }
            Kind::S3sFs => {
                place.disk = SmallDisk::mount_of(place.root(), DISK_MEBIBYTES);
                place.set_keys(super::s3::KEYS[0].1, super::s3::KEYS[1].1);
                place.server = Server::S3sFs(S3sFs::start(&place.root())?);
            }
            Kind::Http => {
                let token = make_token(&place.scratch, "**", "all");
                place.tokens = std::fs::read_to_string(place.scratch.file("tokens")).expect("the file");
                place.variables.push(("REPO_TOKEN", token.into()));
                place.server = Server::Http(Some(RepoServe::with_tokens(&place.scratch, "")));
            }
            Kind::SshStandIn => {
                place.options.push(format!("ssh.command={}", place.stand_in().display()));
                place.options.push(format!("ssh.remote-command={}", repo_binary().display()));
            }
            Kind::Ssh | Kind::Sftp => {
                let sshd = Sshd::start(&place.scratch.tree("keys"), None);
                place.options.push(sshd.command());
                place.options.push(format!("ssh.remote-command={}", place.remote_program().display()));
                if kind == Kind::Sftp {
                    place.disk = SmallDisk::mount_of(place.root(), DISK_MEBIBYTES);
                }
                place.server = Server::Sshd(sshd);
            }
        }
        place.proxy = place.target().map(Proxy::to);
        Some(place)
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Another option for all commands.
    pub fn add_option(&mut self, option: &str) {
        self.options.push(option.to_owned());
    }

    /// The way to it, if there is a network.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    fn set_keys(&mut self, access: &str, secret: &str) {
        self.variables = vec![
            ("AWS_ACCESS_KEY_ID", access.into()),
            ("AWS_SECRET_ACCESS_KEY", secret.into()),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
        ];
    }

    /// Where repositories are, if that is a directory.
    fn root(&self) -> PathBuf {
        match self.kind {
            Kind::Http => self.scratch.file("served"),
            _ => self.scratch.file("there"),
        }
    }

    /// A script that runs the command as the shell of the other machine would.
    fn stand_in(&self) -> PathBuf {
        self.script("ssh-stand-in", "for word; do last=$word; done\nexec sh -c \"$last\"\n")
    }

    /// What is `repo` on the other machine: with a quota, if there is one.
    fn remote_program(&self) -> PathBuf {
        let quota = self.scratch.file("quota");
        write(&quota, "");
        let line = format!("exec {} \"$@\" $(cat {})\n", repo_binary().display(), quota.display());
        self.script("remote-repo", &line)
    }

    fn script(&self, name: &str, lines: &str) -> PathBuf {
        let script = self.scratch.file(name);
        write_program(&script, &format!("#!/bin/sh\n{lines}"));
        script
    }

    /// Where the server itself listens.
    fn target(&self) -> Option<SocketAddr> {
        let of_url = |url: &str| url.split("//").nth(1).and_then(|address| address.parse().ok());
        match &self.server {
            Server::None => None,
            Server::Moto(server) => of_url(&server.endpoint()),
            Server::Garage(server) => Some(server.address()),
            Server::S3sFs(server) => Some(server.address()),
            Server::Http(server) => of_url(&server.as_ref()?.url()),
            Server::Sshd(server) => Some(server.address()),
        }
    }

    /// The address of a repository of this name.
    pub fn address(&self, repository: &str) -> String {
        let host = self.proxy.as_ref().map(|proxy| proxy.address().to_string()).unwrap_or_default();
        let path = self.root().join(repository);
        match self.kind {
            Kind::Local => path.display().to_string(),
            kind if kind.is_s3() => format!("s3:http://{host}/backups/{repository}"),
            Kind::Http => format!("rest:http://{host}/{repository}"),
            Kind::SshStandIn => format!("ssh://stand-in{}", path.display()),
            Kind::Sftp => format!("sftp://root@{host}/{}", path.display()),
            _ => format!("ssh://root@{host}{}", path.display()),
        }
    }

    /// What a message about this storage must name: the host, or the directory.
    pub fn told_as(&self) -> String {
        match &self.proxy {
            Some(proxy) => proxy.address().to_string(),
            None => self.root().display().to_string(),
        }
    }

    /// A command whose repository is this one, and that finds no other credentials.
    pub fn command(&self, repository: &str) -> Command {
        self.names.lock().expect("no holder of this lock panics").insert(repository.to_owned());
        let mut command = self.scratch.command();
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command.env("REPO_REPOSITORY", self.address(repository)).envs(self.variables.iter().cloned());
        // What another repository is reached with, where this one is that.
        if let Some((_, token)) = self.variables.iter().find(|(name, _)| *name == "REPO_TOKEN") {
            command.env("REPO_TO_TOKEN", token);
        }
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }

    /// Runs a command, given as a line without blanks in its words.
    #[track_caller]
    pub fn run(&self, repository: &str, line: &str) -> Run {
        run_command(self.command(repository).args(split(line)))
    }

    /// Opens the storage in this process; what it found out, if it is made.
    ///
    /// # Errors
    /// The storage's.
    pub fn open(&self, repository: &str, create: bool) -> engine::Result<(Arc<dyn Storage>, Vec<String>)> {
        let variables = self.variables.clone();
        let lookup =
            move |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let access = remote::Access::new(&self.options, Arc::new(lookup))?;
        match create {
            true => remote::create(&self.address(repository), &access),
            false => Ok((remote::open(&self.address(repository), false, &access)?, Vec::new())),
        }
    }

    /// A way to the same objects that asks nobody for permission: the directory, where there is one, or else as [`Self::open`].
    ///
    /// # Errors
    /// The storage's.
    pub fn open_behind(&self, repository: &str) -> engine::Result<Arc<dyn Storage>> {
        match self.kind {
            kind if kind.is_s3() => Ok(self.open(repository, false)?.0),
            _ => Ok(Arc::new(LocalStorage::open(&self.root().join(repository), true)?)),
        }
    }

    /// The server is killed. moto keeps its objects in memory, so that only nobody reaches it.
    pub fn kill(&mut self) {
        if let Some(proxy) = &self.proxy {
            proxy.refuse();
        }
        match &mut self.server {
            Server::None | Server::Moto(_) => {}
            Server::Garage(server) => server.kill(),
            Server::S3sFs(server) => server.kill(),
            Server::Http(server) => *server = None,
            Server::Sshd(server) => server.kill(),
        }
    }

    /// The server that was killed comes back.
    #[track_caller]
    pub fn come_back(&mut self) {
        match &mut self.server {
            Server::None | Server::Moto(_) => {}
            Server::Garage(server) => server.start_again(),
            Server::S3sFs(server) => server.start_again(super::s3::KEYS[1].1),
            Server::Http(server) => *server = Some(RepoServe::with_tokens(&self.scratch, "")),
            Server::Sshd(server) => server.start_again(),
        }
        self.lead_there();
    }

    fn lead_there(&self) {
        if let (Some(proxy), Some(target)) = (&self.proxy, self.target()) {
            proxy.lead_to(target);
            proxy.restore();
        }
    }

    /// The client is not let in any more. Connections of ssh, which go on by themselves, end.
    #[track_caller]
    pub fn revoke(&mut self) {
        match &mut self.server {
            Server::None => {}
            Server::Moto(server) => server.set_faults(&json!([
                {"do": "status", "status": "403 Forbidden", "code": "InvalidAccessKeyId", "times": FOR_EVER},
            ])),
            Server::Garage(server) => server.revoke(),
            Server::S3sFs(server) => {
                server.kill();
                server.start_again("another-secret");
            }
            Server::Http(_) => write(self.scratch.file("tokens"), NOBODY_IS_KNOWN),
            Server::Sshd(server) => server.let_nobody_in(),
        }
        if let (Some(proxy), Some(target)) = (&self.proxy, self.target()) {
            proxy.lead_to(target);
            if matches!(self.server, Server::Sshd(_)) {
                proxy.hang_up();
            }
            proxy.go_on();
        }
    }

    /// The client is let in again.
    #[track_caller]
    pub fn grant(&mut self) {
        match &mut self.server {
            Server::None => {}
            Server::Moto(server) => server.set_faults(&json!([])),
            Server::Garage(server) => server.grant(),
            Server::S3sFs(server) => {
                server.kill();
                server.start_again(super::s3::KEYS[1].1);
            }
            Server::Http(_) => write(self.scratch.file("tokens"), &self.tokens),
            Server::Sshd(server) => server.let_in(None),
        }
        self.lead_there();
    }

    /// Whether its room can be limited here.
    pub fn has_limit(&self) -> bool {
        match self.kind {
            Kind::Local | Kind::Sftp | Kind::S3sFs => self.disk.is_some(),
            Kind::SshStandIn => false,
            _ => true,
        }
    }

    /// There is room for so many more bytes, about; where requests are all that can be counted, for so many of 40 KiB.
    #[track_caller]
    pub fn limit(&mut self, repository: &str, room: u64) {
        let used = self.used(repository);
        match &mut self.server {
            Server::Moto(server) => {
                let full = |method: &str| {
                    json!({"method": method, "do": "status", "status": "403 Forbidden", "code": "QuotaExceeded",
                    "message": "the bucket's quota is reached", "times": FOR_EVER})
                };
                let passes = json!({"method": "PUT", "do": "pass", "times": room / 40_960});
                server.set_faults(&json!([passes, full("PUT"), full("POST")]));
            }
            Server::Garage(server) => server.limit(Some(used + room)),
            Server::Http(server) => {
                *server = None;
                *server = Some(RepoServe::with_tokens(&self.scratch, &format!("--quota {}", used + room)));
                self.lead_there();
            }
            Server::Sshd(_) if self.kind == Kind::Ssh => {
                write(self.scratch.file("quota"), format!("--quota {}", used + room));
            }
            _ => self.filler = self.disk.as_ref().map(|disk| disk.fill(room)),
        }
    }

    /// What a repository takes, in bytes.
    fn used(&self, repository: &str) -> u64 {
        let of_file = |path: PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len().max(LEAST));
        match self.kind {
            // All of a bucket counts.
            Kind::Garage => {
                let mut total = 0;
                let names = self.names.lock().expect("no holder of this lock panics").clone();
                for name in names {
                    let Ok((storage, _)) = self.open(&name, false) else { continue };
                    for family in engine::storage::ObjectFamily::ALL {
                        storage.list(family, &mut |_, len| total += len).expect("a list");
                    }
                }
                total
            }
            _ => files_below(&self.root().join(repository)).into_iter().map(of_file).sum(),
        }
    }

    /// There is room again.
    #[track_caller]
    pub fn lift(&mut self) {
        match &mut self.server {
            Server::Moto(server) => server.set_faults(&json!([])),
            Server::Garage(server) => server.limit(None),
            Server::Http(server) => {
                *server = None;
                *server = Some(RepoServe::with_tokens(&self.scratch, ""));
                self.lead_there();
            }
            Server::Sshd(_) if self.kind == Kind::Ssh => write(self.scratch.file("quota"), ""),
            _ => {
                if let Some(filler) = self.filler.take() {
                    std::fs::remove_file(filler).expect("ours");
                }
            }
        }
    }
}
