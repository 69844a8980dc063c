//! `bench`: measures this machine.

use std::collections::BTreeSet;

use engine::ops::{self, BenchOptions, BenchReport, BenchTools, DataReport, KernelSpeed, StepReport, Unit};

use crate::args::bench::Bench;
use crate::args::select::absolute;
use crate::context::{Context, PROGRAM, SystemClock, SystemStopwatch};
use crate::exit::{Failure, Outcome, io_failure};
use crate::messages::{Message, StageFields};
use crate::output::Output;
use crate::text::{self, Align};

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Bench) -> Result<Outcome, Failure> {
    let above = arguments.scratch.clone().unwrap_or_else(std::env::temp_dir);
    // Dropped on every way out, also after the first Ctrl-C, which the engine notices.
    let scratch = tempfile::Builder::new().prefix("repo-bench-").tempdir_in(&above);
    let scratch = scratch.map_err(|error| io_failure("make a directory in", &above, error))?;
    let progress = context.progress(true);
    let options = BenchOptions {
        paths: arguments.paths.iter().map(|path| absolute(path)).collect(),
        host: context.host(),
        program: PROGRAM.into(),
    };
    let place = scratch.path().canonicalize().map_err(|error| io_failure("find", scratch.path(), error))?;
    let stopwatch = SystemStopwatch::start();
    let tools = BenchTools { scratch: &place, stopwatch: &stopwatch, clock: &SystemClock, monitor: &progress };
    let report = ops::bench(&options, &tools)?;
    drop(progress);
    scratch.close().map_err(|error| io_failure("remove", &place, error))?;
    match context.output.is_json() {
        true => print_json(&context.output, &report)?,
        false => print_text(&context.output, &report)?,
    }
    Ok(Outcome::of_problems(report.problems))
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Byte => "byte",
        Unit::Entry => "entry",
        Unit::File => "file",
        Unit::Chunk => "chunk",
        Unit::Object => "object",
    }
}

fn print_json(output: &Output, report: &BenchReport) -> Result<(), Failure> {
    for KernelSpeed { name, material, unit, per_second } in &report.kernels {
        let (unit, per_second) = (unit_name(*unit), *per_second);
        output.message(&Message::BenchKernel { name, material, unit, per_second })?;
    }
    if let Some(data) = &report.data {
        output.message(&Message::BenchData {
            files: data.files,
            directories: data.directories,
            others: data.others,
            bytes: data.bytes,
            sampled_bytes: data.sampled_bytes,
            packed_bytes: data.packed_bytes,
            incompressible_bytes: data.incompressible_bytes,
        })?;
    }
    for step in &report.steps {
        let stages = step.stages.iter().map(|stage| StageFields {
            name: stage.name,
            unit: unit_name(stage.unit),
            count: stage.count,
            core_seconds: stage.seconds,
        });
        output.message(&Message::BenchStep {
            name: step.step,
            material: step.material,
            cores: report.cores,
            bytes: step.bytes,
            bound_seconds: step.bound,
            seconds: step.seconds,
            share: step.share(),
            stages: stages.collect(),
        })?;
    }
    Ok(())
}

fn print_text(output: &Output, report: &BenchReport) -> Result<(), Failure> {
    for line in kernel_table(&report.kernels) {
        output.line(&line)?;
    }
    output.line("")?;
    if let Some(data) = &report.data {
        output.line(&data_line(data))?;
        output.line("")?;
    }
    for line in step_table(report) {
        output.line(&line)?;
    }
    for (number, step) in report.steps.iter().enumerate() {
        if number == 0 {
            output.line("")?;
        }
        output.line(&stage_line(step))?;
    }
    Ok(())
}

/// A row for each kernel, a column for each material.
fn kernel_table(kernels: &[KernelSpeed]) -> Vec<String> {
    let mut materials: Vec<&str> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for kernel in kernels {
        if !materials.contains(&kernel.material) {
            materials.push(kernel.material);
        }
        if !names.contains(&kernel.name) {
            names.push(kernel.name);
        }
    }
    let mut header = vec![("One core", Align::Left)];
    header.extend(materials.iter().map(|material| (*material, Align::Right)));
    let cell = |name: &str, material: &str| {
        let found = kernels.iter().find(|kernel| kernel.name == name && kernel.material == material);
        found.map_or(String::new(), rate)
    };
    let row = |name: &&str| {
        std::iter::once((*name).to_owned()).chain(materials.iter().map(|material| cell(name, material))).collect()
    };
    text::table(&header, &names.iter().map(row).collect::<Vec<Vec<String>>>())
}

fn rate(kernel: &KernelSpeed) -> String {
    let per_second = kernel.per_second as u64;
    match kernel.unit {
        Unit::Byte => format!("{}/s", text::size(per_second)),
        Unit::Entry => format!("{per_second} entries/s"),
        Unit::File => format!("{per_second} files/s"),
        Unit::Chunk => format!("{per_second} chunks/s"),
        Unit::Object => format!("{per_second} objects/s"),
    }
}

fn data_line(data: &DataReport) -> String {
    let percent = |part: u64| part as f64 * 100.0 / data.sampled_bytes.max(1) as f64;
    format!(
        "Data at hand: {} in {}; of {} looked at, {:.0} % are left after compression, {:.0} % don't compress",
        text::size(data.bytes),
        text::count(data.files, "file", "files"),
        text::size(data.sampled_bytes),
        percent(data.packed_bytes),
        percent(data.incompressible_bytes),
    )
}

fn step_table(report: &BenchReport) -> Vec<String> {
    let cores = text::count(report.cores as u64, "core", "cores");
    let title = format!("Roofline of {cores}");
    let mut header = vec![(title.as_str(), Align::Left), ("material", Align::Left), ("bytes", Align::Right)];
    header.extend([("at least", Align::Right), ("at most", Align::Right)]);
    let is_real = report.steps.iter().any(|step| step.seconds.is_some());
    if is_real {
        header.extend([("took", Align::Right), ("share", Align::Right)]);
    }
    let row = |step: &StepReport| {
        let speed = text::size((step.bytes as f64 / step.bound.max(f64::MIN_POSITIVE)) as u64);
        let mut row = vec![step.step.to_owned(), step.material.to_owned(), text::size(step.bytes)];
        row.extend([format!("{:.3} s", step.bound), format!("{speed}/s")]);
        if let (Some(seconds), Some(share)) = (step.seconds, step.share()) {
            row.extend([format!("{seconds:.3} s"), format!("{:.0} %", share * 100.0)]);
        }
        row
    };
    text::table(&header, &report.steps.iter().map(row).collect::<Vec<_>>())
}

/// What the bound of a step is made of, the largest part first.
fn stage_line(step: &StepReport) -> String {
    let total: f64 = step.stages.iter().map(|stage| stage.seconds).sum();
    let percents: BTreeSet<(u64, &str)> = step
        .stages
        .iter()
        .map(|stage| ((stage.seconds * 100.0 / total.max(f64::MIN_POSITIVE)).round() as u64, stage.name))
        .filter(|(percent, _)| *percent > 0)
        .collect();
    let parts: Vec<String> = percents.iter().rev().map(|(percent, name)| format!("{name} {percent} %")).collect();
    format!("{}, {}: {}", step.step, step.material, parts.join(", "))
}
