//! Gear hashing with a secret table, by the kernel of the `fastcdc` crate.
//!
//! The method: Xia et al., "FastCDC" (USENIX ATC 2016) and its 2020 revision that rolls two bytes a step. One mask
//! for all sizes with min = average / 2 cuts less evenly but finds more duplicates than normalised chunking
//! (measured in the benchmark report; the same result is known from simulations of rollsum chunkers).

use fastcdc::v2020::cut_gear;
use zeroize::Zeroize;

use crate::crypto::DomainKeys;
use crate::model::ChunkerParameters;

/// Cuts streams with one profile's settings. Cheap to share, has no state.
pub struct DataChunker {
    parameters: ChunkerParameters,
    gear: Box<[u64; 256]>,
    /// `gear` shifted left by one: the kernel takes two bytes a step.
    gear_shifted: Box<[u64; 256]>,
}

impl DataChunker {
    /// A chunker with the domain's secret table. `parameters` come from a checked config.
    pub fn new(keys: &DomainKeys, parameters: ChunkerParameters) -> Self {
        let gear = Box::new(*keys.gear_table());
        let mut gear_shifted = gear.clone();
        gear_shifted.iter_mut().for_each(|entry| *entry <<= 1);
        Self { parameters, gear, gear_shifted }
    }

    /// No chunk is longer than this, in bytes.
    pub fn max_len(&self) -> usize {
        self.parameters.max as usize
    }

    /// Length in bytes of the first chunk of `stream`, which must hold at least [`Self::max_len`] bytes or all
    /// that is left.
    pub fn cut(&self, stream: &[u8]) -> usize {
        let p = &self.parameters;
        let (_, len) = cut_gear(
            stream,
            p.min as usize,
            p.average as usize,
            p.max as usize,
            p.strict_mask,
            p.loose_mask,
            p.strict_mask << 1,
            p.loose_mask << 1,
            &self.gear[..],
            &self.gear_shifted[..],
        );
        len
    }
}

impl Drop for DataChunker {
    fn drop(&mut self) {
        self.gear.zeroize();
        self.gear_shifted.zeroize();
    }
}
