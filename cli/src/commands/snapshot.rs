//! `snapshot`: saves trees or a stream.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use engine::model::SnapshotStatistics;
use engine::ops::{self, SnapshotInput, SnapshotOptions, SnapshotReport};
use engine::repository::Repository;

use super::fan_out::Places;
use super::stream::{Feeder, Stream};
use crate::args::select::absolute;
use crate::args::snapshot::Snapshot;
use crate::context::{Context, PROGRAM, SystemClock};
use crate::exit::{Failure, Outcome};
use crate::memory;
use crate::messages::{Counts, Message, SnapshotSummary, Summary};
use crate::progress::Progress;
use crate::text;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Snapshot) -> Result<Outcome, Failure> {
    memory::give_back_early();
    let mut places = Places::open(context, &arguments.fan_out)?;
    let (report, problems) = loop {
        let progress = context.progress(true);
        match take(context, arguments, &places, &progress) {
            // Standard input does not come again; a command is run again.
            Err(failure) if arguments.stdin.is_none() && places.replace_first(context, &failure) => {}
            Err(failure) => return Err(failure),
            Ok(report) => {
                // Not all of them are of items.
                let problems = report.statistics.problems.max(progress.problem_count());
                show(context, arguments, &report, progress)?;
                break (report, problems);
            }
        }
    };
    if arguments.how.dry_run {
        places.show_dry_run(context)?;
    }
    // If nothing changed, what did not change may have to be brought to the others yet.
    let unchanged = report.parent.filter(|_| arguments.how.skip_if_unchanged && !arguments.how.dry_run);
    let copied = report.snapshot.or(unchanged).map_or(Ok(0), |id| places.copy(context, id))?;
    Ok(Outcome::of_problems(problems + copied + places.failed()))
}

/// Takes the snapshot in the first repository.
fn take(
    context: &Context,
    arguments: &Snapshot,
    places: &Places,
    progress: &Progress<'_>,
) -> Result<SnapshotReport, Failure> {
    let repository = places.first();
    let options =
        SnapshotOptions { repositories: places.directories().to_vec(), ..options(context, arguments, repository)? };
    let take = |input| ops::snapshot(repository, input, &options, &SystemClock, progress);
    Ok(if let Some(name) = &arguments.stdin_from_command {
        let (feeder, mut stream) = Feeder::start(&arguments.after_dashes, &context.cancel)?;
        let finish = Box::new(move || feeder.finish());
        take(SnapshotInput::Stream { name: name.as_bytes().to_vec(), read: &mut stream, finish })?
    } else if let Some(name) = &arguments.stdin {
        let mut stream = Stream::standard_input(&context.cancel)?;
        take(SnapshotInput::Stream { name: name.as_bytes().to_vec(), read: &mut stream, finish: Box::new(|| Ok(())) })?
    } else {
        let after_dashes = arguments.after_dashes.iter().map(Path::new);
        let paths = arguments.paths.iter().map(|path| path.as_path()).chain(after_dashes);
        take(SnapshotInput::Paths(paths.map(absolute).collect()))?
    })
}

fn options(context: &Context, arguments: &Snapshot, repository: &Repository) -> Result<SnapshotOptions, Failure> {
    let (describe, exclude, how) = (&arguments.describe, &arguments.exclude, &arguments.how);
    let host = describe.host.clone().unwrap_or_else(|| context.host());
    let parent = match &how.parent {
        Some(name) => Some(ops::find_snapshot(repository, name, &ops::SnapshotFilter::default())?.0),
        None => None,
    };
    let mut tags = describe.tag.clone();
    tags.sort();
    tags.dedup();
    let mut ignore_files = exclude.ignore_file.clone();
    if exclude.gitignore && !ignore_files.iter().any(|name| name == ".gitignore") {
        ignore_files.push(".gitignore".into());
    }
    Ok(SnapshotOptions {
        host,
        user: Some(context.user()),
        tags,
        label: describe.label.clone(),
        time: describe.time,
        excludes: exclude.exclude.clone(),
        exclude_files: exclude.exclude_file.clone(),
        exclude_if_present: exclude.exclude_if_present.clone(),
        exclude_caches: exclude.exclude_caches,
        ignore_files,
        exclude_larger_than: exclude.exclude_larger_than,
        one_file_system: exclude.one_file_system,
        as_path: describe.as_path.as_deref().map(|path| Path::new("/").join(path).into_os_string().as_bytes().to_vec()),
        parent,
        force: how.force,
        dry_run: how.dry_run,
        skip_if_unchanged: how.skip_if_unchanged,
        program: PROGRAM.into(),
        repositories: Vec::new(),
    })
}

fn show(
    context: &Context,
    arguments: &Snapshot,
    report: &SnapshotReport,
    progress: Progress<'_>,
) -> Result<(), Failure> {
    let time = progress.elapsed();
    // The bar goes before the result comes.
    drop(progress);
    let output = &context.output;
    let statistics = &report.statistics;
    if output.is_json() {
        return Ok(output.message(&Message::Summary(Summary::Snapshot(SnapshotSummary {
            dry_run: arguments.how.dry_run,
            snapshot_id: report.snapshot.map(|id| id.to_hex()),
            parent: report.parent.map(|id| id.to_hex()),
            counts: Counts::from(statistics),
            resumed_sessions: report.resumed_sessions,
            total_duration: time.as_secs_f64(),
        })))?);
    }
    if report.resumed_sessions > 0 {
        let sessions = text::count(report.resumed_sessions, "interrupted run", "interrupted runs");
        output.summary(&format!("continued what {sessions} stored before"))?;
    }
    for line in summary_lines(statistics, arguments.how.dry_run) {
        output.summary(&line)?;
    }
    let rate = text::size((statistics.bytes as f64 / time.as_secs_f64().max(0.001)) as u64);
    output.summary(&format!("Took:   {} ({rate}/s)", text::duration(time)))?;
    if statistics.problems > 0 {
        let items = text::count(statistics.problems, "item", "items");
        output.warn(&format!("{items} could not be read and are not in the snapshot"));
    }
    output.summary(&match (report.snapshot, arguments.how.dry_run) {
        (Some(id), _) => format!("snapshot {} saved", id.short()),
        (None, true) => "nothing was stored (dry run)".to_owned(),
        (None, false) => "no snapshot made: nothing changed since the last one".to_owned(),
    })?;
    Ok(())
}

fn summary_lines(statistics: &SnapshotStatistics, dry_run: bool) -> [String; 3] {
    let verb = if dry_run { "Would store:" } else { "Stored:" };
    let mut items = format!(
        "{} new, {} changed, {} unchanged",
        statistics.files_new, statistics.files_changed, statistics.files_unchanged
    );
    for (count, one, many) in
        [(statistics.directories, "directory", "directories"), (statistics.others, "other item", "other items")]
    {
        if count > 0 {
            items.push_str(&format!("; {}", text::count(count, one, many)));
        }
    }
    [
        format!("Files:  {items}"),
        format!("Data:   {} in {}", text::size(statistics.bytes), text::count(statistics.files, "file", "files")),
        format!(
            "{verb} {}, for {} that the repository did not have ({})",
            text::size(statistics.bytes_added),
            text::size(statistics.bytes_new),
            text::count(statistics.chunks_new, "chunk", "chunks"),
        ),
    ]
}
