//! `repair`: makes the best of damage, and says what that is.

use engine::monitor::{Monitor, Problem};
use engine::ops::{self, PackRepair, RepairOptions, SnapshotRepair};

use crate::args::repair::{Repair, RepairIndex, RepairPacks, RepairSnapshots, RepairWhat};
use crate::context::{Context, PROGRAM, SystemClock};
use crate::exit::{Failure, Outcome};
use crate::messages::{Message, RepairFields, RepairSummary, Summary};
use crate::text;

/// How many lost paths are printed for one snapshot; the new snapshot has more.
const LOST_SHOWN: usize = 10;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Repair) -> Result<Outcome, Failure> {
    match &arguments.what {
        RepairWhat::Index(arguments) => index(context, arguments),
        RepairWhat::Packs(arguments) => packs(context, arguments),
        RepairWhat::Snapshots(arguments) => snapshots(context, arguments),
    }
}

fn options(context: &Context, dry_run: bool) -> RepairOptions {
    RepairOptions { dry_run, host: context.host(), program: PROGRAM.into() }
}

fn index(context: &Context, arguments: &RepairIndex) -> Result<Outcome, Failure> {
    let dry_run = arguments.dry_run;
    let progress = context.progress(true);
    let repository = context.open()?;
    let report = ops::repair_index(&repository, &options(context, dry_run), &SystemClock, &progress)?;
    tell_problems(&progress, &report.problems);
    drop(progress);
    for id in &report.packs {
        let name = engine::storage::ObjectName::Pack(*id).to_string();
        show(context, "list", &name, "is in no index object", RepairFields::default(), dry_run)?;
    }
    for id in &report.replaced {
        let name = engine::storage::ObjectName::Index(*id).to_string();
        show(context, "replace", &name, "can't be read", RepairFields::default(), dry_run)?;
    }
    let summary = RepairSummary {
        dry_run,
        repaired: (report.packs.len() + report.replaced.len()) as u64,
        error_count: report.problems.len() as u64,
        ..RepairSummary::default()
    };
    let packs = text::count(report.packs.len() as u64, "pack", "packs");
    let objects = text::count(report.replaced.len() as u64, "index object", "index objects");
    let done = format!("{packs} listed again, {objects} replaced");
    finish(context, summary, &done)
}

fn packs(context: &Context, arguments: &RepairPacks) -> Result<Outcome, Failure> {
    let dry_run = arguments.dry_run;
    let progress = context.progress(true);
    let repository = context.open()?;
    let options = options(context, dry_run);
    let report = ops::repair_packs(&repository, &arguments.packs, &options, &SystemClock, &progress)?;
    tell_problems(&progress, &report.problems);
    drop(progress);
    for pack in &report.packs {
        let name = engine::storage::ObjectName::Pack(pack.id).to_string();
        let fields = RepairFields {
            chunks_saved: Some(pack.chunks_saved),
            chunks_elsewhere: Some(pack.chunks_elsewhere),
            chunks_lost: Some(pack.chunks_lost),
            ..RepairFields::default()
        };
        show(context, "save", &name, &pack.message, fields, dry_run)?;
        if !context.output.is_json() {
            let elsewhere = format!("{} in other packs as well", pack.chunks_elsewhere);
            let line = format!("  {} saved, {elsewhere}, {} lost", chunks(pack.chunks_saved), pack.chunks_lost);
            context.output.line(&line)?;
        }
    }
    let sum = |count: fn(&PackRepair) -> u64| report.packs.iter().map(count).sum::<u64>();
    let summary = RepairSummary {
        dry_run,
        repaired: report.packs.len() as u64,
        repaired_before: report.settled,
        chunks_saved: sum(|pack| pack.chunks_saved),
        chunks_lost: sum(|pack| pack.chunks_lost),
        packs_read: report.packs_read,
        bytes_read: report.bytes_read,
        error_count: report.problems.len() as u64,
        ..RepairSummary::default()
    };
    let (saved, lost) = (summary.chunks_saved, summary.chunks_lost);
    let count = text::count(report.packs.len() as u64, "damaged pack", "damaged packs");
    let outcome = finish(context, summary, &format!("{count}: {} saved, {lost} lost", chunks(saved)))?;
    if lost > 0 && !dry_run {
        let text = "the next snapshots store again what their sources still have; then: repo repair snapshots";
        context.output.summary(text)?;
    }
    Ok(if lost > 0 { Outcome::Problems } else { outcome })
}

