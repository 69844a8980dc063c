//! Arguments of `key`.

use std::path::PathBuf;

use super::upkeep::Kdf;

const EXAMPLES: &str = "Examples:
  repo key list
  repo key add --label laptop
  repo key add --new-key-file /root/repo.key
  repo key passwd
  repo key add --write-only --for-host web1 --new-key-file web1.key
  repo key remove 3f2a
  repo key rotate
  repo key recovery";

/// Manage passwords, key files and recovery codes
///
/// A key opens all of the repository by itself, or can only add snapshots of one host and read none (--write-only). Removing
/// one that can read does not change the others, and does not help against somebody who used it before: for that there is
/// `rotate`. After a write-only key was removed, what it stored before stays, and nothing that it may put later counts.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Key {
    #[command(subcommand)]
    pub(crate) action: KeyAction,
}

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum KeyAction {
    /// List the keys
    List,
    /// Add a password or a key file
    Add(Add),
    /// Remove a key
    Remove(Remove),
    /// Replace the password or key in use by a new password
    Passwd(Passwd),
    /// Add a recovery code and print its 24 words, once
    Recovery,
    /// Replace the secret below all keys, so that removed ones read nothing that is stored from now on
    Rotate(Rotate),
}

/// Where a new secret comes from.
#[derive(Debug, clap::Args)]
pub(crate) struct NewSecret {
    /// Read the new password from a file, default: ask for it
    #[arg(long, value_name = "FILE", conflicts_with = "new_key_file")]
    pub(crate) new_password_file: Option<PathBuf>,

    /// Make a key file instead of a password
    #[arg(long, value_name = "FILE")]
    pub(crate) new_key_file: Option<PathBuf>,
}

/// A new key.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    #[command(flatten)]
    pub(crate) secret: NewSecret,

    /// Name of the key in the list
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,

    /// A key that can add snapshots and read nothing back, in a deduplication domain of its own
    #[arg(long, requires = "for_host")]
    pub(crate) write_only: bool,

    /// The host that a write-only key is for: all that it adds counts as this host's
    #[arg(long, value_name = "HOST", requires = "write_only")]
    pub(crate) for_host: Option<String>,

    /// Go on in the domain of another write-only key (its label or the first digits of its id), which this one follows
    #[arg(long, value_name = "KEY", requires = "write_only")]
    pub(crate) like: Option<String>,

    /// Work that trying a password costs
    #[arg(long, value_name = "COST", default_value = "default")]
    pub(crate) kdf: Kdf,
}

/// Which key goes.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Its id, or the first digits of it
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// Remove the key in use too; never the last one
    #[arg(long)]
    pub(crate) force: bool,
}

/// The new password.
#[derive(Debug, clap::Args)]
pub(crate) struct Passwd {
    /// Read the new password from a file, default: ask for it
    #[arg(long, value_name = "FILE")]
    pub(crate) new_password_file: Option<PathBuf>,

    /// Work that trying a password costs
    #[arg(long, value_name = "COST", default_value = "default")]
    pub(crate) kdf: Kdf,
}

/// What opens the repository after a rotation.
///
/// All other keys go, write-only ones too, and have to be added again. Nothing that is stored is read or written anew:
/// whoever had a key before, and the bytes of the repository, can still read what was stored before.
#[derive(Debug, clap::Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    pub(crate) secret: NewSecret,

    /// Work that trying a password costs
    #[arg(long, value_name = "COST", default_value = "default")]
    pub(crate) kdf: Kdf,
}
