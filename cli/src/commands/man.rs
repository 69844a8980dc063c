//! `man`: prints the manual, or writes a page for every command.

use crate::args::{self, upkeep::Man};
use crate::context::Context;
use crate::exit::{Failure, Outcome, io_failure};

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Man) -> Result<Outcome, Failure> {
    let output = &context.output;
    let Some(directory) = &arguments.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(args::command())
            .render(&mut page)
            .map_err(|error| io_failure("write the manual of", "repo".as_ref(), error))?;
        output.line(String::from_utf8_lossy(&page).trim_end())?;
        return Ok(Outcome::Done);
    };
    std::fs::create_dir_all(directory).map_err(|error| io_failure("make", directory, error))?;
    clap_mangen::generate_to(args::command(), directory)
        .map_err(|error| io_failure("write manual pages to", directory, error))?;
    output.summary(&format!("wrote the manual pages to {}", directory.display()))?;
    Ok(Outcome::Done)
}
