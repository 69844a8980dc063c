//! The walk over everything that was named, in the order of a snapshot's trees.
//!
//! It holds the names of the directories between the root and where it is, and a bounded number of their handles
//! ([`Descent`]); entries in the hands of workers hold their directories besides.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, ErrorKind as IoKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::entry::{Entry, EntryPlace, bare_node};
use super::exclude::ExcludeRules;
use super::frame::{Found, Frame, FrameNames, Pending, Place, Placed, source_path};
use super::ignore_file::IgnoreLevel;
use super::listing::{Listed, Listing};
use super::paths::{Wanted, components, join, normalize};
use super::scout::{ReadDirectory, Scout, Seen, Ticket, read_directory};
use crate::error::{EngineError, ErrorKind, Result};
use crate::limits::DIRECTORY_DEPTH;
use crate::model::{NodeKind, is_valid_name};
use crate::monitor::ProblemLog;
use crate::os::{self, Descent, Directory, Names, Stat};

/// How deep the scouts are sent.
const SCOUTED_DEPTH: usize = 32;

/// What a walk comes across. The root directory itself is not told: a snapshot has no node for it.
#[derive(Debug)]
pub enum WalkEvent {
    /// A directory begins. What is in it follows, then `Leave`, unless it is skipped.
    Enter(Entry),
    /// Everything else.
    Item(Entry),
    /// The directory that was entered last and not left yet ends.
    Leave,
}

/// Depth first, names in ascending order of their bytes.
///
/// The walk is that of one tree from `/` on. Directories above the paths that were named come with their real
/// metadata, and only what leads to those paths is in them. If one of them is a symbolic link, the walk goes where it
/// leads and tells of a directory: that is what the person who named the path means by it. Everywhere else a link is
/// a link; a named path that is one, too.
pub struct Walker<'a> {
    rules: &'a ExcludeRules,
    problems: &'a ProblemLog<'a>,
    descent: Descent<Frame<'a>>,
    /// A directory that was told but not opened yet.
    pending: Option<Pending<'a>>,
    /// Path in the snapshot of the deepest directory.
    path: Vec<u8>,
    placed: Option<Placed>,
    scout: Option<&'a Scout>,
    uid: u32,
}

impl<'a> Walker<'a> {
    /// A walk over `paths`, which are absolute. They may overlap. One that doesn't exist is a problem.
    ///
    /// # Errors
    /// `Invalid` if there is no path, or one isn't absolute; `Io` if the root can't be opened.
    pub fn new(paths: &[Vec<u8>], rules: &'a ExcludeRules, problems: &'a ProblemLog<'a>) -> Result<Self> {
        if paths.is_empty() {
            return Err(EngineError::new(ErrorKind::Invalid, "no path was named"));
        }
        let normal = paths.iter().map(|path| normalize(path)).collect::<Result<Vec<_>>>()?;
        let wanted = Wanted::merge(normal.iter().map(Vec::as_slice));
        let open_error = |error| EngineError::io("open", Path::new("/"), error);
        let root = Directory::pass_path_following(Path::new("/")).map_err(open_error)?;
        let stat = root.stat_self().map_err(open_error)?;
        let mut walker = Self::empty(rules, problems);
        walker.pending = Some(Pending {
            path: b"/".to_vec(),
            place: Place::In(Arc::new(root), b".".to_vec()),
            ticket: None,
            named: wanted.whole,
            quietly: walker.may_be_quiet(&stat),
            frame: Frame::new(wanted.whole, wanted.children, stat.device, None),
        });
        Ok(walker)
    }

    /// A walk over the one path `source`, as if it were at the path `at`. Both are absolute. Directories above `at`
    /// have mode 0755, owner and group 0, and the time 0, so that two such snapshots don't differ for nothing.
    ///
    /// # Errors
    /// `Invalid` if one of them isn't absolute.
    pub fn new_at(source: &[u8], at: &[u8], rules: &'a ExcludeRules, problems: &'a ProblemLog<'a>) -> Result<Self> {
        let (source, at) = (normalize(source)?, normalize(at)?);
        let mut to_tell: Vec<Vec<u8>> = components(&at).map(<[u8]>::to_vec).collect();
        to_tell.reverse();
        let mut walker = Self::empty(rules, problems);
        let at_root = to_tell.is_empty();
        walker.placed = Some(Placed { at, source, to_tell });
        if at_root {
            walker.begin_at_root();
        } else {
            walker.pending = Some(Pending::nowhere(b"/".to_vec()));
        }
        Ok(walker)
    }

