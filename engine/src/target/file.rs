//! A file that a restore writes.

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use super::OwnerMap;
use super::birth::Birth;
use super::metadata::{apply, apply_to_new, is_as_wanted};
use crate::error::{EngineError, Result};
use crate::model::{Extent, Metadata, NodeKind};
use crate::os::file::DirectFile;
use crate::os::{AlignedBuffer, File, Stat};

/// How many zeros are written at once where the file system has no holes.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// An open file below a target. Places are named, so several threads can write at once.
#[derive(Debug)]
pub struct TargetFile {
    file: File,
    /// The same for writing past the page cache, if that was asked for and can be done.
    direct: Option<DirectFile>,
    path: PathBuf,
    /// What it was like when it was made, until its metadata is set.
    birth: Mutex<Option<Birth>>,
}

impl TargetFile {
    pub(super) fn new(file: File, path: PathBuf, birth: Option<Birth>) -> Self {
        Self { file, direct: None, path, birth: Mutex::new(birth) }
    }

    /// Makes a new file ready for [`Self::write_direct_at`], with `len` bytes that read as zeros and have their space, as
    /// far as the file system can do that.
    ///
    /// # Errors
    /// `Io` if its size can't be set.
    pub fn prepare_direct(&mut self, len: u64) -> Result<()> {
        self.direct = self.file.open_direct().ok();
        if self.direct.is_some() {
            // In one piece, if there is one. What there is no room for is found when it is written.
            let _ = self.file.preallocate(len);
            self.set_len(len)?;
        }
        Ok(())
    }

    /// Whether it can be written past the page cache, as far as is known.
    pub fn is_prepared(&self) -> bool {
        self.direct.is_some()
    }

    /// Writes all of `bytes` at `offset`, past the page cache but for parts of pages at both ends. `false` if that can't
    /// be done: then nothing is written.
    ///
    /// # Errors
    /// `Io` if that fails; a part may be written.
    pub fn write_direct_at(&self, bytes: &[u8], offset: u64, buffer: &mut AlignedBuffer) -> Result<bool> {
        let Some(direct) = &self.direct else { return Ok(false) };
        let pages = match direct.write_pages_at(bytes, offset, buffer) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(false),
            other => other.map_err(|error| self.error("write", error))?,
        };
        self.write_at(&bytes[..pages.start], offset)?;
        self.write_at(&bytes[pages.end..], offset + pages.end as u64)?;
        Ok(true)
    }

    /// What the kernel says about it.
    ///
    /// # Errors
    /// `Io` if the file system fails.
    pub fn stat(&self) -> Result<Stat> {
        self.file.stat().map_err(|error| self.error("look at", error))
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// `Io` if that fails; a part may be written.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_at(bytes, offset).map_err(|error| self.error("write", error))
    }

    /// Fills `buffer` from `offset` on; gives less only at the end of the file.
    ///
    /// # Errors
    /// `Io` if that fails.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.file.read_at(buffer, offset).map_err(|error| self.error("read", error))
    }

    /// Cuts or extends the file to `len` bytes; what is new is a hole.
    ///
    /// # Errors
    /// `Io` if that fails.
    pub fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(|error| self.error("set the size of", error))
    }

    /// Makes `len` bytes from `offset` on, which must be inside the file, a hole; where there are none, zeros.
    ///
    /// # Errors
    /// `Io` if that fails.
    pub fn punch_hole(&self, offset: u64, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        match self.file.punch_hole(offset, len) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.write_zeros(offset, len),
            other => other.map_err(|error| self.error("write", error)),
        }
    }

    fn write_zeros(&self, mut offset: u64, mut len: u64) -> Result<()> {
        while len > 0 {
            let count = len.min(ZEROS.len() as u64);
            self.write_at(&ZEROS[..count as usize], offset)?;
            offset += count;
            len -= count;
        }
        Ok(())
    }

    /// Reserves space for the first `len` bytes, where the file system can.
    ///
    /// # Errors
    /// `Io` if there is too little space.
    pub fn preallocate(&self, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        match self.file.preallocate(len) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            other => other.map_err(|error| self.error("reserve space for", error)),
        }
    }

    /// Where its first `size` bytes hold data, ascending and not touching; `None` if the file system can't tell, or
    /// there are more than `most` stretches. One thread at a time.
    ///
    /// # Errors
    /// `Io` if the file system fails.
    pub fn data_extents(&self, size: u64, most: usize) -> Result<Option<Vec<Extent>>> {
        self.file.data_extents(size, most).map_err(|error| self.error("look for holes in", error))
    }

    /// Sets owner, attributes, permissions and time, after the last byte, and reads them back; see
    /// [`TargetDir::apply_metadata`](super::TargetDir::apply_metadata). So is `size`, in bytes, if it is complete.
    pub fn apply_metadata(&self, metadata: &Metadata, size: Option<u64>, owners: &OwnerMap) -> Vec<String> {
        let birth = self.birth.lock().expect("no holder of this lock panics").take();
        match birth {
            Some(birth) => apply_to_new(&self.file.pin(), metadata, &birth, size, owners),
            None => apply(&self.file.pin(), metadata, NodeKind::File, size, owners),
        }
    }

    /// Whether it has this metadata, given what [`TargetDir::stat`](super::TargetDir::stat) said about it.
    pub fn has_metadata(&self, stat: &Stat, metadata: &Metadata, owners: &OwnerMap) -> bool {
        is_as_wanted(stat, || self.file.xattrs(), metadata, owners)
    }

    fn error(&self, operation: &str, error: io::Error) -> EngineError {
        EngineError::io(operation, &self.path, error)
    }
}
