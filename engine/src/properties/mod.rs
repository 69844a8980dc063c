//! What must hold for any input: round trips, decoders and cutters that take anything, bounds.

mod cutting;
mod hostile;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use crate::clock::Timestamp;
use crate::crypto::{Keys, RootSecret, SESSION_KEY_RECORD_BYTES, SessionKeyRecord};
use crate::format::testing::{content as decode_content, encode_content};
use crate::format::{
    Footer, ForgottenRecord, IndexObject, Intent, PruneDone, PrunePlan, PruneState, PruneVerdict, Register,
    SessionState, TAIL_BYTES, Tail, WhyForgotten, decode_config, decode_done, decode_footer, decode_forgotten,
    decode_index, decode_intent, decode_node, decode_plan, decode_references, decode_register, decode_snapshot,
    decode_state, decode_tail, encode_config, encode_done, encode_footer, encode_forgotten, encode_index,
    encode_intent, encode_node, encode_plan, encode_references, encode_register, encode_snapshot, encode_state,
    encode_tail, verify_config,
};
use crate::id::{ChunkId, DomainId, IndexId, PackId, PruneId, RepositoryId, SessionId, SnapshotId};
use crate::limits;
use crate::model::{
    ChunkKind, ChunkRef, ChunkerParameters, Compression, Config, Content, CopyOrigin, Extent, Metadata, Node, NodeKind,
    PackRow, PageParameters, SegmentRow, Signer, Snapshot, SnapshotStatistics, StackFact, StackPart, StackPartKind,
    StackRecord, Suite, Xattr, is_valid_name,
};
use crate::monitor::Problem;

fn keys() -> Keys {
    Keys::new(RootSecret::from_bytes([3; 32]), RepositoryId::new([4; 16]))
}

fn time() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanoseconds)| Timestamp { seconds, nanoseconds })
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max)
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("no separator", |byte| ![0, b'/'].contains(byte));
    vec(byte, 1..40).prop_filter("a name", |name| is_valid_name(name))
}

fn reference() -> impl Strategy<Value = ChunkRef> {
    (any::<[u8; 32]>(), 1..=limits::CHUNK_BYTES).prop_map(|(id, len)| ChunkRef { id: ChunkId::new(id), len })
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        bytes(300).prop_map(Content::Inline),
        vec(reference(), 0..20).prop_map(Content::Chunks),
        (1..=limits::CONTENT_DEPTH, vec(reference(), 0..20)).prop_map(|(depth, lists)| Content::Lists { depth, lists }),
    ]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let xattrs = btree_map(name(), bytes(60), 0..4);
    let numbers = (option::of(any::<u64>()), option::of(any::<u64>()), option::of(any::<u64>()));
    (0..=0o7777u32, any::<u32>(), any::<u32>(), time(), option::of(time()), numbers, xattrs).prop_map(
        |(mode, uid, gid, mtime, ctime, (inode, device, links), xattrs)| Metadata {
            mode,
            uid,
            gid,
            mtime,
            ctime,
            inode,
            device,
            links,
            xattrs: xattrs.into_iter().map(|(name, value)| Xattr { name, value }).collect(),
        },
    )
}

/// Gaps and lengths that a sparse file's stream is laid out with, and how far the file goes on.
type Layout = (Vec<(u16, u16)>, u16);

/// A size, and extents if there is a layout, for a stream of `len` bytes.
fn lay_out(len: u64, layout: Option<Layout>) -> (u64, Option<Vec<Extent>>) {
    let Some((pieces, behind)) = layout else { return (len, None) };
    let (mut left, mut end, mut extents) = (len, 0, Vec::new());
    // The last one takes what is left.
    let pieces = pieces.into_iter().map(|(gap, piece)| (u64::from(gap), u64::from(piece) + 1)).chain([(7, u64::MAX)]);
    for (gap, piece) in pieces {
        if left == 0 {
            break;
        }
        let offset = if extents.is_empty() { gap } else { end + gap + 1 };
        let taken = piece.min(left);
        extents.push(Extent { offset, len: taken });
        (left, end) = (left - taken, offset + taken);
    }
    (end + u64::from(behind), Some(extents))
}

