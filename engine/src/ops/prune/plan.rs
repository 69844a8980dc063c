//! What a prune means to do, from what it counted: pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::clock::Timestamp;
use crate::id::{DomainId, PackId, SessionId, SnapshotId};
use crate::model::ChunkKind;
use crate::repository::PackCount;

/// Packs that are so much smaller than the pack size are put together with others.
const SMALL_SHARE: u64 = 4;
/// So many small packs of a kind are put together, or fewer if they make a whole one.
const SMALL_PACKS: usize = 16;

/// How much of what stays may be unused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// Percent of the packs' length.
    Percent(f64),
    /// Bytes.
    Bytes(u64),
    /// Anything: copy nothing.
    Unlimited,
}

impl MaxUnused {
    /// The bytes that may be unused if `used` bytes are not.
    pub(super) fn bytes(self, used: u64) -> u64 {
        match self {
            // So much of used and unused together.
            Self::Percent(percent) if percent >= 100.0 => u64::MAX,
            Self::Percent(percent) => (used as f64 * percent / (100.0 - percent)) as u64,
            Self::Bytes(bytes) => bytes,
            Self::Unlimited => u64::MAX,
        }
    }
}

/// What decides which packs are copied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) max_unused: MaxUnused,
    /// Bytes that may be copied; `None`: as many as it takes.
    pub(super) max_repack: Option<u64>,
    /// How long a pack should be, in bytes.
    pub(super) pack_size: u64,
}

/// What a prune means to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneProposal {
    /// Packs whose needed chunks are copied, and that go then; ascending.
    pub repack: Vec<PackId>,
    /// Packs that hold nothing that is needed; ascending.
    pub dead: Vec<PackId>,
    /// Packs that no index object names which counts, ascending.
    pub orphans: Vec<PackId>,
    /// Snapshots that go, ascending.
    pub snapshots: Vec<SnapshotId>,
    /// Bytes of needed chunks that are copied, about.
    pub repack_bytes: u64,
    /// Bytes of the packs that they are copied from.
    pub repack_from_bytes: u64,
    /// Bytes of dead packs.
    pub dead_bytes: u64,
    /// Bytes of orphans.
    pub orphan_bytes: u64,
    /// Bytes in the packs that stay as they are.
    pub kept_bytes: u64,
    /// Bytes of these that nobody needs, about.
    pub unused_bytes: u64,
}

impl PruneProposal {
    /// The packs that it condemns; ascending.
    pub fn condemned(&self) -> Vec<PackId> {
        let mut packs = [self.repack.as_slice(), &self.dead, &self.orphans].concat();
        packs.sort_unstable();
        packs.dedup();
        packs
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.repack.is_empty() && self.dead.is_empty() && self.orphans.is_empty() && self.snapshots.is_empty()
    }

    /// Bytes that packs will take less, about.
    pub fn freed_bytes(&self) -> u64 {
        (self.dead_bytes + self.orphan_bytes + self.repack_from_bytes).saturating_sub(self.repack_bytes)
    }
}

/// Decides what becomes of each pack. `orphans` come with their lengths.
pub(super) fn plan(
    mut packs: Vec<PackCount>,
    mut orphans: Vec<(PackId, u64)>,
    mut snapshots: Vec<SnapshotId>,
    bounds: &Bounds,
) -> PruneProposal {
    packs.sort_unstable_by_key(|pack| pack.id);
    orphans.sort_unstable();
    snapshots.sort_unstable();
    let (dead, live): (Vec<PackCount>, Vec<PackCount>) = packs.into_iter().partition(|pack| pack.live == 0);
    let repack = choose(&live, bounds);
    let (copied, kept): (Vec<PackCount>, Vec<PackCount>) = live.into_iter().partition(|pack| repack.contains(&pack.id));
    let sum = |packs: &[PackCount], bytes: fn(&PackCount) -> u64| packs.iter().map(bytes).sum();
    PruneProposal {
        repack: copied.iter().map(|pack| pack.id).collect(),
        repack_bytes: sum(&copied, |pack| pack.live),
        repack_from_bytes: sum(&copied, |pack| pack.len),
        dead_bytes: sum(&dead, |pack| pack.len),
        dead: dead.into_iter().map(|pack| pack.id).collect(),
        orphan_bytes: orphans.iter().map(|(_, len)| len).sum(),
        orphans: orphans.into_iter().map(|(id, _)| id).collect(),
        snapshots,
        kept_bytes: sum(&kept, |pack| pack.len),
        unused_bytes: sum(&kept, unused),
    }
}

/// What nobody needs of a pack. Footer and padding are not counted: a copy has them, too.
fn unused(pack: &PackCount) -> u64 {
    pack.sealed.saturating_sub(pack.live)
}

