//! Where streams are cut into chunks. Pure; spec chapter 9.3 and 9.4.
//!
//! Cut points are a contract: other points mean that nothing deduplicates with what is stored. The vectors in
//! `format-spec/vectors` hold them.

mod data;
mod gear;
mod pages;
mod tree;

pub use data::DataChunker;
pub use pages::PageChunker;
pub use tree::{ListCutter, TREE_CHUNK_MAX_BYTES, TreeCutter};
