//! What the file system of the scratch directory takes: bytes to and from the page cache, files, durable objects.

use std::path::Path;

use super::kernels::{ANY, Meter};
use super::material::{SEGMENT_BYTES, noise};
use super::roofline::{Costs, Unit};
use crate::clock::Timestamp;
use crate::error::{EngineError, Result};
use crate::os::{self, Directory, durable};

/// Segments in a file that is read or written: more than a processor's caches hold.
const FILE_SEGMENTS: u64 = 64;
/// Segments in a pack.
const PACK_SEGMENTS: u64 = 16;
/// Small files in a directory.
const SMALL_FILES: u64 = 1000;
const SMALL_BYTES: usize = 1024;

/// Measures it, and puts into `costs` what a roofline needs.
pub(super) fn of_files(meter: &mut Meter<'_>, scratch: &Path, costs: &mut Costs) -> Result<()> {
    let directory = Directory::open_path_following(scratch).map_err(|error| failed(scratch, error))?;
    let segment = noise(2, SEGMENT_BYTES);
    large_file(meter, scratch, &directory, &segment, costs)?;
    durable_files(meter, scratch, &directory, &segment)?;
    small_files(meter, scratch, &directory, &segment[..SMALL_BYTES], costs)
}

fn failed(path: &Path, error: std::io::Error) -> EngineError {
    EngineError::io("measure", path, error)
}

fn large_file(
    meter: &mut Meter<'_>,
    path: &Path,
    directory: &Directory,
    segment: &[u8],
    costs: &mut Costs,
) -> Result<()> {
    const NAME: &[u8] = b"large";
    let bytes = (Unit::Byte, FILE_SEGMENTS * SEGMENT_BYTES as u64);
    let write = || -> std::io::Result<()> {
        let file = directory.create_file(NAME, 0o600)?;
        (0..FILE_SEGMENTS).try_for_each(|number| file.write_at(segment, number * SEGMENT_BYTES as u64))
    };
    costs.write = meter.measure("write to the page cache", ANY, bytes, &mut || {
        write().and_then(|()| directory.remove_file(NAME)).map_err(|error| failed(path, error))
    })?;
    write().map_err(|error| failed(path, error))?;
    let mut buffer = vec![0; SEGMENT_BYTES];
    costs.read = meter.measure("read from the page cache", ANY, bytes, &mut || {
        let mut read = || -> std::io::Result<()> {
            let file = directory.open_file(NAME, false)?;
            (0..FILE_SEGMENTS).try_for_each(|number| file.read_at(&mut buffer, number * SEGMENT_BYTES as u64).map(drop))
        };
        read().map_err(|error| failed(path, error))
    })?;
    directory.remove_file(NAME).map_err(|error| failed(path, error))
}

/// Files as a storage in a directory writes its objects: they survive a power cut.
fn durable_files(meter: &mut Meter<'_>, path: &Path, directory: &Directory, segment: &[u8]) -> Result<()> {
    const NAME: &str = "object";
    let write = |parts: &[&[u8]]| {
        // The removal is not durable, and costs next to nothing.
        let written = durable::create_file(path, NAME, parts).and_then(|_| directory.remove_file(NAME.as_bytes()));
        written.map_err(|error| failed(path, error))
    };
    let pack = vec![segment; PACK_SEGMENTS as usize];
    let bytes = PACK_SEGMENTS * segment.len() as u64;
    meter.measure("write a pack, durably", ANY, (Unit::Byte, bytes), &mut || write(&pack))?;
    let small = &segment[..SMALL_BYTES];
    meter.measure("write a small object, durably", ANY, (Unit::Object, 1), &mut || write(&[small]))?;
    Ok(())
}

fn small_files(meter: &mut Meter<'_>, path: &Path, above: &Directory, content: &[u8], costs: &mut Costs) -> Result<()> {
    let name = |number: u64| format!("file-{number:04}").into_bytes();
    let (uid, gid) = (os::host::effective_uid(), os::host::effective_gid());
    // Nothing is removed in between: that would be measured with it.
    let mut made = 0u64;
    let mut last = Vec::new();
    costs.create = meter.measure("make a small file", ANY, (Unit::File, SMALL_FILES), &mut || {
        made += 1;
        last = format!("small-{made}").into_bytes();
        let make = || -> std::io::Result<()> {
            above.make_directory(&last)?;
            let directory = above.open_directory(&last, false)?;
            for number in 0..SMALL_FILES {
                let file = directory.create_file(&name(number), 0o600)?;
                file.write_at(content, 0)?;
                let metadata = file.pin();
                metadata.set_owner(Some(uid), Some(gid))?;
                metadata.set_mode(0o644)?;
                metadata.set_mtime(Timestamp::new(1_700_000_000, 0))?;
            }
            Ok(())
        };
        make().map_err(|error| failed(path, error))
    })?;
    let directory = above.open_directory(&last, false).map_err(|error| failed(path, error))?;
    let mut buffer = vec![0; SMALL_BYTES];
    costs.open = meter.measure("open and read a small file", ANY, (Unit::File, SMALL_FILES), &mut || {
        let mut open = |number| -> std::io::Result<()> {
            let file = directory.open_file(&name(number), true)?;
            file.stat()?;
            file.xattrs()?;
            file.read_at(&mut buffer, 0)?;
            file.stat().map(drop)
        };
        (0..SMALL_FILES).try_for_each(&mut open).map_err(|error| failed(path, error))
    })?;
    costs.walk = meter.measure("list and look at entries", ANY, (Unit::Entry, SMALL_FILES), &mut || {
        let look = || -> std::io::Result<()> {
            let names = above.open_directory(&last, false)?.list()?;
            names.iter().try_for_each(|name| directory.stat(name).map(drop))
        };
        look().map_err(|error| failed(path, error))
    })?;
    Ok(())
}
