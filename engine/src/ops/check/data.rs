//! Is every byte right? Packs are read whole, in parallel: name, footer, every segment, every chunk id.

use std::collections::HashSet;
use std::sync::Mutex;

use rayon::prelude::*;

use super::claims::Losses;
use super::verified::Verified;
use super::{Check, ListedPack, ReadData};
use crate::clock::Clock;
use crate::compress::Decompressor;
use crate::crypto::{hash_parts, random_bytes};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::Footer;
use crate::id::PackId;
use crate::ops::pack::{PackState, read_pack};
use crate::repository::Index;
use crate::storage::ObjectName;

/// The packs to read: what was asked for, and those whose length is wrong.
pub(super) fn choose(
    packs: &[ListedPack],
    read_data: ReadData,
    suspicious: &HashSet<PackId>,
    verified: &Verified,
) -> Result<Vec<(PackId, u64)>> {
    // Those that were verified longest ago first, or never; of these, the ones that are `preferred`.
    let by_age = |preferred: &dyn Fn(&PackId) -> bool| {
        let salt = random_bytes::<16>();
        let mut order: Vec<&ListedPack> = packs.iter().collect();
        order.sort_by_cached_key(|pack| {
            let random = hash_parts(&[&salt, pack.id.as_bytes()]);
            (verified.time(&pack.id), !preferred(&pack.id), random)
        });
        order
    };
    let chosen: Vec<&ListedPack> = match read_data {
        ReadData::No => Vec::new(),
        ReadData::All => packs.iter().collect(),
        ReadData::Part { part, of } => {
            if part == 0 || part > of {
                return Err(EngineError::new(ErrorKind::Invalid, format!("there is no part {part} of {of}")));
            }
            let number = |id: &PackId| u32::from_le_bytes(id.as_bytes()[..4].try_into().expect("four bytes"));
            let is_in_part = |id: &PackId| number(id) % of == part - 1;
            let mut count = packs.len().div_ceil(of as usize);
            if verified.count() == 0 {
                // Nothing is remembered, perhaps never is: after all parts every pack must have been read.
                count = count.max(packs.iter().filter(|pack| is_in_part(&pack.id)).count());
            }
            by_age(&is_in_part).into_iter().take(count).collect()
        }
        ReadData::Percent(percent) => {
            if !(0.0..=100.0).contains(&percent) {
                return Err(EngineError::new(ErrorKind::Invalid, format!("{percent} % is not between 0 and 100")));
            }
            let count = (packs.len() as f64 * percent / 100.0).ceil() as usize;
            by_age(&|_| false).into_iter().take(count).collect()
        }
        ReadData::Bytes(bytes) => {
            let mut left = bytes;
            let take_while = |pack: &&ListedPack| {
                let more = left > 0;
                left = left.saturating_sub(pack.len);
                more
            };
            by_age(&|_| false).into_iter().take_while(take_while).collect()
        }
    };
    let mut chosen: Vec<(PackId, u64)> = chosen.into_iter().map(|pack| (pack.id, pack.len)).collect();
    let also = packs.iter().filter(|pack| suspicious.contains(&pack.id)).map(|pack| (pack.id, pack.len));
    chosen.extend(also);
    chosen.sort();
    chosen.dedup();
    Ok(chosen)
}

impl Check<'_> {
    /// Reads packs and remembers what is lost.
    pub(super) fn read_packs(
        &mut self,
        index: &Index,
        packs: &[(PackId, u64)],
        verified: &mut Verified,
        clock: &dyn Clock,
    ) -> Result<()> {
        if packs.is_empty() {
            return Ok(());
        }
        let total = packs.iter().map(|(_, len)| len).sum();
        self.monitor.stage("reading data", Some(packs.len() as u64), Some(total));
        let (repository, monitor) = (self.repository, self.monitor);
        let seen = Mutex::new(Vec::new());
        let results: Result<Vec<PackState>> = packs
            .par_iter()
            .map_init(Decompressor::default, |decompressor, (id, len)| {
                if monitor.cancelled() {
                    return Err(EngineError::new(ErrorKind::Interrupted, "interrupted"));
                }
                let mut result = read_pack(repository, index, decompressor, *id, *len)?;
                // A pack that no index object lists has a finding of its own; a prune may have copied some of it.
                if let Some(footer) = result.footer.take().filter(|_| result.problem.is_none())
                    && index.has_pack(id)?
                {
                    result.problem = unlisted(index, &footer)?;
                }
                seen.lock().expect("no holder of this lock panics").push((*id, result.problem.is_none(), clock.now()));
                monitor.advance(1, *len);
                Ok(result)
            })
            .filter(|result| result.as_ref().map_or(true, |result| result.len > 0))
            .collect();
        // Also of a check that was interrupted.
        let seen = seen.into_inner().expect("as above");
        seen.into_iter().for_each(|(id, is_right, time)| verified.set(id, is_right, time));
        let mut losses = Losses::default();
        results?.into_iter().for_each(|result| self.add_state(result, &mut losses));
        self.compare_claims(index, packs, &mut losses)?;
        self.judge_losses(index, losses)
    }

    /// Adds what reading a pack showed to the report.
    fn add_state(&mut self, result: PackState, losses: &mut Losses) {
        self.report.packs_read += 1;
        self.report.bytes_read += result.len;
        let known = self.damage.packs.remove(&result.id);
        let Some(problem) = result.problem else {
            if let Some(finding) = known {
                self.report.findings[finding]
                    .message
                    .push_str("; now it can be read: a repair of the index lists it again");
            }
            return;
        };
        // The finding about its length, if there is one, says less.
        let finding = match known {
            Some(finding) => {
                let text = format!("{}; {problem}", self.report.findings[finding].message);
                self.report.findings[finding].message = text;
                finding
            }
            None => self.find(ObjectName::Pack(result.id).to_string(), problem, true),
        };
        if result.unreadable {
            self.damage.packs.insert(result.id, finding);
        }
        result.lost.iter().for_each(|id| losses.add(id, result.id, finding));
    }
}

/// A pack that is whole may still hold chunks that the index does not list.
fn unlisted(index: &Index, footer: &Footer) -> Result<Option<String>> {
    if !footer.sessions.iter().all(|record| index.sessions().is_committed(record.session())) {
        return Ok(None);
    }
    let mut missing = 0u64;
    for (id, _) in footer.segments.iter().flat_map(|segment| &segment.chunks) {
        missing += u64::from(!index.contains(id)?);
    }
    Ok((missing > 0).then(|| format!("{missing} of its chunks are in no index object")))
}
