//! What clients do: the verbs of the engine, each in a newly opened repository, as a process would.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use engine::clock::{Clock, Timestamp};
use engine::crypto::Secret;
use engine::id::SnapshotId;
use engine::monitor::Silent;
use engine::ops::{
    self, InitOptions, MaxUnused, PruneOptions, RepairOptions, SnapshotFilter, SnapshotInput, SnapshotOptions,
    TagChange, Undeleted, find_snapshot, list_snapshots,
};
use engine::repository::{Index, Repository};
use engine::storage::Storage;
use engine::{EngineError, ErrorKind, Result};

use super::material::{self, FIRST_TREE, Trees};
use super::site::Site;
use super::world::Client;

/// A snapshot that somebody was told of.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    /// Its id.
    pub id: SnapshotId,
    /// What it holds.
    pub material: u64,
}

/// All that was promised, as clients were told, and what may end a promise.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    /// Every snapshot that a command reported.
    pub promises: Vec<Promise>,
    /// When somebody first asked to forget or to replace a snapshot. That may be before its own writer is told that it
    /// exists: others see it as soon as its register is there.
    given_up: HashMap<SnapshotId, i64>,
    /// The latest moment at which a prune ended, by that prune's own clock.
    pruned: Option<i64>,
    /// The same of prunes that had leave to drop what was just forgotten, by the world's clock.
    pruned_at_once: Option<i64>,
    /// What the slowest clock of a prune was ahead, in seconds.
    slowest: Option<i64>,
}

impl Ledger {
    /// Whether a snapshot may be gone: it was given up, and since then prunes ran that had leave to drop it. One notices a
    /// record by its own clock, and another one counts the grace time from there by its own.
    pub fn is_over(&self, id: SnapshotId) -> bool {
        let Some(since) = self.given_up.get(&id) else { return false };
        self.pruned_at_once.is_some_and(|pruned| pruned >= *since)
            || self.pruned.is_some_and(|pruned| pruned >= since + self.slowest.unwrap_or(0) + GRACE)
    }

    fn promise(&mut self, id: SnapshotId, material: u64) {
        self.promises.push(Promise { id, material });
    }
}

/// What a forgotten snapshot is kept for, in seconds.
pub const GRACE: i64 = 10 * DAY;
/// A session that is open longer may be revoked, in seconds.
const DAY: i64 = 24 * 3600;

/// A verb and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Makes a repository.
    Init,
    /// Saves a stream.
    Stream(u64),
    /// Saves a stream of several packs.
    LargeStream(u64),
    /// Saves a tree; compares with the last one.
    Tree(u64),
    /// Saves a tree without comparing.
    ForcedTree(u64),
    /// Saves a tree; makes no snapshot if it is as the last one.
    TreeIfChanged(u64),
    /// Forgets the listed snapshot of this position, counted around.
    Forget(usize),
    /// Brings back the forgotten snapshot of this position, counted around.
    Undelete(usize),
    /// Tags the listed snapshot of this position, counted around.
    Tag(usize, String),
    /// Prunes: with the grace time, or without; revoking sessions that are open, or not.
    Prune {
        /// Drops what was forgotten at once.
        at_once: bool,
        /// Revokes open sessions at once; otherwise those that are a day old.
        revoke: bool,
    },
    /// Repairs.
    Repair(Repair),
    /// Adds a key.
    AddKey,
    /// Removes a key that is not in use.
    RemoveKey,
    /// Changes the password: adds a key and removes the one in use.
    ChangeKey,
}

/// What is repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Packs that no index object lists, and index objects that can't be read.
    Index,
    /// Packs that are damaged or gone.
    Packs,
    /// Snapshots that lost something.
    Snapshots,
}

/// A time that its owner sets.
pub struct SiteClock {
    site: Arc<dyn Site>,
    /// What this machine's clock is ahead, in seconds.
    ahead: i64,
}

impl Clock for SiteClock {
    fn now(&self) -> Timestamp {
        Timestamp::new(self.site.now() + self.ahead, 0)
    }
}

/// A machine that uses the storage.
pub struct Machine<'a> {
    /// What it uses.
    pub site: Arc<dyn Site>,
    /// Which client of it it is.
    pub client: Client,
    /// What opens the repository.
    pub secret: &'a Secret,
    /// Another secret, for the verbs of keys.
    pub other_secret: &'a Secret,
    /// Where its cache is.
    pub cache: PathBuf,
    /// Trees to save.
    pub trees: &'a Trees,
    /// What was promised.
    pub ledger: Arc<Mutex<Ledger>>,
    /// What its clock is ahead, in seconds.
    pub ahead: i64,
}

const PROGRAM: &str = "simulator";

