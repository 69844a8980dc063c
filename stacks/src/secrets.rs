//! Secrets of a stack: left out of its snapshots, or sealed to recipients of age on request.
//!
//! Sealed, they are one tar archive, encrypted on its way: neither names nor content are readable for whoever can read
//! the repository only.

use std::ffi::OsStr;
use std::io::{self, Cursor, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use age::x25519::Recipient;
use engine::monitor::{Monitor, Problem};
use engine::ops::{PartSource, PartStream, SnapshotPart};
use engine::{EngineError, ErrorKind, Result};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use tar::{EntryType, Header};

use crate::manifest::Stack;

/// Bytes of all secrets of a stack together, sealed: they are held in memory.
const SEALED_BYTES: usize = 64 << 20;

/// To whom secrets are sealed.
#[derive(Clone, Default)]
pub struct Recipients {
    list: Vec<Recipient>,
}

impl std::fmt::Debug for Recipients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} recipients", self.list.len())
    }
}

impl Recipients {
    /// Reads recipients, `age1…` each.
    ///
    /// # Errors
    /// `Invalid` if one is none.
    pub fn parse(texts: &[String]) -> Result<Self> {
        let parse = |text: &String| {
            text.trim().parse::<Recipient>().map_err(|why| {
                EngineError::new(ErrorKind::Invalid, format!("{text:?} is no recipient of age (age1…): {why}"))
            })
        };
        Ok(Self { list: texts.iter().map(parse).collect::<Result<_>>()? })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// The files of a stack that are secrets, relative to its directory, in order.
///
/// # Errors
/// `Invalid` if a pattern is none; `Io` if the stack's directory can't be read. What can't be read below is told.
pub fn find(stack: &Stack, monitor: &dyn Monitor) -> Result<Vec<PathBuf>> {
    let rules = rules(stack)?;
    let mut found = Vec::new();
    let mut open = vec![(stack.root.clone(), false)];
    while let Some((directory, secret)) = open.pop() {
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if directory == stack.root => return Err(EngineError::io("read", &directory, error)),
            Err(error) => {
                monitor.problem(&Problem {
                    path: directory.as_os_str().as_bytes().to_vec(),
                    message: format!("cannot be looked into for secrets: {error}"),
                });
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let secret = secret || rules.matched(&path, is_directory).is_ignore();
            if is_directory {
                open.push((path, secret));
            } else if secret {
                found.extend(path.strip_prefix(&stack.root).ok().map(Path::to_owned));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn rules(stack: &Stack) -> Result<Gitignore> {
    let invalid = |error| EngineError::with_source(ErrorKind::Invalid, "pattern of a secret", error);
    let mut builder = GitignoreBuilder::new(&stack.root);
    for pattern in &stack.manifest.secrets {
        builder.add_line(None, pattern).map_err(invalid)?;
    }
    builder.build().map_err(invalid)
}

/// The sealed secrets of a stack as a part of its snapshot.
pub(crate) fn part<'a>(
    stack: &'a Stack,
    recipients: &'a Recipients,
    at: Vec<u8>,
    monitor: &'a dyn Monitor,
) -> SnapshotPart<'a> {
    let start = move || {
        let sealed = seal(stack, recipients, monitor)?;
        Ok(Box::new(Sealed(Cursor::new(sealed))) as Box<dyn PartStream>)
    };
    SnapshotPart { at, source: PartSource::Stream(Box::new(start)) }
}

struct Sealed(Cursor<Vec<u8>>);

impl Read for Sealed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl PartStream for Sealed {
    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

fn seal(stack: &Stack, recipients: &Recipients, monitor: &dyn Monitor) -> Result<Vec<u8>> {
    let cannot = |error: io::Error| {
        let text = format!("stack {}: cannot seal its secrets", stack.manifest.stack);
        EngineError::with_source(ErrorKind::Io, text, error)
    };
    let files = find(stack, monitor)?;
    let list = recipients.list.iter().map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(list).map_err(|error| cannot(io::Error::other(error)))?;
    let sealed = encryptor.wrap_output(Bounded(Vec::new())).map_err(cannot)?;
    let mut archive = tar::Builder::new(sealed);
    for path in &files {
        append(&mut archive, &stack.root, path).map_err(|error| {
            let text = format!("stack {}: cannot seal {}", stack.manifest.stack, path.display());
            EngineError::with_source(ErrorKind::Io, text, error)
        })?;
    }
    let sealed = archive.into_inner().and_then(age::stream::StreamWriter::finish).map_err(cannot)?;
    Ok(sealed.0)
}

/// Takes so much and no more.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > SEALED_BYTES {
            return Err(io::Error::other("more than 64 MiB of secrets: the patterns match what is none"));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append(archive: &mut tar::Builder<impl Write>, root: &Path, path: &Path) -> io::Result<()> {
    let full = root.join(path);
    let found = full.symlink_metadata()?;
    let mut header = Header::new_gnu();
    header.set_mode(found.mode() & 0o7777);
    header.set_uid(found.uid().into());
    header.set_gid(found.gid().into());
    header.set_mtime(u64::try_from(found.mtime()).unwrap_or(0));
    if let Some(user) = uzers::get_user_by_uid(found.uid()) {
        let _ = header.set_username(&user.name().to_string_lossy());
    }
    if let Some(group) = uzers::get_group_by_gid(found.gid()) {
        let _ = header.set_groupname(&group.name().to_string_lossy());
    }
    if found.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        return archive.append_link(&mut header, path, std::fs::read_link(&full)?);
    }
    if !found.is_file() {
        return Ok(());
    }
    let content = std::fs::read(&full)?;
    header.set_entry_type(EntryType::Regular);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, path, content.as_slice())
}

/// Who gets the secrets of a stack: `(user, group)` here of a user and a group there, number and name each. `None`
/// leaves owners as they come.
pub(crate) type OwnerOf<'a> = dyn Fn((u32, Option<&str>), (u32, Option<&str>)) -> Option<(u32, u32)> + 'a;

/// Opens sealed secrets with the identities in files and writes them below `target`. Gives how many there were.
///
/// # Errors
/// `Invalid` if a file holds no identity, or none of them opens it; `Damaged` if it is no archive; `Io`.
pub(crate) fn restore(sealed: &[u8], identities: &[PathBuf], target: &Path, owner: &OwnerOf<'_>) -> Result<u64> {
    let invalid = |text: String, error: Box<dyn std::error::Error + Send + Sync>| {
        EngineError::with_source(ErrorKind::Invalid, text, error)
    };
    let mut keys: Vec<Box<dyn age::Identity + Send + Sync>> = Vec::new();
    for path in identities {
        let text = format!("cannot read an identity of age from {}", path.display());
        let file = age::IdentityFile::from_file(path.to_string_lossy().into_owned())
            .map_err(|error| invalid(text.clone(), error.into()))?;
        keys.extend(file.into_identities().map_err(|error| invalid(text, error.to_string().into()))?);
    }
    let cannot = |error: age::DecryptError| invalid("cannot open the sealed secrets".into(), error.to_string().into());
    let decryptor = age::Decryptor::new(sealed).map_err(cannot)?;
    let reader = decryptor.decrypt(keys.iter().map(|key| &**key as &dyn age::Identity)).map_err(cannot)?;
    let damaged = |error: io::Error| {
        EngineError::with_source(ErrorKind::Damaged, "the sealed secrets are no whole archive", error)
    };
    let mut archive = tar::Archive::new(reader);
    let mut count = 0;
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?.into_owned();
        place(&mut entry, &path, target, owner)
            .map_err(|error| EngineError::io("restore", &target.join(&path), error))?;
        count += 1;
    }
    Ok(count)
}

/// Writes one entry below `target`, never through a link.
fn place(entry: &mut tar::Entry<'_, impl Read>, path: &Path, target: &Path, owner: &OwnerOf<'_>) -> io::Result<()> {
    let mut names: Vec<&OsStr> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            _ => return Err(io::Error::other("its path leads elsewhere")),
        }
    }
    let (name, above) = names.split_last().ok_or_else(|| io::Error::other("it has no name"))?;
    let directory = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut at: OwnedFd = rustix::fs::openat(CWD, target, directory, Mode::empty())?;
    for part in above {
        match rustix::fs::mkdirat(&at, *part, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        at = rustix::fs::openat(&at, *part, directory | OFlags::NOFOLLOW, Mode::empty())?;
    }
    let header = entry.header().clone();
    let numbers = (header.uid()? as u32, header.gid()? as u32);
    let (user, group) = (header.username().ok().flatten(), header.groupname().ok().flatten());
    let owner = owner((numbers.0, user), (numbers.1, group));
    let ids = owner.map(|(uid, gid)| (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))));
    if rustix::fs::statat(&at, *name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|there| FileType::from_raw_mode(there.st_mode) == FileType::Directory)
    {
        return Err(io::Error::other("there is a directory"));
    }
    // Made under another name first, so that whoever reads it meanwhile gets all of it or what was there.
    let mut temporary = name.to_os_string();
    temporary.push(".repo-new");
    let _ = rustix::fs::unlinkat(&at, &temporary, AtFlags::empty());
    match header.entry_type() {
        EntryType::Symlink => {
            let link = entry.link_name()?.ok_or_else(|| io::Error::other("a link to nothing"))?;
            rustix::fs::symlinkat(&*link, &at, &temporary)?;
            if let Some((uid, gid)) = ids {
                rustix::fs::chownat(&at, &temporary, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
        EntryType::Regular => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&at, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
            let mut file = std::fs::File::from(file);
            io::copy(entry, &mut file)?;
            if let Some((uid, gid)) = ids {
                rustix::fs::fchown(&file, uid, gid)?;
            }
            rustix::fs::fchmod(&file, Mode::from_raw_mode(header.mode()? & 0o777))?;
            file.sync_all()?;
        }
        _ => return Err(io::Error::other("it is neither a file nor a link")),
    }
    Ok(rustix::fs::renameat(&at, &temporary, &at, *name)?)
}
