//! Fills a repository with the indexes of millions of chunks that don't exist, to measure what commands need with
//! them.
//!
//! Adds one committed session whose index objects are as a writer's would be: 1 MiB segments of 64 chunks, 32 of them
//! in a pack, 32 packs in an index object. The packs are files of holes, of the right length. Then a snapshot of
//! files that name these chunks, so that commands that walk a snapshot meet every one of them.
//!
//! Everything but `check --read-data`, `dump` and `restore` of that snapshot's files works on it as on a real one.

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use engine::clock::{Clock, Timestamp};
use engine::crypto::{SessionKeyRecord, hash};
use engine::format::{IndexObject, encode_index};
use engine::id::{DomainId, IndexId, PackId};
use engine::model::{
    ChunkKind, ChunkRef, Compression, Content, Metadata, Node, NodeKind, PackRow, SegmentRow, Signer, Snapshot,
    SnapshotStatistics, Suite,
};
use engine::monitor::Silent;
use engine::repository::{ContentWriter, DirectoryWriter, Repository, Secret, Session, SessionWriter};
use engine::storage::{LocalStorage, ObjectName};
use repo_benches::{clock, made_up_id};

const SEED: u64 = 20;
const CHUNK_BYTES: u32 = 16 << 10;
const CHUNKS_IN_SEGMENT: u64 = 64;
const SEGMENTS_IN_PACK: u64 = 32;
const PACKS_IN_INDEX: u64 = 32;
const SEALED_BYTES: u32 = 512 << 10;
const CHUNKS_IN_FILE: &str = "100";
const FILES_IN_DIRECTORY: u64 = 1000;

const USAGE: &str = "\
usage: many-chunks REPOSITORY CACHE CHUNKS [CHUNKS_IN_FILE]     (REPO_PASSWORD, or the file REPO_KEY_FILE)

Adds CHUNKS made-up chunks to a repository that `repo init` made, and a snapshot of files that name them, 100 each if
not said otherwise. To measure:

  export REPO_REPOSITORY=DIR REPO_PASSWORD=x REPO_CACHE_DIR=CACHE
  repo init && repo snapshot SMALL_TREE
  cargo run --release -p repo-benches --bin many-chunks -- DIR CACHE 10000000
  repo cache clear --all; /usr/bin/time -f '%M KiB, %e s' repo stats          # imports the index
  /usr/bin/time -f '%M KiB, %e s' repo stats                                  # finds it imported";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (place, cache, count, in_file) = match arguments.as_slice() {
        [place, cache, count] => (place, cache, count, CHUNKS_IN_FILE),
        [place, cache, count, in_file] => (place, cache, count, in_file.as_str()),
        _ => return Err(USAGE.into()),
    };
    let secret = match (std::env::var("REPO_PASSWORD"), std::env::var("REPO_KEY_FILE")) {
        (Ok(password), _) => Secret::Password(password.into()),
        (Err(_), Ok(file)) => Secret::from_key_file(std::fs::read_to_string(file)?.trim())?,
        _ => return Err(USAGE.into()),
    };
    let repository =
        Repository::open(Arc::new(LocalStorage::open(Path::new(place), false)?), &secret, Path::new(cache))?;
    let (count, in_file): (u64, u64) = (count.parse()?, in_file.parse()?);

    let (packs, indexes) = write_indexes(&repository, Path::new(place), count)?;
    println!("{count} chunks in {packs} packs and {indexes} index objects");
    let snapshot = write_snapshot(&repository, count, in_file)?;
    println!("snapshot {snapshot}");
    Ok(())
}

/// Writes index objects and empty packs, and commits them.
fn write_indexes(repository: &Repository, place: &Path, count: u64) -> Result<(u64, u64), Box<dyn Error>> {
    let session = Session::begin(repository, "many-chunks", "many-chunks", &clock())?;
    let record = session.keys().record().clone();
    let chunks_in_pack = CHUNKS_IN_SEGMENT * SEGMENTS_IN_PACK;
    let packs = count.div_ceil(chunks_in_pack);
    let mut indexes = 0;
    for first in (0..packs).step_by(PACKS_IN_INDEX as usize) {
        let rows: Vec<PackRow> = (first..packs.min(first + PACKS_IN_INDEX))
            .map(|pack| pack_row(&record, pack * chunks_in_pack, count.min((pack + 1) * chunks_in_pack)))
            .collect();
        for row in &rows {
            let path = place.join(ObjectName::Pack(row.id).to_string());
            std::fs::create_dir_all(path.parent().expect("packs are in directories"))?;
            File::create(path)?.set_len(row.len)?;
        }
        let object = IndexObject {
            sessions: vec![record.clone()],
            packs: rows,
            ..IndexObject::empty(session.id(), DomainId::SHARED)
        };
        let bytes = encode_index(&object, repository.keys(), repository.domain());
        repository.storage().write_new(ObjectName::Index(IndexId::new(hash(&bytes))), &[&bytes])?;
        indexes += 1;
    }
    session.commit(repository, None)?;
    Ok((packs, indexes))
}

