//! The command line as types: what can be asked for, and the help that says so.
//!
//! Environment variables are named in the help but read in `context.rs` and `secret.rs`, through
//! [`crate::environment::Environment`], so that a command can be run with an environment of its own.

pub(crate) mod bench;
pub(crate) mod browse;
pub(crate) mod copy;
pub(crate) mod drill;
pub(crate) mod forget;
pub(crate) mod keys;
pub(crate) mod prune;
pub(crate) mod repair;
pub(crate) mod restore;
pub(crate) mod retain;
pub(crate) mod select;
pub(crate) mod serve;
pub(crate) mod session;
pub(crate) mod snapshot;
pub(crate) mod stack;
pub(crate) mod upkeep;
pub(crate) mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use engine::clock::Timestamp;

/// Examples come before the options: they are what most people look for.
const HELP_TEMPLATE: &str = "{before-help}{about-with-newline}\n{usage-heading} {usage}{after-help}\n\n{all-args}";

const OVERVIEW: &str = "Examples:
  export REPO_REPOSITORY=/srv/backup REPO_PASSWORD_FILE=/root/.repo-password
  repo init                                    make the repository
  repo snapshot /etc /home                     save two trees
  repo stack snapshot                          save the stack that is declared here
  repo snapshots                               see what is there
  repo restore latest:/etc --target /tmp/etc   get a directory back
  repo check --read-data                       prove that everything can be read
  repo forget --keep-daily 7 --dry-run         see what a policy would take off the list
  repo prune                                   give space back that no snapshot needs
  repo demo                                    watch all of it work in a scratch directory

Exit codes:
  0 done   1 failed   2 wrong usage   3 done, but some items had problems   4 session revoked
  5 damage found   10 no repository   11 in use   12 wrong password   130 interrupted";

/// Encrypted, deduplicating backups of stacks and trees
#[derive(Debug, Parser)]
#[command(name = "repo", version, after_help = OVERVIEW, disable_help_subcommand = false)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where the repository is [env: REPO_REPOSITORY]
    #[arg(short = 'r', long, global = true, value_name = "PLACE")]
    pub(crate) repository: Option<String>,

    /// Read the password from a file [env: REPO_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["password_command", "key_file"])]
    pub(crate) password_file: Option<PathBuf>,

    /// Run a command that prints the password [env: REPO_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND", conflicts_with = "key_file")]
    pub(crate) password_command: Option<String>,

    /// Use a key file instead of a password [env: REPO_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,

    /// Where caches are kept, default ~/.cache/repo [env: REPO_CACHE_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,

    /// Set an option of the storage; one that doesn't exist is refused, and names those that do
    #[arg(short = 'o', long = "option", id = "storage_option", global = true, value_name = "NAME=VALUE")]
    pub(crate) options: Vec<String>,

    /// Read the repository as it was at a time; in S3 buckets that keep versions. Nothing is written (docs/s3.md)
    #[arg(long, global = true, value_name = "TIME", value_parser = values::time)]
    pub(crate) as_of: Option<Timestamp>,

    /// Send at most so many bytes a second to the storage (8M, 500K)
    #[arg(long, global = true, value_name = "SIZE", value_parser = values::size)]
    pub(crate) limit_upload: Option<u64>,

    /// Receive at most so many bytes a second from the storage
    #[arg(long, global = true, value_name = "SIZE", value_parser = values::size)]
    pub(crate) limit_download: Option<u64>,

    /// Keep trees and snapshots of a remote repository in the cache, so much at most; 0 keeps none
    #[arg(long, global = true, value_name = "SIZE", default_value = "1G", value_parser = values::size)]
    pub(crate) cache_size: u64,

    /// Print JSON Lines instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Print results and problems only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Name the items that are handled; twice: unchanged ones too
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// The verbs. Their help is the documentation of the argument types: clap would prefer one given here, and that
/// has no room for the long text.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(upkeep::Init),
    #[command(alias = "backup")]
    Snapshot(Box<snapshot::Snapshot>),
    #[command(visible_alias = "list")]
    Snapshots(browse::Snapshots),
    Ls(browse::Ls),
    Find(browse::Find),
    Cat(browse::Cat),
    Dump(browse::Dump),
    Diff(browse::Diff),
    Restore(restore::Restore),
    Check(upkeep::Check),
    Stats(upkeep::Stats),
    Tag(upkeep::Tag),
    Forget(Box<forget::Forget>),
    Undelete(forget::Undelete),
    Copy(Box<copy::Copy>),
    Drill(drill::Drill),
    Status(drill::Status),
    Prune(prune::Prune),
    Retain(Box<retain::Retain>),
    Session(session::Session),
    Serve(Box<serve::Serve>),
    Stack(Box<stack::Stack>),
    Repair(repair::Repair),
    Key(keys::Key),
    Cache(upkeep::Cache),
    Completions(upkeep::Completions),
    Man(upkeep::Man),
    Bench(bench::Bench),
    Demo(upkeep::Demo),
    Version(upkeep::Version),
}

