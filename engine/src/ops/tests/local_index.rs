//! The local index through prunes: whatever index objects came, were replaced and went, a database that was kept says
//! what one says that is made anew, and what the objects themselves say.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::*;
use crate::id::{ChunkId, PackId};
use crate::model::{ChunkKind, Compression, PackRow, SegmentRow, Suite};
use crate::repository::{Census, Index};

/// Chunks that there are at all: few, so that many packs hold the same.
const CHUNKS: u64 = 300;

/// Where a chunk is: pack, first byte of the segment in it, first byte in that, length.
type At = (PackId, u32, u32, u32);

/// Keeps what it is told.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Monitor for Notes {
    fn note(&self, text: &str) {
        self.0.lock().expect("lock").push(text.to_owned());
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }
}

fn chunk_id(number: u64) -> ChunkId {
    ChunkId::new(crate::crypto::hash(&number.to_le_bytes()))
}

/// Index objects as they are put, and which of them count.
struct History {
    bench: Bench,
    random: Random,
    packs: u64,
    /// Every object that is there.
    objects: BTreeMap<IndexId, IndexObject>,
}

impl History {
    fn pack(&mut self, session: &Session) -> PackRow {
        self.packs += 1;
        let (mut offset, mut segments) = (8, Vec::new());
        for _ in 0..1 + self.random.below(3) {
            let numbers: BTreeSet<u64> = (0..1 + self.random.below(6)).map(|_| self.random.below(CHUNKS)).collect();
            let chunks: Vec<_> = numbers.into_iter().map(|number| (chunk_id(number), 100 + number as u32)).collect();
            segments.push(SegmentRow {
                session: session.id(),
                offset,
                sealed_len: 1000,
                kind: ChunkKind::Data,
                suite: Suite::XChaCha20Poly1305,
                compression: Compression::Zstd,
                plain_len: chunks.iter().map(|(_, len)| len).sum(),
                chunks,
            });
            offset += 1000;
        }
        PackRow { id: PackId::new(crate::crypto::hash(&self.packs.to_be_bytes())), len: 1 << 20, segments }
    }

    fn put(&mut self, object: IndexObject) -> IndexId {
        let (id, _) = self.bench.repository.put_index(&object, false).expect("put");
        self.objects.insert(id, object);
        id
    }

    fn replaced(&self) -> HashSet<IndexId> {
        self.objects.values().flat_map(|object| object.replaces.clone()).collect()
    }

    /// A writer puts some objects.
    fn write(&mut self, count: u64) {
        let session = Session::begin(&self.bench.repository, "here", PROGRAM, &clock()).expect("begin");
        for _ in 0..count {
            let packs = (0..1 + self.random.below(3)).map(|_| self.pack(&session)).collect();
            let sessions = vec![session.keys().record().clone()];
            self.put(IndexObject { sessions, packs, ..IndexObject::empty(session.id(), crate::id::DomainId::SHARED) });
        }
        session.commit(&self.bench.repository, None).expect("commit");
    }

    /// A prune sweeps some packs, as G8 does; all that it replaces goes, or only some of it.
    fn prune(&mut self, share: u64) {
        let session = Session::begin(&self.bench.repository, "here", PROGRAM, &clock()).expect("begin");
        let replaced = self.replaced();
        let (mut kept, mut garbage) = (IndexObject::empty(session.id(), crate::id::DomainId::SHARED), Vec::new());
        for (id, object) in self.objects.clone() {
            if replaced.contains(&id) {
                garbage.push(id);
            } else if self.random.below(100) < share {
                garbage.push(id);
                kept.sessions.extend(object.sessions);
                kept.packs.extend(object.packs.into_iter().filter(|_| self.random.below(3) > 0));
            }
        }
        kept.sessions.sort_by_key(crate::crypto::SessionKeyRecord::session);
        kept.sessions.dedup();
        let mut seen = HashSet::new();
        kept.packs.retain(|pack| seen.insert(pack.id));
        kept.replaces.clone_from(&garbage);
        self.put(kept);
        session.commit(&self.bench.repository, None).expect("commit");
        for id in garbage {
            if self.random.below(4) > 0 {
                self.bench.storage.below.remove(ObjectName::Index(id)).expect("remove");
                self.objects.remove(&id);
            }
        }
    }

    /// What the objects say.
    fn expected(&self) -> (BTreeSet<PackId>, BTreeMap<ChunkId, BTreeSet<At>>) {
        let replaced = self.replaced();
        let (mut packs, mut chunks): (BTreeSet<PackId>, BTreeMap<ChunkId, BTreeSet<At>>) = Default::default();
        for object in self.objects.iter().filter(|(id, _)| !replaced.contains(id)).map(|(_, object)| object) {
            for pack in &object.packs {
                packs.insert(pack.id);
                for segment in &pack.segments {
                    let mut offset = 0;
                    for (id, len) in &segment.chunks {
                        chunks.entry(*id).or_default().insert((pack.id, segment.offset, offset, *len));
                        offset += len;
                    }
                }
            }
        }
        (packs, chunks)
    }

