//! Every verb, stopped at every request that it makes, in every way.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use engine::storage::ObjectName;
use engine::{EngineError, ErrorKind, Result};

use super::campaign::{Campaign, copy_cache, in_parallel, pools, restart, tear_cache};
use super::client::{Ledger, Machine, Repair, Verb, drop_cache};
use super::disk::{Disk, Power};
use super::oracle::{self, FIRST_LARGE};
use super::random::Random;
use super::world::{BEGINNING, Bug, Fate, Plan, Request, World};

/// What happens to the request at which a verb is stopped.
pub const MOMENTS: [Fate; 3] = [Fate::DiesBefore, Fate::DiesAfter, Fate::AckLost];

/// A repository, and a verb to be stopped in it.
pub struct Situation {
    /// Its name.
    pub name: &'static str,
    /// What was done before.
    before: Vec<Before>,
    /// What is stopped.
    verb: Verb,
}

/// What was done before.
#[derive(Clone)]
enum Before {
    Done(Verb),
    /// The verb died when it was about to put the last object of that kind; its machine was started anew.
    DiedPutting(Verb, Which),
    /// The same, but the object is there; it is not durable, and there was no power cut.
    Unanswered(Verb, Which),
    /// The newest index object is gone, or half of it, by nobody's fault.
    Harmed(Harm),
}

/// What became of an index object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Gone,
    Cut,
}

const AT_ONCE: Verb = Verb::Prune { at_once: true, revoke: true };
const KEEPING: Verb = Verb::Prune { at_once: false, revoke: false };

/// Which objects.
type Which = fn(ObjectName) -> bool;
const PACK: Which = |name| matches!(name, ObjectName::Pack(_));
const INDEX: Which = |name| matches!(name, ObjectName::Index(_));
const SNAPSHOT: Which = |name| matches!(name, ObjectName::Snapshot(_));
const REGISTER: Which = |name| matches!(name, ObjectName::Register(_));
const PLAN: Which = |name| matches!(name, ObjectName::PrunePlan(_));
const STATE: Which = |name| matches!(name, ObjectName::PruneState(_));
const DONE: Which = |name| matches!(name, ObjectName::PruneDone(_));

