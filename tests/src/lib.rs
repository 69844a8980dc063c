//! What the end-to-end tests share: running the binary, scratch repositories, trees to save, and ways to look at
//! the results that share nothing with the program under test.
//!
//! The binary is `REPO_BIN`, or `repo` beside the directory of the test executables (`target/PROFILE/repo`).
//! `REPO_TEST_SEED` replays a run; every failure that depends on chance prints its seed.

pub mod binary;
pub mod compare;
pub mod damage;
pub mod model;
pub mod python;
pub mod real;
pub mod report;
pub mod scratch;
pub mod servers;
pub mod sim;
pub mod stack;
pub mod storages;
pub mod tree;

pub use binary::{NOBODY, Run, run_command};
pub use scratch::Scratch;

/// Whether the tests run as root: owners, devices and `trusted.*` attributes need that.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether the long form of a test was asked for.
pub fn is_slow() -> bool {
    std::env::var_os("REPO_TEST_SLOW").is_some_and(|value| value == "1")
}

/// The seed of this run: `REPO_TEST_SEED`, or the clock.
pub fn seed() -> u64 {
    if let Ok(text) = std::env::var("REPO_TEST_SEED") {
        return text.parse().expect("REPO_TEST_SEED is a number");
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock past 1970");
    now.as_nanos() as u64
}

/// The seed of this run, printed, so that it is in the output of a test that fails.
#[expect(clippy::print_stdout, reason = "the test harness shows it with a failure only")]
pub fn announced_seed() -> u64 {
    let seed = seed();
    println!("REPO_TEST_SEED={seed}");
    seed
}

/// Whether a program is installed.
pub fn has_program(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(name).is_file()))
}
