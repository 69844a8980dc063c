//! `demo`: everything that matters, once, in a scratch directory, with the commands that a person would type.
//!
//! Every line that starts with `$ repo` is parsed and run as it is printed, so the demo can't show what does not
//! work. The comparison at the end is the demo's own walk over both trees and uses nothing of the engine.

mod compare;
mod material;

use std::cell::Cell;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use engine::repository::Secret;
use engine::{EngineError, ErrorKind};

use crate::args::{self, upkeep::Demo};
use crate::commands;
use crate::context::Context;
use crate::environment::Environment;
use crate::exit::{Failure, HEADING, Outcome, TYPED, invalid, io_failure};
use crate::text;

/// Runs the command.
pub(crate) fn run(context: &Context, arguments: &Demo) -> Result<Outcome, Failure> {
    let scratch = Scratch::new(arguments.keep.as_deref())?;
    // Short names in the commands are worth a changed directory; nothing else runs in this process.
    let before = std::env::current_dir().map_err(|error| io_failure("find", ".".as_ref(), error))?;
    std::env::set_current_dir(scratch.path()).map_err(|error| io_failure("enter", scratch.path(), error))?;
    let environment = environment(context, scratch.path());
    let demonstration =
        Demonstration { context, environment, root: scratch.path().to_owned(), after_command: Cell::new(false) };
    let result = demonstration.run();
    let returned = std::env::set_current_dir(&before).map_err(|error| io_failure("return to", &before, error));
    result.and(returned)?;
    match arguments.keep {
        Some(_) => demonstration.say(&format!("\nEverything is still in {}.", scratch.path().display()))?,
        None => {
            scratch.remove()?;
            demonstration.say("\nThe scratch directory is gone. All of it worked.")?;
        }
    }
    Ok(Outcome::Done)
}

/// The directory that everything happens in; removed at the end unless it is to be kept.
enum Scratch {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Scratch {
    fn new(keep: Option<&Path>) -> Result<Self, Failure> {
        let Some(directory) = keep else {
            let directory = tempfile::Builder::new().prefix("repo-demo-").tempdir();
            return Ok(Self::Temporary(
                directory.map_err(|error| io_failure("make a directory in", &std::env::temp_dir(), error))?,
            ));
        };
        let failed = |error| io_failure("make", directory, error);
        std::fs::create_dir_all(directory).map_err(failed)?;
        let directory = directory.canonicalize().map_err(failed)?;
        if std::fs::read_dir(&directory).map_err(failed)?.next().is_some() {
            let subject = format!("{} is not empty", directory.display());
            return Err(EngineError::new(ErrorKind::AlreadyExists, subject).into());
        }
        Ok(Self::Kept(directory))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(directory) => directory,
        }
    }

    fn remove(self) -> Result<(), Failure> {
        if let Self::Temporary(directory) = self {
            let path = directory.path().to_owned();
            directory.close().map_err(|error| io_failure("remove", &path, error))?;
        }
        Ok(())
    }
}

/// None of the person's own settings: the demo must not touch their repository.
fn environment(context: &Context, root: &Path) -> Environment {
    let mut environment = Environment::isolated();
    for (variable, name) in VARIABLES {
        environment = environment.with(variable, root.join(name));
    }
    environment.with("LOGNAME", context.user())
}

const VARIABLES: [(&str, &str); 3] =
    [("REPO_REPOSITORY", "repository"), ("REPO_PASSWORD_FILE", "password"), ("REPO_CACHE_DIR", "cache")];

struct Demonstration<'a> {
    context: &'a Context,
    environment: Environment,
    root: PathBuf,
    /// Whether a command has printed something since the last heading.
    after_command: Cell<bool>,
}

