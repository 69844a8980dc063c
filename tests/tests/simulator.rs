//! The engine's verbs on a storage that fails.

use repo_tests::sim::campaign::Campaign;
use repo_tests::sim::crash::{situations, try_situation};

#[test]
fn try_one() {
    let campaign = Campaign::new().expect("a scratch directory");
    for situation in situations() {
        let begun = std::time::Instant::now();
        match try_situation(&campaign, &situation, None, 1) {
            Ok(tried) => println!("{}: {tried:?} {:?}", situation.name, begun.elapsed()),
            Err(violation) => println!("{}\n{}", violation.what, violation.record),
        }
    }
}
