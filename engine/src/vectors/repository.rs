//! A repository in memory with the keys of the vectors, for what needs chunks that can be looked up.

use std::sync::Arc;

use super::Case;
use crate::clock::{FixedClock, Timestamp};
use crate::crypto::{Held, Keys, Secret};
use crate::error::Result;
use crate::format::{encode_config, encode_slot};
use crate::id::DomainId;
use crate::model::{ChunkerParameters, Config, PageParameters, Suite};
use crate::monitor::Monitor;
use crate::repository::{Index, Repository, Session, SessionWriter};
use crate::storage::{MemoryStorage, ObjectName, Storage};

struct Quiet;

impl Monitor for Quiet {}

pub(super) struct Fixture {
    pub(super) repository: Repository,
    _cache: tempfile::TempDir,
}

impl Fixture {
    /// An empty repository with the root secret and the id of the inputs.
    pub(super) fn new(case: &Case<'_>) -> Self {
        assert_eq!(case.domain_id(), DomainId::SHARED, "writers know no other domain");
        Self::with_keys(&case.keys())
    }

    fn with_keys(keys: &Keys) -> Self {
        let profile = ChunkerParameters { min: 64, average: 256, max: 1024, strict_mask: 1, loose_mask: 1 };
        let config = Config {
            id: keys.repository(),
            created: Timestamp::default(),
            suite: Suite::XChaCha20Poly1305,
            pack_size: 1 << 20,
            segment_size: 64 << 10,
            files: profile,
            dumps: profile,
            pages: PageParameters { min: 1024, max: 1024 },
            features_read: Vec::new(),
            features_write: Vec::new(),
            features_prune: Vec::new(),
        };
        let secret = Secret::KeyFile([7; 32]);
        let (slot, object) = encode_slot(keys, &Held::Root(keys.root().expect("a full client")), &secret, None, 0, "")
            .expect("no key derivation");
        let storage = MemoryStorage::default();
        for (name, object) in [(ObjectName::Key(slot), object), (ObjectName::Config, encode_config(&config, keys))] {
            storage.write_new(name, &[&object]).expect("memory takes everything");
        }
        let cache = tempfile::tempdir().expect("a temporary directory");
        let repository = Repository::open(Arc::new(storage), &secret, cache.path()).expect("a repository");
        Self { repository, _cache: cache }
    }

    pub(super) fn index(&self) -> Index {
        self.repository.load_index(&Quiet).expect("an index")
    }

    /// Lets `work` store chunks in a session of their own, and commits it.
    pub(super) fn store<T>(&self, work: impl FnOnce(&SessionWriter<'_>) -> Result<T>) -> T {
        let index = self.index();
        let session = Session::begin(&self.repository, "host", "program", &FixedClock(Timestamp::default()));
        let writer =
            SessionWriter::new(&self.repository, &index, session.expect("a session"), false).expect("a writer");
        let done = writer.run(|| work(&writer)).expect("stored");
        writer.commit(None).expect("committed");
        done
    }
}
