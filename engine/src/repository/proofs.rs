//! Proofs: which snapshots somebody restored, and what came of it.

use super::{Repository, object_error};
use crate::crypto::hash;
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{self, Proof};
use crate::id::{DomainId, ProofId};
use crate::limits;
use crate::model::Snapshot;
use crate::monitor::Problem;
use crate::storage::{ObjectFamily, ObjectName};

/// The proofs of a repository.
#[derive(Debug, Default)]
pub struct Proofs {
    /// Those that can be read, the oldest first.
    pub proofs: Vec<(ProofId, Proof)>,
    /// Those that can't: they prove nothing.
    pub problems: Vec<Problem>,
}

impl Proofs {
    /// Reads all of them.
    ///
    /// # Errors
    /// `Io`.
    pub fn load(repository: &Repository) -> Result<Self> {
        let (mut found, mut listed) = (Self::default(), Vec::new());
        repository.storage().list(ObjectFamily::Proofs, &mut |name, _| {
            if let ObjectName::Proof(id) = name {
                listed.push(id);
            }
        })?;
        for id in listed {
            match read_proof(repository, id) {
                Ok(proof) => found.proofs.push((id, proof)),
                Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::Missing) => return Err(error),
                Err(error) => found.problems.push(Problem {
                    path: ObjectName::Proof(id).to_string().into_bytes(),
                    message: format!("{error}; it proves nothing"),
                }),
            }
        }
        found.proofs.sort_by_key(|(id, proof)| (proof.finished, *id));
        Ok(found)
    }

    /// The last trial of a snapshot; of one with the same content under another id, too.
    pub fn last_of(&self, snapshot: &Snapshot) -> Option<&Proof> {
        self.proofs.iter().map(|(_, proof)| proof).rfind(|proof| proof.root == snapshot.root)
    }

    /// Whether the last trial of a snapshot was a success.
    pub fn proves(&self, snapshot: &Snapshot) -> bool {
        self.last_of(snapshot).is_some_and(|proof| proof.is_good)
    }
}

fn read_proof(repository: &Repository, id: ProofId) -> Result<Proof> {
    let name = ObjectName::Proof(id);
    repository.read_kept_object(name, limits::ENVELOPE_BYTES, |object| {
        if hash(object) != *id.as_bytes() {
            return Err(EngineError::damaged(format!("object {name} does not have the content that its name says")));
        }
        format::decode_proof(object, repository.keys()).map_err(|error| object_error(name, error))
    })
}

/// Puts a proof. It makes nothing count and needs no session; the keys that seal it are its own.
///
/// # Errors
/// `Unsupported`, `Io`.
pub fn put_proof(repository: &Repository, proof: &Proof) -> Result<ProofId> {
    repository.require_writable()?;
    let session = repository.keys().new_session(DomainId::SHARED);
    let object = format::encode_proof(proof, repository.keys(), &session);
    let id = ProofId::new(hash(&object));
    repository.storage().write_new(ObjectName::Proof(id), &[&object])?;
    Ok(id)
}
