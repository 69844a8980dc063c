//! The storage that all clients share: whose turn it is, what becomes of each request, and a record of all that.
//!
//! Every request has a number, counted for each client. A *plan* says what happens to one of them; a *schedule* draws
//! from a seed what happens to all of them, and which client goes on after each. Between two requests only one client
//! runs, so that a seed stands for one run. A client's own threads take turns as they come, names are drawn by the
//! engine, and it may read what it listed in any order: a run that is repeated has the same requests of the same kinds
//! and the same faults, not the same bytes.

use std::fmt::Write as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use engine::storage::{ObjectName, Storage};
use engine::{EngineError, ErrorKind, Result};

use super::disk::{Disk, Power};
use super::port::Port;
use super::random::Random;
use super::schedule::Schedule;
use super::site::Site;

/// Which client.
pub type Client = usize;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request {
    /// A list of a family.
    List,
    /// An object, or a part of it.
    Read,
    /// An object is put if absent.
    Put,
    /// An object is removed.
    Remove,
    /// A put or a removal becomes durable.
    Sync,
}

impl Request {
    /// Whether it changes something.
    pub fn writes(self) -> bool {
        matches!(self, Self::Put | Self::Remove)
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// What should.
    Good,
    /// It fails, and has no effect.
    Fails,
    /// It has its effect, but nobody hears of it; what is not acknowledged is not durable.
    AckLost,
    /// The client ends while it is under way.
    DiesBefore,
    /// The client ends just after it.
    DiesAfter,
    /// It fails and is executed later all the same.
    Late,
}

/// One request of a client goes wrong.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Its number, from 0.
    pub at: u64,
    /// What becomes of it.
    pub fate: Fate,
}

/// A fault of the engine's that is planted, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Packs are acknowledged before they are durable: the index names them all the same.
    PacksNotSynced,
    /// The snapshot is put after the register that names it.
    RegisterBeforeSnapshot,
    /// Index objects are put after the register that makes them count.
    RegisterBeforeIndex,
    /// Index objects of prune are put after what it removes is removed.
    PacksRemovedBeforeIndex,
    /// A register that is there is overwritten.
    RegisterOverwritten,
    /// The record of forgetting is removed again by whoever lists what was forgotten.
    ListsWithoutPlans,
    /// What open sessions announce is not seen.
    ListsWithoutIntents,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Actor {
    pub(super) requests: u64,
    pub(super) plan: Option<Plan>,
    pub(super) dead: bool,
    pub(super) held: Vec<(ObjectName, Option<Arc<[u8]>>)>,
}

/// One line of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Who.
    pub client: Client,
    /// What was asked for.
    pub request: Request,
    /// About which object; any of its family for a list.
    pub name: ObjectName,
    /// What became of it.
    pub fate: Fate,
}

pub(super) struct Inner {
    pub(super) disk: Disk,
    pub(super) actors: Vec<Actor>,
    pub(super) schedule: Option<Schedule>,
    pub(super) bug: Option<Bug>,
    /// Power cuts so far.
    pub(super) cuts: u64,
    /// Whether an index object was damaged.
    pub(super) harmed: bool,
    pub(super) record: Vec<Step>,
    notes: Vec<(usize, String)>,
    /// Requests that were not answered and may still be executed.
    pub(super) late: Vec<(Request, ObjectName, Arc<[u8]>)>,
    /// Seconds since 1970.
    pub(super) now: i64,
}

/// A storage, and those who use it.
pub struct World {
    inner: Mutex<Inner>,
    wakes: Vec<Condvar>,
}

/// A moment hours after all that the file system may say, so that no file counts as just changed.
pub const BEGINNING: i64 = 10_000_000_000;

