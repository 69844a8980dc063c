//! What the local database lacks, in memory: a few index objects that came since it was written.
//!
//! To write a hundred thousand chunks into the database takes longer than all else that an unchanged snapshot does;
//! to sort them is ten times as fast, and they are found faster, too.

use std::collections::{HashMap, HashSet};
use std::ops::Bound;

use super::rows::{
    ChunkPlace, ChunkRow, ChunkRows, IdRange, PackRow, Rows, SegmentExtent, SegmentRow, SegmentView, ShortId,
    StoreResult, decode_chunk, decode_pack, decode_segment, encode_pack, encode_segment, missing, push_chunks,
    segment_extent, session_of, short_id,
};
use crate::crypto::SessionKeyRecord;
use crate::format::IndexObject;
use crate::id::{ChunkId, DomainId, PackId, SessionId};

/// Index objects as rows like the database's.
#[derive(Default)]
pub(super) struct Recent {
    lost: HashSet<ShortId>,
    sessions: Vec<SessionKeyRecord>,
    packs: Vec<PackRow>,
    /// Those in the domain of full clients.
    pack_numbers: HashMap<PackId, u32>,
    /// Those in the domains of write-only ones: what these say is in a pack never stands for what is.
    claims: HashSet<PackId>,
    segments: Vec<SegmentRow>,
    /// In order, once [`Self::sort`] was called.
    chunks: Vec<(ShortId, ChunkRow)>,
}

impl Recent {
    /// Takes an index object in; [`Self::sort`] must follow the last one.
    pub(super) fn add(&mut self, object: &IndexObject) {
        self.lost.extend(object.lost.iter().map(short_id));
        let mut sessions: HashMap<SessionId, u32> = HashMap::new();
        for record in &object.sessions {
            sessions.insert(record.session(), self.sessions.len() as u32);
            self.sessions.push(record.clone());
        }
        for pack in &object.packs {
            let number = self.packs.len() as u32;
            if object.domain == DomainId::SHARED {
                if self.pack_numbers.contains_key(&pack.id) {
                    // Two index objects may list one pack; the rows are the same.
                    continue;
                }
                self.pack_numbers.insert(pack.id, number);
            } else {
                self.claims.insert(pack.id);
            }
            self.packs.push(encode_pack(pack));
            for segment in &pack.segments {
                let session = sessions.get(&segment.session).copied().unwrap_or(u32::MAX);
                push_chunks(segment, self.segments.len() as u32, &mut self.chunks);
                self.segments.push(encode_segment(segment, number, session));
            }
        }
    }

    /// Makes what was added visible.
    pub(super) fn sort(&mut self) {
        self.chunks.sort_unstable();
    }

    fn find(&self, id: &ChunkId) -> &[(ShortId, ChunkRow)] {
        let id = short_id(id);
        let start = self.chunks.partition_point(|(other, _)| *other < id);
        let len = self.chunks[start..].iter().take_while(|(other, _)| *other == id).count();
        &self.chunks[start..start + len]
    }
}

impl Rows for Recent {
    fn has_lost(&self) -> StoreResult<bool> {
        Ok(!self.lost.is_empty())
    }

    fn was_lost(&self, id: &ChunkId) -> StoreResult<bool> {
        Ok(self.lost.contains(&short_id(id)))
    }

    fn chunk_count(&self) -> StoreResult<u64> {
        Ok(self.chunks.chunk_by(|a, b| a.0 == b.0).count() as u64)
    }

    fn most_chunks(&self) -> StoreResult<u64> {
        Ok(self.chunks.len() as u64)
    }

    fn chunk(&self, id: &ChunkId) -> StoreResult<Option<ChunkPlace>> {
        Ok(self.find(id).first().map(|(_, row)| decode_chunk(*row)))
    }

    fn copies(&self, id: &ChunkId) -> StoreResult<Vec<ChunkPlace>> {
        Ok(self.find(id).iter().map(|(_, row)| decode_chunk(*row)).collect())
    }

    fn further_copies(&self, each: &mut dyn FnMut(ShortId, ChunkPlace)) -> StoreResult<()> {
        for (id, row) in self.chunks.chunk_by(|a, b| a.0 == b.0).flat_map(|copies| &copies[1..]) {
            each(*id, decode_chunk(*row));
        }
        Ok(())
    }

    fn chunk_rows(&self, ids: IdRange) -> StoreResult<ChunkRows<'_>> {
        let start = self.chunks.partition_point(|(id, _)| match ids.0 {
            Bound::Included(first) => *id < first,
            Bound::Excluded(before) => *id <= before,
            Bound::Unbounded => false,
        });
        let rest = &self.chunks[start..];
        let count = rest.partition_point(|(id, _)| match ids.1 {
            Bound::Included(last) => *id <= last,
            Bound::Excluded(end) => *id < end,
            Bound::Unbounded => true,
        });
        let firsts = rest[..count].chunk_by(|a, b| a.0 == b.0).map(|copies| copies[0]);
        Ok(Box::new(firsts.map(|(id, row)| Ok((id, decode_chunk(row))))))
    }

    fn segment(&self, number: u32) -> StoreResult<SegmentView> {
        let row = self.segments.get(number as usize).ok_or_else(missing)?;
        let pack = self.packs.get(segment_extent(row)?.pack as usize).ok_or_else(missing)?;
        let record = self.sessions.get(session_of(row) as usize).ok_or_else(missing)?;
        decode_segment(row, pack, record.clone())
    }

    fn segment_extent(&self, number: u32) -> StoreResult<SegmentExtent> {
        segment_extent(self.segments.get(number as usize).ok_or_else(missing)?)
    }

    fn segments(&self, each: &mut dyn FnMut(u32, SegmentExtent)) -> StoreResult<()> {
        (0..).zip(&self.segments).try_for_each(|(number, row)| {
            each(number, segment_extent(row)?);
            Ok(())
        })
    }

    fn packs(&self, each: &mut dyn FnMut(u32, PackId, u64)) -> StoreResult<()> {
        for (number, row) in (0..).zip(&self.packs) {
            let (id, len) = decode_pack(row);
            each(number, id, len);
        }
        Ok(())
    }

    fn has_pack(&self, id: &PackId) -> StoreResult<bool> {
        Ok(self.pack_numbers.contains_key(id) || self.claims.contains(id))
    }

    fn vouches_for(&self, id: &PackId) -> StoreResult<bool> {
        Ok(self.pack_numbers.contains_key(id))
    }
}
