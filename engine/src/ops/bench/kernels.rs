//! How long one core needs for one unit of each kind of work.

use std::sync::Arc;

use super::material::{Material, SEGMENT_BYTES, noise};
use super::roofline::Costs;
use super::{BenchTools, KernelSpeed, Unit};
use crate::chunker::DataChunker;
use crate::compress::{Compressor, Decompressor};
use crate::crypto::{Secret, SegmentBinding, hash};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::IndexObject;
use crate::id::{ChunkId, DomainId, PackId};
use crate::model::{ChunkKind, Compression, PackRow, SegmentRow, Suite};
use crate::ops::{CipherChoice, InitOptions, init};
use crate::repository::{Repository, Session};
use crate::storage::MemoryStorage;

/// How long a kernel runs at least before it is judged, in nanoseconds.
const ROUND_NANOSECONDS: u64 = 20_000_000;
/// How often it is judged; the best counts, since whatever else runs on the machine only ever makes it slower.
const ROUNDS: u32 = 3;
const NONCE_BYTES: usize = 24;
/// Chunks in the index that look-ups are measured on.
const INDEX_CHUNKS: u64 = 100_000;
const CHUNKS_IN_SEGMENT: u64 = 64;
/// Look-ups in a pass.
const LOOKUPS: u64 = 10_000;
/// The name of what is measured on no data in particular.
pub(super) const ANY: &str = "any";

/// Measures, and collects what it measured.
pub(super) struct Meter<'a> {
    tools: &'a BenchTools<'a>,
    /// What was measured so far.
    pub(super) kernels: Vec<KernelSpeed>,
}

impl<'a> Meter<'a> {
    pub(super) fn new(tools: &'a BenchTools<'a>) -> Self {
        Self { tools, kernels: Vec::new() }
    }

    /// Nanoseconds that a unit takes. `work` does `count` of them; it is repeated.
    pub(super) fn measure(
        &mut self,
        name: &'static str,
        material: &'static str,
        (unit, count): (Unit, u64),
        work: &mut dyn FnMut() -> Result<()>,
    ) -> Result<f64> {
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let start = self.tools.stopwatch.nanoseconds();
            let mut done = 0u64;
            let spent = loop {
                stop_if_asked(self.tools)?;
                work()?;
                done += count;
                let spent = self.tools.stopwatch.nanoseconds().saturating_sub(start);
                if spent >= ROUND_NANOSECONDS {
                    break spent;
                }
            };
            best = best.min(spent as f64 / done.max(1) as f64);
        }
        self.note(name, material, unit, best);
        self.tools.monitor.advance(1, 0);
        Ok(best)
    }

    /// Remembers what was measured elsewhere.
    pub(super) fn note(&mut self, name: &'static str, material: &'static str, unit: Unit, nanoseconds: f64) {
        self.kernels.push(KernelSpeed { name, material, unit, per_second: 1e9 / nanoseconds.max(f64::MIN_POSITIVE) });
    }
}

/// Ends the work if somebody asked for that.
pub(super) fn stop_if_asked(tools: &BenchTools<'_>) -> Result<()> {
    if tools.monitor.cancelled() { Err(EngineError::new(ErrorKind::Interrupted, "interrupted")) } else { Ok(()) }
}

/// A repository in memory with the settings that `init` chooses here. Its key needs no stretching.
pub(super) fn repository(tools: &BenchTools<'_>) -> Result<Repository> {
    let (storage, secret) = (Arc::new(MemoryStorage::default()), Secret::generate_key_file());
    init(&*storage, &secret, &InitOptions { cipher: CipherChoice::Auto, ..InitOptions::default() }, tools.clock)?;
    Repository::open(storage, &secret, &tools.scratch.join("cache"))
}

/// How well a material compresses, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shrinking {
    /// After compression, or as it is where that does not pay.
    pub(super) packed_bytes: u64,
    /// What is stored as it is, because compression does not pay.
    pub(super) incompressible_bytes: u64,
}

