//! Packs that are damaged or gone: what can be read of them goes into new packs, and the index learns what is lost.
//!
//! The damaged packs stay, and readers still look into them for what is nowhere else; only nobody builds on them any
//! more. So a chunk that a source still has is stored again by its next snapshot, and a pack that was called damaged by
//! a disk or a memory with a bad day costs nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rayon::prelude::*;

use super::{Owners, RepairOptions, begin, stop_if_asked};
use crate::clock::Clock;
use crate::compress::Decompressor;
use crate::crypto::SessionKeyRecord;
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{IndexObject, MAX_LOST};
use crate::id::{ChunkId, DomainId, IndexId, PackId};
use crate::limits;
use crate::model::{ChunkKind, SegmentRow};
use crate::monitor::{Monitor, Problem};
use crate::ops::pack::{PackState, open_segment, read_pack, right_chunks};
use crate::repository::{Index, Repository, SegmentBuilder, SegmentReader, SessionWriter};
use crate::storage::ObjectName;

/// A damaged or missing pack, and what became of its chunks.
#[derive(Debug, Clone)]
pub struct PackRepair {
    /// Which one.
    pub id: PackId,
    /// What is wrong with it.
    pub message: String,
    /// Chunks that can be read and are in no other pack: they go into new ones.
    pub chunks_saved: u64,
    /// Chunks that other packs have as well.
    pub chunks_elsewhere: u64,
    /// Chunks that no pack has any more.
    pub chunks_lost: u64,
}

/// What a repair of packs found, and did unless it was a dry run.
#[derive(Debug, Clone, Default)]
pub struct PacksRepair {
    /// Those with something to do, ascending.
    pub packs: Vec<PackRepair>,
    /// Damaged packs that an earlier repair dealt with.
    pub settled: u64,
    /// Packs that were read, and their bytes.
    pub packs_read: u64,
    /// As it says.
    pub bytes_read: u64,
    /// What the storage did not give, and what is left as it is.
    pub problems: Vec<Problem>,
}

impl PacksRepair {
    /// What was done in one domain.
    fn add(&mut self, done: Self) {
        self.packs.extend(done.packs);
        self.packs.sort_by_key(|pack| pack.id);
        self.settled += done.settled;
    }
}

/// Salvages what can be read of damaged packs. `names`: beginnings of ids, or names of objects; without any, every pack is
/// read. A pack that the storage fails to read is left alone unless it is named: then what can't be read is lost.
///
/// # Errors
/// `NotFound`, `Ambiguous`; `Refused` if more than half of all packs are gone and none is named, since that is a storage
/// that is not all there; `Unsupported` (also beside a prune), `SessionRevoked`, `Interrupted`, `Io`.
pub fn repair_packs(
    repository: &Repository,
    names: &[String],
    options: &RepairOptions,
    clock: &dyn Clock,
    monitor: &dyn Monitor,
) -> Result<PacksRepair> {
    let _proof_of_what_is_there = repository.past_object_cache();
    let wanted = if names.is_empty() { None } else { Some(resolve(repository, names, monitor)?) };
    let found = examine(repository, wanted.as_ref(), wanted.is_some(), monitor)?;
    let (mut report, _) = salvage(repository, &found, None, monitor)?;
    if options.dry_run || report.packs.is_empty() {
        return Ok(report);
    }
    let to_do: HashSet<PackId> = std::mem::take(&mut report.packs).into_iter().map(|pack| pack.id).collect();
    let mut by_domain: BTreeMap<DomainId, HashSet<PackId>> = BTreeMap::new();
    for pack in found.damaged.iter().filter(|pack| to_do.contains(&pack.id)) {
        let nobody = pack.domains.is_empty().then_some(DomainId::SHARED);
        for domain in pack.domains.iter().copied().chain(nobody) {
            by_domain.entry(domain).or_default().insert(pack.id);
        }
    }
    // A session stores in one domain.
    for (domain, packs) in by_domain {
        let done = repair_domain(repository, domain, &packs, wanted.is_some(), (options, clock, monitor))?;
        report.add(done);
    }
    Ok(report)
}

