//! `key`: manages passwords, key files and recovery codes.

use engine::id::SlotId;
use engine::monitor::Monitor;
use engine::ops::{self, ClientInfo, KeySlotInfo, NewClient, RepairOptions};
use engine::repository::Secret;

use crate::args::keys::{Add, Key, KeyAction, NewSecret, Passwd, Remove, Rotate};
use crate::args::upkeep::Kdf;
use crate::context::{Context, PROGRAM, SystemClock};
use crate::exit::{Failure, Outcome, invalid};
use crate::messages::{KdfFields, Message};
use crate::secret::{new_key_file, new_password};
use crate::text::{self, Align};

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Key) -> Result<Outcome, Failure> {
    match &arguments.action {
        KeyAction::List => list(context),
        KeyAction::Add(arguments) => add(context, arguments),
        KeyAction::Remove(arguments) => remove(context, arguments),
        KeyAction::Passwd(arguments) => passwd(context, arguments),
        KeyAction::Recovery => recovery(context),
        KeyAction::Rotate(arguments) => rotate(context, arguments),
    }
}

fn list(context: &Context) -> Result<Outcome, Failure> {
    let repository = context.open()?;
    let (slots, mut problems) = ops::list_keys(&repository)?;
    let (clients, unreadable) = ops::list_clients(&repository)?;
    problems.extend(unreadable);
    let of_slot = |slot: &KeySlotInfo| clients.iter().find(|client| ops::slot_of_client(client.id) == slot.id);
    let progress = context.progress(false);
    for problem in &problems {
        progress.problem(problem);
    }
    drop(progress);
    let output = &context.output;
    if output.is_json() {
        for slot in &slots {
            output.message(&Message::Key {
                id: slot.id.to_hex(),
                kind: slot.kind,
                label: &slot.label,
                created: text::rfc3339(slot.created),
                current: slot.current,
                write_only: slot.only_adds,
                host: of_slot(slot).map(|client| client.host.as_str()),
                kdf: slot.kdf.map(|(memory_kib, passes, lanes)| KdfFields { memory_kib, passes, lanes }),
            })?;
        }
    } else {
        let header = [
            ("", Align::Left),
            ("ID", Align::Left),
            ("Kind", Align::Left),
            ("May", Align::Left),
            ("Created", Align::Left),
            ("Cost", Align::Left),
            ("Label", Align::Left),
        ];
        for line in text::table(&header, &slots.iter().map(|slot| row(slot, of_slot(slot))).collect::<Vec<_>>()) {
            output.line(&line)?;
        }
        output.summary("* opened the repository just now")?;
    }
    Ok(Outcome::of_problems(problems.len() as u64))
}

fn row(slot: &KeySlotInfo, client: Option<&ClientInfo>) -> Vec<String> {
    let cost = match slot.kdf {
        Some((memory_kib, passes, lanes)) => {
            format!("{} x {passes}, {lanes} lanes", text::size(u64::from(memory_kib) << 10))
        }
        None => String::new(),
    };
    vec![
        if slot.current { "*" } else { "" }.to_owned(),
        slot.id.short(),
        slot.kind.to_owned(),
        match client {
            Some(client) => format!("add for {}", text::plain(&client.host)),
            None if slot.only_adds => "add".to_owned(),
            None => "all".to_owned(),
        },
        text::local_time(slot.created),
        cost,
        text::plain(&slot.label),
    ]
}

fn add(context: &Context, arguments: &Add) -> Result<Outcome, Failure> {
    let repository = context.open()?;
    let strong = arguments.kdf == Kdf::Strong;
    let default_label = format!("{}@{}", context.user(), context.host());
    let label = arguments.label.as_deref().unwrap_or(&default_label);
    let secret = new_secret(context, &arguments.secret)?;
    let added = match &arguments.for_host {
        Some(host) if arguments.write_only => {
            let label = arguments.label.as_deref().unwrap_or(host).to_owned();
            let by = RepairOptions { dry_run: false, host: context.host(), program: PROGRAM.to_owned() };
            let new = NewClient { host: host.clone(), label, like: arguments.like.clone(), strong_kdf: strong, by };
            ops::add_client(&repository, &secret, &new, &SystemClock).map(|client| ops::slot_of_client(client.id))
        }
        _ => ops::add_key(&repository, &secret, label, strong, &SystemClock),
    };
    if let (Err(_), Some(path)) = (&added, &arguments.secret.new_key_file) {
        // A key file that opens nothing would only mislead; if it can't be removed, the error is still the other one.
        let _ = std::fs::remove_file(path);
    }
    changed(context, "added", added?)
}

