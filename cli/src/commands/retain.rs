//! `retain`: locks what snapshots need.

use engine::clock::{Clock, Timestamp};
use engine::id::SnapshotId;
use engine::model::Snapshot;
use engine::ops::{self, FamilyLocks, Fate, PolicyRequest, RetainOptions, RetainReport};
use engine::repository::Repository;
use engine::{EngineError, ErrorKind};

use super::forget::warn_of;
use super::select;
use crate::args::retain::Retain;
use crate::context::{Context, SystemClock};
use crate::exit::{Failure, Outcome};
use crate::messages::retain::{RetainFields, RetainSummary};
use crate::messages::{Message, Summary};
use crate::progress::Progress;
use crate::text::{self, Align};

/// Of the time that is wanted, one part in so many may be lacking before a lock is changed.
const SLACK_SHARE: i64 = 10;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Retain) -> Result<Outcome, Failure> {
    let progress = context.progress(true);
    let repository = context.open()?;
    let snapshots = chosen(context, &repository, arguments, &progress)?;
    if snapshots.is_empty() {
        // What was meant to be safe would not be.
        return Err(EngineError::new(ErrorKind::NotFound, "no snapshot matches, so nothing is locked").into());
    }
    let options = options(arguments);
    let report = ops::retain(&repository, &snapshots, &options, &SystemClock, &progress)?;
    // Also those of the index: that the storage shows an earlier state, say.
    let problems = progress.problem_count();
    let time = progress.elapsed();
    drop(progress);
    show(context, arguments, &report)?;
    let total = report.total();
    if context.output.is_json() {
        context.output.message(&Message::Summary(Summary::Retain(RetainSummary {
            dry_run: arguments.dry_run,
            snapshots: snapshots.len() as u64,
            until: text::rfc3339(options.until),
            mode: options.mode.word(),
            objects: total.objects,
            bytes: total.bytes,
            objects_extended: total.extended,
            bytes_extended: total.bytes_extended,
            objects_unlocked: total.unlocked,
            first_end: total.first_end.map(text::rfc3339),
            error_count: problems,
            total_duration: time.as_secs_f64(),
        })))?;
    } else {
        let needed = text::count(snapshots.len() as u64, "snapshot needs", "snapshots need");
        let objects = text::count(total.objects, "object", "objects");
        context.output.summary(&format!("{needed} {objects}, {}", text::size(total.bytes)))?;
        context.output.summary(&summary(arguments, &options, &total, &text::duration(time)))?;
    }
    Ok(Outcome::of_problems(problems))
}

fn options(arguments: &Retain) -> RetainOptions {
    let now = SystemClock.now();
    let (until, slack_seconds) = match (arguments.for_seconds, arguments.until) {
        (Some(seconds), _) => (Timestamp::new(now.seconds.saturating_add(seconds), 0), seconds / SLACK_SHARE),
        (None, until) => (until.unwrap_or(now), 0),
    };
    RetainOptions { until, slack_seconds, mode: arguments.mode.to_engine(), dry_run: arguments.dry_run }
}

/// The snapshots to keep. Those that can't be read are problems.
fn chosen(
    context: &Context,
    repository: &Repository,
    arguments: &Retain,
    progress: &Progress<'_>,
) -> Result<Vec<(SnapshotId, Snapshot)>, Failure> {
    let policy = arguments.keep.policy();
    if policy.is_empty() {
        return select(repository, None, &arguments.snapshots, &arguments.filter, progress)
            .map(|(snapshots, _)| snapshots);
    }
    let request = PolicyRequest {
        policy: &policy,
        group_by: arguments.group_by,
        filter: &arguments.filter.to_engine(),
        // Nothing is dropped by this.
        may_empty_groups: true,
        now: SystemClock.now(),
        utc_offset: &text::utc_offset,
    };
    let plan = ops::plan_policy(repository, &request)?;
    warn_of(context, &plan, progress);
    let planned = plan.groups.into_iter().flat_map(|group| group.snapshots);
    let kept = planned.filter(|planned| matches!(planned.fate, Fate::Keep(_) | Fate::KeepProved));
    Ok(kept.map(|planned| (planned.id, planned.snapshot)).collect())
}

/// Each kind of object, a line for it.
fn show(context: &Context, arguments: &Retain, report: &RetainReport) -> Result<(), Failure> {
    let output = &context.output;
    if output.is_json() {
        for (kind, locks) in &report.families {
            output.message(&Message::Retain(RetainFields {
                kind,
                objects: locks.objects,
                bytes: locks.bytes,
                objects_extended: locks.extended,
                bytes_extended: locks.bytes_extended,
                objects_unlocked: locks.unlocked,
                first_end: locks.first_end.map(text::rfc3339),
                dry_run: arguments.dry_run,
            }))?;
        }
        return Ok(());
    }
    let header = [
        ("What", Align::Left),
        ("Objects", Align::Right),
        ("Size", Align::Right),
        ("Not locked", Align::Right),
        (if arguments.dry_run { "To extend" } else { "Extended" }, Align::Right),
        (if arguments.dry_run { "First lock ends" } else { "First lock ended" }, Align::Left),
    ];
    let row = |(kind, locks): (&&str, &FamilyLocks)| {
        vec![
            (*kind).to_owned(),
            locks.objects.to_string(),
            text::size(locks.bytes),
            locks.unlocked.to_string(),
            locks.extended.to_string(),
            locks.first_end.map_or_else(|| "-".to_owned(), text::local_time),
        ]
    };
    let lines = text::table(&header, &report.families.iter().map(row).collect::<Vec<_>>());
    // The result of a dry run is what it found; otherwise it is what was done.
    lines.iter().try_for_each(|line| if arguments.dry_run { output.line(line) } else { output.summary(line) })?;
    Ok(())
}

fn summary(arguments: &Retain, options: &RetainOptions, total: &FamilyLocks, time: &str) -> String {
    let end = format!("until {} ({})", text::local_time(options.until), options.mode.word());
    let enough = total.objects - total.extended;
    let objects = text::count(total.extended, "object", "objects");
    match (arguments.dry_run, total.extended) {
        (true, _) => format!("would lock {objects} {end}; {enough} locked long enough; nothing was changed (dry run)"),
        (false, 0) => format!("all were locked long enough, as seen in {time}"),
        (false, _) => format!("locked {objects} {end} in {time}; {enough} were locked long enough"),
    }
}
