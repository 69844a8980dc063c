//! JSON.md and the messages say the same.

use std::collections::{BTreeMap, BTreeSet};

use engine::id::RepositoryId;
use engine::model::{Content, CopyOrigin, Metadata, SnapshotStatistics};

use super::*;

const DOCUMENT: &str = include_str!("../../JSON.md");

fn snapshot() -> Snapshot {
    Snapshot {
        time: Timestamp::new(1_795_233_600, 5),
        host: "web1".into(),
        domain: engine::id::DomainId::new([7; 16]),
        signer: engine::model::Signer::Client(engine::id::ClientId::new([7; 16])),
        paths: vec![b"/a\xff".to_vec()],
        root: Content::Inline(Vec::new()),
        tags: vec!["daily".into()],
        label: Some("app".into()),
        parent: Some(SnapshotId::new([1; 32])),
        previous: None,
        sequence: 3,
        statistics: SnapshotStatistics::default(),
        problems: Vec::new(),
        program: "repo".into(),
        users: [(0, b"root".to_vec())].into(),
        groups: [(0, b"root".to_vec())].into(),
        replaces: None,
        original: Some(SnapshotId::new([2; 32])),
        user: Some("root".into()),
        started: Some(Timestamp::new(0, 0)),
        finished: Some(Timestamp::new(1, 0)),
        stack: Some(engine::model::StackRecord { name: "shop".into(), ..Default::default() }),
        copied_from: Some(CopyOrigin { repository: RepositoryId::new([3; 16]), snapshot: SnapshotId::new([4; 32]) }),
    }
}

fn node(kind: NodeKind) -> NodeFields {
    let metadata = Metadata {
        mode: 0o644,
        ctime: Some(Timestamp::new(0, 0)),
        inode: Some(1),
        links: Some(2),
        ..Metadata::default()
    };
    let mut node = Node::new(b"n\xff".to_vec(), kind, metadata);
    node.target = b"/t\xff".to_vec();
    NodeFields::new(&snapshot(), b"/n\xff", &node)
}

fn summaries() -> Vec<Message<'static>> {
    let counts = Counts::from(&SnapshotStatistics::default());
    let snapshot = SnapshotSummary {
        dry_run: false,
        snapshot_id: None,
        parent: None,
        counts,
        resumed_sessions: 0,
        total_duration: 0.5,
    };
    let restore = RestoreSummary {
        dry_run: false,
        snapshot_id: "x".into(),
        files_restored: 0,
        files_skipped: 0,
        directories: 0,
        others: 0,
        files_deleted: 0,
        files_verified: 0,
        total_bytes: 0,
        bytes_written: 0,
        error_count: 0,
        total_duration: 0.5,
    };
    let check = CheckSummary {
        damaged: false,
        num_errors: 0,
        num_leftovers: 0,
        open_sessions: 0,
        unfinished_prunes: 0,
        orphan_packs: 0,
        snapshots: 0,
        forgotten: 0,
        trees: 0,
        packs: 0,
        chunks: 0,
        packs_read: 0,
        bytes_read: 0,
        packs_unverified: 0,
        verified_since: None,
        heads: vec![HeadFields { host: "x".into(), sequence: 1, snapshot_id: "x".into() }],
        total_duration: 0.5,
    };
    let find = Summary::Find { matches: 0, snapshots: 0 };
    let forget = Summary::Forget(ForgetSummary {
        dry_run: false,
        snapshots_kept: 0,
        snapshots_forgotten: 0,
        snapshots_forgotten_before: 0,
        error_count: 0,
    });
    let prune = Summary::Prune(PruneSummary::default());
    let repair = Summary::Repair(RepairSummary::default());
    let copy = Summary::Copy(copy::CopySummary::default());
    let retain = Summary::Retain(retain::RetainSummary::default());
    let first = [Summary::Snapshot(snapshot), Summary::Restore(restore), Summary::Check(check), find, forget, prune];
    first.into_iter().chain([repair, copy, retain]).map(Message::Summary).collect()
}

