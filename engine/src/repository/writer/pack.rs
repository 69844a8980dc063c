//! Packs in the making.

use super::segment::SealedSegment;
use crate::crypto::{SEGMENT_OVERHEAD_BYTES, random_bytes};
use crate::format::{Footer, HEADER_BYTES, ObjectKind, TAIL_BYTES, Tail, encode_footer, encode_tail, padme};
use crate::id::PackId;
use crate::model::PackRow;
use crate::repository::{Repository, Session};

/// A pack in the making.
#[derive(Default)]
pub(super) struct OpenPack {
    pub(super) segments: Vec<SealedSegment>,
    pub(super) len: u64,
    /// No pack: the end of the session's packs.
    pub(super) is_end: bool,
}

pub(super) struct FinishedPack {
    pub(super) row: PackRow,
    pub(super) parts: Vec<Vec<u8>>,
}

impl OpenPack {
    pub(super) fn push(&mut self, mut segment: SealedSegment) {
        let offset = self.len.max(HEADER_BYTES as u64);
        segment.row.offset = u32::try_from(offset).expect("packs are closed far below 4 GiB");
        debug_assert!(segment.sealed.len() > SEGMENT_OVERHEAD_BYTES);
        self.len = offset + segment.sealed.len() as u64;
        self.segments.push(segment);
    }

    pub(super) fn finish(self, repository: &Repository, session: &Session) -> FinishedPack {
        let mut parts = vec![ObjectKind::Pack.header().to_vec()];
        let mut rows = Vec::with_capacity(self.segments.len());
        for segment in self.segments {
            rows.push(segment.row);
            parts.push(segment.sealed);
        }
        let footer = Footer { sessions: vec![session.keys().record().clone()], segments: rows };
        let sealed = encode_footer(&footer, repository.domain(), 0);
        let tail = Tail {
            domain: repository.domain().domain(),
            epoch: 0,
            footer_len: u32::try_from(sealed.len()).expect("footers stay below their limit"),
        };
        let before_tail = self.len + sealed.len() as u64;
        let padding = padme(before_tail) - before_tail;
        parts.push(random_padding(padding));
        parts.push(sealed);
        parts.push(encode_tail(&tail).to_vec());

        let mut hasher = blake3::Hasher::new();
        for part in &parts {
            hasher.update(part);
        }
        let id = PackId::new(*hasher.finalize().as_bytes());
        let len = before_tail + padding + TAIL_BYTES as u64;
        FinishedPack { row: PackRow { id, len, segments: footer.segments }, parts }
    }
}

/// Bytes that look like the sealed ones around them.
fn random_padding(len: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(len).expect("at most 64 KiB")];
    blake3::Hasher::new_keyed(&random_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
