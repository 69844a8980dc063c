//! What kernels work on where there is no data at hand: generated, the same in every run. Pure.

/// Plaintext bytes of a segment, as a repository cuts them.
pub(super) const SEGMENT_BYTES: usize = 1 << 20;
/// Segments of generated material: more than a core's caches hold.
const SEGMENTS: u64 = 8;

/// Something to work on, in pieces as long as segments.
pub(super) struct Material {
    /// What it is called.
    pub(super) name: &'static str,
    /// Its pieces; none is empty.
    pub(super) segments: Vec<Vec<u8>>,
}

impl Material {
    /// What nobody can compress.
    pub(super) fn noise() -> Self {
        let segments = (0..SEGMENTS).map(|seed| noise(seed, SEGMENT_BYTES)).collect();
        Self { name: "noise", segments }
    }

    /// What shrinks to about a third: rows of words and numbers, as dumps of databases have them.
    pub(super) fn text() -> Self {
        let segments = (0..SEGMENTS).map(|seed| text(seed, SEGMENT_BYTES)).collect();
        Self { name: "text", segments }
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len() as u64).sum()
    }
}

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (OOPSLA 2014).
pub(super) struct SplitMix(pub(super) u64);

impl SplitMix {
    pub(super) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// `len` bytes without any order.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = SplitMix(seed << 32);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random.number().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn text(seed: u64, len: usize) -> Vec<u8> {
    const WORDS: [&str; 8] = ["backup", "restore", "volume", "token", "message", "room", "event", "policy"];
    let mut random = SplitMix(seed << 32);
    let mut bytes = Vec::with_capacity(len + 128);
    let mut row = 0u64;
    while bytes.len() < len {
        bytes.extend_from_slice(format!("{row}\t{:x}", random.number()).as_bytes());
        for byte in &random.number().to_le_bytes() {
            bytes.push(b' ');
            bytes.extend_from_slice(WORDS[usize::from(byte % 8)].as_bytes());
        }
        bytes.push(b'\n');
        row += 1;
    }
    bytes.truncate(len);
    bytes
}
