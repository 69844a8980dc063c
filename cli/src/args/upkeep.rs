//! Arguments of everything else: `init`, `check`, `stats`, `tag`, `cache`, `completions`, `man`, `demo`, `version`.

use std::path::PathBuf;

use engine::id::SnapshotId;
use engine::ops::ReadData;

use super::select::Filter;
use super::values;

const INIT_EXAMPLES: &str = "Examples:
  repo init -r /srv/backup
  repo init -r /srv/backup --password-file /root/.repo-password
  repo init -r /mnt/media --chunk-size 1M --kdf strong

The password can't be recovered. Store it elsewhere too, or print a recovery code: repo key recovery.";

/// Make a repository
#[derive(Debug, clap::Args)]
#[command(after_help = INIT_EXAMPLES)]
pub(crate) struct Init {
    /// What encrypts the data; auto measures which is faster here
    #[arg(long, value_name = "CIPHER", default_value = "auto")]
    pub(crate) cipher: Cipher,

    /// Usual size of chunks of what does not compress, a power of two
    #[arg(long, value_name = "SIZE", value_parser = values::size_u32)]
    pub(crate) chunk_size: Option<u32>,

    /// Usual size of chunks of what compresses and changes in small places: dumps, text, images
    #[arg(long, value_name = "SIZE", value_parser = values::size_u32)]
    pub(crate) dump_chunk_size: Option<u32>,

    /// Size at which a pack is full
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) pack_size: Option<u64>,

    /// Work that trying a password costs
    #[arg(long, value_name = "COST", default_value = "default")]
    pub(crate) kdf: Kdf,
}

/// Ciphers for the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Cipher {
    /// The faster one on this machine
    Auto,
    /// XChaCha20-Poly1305
    Xchacha20,
    /// AES-256-GCM
    Aes256gcm,
}

/// What trying a password costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kdf {
    /// Opens on small machines too
    Default,
    /// 512 MiB of memory
    Strong,
}

const CHECK_EXAMPLES: &str = "Examples:
  repo check
  repo check --read-data
  repo check --read-data-subset 1/30    a part every night: all data every month
  repo check --read-data-subset 5%
  repo check --read-data-subset 2G

The last snapshot of each host is its head, and stands for all before it. Heads that are written down elsewhere prove to a
new machine that nobody shows it an earlier state: `repo check --head ID` fails unless the repository has come at least as
far as when the whole ID was written down. A machine that has used the repository before knows by itself: it
says so if sessions that it has seen are gone, until `repo repair snapshots` has made the best of it or
`repo cache clear` makes it forget them.

Says of every damaged object which snapshots and paths it costs; damage makes the exit code 5. What was read in full and
found right is remembered in the cache directory: a part is made of the packs that were read longest ago, new ones first.
Where the cache does not last, 1/7, 2/7, … 7/7 are seven different parts.";

/// Look for damage
///
/// Without options: that every object is there, has its length, and that all trees can be walked.
#[derive(Debug, clap::Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub(crate) struct Check {
    /// Read and decrypt all data too
    #[arg(long, conflicts_with = "read_data_subset")]
    pub(crate) read_data: bool,

    /// Read and decrypt a part (1/30), a share (5%) or amount (2G) of the data, what was read longest ago first
    #[arg(long, value_name = "SUBSET", value_parser = values::subset)]
    pub(crate) read_data_subset: Option<ReadData>,

    /// A head that was written down: a snapshot that must have come to be here; can be repeated
    #[arg(long = "head", value_name = "ID", value_parser = values::snapshot_id)]
    pub(crate) heads: Vec<SnapshotId>,
}

const STATS_EXAMPLES: &str = "Examples:
  repo stats
  repo stats latest
  repo stats --label db --json";

/// Measure snapshots and the repository
#[derive(Debug, clap::Args)]
#[command(after_help = STATS_EXAMPLES)]
pub(crate) struct Stats {
    /// Only these snapshots, default: all
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,

    #[command(flatten)]
    pub(crate) filter: Filter,
}

const TAG_EXAMPLES: &str = "Examples:
  repo tag --add keep latest
  repo tag --remove keep,old 4bba301e 79766175
  repo tag --set monthly --tag daily --host web1
  repo tag --label home latest

A changed snapshot is written anew and gets another id; the old one goes.";

