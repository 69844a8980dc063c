//! Compression of segments: zstd, one frame a segment, or none where it does not pay. Pure.

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

/// The level for what a higher one does not make smaller.
const FAST_LEVEL: i32 = 1;
/// The level for everything else.
const DENSE_LEVEL: i32 = 3;
/// How much of a segment decides about its level, in bytes.
const LEVEL_SAMPLE_BYTES: usize = 64 << 10;
/// What the dense level must save on the sample to be worth twice the time.
const DENSE_SAVES_PERCENT: usize = 4;

/// A reusable compressor; one a thread.
pub struct Compressor {
    fast: zstd::bulk::Compressor<'static>,
    dense: zstd::bulk::Compressor<'static>,
    trial: Vec<u8>,
}

impl Default for Compressor {
    /// # Panics
    /// If there is no memory for zstd's contexts (some MiB).
    fn default() -> Self {
        let context = |level| zstd::bulk::Compressor::new(level).expect("a zstd context can be made");
        Self { fast: context(FAST_LEVEL), dense: context(DENSE_LEVEL), trial: Vec::new() }
    }
}

impl Compressor {
    /// Appends `plain` to `out`, compressed if that pays.
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Compression {
        let start = out.len();
        if self.may_pay(plain) {
            let zstd = if self.dense_pays(plain) { &mut self.dense } else { &mut self.fast };
            if append(zstd, plain, out) && (out.len() - start) * 100 < plain.len() * WORTH_PERCENT {
                return Compression::Zstd;
            }
        }
        out.truncate(start);
        out.extend_from_slice(plain);
        Compression::None
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
            sampled(&mut self.fast, sample, &mut self.trial) * 100 < sample.len() * WORTH_PERCENT
        })
    }

    /// Whether the dense level is worth its time: on text it saves a tenth, on dumps often nothing.
    fn dense_pays(&mut self, plain: &[u8]) -> bool {
        let start = (plain.len() / 2).saturating_sub(LEVEL_SAMPLE_BYTES / 2);
        let sample = &plain[start..plain.len().min(start + LEVEL_SAMPLE_BYTES)];
        let fast = sampled(&mut self.fast, sample, &mut self.trial);
        let dense = sampled(&mut self.dense, sample, &mut self.trial);
        dense * 100 < fast * (100 - DENSE_SAVES_PERCENT)
    }
}

/// Length of a sample after compression; its own if it can't be compressed.
fn sampled(zstd: &mut zstd::bulk::Compressor<'_>, sample: &[u8], trial: &mut Vec<u8>) -> usize {
    trial.clear();
    if append(zstd, sample, trial) { trial.len() } else { sample.len() }
}

fn append(zstd: &mut zstd::bulk::Compressor<'_>, plain: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.resize(start + zstd::zstd_safe::compress_bound(plain.len()), 0);
    let written = zstd.compress_to_buffer(plain, &mut out[start..]);
    out.truncate(start + *written.as_ref().unwrap_or(&0));
    written.is_ok()
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
