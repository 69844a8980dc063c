//! Each command on a storage that fails in its middle: the server is killed, the network is cut, the client is not let in
//! any more, there is no more room. The command must say so and name the storage, or must have done all that it says; when
//! the fault is over, the same command does it, and nothing that was there before is lost.
//!
//! A fault comes when a part of the bytes has passed that the command usually needs, drawn from a seed; where it is room
//! that ends, after a part of these.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use engine::storage::{ObjectFamily, ObjectName};

use crate::binary::split;
use crate::compare::assert_diff_is_silent;
use crate::real::place::{end, start};
use crate::scratch::copy_tree;
use crate::servers::every::{Kind, Place};
use crate::tree::{Random, write};
use crate::{Run, Scratch, run_command, words};

/// What happens to a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The server is killed, and comes back after the command has ended.
    Killed,
    /// Something between hangs up, on everybody who comes, too.
    Cut,
    /// The client is not let in any more.
    Revoked,
    /// There is no more room.
    Full,
}

/// All of them.
pub const FAULTS: [Fault; 4] = [Fault::Killed, Fault::Cut, Fault::Revoked, Fault::Full];

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// `init`, of a repository of its own.
    Init,
    /// `snapshot`, of a source that has changed.
    Snapshot,
    /// `restore`, of any snapshot.
    Restore,
    /// `copy`, into a local repository.
    CopyOut,
    /// `copy`, out of a local repository.
    CopyIn,
    /// `forget`, of any snapshot.
    Forget,
    /// `prune`, with something to do.
    Prune,
    /// `check`, of all data.
    Check,
    /// `repair index`, with an index object that is gone.
    RepairIndex,
    /// `key add`, of a key file.
    KeyAdd,
    /// `tag`, of any snapshot.
    Tag,
}

/// All of them.
pub const VERBS: [Verb; 11] = [
    Verb::Init,
    Verb::Snapshot,
    Verb::Restore,
    Verb::CopyOut,
    Verb::CopyIn,
    Verb::Forget,
    Verb::Prune,
    Verb::Check,
    Verb::RepairIndex,
    Verb::KeyAdd,
    Verb::Tag,
];

impl Verb {
    /// Whether it writes to the storage.
    fn writes(self) -> bool {
        !matches!(self, Self::Restore | Self::CopyOut | Self::Check)
    }
}

impl Fault {
    /// Whether it can happen to a command on a storage.
    pub fn can_happen(self, place: &Place, verb: Verb) -> bool {
        match self {
            Self::Full => place.has_limit() && verb.writes(),
            _ => place.kind().is_remote(),
        }
    }

    /// Of these, an error says one. s3s-fs has no word for a full disk, and says what it says of any failure.
    fn words(self, kind: Kind) -> &'static [&'static str] {
        match self {
            Self::Full if kind == Kind::S3sFs => &["500 InternalError"],
            Self::Killed | Self::Cut => {
                &["no connection", "connection broke", "can't be reached", "was lost", "ssh ended"]
            }
            Self::Revoked => &["not accept", "denied", "no token or certificate", "ssh ended", "connection broke"],
            Self::Full => &["quota", "no more room", "full", "No space left"],
        }
    }
}

/// What was tried.
#[derive(Debug, Default, Clone)]
pub struct Tried {
    /// Commands that met a fault and said so.
    pub failed: u64,
    /// Commands that met one and did what they should all the same.
    pub succeeded: u64,
    /// Commands that had ended before.
    pub too_late: u64,
    /// Restores that were compared.
    pub restores: u64,
    /// What commands said, each with what it was about.
    pub said: Vec<String>,
}

/// The repository.
const NAME: &str = "r";
/// Snapshots that are kept, at most.
const KEPT: usize = 4;
/// Files of the source.
const FILES: u64 = 8;
/// Room that ends in the middle of a command, in bytes, at most.
const ROOM: u64 = 300_000;
/// How often a prune that waits for sessions is tried.
const TRIES: usize = 3;

/// A storage on which commands fail.
pub struct Trial {
    place: Place,
    random: Random,
    /// What must restore: numbers, which are tags, and what was saved.
    saved: BTreeMap<u64, PathBuf>,
    next: u64,
    usual: BTreeMap<Verb, u64>,
    /// A local repository, to copy from.
    local: Scratch,
    tried: Tried,
}

/// A command that is about to run.
struct Case {
    verb: Verb,
    repository: String,
    words: Vec<OsString>,
    /// What is to be there afterwards.
    makes: Option<(u64, PathBuf)>,
    /// What to look at: a target, another repository, a key file.
    place: PathBuf,
}

