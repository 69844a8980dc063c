//! Checking a repository: is everything there, does it fit together, and, if asked, is every byte right?
//!
//! Findings first, then what each costs: if something is damaged, the snapshots are walked once more to name the
//! paths that can't be restored. One damaged object never keeps others from being checked.

mod claims;
mod data;
mod heads;
mod objects;
mod trees;
mod verified;

use std::collections::{HashMap, HashSet};

pub use self::heads::Head;
use self::verified::Verified;
use crate::clock::{Clock, Timestamp};
use crate::error::{EngineError, ErrorKind, Result};
use crate::id::{PackId, SessionId, SnapshotId};
use crate::monitor::Monitor;
use crate::repository::{Index, Plans, Repository, TreesAhead};
use crate::storage::ObjectFamily;

/// How many paths a finding names; the rest is counted.
const COSTS_LISTED: usize = 100;

/// How much data to read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ReadData {
    /// None: objects are there and trees are readable.
    #[default]
    No,
    /// Every byte.
    All,
    /// One of `of` parts of all packs, those first that were read longest ago. Where nothing is remembered, it is the
    /// same part from run to run; `part` counts from 1.
    Part {
        /// Which one.
        part: u32,
        /// How many there are.
        of: u32,
    },
    /// So many percent of all packs, those first that were read longest ago.
    Percent(f64),
    /// At least so many bytes of packs, those first that were read longest ago.
    Bytes(u64),
}

/// What to check.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// How much data to read.
    pub read_data: ReadData,
    /// Heads that somebody wrote down: snapshots that must have come to be in this repository.
    pub heads: Vec<SnapshotId>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The object, by its name in the storage.
    pub object: String,
    /// What is wrong.
    pub message: String,
    /// Whether something is damaged; otherwise it is a leftover that does no harm.
    pub damage: bool,
    /// What can't be restored because of it: the first paths.
    pub costs: Vec<(SnapshotId, Vec<u8>)>,
    /// How many paths there are.
    pub cost_count: u64,
}

/// The result of a check.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// Everything that was found.
    pub findings: Vec<Finding>,
    /// The last snapshot of each host.
    pub heads: Vec<Head>,
    /// Snapshots that are listed.
    pub snapshots: u64,
    /// Snapshots that are forgotten and still there; they are checked like the others.
    pub forgotten: u64,
    /// Sessions that are open: running, or interrupted.
    pub open_sessions: u64,
    /// Prunes that have not finished.
    pub unfinished_prunes: u64,
    /// Packs that no index object that counts lists, as far as that is no damage.
    pub orphan_packs: u64,
    /// Packs in the storage.
    pub packs: u64,
    /// Chunks that the index lists.
    pub chunks: u64,
    /// Directories that were read.
    pub trees: u64,
    /// Packs that were read.
    pub packs_read: u64,
    /// Bytes of these packs.
    pub bytes_read: u64,
    /// Packs that were never read in full and found right, by all that this machine remembers.
    pub packs_unverified: u64,
    /// All others were found right since then.
    pub verified_since: Option<Timestamp>,
}

impl CheckReport {
    /// Whether anything is damaged.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.damage)
    }
}

/// What is known to be bad, each with the number of its finding.
#[derive(Default)]
struct Damage {
    packs: HashMap<PackId, usize>,
    chunks: HashMap<[u8; 16], usize>,
    /// Directories that can't be read, by what their error says.
    trees: HashMap<String, usize>,
    /// The finding about chunks that a repair found to be lost.
    lost: Option<usize>,
}

struct Check<'a> {
    repository: &'a Repository,
    monitor: &'a dyn Monitor,
    report: CheckReport,
    damage: Damage,
    plans: Plans,
    /// Findings about packs that no index object lists, of sessions that are committed.
    unlisted: Vec<(PackId, usize)>,
    /// Sessions without a register that can be read, of which something is needed.
    needed: HashSet<SessionId>,
}

impl Check<'_> {
    fn find(&mut self, object: impl Into<String>, message: impl Into<String>, damage: bool) -> usize {
        self.report.findings.push(Finding {
            object: object.into(),
            message: message.into(),
            damage,
            costs: Vec::new(),
            cost_count: 0,
        });
        self.report.findings.len() - 1
    }

    fn cost(&mut self, finding: usize, snapshot: SnapshotId, path: &[u8]) {
        let finding = &mut self.report.findings[finding];
        finding.cost_count += 1;
        if finding.costs.len() < COSTS_LISTED {
            finding.costs.push((snapshot, path.to_vec()));
        }
    }

    fn stop_if_asked(&self) -> Result<()> {
        if self.monitor.cancelled() { Err(EngineError::new(ErrorKind::Interrupted, "interrupted")) } else { Ok(()) }
    }
}

