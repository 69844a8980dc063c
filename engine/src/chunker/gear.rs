//! The kernel of gear hashing: the first position where the hash, masked, is zero. Spec chapter 9.4.
//!
//! Each step of the hash waits for the one before, so one chain leaves most of a processor idle. But a hash of 64 bits
//! that shifts by one bit a byte forgets everything after 64 bytes: four places of the stream are hashed side by side,
//! three of them warmed up with the 64 bytes before. Measured against the two-bytes-a-step kernel of the `fastcdc`
//! crate, which the tests compare the results with: see the benchmark report.

/// After as many bytes, nothing is left of those before.
const MEMORY_BYTES: usize = u64::BITS as usize;
/// How long the four stretches are that are hashed side by side, in bytes. Longer ones waste more of the last round.
const LANE_BYTES: usize = 512;

/// A gear hash on its way through a stream.
pub(super) struct Gear<'a> {
    table: &'a [u64; 256],
    hash: u64,
}

impl<'a> Gear<'a> {
    /// With nothing hashed yet.
    pub(super) fn new(table: &'a [u64; 256]) -> Self {
        Self { table, hash: 0 }
    }

    fn step(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.table[usize::from(byte)])
    }

    /// Hashes `stream[from..to]` and gives the first position whose byte makes the masked hash zero. All that was
    /// hashed before must lie in the `from` bytes before it, without a gap, or be nothing.
    pub(super) fn find(&mut self, stream: &[u8], from: usize, to: usize, mask: u64) -> Option<usize> {
        let mut position = from;
        while let Some(block) = stream[position..to].first_chunk::<{ 4 * LANE_BYTES }>() {
            match self.find_in_lanes(block, mask) {
                Ok(()) => position += block.len(),
                Err(found) => return Some(position + found),
            }
        }
        self.find_in(&stream[position..to], mask).map(|found| position + found)
    }

    /// One byte after the other.
    fn find_in(&mut self, bytes: &[u8], mask: u64) -> Option<usize> {
        for (index, &byte) in bytes.iter().enumerate() {
            self.hash = self.step(self.hash, byte);
            if self.hash & mask == 0 {
                return Some(index);
            }
        }
        None
    }

    /// Four stretches side by side. `Err`: the first position, the hash is of no more use.
    fn find_in_lanes(&mut self, block: &[u8; 4 * LANE_BYTES], mask: u64) -> Result<(), usize> {
        let (lanes, _) = block.as_chunks::<LANE_BYTES>();
        let [a, b, c, d] = [&lanes[0], &lanes[1], &lanes[2], &lanes[3]];
        let mut hashes = [self.hash, self.warm(a), self.warm(b), self.warm(c)];
        for index in 0..LANE_BYTES {
            hashes[0] = self.step(hashes[0], a[index]);
            hashes[1] = self.step(hashes[1], b[index]);
            hashes[2] = self.step(hashes[2], c[index]);
            hashes[3] = self.step(hashes[3], d[index]);
            if hashes[0] & mask == 0 {
                return Err(index);
            }
            for lane in 1..4 {
                if hashes[lane] & mask == 0 {
                    return Err(self.earliest(lanes, hashes, index, lane, mask));
                }
            }
        }
        self.hash = hashes[3];
        Ok(())
    }

    /// The hash as it is after a lane: only its last bytes matter.
    fn warm(&self, lane: &[u8; LANE_BYTES]) -> u64 {
        lane[LANE_BYTES - MEMORY_BYTES..].iter().fold(0, |hash, &byte| self.step(hash, byte))
    }

    /// `lane` has a place at `index`; the lanes before it may have one further on, which comes first.
    #[cold]
    fn earliest(&self, lanes: &[[u8; LANE_BYTES]], hashes: [u64; 4], index: usize, lane: usize, mask: u64) -> usize {
        for before in 0..lane {
            let mut rest = Self { table: self.table, hash: hashes[before] };
            if let Some(found) = rest.find_in(&lanes[before][index + 1..], mask) {
                return before * LANE_BYTES + index + 1 + found;
            }
        }
        lane * LANE_BYTES + index
    }
}

const _: () = assert!(MEMORY_BYTES <= LANE_BYTES);