/// Change tags and labels
#[derive(Debug, clap::Args)]
#[command(after_help = TAG_EXAMPLES)]
#[command(group = clap::ArgGroup::new("change").multiple(true).required(true).args(["add", "remove", "set", "new_label"]))]
#[command(group = clap::ArgGroup::new("which").multiple(true).required(true).args(["snapshots", "host", "tag", "path"]))]
pub(crate) struct Tag {
    /// Snapshots to change
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,

    /// Add tags; comma list, can be repeated
    #[arg(long, value_name = "TAG", value_delimiter = ',', value_parser = values::tag, help_heading = "Changes")]
    pub(crate) add: Vec<String>,

    /// Remove tags; comma list, can be repeated
    #[arg(long, value_name = "TAG", value_delimiter = ',', value_parser = values::tag, help_heading = "Changes")]
    pub(crate) remove: Vec<String>,

    /// Have exactly these tags; comma list, can be repeated
    #[arg(long, value_name = "TAG", value_delimiter = ',', value_parser = values::tag, help_heading = "Changes")]
    #[arg(conflicts_with_all = ["add", "remove"])]
    pub(crate) set: Vec<String>,

    /// Have this label
    #[arg(id = "new_label", long = "label", value_name = "LABEL", help_heading = "Changes")]
    pub(crate) new_label: Option<String>,

    /// All of this host; can be repeated
    #[arg(long, value_name = "HOST", help_heading = "Which snapshots")]
    pub(crate) host: Vec<String>,

    /// All with all of these tags; comma list, can be repeated
    #[arg(long, value_name = "TAG", value_delimiter = ',', value_parser = values::tag, help_heading = "Which snapshots")]
    pub(crate) tag: Vec<String>,

    /// All of this path; can be repeated
    #[arg(long, value_name = "PATH", help_heading = "Which snapshots")]
    pub(crate) path: Vec<std::ffi::OsString>,
}

impl Tag {
    /// The filters; `--label` is the new label here, so there is none for labels.
    pub(crate) fn filter(&self) -> Filter {
        Filter {
            host: self.host.clone(),
            label: Vec::new(),
            tag: self.tag.clone(),
            path: self.path.clone(),
            stack: Vec::new(),
        }
    }
}

const CACHE_EXAMPLES: &str = "Examples:
  repo cache list
  repo cache clear
  repo cache clear --all

A cache only saves time: it is made again when it is needed.";

/// Show or clear the local caches
#[derive(Debug, clap::Args)]
#[command(after_help = CACHE_EXAMPLES)]
pub(crate) struct Cache {
    #[command(subcommand)]
    pub(crate) action: CacheAction,
}

/// What to do with caches.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum CacheAction {
    /// List the caches of all repositories
    #[command(alias = "info")]
    List,
    /// Remove the cache of this repository, or all of them
    Clear(CacheClear),
}

/// Which caches go.
#[derive(Debug, clap::Args)]
pub(crate) struct CacheClear {
    /// Those of all repositories; needs no password
    #[arg(long)]
    pub(crate) all: bool,
}

const COMPLETIONS_EXAMPLES: &str = "Examples:
  repo completions bash > /etc/bash_completion.d/repo
  repo completions fish > ~/.config/fish/completions/repo.fish";

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

const MAN_EXAMPLES: &str = "Examples:
  repo man | man -l -
  repo man --out /usr/local/share/man/man1";

/// Print the manual, or write all its pages
#[derive(Debug, clap::Args)]
#[command(after_help = MAN_EXAMPLES)]
pub(crate) struct Man {
    /// Write one page for every command to this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

const DEMO_EXAMPLES: &str = "Examples:
  repo demo
  repo demo --keep /tmp/repo-demo    leaves everything there to look at";

/// Watch it work
///
/// Makes a small stack and a repository in a scratch directory, snapshots, changes, compares, restores and
/// checks, and shows every command before it runs. Touches nothing else and removes everything at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = DEMO_EXAMPLES)]
pub(crate) struct Demo {
    /// Work in this new directory and leave it
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

const VERSION_EXAMPLES: &str = "Examples:
  repo version
  repo version --json";

/// Print the version
#[derive(Debug, clap::Args)]
#[command(after_help = VERSION_EXAMPLES)]
pub(crate) struct Version {}
