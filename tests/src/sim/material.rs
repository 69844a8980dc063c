//! What is saved: bytes that follow from a number, so that nobody has to remember them.
//!
//! Streams are made of pieces of a small pool, so that most of their chunks are somewhere already. Trees share a
//! directory that stays as it is, with files of their own beside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::random::Random;

/// Length of a piece in bytes: some chunks.
const PIECE_BYTES: usize = 3000;
/// Pieces that there are.
const PIECES: u64 = 6;

/// The tag of what holds material of this number, which says what it must restore to.
pub fn tag(number: u64) -> String {
    format!("m{number}")
}

/// The number in a tag.
pub fn number_of(tags: &[String]) -> Option<u64> {
    tags.iter().find_map(|tag| tag.strip_prefix('m')?.parse().ok())
}

/// The bytes of a stream: two pieces of the pool, and a few bytes of its own.
pub fn stream(number: u64) -> Vec<u8> {
    let mut bytes = Random::new(number % PIECES).bytes(PIECE_BYTES);
    bytes.extend(Random::new((number / 2 + 1) % PIECES).bytes(PIECE_BYTES));
    bytes.extend(Random::new(number + 1000).bytes(200));
    bytes
}

/// A larger one, which needs several packs.
pub fn large_stream(number: u64) -> Vec<u8> {
    Random::new(number).bytes(2_600_000)
}

/// Trees on disk, in directories that a campaign shares.
pub struct Trees {
    root: PathBuf,
}

/// How many different trees there are; the numbers of their materials begin at [`FIRST_TREE`].
pub const TREES: u64 = 3;
/// The material of this number is the first tree.
pub const FIRST_TREE: u64 = 1_000_000;

impl Trees {
    /// Makes the trees below a directory.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(root: &Path) -> io::Result<Self> {
        let trees = Self { root: root.to_owned() };
        for number in 0..TREES {
            for (name, bytes) in Self::files(FIRST_TREE + number) {
                let path = trees.path(FIRST_TREE + number).join(&name);
                fs::create_dir_all(path.parent().expect("below the root"))?;
                match number {
                    // The same files, so that a parent's nodes are taken over.
                    1.. if name.starts_with("same/") => fs::hard_link(trees.path(FIRST_TREE).join(&name), path)?,
                    _ => fs::write(path, bytes)?,
                }
            }
        }
        Ok(trees)
    }

    /// Where a tree is.
    pub fn path(&self, number: u64) -> PathBuf {
        self.root.join(format!("tree-{number}"))
    }

    /// What files a tree has.
    pub fn files(number: u64) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<(String, Vec<u8>)> =
            (0..2).map(|file| (format!("same/{file}"), Random::new(500 + file).bytes(1500))).collect();
        files.push(("own/file".into(), Random::new(number).bytes(900)));
        files.push(("own/piece".into(), Random::new(number % PIECES).bytes(PIECE_BYTES)));
        files
    }
}
