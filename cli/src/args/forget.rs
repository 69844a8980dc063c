//! Arguments of `forget` and `undelete`.

use engine::retention::{Count, GroupBy, Policy, Span, TagList};

use super::prune::How;
use super::select::Filter;

const FORGET_EXAMPLES: &str = "Examples:
  repo forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run
  repo forget --keep-last 10 --keep-within 30d --host web1
  repo forget --keep-yearly unlimited --keep-tag keep --group-by label
  repo forget 4bba301e 79766175
  repo forget --keep-daily 7 --prune

Removes nothing: a forgotten snapshot is not listed any more, and `repo undelete` brings it back. Space comes back with
`repo prune`, or --prune, when the grace time is over; until then, its data is kept and checked.";

/// Take snapshots off the list, by a policy or by name
///
/// With --keep-… options, snapshots are put into groups, and in each group those that no option keeps are
/// forgotten. For every snapshot the reasons are told. Options add to each other: a snapshot that one of them keeps
/// is kept. Only hours, days, weeks, months and years that have snapshots count, and of each the newest is kept.
/// Snapshots from the future are kept. A tag of --keep-tag that no snapshot has keeps all snapshots with a tag.
///
/// With names of snapshots, those are forgotten, whatever else there is.
#[derive(Debug, clap::Args)]
#[command(after_help = FORGET_EXAMPLES)]
#[command(mut_args(|arg| if PRUNING.contains(&arg.get_id().as_str()) { arg.requires("prune") } else { arg }))]
pub(crate) struct Forget {
    /// Snapshots to forget, instead of a policy
    #[arg(value_name = "SNAPSHOT", conflicts_with_all = POLICY, conflicts_with = "allow_empty")]
    pub(crate) snapshots: Vec<String>,

    #[command(flatten)]
    pub(crate) keep: Keep,

    /// What makes a group: stack, host, label, paths, tags, with commas between; nothing makes one group of all
    ///
    /// With stack, all snapshots of a stack are one group, whatever host they were taken on.
    #[arg(short, long, value_name = "KEYS", default_value = "stack,host,label,paths")]
    pub(crate) group_by: GroupBy,

    /// Go on if the policy leaves a group without snapshots
    #[arg(long)]
    pub(crate) allow_empty: bool,

    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    /// Prune afterwards, as `repo prune` does
    #[arg(long)]
    pub(crate) prune: bool,

    #[command(flatten, next_help_heading = "Pruning")]
    pub(crate) how: How,

    #[command(flatten)]
    pub(crate) filter: Filter,
}

/// The options that say how to prune.
const PRUNING: [&str; 5] = ["grace", "max_unused", "max_repack", "wait", "revoke_after"];

/// The options that name a policy.
pub(super) const POLICY: [&str; 14] = [
    "keep_last",
    "keep_hourly",
    "keep_daily",
    "keep_weekly",
    "keep_monthly",
    "keep_yearly",
    "keep_within",
    "keep_within_hourly",
    "keep_within_daily",
    "keep_within_weekly",
    "keep_within_monthly",
    "keep_within_yearly",
    "keep_tag",
    "group_by",
];

/// What to keep. N is a number, or `unlimited`; DURATION counts back from the newest snapshot of the group.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "What to keep")]
pub(crate) struct Keep {
    /// The newest N; N is a number or `unlimited`
    #[arg(short = 'l', long, value_name = "N")]
    pub(crate) keep_last: Option<Count>,

    /// The newest of each of the last N hours that have snapshots
    #[arg(short = 'H', long, value_name = "N")]
    pub(crate) keep_hourly: Option<Count>,

    /// Of the last N days
    #[arg(short = 'd', long, value_name = "N")]
    pub(crate) keep_daily: Option<Count>,

    /// Of the last N weeks
    #[arg(short = 'w', long, value_name = "N")]
    pub(crate) keep_weekly: Option<Count>,

    /// Of the last N months
    #[arg(short = 'm', long, value_name = "N")]
    pub(crate) keep_monthly: Option<Count>,

    /// Of the last N years
    #[arg(short = 'y', long, value_name = "N")]
    pub(crate) keep_yearly: Option<Count>,

    /// All that are not older than the group's newest by more than this, such as 1y5m7d2h
    #[arg(long, value_name = "DURATION")]
    pub(crate) keep_within: Option<Span>,

    /// The newest of each hour in this time
    #[arg(long, value_name = "DURATION")]
    pub(crate) keep_within_hourly: Option<Span>,

    /// Of each day
    #[arg(long, value_name = "DURATION")]
    pub(crate) keep_within_daily: Option<Span>,

    /// Of each week
    #[arg(long, value_name = "DURATION")]
    pub(crate) keep_within_weekly: Option<Span>,

    /// Of each month
    #[arg(long, value_name = "DURATION")]
    pub(crate) keep_within_monthly: Option<Span>,

    /// Of each year
    #[arg(long, value_name = "DURATION")]
    pub(crate) keep_within_yearly: Option<Span>,

    /// All with all of these tags; comma list, can be repeated; an empty one keeps what has no tags
    #[arg(long, value_name = "TAGS")]
    pub(crate) keep_tag: Vec<TagList>,
}

impl Keep {
    /// The policy as the engine takes it.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            last: self.keep_last.unwrap_or_default(),
            hourly: self.keep_hourly.unwrap_or_default(),
            daily: self.keep_daily.unwrap_or_default(),
            weekly: self.keep_weekly.unwrap_or_default(),
            monthly: self.keep_monthly.unwrap_or_default(),
            yearly: self.keep_yearly.unwrap_or_default(),
            within: self.keep_within,
            within_hourly: self.keep_within_hourly,
            within_daily: self.keep_within_daily,
            within_weekly: self.keep_within_weekly,
            within_monthly: self.keep_within_monthly,
            within_yearly: self.keep_within_yearly,
            keep_tags: self.keep_tag.clone(),
        }
    }
}

const UNDELETE_EXAMPLES: &str = "Examples:
  repo undelete 4bba301e
  repo snapshots --forgotten

The snapshot gets a new id. The next `forget` by the same policy drops it again, unless a tag keeps it:
`repo tag --add keep` and --keep-tag keep.";

/// Bring forgotten snapshots back
#[derive(Debug, clap::Args)]
#[command(after_help = UNDELETE_EXAMPLES)]
pub(crate) struct Undelete {
    /// Forgotten snapshots, by their ids
    #[arg(value_name = "SNAPSHOT", required = true)]
    pub(crate) snapshots: Vec<String>,
}
