//! `forget`: takes snapshots off the list, and says why.

use engine::clock::Clock;
use engine::monitor::Monitor;
use engine::ops::{self, Fate, ForgetPlan, PlannedGroup, PlannedSnapshot, PolicyRequest};
use engine::repository::Repository;

use super::prune;
use crate::args::forget::Forget;
use crate::context::{Context, PROGRAM, SystemClock};
use crate::exit::{Failure, Outcome};
use crate::messages::{ForgetSummary, Message, Summary};
use crate::progress::Progress;
use crate::text::{self, Align};

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Forget) -> Result<Outcome, Failure> {
    let progress = context.progress(false);
    if arguments.snapshots.is_empty() && arguments.keep.policy().is_empty() && arguments.filter.is_empty() {
        // Also with --allow-empty: everything goes only if somebody says which everything.
        let text = "nothing says what to forget: give --keep-… options, or name snapshots";
        return Err(Failure::Usage(text.into()));
    }
    let repository = context.open()?;
    let plan = plan(&repository, arguments)?;
    warn_of(context, &plan, &progress);
    for group in &plan.groups {
        show_group(context, group, arguments.dry_run)?;
    }
    let report = match arguments.dry_run {
        true => ops::ForgetReport { forgotten: plan.dropped().collect(), ..ops::ForgetReport::default() },
        false => ops::forget(&repository, &plan, &context.host(), PROGRAM, &SystemClock, &progress)?,
    };
    let problems = (plan.problems.len() + report.problems.len()) as u64;
    let named_before = plan.snapshots().filter(|planned| matches!(planned.fate, Fate::ForgottenBefore(_))).count();
    let summary = ForgetSummary {
        dry_run: arguments.dry_run,
        snapshots_kept: plan.kept(),
        snapshots_forgotten: report.forgotten.len() as u64,
        snapshots_forgotten_before: (named_before + report.before.len()) as u64,
        error_count: problems,
    };
    show_summary(context, summary)?;
    if arguments.prune && !arguments.dry_run {
        drop(progress);
        let pruned = prune::prune(context, &repository, &arguments.how, false)?;
        return Ok(if problems == 0 { pruned } else { Outcome::of_problems(problems) });
    }
    Ok(Outcome::of_problems(problems))
}

/// Says what of a plan need not be as meant: snapshots that can't be read, and tags that none has.
pub(super) fn warn_of(context: &Context, plan: &ForgetPlan, progress: &Progress<'_>) {
    plan.problems.iter().for_each(|problem| progress.problem(problem));
    for tag in &plan.unknown_tags {
        context.output.warn(&format!("no snapshot has the tag {tag:?}: all snapshots with a tag are kept"));
    }
}

fn plan(repository: &Repository, arguments: &Forget) -> Result<ForgetPlan, Failure> {
    let filter = arguments.filter.to_engine();
    if !arguments.snapshots.is_empty() {
        return Ok(ops::plan_named(repository, &arguments.snapshots, &filter)?);
    }
    let request = PolicyRequest {
        policy: &arguments.keep.policy(),
        group_by: arguments.group_by,
        filter: &filter,
        may_empty_groups: arguments.allow_empty,
        now: SystemClock.now(),
        utc_offset: &text::utc_offset,
    };
    Ok(ops::plan_policy(repository, &request)?)
}

fn show_group(context: &Context, group: &PlannedGroup, dry_run: bool) -> Result<(), Failure> {
    let output = &context.output;
    let key = group.key.as_ref().map(ToString::to_string);
    if output.is_json() {
        for planned in &group.snapshots {
            output.message(&Message::Forget {
                snapshot_id: planned.id.to_hex(),
                time: text::rfc3339(planned.snapshot.time),
                group: key.as_deref(),
                action: action(&planned.fate),
                reasons: reasons(&planned.fate),
                dry_run,
            })?;
        }
        return Ok(());
    }
    let forgotten = group.snapshots.iter().filter(|planned| planned.fate.is_forgotten_now()).count();
    let mut lines = Vec::new();
    if let Some(key) = key {
        let (all, verb) = (group.snapshots.len(), if dry_run { "would be forgotten" } else { "to forget" });
        lines.push(format!("{}: {} to keep, {forgotten} {verb}", text::plain(&key), all - forgotten));
    }
    lines.extend(table(&group.snapshots));
    lines.push(String::new());
    // The result of a dry run is the plan; otherwise it is what was done.
    lines.iter().try_for_each(|line| if dry_run { output.line(line) } else { output.summary(line) })?;
    Ok(())
}

fn table(snapshots: &[PlannedSnapshot]) -> Vec<String> {
    let header = [
        ("", Align::Left),
        ("ID", Align::Left),
        ("Time", Align::Left),
        ("Host", Align::Left),
        ("Tags", Align::Left),
        ("Why", Align::Left),
    ];
    let row = |planned: &PlannedSnapshot| {
        vec![
            action(&planned.fate).to_owned(),
            planned.id.short(),
            text::local_time(planned.snapshot.time),
            text::plain(&planned.snapshot.host),
            text::plain(&planned.snapshot.tags.join(",")),
            text::plain(&reasons(&planned.fate).join("; ")),
        ]
    };
    text::table(&header, &snapshots.iter().map(row).collect::<Vec<_>>())
}

fn action(fate: &Fate) -> &'static str {
    match fate {
        Fate::Keep(_) | Fate::KeepProved => "keep",
        Fate::Drop(_) | Fate::Named => "forget",
        Fate::ForgottenBefore(_) => "none",
    }
}

fn reasons(fate: &Fate) -> Vec<String> {
    match fate {
        Fate::Keep(reasons) => reasons.iter().map(ToString::to_string).collect(),
        Fate::KeepProved => vec!["last one proved by a drill".into()],
        Fate::Drop(reasons) => reasons.iter().map(ToString::to_string).collect(),
        Fate::Named => vec!["named".into()],
        Fate::ForgottenBefore(time) => vec![format!("already forgotten on {}", text::local_time(*time))],
    }
}

fn show_summary(context: &Context, summary: ForgetSummary) -> Result<(), Failure> {
    let output = &context.output;
    if output.is_json() {
        return Ok(output.message(&Message::Summary(Summary::Forget(summary)))?);
    }
    let snapshots = |count| text::count(count, "snapshot", "snapshots");
    let before = match summary.snapshots_forgotten_before {
        0 => String::new(),
        count => format!(", {count} forgotten before"),
    };
    let forgotten = snapshots(summary.snapshots_forgotten);
    if summary.dry_run {
        let kept = summary.snapshots_kept;
        output.summary(&format!("would forget {forgotten}, keep {kept}{before}; nothing was changed (dry run)"))?;
    } else {
        output.summary(&format!("forgot {forgotten}, kept {}{before}", summary.snapshots_kept))?;
    }
    if summary.snapshots_forgotten > 0 {
        output.summary("space comes back with `repo prune`, when the grace time is over")?;
        output.summary("`repo snapshots --forgotten` lists what is forgotten, `repo undelete` brings it back")?;
    }
    Ok(())
}
