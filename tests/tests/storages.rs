//! Every storage: what it promises, all that one does with a repository, and two writers beside a prune.
//!
//! Garage and s3s-fs take part where `REPO_TEST_GARAGE` and `REPO_TEST_S3S` name them, as `./dev storages` does; ssh and SFTP
//! need root.

use std::sync::Arc;
use std::time::Duration;

use engine::storage::{MemoryStorage, Storage, check_conformance};
use repo_tests::announced_seed;
use repo_tests::servers::every::{KINDS, Kind, Place};
use repo_tests::storages::life::{conformance, live};
use repo_tests::storages::lost::{CLIENTS, Rough, run_many};
use repo_tests::storages::together::write_and_prune;

/// Snapshots of each writer beside a prune.
const SNAPSHOTS: u64 = 2;
/// Runs of clients by seed on a storage that loses requests.
const RUNS: u64 = 3;

fn all(kind: Kind) {
    let Some(place) = Place::start(kind) else { return };
    conformance(&place);
    live(&place);
    write_and_prune(&place, SNAPSHOTS);
    let ways = (0..CLIENTS).map(|_| place.open("conformance", false).expect("a storage").0).collect();
    lose(&Rough::new(ways, place.open_behind("conformance").expect("a storage")), RUNS);
}

/// Runs by seed; what does not hold is told with its record.
fn lose(rough: &Arc<Rough>, runs: u64) {
    if let Err(violation) = run_many(rough, announced_seed() % 1_000_000, runs, Duration::MAX) {
        panic!("{}\n{}", violation.what, violation.record);
    }
}

#[test]
fn memory() {
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    check_conformance(&*memory);
    lose(&Rough::new(vec![Arc::clone(&memory); CLIENTS], memory), 10 * RUNS);
}

macro_rules! storages {
    ($($test:ident: $kind:expr,)*) => {
        $(#[test]
        fn $test() {
            all($kind);
        })*

        #[test]
        fn no_storage_is_left_out() {
            assert_eq!(KINDS, [$($kind),*]);
        }
    };
}

storages! {
    local: Kind::Local,
    s3_moto: Kind::Moto,
    s3_that_ignores_conditional_writes: Kind::MotoIgnoring,
    s3_garage: Kind::Garage,
    s3_s3s_fs: Kind::S3sFs,
    http: Kind::Http,
    ssh_stand_in: Kind::SshStandIn,
    ssh: Kind::Ssh,
    sftp: Kind::Sftp,
}