impl Trial {
    /// A new repository with snapshots, on which each command is run once as it should be.
    ///
    /// # Panics
    /// As all of this does, if something does not hold.
    pub fn new(mut place: Place, seed: u64, verbs: &[Verb]) -> Self {
        // The error is what is looked for, and not a server that comes back.
        place.add_option("retry.seconds=1");
        place.run(NAME, "init --pack-size 1M --chunk-size 16K --cipher xchacha20").ok();
        let (saved, usual, tried) = (BTreeMap::new(), BTreeMap::new(), Tried::default());
        let mut trial = Self { place, random: Random(seed), saved, next: 0, usual, local: Scratch::new(), tried };
        for _ in 0..2 {
            trial.undisturbed(Verb::Snapshot);
        }
        verbs.iter().for_each(|verb| trial.undisturbed(*verb));
        trial
    }

    fn undisturbed(&mut self, verb: Verb) {
        let case = self.prepare(verb);
        let passed = |trial: &Self| trial.place.proxy().map_or(0, |proxy| proxy.passed());
        let before = passed(self);
        run_command(&mut self.command(&case)).ok();
        self.usual.insert(verb, passed(self) - before);
        self.settle(&case);
    }

    /// One fault in one command; and what must hold afterwards.
    pub fn disturb(&mut self, verb: Verb, fault: Fault) {
        if !fault.can_happen(&self.place, verb) {
            return;
        }
        let case = self.prepare(verb);
        let about = format!("{}, {verb:?}, {fault:?}", self.place.kind().name());
        let (run, is_met) = self.run_into(&case, fault);
        run.civil();
        if run.code() == 0 {
            let count = if is_met { &mut self.tried.succeeded } else { &mut self.tried.too_late };
            *count += 1;
        } else {
            self.assert_told(&run, &about, fault);
            self.tried.failed += 1;
            self.again(&case, &about);
        }
        self.settle(&case);
        self.assert_whole(&about);
    }

    /// Runs a command, in the middle of which the fault comes; it is over when this returns. Whether it came.
    fn run_into(&mut self, case: &Case, fault: Fault) -> (Run, bool) {
        if fault == Fault::Full {
            let room = self.random.below(ROOM);
            self.place.limit(&case.repository, room);
            let run = run_command(&mut self.command(case));
            self.place.lift();
            let is_met = run.code() != 0;
            return (run, is_met);
        }
        let usual = self.usual[&case.verb];
        let bytes = 1 + self.random.below(usual.max(2));
        self.place.proxy().expect("a network").stop_after(bytes);
        let mut child = start(&mut self.command(case));
        let is_met = self.place.proxy().expect("a network").wait_for_stop(&mut child);
        if is_met {
            match fault {
                Fault::Killed => self.place.kill(),
                Fault::Cut => self.place.proxy().expect("a network").cut(),
                _ => self.place.revoke(),
            }
        }
        let run = end(child);
        match fault {
            _ if !is_met => self.place.proxy().expect("a network").restore(),
            Fault::Killed => self.place.come_back(),
            Fault::Cut => self.place.proxy().expect("a network").restore(),
            _ => self.place.grant(),
        }
        (run, is_met)
    }

    /// An error names the storage and the cause, and does not call it damage.
    fn assert_told(&mut self, run: &Run, about: &str, fault: Fault) {
        let said = run.err();
        self.tried.said.push(format!("{about}, exit code {}:\n{said}", run.code()));
        assert!(matches!(run.code(), 1 | 3), "{about}: an exit code for something else\n{run}");
        assert!(said.contains(&self.place.told_as()), "{about}: {} is not named\n{run}", self.place.told_as());
        // What ends a command says what to do; SFTP, which has no word for a full disk, asks.
        let has_hint = said.contains("hint: ") || said.contains("is its disk full?");
        assert!(run.code() != 1 || has_hint, "{about}: no hint\n{run}");
        assert!(
            fault.words(self.place.kind()).iter().any(|word| said.contains(word)),
            "{about}: the cause is not said\n{run}"
        );
    }

    /// The same command once more.
    fn again(&mut self, case: &Case, about: &str) {
        let run = run_command(&mut self.command(case));
        match (case.verb, run.civil().code()) {
            (_, 0) => {}
            // It was made, and its maker did not hear of it.
            (Verb::Init, 1) => assert!(run.err().contains("use the repository that is there"), "{about}\n{run}"),
            (Verb::Prune, 11) => self.finish_prune(),
            _ => panic!("{about}: the next run does not go on\n{run}"),
        }
    }

