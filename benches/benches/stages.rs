//! Whole stages on storages in memory: what the engine needs beside disks and networks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use engine::crypto::{Secret, hash};
use engine::format::{IndexObject, encode_index};
use engine::id::{IndexId, PackId};
use engine::model::{ChunkKind, Compression, PackRow, SegmentRow, Suite};
use engine::monitor::Silent;
use engine::ops::{self, CheckOptions, InitOptions, ReadData, SnapshotInput, SnapshotOptions};
use engine::repository::{Repository, Session};
use engine::storage::{MemoryStorage, ObjectName};
use repo_benches::{clock, made_up_id, random_bytes, text};
use tempfile::TempDir;

const SEED: u64 = 30;
const FILES: u64 = 2000;
const INDEX_CHUNKS: u64 = 1_000_000;
const CHUNKS_IN_SEGMENT: u64 = 64;

fn scratch() -> TempDir {
    TempDir::new().expect("a scratch directory")
}

/// A repository in memory; its key needs no stretching.
fn repository(cache: &Path) -> Repository {
    let (storage, secret) = (Arc::new(MemoryStorage::default()), Secret::generate_key_file());
    ops::init(&*storage, &secret, &InitOptions::default(), &clock()).expect("init");
    Repository::open(storage, &secret, cache).expect("open")
}

/// 2000 files of 1 to 128 KiB, one in four of what does not compress.
fn make_tree(root: &Path) -> (PathBuf, u64) {
    let mut bytes = 0;
    for number in 0..FILES {
        let directory = root.join(format!("d{:02}", number % 40));
        std::fs::create_dir_all(&directory).expect("a directory");
        let len = 1024 + (number * 7919 % 127) as usize * 1024;
        let content = if number % 4 == 0 { random_bytes(number, len) } else { text(number, len) };
        std::fs::write(directory.join(format!("file-{number}")), content).expect("a file");
        bytes += len as u64;
    }
    (root.to_owned(), bytes)
}

fn snapshot(repository: &Repository, tree: &Path) {
    let paths = vec![tree.to_str().expect("a plain name").as_bytes().to_vec()];
    let options = SnapshotOptions { host: "bench".into(), ..SnapshotOptions::default() };
    let report = ops::snapshot(repository, SnapshotInput::Paths(paths), &options, &clock(), &Silent);
    assert!(report.expect("snapshot").problems.is_empty());
}

fn snapshots(c: &mut Criterion) {
    let (source, cache) = (scratch(), scratch());
    let (tree, bytes) = make_tree(source.path());
    let mut group = c.benchmark_group("tree of 2000 files");
    group.sample_size(10).throughput(Throughput::Bytes(bytes));
    group.bench_function("first snapshot", |b| {
        b.iter_batched(|| repository(cache.path()), |repository| snapshot(&repository, &tree), BatchSize::PerIteration);
    });
    let kept = repository(cache.path());
    snapshot(&kept, &tree);
    group.bench_function("unchanged snapshot", |b| b.iter(|| snapshot(&kept, &tree)));
    group.bench_function("check --read-data", |b| {
        let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
        b.iter(|| assert!(!ops::check(&kept, &options, &clock(), &Silent).expect("check").is_damaged()));
    });
    let index = kept.load_index(&Silent).expect("index");
    let (_, latest) = ops::find_snapshot(&kept, "latest", &ops::SnapshotFilter::default()).expect("latest");
    group.bench_function("dump as tar", |b| {
        b.iter(|| ops::dump_tar(&kept, &index, &latest, b"/", &mut std::io::sink(), &Silent).expect("dump"));
    });
}

/// An index object of a million chunks that don't exist.
fn index_object(session: &Session, repository: &Repository) -> Vec<u8> {
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
            .map(|chunk| (made_up_id(SEED, segment * CHUNKS_IN_SEGMENT + chunk), 4096))
            .collect(),
    });
    let packs = vec![PackRow { id: PackId::new([9; 32]), len: 128 << 20, segments: segments.collect() }];
    let object =
        IndexObject { sessions: vec![record], packs, ..IndexObject::empty(session.id(), repository.domain().domain()) };
    encode_index(&object, repository.keys(), repository.domain())
}

fn index(c: &mut Criterion) {
    let cache = scratch();
    let repository = repository(cache.path());
    let session = Session::begin(&repository, "bench", "bench", &clock()).expect("session");
    let object = index_object(&session, &repository);
    let id = IndexId::new(hash(&object));
    repository.storage().write_new(ObjectName::Index(id), &[&object]).expect("written");
    session.commit(&repository, None).expect("committed");

    let mut group = c.benchmark_group("index of a million chunks");
    group.sample_size(10);
    group.bench_function("import", |b| {
        b.iter_batched(
            || std::fs::remove_file(repository.cache_directory().join("index.redb")).ok(),
            |_| repository.load_index(&Silent).expect("index"),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("open", |b| b.iter(|| repository.load_index(&Silent).expect("index")));
    let index = repository.load_index(&Silent).expect("index");
    group.sample_size(50);
    let mut number = 0;
    // Steps of a large prime, so that neighbours in time are not neighbours in the index.
    let mut next = |series: u64| {
        number = (number + 7_368_787) % INDEX_CHUNKS;
        made_up_id(series, number)
    };
    group.bench_function("lookup, hit", |b| b.iter(|| assert!(index.contains(&next(SEED)).expect("lookup"))));
    group.bench_function("lookup, miss", |b| b.iter(|| assert!(!index.contains(&next(SEED + 1)).expect("lookup"))));
}

criterion_group!(stages, snapshots, index);
criterion_main!(stages);
