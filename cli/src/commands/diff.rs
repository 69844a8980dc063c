//! `diff`: compares two snapshots.

use engine::ops::{self, DiffKind};

use crate::args::browse::Diff;
use crate::context::Context;
use crate::exit::{Failure, Outcome, invalid};
use crate::messages::{JsonPath, Message, Statistics};
use crate::text;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Diff) -> Result<Outcome, Failure> {
    let progress = context.progress(false);
    let (repository, index) = context.open_indexed(&progress)?;
    let filter = arguments.filter.to_engine();
    let names = [&arguments.left.snapshot, &arguments.right.snapshot];
    let mut both = ops::find_snapshots(&repository, Some(&index), &names, &filter)?.into_iter();
    let (Some((left_id, left)), Some((right_id, right))) = (both.next(), both.next()) else {
        return Err(invalid("two snapshots are needed"));
    };
    drop(progress);
    let output = &context.output;
    let report = ops::diff(
        &repository,
        &index,
        (&left, &arguments.left.path),
        (&right, &arguments.right.path),
        arguments.metadata,
        &mut |kind, path| {
            let modifier = mark(kind);
            if output.is_json() {
                output.message(&Message::Change { path: JsonPath::new(path), modifier })
            } else {
                output.line(&format!("{modifier}  {}", text::path(path)))
            }
        },
    )?;
    if output.is_json() {
        output.message(&Message::Statistics(Statistics::Diff {
            source_snapshot: left_id.to_hex(),
            target_snapshot: right_id.to_hex(),
            added: report.added,
            removed: report.removed,
            changed: report.modified,
            metadata_changed: report.metadata,
            bytes_added: report.bytes_added,
            bytes_removed: report.bytes_removed,
        }))?;
        return Ok(Outcome::Done);
    }
    let metadata = match report.metadata {
        0 => String::new(),
        count => format!(", {count} with other metadata"),
    };
    output.summary(&format!(
        "{} to {}: {} added, {} removed, {} changed{metadata}; +{} -{}",
        left_id.short(),
        right_id.short(),
        report.added,
        report.removed,
        report.modified,
        text::size(report.bytes_added),
        text::size(report.bytes_removed),
    ))?;
    Ok(Outcome::Done)
}

/// Marks as restic writes them.
fn mark(kind: DiffKind) -> &'static str {
    match kind {
        DiffKind::Added => "+",
        DiffKind::Removed => "-",
        DiffKind::Modified => "M",
        DiffKind::Metadata => "U",
        DiffKind::Type => "T",
    }
}
