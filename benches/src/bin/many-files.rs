//! Makes a tree of up to ten million small files, the same every time, as fast as the file system takes them.
//!
//! A thousand files in a directory; a thread for each core makes one directory after the other. Empty files take an
//! inode and no block; with content, each has bytes of its own, so that nothing is deduplicated.

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::crypto::hash;
use engine::os::{Directory, free_space};

const FILES_IN_DIRECTORY: u64 = 1000;
/// What an inode and its directory entry take on disk, roughly, in bytes.
const ENTRY_BYTES: u64 = 320;
/// What a file with content takes besides, at most: file systems allocate blocks.
const BLOCK_BYTES: u64 = 4096;

const USAGE: &str = "\
usage: many-files DIRECTORY FILES [BYTES]

Makes FILES files of BYTES bytes (none if not said otherwise, at most 65536) in a new DIRECTORY, a thousand in each
directory below it. Refuses if the file system lacks inodes or space.";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (place, count, len) = match arguments.as_slice() {
        [place, count] => (Path::new(place), count.parse()?, 0),
        [place, count, len] => (Path::new(place), count.parse()?, len.parse()?),
        _ => return Err(USAGE.into()),
    };
    if len > 65_536 {
        return Err(USAGE.into());
    }
    let directories = u64::div_ceil(count, FILES_IN_DIRECTORY);
    let root = Directory::create_path_following(place)?;
    if !root.list()?.is_empty() {
        return Err(format!("{} is not empty", place.display()).into());
    }
    require_room(place, count + directories, count * (ENTRY_BYTES + (len as u64).next_multiple_of(BLOCK_BYTES)))?;

    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = || -> std::io::Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= directories {
                    return Ok(());
                }
                let first = number * FILES_IN_DIRECTORY;
                make_directory(&root, number, first..count.min(first + FILES_IN_DIRECTORY), len)?;
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    println!("{count} files of {len} bytes in {directories} directories");
    Ok(())
}

fn require_room(place: &Path, entries: u64, bytes: u64) -> Result<(), String> {
    let free = free_space(place).map_err(|error| error.to_string())?;
    let place = place.display();
    match free.files {
        Some(files) if files < entries => {
            return Err(format!("{place}: the file system has {files} inodes left (df -i), {entries} are needed"));
        }
        _ => {}
    }
    if free.bytes < bytes {
        let [free, needed] = [free.bytes, bytes].map(|bytes| bytes >> 20);
        return Err(format!("{place}: the file system has {free} MiB left, about {needed} MiB are needed"));
    }
    Ok(())
}

fn make_directory(root: &Directory, number: u64, files: std::ops::Range<u64>, len: usize) -> std::io::Result<()> {
    let name = format!("directory-{number:05}").into_bytes();
    root.make_directory(&name)?;
    let directory = root.open_directory(&name, false)?;
    let mut content = Vec::with_capacity(len + 32);
    for file in files {
        let created = directory.create_file(format!("file-{file:08}").as_bytes(), 0o600)?;
        if len > 0 {
            content.clear();
            for block in 0..len.div_ceil(32) as u64 {
                content.extend_from_slice(&hash(&[file.to_le_bytes(), block.to_le_bytes()].concat()));
            }
            created.write_at(&content[..len], 0)?;
        }
    }
    Ok(())
}