/// Repairs packs of one domain.
fn repair_domain(
    repository: &Repository,
    domain: DomainId,
    packs: &HashSet<PackId>,
    is_final: bool,
    (options, clock, monitor): (&RepairOptions, &dyn Clock, &dyn Monitor),
) -> Result<PacksRepair> {
    let session = begin(repository, domain, options, clock)?;
    // Once more, now that a prune that begins would see this session; other packs need not be read again.
    let found = match examine(repository, Some(packs), is_final, monitor) {
        Ok(found) => found,
        Err(error) => {
            session.give_up(repository);
            return Err(error);
        }
    };
    let found = found.of_domain(domain);
    // What is to be stored is looked at here: that a client lists a chunk does not mean that it is there.
    let writer = SessionWriter::for_copies(repository, &found.index, session)?;
    match store(&writer, &found, monitor) {
        Ok(done) => {
            writer.commit(None)?;
            Ok(done)
        }
        Err(error) => {
            // Copies of chunks do no harm, and index objects come in an order in which each is true by itself.
            if !writer.has_failed() {
                let _ = writer.commit(None);
            }
            Err(error)
        }
    }
}

/// The packs that names mean.
fn resolve(repository: &Repository, names: &[String], monitor: &dyn Monitor) -> Result<HashSet<PackId>> {
    let index = repository.load_index_anew(monitor)?;
    let mut known: HashSet<PackId> = repository.list_packs()?.into_keys().collect();
    index.packs(&mut |id, _| {
        known.insert(id);
    })?;
    let mut wanted = HashSet::new();
    for name in names {
        let prefix = name.rsplit('/').next().unwrap_or_default();
        let mut fitting = known.iter().filter(|id| prefix.len() >= 4 && id.to_hex().starts_with(prefix));
        match (fitting.next(), fitting.next()) {
            (Some(id), None) => drop(wanted.insert(*id)),
            (Some(_), Some(_)) => {
                return Err(EngineError::new(ErrorKind::Ambiguous, format!("pack {name}: several ids begin so")));
            }
            (None, _) => {
                return Err(EngineError::new(ErrorKind::NotFound, format!("pack {name} is neither there nor listed")));
            }
        }
    }
    Ok(wanted)
}

/// A pack that is not as it should be.
struct Damaged {
    id: PackId,
    /// Its length in bytes; `None` if it is gone.
    len: Option<u64>,
    message: String,
    /// Those in which it is listed, and the one that its footer is of: several only if a write-only client lies.
    domains: BTreeSet<DomainId>,
    /// What was in it by the index, and whose key seals it; by its own footer, too, where that says something else.
    rows: Vec<(SegmentRow, SessionKeyRecord)>,
}

impl Damaged {
    fn new(id: PackId, len: Option<u64>, message: String) -> Self {
        Self { id, len, message, domains: BTreeSet::new(), rows: Vec::new() }
    }

    /// Adds rows that are not there yet.
    fn add(&mut self, rows: Vec<SegmentRow>, records: &[SessionKeyRecord]) {
        for row in rows {
            let record = records.iter().find(|record| record.session() == row.session);
            if let Some(row) = record.map(|record| (row, record.clone())).filter(|row| !self.rows.contains(row)) {
                self.rows.push(row);
            }
        }
    }
}

/// All damaged packs, and what the index looks like without them.
struct Examined {
    damaged: Vec<Damaged>,
    /// Index objects that list one of them, and their domains.
    listing: Vec<(IndexId, DomainId)>,
    index: Index,
    /// What cannot be read is lost: a person named it.
    is_final: bool,
    packs_read: u64,
    bytes_read: u64,
    problems: Vec<Problem>,
}

impl Examined {
    /// Only what is listed in one domain, in which a session stores.
    fn of_domain(mut self, domain: DomainId) -> Self {
        for pack in &mut self.damaged {
            pack.rows.retain(|(_, record)| record.domain() == domain);
        }
        self.listing.retain(|(_, of)| *of == domain);
        self
    }
}

