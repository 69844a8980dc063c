//! `undelete`: brings forgotten snapshots back.

use engine::ops::{self, Undeleted};

use crate::args::forget::Undelete;
use crate::context::{Context, PROGRAM, SystemClock};
use crate::exit::{Failure, Outcome};
use crate::messages::Message;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Undelete) -> Result<Outcome, Failure> {
    let repository = context.open()?;
    let done = ops::undelete(&repository, &arguments.snapshots, &context.host(), PROGRAM, &SystemClock)?;
    let output = &context.output;
    for (id, what) in &done {
        if output.is_json() {
            let (action, new) = match what {
                Undeleted::Back(new) => ("undeleted", Some(new)),
                Undeleted::BackBefore(new) => ("undeleted before", Some(new)),
                Undeleted::NotForgotten => ("not forgotten", None),
            };
            let new_snapshot_id = new.map(|id| id.to_hex());
            output.message(&Message::Undelete { snapshot_id: id.to_hex(), new_snapshot_id, action })?;
            continue;
        }
        output.summary(&match what {
            Undeleted::Back(new) => format!("{} is back as {}", id.short(), new.short()),
            Undeleted::BackBefore(new) => format!("{} came back before, as {}", id.short(), new.short()),
            Undeleted::NotForgotten => format!("{} is not forgotten", id.short()),
        })?;
    }
    Ok(Outcome::Done)
}
