//! `prune`: removes what no snapshot needs.

use std::time::{Duration, Instant};

use engine::id::SessionId;
use engine::monitor::Monitor;
use engine::ops::{self, PruneOptions, PruneReport};
use engine::repository::Repository;

use crate::args::prune::{How, Prune};
use crate::context::{Context, PROGRAM, SystemClock};
use crate::exit::{Failure, Outcome};
use crate::memory;
use crate::messages::{Message, PruneSummary, Summary};
use crate::text;

/// How long to wait before looking at running sessions again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Prune) -> Result<Outcome, Failure> {
    memory::share_arenas(1);
    let repository = context.open()?;
    prune(context, &repository, &arguments.how, arguments.dry_run)
}

/// Prunes and shows what was done.
pub(super) fn prune(context: &Context, repository: &Repository, how: &How, dry_run: bool) -> Result<Outcome, Failure> {
    memory::give_back_early();
    let progress = context.progress(true);
    let until = Instant::now() + Duration::from_secs(how.wait.unsigned_abs());
    let wait = |sessions: &[SessionId]| {
        let goes_on = Instant::now() < until && !context.cancel.is_requested();
        if goes_on {
            progress.stage("waiting for sessions", Some(sessions.len() as u64), None);
            std::thread::sleep(LOOK_AGAIN);
        }
        goes_on
    };
    let options = PruneOptions {
        dry_run,
        grace_seconds: how.grace,
        max_unused: how.max_unused,
        max_repack: how.max_repack,
        revoke_after_seconds: how.revoke_after,
        host: context.host(),
        program: PROGRAM.into(),
        wait: &wait,
    };
    let report = ops::prune(repository, &options, &SystemClock, &progress)?;
    let time = progress.elapsed();
    drop(progress);
    show(context, &report, dry_run, time)?;
    // What is locked is where it should be: nothing failed.
    let problems = report.problem_count + report.deferred - report.locked.objects;
    Ok(if report.waiting_for.is_empty() { Outcome::of_problems(problems) } else { Outcome::Waiting })
}

fn show(context: &Context, report: &PruneReport, dry_run: bool, time: Duration) -> Result<(), Failure> {
    let (output, proposal) = (&context.output, &report.proposal);
    if output.is_json() {
        let hex = |sessions: &[SessionId]| sessions.iter().map(|id| id.to_hex()).collect();
        return Ok(output.message(&Message::Summary(Summary::Prune(PruneSummary {
            dry_run,
            finished: report.waiting_for.is_empty() && report.snapshots_locked == 0,
            snapshots_dropped: proposal.snapshots.len() as u64,
            packs_unused: proposal.dead.len() as u64,
            bytes_unused: proposal.dead_bytes,
            packs_orphaned: proposal.orphans.len() as u64,
            bytes_orphaned: proposal.orphan_bytes,
            packs_to_repack: proposal.repack.len() as u64,
            bytes_to_repack: proposal.repack_bytes,
            bytes_to_free: proposal.freed_bytes(),
            bytes_kept: proposal.kept_bytes + proposal.repack_bytes,
            bytes_left_unused: proposal.unused_bytes,
            bytes_copied: report.bytes_copied,
            packs_deleted: report.packs_deleted,
            bytes_freed: report.bytes_freed.saturating_sub(report.bytes_copied),
            packs_rescued: report.packs_rescued,
            objects_deferred: report.deferred,
            objects_locked: report.locked.objects,
            bytes_locked: report.locked.bytes,
            snapshots_locked: report.snapshots_locked,
            locked_until: report.locked.until.map(text::rfc3339),
            plans_resumed: report.plans_resumed,
            sessions_revoked: hex(&report.revoked),
            sessions_waited_for: hex(&report.waiting_for),
            error_count: report.problem_count,
            total_duration: time.as_secs_f64(),
        })))?);
    }
    for line in plan_lines(report, dry_run) {
        // The result of a dry run is the plan; otherwise it is what was done.
        if dry_run { output.line(&line) } else { output.summary(&line) }?;
    }
    if dry_run {
        return Ok(output.summary("nothing was changed (dry run)")?);
    }
    if report.plans_resumed > 0 {
        let plans = text::count(report.plans_resumed, "earlier prune", "earlier prunes");
        output.summary(&format!("finished {plans} first"))?;
    }
    for session in &report.revoked {
        output.summary(&format!("revoked session {session}, which did not end"))?;
    }
    if !report.waiting_for.is_empty() {
        let sessions = text::count(report.waiting_for.len() as u64, "session", "sessions");
        output.warn(&format!("not finished: {sessions} may still need what is to go"));
        for session in &report.waiting_for {
            output.warn(&format!("session {session} is running, or was interrupted on another machine"));
        }
        output.warn("the next prune goes on; --wait waits here");
        return Ok(());
    }
    let refused = report.deferred - report.locked.objects;
    if refused > 0 {
        let objects = text::count(refused, "object", "objects");
        output.warn(&format!("{objects} could not be deleted; a later prune tries again"));
    }
    show_locked(context, report)?;
    let freed = text::size(report.bytes_freed.saturating_sub(report.bytes_copied));
    let packs = text::count(report.packs_deleted, "pack", "packs");
    output.summary(&format!("freed {freed}: {packs} deleted in {}", text::duration(time)))?;
    Ok(())
}