fn examine(
    repository: &Repository,
    wanted: Option<&HashSet<PackId>>,
    is_final: bool,
    monitor: &dyn Monitor,
) -> Result<Examined> {
    let index = repository.load_index_anew(monitor)?;
    let there = repository.list_packs()?;
    let mut missing = Vec::new();
    let mut listed = HashSet::new();
    index.packs(&mut |id, _| {
        listed.insert(id);
        if !there.contains_key(&id) {
            missing.push(id);
        }
    })?;
    if wanted.is_none() {
        require_half(&index, &listed, &there)?;
    }
    missing.retain(|id| wanted.is_none_or(|wanted| wanted.contains(id)));
    let to_read: Vec<(PackId, u64)> =
        there.into_iter().filter(|(id, _)| wanted.is_none_or(|wanted| wanted.contains(id))).collect();
    let (packs_read, bytes_read) = (to_read.len() as u64, to_read.iter().map(|(_, len)| len).sum());

    let owners = Owners::new(repository, &index)?;
    let (mut damaged, mut problems) = (BTreeMap::new(), Vec::new());
    for state in read_all(repository, &index, &to_read, monitor)? {
        let is_listed = index.has_pack(&state.id)?;
        let is_owned = state.footer.as_ref().is_some_and(|footer| owners.are_entitled(footer));
        let message = state.problem.unwrap_or_default();
        if state.unread && !is_final {
            let path = ObjectName::Pack(state.id).to_string().into_bytes();
            problems.push(Problem { path, message });
        } else if is_listed || is_owned || is_final {
            let mut pack = Damaged::new(state.id, Some(state.len), message);
            if let Some(footer) = state.footer {
                pack.domains.extend(footer.sessions.first().map(SessionKeyRecord::domain));
                pack.add(footer.segments, &footer.sessions);
            }
            damaged.insert(state.id, pack);
        }
    }
    for id in missing {
        let message = "is missing".to_owned();
        damaged.insert(id, Damaged::new(id, None, message));
    }
    let listing = add_rows(repository, &index, &mut damaged, monitor)?;
    let index = repository.load_index_without(damaged.keys().copied().collect(), monitor)?;
    let damaged = damaged.into_values().collect();
    Ok(Examined { damaged, listing, index, is_final, packs_read, bytes_read, problems })
}

/// Refuses a storage that is not all there. What write-only clients say of packs does not count, unless nobody else says anything: it
/// costs them nothing to name packs that never were.
fn require_half(index: &Index, listed: &HashSet<PackId>, there: &BTreeMap<PackId, u64>) -> Result<()> {
    let mut vouched = HashSet::new();
    for id in listed {
        if index.vouches_for(id)? {
            vouched.insert(*id);
        }
    }
    let counted = if vouched.is_empty() { listed } else { &vouched };
    let gone = counted.iter().filter(|id| !there.contains_key(id)).count();
    if gone * 2 > counted.len() {
        let text = format!("{gone} of {} packs that the index lists are not there", counted.len());
        return Err(EngineError::new(ErrorKind::Refused, text));
    }
    Ok(())
}

/// Reads packs and gives those that are not right.
fn read_all(
    repository: &Repository,
    index: &Index,
    packs: &[(PackId, u64)],
    monitor: &dyn Monitor,
) -> Result<Vec<PackState>> {
    monitor.stage("reading data", Some(packs.len() as u64), Some(packs.iter().map(|(_, len)| len).sum()));
    let read = |decompressor: &mut Decompressor, (id, len): &(PackId, u64)| {
        stop_if_asked(monitor)?;
        let state = read_pack(repository, index, decompressor, *id, *len)?;
        monitor.advance(1, *len);
        Ok(state.problem.is_some().then_some(state))
    };
    packs.par_iter().map_init(Decompressor::default, read).filter_map(Result::transpose).collect()
}

/// Adds what the index says is in damaged packs; which index objects those are.
fn add_rows(
    repository: &Repository,
    index: &Index,
    damaged: &mut BTreeMap<PackId, Damaged>,
    monitor: &dyn Monitor,
) -> Result<Vec<(IndexId, DomainId)>> {
    if damaged.is_empty() {
        return Ok(Vec::new());
    }
    let mut listing = Vec::new();
    for id in repository.list_indexes()? {
        stop_if_asked(monitor)?;
        let Some(object) = counting(repository, index, id)? else { continue };
        let mut lists_one = false;
        for row in object.packs {
            let Some(pack) = damaged.get_mut(&row.id) else { continue };
            lists_one = true;
            pack.domains.insert(object.domain);
            pack.add(row.segments, &object.sessions);
        }
        if lists_one {
            listing.push((id, object.domain));
        }
    }
    Ok(listing)
}

