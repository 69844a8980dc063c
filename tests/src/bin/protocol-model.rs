//! Explores the model of sessions and prune as far as it is told to: `protocol-model [STATES]`, for each situation.
//!
//! Prints a line for each, the shortest way to every violation with `--traces`, and exits with 1 if the protocol does
//! not hold somewhere, or if it holds without one of its rules.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use repo_tests::model::{Scenario, broken, explore, holding, wander};
use repo_tests::seed;

fn main() -> std::io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let traces = arguments.iter().any(|argument| argument == "--traces");
    let bound = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(4_000_000);
    let mut total = Total::default();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<44}{:>11}{:>12}{:>7}  {:<10}", "the protocol", "states", "steps", "depth", "")?;
    for scenario in holding() {
        total.run(&mut out, &scenario, bound, false, traces)?;
    }
    total.wander(&mut out, bound / 100)?;
    writeln!(out, "\nwithout one of its rules")?;
    for scenario in broken() {
        total.run(&mut out, &scenario, bound.max(6_000_000), true, traces)?;
    }
    writeln!(
        out,
        "\n{} states and {} steps by chance of the protocol, {} violations; {} of {} broken variants found",
        total.states, total.by_chance, total.violations, total.found, total.variants
    )?;
    let good = total.violations == 0 && total.found == total.variants;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Default)]
struct Total {
    states: usize,
    by_chance: usize,
    violations: usize,
    variants: usize,
    found: usize,
}

impl Total {
    /// Steps by chance in the largest situations.
    fn wander(&mut self, out: &mut impl Write, walks: usize) -> std::io::Result<()> {
        let seed = seed();
        writeln!(out, "\nby chance, REPO_TEST_SEED={seed}")?;
        for scenario in holding() {
            let begun = Instant::now();
            let (steps, violation) = wander(&scenario.model, seed, walks);
            let seconds = begun.elapsed().as_secs_f64();
            let what = violation.as_ref().map_or("", |violation| violation.what.as_str());
            writeln!(out, "{:<44}{walks:>11}{steps:>12}{:>7}  {seconds:>5.1} s  {what}", scenario.name, "")?;
            for step in violation.iter().flat_map(|violation| &violation.trace) {
                writeln!(out, "      {step}")?;
            }
            self.by_chance += steps;
            self.violations += usize::from(violation.is_some());
        }
        Ok(())
    }

    fn run(
        &mut self,
        out: &mut impl Write,
        scenario: &Scenario,
        bound: usize,
        broken: bool,
        traces: bool,
    ) -> std::io::Result<()> {
        let begun = Instant::now();
        let explored = explore(&scenario.model, bound, scenario.stopping);
        let what = explored.violation.as_ref().map(|violation| violation.what.as_str());
        let extent = if explored.complete { "all states" } else { "bound" };
        let (states, steps, depth) = (explored.states, explored.steps, explored.depth);
        let seconds = begun.elapsed().as_secs_f64();
        write!(out, "{:<44}{states:>11}{steps:>12}{depth:>7}  {seconds:>5.1} s  ", scenario.name)?;
        writeln!(out, "{}", what.unwrap_or(extent))?;
        if let Some(violation) = explored.violation.as_ref().filter(|_| traces || !broken) {
            for step in &violation.trace {
                writeln!(out, "      {step}")?;
            }
        }
        let found = usize::from(what.is_some());
        if broken {
            self.variants += 1;
            self.found += found;
        } else {
            self.states += states;
            self.violations += found;
        }
        out.flush()
    }
}
