//! Index objects that are lost or damaged are made again, from the footers of the packs that nothing lists any more.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{Owners, RepairOptions, add_records, begin_beside_sweep, stop_if_asked};
use crate::clock::Clock;
use crate::compress::Decompressor;
use crate::crypto::SessionKeyRecord;
use crate::error::{ErrorKind, Result};
use crate::format::{Footer, IndexObject};
use crate::id::{DomainId, IndexId, PackId};
use crate::model::{Content, PackRow};
use crate::monitor::{Monitor, Problem};
use crate::ops::browse::{Descend, Visit, content_key, walk};
use crate::ops::pack::read_pack;
use crate::repository::{
    ChunkReader, ContentReader, Index, Plans, Repository, Session, SessionTable, read_snapshot, read_snapshots,
};
use crate::storage::ObjectName;

/// Chunks in one new index object, at most, and those of one more pack: about 4 MB.
const INDEX_CHUNKS: usize = 100_000;
/// Packs in one new index object, at most: each may bring a session key record.
const INDEX_PACKS: usize = 10_000;

/// What a repair of the index found, and did unless it was a dry run.
#[derive(Debug, Clone, Default)]
pub struct IndexRepair {
    /// Packs that no index object listed, ascending; they are listed now.
    pub packs: Vec<PackId>,
    /// Index objects that can't be read; new ones take their place.
    pub replaced: Vec<IndexId>,
    /// What can't be read and is left as it is.
    pub problems: Vec<Problem>,
}

impl IndexRepair {
    /// Whether there is nothing to repair.
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty() && self.replaced.is_empty()
    }
}

/// Lists packs again that no index object lists, that a snapshot needs, and whose sessions are committed, or would be if
/// their registers were not lost; those of revoked sessions, which another one may have taken over, only for what is in
/// none of these. Damaged index objects are replaced if every pack that is not listed could be read: only
/// then is all known that was in them.
///
/// # Errors
/// `Unsupported` (also beside a prune), `SessionRevoked`, `Interrupted`, `Io`.
pub fn repair_index(
    repository: &Repository,
    options: &RepairOptions,
    clock: &dyn Clock,
    monitor: &dyn Monitor,
) -> Result<IndexRepair> {
    let _proof_of_what_is_there = repository.past_object_cache();
    let (_, plan) = examine(repository, &Plans::load(repository)?, monitor)?;
    if options.dry_run || plan.is_empty() {
        return Ok(plan);
    }
    let session = begin_beside_sweep(repository, DomainId::SHARED, options, clock)?;
    // Once more, now that a prune that begins would see this session.
    let done = examine(repository, session.plans(), monitor).and_then(|(lengths, plan)| {
        write(repository, &session, &plan, &lengths, monitor)?;
        Ok(plan)
    });
    match done {
        Ok(plan) => {
            session.commit(repository, None)?;
            Ok(plan)
        }
        Err(error) => {
            // Each index object that it put is true by itself.
            session.give_up(repository);
            Err(error)
        }
    }
}

/// What there is to do, and the lengths of the packs. What `plans` sweep is left alone: nothing needs it.
fn examine(repository: &Repository, plans: &Plans, monitor: &dyn Monitor) -> Result<(Vec<u64>, IndexRepair)> {
    let index = repository.load_index_anew(monitor)?;
    let owners = Owners::new(repository, &index)?;
    let mut plan = IndexRepair::default();
    let (mut entitled, mut left_over) = (Vec::new(), Vec::new());
    let mut decompressor = Decompressor::default();
    let mut all_known = true;
    let mut unlisted = repository.list_packs()?;
    let listed_count = unlisted.len();
    let mut failure = None;
    // A write-only client may list any pack, and say what it likes of it.
    unlisted.retain(|id, _| match index.vouches_for(id) {
        Ok(is_listed) => !is_listed,
        Err(error) => {
            failure.get_or_insert(error);
            true
        }
    });
    failure.map_or(Ok(()), Err)?;
    monitor.stage("reading footers", Some(unlisted.len() as u64), None);
    for (id, len) in unlisted {
        stop_if_asked(monitor)?;
        if plans.open().iter().any(|plan| plan.verdict().is_some() && plan.condemns(&id)) {
            continue;
        }
        match judge(repository, &index, &owners, &mut decompressor, id, len)? {
            Judged::List => entitled.push((id, len)),
            Judged::LeftOver => left_over.push((id, len)),
            Judged::Leave => {}
            Judged::Unreadable(message) => {
                all_known = false;
                if index.has_pack(&id)? {
                    // It is listed, if only by a client: what is wrong with it is for a repair of packs.
                    continue;
                }
                let path = ObjectName::Pack(id).to_string().into_bytes();
                plan.problems.push(Problem { path, message });
            }
        }
        monitor.advance(1, 0);
    }
    for (id, error) in index.damaged() {
        // Without any packs it is the storage that is not as it should be.
        if error.kind() == ErrorKind::Damaged && all_known && listed_count > 0 {
            plan.replaced.push(*id);
        } else {
            let path = ObjectName::Index(*id).to_string().into_bytes();
            let why = "left as it is: what was in it is not known in full";
            plan.problems.push(Problem { path, message: format!("{error}; {why}") });
        }
    }
    plan.replaced.sort();
    let needed = needed(repository, index, entitled, left_over, monitor)?;
    let lengths = needed.iter().map(|(_, len)| *len).collect();
    plan.packs = needed.into_iter().map(|(id, _)| id).collect();
    Ok((lengths, plan))
}

