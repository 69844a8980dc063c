//! Which profile a stream is cut with. Its first bytes decide.

use crate::chunker::{DataChunker, PageChunker};
use crate::repository::Repository;

/// How much of a stream decides by the frequency of its bytes, in bytes.
const SAMPLE_BYTES: usize = 64 << 10;
/// Of each step of the sample, the first quarter is counted. Bytes.
const SAMPLE_STEP_BYTES: usize = 4096;
/// No usual settings cut a file of this length, in bytes.
const SHORT_BYTES: usize = 8 << 10;

/// How a stream is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    /// Coarsely, by content: media and archives are written anew as a whole.
    Files,
    /// Finely, by content: text, dumps and images of disks change in small places.
    Dumps,
    /// Every so many bytes: a database in pages, which changes in place.
    Pages(u32),
}

impl Profile {
    /// The profile of a file that begins so. What is told apart by nothing else is cut finely if it compresses.
    pub(super) fn of_file(beginning: &[u8]) -> Self {
        let otherwise = || if is_uneven(beginning) { Self::Dumps } else { Self::Files };
        page_bytes(beginning).map_or_else(otherwise, Self::Pages)
    }

    /// The profile of a stream that begins so: it is a dump, unless it is a database file itself.
    pub(super) fn of_stream(beginning: &[u8]) -> Self {
        page_bytes(beginning).map_or(Self::Dumps, Self::Pages)
    }
}

/// The chunkers of a repository.
pub(super) struct Chunkers {
    files: DataChunker,
    dumps: DataChunker,
    pages: PageChunker,
}

impl Chunkers {
    pub(super) fn new(repository: &Repository) -> Self {
        let (config, domain) = (repository.config(), repository.domain());
        Self {
            files: DataChunker::new(domain, config.files),
            dumps: DataChunker::new(domain, config.dumps),
            pages: PageChunker::new(config.pages),
        }
    }

    /// No chunk is longer than this, in bytes.
    pub(super) fn max_len(&self) -> usize {
        self.files.max_len().max(self.dumps.max_len()).max(self.pages.max_len())
    }

    /// Length in bytes of the first chunk of `stream`, which must hold at least [`Self::max_len`] bytes or all that
    /// is left.
    pub(super) fn cut(&self, profile: Profile, stream: &[u8]) -> usize {
        match profile {
            Profile::Files => self.files.cut(stream),
            Profile::Dumps => self.dumps.cut(stream),
            Profile::Pages(page) => self.pages.cut(page, stream),
        }
    }
}

/// Whether two bytes of the beginning are equal more often than those of random data, which are once in 256. Of short
/// files that is not asked: they are one chunk one way or the other. Of others, a quarter is counted.
fn is_uneven(beginning: &[u8]) -> bool {
    if beginning.len() <= SHORT_BYTES {
        return true;
    }
    let sample = &beginning[..beginning.len().min(SAMPLE_BYTES)];
    let mut counts = [0u64; 256];
    let mut len = 0;
    for part in sample.chunks(SAMPLE_STEP_BYTES).map(|step| &step[..step.len().min(SAMPLE_STEP_BYTES / 4)]) {
        part.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
        len += part.len() as u64;
    }
    let equal_pairs: u64 = counts.iter().map(|count| count * count).sum::<u64>().saturating_sub(len);
    equal_pairs * 256 * 4 > len * len * 5
}

/// Length in bytes of a database's pages, a power of two, if the file that begins so is surely one.
///
/// Images of disks are not among them: what an upgrade writes is shifted within files, and cutting by content adds
/// less (measured in the benchmark report).
fn page_bytes(beginning: &[u8]) -> Option<u32> {
    let known = [sqlite, postgres, innodb, lmdb, bolt];
    let page = known.iter().find_map(|page_of| page_of(beginning))?;
    ((512..=64 << 10).contains(&page) && page.is_power_of_two()).then_some(page)
}

fn sqlite(file: &[u8]) -> Option<u32> {
    // Behind the page size: versions, reserved bytes, and three fractions that are always these.
    let sure = file.starts_with(b"SQLite format 3\0") && file.get(21..24)? == [64, 32, 32];
    let page = u32::from(u16::from_be_bytes(bytes(file, 16)?));
    sure.then_some(if page == 1 { 64 << 10 } else { page })
}

/// Tables and indexes of PostgreSQL: each page begins with a header that has its size and bounds within it.
fn postgres(file: &[u8]) -> Option<u32> {
    const HEADER_BYTES: u16 = 24;
    const LAYOUT: u16 = 4;
    let word = |page: &[u8], at| bytes(page, at).map(u16::from_le_bytes);
    let size_and_layout = word(file, 18)?;
    let size = size_and_layout & 0xff00;
    let is_page = |page: &[u8]| {
        let (lower, upper, special) = (word(page, 12)?, word(page, 14)?, word(page, 16)?);
        let bounds = HEADER_BYTES <= lower && lower <= upper && upper <= special && special <= size;
        Some(bounds && word(page, 18)? == size_and_layout)
    };
    let mut pages = file[..file.len().min(SAMPLE_BYTES)].chunks_exact(usize::from(size.max(512)));
    let sure = size_and_layout & 0xff == LAYOUT
        && is_page(pages.next()?)?
        && pages.all(|page| page.iter().all(|&byte| byte == 0) || is_page(page) == Some(true));
    sure.then_some(u32::from(size))
}

