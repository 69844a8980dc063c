//! The engine's verbs on a storage that fails.

use repo_tests::sim::campaign::Campaign;
use repo_tests::sim::crash::{situations, try_situation};

#[test]
fn try_one() {
    let campaign = Campaign::new().expect("a scratch directory");
    let only = std::env::var("ONLY").unwrap_or_default();
    for situation in situations().iter().filter(|situation| situation.name.contains(&only)) {
        let begun = std::time::Instant::now();
        match try_situation(&campaign, situation, None, 1) {
            Ok(tried) => println!("{}: {tried:?} {:?}", situation.name, begun.elapsed()),
            Err(violation) => println!("{}\n{}", violation.what, violation.record),
        }
    }
}

#[test]
fn try_seeds() {
    let campaign = Campaign::new().expect("a scratch directory");
    let seeds = repo_tests::sim::seeds::Seeds::new(&campaign).expect("beginnings");
    let begun = std::time::Instant::now();
    let mut requests = 0;
    let mut differing = 0;
    let from: u64 = std::env::var("REPO_TEST_SEED").map_or(0, |text| text.parse().expect("a number"));
    let count: u64 = std::env::var("SEEDS").map_or(300, |text| text.parse().expect("a number"));
    let mut bad = 0;
    for seed in from..from + count {
        match seeds.run(seed, None) {
            Ok(ran) => {
                requests += ran.requests;
                if count > 1 && seed % 4 == 0 {
                    differing += u64::from(seeds.run(seed, None).map_or(0, |again| again.shape) != ran.shape);
                }
            }
            Err(violation) => {
                bad += 1;
                println!("{}\n{}", violation.what, if count == 1 { violation.record } else { String::new() });
            }
        }
    }
    println!("{requests} requests, {bad} bad, {differing} differ, {:?}", begun.elapsed());
}
