//! The program's own server, and curl as a client that shares nothing with it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};

use crate::Scratch;
use crate::binary::{run_command, split};
use crate::damage::wait_until;

/// How the paths of marks in the log begin, which are no repository of any test.
const MARK: &str = "/mark-";

/// A running `repo serve`, which ends with the test.
#[derive(Debug)]
pub struct RepoServe {
    process: Child,
    log: Arc<Mutex<String>>,
    /// How often the log was marked.
    marks: AtomicU64,
    root: PathBuf,
}

impl RepoServe {
    /// Starts it below `served` in the scratch directory, with more arguments at blanks, and waits until it listens
    /// everywhere.
    #[track_caller]
    pub fn start(scratch: &Scratch, arguments: &str) -> Self {
        let root = scratch.tree("served");
        let mut command = scratch.command();
        command.args(["-v", "serve", "--path"]).arg(&root).args(split(arguments));
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a server");
        let lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&log);
        // Ends with the pipe.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut log = written.lock().expect("nobody panics here");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut server = Self { process, log, marks: AtomicU64::new(0), root };
        let doors = ["--listen", "--unix", "--metrics"];
        let expected: usize = doors.iter().map(|door| arguments.matches(door).count()).sum();
        let is_open = |line: &&str| line.starts_with("listening on ") || line.starts_with("metrics on ");
        wait_until("the server listens", || {
            let ended = server.process.try_wait().expect("a state");
            assert!(ended.is_none(), "it ended:\n{}", server.log());
            server.log().lines().filter(is_open).count() >= expected
        });
        server
    }

    /// On a free port of this machine, over plain HTTP, with the file `tokens`.
    #[track_caller]
    pub fn with_tokens(scratch: &Scratch, arguments: &str) -> Self {
        let tokens = scratch.file("tokens");
        Self::start(scratch, &format!("--listen 127.0.0.1:0 --tokens {} {arguments}", tokens.display()))
    }

    /// What it said so far, as far as that was read.
    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panics here").clone()
    }

    /// What it said, with a line for each request that was answered by now: lines are read later than clients get their
    /// answers. The marks themselves are left out, so that a length of this log is no place in the other one.
    #[track_caller]
    pub fn settled_log(&self) -> String {
        // Lines are written before the answers are, so that of another request comes after all of them.
        let mark = format!("{MARK}{}/config", self.marks.fetch_add(1, Ordering::Relaxed));
        curl(&["--insecure", &format!("{}{mark}", self.url())]);
        wait_until("the log is read as far as the mark", || self.log().contains(&mark));
        self.log().split_inclusive('\n').filter(|line| !line.contains(MARK)).collect()
    }

    /// Where it listens: scheme, address and port.
    #[track_caller]
    pub fn url(&self) -> String {
        self.said("listening on ")
    }

    /// An address as the command line takes it.
    #[track_caller]
    pub fn place(&self, repository: &str) -> String {
        format!("rest:{}/{repository}", self.url())
    }

    #[track_caller]
    fn said(&self, what: &str) -> String {
        let log = self.log();
        let line = log.lines().find_map(|line| line.strip_prefix(what));
        line.unwrap_or_else(|| panic!("`{what}` is not said:\n{log}")).to_owned()
    }

    /// The directory that repositories are below.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The text of its metrics.
    #[track_caller]
    pub fn metrics(&self) -> String {
        curl(&[&self.said("metrics on ")]).1
    }

    /// How many requests of a verb ended with a status.
    #[track_caller]
    pub fn count(&self, verb: &str, status: u16) -> u64 {
        let begin = format!("repo_serve_requests_total{{verb=\"{verb}\",status=\"{status}\"}} ");
        let text = self.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(&begin));
        line.map_or(0, |number| number.parse().expect("a number"))
    }

    /// Asks it to end.
    pub fn ask_to_end(&self) {
        let _ = kill_process(Pid::from_raw(self.process.id() as i32).expect("an id"), Signal::TERM);
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait().expect("its end")
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for RepoServe {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Makes a token for a repository; its line goes to the file `tokens`.
#[track_caller]
pub fn make_token(scratch: &Scratch, repositories: &str, verbs: &str) -> String {
    let mut command = scratch.command();
    command.args(["serve", "token", "--repository", repositories, "--allow", verbs, "--tokens"]);
    run_command(command.arg(scratch.file("tokens"))).ok().out().trim().to_owned()
}

/// Runs curl; the status and the body of the answer.
#[track_caller]
pub fn curl(arguments: &[&str]) -> (u16, String) {
    let run = run_command(
        Command::new("curl").args(["-sS", "--noproxy", "*", "--path-as-is", "-w", "\n%{http_code}"]).args(arguments),
    );
    let out = run.out();
    let (body, status) = out.rsplit_once('\n').unwrap_or_else(|| panic!("no status\n{run}"));
    (status.parse().unwrap_or_else(|_| panic!("no status\n{run}")), body.to_owned())
}
