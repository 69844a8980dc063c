//! `stack list`: stacks and their last snapshots.

use std::collections::BTreeMap;

use engine::id::SnapshotId;
use engine::model::Snapshot;

use crate::args::stack::List;
use crate::commands::select;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::messages::{Message, StackFields};
use crate::text::{self, Align};

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &List) -> Result<Outcome, Failure> {
    let progress = context.progress(false);
    let repository = context.open()?;
    let (snapshots, problems) = select(&repository, None, &[], &arguments.filter, &progress)?;
    drop(progress);
    let mut stacks: BTreeMap<&str, (u64, &(SnapshotId, Snapshot))> = BTreeMap::new();
    for found in &snapshots {
        if let Some(stack) = &found.1.stack {
            // Oldest first: the last one stays.
            let count = stacks.get(stack.name.as_str()).map_or(0, |(count, _)| *count);
            stacks.insert(&stack.name, (count + 1, found));
        }
    }
    let output = &context.output;
    let mut rows = Vec::new();
    for (name, (count, (id, snapshot))) in &stacks {
        if output.is_json() {
            output.message(&Message::Stack(StackFields {
                stack: (*name).to_owned(),
                action: "listed",
                snapshot_id: Some(id.to_hex()),
                time: Some(text::rfc3339(snapshot.time)),
                snapshots: Some(*count),
                total_bytes: snapshot.statistics.bytes,
                error_count: snapshot.statistics.problems,
                ..StackFields::default()
            }))?;
            continue;
        }
        rows.push(vec![
            text::plain(name),
            count.to_string(),
            id.short(),
            text::local_time(snapshot.time),
            text::plain(&snapshot.host),
            text::size(snapshot.statistics.bytes),
        ]);
    }
    if !rows.is_empty() {
        let header = [
            ("Stack", Align::Left),
            ("Snapshots", Align::Right),
            ("Last", Align::Left),
            ("Time", Align::Left),
            ("Host", Align::Left),
            ("Size", Align::Right),
        ];
        text::table(&header, &rows).iter().try_for_each(|line| output.line(line))?;
    }
    output.summary(&text::count(stacks.len() as u64, "stack", "stacks"))?;
    Ok(Outcome::of_problems(problems))
}