impl World {
    /// A storage for so many clients.
    pub fn new(clients: usize, disk: Disk) -> Arc<Self> {
        let inner = Inner {
            disk,
            actors: vec![Actor::default(); clients],
            schedule: None,
            bug: None,
            cuts: 0,
            harmed: false,
            record: Vec::new(),
            notes: Vec::new(),
            late: Vec::new(),
            now: BEGINNING,
        };
        Arc::new(Self { inner: Mutex::new(inner), wakes: (0..clients).map(|_| Condvar::new()).collect() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// Seconds since 1970.
    pub fn now(&self) -> i64 {
        self.lock().now
    }

    /// Time goes by.
    pub fn pass(&self, seconds: i64) {
        self.lock().now += seconds;
    }

    /// A copy of what is there.
    pub fn disk(&self) -> Disk {
        self.lock().disk.clone()
    }

    /// Changes what is there, behind everybody's back.
    pub fn with_disk<T>(&self, change: impl FnOnce(&mut Disk) -> T) -> T {
        change(&mut self.lock().disk)
    }

    /// A fault is planted.
    pub fn plant(&self, bug: Option<Bug>) {
        self.lock().bug = bug;
    }

    /// From now on a client's requests are counted anew, and this happens to one of them.
    pub fn plan(&self, client: Client, plan: Option<Plan>) {
        self.lock().actors[client] = Actor { plan, ..Actor::default() };
    }

    /// How many requests a client made since its plan was set.
    pub fn requests(&self, client: Client) -> u64 {
        self.lock().actors[client].requests
    }

    /// Whether a client has ended.
    pub fn is_dead(&self, client: Client) -> bool {
        self.lock().actors[client].dead
    }

    /// A client that has ended begins anew, as another process. Its intents.
    pub fn revive(&self, client: Client) -> Vec<ObjectName> {
        let mut inner = self.lock();
        inner.actors[client].dead = false;
        inner.note(format!("client {client} comes back"));
        let is_intent = |step: &&Step| {
            step.client == client && step.request == Request::Put && matches!(step.name, ObjectName::Intent(_))
        };
        inner.record.iter().filter(is_intent).map(|step| step.name).collect()
    }

    /// Requests that were not answered are executed now, each by chance, or never.
    pub fn settle(&self, random: &mut Random) {
        let mut inner = self.lock();
        while !inner.late.is_empty() {
            let last = inner.late.len() - 1;
            if random.happens(500) { inner.execute_late(last) } else { drop(inner.late.pop()) }
        }
    }

    /// A number for requests of their kinds and fates, whatever the names are.
    pub fn shape(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        for step in &self.lock().record {
            (step.client, step.request, step.fate, step.name.family()).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Takes turns by a schedule from now on, or no longer.
    pub fn set_schedule(&self, schedule: Option<Schedule>) -> Option<Schedule> {
        std::mem::replace(&mut self.lock().schedule, schedule)
    }

    /// The power is cut and comes back. Whoever had a request under way hears of it.
    pub fn power_cut(&self, power: Power, random: &mut Random) {
        self.lock().power_cut(power, random);
    }

    /// Whether an index object was damaged, by nobody's fault.
    pub fn is_harmed(&self) -> bool {
        self.lock().harmed
    }

    /// A remark between the steps of the record.
    pub fn note(&self, text: String) {
        let mut inner = self.lock();
        let at = inner.record.len();
        inner.notes.push((at, text));
    }

    /// Begins the record anew.
    pub fn forget_record(&self) {
        let mut inner = self.lock();
        inner.record.clear();
        inner.notes.clear();
    }

    /// The record.
    pub fn record(&self) -> Vec<Step> {
        self.lock().record.clone()
    }

    /// The record as text. Names are numbered by family, in the order in which they appear.
    pub fn told(&self) -> String {
        let inner = self.lock();
        let mut known: Vec<ObjectName> = Vec::new();
        let mut text = String::new();
        let mut notes = inner.notes.iter().peekable();
        for number in 0..=inner.record.len() {
            while let Some((_, note)) = notes.next_if(|(at, _)| *at <= number) {
                let _ = writeln!(text, "       -- {note}");
            }
            let Some(step) = inner.record.get(number) else { break };
            let position = known.iter().position(|name| *name == step.name).unwrap_or_else(|| {
                known.push(step.name);
                known.len() - 1
            });
            let of = step.name.family();
            let ordinal = known[..=position].iter().filter(|name| name.family() == of).count();
            let file = step.name.split().1;
            let what = match step.request {
                Request::List => format!("{of:?}"),
                _ if file.len() > 20 => format!("{of:?} {ordinal} ({})", &file[..8]),
                _ => format!("{of:?} {ordinal} {file}"),
            };
            let fate = if step.fate == Fate::Good { String::new() } else { format!(" {:?}", step.fate) };
            let _ = writeln!(text, "{number:>5}  client {}: {:?} {what}{fate}", step.client, step.request);
        }
        text
    }

    /// Waits for the client's turn, counts the request and says what is to become of it.
    pub(super) fn enter(
        &self,
        client: Client,
        request: Request,
        name: ObjectName,
    ) -> Result<(MutexGuard<'_, Inner>, Fate)> {
        let mut inner = self.wait_for_turn(self.lock(), client);
        if inner.actors[client].dead {
            return Err(failed("the client has ended"));
        }
        let number = inner.actors[client].requests;
        let fate = if request == Request::Sync { Fate::Good } else { inner.fate(client, number, request) };
        if request != Request::Sync {
            inner.actors[client].requests += 1;
        }
        inner.record.push(Step { client, request, name, fate });
        if fate == Fate::DiesAfter || fate == Fate::DiesBefore {
            inner.actors[client].dead = true;
        }
        Ok((inner, fate))
    }

    fn wait_for_turn<'w>(&'w self, mut inner: MutexGuard<'w, Inner>, client: Client) -> MutexGuard<'w, Inner> {
        if inner.schedule.is_none() {
            return inner;
        }
        if let Some(next) = inner.arrive(client) {
            self.wakes[next].notify_one();
        }
        loop {
            if inner.schedule.as_mut().is_none_or(|schedule| schedule.take(client)) {
                if let Some(next) = inner.go_on(client) {
                    self.wakes[next].notify_one();
                }
                return inner;
            }
            inner = self.wakes[client].wait(inner).expect("no holder of this lock panics");
        }
    }

    /// A client has nothing more to do.
    pub(super) fn leave(&self, client: Client) {
        let mut inner = self.lock();
        if let Some(next) = inner.leave(client) {
            self.wakes[next].notify_one();
        }
    }
}

impl Site for World {
    fn open(self: Arc<Self>, client: Client) -> Arc<dyn Storage> {
        Port::open(&self, client)
    }

    fn now(&self) -> i64 {
        Self::now(self)
    }

    fn torn(&self) -> Vec<ObjectName> {
        self.lock().disk.torn().collect()
    }

    fn put_reserve(&self) {
        self.with_disk(super::campaign::put_reserve);
    }
}

impl Inner {
    fn fate(&mut self, client: Client, number: u64, request: Request) -> Fate {
        if let Some(plan) = self.actors[client].plan {
            return if plan.at == number { plan.fate } else { Fate::Good };
        }
        match &mut self.schedule {
            Some(schedule) => schedule.fate(client, request),
            None => Fate::Good,
        }
    }

    pub(super) fn power_cut(&mut self, power: Power, random: &mut Random) {
        self.disk.power_cut(power, random);
        self.cuts += 1;
        self.late.clear();
        self.actors.iter_mut().for_each(|actor| actor.held.clear());
    }

    pub(super) fn harm(&mut self, random: &mut Random) {
        if let Some(name) = self.disk.harm_index(random) {
            self.harmed = true;
            self.note(format!("{name} is damaged"));
        }
    }

    /// An unanswered request is executed after all.
    pub(super) fn execute_late(&mut self, which: usize) {
        let (request, name, bytes) = self.late.swap_remove(which);
        match request {
            Request::Put => drop(self.disk.put(name, bytes, true)),
            _ => self.disk.remove(name, true),
        }
        let at = self.record.len();
        self.notes.push((at, format!("a late {request:?} of {name} is executed")));
    }

    fn arrive(&mut self, client: Client) -> Option<Client> {
        let mut schedule = self.schedule.take()?;
        let next = schedule.arrive(client, self);
        self.schedule = Some(schedule);
        next
    }

    fn go_on(&mut self, client: Client) -> Option<Client> {
        let mut schedule = self.schedule.take()?;
        let next = schedule.go_on(client, self);
        self.schedule = Some(schedule);
        next
    }

    fn leave(&mut self, client: Client) -> Option<Client> {
        let mut schedule = self.schedule.take()?;
        let next = schedule.leave(client, self);
        self.schedule = Some(schedule);
        next
    }

    pub(super) fn note(&mut self, text: String) {
        let at = self.record.len();
        self.notes.push((at, text));
    }
}

/// What a storage says when it does not work.
pub(super) fn failed(why: &str) -> EngineError {
    EngineError::new(ErrorKind::Io, format!("simulated storage: {why}"))
}
