//! The plan, which is a pure function.

use super::plan::{Bounds, MaxUnused, Noticed, PruneProposal, plan};
use crate::clock::Timestamp;
use crate::id::{PackId, SessionId, SnapshotId};
use crate::model::ChunkKind;
use crate::repository::PackCount;

const MIB: u64 = 1 << 20;

fn pack(number: u8, sealed: u64, live: u64) -> PackCount {
    let id = PackId::new([number; 32]);
    PackCount { id, len: sealed + 1000, sealed, live, kind: ChunkKind::Data, domain: crate::id::DomainId::SHARED }
}

fn bounds(max_unused: MaxUnused, max_repack: Option<u64>) -> Bounds {
    Bounds { max_unused, max_repack, pack_size: 16 * MIB }
}

fn planned(packs: &[PackCount], bounds: &Bounds) -> PruneProposal {
    plan(packs.to_vec(), Vec::new(), Vec::new(), bounds)
}

fn numbers(packs: &[PackId]) -> Vec<u8> {
    packs.iter().map(|id| id.as_bytes()[0]).collect()
}

#[test]
fn what_nothing_needs_goes_and_the_rest_stays() {
    let packs = [pack(3, 16 * MIB, 0), pack(1, 16 * MIB, 16 * MIB), pack(2, 16 * MIB, 0)];
    let orphans = vec![(PackId::new([9; 32]), 7), (PackId::new([8; 32]), 5)];
    let snapshots = vec![SnapshotId::new([5; 32]), SnapshotId::new([4; 32])];
    let proposal = plan(packs.to_vec(), orphans, snapshots, &bounds(MaxUnused::Percent(5.0), None));
    assert_eq!(numbers(&proposal.dead), [2, 3]);
    assert_eq!(numbers(&proposal.orphans), [8, 9]);
    assert_eq!(numbers(&proposal.condemned()), [2, 3, 8, 9]);
    assert!(proposal.snapshots.is_sorted() && proposal.repack.is_empty());
    assert_eq!((proposal.dead_bytes, proposal.orphan_bytes), (2 * (16 * MIB + 1000), 12));
    assert_eq!(proposal.freed_bytes(), proposal.dead_bytes + 12);
    assert!(!proposal.is_empty() && planned(&packs[1..2], &bounds(MaxUnused::Bytes(0), None)).is_empty());
}

#[test]
fn packs_are_copied_from_the_smallest_share_on_until_little_enough_is_unused() {
    // 100 MiB in ten packs; so many tenths of each are needed.
    let packs: Vec<PackCount> = (1..=10).map(|n| pack(n, 10 * MIB, u64::from(n) * MIB)).collect();
    let used: u64 = packs.iter().map(|pack| pack.live).sum();
    for (limit, allowed) in [
        (MaxUnused::Percent(0.0), 0),
        (MaxUnused::Percent(5.0), used * 5 / 95),
        (MaxUnused::Percent(20.0), used / 4),
        (MaxUnused::Bytes(10 * MIB), 10 * MIB),
        (MaxUnused::Percent(100.0), u64::MAX),
        (MaxUnused::Unlimited, u64::MAX),
    ] {
        let proposal = planned(&packs, &bounds(limit, None));
        let copied = numbers(&proposal.repack);
        assert_eq!(copied, (1..=copied.len() as u8).collect::<Vec<_>>(), "{limit:?}: those with the least");
        let unused = |of: &[PackCount]| of.iter().map(|pack| pack.sealed - pack.live).sum::<u64>();
        let (count, left) = (copied.len(), unused(&packs[copied.len()..]));
        assert_eq!(proposal.unused_bytes, left);
        assert!(left <= allowed, "{limit:?}: {left} of {allowed}");
        // And not one more than it takes.
        assert!(count == 0 || unused(&packs[count - 1..]) > allowed, "{limit:?}");
        assert_eq!(proposal.repack_bytes, packs[..count].iter().map(|pack| pack.live).sum::<u64>());
    }
}

#[test]
fn no_more_is_copied_than_was_said() {
    let packs: Vec<PackCount> = (1..=10).map(|n| pack(n, 10 * MIB, u64::from(n) * MIB)).collect();
    for limit in [0, MIB, 5 * MIB, 40 * MIB] {
        let proposal = planned(&packs, &bounds(MaxUnused::Bytes(0), Some(limit)));
        assert!(proposal.repack_bytes <= limit, "{limit}");
        assert_eq!(proposal.repack.is_empty(), limit == 0);
    }
}

#[test]
fn small_packs_are_put_together_when_they_are_many_or_make_a_whole_one() {
    let small = |count: u8, len: u64| (0..count).map(|n| pack(n, len, len)).collect::<Vec<_>>();
    let copied = |packs: &[PackCount]| planned(packs, &bounds(MaxUnused::Percent(5.0), None)).repack.len();
    assert_eq!(copied(&small(15, 100_000)), 0);
    assert_eq!(copied(&small(16, 100_000)), 16);
    assert_eq!(copied(&small(6, 3 * MIB)), 6, "18 MiB make a pack");
    assert_eq!(copied(&small(5, 3 * MIB)), 0);
    assert_eq!(copied(&small(30, 4 * MIB)), 0, "not that small");
    // Trees are counted by themselves.
    let mut mixed = small(16, 100_000);
    mixed.iter_mut().step_by(2).for_each(|pack| pack.kind = ChunkKind::Tree);
    assert_eq!(copied(&mixed), 0);
    let proposal = planned(&small(16, 100_000), &bounds(MaxUnused::Unlimited, None));
    assert!(proposal.repack.is_empty(), "nothing is to be copied");
}

#[test]
fn a_grace_time_runs_from_the_later_of_two_times() {
    let at = |seconds| Timestamp::new(seconds, 0);
    let (old, new) = (SnapshotId::new([1; 32]), SnapshotId::new([2; 32]));
    let session = SessionId::new([3; 16]);
    let first = Noticed::default().at([session], [old], at(1000));
    let second = first.at([session], [old, new], at(2000));
    assert!(first.is_news_to(&Noticed::default()) && second.is_news_to(&first));
    assert!(!second.at([session], [old], at(3000)).is_news_to(&second));
    let expired = |id, time, now| second.is_expired(&id, at(time), at(now), 500);
    // By a clock that is right, by one that is years behind, and by one that is ahead.
    assert!(!expired(old, 900, 1499) && expired(old, 900, 1500));
    assert!(!expired(old, -1_000_000, 1499) && expired(old, -1_000_000, 1500));
    assert!(!expired(old, 5000, 5499) && expired(old, 5000, 5500));
    assert!(!expired(new, 900, 2499) && expired(new, 900, 2500));
    // What nobody noticed yet has all of its time; a prune's own clock that goes back takes none.
    assert!(!expired(SnapshotId::new([9; 32]), 0, 1_000_000));
    assert!(!expired(old, 900, i64::MIN));
    // No grace is a person's word.
    assert!(second.is_expired(&new, at(i64::MAX), at(0), 0));
    assert!(!second.is_idle(&session, at(1999), 1000) && second.is_idle(&session, at(2000), 1000));
    assert!(!second.is_idle(&SessionId::new([4; 16]), at(9000), 1000));
    assert!(second.is_idle(&SessionId::new([4; 16]), at(9000), 0));
}