    /// Lets `scout` look ahead of the walk.
    pub fn with_scout(mut self, scout: &'a Scout) -> Self {
        self.scout = Some(scout);
        self
    }

    fn empty(rules: &'a ExcludeRules, problems: &'a ProblemLog<'a>) -> Self {
        let uid = os::host::effective_uid();
        Self {
            rules,
            problems,
            descent: Descent::new(),
            pending: None,
            path: Vec::new(),
            placed: None,
            scout: None,
            uid,
        }
    }

    /// The next thing; `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "`skip_directory` comes between two calls; a for loop can't")]
    pub fn next(&mut self) -> Option<WalkEvent> {
        loop {
            if let Some(pending) = self.pending.take() {
                self.descend(pending);
            }
            let Some((listed, wanted)) = self.next_name() else {
                match self.leave() {
                    Left::Root => return None,
                    Left::Directory => return Some(WalkEvent::Leave),
                }
            };
            let event = match self.placed.as_mut().filter(|placed| !placed.to_tell.is_empty()) {
                Some(placed) => {
                    placed.to_tell.pop();
                    self.visit_placed(&listed.name)
                }
                None => self.visit(listed, wanted),
            };
            if event.is_some() {
                return event;
            }
        }
    }

    /// Leaves out what is in the directory that [`Self::next`] just told of. No `Leave` follows.
    pub fn skip_directory(&mut self) {
        self.pending = None;
    }

    /// The next name in the deepest directory, and what is wanted of it.
    fn next_name(&mut self) -> Option<(Listed<'a>, Wanted)> {
        self.look_ahead();
        let frame = self.descent.top_mut()?;
        let unseen = |name| Listed { name, stat: None, ticket: None };
        match &mut frame.names {
            FrameNames::Listed(listing) => {
                let listed = listing.next()?;
                let wanted = frame.wanted.remove(&listed.name).unwrap_or_default();
                Some((listed, wanted))
            }
            FrameNames::Wanted => frame.wanted.pop_first().map(|(name, wanted)| (unseen(name), wanted)),
            FrameNames::Placed => {
                frame.names = FrameNames::None;
                Some((unseen(self.placed.as_ref()?.to_tell.last()?.clone()), Wanted::default()))
            }
            FrameNames::None => None,
        }
    }

    /// Tells the scout where the walk will go. What is left out is not looked at, be it a mount that hangs.
    fn look_ahead(&mut self) {
        // What is announced keeps its directory open, which a deep descent would close.
        let Some(scout) = self.scout.filter(|_| self.descent.depth() <= SCOUTED_DEPTH) else { return };
        let Self { rules, path, placed, uid, .. } = self;
        let Some(directory) = self.descent.directory().cloned() else { return };
        let Some(Frame { names: FrameNames::Listed(listing), ignore, root_device, .. }) = self.descent.top_mut() else {
            return;
        };
        listing.look_ahead(scout, &directory, |name, stat| {
            let elsewhere = rules.one_file_system && stat.device != *root_device;
            let path = source_path(placed.as_ref(), &join(path, name)).into_owned();
            let path = Path::new(OsStr::from_bytes(&path));
            let goes = !elsewhere && !rules.is_skipped(stat) && !rules.excludes(path, true, ignore.as_deref());
            goes.then_some(*uid == 0 || *uid == stat.uid)
        });
    }

    fn visit(&mut self, listed: Listed<'a>, wanted: Wanted) -> Option<WalkEvent> {
        if let Some(entry) = self.plain_entry(&listed, &wanted) {
            return Some(WalkEvent::Item(entry));
        }
        let frame = self.descent.top()?;
        let found = Found {
            directory: Arc::clone(self.descent.directory()?),
            path: join(&self.path, &listed.name),
            name: listed.name,
            stat: listed.stat,
            ticket: listed.ticket,
            wanted,
            whole_above: frame.whole,
            root_device: frame.root_device,
            ignore: frame.ignore.clone(),
        };
        if !is_valid_name(&found.name) {
            self.problem(&found.path, "its name is none that a snapshot can hold");
            return None;
        }
        self.look(found)
    }

