//! `snapshots`: lists them.

use engine::format::ForgottenRecord;
use engine::id::SnapshotId;
use engine::model::Snapshot;
use engine::monitor::Monitor;
use engine::ops;

use super::select;
use engine::storage::ObjectFamily;

use crate::args::browse::Snapshots;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::messages::{Message, SnapshotFields};
use crate::text::{self, Align};

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Snapshots) -> Result<Outcome, Failure> {
    if arguments.forgotten {
        return run_forgotten(context, arguments);
    }
    let progress = context.progress(false);
    let repository = context.open_any(&[ObjectFamily::Sessions])?;
    let (mut snapshots, problems) = select(&repository, None, &arguments.snapshots, &arguments.filter, &progress)?;
    drop(progress);
    if let Some(last) = arguments.last {
        snapshots.drain(..snapshots.len().saturating_sub(last));
    }
    let output = &context.output;
    if output.is_json() {
        for (id, snapshot) in &snapshots {
            output.message(&Message::Snapshot(Box::new(SnapshotFields::new(*id, snapshot))))?;
        }
        return Ok(Outcome::of_problems(problems));
    }
    if !snapshots.is_empty() {
        for line in table(&snapshots) {
            output.line(&line)?;
        }
    }
    output.summary(&text::count(snapshots.len() as u64, "snapshot", "snapshots"))?;
    Ok(Outcome::of_problems(problems))
}

fn run_forgotten(context: &Context, arguments: &Snapshots) -> Result<Outcome, Failure> {
    let progress = context.progress(false);
    let repository = context.open_to_add()?;
    let list = ops::list_forgotten(&repository, &arguments.filter.to_engine())?;
    for problem in &list.problems {
        progress.problem(problem);
    }
    drop(progress);
    let mut snapshots = list.snapshots;
    if let Some(last) = arguments.last {
        snapshots.drain(..snapshots.len().saturating_sub(last));
    }
    let output = &context.output;
    for (id, snapshot, record) in snapshots.iter().filter(|_| output.is_json()) {
        let fields = SnapshotFields::new(*id, snapshot).forgotten_at(record.time);
        output.message(&Message::Snapshot(Box::new(fields)))?;
    }
    if !output.is_json() && !snapshots.is_empty() {
        for line in forgotten_table(&snapshots) {
            output.line(&line)?;
        }
    }
    output.summary(&text::count(snapshots.len() as u64, "forgotten snapshot", "forgotten snapshots"))?;
    if !snapshots.is_empty() {
        output.summary("`repo undelete ID` brings one back; `repo restore ID` works without that")?;
    }
    Ok(Outcome::of_problems(list.problems.len() as u64))
}

/// The usual table with a column before the paths: when each was forgotten.
fn forgotten_table(snapshots: &[(SnapshotId, Snapshot, ForgottenRecord)]) -> Vec<String> {
    let (mut header, mut rows) = (HEADER.to_vec(), Vec::with_capacity(snapshots.len()));
    header.insert(header.len() - 1, ("Forgotten", Align::Left));
    for (id, snapshot, record) in snapshots {
        let mut cells = row(*id, snapshot);
        cells.insert(cells.len() - 1, text::local_time(record.time));
        rows.push(cells);
    }
    text::table(&header, &rows)
}

fn table(snapshots: &[(SnapshotId, Snapshot)]) -> Vec<String> {
    text::table(&HEADER, &snapshots.iter().map(|(id, snapshot)| row(*id, snapshot)).collect::<Vec<_>>())
}

const HEADER: [(&str, Align); 7] = [
    ("ID", Align::Left),
    ("Time", Align::Left),
    ("Host", Align::Left),
    ("Label", Align::Left),
    ("Tags", Align::Left),
    ("Size", Align::Right),
    ("Paths", Align::Left),
];

fn row(id: SnapshotId, snapshot: &Snapshot) -> Vec<String> {
    let paths: Vec<String> = snapshot.paths.iter().map(|path| text::path(path)).collect();
    vec![
        id.short(),
        text::local_time(snapshot.time),
        text::plain(&snapshot.host),
        text::plain(snapshot.label.as_deref().unwrap_or_default()),
        text::plain(&snapshot.tags.join(",")),
        text::size(snapshot.statistics.bytes),
        paths.join(" "),
    ]
}
