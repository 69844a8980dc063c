//! Commands whose storage fails in their middle: of each storage a share, drawn from the seed. `./dev storages` tries all.

use repo_tests::announced_seed;
use repo_tests::servers::every::Kind;
use repo_tests::storages::faults::{try_all, try_some};

#[expect(clippy::print_stdout, reason = "the test harness shows it with a failure only")]
fn share(kind: Kind) {
    // Two of one server, in the short form, are one too many.
    if kind == Kind::MotoIgnoring && !repo_tests::is_slow() {
        return;
    }
    let seed = announced_seed();
    let Some(tried) = (if repo_tests::is_slow() { try_all(kind, seed, 1) } else { try_some(kind, seed) }) else {
        return;
    };
    for said in &tried.said {
        println!("{said}");
    }
    println!("{}: {} failed, {} succeeded, {} too late", kind.name(), tried.failed, tried.succeeded, tried.too_late);
}

macro_rules! storages {
    ($($test:ident: $kind:expr,)*) => {
        $(#[test]
        fn $test() {
            share($kind);
        })*
    };
}

storages! {
    local: Kind::Local,
    s3_moto: Kind::Moto,
    s3_that_ignores_conditional_writes: Kind::MotoIgnoring,
    s3_garage: Kind::Garage,
    s3_s3s_fs: Kind::S3sFs,
    http: Kind::Http,
    ssh: Kind::Ssh,
    sftp: Kind::Sftp,
}