/// Measures everything that depends on what is worked on, and puts it into `costs`.
pub(super) fn of_material(
    meter: &mut Meter<'_>,
    repository: &Repository,
    material: &Material,
    costs: &mut Costs,
) -> Result<Shrinking> {
    let mut compressor = Compressor::default();
    let packed: Vec<(Compression, Vec<u8>)> = material
        .segments
        .iter()
        .map(|plain| {
            let mut out = Vec::new();
            (compressor.compress(plain, &mut out), out)
        })
        .collect();
    cutting(meter, repository, material, &packed, costs)?;
    let bytes = (Unit::Byte, material.len());
    let mut out = Vec::with_capacity(SEGMENT_BYTES * 2);
    for (name, level) in [("zstd, level 1", 1), ("zstd, level 3", 3)] {
        let failed = |error| EngineError::with_source(ErrorKind::Io, "cannot compress", error);
        let mut zstd = zstd::bulk::Compressor::new(level).map_err(failed)?;
        meter.measure(name, material.name, bytes, &mut || {
            for plain in &material.segments {
                out.resize(zstd::zstd_safe::compress_bound(plain.len()), 0);
                zstd.compress_to_buffer(plain, &mut out[..]).map_err(failed)?;
            }
            Ok(())
        })?;
    }
    costs.compress = meter.measure("compress as chosen", material.name, bytes, &mut || {
        for plain in &material.segments {
            out.clear();
            compressor.compress(plain, &mut out);
        }
        Ok(())
    })?;
    let mut decompressor = Decompressor::default();
    costs.decompress = meter.measure("decompress", material.name, bytes, &mut || {
        for (plain, (compression, text)) in material.segments.iter().zip(&packed) {
            let broken = |error| EngineError::with_source(ErrorKind::Damaged, "cannot decompress", error);
            decompressor.decompress(*compression, text, plain.len() as u32, &mut out).map_err(broken)?;
        }
        Ok(())
    })?;
    let incompressible = packed.iter().filter(|(compression, _)| *compression == Compression::None);
    Ok(Shrinking {
        packed_bytes: packed.iter().map(|(_, text)| text.len() as u64).sum(),
        incompressible_bytes: incompressible.map(|(_, text)| text.len() as u64).sum(),
    })
}

