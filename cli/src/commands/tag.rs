//! `tag`: changes tags and labels.

use engine::ops::{self, TagChange};

use super::select;
use crate::args::upkeep::Tag;
use crate::context::{Context, PROGRAM, SystemClock};
use crate::exit::{Failure, Outcome};
use crate::messages::Message;
use crate::text;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Tag) -> Result<Outcome, Failure> {
    let progress = context.progress(false);
    let repository = context.open()?;
    let (snapshots, problems) = select(&repository, None, &arguments.snapshots, &arguments.filter(), &progress)?;
    let change = TagChange {
        add: arguments.add.clone(),
        remove: arguments.remove.clone(),
        set: (!arguments.set.is_empty()).then(|| arguments.set.clone()),
        label: arguments.new_label.clone(),
    };
    let replaced = ops::tag(&repository, &snapshots, &change, &context.host(), PROGRAM, &SystemClock)?;
    let output = &context.output;
    for (old, new) in &replaced {
        if output.is_json() {
            output.message(&Message::Changed { old_snapshot_id: old.to_hex(), new_snapshot_id: new.to_hex() })?;
        } else {
            output.summary(&format!("{} is now {}", old.short(), new.short()))?;
        }
    }
    let same = snapshots.len() - replaced.len();
    let changed = text::count(replaced.len() as u64, "snapshot", "snapshots");
    output.summary(&format!("changed {changed}, {same} had it so already"))?;
    Ok(Outcome::of_problems(problems))
}
