//! What is asked of the allocator.

/// From this length on a block is the kernel's again as soon as it is freed, in bytes.
const OWN_BLOCK_BYTES: libc::c_int = 256 << 10;

/// Makes glibc give large blocks back when they are freed. By itself it raises the length from which on it does, up to
/// 32 MiB, whenever it sees one freed: 14 of 113 MiB in a first snapshot of sources, 36 of 130 where a million small
/// files wait for their index object. (The allocator mimalloc, tried instead, took 175.) For a snapshot only, which keeps
/// its large buffers itself: a check or a restore would get new pages for each object that it reads, and takes twice as
/// long.
pub(crate) fn give_back_early() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "sets a number of the allocator, which is safe to do at any time")]
        // It can only refuse, and then all is as it was.
        let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_BLOCK_BYTES) };
    }
}

/// Makes all threads take memory from `most` places at most. Before there are threads.
///
/// glibc makes eight for each processor and keeps something in each: 18 of 126 MiB in a restore over a network, so that every
/// command has one for each processor; 17 of 172 MiB in a prune among ten million chunks, which has one: its threads seldom
/// allocate.
pub(crate) fn share_arenas(most: usize) {
    #[cfg(target_env = "gnu")]
    {
        let most = libc::c_int::try_from(most).unwrap_or(libc::c_int::MAX);
        #[expect(unsafe_code, reason = "sets a number of the allocator, which is safe to do at any time")]
        // It can only refuse, and then all is as it was.
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, most) };
    }
}
