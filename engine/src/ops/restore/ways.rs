//! Which way large pieces of files are written: through the page cache, or past it.
//!
//! Where the kernel has to get each new page from somewhere else first (a virtual machine whose host takes free memory back),
//! the page cache can take eight times as long as the disk. Where the disk is slow, it is the other way round, as long as
//! there is memory. So both are tried, and the faster one is taken, until a later trial says something else.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crate::error::Result;
use crate::os::AlignedBuffer;
use crate::target::TargetFile;

/// The shortest file for which it makes a difference, in bytes; others go through the page cache.
pub(super) const LARGE_FILE_BYTES: u64 = 256 << 10;
/// The shortest piece: of shorter ones, much is parts of pages.
pub(super) const LARGE_PIECE_BYTES: u64 = 32 << 10;
/// Pieces that are written each way in the beginning.
const FIRST_TRIALS: u32 = 4;
/// One of so many pieces is written the slower way, to see whether it still is.
const TRIAL_EVERY: u32 = 256;

#[derive(Default)]
struct Rate {
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Rate {
    fn add(&self, bytes: usize, begun: Instant) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let passed = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(passed, Ordering::Relaxed);
    }

    fn is_faster_than(&self, other: &Self) -> bool {
        let of = |number: &AtomicU64| u128::from(number.load(Ordering::Relaxed));
        of(&self.bytes) * of(&other.nanoseconds) > of(&other.bytes) * of(&self.nanoseconds)
    }
}

/// What is known of both ways.
#[derive(Default)]
pub(super) struct Ways {
    cached: Rate,
    direct: Rate,
    pieces: AtomicU32,
}

impl Ways {
    /// Writes all of `bytes`, a large piece, at `offset`.
    ///
    /// # Errors
    /// `Io` if that fails; a part may be written.
    pub(super) fn write_at(
        &self,
        file: &TargetFile,
        bytes: &[u8],
        offset: u64,
        buffer: &mut AlignedBuffer,
    ) -> Result<()> {
        if !file.is_prepared() {
            return file.write_at(bytes, offset);
        }
        let piece = self.pieces.fetch_add(1, Ordering::Relaxed);
        let is_direct_faster = self.direct.is_faster_than(&self.cached);
        let is_trial = piece.is_multiple_of(TRIAL_EVERY);
        let direct = if piece < 2 * FIRST_TRIALS { piece.is_multiple_of(2) } else { is_direct_faster != is_trial };
        let begun = Instant::now();
        if direct && file.write_direct_at(bytes, offset, buffer)? {
            self.direct.add(bytes.len(), begun);
            return Ok(());
        }
        file.write_at(bytes, offset)?;
        self.cached.add(bytes.len(), begun);
        Ok(())
    }
}
