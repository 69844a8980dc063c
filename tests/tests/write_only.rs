//! Keys that add snapshots and read nothing back, and what somebody who has stolen one can do with it.
//!
//! The thief has the whole client at hand: its key, its token, its cache, and the engine to make any object with. What it can
//! still do stands in docs/serve.md.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use engine::clock::{Clock, FixedClock, Timestamp};
use engine::crypto::{Secret, SessionKeyRecord, hash};
use engine::format::{
    self, Footer, ForgottenRecord, HEADER_BYTES, IndexObject, ObjectKind, Register, SessionState, Tail, WhyForgotten,
};
use engine::id::{ClientId, IndexId, PackId, PruneId, SessionId, SlotId, SnapshotId};
use engine::model::{Compression, Content, PackRow, SegmentRow, Snapshot, Suite};
use engine::monitor::Silent;
use engine::repository::{Repository, Session};
use engine::storage::{ObjectFamily, ObjectName, Outcome, Storage};
use repo_tests::binary::{split, tool};
use repo_tests::compare::assert_diff_is_silent as assert_same;
use repo_tests::scratch::files_below;
use repo_tests::servers::{RepoServe, curl, make_token};
use repo_tests::tree::{noise, small, write};
use repo_tests::{Run, Scratch, python, run_command, words};

/// What is in no name, and must be in nothing that a thief can read.
const CANARY: &[u8] = b"the canary sings at midnight";

/// A command that has only the write-only key, and a cache of its own.
fn as_client(scratch: &Scratch, key: &str) -> Command {
    let mut command = scratch.command();
    command.env("REPO_KEY_FILE", scratch.file(key)).env("REPO_CACHE_DIR", scratch.file(format!("cache of {key}")));
    command
}

#[track_caller]
fn add_key(scratch: &Scratch, host: &str) -> String {
    let line = format!("key add --write-only --for-host {host} --new-key-file {host}.key --json");
    scratch.run(&line).ok().of_type("key_change")[0]["id"].as_str().expect("an id").to_owned()
}

#[track_caller]
fn snapshot(mut command: Command, source: &Path) -> Run {
    run_command(command.args(["snapshot", "--json"]).arg(source)).ok()
}

/// A tree with the canary in a file, and something larger.
fn source(scratch: &Scratch, name: &str, seed: u64) -> PathBuf {
    let tree = small(&scratch.tree(name), seed);
    write(tree.join("secret"), [CANARY, &noise(seed, 300)].concat());
    write(tree.join("large"), noise(seed + 1, 3 << 20));
    tree
}

#[test]
fn it_adds_snapshots_and_reads_none() {
    let scratch = Scratch::new();
    let tree = source(&scratch, "source", 1);
    let id = add_key(&scratch, "web1");
    let first = snapshot(as_client(&scratch, "web1.key"), &tree);
    let again = snapshot(as_client(&scratch, "web1.key"), &tree);
    assert_eq!(again.summary()["files_new"], 0, "unchanged files are known by what is kept here: {again}");
    assert!(
        again.summary()["data_added"].as_u64().expect("bytes") < 1000,
        "directories above may have changed: {again}"
    );
    // Without the cache everything is read again, and nothing is stored again.
    std::fs::remove_dir_all(scratch.file("cache of web1.key")).expect("a cache");
    write(tree.join("new"), b"this is new, and small enough for a node");
    let anew = snapshot(as_client(&scratch, "web1.key"), &tree);
    assert_ne!(anew.summary()["files_new"], 1, "{anew}");
    assert!(anew.summary()["data_added"].as_u64().expect("bytes") < 100_000, "{anew}");

    let reading = "ls latest|find x|dump latest:/x|restore latest --target x|diff latest~1 latest|\
                   check|stats|cat config|forget latest|prune|tag latest --add x|undelete latest|key list|key recovery|\
                   repair index|session list|copy --to x|status";
    for line in reading.split('|') {
        let run = run_command(as_client(&scratch, "web1.key").args(split(line)));
        assert!(run.code() == 1 && run.err().contains("can only add snapshots"), "{run}");
    }
    assert!(!scratch.file("x").exists());
    let listed = run_command(as_client(&scratch, "web1.key").args(["snapshots", "--json"])).ok();
    assert_eq!(listed.of_type("snapshot").len(), 1, "it knows its own last one");

    // Whoever can read does, with this program and with another one.
    for run in [&first, &again, &anew] {
        let id = run.snapshot_id();
        let shown = scratch.run(&format!("snapshots {id} --json"));
        assert!(shown.code() == 0 || shown.code() == 2, "{shown}");
    }
    let target = scratch.file("restored");
    scratch.restore(&anew.snapshot_id(), &tree, &target).ok();
    assert_same(&tree, &target);
    scratch.check_clean();
    python::reader(&scratch, ["verify"]).ok();
    let other = scratch.file("by Python");
    python::reader(&scratch, ["restore", &anew.snapshot_id(), other.to_str().expect("a path")]).ok();
    assert_same(&tree, &other.join(tree.strip_prefix("/").expect("absolute")));

    let snapshots = scratch.run("snapshots --json").ok().of_type("snapshot");
    assert_eq!(snapshots.len(), 3);
    assert!(snapshots.iter().all(|one| one["hostname"] == "web1" && one["client"] == id.as_str()), "{snapshots:?}");
    let keys = scratch.run("key list --json").ok().of_type("key");
    assert_eq!(keys.iter().filter(|key| key["write_only"] == true && key["host"] == "web1").count(), 1);
}

