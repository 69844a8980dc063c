//! Files that are read again beside what the parent snapshot has of them: whatever changed, they are cut as if there were
//! no parent.

use super::*;

const LEN: usize = 3_000_000;

/// What somebody may do to a file, and its name.
type Edit = (&'static str, fn(Vec<u8>) -> Vec<u8>);

fn edits() -> Vec<Edit> {
    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }
    fn splice(mut bytes: Vec<u8>, range: Range<usize>, new: &[u8]) -> Vec<u8> {
        bytes.splice(range, new.iter().copied());
        bytes
    }
    vec![
        ("nothing", |bytes| bytes),
        ("a byte", |mut bytes| {
            bytes[LEN / 3] ^= 1;
            bytes
        }),
        ("the last byte", |mut bytes| {
            bytes[LEN - 1] ^= 1;
            bytes
        }),
        ("a byte put in", |bytes| splice(bytes, 1_000_000..1_000_000, b"x")),
        ("a byte taken out", |bytes| splice(bytes, 1_000_000..1_000_001, b"")),
        ("something put before", |bytes| splice(bytes, 0..0, &noise(7, 12_345))),
        ("much put in", |bytes| splice(bytes, 600_000..600_000, &noise(8, 1_500_000))),
        ("much taken out", |bytes| splice(bytes, 600_000..2_000_000, b"")),
        ("much replaced", |bytes| splice(bytes, 400_000..1_900_000, &noise(9, 1_500_000))),
        ("something put behind", |bytes| splice(bytes, LEN..LEN, &noise(10, 50_000))),
        ("a byte put behind", |bytes| splice(bytes, LEN..LEN, b"x")),
        ("the end cut off", |bytes| splice(bytes, LEN - 5_000..LEN, b"")),
        ("only the beginning left", |bytes| splice(bytes, 100..LEN, b"")),
        ("the halves exchanged", |mut bytes| {
            bytes.rotate_left(LEN / 2);
            bytes
        }),
        ("all of it", |_| noise(11, LEN)),
        ("nothing left", |_| Vec::new()),
        ("twice", |bytes| [bytes.clone(), bytes].concat()),
        ("a database now", |bytes| [b"SQLite format 3\0\x10\x00".as_slice(), &bytes[18..]].concat()),
    ]
}

#[test]
fn a_file_is_cut_the_same_with_and_without_a_parent() {
    let force = SnapshotOptions { force: true, ..options() };
    let bench = Bench::new();
    let file = bench.source().join("file");
    let mut root_before = None;
    for (name, edit) in edits() {
        bench.write("file", 1, LEN);
        bench.snapshot_with(&force, &Silent).expect("snapshot");
        let before = fs::read(&file).expect("read");
        fs::write(&file, edit(before)).expect("written");
        let report = bench.snapshot();
        assert!(report.parent.is_some() && report.statistics.files_new == 0, "{name}");
        let beside_the_parent = bench.latest().1;
        assert!(bench.restores(&beside_the_parent), "{name}");
        let anew = bench.snapshot_with(&force, &Silent).expect("snapshot");
        assert_eq!((anew.parent, anew.statistics.chunks_new), (None, 0), "{name}");
        assert_eq!(bench.latest().1.root, beside_the_parent.root, "{name}");
        assert_ne!(root_before.replace(beside_the_parent.root), Some(bench.latest().1.root), "{name}: it did change");
    }
}

/// What the source no longer has in the same place is looked up, and found, as before.
#[test]
fn chunks_that_moved_far_are_not_stored_again() {
    let bench = Bench::new();
    bench.write("file", 1, LEN);
    bench.snapshot();
    let file = bench.source().join("file");
    let mut bytes = fs::read(&file).expect("read");
    bytes.rotate_left(LEN / 2);
    fs::write(&file, bytes).expect("written");
    // Two cuts are new, where the halves meet and where they were apart, and the directories.
    assert!(bench.snapshot().statistics.bytes_added < 700_000);
}
