//! What a byte costs in each kernel, through the engine's public interface. One thread, buffers re-used.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use engine::chunker::DataChunker;
use engine::compress::{Compressor, Decompressor};
use engine::crypto::SegmentBinding;
use engine::format::{decode_node, encode_node};
use engine::id::DomainId;
use engine::model::{ChunkKind, ChunkerParameters, Compression, Suite};
use repo_benches::{file_node, keys, random_bytes, text};

const MIB: usize = 1 << 20;
const SEGMENT_BYTES: usize = MIB;
const NONCE_BYTES: usize = 24;

fn chunk_ids(c: &mut Criterion) {
    let domain = keys().domain(DomainId::SHARED).expect("a full client");
    let data = random_bytes(1, MIB);
    let mut group = c.benchmark_group("chunk id");
    for kib in [4, 16, 64, 1024] {
        let chunk = &data[..kib << 10];
        group.throughput(Throughput::Bytes(chunk.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("{kib} KiB")), |b| {
            b.iter(|| domain.chunk_id(ChunkKind::Data, black_box(chunk)));
        });
    }
}

/// The profile for chunks of `size` bytes, as `init` makes it.
fn profile(size: u32) -> ChunkerParameters {
    let bits = size.ilog2() - 2;
    let mask = ((1u64 << bits) - 1) << (62 - bits);
    ChunkerParameters { min: size / 2, average: size / 4 * 3, max: size * 4, strict_mask: mask, loose_mask: mask }
}

fn chunker(c: &mut Criterion) {
    let domain = keys().domain(DomainId::SHARED).expect("a full client");
    let mut group = c.benchmark_group("chunker");
    for (name, data) in [("random", random_bytes(2, 16 * MIB)), ("text", text(2, 16 * MIB))] {
        for kib in [16, 64] {
            let chunker = DataChunker::new(&domain, profile(kib << 10));
            group.throughput(Throughput::Bytes(data.len() as u64));
            group.bench_function(BenchmarkId::new(name, format!("{kib} KiB")), |b| {
                b.iter(|| {
                    let (mut rest, mut chunks) = (&data[..], 0);
                    while !rest.is_empty() {
                        rest = &rest[chunker.cut(rest)..];
                        chunks += 1;
                    }
                    chunks
                });
            });
        }
    }
}

fn compression(c: &mut Criterion) {
    let mut group = c.benchmark_group("zstd");
    group.throughput(Throughput::Bytes(SEGMENT_BYTES as u64));
    for (name, data) in [("random", random_bytes(3, SEGMENT_BYTES)), ("text", text(3, SEGMENT_BYTES))] {
        let mut out = Vec::new();
        let mut compressor = Compressor::default();
        group.bench_function(BenchmarkId::new("compress", name), |b| {
            b.iter(|| {
                out.clear();
                compressor.compress(black_box(&data), &mut out)
            });
        });
        out.clear();
        let method = Compressor::default().compress(&data, &mut out);
        let (mut decompressor, mut plain) = (Decompressor::default(), Vec::new());
        group.bench_function(BenchmarkId::new("decompress", name), |b| {
            b.iter(|| decompressor.decompress(method, black_box(&out), SEGMENT_BYTES as u32, &mut plain));
        });
    }
}

fn sealing(c: &mut Criterion) {
    let session = keys().new_session(DomainId::SHARED);
    let mut group = c.benchmark_group("segment");
    group.throughput(Throughput::Bytes(SEGMENT_BYTES as u64));
    for (name, suite) in [("XChaCha20-Poly1305", Suite::XChaCha20Poly1305), ("AES-256-GCM", Suite::Aes256Gcm)] {
        let binding = SegmentBinding {
            kind: ChunkKind::Data,
            suite,
            compression: Compression::None,
            plain_len: SEGMENT_BYTES as u32,
            chunk_table_hash: [0; 32],
        };
        let mut buffer = vec![0u8; NONCE_BYTES + SEGMENT_BYTES];
        group.bench_function(BenchmarkId::new("seal", name), |b| {
            b.iter(|| {
                buffer.truncate(NONCE_BYTES + SEGMENT_BYTES);
                session.seal_segment(&binding, &mut buffer);
            });
        });
        let mut opened = Vec::new();
        // Opening works in place: the copy is a small part of what is measured.
        group.bench_function(BenchmarkId::new("open", name), |b| {
            b.iter(|| {
                opened.clone_from(&buffer);
                session.open_segment(&binding, &mut opened).map(<[u8]>::len)
            });
        });
    }
}

fn nodes(c: &mut Criterion) {
    const COUNT: u64 = 10_000;
    let nodes: Vec<_> = (0..COUNT).map(|number| file_node(number, 2)).collect();
    let mut bytes = Vec::new();
    let mut group = c.benchmark_group("10,000 nodes");
    group.throughput(Throughput::Elements(COUNT));
    group.bench_function("encode", |b| {
        b.iter(|| {
            bytes.clear();
            nodes.iter().for_each(|node| encode_node(node, &mut bytes));
            bytes.len()
        });
    });
    group.bench_function("decode", |b| {
        b.iter(|| {
            let (mut rest, mut count) = (&bytes[..], 0);
            while !rest.is_empty() {
                let (_, len) = decode_node(rest).expect("just encoded");
                rest = &rest[len..];
                count += 1;
            }
            count
        });
    });
}

criterion_group!(kernels, chunk_ids, chunker, compression, sealing, nodes);
criterion_main!(kernels);
