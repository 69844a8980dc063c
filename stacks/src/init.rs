//! A first manifest from a compose file. It is a proposal: a person reads it and makes it right.

use std::fmt::Write as _;
use std::path::Path;

use crate::manifest::yaml::{self, Data, Node};
use crate::manifest::{LoadError, Mistake, is_name};
use crate::templates::{self, Template};

/// The text of a manifest for the stack of a compose file.
///
/// # Errors
/// If the file is not YAML, or declares no services.
pub fn propose(file: &Path, text: &str, directory_name: &str) -> Result<String, LoadError> {
    let fail = |(line, message)| LoadError { mistakes: vec![Mistake { file: file.to_owned(), line, message }] };
    let document = yaml::parse(text).map_err(fail)?;
    let services = document.get("services").filter(|services| !services.entries().is_empty());
    let services = services.ok_or_else(|| fail((0, "there are no `services:` in it".into())))?;
    let name = document.get("name").and_then(Node::as_text).filter(|name| is_name(name)).unwrap_or(directory_name);
    let name = if is_name(name) { name } else { "stack" };
    let compose = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();

    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    line("# What belongs to this stack, and how it comes back. `repo stack check` says what is wrong with it.");
    line(&format!("stack: {name}"));
    line(&format!("compose: {compose}"));
    line("# user: USER               # the Unix user that commands run as");
    let found: Vec<Found<'_>> = services.entries().iter().map(|(name, _, node)| Found::of(name, node)).collect();
    persist(&found, &mut line);
    backups(&found, &mut line);
    line("# Left out of every snapshot, unless --seal-secrets says otherwise.");
    line("secrets: [\".env\", \"*.env\", \"secrets/**\"]");
    line("retention: { last: 3, daily: 7, weekly: 5, monthly: 12 }");
    line("max_age: 26h");
    Ok(out)
}

/// What a compose file says of a service.
struct Found<'a> {
    name: &'a str,
    template: Option<&'static Template>,
    /// Directories of the host, relative to the compose file.
    binds: Vec<String>,
    volumes: Vec<String>,
}

impl<'a> Found<'a> {
    fn of(name: &'a str, node: &Node) -> Self {
        let image = node.get("image").and_then(Node::as_text).unwrap_or_default();
        let template = templates::of_image(image);
        let (mut binds, mut volumes) = (Vec::new(), Vec::new());
        if let Some(Node { data: Data::List(items), .. }) = node.get("volumes") {
            for item in items {
                let short = item.as_text().map(|text| text.split(':').next().unwrap_or_default().to_owned());
                let source = short.or_else(|| Some(item.get("source")?.as_text()?.to_owned()));
                match source {
                    Some(path) if path.starts_with("./") => binds.push(path),
                    Some(path) if !path.is_empty() && !path.starts_with(['/', '~', '$', '.']) => volumes.push(path),
                    _ => {}
                }
            }
        }
        Self { name, template, binds, volumes }
    }
}

fn persist(found: &[Found<'_>], line: &mut impl FnMut(&str)) {
    let mut names: Vec<(String, String)> = Vec::new();
    for service in found.iter().filter(|service| service.template.is_none_or(|template| template.files_too)) {
        for path in &service.binds {
            let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            let plain = if is_name(last) { last.to_owned() } else { service.name.to_owned() };
            if names.iter().any(|(_, known)| known == path) {
                continue;
            }
            let is_taken = names.iter().any(|(known, _)| *known == plain);
            let name = if is_taken { format!("{}-{plain}", service.name) } else { plain };
            names.push((name, path.clone()));
        }
    }
    line("persist:");
    for (name, path) in &names {
        line(&format!("  {name}: {{ subpath: {} }}", quoted(path)));
    }
    if names.is_empty() {
        line("  # data: { subpath: ./data }");
    }
    for service in found {
        for volume in &service.volumes {
            let text = match service.template {
                Some(_) => format!("  # volume {volume} of {}: its data is in the dump below", service.name),
                None => format!(
                    "  # volume {volume} of {} is not saved: bind a directory instead, or write a dump",
                    service.name
                ),
            };
            line(&text);
        }
        if let Some(template) = service.template.filter(|template| !template.files_too) {
            for path in &service.binds {
                line(&format!(
                    "  # {path} of {} is left to its dump: files of {} don't copy",
                    service.name, template.name
                ));
            }
        }
    }
}

fn backups(found: &[Found<'_>], line: &mut impl FnMut(&str)) {
    let with: Vec<_> = found.iter().filter_map(|service| Some((service.name, service.template?))).collect();
    if with.is_empty() {
        line("# services:              # `repo stack templates` has commands for the usual databases");
        return;
    }
    line("services:");
    for (name, template) in with {
        line(&format!("  {}:", quoted(name)));
        template.text.lines().for_each(|text| line(&format!("    {text}")));
    }
}

/// A text as YAML takes it for one.
fn quoted(text: &str) -> String {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_'));
    if plain && !text.is_empty() {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.push_str(&format!("\\{character}")),
            _ if character.is_control() => drop(write!(out, "\\u{:04x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}
