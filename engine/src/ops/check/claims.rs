//! What can't be had from where it should be: by what packs hold, and by what write-only clients say is in them.
//!
//! A listing of a write-only client is a claim: whoever has its key can say of any pack that it holds its chunks.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Check, short};
use crate::error::Result;
use crate::format::Footer;
use crate::id::{ChunkId, DomainId, PackId};
use crate::model::PackRow;
use crate::ops::pack::of_half;
use crate::repository::Index;
use crate::storage::ObjectName;

/// Chunks, by the half of their ids that damage is looked up by: packs that lack them, and the findings that say so.
#[derive(Default)]
pub(super) struct Losses(BTreeMap<[u8; 16], Vec<(PackId, usize)>>);

impl Losses {
    pub(super) fn add(&mut self, chunk: &ChunkId, pack: PackId, finding: usize) {
        self.0.entry(short(chunk)).or_default().push((pack, finding));
    }
}

impl Check<'_> {
    /// Compares what write-only clients say of packs with what these say themselves.
    pub(super) fn compare_claims(&mut self, index: &Index, packs: &[(PackId, u64)], losses: &mut Losses) -> Result<()> {
        if self.repository.read_clients()?.0.is_empty() {
            return Ok(());
        }
        let read: HashMap<PackId, u64> = packs.iter().copied().collect();
        for id in self.repository.list_indexes()?.into_iter().filter(|id| index.counts(id)) {
            self.stop_if_asked()?;
            if !self.repository.is_index_of(id, |domain| domain != DomainId::SHARED)? {
                continue;
            }
            // One that can't be read has its finding.
            let Ok(object) = self.repository.read_index(id) else { continue };
            let mut wrong = Vec::new();
            for pack in &object.packs {
                let Some(len) = read.get(&pack.id) else { continue };
                let footer = self.repository.read_footer(pack.id, *len);
                wrong.extend(footer.ok().map(|footer| (pack.id, claimed_only(pack, &footer))));
            }
            wrong.retain(|(_, chunks)| !chunks.is_empty());
            let Some((first, _)) = wrong.first() else { continue };
            let text = format!(
                "a write-only client says of {} packs what is not in them, of {} for one: its key may be in other hands",
                wrong.len(),
                ObjectName::Pack(*first)
            );
            let finding = self.find(ObjectName::Index(id).to_string(), text, false);
            for (pack, chunks) in wrong {
                chunks.iter().for_each(|chunk| losses.add(chunk, pack, finding));
            }
        }
        Ok(())
    }

    /// A chunk is lost if no pack is left that it can be had from.
    pub(super) fn judge_losses(&mut self, index: &Index, losses: Losses) -> Result<()> {
        for (half, lacking) in losses.0 {
            let lack: HashSet<PackId> = lacking.iter().map(|(pack, _)| *pack).collect();
            let mut is_elsewhere = false;
            for place in index.copies(&of_half(half))? {
                let pack = index.segment(place.segment)?.pack();
                is_elsewhere |= !lack.contains(&pack) && !self.damage.packs.contains_key(&pack);
            }
            if is_elsewhere {
                // Whoever needs it reads it there.
                continue;
            }
            for (_, finding) in lacking {
                self.damage.chunks.insert(half, finding);
                self.report.findings[finding].damage = true;
            }
        }
        Ok(())
    }
}

/// Chunks that a listing says are in a pack, and the pack does not.
fn claimed_only(claim: &PackRow, footer: &Footer) -> BTreeSet<ChunkId> {
    let chunks = |row: &crate::model::SegmentRow| row.chunks.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    let held: HashSet<ChunkId> = footer.segments.iter().flat_map(chunks).collect();
    claim.segments.iter().flat_map(chunks).filter(|id| !held.contains(id)).collect()
}