/// The packs that a snapshot needs something from, ascending, with their lengths: of those whose sessions are `entitled` to
/// it, and if these are not enough, of what revoked ones left as well.
fn needed(
    repository: &Repository,
    index: Index,
    mut packs: Vec<(PackId, u64)>,
    left_over: Vec<(PackId, u64)>,
    monitor: &dyn Monitor,
) -> Result<Vec<(PackId, u64)>> {
    if packs.is_empty() && left_over.is_empty() {
        return Ok(packs);
    }
    let roots = roots(repository, &index)?;
    let is_all = look_for(repository, index, &roots, &mut packs, monitor)?;
    if !is_all && !left_over.is_empty() {
        packs.extend(left_over);
        // What the other one found by footers is part of it.
        let index = repository.load_index_anew(monitor)?;
        look_for(repository, index, &roots, &mut packs, monitor)?;
    }
    packs.sort_unstable();
    Ok(packs)
}

/// The roots of all snapshots that exist, or will when their registers are made up for; each once.
fn roots(repository: &Repository, index: &Index) -> Result<Vec<Content>> {
    let set = read_snapshots(repository, index.sessions())?;
    let mut roots: Vec<Content> = set.existing().map(|(_, snapshot)| snapshot.root.clone()).collect();
    let later = SessionTable::load(repository)?;
    for (id, session) in &set.uncommitted {
        // Its register is lost: a repair of snapshots brings it back.
        if index.sessions().is_lost(*session) && later.is_lost(*session) {
            roots.push(read_snapshot(repository, *id)?.1.root);
        }
    }
    let mut seen = HashSet::new();
    roots.retain(|root| seen.insert(content_key(root)));
    Ok(roots)
}

/// Leaves out packs that no snapshot needs anything from. A prune may have swept such a pack, and its removal may yet come
/// to pass; one that a snapshot needs, none has. Whether nothing was missing, with these.
fn look_for(
    repository: &Repository,
    mut index: Index,
    roots: &[Content],
    packs: &mut Vec<(PackId, u64)>,
    monitor: &dyn Monitor,
) -> Result<bool> {
    // A chunk may be in what a dead session left as well, which is not to be listed.
    index.recoverable = Some(packs.iter().map(|(id, _)| *id).collect());
    let chunks = ChunkReader::new(repository, &index);
    // Whether it is a directory, too: a file of the same content leads nowhere.
    let mut seen: HashSet<_> = roots.iter().map(|root| (true, content_key(root))).collect();
    let mut is_all = true;
    monitor.stage("checking trees", Some(roots.len() as u64), None);
    for root in roots {
        walk(&chunks, root, b"", &mut |_, visit| {
            stop_if_asked(monitor)?;
            let node = match visit {
                Visit::Node(node) => node,
                Visit::Left => return Ok(Descend::Yes),
                // What the storage does not say now may be there: it must not seem that nothing is needed of it.
                Visit::Damaged(error) if error.is_unanswered() => {
                    return Err(error.clone());
                }
                Visit::Damaged(_) => {
                    is_all = false;
                    return Ok(Descend::Yes);
                }
            };
            let mut is_new = |content: &Content| seen.insert((node.is_directory(), content_key(content)));
            let Some(content) = node.content.as_ref().filter(|content| is_new(content)) else {
                return Ok(Descend::No);
            };
            if !node.is_directory() {
                is_all &= look_up(&chunks, content)?;
            }
            Ok(Descend::Yes)
        })?;
        monitor.advance(1, 0);
    }
    let found = index.found_by_footers();
    packs.retain(|(id, _)| found.contains(id));
    Ok(is_all)
}

