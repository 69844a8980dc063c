//! All that is tried against data loss, by one command: `campaign [--share] [--seeds N] [--from N] [--states N] [--seconds N]
//! [--only PART]`.
//!
//! States of the model, crash points, runs by seed, flipped bits, kills and other harm to the real program; with `--share` a
//! part of each that takes minutes. Prints a table as it goes, and the same as Markdown into the file that `--report` names. Exits with 1 if something
//! does not hold. `--seed N` repeats one run and tells it step by step.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use repo_tests::model::{broken, explore, holding};
use repo_tests::real::disk::{fail_many, fill_many};
use repo_tests::real::kills::kill_many;
use repo_tests::real::soak::soak;
use repo_tests::real::suspended::suspend_many;
use repo_tests::sim::campaign::{Campaign, in_parallel};
use repo_tests::sim::crash::{Violation, situations, try_situation};
use repo_tests::sim::flips::flip_all;
use repo_tests::sim::planted::{PLANTED, is_found};
use repo_tests::sim::seeds::Seeds;

/// What is asked for.
struct Arguments {
    share: bool,
    /// One part only: `model`, `crash`, `seeds`, `flips`, `planted`, `kills`, `stops`, `disk`, `soak`.
    only: Option<String>,
    /// Situations with this in their names only.
    situation: String,
    states: usize,
    seeds: u64,
    from: u64,
    one: Option<u64>,
    /// How long the soak is.
    seconds: u64,
    report: Option<String>,
    command: String,
}

impl Arguments {
    fn read() -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let after = |name: &str| words.iter().skip_while(|word| *word != name).nth(1).cloned();
        let number = |name: &str| after(name).map(|text| text.parse::<u64>().expect("a number"));
        let share = words.iter().any(|word| word == "--share");
        Self {
            share,
            only: after("--only"),
            situation: after("--situation").unwrap_or_default(),
            states: number("--states").unwrap_or(if share { 20_000 } else { 400_000 }) as usize,
            seeds: number("--seeds").unwrap_or(if share { 2_000 } else { 100_000 }),
            from: number("--from").unwrap_or(0),
            one: number("--seed"),
            seconds: number("--seconds").unwrap_or(if share { 20 } else { 600 }),
            report: after("--report"),
            command: format!("./dev campaign {}", words.join(" ")).trim().to_owned(),
        }
    }
}

/// What kind of processor this is, as the system tells it.
fn processor() -> String {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = told.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown").to_owned()
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
    fn markdown(&self, arguments: &Arguments) -> String {
        let mut text = String::from("# What was tried against data loss\n\n");
        let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() / 86_400);
        let (year, month, day) = date(days as i64);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let _ = write!(
            text,
            "Written by `{}` on {year}-{month:02}-{day:02}, {}, {processors} processors ({}). What each line means is in \
             `tests/src/model/`, `tests/src/sim/` and `tests/src/real/`.\n\n| | count | seconds |\n|---|---:|---:|\n",
            arguments.command,
            std::env::consts::ARCH,
            processor(),
        );
        for (name, count, seconds) in &self.rows {
            let _ = writeln!(text, "| {name} | {count} | {seconds} |");
        }
        let _ = writeln!(text, "| **violations** | **{}** | |", self.violations.len());
        if !self.violations.is_empty() {
            text.push_str("\n## Violations\n\n");
            for violation in &self.violations {
                let _ = writeln!(text, "- {}", violation.what);
            }
        }
        let _ = write!(text, "\n## Crash points\n\n| situation | points | runs |\n|---|---:|---:|\n{}", self.details);
        text
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::read();
    let campaign = Campaign::new().expect("a scratch directory");
    if let Some(seed) = arguments.one {
        return repeat(&campaign, seed);
    }
    let mut report = Report::default();
    let wanted = |part: &str| arguments.only.as_deref().is_none_or(|only| only == part);
    if wanted("model") {
        model(&mut report, arguments.states);
    }
    if wanted("crash") {
        crash_points(&mut report, &campaign, if arguments.share { 5 } else { 1 }, &arguments.situation);
    }
    if wanted("seeds") {
        seeds(&mut report, &campaign, &arguments);
    }
    if wanted("flips") {
        flips(&mut report, &campaign, if arguments.share { 41 } else { 1 });
    }
    if wanted("planted") {
        planted(&mut report, &campaign);
    }
    real_program(&mut report, &arguments);
    if arguments.only.is_none() {
        report.row("incidents of others with tests, see INCIDENTS.md", incidents(), Instant::now());
    }
    let _ = writeln!(std::io::stdout(), "{} violations", report.violations.len());
    if let Some(path) = &arguments.report {
        std::fs::write(path, report.markdown(&arguments)).expect("the report can be written");
    }
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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

fn seeds(report: &mut Report, campaign: &Campaign, arguments: &Arguments) {
    let begun = Instant::now();
    let seeds = Seeds::new(campaign).expect("repositories to begin with");
    let (done, requests) = (AtomicU64::new(0), AtomicU64::new(0));
    let ran = in_parallel(arguments.seeds as usize, |number| {
        let ran = seeds.run(arguments.from + number as u64, None)?;
        done.fetch_add(1, Ordering::Relaxed);
        requests.fetch_add(ran.requests, Ordering::Relaxed);
        Ok(())
    });
    if let Err(violation) = ran {
        report.violation(violation);
    }
    let first = arguments.from;
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
fn real_program(report: &mut Report, arguments: &Arguments) {
    let wanted = |part: &str| arguments.only.as_deref().is_none_or(|only| only == part);
    let share = arguments.share;
    let seed = repo_tests::seed();
    // By two at once: a kill waits for commands, not for a processor.
    let halves = |count: u64| [(seed, count / 2), (seed + 1, count - count / 2)];
    if wanted("kills") {
        let begun = Instant::now();
        let killed = report.both(halves(if share { 40 } else { 1000 }), kill_many);
        report.row("the real program killed while it works", killed.iter().map(|part| part.kills).sum(), begun);
        report.row("restores compared after these", killed.iter().map(|part| part.restores).sum(), begun);
    }
    if wanted("stops") {
        let begun = Instant::now();
        let stopped = report.both(halves(if share { 10 } else { 200 }), suspend_many);
        report.row("suspended past the revocation time", stopped.iter().map(|part| part.suspended).sum(), begun);
        report.row("of these writers that were revoked", stopped.iter().map(|part| part.revoked).sum(), begun);
    }
    if wanted("disk") {
        let begun = Instant::now();
        let full = report.both(halves(if share { 10 } else { 200 }), fill_many);
        report.row("a full disk in the middle", full.iter().flatten().map(|part| part.failed).sum(), begun);
        let begun = Instant::now();
        let failed = report.both(halves(if share { 20 } else { 600 }), fail_many);
        report.row("a system call that fails", failed.iter().flatten().map(|part| part.failed).sum(), begun);
    }
    if wanted("soak") {
        let begun = Instant::now();
        for soaked in report.both([(seed, arguments.seconds); 1], soak) {
            report.row("snapshots beside prunes, each restored", soaked.snapshots.into_inner(), begun);
            let prunes = soaked.prunes.into_inner() + soaked.waiting.into_inner();
            report.row("prunes beside these snapshots", prunes, begun);
        }
    }
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

/// Year, month and day of a number of days since 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