    /// Where the store doesn't say who was first, a person ends sessions.
    fn finish_prune(&mut self) {
        for _ in 0..TRIES {
            for session in self.place.run(NAME, "session list --json").ok().messages() {
                let id = session["id"].as_str().expect("an id");
                self.place.run(NAME, &format!("session revoke {id}")).ok();
            }
            if self.place.run(NAME, "prune --grace 0 --max-unused 0").civil().code() == 0 {
                return;
            }
        }
        panic!("a prune does not come to its end");
    }

    fn command(&self, case: &Case) -> Command {
        let mut command = self.place.command(&case.repository);
        if case.verb == Verb::CopyIn {
            command.env("REPO_REPOSITORY", self.local.repository()).env("REPO_KEY_FILE", self.local.key_file());
        }
        command.args(&case.words);
        command
    }

    /// Makes ready what the command is about.
    fn prepare(&mut self, verb: Verb) -> Case {
        let number = self.next;
        self.next += 1;
        let scratch = |trial: &Self, name: &str| trial.place.scratch.file(format!("{name}-{number}"));
        let mut case =
            Case { verb, repository: NAME.to_owned(), words: Vec::new(), makes: None, place: scratch(self, "of") };
        match verb {
            Verb::Init => {
                case.repository = format!("{NAME}-{number}");
                case.words = words!["init"];
            }
            Verb::Snapshot => {
                let source = self.change();
                let copy = scratch(self, "copy");
                copy_tree(&source, &copy);
                case.words = words!["snapshot", source, "--tag", tag(number)];
                case.makes = Some((number, copy));
            }
            Verb::Restore => {
                let what = format!("{}:{}", self.some_id().1, self.source().display());
                case.words = words!["restore", what, "--overwrite", "--target", case.place];
            }
            Verb::CopyOut => {
                let other = Scratch::empty();
                case.place = scratch(self, "other");
                run_command(
                    other
                        .command()
                        .env("REPO_REPOSITORY", &case.place)
                        .env("REPO_KEY_FILE", self.other_key())
                        .arg("init"),
                )
                .ok();
                case.words = words!["copy", self.some_id().1, "--to", case.place, "--to-key-file", self.other_key()];
            }
            Verb::CopyIn => {
                let source = self.change();
                let copy = scratch(self, "copy");
                copy_tree(&source, &copy);
                self.local.run_words(words!["snapshot", source, "--tag", tag(number)]).ok();
                let to = self.place.address(NAME);
                case.words =
                    words!["copy", "--tag", tag(number), "--to", to, "--to-key-file", self.place.scratch.key_file()];
                case.makes = Some((number, copy));
            }
            Verb::Forget => {
                self.undisturbed(Verb::Snapshot);
                case.words = words!["forget", self.give_up()];
            }
            Verb::Prune => {
                self.give_up_some();
                case.words = split("prune --grace 0 --max-unused 0");
            }
            Verb::Check => case.words = split("check --read-data"),
            Verb::RepairIndex => {
                self.lose_index();
                case.words = split("repair index");
            }
            Verb::KeyAdd => case.words = words!["key", "add", "--new-key-file", case.place],
            Verb::Tag => case.words = words!["tag", "--add", format!("x{number}"), self.some_id().1],
        }
        case
    }

    fn source(&self) -> PathBuf {
        self.place.scratch.file("source")
    }

    fn other_key(&self) -> PathBuf {
        self.place.scratch.file("other-key")
    }

    /// Some files of the source become others.
    fn change(&mut self) -> PathBuf {
        let source = self.source();
        for file in 0..FILES {
            let path = source.join(format!("directory-{}/file-{file}", file % 3));
            if !path.exists() || self.random.below(3) == 0 {
                let length = 1000 + self.random.below(60_000) as usize;
                write(path, self.random.bytes(length));
            }
        }
        write(source.join("large"), self.random.bytes(150_000));
        source
    }

    /// Snapshots that are listed: number and id.
    fn listed(&self) -> Vec<(u64, String)> {
        let listed = self.place.run(NAME, "snapshots --json").ok().of_type("snapshot");
        let read = |snapshot: &serde_json::Value| {
            let tags = snapshot["tags"].as_array().expect("tags");
            let number = tags.iter().find_map(|tag| tag.as_str()?.strip_prefix('c')?.parse().ok());
            (number.expect("its number"), snapshot["id"].as_str().expect("an id").to_owned())
        };
        listed.iter().map(read).collect()
    }

    fn some_id(&mut self) -> (u64, String) {
        let listed = self.listed();
        listed[self.random.below(listed.len() as u64) as usize].clone()
    }

    /// A snapshot is about to be forgotten: it is not expected any more. Others of the same number stay.
    fn give_up(&mut self) -> String {
        let (number, id) = self.some_id();
        if self.listed().iter().filter(|(other, _)| *other == number).count() == 1 {
            self.saved.remove(&number);
        }
        id
    }

