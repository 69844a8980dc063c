//! How fast this machine is, what bound follows for given data, and how near a real run comes to it.
//!
//! *Kernels* are measured one by one on one core, on a *material*: generated, or pieces of the data at hand. What each
//! costs, times how much of it there is, shared by all cores, is the *roofline* of a step. A real run on the data
//! then says which part of it is reached. Everything happens in a scratch directory that the caller makes and removes.

mod disk;
mod kernels;
mod material;
mod roofline;
mod run;
mod sample;
#[cfg(test)]
mod tests;

pub use roofline::{Stage, Unit};

use std::path::Path;

use self::kernels::{Meter, Shrinking};
use self::material::Material;
use self::roofline::{Costs, Work};
use self::sample::{Data, Totals};
use crate::clock::{Clock, Stopwatch};
use crate::error::{EngineError, ErrorKind, Result};
use crate::limits::MIB;
use crate::model::Suite;
use crate::monitor::Monitor;
use crate::os;
use crate::repository::Repository;

/// What the roofline of generated material is told for.
const MODEL_BYTES: u64 = 1024 * MIB;
/// Free space that must be left over, in bytes.
const SPARE_BYTES: u64 = 256 * MIB;
/// Kernels that are the same on all data; for progress.
const GENERAL_KERNELS: u64 = 14;
/// Kernels of one material.
const MATERIAL_KERNELS: u64 = 7;

/// What to measure.
#[derive(Debug, Clone, Default)]
pub struct BenchOptions {
    /// The data at hand, absolute paths; none: generated material, and no real run.
    pub paths: Vec<Vec<u8>>,
    /// The machine's name, for the snapshots of the real run.
    pub host: String,
    /// Program and version, for them too.
    pub program: String,
}

/// What a benchmark gets from outside.
pub struct BenchTools<'a> {
    /// An empty directory: for files, the repository, the cache and the restored tree. The caller removes it.
    pub scratch: &'a Path,
    /// Says how long something took.
    pub stopwatch: &'a dyn Stopwatch,
    /// What the snapshots are dated by.
    pub clock: &'a dyn Clock,
    /// Who hears of progress, and may stop it.
    pub monitor: &'a dyn Monitor,
}

/// How fast one core is at something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KernelSpeed {
    /// What it does.
    pub name: &'static str,
    /// What it was measured on: `text`, `noise`, `data at hand`, or `any` where that makes no difference.
    pub material: &'static str,
    /// What is counted.
    pub unit: Unit,
    /// How many of them a second, best of some rounds.
    pub per_second: f64,
}

/// The data at hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DataReport {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Links and special files.
    pub others: u64,
    /// Sizes of all files, holes included.
    pub bytes: u64,
    /// Bytes that were looked at.
    pub sampled_bytes: u64,
    /// What these take compressed.
    pub packed_bytes: u64,
    /// How many of them are stored as they are, because compression does not pay.
    pub incompressible_bytes: u64,
}

/// What a step costs at least, and what it cost.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// Which step.
    pub step: &'static str,
    /// What it works on.
    pub material: &'static str,
    /// Bytes that are saved or restored.
    pub bytes: u64,
    /// The roofline: seconds that all cores need at least.
    pub bound: f64,
    /// What the bound is made of.
    pub stages: Vec<Stage>,
    /// Seconds that the real run took, if there was one.
    pub seconds: Option<f64>,
}

