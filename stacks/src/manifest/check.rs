//! What a schema can't say about a manifest.

use super::types::{Backup, Duration, Exec, Manifest, clean};
use super::yaml::{LineError, Node};

/// Length in bytes of the longest name.
const NAME_BYTES: usize = 64;

/// Whether a text can be the name of a stack, a persist path or a service: a part of a path, and nothing that a
/// terminal, a shell or an option could take for something else.
pub fn is_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let rest = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    first && rest && text.len() <= NAME_BYTES
}

/// All that is wrong with a manifest whose nodes are as the schema says. `is_whole`: none had to be taken out for that.
pub(super) fn mistakes(manifest: &Manifest, node: &Node, is_whole: bool) -> Vec<LineError> {
    let mut found = Vec::new();
    let mut wrong = |path: &[&str], message: String| found.push((node.line_of(path), message));
    const NAMES: &str = "letters, digits, `.`, `_` and `-`, up to 64, beginning with a letter or digit";
    if !is_name(&manifest.stack) {
        wrong(&["stack"], format!("stack: {:?} is no name: expected {NAMES}", manifest.stack));
    }
    if manifest.directory.as_ref().is_some_and(|path| !path.starts_with('/')) {
        wrong(&["directory"], "directory: expected an absolute path".into());
    }
    if manifest.project.as_ref().is_some_and(|name| !is_name(name)) {
        wrong(&["project"], format!("project: expected {NAMES}"));
    }
    if let Some(path) = manifest.compose.as_ref().filter(|path| !is_below(path)) {
        wrong(&["compose"], format!("compose: {path:?} is not below the stack's directory"));
    }
    if is_whole && manifest.persist.is_empty() && manifest.backups().next().is_none() {
        wrong(&[], "nothing to save: neither `persist` nor a service with `backup`".into());
    }
    check_persist(manifest, &mut wrong);
    for (name, backup) in manifest.backups() {
        if !is_name(name) {
            wrong(&["services", name], format!("services: {name:?} is no name: expected {NAMES}"));
        }
        check_backup(name, backup, &mut wrong);
    }
    for pattern in &manifest.secrets {
        if ignore::gitignore::GitignoreBuilder::new("/").add_line(None, pattern).is_err() {
            wrong(&["secrets"], format!("secrets: {pattern:?} is no pattern"));
        }
    }
    if let Some(text) = &manifest.max_age
        && let Err(expected) = text.parse::<Duration>()
    {
        wrong(&["max_age"], format!("max_age: {expected}"));
    }
    if let Some(text) = manifest.retention.as_ref().and_then(|retention| retention.within.as_ref())
        && let Err(error) = text.parse::<engine::retention::Span>()
    {
        wrong(&["retention", "within"], format!("retention.within: {error}"));
    }
    if is_whole && manifest.retention.as_ref().is_some_and(|retention| retention.policy().is_empty()) {
        wrong(&["retention"], "retention: keeps nothing at all".into());
    }
    found
}

fn check_persist(manifest: &Manifest, wrong: &mut impl FnMut(&[&str], String)) {
    let mut places: Vec<(String, &str)> = Vec::new();
    for (name, persist) in &manifest.persist {
        let path = ["persist", name.as_str(), "subpath"];
        if !is_name(name) {
            wrong(&path[..2], format!("persist: {name:?} is no name"));
        }
        if !is_below(&persist.subpath) {
            wrong(&path, format!("persist.{name}.subpath: {:?} is not below the stack's directory", persist.subpath));
        }
        let place = clean(&persist.subpath);
        if place.is_empty() {
            wrong(
                &path,
                format!("persist.{name}.subpath: the stack's directory itself is not data; name what is in it"),
            );
        } else if let Some((_, other)) = places.iter().find(|(known, _)| *known == place) {
            wrong(&path, format!("persist.{name}.subpath: the same as that of {other}"));
        }
        places.push((place, name));
        for pattern in &persist.exclude {
            if ignore::gitignore::GitignoreBuilder::new("/").add_line(None, pattern).is_err() {
                wrong(&["persist", name, "exclude"], format!("persist.{name}.exclude: {pattern:?} is no pattern"));
            }
        }
    }
}

fn check_backup(name: &str, backup: &Backup, wrong: &mut impl FnMut(&[&str], String)) {
    let path = |key: &'static str| ["services", name, "backup", key];
    let mut say = |key: &'static str, text: &str| wrong(&path(key), format!("services.{name}.backup.{key}: {text}"));
    if backup.dump.is_none() && !backup.pauses() {
        say("dump", "missing; a service needs `dump`, `quiesce` or `stop`");
    }
    if backup.restore.is_some() && backup.dump.is_none() {
        say("restore", "there is no `dump` that it could restore");
    }
    if backup.dump.is_some() && backup.restore.is_none() {
        say("restore", "missing: a dump that nothing brings back is no backup");
    }
    if backup.quiesce.is_some() != backup.resume.is_some() {
        say("quiesce", "`quiesce` and `resume` belong together");
    }
    if backup.stop && backup.quiesce.is_some() {
        say("stop", "either `stop` or `quiesce`");
    }
    if backup.stop && backup.exec == Exec::Host {
        say("stop", "there is no container to stop; use `quiesce` and `resume`");
    }
    if backup.container.is_some() && !matches!(backup.exec, Exec::Docker | Exec::Podman) {
        say("container", "only for `exec: docker` and `exec: podman`");
    }
    if backup.container.as_ref().is_some_and(|container| !is_name(container)) {
        say("container", "is no name of a container");
    }
    if let Some(Err(expected)) = backup.timeout.as_ref().map(|text| text.parse::<Duration>()) {
        say("timeout", expected);
    }
    let commands = [&backup.dump, &backup.restore, &backup.verify, &backup.quiesce, &backup.resume];
    for (command, key) in commands.into_iter().zip(["dump", "restore", "verify", "quiesce", "resume"]) {
        if command.as_ref().is_some_and(|command| command.trim().is_empty() || command.contains('\0')) {
            say(key, "the command is empty");
        }
    }
    let of_drill = backup.drill.iter().flat_map(|drill| [Some(&drill.start), drill.stop.as_ref()]).flatten();
    if of_drill.clone().any(|command| command.trim().is_empty() || command.contains('\0')) {
        say("drill", "a command is empty");
    }
    if backup.drill.is_some() && backup.restore.is_none() {
        say("drill", "there is no `restore` that it could try");
    }
    for variable in &backup.environment {
        let is_variable = variable.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if variable.is_empty() || !is_variable {
            say("environment", &format!("{variable:?} is no name of a variable; values are not written here"));
        } else if variable.starts_with("REPO_") {
            say("environment", &format!("{variable} is for repo only; a command never gets it"));
        }
    }
}

/// Whether a path stays below where it begins.
fn is_below(path: &str) -> bool {
    !path.is_empty() && !path.starts_with('/') && !path.contains('\0') && path.split('/').all(|part| part != "..")
}
