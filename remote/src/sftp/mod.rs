//! A directory of a machine that has ssh, and no `repo`: SFTP version 3, as OpenSSH speaks it.
//!
//! The layout is that of a local directory, so that the same repository can be used from its own machine. What SFTP can't
//! promise: that the *name* of a new object survives a power cut of that machine, since directories can't be synced
//! through it. And only servers that know hard links (`hardlink@openssh.com`) say which of two writers was first; with
//! others this storage has no put-if-absent.

mod connection;
mod work;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::clock::Timestamp;
use engine::storage::{Capabilities, ObjectFamily, ObjectName, Outcome, Storage};
use engine::{EngineError, ErrorKind, Result};
use openssh_sftp_client::Error as SftpError;
use openssh_sftp_client::error::SftpErrorKind;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use self::connection::Connection;
use self::work::Read;
use crate::access::Access;
use crate::address::Remote;
use crate::ahead::Ahead;
use crate::patience::{Failed, Patience};
use crate::refusal::{Cause, Refusal};
use crate::ssh;
use crate::throttle::Throttle;

/// How long one object, or one list, may take: the largest pack at 128 KiB a second.
const SILENCE: Duration = Duration::from_secs(600);

/// Objects as files below a directory of another machine.
pub(crate) struct SftpStorage {
    root: String,
    /// The address, for messages.
    place: String,
    /// What starts the other end.
    words: Vec<String>,
    runtime: Runtime,
    connection: Mutex<Option<Arc<Connection>>>,
    has_hard_links: bool,
    patience: Patience,
    upload: Throttle,
    download: Throttle,
}

/// Opens the repository that is a directory of another machine.
///
/// # Errors
/// `Invalid` for an option that is no command; `NoRepository` if there is no such directory and it is not to be made; `Io`.
pub(crate) fn open(remote: &Remote, place: String, create: bool, access: &Access) -> Result<Arc<dyn Storage>> {
    let mut words = ssh::words(remote, access)?;
    words.extend(["-s".to_owned(), remote.destination(), "sftp".to_owned()]);
    let storage = SftpStorage::start(words, remote.path.clone(), place, access, access.patience()?)?;
    if create {
        storage.find(true)?;
        return Ok(Arc::new(Ahead::new(Arc::new(storage))));
    }
    Ahead::open(storage, access, |storage| storage.find(false))
}

impl SftpStorage {
    /// Starts `words`, which must speak SFTP on its standard streams.
    fn start(words: Vec<String>, root: String, place: String, access: &Access, patience: Patience) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| EngineError::with_source(ErrorKind::Io, "cannot start SFTP", error))?;
        // What fails now would fail again: a wrong name, a key that is not known.
        let connection = runtime.block_on(Connection::start(&words, &place))?;
        if connection.would_replace() {
            let text = format!("{place}: its SFTP server has no hard links, and a rename that replaces what is there");
            return Err(EngineError::new(ErrorKind::Unsupported, text));
        }
        Ok(Self {
            has_hard_links: connection.has_hard_links(),
            root: root.trim_end_matches('/').to_owned(),
            place,
            words,
            runtime,
            connection: Mutex::new(Some(Arc::new(connection))),
            patience,
            upload: Throttle::new(access.upload_limit),
            download: Throttle::new(access.download_limit),
        })
    }

    /// Finds the directory, or makes it.
    ///
    /// # Errors
    /// `NoRepository` if it is neither there nor to be made; `Io`.
    fn find(&self, create: bool) -> Result<()> {
        let root = &self.root;
        let is_there = match create {
            true => self.run("make", root, async |connection, _| work::make_directories(&connection, root).await),
            false => self.run("look for", root, async |connection, _| work::is_directory(&connection, root).await),
        };
        match is_there? {
            true => Ok(()),
            false => Err(EngineError::new(ErrorKind::NoRepository, format!("no repository at {}", self.place))),
        }
    }

    /// Does some work, on a new connection if the one that was there broke. The work is told how often it was begun before.
    fn run<T>(
        &self,
        operation: &str,
        path: &str,
        work: impl AsyncFn(Arc<Connection>, u32) -> Result<T, SftpError>,
    ) -> Result<T> {
        self.patience.run(|attempt| {
            let connection = self.connection()?;
            let broken = |why: &dyn std::fmt::Display| {
                self.forget(&connection);
                let text = format!("cannot {operation} {path} on {}", self.place);
                let why = Refusal::new(Cause::Unreachable, format!("the connection broke: {why}"));
                Err(Failed::Again(EngineError::with_source(ErrorKind::Io, text, why), None))
            };
            let answer = async { timeout(SILENCE, work(Arc::clone(&connection), attempt)).await };
            match self.runtime.block_on(answer) {
                Err(_) => broken(&format_args!("no end within {SILENCE:?}")),
                Ok(Ok(value)) => Ok(value),
                Ok(Err(SftpError::SftpError(kind, told))) => {
                    let why = match kind {
                        SftpErrorKind::NoSuchFile => "no such file or directory".to_owned(),
                        SftpErrorKind::PermDenied => "permission denied".to_owned(),
                        // The protocol has no more words; a full disk says just this.
                        SftpErrorKind::Failure => "the server says that it failed (is its disk full?)".to_owned(),
                        _ => format!("{kind:?}: {told}"),
                    };
                    let text = format!("cannot {operation} {path} on {}: {why}", self.place);
                    Err(Failed::ForGood(EngineError::new(ErrorKind::Io, text)))
                }
                Ok(Err(error)) => broken(&connection::told(&error)),
            }
        })
    }

    fn connection(&self) -> Result<Arc<Connection>, Failed> {
        let mut current = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = &*current {
            return Ok(Arc::clone(connection));
        }
        let new = self.runtime.block_on(Connection::start(&self.words, &self.place));
        let new = Arc::new(new.map_err(|error| Failed::Again(error, None))?);
        *current = Some(Arc::clone(&new));
        Ok(new)
    }

    /// The next one needs a new connection, unless somebody has made one already.
    fn forget(&self, broken: &Arc<Connection>) {
        let mut current = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        current.take_if(|connection| Arc::ptr_eq(connection, broken));
    }

    /// Puts an object.
    fn put(&self, name: ObjectName, bytes: &[u8]) -> Result<Outcome> {
        let (directory, _) = name.split();
        let (directory, path) = (format!("{}/{directory}", self.root), self.path(name));
        self.upload.pass(bytes.len());
        let was_there_before = self.run("write", &path, async |connection, attempt| {
            let outcome = work::put(&connection, directory.trim_end_matches('/'), &path, bytes).await?;
            // The answer to an earlier attempt was lost: what is there may be what it put. But whoever ends a session writes
            // the same register as anybody else who ends it, and may only go on if it was first.
            let is_told_apart = !matches!(name, ObjectName::Register(_));
            let is_maybe_mine = outcome == Outcome::Existed && attempt > 0 && is_told_apart;
            let len = bytes.len() as u64;
            let found = if is_maybe_mine { work::read(&connection, &path, None, len).await? } else { Read::Missing };
            Ok(outcome == Outcome::Existed && !matches!(found, Read::Bytes(found) if found == bytes))
        })?;
        Ok(if was_there_before { Outcome::Existed } else { Outcome::Written })
    }

    fn path(&self, name: ObjectName) -> String {
        format!("{}/{name}", self.root)
    }
}

