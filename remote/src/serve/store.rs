//! The repositories below a directory, and the work on them that blocks: an object is checked, written, read, removed.
//!
//! Only names that [`RepositoryName`] and [`ObjectName`] have are looked for, no part of a repository's path is a link,
//! and an object gets its name only when all of it is there and is what the name promises.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::format::ObjectKind;
use engine::storage::{LocalStorage, ObjectFamily, ObjectName, Outcome, Storage};
use engine::{EngineError, ErrorKind};

use crate::protocol::{Code, Refusal, RepositoryName};

/// How long what was counted is believed before a client is refused because of it.
const COUNT_AGAIN: Duration = Duration::from_secs(10);
/// What an object takes of a quota at least, in bytes: a file takes a block, however little is in it.
const LEAST_BYTES: u64 = 4 << 10;

/// All repositories of a server.
#[derive(Debug)]
pub(super) struct Repositories {
    root: PathBuf,
    /// Whether `root` is the repository, and not a directory of some.
    is_only: bool,
    quota: Option<u64>,
    /// Whether bytes must be what their name promises. Only tests of the storage alone do without.
    pub(super) verifies: bool,
    accounts: Mutex<HashMap<RepositoryName, Arc<Account>>>,
}

/// What a repository has of its quota.
#[derive(Debug, Default)]
struct Account {
    /// Held while an object goes and is taken off, and while all are counted: whoever takes off what another has taken off,
    /// or what was not counted, gains room. Taken before `usage`.
    removal: Mutex<()>,
    usage: Mutex<Usage>,
}

#[derive(Debug, Default)]
struct Usage {
    bytes: u64,
    /// What is being written.
    pending: u64,
    /// When all objects were counted.
    counted: Option<Instant>,
}

/// Bytes that an upload may take; given back when it is dropped, unless they were used.
#[derive(Debug, Default)]
pub(super) struct Reservation {
    account: Option<Arc<Account>>,
    bytes: u64,
}