#[test]
fn a_client_that_was_killed_goes_on_where_it_was() {
    let scratch = Scratch::with_options("--pack-size 1M");
    add_key(&scratch, "web1");
    let tree = scratch.tree("source");
    write(tree.join("large"), noise(7, 48 << 20));
    let mut child = as_client(&scratch, "web1.key").args(["snapshot", "--quiet"]).arg(&tree).spawn().expect("a client");
    repo_tests::damage::wait_until("an index object is there", || {
        child.try_wait().expect("a state").is_some() || !files_below(&scratch.repository().join("index")).is_empty()
    });
    let _ = child.kill();
    let _ = child.wait();
    let before = files_below(&scratch.repository().join("packs")).len();
    let run = snapshot(as_client(&scratch, "web1.key"), &tree);
    let added = run.summary()["data_added"].as_u64().expect("bytes");
    assert!(before < 32 || added < 40 << 20, "what the dead one listed is used: {before} packs, {added} bytes\n{run}");
    let target = scratch.file("restored");
    scratch.restore(&run.snapshot_id(), &tree, &target).ok();
    assert_same(&tree, &target);
    scratch.run("prune --revoke-after 0s").ok();
    scratch.check_clean();
}

#[test]
fn who_is_removed_adds_nothing_any_more() {
    let scratch = Scratch::new();
    let tree = source(&scratch, "source", 3);
    let id = add_key(&scratch, "web1");
    let before = snapshot(as_client(&scratch, "web1.key"), &tree).snapshot_id();
    // Somebody has opened the repository with it, and holds what is in the slot.
    let text = std::fs::read_to_string(scratch.file("web1.key")).expect("a key file");
    let storage: Arc<dyn Storage> =
        Arc::new(engine::storage::LocalStorage::open(&scratch.repository(), false).expect("a storage"));
    let secret = Secret::from_key_file(&text).expect("a key file");
    let thief = Repository::open(Arc::clone(&storage), &secret, &scratch.file("thief")).expect("open");
    scratch.run(&format!("key remove {id}")).ok();
    run_command(as_client(&scratch, "web1.key").arg("snapshot").arg(&tree)).ends(12);

    let late = Thief { repository: &thief, storage: &*storage }.commit(&lie("web1"));
    let listed = scratch.run("snapshots --json").ok();
    let ids: Vec<_> = listed.of_type("snapshot").iter().map(|one| one["id"].clone()).collect();
    assert_eq!(ids, std::slice::from_ref(&before), "{late} does not count");
    // It goes with the next prune, and what counts stays.
    scratch.run("prune").ok();
    scratch.check_clean();
    scratch.restore(&before, &tree, &scratch.file("restored")).ok();
    assert_same(&tree, &scratch.file("restored"));
    // Who gets a new key goes on where the old one was.
    scratch.run("key add --write-only --for-host web1 --like web1 --label web1-2 --new-key-file second.key").ok();
    let next = snapshot(as_client(&scratch, "second.key"), &tree);
    assert!(next.summary()["data_added"].as_u64().expect("bytes") < 100_000, "{next}");
    scratch.check_clean();
}

