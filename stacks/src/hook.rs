//! Running the commands of a stack: in a container or on the host, as the stack's user, with a clean environment,
//! within their time, and never longer than somebody wants to wait.
//!
//! A command gets a process group of its own, so that a signal for us is not one for it, and all of it can be ended.

mod output;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use engine::clock::Clock;
use engine::monitor::Monitor;
use engine::{EngineError, ErrorKind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::account::Account;
use crate::manifest::{Backup, Exec, Stack};
use output::Heard;

/// How often a wait looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long a command that is asked to end may take until it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// Variables that commands get from our environment: where programs are, how text is, where engines listen.
const USUAL_VARIABLES: [&str; 17] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "TERM",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "CONTAINER_HOST",
    "COMPOSE_FILE",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
];
/// Those of them that belong to a person, not to the machine.
const OF_A_PERSON: [&str; 9] = [
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "DOCKER_HOST",
    "DOCKER_CONFIG",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
];
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the work on a stack has around it.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// What time it is.
    pub clock: &'a dyn Clock,
    /// Who hears of progress and says whether to stop.
    pub monitor: &'a dyn Monitor,
    /// The environment of this process; commands get a few variables of it.
    pub environment: &'a BTreeMap<OsString, OsString>,
    /// Told `true` when services are paused, and `false` when they run again: until then nothing may end the process.
    pub paused: &'a (dyn Fn(bool) + Sync),
}

/// A command, ready to be run.
#[derive(Debug, Clone)]
pub struct HookCommand {
    /// What it is for: `dump of service postgres`.
    pub purpose: String,
    /// The stack.
    pub stack: String,
    /// The service.
    pub service: String,
    /// The command as the manifest has it.
    pub shown: String,
    program: OsString,
    arguments: Vec<OsString>,
    directory: PathBuf,
    account: Option<Account>,
    variables: Vec<String>,
    limit: Duration,
}

/// What a stack's commands are run for: the stack as it is, or a clone of it.
#[derive(Debug, Clone, Default)]
pub struct Project {
    /// The compose project, if it is not what the manifest or compose itself says.
    pub name: Option<String>,
}

impl HookCommand {
    /// A command of a service, `verb` being what the manifest calls it.
    ///
    /// # Errors
    /// `Invalid` if the stack's user is not there, or can't be become.
    pub fn new(
        stack: &Stack,
        project: &Project,
        service: &str,
        backup: &Backup,
        verb: &str,
        command: &str,
    ) -> Result<Self> {
        let words = match backup.exec {
            Exec::Host => vec!["sh".into(), "-c".into(), command.into()],
            Exec::Compose => {
                let mut words = engine_words(stack, project, backup.exec);
                words.extend(["exec".to_owned(), "-T".into()]);
                words.extend(pass(&backup.environment));
                words.extend([service.to_owned(), "sh".into(), "-c".into(), command.into()]);
                words
            }
            Exec::Docker | Exec::Podman => {
                let mut words = engine_words(stack, project, backup.exec);
                words.extend(["exec".to_owned(), "-i".into()]);
                words.extend(pass(&backup.environment));
                words.extend([container(service, backup), "sh".into(), "-c".into(), command.into()]);
                words
            }
        };
        Self::of_words(stack, service, backup, verb, command, words)
    }