fn new_secret(context: &Context, arguments: &NewSecret) -> Result<Secret, Failure> {
    match &arguments.new_key_file {
        Some(path) => new_key_file(path),
        None => new_password(arguments.new_password_file.as_deref(), &context.cancel),
    }
}

fn remove(context: &Context, arguments: &Remove) -> Result<Outcome, Failure> {
    let repository = context.open()?;
    let removed = ops::remove_key(&repository, &arguments.id, arguments.force, &SystemClock)?;
    let outcome = changed(context, "removed", removed.slot)?;
    if let Some(ended) = removed.ended.filter(|_| !context.output.is_json()) {
        let host = text::plain(&ended.host);
        let count = text::count(ended.sessions, "session", "sessions");
        context.output.summary(&format!("{count} of {host} with it stay; nothing that it may still put counts"))?;
        if ended.left_out > 0 {
            let count = text::count(ended.left_out, "session", "sessions");
            context.output.warn(&format!("{count} of {host} named snapshots that are not there, and no longer count"));
        }
    }
    Ok(outcome)
}

fn rotate(context: &Context, arguments: &Rotate) -> Result<Outcome, Failure> {
    let repository = context.open()?;
    let secret = new_secret(context, &arguments.secret)?;
    let rotated = ops::rotate(&repository, &secret, arguments.kdf == Kdf::Strong, &SystemClock);
    let is_unused = match &rotated {
        Ok(rotation) => rotation.slot.is_none(),
        Err(failure) => !failure.may_open,
    };
    match &arguments.secret.new_key_file {
        // A key file that opens nothing would only mislead.
        Some(path) if is_unused => drop(std::fs::remove_file(path)),
        Some(_) if rotated.is_err() => {
            context.output.warn("the new key file may open the repository, or will: keep it, and try both");
        }
        _ => {}
    }
    let rotation = rotated.map_err(|failure| failure.error)?;
    let progress = context.progress(false);
    for problem in &rotation.problems {
        progress.problem(problem);
    }
    drop(progress);
    let outcome = Outcome::of_problems(rotation.problems.len() as u64);
    let output = &context.output;
    if output.is_json() {
        let removed = rotation.removed.iter().map(|slot| slot.id.to_hex()).collect();
        let id = rotation.slot.map(|slot| slot.to_hex());
        output.message(&Message::KeyRotation { epoch: rotation.epoch, id, removed })?;
        return Ok(outcome);
    }
    match rotation.slot {
        Some(slot) => {
            output.summary(&format!(
                "secret {} holds from now on; its only key is {}",
                rotation.epoch,
                slot.short()
            ))?;
        }
        None => output.summary("brought an interrupted rotation to its end; run it again for a new secret")?,
    }
    for slot in &rotation.removed {
        let what = if slot.only_adds { "write-only key" } else { "key" };
        output.line(&format!("removed {what} {} {} ({})", slot.id.short(), text::plain(&slot.label), slot.kind))?;
    }
    output.note("Whoever used one of these needs a new one: repo key add, and --like for those that can only add.");
    Ok(outcome)
}

fn passwd(context: &Context, arguments: &Passwd) -> Result<Outcome, Failure> {
    let repository = context.open()?;
    let secret = new_password(arguments.new_password_file.as_deref(), &context.cancel)?;
    let id = ops::change_password(&repository, &secret, arguments.kdf == Kdf::Strong, &SystemClock)?;
    changed(context, "replaced", id)
}

fn recovery(context: &Context) -> Result<Outcome, Failure> {
    let repository = context.open()?;
    let secret = Secret::generate_recovery_code();
    let words = secret.to_text().ok_or_else(|| invalid("a recovery code has no words"))?;
    let id = ops::add_key(&repository, &secret, "recovery code", false, &SystemClock)?.to_hex();
    let output = &context.output;
    if output.is_json() {
        output.message(&Message::RecoveryCode { id, words: &words })?;
        return Ok(Outcome::Done);
    }
    output.note("These words open the repository like a password. Write them down; they are not shown again.");
    // Four lines of six are easier to copy and to compare.
    for line in words.split_whitespace().collect::<Vec<_>>().chunks(6) {
        output.line(&line.join(" "))?;
    }
    Ok(Outcome::Done)
}

fn changed(context: &Context, action: &'static str, id: SlotId) -> Result<Outcome, Failure> {
    let output = &context.output;
    if output.is_json() {
        output.message(&Message::KeyChange { action, id: id.to_hex() })?;
    } else {
        let short = id.short();
        output.summary(&match action {
            "replaced" => format!("key replaced; the new one is {short}"),
            _ => format!("key {short} {action}"),
        })?;
    }
    Ok(Outcome::Done)
}