fn statistics() -> Vec<Message<'static>> {
    let diff = Statistics::Diff {
        source_snapshot: "x".into(),
        target_snapshot: "y".into(),
        added: 0,
        removed: 0,
        changed: 0,
        metadata_changed: 0,
        bytes_added: 0,
        bytes_removed: 0,
    };
    let stats = Statistics::Stats {
        snapshots_count: 0,
        total_size: 0,
        total_file_count: 0,
        chunk_count: 0,
        chunk_bytes: 0,
        stored_bytes: 0,
        pack_count: 0,
        pack_bytes: 0,
        index_chunk_count: 0,
        index_bytes: 0,
        repository_bytes: 0,
    };
    [diff, stats].map(Message::Statistics).into()
}

/// One of each, with every field that can be left out.
fn samples() -> Vec<Message<'static>> {
    let path = || JsonPath::new(b"/p\xff");
    let id = || "x".to_owned();
    let kdf = Some(KdfFields { memory_kib: 1, passes: 1, lanes: 1 });
    let costs = vec![Cost { snapshot: id(), path: path() }];
    let mut samples = vec![
        Message::Status {
            stage: "x",
            seconds_elapsed: 0,
            seconds_remaining: Some(0),
            percent_done: Some(0.5),
            items_done: 0,
            total_items: Some(0),
            bytes_done: 0,
            total_bytes: Some(0),
            error_count: 0,
            current_files: vec![path()],
        },
        Message::VerboseStatus { action: "new", item: path(), size: 0 },
        Message::Error { item: path(), message: "x" },
        Message::Note { message: "x" },
        Message::ExitError { code: 1, message: id(), causes: vec![id()], hint: Some(id()) },
        Message::Initialized { id: id(), repository: "x", cipher: "x", key: id(), storage: &[] },
        Message::Snapshot(Box::new(
            SnapshotFields::new(SnapshotId::new([1; 32]), &snapshot()).forgotten_at(Timestamp::new(0, 0)),
        )),
        Message::Node(Box::new(node(NodeKind::File))),
        Message::Node(Box::new(node(NodeKind::Symlink))),
        Message::Match { snapshot: id(), node: Box::new(node(NodeKind::File)) },
        Message::Change { path: path(), modifier: "+" },
        Message::Finding { object: "x", message: "x", damage: true, cost_count: 1, costs },
        Message::Changed { old_snapshot_id: id(), new_snapshot_id: id() },
        Message::Forget {
            snapshot_id: id(),
            time: id(),
            group: Some("x"),
            action: "keep",
            reasons: vec![id()],
            dry_run: false,
        },
        Message::Undelete { snapshot_id: id(), new_snapshot_id: Some(id()), action: "undeleted" },
        Message::Retain(retain::RetainFields {
            kind: "packs",
            objects: 0,
            bytes: 0,
            objects_extended: 0,
            bytes_extended: 0,
            objects_unlocked: 0,
            first_end: Some(id()),
            dry_run: false,
        }),
        Message::Copy(copy::CopyFields {
            repository: "/backup".into(),
            snapshot_id: id(),
            new_snapshot_id: Some(id()),
            action: "copied",
            dry_run: false,
        }),
        Message::Drill(drill::DrillFields {
            stack: id(),
            snapshot_id: id(),
            proof_id: Some(id()),
            good: true,
            files: 0,
            bytes: 0,
            services: vec![drill::ProvenFields { service: id(), state: "read" }],
            error_count: 0,
            duration: 0.5,
        }),
        Message::StackStatus(drill::StatusFields {
            state: "good",
            snapshot_id: Some(id()),
            time: Some(id()),
            age_seconds: Some(0),
            drilled: Some(id()),
            proved: Some(id()),
            proved_snapshot_id: Some(id()),
            bytes_before: Some(0),
            ..drill::StatusFields::default()
        }),
        Message::Session(SessionFields {
            id: id(),
            state: "committed",
            snapshot_id: Some(id()),
            started: Some(id()),
            hostname: Some("x"),
            process: Some(1),
            program_version: Some("x"),
            alive: Some(true),
            problem: Some("x"),
        }),
        Message::SessionChange { action: "revoked", id: id() },
        Message::Repair {
            action: "save",
            object: "x",
            message: "x",
            fields: RepairFields {
                chunks_saved: Some(0),
                chunks_elsewhere: Some(0),
                chunks_lost: Some(0),
                snapshot_id: Some(id()),
                new_snapshot_id: Some(id()),
                lost_count: Some(0),
            },
            dry_run: false,
        },
        Message::Key {
            id: id(),
            kind: "x",
            label: "x",
            created: id(),
            current: true,
            write_only: true,
            host: Some("x"),
            kdf,
        },
        Message::KeyChange { action: "added", id: id() },
        Message::KeyRotation { epoch: 1, id: Some(id()), removed: vec![id()] },
        Message::RecoveryCode { id: id(), words: "x" },
        Message::Cache { repository_id: id(), directory: path(), bytes: 0, last_used: Some(id()), removed: false },
        Message::BenchKernel { name: "x", material: "x", unit: "byte", per_second: 0.5 },
        Message::BenchData {
            files: 0,
            directories: 0,
            others: 0,
            bytes: 0,
            sampled_bytes: 0,
            packed_bytes: 0,
            incompressible_bytes: 0,
        },
        Message::BenchStep {
            name: "x",
            material: "x",
            cores: 2,
            bytes: 0,
            bound_seconds: 0.5,
            seconds: Some(0.5),
            share: Some(0.5),
            stages: vec![StageFields { name: "x", unit: "byte", count: 0, core_seconds: 0.5 }],
        },
        Message::Stack(StackFields {
            stack: id(),
            action: "saved",
            snapshot_id: Some(id()),
            time: Some(id()),
            message: Some(id()),
            parts: vec![PartFields { path: path(), kind: "dump", bytes: 0 }],
            services: vec![ServiceFields {
                service: id(),
                bytes: 0,
                restored: true,
                verified: Some(id()),
                recorded: Some(id()),
            }],
            missing_secrets: vec![id()],
            snapshots: Some(1),
            total_bytes: 0,
            data_added_packed: 0,
            error_count: 0,
            dry_run: false,
        }),
        Message::Token { token: "x", line: "x" },
        Message::Version { version: "x", arch: "x", os: "x" },
    ];
    samples.extend(summaries());
    samples.extend(statistics());
    samples
}

