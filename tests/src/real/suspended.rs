//! SIGSTOP at random moments, prunes that revoke what is suspended, and SIGCONT.

use std::time::Duration;

use rustix::process::Signal;

use super::place::{PRUNE, Place, end, signal, snapshot_line, start};
use crate::binary::split;

/// What was tried.
#[derive(Debug, Default, Clone, Copy)]
pub struct Suspended {
    /// Processes that were suspended before they had ended.
    pub suspended: u64,
    /// Writers among them that were revoked meanwhile, and said so.
    pub revoked: u64,
}

/// Suspends so many processes: writers, and prunes in turn.
///
/// # Panics
/// If something does not hold after one of them; the message has the seed.
pub fn suspend_many(seed: u64, count: u64) -> Suspended {
    let mut place = Place::new(seed);
    let mut found = Suspended::default();
    let mut usual = Duration::from_millis(40);
    for round in 0.. {
        if found.suspended >= count {
            break;
        }
        assert!(round < 20 * count + 100, "SIGSTOP comes too late");
        place.change(0);
        let copy = place.freeze(0);
        let is_writer = round % 3 > 0;
        let line = if is_writer { snapshot_line(&place.source(0)) } else { split(PRUNE) };
        // On a machine of its own, with its own cache: on this one, others would wait for the lock of the cache.
        let mut command = place.command();
        command.args(line).env("REPO_CACHE_DIR", place.scratch.file("other-cache"));
        let mut child = start(&mut command);
        std::thread::sleep(Duration::from_nanos(place.random.below(usual.as_nanos() as u64)));
        signal(&child, Signal::STOP);
        let was_too_late = child.try_wait().expect("a state").is_some();
        // Something has to go, or no session is in the way.
        let id = place.give_up(0);
        place.scratch.run_words(["forget", &id]).ok();
        // It is there, and does not move: longer than a session may be open, for those who say so.
        let pruned = place.scratch.run("prune --grace 0 --max-unused 0 --revoke-after 0 --json");
        assert!([0, 11].contains(&pruned.civil().code()), "{pruned}");
        place.assert_whole();
        place.change(1);
        place.save(1);
        signal(&child, Signal::CONT);
        let run = end(child);
        let source = place.source(0);
        match run.civil().code() {
            4 => found.revoked += 1,
            0 | 3 | 11 => {}
            _ => panic!("no end that a suspended command may have\n{run}"),
        }
        let is_listed = place.take_in(&source, &copy);
        assert!(!is_writer || is_listed == (run.code() == 0), "listed: {is_listed}\n{run}");
        if !is_listed {
            let _ = std::fs::remove_dir_all(&copy);
        }
        place.assert_whole();
        place.assert_works();
        if was_too_late {
            usual = usual.mul_f64(0.9).max(Duration::from_millis(2));
        } else {
            found.suspended += 1;
            usual = usual.mul_f64(1.03);
        }
    }
    place.assert_whole();
    found
}