    /// What stops a service, or starts it again.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn switch(stack: &Stack, project: &Project, service: &str, backup: &Backup, verb: &str) -> Result<Self> {
        let mut words = engine_words(stack, project, backup.exec);
        let who = if backup.exec == Exec::Compose { service.to_owned() } else { container(service, backup) };
        words.extend([verb.to_owned(), who]);
        let shown = words.join(" ");
        Self::of_words(stack, service, backup, verb, &shown, words)
    }

    /// A question to the engine that the service runs in; `None` on the host. `{}` stands for the service's container.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn question(
        stack: &Stack,
        project: &Project,
        service: &str,
        backup: &Backup,
        question: &[&str],
    ) -> Result<Option<Self>> {
        if backup.exec == Exec::Host {
            return Ok(None);
        }
        let mut words = match question.first() {
            Some(&"ps") => engine_words(stack, project, backup.exec),
            _ => vec![program(backup.exec).to_owned()],
        };
        words.extend(question.iter().map(|&word| word.to_owned()));
        let shown = words.join(" ");
        Self::of_words(stack, service, backup, "question", &shown, words).map(Some)
    }

    fn of_words(
        stack: &Stack,
        service: &str,
        backup: &Backup,
        verb: &str,
        shown: &str,
        words: Vec<String>,
    ) -> Result<Self> {
        let account = stack.manifest.user.as_deref().map_or(Ok(None), Account::find)?;
        let mut words = words.into_iter().map(OsString::from);
        Ok(Self {
            purpose: format!("{verb} of service {service}"),
            stack: stack.manifest.stack.clone(),
            service: service.to_owned(),
            shown: shown.to_owned(),
            program: words.next().unwrap_or_default(),
            arguments: words.collect(),
            directory: stack.root.clone(),
            account,
            variables: backup.environment.clone(),
            limit: backup.time_limit(),
        })
    }

    fn start(&self, surroundings: &Surroundings<'_>, input: bool) -> Result<Running> {
        if !self.directory.is_dir() {
            // Else it would look as if the program were missing.
            let text = format!("{}: its directory {} is not there", self.name(), self.directory.display());
            return Err(EngineError::new(ErrorKind::CommandFailed, text));
        }
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment(surroundings.environment))
            .current_dir(&self.directory)
            .stdin(if input { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(account) = &self.account {
            account.apply(&mut command);
        }
        let mut child = command.spawn().map_err(|error| {
            let text = format!("{}: cannot run `{}`", self.name(), self.program.to_string_lossy());
            EngineError::with_source(ErrorKind::CommandFailed, text, error)
        })?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stderr = child.stderr.take();
        let deadline = Instant::now() + self.limit;
        let mut running = Running { hook: self.clone(), child, stdin, stdout, stderr: None, deadline, end: None };
        running.stderr = stderr.map(Heard::errors).transpose().map_err(|error| self.unheard(error))?;
        Ok(running)
    }

    fn unheard(&self, error: std::io::Error) -> EngineError {
        EngineError::with_source(ErrorKind::Io, format!("{}: what it says can't be read", self.name()), error)
    }

    /// What the command finds in its environment.
    fn environment(&self, ours: &BTreeMap<OsString, OsString>) -> BTreeMap<OsString, OsString> {
        let is_usual = |name: &str| USUAL_VARIABLES.contains(&name) || name.starts_with("LC_");
        let may_pass = |name: &str| {
            let own = self.account.is_none() || !OF_A_PERSON.contains(&name);
            (is_usual(name) && own) || (self.variables.iter().any(|known| known == name) && !name.starts_with("REPO_"))
        };
        let passed = ours.iter().filter(|(name, _)| name.to_str().is_some_and(may_pass));
        let mut set: BTreeMap<OsString, OsString> = passed.map(|(name, value)| (name.clone(), value.clone())).collect();
        set.entry("PATH".into()).or_insert_with(|| USUAL_PATH.into());
        if let Some(account) = &self.account {
            set.insert("HOME".into(), account.home.clone().into());
            set.insert("USER".into(), account.name.clone());
            set.insert("LOGNAME".into(), account.name.clone());
            // Engines without root listen there.
            let runtime = PathBuf::from(format!("/run/user/{}", account.uid));
            if runtime.join("docker.sock").exists() {
                set.insert("DOCKER_HOST".into(), format!("unix://{}/docker.sock", runtime.display()).into());
            }
            if runtime.is_dir() {
                set.insert("XDG_RUNTIME_DIR".into(), runtime.into());
            }
        }
        set.insert("STACK_NAME".into(), self.stack.clone().into());
        set.insert("STACK_SERVICE".into(), self.service.clone().into());
        set.insert("STACK_DIRECTORY".into(), self.directory.clone().into());
        set
    }

    /// How messages name it.
    pub fn name(&self) -> String {
        format!("stack {}: {}", self.stack, self.purpose)
    }

    fn failed(&self, why: &str, said: &str) -> EngineError {
        let text = format!("{} {why}: `{}`", self.name(), self.shown);
        match said {
            "" => EngineError::new(ErrorKind::CommandFailed, text),
            said => EngineError::with_source(ErrorKind::CommandFailed, text, Said(said.to_owned())),
        }
    }
}

