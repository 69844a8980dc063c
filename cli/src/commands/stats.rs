//! `stats`: measures snapshots and the repository.

use engine::ops::{self, Stats as Report};

use super::select;
use crate::args::upkeep::Stats;
use crate::context::Context;
use crate::exit::{Failure, Outcome, invalid};
use crate::messages::{Message, Statistics};
use crate::text::{self, Align};

/// Runs the command.
pub(super) fn run(context: &Context, arguments: &Stats) -> Result<Outcome, Failure> {
    let progress = context.progress(false);
    let (repository, index) = context.open_indexed(&progress)?;
    let (snapshots, problems) = select(&repository, Some(&index), &arguments.snapshots, &arguments.filter, &progress)?;
    // To the engine, no snapshots means all of them; here it means that the filter left none.
    let filter = &arguments.filter;
    let filtered =
        !(filter.host.is_empty() && filter.label.is_empty() && filter.tag.is_empty() && filter.path.is_empty());
    if snapshots.is_empty() && filtered {
        return Err(invalid("no snapshot matches the filters"));
    }
    let report = ops::stats(&repository, &index, &snapshots, &progress)?;
    drop(progress);
    let output = &context.output;
    if output.is_json() {
        output.message(&Message::Statistics(statistics(&report)))?;
        return Ok(Outcome::of_problems(problems));
    }
    let share = match report.stored_bytes {
        0 => String::new(),
        stored => format!("{:.1} times less than restored", report.restore_bytes as f64 / stored as f64),
    };
    let rows = [
        ("Snapshots", report.snapshots.to_string(), String::new()),
        ("Restored size", text::size(report.restore_bytes), text::count(report.restore_files, "file", "files")),
        ("Distinct data", text::size(report.chunk_bytes), text::count(report.chunks, "chunk", "chunks")),
        ("Stored for them", text::size(report.stored_bytes), share),
        ("All packs", text::size(report.pack_bytes), text::count(report.packs, "pack", "packs")),
        ("All indexes", text::size(report.index_bytes), text::count(report.index_chunks, "chunk", "chunks")),
        ("Repository", text::size(report.total_bytes), "all objects".to_owned()),
    ];
    let rows = rows.map(|(name, value, remark)| vec![name.to_owned(), value, remark]);
    let header = [("", Align::Left), ("", Align::Right), ("", Align::Left)];
    for line in text::table(&header, &rows).iter().skip(1) {
        output.line(line)?;
    }
    Ok(Outcome::of_problems(problems))
}

fn statistics(report: &Report) -> Statistics {
    Statistics::Stats {
        snapshots_count: report.snapshots,
        total_size: report.restore_bytes,
        total_file_count: report.restore_files,
        chunk_count: report.chunks,
        chunk_bytes: report.chunk_bytes,
        stored_bytes: report.stored_bytes,
        pack_count: report.packs,
        pack_bytes: report.pack_bytes,
        index_chunk_count: report.index_chunks,
        index_bytes: report.index_bytes,
        repository_bytes: report.total_bytes,
    }
}
