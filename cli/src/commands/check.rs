//! `check`: looks for damage.

use engine::monitor::{ItemAction, Monitor, Problem};
use engine::ops::{self, CheckOptions, CheckReport, Finding, Head, ReadData};

use crate::args::upkeep::Check;
use crate::context::{Context, SystemClock};
use crate::exit::{Failure, Outcome};
use crate::messages::{CheckSummary, Cost, HeadFields, JsonPath, Message, Summary};
use crate::output::Output;
use crate::progress::Progress;
use crate::text;

/// How many lost paths are printed for one finding; JSON has all that the engine names.
const COSTS_SHOWN: usize = 10;

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Check) -> Result<Outcome, Failure> {
    let progress = context.progress(true);
    let repository = context.open()?;
    let read_data = match arguments.read_data_subset {
        Some(subset) => subset,
        None if arguments.read_data => ReadData::All,
        None => ReadData::No,
    };
    let options = CheckOptions { read_data, heads: arguments.heads.clone() };
    let report = ops::check(&repository, &options, &SystemClock, &WithoutProblems(&progress))?;
    let time = progress.elapsed();
    drop(progress);
    let output = &context.output;
    for finding in &report.findings {
        show_finding(output, finding)?;
    }
    let errors = report.findings.iter().filter(|finding| finding.damage).count() as u64;
    let leftovers = report.findings.len() as u64 - errors;
    let damaged = report.is_damaged();
    if output.is_json() {
        output.message(&Message::Summary(Summary::Check(CheckSummary {
            damaged,
            num_errors: errors,
            num_leftovers: leftovers,
            open_sessions: report.open_sessions,
            unfinished_prunes: report.unfinished_prunes,
            orphan_packs: report.orphan_packs,
            snapshots: report.snapshots,
            forgotten: report.forgotten,
            trees: report.trees,
            packs: report.packs,
            chunks: report.chunks,
            packs_read: report.packs_read,
            bytes_read: report.bytes_read,
            packs_unverified: report.packs_unverified,
            verified_since: report.verified_since.map(text::rfc3339),
            heads: report.heads.iter().map(head_fields).collect(),
            total_duration: time.as_secs_f64(),
        })))?;
    } else {
        output.summary(&summary(&report, &text::duration(time)))?;
        if let Some(line) = verified(&report) {
            output.summary(&line)?;
        }
        for head in &report.heads {
            let host = text::plain(&head.host);
            output.summary(&format!("head of {host}: {}, its number {}", head.snapshot.to_hex(), head.sequence))?;
        }
        if damaged {
            output.warn(&format!("{} of damage", text::count(errors, "finding", "findings")));
            output.note("`repo repair` makes the best of it; --dry-run shows what that is");
        } else if read_data == ReadData::No {
            output.summary("no damage found; the data itself was not read: --read-data does that")?;
        } else {
            output.summary("no damage found")?;
        }
    }
    Ok(if damaged { Outcome::Damage } else { Outcome::Done })
}

fn head_fields(head: &Head) -> HeadFields {
    HeadFields { host: head.host.clone(), sequence: head.sequence, snapshot_id: head.snapshot.to_hex() }
}

fn summary(report: &CheckReport, time: &str) -> String {
    let forgotten = match report.forgotten {
        0 => String::new(),
        count => format!(" and {count} forgotten"),
    };
    format!(
        "checked {}{forgotten}, {}, {}, {}; read {} in full ({}) in {time}",
        text::count(report.snapshots, "snapshot", "snapshots"),
        text::count(report.trees, "tree", "trees"),
        text::count(report.packs, "pack", "packs"),
        text::count(report.chunks, "chunk", "chunks"),
        text::count(report.packs_read, "pack", "packs"),
        text::size(report.bytes_read),
    )
}

/// How far back what was read in full and found right reaches, by what this machine remembers.
fn verified(report: &CheckReport) -> Option<String> {
    let since = text::local_time(report.verified_since?);
    Some(match report.packs_unverified {
        0 => format!("all data was verified since {since}"),
        count => {
            let packs = text::count(count, "pack was", "packs were");
            format!("{packs} not verified yet by this machine, the others since {since}")
        }
    })
}

fn show_finding(output: &Output, finding: &Finding) -> Result<(), Failure> {
    if output.is_json() {
        let cost = |(snapshot, path): &(engine::id::SnapshotId, Vec<u8>)| Cost {
            snapshot: snapshot.to_hex(),
            path: JsonPath::new(path),
        };
        return Ok(output.message(&Message::Finding {
            object: &finding.object,
            message: &finding.message,
            damage: finding.damage,
            cost_count: finding.cost_count,
            costs: finding.costs.iter().map(cost).collect(),
        })?);
    }
    let kind = if finding.damage { "damage" } else { "leftover" };
    output.line(&format!("{kind}: {}: {}", text::plain(&finding.object), text::plain(&finding.message)))?;
    for (snapshot, path) in finding.costs.iter().take(COSTS_SHOWN) {
        output.line(&format!("  costs {}:{}", snapshot.short(), text::path(path)))?;
    }
    let shown = finding.costs.len().min(COSTS_SHOWN) as u64;
    if finding.cost_count > shown {
        let more = text::count(finding.cost_count - shown, "other path", "other paths");
        output.line(&format!("  costs {more}"))?;
    }
    Ok(())
}

/// Passes everything on but problems: the report has them as findings, with what they cost.
struct WithoutProblems<'a, 'b>(&'a Progress<'b>);

impl Monitor for WithoutProblems<'_, '_> {
    fn stage(&self, name: &'static str, total_items: Option<u64>, total_bytes: Option<u64>) {
        self.0.stage(name, total_items, total_bytes);
    }
    fn advance(&self, items: u64, bytes: u64) {
        self.0.advance(items, bytes);
    }
    fn current(&self, path: &[u8]) {
        self.0.current(path);
    }
    fn item(&self, action: ItemAction, path: &[u8], bytes: u64) {
        self.0.item(action, path, bytes);
    }
    fn problem(&self, _problem: &Problem) {}
    fn note(&self, text: &str) {
        self.0.note(text);
    }
    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}
