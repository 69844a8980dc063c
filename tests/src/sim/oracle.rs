//! What must hold whatever happened: promised snapshots restore to the byte, `check` finds no damage, and the verbs work.

use std::sync::Arc;

use engine::id::SnapshotId;
use engine::monitor::Silent;
use engine::ops::{self, CheckOptions, ReadData, SnapshotFilter, list_snapshots};
use engine::repository::{Index, Repository};
use engine::{ErrorKind, Result};

use super::client::{Machine, Repair, Verb, restored};
use super::material::{self, FIRST_TREE, Trees};

/// What does not hold.
pub type Verdict = std::result::Result<(), String>;

/// Material of large streams has numbers from here on.
pub const FIRST_LARGE: u64 = 2_000_000;

/// Paths and bytes of material.
pub fn contents(number: u64) -> (Vec<String>, Vec<Vec<u8>>) {
    match number {
        FIRST_LARGE.. => (vec!["/stream".into()], vec![material::large_stream(number)]),
        FIRST_TREE.. => Trees::files(number).into_iter().map(|(name, bytes)| (format!("/data/{name}"), bytes)).unzip(),
        _ => (vec!["/stream".into()], vec![material::stream(number)]),
    }
}

/// Looks at the repository after a restart. `may_be_torn`: `check` may find objects damaged that the power cut tore; what
/// was promised must not need them.
///
/// # Errors
/// What does not hold.
pub fn judge(machine: &Machine<'_>, may_be_torn: bool) -> Verdict {
    let repository = open(machine)?;
    let index = repository.load_index(&Silent).map_err(|error| format!("the index does not load: {error}"))?;
    promises_hold(machine, &repository, &index)?;
    listed_restore(machine, &repository, &index)?;
    check_is_clean(machine, &repository, may_be_torn)
}

/// As [`judge`], and the verbs work: snapshot, forget, undelete.
///
/// # Errors
/// What does not hold.
pub fn judge_all(machine: &Machine<'_>, may_be_torn: bool) -> Verdict {
    judge(machine, may_be_torn)?;
    verbs_work(machine, may_be_torn)?;
    judge(machine, may_be_torn)
}

/// Looks at a repository of which an index object was damaged: all restores before any repair, the repairs end, and then
/// nothing is damaged.
///
/// # Errors
/// What does not hold.
pub fn judge_harmed(machine: &Machine<'_>, may_be_torn: bool) -> Verdict {
    let repository = open(machine)?;
    let index = repository.load_index(&Silent).map_err(|error| format!("the index does not load: {error}"))?;
    promises_hold(machine, &repository, &index).map_err(|what| format!("beside a damaged index object: {what}"))?;
    listed_restore(machine, &repository, &index).map_err(|what| format!("beside a damaged index object: {what}"))?;
    match mend(machine) {
        // Beside a register that a power cut tore, nothing goes on before a person has looked.
        Err(_) if may_be_torn => {}
        other => other?,
    }
    judge(machine, may_be_torn)
}

/// Repairs, and lets prunes finish that are in the way: these stop behind that if something is damaged still.
fn mend(machine: &Machine<'_>) -> Verdict {
    let mut last = Ok(());
    for _ in 0..3 {
        last = [Repair::Index, Repair::Packs, Repair::Snapshots].into_iter().try_for_each(|which| {
            machine.run(&Verb::Repair(which)).map_err(|error| format!("repair of {which:?}: {error}"))
        });
        let pruned = machine.run(&Verb::Prune { at_once: false, revoke: true });
        if last.is_ok() && pruned.is_ok() {
            return Ok(());
        }
        last = last.and(pruned.map_err(|error| format!("prune between repairs: {error}")));
    }
    last
}

fn open(machine: &Machine<'_>) -> std::result::Result<Repository, String> {
    match machine.open() {
        // The verb may have changed the secret.
        Err(error) if error.kind() == ErrorKind::WrongPassword => {
            let other = Machine { secret: machine.other_secret, ..share(machine) };
            other.open().map_err(|error| format!("the repository does not open: {error}"))
        }
        other => other.map_err(|error| format!("the repository does not open: {error}")),
    }
}

fn share<'a>(machine: &Machine<'a>) -> Machine<'a> {
    Machine {
        site: Arc::clone(&machine.site),
        cache: machine.cache.clone(),
        ledger: Arc::clone(&machine.ledger),
        ..*machine
    }
}

/// Every snapshot that a command reported restores, unless its grace time is over.
fn promises_hold(machine: &Machine<'_>, repository: &Repository, index: &Index) -> Verdict {
    let ledger = machine.ledger().clone();
    for promise in ledger.promises.iter().filter(|promise| !ledger.is_over(promise.id)) {
        restores(repository, index, promise.id, promise.material).map_err(|what| {
            format!("snapshot {} of {}, which was promised: {what}", short(promise.id), promise.material)
        })?;
    }
    Ok(())
}