#[test]
fn after_a_rotation_old_keys_open_nothing_and_everything_is_there() {
    let scratch = Scratch::new();
    let tree = source(&scratch, "source", 5);
    let old = scratch.snapshot(&tree);
    add_key(&scratch, "web1");
    let of_client = snapshot(as_client(&scratch, "web1.key"), &tree).snapshot_id();
    scratch.run("key add --new-key-file other.key").ok();
    let slots = scratch.file("slots");
    tool("cp", words!["-r", scratch.repository().join("keys"), slots]);
    let run = scratch.run("key rotate --new-key-file new.key --json").ok();
    assert_eq!(run.of_type("key_rotation")[0]["epoch"], 1, "{run}");
    assert_eq!(run.of_type("key_rotation")[0]["removed"].as_array().expect("ids").len(), 3, "{run}");
    for key in ["key-file", "other.key", "web1.key"] {
        run_command(scratch.command().env("REPO_KEY_FILE", scratch.file(key)).arg("snapshots")).ends(12);
    }
    old_slots_write_nothing(&scratch, &slots, &tree);
    std::fs::rename(scratch.file("new.key"), scratch.key_file()).expect("the key from now on");
    let new = scratch.snapshot(&tree);
    for (number, id) in [&old, &of_client, &new].into_iter().enumerate() {
        let target = scratch.file(format!("restored {number}"));
        scratch.restore(id, &tree, &target).ok();
        assert_same(&tree, &target);
    }
    // Clients have to be made anew, and go on in their domain.
    scratch.run("key add --write-only --for-host web1 --like web1 --new-key-file again.key").ok();
    let next = snapshot(as_client(&scratch, "again.key"), &tree);
    assert!(next.summary()["data_added"].as_u64().expect("bytes") < 100_000, "{next}");
    scratch.run(&format!("forget {old}")).ok();
    scratch.run("prune --grace 0s").ok();
    scratch.run("key rotate --new-key-file third.key").ok();
    std::fs::rename(scratch.file("third.key"), scratch.key_file()).expect("the key from now on");
    scratch.check_clean();
    python::reader(&scratch, ["verify"]).ok();
    scratch.restore(&next.snapshot_id(), &tree, &scratch.file("at last")).ok();
    assert_same(&tree, &scratch.file("at last"));
}

/// Where the old slots could not be removed, or somebody has put them back.
fn old_slots_write_nothing(scratch: &Scratch, slots: &Path, tree: &Path) {
    let keys = scratch.repository().join("keys");
    tool("cp", words!["-r", format!("{}/.", slots.display()), keys]);
    let all = || files_below(&scratch.repository());
    let before = all();
    let named = "this key is of before a rotation: object roots/00000001";
    for key in ["web1.key", "key-file"] {
        run_command(as_client(scratch, key).arg("snapshot").arg(tree)).ends(1).says(named);
    }
    scratch.run("key rotate --new-key-file another.key").ends(1).says(named);
    assert!(!scratch.file("another.key").exists());
    scratch.run("ls latest").ok().says(named);
    assert_eq!(all(), before);
    // The next rotation with the new key brings this one to its end.
    let with_new = |line: &str| run_command(as_client(scratch, "new.key").args(split(line)));
    with_new("key rotate --new-key-file another.key").ok().says("removed write-only key");
    assert!(!scratch.file("another.key").exists());
    with_new("snapshots").ok();
}

/// Somebody with the client's key and whatever the server allows to its token.
struct Thief<'a> {
    repository: &'a Repository,
    storage: &'a dyn Storage,
}

fn now() -> FixedClock {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    FixedClock(Timestamp::new(since.as_secs() as i64, 0))
}

/// A snapshot of nothing, of a host.
fn lie(host: &str) -> Snapshot {
    let empty = Snapshot::empty(engine::id::DomainId::SHARED, engine::model::Signer::Full);
    Snapshot { time: now().now(), host: host.into(), paths: vec![b"/".to_vec()], sequence: 1000, ..empty }
}

