//! Arguments of `key`.

use std::path::PathBuf;

use super::upkeep::Kdf;

const EXAMPLES: &str = "Examples:
  repo key list
  repo key add --label laptop
  repo key add --new-key-file /root/repo.key
  repo key passwd
  repo key remove 3f2a
  repo key recovery";

/// Manage passwords, key files and recovery codes
///
/// Every key opens all of the repository by itself. Removing one does not change the others, and does not help
/// against somebody who copied the repository while it was there.
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
}

/// Where a new secret comes from.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// Read the new password from a file, default: ask for it
    #[arg(long, value_name = "FILE", conflicts_with = "new_key_file")]
    pub(crate) new_password_file: Option<PathBuf>,

    /// Make a key file instead of a password
    #[arg(long, value_name = "FILE")]
    pub(crate) new_key_file: Option<PathBuf>,

    /// Name of the key in the list
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,

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
