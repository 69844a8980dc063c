//! What a storage holds: what everybody sees now, and what would be left after a power cut.
//!
//! The rules are those of the directory storage (`engine/src/os/durable.rs`). A put syncs the file, gives it its name and
//! syncs the directory; only then is it acknowledged. Between the last two steps others see the object already, and a
//! power cut can still take it away. A removal is the same the other way round. An acknowledged request survives.
//! *Torn* is more than such a directory does: the object is there, but not all of it. Storages that don't sync before
//! they rename do that.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::storage::{ObjectFamily, ObjectName};

use super::random::Random;

/// What a power cut does to what is not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Power {
    /// All of it is as it was before.
    Lost,
    /// Some of it happened, whatever the order was.
    Subset,
    /// As `Subset`, and objects that stay are cut short, zeroed, or half there.
    Torn,
}

impl Power {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Lost, Self::Subset, Self::Torn];
}

/// An object that is there.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// Whether it survives a power cut.
    pub durable: bool,
    /// Counts up: the number of the put.
    pub born: u64,
}

/// Objects, as everybody sees them, and what is not durable of that.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    objects: BTreeMap<ObjectName, Object>,
    /// Removed, but not durably.
    leaving: BTreeMap<ObjectName, Object>,
    /// Removed not long ago: a stale list may show them.
    gone: Vec<(ObjectName, u64)>,
    /// Objects that a power cut left torn.
    torn: Vec<ObjectName>,
    births: u64,
}

/// How many removed objects a stale list may show.
const GONE: usize = 8;

impl Disk {
    /// Puts an object unless there is one of that name. Whether it was put.
    pub fn put(&mut self, name: ObjectName, bytes: Arc<[u8]>, durable: bool) -> bool {
        if self.objects.contains_key(&name) {
            return false;
        }
        self.births += 1;
        self.objects.insert(name, Object { bytes, durable, born: self.births });
        self.gone.retain(|(gone, _)| *gone != name);
        true
    }

    /// An object's directory is synced: it stays, or its removal does.
    pub fn sync(&mut self, name: ObjectName) {
        if let Some(object) = self.objects.get_mut(&name) {
            object.durable = true;
        }
        self.leaving.remove(&name);
    }

    /// Removes an object.
    pub fn remove(&mut self, name: ObjectName, durable: bool) {
        let Some(object) = self.objects.remove(&name) else { return };
        self.gone.push((name, object.bytes.len() as u64));
        if self.gone.len() > GONE {
            self.gone.remove(0);
        }
        if !durable && object.durable {
            self.leaving.insert(name, object);
        }
    }

    /// An object's bytes.
    pub fn get(&self, name: ObjectName) -> Option<&Arc<[u8]>> {
        self.objects.get(&name).map(|object| &object.bytes)
    }

    /// All objects, by name.
    pub fn objects(&self) -> &BTreeMap<ObjectName, Object> {
        &self.objects
    }

    /// Objects of a family with their lengths, in the order in which they were put.
    pub fn list(&self, of: ObjectFamily) -> Vec<(ObjectName, u64)> {
        let of_family = self.objects.iter().filter(|(name, _)| name.family() == of);
        let mut found: Vec<_> =
            of_family.map(|(name, object)| (object.born, *name, object.bytes.len() as u64)).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, name, length)| (name, length)).collect()
    }

    /// What a stale list may show although it is gone.
    pub fn gone(&self, of: ObjectFamily) -> impl Iterator<Item = (ObjectName, u64)> + '_ {
        self.gone.iter().copied().filter(move |(name, _)| name.family() == of)
    }

    /// Objects that a power cut left torn and that are still there.
    pub fn torn(&self) -> impl Iterator<Item = ObjectName> + '_ {
        self.torn.iter().copied().filter(|name| self.objects.contains_key(name))
    }

    /// Puts other bytes in an object's place: damage, or a clock set back in an intent.
    pub fn overwrite(&mut self, name: ObjectName, bytes: Arc<[u8]>) {
        if let Some(object) = self.objects.get_mut(&name) {
            object.bytes = bytes;
        }
    }

    /// An index object that would survive a power cut is damaged all the same, or gone. Which one.
    pub fn harm_index(&mut self, random: &mut Random) -> Option<ObjectName> {
        let is_victim =
            |(name, object): &(&ObjectName, &Object)| name.family() == ObjectFamily::Indexes && object.durable;
        let names: Vec<ObjectName> = self.objects.iter().filter(is_victim).map(|(name, _)| *name).collect();
        let name = *names.get(random.below(names.len()))?;
        if random.happens(500) {
            self.objects.remove(&name);
        } else {
            self.tear(name, random);
        }
        Some(name)
    }

    /// The index object that was put last is gone, or half of it.
    pub fn harm_newest_index(&mut self, is_gone: bool) {
        let indexes = self.objects.iter().filter(|(name, _)| name.family() == ObjectFamily::Indexes);
        let Some(name) = indexes.max_by_key(|(_, object)| object.born).map(|(name, _)| *name) else { return };
        match self.objects.get_mut(&name) {
            Some(object) if !is_gone => object.bytes = object.bytes[..object.bytes.len() / 2].into(),
            _ => drop(self.objects.remove(&name)),
        }
    }

    /// The power is cut and comes back: what is there now is durable.
    pub fn power_cut(&mut self, power: Power, random: &mut Random) {
        let unsynced: Vec<ObjectName> =
            self.objects.iter().filter(|(_, object)| !object.durable).map(|(name, _)| *name).collect();
        let leaving: Vec<ObjectName> = self.leaving.keys().copied().collect();
        let count = unsynced.len() + leaving.len();
        // Of a single one, it is the other kind that loses it.
        let mut happened = |_| count == 1 || random.happens(500);
        let kept: Vec<bool> = (0..count).map(|number| power != Power::Lost && happened(number)).collect();
        let (puts, removals) = kept.split_at(unsynced.len());
        for (name, kept) in unsynced.iter().zip(puts) {
            if !kept {
                self.objects.remove(name);
            } else if power == Power::Torn {
                self.tear(*name, random);
            }
        }
        for (name, kept) in leaving.iter().zip(removals) {
            if let Some(object) = self.leaving.remove(name).filter(|_| !kept) {
                self.objects.entry(*name).or_insert(object);
            }
        }
        self.objects.values_mut().for_each(|object| object.durable = true);
        self.gone.clear();
    }

    fn tear(&mut self, name: ObjectName, random: &mut Random) {
        let Some(object) = self.objects.get_mut(&name) else { return };
        let mut bytes = object.bytes.to_vec();
        match random.below(4) {
            0 => bytes.clear(),
            1 => bytes.truncate(bytes.len() / 2),
            2 => bytes.fill(0),
            _ => {
                let half = bytes.len() / 2;
                bytes[half..].fill(0);
            }
        }
        object.bytes = bytes.into();
        self.torn.push(name);
    }
}
