//! Writing past the page cache.

use std::fs::File;
use std::io;

/// What the kernel wants addresses, offsets and lengths to be multiples of, on all but odd devices. Bytes.
const ALIGNMENT_BYTES: usize = 4096;
/// How much of what doesn't lie right in memory is copied and written at once, in bytes.
const STEP_BYTES: usize = 1 << 20;

/// Writes `parts` one after the other into `file`, which is empty and open for direct writing. Not synced. What begins
/// at a multiple of 4096 in memory is written from there, all else is copied.
///
/// # Errors
/// What the kernel says; `EINVAL` if it wants another alignment.
pub(super) fn write(file: &File, parts: &[&[u8]]) -> io::Result<()> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let step = STEP_BYTES.min(len.next_multiple_of(ALIGNMENT_BYTES));
    let mut buffer = vec![0u8; step + ALIGNMENT_BYTES];
    let start = buffer.as_ptr().align_offset(ALIGNMENT_BYTES);
    let aligned = &mut buffer[start..start + step];
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

fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