/// What the storage keeps, and until when.
fn show_locked(context: &Context, report: &PruneReport) -> Result<(), Failure> {
    let locked = &report.locked;
    if locked.objects == 0 {
        return Ok(());
    }
    let objects = text::count(locked.objects, "object is", "objects are");
    let until = locked.until.map_or(String::new(), |until| format!(", the last until {}", text::local_time(until)));
    let size = text::size(locked.bytes);
    context.output.summary(&format!("{objects} locked ({size}){until}; a later prune deletes them"))?;
    if report.snapshots_locked > 0 {
        let snapshots = text::count(report.snapshots_locked, "dropped snapshot", "dropped snapshots");
        let text = "the packs wait for them, and the next prune goes on; a longer --grace avoids that";
        context.output.warn(&format!("not finished: {snapshots} among these; {text}"));
    }
    Ok(())
}

/// What the plan says, one thing a line.
fn plan_lines(report: &PruneReport, dry_run: bool) -> Vec<String> {
    let plan = &report.proposal;
    let packs = |packs: &[engine::id::PackId]| text::count(packs.len() as u64, "pack", "packs");
    let mut lines = Vec::new();
    if !plan.snapshots.is_empty() {
        let snapshots = text::count(plan.snapshots.len() as u64, "snapshot", "snapshots");
        lines.push(format!("drops {snapshots} whose time is over"));
    }
    if !plan.dead.is_empty() {
        lines.push(format!("removes {} that nothing needs ({})", packs(&plan.dead), text::size(plan.dead_bytes)));
    }
    if !plan.orphans.is_empty() {
        let size = text::size(plan.orphan_bytes);
        lines.push(format!("removes {} that no index names ({size})", packs(&plan.orphans)));
    }
    if !plan.repack.is_empty() {
        let (from, to) = (text::size(plan.repack_from_bytes), text::size(plan.repack_bytes));
        lines.push(format!("rewrites {}, {from} as {to}", packs(&plan.repack)));
    }
    let (kept, unused) = (plan.kept_bytes + plan.repack_bytes, text::size(plan.unused_bytes));
    if dry_run {
        lines.push(format!(
            "would free {}; {} stay, {unused} of it unused",
            text::size(plan.freed_bytes()),
            text::size(kept)
        ));
    } else if plan.is_empty() {
        lines.push(format!("nothing to remove; {} stay, {unused} of it unused", text::size(kept)));
    }
    lines
}