fn node() -> impl Strategy<Value = Node> {
    let layout = option::of((vec(any::<(u16, u16)>(), 0..6), any::<u16>()));
    let target = vec(1..=255u8, 1..100);
    (0..7usize, name(), metadata(), content(), any::<u32>(), layout, target, any::<u64>()).prop_map(
        |(kind, name, metadata, content, listed_len, layout, target, rdev)| {
            let kinds = [
                NodeKind::File,
                NodeKind::Directory,
                NodeKind::Symlink,
                NodeKind::BlockDevice,
                NodeKind::CharDevice,
                NodeKind::Fifo,
                NodeKind::Socket,
            ];
            let mut node = Node::new(name, kinds[kind], metadata);
            match node.kind {
                NodeKind::File => {
                    let len = match &content {
                        Content::Inline(bytes) => bytes.len() as u64,
                        Content::Chunks(chunks) => chunks.iter().map(|chunk| u64::from(chunk.len)).sum(),
                        Content::Lists { .. } => listed_len.into(),
                    };
                    (node.size, node.extents) = lay_out(len, layout);
                    node.content = Some(content);
                }
                NodeKind::Directory => node.content = Some(content),
                NodeKind::Symlink => node.target = target,
                NodeKind::BlockDevice | NodeKind::CharDevice => node.rdev = rdev,
                NodeKind::Fifo | NodeKind::Socket => {}
            }
            node
        },
    )
}

fn snapshot_id() -> impl Strategy<Value = Option<SnapshotId>> {
    option::of(any::<[u8; 32]>().prop_map(SnapshotId::new))
}

fn statistics() -> impl Strategy<Value = SnapshotStatistics> {
    any::<[u64; 11]>().prop_map(|n| SnapshotStatistics {
        files: n[0],
        directories: n[1],
        others: n[2],
        bytes: n[3],
        files_new: n[4],
        files_changed: n[5],
        files_unchanged: n[6],
        chunks_new: n[7],
        bytes_new: n[8],
        bytes_added: n[9],
        problems: n[10],
    })
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let path = bytes(30).prop_map(|path| [b"/", &path[..]].concat());
    let problem = (bytes(20), any::<String>()).prop_map(|(path, message)| Problem { path, message });
    let names = || btree_map(any::<u32>(), bytes(10), 0..4);
    let what = (time(), any::<String>(), vec(path, 0..4), content(), btree_set(any::<String>(), 0..4));
    let ids = (snapshot_id(), snapshot_id(), snapshot_id(), snapshot_id());
    let counts = (1..=limits::SNAPSHOT_NUMBER, statistics(), vec(problem, 0..4));
    let who = (any::<String>(), names(), names(), option::of(any::<String>()), option::of(any::<String>()));
    let origin = (any::<[u8; 16]>(), any::<[u8; 32]>()).prop_map(|(repository, snapshot)| CopyOrigin {
        repository: RepositoryId::new(repository),
        snapshot: SnapshotId::new(snapshot),
    });
    (what, ids, counts, who, option::of(time()), option::of(time()), option::of(stack()), option::of(origin)).prop_map(
        |(what, ids, counts, who, started, finished, stack, copied_from)| {
            let (time, host, paths, root, tags) = what;
            let (parent, previous, replaces, original) = ids;
            let (sequence, statistics, problems) = counts;
            let (program, users, groups, label, user) = who;
            Snapshot {
                time,
                host,
                domain: DomainId::SHARED,
                signer: Signer::Full,
                paths,
                root,
                tags: tags.into_iter().collect(),
                label,
                parent,
                previous,
                sequence,
                statistics,
                problems,
                program,
                users,
                groups,
                replaces,
                original,
                user,
                started,
                finished,
                stack,
                copied_from,
            }
        },
    )
}

