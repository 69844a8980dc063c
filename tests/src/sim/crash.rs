//! Every verb, stopped at every request that it makes, in every way.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use engine::storage::{ObjectFamily, ObjectName};
use engine::{ErrorKind, Result};

use super::campaign::{Campaign, copy_cache, in_parallel, restart, tear_cache};
use super::client::{Ledger, Machine, Promise, Verb, drop_cache};
use super::disk::{Disk, Power, family};
use super::oracle::{self, FIRST_LARGE};
use super::random::Random;
use super::world::{Bug, Fate, Plan, Request, World};

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
    /// The verb died when it was about to put an object of that family; its machine was started anew.
    DiedPutting(Verb, ObjectFamily),
}

/// The situations that are tried.
pub fn situations() -> Vec<Situation> {
    use Before::{DiedPutting, Done};
    let first = || Done(Verb::Init);
    let two = || vec![first(), Done(Verb::Stream(1)), Done(Verb::Tree(0))];
    let and = |mut before: Vec<Before>, more: &[Before]| {
        before.extend_from_slice(more);
        before
    };
    let dead = |family| and(two(), &[DiedPutting(Verb::Stream(2), family)]);
    let situation = |name, before, verb| Situation { name, before, verb };
    vec![
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
        situation("key add", two(), Verb::AddKey),
        situation("key remove", and(two(), &[Done(Verb::AddKey)]), Verb::RemoveKey),
        situation("key change", two(), Verb::ChangeKey),
        situation("take over a session without packs", dead(ObjectFamily::Packs), Verb::Stream(3)),
        situation("take over a session without index", dead(ObjectFamily::Indexes), Verb::Stream(3)),
        situation("take over a session without snapshot", dead(ObjectFamily::Snapshots), Verb::Stream(3)),
        situation("take over a session without register", dead(ObjectFamily::Sessions), Verb::Stream(2)),
        situation(
            "take over two sessions",
            and(dead(ObjectFamily::Indexes), &[DiedPutting(Verb::Tree(1), ObjectFamily::Snapshots)]),
            Verb::Tree(1),
        ),
        situation(
            "take over from who took over",
            and(dead(ObjectFamily::Indexes), &[DiedPutting(Verb::Stream(3), ObjectFamily::Snapshots)]),
            Verb::Stream(3),
        ),
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
    promises: Vec<Promise>,
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
        run.judge(number as u64)
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
            Before::DiedPutting(verb, of) => {
                die_putting(&world, &machine, verb, *of).map_err(|error| format!("{verb:?}: {error}"))?;
            }
        }
    }
    world.plan(0, None);
    world.pass(60);
    let disk = world.disk();
    // How many requests there are: the verb is done once, in a copy.
    let copy = World::new(1, disk.clone());
    let cache_copy = campaign.new_cache();
    copy_cache(&cache, &cache_copy).map_err(|error| error.to_string())?;
    let machine = campaign.machine(&copy, 0, cache_copy.clone(), &Arc::default());
    machine.run(&situation.verb).map_err(|error| format!("{:?}: {error}", situation.verb))?;
    drop_cache(&cache_copy);
    let promises = ledger.lock().expect("no holder of this lock panics").promises.clone();
    Ok(Beginning { disk, cache, promises, requests: copy.requests(0) })
}

/// Finds the first put of a family by doing the verb in a copy, then does it and dies there.
fn die_putting(world: &Arc<World>, machine: &Machine<'_>, verb: &Verb, of: ObjectFamily) -> Result<()> {
    let copy = World::new(1, world.disk());
    Machine { world: Arc::clone(&copy), ledger: Arc::default(), cache: machine.cache.clone(), ..*machine }.run(verb)?;
    let is_it = |step: &super::world::Step| {
        let intent = matches!(step.name, ObjectName::Intent(_));
        step.request == Request::Put && family(step.name) == of && !intent
    };
    let record = copy.record();
    // A session that takes over puts registers and index objects of its own before: it is the last put that counts.
    let at = record.iter().rposition(is_it).unwrap_or(record.len());
    world.plan(0, Some(Plan { at: at as u64, fate: Fate::DiesBefore }));
    let _ = machine.run(verb);
    world.plan(0, None);
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

    fn stop_and_judge(&self, world: &Arc<World>, cache: &PathBuf, number: u64) -> oracle::Verdict {
        let told = |error: std::io::Error| error.to_string();
        let ledger =
            Arc::new(Mutex::new(Ledger { promises: self.beginning.promises.clone(), pruned: None }));
        let machine = self.campaign.machine(world, 0, cache.clone(), &ledger);
        // Each other time the index is built anew.
        if number.is_multiple_of(2) {
            copy_cache(&self.beginning.cache, cache).map_err(told)?;
        }
        world.plan(0, Some(Plan { at: self.at, fate: self.fate }));
        world.plant(self.bug);
        world.pass(60);
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
        oracle::judge_all(&machine, self.power == Power::Torn)
    }
}
