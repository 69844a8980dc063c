//! Faults that are planted in the storage's way, one for each rule that the simulator is there to watch: if it does not
//! find them, it proves nothing.

use super::campaign::Campaign;
use super::crash::{situations, try_situation};
use super::seeds::Seeds;
use super::world::Bug;

/// All of them.
pub const PLANTED: [Bug; 7] = [
    Bug::PacksNotSynced,
    Bug::RegisterBeforeSnapshot,
    Bug::RegisterBeforeIndex,
    Bug::PacksRemovedBeforeIndex,
    Bug::RegisterOverwritten,
    Bug::ListsWithoutPlans,
    Bug::ListsWithoutIntents,
];

/// Runs by seed that are tried.
const SEEDS: u64 = 20_000;

/// What the simulator says of a planted fault.
///
/// # Errors
/// If it finds nothing.
pub fn is_found(campaign: &Campaign, bug: Bug) -> Result<String, String> {
    let situations_of = match bug {
        Bug::PacksNotSynced | Bug::RegisterBeforeSnapshot | Bug::RegisterBeforeIndex => "next snapshot of a stream",
        Bug::PacksRemovedBeforeIndex => "prune of a forgotten snapshot",
        _ => return by_seeds(campaign, bug),
    };
    for situation in situations().iter().filter(|situation| situation.name == situations_of) {
        if let Err(violation) = try_situation(campaign, situation, Some(bug), 1) {
            return Ok(violation.what);
        }
    }
    Err(format!("{bug:?} is planted, and no crash point finds it"))
}

fn by_seeds(campaign: &Campaign, bug: Bug) -> Result<String, String> {
    let seeds = Seeds::new(campaign).map_err(|error| error.to_string())?;
    (0..SEEDS)
        .find_map(|seed| seeds.run(seed, Some(bug)).err())
        .map(|violation| violation.what)
        .ok_or_else(|| format!("{bug:?} is planted, and none of {SEEDS} seeds finds it"))
}
