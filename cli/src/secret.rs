//! Where the password comes from. Never from a flag's value: other users see those.
//!
//! First that is there: `--password-command`, `--password-file`, `--key-file`; `REPO_PASSWORD_COMMAND`,
//! `REPO_PASSWORD_FILE`, `REPO_KEY_FILE`, `REPO_PASSWORD`; systemd's credential and the container secret
//! `repo-password`; a question, if a person is there to answer it.

use std::ffi::OsString;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use engine::repository::Secret;
use engine::{EngineError, ErrorKind};

use crate::args::Global;
use crate::args::copy::To;
use crate::environment::Environment;
use crate::exit::{Failure, invalid, io_failure};
use crate::signals::Cancel;

/// Name of the credential (systemd) or secret (containers) that holds the password.
const CREDENTIAL: &str = "repo-password";
/// Where containers find their secrets.
const CONTAINER_SECRETS: &str = "/run/secrets";
/// Longest password file in bytes; what is longer is another file.
const PASSWORD_BYTES: u64 = 64 << 10;
/// How often a person may mistype.
pub(crate) const ATTEMPTS: u32 = 3;

/// A place that a password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// What this command prints.
    PasswordCommand(OsString),
    /// What this file holds.
    PasswordFile(PathBuf),
    /// A key file, no password.
    KeyFile(PathBuf),
    /// `REPO_PASSWORD`.
    Variable(OsString),
    /// What a person types.
    Prompt,
}

impl Source {
    /// The first place that is there.
    pub(crate) fn choose(global: &Global, environment: &Environment) -> Self {
        Self::choose_below(global, environment, Path::new(CONTAINER_SECRETS))
    }

    /// The first place for the other repository of a copy; what opens this one, if there is none.
    pub(crate) fn choose_other(
        to: &To,
        number: usize,
        global: &Global,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let count = to.repositories.len();
        let command = of_target("--to-password-command", &to.password_commands, number, count)?;
        let password_file = of_target("--to-password-file", &to.password_files, number, count)?;
        let key_file = of_target("--to-key-file", &to.key_files, number, count)?;
        Ok(None
            .or_else(|| command.map(|command| Self::PasswordCommand(command.into())))
            .or_else(|| password_file.map(Self::PasswordFile))
            .or_else(|| key_file.map(Self::KeyFile))
            .or_else(|| environment.get("REPO_TO_PASSWORD_COMMAND").map(Self::PasswordCommand))
            .or_else(|| environment.path("REPO_TO_PASSWORD_FILE").map(Self::PasswordFile))
            .or_else(|| environment.path("REPO_TO_KEY_FILE").map(Self::KeyFile))
            .or_else(|| environment.get("REPO_TO_PASSWORD").map(Self::Variable))
            .unwrap_or_else(|| Self::choose(global, environment)))
    }

    fn choose_below(global: &Global, environment: &Environment, secrets: &Path) -> Self {
        let flag = None
            .or_else(|| global.password_command.clone().map(|command| Self::PasswordCommand(command.into())))
            .or_else(|| global.password_file.clone().map(Self::PasswordFile))
            .or_else(|| global.key_file.clone().map(Self::KeyFile));
        let credential = |directory: PathBuf| {
            let file = directory.join(CREDENTIAL);
            file.exists().then_some(Self::PasswordFile(file))
        };
        flag.or_else(|| environment.get("REPO_PASSWORD_COMMAND").map(Self::PasswordCommand))
            .or_else(|| environment.path("REPO_PASSWORD_FILE").map(Self::PasswordFile))
            .or_else(|| environment.path("REPO_KEY_FILE").map(Self::KeyFile))
            .or_else(|| environment.get("REPO_PASSWORD").map(Self::Variable))
            .or_else(|| environment.path("CREDENTIALS_DIRECTORY").and_then(credential))
            .or_else(|| credential(secrets.to_owned()))
            .unwrap_or(Self::Prompt)
    }

    /// What may open an existing repository, in the order to try: a password that reads as a recovery code is
    /// tried as one first, since that costs nothing.
    pub(crate) fn existing(&self, question: &str, cancel: &Cancel) -> Result<Vec<Secret>, Failure> {
        if let Self::KeyFile(path) = self {
            return Ok(vec![read_key_file(path)?]);
        }
        let password = match self {
            Self::Prompt => prompt(question, cancel)?,
            _ => self.password()?,
        };
        let code = std::str::from_utf8(&password).ok().and_then(Secret::from_recovery_words);
        Ok(code.into_iter().chain([Secret::Password(password)]).collect())
    }

