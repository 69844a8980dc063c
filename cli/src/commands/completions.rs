//! `completions`: prints a completion script for a shell.

use crate::args::{self, upkeep::Completions};
use crate::context::Context;
use crate::exit::{Failure, Outcome};

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Completions) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut args::command(), "repo", &mut script);
    context.output.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Outcome::Done)
}
