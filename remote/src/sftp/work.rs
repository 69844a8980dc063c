//! What is asked of the server, as steps of SFTP.

use std::io::SeekFrom;
use std::ops::Range;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use engine::os::durable::TEMPORARY_PREFIX;
use engine::storage::Outcome;
use futures_util::{StreamExt, TryStreamExt, stream};
use openssh_sftp_client::Error;
use openssh_sftp_client::error::SftpErrorKind;
use openssh_sftp_client::file::File;
use tokio::io::AsyncSeekExt;

use super::connection::Connection;

/// How much of a file is in one request, at most, and how many parts of a file are under way at once: each request waits for its
/// answer. OpenSSH takes a little less than this.
const PART_BYTES: u64 = 128 << 10;
const LANES: usize = 16;
/// Directories that are read at once: each takes three round trips.
const DIRECTORIES_AT_ONCE: usize = 16;

/// What reading came to.
pub(super) enum Read {
    Bytes(Vec<u8>),
    Missing,
    CutShort,
    TooLarge(u64),
}

/// Nothing, if it is not there.
fn absent<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::SftpError(SftpErrorKind::NoSuchFile, _)) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) async fn is_directory(connection: &Connection, path: &str) -> Result<bool, Error> {
    let metadata = absent(connection.sftp.fs().metadata(path).await)?;
    Ok(metadata.and_then(|metadata| metadata.file_type()).is_some_and(|kind| kind.is_dir()))
}

/// Makes a directory and those above it, as far as they are not there.
pub(super) async fn make_directories(connection: &Connection, path: &str) -> Result<bool, Error> {
    let mut missing = Vec::new();
    let mut above = Some(Path::new(path));
    while let Some(directory) = above.filter(|directory| !directory.as_os_str().is_empty()) {
        if absent(connection.sftp.fs().metadata(directory).await)?.is_some() {
            break;
        }
        missing.push(directory);
        above = directory.parent();
    }
    for directory in missing.into_iter().rev() {
        let made = connection.sftp.fs().create_dir(directory).await;
        // Somebody else may have made it just now.
        if made.is_err() && absent(connection.sftp.fs().metadata(directory).await)?.is_none() {
            made?;
        }
    }
    is_directory(connection, path).await
}

/// Names and lengths of the files in a directory, and in those in it if that is wanted; names begin at `root`.
pub(super) async fn list(
    connection: &Connection,
    root: &str,
    directory: &str,
    is_deep: bool,
) -> Result<Vec<(String, u64)>, Error> {
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for entry in entries(connection, root, directory).await? {
        match entry.len {
            Some(len) => files.push((entry.name, len)),
            None if is_deep => directories.push(entry.name),
            None => {}
        }
    }
    let read = |name: String| async move { entries(connection, root, &name).await };
    let mut below = stream::iter(directories).map(read).buffer_unordered(DIRECTORIES_AT_ONCE);
    while let Some(entries) = below.next().await {
        files.extend(entries?.into_iter().filter_map(|entry| Some((entry.name, entry.len?))));
    }
    Ok(files)
}

/// What is in a directory.
struct Entry {
    /// From `root` on.
    name: String,
    /// None of what is no file.
    len: Option<u64>,
    modified: Option<SystemTime>,
}

/// Nothing, of a directory that is not there.
async fn entries(connection: &Connection, root: &str, directory: &str) -> Result<Vec<Entry>, Error> {
    let path = format!("{root}/{directory}");
    let Some(opened) = absent(connection.sftp.fs().open_dir(path.trim_end_matches('/')).await)? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    let mut stream = pin!(opened.read_dir());
    while let Some(entry) = stream.next().await {
        let entry = entry?;
        // Names of objects are plain; others are not ours.
        let Some(name) = entry.filename().to_str().filter(|name| !matches!(*name, "." | "..")) else { continue };
        let metadata = entry.metadata();
        let kind = metadata.file_type();
        let len = if kind.is_some_and(|kind| kind.is_file()) { metadata.len() } else { None };
        if len.is_some() || kind.is_some_and(|kind| kind.is_dir()) {
            let name = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
            found.push(Entry { name, len, modified: metadata.modified().map(|time| time.as_system_time()) });
        }
    }
    Ok(found)
}

pub(super) async fn read(
    connection: &Connection,
    path: &str,
    range: Option<Range<u64>>,
    max: u64,
) -> Result<Read, Error> {
    let Some(file) = absent(connection.sftp.open(path).await)? else { return Ok(Read::Missing) };
    let asked = range.as_ref().map(|range| range.end.saturating_sub(range.start));
    if let Some(len) = asked.filter(|len| *len > max) {
        return Ok(Read::TooLarge(len));
    }
    // What is all of it, or a beginning that often is, is read while the length is asked for.
    let (first, mut to_measure) = (range.clone().unwrap_or(0..PART_BYTES.min(max)), file.clone());
    let (metadata, bytes) = tokio::join!(to_measure.metadata(), read_range(&file, first.clone()));
    let (length, mut bytes) = (metadata?.len().unwrap_or(0), bytes?);
    let end = range.map_or(length, |range| range.end);
    if end > length {
        return Ok(Read::CutShort);
    }
    let wanted = end - first.start.min(end);
    if wanted > max {
        return Ok(Read::TooLarge(wanted));
    }
    if (bytes.len() as u64) < wanted {
        bytes.extend(read_range(&file, first.start + bytes.len() as u64..end).await?);
    }
    bytes.truncate(usize::try_from(wanted)?);
    // That it is closed need not be waited for.
    Ok(if bytes.len() as u64 == wanted { Read::Bytes(bytes) } else { Read::CutShort })
}