impl Storage for SftpStorage {
    fn list(&self, family: ObjectFamily, each: &mut dyn FnMut(ObjectName, u64)) -> Result<()> {
        let directory = family.directory();
        let listed = self.run("list", directory, async |connection, _| {
            work::list(&connection, &self.root, directory, family != ObjectFamily::Config).await
        })?;
        for (name, len) in listed {
            if let Some(name) = ObjectName::parse(&name).filter(|name| name.family() == family) {
                each(name, len);
            }
        }
        Ok(())
    }

    fn read(&self, name: ObjectName, range: Option<Range<u64>>, max: u64) -> Result<Vec<u8>> {
        let path = self.path(name);
        let read =
            self.run("read", &path, async |connection, _| work::read(&connection, &path, range.clone(), max).await)?;
        match read {
            Read::Bytes(bytes) => {
                self.download.pass(bytes.len());
                Ok(bytes)
            }
            Read::Missing => Err(EngineError::new(ErrorKind::Missing, format!("object {name} is missing")).about(name)),
            Read::CutShort => Err(EngineError::damaged(format!("object {name} is cut short")).about(name)),
            Read::TooLarge(len) => {
                let text = format!("object {name} is too large: {len} bytes where at most {max} belong");
                Err(EngineError::damaged(text).about(name))
            }
        }
    }

    fn write_new(&self, name: ObjectName, parts: &[&[u8]]) -> Result<Outcome> {
        self.put(name, &parts.concat())
    }

    fn write_lent(&self, name: ObjectName, buffer: Vec<u8>, start: usize) -> (Result<Outcome>, Vec<u8>) {
        (self.put(name, buffer.get(start..).unwrap_or_default()), buffer)
    }

    fn remove(&self, name: ObjectName) -> Result<()> {
        let path = self.path(name);
        self.run("remove", &path, async |connection, _| work::remove(&connection, &path).await)
    }

    /// Its bytes were synced before it got its name, if the server can do that; the name can't be synced.
    fn persist(&self, _name: ObjectName) -> Result<()> {
        Ok(())
    }

    fn remove_unfinished(&self, before: Timestamp) -> Result<u64> {
        let mut removed = 0;
        for family in ObjectFamily::ALL.into_iter().filter(|family| *family != ObjectFamily::Config) {
            let directory = family.directory();
            removed += self.run("tidy", directory, async |connection, _| {
                work::remove_unfinished(&connection, &self.root, directory, before.seconds).await
            })?;
        }
        Ok(removed)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { put_if_absent: self.has_hard_links, local_directory: None, is_past: false, locks: false }
    }
}

#[cfg(test)]
mod tests;
