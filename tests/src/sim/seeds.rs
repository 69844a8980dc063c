//! Runs of several clients, drawn from a seed: who does what, whose turn it is, and what goes wrong.

use std::sync::{Arc, Mutex};

use engine::repository::Repository;

use super::campaign::{Campaign, pools, restart};
use super::client::{Ledger, Machine, Repair, Verb, drop_cache};
use super::crash::Violation;
use super::disk::{Disk, Power};
use super::oracle;
use super::random::Random;
use super::schedule::{Schedule, Weather};
use super::world::{Bug, World};

/// Repositories to begin with.
pub struct Seeds<'a> {
    campaign: &'a Campaign,
    beginnings: Vec<(Disk, Ledger)>,
}

/// What a run was.
#[derive(Debug, Clone, Copy)]
pub struct Ran {
    /// Requests of all clients.
    pub requests: u64,
    /// A number for what was requested by whom and what became of it.
    pub shape: u64,
}

/// Ten years in seconds.
const TEN_YEARS: i64 = 10 * 365 * 24 * 3600;
/// Clients of a run, at most.
const CLIENTS: usize = 4;
/// Of how many runs one is judged by trying all verbs afterwards; the others by what is there.
const VERBS_EVERY: u64 = 4;

impl<'a> Seeds<'a> {
    /// Makes the repositories to begin with.
    ///
    /// # Errors
    /// If the engine can't do that on a storage that works.
    pub fn new(campaign: &'a Campaign) -> engine::Result<Self> {
        let scripts: [&[Verb]; 4] = [
            &[Verb::Init],
            &[Verb::Init, Verb::Stream(1), Verb::Tree(0)],
            &[Verb::Init, Verb::Stream(1), Verb::Stream(2), Verb::Stream(3), Verb::Forget(0), Verb::Forget(0)],
            &[Verb::Init, Verb::Tree(0), Verb::Tree(1), Verb::Forget(0), Verb::Stream(4), Verb::Tag(0, "x".into())],
        ];
        let mut beginnings = Vec::new();
        for script in scripts {
            let world = World::new(1, Disk::default());
            let ledger = Arc::new(Mutex::new(Ledger::default()));
            let cache = campaign.new_cache();
            for verb in script {
                campaign.machine(&world, 0, cache.clone(), &ledger).run(verb)?;
                world.pass(60);
            }
            drop_cache(&cache);
            // A reserve of the right size is nothing but work. Where a repository begins empty, prunes put their own.
            if !beginnings.is_empty() {
                world.with_disk(super::campaign::put_reserve);
            }
            beginnings.push((world.disk(), ledger.lock().expect("no holder of this lock panics").clone()));
        }
        Ok(Self { campaign, beginnings })
    }

    /// A repository to begin with, and what was promised there.
    pub fn beginning(&self, random: &mut Random) -> &(Disk, Ledger) {
        &self.beginnings[random.below(self.beginnings.len())]
    }

    /// Does the run of a seed and judges what is left.
    ///
    /// # Errors
    /// What does not hold.
    pub fn run(&self, seed: u64, bug: Option<Bug>) -> Result<Ran, Violation> {
        let mut random = Random::new(seed);
        let clients = 2 + random.below(CLIENTS - 1);
        let (disk, ledger) = self.beginning(&mut random);
        let scripts: Vec<Vec<Verb>> = (0..clients).map(|_| script(&mut random)).collect();
        let weather = weather(&mut random);
        let world = World::new(clients, disk.clone());
        let ledger = Arc::new(Mutex::new(ledger.clone()));
        let caches: Vec<_> = (0..clients).map(|_| self.campaign.new_cache()).collect();
        let clocks = clocks(clients, &mut random);
        let machine = |client: usize| Machine {
            ahead: clocks[client],
            ..self.campaign.machine(&world, client, caches[client].clone(), &ledger)
        };
        let machines: Vec<Machine<'_>> = (0..clients).map(machine).collect();
        world.pass(3600);
        // The keys, to set clocks of intents back with.
        let keys = machines[0].open().expect("a repository to begin with");
        world.forget_record();
        world.plan(0, None);
        world.plant(bug);
        world.set_schedule(Some(Schedule::new(clients, random.draw(), weather)));
        let pools = pools(clients);
        std::thread::scope(|scope| {
            for ((machine, script), pool) in machines.iter().zip(&scripts).zip(&pools) {
                let mut random = Random::new(random.draw());
                let (keys, pool) = (&keys, &**pool);
                let world = &world;
                scope.spawn(move || pool.install(|| follow(world, machine, script, keys, &mut random)));
            }
        });
        world.set_schedule(None);
        world.plant(None);
        let shape = world.shape();
        let requests = world.record().len() as u64;
        let verdict = self.judge(&world, &machines[0], &keys, &mut random, seed.is_multiple_of(VERBS_EVERY));
        caches.iter().for_each(|cache| drop_cache(cache));
        verdict.map_err(|what| Violation { what: format!("seed {seed}: {what}"), record: world.told() })?;
        Ok(Ran { requests, shape })
    }

