//! Every bit of a small repository, flipped one at a time.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use engine::monitor::Silent;
use engine::ops::{self, CheckOptions, Finding, ReadData, SnapshotFilter, list_snapshots};
use engine::repository::Repository;
use engine::storage::ObjectName;

use super::campaign::{Campaign, in_parallel, pools};
use super::client::{Ledger, Machine, Verb, drop_cache, restored};
use super::crash::Violation;
use super::disk::Disk;
use super::material;
use super::oracle;
use super::world::World;

/// A repository with an object of every kind that stays: two snapshots, one of them forgotten, and what a prune leaves.
fn repository(campaign: &Campaign) -> engine::Result<Disk> {
    let world = World::new(1, Disk::default());
    let cache = campaign.new_cache();
    let ledger: Arc<Mutex<Ledger>> = Arc::default();
    for verb in [
        Verb::Init,
        Verb::Stream(1),
        Verb::Stream(2),
        Verb::Forget(0),
        Verb::Prune { at_once: true, revoke: true },
        Verb::Stream(3),
        Verb::Forget(0),
    ] {
        world.pass(60);
        campaign.machine(&world, 0, cache.clone(), &ledger).run(&verb)?;
    }
    drop_cache(&cache);
    Ok(world.disk())
}

/// Flips each `stride`-th bit and lets `check` find it. How many there were.
///
/// # Errors
/// The first bit that is not found, or that changes what a snapshot restores to.
pub fn flip_all(campaign: &Campaign, stride: usize) -> Result<u64, Violation> {
    let failed = |what: String| Violation { what, record: String::new() };
    let disk = repository(campaign).map_err(|error| failed(format!("flips: {error}")))?;
    // The reserve is random bytes that nobody reads.
    let read = disk.objects().iter().filter(|(name, _)| **name != ObjectName::PruneReserve);
    let objects: Vec<(ObjectName, usize)> = read.map(|(name, object)| (*name, object.bytes.len() * 8)).collect();
    let bits: usize = objects.iter().map(|(_, bits)| bits).sum();
    let flips = AtomicU64::new(0);
    in_parallel(bits.div_ceil(stride), |number| {
        let mut bit = number * stride;
        let mut name = objects[0].0;
        for (of, bits) in &objects {
            name = *of;
            if bit < *bits {
                break;
            }
            bit -= bits;
        }
        flips.fetch_add(1, Ordering::Relaxed);
        let cache = campaign.new_cache();
        let found = pools(1)[0].install(|| flip(campaign, disk.clone(), name, bit, &cache));
        drop_cache(&cache);
        found.map_err(|what| failed(format!("{name}, bit {bit}: {what}")))
    })?;
    Ok(flips.into_inner())
}

fn flip(campaign: &Campaign, mut disk: Disk, name: ObjectName, bit: usize, cache: &Path) -> oracle::Verdict {
    let mut bytes = disk.get(name).expect("it was listed").to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    disk.overwrite(name, bytes.into());
    let world = World::new(1, disk);
    let machine = campaign.machine(&world, 0, cache.to_owned(), &Arc::default());
    // Some damage is told at once.
    let Ok(repository) = machine.open() else { return Ok(()) };
    let report = ops::check(
        &repository,
        &CheckOptions { read_data: ReadData::All, ..CheckOptions::default() },
        &machine.clock(),
        &Silent,
    );
    // A register that nothing needs does no harm, but is told.
    let tells = |finding: &Finding| finding.damage || finding.object == name.to_string();
    if report.is_ok_and(|report| !report.findings.iter().any(tells)) {
        return Err("check does not find it".into());
    }
    restores_the_same(&repository, &machine)
}

/// Whatever restores has the right bytes.
fn restores_the_same(repository: &Repository, _machine: &Machine<'_>) -> oracle::Verdict {
    let Ok(index) = repository.load_index(&Silent) else { return Ok(()) };
    let Ok(listed) = list_snapshots(repository, &SnapshotFilter::default()) else { return Ok(()) };
    for (id, snapshot) in listed.snapshots {
        let Some(number) = material::number_of(&snapshot.tags) else { continue };
        let (paths, wanted) = oracle::contents(number);
        if restored(repository, &index, id, &paths).is_ok_and(|bytes| bytes != wanted) {
            return Err("a snapshot restores to other bytes".into());
        }
    }
    Ok(())
}
