//! `drill`: proves that stacks come back.

use std::collections::BTreeMap;
use std::path::Path;

use engine::id::SnapshotId;
use engine::model::Snapshot;
use engine::monitor::{Monitor, Problem};
use engine::ops::{self, SnapshotFilter};
use engine::repository::ProvenService;
use stacks::{DrillOptions, DrillReport, Stack};

use super::stack::{refuse, surrounded};
use crate::args::drill::Drill;
use crate::context::{Context, PROGRAM};
use crate::exit::{Failure, Outcome, invalid, io_failure};
use crate::messages::Message;
use crate::messages::drill::{DrillFields, ProvenFields};
use crate::text;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Drill) -> Result<Outcome, Failure> {
    let declared = load_all(context, &arguments.file)?;
    let progress = context.progress(true);
    let (repository, index) = context.open_indexed(&progress)?;
    if !arguments.no_record {
        // Before hours of work whose proof nobody can write.
        repository.require_writable()?;
    }
    let list = ops::list_snapshots_of(&repository, &index, &SnapshotFilter::default())?;
    list.problems.iter().for_each(|problem| progress.problem(problem));
    let wanted = choose(list.snapshots, arguments, &declared)?;
    let options = DrillOptions { host: context.host(), program: PROGRAM.into(), no_record: arguments.no_record };
    let mut problems = list.problems.len() as u64;
    for (name, (id, snapshot)) in &wanted {
        let scratch = Scratch::new(arguments.scratch.as_deref())?;
        let now = declared.iter().find(|stack| stack.manifest.stack == *name);
        let done = surrounded(context, &progress, |around| {
            stacks::drill(&repository, &index, (*id, snapshot), now, scratch.0.path(), &options, around)
        });
        match done {
            Ok(report) => {
                problems += report.problem_count;
                show(context, name, &report)?;
            }
            Err(error) if error.kind() == engine::ErrorKind::Interrupted => return Err(error.into()),
            // One stack's failure does not stop the others.
            Err(error) => {
                problems += 1;
                let path = name.clone().into_bytes();
                progress.problem(&Problem { path, message: format!("no drill: {error}") });
            }
        }
    }
    Ok(Outcome::of_problems(problems))
}

/// The manifests of these files; every mistake in one is told.
pub(super) fn load_all(context: &Context, files: &[std::path::PathBuf]) -> Result<Vec<Stack>, Failure> {
    files.iter().map(|file| stacks::load(file).map_err(|error| refuse(context, &error))).collect()
}

/// The latest snapshot of each stack that is meant.
fn choose(
    snapshots: Vec<(SnapshotId, Snapshot)>,
    arguments: &Drill,
    declared: &[Stack],
) -> Result<BTreeMap<String, (SnapshotId, Snapshot)>, Failure> {
    let mut last = BTreeMap::new();
    for (id, snapshot) in snapshots {
        if let Some(stack) = &snapshot.stack {
            last.insert(stack.name.clone(), (id, snapshot));
        }
    }
    let mut names = arguments.stack.clone();
    if names.is_empty() && !arguments.all {
        names.extend(declared.iter().map(|stack| stack.manifest.stack.clone()));
    }
    if let Some(unknown) = names.iter().find(|name| !last.contains_key(*name)) {
        return Err(invalid(format!("stack {unknown} has no snapshot")));
    }
    if !arguments.all {
        last.retain(|name, _| names.contains(name));
    }
    Ok(last)
}

/// A place that is gone afterwards. What a stack's user may not remove, we made ours.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new(below: Option<&Path>) -> Result<Self, Failure> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("repo-drill-");
        let place = below.map_or_else(std::env::temp_dir, Path::to_owned);
        let made = builder.tempdir_in(&place).map_err(|error| io_failure("make a directory in", &place, error))?;
        Ok(Self(made))
    }
}

fn show(context: &Context, name: &str, report: &DrillReport) -> Result<(), Failure> {
    let output = &context.output;
    let proof = &report.proof;
    let state = |state: ProvenService| match state {
        ProvenService::Read => "read",
        ProvenService::Restored => "restored",
        ProvenService::Verified => "verified",
    };
    let seconds = (proof.finished.seconds - proof.started.seconds) as f64
        + (f64::from(proof.finished.nanoseconds) - f64::from(proof.started.nanoseconds)) / 1e9;
    if output.is_json() {
        let services = proof.services.iter();
        return Ok(output.message(&Message::Drill(DrillFields {
            stack: name.to_owned(),
            snapshot_id: proof.snapshot.to_hex(),
            proof_id: report.id.map(|id| id.to_hex()),
            good: proof.is_good,
            files: proof.files,
            bytes: proof.bytes,
            services: services
                .map(|(service, s)| ProvenFields { service: service.clone(), state: state(*s) })
                .collect(),
            error_count: report.problem_count,
            duration: seconds,
        }))?);
    }
    for (service, done) in &proof.services {
        output.summary(&format!("{:<9}{service}", state(*done)))?;
    }
    let verdict = if proof.is_good { "comes back" } else { "does NOT come back as it was" };
    output.summary(&format!(
        "stack {name} {verdict}: {}, {} of snapshot {} in {seconds:.1} s",
        text::count(proof.files, "file", "files"),
        text::size(proof.bytes),
        proof.snapshot.short(),
    ))?;
    Ok(())
}