fn snapshots(context: &Context, arguments: &RepairSnapshots) -> Result<Outcome, Failure> {
    let dry_run = arguments.dry_run;
    let progress = context.progress(true);
    let repository = context.open()?;
    let options = options(context, dry_run);
    let report = ops::repair_snapshots(&repository, &arguments.snapshots, &options, &SystemClock, &progress)?;
    tell_problems(&progress, &report.problems);
    drop(progress);
    for snapshot in &report.snapshots {
        show_snapshot(context, snapshot, dry_run)?;
    }
    let hopeless = report.snapshots.iter().filter(|snapshot| snapshot.is_hopeless).count() as u64;
    let summary = RepairSummary {
        dry_run,
        repaired: report.snapshots.len() as u64 - hopeless,
        repaired_before: report.repaired_before,
        snapshots_checked: report.checked,
        error_count: report.problems.len() as u64 + hopeless,
        ..RepairSummary::default()
    };
    let repeated = text::count(summary.repaired, "snapshot", "snapshots");
    let outcome = finish(context, summary, &format!("{repeated} repeated without what was lost"))?;
    if outcome == Outcome::Done && report.snapshots.iter().any(|snapshot| snapshot.lost_count > 0) {
        if !dry_run {
            context.output.summary("the old ones are kept until somebody forgets them: repo forget SNAPSHOT")?;
        }
        return Ok(Outcome::Problems);
    }
    Ok(outcome)
}

fn show_snapshot(context: &Context, snapshot: &SnapshotRepair, dry_run: bool) -> Result<(), Failure> {
    let message = match (snapshot.is_hopeless, snapshot.is_uncommitted) {
        (true, _) => "nothing of it can be read".to_owned(),
        (false, true) => "its register is lost".to_owned(),
        (false, false) => format!("lost {}", text::count(snapshot.lost_count, "path", "paths")),
    };
    let fields = RepairFields {
        snapshot_id: Some(snapshot.id.to_hex()),
        new_snapshot_id: snapshot.new.map(|id| id.to_hex()),
        lost_count: Some(snapshot.lost_count),
        ..RepairFields::default()
    };
    let name = engine::storage::ObjectName::Snapshot(snapshot.id).to_string();
    let action = if snapshot.is_hopeless { "none" } else { "repeat" };
    show(context, action, &name, &message, fields, dry_run)?;
    let output = &context.output;
    if output.is_json() {
        return Ok(());
    }
    for lost in snapshot.lost.iter().take(LOST_SHOWN) {
        output.line(&format!("  without {}: {}", text::path(&lost.path), text::plain(&lost.message)))?;
    }
    let shown = snapshot.lost.len().min(LOST_SHOWN) as u64;
    if snapshot.lost_count > shown {
        output.line(&format!("  without {}", text::count(snapshot.lost_count - shown, "other path", "other paths")))?;
    }
    if let Some(new) = snapshot.new {
        let (time, host) = (text::local_time(snapshot.time), text::plain(&snapshot.host));
        output.line(&format!("  {} of {time} on {host} is now also {}", snapshot.id.short(), new.short()))?;
    }
    Ok(())
}

fn tell_problems(progress: &dyn Monitor, problems: &[Problem]) {
    problems.iter().for_each(|problem| progress.problem(problem));
}

/// One thing that is done, or would be.
fn show(
    context: &Context,
    action: &'static str,
    object: &str,
    message: &str,
    fields: RepairFields,
    dry_run: bool,
) -> Result<(), Failure> {
    let output = &context.output;
    if output.is_json() {
        return Ok(output.message(&Message::Repair { action, object, message, fields, dry_run })?);
    }
    let verb = if dry_run { format!("would {action}") } else { action.to_owned() };
    Ok(output.line(&format!("{verb}: {}: {}", text::plain(object), text::plain(message)))?)
}

fn finish(context: &Context, summary: RepairSummary, done: &str) -> Result<Outcome, Failure> {
    let outcome = Outcome::of_problems(summary.error_count);
    let output = &context.output;
    let before = match summary.repaired_before {
        0 => String::new(),
        count => format!(" ({count} repaired before)"),
    };
    let line = match (summary.repaired, summary.dry_run) {
        (0, _) => format!("nothing to repair{before}"),
        (_, true) => format!("{done}{before}; nothing was changed (dry run)"),
        (_, false) => format!("{done}{before}"),
    };
    if output.is_json() {
        output.message(&Message::Summary(Summary::Repair(summary)))?;
    } else {
        output.summary(&line)?;
    }
    Ok(outcome)
}

fn chunks(count: u64) -> String {
    text::count(count, "chunk", "chunks")
}