    /// The usual case without detours: a file in a directory that is wanted whole, and nothing to leave out.
    fn plain_entry(&mut self, listed: &Listed<'_>, wanted: &Wanted) -> Option<Entry> {
        let stat = listed.stat.as_ref().filter(|stat| stat.kind == NodeKind::File)?;
        let frame = self.descent.top()?;
        let is_plain = frame.whole
            && frame.ignore.is_none()
            && self.rules.leaves_nothing_out()
            && !wanted.whole
            && wanted.children.is_empty()
            && is_valid_name(&listed.name);
        if !is_plain {
            return None;
        }
        let place = match &frame.place {
            Some(place) => Arc::clone(place),
            None => {
                let source = self.source_path(&self.path).into_owned();
                let place = Arc::new(EntryPlace {
                    path: self.path.clone(),
                    source: (source != self.path).then_some(source),
                    directory: Some(Arc::clone(self.descent.directory()?)),
                });
                self.descent.top_mut()?.place = Some(Arc::clone(&place));
                place
            }
        };
        Some(Entry::below(place, bare_node(listed.name.clone(), stat), self.may_be_quiet(stat)))
    }

    /// A component of the path that the source is placed at: the source itself, or a directory above.
    fn visit_placed(&mut self, name: &[u8]) -> Option<WalkEvent> {
        let path = join(&self.path, name);
        if self.placed.as_ref().is_some_and(|placed| placed.to_tell.is_empty()) {
            let found = self.find_placed(path)?;
            return self.look(found);
        }
        self.pending = Some(Pending::nowhere(path.clone()));
        Some(WalkEvent::Enter(Entry::made_up(path, name.to_vec())))
    }

