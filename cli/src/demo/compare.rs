//! Compares two trees with nothing but the standard library.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Compares everything below two directories and gives the number of entries, or says the first difference.
pub(super) fn trees(left: &Path, right: &Path) -> Result<u64, String> {
    let left_names = names(left).map_err(|error| cannot_read(left, &error))?;
    let right_names = names(right).map_err(|error| cannot_read(right, &error))?;
    if let Some(name) = left_names.keys().find(|name| !right_names.contains_key(*name)) {
        return Err(format!("{} is missing", right.join(name).display()));
    }
    if let Some(name) = right_names.keys().find(|name| !left_names.contains_key(*name)) {
        return Err(format!("{} was not there before", right.join(name).display()));
    }
    let mut entries = 0;
    for (name, metadata) in &left_names {
        let (left, right) = (left.join(name), right.join(name));
        let other = &right_names[name];
        if attributes(metadata) != attributes(other) {
            return Err(format!("{} has another type, mode, owner, size, time or number of links", right.display()));
        }
        entries += 1;
        if metadata.is_dir() {
            entries += trees(&left, &right)?;
        } else if metadata.is_file() {
            files(&left, &right)?;
        } else if metadata.is_symlink() && fs::read_link(&left).ok() != fs::read_link(&right).ok() {
            return Err(format!("{} points elsewhere", right.display()));
        }
    }
    Ok(entries)
}

/// Compares the bytes of two files.
pub(super) fn files(left: &Path, right: &Path) -> Result<(), String> {
    let read = |path: &Path| fs::read(path).map_err(|error| cannot_read(path, &error));
    if read(left)? == read(right)? { Ok(()) } else { Err(format!("{} has other bytes", right.display())) }
}

fn names(directory: &Path) -> io::Result<BTreeMap<OsString, Metadata>> {
    fs::read_dir(directory)?.map(|entry| entry.and_then(|entry| Ok((entry.file_name(), entry.metadata()?)))).collect()
}

/// What must be the same. The size of a directory is the file system's own affair, its number of links too.
fn attributes(metadata: &Metadata) -> (u32, u32, u32, i64, i64, u64, u64) {
    let (size, links) = if metadata.is_dir() { (0, 0) } else { (metadata.len(), metadata.nlink()) };
    (metadata.mode(), metadata.uid(), metadata.gid(), metadata.mtime(), metadata.mtime_nsec(), size, links)
}

fn cannot_read(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::super::material;
    use super::*;

    #[test]
    fn a_comparison_sees_what_differs() {
        let base = tempfile::tempdir().expect("a directory");
        let (left, right) = (base.path().join("left"), base.path().join("right"));
        material::make(&left).expect("made");
        let copied = std::process::Command::new("cp").arg("-a").arg(&left).arg(&right).status().expect("cp");
        assert!(copied.success());
        assert!(trees(&left, &right).expect("equal") > 200);
        let file = right.join("config/app.toml");
        let bytes = fs::read(&file).expect("read");
        let time = fs::metadata(&file).expect("there").modified().expect("a time");
        let write = |bytes: &[u8]| {
            fs::write(&file, bytes).expect("written");
            fs::File::options().write(true).open(&file).expect("open").set_modified(time).expect("set");
        };
        let mut flipped = bytes.clone();
        flipped[0] ^= 1;
        write(&flipped);
        assert!(trees(&left, &right).expect_err("bytes").contains("other bytes"));
        write(&bytes);
        assert!(trees(&left, &right).is_ok());
        fs::write(right.join("more"), "").expect("written");
        assert!(trees(&left, &right).expect_err("one more").contains("not there before"));
        fs::remove_file(right.join("more")).expect("removed");
        // One at the top: in a deeper directory its time would differ first.
        fs::remove_file(right.join("compose.yaml")).expect("removed");
        assert!(trees(&left, &right).expect_err("one less").contains("missing"));
    }
}