/// An index object, if it counts and can be read.
fn counting(repository: &Repository, index: &Index, id: IndexId) -> Result<Option<IndexObject>> {
    if index.replaced().contains(&id) {
        return Ok(None);
    }
    match repository.read_index(id) {
        Ok(object) => {
            let counts = repository.counts_of_its_client(&id, &object)
                && index.sessions().is_committed_by(object.session, object.signer);
            Ok(Some(object).filter(|_| counts))
        }
        Err(error) if error.kind() == ErrorKind::Io => Err(error),
        Err(_) => Ok(None),
    }
}

/// What is gone for good.
#[derive(Default)]
struct Losses {
    lost: Vec<ChunkId>,
    taken_out: Vec<PackId>,
}

/// The builders that salvaged chunks go to.
type Builders<'b, 'w, 'a> = [&'b mut SegmentBuilder<'w, 'a>; 2];

/// Looks at every chunk of every damaged pack, and stores those that are right and in no other pack.
fn salvage(
    repository: &Repository,
    found: &Examined,
    mut builders: Option<Builders<'_, '_, '_>>,
    monitor: &dyn Monitor,
) -> Result<(PacksRepair, Losses)> {
    let (packs_read, bytes_read) = (found.packs_read, found.bytes_read);
    let mut report = PacksRepair { packs_read, bytes_read, problems: found.problems.clone(), ..PacksRepair::default() };
    let (mut decompressor, mut reader) = (Decompressor::default(), SegmentReader::default());
    let mut saved: HashMap<ChunkId, PackId> = HashMap::new();
    let mut wrong: Vec<Vec<ChunkId>> = Vec::new();
    let mut elsewhere: Vec<u64> = Vec::new();
    monitor.stage("saving chunks", Some(found.damaged.len() as u64), None);
    for pack in &found.damaged {
        stop_if_asked(monitor)?;
        let (mut bad, mut known) = (Vec::new(), HashSet::new());
        for (row, record) in &pack.rows {
            let domain = repository.domain_keys(record.domain())?;
            let plain = read_row(repository, pack, (row, record), found.is_final, &mut decompressor)?;
            for (id, chunk) in right_chunks(&domain, row, plain.as_deref().unwrap_or_default()) {
                if is_elsewhere(repository, &found.index, id, &mut reader)? {
                    known.insert(*id);
                } else if let Some(chunk) = chunk {
                    saved.entry(*id).or_insert(pack.id);
                    if let Some(builders) = &mut builders {
                        builders[usize::from(row.kind == ChunkKind::Tree)].add(chunk)?;
                    }
                } else {
                    bad.push(*id);
                }
            }
        }
        wrong.push(bad);
        elsewhere.push(known.len() as u64);
        monitor.advance(1, 0);
    }
    let losses = judge(found, &saved, wrong, &elsewhere, &mut report)?;
    Ok((report, losses))
}

/// Whether another pack has a chunk. What is listed in the domain of a write-only client is looked at first.
fn is_elsewhere(repository: &Repository, index: &Index, id: &ChunkId, reader: &mut SegmentReader) -> Result<bool> {
    for place in index.copies(id)? {
        let segment = index.segment(place.segment)?;
        if segment.domain() == DomainId::SHARED {
            return Ok(true);
        }
        match reader.read(repository, &segment).and_then(|open| open.chunk(&place, id).map(drop)) {
            Ok(()) => return Ok(true),
            Err(error) if error.is_unanswered() => return Err(error),
            Err(_) => {}
        }
    }
    Ok(false)
}

/// What is lost for good, and for which packs there is anything to do.
fn judge(
    found: &Examined,
    saved: &HashMap<ChunkId, PackId>,
    wrong: Vec<Vec<ChunkId>>,
    elsewhere: &[u64],
    report: &mut PacksRepair,
) -> Result<Losses> {
    let listed = found.index.left_out();
    let mut losses = Losses::default();
    let mut seen = HashSet::new();
    for ((pack, mut lost), chunks_elsewhere) in found.damaged.iter().zip(wrong).zip(elsewhere) {
        lost.retain(|id| !saved.contains_key(id));
        lost.sort();
        lost.dedup();
        let chunks_saved = saved.values().filter(|id| **id == pack.id).count() as u64;
        let mut has_news = listed.contains(&pack.id) || chunks_saved > 0;
        for id in &lost {
            has_news |= !found.index.is_lost(id)?;
        }
        has_news |= pack.len.is_some() && !found.index.taken_out().contains(&pack.id);
        if !has_news {
            report.settled += 1;
            continue;
        }
        if pack.len.is_some() {
            losses.taken_out.push(pack.id);
        }
        let (message, chunks_lost) = (pack.message.clone(), lost.len() as u64);
        let chunks_elsewhere = *chunks_elsewhere;
        report.packs.push(PackRepair { id: pack.id, message, chunks_saved, chunks_elsewhere, chunks_lost });
        losses.lost.extend(lost.into_iter().filter(|id| seen.insert(*id)));
    }
    losses.lost.sort();
    Ok(losses)
}

