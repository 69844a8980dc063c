//! Every storage, tried at full length by one command, `./dev storages`: conformance, all that one does with a repository,
//! two writers beside a prune, each command with each fault, and clients by seed on a storage that loses requests. Prints a
//! table as it goes, and puts it into a report. Exits with 1 if something does not hold, or if a storage is left out.

use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use engine::storage::{MemoryStorage, Storage, check_conformance};
use repo_tests::report::{machine, put_between_marks, today};
use repo_tests::servers::every::{KINDS, Kind, Place};
use repo_tests::storages::faults::{Tried, try_all};
use repo_tests::storages::life::{conformance, live};
use repo_tests::storages::lost::{CLIENTS, Ran, Rough, run_many};
use repo_tests::storages::together::{Together, write_and_prune};

/// Tries every storage.
#[derive(Debug, Parser)]
#[command(name = "storages")]
struct Arguments {
    /// Storages with this in their names only
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// How often each command meets each fault
    #[arg(long, value_name = "N", default_value_t = 2)]
    times: usize,
    /// Snapshots of each writer beside a prune
    #[arg(long, value_name = "N", default_value_t = 8)]
    snapshots: u64,
    /// Runs of clients by seed on each storage, at most
    #[arg(long, value_name = "N", default_value_t = 200)]
    seeds: u64,
    /// How long these may take on each storage
    #[arg(long, value_name = "SECONDS", default_value_t = 90)]
    seconds: u64,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// Write the table into this file, between the marks in it
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// What was found about one storage.
#[derive(Default)]
struct Row {
    name: String,
    /// What conformance came to: what the probe found, or that it passes.
    conformance: String,
    together: Option<Together>,
    tried: Option<Tried>,
    ran: Ran,
    violations: Vec<String>,
    seconds: u64,
}

impl Row {
    /// Does a part; what does not hold in it is a violation.
    fn part<T>(&mut self, what: &str, work: impl FnOnce() -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(value) => Some(value),
            Err(panic) => {
                let why = panic.downcast_ref::<String>().cloned();
                let why = why.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                let why = format!("{}: {what}: {}", self.name, why.unwrap_or_default());
                let _ = writeln!(std::io::stdout(), "VIOLATION: {why}");
                self.violations.push(why);
                None
            }
        }
    }

    fn lose(&mut self, arguments: &Arguments, open: impl FnOnce() -> Arc<Rough>) {
        let time = Duration::from_secs(arguments.seconds);
        let ran = self.part("requests lost", || {
            run_many(&open(), arguments.from, arguments.seeds, time)
                .unwrap_or_else(|violation| panic!("{}\n{}", violation.what, violation.record))
        });
        self.ran = ran.unwrap_or_default();
    }

    fn line(&self) -> String {
        let together = self.together.as_ref();
        let counted =
            together.map_or("–".to_owned(), |it| format!("{} / {} / {}", it.snapshots, it.prunes, it.waiting));
        let tried = self
            .tried
            .as_ref()
            .map_or("–".to_owned(), |it| format!("{} / {} / {}", it.failed, it.succeeded, it.too_late));
        let restores = self.tried.as_ref().map_or(0, |it| it.restores);
        format!(
            "| {} | {} | {counted} | {tried} | {restores} | {} / {} / {} | {} | {} |",
            self.name,
            self.conformance,
            self.ran.runs,
            self.ran.requests,
            self.ran.lost,
            self.violations.len(),
            self.seconds
        )
    }
}

fn of_memory(arguments: &Arguments) -> Row {
    let begun = Instant::now();
    let mut row = Row { name: "memory".into(), ..Row::default() };
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let passes = row.part("conformance", || check_conformance(&*memory));
    row.conformance = passes.map_or("fails", |()| "passes").into();
    row.lose(arguments, || Rough::new(vec![Arc::clone(&memory); CLIENTS], memory));
    row.seconds = begun.elapsed().as_secs();
    row
}

fn of_kind(kind: Kind, arguments: &Arguments) -> Option<Row> {
    let begun = Instant::now();
    let mut row = Row { name: kind.name().into(), ..Row::default() };
    let place = row.part("start", || Place::start(kind))??;
    let found = row.part("conformance", || conformance(&place));
    row.conformance = match found.as_deref() {
        None => "fails".into(),
        Some("") => "passes".into(),
        Some(probe) => format!("passes; {}", probe.split(';').next().unwrap_or_default()),
    };
    row.part("all that one does", || live(&place));
    row.together = row.part("writers and a prune", || write_and_prune(&place, arguments.snapshots));
    row.lose(arguments, || {
        let ways = (0..CLIENTS).map(|_| place.open("conformance", false).expect("a storage").0).collect();
        Rough::new(ways, place.open_behind("conformance").expect("a storage"))
    });
    drop(place);
    // Through the stand-in there is no network that could fail.
    if kind != Kind::SshStandIn {
        row.tried = row.part("faults", || try_all(kind, repo_tests::seed(), arguments.times)).flatten();
    }
    row.seconds = begun.elapsed().as_secs();
    Some(row)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let wanted = |name: &str| name.contains(&arguments.only);
    let (mut rows, mut left_out) = (Vec::new(), Vec::new());
    if wanted("memory") {
        rows.push(of_memory(&arguments));
    }
    for kind in KINDS.into_iter().filter(|kind| wanted(kind.name())) {
        match of_kind(kind, &arguments) {
            Some(row) => {
                let _ = writeln!(std::io::stdout(), "{}", row.line());
                rows.push(row);
            }
            None => left_out.push(kind.name()),
        }
    }
    let text = markdown(&arguments, &rows, &left_out);
    let _ = writeln!(std::io::stdout(), "{text}");
    if let Some(Err(why)) = arguments.report.as_deref().map(|path| put_between_marks(path, "storages", &text)) {
        let _ = writeln!(std::io::stderr(), "{why}");
        return ExitCode::FAILURE;
    }
    let holds = left_out.is_empty() && rows.iter().all(|row| row.violations.is_empty());
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn markdown(arguments: &Arguments, rows: &[Row], left_out: &[&str]) -> String {
    let mut text = format!(
        "Written by `./dev storages` on {}, {}: each command met each fault {} times, each writer made {} snapshots that \
         stayed, runs by seed from {} on were {} at most, or as many as {} seconds allow.\n\n\
         | storage | conformance | snapshots / prunes / prunes that waited, at once | faults: said so / done all the same / too \
         late | restores compared | runs by seed / requests / of these lost | violations | seconds |\n\
         |---|---|---|---|---:|---|---:|---:|\n",
        today(),
        machine(),
        arguments.times,
        arguments.snapshots,
        arguments.from,
        arguments.seeds,
        arguments.seconds,
    );
    for row in rows {
        let _ = writeln!(text, "{}", row.line());
    }
    if !left_out.is_empty() {
        let _ = writeln!(text, "\nNot here, and left out: {}.", left_out.join(", "));
    }
    let violations: Vec<&String> = rows.iter().flat_map(|row| &row.violations).collect();
    for violation in violations {
        let _ = writeln!(text, "\n- {}", violation.lines().next().unwrap_or_default());
    }
    text
}
