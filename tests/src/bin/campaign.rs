//! All that is tried against data loss, by one command: states of the model, crash points, runs by seed, flipped bits, kills
//! and other harm to the real program. Prints a table as it goes, and puts it into a report. Exits with 1 if something does
//! not hold.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use repo_tests::model::{broken, explore, holding};
use repo_tests::real::disk::{fail_many, fill_many};
use repo_tests::real::kills::kill_many;
use repo_tests::real::soak::soak;
use repo_tests::real::suspended::suspend_many;
use repo_tests::report::{machine, put_between_marks, today};
use repo_tests::sim::campaign::{Campaign, in_parallel};
use repo_tests::sim::crash::{Violation, situations, try_situation};
use repo_tests::sim::flips::flip_all;
use repo_tests::sim::planted::{PLANTED, is_found};
use repo_tests::sim::seeds::Seeds;

/// A part of the campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Every order of steps of snapshots and prunes, and what is broken on purpose
    Model,
    /// Every command ends at every request that it makes
    Crash,
    /// Several clients at once, drawn from a number
    Seeds,
    /// Every bit of a small repository
    Flips,
    /// What is planted must be found
    Planted,
    /// The real program, killed
    Kills,
    /// The real program, stopped past the revocation time
    Stops,
    /// The real program on a full disk and on one that fails
    Disk,
    /// Snapshots beside prunes for some time
    Soak,
}

/// Tries what can be tried against data loss.
#[derive(Debug, Parser)]
#[command(name = "campaign")]
struct Arguments {
    /// A part of each that takes minutes
    #[arg(long)]
    share: bool,
    /// One part only
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
    /// Crash points of situations with this in their names only
    #[arg(long, value_name = "TEXT", default_value = "")]
    situation: String,
    /// States of each situation of the model [default: 400000, or 20000 of a share]
    #[arg(long, value_name = "N")]
    states: Option<usize>,
    /// Runs by seed [default: 100000, or 2000 of a share]
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// Repeat the run of this seed, and tell it step by step if it is a violation
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How long the soak is [default: 600, or 20 of a share]
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Write the table into this file, between the marks in it
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

impl Arguments {
    fn wants(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }

    /// What belongs to the whole, or to a share.
    fn of<T>(&self, whole: T, share: T) -> T {
        if self.share { share } else { whole }
    }
}

/// Incidents of others that can apply here and have a test.
fn incidents() -> u64 {
    let rows = include_str!("../../INCIDENTS.md").lines().filter(|line| line.starts_with("| "));
    let has_test = |line: &&str| line.contains("`");
    rows.filter(has_test).count() as u64
}

/// The lines of the report.
#[derive(Default)]
struct Report {
    rows: Vec<(String, u64, String)>,
    details: String,
    violations: Vec<Violation>,
}

impl Report {
    /// A part of the campaign: its name, how many of what, and how long it took.
    fn row(&mut self, name: &str, count: u64, begun: Instant) {
        let seconds = format!("{:.0}", begun.elapsed().as_secs_f64());
        let _ = writeln!(std::io::stdout(), "{name:<58}{count:>12}{seconds:>8} s");
        self.rows.push((name.to_owned(), count, seconds));
    }

    fn violation(&mut self, violation: Violation) {
        let _ = writeln!(std::io::stdout(), "VIOLATION: {}\n{}", violation.what, violation.record);
        self.violations.push(violation);
    }

    /// Adds what another one says.
    fn add(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.details += &other.details;
        self.violations.extend(other.violations);
    }

    /// Does the same for several seeds at once. One that panics is a violation.
    fn both<T: Send, const N: usize>(&mut self, parts: [(u64, u64); N], work: fn(u64, u64) -> T) -> Vec<T> {
        let done: Vec<_> = std::thread::scope(|scope| {
            let started: Vec<_> = parts.map(|(seed, count)| (seed, scope.spawn(move || work(seed, count)))).into();
            started.into_iter().map(|(seed, thread)| (seed, thread.join())).collect()
        });
        let mut found = Vec::new();
        for (seed, ended) in done {
            match ended {
                Ok(result) => found.push(result),
                Err(panic) => {
                    let why = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                    let what = format!("the real program, REPO_TEST_SEED={seed}: {}", why.lines().next().unwrap_or(""));
                    self.violation(Violation { what, record: why });
                }
            }
        }
        found
    }