/// The situations that are tried.
pub fn situations() -> Vec<Situation> {
    use Before::{DiedPutting, Done};
    let first = || Done(Verb::Init);
    let two = || vec![first(), Done(Verb::Stream(1)), Done(Verb::Tree(0))];
    let and = |mut before: Vec<Before>, more: &[Before]| {
        before.extend_from_slice(more);
        before
    };
    let dead = |which| and(two(), &[DiedPutting(Verb::Stream(2), which)]);
    // Prune copies first, and its last put of a family is the one of the sweep.
    let half = |which| {
        and(two(), &[Done(Verb::Stream(2)), Done(Verb::Forget(0)), Done(Verb::Forget(0)), DiedPutting(AT_ONCE, which)])
    };
    let situation = |name, before, verb| Situation { name, before, verb };
    let mut all = vec![
        situation("init", vec![], Verb::Init),
        situation("first snapshot of a stream", vec![first()], Verb::Stream(1)),
        situation("first snapshot of a tree", vec![first()], Verb::Tree(0)),
        situation("next snapshot of a stream", two(), Verb::Stream(2)),
        situation("next snapshot of a tree", two(), Verb::Tree(1)),
        situation("snapshot without a parent", two(), Verb::ForcedTree(1)),
        situation("snapshot of nothing new", two(), Verb::TreeIfChanged(0)),
        situation("snapshot of several packs", two(), Verb::LargeStream(FIRST_LARGE)),
        situation("forget", two(), Verb::Forget(0)),
        situation("undelete", and(two(), &[Done(Verb::Forget(0))]), Verb::Undelete(0)),
        situation("undelete a tree", and(two(), &[Done(Verb::Forget(1))]), Verb::Undelete(0)),
        situation("tag", two(), Verb::Tag(0, "good".into())),
        situation("tag a second time", and(two(), &[Done(Verb::Tag(0, "good".into()))]), Verb::Tag(1, "new".into())),
        situation("prune of nothing", two(), KEEPING),
        situation(
            "prune of a forgotten snapshot",
            and(two(), &[Done(Verb::Stream(2)), Done(Verb::Forget(0))]),
            AT_ONCE,
        ),
        situation("prune within the grace time", and(two(), &[Done(Verb::Forget(0))]), KEEPING),
        situation("prune of a replaced snapshot", and(two(), &[Done(Verb::Tag(0, "x".into()))]), AT_ONCE),
        situation(
            "prune a second time",
            and(two(), &[Done(Verb::Forget(0)), Done(AT_ONCE), Done(Verb::Stream(3)), Done(Verb::Forget(0))]),
            AT_ONCE,
        ),
        situation("prune of a dead session", dead(SNAPSHOT), AT_ONCE),
        situation("prune of a dead session without index", dead(INDEX), AT_ONCE),
        situation("prune of everything", and(vec![first(), Done(Verb::Stream(1))], &[Done(Verb::Forget(0))]), AT_ONCE),
        situation("prune after one that copied", half(PLAN), AT_ONCE),
        situation("prune goes on with a plan", half(STATE), AT_ONCE),
        situation("prune goes on with a sweep", half(INDEX), AT_ONCE),
        situation("prune goes on with removals", half(DONE), AT_ONCE),
        situation("snapshot beside a plan", half(STATE), Verb::Stream(1)),
        situation("tree beside a sweep", half(DONE), Verb::Tree(0)),
        situation(
            "undelete beside a plan",
            and(two(), &[Done(Verb::Forget(0)), DiedPutting(AT_ONCE, STATE), Done(Verb::Forget(0))]),
            Verb::Undelete(1),
        ),
        situation("key add", two(), Verb::AddKey),
        situation("key remove", and(two(), &[Done(Verb::AddKey)]), Verb::RemoveKey),
        situation("key change", two(), Verb::ChangeKey),
        situation("take over a session without packs", dead(PACK), Verb::Stream(3)),
        situation("take over a session without index", dead(INDEX), Verb::Stream(3)),
        situation("take over a session without snapshot", dead(SNAPSHOT), Verb::Stream(3)),
        situation("take over a session without register", dead(REGISTER), Verb::Stream(2)),
        situation("take over two sessions", and(dead(INDEX), &[DiedPutting(Verb::Tree(1), SNAPSHOT)]), Verb::Tree(1)),
        situation(
            "take over from who took over",
            and(dead(INDEX), &[DiedPutting(Verb::Stream(3), SNAPSHOT)]),
            Verb::Stream(3),
        ),
    ];
    all.extend(repairs());
    all
}

/// Those of damaged repositories, in which repairs are stopped.
fn repairs() -> Vec<Situation> {
    use Before::{DiedPutting, Done, Harmed, Unanswered};
    let repair = || Verb::Repair(Repair::Index);
    let with = |more: &[Before]| {
        let mut before = vec![Done(Verb::Init), Done(Verb::Stream(1)), Done(Verb::Tree(0)), Done(Verb::Stream(2))];
        before.extend_from_slice(more);
        before
    };
    let pruning =
        |which, harm| with(&[Done(Verb::Forget(0)), Done(Verb::Forget(0)), DiedPutting(AT_ONCE, which), Harmed(harm)]);
    let situation = |name, before, verb| Situation { name, before, verb };
    vec![
        situation(
            "prune goes on with a plan that may not last",
            with(&[Done(Verb::Forget(0)), Unanswered(AT_ONCE, PLAN)]),
            AT_ONCE,
        ),
        situation(
            "prune goes on with a decision that may not last",
            with(&[Done(Verb::Forget(0)), Unanswered(AT_ONCE, STATE)]),
            AT_ONCE,
        ),
        situation("repair of nothing", with(&[]), repair()),
        situation("repair of an index object that is gone", with(&[Harmed(Harm::Gone)]), repair()),
        situation("repair of an index object that is cut", with(&[Harmed(Harm::Cut)]), repair()),
        situation(
            "repair of the index beside what a dead session left",
            with(&[DiedPutting(Verb::ForcedTree(0), SNAPSHOT), Harmed(Harm::Gone)]),
            repair(),
        ),
        situation("repair of the index beside a plan", pruning(STATE, Harm::Cut), repair()),
        situation("repair of the index beside a sweep", pruning(INDEX, Harm::Cut), repair()),
        situation("repair of the index beside removals", pruning(DONE, Harm::Gone), repair()),
        situation("prune after a repair", with(&[Harmed(Harm::Cut), Done(repair()), Done(Verb::Forget(0))]), AT_ONCE),
        situation("snapshot beside damage", with(&[Harmed(Harm::Cut)]), Verb::Tree(1)),
        situation("repair of packs that are good", with(&[]), Verb::Repair(Repair::Packs)),
        situation("repair of snapshots that are whole", with(&[]), Verb::Repair(Repair::Snapshots)),
    ]
}

