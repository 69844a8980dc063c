//! `stack snapshot`: one snapshot of each stack; one that fails does not stop the others.

use engine::model::{StackPart, StackPartKind};
use engine::monitor::{Monitor, Problem};
use engine::{EngineError, ErrorKind};
use stacks::manifest::Stack;
use stacks::secrets::Recipients;
use stacks::{StackSnapshotOptions, StackSnapshotReport, stack_snapshot};

use super::super::fan_out::Places;
use super::{Declared, declared, refuse, surrounded};
use crate::args::stack::Snapshot;
use crate::context::{Context, PROGRAM};
use crate::exit::{Failure, Outcome};
use crate::memory;
use crate::messages::{JsonPath, Message, PartFields, StackFields};
use crate::progress::Progress;
use crate::text;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Snapshot) -> Result<Outcome, Failure> {
    memory::give_back_early();
    let mut options = options(context, arguments)?;
    let wanted = declared(context, &arguments.which)?;
    if let [Declared { stack: Err(error), .. }] = wanted.as_slice() {
        return Err(refuse(context, error));
    }
    if arguments.dry_run {
        return plan(context, &wanted);
    }
    let mut places = Places::open(context, &arguments.fan_out)?;
    options.repositories = places.directories().to_vec();
    let (mut failed, mut problems, all) = (0, 0, wanted.len());
    for one in wanted {
        let progress = context.progress(true);
        let saved = match &one.stack {
            Ok(stack) => save(context, &mut places, stack, &options, progress),
            Err(error) => Err(refuse(context, error)),
        };
        match saved {
            Ok(count) => problems += count,
            // With one stack its failure is that of the command; after a signal nothing goes on.
            Err(failure) if all == 1 || context.cancel.is_requested() => return Err(failure),
            Err(failure) => {
                failed += 1;
                let name = one.stack.map_or_else(|_| one.file.display().to_string(), |stack| stack.manifest.stack);
                tell_failure(context, name, &failure)?;
            }
        }
    }
    if failed == all {
        let text = format!("none of {all} stacks could be saved");
        return Err(Failure::Engine(EngineError::new(ErrorKind::CommandFailed, text)));
    }
    Ok(Outcome::of_problems(problems + failed as u64 + places.failed()))
}

fn options(context: &Context, arguments: &Snapshot) -> Result<StackSnapshotOptions, Failure> {
    Ok(StackSnapshotOptions {
        host: arguments.host.clone().unwrap_or_else(|| context.host()),
        user: Some(context.user()),
        tags: arguments.tag.clone(),
        label: arguments.label.clone(),
        time: None,
        force: arguments.force,
        program: PROGRAM.into(),
        recipients: Recipients::parse(&arguments.recipient)?,
        repositories: Vec::new(),
    })
}

/// Saves one stack, in all repositories; gives the number of problems.
fn save(
    context: &Context,
    places: &mut Places,
    stack: &Stack,
    options: &StackSnapshotOptions,
    progress: Progress<'_>,
) -> Result<u64, Failure> {
    let report = loop {
        let first = places.first();
        let saved = surrounded(context, &progress, |around| stack_snapshot(first, stack, options, around));
        match saved.map_err(Failure::from) {
            // Services are paused once more, which is better than no snapshot.
            Err(failure) if places.replace_first(context, &failure) => {}
            saved => break saved?,
        }
    };
    let time = progress.elapsed();
    drop(progress);
    let problems = report.snapshot.statistics.problems + report.problem_count;
    show(context, stack, &report, problems, time)?;
    // Services run again by now.
    let copied = report.snapshot.snapshot.map_or(Ok(0), |id| places.copy(context, id))?;
    Ok(problems + copied)
}

fn show(
    context: &Context,
    stack: &Stack,
    report: &StackSnapshotReport,
    problems: u64,
    time: std::time::Duration,
) -> Result<(), Failure> {
    let output = &context.output;
    let statistics = &report.snapshot.statistics;
    let name = &stack.manifest.stack;
    if output.is_json() {
        return Ok(output.message(&Message::Stack(StackFields {
            stack: name.clone(),
            action: "saved",
            snapshot_id: report.snapshot.snapshot.map(|id| id.to_hex()),
            parts: report.parts.iter().map(part_fields).collect(),
            total_bytes: statistics.bytes,
            data_added_packed: statistics.bytes_added,
            error_count: problems,
            ..StackFields::default()
        }))?);
    }
    for part in &report.parts {
        let path = text::path(&part.path);
        output.summary(&format!("{:<8} {path}  {}", kind(part.kind), text::size(part.bytes)))?;
    }
    output.summary(&format!(
        "Stored:  {} for {}, in {}",
        text::size(statistics.bytes_added),
        text::size(statistics.bytes),
        text::duration(time)
    ))?;
    if problems > 0 {
        let items = text::count(problems, "problem", "problems");
        output.warn(&format!("stack {name}: {items}; the snapshot was made"));
    }
    if let Some(id) = report.snapshot.snapshot {
        output.summary(&format!("stack {name}: snapshot {} saved", id.short()))?;
    }
    Ok(())
}

fn kind(kind: StackPartKind) -> &'static str {
    match kind {
        StackPartKind::Persist => "files",
        StackPartKind::Dump => "dump",
        StackPartKind::Secrets => "secrets",
    }
}

fn part_fields(part: &StackPart) -> PartFields {
    PartFields { path: JsonPath::new(&part.path), kind: kind(part.kind), bytes: part.bytes }
}

fn tell_failure(context: &Context, stack: String, failure: &Failure) -> Result<(), Failure> {
    let message = match failure {
        Failure::Engine(error) => error.to_string(),
        Failure::Usage(text) => text.clone(),
    };
    context.progress(false).problem(&Problem { path: stack.clone().into_bytes(), message: message.clone() });
    if context.output.is_json() {
        let message = Some(message);
        context.output.message(&Message::Stack(StackFields {
            stack,
            action: "failed",
            message,
            ..Default::default()
        }))?;
    }
    Ok(())
}

/// What would be saved and run.
fn plan(context: &Context, wanted: &[Declared]) -> Result<Outcome, Failure> {
    let mut bad = 0;
    for one in wanted {
        let Some(stack) = one.stack_or_tell(context) else {
            bad += 1;
            continue;
        };
        let manifest = &stack.manifest;
        if context.output.is_json() {
            let stack = manifest.stack.clone();
            context.output.message(&Message::Stack(StackFields {
                stack,
                action: "saved",
                dry_run: true,
                ..Default::default()
            }))?;
            continue;
        }
        context.output.line(&format!("stack {}, in {}", manifest.stack, stack.root.display()))?;
        for (service, backup) in manifest.backups() {
            if let Some(command) = &backup.dump {
                context.output.line(&format!("  dump   {service}: {}", text::plain(command)))?;
            }
        }
        for (service, backup) in manifest.backups().filter(|(_, backup)| backup.pauses()) {
            let how = backup.quiesce.as_deref().unwrap_or("stop the service");
            context.output.line(&format!("  pause  {service}: {}", text::plain(how)))?;
        }
        for (name, persist) in &manifest.persist {
            context.output.line(&format!("  files  {name}: {}", text::plain(&persist.subpath)))?;
        }
    }
    context.output.summary("nothing was run or stored (dry run)")?;
    Ok(Outcome::of_problems(bad))
}