/// Tablespaces of MySQL and MariaDB: page 0 describes the space, page 1 is a bitmap; both have numbers and the space.
fn innodb(file: &[u8]) -> Option<u32> {
    const SPACE_HEADER: u16 = 8;
    const BITMAP: u16 = 5;
    let space: [u8; 4] = bytes(file, 34)?;
    let is_page = |page: u32, number: u32, kind: u16| {
        let at = page as usize * number as usize;
        bytes(file, at + 4) == Some(number.to_be_bytes())
            && bytes(file, at + 24) == Some(kind.to_be_bytes())
            && bytes(file, at + 34) == Some(space)
    };
    let sure = bytes(file, 38) == Some(space);
    (12..=16).map(|bits| 1 << bits).find(|&page| sure && is_page(page, 0, SPACE_HEADER) && is_page(page, 1, BITMAP))
}

fn lmdb(file: &[u8]) -> Option<u32> {
    let sure = bytes(file, 16)? == 0xbeef_c0de_u32.to_le_bytes();
    sure.then_some(u32::from_le_bytes(bytes(file, 40)?))
}

/// What etcd, containerd and many programs in Go store their data in.
fn bolt(file: &[u8]) -> Option<u32> {
    let sure = bytes(file, 16)? == 0xed0c_daed_u32.to_le_bytes();
    sure.then_some(u32::from_le_bytes(bytes(file, 24)?))
}

/// The bytes of a number at a place, if the file has them.
fn bytes<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    /// `len` bytes with others at some places.
    fn file(len: usize, places: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = random(len);
        places.iter().for_each(|(at, there)| bytes[*at..at + there.len()].copy_from_slice(there));
        bytes
    }

    /// A file is what `good` says, and not any more if one of the bytes at the places is another, or behind the end.
    fn is_sure(page: u32, len: usize, places: &[(usize, &[u8])]) {
        let good = file(len, places);
        assert_eq!(Profile::of_file(&good), Profile::Pages(page));
        assert_eq!(Profile::of_stream(&good), Profile::Pages(page));
        for at in places.iter().flat_map(|(at, there)| *at..at + there.len()) {
            let mut other = good.clone();
            other[at] ^= 0x55;
            assert_eq!(Profile::of_stream(&other), Profile::Dumps, "byte {at}");
            assert_eq!(Profile::of_stream(&good[..at]), Profile::Dumps, "up to {at}");
        }
    }

    #[test]
    fn what_compresses_is_cut_finely() {
        let random = random(100_000);
        assert_eq!(Profile::of_file(&random), Profile::Files);
        assert_eq!(Profile::of_file(&random[..SHORT_BYTES + 1]), Profile::Files);
        assert_eq!(Profile::of_stream(&random), Profile::Dumps);
        let text: Vec<u8> = random.iter().map(|byte| b'a' + byte % 26).collect();
        assert_eq!(Profile::of_file(&text), Profile::Dumps);
        assert_eq!(Profile::of_file(&[0; 5000]), Profile::Dumps);
        assert_eq!(Profile::of_stream(&[]), Profile::Dumps);
    }

    #[test]
    fn sqlite_says_how_long_its_pages_are() {
        for (page, code) in [(512, [2, 0]), (4096, [16, 0]), (32768, [128, 0]), (65536, [0, 1])] {
            is_sure(page, 9000, &[(0, b"SQLite format 3\0"), (16, &code), (21, &[64, 32, 32])]);
        }
        let of_no_size = file(9000, &[(0, b"SQLite format 3\0"), (16, &[16, 1]), (21, &[64, 32, 32])]);
        assert_eq!(Profile::of_file(&of_no_size), Profile::Files);
    }

    #[test]
    fn postgres_has_a_header_in_each_page() {
        // lower 40, upper 8000, special 8192, 8 KiB of layout 4
        let header = [40, 0, 0x40, 0x1f, 0, 0x20, 4, 0x20];
        let places: Vec<(usize, &[u8])> = (0..20).map(|page| (page * 8192 + 12, &header[..])).collect();
        let good = file(20 * 8192, &places);
        assert_eq!(Profile::of_stream(&good), Profile::Pages(8192));
        assert_eq!(Profile::of_stream(&good[..8192]), Profile::Pages(8192), "a page is enough");
        assert_eq!(Profile::of_stream(&good[..8191]), Profile::Dumps);
        let mut empty = good.clone();
        empty[8192..16384].fill(0);
        assert_eq!(Profile::of_stream(&empty), Profile::Pages(8192), "a page that is not used yet");
        empty[9000] = 1;
        assert_eq!(Profile::of_stream(&empty), Profile::Dumps);
        for (at, byte) in [(12, 23), (13, 0x20), (15, 0x21), (17, 0x1e), (17, 0x21), (18, 5), (19, 0x30), (19, 0)] {
            let mut other = good.clone();
            other[at] = byte;
            assert_eq!(Profile::of_stream(&other), Profile::Dumps, "{byte} at {at}");
            let mut other = good.clone();
            other[8192 + at] = byte;
            assert_eq!(Profile::of_stream(&other), Profile::Dumps, "{byte} at {at} of the second page");
        }
    }

    #[test]
    fn innodb_has_two_pages_at_the_beginning_that_agree() {
        for page in [4096, 16384, 65536] {
            let at = page as usize;
            let places: [(usize, &[u8]); 7] = [
                (4, &[0, 0, 0, 0]),
                (24, &[0, 8]),
                (34, &[0, 0, 1, 7]),
                (38, &[0, 0, 1, 7]),
                (at + 4, &[0, 0, 0, 1]),
                (at + 24, &[0, 5]),
                (at + 34, &[0, 0, 1, 7]),
            ];
            is_sure(page, 2 * at, &places);
        }
    }

    #[test]
    fn lmdb_and_bolt_have_magic_numbers() {
        is_sure(4096, 9000, &[(16, &[0xde, 0xc0, 0xef, 0xbe]), (40, &[0, 16, 0, 0])]);
        is_sure(4096, 9000, &[(16, &[0xed, 0xda, 0x0c, 0xed]), (24, &[0, 16, 0, 0])]);
    }
}
