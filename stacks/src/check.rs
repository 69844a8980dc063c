//! A manifest against what is there: what would make a snapshot fail, or lack something.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use engine::monitor::Silent;

use crate::account::Account;
use crate::hook::{engine_of, is_there};
use crate::manifest::yaml::{self, Node};
use crate::manifest::{Exec, Stack, clean};
use crate::secrets;

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A snapshot would fail, or lack something.
    Problem(String),
    /// Good to know.
    Note(String),
}

/// Compares a stack with this machine. Runs nothing.
pub fn check(stack: &Stack, environment: &BTreeMap<OsString, OsString>) -> Vec<Finding> {
    let mut found = Vec::new();
    let manifest = &stack.manifest;
    if !stack.root.is_dir() {
        found.push(Finding::Problem(format!("its directory {} is not there", stack.root.display())));
    }
    if let Some(user) = &manifest.user
        && let Err(error) = Account::find(user)
    {
        found.push(Finding::Problem(error.to_string()));
    }
    for (name, persist) in &manifest.persist {
        let path = stack.root.join(clean(&persist.subpath));
        match path.symlink_metadata() {
            Err(error) => found.push(Finding::Problem(format!("persist {name}: {}: {error}", path.display()))),
            Ok(there) if there.is_symlink() => {
                found.push(Finding::Problem(format!("persist {name}: {} is a symbolic link", path.display())));
            }
            Ok(there) if there.is_dir() && std::fs::read_dir(&path).is_err() => {
                found.push(Finding::Problem(format!("persist {name}: {} can't be read", path.display())));
            }
            Ok(_) => {}
        }
    }
    let programs: BTreeSet<&str> = manifest.backups().filter_map(|(_, backup)| engine_of(backup)).collect();
    for program in programs {
        if !is_there(OsStr::new(program), environment) {
            found.push(Finding::Problem(format!("`{program}` is not there, which services run commands with")));
        }
    }
    for (service, backup) in manifest.backups().filter(|(_, backup)| backup.dump.is_some() && backup.verify.is_none()) {
        let _ = backup;
        found.push(Finding::Note(format!(
            "service {service} has no `verify`: nothing can tell whether its dump is right"
        )));
    }
    check_compose(stack, &mut found);
    check_secrets(stack, &mut found);
    found
}

/// Services that compose does not know.
fn check_compose(stack: &Stack, found: &mut Vec<Finding>) {
    let uses_compose = stack.manifest.backups().any(|(_, backup)| backup.exec == Exec::Compose);
    let names = match &stack.manifest.compose {
        Some(file) => vec![file.as_str()],
        None => vec!["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"],
    };
    let file = names.iter().map(|name| stack.root.join(name)).find(|file| file.is_file());
    if !uses_compose {
        return;
    }
    let Some(file) = file else {
        found.push(Finding::Problem("there is no compose file, which `exec: compose` needs".into()));
        return;
    };
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    match yaml::parse(&text) {
        Ok(document) => {
            let known = |service: &str| document.get("services").and_then(|all: &Node| all.get(service)).is_some();
            for (service, _) in stack.manifest.backups().filter(|(_, backup)| backup.exec == Exec::Compose) {
                // What a file includes or extends is compose's to resolve.
                if !known(service) && document.get("include").is_none() {
                    found.push(Finding::Problem(format!("{} has no service {service}", file.display())));
                }
            }
        }
        Err((line, message)) => found.push(Finding::Problem(format!("{}:{line}: {message}", file.display()))),
    }
}

/// Which files are left out, and which look as if they should be.
fn check_secrets(stack: &Stack, found: &mut Vec<Finding>) {
    match secrets::find(stack, &Silent) {
        Ok(files) if files.is_empty() => {}
        Ok(files) => {
            let names: Vec<String> = files.iter().take(10).map(|path| path.display().to_string()).collect();
            let more = if files.len() > names.len() { ", and more" } else { "" };
            found.push(Finding::Note(format!("left out as secrets: {}{more}", names.join(", "))));
        }
        Err(error) => found.push(Finding::Problem(error.to_string())),
    }
}
