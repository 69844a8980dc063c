//! Arguments of `copy`.

use std::path::PathBuf;

use super::select::Filter;
use super::values;

const EXAMPLES: &str = "Examples:
  repo copy --to /mnt/usb/backup
  repo copy latest --to /mnt/usb/backup --to-password-file /root/.usb-password
  repo copy --label app --tag keep --to /mnt/usb/backup --dry-run
  repo copy --to /mnt/usb/backup --to /srv/second --to-key-file usb.key --to-key-file second.key
  repo copy --as-of 2026-11-28T22:00:00Z --to /srv/new       out of an S3 bucket that was destroyed

With --to more than once, what several repositories lack is read once. One that fails does not keep the others from theirs.

Only what the other repository lacks is read and written, so a second run has nothing to do. After an interruption, run it
again: it goes on. A copy keeps time, host, paths, tags and label, and `repo snapshots --json` says what it is a copy of.

Every repository cuts files into chunks in its own way. Copies keep the cuts of the repository that they come from, and
share data with other copies, but not with what is snapshotted straight into the other repository. With --recut they do,
and all files are read.";

/// Copy snapshots into another repository
///
/// All that are listed, those that the filter leaves, or those that are named; oldest first. A snapshot that can't be
/// read in full is not copied, and named.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Copy {
    /// Snapshots to copy, instead of all
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,

    #[command(flatten)]
    pub(crate) to: To,

    /// Cut files anew, as the other repository does
    #[arg(long)]
    pub(crate) recut: bool,

    /// Say what would be copied, and at most how much would be read
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) filter: Filter,
}

/// Other repositories that a snapshot goes to as well.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct FanOut {
    #[command(flatten)]
    pub(crate) to: To,

    /// Keep what is stored on this machine until the others have it, so much at most, in a file without a name beside the
    /// cache; what does not fit is read from the repository again
    #[arg(long, value_name = "SIZE", default_value = "10G", value_parser = values::size)]
    #[arg(help_heading = "The other repository", requires = "to")]
    pub(crate) spool_size: u64,
}

/// The other repositories and what opens them.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "The other repository")]
pub(crate) struct To {
    /// Where the other repository is; more than once for several [env of copy: REPO_TO_REPOSITORY]
    #[arg(long = "to", id = "to", value_name = "PLACE")]
    pub(crate) repositories: Vec<String>,

    /// Read its password from a file; without any of these, the key of this one is tried. With several repositories, one
    /// for all of them, or one for each, in their order [env: REPO_TO_PASSWORD_FILE]
    #[arg(long = "to-password-file", id = "to_password_file", value_name = "FILE")]
    #[arg(conflicts_with_all = ["to_password_command", "to_key_file"])]
    pub(crate) password_files: Vec<PathBuf>,

    /// Run a command that prints its password [env: REPO_TO_PASSWORD_COMMAND]
    #[arg(long = "to-password-command", id = "to_password_command", value_name = "COMMAND")]
    #[arg(conflicts_with = "to_key_file")]
    pub(crate) password_commands: Vec<String>,

    /// Use a key file for it instead of a password [env: REPO_TO_KEY_FILE]
    #[arg(long = "to-key-file", id = "to_key_file", value_name = "FILE")]
    pub(crate) key_files: Vec<PathBuf>,
}
