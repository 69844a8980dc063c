//! The simulator's clients on a real storage that loses requests and answers: by a seed each of several clients does verbs
//! of the engine, its requests fail before or after they had an effect, are delayed, or are executed later, or it ends in
//! the middle. In the end the simulator's oracle judges: promised snapshots restore to the byte, `check` finds no damage, the
//! verbs work.
//!
//! Clients run at the same time, as they come: a seed stands for who does what and what goes wrong, not for one order.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use engine::format::{decode_intent, encode_intent};
use engine::repository::Repository;
use engine::storage::{Capabilities, ObjectFamily, ObjectName, Outcome, Storage};
use engine::{EngineError, ErrorKind, Result};

use crate::sim::campaign::{Campaign, pools};
use crate::sim::client::{Machine, Verb, drop_cache};
use crate::sim::crash::Violation;
use crate::sim::disk::Disk;
use crate::sim::oracle;
use crate::sim::random::Random;
use crate::sim::seeds::{Seeds, script};
use crate::sim::site::Site;
use crate::sim::world::{BEGINNING, Client};

/// Clients of a run, at most.
pub const CLIENTS: usize = 3;
/// How long a request is delayed, at most.
const DELAY_MICROSECONDS: usize = 4_000;
/// The most of an object that is copied, in bytes.
const LARGEST: u64 = 64 << 20;

/// How rough a run is: so many times in a thousand.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    fails: u32,
    ack_lost: u32,
    late: u32,
    dies: u32,
    delayed: u32,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    Fails,
    AckLost,
    Late,
    Dies,
}

/// What was tried.
#[derive(Debug, Default, Clone, Copy)]
pub struct Ran {
    /// Runs by seed.
    pub runs: u64,
    /// Requests of clients.
    pub requests: u64,
    /// Of these, those that went wrong.
    pub lost: u64,
}

/// A real storage and the ways to it.
pub struct Rough {
    /// One for each client.
    ways: Vec<Arc<dyn Storage>>,
    /// What changes things behind everybody's back.
    back: Arc<dyn Storage>,
    state: Mutex<State>,
}

struct State {
    luck: Vec<Random>,
    weather: Weather,
    dead: Vec<bool>,
    /// Requests that were not answered and may still be executed; without bytes, removals.
    late: Vec<(ObjectName, Option<Vec<u8>>)>,
    now: i64,
    requests: u64,
    lost: u64,
    record: String,
}

