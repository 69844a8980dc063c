//! The write-only clients of a repository. Spec chapter 16.
//!
//! Nothing of them is read before something turns up that one of them signed: most repositories have none.

use std::collections::HashSet;
use std::sync::Mutex;

use super::{Repository, object_error};
use crate::crypto::{CryptoError, Keys, KnownClient};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::{self, ClientRecord, FormatError, IndexObject};
use crate::id::{ClientId, DomainId, IndexId};
use crate::limits;
use crate::model::Signer;
use crate::monitor::Problem;
use crate::storage::{ObjectFamily, ObjectName};

/// Who was looked for: one that is not there is not looked for again.
#[derive(Default)]
pub(super) struct Clients {
    sought: Mutex<HashSet<ClientId>>,
}

/// A write-only client as it was made, and what is checked by that.
pub(crate) type ReadClient = (ClientRecord, KnownClient);

impl Repository {
    /// Decodes an object that a write-only client may have signed.
    ///
    /// # Errors
    /// What `decode` says, about `name`; `Io` if the client can't be looked for.
    pub(crate) fn decode_signed<T>(
        &self,
        name: ObjectName,
        decode: impl Fn(&Keys) -> Result<T, FormatError>,
    ) -> Result<T> {
        let decoded = match decode(self.keys()) {
            Err(FormatError::Crypto(CryptoError::UnknownClient(id))) if self.seek(id)? => decode(self.keys()),
            decoded => decoded,
        };
        decoded.map_err(|error| object_error(name, error))
    }

    /// Whether an index object counts as far as its client goes: of one that has ended, those that its end names do.
    pub(crate) fn counts_of_its_client(&self, id: &IndexId, object: &IndexObject) -> bool {
        let Signer::Client(client) = object.signer else { return true };
        self.counts_of_client(id, &client)
    }

    /// Whether an index object counts as far as its client goes, if only its id and the client are at hand.
    pub(super) fn counts_of_client(&self, id: &IndexId, client: &ClientId) -> bool {
        self.keys().known_client(client).is_none_or(|client| client.counts_index(id))
    }

    /// Whether a signer is a write-only client that has ended, as far as clients were looked for: what it stored in the name
    /// of a session without a register will never count.
    pub(crate) fn has_ended(&self, signer: Signer) -> bool {
        let Signer::Client(client) = signer else { return false };
        self.keys().known_client(&client).is_some_and(|client| client.end.is_some())
    }

    /// Whether all write-only clients have ended that a domain had, and it had some.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn has_ended_domain(&self, domain: DomainId) -> Result<bool> {
        let (clients, problems) = self.read_clients()?;
        let mut of_it = clients.iter().filter(|(_, client)| client.domain == domain).peekable();
        Ok(problems.is_empty() && of_it.peek().is_some() && of_it.all(|(_, client)| client.end.is_some()))
    }

    /// Looks for a client that is not known: the first time all are read, and from then on it alone, so that ids that somebody
    /// makes up cost a request each, and one that was added meanwhile is found. Whether another try may know it.
    fn seek(&self, id: ClientId) -> Result<bool> {
        if self.only_adds() {
            return Ok(false);
        }
        let mut sought = self.clients.sought.lock().expect("no holder of this lock panics");
        // What can't be read is told by a check.
        if sought.is_empty() {
            self.read_clients()?;
        } else if !sought.contains(&id) {
            match self.read_client(id, true, &mut Vec::new()) {
                Ok((_, known)) => self.keys().learn_clients([(id, known)]),
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                Err(_) => {}
            }
        }
        sought.insert(id);
        Ok(true)
    }

    /// Reads the write-only clients, and learns to check what they sign. Those that can't be read are problems.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn read_clients(&self) -> Result<(Vec<ReadClient>, Vec<Problem>)> {
        let (mut names, mut ended) = (Vec::new(), HashSet::new());
        self.storage().list(ObjectFamily::Clients, &mut |name, _| match name {
            ObjectName::Client(id) => names.push(id),
            ObjectName::ClientEnd(id) => drop(ended.insert(id)),
            _ => {}
        })?;
        names.sort();
        let (mut clients, mut problems) = (Vec::new(), Vec::new());
        for id in names {
            match self.read_client(id, ended.contains(&id), &mut problems) {
                Ok(client) => clients.push(client),
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                Err(error) => problems.push(Problem {
                    path: ObjectName::Client(id).to_string().into_bytes(),
                    message: error.to_string(),
                }),
            }
        }
        self.keys().learn_clients(clients.iter().map(|(record, known)| (record.id, known.clone())));
        Ok((clients, problems))
    }

    /// An end that can't be read is a problem, and ends nothing: all doubt is for what is stored.
    fn read_client(&self, id: ClientId, has_ended: bool, problems: &mut Vec<Problem>) -> Result<ReadClient> {
        let name = ObjectName::Client(id);
        let record = self.read_kept_object(name, limits::ENVELOPE_BYTES, |object| {
            format::decode_client(object, self.keys()).map_err(|error| object_error(name, error))
        })?;
        if record.id != id {
            return Err(EngineError::damaged(format!("object {name} belongs to another client")));
        }
        let end = match has_ended.then(|| self.read_client_end(id)) {
            Some(Err(error)) if error.kind() == ErrorKind::Io => return Err(error),
            Some(Err(error)) => {
                let path = ObjectName::ClientEnd(id).to_string().into_bytes();
                problems.push(Problem { path, message: format!("{error}; the client counts as not ended") });
                None
            }
            end => end.transpose()?,
        };
        let known =
            KnownClient { domain: record.domain, public_key: record.public_key, host: record.host.clone(), end };
        Ok((record, known))
    }

    fn read_client_end(&self, id: ClientId) -> Result<crate::crypto::ClientEnd> {
        let name = ObjectName::ClientEnd(id);
        let object = self.storage().read(name, None, limits::ENVELOPE_BYTES)?;
        let (of, _, end) =
            format::decode_client_end(&object, self.keys()).map_err(|error| object_error(name, error))?;
        if of == id { Ok(end) } else { Err(EngineError::damaged(format!("object {name} belongs to another client"))) }
    }
}
