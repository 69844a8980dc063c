//! `restore`: writes a snapshot, or a part of it, to a directory.

use std::path::PathBuf;

use engine::id::SnapshotId;
use engine::ops::{self, Ownership, RestoreOptions, RestoreReport};

use crate::args::restore::{Overwrite, Owner, Restore};
use crate::context::Context;
use crate::exit::{Failure, Outcome, io_failure};
use crate::messages::{Message, RestoreSummary, Summary};
use crate::progress::Progress;
use crate::text;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Restore) -> Result<Outcome, Failure> {
    if !arguments.filter.stack.is_empty() && arguments.what.path == b"/" {
        return super::stack::restore::run(context, arguments);
    }
    let target: PathBuf =
        std::path::absolute(&arguments.target).map_err(|error| io_failure("use", &arguments.target, error))?;
    let progress = context.progress(true);
    let (repository, index) = context.open_indexed(&progress)?;
    let what = &arguments.what;
    let (id, snapshot) = ops::find_snapshot_of(&repository, &index, &what.snapshot, &arguments.filter.to_engine())?;
    let options = RestoreOptions {
        includes: arguments.include.clone(),
        excludes: arguments.exclude.clone(),
        delete: arguments.delete,
        dry_run: arguments.dry_run,
        verify: arguments.verify,
        ownership: match arguments.owner {
            Owner::Names => Ownership::Names,
            Owner::Ids => Ownership::Ids,
            Owner::Leave => Ownership::Leave,
        },
        sparse: arguments.sparse,
        overwrite: match arguments.overwrite {
            None => ops::Overwrite::Never,
            Some(Overwrite::Always) => ops::Overwrite::Always,
            Some(Overwrite::IfChanged) => ops::Overwrite::IfChanged,
        },
        place_as: None,
        map_users: arguments.map_user.clone(),
        map_groups: arguments.map_group.clone(),
    };
    let report = ops::restore(&repository, &index, &snapshot, &what.path, &target, &options, &progress)?;
    // Not all of them are of items.
    let problems = report.problem_count.max(progress.problem_count());
    show(context, arguments, id, &report, progress)?;
    Ok(Outcome::of_problems(problems))
}

fn show(
    context: &Context,
    arguments: &Restore,
    id: SnapshotId,
    report: &RestoreReport,
    progress: Progress<'_>,
) -> Result<(), Failure> {
    let time = progress.elapsed();
    drop(progress);
    let output = &context.output;
    if output.is_json() {
        return Ok(output.message(&Message::Summary(Summary::Restore(RestoreSummary {
            dry_run: arguments.dry_run,
            snapshot_id: id.to_hex(),
            files_restored: report.files,
            files_skipped: report.files_unchanged,
            directories: report.directories,
            others: report.others,
            files_deleted: report.deleted,
            files_verified: report.verified,
            total_bytes: report.bytes,
            bytes_written: report.bytes_written,
            error_count: report.problem_count,
            total_duration: time.as_secs_f64(),
        })))?);
    }
    let verb = if arguments.dry_run { "would restore" } else { "restored" };
    let mut line = format!(
        "{verb} {} ({} written) of snapshot {} to {} in {}",
        text::count(report.files, "file", "files"),
        text::size(report.bytes_written),
        id.short(),
        arguments.target.display(),
        text::duration(time),
    );
    for (number, what) in
        [(report.files_unchanged, "were right already"), (report.deleted, "removed"), (report.verified, "read back")]
    {
        if number > 0 {
            line.push_str(&format!("; {number} {what}"));
        }
    }
    output.summary(&line)?;
    if report.problem_count > 0 {
        output.warn(&format!(
            "{} not be restored as they were",
            text::count(report.problem_count, "item could", "items could")
        ));
    }
    Ok(())
}