/// What was tried.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tried {
    /// Requests × moments.
    pub points: u64,
    /// Points × kinds of power cuts.
    pub runs: u64,
}

/// A violation, and how one gets there.
#[derive(Debug, Clone)]
pub struct Violation {
    /// What does not hold, and where.
    pub what: String,
    /// The requests that led there.
    pub record: String,
}

/// The beginning of all points of a situation.
struct Beginning {
    disk: Disk,
    cache: PathBuf,
    ledger: Ledger,
    /// Seconds after the world's beginning.
    age: i64,
    requests: u64,
}

/// Tries a situation: each `stride`-th point of it, with every kind of power cut.
///
/// # Errors
/// The first violation.
pub fn try_situation(
    campaign: &Campaign,
    situation: &Situation,
    bug: Option<Bug>,
    stride: usize,
) -> std::result::Result<Tried, Violation> {
    let beginning = begin(campaign, situation)
        .map_err(|what| Violation { what: format!("{}: {what}", situation.name), record: String::new() })?;
    let points: Vec<(u64, Fate)> =
        (0..beginning.requests).flat_map(|at| MOMENTS.map(|fate| (at, fate))).step_by(stride).collect();
    let runs = AtomicU64::new(0);
    let tried = in_parallel(points.len() * Power::ALL.len(), |number| {
        let (at, fate) = points[number / Power::ALL.len()];
        let power = Power::ALL[number % Power::ALL.len()];
        runs.fetch_add(1, Ordering::Relaxed);
        let run = Run { campaign, situation, beginning: &beginning, bug, at, fate, power };
        pools(1)[0].install(|| run.judge(number as u64))
    });
    drop_cache(&beginning.cache);
    tried.map(|()| Tried { points: points.len() as u64, runs: runs.into_inner() })
}

/// Brings a repository to where a situation begins.
fn begin(campaign: &Campaign, situation: &Situation) -> std::result::Result<Beginning, String> {
    let world = World::new(1, Disk::default());
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let cache = campaign.new_cache();
    let machine = campaign.machine(&world, 0, cache.clone(), &ledger);
    for before in &situation.before {
        world.plan(0, None);
        world.pass(60);
        match before {
            Before::Done(verb) => machine.run(verb).map_err(|error| format!("{verb:?}: {error}"))?,
            Before::DiedPutting(verb, which) => {
                die_putting(&world, &machine, verb, *which, Fate::DiesBefore)
                    .map_err(|error| format!("{verb:?}: {error}"))?;
                cut_and_restart(&world, &machine).map_err(|error| error.to_string())?;
            }
            Before::Unanswered(verb, which) => {
                die_putting(&world, &machine, verb, *which, Fate::AckLost)
                    .map_err(|error| format!("{verb:?}: {error}"))?;
            }
            Before::Harmed(harm) => world.with_disk(|disk| disk.harm_newest_index(*harm == Harm::Gone)),
        }
    }
    world.plan(0, None);
    world.pass(60);
    let disk = world.disk();
    // How many requests there are: the verb is done once, in a copy.
    let copy = World::new(1, disk.clone());
    copy.pass(world.now() - BEGINNING);
    let cache_copy = campaign.new_cache();
    copy_cache(&cache, &cache_copy).map_err(|error| error.to_string())?;
    let machine = campaign.machine(&copy, 0, cache_copy.clone(), &Arc::default());
    machine.run(&situation.verb).map_err(|error| format!("{:?}: {error}", situation.verb))?;
    drop_cache(&cache_copy);
    let ledger = ledger.lock().expect("no holder of this lock panics").clone();
    let age = world.now() - BEGINNING;
    Ok(Beginning { disk, cache, ledger, age, requests: copy.requests(0) })
}

