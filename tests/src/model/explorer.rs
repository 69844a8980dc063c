//! Breadth first over all states that a model can reach, so that the first violation has a shortest trace.
//!
//! States are remembered by a hash of 128 bits: among 10⁸ states, two of the same hash have a probability of 10⁻²³.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::state::{Model, State, Steps};

/// A rule that does not hold, and how one gets there.
#[derive(Debug, Clone)]
pub struct Violation {
    /// What does not hold.
    pub what: String,
    /// The steps from the beginning, as few as possible.
    pub trace: Vec<String>,
}

/// What came of exploring a model.
#[derive(Debug, Clone)]
pub struct Explored {
    /// Distinct states.
    pub states: usize,
    /// Steps that were tried.
    pub steps: usize,
    /// Steps to the farthest state.
    pub depth: usize,
    /// Whether every state was reached; otherwise the bound was.
    pub complete: bool,
    /// The first that was found.
    pub violation: Option<Violation>,
}

/// Of how many states one is tried for whether everybody may stop in it: each takes some dozens of steps.
const STUCK_EVERY: u32 = 7;

/// Whether it is also tried what comes of it if everybody stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    /// In a share of the states: a prune alone must be able to tidy up.
    Tried,
    /// No: violations come with all their steps.
    NotTried,
}

/// Tries every order of steps, up to so many states.
pub fn explore(model: &Model, max_states: usize, stopping: Stopping) -> Explored {
    let first = model.first();
    let mut seen = HashSet::<u128, BuildHasherDefault<Already>>::default();
    seen.insert(fingerprint(&first));
    // Where each state came from: the number of the state before, and which of its steps.
    let mut origins: Vec<(u32, u8)> = vec![(0, 0)];
    let mut explored = Explored { states: 1, steps: 0, depth: 0, complete: true, violation: None };
    let mut queue = VecDeque::from([(0u32, 0usize, first)]);
    let mut steps = Steps::default();
    while let Some((number, depth, state)) = queue.pop_front() {
        explored.depth = depth;
        let tried = stopping == Stopping::Tried && number.is_multiple_of(STUCK_EVERY);
        let stuck = || if tried { model.stuck(&state) } else { None };
        if let Some(what) = model.violation(&state).or_else(stuck) {
            explored.violation = Some(Violation { what, trace: trace(model, &origins, number) });
            return explored;
        }
        steps.clear();
        model.steps(&state, &mut steps);
        explored.steps += steps.states.len();
        for (ordinal, next) in steps.states.drain(..).enumerate() {
            if !seen.insert(fingerprint(&next)) {
                continue;
            }
            if explored.states == max_states {
                explored.complete = false;
                continue;
            }
            queue.push_back((origins.len() as u32, depth + 1, next));
            origins.push((number, ordinal as u8));
            explored.states += 1;
        }
    }
    explored
}

/// Takes steps by chance until nobody can go on, so many times: exploring in order does not get far in a large model.
/// How many steps it took, and the first violation, whose trace is not a shortest one.
pub fn wander(model: &Model, seed: u64, walks: usize) -> (usize, Option<Violation>) {
    let (mut taken, mut random) = (0, seed);
    let mut steps = Steps::default();
    for _ in 0..walks {
        let mut state = model.first();
        let mut path = Vec::new();
        // Delayed retries could go on for ever.
        while path.len() < 1000 {
            if let Some(what) = model.violation(&state).or_else(|| model.stuck(&state)) {
                return (taken, Some(Violation { what, trace: replay(model, path) }));
            }
            steps.clear();
            model.steps(&state, &mut steps);
            if steps.states.is_empty() {
                break;
            }
            random = mix(random.wrapping_add(0x9e37_79b9_7f4a_7c15));
            let ordinal = (random >> 32) as usize % steps.states.len();
            path.push(ordinal);
            state = steps.states.swap_remove(ordinal);
            taken += 1;
        }
    }
    (taken, None)
}

/// The names of the steps that lead to a state: they are made only here.
fn trace(model: &Model, origins: &[(u32, u8)], number: u32) -> Vec<String> {
    let mut ordinals = Vec::new();
    let mut at = number;
    while at != 0 {
        let (before, ordinal) = origins[at as usize];
        ordinals.push(usize::from(ordinal));
        at = before;
    }
    ordinals.reverse();
    replay(model, ordinals)
}

fn replay(model: &Model, ordinals: Vec<usize>) -> Vec<String> {
    let mut state = model.first();
    let mut names = Vec::new();
    for ordinal in ordinals {
        let mut steps = Steps::named();
        model.steps(&state, &mut steps);
        names.push(steps.names.swap_remove(ordinal));
        state = steps.states.swap_remove(ordinal);
    }
    names
}

fn fingerprint(state: &State) -> u128 {
    let mut hasher = Fold { low: 0x243f_6a88_85a3_08d3, high: 0x1319_8a2e_0370_7344 };
    state.hash(&mut hasher);
    u128::from(mix(hasher.low)) << 64 | u128::from(mix(hasher.high))
}

/// Two independent multiply-and-fold hashes at once. States are no enemies; only their number matters.
struct Fold {
    low: u64,
    high: u64,
}

fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 31).wrapping_mul(0x7fb5_d329_728e_a185);
    let word = (word ^ word >> 27).wrapping_mul(0x81da_def4_bc2d_d44d);
    word ^ word >> 33
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.low = mix(self.low ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        self.high = mix(self.high.rotate_left(23) ^ word.wrapping_mul(0xc2b2_ae3d_27d4_eb4f));
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn finish(&self) -> u64 {
        self.low
    }
}

/// Takes a fingerprint as it is.
#[derive(Default)]
struct Already(u64);

impl Hasher for Already {
    fn write(&mut self, _: &[u8]) {
        unreachable!("fingerprints are u128");
    }

    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = fingerprint as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