    /// What a new repository is made with: asks twice, and makes a key file that is not there yet.
    pub(crate) fn new_repository(&self, cancel: &Cancel) -> Result<Secret, Failure> {
        match self {
            Self::KeyFile(path) if !path.exists() => new_key_file(path),
            Self::KeyFile(path) => read_key_file(path),
            Self::Prompt => prompt_twice(cancel),
            _ => Ok(Secret::Password(self.password()?)),
        }
    }

    fn password(&self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::PasswordCommand(command) => run_password_command(command),
            Self::PasswordFile(path) => read_password_file(path),
            Self::Variable(value) => not_empty(value.clone().into_vec(), "REPO_PASSWORD"),
            Self::KeyFile(_) | Self::Prompt => Err(invalid("a key file is not a password")),
        }
    }
}

/// A new password for a key slot: from a file, or asked for twice.
pub(crate) fn new_password(file: Option<&Path>, cancel: &Cancel) -> Result<Secret, Failure> {
    match file {
        Some(path) => Ok(Secret::Password(read_password_file(path)?)),
        None => prompt_twice(cancel),
    }
}

/// Makes a key file that only its owner can read; never replaces one.
pub(crate) fn new_key_file(path: &Path) -> Result<Secret, Failure> {
    let secret = Secret::generate_key_file();
    let text = secret.to_text().ok_or_else(|| invalid("a key file has no text"))?;
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{}", text.trim_end())?;
        file.sync_all()
    };
    write().map_err(|error| io_failure("make the key file", path, error))?;
    Ok(secret)
}

fn read_key_file(path: &Path) -> Result<Secret, Failure> {
    let bytes = read_short(path).map_err(|error| io_failure("read the key file", path, error))?;
    let text = String::from_utf8(bytes).map_err(|_| invalid(format!("{} is not a key file", path.display())))?;
    Ok(Secret::from_key_file(text.trim()).map_err(|error| error.during(path.display()))?)
}

fn read_password_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = read_short(path).map_err(|error| io_failure("read the password file", path, error))?;
    not_empty(bytes, &path.display().to_string())
}

fn read_short(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(PASSWORD_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > PASSWORD_BYTES {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "too long for a password or a key"));
    }
    Ok(bytes)
}

fn run_password_command(command: &OsString) -> Result<Vec<u8>, Failure> {
    let text = command.to_string_lossy();
    let words = shell_words::split(&text).map_err(|error| {
        EngineError::with_source(ErrorKind::Invalid, format!("cannot read the password command `{text}`"), error)
    })?;
    let (program, arguments) = words.split_first().ok_or_else(|| invalid("the password command is empty"))?;
    let output =
        Command::new(program).args(arguments).stdin(Stdio::inherit()).stderr(Stdio::inherit()).output().map_err(
            |error| {
                let subject = format!("cannot run the password command `{program}`");
                EngineError::with_source(ErrorKind::CommandFailed, subject, error)
            },
        )?;
    if !output.status.success() {
        let subject = format!("the password command `{program}` failed: {}", output.status);
        return Err(EngineError::new(ErrorKind::CommandFailed, subject).into());
    }
    not_empty(output.stdout, "what the password command printed")
}

/// The password without the end of its line. An empty one is an accident, never a wish.
fn not_empty(mut password: Vec<u8>, source: &str) -> Result<Vec<u8>, Failure> {
    if password.last() == Some(&b'\n') {
        password.pop();
        if password.last() == Some(&b'\r') {
            password.pop();
        }
    }
    if password.is_empty() { Err(invalid(format!("the password is empty: {source}"))) } else { Ok(password) }
}

/// The value of an option for one of several repositories: there is one for all of them, or one for each.
fn of_target<T: Clone>(option: &str, values: &[T], number: usize, count: usize) -> Result<Option<T>, Failure> {
    match values {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        each if each.len() == count => Ok(Some(each[number].clone())),
        some => Err(Failure::Usage(format!("{option} {} times for {count} of --to: once, or as often", some.len()))),
    }
}

