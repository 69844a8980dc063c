//! What a client that can't read its snapshots keeps of them on its own machine: the last one of each series with its trees,
//! so that unchanged files are found, and the sessions that it began, so that one which was interrupted is taken over.
//!
//! All of it is sealed with a key of the client, and all of it may vanish: then everything is read again, and nothing is
//! stored again. A full client keeps nothing here.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use redb::{Builder, Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use super::index::store_error;
use super::rows::StoreResult;
use super::{Repository, SessionTable, SnapshotSet};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{self, Intent, SessionState};
use crate::id::{ChunkId, IndexId, SessionId, SnapshotId};
use crate::limits;
use crate::model::{ChunkKind, ChunkRef, Content, Snapshot};
use crate::os::{durable, lock};
use crate::storage::{ObjectFamily, ObjectName};

/// Tree chunks by their ids, sealed.
const TREES: TableDefinition<[u8; 32], &[u8]> = TableDefinition::new("trees");
/// Under the only key: how many chunks were needed when what was not needed was removed last.
const NEEDED: TableDefinition<(), u64> = TableDefinition::new("needed");
/// Bytes of tree chunks that wait in memory.
const PENDING_BYTES: usize = 4 << 20;
const DATABASE_CACHE_BYTES: usize = 4 << 20;
/// Chunks that may be too many before it is looked which are.
const SPARE_CHUNKS: u64 = 4096;
const ID_BYTES: usize = 16;

/// The trees, once they are asked for.
#[derive(Default)]
pub(super) struct LocalState {
    /// `None`: another process has them, or they can't be had.
    trees: OnceLock<Option<Database>>,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    chunks: HashMap<ChunkId, Vec<u8>>,
    bytes: usize,
}

impl Repository {
    /// Keeps a tree chunk of a snapshot in the making.
    pub(super) fn keep_own_tree(&self, id: &ChunkId, chunk: &[u8]) -> Result<()> {
        if !self.only_adds() {
            return Ok(());
        }
        let sealed = self.seal_own(id.as_bytes(), chunk)?;
        let mut pending = self.local.pending.lock().expect("no holder of this lock panics");
        pending.bytes += sealed.len();
        pending.chunks.insert(*id, sealed);
        if pending.bytes >= PENDING_BYTES { self.flush_own_trees(&mut pending) } else { Ok(()) }
    }

    fn flush_own_trees(&self, pending: &mut Pending) -> Result<()> {
        let Pending { chunks, .. } = std::mem::take(pending);
        let Some(trees) = self.own_trees() else { return Ok(()) };
        let write = || -> StoreResult<()> {
            let transaction = trees.begin_write()?;
            {
                let mut table = transaction.open_table(TREES)?;
                for (id, sealed) in &chunks {
                    table.insert(id.as_bytes(), sealed.as_slice())?;
                }
            }
            Ok(transaction.commit()?)
        };
        write().map_err(store_error)
    }

    fn own_trees(&self) -> Option<&Database> {
        let open = || {
            let path = self.cache_directory().join("trees.redb");
            let make = || -> StoreResult<Database> {
                let database = Builder::new().set_cache_size(DATABASE_CACHE_BYTES).create(&path)?;
                let transaction = database.begin_write()?;
                transaction.open_table(TREES)?;
                transaction.open_table(NEEDED)?;
                transaction.commit()?;
                Ok(database)
            };
            match make() {
                Err(redb::Error::DatabaseAlreadyOpen) => None,
                // Damaged, or of another version: it is only a cache.
                Err(_) => lock::remove_cached(&path).ok().and_then(|()| make().ok()),
                Ok(database) => Some(database),
            }
        };
        self.local.trees.get_or_init(open).as_ref()
    }

    /// A tree chunk that this client stored.
    ///
    /// # Errors
    /// `Missing` if it is not kept here.
    pub(super) fn own_tree(&self, reference: &ChunkRef) -> Result<Vec<u8>> {
        let missing = || EngineError::new(ErrorKind::Missing, format!("tree chunk {} is not kept here", reference.id));
        let waiting =
            self.local.pending.lock().expect("no holder of this lock panics").chunks.get(&reference.id).cloned();
        let sealed = match waiting {
            Some(sealed) => Some(sealed),
            None => self.own_trees().and_then(|trees| read_tree(trees, &reference.id).ok().flatten()),
        };
        let chunk = self.keys().open_state(reference.id.as_bytes(), &sealed.ok_or_else(missing)?);
        let chunk = chunk.map_err(|_| missing())?;
        let is_right =
            chunk.len() == reference.len as usize && self.domain().chunk_id(ChunkKind::Tree, &chunk) == reference.id;
        if is_right { Ok(chunk) } else { Err(missing()) }
    }

