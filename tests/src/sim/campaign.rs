//! What all parts of a campaign share: a repository to begin with, secrets, trees, places for caches, and threads.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use engine::crypto::Secret;
use engine::format::{decode_intent, encode_intent};
use engine::repository::Repository;
use engine::storage::ObjectName;
use tempfile::TempDir;

use super::client::{Ledger, Machine};
use super::disk::Disk;
use super::material::Trees;
use super::site::Site;

/// What all parts share.
pub struct Campaign {
    scratch: TempDir,
    /// What opens the repositories.
    pub secret: Secret,
    /// What opens them after the verbs of keys.
    pub other_secret: Secret,
    /// Trees to save.
    pub trees: Trees,
    caches: AtomicU64,
}

impl Campaign {
    /// Makes the trees, in memory if there is a place for that.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new() -> io::Result<Self> {
        let memory = Path::new("/dev/shm");
        let scratch = match memory.is_dir() {
            true => tempfile::Builder::new().prefix("simulator-").tempdir_in(memory),
            false => tempfile::Builder::new().prefix("simulator-").tempdir(),
        }?;
        Ok(Self {
            secret: Secret::generate_key_file(),
            other_secret: Secret::generate_key_file(),
            trees: Trees::new(&scratch.path().join("trees"))?,
            caches: AtomicU64::new(0),
            scratch,
        })
    }

    /// A directory for a cache that nobody used before. It is not made.
    pub fn new_cache(&self) -> PathBuf {
        self.scratch.path().join(format!("cache-{}", self.caches.fetch_add(1, Ordering::Relaxed)))
    }

    /// A machine that uses a world.
    pub fn machine(
        &self,
        site: &Arc<impl Site + 'static>,
        client: usize,
        cache: PathBuf,
        ledger: &Arc<Mutex<Ledger>>,
    ) -> Machine<'_> {
        Machine {
            site: Arc::clone(site) as _,
            client,
            secret: &self.secret,
            other_secret: &self.other_secret,
            cache,
            trees: &self.trees,
            ledger: Arc::clone(ledger),
            ahead: 0,
        }
    }
}

thread_local! {
    /// Pools that this thread's clients used, to be used again.
    static POOLS: RefCell<Vec<Rc<rayon::ThreadPool>>> = const { RefCell::new(Vec::new()) };
}

/// So many pools of one thread each: what a client does by rayon is done there, so that clients which wait for their turn
/// don't keep others waiting, and its requests come in one order.
pub fn pools(count: usize) -> Vec<Rc<rayon::ThreadPool>> {
    POOLS.with_borrow_mut(|pools| {
        while pools.len() < count {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
            pools.push(Rc::new(pool.expect("a thread can be started")));
        }
        pools[..count].to_vec()
    })
}

/// Puts a reserve of prune that is a few bytes long.
pub fn put_reserve(disk: &mut Disk) {
    disk.put(ObjectName::PruneReserve, Arc::new([0; 8]), true);
}

/// Lets these sessions look as if their machine had been started anew since: their processes have certainly ended. With
/// `None` all open ones.
pub fn restart(disk: &mut Disk, repository: &Repository, only: Option<&[ObjectName]>) {
    let intents: Vec<(ObjectName, Arc<[u8]>)> = disk
        .objects()
        .iter()
        .filter(|(name, _)| matches!(name, ObjectName::Intent(_)) && only.is_none_or(|only| only.contains(name)))
        .map(|(name, object)| (*name, Arc::clone(&object.bytes)))
        .collect();
    for (name, bytes) in intents {
        let Ok((keys, mut intent)) = decode_intent(&bytes, repository.keys()) else { continue };
        let parts: Vec<&str> = intent.boot.splitn(3, '/').collect();
        intent.boot = format!("{}/earlier/{}", parts[0], parts.last().unwrap_or(&""));
        disk.overwrite(name, encode_intent(&intent, repository.keys(), &keys).into());
    }
}

/// Threads for each processor: clients hand turns to each other, which leaves processors idle for moments.
const THREADS_EACH: usize = 3;

/// Does `work` for every number below `count`, by some threads for each processor. The first error ends it.
///
/// # Errors
/// The error of the smallest number that has one, of those that were tried.
pub fn in_parallel<E: Send>(count: usize, work: impl Fn(usize) -> Result<(), E> + Sync) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let failures: Mutex<Vec<(usize, E)>> = Mutex::default();
    let threads = THREADS_EACH * std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    if let Err(error) = work(number) {
                        failures.lock().expect("no holder of this lock panics").push((number, error));
                        next.store(count, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no holder of this lock panics");
    failures.sort_by_key(|(number, _)| *number);
    failures.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
}

/// Copies the files of a cache. A cache that isn't there is an empty one.
///
/// # Errors
/// What the file system says.
pub fn copy_cache(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    if !from.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() { copy_cache(&path, &target)? } else { fs::copy(&path, target).map(|_| ())? }
    }
    Ok(())
}

/// Cuts the files of a cache in half: the power went while they were written.
///
/// # Errors
/// What the file system says.
pub fn tear_cache(cache: &Path) -> io::Result<()> {
    if !cache.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(cache)? {
        let path = entry?.path();
        if path.is_dir() {
            tear_cache(&path)?;
        } else {
            let file = fs::OpenOptions::new().write(true).open(&path)?;
            file.set_len(file.metadata()?.len() / 2)?;
        }
    }
    Ok(())
}
