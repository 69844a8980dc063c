//! What reports have in common: when and on what kind of machine they were made, and their place in a file that people
//! wrote the rest of.

use std::path::Path;

/// Today's date, in UTC.
pub fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}

/// Architecture, number and kind of processors.
pub fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {processors} processors ({})", std::env::consts::ARCH, processor())
}

/// What kind of processor this is, as the system tells it.
fn processor() -> String {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = told.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown").to_owned()
}

/// Puts a text between the marks of this name in a file.
///
/// # Errors
/// If the file can't be read or written, or has no such marks.
pub fn put_between_marks(path: &Path, name: &str, text: &str) -> Result<(), String> {
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->\n"));
    let about = |what: &dyn std::fmt::Display| format!("report {}: {what}", path.display());
    let old = std::fs::read_to_string(path).map_err(|error| about(&error))?;
    let marked = old.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let (before, after) = marked.ok_or_else(|| about(&"no marks to write between"))?;
    std::fs::write(path, format!("{before}{begin}\n{text}\n{end}{after}")).map_err(|error| about(&error))
}
