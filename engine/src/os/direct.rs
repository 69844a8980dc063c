//! Writing past the page cache.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

use super::file::write_all_at;

/// What the kernel wants addresses, offsets and lengths to be multiples of, on all but odd devices. Bytes.
const ALIGNMENT_BYTES: usize = 4096;
/// How much of what doesn't lie right in memory is copied and written at once, in bytes.
const STEP_BYTES: usize = 1 << 20;

/// Memory that begins where direct writes want it. It grows as needed.
#[derive(Debug, Default)]
pub struct AlignedBuffer(Vec<u8>);

impl AlignedBuffer {
    fn of(&mut self, len: usize) -> &mut [u8] {
        if self.0.len() < len + ALIGNMENT_BYTES {
            self.0.resize(len + ALIGNMENT_BYTES, 0);
        }
        let start = self.0.as_ptr().align_offset(ALIGNMENT_BYTES);
        &mut self.0[start..start + len]
    }
}

/// Which of `len` bytes at `offset` of a file are whole pages of it. A page that is written both ways at a time could lose
/// one of them.
pub(super) fn whole_pages(offset: u64, len: usize) -> Range<usize> {
    let page = rustix::param::page_size().max(ALIGNMENT_BYTES) as u64;
    let start = usize::try_from(offset.next_multiple_of(page) - offset).unwrap_or(usize::MAX).min(len);
    let beyond = ((offset + len as u64) % page) as usize;
    start..(len - beyond.min(len)).max(start)
}

/// Writes whole pages at `offset` of a file that is open for direct writing, by way of `buffer`. Not synced.
///
/// # Errors
/// What the kernel says; `EINVAL` if it wants another alignment.
pub(super) fn write_at(file: impl AsFd, bytes: &[u8], mut offset: u64, buffer: &mut AlignedBuffer) -> io::Result<()> {
    for step in bytes.chunks(STEP_BYTES) {
        let aligned = buffer.of(step.len());
        aligned.copy_from_slice(step);
        write_all_at(&file, aligned, offset)?;
        offset += step.len() as u64;
    }
    Ok(())
}

/// Writes `parts` one after the other into `file`, which is empty and open for direct writing. Not synced. What begins
/// at a multiple of 4096 in memory is written from there, all else is copied.
///
/// # Errors
/// What the kernel says; `EINVAL` if it wants another alignment.
pub(super) fn write(file: &std::fs::File, parts: &[&[u8]]) -> io::Result<()> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let step = STEP_BYTES.min(len.next_multiple_of(ALIGNMENT_BYTES));
    let mut buffer = AlignedBuffer::default();
    let aligned = buffer.of(step);
    let (mut filled, mut offset) = (0, 0);
    for part in parts {
        let mut rest = *part;
        while !rest.is_empty() {
            let whole = rest.len() - rest.len() % ALIGNMENT_BYTES;
            if filled == 0 && whole > 0 && rest.as_ptr().align_offset(ALIGNMENT_BYTES) == 0 {
                write_all_at(file, &rest[..whole], offset)?;
                offset += whole as u64;
                rest = &rest[whole..];
                continue;
            }
            let count = rest.len().min(step - filled);
            aligned[filled..filled + count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            filled += count;
            if filled == step {
                write_all_at(file, aligned, offset)?;
                offset += step as u64;
                filled = 0;
            }
        }
    }
    if filled > 0 {
        // The last step is rounded up with what is in the buffer, and cut off again.
        write_all_at(file, &aligned[..filled.next_multiple_of(ALIGNMENT_BYTES)], offset)?;
    }
    file.set_len(len as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pages_are_whole_and_all_of_them() {
        let page = rustix::param::page_size().max(ALIGNMENT_BYTES);
        for offset in [0, 1, page - 1, page, page + 1, 5 * page - 3] {
            for len in [0, 1, page - 1, page, page + 1, 2 * page, 2 * page + 5, 9 * page - 1] {
                let found = whole_pages(offset as u64, len);
                let inside = |number: usize| number * page >= offset && (number + 1) * page <= offset + len;
                let expected = (0..20).filter(|number| inside(*number)).count() * page;
                assert_eq!(found.len(), expected, "{len} at {offset}");
                assert!(found.end <= len && (found.is_empty() || (offset + found.start).is_multiple_of(page)));
            }
        }
    }
}