fn pack_row(record: &SessionKeyRecord, first: u64, end: u64) -> PackRow {
    let mut segments = Vec::new();
    let mut offset = 8;
    for start in (first..end).step_by(CHUNKS_IN_SEGMENT as usize) {
        let chunks: Vec<_> =
            (start..end.min(start + CHUNKS_IN_SEGMENT)).map(|number| (made_up_id(SEED, number), CHUNK_BYTES)).collect();
        segments.push(SegmentRow {
            session: record.session(),
            offset,
            sealed_len: SEALED_BYTES,
            kind: ChunkKind::Data,
            suite: Suite::XChaCha20Poly1305,
            compression: Compression::Zstd,
            plain_len: chunks.len() as u32 * CHUNK_BYTES,
            chunks,
        });
        offset += SEALED_BYTES;
    }
    // Room for a footer and the tail.
    let len = u64::from(offset) + (128 << 10);
    PackRow { id: PackId::new(*made_up_id(SEED + 1, first).as_bytes()), len, segments }
}

/// Writes a snapshot of files that name all the chunks.
fn write_snapshot(repository: &Repository, count: u64, in_file: u64) -> Result<String, Box<dyn Error>> {
    let index = repository.load_index(&Silent)?;
    let session = Session::begin(repository, "many-chunks", "many-chunks", &clock())?;
    let writer = SessionWriter::new(repository, &index, session, false)?;
    let root = writer.run(|| write_trees(&writer, count, in_file))?;
    let files = count.div_ceil(in_file);
    let bytes = count * u64::from(CHUNK_BYTES);
    let statistics = SnapshotStatistics { files, bytes, ..SnapshotStatistics::default() };
    let id = writer.write_snapshot(&Snapshot {
        time: clock().now(),
        host: "many-chunks".into(),
        paths: vec![b"/many".to_vec()],
        root,
        sequence: 1,
        statistics,
        program: "many-chunks".into(),
        ..Snapshot::empty(DomainId::SHARED, Signer::Full)
    })?;
    writer.commit(Some(id))?;
    Ok(id.to_hex())
}

fn write_trees(writer: &SessionWriter<'_>, count: u64, in_file: u64) -> engine::Result<Content> {
    let keys = writer.domain();
    let mut trees = writer.tree_builder();
    let metadata = Metadata { mode: 0o755, mtime: Timestamp::new(1_700_000_000, 0), ..Metadata::default() };
    let mut root = DirectoryWriter::default();
    let files: Vec<u64> = (0..count).step_by(in_file as usize).collect();
    for (number, files) in files.chunks(FILES_IN_DIRECTORY as usize).enumerate() {
        let mut directory = DirectoryWriter::default();
        for first in files {
            let end = count.min(first + in_file);
            let mut content = ContentWriter::default();
            for chunk in *first..end {
                content.push(ChunkRef { id: made_up_id(SEED, chunk), len: CHUNK_BYTES }, &mut trees)?;
            }
            let name = format!("file-{first:012}").into_bytes();
            let mut node = Node::new(name, NodeKind::File, Metadata { mode: 0o644, ..metadata.clone() });
            node.size = (end - first) * u64::from(CHUNK_BYTES);
            node.content = Some(content.finish(&mut trees)?);
            directory.add(&node, keys, &mut trees)?;
        }
        let name = format!("directory-{number:06}").into_bytes();
        let mut node = Node::new(name, NodeKind::Directory, metadata.clone());
        node.content = Some(directory.finish(&mut trees)?);
        root.add(&node, keys, &mut trees)?;
    }
    let root = root.finish(&mut trees)?;
    trees.finish()?;
    Ok(root)
}