impl StepReport {
    /// The part of the roofline that was reached: 1 would be all of it.
    pub fn share(&self) -> Option<f64> {
        self.seconds.map(|seconds| self.bound / seconds.max(f64::MIN_POSITIVE))
    }
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct BenchReport {
    /// Cores that may be used.
    pub cores: usize,
    /// The faster cipher, which the roofline and the real run use.
    pub suite: Suite,
    /// Speeds on one core.
    pub kernels: Vec<KernelSpeed>,
    /// The data at hand, if any was named.
    pub data: Option<DataReport>,
    /// Rooflines, and what the real run took.
    pub steps: Vec<StepReport>,
    /// Items that the real run could not handle; the monitor heard of each.
    pub problems: u64,
}

/// Measures this machine: kernels on generated material, or on the data at `options.paths` with a real run on it.
///
/// The real run takes about as much space in the scratch directory as the data, twice.
///
/// # Errors
/// `Io` if a path or the scratch directory can't be used; `Invalid` if the scratch directory has too little space;
/// `Interrupted`; what a verb of the real run returns.
pub fn bench(options: &BenchOptions, tools: &BenchTools<'_>) -> Result<BenchReport> {
    // Paths first: who mistyped one should not wait for kernels.
    let data = match options.paths.as_slice() {
        [] => None,
        paths => Some(Data::new(tools, paths)?),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tools.monitor.stage("measuring kernels", Some(GENERAL_KERNELS), None);
    let mut meter = Meter::new(tools);
    let repository = kernels::repository(tools)?;
    let mut costs = Costs::default();
    kernels::of_crypto(&mut meter, &repository, &mut costs)?;
    kernels::of_index(&mut meter, &repository)?;
    disk::of_files(&mut meter, tools.scratch, &mut costs)?;
    let mut report = BenchReport {
        cores,
        suite: repository.config().suite,
        kernels: Vec::new(),
        data: None,
        steps: Vec::new(),
        problems: 0,
    };
    match data {
        Some(data) => on_data(&data, options, tools, &mut meter, &repository, costs, &mut report)?,
        None => on_generated(tools, &mut meter, &repository, costs, &mut report)?,
    }
    report.kernels = meter.kernels;
    Ok(report)
}

/// Text and noise, and the rooflines of a gibibyte of each.
fn on_generated(
    tools: &BenchTools<'_>,
    meter: &mut Meter<'_>,
    repository: &Repository,
    costs: Costs,
    report: &mut BenchReport,
) -> Result<()> {
    tools.monitor.stage("measuring kernels on text and noise", Some(2 * MATERIAL_KERNELS), None);
    for material in [Material::text(), Material::noise()] {
        let mut costs = costs;
        let shrinking = kernels::of_material(meter, repository, &material, &mut costs)?;
        let work = Work {
            bytes: MODEL_BYTES,
            new_bytes: MODEL_BYTES,
            packed_bytes: scaled(MODEL_BYTES, shrinking.packed_bytes, material.len()),
            ..Work::default()
        };
        for (step, stages) in [
            ("first snapshot", roofline::first_snapshot(&costs, &work)),
            ("check of all data", roofline::check(&costs, &work)),
            ("restore", roofline::restore(&costs, &work)),
        ] {
            report.steps.push(step_report(step, material.name, &work, stages, report.cores, None));
        }
    }
    Ok(())
}

/// Kernels on a sample of the data, the real run, and the rooflines of exactly what that did.
fn on_data(
    data: &Data<'_>,
    options: &BenchOptions,
    tools: &BenchTools<'_>,
    meter: &mut Meter<'_>,
    repository: &Repository,
    mut costs: Costs,
    report: &mut BenchReport,
) -> Result<()> {
    tools.monitor.stage("looking at the data", None, None);
    // Once to warm the cache and to know how much there is, once for the time that it takes.
    let totals = data.count()?;
    let start = tools.stopwatch.nanoseconds();
    data.count()?;
    let spent = tools.stopwatch.nanoseconds().saturating_sub(start);
    costs.walk = spent as f64 / totals.entries().max(1) as f64;
    let material = data.sample(&totals)?;
    tools.monitor.stage("measuring kernels on the data", Some(MATERIAL_KERNELS), None);
    meter.note("list and look at entries", material.name, Unit::Entry, costs.walk);
    let shrinking = match material.segments.is_empty() {
        true => Shrinking::default(),
        false => kernels::of_material(meter, repository, &material, &mut costs)?,
    };
    report.data = Some(data_report(&totals, &material, shrinking));
    require_space(tools.scratch, &totals, scaled(totals.bytes, shrinking.packed_bytes, material.len()))?;
    drop(material);

    let run = run::real_run(tools, options, report.suite)?;
    report.problems = run.problems;
    let counts = &run.statistics;
    let work = Work {
        entries: totals.entries(),
        files: counts.files,
        bytes: counts.bytes,
        new_bytes: counts.bytes_new,
        packed_bytes: counts.bytes_added,
    };
    for (step, stages, seconds) in [
        ("first snapshot", roofline::first_snapshot(&costs, &work), run.first),
        ("unchanged snapshot", roofline::unchanged_snapshot(&costs, &work), run.unchanged),
        ("check of all data", roofline::check(&costs, &work), run.check),
        ("restore", roofline::restore(&costs, &work), run.restore),
    ] {
        report.steps.push(step_report(step, "data at hand", &work, stages, report.cores, Some(seconds)));
    }
    Ok(())
}

fn step_report(
    step: &'static str,
    material: &'static str,
    work: &Work,
    stages: Vec<Stage>,
    cores: usize,
    seconds: Option<f64>,
) -> StepReport {
    StepReport { step, material, bytes: work.bytes, bound: roofline::bound(&stages, cores), stages, seconds }
}

fn data_report(totals: &Totals, material: &Material, shrinking: Shrinking) -> DataReport {
    DataReport {
        files: totals.files,
        directories: totals.directories,
        others: totals.others,
        bytes: totals.bytes,
        sampled_bytes: material.len(),
        packed_bytes: shrinking.packed_bytes,
        incompressible_bytes: shrinking.incompressible_bytes,
    }
}

/// `bytes` · `part` / `whole`.
fn scaled(bytes: u64, part: u64, whole: u64) -> u64 {
    (bytes as f64 * part as f64 / whole.max(1) as f64) as u64
}

/// A disk that fills up in the middle would be a nuisance to everything else that writes to it.
fn require_space(scratch: &Path, totals: &Totals, packed: u64) -> Result<()> {
    let free = os::free_space(scratch).map_err(|error| EngineError::io("measure", scratch, error))?;
    let lacks = |what: String| {
        let text = format!("the real run needs {what} left in {}", scratch.display());
        Err(EngineError::new(ErrorKind::Invalid, text))
    };
    let bytes = totals.allocated + packed + SPARE_BYTES;
    if bytes > free.bytes {
        return lacks(format!("{} MiB of space, and there are {}", bytes.div_ceil(MIB), free.bytes / MIB));
    }
    match free.files {
        Some(files) if totals.entries() > files => lacks(format!("{} inodes, and there are {files}", totals.entries())),
        _ => Ok(()),
    }
}
