//! A drill: a stack is restored into a scratch place, compared with what its snapshot recorded, and what came of it is put
//! into the repository as a proof.
//!
//! Commands that restore run only for services that say how to start a scratch one (`drill:`): without that they would
//! hit the service in use. Of the others the dump is read in full.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::id::{ProofId, SnapshotId};
use engine::model::{Snapshot, StackPart};
use engine::monitor::{ItemAction, Monitor, Problem};
use engine::ops;
use engine::repository::{Index, Proof, ProvenService, Repository, put_proof};
use engine::{EngineError, ErrorKind, Result, limits};

use crate::account::Account;
use crate::hook::{HookCommand, HookInput, HookOutput, Project, Surroundings, run_hook};
use crate::manifest::{Backup, Drill, Exec, Manifest, Stack};
use crate::placed;
use crate::restore::{StackRestoreOptions, recorded, stack_restore};

/// How to drill.
#[derive(Debug, Clone, Default)]
pub struct DrillOptions {
    /// The machine's name, for the proof.
    pub host: String,
    /// Program and version, for the proof.
    pub program: String,
    /// Put no proof.
    pub no_record: bool,
}

/// What came of a drill.
#[derive(Debug, Clone)]
pub struct DrillReport {
    /// What is, or would be, in the repository.
    pub proof: Proof,
    /// Its name there.
    pub id: Option<ProofId>,
    /// How many problems there were; the proof lists the first of them.
    pub problem_count: u64,
}

/// Restores a snapshot of a stack into `scratch`, an empty directory that is whoever calls to remove, and compares.
/// `declared` is the stack as it is declared now, if that is known.
///
/// # Errors
/// `Invalid` if it is no snapshot of a stack; `Interrupted`, `Io`. What does not come back is a problem.
pub fn drill(
    repository: &Repository,
    index: &Index,
    (id, snapshot): (SnapshotId, &Snapshot),
    declared: Option<&Stack>,
    scratch: &Path,
    options: &DrillOptions,
    surroundings: &Surroundings<'_>,
) -> Result<DrillReport> {
    let (record, manifest) = recorded(snapshot)?;
    let _proof_of_what_is_there = repository.past_object_cache();
    let started = surroundings.clock.now();
    let witness = Witness { inner: surroundings.monitor, first: Mutex::default(), count: AtomicU64::new(0) };
    let around = Surroundings { monitor: &witness, ..*surroundings };
    let name = format!("{}-drill", record.name);
    give_to_user(&manifest, scratch)?;
    if let Some(declared) = declared {
        compare_manifests(&declared.manifest, &manifest, &record.name, &witness);
    }
    let options_of = |only: Vec<String>, no_hooks| StackRestoreOptions {
        only,
        no_hooks,
        rename: Some(name.clone()),
        verify: true,
        overwrite: ops::Overwrite::Always,
        ..StackRestoreOptions::default()
    };
    let files = stack_restore(repository, index, snapshot, scratch, &options_of(Vec::new(), true), &around)?;
    let mut bytes = files.files.bytes;
    let mut services = Vec::new();
    let mut tried = manifest.clone();
    tried.stack.clone_from(&name);
    let stack = Stack { manifest: tried, root: scratch.to_owned(), file: scratch.to_owned() };
    for (service, backup) in manifest.backups() {
        let path = placed::dump(&record.name, service);
        let Some(part) = record.parts.iter().find(|part| part.path == path) else { continue };
        bytes += part.bytes;
        let state = match &backup.drill {
            None => read_dump(repository, index, snapshot, part, &witness)?,
            Some(drill) => {
                let trial = Trial { stack: &stack, service, backup, drill, around: &around };
                let restore = || {
                    let options = options_of(vec![service.to_owned()], false);
                    stack_restore(repository, index, snapshot, scratch, &options, &around)
                };
                trial.run(restore, &witness)?
            }
        };
        services.extend(state.map(|state| (service.to_owned(), state)));
    }
    let problem_count = witness.count.into_inner();
    let proof = Proof {
        snapshot: id,
        root: snapshot.root.clone(),
        started,
        finished: surroundings.clock.now(),
        host: options.host.clone(),
        program: options.program.clone(),
        is_good: problem_count == 0,
        files: files.files.files,
        bytes,
        services,
        problems: witness.first.into_inner().expect("no holder of this lock panics"),
    };
    let id = if options.no_record { None } else { Some(put_proof(repository, &proof)?) };
    Ok(DrillReport { proof, id, problem_count })
}

/// Commands of the stack run as its user, who must get into the scratch place.
fn give_to_user(manifest: &Manifest, scratch: &Path) -> Result<()> {
    let Some(account) = manifest.user.as_deref().map_or(Ok(None), Account::find)? else { return Ok(()) };
    std::os::unix::fs::chown(scratch, Some(account.uid), None).map_err(|error| EngineError::io("give", scratch, error))
}