/// The parts of a range, as they are asked for.
fn parts(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let step = usize::try_from(PART_BYTES).unwrap_or(usize::MAX);
    range.clone().step_by(step).map(move |start| start..range.end.min(start.saturating_add(PART_BYTES)))
}

/// What is there of a range.
async fn read_range(file: &File, range: Range<u64>) -> Result<Vec<u8>, Error> {
    let mut read = stream::iter(parts(range)).map(|part| read_part(file, part)).buffered(LANES);
    let mut bytes = Vec::new();
    while let Some(part) = read.try_next().await? {
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

/// What is there of a part: after the end of the file there is nothing.
async fn read_part(file: &File, range: Range<u64>) -> Result<BytesMut, Error> {
    let mut file = file.clone();
    file.seek(SeekFrom::Start(range.start)).await?;
    let len = usize::try_from(range.end.saturating_sub(range.start))?;
    let mut bytes = BytesMut::with_capacity(len);
    while bytes.len() < len {
        let room = bytes.split_off(bytes.len());
        match file.read(u32::try_from(len - bytes.len())?, room).await? {
            Some(more) => bytes.unsplit(more),
            None => break,
        }
    }
    Ok(bytes)
}

/// Puts a file that is whole from the moment on that it has its name; nothing that has the name is touched.
pub(super) async fn put(connection: &Connection, directory: &str, path: &str, bytes: &[u8]) -> Result<Outcome, Error> {
    let mut fs = connection.sftp.fs();
    let temporary = format!("{directory}/{TEMPORARY_PREFIX}{}", random_name());
    let mut options = connection.sftp.options();
    options.write(true).create_new(true);
    // At once: hardly ever is there one.
    let (there, opened) = tokio::join!(fs.symlink_metadata(path), options.open(&temporary));
    if absent(there)?.is_some() {
        if let Ok(file) = opened {
            drop(file);
            let _ = connection.sftp.fs().remove_file(&temporary).await;
        }
        return Ok(Outcome::Existed);
    }
    let file = match absent(opened)? {
        Some(file) => file,
        None => {
            // Nearly always it is the last one alone that is missing.
            let _ = connection.sftp.fs().create_dir(directory).await;
            match absent(options.open(&temporary).await)? {
                Some(file) => file,
                None => {
                    make_directories(connection, directory).await?;
                    options.open(&temporary).await?
                }
            }
        }
    };
    let put = publish(connection, file, &temporary, path, bytes).await;
    // With the name by a rename it is gone already. If it stays it is tidied up later.
    let _ = fs.remove_file(&temporary).await;
    put
}

async fn publish(
    connection: &Connection,
    mut file: File,
    temporary: &str,
    path: &str,
    bytes: &[u8],
) -> Result<Outcome, Error> {
    let write = |part: Range<u64>| write_part(&file, bytes, part);
    stream::iter(parts(0..bytes.len() as u64)).map(write).buffer_unordered(LANES).try_collect::<()>().await?;
    let mut fs = connection.sftp.fs();
    let named = if connection.sftp.support_fsync() {
        file.sync_all().await?;
        // It lasts; that it is closed says no more.
        let (closed, named) = tokio::join!(file.close(), name_it(connection, temporary, path));
        closed?;
        named
    } else {
        file.close().await?;
        name_it(connection, temporary, path).await
    };
    match named {
        Ok(()) => Ok(Outcome::Written),
        Err(Error::SftpError(..)) if absent(fs.symlink_metadata(path).await)?.is_some() => Ok(Outcome::Existed),
        Err(error) => Err(error),
    }
}

/// Gives a file its name.
async fn name_it(connection: &Connection, temporary: &str, path: &str) -> Result<(), Error> {
    let mut fs = connection.sftp.fs();
    match connection.has_hard_links() {
        true => fs.hard_link(temporary, path).await,
        // Version 3 says that it fails if there is such a file. Not all servers have read that. Where they have another
        // rename, which replaces, the library takes that: `open` refuses these.
        false => fs.rename(temporary, path).await,
    }
}

async fn write_part(file: &File, bytes: &[u8], range: Range<u64>) -> Result<(), Error> {
    let mut file = file.clone();
    file.seek(SeekFrom::Start(range.start)).await?;
    file.write_all(&bytes[usize::try_from(range.start)?..usize::try_from(range.end)?]).await
}

pub(super) async fn remove(connection: &Connection, path: &str) -> Result<(), Error> {
    absent(connection.sftp.fs().remove_file(path).await).map(drop)
}

/// Removes files in the making that were last touched before a time; how many there were.
pub(super) async fn remove_unfinished(
    connection: &Connection,
    root: &str,
    directory: &str,
    before: i64,
) -> Result<u64, Error> {
    let before = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(before).unwrap_or(0));
    let mut found = Vec::new();
    for entry in entries(connection, root, directory).await? {
        match entry.len {
            Some(_) => found.push(entry),
            None => found.extend(entries(connection, root, &entry.name).await?),
        }
    }
    let mut count = 0;
    for entry in found {
        let file = entry.name.rsplit('/').next().unwrap_or_default();
        if file.starts_with(TEMPORARY_PREFIX) && entry.modified.is_some_and(|time| time < before) {
            remove(connection, &format!("{root}/{}", entry.name)).await?;
            count += 1;
        }
    }
    Ok(count)
}

/// Nobody else has it, and if somebody has, the file can't be made.
fn random_name() -> String {
    let mut bytes = [0; 16];
    // Without randomness the name is the same for all, and of two at once one fails.
    let _ = getrandom::fill(&mut bytes);
    engine::id::hex(&bytes)
}
