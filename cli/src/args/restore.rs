//! Arguments of `restore`.

use std::path::PathBuf;

use super::select::{Filter, SnapshotPath, snapshot_path_parser};
use super::values;

const EXAMPLES: &str = "Examples:
  repo restore latest --target /tmp/restored
  repo restore latest:/etc --target /tmp/etc --verify
  repo restore --label app latest:/srv/app --target /srv/app --overwrite --delete --dry-run -v
  repo restore 4bba301e --target /tmp/x --include '*.conf'
  repo restore latest --stack shop --target /srv/shop
  repo restore latest --stack shop --target /srv/staging --as staging --only db,media --map-user shop=staging

Restoring a path puts what is in it into the target: latest:/etc --target /tmp/etc makes /tmp/etc/hosts.
Into a directory that holds something, nothing is restored without --overwrite. Then files that are right already
are left as they are, and of others only what differs is written. --overwrite reads every file to know which is
which; --overwrite=if-changed believes those whose size and modification time are those of the snapshot.

With --stack, a snapshot of a stack is put back as a stack: persist paths to their places below the target, then each
service's dump into its restore command, then its verify command. Start the services that dumps go into before.";

/// Write a snapshot, or a part of it, to a directory
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Restore {
    /// Snapshot and path in it
    #[arg(value_name = "SNAPSHOT[:PATH]", value_parser = snapshot_path_parser())]
    pub(crate) what: SnapshotPath,

    /// Directory to write to; made if it does not exist
    #[arg(short, long, value_name = "DIR")]
    pub(crate) target: PathBuf,

    /// Only what matches a gitignore pattern; can be repeated
    #[arg(long, value_name = "PATTERN", help_heading = "What to restore")]
    pub(crate) include: Vec<String>,

    /// Leave out what matches a gitignore pattern; can be repeated
    #[arg(long, value_name = "PATTERN", help_heading = "What to restore")]
    pub(crate) exclude: Vec<String>,

    /// Write into a directory that holds something; if no value is given, `always`
    #[arg(
        long,
        value_name = "WHICH",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "always",
        help_heading = "What is there already"
    )]
    pub(crate) overwrite: Option<Overwrite>,

    /// Remove what the snapshot does not have; from a directory that holds something only with --overwrite
    #[arg(long, help_heading = "What is there already")]
    pub(crate) delete: bool,

    /// Say what would be done, change nothing
    #[arg(short = 'n', long, help_heading = "How")]
    pub(crate) dry_run: bool,

    /// Read everything back afterwards and compare
    #[arg(long, help_heading = "How")]
    pub(crate) verify: bool,

    /// Whose the files become
    #[arg(long, value_name = "HOW", default_value = "names", help_heading = "How")]
    pub(crate) owner: Owner,

    /// Give files of a user to another one, names or numbers; can be repeated
    #[arg(long, value_name = "OLD=NEW", value_parser = values::pair, help_heading = "How")]
    pub(crate) map_user: Vec<(String, String)>,

    /// The same for groups
    #[arg(long, value_name = "OLD=NEW", value_parser = values::pair, help_heading = "How")]
    pub(crate) map_group: Vec<(String, String)>,

    /// Make holes of all long runs of zeros
    #[arg(long, help_heading = "How")]
    pub(crate) sparse: bool,

    #[command(flatten)]
    pub(crate) of_stack: OfStack,

    #[command(flatten)]
    pub(crate) filter: Filter,
}

/// What only stacks have.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Stacks, with --stack")]
pub(crate) struct OfStack {
    /// Only these persist paths and services, with commas between
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "stack")]
    pub(crate) only: Vec<String>,

    /// Restore a clone with this name, without secrets
    #[arg(long = "as", value_name = "NAME", requires = "stack")]
    pub(crate) rename: Option<String>,

    /// Restore files only, run no commands
    #[arg(long, requires = "stack")]
    pub(crate) no_hooks: bool,

    /// File with an identity of age that opens sealed secrets; can be repeated
    #[arg(long, value_name = "FILE", requires = "stack")]
    pub(crate) identity: Vec<PathBuf>,
}

/// Which files that are there are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Overwrite {
    /// All are read; those with another content are made what they were
    Always,
    /// As always, but files of the same size and modification time are taken for right and not read
    IfChanged,
}

/// Whose the files become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Owner {
    /// Users and groups of the same name, of the same number where there is none
    Names,
    /// Users and groups of the same number
    Ids,
    /// Who runs the command
    Leave,
}