/// Cut points of the profiles that cut by content, and ids of the chunks between those of the profile that the content gets.
fn cutting(
    meter: &mut Meter<'_>,
    repository: &Repository,
    material: &Material,
    packed: &[(Compression, Vec<u8>)],
    costs: &mut Costs,
) -> Result<()> {
    let bytes = (Unit::Byte, material.len());
    let fine = |compression: &Compression| *compression == Compression::Zstd;
    let fine_bytes: u64 =
        material.segments.iter().zip(packed).filter(|(_, (c, _))| fine(c)).map(|(plain, _)| plain.len() as u64).sum();
    let fine_share = fine_bytes as f64 / material.len().max(1) as f64;
    let (config, domain) = (repository.config(), repository.domain());
    let (files, dumps) = (DataChunker::new(domain, config.files), DataChunker::new(domain, config.dumps));
    let mut cut = |name, chunker: &DataChunker| {
        meter.measure(name, material.name, bytes, &mut || {
            material.segments.iter().for_each(|plain| drop(cut_points(chunker, plain)));
            Ok(())
        })
    };
    let (coarse_cost, fine_cost) = (cut("cut, files", &files)?, cut("cut, dumps", &dumps)?);
    costs.cut = fine_cost * fine_share + coarse_cost * (1.0 - fine_share);
    let cuts: Vec<Vec<usize>> = material
        .segments
        .iter()
        .zip(packed)
        .map(|(plain, (compression, _))| cut_points(if fine(compression) { &dumps } else { &files }, plain))
        .collect();
    costs.id = meter.measure("chunk ids", material.name, bytes, &mut || {
        for (plain, lens) in material.segments.iter().zip(&cuts) {
            let mut rest = plain.as_slice();
            for len in lens {
                let (chunk, after) = rest.split_at(*len);
                std::hint::black_box(domain.chunk_id(ChunkKind::Data, chunk));
                rest = after;
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// Lengths of the chunks of a stream.
fn cut_points(chunker: &DataChunker, stream: &[u8]) -> Vec<usize> {
    let (mut rest, mut lens) = (stream, Vec::new());
    while !rest.is_empty() {
        let len = chunker.cut(rest);
        lens.push(len);
        rest = &rest[len..];
    }
    lens
}

/// Both ciphers, and the hash that names packs. What `repository` seals with goes into `costs`.
pub(super) fn of_crypto(meter: &mut Meter<'_>, repository: &Repository, costs: &mut Costs) -> Result<()> {
    let session = repository.keys().new_session(DomainId::SHARED);
    let bytes = (Unit::Byte, SEGMENT_BYTES as u64);
    for (suite, seal, open) in [
        (Suite::XChaCha20Poly1305, "seal, XChaCha20-Poly1305", "open, XChaCha20-Poly1305"),
        (Suite::Aes256Gcm, "seal, AES-256-GCM", "open, AES-256-GCM"),
    ] {
        let binding = SegmentBinding {
            kind: ChunkKind::Data,
            suite,
            compression: Compression::None,
            plain_len: SEGMENT_BYTES as u32,
            chunk_table_hash: [0; 32],
        };
        let mut buffer = vec![0u8; NONCE_BYTES + SEGMENT_BYTES];
        let sealing = meter.measure(seal, ANY, bytes, &mut || {
            buffer.truncate(NONCE_BYTES + SEGMENT_BYTES);
            session.seal_segment(&binding, &mut buffer);
            Ok(())
        })?;
        let mut opened = Vec::new();
        // It works in place: everyone who opens a segment copies it first.
        let opening = meter.measure(open, ANY, bytes, &mut || {
            opened.clone_from(&buffer);
            let text = session.open_segment(&binding, &mut opened);
            text.map(drop).map_err(|error| EngineError::with_source(ErrorKind::Damaged, "a segment", error))
        })?;
        if suite == repository.config().suite {
            (costs.seal, costs.unseal) = (sealing, opening);
        }
    }
    let pack = noise(1, SEGMENT_BYTES);
    costs.hash = meter.measure("name packs", ANY, bytes, &mut || {
        std::hint::black_box(hash(&pack));
        Ok(())
    })?;
    Ok(())
}

/// Look-ups in an index of chunks that don't exist.
pub(super) fn of_index(meter: &mut Meter<'_>, repository: &Repository) -> Result<()> {
    let session = Session::begin(repository, "bench", "bench", meter.tools.clock)?;
    let record = session.keys().record().clone();
    let segments = (0..INDEX_CHUNKS / CHUNKS_IN_SEGMENT).map(|segment| SegmentRow {
        session: session.id(),
        offset: 8 + segment as u32 * 4096,
        sealed_len: 4096,
        kind: ChunkKind::Data,
        suite: Suite::XChaCha20Poly1305,
        compression: Compression::Zstd,
        plain_len: CHUNKS_IN_SEGMENT as u32 * 4096,
        chunks: (0..CHUNKS_IN_SEGMENT)
            .map(|chunk| (made_up_id("known", segment * CHUNKS_IN_SEGMENT + chunk), 4096))
            .collect(),
    });
    let packs = vec![PackRow { id: PackId::new([9; 32]), len: 16 << 20, segments: segments.collect() }];
    let object =
        IndexObject { sessions: vec![record], packs, ..IndexObject::empty(session.id(), repository.domain().domain()) };
    repository.put_index(&object, false)?;
    session.commit(repository, None)?;
    let index = repository.load_index(meter.tools.monitor)?;
    for (name, series) in [("look up a known chunk", "known"), ("look up a new chunk", "new")] {
        // Steps of a large prime: neighbours in time are no neighbours in the index.
        let ids: Vec<ChunkId> =
            (0..LOOKUPS).map(|number| made_up_id(series, number * 7_368_787 % (INDEX_CHUNKS - 64))).collect();
        meter.measure(name, ANY, (Unit::Chunk, LOOKUPS), &mut || {
            for id in &ids {
                std::hint::black_box(index.contains(id)?);
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn made_up_id(series: &str, number: u64) -> ChunkId {
    ChunkId::new(hash(format!("{series} {number}").as_bytes()))
}
