//! What a walk knows about the directories between the root and where it is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::entry::EntryPlace;
use super::ignore_file::IgnoreLevel;
use super::listing::Listing;
use super::paths::{Wanted, join};
use super::scout::Ticket;
use crate::os::{Directory, Stat};

/// A source that is somewhere else in the snapshot.
pub(super) struct Placed {
    pub(super) at: Vec<u8>,
    pub(super) source: Vec<u8>,
    /// Components of `at` that are still to be told, the next one last.
    pub(super) to_tell: Vec<Vec<u8>>,
}

/// A directory of the descent.
pub(super) struct Frame<'a> {
    pub(super) names: FrameNames<'a>,
    pub(super) wanted: BTreeMap<Vec<u8>, Wanted>,
    /// Whether everything in it is wanted.
    pub(super) whole: bool,
    /// Device of the named path that it is below.
    pub(super) root_device: u64,
    pub(super) ignore: Option<Arc<IgnoreLevel>>,
    /// Length of its path in the snapshot.
    pub(super) path_len: usize,
    /// Where the entries in it are, for those that are told without a path of their own.
    pub(super) place: Option<Arc<EntryPlace>>,
}

/// What is to be looked at in a directory.
pub(super) enum FrameNames<'a> {
    /// All that it holds.
    Listed(Listing<'a>),
    /// The keys of `wanted`.
    Wanted,
    /// The next component of a path that exists only in the snapshot.
    Placed,
    /// Nothing more.
    None,
}

/// A directory that comes next.
pub(super) struct Pending<'a> {
    pub(super) path: Vec<u8>,
    pub(super) place: Place,
    /// If a scout was sent there.
    pub(super) ticket: Option<Ticket<'a>>,
    pub(super) frame: Frame<'a>,
    /// Whether it was named itself, and can therefore be on any device.
    pub(super) named: bool,
    pub(super) quietly: bool,
}

/// Where a directory is.
pub(super) enum Place {
    /// Only in the snapshot.
    Nowhere,
    /// In an open directory.
    In(Arc<Directory>, Vec<u8>),
    /// Open already.
    Open(Arc<Directory>),
}

/// A name that is looked at.
pub(super) struct Found<'a> {
    pub(super) directory: Arc<Directory>,
    pub(super) name: Vec<u8>,
    /// `None`: still to be asked for.
    pub(super) stat: Option<Stat>,
    pub(super) ticket: Option<Ticket<'a>>,
    pub(super) path: Vec<u8>,
    pub(super) wanted: Wanted,
    /// Whether the directory is wanted whole.
    pub(super) whole_above: bool,
    pub(super) root_device: u64,
    pub(super) ignore: Option<Arc<IgnoreLevel>>,
}

impl Frame<'_> {
    pub(super) fn new(
        whole: bool,
        wanted: BTreeMap<Vec<u8>, Wanted>,
        root_device: u64,
        ignore: Option<Arc<IgnoreLevel>>,
    ) -> Self {
        Self { names: FrameNames::None, wanted, whole, root_device, ignore, path_len: 0, place: None }
    }

    pub(super) fn has_more(&self) -> bool {
        match &self.names {
            FrameNames::Listed(listing) => listing.has_more(),
            FrameNames::Wanted => !self.wanted.is_empty(),
            FrameNames::Placed | FrameNames::None => false,
        }
    }
}

impl Pending<'_> {
    /// A directory that exists only in the snapshot.
    pub(super) fn nowhere(path: Vec<u8>) -> Self {
        let mut frame = Frame::new(false, BTreeMap::new(), 0, None);
        frame.names = FrameNames::Placed;
        Self { path, place: Place::Nowhere, ticket: None, frame, named: false, quietly: false }
    }
}

/// Where `path` is in the source.
pub(super) fn source_path<'p>(placed: Option<&Placed>, path: &'p [u8]) -> Cow<'p, [u8]> {
    let Some(placed) = placed else {
        return Cow::Borrowed(path);
    };
    let rest = path.get(placed.at.len()..).unwrap_or_default();
    match rest.strip_prefix(b"/").unwrap_or(rest) {
        b"" => Cow::Owned(placed.source.clone()),
        rest => Cow::Owned(join(&placed.source, rest)),
    }
}
