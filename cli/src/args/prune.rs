//! Arguments of `prune`.

use engine::ops::MaxUnused;

use super::values;

const PRUNE_EXAMPLES: &str = "Examples:
  repo prune --dry-run
  repo prune
  repo prune --grace 0 --max-unused 0
  repo prune --max-repack 10G --wait 2h

Runs beside snapshots and waits for none of them, but space comes back only when the sessions have ended that were
running when it made its plan. With --wait it looks for that; otherwise the next prune goes on, on whatever machine.";

/// Remove what no snapshot needs
///
/// Forgotten snapshots go when their grace time is over, counted from when a prune first saw them forgotten; then the
/// data that nothing else needs. Packs of which little is needed are rewritten without the rest.
#[derive(Debug, clap::Args)]
#[command(after_help = PRUNE_EXAMPLES)]
pub(crate) struct Prune {
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) how: How,
}

/// What `prune` and `forget --prune` understand.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct How {
    /// Keep forgotten snapshots for so long, such as 12h or 7d; 0: not at all
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = values::seconds)]
    pub(crate) grace: i64,

    /// Leave so much unused: a share of the packs (5%), a size (200M), or `unlimited`
    #[arg(long, value_name = "LIMIT", default_value = "5%", value_parser = values::max_unused)]
    pub(crate) max_unused: MaxUnused,

    /// Rewrite so many bytes at most
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) max_repack: Option<u64>,

    /// Wait so long for running sessions to end, such as 30m
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = values::seconds)]
    pub(crate) wait: i64,

    /// Revoke sessions in the way that a prune saw open so long ago; 0: all of them
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = values::seconds)]
    pub(crate) revoke_after: i64,
}