/// What a command said about its failure.
#[derive(Debug, thiserror::Error)]
#[error("it said: {0}")]
struct Said(String);

fn program(exec: Exec) -> &'static str {
    if exec == Exec::Podman { "podman" } else { "docker" }
}

/// The engine, and for compose what says which project.
fn engine_words(stack: &Stack, project: &Project, exec: Exec) -> Vec<String> {
    let mut words = vec![program(exec).to_owned()];
    if exec == Exec::Compose {
        words.push("compose".into());
        if let Some(file) = &stack.manifest.compose {
            words.extend(["-f".to_owned(), stack.root.join(file).to_string_lossy().into_owned()]);
        }
        if let Some(name) = project.name.as_ref().or(stack.manifest.project.as_ref()) {
            words.extend(["-p".to_owned(), name.clone()]);
        }
    }
    words
}

/// Variables by their names: the engine looks their values up itself, no argument holds one.
fn pass(variables: &[String]) -> impl Iterator<Item = String> + '_ {
    variables.iter().flat_map(|name| ["-e".to_owned(), name.clone()])
}

fn container(service: &str, backup: &Backup) -> String {
    backup.container.clone().unwrap_or_else(|| service.to_owned())
}

/// What a command reads.
pub enum HookInput<'a> {
    /// Nothing.
    None,
    /// What this writes. An error of it is told, and ends the command.
    From(&'a mut dyn FnMut(&mut (dyn Write + Send)) -> Result<()>),
}

/// What becomes of a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookOutput {
    /// Nobody wants it.
    Discard,
    /// It is kept, up to 64 KiB.
    Keep,
}

/// How a command ended that ended well.
#[derive(Debug, Clone, Default)]
pub struct HookEnd {
    /// What it printed, if that was kept.
    pub output: Vec<u8>,
    /// The last of what it said on standard error.
    pub said: String,
}

/// Runs a command to its end. `cancellable`: it ends when somebody asks to stop.
///
/// # Errors
/// `CommandFailed` if it can't be run, does not end with 0, or takes longer than it may; `Interrupted`; what the input
/// says.
pub fn run_hook(
    hook: &HookCommand,
    input: HookInput<'_>,
    output: HookOutput,
    cancellable: bool,
    surroundings: &Surroundings<'_>,
) -> Result<HookEnd> {
    let wants_input = matches!(input, HookInput::From(_));
    let mut running = hook.start(surroundings, wants_input)?;
    let stdout = running.stdout.take().map(|stdout| Heard::output(stdout, output));
    let stdout = stdout.transpose().map_err(|error| hook.unheard(error))?;
    let (mut fed, mut read_all) = (Ok(()), true);
    if let (HookInput::From(write), Some(stdin)) = (input, running.stdin.take()) {
        let mut feed = Feed { stdin, running: &mut running, surroundings, cancellable, broken: false };
        fed = write(&mut feed);
        let broken = feed.broken;
        drop(feed);
        if broken {
            // It ended early: what it says about that counts, not that nobody read to the end.
            fed = Ok(());
            read_all = false;
        } else if fed.is_err() {
            // Why feeding it stopped, if it was we who stopped: told as what it is, not as a write that failed.
            let overdue = running.overdue(cancellable, surroundings);
            running.end_all();
            if let Some(error) = overdue {
                return Err(running.with_last_words(error));
            }
        }
    }
    let status = running.wait(cancellable, surroundings)?;
    let printed = stdout.map(Heard::take).unwrap_or_default();
    let said = running.last_words();
    fed?;
    match status {
        Ended::Well => {
            if !read_all {
                surroundings.monitor.note(&format!("{} ended before it had read all of its input", hook.name()));
            }
            Ok(HookEnd { output: printed, said })
        }
        Ended::Badly(why) => Err(hook.failed(&why, &said)),
    }
}

