//! `stack`: saves and restores stacks, and looks at their manifests.

mod check;
mod list;
pub(super) mod restore;
mod snapshot;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use stacks::manifest::{self, Stack};
use stacks::{LoadError, Surroundings, init, templates};

use crate::args::stack::{Init, Stack as Arguments, StackAction, Templates, Which};
use crate::context::{Context, SystemClock};
use crate::exit::{Failure, Outcome, invalid, io_failure};
use crate::progress::Progress;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    match &arguments.action {
        StackAction::Snapshot(arguments) => snapshot::run(context, arguments),
        StackAction::Restore(arguments) => restore::run(context, arguments),
        StackAction::List(arguments) => list::run(context, arguments),
        StackAction::Check(arguments) => check::run(context, arguments),
        StackAction::Init(arguments) => propose(context, arguments),
        StackAction::Templates(arguments) => show_templates(context, arguments),
        StackAction::Schema => {
            let schema = serde_json::to_string_pretty(&manifest::schema::schema()).unwrap_or_default();
            context.output.line(&schema)?;
            Ok(Outcome::Done)
        }
    }
}

fn propose(context: &Context, arguments: &Init) -> Result<Outcome, Failure> {
    const NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
    let here = || NAMES.iter().map(PathBuf::from).find(|file| file.is_file());
    let file = arguments.compose.clone().or_else(here);
    let file = file.ok_or_else(|| Failure::Usage("there is no compose file here: name one".into()))?;
    let text = std::fs::read_to_string(&file).map_err(|error| io_failure("read", &file, error))?;
    let absolute = std::path::absolute(&file).unwrap_or_else(|_| file.clone());
    let directory = absolute.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let proposed = init::propose(&file, &text, directory.as_deref().unwrap_or("stack"));
    let proposed = proposed.map_err(|error| refuse(context, &error))?;
    proposed.lines().try_for_each(|line| context.output.line(line))?;
    if std::io::stdout().is_terminal() {
        context.output.note("write it beside the compose file: repo stack init > stack.yaml");
    }
    Ok(Outcome::Done)
}

fn show_templates(context: &Context, arguments: &Templates) -> Result<Outcome, Failure> {
    let names: Vec<&str> = templates::TEMPLATES.iter().map(|template| template.name).collect();
    match &arguments.name {
        None => names.iter().try_for_each(|name| context.output.line(name))?,
        Some(name) => {
            let template = templates::by_name(name);
            let template = template
                .ok_or_else(|| invalid(format!("there is no template {name}; there are {}", names.join(", "))))?;
            template.text.lines().try_for_each(|line| context.output.line(line))?;
        }
    }
    Ok(Outcome::Done)
}

/// Tells every mistake of a manifest; what is left to say is how many.
pub(super) fn refuse(context: &Context, error: &LoadError) -> Failure {
    for mistake in &error.mistakes {
        context.output.warn(&mistake.to_string());
    }
    let count = crate::text::count(error.mistakes.len() as u64, "mistake", "mistakes");
    let file = error.mistakes.first().map(|mistake| mistake.file.display().to_string()).unwrap_or_default();
    invalid(format!("{count} in {file}"))
}

/// A stack that is declared, or why its manifest is none.
struct Declared {
    file: PathBuf,
    stack: Result<Stack, LoadError>,
}

impl Declared {
    /// The stack; `None` if its manifest has mistakes, which are told.
    fn stack_or_tell(&self, context: &Context) -> Option<&Stack> {
        self.stack.as_ref().map_err(|error| refuse(context, error)).ok()
    }
}

/// The stacks that are meant. Manifests with mistakes are among them unless others were named.
fn declared(context: &Context, which: &Which) -> Result<Vec<Declared>, Failure> {
    let mut found: Vec<Declared> =
        files(context, which)?.into_iter().map(|file| Declared { stack: stacks::load(&file), file }).collect();
    let mut names: Vec<&str> =
        found.iter().filter_map(|one| Some(one.stack.as_ref().ok()?.manifest.stack.as_str())).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(invalid(format!("two manifests declare a stack {}", pair[0])));
    }
    if let Some(unknown) = which.names.iter().find(|name| !names.contains(&name.as_str())) {
        for error in found.iter().filter_map(|one| one.stack.as_ref().err()) {
            let _ = refuse(context, error);
        }
        return Err(invalid(format!("no manifest declares a stack {unknown}; there are: {}", names.join(", "))));
    }
    if !which.names.is_empty() {
        found.retain(|one| one.stack.as_ref().is_ok_and(|stack| which.names.contains(&stack.manifest.stack)));
    } else if !which.all && found.len() > 1 {
        let text = format!("{} manifests: name the stacks that are meant, or say --all", found.len());
        return Err(Failure::Usage(text));
    }
    Ok(found)
}

/// The manifests: those that were given, or the one above here, or with names or `--all` those of the machine, too.
fn files(context: &Context, which: &Which) -> Result<Vec<PathBuf>, Failure> {
    if !which.file.is_empty() {
        return Ok(which.file.clone());
    }
    let here = std::env::current_dir().map_err(|error| io_failure("use", Path::new("."), error))?;
    let mut files: Vec<PathBuf> = stacks::find(&here).into_iter().collect();
    if which.all || !which.names.is_empty() {
        let config = context.environment.path("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
        let config = config.or_else(|| Some(context.environment.home()?.join(".config")));
        for directory in config.map(|path| path.join("repo")).into_iter().chain([PathBuf::from("/etc/repo")]) {
            let Ok(entries) = std::fs::read_dir(directory.join("stacks.d")) else { continue };
            let mut more: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            more.retain(|path| path.extension().is_some_and(|kind| kind == "yaml" || kind == "yml"));
            more.sort();
            files.extend(more);
        }
        let mut known = Vec::new();
        files.retain(|file| {
            let real = file.canonicalize().unwrap_or_else(|_| file.clone());
            let is_new = !known.contains(&real);
            known.push(real);
            is_new
        });
    }
    if files.is_empty() {
        let text = "no stack is declared here: make a stack.yaml (repo stack init), or give one with --file";
        return Err(Failure::Usage(text.into()));
    }
    Ok(files)
}

/// Runs `work` with what a stack needs around it.
pub(super) fn surrounded<T>(
    context: &Context,
    progress: &Progress<'_>,
    work: impl FnOnce(&Surroundings<'_>) -> T,
) -> T {
    let environment = context.environment.all();
    let paused = |paused| context.cancel.while_paused(paused);
    work(&Surroundings { clock: &SystemClock, monitor: progress, environment: &environment, paused: &paused })
}
