//! `version`: says what this program is.

use crate::context::{Context, PROGRAM};
use crate::exit::{Failure, Outcome};
use crate::messages::Message;

/// Runs the command.
pub(super) fn run(context: &Context) -> Result<Outcome, Failure> {
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    let output = &context.output;
    if output.is_json() {
        output.message(&Message::Version { version: env!("CARGO_PKG_VERSION"), arch, os })?;
    } else {
        output.line(&format!("{PROGRAM} ({arch}-{os})"))?;
    }
    Ok(Outcome::Done)
}