impl Thief<'_> {
    fn put(&self, name: ObjectName, object: &[u8]) -> engine::Result<Outcome> {
        self.storage.write_new(name, &[object])
    }

    fn session(&self) -> Session {
        Session::begin(self.repository, "thief", "thief", &now()).expect("a session")
    }

    /// Commits a snapshot that says anything.
    fn commit(&self, snapshot: &Snapshot) -> SnapshotId {
        let session = self.session();
        let object = format::encode_snapshot(snapshot, self.repository.keys(), session.keys());
        let id = SnapshotId::new(hash(&object));
        self.put(ObjectName::Snapshot(id), &object).expect("the server takes snapshots");
        session.commit(self.repository, Some(id)).expect("a register");
        id
    }

    fn put_index(&self, index: &IndexObject) -> IndexId {
        let object = format::encode_index(index, self.repository.keys(), self.repository.domain());
        let id = IndexId::new(hash(&object));
        self.put(ObjectName::Index(id), &object).expect("the server takes index objects");
        id
    }

    /// A pack that says that it holds these chunks, and holds garbage.
    fn put_garbage(&self, session: &Session, chunks: &[(engine::id::ChunkId, u32)], like: &SegmentRow) -> PackRow {
        let plain_len: u32 = chunks.iter().map(|(_, len)| len).sum();
        let mut row = SegmentRow {
            session: session.id(),
            offset: HEADER_BYTES as u32,
            sealed_len: plain_len + 40,
            kind: like.kind,
            suite: Suite::XChaCha20Poly1305,
            compression: Compression::None,
            plain_len,
            chunks: chunks.to_vec(),
        };
        let mut sealed = [vec![0; 24], noise(99, plain_len as usize)].concat();
        session.keys().seal_segment(&format::segment_binding(&row), &mut sealed);
        row.sealed_len = sealed.len() as u32;
        let footer = Footer { sessions: vec![session.keys().record().clone()], segments: vec![row.clone()] };
        let footer = format::encode_footer(&footer, self.repository.domain(), 0);
        let tail = Tail { domain: self.repository.domain().domain(), epoch: 0, footer_len: footer.len() as u32 };
        let pack = [&ObjectKind::Pack.header()[..], &sealed, &footer, &format::encode_tail(&tail)].concat();
        let id = PackId::new(hash(&pack));
        self.put(ObjectName::Pack(id), &pack).expect("the server takes packs");
        PackRow { id, len: pack.len() as u64, segments: vec![row] }
    }

    /// Every object that there is, as far as the server gives it.
    fn loot(&self) -> BTreeMap<ObjectName, Vec<u8>> {
        let mut names = Vec::new();
        for family in ObjectFamily::ALL {
            self.storage.list(family, &mut |name, _| names.push(name)).expect("a list");
        }
        names.into_iter().map(|name| (name, self.storage.read(name, None, u64::MAX >> 1).expect("bytes"))).collect()
    }

    /// All session key records that it finds, in envelopes and in what its domain's keys open.
    fn records(&self, loot: &BTreeMap<ObjectName, Vec<u8>>) -> Vec<SessionKeyRecord> {
        let mut records = Vec::new();
        for (name, object) in loot {
            let kind = match name {
                ObjectName::Snapshot(_) => ObjectKind::Snapshot,
                ObjectName::Intent(_) => ObjectKind::Intent,
                ObjectName::Client(_) => ObjectKind::Client,
                _ => {
                    if let Ok(index) = format::decode_index(object, self.repository.keys()) {
                        records.extend(index.sessions);
                    }
                    continue;
                }
            };
            records.push(format::envelope_record(kind, object).expect("an envelope"));
        }
        records
    }
}

/// A server with a repository, a full client on its machine, and two write-only ones with tokens.
struct Scene {
    scratch: Scratch,
    server: RepoServe,
    token: String,
    /// Snapshots and what they are of.
    before: Vec<(String, PathBuf)>,
}

impl Scene {
    fn new() -> Self {
        let scratch = Scratch::empty();
        let token = make_token(&scratch, "shop", "put,list,get");
        let server = RepoServe::with_tokens(&scratch, "--append-only");
        let scene = Self { scratch, server, token, before: Vec::new() };
        scene.owner("init").ok();
        scene
    }

    /// The trusted machine: it has the directory itself.
    #[track_caller]
    fn owner(&self, line: &str) -> Run {
        run_command(self.owner_command().args(split(line)))
    }