    fn judge(
        &self,
        world: &Arc<World>,
        machine: &Machine<'_>,
        keys: &Repository,
        random: &mut Random,
        with_verbs: bool,
    ) -> oracle::Verdict {
        world.settle(random);
        if random.happens(500) {
            world.note("the power is cut in the end".into());
            world.power_cut(if random.happens(500) { Power::Lost } else { Power::Subset }, random);
        }
        world.note("judged".into());
        world.plan(machine.client, None);
        world.with_disk(|disk| restart(disk, keys, None));
        let cache = self.campaign.new_cache();
        let machine = self.campaign.machine(world, machine.client, cache.clone(), &machine.ledger);
        if world.is_harmed()
            && let Err(what) = oracle::judge_harmed(&machine, false)
        {
            drop_cache(&cache);
            return Err(what);
        }
        let verdict = if with_verbs { oracle::judge_all(&machine, false) } else { oracle::judge(&machine, false) };
        drop_cache(&cache);
        verdict
    }
}

/// A client does one verb after the other, and comes back if it ended.
fn follow(world: &World, machine: &Machine<'_>, script: &[Verb], keys: &Repository, random: &mut Random) {
    for verb in script {
        if world.is_dead(machine.client) {
            let intents = world.revive(machine.client);
            world.with_disk(|disk| restart(disk, keys, Some(&intents)));
            if random.happens(300) {
                drop_cache(&machine.cache);
            }
        }
        world.note(format!("client {} begins {verb:?}", machine.client));
        let error = machine.run(verb).err();
        world.note(format!("client {} ends {verb:?}: {:?}", machine.client, error.map(|error| error.to_string())));
    }
    world.leave(machine.client);
}

/// What a client does, one after the other.
pub fn script(random: &mut Random) -> Vec<Verb> {
    (0..1 + random.below(3)).map(|_| verb(random)).collect()
}

fn verb(random: &mut Random) -> Verb {
    let number = random.below(8) as u64;
    match random.below(16) {
        10..=13 => Verb::Prune { at_once: random.happens(300), revoke: random.happens(300) },
        0..=2 => Verb::Stream(number),
        3 | 4 => Verb::Tree(number),
        5 => Verb::TreeIfChanged(number),
        6 => Verb::Tag(number as usize, format!("t{number}")),
        7 => Verb::Undelete(number as usize),
        14 | 15 => Verb::Repair([Repair::Index, Repair::Packs, Repair::Snapshots][random.below(3)]),
        _ => Verb::Forget(number as usize),
    }
}

/// What each client's clock is ahead: in every third run some of them are ten years off.
fn clocks(clients: usize, random: &mut Random) -> Vec<i64> {
    let differ = random.happens(333);
    let clock = |_| if differ { [-TEN_YEARS, 0, TEN_YEARS][random.below(3)] } else { 0 };
    (0..clients).map(clock).collect()
}

fn weather(random: &mut Random) -> Weather {
    let calm = Weather { switch: 20 + random.below(600) as u32, sleeps: 5, stale: 100, ..Weather::default() };
    match random.below(5) {
        0 => calm,
        4 => Weather { dies: 5, fails: 3, ack_lost: 10, late: 5, harm: 10, ..calm },
        1 => Weather { dies: 10, ..calm },
        2 => Weather { fails: 10, ack_lost: 20, late: 10, ..calm },
        _ => Weather { dies: 5, fails: 3, ack_lost: 10, late: 5, power_cut: 5, ..calm },
    }
}