impl Command {
    /// The verb as it is typed.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Snapshot(_) => "snapshot",
            Self::Snapshots(_) => "snapshots",
            Self::Ls(_) => "ls",
            Self::Find(_) => "find",
            Self::Cat(_) => "cat",
            Self::Dump(_) => "dump",
            Self::Diff(_) => "diff",
            Self::Restore(_) => "restore",
            Self::Check(_) => "check",
            Self::Stats(_) => "stats",
            Self::Tag(_) => "tag",
            Self::Forget(_) => "forget",
            Self::Undelete(_) => "undelete",
            Self::Copy(_) => "copy",
            Self::Drill(_) => "drill",
            Self::Status(_) => "status",
            Self::Prune(_) => "prune",
            Self::Retain(_) => "retain",
            Self::Session(_) => "session",
            Self::Serve(_) => "serve",
            Self::Stack(_) => "stack",
            Self::Repair(_) => "repair",
            Self::Key(_) => "key",
            Self::Cache(_) => "cache",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
            Self::Bench(_) => "bench",
            Self::Demo(_) => "demo",
            Self::Version(_) => "version",
        }
    }
}

/// The whole command line for parsing, manual pages and completions.
pub(crate) fn command() -> clap::Command {
    with_template(Cli::command())
}

fn with_template(command: clap::Command) -> clap::Command {
    let command = if command.has_subcommands() { command } else { command.help_template(HELP_TEMPLATE) };
    command.mut_subcommands(with_template)
}

/// Reads a command line, program name first.
///
/// # Errors
/// clap's error, which prints itself and knows its exit code; help and version are such errors too.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Cli, clap::Error> {
        parse(shell_words::split(line).expect("a good line").into_iter().map(OsString::from))
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example_and_has_the_name_that_is_typed() {
        for sub in command().get_subcommands() {
            let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:\n  repo "), "{} has no examples", sub.get_name());
            assert!(help.contains(&format!("repo {}", sub.get_name())), "{}", sub.get_name());
        }
    }

    /// Every `repo …` line in a help text must be one that the program takes.
    #[test]
    fn the_examples_parse() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter(|line| line.starts_with("  repo ") || line.contains("| repo ")) {
                let start = line.find("repo ").expect("filtered for it");
                // Two spaces start the explanation, a pipe or a redirection is the shell's.
                let text = line[start..].split("  ").next().unwrap_or_default();
                let text = text.split(" | ").next().unwrap_or_default().split(" > ").next().unwrap_or_default();
                if let Err(error) = parse_line(text) {
                    panic!("{text}: {error}");
                }
            }
            command.get_subcommands().for_each(check);
        }
        check(&command());
    }

    #[test]
    fn the_lines_of_the_benchmark_parse() {
        for line in [
            "repo init -q",
            "repo snapshot -q /data",
            "repo backup -q /data",
            "repo restore -q latest --target /out",
            "repo check -q --read-data",
            "repo list --json",
            "repo -r /srv/backup snapshot --stdin-from-command db.sql -- pg_dump -Fc app",
        ] {
            if let Err(error) = parse_line(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn contradictions_are_usage_errors() {
        for line in [
            "repo",
            "repo snapshot",
            "repo snapshot --stdin a /etc",
            "repo snapshot --stdin a --stdin-from-command b -- true",
            "repo snapshot --parent latest --force /etc",
            "repo restore latest",
            "repo check --read-data --read-data-subset 1/7",
            "repo --password-file a --key-file b snapshots",
            "repo -q -v snapshots",
            "repo key add --new-password-file a --new-key-file b",
            "repo tag latest",
            "repo forget --keep-last 3 4bba301e",
            "repo forget --keep-last -1",
            "repo forget --keep-last few",
            "repo forget --keep-within 3w",
            "repo forget --keep-last 1 --group-by hour",
            "repo undelete",
            "repo copy --to a --to-password-file b --to-key-file c",
            "repo retain",
            "repo retain --for 30d --until 2027-01-01",
            "repo retain --for 30d --mode strict",
            "repo retain --for 30d --keep-last 1 4bba301e",
            "repo session",
            "repo session revoke",
            "repo repair",
            "repo repair index 4bba301e",
            "repo snapshots --forgotten 4bba301e",
            "repo serve",
            "repo serve --path a --stdio --listen 127.0.0.1:0",
            "repo serve --path a --listen 127.0.0.1:0 --tls-cert c",
            "repo serve --path a --listen 127.0.0.1:0 --tokens t --no-auth",
            "repo stack",
            "repo stack snapshot shop --all",
            "repo stack snapshot --seal-secrets",
            "repo stack snapshot --recipient age1x",
            "repo restore latest --target /x --only db",
            "repo restore latest --target /x --map-user shop",
        ] {
            let error = parse_line(line).err().unwrap_or_else(|| panic!("{line} parsed"));
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