    fn owner_command(&self) -> Command {
        let mut command = self.scratch.command();
        command.env("REPO_REPOSITORY", self.server.root().join("shop"));
        command
    }

    fn client(&self, key: &str) -> Command {
        let mut command = as_client(&self.scratch, key);
        command.env("REPO_REPOSITORY", self.server.place("shop")).env("REPO_TOKEN", &self.token);
        command
    }

    #[track_caller]
    fn keep(&mut self, run: &Run, tree: &Path) {
        // Compared with as it is now, whatever becomes of the source.
        let copy = self.scratch.file(format!("copy {}", self.before.len()));
        run_command(Command::new("cp").arg("-a").arg(tree).arg(&copy)).ok();
        self.before.push((run.snapshot_id(), copy));
    }

    /// Fails unless everything that was there before the theft can be had.
    #[track_caller]
    fn assert_all_there(&self, when: &str) {
        for (number, (id, copy)) in self.before.iter().enumerate() {
            let target = self.scratch.file(format!("{when} {number}"));
            let paths = run_command(self.owner_command().args(["snapshots", "--json"])).ok().of_type("snapshot");
            let of = paths
                .iter()
                .find(|one| one["id"] == id.as_str())
                .unwrap_or_else(|| panic!("{when}: {id} is not listed"));
            let what = format!("{id}:{}", of["paths"][0].as_str().expect("a path"));
            run_command(self.owner_command().args(["restore", &what, "--target"]).arg(&target)).ok();
            assert_same(copy, &target);
        }
    }
}

#[test]
fn a_thief_can_neither_read_nor_remove_nor_hide_nor_poison() {
    let mut scene = Scene::new();
    scene.owner("key add --write-only --for-host web1 --new-key-file web1.key").ok();
    scene.owner("key add --write-only --for-host web2 --new-key-file web2.key").ok();
    let trees: Vec<PathBuf> = ["owner's", "web1's", "web2's"]
        .iter()
        .zip(0..)
        .map(|(name, seed)| source(&scene.scratch, name, 10 + seed * 10))
        .collect();
    for round in 0..2 {
        let commands = [scene.owner_command(), scene.client("web1.key"), scene.client("web2.key")];
        for (command, tree) in commands.into_iter().zip(&trees) {
            write(tree.join("changes"), noise(50 + round, 200_000));
            let run = snapshot(command, tree);
            scene.keep(&run, tree);
        }
    }
    let text = std::fs::read_to_string(scene.scratch.file("web1.key")).expect("a key file");
    let token = scene.token.clone();
    let access = remote::Access::new(&[], Arc::new(move |name| (name == "REPO_TOKEN").then(|| token.clone().into())));
    let storage = remote::open(&scene.server.place("shop"), false, &access.expect("access")).expect("the server");
    let secret = Secret::from_key_file(&text).expect("a key file");
    let repository = Repository::open(Arc::clone(&storage), &secret, &scene.scratch.file("thief")).expect("open");
    let thief = Thief { repository: &repository, storage: &*storage };

    cannot_read(&scene, &thief);
    cannot_remove(&scene, &thief);
    cannot_hide(&scene, &thief);
    scene.assert_all_there("hidden");
    poisons(&thief);
    scene.assert_all_there("poisoned");
    // What it says of others' packs is told, and is no damage of these.
    let check = scene.owner("check --read-data --json").says("a write-only client says of");
    assert!(!check.out().contains("bytes where"), "{check}");

    // The others notice nothing.
    for (command, tree) in [scene.owner_command(), scene.client("web2.key")].into_iter().zip([&trees[0], &trees[2]]) {
        write(tree.join("changes"), noise(90, 200_000));
        let run = snapshot(command, tree);
        scene.keep(&run, tree);
    }
    // A policy, a prune without grace, and all that was kept is there.
    scene.owner("forget --keep-last 2 --keep-daily 7").ok();
    let pruned = scene.owner("prune --grace 0s --max-unused 0");
    assert!([0, 3].contains(&pruned.code()), "{pruned}");
    scene.assert_all_there("pruned");
    // A full check sees what is wrong, and names it.
    let check = scene.owner("check --read-data --json");
    assert!([0, 5].contains(&check.code()), "{check}");
    scene.assert_all_there("checked");
    misplaces(&thief);
    scene.assert_all_there("misplaced");
}

