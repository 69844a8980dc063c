//! Compression of segments: zstd, one frame a segment, or none where it does not pay. Pure.

use std::io::Cursor;

use zstd::zstd_safe::{CParameter, Strategy};

use crate::limits;
use crate::model::Compression;

/// Text that shrinks by less than this part is stored as it is: reading it then costs nothing.
const WORTH_PERCENT: usize = 97;
/// How much of a segment is tried before all of it, in bytes.
const SAMPLE_BYTES: usize = 16 << 10;
/// Segments shorter than this are compressed without a trial.
const TRIAL_FROM_BYTES: usize = 64 << 10;

/// Why a text does not decompress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// Not a zstd frame, or a broken one.
    #[error("compressed text is damaged")]
    Damaged,
    /// Another length than the table says.
    #[error("decompresses to another length than its table says")]
    WrongLength,
}

/// Two ways to compress. What decides is how much of a processor's second-level cache the tables take: zstd's own level
/// 3 has 768 KiB of them, which is all there is, and is half as fast beside other work. Measured on segments of a
/// mebibyte (MB/s of one core, share that is left): sources 510 and 24.9 % fast, 403 and 22.6 % dense, 336 and 22.0 %
/// with level 3; dumps 646 and 40.8 % fast, 420 and 40.1 % dense, 263 and 41.1 % with level 3.
const FAST: Settings = Settings { strategy: Strategy::ZSTD_fast, hash_log: 13, chain_log: 13, min_match: 7 };
const DENSE: Settings = Settings { strategy: Strategy::ZSTD_dfast, hash_log: 15, chain_log: 12, min_match: 5 };
/// A match reaches back over a whole segment.
const WINDOW_LOG: u32 = 20;
/// How many segments go by between two that are compressed both ways.
const TRIAL_PERIOD: u32 = 32;
/// What the dense way must save to be worth its time.
const DENSE_SAVES_PERCENT: usize = 4;
/// A segment that shrinks to less than this makes it likely that the next one shrinks too.
const SHRINKS_WELL_PERCENT: usize = 85;

/// What zstd is told: parameters of its own names.
#[derive(Clone, Copy)]
struct Settings {
    strategy: Strategy,
    hash_log: u32,
    chain_log: u32,
    min_match: u32,
}

impl Settings {
    fn compressor(self) -> zstd::bulk::Compressor<'static> {
        let mut zstd = zstd::bulk::Compressor::new(1).expect("a zstd context can be made");
        for parameter in [
            CParameter::WindowLog(WINDOW_LOG),
            CParameter::Strategy(self.strategy),
            CParameter::HashLog(self.hash_log),
            CParameter::ChainLog(self.chain_log),
            CParameter::MinMatch(self.min_match),
        ] {
            zstd.set_parameter(parameter).expect("the parameters are within zstd's bounds");
        }
        zstd
    }
}

/// A reusable compressor; one a thread. What it chooses depends on what it compressed before: the kind of data seldom
/// changes from one segment to the next, and asking each time costs an eighth.
pub struct Compressor {
    fast: zstd::bulk::Compressor<'static>,
    dense: zstd::bulk::Compressor<'static>,
    /// Where the second of two ways is tried, and samples.
    trial: Vec<u8>,
    segments: u32,
    dense_pays: bool,
    last_shrank: bool,
}

impl Default for Compressor {
    /// # Panics
    /// If there is no memory for zstd's contexts (some hundred KiB).
    fn default() -> Self {
        Self {
            fast: FAST.compressor(),
            dense: DENSE.compressor(),
            trial: Vec::new(),
            segments: 0,
            dense_pays: false,
            last_shrank: false,
        }
    }
}

impl Compressor {
    /// Appends `plain` to `out`, compressed if that pays.
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Compression {
        let start = out.len();
        if (self.last_shrank || self.may_pay(plain)) && self.compress_well(plain, out) {
            let len = out.len() - start;
            self.last_shrank = len * 100 < plain.len() * SHRINKS_WELL_PERCENT;
            if len * 100 < plain.len() * WORTH_PERCENT {
                return Compression::Zstd;
            }
        }
        self.last_shrank = false;
        out.truncate(start);
        out.extend_from_slice(plain);
        Compression::None
    }

