//! Arguments of what only looks: `snapshots`, `ls`, `find`, `cat`, `dump`, `diff`.

use std::path::PathBuf;

use engine::clock::Timestamp;

use super::select::{Filter, SnapshotPath, snapshot_path_parser};
use super::values;

const SNAPSHOTS_EXAMPLES: &str = "Examples:
  repo snapshots
  repo snapshots --label db --last 5
  repo snapshots --json --host web1 | jq -r .id
  repo snapshots --forgotten           what `repo undelete` can bring back";

/// List the snapshots
///
/// Oldest first. A snapshot is named elsewhere by its id (the first digits will do), by `latest`, or by
/// `latest~2`, the second before it.
#[derive(Debug, clap::Args)]
#[command(after_help = SNAPSHOTS_EXAMPLES)]
pub(crate) struct Snapshots {
    /// Only these, default: all
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,

    /// Only the newest N
    #[arg(long, value_name = "N")]
    pub(crate) last: Option<usize>,

    /// List the forgotten ones instead
    #[arg(long, conflicts_with = "snapshots")]
    pub(crate) forgotten: bool,

    #[command(flatten)]
    pub(crate) filter: Filter,
}

const LS_EXAMPLES: &str = "Examples:
  repo ls
  repo ls -l latest:/etc
  repo ls -R latest~1:/srv/app
  repo ls --label db latest";

/// List what a snapshot holds
#[derive(Debug, clap::Args)]
#[command(after_help = LS_EXAMPLES)]
pub(crate) struct Ls {
    /// Snapshot and path in it, default: all of the latest
    #[arg(value_name = "SNAPSHOT[:PATH]", value_parser = snapshot_path_parser())]
    pub(crate) what: Option<SnapshotPath>,

    /// Show mode, owner, size and time
    #[arg(short, long)]
    pub(crate) long: bool,

    /// Enter directories
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,

    #[command(flatten)]
    pub(crate) filter: Filter,
}

const FIND_EXAMPLES: &str = "Examples:
  repo find 'nginx*.conf'
  repo find --snapshot latest --newer 2026-11-01 --min-size 10M '*'
  repo find -i '/home/*/Invoices/**' -l";

/// Find files in snapshots
///
/// A pattern without a slash is compared with the name, one with a slash with the whole path. Without
/// --snapshot every snapshot that the filters leave is searched.
#[derive(Debug, clap::Args)]
#[command(after_help = FIND_EXAMPLES)]
pub(crate) struct Find {
    /// Globs; one of them must match
    #[arg(value_name = "PATTERN", required = true)]
    pub(crate) patterns: Vec<String>,

    /// Ignore case (ASCII)
    #[arg(short = 'i', long)]
    pub(crate) ignore_case: bool,

    /// Show mode, owner, size and time
    #[arg(short, long)]
    pub(crate) long: bool,

    /// Changed at this time or later
    #[arg(long, value_name = "TIME", value_parser = values::time, help_heading = "Conditions")]
    pub(crate) newer: Option<Timestamp>,

    /// Changed at this time or earlier
    #[arg(long, value_name = "TIME", value_parser = values::time, help_heading = "Conditions")]
    pub(crate) older: Option<Timestamp>,

    /// At least this large
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Conditions")]
    pub(crate) min_size: Option<u64>,

    /// At most this large
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Conditions")]
    pub(crate) max_size: Option<u64>,

    /// Search this snapshot; can be repeated
    #[arg(short, long, value_name = "SNAPSHOT", help_heading = "Which snapshots")]
    pub(crate) snapshot: Vec<String>,

    #[command(flatten)]
    pub(crate) filter: Filter,
}

const CAT_EXAMPLES: &str = "Examples:
  repo cat config
  repo cat snapshot latest
  repo cat pack 1f0c
  repo cat prune 3
  repo cat chunk 5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8 > chunk.bin";

/// Show an object of the repository
///
/// For looking inside; to read a file of a snapshot use `dump`. Objects are shown as JSON, a chunk as its bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = CAT_EXAMPLES)]
pub(crate) struct Cat {
    /// What kind of object
    #[arg(value_name = "KIND")]
    pub(crate) kind: CatKind,

    /// Its id, or the first digits of it
    #[arg(value_name = "ID", required_if_eq_any = [
        ("kind", "snapshot"), ("kind", "index"), ("kind", "pack"), ("kind", "session"), ("kind", "prune"), ("kind", "record"),
        ("kind", "key"), ("kind", "chunk"),
    ])]
    pub(crate) id: Option<String>,

    #[command(flatten)]
    pub(crate) filter: Filter,
}

/// What `cat` can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CatKind {
    /// Settings of the repository
    Config,
    /// A snapshot
    Snapshot,
    /// An index object
    Index,
    /// The footer of a pack
    Pack,
    /// A writer's session
    Session,
    /// Plan, state and end of a prune; its id is its number
    Prune,
    /// The record of a forgotten snapshot; its id is the snapshot's
    Record,
    /// A key slot
    Key,
    /// The bytes of a chunk
    Chunk,
}

const DUMP_EXAMPLES: &str = "Examples:
  repo dump latest:/etc/hosts
  repo dump --label db latest:/app.sql | psql app
  repo dump latest:/srv/app > app.tar
  repo dump --output app.tar latest:/srv/app";

/// Write a file, or a directory as a tar archive, to standard output
#[derive(Debug, clap::Args)]
#[command(after_help = DUMP_EXAMPLES)]
pub(crate) struct Dump {
    /// Snapshot and path in it
    #[arg(value_name = "SNAPSHOT:PATH", value_parser = snapshot_path_parser())]
    pub(crate) what: SnapshotPath,

    /// Write a single file as an archive too
    #[arg(long, value_name = "FORMAT")]
    pub(crate) archive: Option<ArchiveFormat>,

    /// Write to this file instead of standard output; it appears when it is complete
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) filter: Filter,
}

/// Archive formats of `dump`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ArchiveFormat {
    /// POSIX tar with extended headers
    Tar,
}

const DIFF_EXAMPLES: &str = "Examples:
  repo diff latest~1 latest
  repo diff --metadata 4bba301e:/etc latest:/etc
  repo diff --label app latest~7 latest

Marks:
  + only in the second   - only in the first   M content differs   T type differs   U metadata differs";

/// Compare two snapshots
#[derive(Debug, clap::Args)]
#[command(after_help = DIFF_EXAMPLES)]
pub(crate) struct Diff {
    /// The first, usually the older one
    #[arg(value_name = "SNAPSHOT[:PATH]", value_parser = snapshot_path_parser())]
    pub(crate) left: SnapshotPath,

    /// The second
    #[arg(value_name = "SNAPSHOT[:PATH]", value_parser = snapshot_path_parser())]
    pub(crate) right: SnapshotPath,

    /// Show what differs in owner, mode, times or attributes only
    #[arg(long)]
    pub(crate) metadata: bool,

    #[command(flatten)]
    pub(crate) filter: Filter,
}
