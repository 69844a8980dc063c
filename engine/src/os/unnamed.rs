//! A file without a name: nobody else finds it, and it is gone with this process, however that ends.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::file::{fill, write_all_at};
use crate::crypto::random_bytes;
use crate::id::hex;

/// An open file that no directory has. Reading and writing name their place, so several threads can share it.
#[derive(Debug)]
pub struct UnnamedFile {
    file: File,
}

impl UnnamedFile {
    /// Makes one in the file system that holds `directory`, empty.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create_in(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        match rustix::fs::openat(CWD, directory, flags | OFlags::TMPFILE, mode) {
            Ok(handle) => return Ok(Self { file: File::from(handle) }),
            // A file system that knows no such files takes the flag for something else.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let path = directory.join(format!("unnamed-{}", hex(&random_bytes::<8>())));
        let handle = rustix::fs::openat(CWD, &path, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
        std::fs::remove_file(&path)?;
        Ok(Self { file: File::from(handle) })
    }

    /// Writes `parts`, one after the other, from `offset` on.
    ///
    /// # Errors
    /// What the file system says; part of it may be there then.
    pub fn write_at(&self, parts: &[&[u8]], mut offset: u64) -> io::Result<()> {
        for part in parts {
            write_all_at(&self.file, part, offset)?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    /// Reads `len` bytes from `offset` on.
    ///
    /// # Errors
    /// What the file system says; `UnexpectedEof` if there are not as many.
    pub fn read_at(&self, len: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        match fill(&mut bytes, offset, |rest, at| rustix::io::pread(&self.file, rest, at))? {
            filled if filled < len => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(bytes),
        }
    }

    /// Gives all of its room back.
    ///
    /// # Errors
    /// What the file system says.
    pub fn clear(&self) -> io::Result<()> {
        self.file.set_len(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_written_and_no_directory_shows_it() {
        let scratch = tempfile::tempdir().expect("scratch");
        let file = UnnamedFile::create_in(scratch.path()).expect("made");
        file.write_at(&[b"some", b"", b" bytes"], 5).expect("written");
        assert_eq!(file.read_at(10, 5).expect("read"), b"some bytes");
        assert_eq!(file.read_at(11, 5).expect_err("beyond its end").kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(std::fs::read_dir(scratch.path()).expect("a list").count(), 0);
        file.clear().expect("cleared");
        assert!(file.read_at(1, 0).is_err());
        assert!(UnnamedFile::create_in(&scratch.path().join("none")).is_err());
    }
}