impl Reservation {
    fn used(mut self) {
        if let Some(account) = self.account.take() {
            let mut usage = lock(&account.usage);
            usage.pending = usage.pending.saturating_sub(self.bytes);
            usage.bytes = usage.bytes.saturating_add(self.bytes);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            let mut usage = lock(&account.usage);
            usage.pending = usage.pending.saturating_sub(self.bytes);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Repositories {
    /// Those below `root`, or the one that `root` is. Quota in bytes for each.
    pub(super) fn new(root: &Path, is_only: bool, quota: Option<u64>) -> Self {
        Self { root: root.to_owned(), is_only, quota, verifies: true, accounts: Mutex::default() }
    }

    /// The directory of a repository, unless a part of it is a link or no directory; whether it is there.
    fn directory(&self, name: &RepositoryName) -> Result<(PathBuf, bool), Refusal> {
        let mut path = self.root.clone();
        if self.is_only {
            if *name != RepositoryName::only() {
                return Err(Refusal::new(Code::Forbidden, "there is one repository here, called repository"));
            }
            return Ok((path.clone(), path.is_dir()));
        }
        let mut is_there = true;
        for part in name.parts() {
            path.push(part);
            match path.symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => return Err(Refusal::new(Code::Forbidden, "a part of the repository's path is no directory")),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => is_there = false,
                Err(error) => return Err(failed(&EngineError::io("look at", &path, error))),
            }
        }
        Ok((path, is_there))
    }

    /// The repository, if there is a directory.
    pub(super) fn find(&self, name: &RepositoryName) -> Result<Option<LocalStorage>, Refusal> {
        let (path, is_there) = self.directory(name)?;
        if !is_there {
            return Ok(None);
        }
        LocalStorage::open(&path, false).map(Some).map_err(|error| failed(&error))
    }

    fn found(&self, repository: &RepositoryName) -> Result<LocalStorage, Refusal> {
        self.find(repository)?.ok_or_else(|| Refusal::new(Code::Missing, "there is no such repository"))
    }

    /// Whether an object is there.
    pub(super) fn has(&self, repository: &RepositoryName, name: ObjectName) -> Result<bool, Refusal> {
        match self.len(repository, name) {
            Err(refusal) if refusal.code == Code::Missing => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// Length in bytes of an object.
    pub(super) fn len(&self, repository: &RepositoryName, name: ObjectName) -> Result<u64, Refusal> {
        let path = self.found(repository)?.root().join(name.to_string());
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
            Ok(_) => Err(Refusal::new(Code::Failed, format!("object {name} is no file"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Refusal::new(Code::Missing, format!("object {name} is missing")))
            }
            Err(error) => Err(failed(&EngineError::io("look at", &path, error))),
        }
    }

    /// Reads a range of an object.
    pub(super) fn read(&self, at: &RepositoryName, name: ObjectName, range: Range<u64>) -> Result<Vec<u8>, Refusal> {
        let len = range.end.saturating_sub(range.start);
        self.found(at)?.read_once(name, Some(range), len).map_err(|error| failed(&error))
    }

    /// Calls `each` for the objects of a family.
    pub(super) fn list(
        &self,
        repository: &RepositoryName,
        family: ObjectFamily,
        each: &mut dyn FnMut(ObjectName, u64),
    ) -> Result<(), Refusal> {
        match self.find(repository)? {
            Some(storage) => storage.list(family, each).map_err(|error| failed(&error)),
            None => Ok(()),
        }
    }

    /// Writes an object, if it is what its name promises.
    pub(super) fn put(
        &self,
        repository: &RepositoryName,
        name: ObjectName,
        bytes: &[u8],
        reservation: Reservation,
    ) -> Result<(), Refusal> {
        if self.verifies {
            verify(name, bytes).map_err(|why| Refusal::new(Code::Mismatch, format!("object {name}: {why}")))?;
        }
        let (path, _) = self.directory(repository)?;
        let outcome = LocalStorage::open(&path, true).and_then(|storage| storage.write_new(name, &[bytes]));
        match outcome.map_err(|error| failed(&error))? {
            Outcome::Written => {
                reservation.used();
                Ok(())
            }
            Outcome::Existed => Err(Refusal::new(Code::Existed, format!("object {name} exists"))),
        }
    }

    /// Removes an object; one that isn't there is removed already.
    pub(super) fn remove(&self, repository: &RepositoryName, name: ObjectName) -> Result<(), Refusal> {
        let Some(storage) = self.find(repository)? else { return Ok(()) };
        let Some(account) = self.account(repository) else {
            return storage.remove(name).map_err(|error| failed(&error));
        };
        let _alone = lock(&account.removal);
        let charge = self.len(repository, name).map_or(0, charge);
        storage.remove(name).map_err(|error| failed(&error))?;
        let mut usage = lock(&account.usage);
        usage.bytes = usage.bytes.saturating_sub(charge);
        Ok(())
    }

    /// What is known of a repository's quota, if there is one.
    fn account(&self, repository: &RepositoryName) -> Option<Arc<Account>> {
        self.quota?;
        Some(Arc::clone(lock(&self.accounts).entry(repository.clone()).or_default()))
    }

    /// Makes an object last.
    pub(super) fn persist(&self, repository: &RepositoryName, name: ObjectName) -> Result<(), Refusal> {
        match self.find(repository)? {
            Some(storage) => storage.persist(name).map_err(|error| failed(&error)),
            None => Ok(()),
        }
    }

    /// Removes what interrupted uploads left, if it was last touched before a time in seconds since 1970.
    pub(super) fn remove_unfinished(&self, repository: &RepositoryName, before: i64) -> Result<u64, Refusal> {
        let Some(storage) = self.find(repository)? else { return Ok(0) };
        storage.remove_unfinished(engine::clock::Timestamp::new(before, 0)).map_err(|error| failed(&error))
    }

    /// Sets room aside for an upload.
    ///
    /// # Errors
    /// `Quota`. Others may have made room in the directory itself, so it is counted again before that is said.
    pub(super) fn reserve(&self, repository: &RepositoryName, bytes: u64) -> Result<Reservation, Refusal> {
        let (Some(quota), Some(account)) = (self.quota, self.account(repository)) else {
            return Ok(Reservation::default());
        };
        let bytes = charge(bytes);
        let is_too_much = |usage: &Usage| usage.bytes.saturating_add(usage.pending).saturating_add(bytes) > quota;
        let is_old = |usage: &Usage| match usage.counted {
            None => true,
            Some(counted) => is_too_much(usage) && counted.elapsed() >= COUNT_AGAIN,
        };
        let mut usage = lock(&account.usage);
        if is_old(&usage) {
            drop(usage);
            let _alone = lock(&account.removal);
            usage = lock(&account.usage);
            // Another may have counted in between.
            if is_old(&usage) {
                usage.bytes = self.count(repository)?;
                usage.counted = Some(Instant::now());
            }
        }
        if is_too_much(&usage) {
            let text = format!("the quota of the repository is {quota} bytes, of which {} are in use", usage.bytes);
            return Err(Refusal::new(Code::Quota, text));
        }
        usage.pending += bytes;
        drop(usage);
        Ok(Reservation { account: Some(account), bytes })
    }

    fn count(&self, repository: &RepositoryName) -> Result<u64, Refusal> {
        let mut bytes = 0_u64;
        for family in ObjectFamily::ALL {
            self.list(repository, family, &mut |_, len| bytes = bytes.saturating_add(charge(len)))?;
        }
        Ok(bytes)
    }
}

/// What an object of that length takes of a quota, in bytes.
fn charge(len: u64) -> u64 {
    len.max(LEAST_BYTES)
}

/// Whether bytes are what a name promises, as far as one can see without a key (FORMAT.md, chapter 2).
fn verify(name: ObjectName, bytes: &[u8]) -> Result<(), String> {
    let kind = match name {
        ObjectName::Config => ObjectKind::Config,
        ObjectName::Key(_) => ObjectKind::Key,
        ObjectName::Pack(_) => ObjectKind::Pack,
        ObjectName::Index(_) => ObjectKind::Index,
        ObjectName::Snapshot(_) => ObjectKind::Snapshot,
        ObjectName::Intent(_) => ObjectKind::Intent,
        ObjectName::Register(_) => ObjectKind::Register,
        ObjectName::Forgotten(_) => ObjectKind::Forgotten,
        ObjectName::Proof(_) => ObjectKind::Proof,
        ObjectName::PrunePlan(_) => ObjectKind::PrunePlan,
        ObjectName::PruneState(_) => ObjectKind::PruneState,
        ObjectName::PruneDone(_) => ObjectKind::PruneDone,
        ObjectName::PruneReserve => ObjectKind::PruneReserve,
        ObjectName::Client(_) => ObjectKind::Client,
        ObjectName::ClientEnd(_) => ObjectKind::ClientEnd,
        ObjectName::Root(_) => ObjectKind::Root,
    };
    let rest = kind.strip(bytes).map_err(|error| error.to_string())?;
    let hash = || *blake3::hash(bytes).as_bytes();
    let is_named_so = match name {
        ObjectName::Pack(id) => hash() == *id.as_bytes(),
        ObjectName::Index(id) => hash() == *id.as_bytes(),
        ObjectName::Snapshot(id) => hash() == *id.as_bytes(),
        ObjectName::Proof(id) => hash() == *id.as_bytes(),
        ObjectName::Key(id) => rest.starts_with(id.as_bytes()),
        ObjectName::Intent(id) => rest.starts_with(id.as_bytes()),
        // A map, key 0, sixteen bytes: the session.
        ObjectName::Register(id) => {
            matches!(rest.split_first_chunk::<3>(), Some(([0xa2..=0xb7, 0x00, 0x50], rest)) if rest.starts_with(id.as_bytes()))
        }
        _ => true,
    };
    if is_named_so { Ok(()) } else { Err("its bytes are not what its name promises".to_owned()) }
}

/// What an error of the storage is to a client. Paths of the server are none of its business, so only the cause is told.
fn failed(error: &EngineError) -> Refusal {
    use std::io::ErrorKind as Io;
    match (error.kind(), error.io_error().map(std::io::Error::kind)) {
        (ErrorKind::Missing, _) => Refusal::new(Code::Missing, error.to_string()),
        (ErrorKind::Damaged, _) => Refusal::new(Code::OutOfRange, error.to_string()),
        (_, Some(Io::StorageFull | Io::QuotaExceeded)) => Refusal::new(Code::Full, "the server's disk is full"),
        (_, Some(kind)) => Refusal::new(Code::Failed, format!("the server's storage failed: {kind}")),
        _ => Refusal::new(Code::Failed, "the server's storage failed"),
    }
}

#[cfg(test)]
mod tests {
    use engine::id::{PackId, SessionId};

    use super::*;

    #[test]
    fn bytes_must_be_what_their_name_promises() {
        let mut pack = ObjectKind::Pack.header().to_vec();
        pack.extend_from_slice(b"segments");
        let name = ObjectName::Pack(PackId::new(*blake3::hash(&pack).as_bytes()));
        assert_eq!(verify(name, &pack), Ok(()));
        assert!(verify(ObjectName::Pack(PackId::new([0; 32])), &pack).is_err());
        assert!(verify(name, b"").is_err() && verify(name, b"some bytes").is_err());
        let session = SessionId::new([5; 16]);
        let mut register = ObjectKind::Register.header().to_vec();
        register.extend_from_slice(&[0xa2, 0x00, 0x50]);
        register.extend_from_slice(&[5; 16]);
        assert_eq!(verify(ObjectName::Register(session), &register), Ok(()));
        assert!(verify(ObjectName::Register(SessionId::new([6; 16])), &register).is_err());
        assert!(verify(ObjectName::Intent(session), &register).is_err());
    }

    #[test]
    fn no_part_of_a_path_is_a_link() {
        let scratch = tempfile::tempdir().expect("scratch");
        std::fs::create_dir_all(scratch.path().join("root")).expect("a directory");
        std::fs::create_dir_all(scratch.path().join("elsewhere/b")).expect("a directory");
        std::os::unix::fs::symlink("../elsewhere", scratch.path().join("root/a")).expect("a link");
        let repositories = Repositories::new(&scratch.path().join("root"), false, None);
        let name = RepositoryName::parse("a/b").expect("a name");
        assert_eq!(repositories.find(&name).map(drop).expect_err("refused").code, Code::Forbidden);
    }

    #[test]
    fn room_that_is_not_used_is_given_back() {
        let scratch = tempfile::tempdir().expect("scratch");
        let mut repositories = Repositories::new(scratch.path(), false, Some(10_000));
        repositories.verifies = false;
        let name = RepositoryName::parse("a").expect("a name");
        let first = repositories.reserve(&name, 8_000).expect("room");
        assert_eq!(repositories.reserve(&name, 3_000).expect_err("no room").code, Code::Quota);
        drop(first);
        let second = repositories.reserve(&name, 8_000).expect("room");
        repositories.put(&name, ObjectName::Config, &[7; 8_000], second).expect("written");
        assert!(repositories.reserve(&name, 3_000).is_err());
        repositories.remove(&name, ObjectName::Config).expect("removed");
        assert!(repositories.reserve(&name, 10_000).is_ok());
    }

    /// Bug: an object that many removed at once was taken off the quota by each. Cause: its length was read by all before
    /// the first had removed it. Fix: one after the other, and what is not there takes nothing off.
    #[test]
    fn an_object_is_taken_off_once() {
        let scratch = tempfile::tempdir().expect("scratch");
        let mut repositories = Repositories::new(scratch.path(), false, Some(40_000));
        repositories.verifies = false;
        let name = RepositoryName::parse("a").expect("a name");
        let put = |object: ObjectName| {
            let reservation = repositories.reserve(&name, 10_000).expect("room");
            repositories.put(&name, object, &[7; 10_000], reservation).expect("written");
        };
        put(ObjectName::Config);
        put(ObjectName::PruneReserve);
        for session in 0..32 {
            let object = ObjectName::Intent(SessionId::new([session; 16]));
            put(object);
            let together = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        together.wait();
                        repositories.remove(&name, object).expect("removed");
                    });
                }
            });
            assert_eq!(lock(&repositories.account(&name).expect("an account").usage).bytes, 20_000);
        }
    }

    /// Bug: any number of objects without bytes fitted into a quota, and each took an inode and a block.
    #[test]
    fn small_objects_take_a_block_each() {
        let scratch = tempfile::tempdir().expect("scratch");
        let repositories = Repositories::new(scratch.path(), false, Some(3 * LEAST_BYTES));
        let name = RepositoryName::parse("a").expect("a name");
        let _held = [1, 2, 3].map(|bytes| repositories.reserve(&name, bytes).expect("room"));
        assert_eq!(repositories.reserve(&name, 0).expect_err("no room").code, Code::Quota);
    }
}
