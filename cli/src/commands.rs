//! One file per verb: arguments in, engine called, result shown.

mod bench;
mod cache;
mod cat;
mod check;
mod completions;
mod copy;
mod diff;
mod drill;
mod dump;
mod fan_out;
mod find;
mod forget;
mod init;
mod key;
mod ls;
mod man;
mod prune;
mod repair;
mod restore;
mod retain;
mod serve;
mod session;
mod snapshot;
mod snapshots;
mod stack;
mod stats;
mod status;
mod stream;
mod tag;
mod undelete;
mod version;

use engine::id::SnapshotId;
use engine::model::{Node, NodeKind, Snapshot};
use engine::monitor::Monitor;
use engine::ops;
use engine::repository::{Index, Repository};

use crate::args::Command;
use crate::args::select::Filter;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::progress::Progress;
use crate::text;

/// Runs a command.
pub(crate) fn run(context: &Context, command: &Command) -> Result<Outcome, Failure> {
    match command {
        Command::Init(arguments) => init::run(context, arguments),
        Command::Snapshot(arguments) => snapshot::run(context, arguments),
        Command::Snapshots(arguments) => snapshots::run(context, arguments),
        Command::Ls(arguments) => ls::run(context, arguments),
        Command::Find(arguments) => find::run(context, arguments),
        Command::Cat(arguments) => cat::run(context, arguments),
        Command::Dump(arguments) => dump::run(context, arguments),
        Command::Diff(arguments) => diff::run(context, arguments),
        Command::Restore(arguments) => restore::run(context, arguments),
        Command::Check(arguments) => check::run(context, arguments),
        Command::Stats(arguments) => stats::run(context, arguments),
        Command::Tag(arguments) => tag::run(context, arguments),
        Command::Forget(arguments) => forget::run(context, arguments),
        Command::Undelete(arguments) => undelete::run(context, arguments),
        Command::Copy(arguments) => copy::run(context, arguments),
        Command::Drill(arguments) => drill::run(context, arguments),
        Command::Status(arguments) => status::run(context, arguments),
        Command::Prune(arguments) => prune::run(context, arguments),
        Command::Retain(arguments) => retain::run(context, arguments),
        Command::Session(arguments) => session::run(context, arguments),
        Command::Serve(arguments) => serve::run(context, arguments),
        Command::Stack(arguments) => stack::run(context, arguments),
        Command::Repair(arguments) => repair::run(context, arguments),
        Command::Key(arguments) => key::run(context, arguments),
        Command::Cache(arguments) => cache::run(context, arguments),
        Command::Completions(arguments) => completions::run(context, arguments),
        Command::Man(arguments) => man::run(context, arguments),
        Command::Bench(arguments) => bench::run(context, arguments),
        Command::Demo(arguments) => crate::demo::run(context, arguments),
        Command::Version(_) => version::run(context),
    }
}

/// The snapshots that are named, or those that the filter leaves; and how many could not be read. With an index, of those
/// that there were when it was loaded.
fn select(
    repository: &Repository,
    index: Option<&Index>,
    names: &[String],
    filter: &Filter,
    progress: &Progress<'_>,
) -> Result<(Vec<(SnapshotId, Snapshot)>, u64), Failure> {
    let filter = filter.to_engine();
    if names.is_empty() {
        let list = match index {
            Some(index) => ops::list_snapshots_of(repository, index, &filter)?,
            None => ops::list_snapshots(repository, &filter)?,
        };
        for problem in &list.problems {
            progress.problem(problem);
        }
        return Ok((list.snapshots, list.problems.len() as u64));
    }
    let mut found: Vec<(SnapshotId, Snapshot)> = Vec::with_capacity(names.len());
    for snapshot in ops::find_snapshots(repository, index, names, &filter)? {
        // The same one under two names is meant once.
        if !found.iter().any(|(id, _)| *id == snapshot.0) {
            found.push(snapshot);
        }
    }
    Ok((found, 0))
}

/// A line of `ls -l`.
fn long_line(snapshot: &Snapshot, path: &[u8], node: &Node) -> String {
    let owner = |table: &engine::model::NameTable, id: u32| match table.get(&id) {
        Some(name) => text::path(name),
        None => id.to_string(),
    };
    let metadata = &node.metadata;
    let shown_size = match node.kind {
        NodeKind::BlockDevice | NodeKind::CharDevice => {
            format!("{}, {}", rustix::fs::major(node.rdev), rustix::fs::minor(node.rdev))
        }
        _ => node.size.to_string(),
    };
    let mut line = format!(
        "{}  {:<8}  {:<8}  {:>12}  {}  {}",
        text::mode(node.kind, metadata.mode),
        owner(&snapshot.users, metadata.uid),
        owner(&snapshot.groups, metadata.gid),
        shown_size,
        text::local_time(metadata.mtime),
        text::path(path),
    );
    if node.kind == NodeKind::Symlink {
        line.push_str(" -> ");
        line.push_str(&text::path(&node.target));
    }
    line
}

/// A path for a list: directories end with a slash.
fn short_line(path: &[u8], node: &Node) -> String {
    let mut line = text::path(path);
    if node.is_directory() && !line.ends_with('/') {
        line.push('/');
    }
    line
}
