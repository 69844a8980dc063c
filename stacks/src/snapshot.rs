//! A snapshot of a stack: its dumps and its persist paths, together or not at all.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Mutex;

use engine::clock::Timestamp;
use engine::model::{StackFact, StackPart, StackPartKind, StackRecord};
use engine::monitor::Problem;
use engine::ops::{
    self, PartSize, PartSource, PartStream, SnapshotInput, SnapshotOptions, SnapshotPart, SnapshotReport,
};
use engine::repository::Repository;
use engine::{EngineError, ErrorKind, Result};

use crate::account::Account;
use crate::hook::{DumpStream, HookCommand, HookInput, HookOutput, Project, Surroundings, run_hook};
use crate::manifest::{Backup, Stack, clean};
use crate::pause::{Pauses, missing};
use crate::placed;
use crate::secrets::{self, Recipients};

/// How to snapshot a stack.
#[derive(Debug, Clone, Default)]
pub struct StackSnapshotOptions {
    /// The machine's name.
    pub host: String,
    /// Who runs it.
    pub user: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// A name for the series.
    pub label: Option<String>,
    /// The time it stands for, if not now.
    pub time: Option<Timestamp>,
    /// Read every file, also those that look unchanged.
    pub force: bool,
    /// Program and version.
    pub program: String,
    /// Secrets are included, sealed to these; left out if there are none.
    pub recipients: Recipients,
    /// Directories of this machine that hold other repositories and their caches: they are left out.
    pub repositories: Vec<PathBuf>,
}

/// What was done.
#[derive(Debug, Clone)]
pub struct StackSnapshotReport {
    /// What the engine did.
    pub snapshot: SnapshotReport,
    /// Parts and their sizes, in the order of their paths.
    pub parts: Vec<StackPart>,
    /// Things beside the files that went wrong: services that may still be paused, `verify` that failed.
    pub problem_count: u64,
}

/// Takes a snapshot of a stack. Dumps come first, while services run; then services are paused, persist paths read,
/// and services resumed.
///
/// # Errors
/// Then there is no snapshot of the stack, and services run again: `NotFound` if a persist path is missing,
/// `CommandFailed` if a command fails, as `engine::ops::snapshot` besides.
pub fn stack_snapshot(
    repository: &Repository,
    stack: &Stack,
    options: &StackSnapshotOptions,
    surroundings: &Surroundings<'_>,
) -> Result<StackSnapshotReport> {
    // Before anything runs: a user that can't be become is a mistake of the manifest, not of a service.
    stack.manifest.user.as_deref().map_or(Ok(None), Account::find)?;
    let name = stack.manifest.stack.clone();
    let project = Project::default();
    let noticed = Noticed::default();
    let kinds = kinds(stack);
    let mut pauses = Pauses::new(stack, &project, *surroundings);
    let mut parts = dumps(stack, &project, &noticed, *surroundings);
    parts.extend(persist_paths(stack)?);
    if !options.recipients.is_empty() {
        parts.push(secrets::part(stack, &options.recipients, placed::secrets(&name), surroundings.monitor));
    }
    let describe = Box::new(|sizes: &[PartSize]| {
        let part = |size: &PartSize| {
            let kind = *kinds.get(&size.at)?;
            Some(StackPart { path: size.at.clone(), kind, bytes: size.bytes })
        };
        let parts: Vec<StackPart> = sizes.iter().filter_map(part).collect();
        noticed.parts.lock().expect("no holder of this lock panics").clone_from(&parts);
        let facts = std::mem::take(&mut *noticed.facts.lock().expect("no holder of this lock panics"));
        StackRecord { name: name.clone(), manifest: stack.manifest.to_recorded(), parts, facts }
    });
    let input = SnapshotInput::Stack { name: name.clone(), parts, around: &mut pauses, describe };
    let snapshot_options = SnapshotOptions {
        host: options.host.clone(),
        user: options.user.clone(),
        tags: options.tags.clone(),
        label: options.label.clone(),
        time: options.time,
        force: options.force,
        program: options.program.clone(),
        repositories: options.repositories.clone(),
        ..SnapshotOptions::default()
    };
    let snapshot = ops::snapshot(repository, input, &snapshot_options, surroundings.clock, surroundings.monitor);
    pauses.end();
    let failures = pauses.failures();
    let parts = std::mem::take(&mut *noticed.parts.lock().expect("no holder of this lock panics"));
    let broken_off = noticed.broken_off.into_inner().expect("no holder of this lock panics");
    let problems = noticed.problems.into_inner().expect("no holder of this lock panics");
    problems.iter().for_each(|problem| surroundings.monitor.problem(problem));
    Ok(StackSnapshotReport {
        snapshot: snapshot.map_err(|error| during(broken_off, cause(error)))?,
        parts,
        problem_count: failures + problems.len() as u64,
    })
}

/// What was noticed while dumps were taken.
#[derive(Default)]
struct Noticed {
    facts: Mutex<Vec<StackFact>>,
    problems: Mutex<Vec<Problem>>,
    /// What the snapshot is made of, when all of it has come.
    parts: Mutex<Vec<StackPart>>,
    /// The command that ran when the snapshot failed, and what it said.
    broken_off: Mutex<Option<String>>,
}

/// What is at which place.
fn kinds(stack: &Stack) -> BTreeMap<Vec<u8>, StackPartKind> {
    let name = &stack.manifest.stack;
    let dumps = stack.manifest.backups().map(|(service, _)| (placed::dump(name, service), StackPartKind::Dump));
    let persist = stack.manifest.persist.keys().map(|key| (placed::persist(name, key), StackPartKind::Persist));
    dumps.chain(persist).chain([(placed::secrets(name), StackPartKind::Secrets)]).collect()
}

