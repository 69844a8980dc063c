//! `session`: shows who is writing, and ends what nobody will end.

use engine::ops::{self, SessionEnd, SessionInfo};

use crate::args::session::{List, Revoke, Session, SessionAction};
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::messages::{Message, SessionFields};
use crate::text::{self, Align};

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Session) -> Result<Outcome, Failure> {
    match &arguments.action {
        SessionAction::List(arguments) => list(context, arguments),
        SessionAction::Revoke(arguments) => revoke(context, arguments),
    }
}

fn list(context: &Context, arguments: &List) -> Result<Outcome, Failure> {
    let repository = context.open()?;
    let sessions = ops::list_sessions(&repository, &context.host(), arguments.all)?;
    let output = &context.output;
    if output.is_json() {
        for session in &sessions {
            output.message(&Message::Session(fields(session)))?;
        }
        return Ok(Outcome::Done);
    }
    let header = ["ID", "State", "Since", "Host", "Process", "Program"].map(|title| (title, Align::Left));
    if !sessions.is_empty() {
        for line in text::table(&header, &sessions.iter().map(row).collect::<Vec<_>>()) {
            output.line(&line)?;
        }
    }
    let what = if arguments.all { ("session", "sessions") } else { ("open session", "open sessions") };
    output.summary(&text::count(sessions.len() as u64, what.0, what.1))?;
    Ok(Outcome::Done)
}

fn state(end: SessionEnd) -> &'static str {
    match end {
        SessionEnd::Open => "open",
        SessionEnd::Committed(_) => "committed",
        SessionEnd::Revoked => "revoked",
        SessionEnd::Damaged => "damaged",
    }
}

fn fields(session: &SessionInfo) -> SessionFields<'_> {
    let writer = session.writer.as_ref();
    SessionFields {
        id: session.id.to_hex(),
        state: state(session.end),
        snapshot_id: match session.end {
            SessionEnd::Committed(snapshot) => snapshot.map(|id| id.to_hex()),
            _ => None,
        },
        started: writer.map(|writer| text::rfc3339(writer.started)),
        hostname: writer.map(|writer| writer.host.as_str()),
        process: writer.map(|writer| writer.process),
        program_version: writer.map(|writer| writer.program.as_str()),
        alive: writer.and_then(|writer| writer.is_alive),
        problem: session.problem.as_deref(),
    }
}

fn row(session: &SessionInfo) -> Vec<String> {
    let id = session.id.short();
    let state = match (session.end, session.writer.as_ref().and_then(|writer| writer.is_alive)) {
        (SessionEnd::Open, Some(true)) => "running".to_owned(),
        (SessionEnd::Open, Some(false)) => "interrupted".to_owned(),
        (end, _) => state(end).to_owned(),
    };
    match (&session.writer, &session.problem) {
        (Some(writer), _) => vec![
            id,
            state,
            text::local_time(writer.started),
            text::plain(&writer.host),
            writer.process.to_string(),
            text::plain(&writer.program),
        ],
        (None, problem) => {
            let problem = text::plain(problem.as_deref().unwrap_or_default());
            vec![id, state, String::new(), String::new(), String::new(), problem]
        }
    }
}

fn revoke(context: &Context, arguments: &Revoke) -> Result<Outcome, Failure> {
    let repository = context.open()?;
    let output = &context.output;
    for (id, is_new) in ops::revoke_sessions(&repository, &arguments.ids, &context.host(), arguments.force)? {
        let action = if is_new { "revoked" } else { "revoked before" };
        if output.is_json() {
            output.message(&Message::SessionChange { action, id: id.to_hex() })?;
        } else {
            output.summary(&format!("session {} {action}", id.short()))?;
        }
    }
    Ok(Outcome::Done)
}
