//! Bringing a stack back: its files to their places, its dumps into its services.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use engine::model::{Snapshot, StackPartKind, StackRecord};
use engine::monitor::Problem;
use engine::ops::{self, Overwrite, Ownership, RestoreOptions, RestoreReport};
use engine::repository::{Index, Repository};
use engine::{EngineError, ErrorKind, Result};

use crate::hook::{HookCommand, HookInput, HookOutput, Project, Surroundings, run_hook};
use crate::manifest::{Backup, Manifest, Stack, clean, is_name};
use crate::{placed, secrets};

/// Bytes of the longest archive of sealed secrets.
const SEALED_BYTES: usize = 128 << 20;

/// How to restore a stack.
#[derive(Debug, Clone, Default)]
pub struct StackRestoreOptions {
    /// Names of persist paths and services; all if there are none. Secrets come only with all.
    pub only: Vec<String>,
    /// The name of a clone: of its compose project, and what commands find as the stack's name.
    pub rename: Option<String>,
    /// Run no commands: files only.
    pub no_hooks: bool,
    /// Change nothing; the report says what would be done.
    pub dry_run: bool,
    /// What to do with persist paths that hold something.
    pub overwrite: Overwrite,
    /// Remove from persist paths what the snapshot does not have.
    pub delete: bool,
    /// Read everything back afterwards and compare.
    pub verify: bool,
    /// Leave holes for zeros also where the source had none.
    pub sparse: bool,
    /// Whose files they become.
    pub ownership: Ownership,
    /// Users that become others, of files, and of commands.
    pub map_users: Vec<(String, String)>,
    /// Groups that become others.
    pub map_groups: Vec<(String, String)>,
    /// Files with identities of age that open sealed secrets.
    pub identities: Vec<PathBuf>,
}

/// What became of a service.
#[derive(Debug, Clone)]
pub struct ServiceReport {
    /// The service.
    pub service: String,
    /// Size of its dump, in bytes.
    pub bytes: u64,
    /// Whether its restore command ended well; in a dry run, whether it would run.
    pub restored: bool,
    /// What `verify` printed, if it ended well.
    pub verified: Option<String>,
    /// What it printed when the snapshot was taken.
    pub recorded: Option<String>,
}

/// What was done.
#[derive(Debug, Clone, Default)]
pub struct StackRestoreReport {
    /// The stack, as it is called now.
    pub stack: String,
    /// Names of the persist paths that were restored, and what was done to their files in all.
    pub persist: Vec<String>,
    /// What the engine did.
    pub files: RestoreReport,
    /// Services with a dump, in their order.
    pub services: Vec<ServiceReport>,
    /// Sealed secrets that were restored.
    pub secrets: u64,
    /// Patterns of secrets that are not restored: they are not in the snapshot, or no identity was given.
    pub missing: Vec<String>,
    /// What went wrong, files included.
    pub problem_count: u64,
}

/// What a snapshot says about its stack.
///
/// # Errors
/// `Invalid` if it is of none, or its manifest is none that this version understands.
pub fn recorded(snapshot: &Snapshot) -> Result<(&StackRecord, Manifest)> {
    let invalid = |text: &str| EngineError::new(ErrorKind::Invalid, text);
    let record = snapshot.stack.as_ref().ok_or_else(|| invalid("the snapshot is not of a stack"))?;
    let manifest = Manifest::from_recorded(&record.manifest).map_err(|error| {
        let text = format!("the manifest that the snapshot of stack {} recorded", record.name);
        EngineError::with_source(ErrorKind::Invalid, text, error)
    })?;
    if manifest.stack != record.name {
        return Err(invalid("the manifest that the snapshot recorded is of another stack"));
    }
    Ok((record, manifest))
}

/// Restores a stack into the directory `target`: persist paths, secrets, then each service's dump, then `verify`.
///
/// # Errors
/// `Invalid`, `NotFound`; `AlreadyExists` if a persist path holds something and may not be written into, and then
/// nothing has been changed; `Interrupted`, `Io`. What fails of a single file or service is a problem.
pub fn stack_restore(
    repository: &Repository,
    index: &Index,
    snapshot: &Snapshot,
    target: &Path,
    options: &StackRestoreOptions,
    surroundings: &Surroundings<'_>,
) -> Result<StackRestoreReport> {
    let (record, mut manifest) = recorded(snapshot)?;
    check_only(&manifest, &options.only)?;
    let project = Project { name: options.rename.clone() };
    if let Some(name) = &options.rename {
        if !is_name(name) {
            return Err(EngineError::new(ErrorKind::Invalid, format!("{name:?} is no name of a stack")));
        }
        manifest.stack.clone_from(name);
    }
    if let Some((_, new)) = options.map_users.iter().find(|(old, _)| Some(old) == manifest.user.as_ref()) {
        manifest.user = Some(new.clone());
    }
    let stack = Stack { manifest, root: target.to_owned(), file: target.to_owned() };
    let work = Work { repository, index, snapshot, record, stack, project, options, surroundings };
    let mut report = StackRestoreReport { stack: work.stack.manifest.stack.clone(), ..Default::default() };
    work.check_places()?;
    work.restore_files(&mut report)?;
    work.restore_secrets(&mut report)?;
    work.restore_services(&mut report)?;
    report.problem_count += report.files.problem_count;
    Ok(report)
}