/// The packs to copy: those of which least is needed, until what stays unused is little enough; then small ones.
fn choose(live: &[PackCount], bounds: &Bounds) -> HashSet<PackId> {
    let used: u64 = live.iter().map(|pack| pack.live).sum();
    let allowed = bounds.max_unused.bytes(used);
    let mut left: u64 = live.iter().map(unused).sum();
    let mut budget = bounds.max_repack.unwrap_or(u64::MAX);
    let mut chosen = HashSet::new();
    let mut take = |pack: &PackCount, chosen: &mut HashSet<PackId>| {
        let fits = pack.live <= budget;
        if fits {
            budget -= pack.live;
            chosen.insert(pack.id);
        }
        fits
    };
    let mut by_share: Vec<&PackCount> = live.iter().filter(|pack| unused(pack) > 0).collect();
    // Least share first: most is gained for what is copied. Products instead of quotients: exact.
    by_share.sort_by(|a, b| {
        let key = |x: &PackCount, y: &PackCount| u128::from(x.live) * u128::from(y.sealed);
        key(a, b).cmp(&key(b, a)).then(a.id.cmp(&b.id))
    });
    for (at, pack) in by_share.iter().enumerate() {
        if left <= allowed {
            break;
        }
        // Where one more is enough, it is the one of which least is copied.
        let is_enough = |pack: &PackCount| left - unused(pack) <= allowed;
        let rest = by_share[at..].iter().filter(|other| is_enough(pack) && is_enough(other));
        let pack = rest.min_by_key(|other| other.live).unwrap_or(pack);
        if take(pack, &mut chosen) {
            left -= unused(pack);
        }
    }
    if bounds.max_unused != MaxUnused::Unlimited {
        let domains: BTreeSet<DomainId> = live.iter().map(|pack| pack.domain).collect();
        let kinds = [ChunkKind::Data, ChunkKind::Tree];
        for (domain, kind) in domains.iter().flat_map(|domain| kinds.map(|kind| (*domain, kind))) {
            let is_like = |pack: &PackCount| pack.kind == kind && pack.domain == domain;
            let is_small = |pack: &&PackCount| is_like(pack) && pack.len < bounds.pack_size / SMALL_SHARE;
            let small: Vec<&PackCount> = live.iter().filter(is_small).filter(|p| !chosen.contains(&p.id)).collect();
            let together: u64 = small.iter().map(|pack| pack.live).sum();
            if small.len() >= SMALL_PACKS || (small.len() > 1 && together >= bounds.pack_size) {
                for pack in small {
                    take(pack, &mut chosen);
                }
            }
        }
    }
    chosen
}

/// When a prune first saw what waits for its time: open sessions, and records of snapshots that are still there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Noticed {
    pub(super) sessions: BTreeMap<SessionId, Timestamp>,
    pub(super) records: BTreeMap<SnapshotId, Timestamp>,
}

impl Noticed {
    /// What is there at `now`, if this was noticed before; what is gone is not remembered.
    pub(super) fn at(
        &self,
        sessions: impl IntoIterator<Item = SessionId>,
        records: impl IntoIterator<Item = SnapshotId>,
        now: Timestamp,
    ) -> Self {
        let session = |id| (id, self.sessions.get(&id).copied().unwrap_or(now));
        let record = |id| (id, self.records.get(&id).copied().unwrap_or(now));
        Self {
            sessions: sessions.into_iter().map(session).collect(),
            records: records.into_iter().map(record).collect(),
        }
    }

    /// Whether it knows something that `before` did not.
    pub(super) fn is_news_to(&self, before: &Self) -> bool {
        self.sessions.keys().any(|id| !before.sessions.contains_key(id))
            || self.records.keys().any(|id| !before.records.contains_key(id))
    }

    /// Whether a record of `time` is older than `grace` seconds at `now`: by its own time, and by when it was noticed.
    pub(super) fn is_expired(&self, snapshot: &SnapshotId, time: Timestamp, now: Timestamp, grace: i64) -> bool {
        let noticed = self.records.get(snapshot).copied().unwrap_or(now);
        is_past(time.max(noticed), now, grace)
    }

    /// Whether a session was noticed `seconds` before `now` or earlier.
    pub(super) fn is_idle(&self, session: &SessionId, now: Timestamp, seconds: i64) -> bool {
        is_past(self.sessions.get(session).copied().unwrap_or(now), now, seconds)
    }
}

/// Whether `seconds` have gone by since `start`. None have to: that is a person's word, and needs no clock.
fn is_past(start: Timestamp, now: Timestamp, seconds: i64) -> bool {
    seconds <= 0 || now.seconds.checked_sub(start.seconds).is_some_and(|passed| passed >= seconds)
}
