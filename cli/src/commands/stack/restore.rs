//! `stack restore`, and `restore --stack`: puts a stack back.

use engine::id::SnapshotId;
use engine::ops::{self, Ownership};
use stacks::{StackRestoreOptions, StackRestoreReport, stack_restore};

use super::surrounded;
use crate::args::restore::{Overwrite, Owner, Restore};
use crate::context::Context;
use crate::exit::{Failure, Outcome, io_failure};
use crate::messages::{Message, ServiceFields, StackFields};
use crate::text;

/// Runs the command.
pub(in crate::commands) fn run(context: &Context, arguments: &Restore) -> Result<Outcome, Failure> {
    if arguments.filter.stack.len() != 1 || arguments.what.path != b"/" {
        return Err(Failure::Usage("which stack? say --stack NAME, once, and name no path in the snapshot".into()));
    }
    if !arguments.include.is_empty() || !arguments.exclude.is_empty() {
        let text =
            "--include and --exclude don't go with --stack; use --only, or restore a path: latest:/STACK/persist/NAME";
        return Err(Failure::Usage(text.into()));
    }
    let target = std::path::absolute(&arguments.target).map_err(|error| io_failure("use", &arguments.target, error))?;
    let progress = context.progress(true);
    let (repository, index) = context.open_indexed(&progress)?;
    let (id, snapshot) =
        ops::find_snapshot_of(&repository, &index, &arguments.what.snapshot, &arguments.filter.to_engine())?;
    let options = options(arguments);
    let report = surrounded(context, &progress, |around| {
        stack_restore(&repository, &index, &snapshot, &target, &options, around)
    })?;
    drop(progress);
    show(context, arguments, id, &report)?;
    Ok(Outcome::of_problems(report.problem_count))
}

fn options(arguments: &Restore) -> StackRestoreOptions {
    let of_stack = &arguments.of_stack;
    StackRestoreOptions {
        only: of_stack.only.clone(),
        rename: of_stack.rename.clone(),
        no_hooks: of_stack.no_hooks,
        dry_run: arguments.dry_run,
        overwrite: match arguments.overwrite {
            None => ops::Overwrite::Never,
            Some(Overwrite::Always) => ops::Overwrite::Always,
            Some(Overwrite::IfChanged) => ops::Overwrite::IfChanged,
        },
        delete: arguments.delete,
        verify: arguments.verify,
        sparse: arguments.sparse,
        ownership: match arguments.owner {
            Owner::Names => Ownership::Names,
            Owner::Ids => Ownership::Ids,
            Owner::Leave => Ownership::Leave,
        },
        map_users: arguments.map_user.clone(),
        map_groups: arguments.map_group.clone(),
        identities: of_stack.identity.clone(),
    }
}

fn show(context: &Context, arguments: &Restore, id: SnapshotId, report: &StackRestoreReport) -> Result<(), Failure> {
    let output = &context.output;
    let services = report.services.iter();
    if output.is_json() {
        return Ok(output.message(&Message::Stack(StackFields {
            stack: report.stack.clone(),
            action: "restored",
            snapshot_id: Some(id.to_hex()),
            services: services
                .map(|service| ServiceFields {
                    service: service.service.clone(),
                    bytes: service.bytes,
                    restored: service.restored,
                    verified: service.verified.clone(),
                    recorded: service.recorded.clone(),
                })
                .collect(),
            missing_secrets: report.missing.clone(),
            total_bytes: report.files.bytes + report.services.iter().map(|service| service.bytes).sum::<u64>(),
            error_count: report.problem_count,
            dry_run: arguments.dry_run,
            ..StackFields::default()
        }))?);
    }
    let verb = if arguments.dry_run { "would restore" } else { "restored" };
    for name in &report.persist {
        output.summary(&format!("files    {name}"))?;
    }
    for service in services {
        let state = match (service.restored, arguments.of_stack.no_hooks, &service.verified) {
            (false, true, _) => "left in the snapshot (--no-hooks)".to_owned(),
            (false, false, _) => "failed".to_owned(),
            (true, _, None) => verb.to_owned(),
            (true, _, Some(said)) => format!("{verb}, and verified: {}", text::plain(said)),
        };
        output.summary(&format!("dump     {} ({}): {state}", service.service, text::size(service.bytes)))?;
        // Writers go on while a snapshot is taken: a difference is for a person to judge. A drill compares.
        if let (Some(now), Some(then)) = (&service.verified, &service.recorded)
            && now != then
        {
            let then = if then.is_empty() { "nothing".to_owned() } else { text::plain(then) };
            output.note(&format!("verify of {} printed {then} when the snapshot was taken", service.service));
        }
    }
    if !report.missing.is_empty() {
        let patterns = text::plain(&report.missing.join(", "));
        output.note(&format!("secrets are not restored, make them anew: {patterns}"));
    }
    if report.secrets > 0 {
        output.summary(&format!("secrets  {}", text::count(report.secrets, "file", "files")))?;
    }
    output.summary(&format!(
        "{verb} stack {} of snapshot {} to {}",
        report.stack,
        id.short(),
        arguments.target.display()
    ))?;
    if report.problem_count > 0 {
        output.warn(&text::count(report.problem_count, "problem: not all came back", "problems: not all came back"));
    }
    Ok(())
}