/// What is declared now and would not come back.
fn compare_manifests(now: &Manifest, then: &Manifest, name: &str, witness: &Witness<'_>) {
    if now.to_recorded() == then.to_recorded() {
        return;
    }
    let mut found: Vec<String> = Vec::new();
    let mut tell = |what: String| found.push(what);
    for path in now.persist.keys().filter(|key| !then.persist.contains_key(*key)) {
        tell(format!("persist path {path} is declared since, and not in the snapshot"));
    }
    for path in then.persist.keys().filter(|key| !now.persist.contains_key(*key)) {
        tell(format!("persist path {path} is in the snapshot, and not declared any more"));
    }
    let dumps = |manifest: &Manifest| -> Vec<String> {
        manifest.backups().filter(|(_, backup)| backup.dump.is_some()).map(|(name, _)| name.to_owned()).collect()
    };
    let (dumps_now, dumps_then) = (dumps(now), dumps(then));
    for service in dumps_now.iter().filter(|service| !dumps_then.contains(service)) {
        tell(format!("the dump of service {service} is declared since, and not in the snapshot"));
    }
    for service in dumps_then.iter().filter(|service| !dumps_now.contains(service)) {
        tell(format!("the dump of service {service} is in the snapshot, and not declared any more"));
    }
    if found.is_empty() {
        found.push("the manifest has changed since the snapshot: take a new one".into());
    }
    found.into_iter().for_each(|what| witness.add(format!("{name}/manifest"), what));
}

/// Reads a dump, and counts it.
fn read_dump(
    repository: &Repository,
    index: &Index,
    snapshot: &Snapshot,
    part: &StackPart,
    witness: &Witness<'_>,
) -> Result<Option<ProvenService>> {
    let mut counter = Counter(0);
    let path = String::from_utf8_lossy(&part.path).into_owned();
    match ops::dump_file(repository, index, snapshot, &part.path, &mut counter) {
        Ok(()) if counter.0 == part.bytes => return Ok(Some(ProvenService::Read)),
        Ok(()) => witness.add(path, format!("it has {} bytes, and had {} when it was taken", counter.0, part.bytes)),
        Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
        Err(error) => witness.add(path, error.to_string()),
    }
    Ok(None)
}

struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One service, restored into a scratch one.
struct Trial<'a> {
    stack: &'a Stack,
    service: &'a str,
    backup: &'a Backup,
    drill: &'a Drill,
    around: &'a Surroundings<'a>,
}

impl Trial<'_> {
    fn run(
        &self,
        restore: impl FnOnce() -> Result<crate::StackRestoreReport>,
        witness: &Witness<'_>,
    ) -> Result<Option<ProvenService>> {
        let started = self.command("start of a drill", &self.drill.start, true);
        let done = match started {
            Ok(()) => restore(),
            Err(error) => Err(error),
        };
        // Whatever came of it: what was started goes.
        if let Some(stop) = &self.drill.stop
            && let Err(error) = self.command("stop of a drill", stop, false)
        {
            witness.add(self.place(), error.to_string());
        }
        let report = match done {
            Ok(report) => report,
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Io) => return Err(error),
            Err(error) => {
                witness.add(self.place(), error.to_string());
                return Ok(None);
            }
        };
        let Some(service) = report.services.iter().find(|service| service.restored) else { return Ok(None) };
        match (&service.verified, &service.recorded) {
            (Some(now), Some(then)) if now == then => Ok(Some(ProvenService::Verified)),
            (Some(now), Some(then)) => {
                witness
                    .add(self.place(), format!("verify says {now:?}, and said {then:?} when the snapshot was taken"));
                Ok(None)
            }
            _ => Ok(Some(ProvenService::Restored)),
        }
    }

    fn command(&self, verb: &str, command: &str, cancellable: bool) -> Result<()> {
        let on_host = Backup { exec: Exec::Host, ..self.backup.clone() };
        let project = Project { name: Some(self.stack.manifest.stack.clone()) };
        let hook = HookCommand::new(self.stack, &project, self.service, &on_host, verb, command)?;
        run_hook(&hook, HookInput::None, HookOutput::Discard, cancellable, self.around).map(drop)
    }

    fn place(&self) -> String {
        format!("{}/{}", self.stack.manifest.stack, self.service)
    }
}

/// Passes on what it hears, and remembers the problems.
struct Witness<'a> {
    inner: &'a dyn Monitor,
    first: Mutex<Vec<Problem>>,
    count: AtomicU64,
}

impl Witness<'_> {
    fn add(&self, path: String, message: String) {
        self.problem(&Problem { path: path.into_bytes(), message });
    }
}

impl Monitor for Witness<'_> {
    fn stage(&self, name: &'static str, total_items: Option<u64>, total_bytes: Option<u64>) {
        self.inner.stage(name, total_items, total_bytes);
    }

    fn advance(&self, items: u64, bytes: u64) {
        self.inner.advance(items, bytes);
    }

    fn current(&self, path: &[u8]) {
        self.inner.current(path);
    }

    fn item(&self, action: ItemAction, path: &[u8], bytes: u64) {
        self.inner.item(action, path, bytes);
    }

    fn wants_item(&self, action: ItemAction) -> bool {
        self.inner.wants_item(action)
    }

    fn problem(&self, problem: &Problem) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first.lock().expect("no holder of this lock panics");
        if first.len() < limits::PROBLEMS_LISTED {
            first.push(problem.clone());
        }
        drop(first);
        self.inner.problem(problem);
    }

    fn note(&self, text: &str) {
        self.inner.note(text);
    }

    fn cancelled(&self) -> bool {
        self.inner.cancelled()
    }
}