fn short(id: SnapshotId) -> String {
    id.to_hex()[..8].to_owned()
}

/// Every listed snapshot restores, whoever was told of it.
fn listed_restore(machine: &Machine<'_>, repository: &Repository, index: &Index) -> Verdict {
    let listed = list_snapshots(repository, &SnapshotFilter::default()).map_err(|error| format!("list: {error}"))?;
    for (id, snapshot) in &listed.snapshots {
        let Some(number) = material::number_of(&snapshot.tags) else {
            return Err(format!("snapshot {} has lost its tag", short(*id)));
        };
        if !machine.ledger().promises.iter().any(|promise| promise.id == *id) {
            restores(repository, index, *id, number)
                .map_err(|what| format!("listed snapshot {}: {what}", short(*id)))?;
        }
    }
    Ok(())
}

fn restores(repository: &Repository, index: &Index, id: SnapshotId, number: u64) -> Verdict {
    let (paths, wanted) = contents(number);
    let found = restored(repository, index, id, &paths).map_err(|error| error.to_string())?;
    if found == wanted { Ok(()) } else { Err("other bytes".into()) }
}

fn check_is_clean(machine: &Machine<'_>, repository: &Repository, may_be_torn: bool) -> Verdict {
    let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
    let report =
        ops::check(repository, &options, &machine.clock(), &Silent).map_err(|error| format!("check: {error}"))?;
    let torn: Vec<String> = machine.site.torn().iter().map(|name| name.to_string()).collect();
    for finding in report.findings.iter().filter(|finding| finding.damage) {
        let excused =
            may_be_torn && (finding.cost_count == 0 || torn.iter().any(|name| is_about(&finding.object, name)));
        if !excused {
            return Err(format!("check: {}: {} ({} paths)", finding.object, finding.message, finding.cost_count));
        }
    }
    Ok(())
}

/// Whether a finding about an object is due to the damage of another one, or the same: a torn register or intent makes a
/// session's packs findings.
fn is_about(object: &str, torn: &str) -> bool {
    object == torn || torn.starts_with("sessions/")
}

/// The next snapshot, forget and undelete do what they should.
fn verbs_work(machine: &Machine<'_>, may_be_torn: bool) -> Verdict {
    let machine = share(machine);
    let other;
    let machine = match machine.open() {
        Err(error) if error.kind() == ErrorKind::WrongPassword => {
            other = Machine { secret: machine.other_secret, ..machine };
            &other
        }
        _ => &machine,
    };
    let run = |what: &str, verb: Verb| machine.run(&verb).map_err(|error| format!("{what} afterwards: {error}"));
    let count = || -> std::result::Result<(usize, usize), String> {
        let counted = || -> Result<(usize, usize)> {
            let repository = machine.open()?;
            let listed = list_snapshots(&repository, &SnapshotFilter::default())?.snapshots.len();
            Ok((listed, ops::list_forgotten(&repository, &SnapshotFilter::default())?.snapshots.len()))
        };
        counted().map_err(|error| format!("list afterwards: {error}"))
    };
    let (listed, forgotten) = count()?;
    run("snapshot", Verb::Stream(4242))?;
    expect("snapshot", count()?, (listed + 1, forgotten))?;
    run("tree", Verb::Tree(2))?;
    expect("tree", count()?, (listed + 2, forgotten))?;
    // By its id: where clocks differ, it need not be the latest.
    let newest = machine.ledger().promises.last().expect("the tree was saved").id;
    machine.forget_one(newest).map_err(|error| format!("forget afterwards: {error}"))?;
    expect("forget", count()?, (listed + 1, forgotten + 1))?;
    let back = match machine.undelete_one(newest) {
        // A plan that can't be read might drop anything.
        Err(error) if may_be_torn && error.kind() == ErrorKind::NotFound => 0,
        other => other.map(|()| 1).map_err(|error| format!("undelete afterwards: {error}"))?,
    };
    expect("undelete", count()?, (listed + 1 + back, forgotten + 1))?;
    // What lies around goes, and nothing else.
    machine.site.put_reserve();
    let pruned = machine.run(&Verb::Prune { at_once: false, revoke: true });
    match pruned {
        // What the power cut tore is damage, beside which nothing is removed.
        Err(error) if may_be_torn && error.kind() == ErrorKind::Damaged => {}
        other => other.map_err(|error| format!("prune afterwards: {error}"))?,
    }
    match count()?.0 {
        now if now == listed + 1 + back => Ok(()),
        now => Err(format!("prune afterwards: {now} of {} snapshots", listed + 1 + back)),
    }
}

fn expect(what: &str, found: (usize, usize), wanted: (usize, usize)) -> Verdict {
    if found == wanted {
        Ok(())
    } else {
        Err(format!("{what} afterwards: {found:?} listed and forgotten, not {wanted:?}"))
    }
}
