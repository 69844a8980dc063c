//! A whole repository that somebody damaged: nothing panics, and what comes out is what went in, or an error.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use engine::crypto::Secret;
use engine::limits;
use engine::monitor::Silent;
use engine::ops::{self, CheckOptions, InitOptions, ReadData, SnapshotFilter, SnapshotInput, SnapshotOptions};
use engine::repository::Repository;
use engine::storage::{MemoryStorage, ObjectFamily, ObjectName, Storage};

use super::{SharedStorage, clock};

const NAME: &[u8] = b"/dump";
const SECRET: [u8; 32] = [5; 32];

struct Original {
    objects: Vec<(ObjectName, Vec<u8>)>,
    content: Vec<u8>,
    cache: PathBuf,
}

/// Two snapshots of a stream; the second one changes a part of it.
static ORIGINAL: LazyLock<Original> = LazyLock::new(|| {
    let storage = SharedStorage::default();
    let secret = Secret::KeyFile(SECRET);
    let cache = std::env::temp_dir().join(format!("repo-fuzz-{}", std::process::id()));
    ops::init(&*storage, &secret, &InitOptions::default(), &clock()).expect("init");
    let repository = Repository::open(storage.clone(), &secret, &cache).expect("open");
    let mut content: Vec<u8> = (0..200_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for _ in 0..2 {
        let input =
            SnapshotInput::Stream { name: NAME.to_vec(), read: &mut content.as_slice(), finish: Box::new(|| Ok(())) };
        let options = SnapshotOptions { host: "fuzz".into(), ..SnapshotOptions::default() };
        ops::snapshot(&repository, input, &options, &clock(), &Silent).expect("snapshot");
        content[300_000..300_100].fill(0);
    }
    let mut objects = Vec::new();
    for family in ObjectFamily::ALL {
        let mut names = Vec::new();
        storage.list(family, &mut |name, _| names.push(name)).expect("list");
        for name in names {
            objects.push((name, storage.read(name, None, limits::PACK_BYTES).expect("read")));
        }
    }
    Original { objects, content, cache }
});

/// Reads `data` as instructions of four bytes (object, what to do, two bytes of where) and does them to a copy of the
/// repository. Then opens, lists, checks and dumps it.
pub(super) fn mutated(data: &[u8]) {
    let original = &*ORIGINAL;
    let mut objects: Vec<Option<Vec<u8>>> = original.objects.iter().map(|(_, bytes)| Some(bytes.clone())).collect();
    for instruction in data.as_chunks::<4>().0.iter().take(8) {
        mutate(&mut objects, *instruction);
    }
    let storage = MemoryStorage::default();
    for ((name, _), bytes) in original.objects.iter().zip(&objects) {
        if let Some(bytes) = bytes {
            storage.write_new(*name, &[bytes]).expect("memory takes all");
        }
    }
    let same = original.objects.iter().zip(&objects).all(|((_, before), after)| after.as_ref() == Some(before));
    let result = read_all(Arc::new(storage), original);
    // Nothing of the cache may outlive the storage that it is of.
    let _ = std::fs::remove_dir_all(&original.cache);
    assert!(!same || result.is_ok(), "an undamaged repository can't be read: {result:?}");
}

fn mutate(objects: &mut [Option<Vec<u8>>], [object, action, low, high]: [u8; 4]) {
    let count = objects.len();
    let (chosen, at) = (usize::from(object) % count, usize::from(low) | usize::from(high) << 8);
    let Some(bytes) = objects[chosen].as_mut().filter(|bytes| !bytes.is_empty()) else { return };
    let position = at * bytes.len() / 65_536;
    match action % 6 {
        0 => bytes[position] ^= action | 1,
        1 => bytes.truncate(position),
        2 => objects[chosen] = None,
        3 => objects.swap(chosen, at % count),
        4 => bytes.extend_from_slice(&[low, high]),
        _ => bytes[position..].fill(0),
    }
}

fn read_all(storage: SharedStorage, original: &Original) -> engine::Result<()> {
    let repository = Repository::open(storage, &Secret::KeyFile(SECRET), &original.cache)?;
    let report = ops::check(
        &repository,
        &CheckOptions { read_data: ReadData::All, ..CheckOptions::default() },
        &clock(),
        &Silent,
    )?;
    let index = repository.load_index(&Silent)?;
    let list = ops::list_snapshots(&repository, &SnapshotFilter::default())?;
    for (id, snapshot) in &list.snapshots {
        let mut out = Vec::new();
        match ops::dump_file(&repository, &index, snapshot, NAME, &mut out) {
            // Only the hundred bytes that the snapshots differ in may be one or the other.
            Ok(()) => {
                assert_eq!(out.len(), original.content.len());
                assert!(out[..300_000] == original.content[..300_000] && out[300_100..] == original.content[300_100..]);
            }
            Err(error) => assert!(report.is_damaged(), "check found nothing, but {id} can't be read: {error}"),
        }
    }
    if report.is_damaged() { Err(engine::EngineError::damaged("as it should be")) } else { Ok(()) }
}