/// What a check lists once it has the index.
const NEXT_LISTS: [ObjectFamily; 2] = [ObjectFamily::Prune, ObjectFamily::Packs];
/// The same where it reads all that is listed.
const NEXT_WHOLE: [ObjectFamily; 5] =
    [ObjectFamily::Keys, ObjectFamily::Clients, ObjectFamily::Proofs, ObjectFamily::Snapshots, ObjectFamily::Forgotten];

/// How often a check looks at everything if prunes sweep meanwhile.
const LOOKS: usize = 3;

/// Checks a repository. The index is loaded inside, so that a damaged one is a finding.
///
/// What was read in full and found right is remembered in the cache directory, for the next check that reads a part.
/// Damage beside a prune that sweeps may be none: then all is looked at again.
///
/// # Errors
/// `Io`, `Interrupted`. Damage is a finding, not an error.
pub fn check(
    repository: &Repository,
    options: &CheckOptions,
    clock: &dyn Clock,
    monitor: &dyn Monitor,
) -> Result<CheckReport> {
    let _proof_of_what_is_there = repository.past_object_cache();
    for _ in 0..LOOKS - 1 {
        repository.storage().expect(&[ObjectFamily::Prune, ObjectFamily::Sessions], &[]);
        let before = Plans::load(repository)?;
        let report = check_once(repository, options, clock, monitor)?;
        let is_sweeping = before.open().iter().any(|plan| plan.verdict().is_some());
        if !report.is_damaged() || !is_sweeping && Plans::load(repository)?.objects() == before.objects() {
            return Ok(report);
        }
        monitor.note("a prune removes packs meanwhile: looking again at what seems damaged");
        repository.storage().forget_expected();
    }
    check_once(repository, options, clock, monitor)
}

fn check_once(
    repository: &Repository,
    options: &CheckOptions,
    clock: &dyn Clock,
    monitor: &dyn Monitor,
) -> Result<CheckReport> {
    let index = repository.load_index_anew_before(&NEXT_LISTS, &NEXT_WHOLE, monitor)?;
    let mut trees_ahead = TreesAhead::new(repository, &index)?;
    if let Some(ahead) = trees_ahead.as_mut().filter(|_| options.read_data == ReadData::No) {
        ahead.begin(repository.storage());
    }
    let (report, damage) = (CheckReport::default(), Damage::default());
    let plans = Plans::load(repository)?;
    let mut check = Check { repository, monitor, report, damage, plans, unlisted: Vec::new(), needed: HashSet::new() };
    check.report.chunks = index.chunk_count()?;
    check.expect_objects(&index);
    check.keys()?;
    check.clients()?;
    check.sessions(&index);
    check.prunes()?;
    check.proofs()?;
    let packs = check.packs(&index)?;
    let snapshots = check.snapshots(&index)?;
    check.compare_heads(&index, &options.heads);

    let resized: HashSet<PackId> = packs.iter().filter(|pack| pack.suspicious).map(|pack| pack.id).collect();
    let mut verified = Verified::load(repository, packs.iter().map(|pack| pack.id), clock.now());
    let chosen = data::choose(&packs, options.read_data, &resized, &verified)?;
    let read = check.read_packs(&index, &chosen, &mut verified, clock);
    verified.save(repository, monitor);
    read?;
    check.report.packs_unverified = packs.len() as u64 - verified.count();
    check.report.verified_since = verified.oldest();
    check.walk_trees(&index, &snapshots, trees_ahead)?;
    check.judge_unlisted(&index);
    if check.report.is_damaged() {
        check.attribute(&index, &snapshots)?;
    }
    Ok(check.report)
}

/// A pack in the storage.
struct ListedPack {
    id: PackId,
    len: u64,
    /// Its length is not what the index says: read it to see what is left.
    suspicious: bool,
}

fn short(id: &crate::id::ChunkId) -> [u8; 16] {
    id.as_bytes()[..16].try_into().expect("16 of 32 bytes")
}

/// The lengths that the index says that packs have. Several of one pack if a write-only client claims what is not so.
fn index_pack_lengths(index: &Index) -> Result<HashMap<PackId, Vec<u64>>> {
    let mut lengths: HashMap<PackId, Vec<u64>> = HashMap::new();
    index.packs(&mut |id, len| {
        let of_it = lengths.entry(id).or_default();
        if !of_it.contains(&len) {
            of_it.push(len);
        }
    })?;
    Ok(lengths)
}
