//! SIGKILL at random moments while snapshots, prunes, forgetting and repairs run.

use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::place::{PRUNE, Place, SOURCES, end, signal, snapshot_line};
use crate::binary::split;

/// What was tried.
#[derive(Debug, Default, Clone, Copy)]
pub struct Killed {
    /// Processes that were killed before they had ended.
    pub kills: u64,
    /// Processes that were to be killed and had ended before.
    pub too_late: u64,
    /// Restores that were compared.
    pub restores: u64,
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Snapshot,
    Prune,
    ForgetAndPrune,
    Repair,
    /// A snapshot and a prune at the same time.
    Both,
}

const VICTIMS: [Victim; 6] =
    [Victim::Snapshot, Victim::Prune, Victim::ForgetAndPrune, Victim::Both, Victim::Repair, Victim::Both];

/// Kills so many processes.
///
/// # Panics
/// If something does not hold after one of them; the message has the seed.
pub fn kill_many(seed: u64, count: u64) -> Killed {
    let mut place = Place::new(seed);
    place.confuse_clocks();
    let mut killed = Killed::default();
    // How long commands take, by what was seen: moments are drawn from that.
    let mut usual = [Duration::from_millis(60); VICTIMS.len()];
    let mut round = 0;
    while killed.kills < count {
        round += 1;
        assert!(round < 20 * count + 100, "kills come too late");
        let which = place.random.below(VICTIMS.len() as u64) as usize;
        let number = place.random.below(SOURCES as u64) as usize;
        place.change(number);
        let copy = place.freeze(number);
        let is_harmed = VICTIMS[which] == Victim::Repair;
        let (children, begun) = (begin(&mut place, VICTIMS[which], number), Instant::now());
        let moment = Duration::from_nanos(place.random.below(usual[which].as_nanos() as u64 * 5 / 4));
        std::thread::sleep(moment);
        let (kills, too_late) = kill(children);
        killed.kills += kills;
        killed.too_late += too_late;
        if kills == 0 {
            usual[which] = usual[which].min(begun.elapsed()).max(Duration::from_millis(2));
        } else {
            usual[which] = usual[which].mul_f64(1.02);
        }
        let source = place.source(number);
        if !place.take_in(&source, &copy) {
            let _ = std::fs::remove_dir_all(&copy);
        }
        if is_harmed {
            place.assert_restores();
            for line in ["repair index -q", "repair packs -q", "repair snapshots -q"] {
                place.scratch.run(line).ok();
            }
        }
        place.assert_whole();
        killed.restores += place.saved.len() as u64;
        place.assert_works();
    }
    place.assert_whole();
    killed
}

fn begin(place: &mut Place, victim: Victim, number: usize) -> Vec<Child> {
    let line = snapshot_line(&place.source(number));
    match victim {
        Victim::Snapshot => vec![place.start(line)],
        Victim::Prune => vec![place.start(split(PRUNE))],
        Victim::ForgetAndPrune => {
            let id = place.give_up(0);
            let words = ["forget", &id, "--prune", "--grace", "0", "--max-unused", "0", "--json"];
            vec![place.start(words)]
        }
        Victim::Repair => {
            place.harm_index();
            vec![place.start(["repair", "index", "-q"])]
        }
        Victim::Both => vec![place.start(line), place.start(split(PRUNE))],
    }
}

/// How many were killed, and how many had ended.
fn kill(children: Vec<Child>) -> (u64, u64) {
    children.iter().for_each(|child| signal(child, Signal::KILL));
    let runs: Vec<_> = children.into_iter().map(end).collect();
    let killed = runs.iter().filter(|run| run.code() == 137).count();
    runs.iter().filter(|run| run.code() != 137).for_each(|run| {
        run.civil();
    });
    (killed as u64, (runs.len() - killed) as u64)
}
