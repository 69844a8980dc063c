//! Gear hashing with a secret table. Spec chapter 9.4.
//!
//! The method: Xia et al., "FastCDC" (USENIX ATC 2016). One mask for all sizes with a min of more than half the average
//! cuts less evenly but finds more duplicates than normalised chunking (measured in `format-spec/DECISIONS.md`; the
//! same is known from simulations of rollsum chunkers).

use zeroize::Zeroize;

use super::gear::Gear;
use crate::crypto::DomainKeys;
use crate::model::ChunkerParameters;

/// Cuts streams with one profile's settings. Cheap to share, has no state.
pub struct DataChunker {
    parameters: ChunkerParameters,
    gear: Box<[u64; 256]>,
}

impl DataChunker {
    /// A chunker with the domain's secret table. `parameters` come from a checked config.
    pub fn new(keys: &DomainKeys, parameters: ChunkerParameters) -> Self {
        Self { parameters, gear: Box::new(*keys.gear_table()) }
    }

    /// No chunk is longer than this, in bytes.
    pub fn max_len(&self) -> usize {
        self.parameters.max as usize
    }

    /// Length in bytes of the first chunk of `stream`, which must hold at least [`Self::max_len`] bytes or all
    /// that is left.
    pub fn cut(&self, stream: &[u8]) -> usize {
        let p = &self.parameters;
        let (min, average) = (p.min as usize, p.average as usize);
        let len = stream.len().min(p.max as usize);
        if stream.len() <= min {
            return stream.len();
        }
        let end = len & !1;
        let mut gear = Gear::new(&self.gear);
        if p.strict_mask == p.loose_mask {
            return gear.find(stream, min, end, p.strict_mask).unwrap_or(len);
        }
        let middle = average.clamp(min, end);
        gear.find(stream, min, middle, p.strict_mask)
            .or_else(|| gear.find(stream, middle, end, p.loose_mask))
            .unwrap_or(len)
    }
}

impl Drop for DataChunker {
    fn drop(&mut self) {
        self.gear.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel of the `fastcdc` crate, which the format takes its cut points from.
    fn reference(gear: &[u64; 256], p: &ChunkerParameters, stream: &[u8]) -> usize {
        let shifted = gear.map(|entry| entry << 1);
        let sizes = (p.min as usize, p.average as usize, p.max as usize);
        let (strict, loose) = (p.strict_mask, p.loose_mask);
        let shifted_masks = (strict << 1, loose << 1);
        fastcdc::v2020::cut_gear(
            stream,
            sizes.0,
            sizes.1,
            sizes.2,
            strict,
            loose,
            shifted_masks.0,
            shifted_masks.1,
            gear,
            &shifted,
        )
        .1
    }

    #[test]
    fn cuts_where_the_reference_does() {
        let mut random = vec![0u8; 1 << 21];
        blake3::Hasher::new_keyed(&[7; 32]).finalize_xof().fill(&mut random);
        let mut table_bytes = [0u8; 2048];
        blake3::Hasher::new_keyed(&[8; 32]).finalize_xof().fill(&mut table_bytes);
        let (entries, _) = table_bytes.as_chunks::<8>();
        let mut gear = Box::new([0u64; 256]);
        gear.iter_mut().zip(entries).for_each(|(entry, bytes)| *entry = u64::from_le_bytes(*bytes));
        let text: Vec<u8> = random.iter().map(|byte| b"etaoin shrdlu\n"[usize::from(*byte) % 14]).collect();
        let mut cuts = 0;
        for (min, average, max, strict, loose) in [
            (64, 256, 1024, 8, 8),
            (2048, 4096, 16 << 10, 12, 12),
            (8192, 16 << 10, 64 << 10, 14, 14),
            (8192, 16 << 10, 64 << 10, 16, 12),
            (32 << 10, 64 << 10, 256 << 10, 16, 16),
            (128, 64 << 10, 64 << 10, 20, 2),
        ] {
            let mask = |bits: u32| ((1u64 << bits) - 1) << (62 - bits);
            let parameters =
                ChunkerParameters { min, average, max, strict_mask: mask(strict), loose_mask: mask(loose) };
            let chunker = DataChunker { parameters, gear: gear.clone() };
            for stream in [&random[..], &text, &random[..12_345], &random[1..8193], &random[..63], &[0; 99_999]] {
                let mut rest = stream;
                while !rest.is_empty() {
                    let window = &rest[..rest.len().min(max as usize)];
                    let len = chunker.cut(window);
                    assert_eq!(len, reference(&gear, &parameters, window), "{parameters:?}, {} left", rest.len());
                    assert_eq!(len, chunker.cut(rest), "what lies behind the longest chunk changes nothing");
                    rest = &rest[len..];
                    cuts += 1;
                }
            }
        }
        assert!(cuts > 10_000);
    }
}
