//! Arguments of `repair`.

const EXAMPLES: &str = "Examples:
  repo repair index --dry-run
  repo repair index
  repo repair packs
  repo repair packs 4bba301e 79766175
  repo repair snapshots --dry-run
  repo repair snapshots latest

In this order: `index` makes lost and damaged index objects again, `packs` saves what can be read of damaged packs and
notes what is lost, `snapshots` repeats snapshots without what they lost. Between the last two, run the next snapshots:
what their sources still have is stored again, and is then whole in old snapshots, too.

Nothing is ever removed, and where nothing is broken, nothing is written. What a repair replaced, a later `prune` takes
away; old snapshots stay until somebody forgets them.";

/// Make the best of damage
///
/// Run `repo check --read-data` first: it says what is damaged and what that costs. --dry-run shows what a repair
/// would do.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Repair {
    #[command(subcommand)]
    pub(crate) what: RepairWhat,
}

/// What to repair.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum RepairWhat {
    /// Make lost and damaged index objects again, from the packs
    Index(RepairIndex),
    /// Save what can be read of damaged packs; chunks that are lost are stored again by the next snapshot that has them
    Packs(RepairPacks),
    /// Repeat snapshots without what they lost; the old ones stay
    Snapshots(RepairSnapshots),
}

/// Make lost and damaged index objects again
#[derive(Debug, clap::Args)]
pub(crate) struct RepairIndex {
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Save what can be read of damaged packs
#[derive(Debug, clap::Args)]
pub(crate) struct RepairPacks {
    /// Packs to look at, as `check` names them; default: all, which reads everything. What the storage can't read of
    /// a named one counts as lost; of others it is left alone
    #[arg(value_name = "PACK")]
    pub(crate) packs: Vec<String>,

    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Repeat snapshots without what they lost
#[derive(Debug, clap::Args)]
pub(crate) struct RepairSnapshots {
    /// Snapshots to look at; default: all that are listed
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,

    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}
