//! What a step costs at least: counts times costs, shared by all cores. Pure.
//!
//! It is a bound and no forecast: no core ever waits, nothing is done twice, and the disk keeps up. Caches that are
//! shared and clocks that sink when all cores work make the real bound a little higher.

/// What something is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Byte,
    /// Entries of directories.
    Entry,
    /// Regular files.
    File,
    /// Chunks.
    Chunk,
    /// Objects of a storage.
    Object,
}

/// A part of a step that is counted and costed by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// What is done.
    pub name: &'static str,
    /// What `count` counts.
    pub unit: Unit,
    /// How many of them there are.
    pub count: u64,
    /// How long one core needs for all of them.
    pub seconds: f64,
}

/// Nanoseconds that one core needs for one unit of each kind of work.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Costs {
    /// To list and look at an entry of a directory.
    pub(super) walk: f64,
    /// To open, look at and close a small file.
    pub(super) open: f64,
    /// To make a small file and set its metadata.
    pub(super) create: f64,
    /// To read a byte from the page cache.
    pub(super) read: f64,
    /// To write a byte to the page cache.
    pub(super) write: f64,
    /// To look for cut points, per byte.
    pub(super) cut: f64,
    /// To hash a chunk, per byte.
    pub(super) id: f64,
    /// To compress, per byte of plaintext.
    pub(super) compress: f64,
    /// To decompress, per byte of plaintext.
    pub(super) decompress: f64,
    /// To seal a byte of a segment.
    pub(super) seal: f64,
    /// To open a sealed byte.
    pub(super) unseal: f64,
    /// To hash a byte of a pack.
    pub(super) hash: f64,
}

/// How much there is to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Files, directories and everything else.
    pub(super) entries: u64,
    /// Regular files.
    pub(super) files: u64,
    /// Bytes of all files.
    pub(super) bytes: u64,
    /// Bytes of chunks that the repository did not have.
    pub(super) new_bytes: u64,
    /// Bytes of packs and index objects.
    pub(super) packed_bytes: u64,
}

fn stage(name: &'static str, unit: Unit, count: u64, nanoseconds: f64) -> Stage {
    Stage { name, unit, count, seconds: count as f64 * nanoseconds / 1e9 }
}

/// The stages of a first snapshot. Every segment is opened again before it leaves.
pub(super) fn first_snapshot(costs: &Costs, work: &Work) -> Vec<Stage> {
    vec![
        stage("walk", Unit::Entry, work.entries, costs.walk),
        stage("open files", Unit::File, work.files, costs.open),
        stage("read", Unit::Byte, work.bytes, costs.read),
        stage("cut", Unit::Byte, work.bytes, costs.cut),
        stage("chunk ids", Unit::Byte, work.bytes, costs.id),
        stage("compress", Unit::Byte, work.new_bytes, costs.compress),
        stage("seal", Unit::Byte, work.packed_bytes, costs.seal),
        stage("open again", Unit::Byte, work.packed_bytes, costs.unseal),
        stage("decompress again", Unit::Byte, work.new_bytes, costs.decompress),
        stage("name packs", Unit::Byte, work.packed_bytes, costs.hash),
        stage("write packs", Unit::Byte, work.packed_bytes, costs.write),
    ]
}

/// The stages of a snapshot of what has not changed.
pub(super) fn unchanged_snapshot(costs: &Costs, work: &Work) -> Vec<Stage> {
    vec![stage("walk", Unit::Entry, work.entries, costs.walk)]
}

/// The stages of a check that reads all data.
pub(super) fn check(costs: &Costs, work: &Work) -> Vec<Stage> {
    vec![
        stage("read packs", Unit::Byte, work.packed_bytes, costs.read),
        stage("packs' names", Unit::Byte, work.packed_bytes, costs.hash),
        stage("open", Unit::Byte, work.packed_bytes, costs.unseal),
        stage("decompress", Unit::Byte, work.new_bytes, costs.decompress),
        stage("chunk ids", Unit::Byte, work.new_bytes, costs.id),
    ]
}

/// The stages of a restore into nothing.
pub(super) fn restore(costs: &Costs, work: &Work) -> Vec<Stage> {
    vec![
        stage("read packs", Unit::Byte, work.packed_bytes, costs.read),
        stage("open", Unit::Byte, work.packed_bytes, costs.unseal),
        stage("decompress", Unit::Byte, work.new_bytes, costs.decompress),
        stage("chunk ids", Unit::Byte, work.new_bytes, costs.id),
        stage("make files", Unit::File, work.files, costs.create),
        stage("write files", Unit::Byte, work.bytes, costs.write),
    ]
}

/// Seconds that `cores` cores need at least.
pub(super) fn bound(stages: &[Stage], cores: usize) -> f64 {
    stages.iter().map(|stage| stage.seconds).sum::<f64>() / cores.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speed(stages: &[Stage], bytes: u64) -> f64 {
        bytes as f64 / bound(stages, 2) / 1e9
    }

    /// The figures of the model in the research on performance, worked out there by hand: nanoseconds per byte of
    /// kernels on one Zen 5 core, gigabytes per second of two.
    #[test]
    fn the_model_of_the_research_comes_out() {
        let kernels = Costs { read: 0.125, cut: 0.26, id: 0.167, seal: 0.40, write: 0.20, ..Costs::default() };
        let bytes = 10_000_000_000;
        let noise = Work { bytes, new_bytes: bytes, packed_bytes: bytes, ..Work::default() };
        let first = |costs: &Costs, work: &Work| speed(&first_snapshot(costs, work), bytes);
        assert!((first(&kernels, &noise) - 1.73).abs() < 0.02, "incompressible, scalar gear");
        assert!((first(&Costs { cut: 0.13, ..kernels }, &noise) - 1.95).abs() < 0.02, "half of each chunk skipped");
        let known = Work { bytes, ..Work::default() };
        assert!((first(&Costs { cut: 0.13, ..kernels }, &known) - 4.7).abs() < 0.1, "all of it known");
        let third = Work { packed_bytes: bytes / 3, ..noise };
        let level_1 = Costs { cut: 0.13, compress: 1.67, ..kernels };
        assert!((first(&level_1, &third) - 0.87).abs() < 0.01, "a third left after level 1");
    }

    #[test]
    fn files_cost_beside_their_bytes() {
        let costs = Costs { walk: 1000.0, open: 3000.0, create: 12_000.0, ..Costs::default() };
        let work = Work { entries: 1_100_000, files: 1_000_000, ..Work::default() };
        assert!((bound(&unchanged_snapshot(&costs, &work), 2) - 0.55).abs() < 1e-9);
        assert!((bound(&first_snapshot(&costs, &work), 2) - 2.05).abs() < 1e-9);
        assert!((bound(&restore(&costs, &work), 2) - 6.0).abs() < 1e-9);
        assert!(bound(&check(&costs, &work), 2).abs() < 1e-9);
    }
}