/// The names in backquotes of each section of the document.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let mut sections = BTreeMap::new();
    for section in DOCUMENT.split("\n### `").skip(1) {
        let (name, text) = section.split_once('`').expect("a name ends");
        // Up to the next heading of a higher order.
        let text = text.split("\n## ").next().unwrap_or_default();
        let names = text.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        sections.insert(name.to_owned(), names);
    }
    sections
}

#[test]
fn every_field_of_every_message_is_documented() {
    let documented = documented();
    let mut seen = BTreeSet::new();
    for sample in samples() {
        let json = serde_json::to_value(&sample).expect("it is JSON");
        let fields = json.as_object().expect("an object");
        let name = fields["message_type"].as_str().expect("text").to_owned();
        let names = documented.get(&name).unwrap_or_else(|| panic!("JSON.md has no section `{name}`"));
        for field in fields.keys().filter(|field| *field != "message_type") {
            let by_reference = name == "match";
            assert!(by_reference || names.contains(field), "`{field}` of `{name}` is not in JSON.md");
        }
        seen.insert(name);
    }
    let sections: BTreeSet<String> = documented.into_keys().collect();
    assert_eq!(sections, seen, "JSON.md has sections of no message, or a message has no sample");
}

#[test]
fn a_message_is_one_line() {
    for sample in samples() {
        let line = serde_json::to_string(&sample).expect("it is JSON");
        assert!(line.starts_with("{\"message_type\":\"") && !line.contains('\n'), "{line}");
    }
}

#[test]
fn a_path_that_is_no_text_keeps_its_bytes() {
    let json = |bytes: &[u8]| serde_json::to_string(&JsonPath::new(bytes)).expect("it is JSON");
    assert_eq!(json(b"/a\nb"), r#"{"path":"/a\nb"}"#);
    assert_eq!(json(b"/\xff"), "{\"path\":\"/\u{fffd}\",\"path_bytes\":\"2fff\"}");
}