/// Every record is sealed to others, and nothing that it can get has a secret in it.
fn cannot_read(scene: &Scene, thief: &Thief<'_>) {
    let loot = thief.loot();
    let records = thief.records(&loot);
    assert!(records.len() >= 10, "{}", records.len());
    for record in &records {
        assert!(thief.repository.keys().open_session(record).is_err(), "session {}", record.session());
    }
    let indexes = loot.iter().filter(|(name, _)| name.family() == ObjectFamily::Indexes);
    let opened = indexes.filter(|(_, object)| format::decode_index(object, thief.repository.keys()).is_ok()).count();
    assert!((1..=4).contains(&opened), "index objects of its own domain: {opened}");
    let kept = files_below(&scene.scratch.file("cache of web1.key"));
    assert!(!kept.is_empty());
    let read = kept.iter().map(|path| std::fs::read(path).expect("a file"));
    for bytes in loot.into_values().chain(read) {
        assert!(!bytes.windows(CANARY.len()).any(|window| window == CANARY));
    }
    let snapshots = run_command(scene.client("web1.key").args(["ls", "latest"]));
    assert!(snapshots.code() == 1 && snapshots.err().contains("can only add"), "{snapshots}");
}

/// By curl, so that no code of ours holds anything back.
fn cannot_remove(scene: &Scene, thief: &Thief<'_>) {
    let before = thief.loot();
    let bearer = format!("Authorization: Bearer {}", scene.token);
    for (name, bytes) in &before {
        let url = format!("{}/shop/{name}", scene.server.url());
        let (status, body) = curl(&["-H", &bearer, "-X", "DELETE", &url]);
        let is_own_tidiness = matches!(name, ObjectName::Intent(_));
        assert!(status == 403 || is_own_tidiness, "{name}: {status} {body}");
        let file = scene.scratch.file("overwrite");
        write(&file, [bytes.as_slice(), b"!"].concat());
        let data = format!("@{}", file.display());
        let (status, body) = curl(&["-H", &bearer, "-X", "PUT", "--data-binary", &data, &url]);
        assert!([403, 409, 422].contains(&status), "{name}: {status} {body}");
    }
    let after = thief.loot();
    let lost: Vec<_> =
        before.iter().filter(|(name, bytes)| after.get(name) != Some(bytes)).map(|(name, _)| name).collect();
    assert!(lost.iter().all(|name| matches!(name, ObjectName::Intent(_))), "{lost:?}");
}

/// Whatever would make others' snapshots, or its own former ones, not count or not be listed.
fn cannot_hide(scene: &Scene, thief: &Thief<'_>) {
    let keys = thief.repository.keys();
    let ids: Vec<SnapshotId> = scene.before.iter().map(|(id, _)| SnapshotId::from_hex(id).expect("an id")).collect();
    for id in &ids {
        let record = ForgottenRecord {
            snapshot: *id,
            time: Timestamp::new(0, 0),
            why: WhyForgotten::Forgotten,
            host: None,
            program: None,
        };
        let object = format::encode_forgotten(&record, keys);
        assert!(thief.put(ObjectName::Forgotten(*id), &object).is_err());
        for host in ["web1", "web2", "vm"] {
            thief.commit(&Snapshot { replaces: Some(*id), original: Some(*id), ..lie(host) });
        }
    }
    // Later on days that have gone, and in the future.
    for days in -8..4i64 {
        let time = Timestamp::new(now().now().seconds + days * 86400 + 3600, 0);
        thief.commit(&Snapshot { time, ..lie("web1") });
    }
    for (family, name) in [
        ("plan", ObjectName::PrunePlan(PruneId::FIRST)),
        ("state", ObjectName::PruneState(PruneId::FIRST)),
        ("done", ObjectName::PruneDone(PruneId::FIRST)),
        ("slot", ObjectName::Key(SlotId::new([1; 16]))),
        ("client", ObjectName::Client(ClientId::new([1; 16]))),
        ("end", ObjectName::ClientEnd(ClientId::new([1; 16]))),
    ] {
        let kind = match family {
            "plan" => ObjectKind::PrunePlan,
            "state" => ObjectKind::PruneState,
            "done" => ObjectKind::PruneDone,
            "slot" => ObjectKind::Key,
            "client" => ObjectKind::Client,
            _ => ObjectKind::ClientEnd,
        };
        assert!(thief.put(name, &[&kind.header()[..], &[1; 336]].concat()).is_err(), "{name}");
    }
    // Registers of sessions that are over.
    let mut sessions = Vec::new();
    let each = &mut |name, _| {
        if let ObjectName::Register(id) = name {
            sessions.push(id);
        }
    };
    thief.storage.list(ObjectFamily::Sessions, each).expect("a list");
    for session in sessions {
        let object = format::encode_register(&Register { session, state: SessionState::Revoked }, keys);
        let put = thief.put(ObjectName::Register(session), &object);
        assert!(!matches!(put, Ok(Outcome::Written)), "{session}");
    }
}

