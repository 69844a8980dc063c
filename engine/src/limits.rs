//! Bounds on everything that comes from a storage, so that a hostile repository can't make a reader
//! allocate or loop without end. Spec chapter 11.

/// A mebibyte.
pub const MIB: u64 = 1 << 20;

/// Length in bytes of the largest config, register, record of a forgotten snapshot, or key slot.
pub const SMALL_OBJECT_BYTES: u64 = 64 << 10;
/// How often a root secret can be replaced: each time is one more object to read, and one more key in a credential.
pub const EPOCHS: u32 = 1 << 10;
/// Length in bytes of the largest snapshot or intent.
pub const ENVELOPE_BYTES: u64 = 16 * MIB;
/// Length in bytes of the largest index object or pack footer.
pub const INDEX_BYTES: u64 = 64 * MIB;
/// Length in bytes of the largest plan, state or done of a prune: two million packs.
pub const PRUNE_BYTES: u64 = 64 * MIB;
/// How many records, and how many sessions, a prune that is over notices for the next one.
pub const PRUNE_NOTICED: u64 = 1 << 20;
/// Length in bytes of the largest pack.
pub const PACK_BYTES: u64 = 1024 * MIB;
/// Bounds of the pack size setting, in bytes.
pub const PACK_SIZE_SETTING: std::ops::RangeInclusive<u64> = MIB..=512 * MIB;
/// Plaintext length in bytes of the largest segment.
pub const SEGMENT_PLAIN_BYTES: u32 = 16 << 20;
/// Length in bytes of the longest sealed segment: zstd's bound for its plaintext, nonce and tag.
pub const SEGMENT_SEALED_BYTES: u32 = SEGMENT_PLAIN_BYTES + (SEGMENT_PLAIN_BYTES >> 8) + 40;
/// Bounds of the segment size setting, in bytes.
pub const SEGMENT_SIZE_SETTING: std::ops::RangeInclusive<u64> = (64 << 10)..=8 * MIB;
/// Length in bytes of the largest chunk.
pub const CHUNK_BYTES: u32 = 8 << 20;
/// Encoded length in bytes of the largest tree node.
pub const NODE_BYTES: usize = 4 << 20;
/// Length in bytes of the longest name of a node.
pub const NAME_BYTES: usize = 4096;
/// Length in bytes of the longest symlink target.
pub const TARGET_BYTES: usize = 64 << 10;
/// Length in bytes of the largest file, holes included.
pub const FILE_BYTES: u64 = i64::MAX as u64;
/// Deepest nesting of content lists.
pub const CONTENT_DEPTH: u8 = 4;
/// Deepest nesting of directories.
pub const DIRECTORY_DEPTH: usize = 4096;
/// How many problems a snapshot lists by name; the rest is counted.
pub const PROBLEMS_LISTED: usize = 1000;

/// Bounds of the smallest chunk that a chunker profile may ask for, in bytes.
pub const CHUNKER_MIN: std::ops::RangeInclusive<u32> = 64..=(1 << 20);
/// Bounds of the average chunk of a profile, in bytes.
pub const CHUNKER_AVERAGE: std::ops::RangeInclusive<u32> = 256..=(4 << 20);
/// Bounds of the largest chunk of a profile, in bytes.
pub const CHUNKER_MAX: std::ops::RangeInclusive<u32> = 1024..=CHUNK_BYTES;
/// Bounds of the chunks that a profile for pages may ask for, in bytes.
pub const CHUNKER_PAGES: std::ops::RangeInclusive<u32> = 1024..=(1 << 20);

/// Argon2id memory in KiB.
pub const ARGON2_MEMORY_KIB: std::ops::RangeInclusive<u32> = (64 << 10)..=(4 << 20);
/// Argon2id passes.
pub const ARGON2_PASSES: std::ops::RangeInclusive<u32> = 1..=16;
/// Argon2id lanes.
pub const ARGON2_LANES: std::ops::RangeInclusive<u32> = 1..=16;
/// Argon2id memory × passes, in KiB.
pub const ARGON2_WORK_KIB: u64 = 16 << 20;

// What one limit promises, another must allow.
/// The largest number of a snapshot: who counts on stops there.
pub const SNAPSHOT_NUMBER: u64 = 1 << 63;

const _: () = assert!(CHUNK_BYTES <= SEGMENT_PLAIN_BYTES);
const _: () = assert!(CHUNK_BYTES < 1 << 24, "chunk lengths are stored in three bytes");
const _: () = assert!(NODE_BYTES <= CHUNK_BYTES as usize);
const _: () = assert!(*SEGMENT_SIZE_SETTING.end() + CHUNK_BYTES as u64 <= SEGMENT_PLAIN_BYTES as u64);
const _: () = assert!(*PACK_SIZE_SETTING.end() + (SEGMENT_PLAIN_BYTES as u64) + INDEX_BYTES <= PACK_BYTES);
