//! `snapshots`: lists them.

use engine::id::SnapshotId;
use engine::model::Snapshot;

use super::select;
use crate::args::browse::Snapshots;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::messages::{Message, SnapshotFields};
use crate::text::{self, Align};

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Snapshots) -> Result<Outcome, Failure> {
    let progress = context.progress(false);
    let repository = context.open()?;
    let (mut snapshots, problems) = select(&repository, &arguments.snapshots, &arguments.filter, &progress)?;
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

fn table(snapshots: &[(SnapshotId, Snapshot)]) -> Vec<String> {
    let header = [
        ("ID", Align::Left),
        ("Time", Align::Left),
        ("Host", Align::Left),
        ("Label", Align::Left),
        ("Tags", Align::Left),
        ("Size", Align::Right),
        ("Paths", Align::Left),
    ];
    let row = |(id, snapshot): &(SnapshotId, Snapshot)| {
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
    };
    text::table(&header, &snapshots.iter().map(row).collect::<Vec<_>>())
}