fn prompt(question: &str, cancel: &Cancel) -> Result<Vec<u8>, Failure> {
    // The question goes to the terminal itself; without one on standard error nobody is there to see it.
    if !std::io::stderr().is_terminal() {
        return Err(invalid(
            "no password given: set REPO_PASSWORD_FILE, REPO_PASSWORD_COMMAND or REPO_PASSWORD, or use --password-file",
        ));
    }
    let answer = cancel.while_prompting(|| rpassword::prompt_password(question));
    let password =
        answer.map_err(|error| EngineError::with_source(ErrorKind::Io, "cannot ask for the password", error))?;
    not_empty(password.into_bytes(), "nothing was typed")
}

fn prompt_twice(cancel: &Cancel) -> Result<Secret, Failure> {
    let first = prompt("new password: ", cancel)?;
    if prompt("the same again: ", cancel)? != first {
        return Err(invalid("the two passwords differ; nothing was changed"));
    }
    Ok(Secret::Password(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every source, strongest first, as (global flags, environment, what is chosen).
    #[test]
    fn the_first_source_wins() {
        let credentials = tempfile::tempdir().expect("a directory");
        let secrets = tempfile::tempdir().expect("a directory");
        for directory in [&credentials, &secrets] {
            std::fs::write(directory.path().join(CREDENTIAL), "x\n").expect("written");
        }
        let choose =
            |global: &Global, environment: &Environment| Source::choose_below(global, environment, secrets.path());
        // Built up from the weakest; each step must win over all before it.
        let mut global = Global::default();
        let mut environment = Environment::isolated();
        assert_eq!(Source::choose_below(&global, &environment, Path::new("/no-such-place")), Source::Prompt);
        assert_eq!(choose(&global, &environment), Source::PasswordFile(secrets.path().join(CREDENTIAL)));
        environment = environment.with("CREDENTIALS_DIRECTORY", credentials.path());
        assert_eq!(choose(&global, &environment), Source::PasswordFile(credentials.path().join(CREDENTIAL)));
        environment = environment.with("REPO_PASSWORD", "p");
        assert_eq!(choose(&global, &environment), Source::Variable("p".into()));
        environment = environment.with("REPO_KEY_FILE", "k");
        assert_eq!(choose(&global, &environment), Source::KeyFile("k".into()));
        environment = environment.with("REPO_PASSWORD_FILE", "f");
        assert_eq!(choose(&global, &environment), Source::PasswordFile("f".into()));
        environment = environment.with("REPO_PASSWORD_COMMAND", "c");
        assert_eq!(choose(&global, &environment), Source::PasswordCommand("c".into()));
        global.key_file = Some("flag-k".into());
        assert_eq!(choose(&global, &environment), Source::KeyFile("flag-k".into()));
        global.password_file = Some("flag-f".into());
        assert_eq!(choose(&global, &environment), Source::PasswordFile("flag-f".into()));
        global.password_command = Some("flag-c".into());
        assert_eq!(choose(&global, &environment), Source::PasswordCommand("flag-c".into()));
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let environment = Environment::isolated().with("REPO_PASSWORD", "");
        let chosen = Source::choose_below(&Global::default(), &environment, Path::new("/no-such-place"));
        assert_eq!(chosen, Source::Prompt);
    }

    #[test]
    fn one_line_end_is_not_part_of_the_password() {
        for (bytes, password) in
            [(&b"a b \n"[..], &b"a b "[..]), (b"a\r\n", b"a"), (b"a\n\n", b"a\n"), (b"a", b"a"), (b"\xff\n", b"\xff")]
        {
            assert_eq!(not_empty(bytes.to_vec(), "x").ok().as_deref(), Some(password), "{bytes:?}");
        }
        for empty in [&b""[..], b"\n", b"\r\n"] {
            assert!(not_empty(empty.to_vec(), "x").is_err());
        }
    }

    #[test]
    fn a_password_command_is_split_like_a_shell_does_and_must_succeed() {
        let run = |text: &str| run_password_command(&text.into());
        assert_eq!(run("printf '%s\\n' 'two words'").ok(), Some(b"two words".to_vec()));
        for bad in ["false", "true", "", "'", "/no/such/program"] {
            assert!(run(bad).is_err(), "{bad}");
        }
    }
}
