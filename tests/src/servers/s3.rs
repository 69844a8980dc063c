//! An S3 server: moto's, in a process that checks signatures, counts requests, and fails as a test wants it
//! (`tests/s3_server.py`).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::{Server, succeed};
use crate::python;
use crate::scratch::Scratch;

/// The names of the variables that have credentials, and those that the server takes.
pub(super) const KEYS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "test-access"), ("AWS_SECRET_ACCESS_KEY", "test-secret")];

/// A server with a bucket, `backups`, and another one with versions and object lock, `locked`.
#[derive(Debug)]
pub struct S3 {
    server: Server,
    /// How much of the record of requests was read, in bytes.
    read: Mutex<usize>,
}

impl S3 {
    /// Starts it, empty.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts it with settings of moto.
    #[track_caller]
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let place = tempfile::Builder::new().prefix("repo-s3-").tempdir().expect("a directory");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("s3_server.py");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(python::interpreter()).arg("-B").arg(script);
        command.arg(place.path()).envs(settings.iter().copied());
        let port = place.path().join("port");
        let server = Server::start(place, command, rustix::process::Signal::KILL, || port.is_file());
        Self { server, read: Mutex::default() }
    }

    /// Scheme, host and port.
    pub fn endpoint(&self) -> String {
        let port = fs::read_to_string(self.server.path().join("port")).expect("a port");
        format!("http://127.0.0.1:{port}")
    }

    /// The address of a repository below a prefix.
    pub fn address(&self, prefix: &str) -> String {
        format!("s3:{}/backups/{prefix}", self.endpoint())
    }

    /// A command whose repository is below `prefix`, with credentials and no other ones to be found.
    pub fn command(&self, scratch: &Scratch, prefix: &str) -> Command {
        let mut command = scratch.command();
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command.env("REPO_REPOSITORY", self.address(prefix)).envs(KEYS).env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    /// The same in the bucket with object lock.
    pub fn command_on_locks(&self, scratch: &Scratch, prefix: &str) -> Command {
        let mut command = self.command(scratch, prefix);
        command.env("REPO_REPOSITORY", format!("s3:{}/locked/{prefix}", self.endpoint()));
        command
    }

    /// Whether locked objects stay whatever is asked, as in a store without versions.
    pub fn set_keeps(&self, keeps: bool) {
        let path = self.server.path().join("keeps");
        if keeps { fs::write(path, "").expect("a file") } else { drop(fs::remove_file(path)) }
    }

    /// The same credentials for a storage that a test opens itself.
    pub fn access(&self) -> remote::Access {
        let lookup = |name: &str| KEYS.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        remote::Access::new(&[], Arc::new(lookup)).expect("no options")
    }

    /// How conditional writes are treated from now on.
    pub fn set_mode(&self, mode: &str) {
        fs::write(self.server.path().join("mode"), mode).expect("the mode");
    }

    /// What goes wrong from now on, as `tests/s3_server.py` says it.
    pub fn set_faults(&self, rules: &Value) {
        fs::write(self.server.path().join("faults"), rules.to_string()).expect("the faults");
    }

    /// Fails unless all that was to go wrong did.
    #[track_caller]
    pub fn assert_all_failed(&self) {
        let text = fs::read(self.server.path().join("faults")).expect("faults");
        let rules: Vec<Value> = serde_json::from_slice(&text).expect("rules");
        assert!(rules.iter().all(|rule| rule["times"] == 0), "some did not go wrong: {rules:?}");
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.server.path().join("requests")).unwrap_or_default();
        let mut read = self.read.lock().expect("no holder of this lock panics");
        // The last one may be being written.
        let end = text.rfind('\n').map_or(0, |at| at + 1);
        let from = std::mem::replace(&mut *read, end);
        text[from..end].lines().map(|line| serde_json::from_str(line).expect("a request")).collect()
    }

    /// Runs Python with Amazon's own client as `s3`; what it prints.
    #[track_caller]
    pub fn amazon(&self, code: &str) -> String {
        let open = format!(
            "import boto3\ns3 = boto3.client('s3', endpoint_url='{}', aws_access_key_id='test-access', \
             aws_secret_access_key='test-secret', region_name='us-east-1')\n{code}\n",
            self.endpoint()
        );
        succeed(Command::new(python::interpreter()).args(["-c", &open])).out()
    }

    /// All keys, as Amazon's client lists them.
    #[track_caller]
    pub fn keys(&self) -> Vec<String> {
        let code = "for page in s3.get_paginator('list_objects_v2').paginate(Bucket='backups'):\n  \
                    for object in page.get('Contents', []): print(object['Key'])";
        self.amazon(code).lines().map(str::to_owned).collect()
    }
}
