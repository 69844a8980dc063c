//! Arguments of `retain`.

use engine::clock::Timestamp;
use engine::retention::GroupBy;
use engine::storage::LockMode;

use super::forget::{Keep, POLICY};
use super::select::Filter;
use super::values;

const EXAMPLES: &str = "Examples:
  repo retain --for 30d
  repo retain --for 30d --dry-run
  repo retain --for 30d --keep-daily 7 --keep-weekly 5
  repo retain --until 2027-06-30 4bba301e
  repo retain --for 90d --as-of '2026-11-28 22:00:00'    after an attack: what there was then

Run it every night, after `forget` and `prune`. --for 30d leaves a lock alone that lasts 27 days more, nine tenths of what is
wanted, so that each object is asked for its lock every night and changed every third day.

A lock in governance mode can be ended by whoever has that right (s3:BypassGovernanceRetention). One in compliance mode can't
be ended or shortened by anybody, the owner of the account included: what is locked for ten years by mistake is paid for for
ten years. Try with --dry-run first.

A prune leaves what is locked to a later one. docs/s3.md says what a bucket needs, and what a thief can do then.";

/// Lock what snapshots need, so that nobody can remove it
///
/// In a bucket with object lock: all that a restore of these snapshots needs is locked until a time, where its lock ends
/// sooner. Those are all that are listed, those that a policy keeps, those that the filter leaves, or those that are named. No
/// lock ever ends sooner by this, and what no snapshot needs is not locked any longer.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("end").required(true).args(["for", "until"]))]
pub(crate) struct Retain {
    /// Snapshots to keep, instead of all that are listed
    #[arg(value_name = "SNAPSHOT", conflicts_with_all = POLICY)]
    pub(crate) snapshots: Vec<String>,

    /// Lock for so long from now, such as 30d or 12w
    #[arg(id = "for", long = "for", value_name = "TIME", value_parser = values::seconds)]
    pub(crate) for_seconds: Option<i64>,

    /// Lock until then
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(crate) until: Option<Timestamp>,

    /// Who may end a lock sooner
    #[arg(long, value_name = "MODE", default_value = "governance")]
    pub(crate) mode: Mode,

    /// Say what would be locked, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) keep: Keep,

    /// What makes a group for --keep-…, as in `forget`
    #[arg(short, long, value_name = "KEYS", default_value = "stack,host,label,paths")]
    pub(crate) group_by: GroupBy,

    #[command(flatten)]
    pub(crate) filter: Filter,
}

/// Who may end a lock sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// Whoever has the right to
    Governance,
    /// Nobody, and nobody can take that back
    Compliance,
}

impl Mode {
    /// As the engine has it.
    pub(crate) fn to_engine(self) -> LockMode {
        match self {
            Self::Governance => LockMode::Governance,
            Self::Compliance => LockMode::Compliance,
        }
    }
}