    /// Compresses one way or the other, now and then both to see which one pays.
    fn compress_well(&mut self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let is_trial = self.segments.is_multiple_of(TRIAL_PERIOD);
        self.segments = self.segments.wrapping_add(1);
        if !is_trial {
            return append(if self.dense_pays { &mut self.dense } else { &mut self.fast }, plain, out);
        }
        self.trial.clear();
        if !append(&mut self.fast, plain, out) || !append(&mut self.dense, plain, &mut self.trial) {
            return false;
        }
        let (fast, dense) = (out.len() - start, self.trial.len());
        self.dense_pays = dense * 100 < fast * (100 - DENSE_SAVES_PERCENT);
        if dense < fast {
            out.truncate(start);
            out.extend_from_slice(&self.trial);
        }
        true
    }

    /// Tries samples: compressing what can't be compressed would double the work on it.
    fn may_pay(&mut self, plain: &[u8]) -> bool {
        if plain.len() < TRIAL_FROM_BYTES {
            return true;
        }
        // Three places, since a segment may hold several files of different kinds.
        let step = (plain.len() - SAMPLE_BYTES) / 2;
        (0..3).any(|i| {
            let sample = &plain[i * step..][..SAMPLE_BYTES];
            self.trial.clear();
            append(&mut self.fast, sample, &mut self.trial) && self.trial.len() * 100 < sample.len() * WORTH_PERCENT
        })
    }
}

/// Appends a frame; `false` if zstd has no memory for it.
fn append(zstd: &mut zstd::bulk::Compressor<'_>, plain: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.reserve(zstd::zstd_safe::compress_bound(plain.len()));
    let mut behind = Cursor::new(&mut *out);
    behind.set_position(start as u64);
    zstd.compress_to_buffer(plain, &mut behind).is_ok()
}

/// One frame is all of the text: zstd itself would take several, and skippable ones between them.
fn check_frame(text: &[u8], plain_len: u32) -> Result<(), DecompressError> {
    use zstd::zstd_safe::{find_frame_compressed_size, get_dict_id_from_frame, get_frame_content_size};
    if !text.starts_with(&zstd::zstd_safe::MAGICNUMBER.to_le_bytes())
        || find_frame_compressed_size(text) != Ok(text.len())
        || get_dict_id_from_frame(text).is_some()
    {
        return Err(DecompressError::Damaged);
    }
    match get_frame_content_size(text) {
        Ok(None) => Ok(()),
        Ok(Some(len)) if len == u64::from(plain_len) => Ok(()),
        Ok(Some(_)) => Err(DecompressError::WrongLength),
        Err(_) => Err(DecompressError::Damaged),
    }
}

/// A reusable decompressor; one a thread.
pub struct Decompressor {
    zstd: zstd::bulk::Decompressor<'static>,
}

impl Default for Decompressor {
    fn default() -> Self {
        Self { zstd: zstd::bulk::Decompressor::new().expect("a zstd context can be made") }
    }
}

impl Decompressor {
    /// Puts the plaintext of `text` into `out`, replacing what is there. Never writes more than `plain_len`
    /// bytes, whatever the frame says.
    ///
    /// # Errors
    /// If the text is damaged or its plaintext has another length.
    pub fn decompress(
        &mut self,
        compression: Compression,
        text: &[u8],
        plain_len: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), DecompressError> {
        debug_assert!(plain_len <= limits::SEGMENT_PLAIN_BYTES);
        match compression {
            Compression::None => {
                out.clear();
                out.extend_from_slice(text);
            }
            Compression::Zstd => {
                check_frame(text, plain_len)?;
                // The buffer's length is the bound: a bomb ends here.
                out.resize(plain_len as usize, 0);
                let len = self.zstd.decompress_to_buffer(text, &mut out[..]).map_err(|_| DecompressError::Damaged)?;
                out.truncate(len);
            }
        }
        if out.len() == plain_len as usize { Ok(()) } else { Err(DecompressError::WrongLength) }
    }
}