fn stack() -> impl Strategy<Value = StackRecord> {
    let kind = (1..=3u64).prop_map(|code| StackPartKind::from_code(code).expect("the numbers of the specification"));
    let part = (bytes(20), kind, any::<u64>()).prop_map(|(path, kind, bytes)| StackPart {
        path: [b"/", &path[..]].concat(),
        kind,
        bytes,
    });
    let fact = (any::<String>(), any::<String>(), any::<String>()).prop_map(|(service, what, value)| StackFact {
        service,
        what,
        value,
    });
    ("[a-z]{1,9}", any::<String>(), vec(part, 0..4), vec(fact, 0..4))
        .prop_map(|(name, manifest, parts, facts)| StackRecord { name, manifest, parts, facts })
}

/// Records of domain 0, their sessions all different.
fn records() -> impl Strategy<Value = Vec<SessionKeyRecord>> {
    let rest = vec(any::<u8>(), SESSION_KEY_RECORD_BYTES - 32);
    btree_map(any::<[u8; 16]>(), rest, 1..4).prop_map(|records| {
        let record = |(session, rest): ([u8; 16], Vec<u8>)| [&session[..], DomainId::SHARED.as_bytes(), &rest].concat();
        records.into_iter().map(|parts| SessionKeyRecord::from_slice(&record(parts)).expect("its length")).collect()
    })
}

/// A session's number, chunks, codes, a gap before it, and what its compressed length is made from.
type Drawn = (usize, Vec<([u8; 32], u32)>, (u8, u8, u8), u32, u32);

/// Segments of sessions that are given by number, one behind the other.
fn rows() -> impl Strategy<Value = Vec<(usize, SegmentRow)>> {
    let chunks = vec((any::<[u8; 32]>(), 1..100_000u32), 1..12);
    let codes = (1..=2u8, 1..=2u8, 0..=1u8);
    vec((any::<usize>(), chunks, codes, 0..500u32, any::<u32>()), 0..6).prop_map(|segments| {
        let mut end = 8;
        let row = |(session, chunks, (kind, suite, compression), gap, text): Drawn| {
            let plain_len = chunks.iter().map(|(_, len)| len).sum();
            let compression = Compression::from_code(compression).expect("a compression");
            let text_len = if compression == Compression::None { plain_len } else { text % plain_len };
            let row = SegmentRow {
                session: SessionId::new([0; 16]),
                offset: end + gap,
                sealed_len: text_len + 40,
                kind: ChunkKind::from_code(kind).expect("a kind"),
                suite: Suite::from_code(suite).expect("a suite"),
                compression,
                plain_len,
                chunks: chunks.into_iter().map(|(id, len)| (ChunkId::new(id), len)).collect(),
            };
            end = row.offset + row.sealed_len;
            (session, row)
        };
        segments.into_iter().map(row).collect()
    })
}

fn footer() -> impl Strategy<Value = Footer> {
    (records(), rows()).prop_map(|(sessions, rows)| {
        let segments = rows
            .into_iter()
            .map(|(number, row)| SegmentRow { session: sessions[number % sessions.len()].session(), ..row })
            .collect();
        Footer { sessions, segments }
    })
}

/// The byte behind the last segment.
fn end(segments: &[SegmentRow]) -> u64 {
    segments.last().map_or(8, |row| u64::from(row.offset) + u64::from(row.sealed_len))
}

fn index() -> impl Strategy<Value = IndexObject> {
    let packs = vec((any::<[u8; 32]>(), rows(), 0..100_000u64), 0..4);
    (any::<[u8; 16]>(), records(), packs, vec(any::<[u8; 32]>(), 0..4), vec(any::<[u8; 32]>(), 0..4)).prop_map(
        |(session, sessions, packs, replaces, lost)| {
            let taken_out = lost.iter().take(2).map(|id| PackId::new(*id)).collect();
            let pack = |(id, rows, rest): ([u8; 32], Vec<(usize, SegmentRow)>, u64)| {
                let segments: Vec<SegmentRow> = rows
                    .into_iter()
                    .map(|(number, row)| SegmentRow { session: sessions[number % sessions.len()].session(), ..row })
                    .collect();
                PackRow { id: PackId::new(id), len: end(&segments) + rest + TAIL_BYTES as u64, segments }
            };
            let packs = packs.into_iter().map(pack).collect();
            let replaces = replaces.into_iter().map(IndexId::new).collect();
            let lost = lost.into_iter().map(ChunkId::new).collect();
            let empty = IndexObject::empty(SessionId::new(session), DomainId::SHARED);
            IndexObject { sessions, packs, replaces, lost, taken_out, ..empty }
        },
    )
}