/// Looks for every chunk of a file, so that the index learns where it finds them. Whether it finds all.
fn look_up(chunks: &ChunkReader<'_>, content: &Content) -> Result<bool> {
    let mut reader = ContentReader::new(chunks, content);
    let mut is_all = true;
    loop {
        let found = match reader.read_next() {
            Ok(None) => return Ok(is_all),
            Ok(Some(reference)) => chunks.index().find_or_recover(chunks.repository(), &reference.id).map(drop),
            Err(error) => Err(error),
        };
        match found {
            Err(error) if error.is_unanswered() => return Err(error),
            found => is_all &= found.is_ok(),
        }
    }
}

enum Judged {
    /// List it, if a snapshot needs it.
    List,
    /// List it, if a snapshot needs it and has it from nowhere else.
    LeftOver,
    /// An orphan, or damaged and dealt with.
    Leave,
    /// Nobody knows what is in it.
    Unreadable(String),
}

/// What to do with a pack that no index object lists.
fn judge(
    repository: &Repository,
    index: &Index,
    owners: &Owners<'_>,
    decompressor: &mut Decompressor,
    id: PackId,
    len: u64,
) -> Result<Judged> {
    let was_taken_out = index.taken_out().contains(&id);
    let footer = match repository.read_footer(id, len) {
        Ok(footer) => footer,
        Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
        Err(_) if was_taken_out => return Ok(Judged::Leave),
        Err(error) => return Ok(Judged::Unreadable(error.to_string())),
    };
    // A client lists it: that is enough, unless it leaves something out.
    if index.has_pack(&id)? && !needs(index, &footer)? {
        return Ok(Judged::Leave);
    }
    if !owners.are_entitled(&footer) {
        return Ok(if owners.have_ended(&footer) && !was_taken_out { Judged::LeftOver } else { Judged::Leave });
    }
    // A repair found damage in it. If that came from a disk or a memory that has recovered, it counts again.
    if was_taken_out && read_pack(repository, index, decompressor, id, len)?.problem.is_some() {
        return Ok(Judged::Leave);
    }
    if was_taken_out && !needs(index, &footer)? {
        return Ok(Judged::Leave);
    }
    Ok(Judged::List)
}

/// Whether a pack has a chunk that the index does not list.
fn needs(index: &Index, footer: &Footer) -> Result<bool> {
    for (id, _) in footer.segments.iter().flat_map(|segment| &segment.chunks) {
        if !index.contains(id)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Puts the index objects, and names what they replace in the last ones: in each domain that one of these is of, since a
/// write-only client reads no other.
fn write(
    repository: &Repository,
    session: &Session,
    plan: &IndexRepair,
    lengths: &[u64],
    monitor: &dyn Monitor,
) -> Result<()> {
    monitor.stage("writing index", Some(plan.packs.len() as u64), None);
    // Each lists what is of one domain.
    let mut pending: BTreeMap<DomainId, IndexObject> = BTreeMap::new();
    let (mut chunks, mut packs) = (0, 0);
    let put_all = |pending: &mut BTreeMap<DomainId, IndexObject>| {
        let mut objects = std::mem::take(pending).into_values();
        objects.try_for_each(|object| repository.put_index(&object, false).map(drop))
    };
    for (id, len) in plan.packs.iter().zip(lengths) {
        stop_if_asked(monitor)?;
        let footer = repository.read_footer(*id, *len)?;
        let domain = footer.sessions.first().map_or(DomainId::SHARED, SessionKeyRecord::domain);
        let object = pending.entry(domain).or_insert_with(|| IndexObject::empty(session.id(), domain));
        if footer.sessions.iter().any(|record| record.is_other_of(&object.sessions)) {
            let full = std::mem::replace(object, IndexObject::empty(session.id(), domain));
            repository.put_index(&full, false)?;
        }
        (chunks, packs) = (chunks + footer.segments.iter().map(|row| row.chunks.len()).sum::<usize>(), packs + 1);
        add_records(&mut object.sessions, &footer.sessions);
        object.packs.push(PackRow { id: *id, len: *len, segments: footer.segments });
        if chunks >= INDEX_CHUNKS || packs >= INDEX_PACKS {
            put_all(&mut pending)?;
            (chunks, packs) = (0, 0);
        }
        monitor.advance(1, 0);
    }
    if !plan.replaced.is_empty() {
        let mut domains = BTreeSet::new();
        for id in &plan.replaced {
            domains.insert(repository.claimed_domain(*id)?);
        }
        // First all packs: what is put here counts, also if the rest fails.
        put_all(&mut pending)?;
        for domain in domains {
            let empty = IndexObject::empty(session.id(), domain);
            pending.insert(domain, IndexObject { replaces: plan.replaced.clone(), ..empty });
        }
    }
    put_all(&mut pending)
}
