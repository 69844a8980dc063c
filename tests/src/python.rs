//! The Python reader of the format, and the interpreter that has what it imports.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::Scratch;
use crate::binary::{Run, run_command};

/// A file of the specification's directory.
pub fn specification(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../format-spec").join(name)
}

/// The interpreter: `REPO_TEST_PYTHON`, or that of an environment beside the build, which is made if need be.
pub fn interpreter() -> &'static Path {
    static INTERPRETER: OnceLock<PathBuf> = OnceLock::new();
    INTERPRETER.get_or_init(|| std::env::var_os("REPO_TEST_PYTHON").map_or_else(environment, PathBuf::from))
}

fn environment() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test executable");
    let target = test.ancestors().nth(3).expect("target/PROFILE/deps/test").to_owned();
    let place = target.join("python-venv");
    let lock = File::create(target.join("python-venv.lock")).expect("a lock file beside the build");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("the lock");
    let lists =
        [specification("reader/requirements.txt"), Path::new(env!("CARGO_MANIFEST_DIR")).join("requirements.txt")];
    let requirements = lists.iter().map(|list| fs::read(list).expect("requirements")).collect::<Vec<_>>().concat();
    let wanted = target.join("requirements.txt");
    fs::write(&wanted, &requirements).expect("a list beside the build");
    let python = place.join("bin/python");
    if fs::read(place.join("requirements.txt")).is_ok_and(|made_for| made_for == requirements) && works(&python) {
        return python;
    }
    let _ = fs::remove_dir_all(&place);
    let steps = [
        run_command(Command::new("python3").args(["-m", "venv"]).arg(&place)),
        run_command(
            Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
                .arg(&wanted),
        ),
    ];
    for step in steps {
        assert!(
            step.status.success(),
            "no Python environment for the tests: install python3-venv and what {} lists, or set REPO_TEST_PYTHON to \
             an interpreter that has it\n{step}",
            wanted.display()
        );
    }
    fs::copy(&wanted, place.join("requirements.txt")).expect("a note of what it was made for");
    python
}

fn works(python: &Path) -> bool {
    Command::new(python).args(["-c", "import blake3"]).status().is_ok_and(|status| status.success())
}

/// Runs a script with arguments.
#[track_caller]
pub fn script<S: AsRef<OsStr>>(path: &Path, arguments: impl IntoIterator<Item = S>) -> Run {
    run_command(Command::new(interpreter()).arg("-B").arg(path).args(arguments))
}

/// Runs the reader on the repository of `scratch`, opened by its key file.
#[track_caller]
pub fn reader<S: AsRef<OsStr>>(scratch: &Scratch, arguments: impl IntoIterator<Item = S>) -> Run {
    let mut words: Vec<OsString> = vec![scratch.repository().into(), "--key-file".into(), scratch.key_file().into()];
    words.extend(arguments.into_iter().map(|word| word.as_ref().to_owned()));
    script(&specification("reader/repo_reader.py"), words)
}