/// Index objects that say what is not so, in sessions of its own and of others, with packs that hold something else.
fn poisons(thief: &Thief<'_>) {
    let loot = thief.loot();
    let (mut indexes, mut packs, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for (name, object) in &loot {
        match name {
            ObjectName::Index(id) => {
                indexes.push(*id);
                if let Ok(index) = format::decode_index(object, thief.repository.keys()) {
                    rows.extend(index.packs.into_iter().flat_map(|pack| pack.segments));
                }
            }
            ObjectName::Pack(id) => packs.push(*id),
            _ => {}
        }
    }
    assert!(!rows.is_empty());
    let session = thief.session();
    let domain = thief.repository.domain().domain();
    let mut lies = IndexObject {
        sessions: vec![session.keys().record().clone()],
        replaces: indexes,
        taken_out: packs.clone(),
        lost: rows.iter().flat_map(|row| row.chunks.iter().map(|(id, _)| *id)).collect(),
        ..IndexObject::empty(session.id(), domain)
    };
    for row in &rows {
        lies.packs.push(thief.put_garbage(&session, &row.chunks, row));
    }
    thief.put_index(&lies);
    // That packs of others hold what is its own.
    let elsewhere = packs.iter().take(4).map(|id| PackRow { id: *id, ..lies.packs[0].clone() });
    thief.put_index(&IndexObject { packs: elsewhere.collect(), replaces: Vec::new(), ..lies.clone() });
    // In the name of a session that somebody else committed.
    let others = loot.keys().filter_map(|name| if let ObjectName::Register(id) = name { Some(*id) } else { None });
    for other in others.collect::<Vec<SessionId>>() {
        thief.put_index(&IndexObject { session: other, ..lies.clone() });
    }
    session.commit(thief.repository, None).expect("a register");
    let _ = thief.repository.load_index(&Silent);
    // A snapshot whose tree leads to the garbage.
    thief.commit(&Snapshot { root: Content::Inline(Vec::new()), ..lie("web1") });
}

/// Index objects that say that what it stored is in packs that nobody has, and longer than it is.
fn misplaces(thief: &Thief<'_>) {
    let objects = thief.loot().into_iter().filter(|(name, _)| name.family() == ObjectFamily::Indexes);
    let indexes = objects.filter_map(|(_, object)| format::decode_index(&object, thief.repository.keys()).ok());
    let rows: Vec<SegmentRow> = indexes.flat_map(|index| index.packs).flat_map(|pack| pack.segments).collect();
    assert!(!rows.is_empty());
    let session = thief.session();
    for longer in [0, 1] {
        let lie = |row: &SegmentRow| {
            let chunks: Vec<_> = row.chunks.iter().map(|(id, len)| (*id, len + longer)).collect();
            let plain_len = chunks.iter().map(|(_, len)| len).sum();
            let row = SegmentRow { session: session.id(), plain_len, chunks, ..row.clone() };
            PackRow { id: PackId::new(hash(&noise(longer.into(), 32))), len: 1 << 30, segments: vec![row] }
        };
        thief.put_index(&IndexObject {
            sessions: vec![session.keys().record().clone()],
            packs: rows.iter().map(lie).collect(),
            ..IndexObject::empty(session.id(), thief.repository.domain().domain())
        });
    }
    session.commit(thief.repository, None).expect("a register");
}