impl Machine<'_> {
    /// Its name: machines of the same name take over what is left behind.
    pub fn host(&self) -> String {
        "machine".into()
    }

    /// The ledger.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no holder of this lock panics")
    }

    /// Its clock.
    pub fn clock(&self) -> SiteClock {
        SiteClock { site: Arc::clone(&self.site), ahead: self.ahead }
    }

    fn storage(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.site).open(self.client)
    }

    /// Opens the repository.
    ///
    /// # Errors
    /// The engine's.
    pub fn open(&self) -> Result<Repository> {
        Repository::open(self.storage(), self.secret, &self.cache)
    }

    /// Does it.
    ///
    /// # Errors
    /// The engine's.
    pub fn run(&self, verb: &Verb) -> Result<()> {
        match verb {
            Verb::Init => self.init(),
            Verb::Stream(number) => self.save_stream(*number, material::stream(*number)).map(drop),
            Verb::LargeStream(number) => self.save_stream(*number, material::large_stream(*number)).map(drop),
            Verb::Tree(number) => self.save_tree(*number, &SnapshotOptions::default()),
            Verb::ForcedTree(number) => {
                self.save_tree(*number, &SnapshotOptions { force: true, ..SnapshotOptions::default() })
            }
            Verb::TreeIfChanged(number) => {
                self.save_tree(*number, &SnapshotOptions { skip_if_unchanged: true, ..SnapshotOptions::default() })
            }
            Verb::Forget(position) => self.forget(*position),
            Verb::Undelete(position) => self.undelete(*position),
            Verb::Tag(position, tag) => self.tag(*position, tag),
            Verb::Prune { at_once, revoke } => self.prune(*at_once, *revoke),
            Verb::Repair(which) => self.repair(*which),
            Verb::AddKey => ops::add_key(&self.open()?, self.other_secret, "other", false, &self.clock()).map(drop),
            Verb::RemoveKey => self.remove_key(),
            Verb::ChangeKey => self.open().and_then(|repository| {
                ops::change_password(&repository, self.other_secret, false, &self.clock()).map(drop)
            }),
        }
    }

    fn init(&self) -> Result<()> {
        let options = InitOptions {
            cipher: ops::CipherChoice::XChaCha20Poly1305,
            chunk_size: Some(512),
            dump_chunk_size: Some(512),
            pack_size: Some(1 << 20),
            ..InitOptions::default()
        };
        ops::init(&*self.storage(), self.secret, &options, &self.clock()).map(drop)
    }

    fn options(&self, number: u64, given: &SnapshotOptions) -> SnapshotOptions {
        SnapshotOptions {
            host: self.host(),
            program: PROGRAM.into(),
            tags: vec![material::tag(number)],
            ..given.clone()
        }
    }

    fn save(&self, input: SnapshotInput<'_>, number: u64, options: &SnapshotOptions) -> Result<Option<SnapshotId>> {
        let report = ops::snapshot(&self.open()?, input, options, &self.clock(), &Silent)?;
        if report.statistics.problems > 0 {
            return Err(EngineError::new(
                ErrorKind::Invalid,
                format!("the source has problems: {:?}", report.problems),
            ));
        }
        if let Some(id) = report.snapshot {
            self.ledger().promise(id, number);
        }
        Ok(report.snapshot)
    }

    /// Saves these bytes as material of this number.
    ///
    /// # Errors
    /// The engine's.
    pub fn save_stream(&self, number: u64, bytes: Vec<u8>) -> Result<Option<SnapshotId>> {
        let options = self.options(number, &SnapshotOptions::default());
        let mut read = bytes.as_slice();
        let input = SnapshotInput::Stream { name: b"stream".to_vec(), read: &mut read, finish: Box::new(|| Ok(())) };
        self.save(input, number, &options)
    }

    fn save_tree(&self, number: u64, given: &SnapshotOptions) -> Result<()> {
        use std::os::unix::ffi::OsStrExt;
        let number = FIRST_TREE + number % material::TREES;
        let options = SnapshotOptions { as_path: Some(b"/data".to_vec()), ..self.options(number, given) };
        let path = self.trees.path(number).as_os_str().as_bytes().to_vec();
        self.save(SnapshotInput::Paths(vec![path]), number, &options).map(drop)
    }

    fn give_up(&self, id: SnapshotId) {
        let now = self.site.now();
        self.ledger().given_up.entry(id).or_insert(now);
    }

    fn forget(&self, position: usize) -> Result<()> {
        let repository = self.open()?;
        let listed = list_snapshots(&repository, &SnapshotFilter::default())?.snapshots;
        let Some((id, _)) = listed.get(position % listed.len().max(1)) else { return Ok(()) };
        self.forget_in(&repository, *id)
    }

    /// Forgets a snapshot.
    ///
    /// # Errors
    /// The engine's.
    pub fn forget_one(&self, id: SnapshotId) -> Result<()> {
        self.forget_in(&self.open()?, id)
    }

    fn forget_in(&self, repository: &Repository, id: SnapshotId) -> Result<()> {
        let plan = ops::plan_named(repository, &[id.to_hex()], &SnapshotFilter::default())?;
        self.give_up(id);
        ops::forget(repository, &plan, &self.host(), PROGRAM, &self.clock(), &Silent).map(drop)
    }

    fn undelete(&self, position: usize) -> Result<()> {
        let repository = self.open()?;
        let listed = ops::list_forgotten(&repository, &SnapshotFilter::default())?.snapshots;
        let Some((id, ..)) = listed.get(position % listed.len().max(1)) else { return Ok(()) };
        self.undelete_in(&repository, *id)
    }

    /// Brings a forgotten snapshot back.
    ///
    /// # Errors
    /// The engine's.
    pub fn undelete_one(&self, id: SnapshotId) -> Result<()> {
        self.undelete_in(&self.open()?, id)
    }

    fn undelete_in(&self, repository: &Repository, id: SnapshotId) -> Result<()> {
        let (_, snapshot) = find_snapshot(repository, &id.to_hex(), &SnapshotFilter::default())?;
        let done = ops::undelete(repository, &[id.to_hex()], &self.host(), PROGRAM, &self.clock())?;
        for (_, what) in done {
            if let (Undeleted::Back(id), Some(material)) = (what, material::number_of(&snapshot.tags)) {
                self.ledger().promise(id, material);
            }
        }
        Ok(())
    }

    fn tag(&self, position: usize, tag: &str) -> Result<()> {
        let repository = self.open()?;
        let listed = list_snapshots(&repository, &SnapshotFilter::default())?.snapshots;
        let Some((id, snapshot)) = listed.get(position % listed.len().max(1)) else { return Ok(()) };
        let change = TagChange { add: vec![tag.to_owned()], ..TagChange::default() };
        self.give_up(*id);
        let one = [(*id, snapshot.clone())];
        for (_, new) in ops::tag(&repository, &one, &change, &self.host(), PROGRAM, &self.clock())? {
            if let Some(material) = material::number_of(&snapshot.tags) {
                self.ledger().promise(new, material);
            }
        }
        Ok(())
    }

    fn prune(&self, at_once: bool, revoke: bool) -> Result<()> {
        let repository = self.open()?;
        let options = PruneOptions {
            dry_run: false,
            grace_seconds: if at_once { 0 } else { GRACE },
            max_unused: MaxUnused::Percent(5.0),
            max_repack: None,
            revoke_after_seconds: if revoke { 0 } else { DAY },
            host: self.host(),
            program: PROGRAM.into(),
            wait: &|_| false,
        };
        // Whatever becomes of it, it may have noticed what is forgotten.
        {
            let mut ledger = self.ledger();
            ledger.slowest = Some(ledger.slowest.map_or(self.ahead, |slowest| slowest.min(self.ahead)));
        }
        let pruned = ops::prune(&repository, &options, &self.clock(), &Silent);
        let now = self.site.now();
        let mut ledger = self.ledger();
        ledger.pruned = ledger.pruned.max(Some(now + self.ahead));
        // What is forgotten by now may go, and what is forgotten while it runs: its clock is asked later.
        if at_once {
            ledger.pruned_at_once = ledger.pruned_at_once.max(Some(now));
        }
        pruned.map(drop)
    }

    fn repair(&self, which: Repair) -> Result<()> {
        let repository = self.open()?;
        let options = RepairOptions { dry_run: false, host: self.host(), program: PROGRAM.into() };
        let clock = self.clock();
        match which {
            Repair::Index => ops::repair_index(&repository, &options, &clock, &Silent).map(drop),
            Repair::Packs => ops::repair_packs(&repository, &[], &options, &clock, &Silent).map(drop),
            Repair::Snapshots => ops::repair_snapshots(&repository, &[], &options, &clock, &Silent).map(drop),
        }
    }

    fn remove_key(&self) -> Result<()> {
        let repository = self.open()?;
        let (slots, _) = ops::list_keys(&repository)?;
        match slots.iter().find(|slot| !slot.current) {
            Some(slot) => ops::remove_key(&repository, &slot.id.to_hex(), false, &self.clock()).map(drop),
            None => Ok(()),
        }
    }
}

/// The bytes of the files of a snapshot, by path, read by the engine's `dump`.
///
/// # Errors
/// The engine's.
pub fn restored(repository: &Repository, index: &Index, id: SnapshotId, paths: &[String]) -> Result<Vec<Vec<u8>>> {
    let (_, snapshot) = find_snapshot(repository, &id.to_hex(), &SnapshotFilter::default())?;
    let dump = |path: &String| {
        let mut bytes = Vec::new();
        ops::dump_file(repository, index, &snapshot, path.as_bytes(), &mut bytes).map(|()| bytes)
    };
    paths.iter().map(dump).collect()
}

/// Removes a cache.
pub fn drop_cache(cache: &Path) {
    let _ = std::fs::remove_dir_all(cache);
}
