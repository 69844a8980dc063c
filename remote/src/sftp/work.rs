//! What is asked of the server, as steps of SFTP.

use std::io::SeekFrom;
use std::ops::Range;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use engine::os::durable::TEMPORARY_PREFIX;
use engine::storage::Outcome;
use futures_util::StreamExt;
use openssh_sftp_client::Error;
use openssh_sftp_client::error::SftpErrorKind;
use openssh_sftp_client::file::File;
use tokio::io::AsyncSeekExt;

use super::connection::Connection;

/// From this length on, four parts of a file are under way at once: a request waits for its answer.
const PARALLEL_FROM_BYTES: u64 = 1 << 20;
const LANES: u64 = 4;

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
    let mut files = Vec::new();
    for entry in entries(connection, root, directory).await? {
        match entry.len {
            Some(len) => files.push((entry.name, len)),
            None if is_deep => {
                let below = entries(connection, root, &entry.name).await?;
                files.extend(below.into_iter().filter_map(|entry| Some((entry.name, entry.len?))));
            }
            None => {}
        }
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
    let Some(mut file) = absent(connection.sftp.open(path).await)? else { return Ok(Read::Missing) };
    let len = file.metadata().await?.len().unwrap_or(0);
    let range = range.unwrap_or(0..len);
    let wanted = range.end - range.start;
    if wanted > max {
        return Ok(Read::TooLarge(wanted));
    }
    if range.end > len {
        return Ok(Read::CutShort);
    }
    let bytes = if wanted < PARALLEL_FROM_BYTES {
        read_part(&file, range).await?.to_vec()
    } else {
        let part =
            |lane| read_part(&file, range.start + wanted * lane / LANES..range.start + wanted * (lane + 1) / LANES);
        let (first, second, third, last) = tokio::try_join!(part(0), part(1), part(2), part(3))?;
        [first, second, third, last].concat()
    };
    file.close().await?;
    Ok(Read::Bytes(bytes))
}

async fn read_part(file: &File, range: Range<u64>) -> Result<BytesMut, Error> {
    let mut file = file.clone();
    file.seek(SeekFrom::Start(range.start)).await?;
    let len = usize::try_from(range.end - range.start)?;
    file.read_all(len, BytesMut::with_capacity(len)).await
}

/// Puts a file that is whole from the moment on that it has its name; nothing that has the name is touched.
pub(super) async fn put(connection: &Connection, directory: &str, path: &str, bytes: &[u8]) -> Result<Outcome, Error> {
    let mut fs = connection.sftp.fs();
    if absent(fs.symlink_metadata(path).await)?.is_some() {
        return Ok(Outcome::Existed);
    }
    let temporary = format!("{directory}/{TEMPORARY_PREFIX}{}", random_name());
    let mut options = connection.sftp.options();
    options.write(true).create_new(true);
    let file = match absent(options.open(&temporary).await)? {
        Some(file) => file,
        None => {
            make_directories(connection, directory).await?;
            options.open(&temporary).await?
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
    let len = bytes.len() as u64;
    let part = |lane: u64| write_part(&file, bytes, len * lane / LANES..len * (lane + 1) / LANES);
    if len < PARALLEL_FROM_BYTES {
        write_part(&file, bytes, 0..len).await?;
    } else {
        tokio::try_join!(part(0), part(1), part(2), part(3))?;
    }
    if connection.sftp.support_fsync() {
        file.sync_all().await?;
    }
    file.close().await?;
    let mut fs = connection.sftp.fs();
    let named = match connection.has_hard_links() {
        true => fs.hard_link(temporary, path).await,
        // Version 3 says that it fails if there is such a file. Not all servers have read that. Where they have another
        // rename, which replaces, the library takes that: `open` refuses these.
        false => fs.rename(temporary, path).await,
    };
    match named {
        Ok(()) => Ok(Outcome::Written),
        Err(Error::SftpError(..)) if absent(fs.symlink_metadata(path).await)?.is_some() => Ok(Outcome::Existed),
        Err(error) => Err(error),
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
