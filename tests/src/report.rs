//! What reports have in common: when and on what kind of machine they were made, and their place in a file that people
//! wrote the rest of.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Today's date, in UTC.
pub fn today() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() / 86_400);
    let (year, month, day) = date(days as i64);
    format!("{year}-{month:02}-{day:02}")
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

/// Year, month and day of a number of days since 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