    /// Keeps a snapshot that a session is about to commit, in place of the last one of its series.
    pub(super) fn keep_own_snapshot(&self, session: SessionId, id: SnapshotId, snapshot: &Snapshot) -> Result<()> {
        if !self.only_adds() {
            return Ok(());
        }
        self.flush_own_trees(&mut self.local.pending.lock().expect("no holder of this lock panics"))?;
        let body = [session.as_bytes(), format::encode_snapshot_body(snapshot).as_slice()].concat();
        let sealed = self.seal_own(id.as_bytes(), &body)?;
        let kept = lock::replace_cached(&self.own_path("snapshots", &id.to_hex()), &sealed);
        kept.map_err(|error| EngineError::io("keep a snapshot in", self.cache_directory(), error))
    }

    /// The last snapshots that this client made and that are still there.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn own_snapshots(&self, sessions: &SessionTable, listed: &[SnapshotId]) -> Result<SnapshotSet> {
        let mut set = SnapshotSet::default();
        let mut forgotten = HashSet::new();
        self.storage().list(ObjectFamily::Forgotten, &mut |name, _| {
            if let ObjectName::Forgotten(id) = name {
                forgotten.insert(id);
            }
        })?;
        for (id, session, snapshot) in self.kept_snapshots() {
            let is_there = listed.binary_search(&id).is_ok() && !forgotten.contains(&id);
            if is_there && sessions.look_up(self, session)? == Some((SessionState::Committed(Some(id)), self.signer()))
            {
                set.snapshots.push((id, snapshot));
            }
        }
        set.snapshots.sort_by_key(|(id, snapshot)| (snapshot.time, snapshot.sequence, *id));
        Ok(set)
    }

    /// What is kept, whether it is committed or not.
    fn kept_snapshots(&self) -> Vec<(SnapshotId, SessionId, Snapshot)> {
        let mut names = Vec::new();
        let directory = self.cache_directory().join("own/snapshots");
        let _ = durable::list_directory(&directory, &mut |name, _| names.extend(SnapshotId::from_hex(name).ok()));
        let open = |id: SnapshotId| {
            let sealed = durable::read_file(&directory.join(id.to_hex()), None, limits::ENVELOPE_BYTES).ok()?;
            let body = self.keys().open_state(id.as_bytes(), &sealed).ok()?;
            let (session, body) = body.split_at_checked(ID_BYTES)?;
            let mut snapshot = format::decode_snapshot_body(body).ok()?;
            (snapshot.domain, snapshot.signer) = (self.domain().domain(), self.signer());
            Some((id, SessionId::from_slice(session)?, snapshot))
        };
        names.into_iter().filter_map(open).collect()
    }

    /// After a commit: of each series the last snapshot stays, and of the trees what those need.
    pub(super) fn tidy_own_state(&self, newest: SnapshotId) {
        if !self.only_adds() {
            return;
        }
        let kept = self.kept_snapshots();
        let Some((_, _, new)) = kept.iter().find(|(id, ..)| *id == newest) else { return };
        let is_older = |other: &Snapshot| series(other) == series(new);
        let (gone, stay): (Vec<_>, Vec<_>) =
            kept.iter().partition(|(id, _, snapshot)| *id != newest && is_older(snapshot));
        for (id, ..) in gone {
            let _ = lock::remove_cached(&self.own_path("snapshots", &id.to_hex()));
        }
        // What fails here leaves too much.
        let _ =
            self.remove_unneeded_trees(&stay.into_iter().map(|(_, _, snapshot)| &snapshot.root).collect::<Vec<_>>());
    }

    fn remove_unneeded_trees(&self, roots: &[&Content]) -> StoreResult<()> {
        let Some(trees) = self.own_trees() else { return Ok(()) };
        {
            let read = trees.begin_read()?;
            let needed = read.open_table(NEEDED)?.get(())?.map_or(0, |needed| needed.value());
            if read.open_table(TREES)?.len()? <= 2 * needed + SPARE_CHUNKS {
                return Ok(());
            }
        }
        let mut needed = HashSet::new();
        roots.iter().for_each(|root| self.mark_own(root, true, &mut needed));
        let transaction = trees.begin_write()?;
        {
            let mut table = transaction.open_table(TREES)?;
            table.retain(|id, _| needed.contains(&ChunkId::new(id)))?;
            transaction.open_table(NEEDED)?.insert((), needed.len() as u64)?;
        }
        Ok(transaction.commit()?)
    }

    /// Collects the tree chunks of a content. What is not kept leads nowhere.
    fn mark_own(&self, content: &Content, directory: bool, needed: &mut HashSet<ChunkId>) {
        match content {
            Content::Inline(nodes) if directory => self.mark_nodes(nodes, needed),
            Content::Chunks(chunks) if directory => {
                for chunk in chunks {
                    if needed.insert(chunk.id)
                        && let Ok(nodes) = self.own_tree(chunk)
                    {
                        self.mark_nodes(&nodes, needed);
                    }
                }
            }
            Content::Inline(_) | Content::Chunks(_) => {}
            Content::Lists { depth, lists } => {
                for list in lists {
                    if needed.insert(list.id)
                        && let Ok(bytes) = self.own_tree(list)
                        && let Ok(references) = format::decode_references(&bytes)
                    {
                        let below = match depth - 1 {
                            0 => Content::Chunks(references),
                            depth => Content::Lists { depth, lists: references },
                        };
                        self.mark_own(&below, directory, needed);
                    }
                }
            }
        }
    }

    fn mark_nodes(&self, mut nodes: &[u8], needed: &mut HashSet<ChunkId>) {
        while let Ok((node, len)) = format::decode_node(nodes) {
            nodes = &nodes[len..];
            if let Some(content) = &node.content {
                self.mark_own(content, node.is_directory(), needed);
            }
        }
    }

    /// Remembers that a session began in this process.
    pub(super) fn keep_own_intent(&self, session: SessionId, intent: &Intent) -> Result<()> {
        if !self.only_adds() {
            return Ok(());
        }
        let sealed = self.seal_own(session.as_bytes(), &format::encode_intent_body(intent))?;
        // Without it, only what an interrupted session stored is stored again.
        let _ = lock::replace_cached(&self.own_path("sessions", &session.to_hex()), &sealed);
        Ok(())
    }

    /// What [`Self::keep_own_intent`] remembered.
    ///
    /// # Errors
    /// `Missing` if it is another client's, or not remembered here.
    pub(super) fn own_intent(&self, session: SessionId) -> Result<Intent> {
        let path = self.own_path("sessions", &session.to_hex());
        let open = || {
            let sealed = durable::read_file(&path, None, limits::ENVELOPE_BYTES).ok()?;
            let body = self.keys().open_state(session.as_bytes(), &sealed).ok()?;
            format::decode_intent_body(&body).ok()
        };
        open().ok_or_else(|| EngineError::new(ErrorKind::Missing, format!("session {session} was not begun here")))
    }

    pub(super) fn forget_own_intent(&self, session: SessionId) {
        if self.only_adds() {
            let _ = lock::remove_cached(&self.own_path("sessions", &session.to_hex()));
        }
    }

    /// Leaves out index objects of other domains: these keys don't open them. Those that were seen are remembered.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn leave_out_other_domains(&self, listed: &mut HashMap<IndexId, u64>) -> Result<()> {
        if !self.only_adds() {
            return Ok(());
        }
        let path = self.cache_directory().join("own/other-indexes");
        let known = durable::read_file(&path, None, limits::INDEX_BYTES).unwrap_or_default();
        let mine = durable::read_file(&path.with_extension("mine"), None, limits::INDEX_BYTES).unwrap_or_default();
        let set =
            |bytes: &[u8]| -> HashSet<IndexId> { bytes.chunks_exact(32).filter_map(IndexId::from_slice).collect() };
        let (mut others, mut own) = (set(&known), set(&mine));
        let before = others.len() + own.len();
        for id in listed.keys().filter(|id| !others.contains(id) && !own.contains(id)).copied().collect::<Vec<_>>() {
            match self.read_index_domain(id) {
                Ok(domain) if domain == Some(self.domain().domain()) => drop(own.insert(id)),
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                // Gone or damaged: of another's it is none of ours, and of ours it will be said.
                Err(_) => continue,
                Ok(_) => drop(others.insert(id)),
            }
        }
        if others.len() + own.len() > before {
            let joined = |set: &HashSet<IndexId>| {
                let there = set.iter().filter(|id| listed.contains_key(id));
                there.flat_map(|id| *id.as_bytes()).collect::<Vec<u8>>()
            };
            // Without it, the next command asks again.
            let _ = lock::replace_cached(&path, &joined(&others));
            let _ = lock::replace_cached(&path.with_extension("mine"), &joined(&own));
        }
        listed.retain(|id, _| !others.contains(id));
        Ok(())
    }

    fn seal_own(&self, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
        self.keys().seal_state(aad, plain).map_err(|error| EngineError::new(ErrorKind::Invalid, error.to_string()))
    }

    fn own_path(&self, kind: &str, name: &str) -> PathBuf {
        self.cache_directory().join("own").join(kind).join(name)
    }
}

/// What tells a snapshot's successors from others.
fn series(snapshot: &Snapshot) -> (&str, Option<&str>, &[Vec<u8>], Option<&str>) {
    let stack = snapshot.stack.as_ref().map(|stack| stack.name.as_str());
    (&snapshot.host, snapshot.label.as_deref(), &snapshot.paths, stack)
}

fn read_tree(trees: &Database, id: &ChunkId) -> StoreResult<Option<Vec<u8>>> {
    let read = trees.begin_read()?;
    Ok(read.open_table(TREES)?.get(id.as_bytes())?.map(|sealed| sealed.value().to_vec()))
}