fn dumps<'a>(
    stack: &'a Stack,
    project: &'a Project,
    noticed: &'a Noticed,
    surroundings: Surroundings<'a>,
) -> Vec<SnapshotPart<'a>> {
    let part = |(service, backup): (&'a str, &'a Backup)| {
        let command = backup.dump.as_deref()?;
        let start = move || {
            surroundings.monitor.note(&format!("stack {}: dump of service {service}", stack.manifest.stack));
            let hook = HookCommand::new(stack, project, service, backup, "dump", command)?;
            let stream = DumpStream::start(&hook, &surroundings)?;
            let dump = Dump { stream: Some(stream), stack, project, service, backup, noticed, surroundings };
            Ok(Box::new(dump) as Box<dyn PartStream>)
        };
        let at = placed::dump(&stack.manifest.stack, service);
        Some(SnapshotPart { at, source: PartSource::Stream(Box::new(start)) })
    };
    stack.manifest.backups().filter_map(part).collect()
}

fn persist_paths<'a>(stack: &Stack) -> Result<Vec<SnapshotPart<'a>>> {
    let mut parts = Vec::new();
    for (name, persist) in &stack.manifest.persist {
        let path = stack.root.join(clean(&persist.subpath));
        let found = path.symlink_metadata().map_err(|_| missing(stack, name, &path))?;
        if found.is_symlink() {
            // What it leads to has another path, on which no pattern of a secret would match.
            let text = format!(
                "stack {}: persist {name}: {} is a symbolic link; mount there what it leads to",
                stack.manifest.stack,
                path.display()
            );
            return Err(EngineError::new(ErrorKind::Invalid, text));
        }
        let excludes = placed::excludes(stack, name);
        let source = PartSource::Path { path: path.as_os_str().as_bytes().to_vec(), excludes };
        parts.push(SnapshotPart { at: placed::persist(&stack.manifest.stack, name), source });
    }
    Ok(parts)
}

/// A dump on its way into the repository.
struct Dump<'a> {
    /// `None` once its end is seen to.
    stream: Option<DumpStream<'a>>,
    stack: &'a Stack,
    project: &'a Project,
    service: &'a str,
    backup: &'a Backup,
    noticed: &'a Noticed,
    surroundings: Surroundings<'a>,
}

impl Read for Dump<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(stream) = &mut self.stream else { return Ok(0) };
        stream.read(buffer).map_err(|error| match stream.take_failure() {
            Some(failure) => io::Error::other(failure),
            None => error,
        })
    }
}

impl Drop for Dump<'_> {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            let told = stream.break_off();
            self.noticed.broken_off.lock().expect("no holder of this lock panics").get_or_insert(told);
        }
    }
}

impl PartStream for Dump<'_> {
    fn finish(mut self: Box<Self>) -> Result<()> {
        self.stream.take().map_or(Ok(()), DumpStream::end)?;
        let Self { stack, project, service, backup, noticed, ref surroundings, .. } = *self;
        let mut facts = ask(stack, project, service, backup, surroundings);
        if let Some(command) = &backup.verify {
            let hook = HookCommand::new(stack, project, service, backup, "verify", command)?;
            match run_hook(&hook, HookInput::None, HookOutput::Keep, true, surroundings) {
                Ok(end) => facts.push(("verify", String::from_utf8_lossy(&end.output).trim_end().to_owned())),
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) => {
                    let path = format!("{}/{service}", stack.manifest.stack).into_bytes();
                    let problem = Problem { path, message: error.to_string() };
                    noticed.problems.lock().expect("no holder of this lock panics").push(problem);
                }
            }
        }
        let fact = |(what, value): (&str, String)| StackFact { service: service.to_owned(), what: what.into(), value };
        noticed.facts.lock().expect("no holder of this lock panics").extend(facts.into_iter().map(fact));
        Ok(())
    }
}

/// What the engine of a service says about it. It need not answer.
fn ask(
    stack: &Stack,
    project: &Project,
    service: &str,
    backup: &Backup,
    surroundings: &Surroundings<'_>,
) -> Vec<(&'static str, String)> {
    let answer = |question: &[&str]| {
        let hook = HookCommand::question(stack, project, service, backup, question).ok()??;
        let end = run_hook(&hook, HookInput::None, HookOutput::Keep, true, surroundings).ok()?;
        let text = String::from_utf8_lossy(&end.output).lines().next()?.trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    let mut facts = Vec::new();
    facts.extend(answer(&["--version"]).map(|version| ("engine", version)));
    let container = match backup.exec {
        crate::manifest::Exec::Compose => answer(&["ps", "-q", service]),
        _ => Some(backup.container.clone().unwrap_or_else(|| service.to_owned())),
    };
    let image = container.and_then(|id| answer(&["inspect", "--format", "{{.Config.Image}} {{.Image}}", &id]));
    facts.extend(image.map(|image| ("image", image)));
    facts
}

/// An error that came while a command ran, and is not about the command.
fn during(command: Option<String>, error: EngineError) -> EngineError {
    match (command, error.kind()) {
        (None, _) | (_, ErrorKind::CommandFailed | ErrorKind::Interrupted) => error,
        (Some(command), _) => error.during(command),
    }
}

/// The error of a stream as its producer put it, not as what a failed read looks like.
fn cause(error: EngineError) -> EngineError {
    let Some(inner) = std::error::Error::source(&error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .and_then(io::Error::get_ref)
        .and_then(|inner| inner.downcast_ref::<EngineError>())
    else {
        return error;
    };
    let text = inner.subject().to_owned();
    match std::error::Error::source(inner) {
        Some(source) => EngineError::with_source(inner.kind(), text, io::Error::other(source.to_string())),
        None => EngineError::new(inner.kind(), text),
    }
}
