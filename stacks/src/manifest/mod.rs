//! The manifest of a stack: types, and how a file becomes one.
//!
//! A file is read into nodes that know their lines ([`yaml`]). Whichever of the three forms it has, the nodes are put
//! into the one form of [`Manifest`] (`forms`), compared with the schema that is generated from the types
//! ([`schema`]), and then with what a schema can't say (`check`). All mistakes are told at once.

mod check;
mod forms;
pub mod schema;
#[cfg(test)]
mod tests;
mod types;
pub mod yaml;

use std::fmt;
use std::path::{Path, PathBuf};

pub use check::is_name;
pub use types::{Backup, Drill, Duration, Exec, Manifest, Persist, Retention, Service, clean};

/// Length in bytes of the longest manifest.
const MANIFEST_BYTES: u64 = 4 << 20;

/// Names under which [`find`] looks for a manifest. The last ones count only if they have `x-repo`.
const NAMES: [&str; 6] =
    ["stack.yaml", "stack.yml", "compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

/// A stack: its manifest, and where it is on this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// What the file declares.
    pub manifest: Manifest,
    /// The directory that the manifest's paths are relative to, absolute.
    pub root: PathBuf,
    /// The file that it was read from, absolute.
    pub file: PathBuf,
}

/// One thing that is wrong in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1; 0 if it is about the whole file.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.message),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.message),
        }
    }
}

/// Why a file is no manifest: every mistake in it, in the order of their lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// At least one.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, mistake) in self.mistakes.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

/// Reads and checks the manifest in `file`. Paths in it are relative to the directory of the file, which is that of
/// the file itself if `file` is a link to it, unless the manifest names another `directory`.
///
/// # Errors
/// All that is wrong with it.
pub fn load(file: &Path) -> Result<Stack, LoadError> {
    let fail = |message: String| LoadError { mistakes: vec![Mistake { file: file.to_owned(), line: 0, message }] };
    let real = std::fs::canonicalize(file).map_err(|error| fail(format!("cannot be opened: {error}")))?;
    let size = std::fs::metadata(&real).map_err(|error| fail(format!("cannot be read: {error}")))?.len();
    if size > MANIFEST_BYTES {
        return Err(fail(format!("has {size} bytes, which no manifest has")));
    }
    let text = std::fs::read_to_string(&real).map_err(|error| fail(format!("cannot be read: {error}")))?;
    let beside = real.parent().unwrap_or(Path::new("/"));
    let manifest = parse(file, &text, beside)?;
    let root = manifest.directory.as_ref().map_or_else(|| beside.to_owned(), PathBuf::from);
    Ok(Stack { manifest, root, file: real })
}

/// Reads a manifest from `text`. `file` is what mistakes are told about, and `beside` the directory whose name the
/// stack gets if the text names none.
///
/// # Errors
/// All that is wrong with it.
pub fn parse(file: &Path, text: &str, beside: &Path) -> Result<Manifest, LoadError> {
    let told = |found: Vec<(usize, String)>| {
        let mut mistakes: Vec<Mistake> =
            found.into_iter().map(|(line, message)| Mistake { file: file.to_owned(), line, message }).collect();
        mistakes.sort_by_key(|mistake| mistake.line);
        LoadError { mistakes }
    };
    let document = yaml::parse(text).map_err(|error| told(vec![error]))?;
    let name = beside.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut node = forms::normalize(document, &name).map_err(|error| told(vec![error]))?;
    let mut mistakes = schema::mistakes(&mut node);
    match serde_json::from_value::<Manifest>(node.to_json()) {
        Ok(manifest) => {
            mistakes.extend(check::mistakes(&manifest, &node, mistakes.is_empty()));
            if mistakes.is_empty() { Ok(manifest) } else { Err(told(mistakes)) }
        }
        // What the schema lets pass and the types don't would be a bug; it is told all the same.
        Err(error) if mistakes.is_empty() => Err(told(vec![(0, error.to_string())])),
        Err(_) => Err(told(mistakes)),
    }
}

/// The manifest of the stack that `from` is in: the first that is there from `from` upward.
pub fn find(from: &Path) -> Option<PathBuf> {
    from.ancestors().find_map(|directory| {
        NAMES.iter().map(|name| directory.join(name)).find(|file| {
            let is_own = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("stack."));
            file.is_file() && (is_own || declares_a_stack(file))
        })
    })
}

/// Whether a compose file has `x-repo`, or `persist` as the seeds write it.
fn declares_a_stack(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| line.starts_with("x-repo:") || line.starts_with("persist:"))
}

impl Manifest {
    /// The manifest that a snapshot recorded.
    ///
    /// # Errors
    /// If it is none that this version understands.
    pub fn from_recorded(text: &str) -> Result<Self, LoadError> {
        parse(Path::new("the recorded manifest"), text, Path::new("/"))
    }

    /// What a snapshot records: all of it but for what is about this machine only.
    pub fn to_recorded(&self) -> String {
        let portable = Self { directory: None, ..self.clone() };
        serde_json::to_string(&portable).unwrap_or_default()
    }
}
