//! `copy`: snapshots into other repositories.

use engine::ops::{self, Copied, CopyOptions, CopyReport, TargetReport};

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
    // All before anything is done: a password that is missing is asked for now.
    let (source, index) = context.open_indexed(&progress)?;
    let (addresses, targets): (Vec<_>, Vec<_>) = context.open_others(&arguments.to)?.into_iter().unzip();
    let (snapshots, unreadable) = select(&source, Some(&index), &arguments.snapshots, &arguments.filter, &progress)?;
    let options = CopyOptions {
        host: context.host(),
        program: PROGRAM.into(),
        dry_run: arguments.dry_run,
        recut: arguments.recut,
    };
    let targets: Vec<_> = targets.iter().collect();
    let mut report = ops::copy(&source, &index, &snapshots, &targets, &options, &SystemClock, &progress)?;
    let shown = Shown {
        addresses: &addresses,
        // With one there is no doubt.
        names_places: addresses.len() > 1,
        dry_run: arguments.dry_run,
        unreadable,
        failed_before: 0,
    };
    show(context, &shown, &report, progress)?;
    let failed = report.targets.iter().filter(|target| target.failure.is_some()).count();
    if failed == report.targets.len() {
        // One of them has to decide how the command ends.
        let first = report.targets.iter_mut().find_map(|target| target.failure.take());
        return first.map_or(Ok(Outcome::Done), |error| Err(error.into()));
    }
    Ok(Outcome::of_problems(report.problem_count + unreadable + failed as u64))
}

/// How many snapshots had which end.
#[derive(Default)]
struct Counts {
    copied: u64,
    before: u64,
    damaged: u64,
}

/// What is shown beside a report.
pub(super) struct Shown<'a> {
    /// Those that were copied to, in their order.
    pub(super) addresses: &'a [String],
    /// Whether lines of text say which one they are about.
    pub(super) names_places: bool,
    pub(super) dry_run: bool,
    /// Snapshots that could not be read.
    pub(super) unreadable: u64,
    /// Repositories that failed before.
    pub(super) failed_before: u64,
}

/// Says what became of the snapshots in each repository, and what was done in all.
pub(super) fn show(
    context: &Context,
    shown: &Shown<'_>,
    report: &CopyReport,
    progress: Progress<'_>,
) -> Result<(), Failure> {
    let time = progress.elapsed();
    drop(progress);
    let output = &context.output;
    let mut counts = Counts::default();
    for (address, target) in shown.addresses.iter().zip(&report.targets) {
        show_target(context, shown, address, target, &mut counts)?;
        if let Some(error) = target.failure.as_ref().filter(|_| shown.names_places) {
            output.warn(&format!("copying to {} ended early: {error}", text::plain(address)));
        }
    }
    let added = report.targets.iter().map(|target| target.bytes_added).sum();
    let failed = report.targets.iter().filter(|target| target.failure.is_some()).count() as u64 + shown.failed_before;
    let Counts { copied, before, damaged } = counts;
    if output.is_json() {
        return Ok(output.message(&Message::Summary(Summary::Copy(CopySummary {
            dry_run: shown.dry_run,
            repositories: shown.addresses.len() as u64 + shown.failed_before,
            repositories_failed: failed,
            snapshots_copied: copied,
            snapshots_copied_before: before,
            snapshots_damaged: damaged,
            chunks_read: report.chunks_read,
            bytes_read: report.bytes_read,
            data_added_packed: added,
            resumed_sessions: report.targets.iter().map(|target| target.resumed_sessions).sum(),
            error_count: report.problem_count + shown.unreadable + failed,
            total_duration: time.as_secs_f64(),
        })))?);
    }
    if shown.addresses.is_empty() {
        return Ok(());
    }
    let snapshots = text::count(copied, "snapshot", "snapshots");
    let read = text::size(report.bytes_read);
    let mut line = if shown.dry_run {
        format!("would copy {snapshots}, and read {read} at most")
    } else {
        format!("copied {snapshots} in {}: {read} read, {} added", text::duration(time), text::size(added))
    };
    if before > 0 {
        line.push_str(&format!("; {before} were there"));
    }
    Ok(output.summary(&line)?)
}

/// What became of each snapshot in one target.
fn show_target(
    context: &Context,
    shown: &Shown<'_>,
    address: &str,
    target: &TargetReport,
    counts: &mut Counts,
) -> Result<(), Failure> {
    let output = &context.output;
    let place = if shown.names_places { format!(" in {}", text::plain(address)) } else { String::new() };
    for (id, what) in &target.snapshots {
        let (action, new, count) = match what {
            Copied::Now(new) => ("copied", Some(new), &mut counts.copied),
            Copied::WouldBe => ("copied", None, &mut counts.copied),
            Copied::Before(new) => ("copied before", Some(new), &mut counts.before),
            Copied::Damaged => ("damaged", None, &mut counts.damaged),
        };
        *count += 1;
        if output.is_json() {
            output.message(&Message::Copy(CopyFields {
                repository: address.to_owned(),
                snapshot_id: id.to_hex(),
                new_snapshot_id: new.map(|id| id.to_hex()),
                action,
                dry_run: shown.dry_run,
            }))?;
            continue;
        }
        match what {
            Copied::Now(new) => output.summary(&format!("{} is copied as {}{place}", id.short(), new.short()))?,
            Copied::WouldBe => output.summary(&format!("{} would be copied{place}", id.short()))?,
            Copied::Damaged => output.warn(&format!("{} is not copied{place}: it can't be read in full", id.short())),
            Copied::Before(_) => {}
        }
    }
    Ok(())
}
