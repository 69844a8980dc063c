//! Arguments of `bench`.

use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  repo bench                                what this machine can do
  repo bench /srv/app                       and what it does with this
  repo bench --scratch /mnt/backup /home    with the repository on that disk
  repo bench --json /srv/app

A kernel is one step of the work on one core. The roofline is what all of them need for the data at hand if no core
ever waits; `share` is the part of it that a real run reached.
It needs no repository. With PATHs it needs as much free space as the data takes, up to twice.";

/// Measure this machine
///
/// Measures each step by itself; with PATHs on pieces of the data there, followed by a real run on all of it: snapshot,
/// unchanged snapshot, check and restore in a scratch directory, which is removed at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Bench {
    /// Data at hand; read, never changed
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,

    /// Where the scratch directory is made, default: where temporary files go [env: TMPDIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
}
