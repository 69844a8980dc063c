//! `ls`: lists what a snapshot holds.

use engine::ops;

use super::{long_line, short_line};
use crate::args::browse::Ls;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::messages::{Message, NodeFields};

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Ls) -> Result<Outcome, Failure> {
    let progress = context.progress(false);
    let (repository, index) = context.open_indexed(&progress)?;
    let what = arguments.what.clone().unwrap_or_default();
    let (_, snapshot) = ops::find_snapshot_of(&repository, &index, &what.snapshot, &arguments.filter.to_engine())?;
    drop(progress);
    let output = &context.output;
    ops::ls(&repository, &index, &snapshot, &what.path, arguments.recursive, &mut |path, node| {
        if output.is_json() {
            output.message(&Message::Node(Box::new(NodeFields::new(&snapshot, path, node))))
        } else if arguments.long {
            output.line(&long_line(&snapshot, path, node))
        } else {
            output.line(&short_line(path, node))
        }
    })?;
    Ok(Outcome::Done)
}