/// How a command ended.
enum Ended {
    Well,
    Badly(String),
}

impl Ended {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(0), _) => Self::Well,
            (Some(code), _) => Self::Badly(format!("failed with exit code {code}")),
            (None, signal) => Self::Badly(format!("was killed by signal {}", signal.unwrap_or(0))),
        }
    }
}

/// A command that runs. When it is dropped, so is what is left of it.
struct Running {
    hook: HookCommand,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<Heard>,
    deadline: Instant,
    end: Option<ExitStatus>,
}

impl Running {
    /// Why it is to end before it does by itself, if it is.
    fn overdue(&self, cancellable: bool, surroundings: &Surroundings<'_>) -> Option<EngineError> {
        if cancellable && surroundings.monitor.cancelled() {
            let text = format!("{} was interrupted", self.hook.name());
            return Some(EngineError::new(ErrorKind::Interrupted, text));
        }
        let limit = self.hook.limit.as_secs();
        (Instant::now() >= self.deadline)
            .then(|| self.hook.failed(&format!("took longer than {limit} s and was ended"), ""))
    }

    fn has_ended(&mut self) -> Result<bool> {
        if self.end.is_none() {
            self.end = self.child.try_wait().map_err(|error| {
                EngineError::with_source(ErrorKind::CommandFailed, format!("{}: no end", self.hook.name()), error)
            })?;
        }
        Ok(self.end.is_some())
    }

    /// Waits for its end.
    fn wait(&mut self, cancellable: bool, surroundings: &Surroundings<'_>) -> Result<Ended> {
        let mut pause = Duration::from_millis(1);
        while !self.has_ended()? {
            if let Some(error) = self.overdue(cancellable, surroundings) {
                self.end_all();
                return Err(self.with_last_words(error));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PATIENCE);
        }
        Ok(self.end.map_or(Ended::Well, Ended::of))
    }

    /// Adds what it said to an error that we made.
    fn with_last_words(&mut self, error: EngineError) -> EngineError {
        match self.last_words() {
            said if said.is_empty() => error,
            said => EngineError::with_source(error.kind(), error.subject().to_owned(), Said(said)),
        }
    }

    /// The last lines of its standard error, once.
    fn last_words(&mut self) -> String {
        self.stderr.take().map(Heard::last_lines).unwrap_or_default()
    }

    /// Ends it and all that it started in its process group: first asks, then kills.
    fn end_all(&mut self) {
        let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return };
        let _ = kill_process_group(group, Signal::TERM);
        let patience = Instant::now() + GRACE;
        while Instant::now() < patience && !self.has_ended().unwrap_or(true) {
            std::thread::sleep(Duration::from_millis(20));
        }
        // The group outlives its first process as long as anything in it does; if it is gone, this does nothing.
        let _ = kill_process_group(group, Signal::KILL);
        if self.end.is_none() {
            self.end = self.child.wait().ok();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended().unwrap_or(true) {
            self.end_all();
        }
    }
}