    fn assert_right(&self, index: &Index, what: &str) {
        let (packs, chunks) = self.expected();
        let at = |place: crate::repository::Place| {
            let segment = index.segment(place.segment).expect("segment");
            (segment.pack(), segment.offset(), place.offset, place.len)
        };
        let mut found = BTreeSet::new();
        index
            .packs(&mut |id, _| {
                found.insert(id);
            })
            .expect("packs");
        assert_eq!(found, packs, "{what}");
        for number in 0..self.packs + 1 {
            let id = PackId::new(crate::crypto::hash(&number.to_be_bytes()));
            assert_eq!(index.has_pack(&id).expect("pack"), packs.contains(&id), "{what}");
        }
        for id in (0..CHUNKS).map(chunk_id) {
            let (place, expected) = (index.find(&id).expect("find").map(at), chunks.get(&id));
            assert_eq!(place.is_some(), expected.is_some(), "{what}, {id}");
            assert!(place.is_none_or(|place| expected.expect("some").contains(&place)), "{what}, {id}");
            assert_eq!(index.contains(&id).expect("contains"), expected.is_some(), "{what}, {id}");
        }
        let mut all: HashMap<[u8; 16], BTreeSet<At>> = HashMap::new();
        index
            .chunks(&mut |id, place| {
                all.entry(id).or_default().insert(at(place));
            })
            .expect("chunks");
        assert_eq!(all.len(), chunks.len(), "{what}");
        index
            .further_copies(&mut |id, place| {
                all.entry(id).or_default().insert(at(place));
            })
            .expect("copies");
        let short = |id: &ChunkId| id.as_bytes()[..16].try_into().expect("16 bytes");
        let chunks: HashMap<[u8; 16], BTreeSet<At>> = chunks.iter().map(|(id, at)| (short(id), at.clone())).collect();
        assert!(all == chunks, "{what}: other places");
        let counted: BTreeSet<PackId> =
            Census::new(index).expect("census").packs().iter().map(|pack| pack.id).collect();
        assert_eq!(counted, packs, "{what}");
    }
}

#[test]
fn a_database_that_is_kept_through_prunes_says_what_a_new_one_does() {
    for seed in 0..4 {
        let mut history = History { bench: Bench::new(), random: Random(seed), packs: 0, objects: BTreeMap::new() };
        let second = history.bench.scratch.path().join("second");
        let second = Repository::open(Arc::new(Arc::clone(&history.bench.storage)), &history.bench.secret, &second);
        let second = second.expect("open");
        for step in 0..12 {
            let what = format!("seed {seed}, step {step}");
            // More than are kept in memory, or not.
            let count = if history.random.below(2) == 0 { 12 } else { 2 };
            history.write(count);
            if history.random.below(2) == 0 {
                history.prune(30);
            }
            let index = history.bench.repository.load_index(&Silent).expect("index");
            history.assert_right(&index, &what);
            if history.random.below(3) == 0 {
                // One that did not look at everything, and beside a reader.
                let other = second.load_index(&Silent).expect("index");
                history.assert_right(&other, &format!("{what}, the second"));
                history.write(12);
                history.prune(30);
                history.assert_right(&second.load_index(&Silent).expect("index"), &format!("{what}, beside a reader"));
            }
            drop(index);
            let anew = history.bench.repository.load_index_anew(&Silent).expect("anew");
            history.assert_right(&anew, &format!("{what}, anew"));
        }
    }
}

#[test]
fn after_a_prune_the_database_is_not_made_again() {
    let mut history = History { bench: Bench::new(), random: Random(7), packs: 0, objects: BTreeMap::new() };
    history.write(60);
    history.bench.repository.load_index(&Silent).expect("index");
    for count in [0, 12] {
        history.prune(10);
        history.write(count);
        let (notes, reads) = (Notes::default(), history.bench.storage.different("read index/"));
        let index = history.bench.repository.load_index(&notes).expect("index");
        assert!(notes.0.lock().expect("lock").is_empty(), "{notes:?}", notes = notes.0.lock().expect("lock"));
        let read = history.bench.storage.different("read index/") - reads;
        assert_eq!(read as u64, 1 + count, "only what came was read");
        history.assert_right(&index, "kept");
    }
    // What hides much is made anew.
    history.prune(100);
    history.prune(100);
    let index = history.bench.repository.load_index(&Silent).expect("index");
    history.assert_right(&index, "made anew");
}