fn check_only(manifest: &Manifest, only: &[String]) -> Result<()> {
    let known = |name: &String| manifest.persist.contains_key(name) || manifest.services.contains_key(name);
    let Some(name) = only.iter().find(|name| !known(name)) else { return Ok(()) };
    let names: Vec<&str> = manifest.persist.keys().chain(manifest.services.keys()).map(String::as_str).collect();
    let text = format!("the stack has no persist path or service {name}; it has {}", names.join(", "));
    Err(EngineError::new(ErrorKind::Invalid, text))
}

struct Work<'a> {
    repository: &'a Repository,
    index: &'a Index,
    snapshot: &'a Snapshot,
    record: &'a StackRecord,
    stack: Stack,
    project: Project,
    options: &'a StackRestoreOptions,
    surroundings: &'a Surroundings<'a>,
}

impl Work<'_> {
    fn is_wanted(&self, name: &str) -> bool {
        self.options.only.is_empty() || self.options.only.iter().any(|only| only == name)
    }

    /// Names and subpaths of persist paths that are wanted and in the snapshot.
    fn persist(&self) -> Vec<(&str, String)> {
        let in_snapshot = |name: &str| {
            let path = placed::persist(&self.record.name, name);
            self.record.parts.iter().any(|part| part.path == path)
        };
        let all = self.stack.manifest.persist.iter();
        let mut found: Vec<(&str, String)> = all
            .filter(|(name, _)| self.is_wanted(name) && in_snapshot(name))
            .map(|(name, persist)| (name.as_str(), clean(&persist.subpath)))
            .collect();
        // One that lies in another comes before it, which then sets its own times last.
        found.sort_by_key(|(_, subpath)| std::cmp::Reverse(subpath.matches('/').count()));
        found
    }

    /// Before anything is written: a half of a stack over another would be neither.
    fn check_places(&self) -> Result<()> {
        if self.options.overwrite != Overwrite::Never {
            return Ok(());
        }
        for (name, subpath) in self.persist() {
            let place = self.stack.root.join(&subpath);
            let holds_something = match std::fs::read_dir(&place) {
                Ok(mut entries) => entries.next().is_some(),
                Err(_) => place.symlink_metadata().is_ok(),
            };
            if holds_something {
                let text = format!("persist path {name}: {} holds something", place.display());
                return Err(EngineError::new(ErrorKind::AlreadyExists, text));
            }
        }
        Ok(())
    }

    fn restore_files(&self, report: &mut StackRestoreReport) -> Result<()> {
        for (name, subpath) in self.persist() {
            let (above, last) = subpath.rsplit_once('/').unwrap_or(("", &subpath));
            let place = self.stack.root.join(above);
            if !self.options.dry_run {
                std::fs::create_dir_all(&place).map_err(|error| EngineError::io("make", &place, error))?;
            }
            // Persist paths within this one are parts of their own, which `delete` must not take for extra.
            let inner = self.stack.manifest.within(name).map(|(_, below)| placed::anchored(&format!("{last}/{below}")));
            let options = RestoreOptions {
                excludes: inner.collect(),
                delete: self.options.delete,
                dry_run: self.options.dry_run,
                verify: self.options.verify,
                ownership: self.options.ownership,
                sparse: self.options.sparse,
                // Empty places were checked; an empty directory that is there is not in the way.
                overwrite: match self.options.overwrite {
                    Overwrite::Never => Overwrite::Always,
                    other => other,
                },
                place_as: Some(last.as_bytes().to_vec()),
                map_users: self.options.map_users.clone(),
                map_groups: self.options.map_groups.clone(),
                ..RestoreOptions::default()
            };
            let path = placed::persist(&self.record.name, name);
            let (repository, monitor) = (self.repository, self.surroundings.monitor);
            let done = ops::restore(repository, self.index, self.snapshot, &path, &place, &options, monitor)?;
            add(&mut report.files, done);
            report.persist.push(name.to_owned());
        }
        Ok(())
    }

    fn restore_secrets(&self, report: &mut StackRestoreReport) -> Result<()> {
        let patterns = &self.stack.manifest.secrets;
        let sealed = self.record.parts.iter().find(|part| part.kind == StackPartKind::Secrets);
        // A part of a stack, or a clone of it, is not the stack: it gets secrets of its own.
        if !self.options.only.is_empty() || self.options.rename.is_some() {
            return Ok(());
        }
        let Some(sealed) = sealed else {
            report.missing.clone_from(patterns);
            return Ok(());
        };
        if self.options.identities.is_empty() {
            report.missing.clone_from(patterns);
            self.problem(
                report,
                "secrets",
                "sealed secrets are not restored: give their identity with --identity".into(),
            );
            return Ok(());
        }
        if self.options.dry_run {
            return Ok(());
        }
        let mut bytes = Kept(Vec::new());
        ops::dump_file(self.repository, self.index, self.snapshot, &sealed.path, &mut bytes)?;
        std::fs::create_dir_all(&self.stack.root).map_err(|error| EngineError::io("make", &self.stack.root, error))?;
        match secrets::restore(&bytes.0, &self.options.identities, &self.stack.root, &|user, group| {
            self.owner(user, group)
        }) {
            Ok(count) => report.secrets = count,
            Err(error) => {
                report.missing.clone_from(patterns);
                self.problem(report, "secrets", error.to_string());
            }
        }
        Ok(())
    }

    /// Who owns a secret here; `None` if owners stay as they come.
    fn owner(&self, user: (u32, Option<&str>), group: (u32, Option<&str>)) -> Option<(u32, u32)> {
        if self.options.ownership == Ownership::Leave || !rustix::process::geteuid().is_root() {
            return None;
        }
        let here = |(id, name): (u32, Option<&str>), map: &[(String, String)], find: &dyn Fn(&str) -> Option<u32>| {
            let is_meant = |old: &String| Some(old.as_str()) == name || *old == id.to_string();
            let mapped = map.iter().find(|(old, _)| is_meant(old));
            let mapped = mapped.and_then(|(_, new)| find(new).or_else(|| new.parse().ok()));
            let by_name = || name.filter(|_| self.options.ownership == Ownership::Names).and_then(find);
            mapped.or_else(by_name).unwrap_or(id)
        };
        let user_id = |name: &str| uzers::get_user_by_name(name).map(|user| user.uid());
        let group_id = |name: &str| uzers::get_group_by_name(name).map(|group| group.gid());
        Some((here(user, &self.options.map_users, &user_id), here(group, &self.options.map_groups, &group_id)))
    }

    fn restore_services(&self, report: &mut StackRestoreReport) -> Result<()> {
        if !self.options.dry_run && !self.options.no_hooks {
            // Commands run there, also if nothing else was restored.
            let root = &self.stack.root;
            std::fs::create_dir_all(root).map_err(|error| EngineError::io("make", root, error))?;
        }
        for (service, backup) in self.stack.manifest.backups().filter(|(service, _)| self.is_wanted(service)) {
            let path = placed::dump(&self.record.name, service);
            let part = self.record.parts.iter().find(|part| part.path == path);
            let (Some(part), Some(command)) = (part, &backup.restore) else { continue };
            let recorded = self.record.facts.iter().find(|fact| fact.service == service && fact.what == "verify");
            let recorded = recorded.map(|fact| fact.value.clone());
            let restored = !self.options.no_hooks;
            let mut outcome =
                ServiceReport { service: service.into(), bytes: part.bytes, restored, verified: None, recorded };
            if !self.options.dry_run && !self.options.no_hooks {
                match self.restore_service(service, backup, command, &path) {
                    Ok(verified) => outcome.verified = verified,
                    Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                    Err(error) => {
                        outcome.restored = false;
                        self.problem(report, service, error.to_string());
                    }
                }
            }
            report.services.push(outcome);
        }
        Ok(())
    }

    /// Feeds a service its dump, and asks it to verify; gives what that printed.
    fn restore_service(&self, service: &str, backup: &Backup, command: &str, path: &[u8]) -> Result<Option<String>> {
        let Self { stack, project, surroundings, .. } = self;
        surroundings.monitor.note(&format!("stack {}: restore of service {service}", stack.manifest.stack));
        let hook = HookCommand::new(stack, project, service, backup, "restore", command)?;
        let mut feed =
            |out: &mut (dyn Write + Send)| ops::dump_file(self.repository, self.index, self.snapshot, path, out);
        run_hook(&hook, HookInput::From(&mut feed), HookOutput::Discard, true, surroundings)?;
        let Some(command) = &backup.verify else { return Ok(None) };
        let hook = HookCommand::new(stack, project, service, backup, "verify", command)?;
        let end = run_hook(&hook, HookInput::None, HookOutput::Keep, true, surroundings)?;
        Ok(Some(String::from_utf8_lossy(&end.output).trim_end().to_owned()))
    }

    fn problem(&self, report: &mut StackRestoreReport, what: &str, message: String) {
        report.problem_count += 1;
        let path = format!("{}/{what}", self.stack.manifest.stack);
        self.surroundings.monitor.problem(&Problem { path: Path::new(&path).as_os_str().as_bytes().to_vec(), message });
    }
}

/// Keeps what is written, up to a bound.
struct Kept(Vec<u8>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > SEALED_BYTES {
            return Err(io::Error::other("the sealed secrets are larger than they may be"));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn add(all: &mut RestoreReport, more: RestoreReport) {
    all.files += more.files;
    all.files_unchanged += more.files_unchanged;
    all.directories += more.directories;
    all.others += more.others;
    all.bytes += more.bytes;
    all.bytes_written += more.bytes_written;
    all.deleted += more.deleted;
    all.verified += more.verified;
    all.problem_count += more.problem_count;
    all.problems.extend(more.problems);
}
