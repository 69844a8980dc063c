//! Arguments of `stack`.

use std::path::PathBuf;

use super::copy::FanOut;
use super::restore::Restore;
use super::select::Filter;
use super::values;

const EXAMPLES: &str = "Examples:
  repo stack init compose.yaml > stack.yaml     a first manifest, to be read and corrected
  repo stack check                              what is wrong with it
  repo stack snapshot                           save the stack that is declared here
  repo stack snapshot --file /srv/shop/stack.yaml --file /srv/chat/stack.yaml --all
  repo stack snapshot --to rest:https://backup.example/shop     and to another repository
  repo stack list
  repo stack restore latest --stack shop --target /srv/shop
  repo stack templates postgres

A stack is declared in stack.yaml, under x-repo: in its compose file, or by persist: and backup: as some tools write
them; docs/stacks.md explains it, `repo stack schema` tells it to an editor. Without --file the file is looked for from
the current directory upward; with names or --all, in /etc/repo/stacks.d and ~/.config/repo/stacks.d.";

/// Save and restore stacks: their files and databases as one
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Stack {
    #[command(subcommand)]
    pub(crate) action: StackAction,
}

/// What to do with stacks.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum StackAction {
    /// Save stacks: dumps and persist paths of each as one snapshot, or none
    Snapshot(Box<Snapshot>),
    /// Put a stack back: files to their places, dumps into their services
    Restore(Box<Restore>),
    /// List stacks and their last snapshots
    List(List),
    /// Compare manifests with what is there
    Check(Check),
    /// Print a first manifest for a compose file
    Init(Init),
    /// Print ready commands for the usual databases
    Templates(Templates),
    /// Print the JSON schema of manifests
    Schema,
}

/// Which stacks.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Which {
    /// Only these stacks
    #[arg(value_name = "NAME", conflicts_with = "all")]
    pub(crate) names: Vec<String>,

    /// All stacks that are declared
    #[arg(long)]
    pub(crate) all: bool,

    /// Read this manifest; can be repeated
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
}

/// Arguments of `stack snapshot`.
#[derive(Debug, clap::Args)]
pub(crate) struct Snapshot {
    #[command(flatten)]
    pub(crate) which: Which,

    /// Add a tag; comma list, can be repeated
    #[arg(long, value_name = "TAG", value_delimiter = ',', value_parser = values::tag)]
    pub(crate) tag: Vec<String>,

    /// Name of the series that the snapshots belong to
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,

    /// Host name to record, default: this machine's
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,

    /// Read every file, also those that look unchanged
    #[arg(long)]
    pub(crate) force: bool,

    /// Say what would be saved and run; run and store nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    /// Include secrets, sealed to the recipients
    #[arg(long, requires = "recipient")]
    pub(crate) seal_secrets: bool,

    /// Recipient of age that sealed secrets are for, age1…; can be repeated
    #[arg(long, value_name = "AGE1…", requires = "seal_secrets")]
    pub(crate) recipient: Vec<String>,

    #[command(flatten)]
    pub(crate) fan_out: FanOut,
}

/// Arguments of `stack list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) filter: Filter,
}

/// Arguments of `stack check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Arguments of `stack init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// The compose file, default: the one in the current directory
    #[arg(value_name = "COMPOSE")]
    pub(crate) compose: Option<PathBuf>,
}

/// Arguments of `stack templates`.
#[derive(Debug, clap::Args)]
pub(crate) struct Templates {
    /// Which one; their names if none is given
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}
