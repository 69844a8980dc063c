//! Memory as a storage, for tests and for trying things.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use super::{Capabilities, ObjectFamily, ObjectName, Outcome, Storage};
use crate::error::{EngineError, ErrorKind, Result};

/// Objects in a map.
#[derive(Default)]
pub struct MemoryStorage {
    objects: Mutex<BTreeMap<ObjectName, Vec<u8>>>,
}

impl MemoryStorage {
    fn objects(&self) -> MutexGuard<'_, BTreeMap<ObjectName, Vec<u8>>> {
        self.objects.lock().expect("no holder of this lock panics")
    }
}

impl Storage for MemoryStorage {
    fn list(&self, of: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        for (name, bytes) in self.objects().iter().filter(|(name, _)| name.family() == of) {
            each(*name, bytes.len() as u64);
        }
        Ok(())
    }

    fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        let objects = self.objects();
        let bytes = objects
            .get(&name)
            .ok_or_else(|| EngineError::new(ErrorKind::Missing, format!("object {name} is missing")).about(name))?;
        let range = range.unwrap_or(0..bytes.len() as u64);
        if range.end - range.start > max {
            return Err(EngineError::damaged(format!("object {name} is too large")).about(name));
        }
        let range = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        range
            .and_then(|(start, end)| bytes.get(start..end))
            .map(<[u8]>::to_vec)
            .ok_or_else(|| EngineError::damaged(format!("object {name} is cut short")).about(name))
    }

    fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        match self.objects().entry(name) {
            std::collections::btree_map::Entry::Occupied(_) => Ok(Outcome::Existed),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(parts.concat());
                Ok(Outcome::Written)
            }
        }
    }

    fn remove(&self, name: ObjectName) -> Result<()> {
        self.objects().remove(&name);
        Ok(())
    }

    fn persist(&self, _: ObjectName) -> Result<()> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { put_if_absent: true, local_directory: None, is_past: false, locks: false }
    }
}