/// Waits until a descriptor is ready, as long as nothing says to stop.
fn wait_ready(
    descriptor: impl AsFd,
    flags: PollFlags,
    mut stop: impl FnMut() -> Option<EngineError>,
) -> io::Result<Option<EngineError>> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(PATIENCE.subsec_nanos()) };
    loop {
        if let Some(error) = stop() {
            return Ok(Some(error));
        }
        let mut wait = [PollFd::from_borrowed_fd(descriptor.as_fd(), flags)];
        match poll(&mut wait, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A command whose output is read as it comes.
pub struct DumpStream<'a> {
    running: Running,
    stdout: ChildStdout,
    surroundings: Surroundings<'a>,
    bytes: u64,
    failure: Option<EngineError>,
}

impl<'a> DumpStream<'a> {
    /// Starts a command.
    ///
    /// # Errors
    /// `CommandFailed` if it can't be run.
    pub fn start(hook: &HookCommand, surroundings: &Surroundings<'a>) -> Result<Self> {
        let mut running = hook.start(surroundings, false)?;
        let stdout = running.stdout.take().ok_or_else(|| hook.failed("has no output", ""))?;
        Ok(Self { running, stdout, surroundings: *surroundings, bytes: 0, failure: None })
    }

    /// Waits for the end of a command whose output has ended.
    ///
    /// # Errors
    /// `CommandFailed` if it did not end with 0, printed nothing, or took longer than it may; `Interrupted`.
    pub fn end(mut self) -> Result<()> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        let ended = self.running.wait(true, &self.surroundings)?;
        let said = self.running.last_words();
        match ended {
            Ended::Badly(why) => Err(self.running.hook.failed(&why, &said)),
            Ended::Well if self.bytes == 0 => Err(self.running.hook.failed("printed nothing", &said)),
            Ended::Well => {
                if !said.is_empty() {
                    self.surroundings.monitor.note(&format!("{} said: {said}", self.running.hook.name()));
                }
                Ok(())
            }
        }
    }

    /// Ends a command that nobody wants to hear out; which it was, and what it said.
    pub(crate) fn break_off(mut self) -> String {
        self.running.end_all();
        let said = self.running.last_words();
        let hook = &self.running.hook;
        let text = format!("{} was broken off: `{}`", hook.name(), hook.shown);
        if said.is_empty() { text } else { format!("{text} (it said: {said})") }
    }

    /// The error that a read ended with, in our own words.
    pub(crate) fn take_failure(&mut self) -> Option<EngineError> {
        self.failure.take()
    }
}

impl Read for DumpStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { running, stdout, surroundings, .. } = self;
        let stopped = wait_ready(&*stdout, PollFlags::IN, || running.overdue(true, surroundings))?;
        if let Some(error) = stopped {
            self.running.end_all();
            let error = self.running.with_last_words(error);
            let text = error.to_string();
            self.failure = Some(error);
            // Not `Interrupted`, which readers take as a wish to try again.
            return Err(io::Error::other(text));
        }
        let count = self.stdout.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

/// The standard input of a command.
struct Feed<'r, 's, 'a> {
    stdin: ChildStdin,
    running: &'r mut Running,
    surroundings: &'s Surroundings<'a>,
    cancellable: bool,
    /// The command reads no more.
    broken: bool,
}

impl Write for Feed<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self { stdin, running, surroundings, cancellable, .. } = self;
        if let Some(error) = wait_ready(&*stdin, PollFlags::OUT, || running.overdue(*cancellable, surroundings))? {
            return Err(io::Error::other(error.to_string()));
        }
        // A pipe that is ready takes this much without waiting.
        match self.stdin.write(&bytes[..bytes.len().min(4096)]) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.broken = true;
                Err(error)
            }
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first of `words` as a program that is found in the command's `PATH`; for `repo stack check`.
pub fn is_there(program: &OsStr, environment: &BTreeMap<OsString, OsString>) -> bool {
    let path = environment.get(OsStr::new("PATH")).cloned().unwrap_or_else(|| USUAL_PATH.into());
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// The engine's program that a service needs; `None` on the host.
pub fn engine_of(backup: &Backup) -> Option<&'static str> {
    (backup.exec != Exec::Host).then(|| program(backup.exec))
}