/// The plaintext of a segment; `None` if it can't be had.
fn read_row(
    repository: &Repository,
    pack: &Damaged,
    (row, record): (&SegmentRow, &SessionKeyRecord),
    is_final: bool,
    decompressor: &mut Decompressor,
) -> Result<Option<Vec<u8>>> {
    let (start, len) = (u64::from(row.offset), u64::from(row.sealed_len));
    if pack.len.is_none_or(|all| start + len > all) {
        return Ok(None);
    }
    let max = u64::from(limits::SEGMENT_SEALED_BYTES);
    match repository.storage().read(ObjectName::Pack(pack.id), Some(start..start + len), max) {
        Ok(sealed) => Ok(open_segment(repository, record, row, sealed, decompressor)),
        Err(error) if error.kind() == ErrorKind::Io && !is_final => Err(error),
        Err(_) => Ok(None),
    }
}

/// Stores what can be read: first packs and the index objects that list them, then what is lost, then what takes the
/// place of index objects that list damaged packs.
fn store(writer: &SessionWriter<'_>, found: &Examined, monitor: &dyn Monitor) -> Result<PacksRepair> {
    let repository = writer.repository();
    let (report, losses) = writer.run(|| {
        let mut data = SegmentBuilder::new(writer, ChunkKind::Data);
        let mut trees = SegmentBuilder::new(writer, ChunkKind::Tree);
        let done = salvage(repository, found, Some([&mut data, &mut trees]), monitor)?;
        data.finish()?;
        trees.finish()?;
        Ok(done)
    })?;
    let repaired: HashSet<PackId> = report.packs.iter().map(|pack| pack.id).collect();
    let there: HashSet<IndexId> = repository.list_indexes()?.into_iter().collect();
    let mut rest = IndexObject::empty(writer.session().id(), writer.domain().domain());
    (rest.lost, rest.taken_out) = (losses.lost, losses.taken_out);
    let session = writer.session().id();
    let replacement = |id: &IndexId| -> Result<IndexObject> {
        stop_if_asked(monitor)?;
        let mut object = repository.read_index(*id)?;
        object.packs.retain(|pack| !repaired.contains(&pack.id));
        // What it replaces would count again as soon as a prune has removed it.
        object.replaces.retain(|old| there.contains(old));
        object.replaces.push(*id);
        Ok(IndexObject { session, ..object })
    };
    // Read twice, since each may have some MiB.
    let mut kept = Vec::new();
    for (id, _) in &found.listing {
        let mut object = replacement(id)?;
        rest.lost.append(&mut object.lost);
        rest.taken_out.append(&mut object.taken_out);
        if object.packs.is_empty() {
            rest.replaces.append(&mut object.replaces);
        } else {
            kept.push(id);
        }
    }
    for object in split(rest) {
        repository.put_index(&object, false)?;
    }
    for id in kept {
        let object = IndexObject { lost: Vec::new(), taken_out: Vec::new(), ..replacement(id)? };
        repository.put_index(&object, false)?;
    }
    Ok(report)
}

/// Index objects of which none is over a limit.
fn split(mut all: IndexObject) -> Vec<IndexObject> {
    // Together they are to stay below the length of an index object, too.
    const MOST: usize = MAX_LOST / 4;
    let mut objects = Vec::new();
    while !(all.lost.is_empty() && all.taken_out.is_empty() && all.replaces.is_empty()) {
        let (lost, taken_out) = (all.lost.len().min(MOST), all.taken_out.len().min(MOST));
        let replaces = all.replaces.len().min(MOST);
        objects.push(IndexObject {
            lost: all.lost.drain(..lost).collect(),
            taken_out: all.taken_out.drain(..taken_out).collect(),
            replaces: all.replaces.drain(..replaces).collect(),
            ..IndexObject::empty(all.session, all.domain)
        });
    }
    objects
}