    /// There is work for a prune.
    fn give_up_some(&mut self) {
        self.undisturbed(Verb::Snapshot);
        loop {
            let id = self.give_up();
            self.place.run(NAME, &format!("forget {id}")).ok();
            if self.saved.len() <= KEPT {
                return;
            }
        }
    }

    /// An index object goes.
    fn lose_index(&mut self) {
        let behind = self.place.open_behind(NAME).expect("the storage");
        let mut names: Vec<ObjectName> = Vec::new();
        behind.list(ObjectFamily::Indexes, &mut |name, _| names.push(name)).expect("a list");
        names.sort();
        let name = names[self.random.below(names.len() as u64) as usize];
        behind.remove(name).expect("removed");
    }

    /// The command has ended well: what it did is there.
    fn settle(&mut self, case: &Case) {
        match case.verb {
            Verb::Init => drop(self.place.run(&case.repository, "snapshots").ok()),
            Verb::KeyAdd => {
                let mut command = self.place.command(NAME);
                run_command(command.env("REPO_KEY_FILE", &case.place).arg("snapshots")).ok();
            }
            Verb::CopyOut => {
                let mut command = self.local.command();
                command.env("REPO_REPOSITORY", &case.place).env("REPO_KEY_FILE", self.other_key());
                run_command(command.args(["check", "--read-data"])).ok();
                fs::remove_dir_all(&case.place).expect("ours");
            }
            _ => {}
        }
        if let Some((number, copy)) = &case.makes {
            self.saved.insert(*number, copy.clone());
        }
        if case.verb == Verb::Restore {
            let made: Vec<_> = self.saved.values().collect();
            let is_one = made
                .iter()
                .any(|copy| run_command(Command::new("diff").arg("-rq").args([copy, &&case.place])).code() == 0);
            assert!(is_one, "{} is no snapshot", case.place.display());
        }
    }

    /// Nothing is damaged, what was saved is listed, and one of these restores to the byte.
    fn assert_whole(&mut self, about: &str) {
        let check = self.place.run(NAME, "check --read-data --json");
        assert!(check.civil().code() == 0, "{about}: check\n{check}");
        assert_eq!(check.summary()["damaged"], false, "{about}\n{check}");
        let listed = self.listed();
        for number in self.saved.keys() {
            assert!(listed.iter().any(|(other, _)| other == number), "{about}: snapshot {number} is gone: {listed:?}");
        }
        let which = self.random.below(listed.len() as u64) as usize;
        self.assert_restores(&listed[which], about);
    }

    fn assert_restores(&mut self, (number, id): &(u64, String), about: &str) {
        let target = self.place.scratch.file("target");
        let _ = fs::remove_dir_all(&target);
        let what = format!("{id}:{}", self.source().display());
        let run = run_command(self.place.command(NAME).args(words!["restore", what, "--target", target]));
        assert!(run.civil().code() == 0, "{about}: restore\n{run}");
        let copy = self.place.scratch.file(format!("copy-{number}"));
        assert_diff_is_silent(&copy, &target);
        self.tried.restores += 1;
    }

    /// All snapshots restore to the byte; what was tried.
    pub fn finish(mut self) -> Tried {
        for snapshot in self.listed() {
            self.assert_restores(&snapshot, "in the end");
        }
        self.tried
    }
}

fn tag(number: u64) -> String {
    format!("c{number}")
}

/// Each command with each fault, so many times.
///
/// # Panics
/// With what does not hold.
pub fn try_all(kind: Kind, seed: u64, times: usize) -> Option<Tried> {
    let mut trial = Trial::new(Place::start(kind)?, seed, &VERBS);
    for _ in 0..times {
        for verb in VERBS {
            FAULTS.iter().for_each(|fault| trial.disturb(verb, *fault));
        }
    }
    Some(trial.finish())
}

/// Every third command with one fault that it can meet, drawn from the seed.
///
/// # Panics
/// With what does not hold.
pub fn try_some(kind: Kind, seed: u64) -> Option<Tried> {
    let chosen = |number: &usize| (*number as u64 + seed) % 3 == kind as u64 % 3;
    let verbs: Vec<Verb> = (0..VERBS.len()).filter(chosen).map(|number| VERBS[number]).collect();
    let mut trial = Trial::new(Place::start(kind)?, seed, &verbs);
    for verb in verbs {
        let faults: Vec<Fault> = FAULTS.into_iter().filter(|fault| fault.can_happen(&trial.place, verb)).collect();
        if !faults.is_empty() {
            let which = trial.random.below(faults.len() as u64) as usize;
            trial.disturb(verb, faults[which]);
        }
    }
    Some(trial.finish())
}