fn profile() -> impl Strategy<Value = ChunkerParameters> {
    (32..=1024u32, 0..=2048u32, 0..=4096u32, any::<u64>(), any::<u64>()).prop_map(
        |(min, average, max, strict, loose)| {
            let min = min * 2;
            let average = (min + average * 2).max(256);
            let max = (average + max * 2).max(1024);
            ChunkerParameters { min, average, max, strict_mask: strict >> 1, loose_mask: loose >> 1 }
        },
    )
}

fn pages() -> impl Strategy<Value = PageParameters> {
    (10..=20u32, 10..=20u32).prop_map(|(a, b)| PageParameters { min: 1 << a.min(b), max: 1 << a.max(b) })
}

fn config() -> impl Strategy<Value = Config> {
    let features = || vec(any::<String>(), 0..3);
    let sizes = (limits::PACK_SIZE_SETTING, limits::SEGMENT_SIZE_SETTING);
    let profiles = (profile(), profile(), pages());
    (any::<[u8; 16]>(), time(), 1..=2u8, sizes, profiles, features(), features()).prop_map(
        |(id, created, suite, (pack_size, segment_size), (files, dumps, pages), features_write, features_prune)| {
            Config {
                id: RepositoryId::new(id),
                created,
                suite: Suite::from_code(suite).expect("a suite"),
                pack_size,
                segment_size: u32::try_from(segment_size).expect("below 8 MiB"),
                files,
                dumps,
                pages,
                features_read: Vec::new(),
                features_write,
                features_prune,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nodes_come_back(nodes in vec(node(), 1..4)) {
        let mut encoded = Vec::new();
        nodes.iter().for_each(|node| encode_node(node, &mut encoded));
        let mut rest = &encoded[..];
        for node in &nodes {
            let (decoded, len) = decode_node(rest).expect("a node");
            prop_assert_eq!(&decoded, node);
            for cut in [0, 1, len / 2, len - 1] {
                prop_assert!(decode_node(&rest[..cut]).is_err());
            }
            rest = &rest[len..];
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn contents_and_references_come_back(content in content(), references in vec(reference(), 0..30)) {
        prop_assert_eq!(decode_content(&encode_content(&content)).expect("a content"), content);
        prop_assert_eq!(decode_references(&encode_references(&references)).expect("references"), references);
    }

    #[test]
    fn snapshots_come_back(snapshot in snapshot()) {
        let keys = keys();
        let session = keys.new_session(DomainId::SHARED);
        let decoded = decode_snapshot(&encode_snapshot(&snapshot, &keys, &session), &keys).expect("a snapshot");
        prop_assert_eq!(decoded, (session.session(), snapshot));
    }

    #[test]
    fn intents_come_back(started in time(), texts in any::<[String; 3]>(), process in any::<u64>()) {
        let keys = keys();
        let session = keys.new_session(DomainId::SHARED);
        let [host, boot, program] = texts;
        let intent = Intent { started, host, process, boot, program };
        let (of, decoded) = decode_intent(&encode_intent(&intent, &keys, &session), &keys).expect("an intent");
        prop_assert_eq!((of.session(), decoded), (session.session(), intent));
    }

    #[test]
    fn registers_come_back(session in any::<[u8; 16]>(), committed in any::<bool>(), snapshot in snapshot_id()) {
        let state = if committed { SessionState::Committed(snapshot) } else { SessionState::Revoked };
        let register = Register { session: SessionId::new(session), state };
        prop_assert_eq!(decode_register(&encode_register(&register, &keys()), &keys()).expect("a register"), (register, Signer::Full));
    }

    #[test]
    fn records_of_forgetting_come_back(
        snapshot in any::<[u8; 32]>(),
        time in time(),
        by_hand in any::<bool>(),
        texts in any::<[Option<String>; 2]>(),
    ) {
        let why = if by_hand { WhyForgotten::Forgotten } else { WhyForgotten::Replaced };
        let [host, program] = texts;
        let record = ForgottenRecord { snapshot: SnapshotId::new(snapshot), time, why, host, program };
        prop_assert_eq!(decode_forgotten(&encode_forgotten(&record, &keys()), &keys()).expect("a record"), record);
    }

    #[test]
    fn objects_of_prune_come_back(
        number in 1u64..,
        time in time(),
        program in any::<String>(),
        packs in btree_set(any::<[u8; 32]>(), 0..5),
        snapshots in btree_set(any::<[u8; 32]>(), 0..5),
        sessions in btree_set(any::<[u8; 16]>(), 0..5),
        freed_bytes in any::<u64>(),
        is_sweep in any::<bool>(),
    ) {
        let number = PruneId::new(number).expect("not zero");
        let packs: Vec<PackId> = packs.into_iter().map(PackId::new).collect();
        let snapshots: Vec<SnapshotId> = snapshots.into_iter().map(SnapshotId::new).collect();
        let plan = PrunePlan { number, time, program, condemned: packs.clone(), dropped: snapshots.clone() };
        prop_assert_eq!(decode_plan(&encode_plan(&plan, &keys()), &keys()).expect("a plan"), plan);
        let verdict = if is_sweep { PruneVerdict::Sweep { rescued: packs } } else { PruneVerdict::Cancelled };
        let state = PruneState { number, verdict };
        prop_assert_eq!(decode_state(&encode_state(&state, &keys()), &keys()).expect("a state"), state);
        let sessions = sessions.into_iter().map(|id| (SessionId::new(id), time)).collect();
        let records = snapshots.into_iter().map(|id| (id, time)).collect();
        let done = PruneDone { number, time, sessions, records, freed_bytes };
        prop_assert_eq!(decode_done(&encode_done(&done, &keys()), &keys()).expect("a done"), done);
    }

    #[test]
    fn configs_come_back(config in config()) {
        let object = encode_config(&config, &keys());
        prop_assert_eq!(decode_config(&object).expect("a config"), config);
        prop_assert!(verify_config(&object, &keys()).is_ok());
    }

    #[test]
    fn footers_come_back(footer in footer()) {
        let domain = keys().domain(DomainId::SHARED).expect("a full client");
        let (sealed, end) = (encode_footer(&footer, &domain, 0), end(&footer.segments));
        prop_assert_eq!(sealed.len() % 4096, 40);
        prop_assert_eq!(&decode_footer(&sealed, &domain, 0, end).expect("a footer"), &footer);
        prop_assert!(footer.segments.is_empty() || decode_footer(&sealed, &domain, 0, end - 1).is_err());
        let other = keys().domain(DomainId::new([1; 16])).expect("a full client");
        prop_assert!(decode_footer(&encode_footer(&footer, &other, 0), &other, 0, end).is_err(), "records of domain 0");
    }

    #[test]
    fn indexes_come_back(index in index()) {
        let object = encode_index(&index, &keys(), &keys().domain(DomainId::SHARED).expect("a full client"));
        prop_assert_eq!(decode_index(&object, &keys()).expect("an index object"), index);
    }

    #[test]
    fn tails_come_back(domain in any::<[u8; 16]>(), footer_len in 0..1u32 << 20, more in 0..1u64 << 20) {
        let tail = Tail { domain: DomainId::new(domain), epoch: 0, footer_len };
        let len = u64::from(footer_len) + 8 + TAIL_BYTES as u64 + more;
        prop_assert_eq!(decode_tail(&encode_tail(&tail), len).expect("a tail"), tail);
        prop_assert!(more > 0 || decode_tail(&encode_tail(&tail), len - 1).is_err() || footer_len == 0);
    }
}