/// Finds the last put of a kind by doing the verb in a copy, then does it and dies there.
fn die_putting(world: &Arc<World>, machine: &Machine<'_>, verb: &Verb, which: Which, fate: Fate) -> Result<()> {
    let copy = World::new(1, world.disk());
    // With a cache of its own: what a machine has seen must not be of a world that never was.
    let cache = machine.cache.with_extension("copy");
    copy_cache(&machine.cache, &cache).map_err(|error| EngineError::io("copy", &machine.cache, error))?;
    Machine { site: Arc::clone(&copy) as _, ledger: Arc::default(), cache: cache.clone(), ..*machine }.run(verb)?;
    drop_cache(&cache);
    let is_it = |step: &super::world::Step| step.request == Request::Put && which(step.name);
    let record = copy.record();
    // A session that takes over puts registers and index objects before: it is the last put that counts.
    let at = record.iter().rposition(is_it).unwrap_or(record.len());
    world.plan(0, Some(Plan { at: at as u64, fate }));
    let _ = machine.run(verb);
    world.plan(0, None);
    Ok(())
}

fn cut_and_restart(world: &Arc<World>, machine: &Machine<'_>) -> Result<()> {
    world.power_cut(Power::Lost, &mut Random::new(0));
    let repository = machine.open()?;
    world.with_disk(|disk| restart(disk, &repository, None));
    world.plan(0, None);
    Ok(())
}

struct Run<'a> {
    campaign: &'a Campaign,
    situation: &'a Situation,
    beginning: &'a Beginning,
    bug: Option<Bug>,
    at: u64,
    fate: Fate,
    power: Power,
}

impl Run<'_> {
    fn judge(&self, number: u64) -> std::result::Result<(), Violation> {
        let world = World::new(1, self.beginning.disk.clone());
        let cache = self.campaign.new_cache();
        let verdict = self.stop_and_judge(&world, &cache, number);
        drop_cache(&cache);
        verdict.map_err(|what| Violation {
            what: format!(
                "{}, request {} {:?}, power {:?}: {what}",
                self.situation.name, self.at, self.fate, self.power
            ),
            record: world.told(),
        })
    }

    fn stop_and_judge(&self, world: &Arc<World>, cache: &Path, number: u64) -> oracle::Verdict {
        let told = |error: std::io::Error| error.to_string();
        let ledger = Arc::new(Mutex::new(self.beginning.ledger.clone()));
        let machine = self.campaign.machine(world, 0, cache.to_owned(), &ledger);
        // Each other time the index is built anew.
        if number.is_multiple_of(2) {
            copy_cache(&self.beginning.cache, cache).map_err(told)?;
        }
        world.plan(0, Some(Plan { at: self.at, fate: self.fate }));
        world.plant(self.bug);
        world.pass(self.beginning.age);
        let result = machine.run(&self.situation.verb);
        world.plant(None);
        world.note(format!("{:?}: {:?}", self.situation.verb, result.as_ref().err().map(ToString::to_string)));
        world.power_cut(self.power, &mut Random::new(number));
        world.plan(0, None);
        match self.power {
            Power::Lost => {
                drop_cache(cache);
                copy_cache(&self.beginning.cache, cache).map_err(told)?;
            }
            Power::Subset => {}
            Power::Torn => tear_cache(cache).map_err(told)?,
        }
        if self.situation.verb == Verb::Init && result.is_err() {
            match machine.open() {
                Err(error) if matches!(error.kind(), ErrorKind::NoRepository) => return Ok(()),
                Err(_) if self.power == Power::Torn => return Ok(()),
                _ => {}
            }
        }
        world.pass(60);
        if let Ok(repository) = machine.open() {
            world.with_disk(|disk| restart(disk, &repository, None));
        }
        if self.situation.before.iter().any(|before| matches!(before, Before::Harmed(_))) {
            oracle::judge_harmed(&machine, self.power == Power::Torn)?;
        }
        oracle::judge_all(&machine, self.power == Power::Torn)
    }
}