    /// The report as Markdown.
    fn markdown(&self) -> String {
        let mut text = String::new();
        let _ = write!(
            text,
            "Written by `./dev campaign` on {}, {}. What each line means \
             is in `tests/src/model/`, `tests/src/sim/` and `tests/src/real/`; the real program ran beside the others.\n\n| | count | seconds |\n|---|---:|---:|\n",
            today(),
            machine(),
        );
        for (name, count, seconds) in &self.rows {
            let _ = writeln!(text, "| {name} | {count} | {seconds} |");
        }
        let _ = writeln!(text, "| **violations** | **{}** | |", self.violations.len());
        if !self.violations.is_empty() {
            text.push_str("\nViolations:\n\n");
            for violation in &self.violations {
                let _ = writeln!(text, "- {}", violation.what);
            }
        }
        let _ = write!(text, "\n| situation | points | runs |\n|---|---:|---:|\n{}", self.details);
        text
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let campaign = Campaign::new().expect("a scratch directory");
    if let Some(seed) = arguments.seed {
        return repeat(&campaign, seed);
    }
    let mut report = Report::default();
    std::thread::scope(|scope| {
        // The real program mostly waits: for commands, for a time to pass.
        let real = scope.spawn(|| real_program(&arguments));
        engine_alone(&mut report, &arguments, &campaign);
        report.add(real.join().expect("what does not hold is in the report"));
    });
    if arguments.only.is_none() {
        report.row("incidents of others with tests, see INCIDENTS.md", incidents(), Instant::now());
    }
    let _ = writeln!(std::io::stdout(), "{} violations", report.violations.len());
    if let Some(Err(why)) =
        arguments.report.as_deref().map(|path| put_between_marks(path, "campaign", &report.markdown()))
    {
        let _ = writeln!(std::io::stderr(), "{why}\n\n{}", report.markdown());
        return ExitCode::FAILURE;
    }
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The protocol as a model, and the engine on a storage that fails.
fn engine_alone(report: &mut Report, arguments: &Arguments, campaign: &Campaign) {
    if arguments.wants(Part::Model) {
        model(report, arguments.states.unwrap_or(arguments.of(400_000, 20_000)));
    }
    if arguments.wants(Part::Crash) {
        crash_points(report, campaign, arguments.of(1, 5), &arguments.situation);
    }
    if arguments.wants(Part::Seeds) {
        seeds(report, campaign, arguments.from, arguments.seeds.unwrap_or(arguments.of(100_000, 2_000)));
    }
    if arguments.wants(Part::Flips) {
        flips(report, campaign, arguments.of(1, 41));
    }
    if arguments.wants(Part::Planted) {
        planted(report, campaign);
    }
}

fn model(report: &mut Report, states: usize) {
    let begun = Instant::now();
    let mut total = 0;
    for scenario in holding() {
        let explored = explore(&scenario.model, states, scenario.stopping);
        total += explored.states as u64;
        if let Some(violation) = explored.violation {
            let record = violation.trace.join("\n");
            report.violation(Violation { what: format!("model, {}: {}", scenario.name, violation.what), record });
        }
    }
    report.row("states of the model of the protocol", total, begun);
    let begun = Instant::now();
    let mut found = 0;
    for scenario in broken() {
        match explore(&scenario.model, 6_000_000, scenario.stopping).violation {
            Some(_) => found += 1,
            None => {
                let what = format!("model, {}: nothing found without this rule", scenario.name);
                report.violation(Violation { what, record: String::new() });
            }
        }
    }
    report.row("broken variants of the protocol that the model finds", found, begun);
}

fn crash_points(report: &mut Report, campaign: &Campaign, stride: usize, name: &str) {
    let begun = Instant::now();
    let (mut points, mut runs) = (0, 0);
    for situation in situations().iter().filter(|situation| situation.name.contains(name)) {
        match try_situation(campaign, situation, None, stride) {
            Ok(tried) => {
                points += tried.points;
                runs += tried.runs;
                let _ = writeln!(report.details, "| {} | {} | {} |", situation.name, tried.points, tried.runs);
            }
            Err(violation) => report.violation(violation),
        }
    }
    report.row("crash points: requests of verbs × before, after, ack lost", points, begun);
    report.row("crash points × kinds of power cut", runs, begun);
}

fn seeds(report: &mut Report, campaign: &Campaign, first: u64, count: u64) {
    let begun = Instant::now();
    let seeds = Seeds::new(campaign).expect("repositories to begin with");
    let (done, requests) = (AtomicU64::new(0), AtomicU64::new(0));
    let ran = in_parallel(count as usize, |number| {
        let ran = seeds.run(first + number as u64, None)?;
        done.fetch_add(1, Ordering::Relaxed);
        requests.fetch_add(ran.requests, Ordering::Relaxed);
        Ok(())
    });
    if let Err(violation) = ran {
        report.violation(violation);
    }
    report.row(&format!("runs of several clients, by seeds from {first} on"), done.into_inner(), begun);
    report.row("requests in these runs", requests.into_inner(), begun);
}

fn flips(report: &mut Report, campaign: &Campaign, stride: usize) {
    let begun = Instant::now();
    match flip_all(campaign, stride) {
        Ok(count) => report.row("bits flipped, each refused or found by check", count, begun),
        Err(violation) => report.violation(violation),
    }
}

/// The campaign itself: what is planted must be found.
fn planted(report: &mut Report, campaign: &Campaign) {
    let begun = Instant::now();
    let mut found = 0;
    for bug in PLANTED {
        match is_found(campaign, bug) {
            Ok(_) => found += 1,
            Err(what) => report.violation(Violation { what, record: String::new() }),
        }
    }
    report.row("planted faults that the simulator finds", found, begun);
}

/// The real program. What does not hold ends a part by a panic, which tells the seed.
fn real_program(arguments: &Arguments) -> Report {
    let mut report = Report::default();
    let seed = repo_tests::seed();
    // By two at once: a kill waits for commands, not for a processor.
    let halves = |count: u64| [(seed, count / 2), (seed + 1, count - count / 2)];
    if arguments.wants(Part::Kills) {
        let begun = Instant::now();
        let killed = report.both(halves(arguments.of(1000, 40)), kill_many);
        report.row("the real program killed while it works", killed.iter().map(|part| part.kills).sum(), begun);
        report.row("restores compared after these", killed.iter().map(|part| part.restores).sum(), begun);
    }
    if arguments.wants(Part::Stops) {
        let begun = Instant::now();
        let stopped = report.both(halves(arguments.of(60, 10)), suspend_many);
        report.row("suspended past the revocation time", stopped.iter().map(|part| part.suspended).sum(), begun);
        report.row("of these writers that were revoked", stopped.iter().map(|part| part.revoked).sum(), begun);
    }
    if arguments.wants(Part::Disk) {
        let begun = Instant::now();
        let full = report.both(halves(arguments.of(60, 10)), fill_many);
        report.row("a full disk in the middle", full.iter().flatten().map(|part| part.failed).sum(), begun);
        let begun = Instant::now();
        let failed = report.both(halves(arguments.of(200, 20)), fail_many);
        report.row("a system call that fails", failed.iter().flatten().map(|part| part.failed).sum(), begun);
    }
    if arguments.wants(Part::Soak) {
        let begun = Instant::now();
        for soaked in report.both([(seed, arguments.seconds.unwrap_or(arguments.of(600, 20))); 1], soak) {
            report.row("snapshots beside prunes, each restored", soaked.snapshots.into_inner(), begun);
            let prunes = soaked.prunes.into_inner() + soaked.waiting.into_inner();
            report.row("prunes beside these snapshots", prunes, begun);
        }
    }
    report
}

fn repeat(campaign: &Campaign, seed: u64) -> ExitCode {
    let seeds = Seeds::new(campaign).expect("repositories to begin with");
    let mut out = std::io::stdout();
    match seeds.run(seed, None) {
        Ok(ran) => {
            let _ = writeln!(out, "seed {seed}: {} requests, shape {:016x}", ran.requests, ran.shape);
            ExitCode::SUCCESS
        }
        Err(violation) => {
            let _ = writeln!(out, "{}\n{}", violation.what, violation.record);
            ExitCode::FAILURE
        }
    }
}
