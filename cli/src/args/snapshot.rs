//! Arguments of `snapshot`.

use std::ffi::OsString;
use std::path::PathBuf;

use engine::clock::Timestamp;

use super::copy::FanOut;
use super::values;

const EXAMPLES: &str = "Examples:
  repo snapshot /etc /home
  repo snapshot --exclude '*.tmp' --exclude-caches --label home /home
  repo snapshot --dry-run -v /srv/app
  repo snapshot --as /app --label app /mnt/lvm-snapshot/app
  repo snapshot --stdin-from-command app.sql --label db -- pg_dump app
  pg_dump app | repo snapshot --stdin app.sql --label db
  repo snapshot /etc --to rest:https://backup.example/laptop --to /mnt/usb/backup

With --to the snapshot goes to other repositories, too, and every file is opened and read
once. One that fails does not keep the others from it: it is named, the exit code is 3, and the
next run catches up. docs/several.md has the rest.

A command whose exit code is not 0 makes no snapshot; with a pipe nobody would notice.
An item that can't be read is named, counted, left out, and makes the exit code 3.";

/// Save directories, files or a stream
///
/// Reads the paths and stores what the repository does not have yet. Files that look as they did in the
/// parent snapshot (the last one of the same host, label and paths) are not read again.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Snapshot {
    /// Directories and files to save
    #[arg(value_name = "PATH", required_unless_present_any = ["stdin", "stdin_from_command", "after_dashes"])]
    pub(crate) paths: Vec<PathBuf>,

    /// The command of --stdin-from-command and its arguments
    #[arg(last = true, value_name = "CMD")]
    pub(crate) after_dashes: Vec<OsString>,

    /// Save standard input as a file of this name
    #[arg(long, value_name = "NAME", conflicts_with_all = ["paths", "stdin_from_command", "after_dashes"])]
    #[arg(help_heading = "Streams")]
    pub(crate) stdin: Option<OsString>,

    /// Save what the command after `--` prints as a file of this name
    #[arg(long, value_name = "NAME", conflicts_with = "paths", requires = "after_dashes", help_heading = "Streams")]
    pub(crate) stdin_from_command: Option<OsString>,

    #[command(flatten)]
    pub(crate) describe: Describe,

    #[command(flatten)]
    pub(crate) exclude: Exclude,

    #[command(flatten)]
    pub(crate) how: How,

    #[command(flatten)]
    pub(crate) fan_out: FanOut,
}

/// What the snapshot says about itself.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Description")]
pub(crate) struct Describe {
    /// Add a tag; comma list, can be repeated
    #[arg(long, value_name = "TAG", value_delimiter = ',', value_parser = values::tag)]
    pub(crate) tag: Vec<String>,

    /// Name of the series that this snapshot belongs to
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,

    /// Host name to record, default: this machine's
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,

    /// Time that it stands for: now, RFC 3339 or `YYYY-MM-DD HH:MM:SS`
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(crate) time: Option<Timestamp>,

    /// Record the path as if it were here
    #[arg(long = "as", value_name = "PATH")]
    pub(crate) as_path: Option<PathBuf>,
}

/// What to leave out.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What to leave out")]
pub(crate) struct Exclude {
    /// Leave out what matches a gitignore pattern; can be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,

    /// Read patterns from a file; can be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) exclude_file: Vec<PathBuf>,

    /// Leave out directories that hold a file NAME, or one that starts with HEADER
    #[arg(long, value_name = "NAME[:HEADER]")]
    pub(crate) exclude_if_present: Vec<String>,

    /// Leave out directories that hold a CACHEDIR.TAG
    #[arg(long)]
    pub(crate) exclude_caches: bool,

    /// Honour files of this name as .gitignore files; can be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) ignore_file: Vec<String>,

    /// Honour .gitignore files
    #[arg(long)]
    pub(crate) gitignore: bool,

    /// Leave out files that are larger
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) exclude_larger_than: Option<u64>,

    /// Don't enter other file systems
    #[arg(short = 'x', long)]
    pub(crate) one_file_system: bool,
}

/// How the work is done.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "How")]
pub(crate) struct How {
    /// Say what would be saved, store nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    /// Compare with this snapshot instead of the last one
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "force")]
    pub(crate) parent: Option<String>,

    /// Read every file, also those that look unchanged
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Make no snapshot if nothing changed since the parent
    #[arg(long)]
    pub(crate) skip_if_unchanged: bool,
}