    /// The source that is placed at `path`, in its real directory.
    fn find_placed(&self, path: Vec<u8>) -> Option<Found<'a>> {
        let source = &self.placed.as_ref()?.source;
        let (above, name) = match source.iter().rposition(|&byte| byte == b'/') {
            Some(slash) if source.len() > 1 => (&source[..slash.max(1)], &source[slash + 1..]),
            _ => (b"/".as_slice(), b".".as_slice()),
        };
        match Directory::pass_path_following(Path::new(OsStr::from_bytes(above))) {
            Ok(directory) => Some(Found {
                directory: Arc::new(directory),
                name: name.to_vec(),
                stat: None,
                ticket: None,
                path,
                wanted: Wanted { whole: true, children: BTreeMap::new() },
                whole_above: false,
                root_device: 0,
                ignore: None,
            }),
            Err(error) => {
                self.problems.add(source, format!("cannot open the directory above: {error}"));
                None
            }
        }
    }

    /// Begins with a source that is placed at the root: what is in it is told, itself not.
    fn begin_at_root(&mut self) {
        let Some(found) = self.find_placed(b"/".to_vec()) else {
            return;
        };
        // A directory is pending by now; the event isn't told.
        if let Some(WalkEvent::Item(_)) = self.look(found) {
            self.problem(b"/", "only a directory can be the root");
        }
    }

    fn look(&mut self, found: Found<'a>) -> Option<WalkEvent> {
        let stat = match found.stat.map_or_else(|| found.directory.stat(&found.name), Ok) {
            Ok(stat) => stat,
            Err(error) => {
                self.failed(&found.path, &found.wanted, "look at", &error);
                return None;
            }
        };
        if self.rules.is_skipped(&stat) {
            self.note(&found.path, "left out, it belongs to the repository");
            return None;
        }
        let mut whole = found.whole_above || found.wanted.whole;
        if whole && self.is_excluded(&found, &stat) {
            if found.wanted.whole {
                self.note(&found.path, "was named, but is excluded");
            }
            if found.wanted.children.is_empty() {
                return None;
            }
            whole = false;
        }
        match stat.kind {
            NodeKind::Directory => self.enter(found, &stat, whole, None),
            _ => self.item(found, &stat, whole),
        }
    }

    fn is_excluded(&self, found: &Found<'_>, stat: &Stat) -> bool {
        let path = self.source_path(&found.path);
        let path = Path::new(OsStr::from_bytes(&path));
        let is_directory = stat.kind == NodeKind::Directory;
        self.rules.is_too_large(stat) || self.rules.excludes(path, is_directory, found.ignore.as_deref())
    }

    /// Tells of a directory. `through`: it was reached through a link, and is open.
    fn enter(&mut self, found: Found<'a>, stat: &Stat, whole: bool, through: Option<Directory>) -> Option<WalkEvent> {
        if self.descent.depth() >= DIRECTORY_DEPTH {
            self.problem(&found.path, format_args!("is deeper than {DIRECTORY_DEPTH} directories"));
            return None;
        }
        let named = found.wanted.whole;
        // A mount point stays, as an empty directory: that is what a restore needs to mount there again.
        let elsewhere = self.rules.one_file_system && !named && stat.device != found.root_device;
        let root_device = if named { stat.device } else { found.root_device };
        let quietly = self.may_be_quiet(stat);
        let through = through.map(Arc::new);
        let entry = match &through {
            Some(directory) => self.entry(&found.path, Arc::clone(directory), b".", stat),
            None => self.entry(&found.path, Arc::clone(&found.directory), &found.name, stat),
        };
        let place = match through {
            Some(directory) => Place::Open(directory),
            None => Place::In(found.directory, found.name),
        };
        let frame = Frame::new(whole && !elsewhere, found.wanted.children, root_device, found.ignore);
        // Opened through a link: the scout was sent to the link itself, if at all.
        let ticket = found.ticket.filter(|_| matches!(place, Place::In(..)));
        self.pending = Some(Pending { path: found.path, place, ticket, frame, named, quietly });
        Some(WalkEvent::Enter(entry))
    }

    /// Tells of what isn't a directory; goes through a link above a named path.
    fn item(&mut self, found: Found<'a>, stat: &Stat, whole: bool) -> Option<WalkEvent> {
        let is_link = stat.kind == NodeKind::Symlink;
        if !found.wanted.children.is_empty() {
            if is_link && !whole {
                return self.enter_through_link(found);
            }
            let why = match is_link {
                true => "is behind a symbolic link that is stored as such",
                false => "is below something that is not a directory",
            };
            self.problem_below(&found.path, &found.wanted.children, why);
        }
        if !whole {
            return None;
        }
        let mut entry = self.entry(&found.path, Arc::clone(&found.directory), &found.name, stat);
        if is_link {
            if found.wanted.whole {
                self.note(&found.path, "was named and is a symbolic link: stored as such, not what it leads to");
            }
            match found.directory.read_link(&found.name) {
                Ok(target) => entry.node.target = target,
                Err(error) => {
                    self.failed(&found.path, &found.wanted, "read the symbolic link", &error);
                    return None;
                }
            }
        }
        Some(WalkEvent::Item(entry))
    }

    fn enter_through_link(&mut self, found: Found<'a>) -> Option<WalkEvent> {
        let opened = found.directory.pass_directory_following(&found.name);
        match opened.and_then(|directory| directory.stat_self().map(|stat| (directory, stat))) {
            Ok((directory, stat)) => {
                self.note(&found.path, "is a symbolic link above a path that was named: stored as a directory");
                self.enter(found, &stat, false, Some(directory))
            }
            Err(error) => {
                self.problem_below(&found.path, &found.wanted.children, format_args!("cannot go there: {error}"));
                None
            }
        }
    }

    fn entry(&self, path: &[u8], directory: Arc<Directory>, real_name: &[u8], stat: &Stat) -> Entry {
        let name = components(path).last().unwrap_or_default();
        let real_path = self.placed.is_some().then(|| self.source_path(path).into_owned());
        let real_name = (name != real_name).then(|| real_name.to_vec());
        let node = bare_node(name.to_vec(), stat);
        Entry::at(path.to_vec(), real_path, directory, real_name, node, self.may_be_quiet(stat))
    }

    /// Opens a directory that was told of, and reads what is in it.
    fn descend(&mut self, pending: Pending<'a>) {
        let Pending { path, place, ticket, mut frame, named, quietly } = pending;
        if let Some(above) = self.descent.top_mut() {
            // It holds the directory open, which is the descent's to decide from here on.
            above.place = None;
        }
        frame.path_len = path.len();
        self.path = path;
        if matches!(place, Place::Nowhere) {
            self.descent.push(None, None, frame);
            return;
        }
        if !frame.whole {
            self.pass(&place, frame);
            return;
        }
        let read = match (ticket.map(Ticket::redeem), &place) {
            (Some(Seen::Read(read)), _) => read,
            (_, Place::In(above, name)) => above.open_directory(name, quietly).and_then(read_directory),
            (_, Place::Open(directory)) => directory.open_directory(b".", quietly).and_then(read_directory),
            (_, Place::Nowhere) => return,
        };
        match read {
            Ok(ReadDirectory { directory, stat, mut names, mut stats }) => {
                let count = names.len();
                // Opening can mount something there.
                if self.rules.one_file_system && !named && stat.device != frame.root_device {
                    names.retain(|name| frame.wanted.contains_key(name));
                }
                self.choose(&directory, &mut names, &mut frame, named);
                if names.len() != count {
                    stats.clear();
                }
                frame.names = FrameNames::Listed(Listing::new(names, stats));
                self.descent.push(Some(directory), Some(stat.identity()), frame);
            }
            Err(error) => {
                let wanted = Wanted { whole: false, children: std::mem::take(&mut frame.wanted) };
                self.failed(&self.path, &wanted, "read the directory", &error);
                frame.names = FrameNames::None;
                self.descent.push(None, None, frame);
            }
        }
    }

    /// Goes into a directory of which only some names are wanted. It needn't be readable.
    fn pass(&mut self, place: &Place, mut frame: Frame<'a>) {
        let opened = match place {
            Place::In(..) if frame.wanted.is_empty() => Ok(None),
            Place::In(above, name) => above.pass_directory(name).map(|directory| Some(Arc::new(directory))),
            Place::Open(directory) => Ok(Some(Arc::clone(directory))),
            Place::Nowhere => Ok(None),
        };
        frame.names = FrameNames::Wanted;
        match opened {
            // Stays open: there are only as many as a person named, and one that was reached through a link could not
            // be opened again from below.
            Ok(directory) => self.descent.push(directory, None, frame),
            Err(error) => {
                let children = std::mem::take(&mut frame.wanted);
                self.problem_below(&self.path, &children, format_args!("cannot go there: {error}"));
                self.descent.push(None, None, frame);
            }
        }
    }

    /// Leaves out what markers say, reads ignore files, and tells of named paths that aren't there.
    fn choose(&self, directory: &Directory, names: &mut Names, frame: &mut Frame<'_>, named: bool) {
        frame.wanted.retain(|name, wanted| {
            let there = names.contains(name);
            if !there {
                self.failed(&join(&self.path, name), wanted, "find", &IoKind::NotFound.into());
            }
            there
        });
        let markers = self.rules.markers_in(directory, names);
        if !markers.is_empty() {
            if named {
                self.note(&self.path, "was named, but is marked as not to be stored");
            }
            names.retain(|name| markers.contains(&name) || frame.wanted.contains_key(name));
        }
        if !self.rules.ignore_files.is_empty() {
            let path = self.source_path(&self.path);
            let above = frame.ignore.take();
            let files = &self.rules.ignore_files;
            frame.ignore = IgnoreLevel::read(above, directory, names, &path, files, self.problems);
        }
    }

    fn leave(&mut self) -> Left {
        let reopened = self.descent.pop().map_or(Ok(()), |(_, reopened)| reopened);
        let Some(top) = self.descent.top_mut() else {
            return Left::Root;
        };
        self.path.truncate(top.path_len);
        if let Err(error) = reopened {
            let incomplete = top.has_more();
            top.names = FrameNames::None;
            if incomplete {
                self.problem(&self.path, format_args!("cannot read the rest of the directory: {error}"));
            }
        }
        Left::Directory
    }

    fn may_be_quiet(&self, stat: &Stat) -> bool {
        self.uid == 0 || self.uid == stat.uid
    }

    /// Where `path` is in the source.
    fn source_path<'p>(&self, path: &'p [u8]) -> Cow<'p, [u8]> {
        source_path(self.placed.as_ref(), path)
    }

    /// Something can't be read. What vanished since it was listed is no problem, unless it was named.
    fn failed(&self, path: &[u8], wanted: &Wanted, operation: &str, error: &io::Error) {
        let vanished = error.kind() == IoKind::NotFound;
        let named = wanted.named(path);
        if vanished && named.is_empty() {
            self.note(path, "vanished before it could be read");
        } else if vanished {
            named.iter().for_each(|path| self.problem(path, "does not exist"));
        } else {
            self.problem(path, format_args!("cannot {operation}: {error}"));
            let below = named.iter().filter(|below| below.as_slice() != path);
            below.for_each(|below| self.problem(below, "cannot be reached"));
        }
    }

    fn problem_below(&self, path: &[u8], children: &BTreeMap<Vec<u8>, Wanted>, why: impl Display) {
        for (name, wanted) in children {
            wanted.named(&join(path, name)).iter().for_each(|named| self.problem(named, &why));
        }
    }

    /// `path` is in the snapshot; people hear of the one in the source.
    fn problem(&self, path: &[u8], message: impl Display) {
        self.problems.add(&self.source_path(path), message.to_string());
    }

    fn note(&self, path: &[u8], message: &str) {
        let path = self.source_path(path);
        self.problems.monitor().note(&format!("{}: {message}", String::from_utf8_lossy(&path)));
    }
}

/// What [`Walker::leave`] left.
enum Left {
    Root,
    Directory,
}