impl Demonstration<'_> {
    fn run(&self) -> Result<(), Failure> {
        let mut read = self.prepare()?;
        self.heading("Save it for the first time: a directory tree, and the output of a command")?;
        self.save()?;
        self.change()?;
        self.heading("Save again: only what is new is stored")?;
        self.save()?;
        read += size_of(&self.root.join("app"))? + size_of(&self.root.join("database.sql"))?;
        self.heading("What is there now, and what changed")?;
        self.repo("snapshots")?;
        self.repo("diff --label app latest~1 latest")?;
        self.repo("ls -l --label app latest:/app")?;
        self.restore()?;
        self.heading("Prove that every byte in the repository can be read")?;
        self.repo("check --read-data")?;
        let stored = size_of(&self.root.join("repository"))?;
        self.heading("In all")?;
        self.say(&format!(
            "4 snapshots hold {}; the repository with all of them takes {}.",
            text::size(read),
            text::size(stored)
        ))
    }

    /// Makes what is to be saved, a password and the repository; says how many bytes there are.
    fn prepare(&self) -> Result<u64, Failure> {
        self.heading("Something to save")?;
        let app = self.root.join("app");
        let files = material::make(&app).map_err(|error| io_failure("fill", &app, error))?;
        self.write_dump(material::Version::First)?;
        let (app_size, dump_size) = (size_of(&app)?, size_of(&self.root.join("database.sql"))?);
        self.say(&format!(
            "app/          a small stack: {} with configuration, pages, uploads and links, {}",
            text::count(files, "file", "files"),
            text::size(app_size)
        ))?;
        self.say(&format!("database.sql  what its database dumps, {}", text::size(dump_size)))?;
        self.write_password()?;
        self.heading("Make a repository; a file holds the password, a random one")?;
        self.typed(&format!("cd {}", shell_words::quote(&self.root.to_string_lossy())))?;
        let variables: Vec<String> =
            VARIABLES.iter().map(|(variable, name)| format!("{variable}=$PWD/{name}")).collect();
        self.typed(&format!("export {}", variables.join(" ")))?;
        self.repo("init")?;
        Ok(app_size + dump_size)
    }

    fn save(&self) -> Result<(), Failure> {
        self.repo("snapshot --label app --tag demo --as /app app")?;
        self.repo("snapshot --label database --tag demo --stdin-from-command app.sql -- cat database.sql")
    }

    fn change(&self) -> Result<(), Failure> {
        self.heading("Time goes by")?;
        let app = self.root.join("app");
        for said in material::change(&app).map_err(|error| io_failure("change", &app, error))? {
            self.say(&format!("app/          {said}"))?;
        }
        self.write_dump(material::Version::Second)?;
        self.say("database.sql  some rows changed, some were added")
    }

    fn restore(&self) -> Result<(), Failure> {
        self.heading("Get it back, and the dump as it was before, too")?;
        self.repo("restore --label app latest:/app --target restored/app")?;
        self.repo("dump --label database --output restored/app.sql latest:/app.sql")?;
        self.repo("dump --label database --output restored/app-before.sql latest~1:/app.sql")?;
        let restored = self.root.join("restored");
        let same = compare::trees(&self.root.join("app"), &restored.join("app"))
            .and_then(|count| {
                compare::files(&self.root.join("database.sql"), &restored.join("app.sql")).map(|()| count)
            })
            .map_err(|difference| EngineError::new(ErrorKind::Damaged, difference))?;
        let before = restored.join("app-before.sql");
        let bytes = std::fs::read(&before).map_err(|error| io_failure("read", &before, error))?;
        if bytes != material::dump(material::Version::First) {
            return Err(EngineError::damaged("restored/app-before.sql is not what was saved first").into());
        }
        self.say(&format!(
            "\nCompared with the originals, without the program's help: {} and both dumps, every byte, mode, time, link: identical.",
            text::count(same, "entry", "entries")
        ))
    }

    fn write_dump(&self, version: material::Version) -> Result<(), Failure> {
        let path = self.root.join("database.sql");
        std::fs::write(&path, material::dump(version)).map_err(|error| io_failure("write", &path, error))
    }

    fn write_password(&self) -> Result<(), Failure> {
        // The engine is the only source of randomness, and a key file's text is a fine password.
        let password = Secret::generate_key_file().to_text().ok_or_else(|| invalid("a key file has no text"))?;
        let password: String = password.split_whitespace().collect();
        let path = self.root.join("password");
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| writeln!(file, "{password}")).map_err(|error| io_failure("write", &path, error))
    }

    /// Shows a command line of the program and runs it.
    fn repo(&self, line: &str) -> Result<(), Failure> {
        let line = format!("repo {line}");
        self.typed(&line)?;
        let words = shell_words::split(&line).map_err(|error| Failure::Usage(error.to_string()))?;
        let cli =
            args::parse(words.into_iter().map(OsString::from)).map_err(|error| Failure::Usage(error.to_string()))?;
        let context = Context::new(cli.global, self.environment.clone(), self.context.cancel.clone());
        let outcome = commands::run(&context, &cli.command)?;
        context.output.flush()?;
        self.after_command.set(true);
        if self.context.cancel.is_requested() {
            return Err(EngineError::new(ErrorKind::Interrupted, "the demo was stopped").into());
        }
        match outcome {
            Outcome::Done => Ok(()),
            Outcome::Problems | Outcome::Damage | Outcome::Waiting | Outcome::Health(_) => {
                Err(invalid(format!("`{line}` had problems")))
            }
        }
    }

    fn typed(&self, line: &str) -> Result<(), Failure> {
        let gap = if self.after_command.replace(false) { "\n" } else { "" };
        self.say(&format!("{gap}{TYPED}$ {line}{TYPED:#}"))
    }

    fn heading(&self, text: &str) -> Result<(), Failure> {
        self.after_command.set(false);
        self.say(&format!("\n{HEADING}{text}{HEADING:#}"))
    }

    /// Prints at once: the commands that run in between have outputs of their own.
    fn say(&self, text: &str) -> Result<(), Failure> {
        self.context.output.line(text)?;
        self.context.output.flush()
    }
}

/// Bytes of a file, or of all files below a directory.
fn size_of(path: &Path) -> Result<u64, Failure> {
    fn add(path: &Path) -> std::io::Result<u64> {
        let metadata = path.symlink_metadata()?;
        if !metadata.is_dir() {
            return Ok(if metadata.is_file() { metadata.len() } else { 0 });
        }
        let mut bytes = 0;
        for entry in std::fs::read_dir(path)? {
            bytes += add(&entry?.path())?;
        }
        Ok(bytes)
    }
    add(path).map_err(|error| io_failure("measure", path, error))
}
