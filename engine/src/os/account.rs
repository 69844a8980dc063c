//! Names of users and groups, each asked for once.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::hash::Hash;
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;

/// The machine's users and groups. The system is asked once for each: behind it can be a server.
#[derive(Debug, Default)]
pub struct Accounts {
    user_names: Cache<u32, Vec<u8>>,
    group_names: Cache<u32, Vec<u8>>,
    user_ids: Cache<Vec<u8>, u32>,
    group_ids: Cache<Vec<u8>, u32>,
}

impl Accounts {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of a user.
    pub fn user_name(&self, uid: u32) -> Option<Vec<u8>> {
        self.user_names.get(uid, |&uid| Some(uzers::get_user_by_uid(uid)?.name().as_bytes().to_vec()))
    }

    /// The name of a group.
    pub fn group_name(&self, gid: u32) -> Option<Vec<u8>> {
        self.group_names.get(gid, |&gid| Some(uzers::get_group_by_gid(gid)?.name().as_bytes().to_vec()))
    }

    /// The id of a user.
    pub fn user_id(&self, name: &[u8]) -> Option<u32> {
        self.user_ids.get(name.to_vec(), |name| {
            // A NUL, which a snapshot can hold, ends no name here.
            let name = name_of(name)?;
            Some(uzers::get_user_by_name(name)?.uid())
        })
    }

    /// The id of a group.
    pub fn group_id(&self, name: &[u8]) -> Option<u32> {
        self.group_ids.get(name.to_vec(), |name| Some(uzers::get_group_by_name(name_of(name)?)?.gid()))
    }
}

fn name_of(name: &[u8]) -> Option<&OsStr> {
    (!name.is_empty() && !name.contains(&0)).then(|| OsStr::from_bytes(name))
}

#[derive(Debug)]
struct Cache<K, V>(Mutex<HashMap<K, Option<V>>>);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    fn get(&self, key: K, ask: impl FnOnce(&K) -> Option<V>) -> Option<V> {
        let mut known = self.0.lock().expect("no holder of this lock panics");
        if let Some(value) = known.get(&key) {
            return value.clone();
        }
        let value = ask(&key);
        known.insert(key, value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_nobody_has_the_largest_id() {
        let accounts = Accounts::new();
        for _ in 0..2 {
            assert_eq!(accounts.user_name(0).as_deref(), Some(b"root".as_slice()));
            assert_eq!(accounts.group_name(0).as_deref(), Some(b"root".as_slice()));
            assert_eq!(accounts.user_id(b"root"), Some(0));
            assert_eq!(accounts.group_id(b"root"), Some(0));
            assert_eq!(accounts.user_name(4_000_000_123), None);
            assert_eq!(accounts.user_id(b"no such user \xff"), None);
            assert_eq!(accounts.user_id(b"root\0x"), None);
            assert_eq!(accounts.group_id(b""), None);
        }
    }
}
