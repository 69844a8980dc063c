//! Arguments of `drill` and `status`.

use std::path::PathBuf;

const DRILL_EXAMPLES: &str = "Examples:
  repo drill --stack matrix
  repo drill --file /srv/matrix/stack.yaml --scratch /var/tmp
  repo drill --all --json

A service is restored into a scratch one that `drill:` of its manifest starts; of others the dump is read in full. Files are
read back and compared. With --file, a manifest that has changed since the snapshot is a problem, too. `repo forget` keeps
the last snapshot of each stack that a drill has proved.";

/// Prove that stacks come back: restore the latest snapshot of each into a scratch place
///
/// What came of it is put into the repository, where `repo status` finds it. Exit code 3 if anything did not come back as it
/// was.
#[derive(Debug, clap::Args)]
#[command(after_help = DRILL_EXAMPLES)]
pub(crate) struct Drill {
    /// Stacks by name; can be repeated
    #[arg(long, value_name = "NAME", required_unless_present_any = ["all", "file"])]
    pub(crate) stack: Vec<String>,

    /// All stacks that have snapshots
    #[arg(long, conflicts_with = "stack")]
    pub(crate) all: bool,

    /// Manifest of a stack as it is declared now; can be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,

    /// Directory to make scratch places in, default: the one for temporary files
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,

    /// Do not put what came of it into the repository
    #[arg(long)]
    pub(crate) no_record: bool,
}

const STATUS_EXAMPLES: &str = "Examples:
  repo status
  repo status --max-age 26h --max-proof-age 8d
  repo status --prometheus /var/lib/node_exporter/repo.prom

Exit codes are those of Nagios: 0 all good, 1 a warning, 2 critical. What keeps the command itself from running has the
codes of all commands.";

/// Say how stacks are doing: age of the last snapshot, last proof, growth, problems
///
/// A snapshot may be as old as `max_age` of the manifest says, or 26 hours. Older is a warning, twice as old critical, and so
/// are a stack without snapshots and a drill that failed.
#[derive(Debug, clap::Args)]
#[command(after_help = STATUS_EXAMPLES)]
pub(crate) struct Status {
    /// Manifest of a stack that should have snapshots; can be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,

    /// How old a last snapshot may get, such as 26h, whatever manifests say
    #[arg(long, value_name = "TIME")]
    pub(crate) max_age: Option<stacks::manifest::Duration>,

    /// How old a last proof may get, such as 8d; default: there need not be any
    #[arg(long, value_name = "TIME")]
    pub(crate) max_proof_age: Option<stacks::manifest::Duration>,

    /// Write metrics for Prometheus' textfile collector
    #[arg(long, value_name = "FILE")]
    pub(crate) prometheus: Option<PathBuf>,
}
