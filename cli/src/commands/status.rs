//! `status`: how stacks are doing.

use std::path::Path;

use engine::clock::Clock;
use engine::monitor::Monitor;
use engine::ops::{self, SnapshotFilter};
use engine::repository::Proofs;
use stacks::status::prometheus;
use stacks::{Health, StackStatus, StatusOptions};

use super::drill::load_all;
use crate::args::drill::Status;
use crate::context::{Context, SystemClock};
use crate::exit::{Failure, Outcome, io_failure};
use crate::messages::Message;
use crate::messages::drill::StatusFields;
use crate::text;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Status) -> Result<Outcome, Failure> {
    let declared = load_all(context, &arguments.file)?;
    let progress = context.progress(false);
    let repository = context.open()?;
    let list = ops::list_snapshots(&repository, &SnapshotFilter::default())?;
    let proofs = Proofs::load(&repository)?;
    let unreadable = list.problems.iter().chain(&proofs.problems);
    let unreadable = unreadable.map(|problem| progress.problem(problem)).count();
    let options = StatusOptions {
        max_age: arguments.max_age.map(|age| age.0),
        max_proof_age: arguments.max_proof_age.map(|age| age.0),
    };
    let manifests: Vec<_> = declared.iter().map(|stack| &stack.manifest).collect();
    let stacks = stacks::status(&list.snapshots, &proofs, &manifests, &options, SystemClock.now());
    drop(progress);
    if let Some(file) = &arguments.prometheus {
        write_whole(file, &prometheus(&stacks)).map_err(|error| io_failure("write", file, error))?;
    }
    stacks.iter().try_for_each(|stack| show(context, stack))?;
    if stacks.is_empty() {
        context.output.summary("no snapshot is of a stack")?;
    }
    let worst = stacks.iter().map(|stack| stack.health).max().unwrap_or_default();
    Ok(Outcome::Health(worst.max(if unreadable > 0 { Health::Critical } else { Health::Good })))
}

/// The collector must never see a half: it reads whenever it likes.
fn write_whole(file: &Path, text: &str) -> std::io::Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut whole = tempfile::Builder::new().prefix(".repo-status-").tempfile_in(directory)?;
    std::io::Write::write_all(&mut whole, text.as_bytes())?;
    // Another user reads it.
    std::fs::set_permissions(whole.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    whole.persist(file).map_err(|error| error.error)?;
    Ok(())
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Good => "good",
        Health::Warning => "warning",
        Health::Critical => "critical",
    }
}

fn show(context: &Context, status: &StackStatus) -> Result<(), Failure> {
    let output = &context.output;
    let state = word(status.health);
    if output.is_json() {
        return Ok(output.message(&Message::StackStatus(StatusFields {
            stack: status.stack.clone(),
            state,
            reasons: status.reasons.clone(),
            snapshots: status.snapshots,
            snapshot_id: status.last.map(|(id, _)| id.to_hex()),
            time: status.last.map(|(_, time)| text::rfc3339(time)),
            age_seconds: status.age,
            max_age_seconds: status.max_age,
            drilled: status.tried.map(|(time, _)| text::rfc3339(time)),
            proved: status.proved.map(|(time, _)| text::rfc3339(time)),
            proved_snapshot_id: status.proved.map(|(_, id)| id.to_hex()),
            bytes: status.bytes,
            bytes_before: status.bytes_before,
            data_added_packed: status.bytes_added,
            error_count: status.problems,
        }))?);
    }
    let last = status.last.map_or("never".to_owned(), |(_, time)| text::local_time(time));
    let proved = status.proved.map_or("never".to_owned(), |(time, _)| text::local_time(time));
    let line = format!(
        "{:<9}{}: last snapshot {last}, proved {proved}, {} ({} added)",
        state.to_uppercase(),
        status.stack,
        text::size(status.bytes),
        text::size(status.bytes_added),
    );
    output.line(&line)?;
    status.reasons.iter().try_for_each(|reason| output.line(&format!("         {reason}")))?;
    Ok(())
}