impl Rough {
    /// A storage, by a way for each client, and one that nothing is lost on.
    pub fn new(ways: Vec<Arc<dyn Storage>>, back: Arc<dyn Storage>) -> Arc<Self> {
        let state = State {
            luck: Vec::new(),
            weather: Weather::default(),
            dead: vec![false; ways.len()],
            late: Vec::new(),
            now: BEGINNING,
            requests: 0,
            lost: 0,
            record: String::new(),
        };
        Arc::new(Self { ways, back, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn note(&self, text: &str) {
        let mut state = self.lock();
        state.record += text;
        state.record.push('\n');
    }

    /// Counts a request and says what is to become of it.
    fn enter(&self, client: Client, what: &str, name: &dyn std::fmt::Display, writes: bool) -> Result<Fate> {
        let mut state = self.lock();
        if state.dead[client] {
            return Err(failed("the client has ended"));
        }
        state.now += 1;
        state.requests += 1;
        let weather = state.weather;
        let Some(luck) = state.luck.get_mut(client) else { return Ok(Fate::Good) };
        let delay = luck.happens(weather.delayed).then(|| luck.below(DELAY_MICROSECONDS));
        let settles = luck.happens(100);
        let fate = match () {
            () if luck.happens(weather.dies) => Fate::Dies,
            () if luck.happens(weather.fails) => Fate::Fails,
            () if writes && luck.happens(weather.ack_lost) => Fate::AckLost,
            () if writes && luck.happens(weather.late) => Fate::Late,
            () => Fate::Good,
        };
        state.lost += u64::from(fate != Fate::Good);
        state.dead[client] |= fate == Fate::Dies;
        let told = if fate == Fate::Good { String::new() } else { format!(" {fate:?}") };
        state.record += &format!("client {client}: {what} {name}{told}\n");
        let late = if settles { state.late.pop() } else { None };
        drop(state);
        if let Some((name, bytes)) = late {
            self.execute(name, bytes)?;
        }
        std::thread::sleep(Duration::from_micros(delay.unwrap_or(0) as u64));
        Ok(fate)
    }

    /// An unanswered request is executed after all.
    fn execute(&self, name: ObjectName, bytes: Option<Vec<u8>>) -> Result<()> {
        self.note(&format!("late: {name}"));
        match bytes {
            Some(bytes) => self.back.write_new(name, &[&bytes]).map(drop),
            None => self.back.remove(name),
        }
    }

    /// Removes all that is there, and puts what a repository has to begin with.
    fn reset(&self, disk: &Disk) -> Result<()> {
        for family in ObjectFamily::ALL {
            let mut names = Vec::new();
            self.back.list(family, &mut |name, _| names.push(name))?;
            names.into_iter().try_for_each(|name| self.back.remove(name))?;
        }
        disk.objects().iter().try_for_each(|(name, object)| self.back.write_new(*name, &[&object.bytes]).map(drop))?;
        // What ways have asked for ahead is of before.
        self.ways.iter().for_each(|way| way.forget_expected());
        Ok(())
    }

    /// Lets open sessions look as if their machine had been started anew since: their processes have certainly ended.
    fn restart(&self, keys: &Repository) -> Result<()> {
        let mut intents = Vec::new();
        self.back.list(ObjectFamily::Sessions, &mut |name, _| {
            if matches!(name, ObjectName::Intent(_)) {
                intents.push(name);
            }
        })?;
        for name in intents {
            let bytes = self.back.read(name, None, LARGEST)?;
            let Ok((session, mut intent)) = decode_intent(&bytes, keys.keys()) else { continue };
            let parts: Vec<&str> = intent.boot.splitn(3, '/').collect();
            intent.boot = format!("{}/earlier/{}", parts[0], parts.last().unwrap_or(&""));
            self.back.remove(name)?;
            self.back.write_new(name, &[&encode_intent(&intent, keys.keys(), &session)])?;
        }
        Ok(())
    }
}

impl Site for Rough {
    fn open(self: Arc<Self>, client: Client) -> Arc<dyn Storage> {
        Arc::new(Way { site: self, client })
    }

    fn now(&self) -> i64 {
        self.lock().now
    }

    fn torn(&self) -> Vec<ObjectName> {
        Vec::new()
    }

    fn put_reserve(&self) {
        let _ = self.back.write_new(ObjectName::PruneReserve, &[&[0; 8]]);
    }
}

fn failed(why: &str) -> EngineError {
    EngineError::new(ErrorKind::Io, format!("lost on purpose: {why}"))
}

/// A client's way, on which things are lost.
struct Way {
    site: Arc<Rough>,
    client: Client,
}

impl Way {
    fn inner(&self) -> &dyn Storage {
        &*self.site.ways[self.client]
    }
}

impl Storage for Way {
    fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        match self.site.enter(self.client, "list", &format_args!("{family:?}"), false)? {
            Fate::Good => self.inner().list(family, each),
            _ => Err(failed("the list was not answered")),
        }
    }

    fn read(&self, name: ObjectName, range: Option<std::ops::Range<u64>>, max: u64) -> Result<Vec<u8>> {
        match self.site.enter(self.client, "read", &name, false)? {
            Fate::Good => self.inner().read(name, range, max),
            _ => Err(failed("the read was not answered")),
        }
    }

    fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        match self.site.enter(self.client, "put", &name, true)? {
            Fate::Good => self.inner().write_new(name, parts),
            Fate::Fails => Err(failed("the put failed")),
            Fate::Late => {
                self.site.lock().late.push((name, Some(parts.concat())));
                Err(failed("no answer"))
            }
            Fate::AckLost | Fate::Dies => {
                self.inner().write_new(name, parts)?;
                Err(failed("no answer"))
            }
        }
    }

    fn remove(&self, name: ObjectName) -> Result<()> {
        match self.site.enter(self.client, "remove", &name, true)? {
            Fate::Good => self.inner().remove(name),
            Fate::Fails => Err(failed("the removal failed")),
            Fate::Late => {
                self.site.lock().late.push((name, None));
                Err(failed("no answer"))
            }
            Fate::AckLost | Fate::Dies => {
                self.inner().remove(name)?;
                Err(failed("no answer"))
            }
        }
    }

    fn persist(&self, name: ObjectName) -> Result<()> {
        self.inner().persist(name)
    }

    fn capabilities(&self) -> Capabilities {
        // A directory of this machine is left out of snapshots: here nothing of it is in a source.
        Capabilities { local_directory: None, ..self.inner().capabilities() }
    }
}

/// Does the runs of so many seeds from one on, or of fewer if time ends before.
///
/// # Errors
/// What does not hold, with the seed.
pub fn run_many(rough: &Arc<Rough>, from: u64, count: u64, time: Duration) -> std::result::Result<Ran, Violation> {
    let campaign = Campaign::new().expect("a scratch directory");
    let seeds = Seeds::new(&campaign).expect("repositories to begin with");
    let begun = std::time::Instant::now();
    let mut ran = Ran::default();
    for seed in from..from + count {
        if begun.elapsed() >= time {
            break;
        }
        run(rough, &campaign, &seeds, seed).map_err(|what| Violation {
            what: format!("seed {seed}: {what}"),
            record: std::mem::take(&mut rough.lock().record),
        })?;
        let mut state = rough.lock();
        ran.runs += 1;
        ran.requests += std::mem::take(&mut state.requests);
        ran.lost += std::mem::take(&mut state.lost);
    }
    Ok(ran)
}

fn run(rough: &Arc<Rough>, campaign: &Campaign, seeds: &Seeds<'_>, seed: u64) -> oracle::Verdict {
    let mut random = Random::new(seed);
    let clients = 2 + random.below(CLIENTS - 1);
    let (disk, ledger) = seeds.beginning(&mut random);
    rough.reset(disk).map_err(|error| format!("the storage itself: {error}"))?;
    let decides = rough.back.capabilities().put_if_absent;
    let scripts: Vec<Vec<Verb>> = (0..clients).map(|client| script_of(client, decides, &mut random)).collect();
    let ledger = Arc::new(Mutex::new(ledger.clone()));
    let caches: Vec<_> = (0..clients).map(|_| campaign.new_cache()).collect();
    let machine = |client: usize| campaign.machine(rough, client, caches[client].clone(), &ledger);
    let machines: Vec<Machine<'_>> = (0..clients).map(machine).collect();
    {
        let mut state = rough.lock();
        *state = State {
            luck: Vec::new(),
            weather: weather(&mut random),
            dead: vec![false; rough.ways.len()],
            late: Vec::new(),
            now: BEGINNING + 3600,
            record: String::new(),
            ..*state
        };
    }
    // The keys, to set clocks of intents back with.
    let keys = machines[0].open().map_err(|error| format!("the beginning does not open: {error}"))?;
    rough.lock().luck = (0..clients).map(|_| Random::new(random.draw())).collect();
    let pools = pools(clients);
    std::thread::scope(|scope| {
        for ((machine, script), pool) in machines.iter().zip(&scripts).zip(&pools) {
            let pool = &**pool;
            scope.spawn(move || pool.install(|| follow(rough, machine, script)));
        }
    });
    let verdict = judge(rough, campaign, &machines[0], &keys, &mut random);
    caches.iter().for_each(|cache| drop_cache(cache));
    verdict
}

/// Where the storage does not say who was first, one client prunes, and no other one.
fn script_of(client: usize, decides: bool, random: &mut Random) -> Vec<Verb> {
    let mut verbs = script(random);
    if !decides && client > 0 {
        for verb in &mut verbs {
            if matches!(verb, Verb::Prune { .. } | Verb::Repair(_)) {
                *verb = Verb::Stream(random.below(8) as u64);
            }
        }
    }
    verbs
}

fn weather(random: &mut Random) -> Weather {
    let calm = Weather { delayed: 100, ..Weather::default() };
    match random.below(4) {
        0 => calm,
        1 => Weather { dies: 10, ..calm },
        2 => Weather { fails: 10, ack_lost: 20, late: 10, ..calm },
        _ => Weather { dies: 5, fails: 5, ack_lost: 10, late: 5, ..calm },
    }
}

/// A client does one verb after the other, and comes back if it ended.
fn follow(rough: &Rough, machine: &Machine<'_>, script: &[Verb]) {
    for verb in script {
        rough.lock().dead[machine.client] = false;
        rough.note(&format!("client {} begins {verb:?}", machine.client));
        let error = machine.run(verb).err();
        let told = error.map(|error| error.to_string());
        rough.note(&format!("client {} ends {verb:?}: {told:?}", machine.client));
    }
}

fn judge(
    rough: &Arc<Rough>,
    campaign: &Campaign,
    machine: &Machine<'_>,
    keys: &Repository,
    random: &mut Random,
) -> oracle::Verdict {
    let late = {
        let mut state = rough.lock();
        state.luck.clear();
        state.dead.fill(false);
        std::mem::take(&mut state.late)
    };
    for (name, bytes) in late.into_iter().filter(|_| random.happens(500)) {
        rough.execute(name, bytes).map_err(|error| format!("the storage itself: {error}"))?;
    }
    rough.restart(keys).map_err(|error| format!("the storage itself: {error}"))?;
    rough.note("judged");
    let cache = campaign.new_cache();
    let judge = campaign.machine(rough, machine.client, cache.clone(), &machine.ledger);
    let verdict = oracle::judge_all(&judge, false);
    drop_cache(&cache);
    verdict
}
