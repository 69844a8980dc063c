//! `find`: looks for files in snapshots.

use engine::monitor::{Monitor, Problem};
use engine::ops::{self, FindOptions};
use engine::{EngineError, ErrorKind};

use super::{long_line, select, short_line};
use crate::args::browse::Find;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::messages::{Message, NodeFields, Summary};
use crate::text;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Find) -> Result<Outcome, Failure> {
    let progress = context.progress(false);
    let (repository, index) = context.open_indexed(&progress)?;
    let (snapshots, mut problems) =
        select(&repository, Some(&index), &arguments.snapshot, &arguments.filter, &progress)?;
    let options = FindOptions {
        patterns: arguments.patterns.clone(),
        ignore_case: arguments.ignore_case,
        newer: arguments.newer,
        older: arguments.older,
        min_size: arguments.min_size,
        max_size: arguments.max_size,
    };
    let output = &context.output;
    let mut matches = 0u64;
    for (id, snapshot) in &snapshots {
        if context.cancel.is_requested() {
            return Err(EngineError::new(ErrorKind::Interrupted, "find stopped").into());
        }
        let mut first = true;
        let found = ops::find(&repository, &index, snapshot, &options, &mut |path, node| {
            matches += 1;
            if output.is_json() {
                let node = Box::new(NodeFields::new(snapshot, path, node));
                return output.message(&Message::Match { snapshot: id.to_hex(), node });
            }
            if std::mem::take(&mut first) {
                output.summary(&format!("in snapshot {} of {}:", id.short(), text::local_time(snapshot.time)))?;
            }
            let line = if arguments.long { long_line(snapshot, path, node) } else { short_line(path, node) };
            output.line(&line)
        });
        match found {
            // One damaged snapshot does not hide what the others have.
            Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Missing) => {
                problems += 1;
                progress.problem(&Problem { path: id.to_hex().into_bytes(), message: error.to_string() });
            }
            result => result?,
        }
    }
    if output.is_json() {
        output.message(&Message::Summary(Summary::Find { matches, snapshots: snapshots.len() as u64 }))?;
    } else if matches == 0 {
        output.note("nothing found");
    }
    Ok(Outcome::of_problems(problems))
}
