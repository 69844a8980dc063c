//! Arguments of `session`.

const EXAMPLES: &str = "Examples:
  repo session list
  repo session list --all --json
  repo session revoke 3f2a";

/// See who is writing, and end what nobody will end
///
/// Every snapshot is made in a session. One whose writer was interrupted stays open: the next snapshot of the same
/// machine takes over what it stored. If there will be none, because the machine is gone, say so with `revoke`, so that a
/// prune need not wait.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Session {
    #[command(subcommand)]
    pub(crate) action: SessionAction,
}

/// What to do with sessions.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum SessionAction {
    /// List the open sessions
    List(List),
    /// End open sessions: what they stored will not count
    Revoke(Revoke),
}

/// Which sessions to list.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// List those that have ended, too
    #[arg(long)]
    pub(crate) all: bool,
}

/// Which sessions to end.
#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    /// Their ids, or the first digits of them
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,

    /// Revoke one that is running on this machine, too; it will fail with exit code 4
    #[arg(long)]
    pub(crate) force: bool,
}
