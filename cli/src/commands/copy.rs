//! `copy`: snapshots into another repository.

use engine::ops::{self, Copied, CopyOptions, CopyReport};

use super::select;
use crate::args::copy::Copy;
use crate::context::{Context, PROGRAM, SystemClock};
use crate::exit::{Failure, Outcome};
use crate::messages::copy::{CopyFields, CopySummary};
use crate::messages::{Message, Summary};
use crate::progress::Progress;
use crate::text;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Copy) -> Result<Outcome, Failure> {
    let progress = context.progress(true);
    // Both before anything is done: a password that is missing is asked for now.
    let (source, index) = context.open_indexed(&progress)?;
    let target = context.open_other(&arguments.to)?;
    let (snapshots, unreadable) = select(&source, &arguments.snapshots, &arguments.filter, &progress)?;
    let options = CopyOptions {
        host: context.host(),
        program: PROGRAM.into(),
        dry_run: arguments.dry_run,
        recut: arguments.recut,
    };
    let report = ops::copy(&source, &index, &snapshots, &target, &options, &SystemClock, &progress)?;
    show(context, arguments, &report, unreadable, progress)?;
    Ok(Outcome::of_problems(report.problem_count + unreadable))
}

fn show(
    context: &Context,
    arguments: &Copy,
    report: &CopyReport,
    unreadable: u64,
    progress: Progress<'_>,
) -> Result<(), Failure> {
    let time = progress.elapsed();
    drop(progress);
    let output = &context.output;
    let (mut copied, mut before, mut damaged) = (0, 0, 0);
    for (id, what) in &report.snapshots {
        let (action, new, count) = match what {
            Copied::Now(new) => ("copied", Some(new), &mut copied),
            Copied::WouldBe => ("copied", None, &mut copied),
            Copied::Before(new) => ("copied before", Some(new), &mut before),
            Copied::Damaged => ("damaged", None, &mut damaged),
        };
        *count += 1;
        if output.is_json() {
            let new_snapshot_id = new.map(|id| id.to_hex());
            let fields = CopyFields { snapshot_id: id.to_hex(), new_snapshot_id, action, dry_run: arguments.dry_run };
            output.message(&Message::Copy(fields))?;
        } else {
            match what {
                Copied::Now(new) => output.summary(&format!("{} is copied as {}", id.short(), new.short()))?,
                Copied::WouldBe => output.summary(&format!("{} would be copied", id.short()))?,
                Copied::Damaged => output.warn(&format!("{} is not copied: it can't be read in full", id.short())),
                Copied::Before(_) => {}
            }
        }
    }
    if output.is_json() {
        return Ok(output.message(&Message::Summary(Summary::Copy(CopySummary {
            dry_run: arguments.dry_run,
            snapshots_copied: copied,
            snapshots_copied_before: before,
            snapshots_damaged: damaged,
            chunks_read: report.chunks_read,
            bytes_read: report.bytes_read,
            data_added_packed: report.bytes_added,
            resumed_sessions: report.resumed_sessions,
            error_count: report.problem_count + unreadable,
            total_duration: time.as_secs_f64(),
        })))?);
    }
    let snapshots = text::count(copied, "snapshot", "snapshots");
    let mut line = if arguments.dry_run {
        format!("would copy {snapshots}, and read {} at most", text::size(report.bytes_read))
    } else {
        let (read, added) = (text::size(report.bytes_read), text::size(report.bytes_added));
        format!("copied {snapshots} in {}: {read} read, {added} added", text::duration(time))
    };
    if before > 0 {
        line.push_str(&format!("; {before} were there"));
    }
    Ok(output.summary(&line)?)
}
