//! Whose turn it is, by a seed: one client at a time, until its next request.

use super::disk::Power;
use super::random::Random;
use super::world::{Client, Fate, Inner, Request};

/// How rough a run is: so many times in a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Another client goes on after a request.
    pub switch: u32,
    /// A request fails without effect.
    pub fails: u32,
    /// A request's acknowledgement is lost.
    pub ack_lost: u32,
    /// A request that failed is executed later.
    pub late: u32,
    /// A client ends, before or after its request.
    pub dies: u32,
    /// A client is suspended for a while, perhaps for days.
    pub sleeps: u32,
    /// The power is cut: all clients end.
    pub power_cut: u32,
    /// A list is stale, or is torn in two by others' requests.
    pub stale: u32,
    /// An index object is damaged or lost, once in a run.
    pub harm: u32,
}

/// Whose turn it is.
pub struct Schedule {
    random: Random,
    /// What becomes of each client's requests: of its own, since two threads of a client may come in any order.
    luck: Vec<Random>,
    weather: Weather,
    /// Whose thread may go on; taken by one of them.
    granted: Option<Client>,
    /// Who goes on until its next request.
    running: Option<Client>,
    waiting: Vec<usize>,
    left: Vec<bool>,
    asleep: Vec<u32>,
    /// Clients that have not arrived for the first time.
    missing: usize,
    /// What was lost in power cuts, and how many there may still be.
    cuts_left: u32,
}

impl Schedule {
    /// For so many clients, all of which must arrive before the first one goes on.
    pub fn new(clients: usize, seed: u64, weather: Weather) -> Self {
        Self {
            random: Random::new(seed),
            luck: (0..clients as u64).map(|client| Random::new(seed ^ (client + 1) << 56)).collect(),
            weather,
            granted: None,
            running: None,
            waiting: vec![0; clients],
            left: vec![false; clients],
            asleep: vec![0; clients],
            missing: clients,
            cuts_left: 1,
        }
    }

    /// Whether it is this client's turn; if so, it is taken.
    pub(super) fn take(&mut self, client: Client) -> bool {
        if self.granted != Some(client) {
            return false;
        }
        self.granted = None;
        self.waiting[client] -= 1;
        true
    }

    /// After a turn was taken: if another thread of the client waits, which nobody would wake, it is decided at once who
    /// is next.
    pub(super) fn go_on(&mut self, client: Client, inner: &mut Inner) -> Option<Client> {
        if self.waiting[client] > 0 { self.decide(inner) } else { None }
    }

    /// A thread of a client has a request. Who is to be woken.
    pub(super) fn arrive(&mut self, client: Client, inner: &mut Inner) -> Option<Client> {
        self.waiting[client] += 1;
        if self.missing > 0 {
            self.missing -= usize::from(self.waiting[client] == 1);
            return if self.missing == 0 { self.decide(inner) } else { None };
        }
        // While another one runs, or was told to go on, nothing is to be decided.
        if self.running != Some(client) || self.granted.is_some() {
            return None;
        }
        self.decide(inner)
    }

    /// A client has ended. Who is to be woken.
    pub(super) fn leave(&mut self, client: Client, inner: &mut Inner) -> Option<Client> {
        self.left[client] = true;
        self.decide(inner)
    }

    fn decide(&mut self, inner: &mut Inner) -> Option<Client> {
        self.disturb(inner);
        self.asleep.iter_mut().for_each(|left| *left = left.saturating_sub(1));
        let again =
            self.running.filter(|client| self.waiting[*client] > 0 && !self.left[*client] && self.asleep[*client] == 0);
        let next = match again {
            Some(client) if !self.random.happens(self.weather.switch) => Some(client),
            _ => self.another(),
        };
        self.running = next;
        self.granted = next;
        next
    }

    fn another(&mut self) -> Option<Client> {
        let ready = |schedule: &Self| -> Vec<Client> {
            (0..schedule.left.len()).filter(|client| !schedule.left[*client] && schedule.asleep[*client] == 0).collect()
        };
        let mut clients = ready(self);
        if clients.is_empty() {
            self.asleep.fill(0);
            clients = ready(self);
        }
        if clients.is_empty() { None } else { Some(clients[self.random.below(clients.len())]) }
    }

    /// What happens by itself.
    fn disturb(&mut self, inner: &mut Inner) {
        inner.now += 1;
        if !inner.late.is_empty() && self.random.happens(100) {
            let which = self.random.below(inner.late.len());
            inner.execute_late(which);
        }
        if let Some(client) = self.running.filter(|_| self.random.happens(self.weather.sleeps)) {
            self.asleep[client] = 20 + self.random.below(400) as u32;
            if self.random.happens(300) {
                let hours = 1 + self.random.below(60) as i64;
                inner.now += 3600 * hours;
                inner.note(format!("{hours} hours go by"));
            }
            inner.note(format!("client {client} is suspended"));
        }
        if !inner.harmed && self.random.happens(self.weather.harm) {
            inner.harm(&mut self.random);
        }
        if self.cuts_left > 0 && self.random.happens(self.weather.power_cut) {
            self.cuts_left -= 1;
            let power = if self.random.happens(500) { Power::Lost } else { Power::Subset };
            inner.power_cut(power, &mut self.random);
            // Of clients on other machines some live on.
            for actor in &mut inner.actors {
                actor.dead |= self.random.happens(700);
            }
            inner.note(format!("the power is cut: {power:?}"));
        }
    }

    /// Whether a client's list is a stale one.
    pub(super) fn is_stale(&mut self, client: Client) -> bool {
        self.luck[client].happens(self.weather.stale)
    }

    /// What becomes of a client's request.
    pub(super) fn fate(&mut self, client: Client, request: Request) -> Fate {
        let weather = self.weather;
        let luck = &mut self.luck[client];
        if luck.happens(weather.dies) {
            return if luck.happens(500) { Fate::DiesBefore } else { Fate::DiesAfter };
        }
        if luck.happens(weather.fails) {
            return Fate::Fails;
        }
        if request.writes() && luck.happens(weather.ack_lost) {
            return Fate::AckLost;
        }
        if request.writes() && luck.happens(weather.late) {
            return Fate::Late;
        }
        Fate::Good
    }
}
