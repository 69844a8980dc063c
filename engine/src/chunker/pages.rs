//! Cutting between the pages of a database.

use crate::model::PageParameters;

/// Cuts a stream of pages every page, or every few small ones. Where a database writes to a page in place, exactly
/// one chunk changes.
#[derive(Debug, Clone, Copy)]
pub struct PageChunker {
    parameters: PageParameters,
}

impl PageChunker {
    /// A chunker with the profile's bounds, which come from a checked config.
    pub fn new(parameters: PageParameters) -> Self {
        Self { parameters }
    }

    /// No chunk is longer than this, in bytes.
    pub fn max_len(&self) -> usize {
        self.parameters.max as usize
    }

    /// Length in bytes of the first chunk of `stream`, which must hold at least [`Self::max_len`] bytes or all that
    /// is left. `page` is the length of the stream's pages in bytes, a power of two.
    pub fn cut(&self, page: u32, stream: &[u8]) -> usize {
        stream.len().min(page.clamp(self.parameters.min, self.parameters.max) as usize)
    }
}
