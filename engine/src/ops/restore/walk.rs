//! The walk over the snapshot's tree, beside the target's.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::crew::{Crew, Finished};
use super::filter::{Filter, Verdict};
use super::place::OpenDirectory;
use super::window::{FileState, LinkState, WINDOWS, Window};
use super::{Context, add};
use crate::error::{EngineError, ErrorKind, Result};
use crate::format::encode_node;
use crate::model::{ChunkRef, Content, LinkGroup, Metadata, Node, NodeKind, Snapshot, is_valid_name};
use crate::monitor::ItemAction;
use crate::ops::browse::{Descend, Visit, components, find_node, walk};
use crate::os::{self, Names};
use crate::repository::{ChunkReader, ContentReader};
use crate::target::TargetDir;

/// What of a snapshot is restored.
pub(super) enum Scope {
    /// What is in a directory.
    Directory(Content),
    /// One node, under its own name.
    Single(Box<Node>),
}

impl Scope {
    /// What is at `path`. With a name to be placed as it is a node of that name, as the only one of a directory.
    pub(super) fn find(
        chunks: &ChunkReader<'_>,
        snapshot: &Snapshot,
        path: &[u8],
        place_as: Option<&[u8]>,
    ) -> Result<Self> {
        let found = find_node(chunks, snapshot, path)?;
        if let Some(name) = place_as {
            let invalid = |text| EngineError::new(ErrorKind::Invalid, text);
            let mut node = found.ok_or_else(|| invalid("the root of a snapshot has no metadata to be placed with"))?;
            if !is_valid_name(name) {
                return Err(invalid("what is restored can't be placed under this name"));
            }
            node.name = name.to_vec();
            let mut encoded = Vec::new();
            encode_node(&node, &mut encoded);
            return Ok(Self::Directory(Content::Inline(encoded)));
        }
        Ok(match found {
            None => Self::Directory(snapshot.root.clone()),
            Some(Node { kind: NodeKind::Directory, content: Some(content), .. }) => Self::Directory(content),
            Some(node) => Self::Single(Box::new(node)),
        })
    }
}

/// Restores a scope into the target; `None` in a dry run into nothing.
pub(super) fn restore_scope(context: &Context<'_>, scope: &Scope, target: Option<TargetDir>) -> Result<()> {
    let root = target.map(|directory| OpenDirectory::root(context, directory));
    let handle_limit = os::raise_open_file_limit();
    let filter = Filter::new(context.options)?;
    std::thread::scope(|threads| {
        let mut restorer = Restorer {
            context,
            filter,
            window: Window::first(),
            links: HashMap::new(),
            frames: vec![Frame::new(None, root.clone(), context)],
            root,
            directories_used: 0,
            handle_limit,
            running: VecDeque::new(),
            crew: Crew::start(context, threads),
        };
        let done = restorer.restore(scope);
        context.end(done)
    })
}

/// A directory of the snapshot that the walk is in.
struct Frame<'a> {
    /// Its node; `None` for the scope's own.
    node: Option<Node>,
    /// Its counterpart, once something is restored into it.
    open: Option<Arc<OpenDirectory<'a>>>,
    /// Names in the target that have not been met yet, if they are to be deleted.
    extra: Option<(Names, usize)>,
}

impl<'a> Frame<'a> {
    fn new(node: Option<Node>, open: Option<Arc<OpenDirectory<'a>>>, context: &Context<'_>) -> Self {
        let mut frame = Self { node, open, extra: None };
        frame.list_extra(context);
        frame
    }

    /// Remembers what is in the target, to delete what the snapshot doesn't have.
    fn list_extra(&mut self, context: &Context<'_>) {
        // What is beside a thing that is placed is none of the snapshot's business.
        if self.node.is_none() && context.options.place_as.is_some() {
            return;
        }
        let Some(open) = self.open.as_ref().filter(|open| context.options.delete && !open.directory.is_new()) else {
            return;
        };
        match open.directory.list() {
            Ok(names) => self.extra = Some((names, 0)),
            Err(error) => context.problems.add(b"/", error.to_string()),
        }
    }
}

struct Restorer<'a> {
    context: &'a Context<'a>,
    filter: Filter,
    window: Window<'a>,
    /// Where the first name of each file with several names is. Names of different kinds never belong together,
    /// whatever a hostile snapshot says.
    links: HashMap<(LinkGroup, NodeKind), Vec<u8>>,
    root: Option<Arc<OpenDirectory<'a>>>,
    /// From the scope to where the walk is.
    frames: Vec<Frame<'a>>,
    directories_used: usize,
    handle_limit: usize,
    /// Windows that the crew works on, the oldest first, and the links to make when they are done.
    running: VecDeque<(Finished<'a>, Vec<LinkState<'a>>)>,
    crew: Crew<'a>,
}

impl<'a> Restorer<'a> {
    fn restore(&mut self, scope: &Scope) -> Result<()> {
        match scope {
            Scope::Directory(content) => {
                walk(self.context.chunks, content, b"", &mut |path, visit| self.visit(path, visit))?;
                self.delete_rest(b"");
            }
            Scope::Single(node) => {
                let path = [b"/", node.name.as_slice()].concat();
                self.visit(&path, Visit::Node(&mut node.clone()))?;
            }
        }
        // Links that can't be made become files, and those go into another window.
        while !self.window.is_empty() || !self.running.is_empty() {
            self.execute_window()?;
            while !self.running.is_empty() {
                self.wait_for_oldest()?;
            }
        }
        Ok(())
    }

    fn visit(&mut self, path: &[u8], visit: Visit<'_>) -> Result<Descend> {
        self.context.stop_if_asked()?;
        match visit {
            Visit::Node(node) => self.node(path, node),
            Visit::Left => {
                self.delete_rest(path);
                self.frames.pop();
                Ok(Descend::Yes)
            }
            Visit::Damaged(error) => {
                let path = if path.is_empty() { b"/" } else { path };
                self.context.problems.add(path, format!("cannot read the directory listing: {error}"));
                // What is not known to be extra must not be deleted.
                if let Some(frame) = self.frames.last_mut() {
                    frame.extra = None;
                }
                Ok(Descend::Yes)
            }
        }
    }

    fn node(&mut self, path: &[u8], node: &mut Node) -> Result<Descend> {
        self.delete_before(path, &node.name);
        match (self.filter.judge(path, node.is_directory()), node.kind) {
            (Verdict::Unwanted, _) => return Ok(Descend::No),
            (Verdict::Below, _) => {
                self.frames.push(Frame { node: Some(node.clone()), open: None, extra: None });
                return Ok(Descend::Yes);
            }
            (Verdict::Wanted, NodeKind::Directory) => {
                self.frames.push(Frame { node: Some(node.clone()), open: None, extra: None });
                if !self.open_frames(path) {
                    self.frames.pop();
                    return Ok(Descend::No);
                }
                return Ok(Descend::Yes);
            }
            (Verdict::Wanted, _) => {}
        }
        if !self.open_frames(parent_of(path)) {
            return Ok(Descend::No);
        }
        match node.kind {
            NodeKind::File => self.file(path, node)?,
            _ => self.other(path, node),
        }
        if self.window.is_full(self.handle_limit, self.directories_used) {
            self.execute_window()?;
        }
        Ok(Descend::No)
    }

    /// Opens or makes the directories of the walk that aren't open yet. `false`: one can't be, which is a problem.
    fn open_frames(&mut self, path: &[u8]) -> bool {
        for depth in 1..self.frames.len() {
            if self.frames[depth].open.is_some() {
                continue;
            }
            let Some(above) = self.frames[depth - 1].open.clone() else {
                // A dry run into a directory that isn't there: everything would be new.
                return self.context.options.dry_run;
            };
            let node = self.frames[depth].node.clone().expect("only the scope's own frame has none");
            let path: Vec<u8> = components(path).take(depth).flat_map(|part| [b"/", part].concat()).collect();
            match self.open_directory(&above.directory, &node) {
                Ok(Some(directory)) => {
                    self.directories_used += 1;
                    let open = OpenDirectory::below(self.context, directory, &node, &path, above);
                    self.frames[depth].open = Some(open);
                    self.frames[depth].list_extra(self.context);
                }
                Ok(None) => return true,
                Err(error) => {
                    self.context.problems.add(&path, error.to_string());
                    return false;
                }
            }
        }
        true
    }

    /// `None` in a dry run where there is none.
    fn open_directory(&self, above: &TargetDir, node: &Node) -> Result<Option<TargetDir>> {
        if !self.context.options.dry_run {
            return above.make_directory(&node.name, true).map(Some);
        }
        match above.stat(&node.name)? {
            Some(stat) if stat.kind == NodeKind::Directory => above.open_directory(&node.name).map(Some),
            _ => Ok(None),
        }
    }

    fn above(&self) -> Option<Arc<OpenDirectory<'a>>> {
        self.frames.last().and_then(|frame| frame.open.clone())
    }

    /// Puts a file into the window, or its link if another name of it came before.
    fn file(&mut self, path: &[u8], node: &mut Node) -> Result<()> {
        let Some(above) = self.above() else {
            self.would_write(path, node);
            return Ok(());
        };
        let node = std::mem::replace(node, Node::new(Vec::new(), NodeKind::File, Metadata::default()));
        match self.known_link(path, &node) {
            Some(group) => self.window.links.push(LinkState { above, node, path: path.to_vec(), group }),
            None => self.add_file(above, path, node)?,
        }
        Ok(())
    }

    /// The group of a node of which another name came before; the first name of a group is remembered.
    fn known_link(&mut self, path: &[u8], node: &Node) -> Option<(LinkGroup, NodeKind)> {
        let group = (node.link_group()?, node.kind);
        if self.links.contains_key(&group) {
            return Some(group);
        }
        self.links.insert(group, path.to_vec());
        None
    }

    fn add_file(&mut self, above: Arc<OpenDirectory<'a>>, path: &[u8], mut node: Node) -> Result<()> {
        let chunks = match self.take_chunks(&mut node) {
            Ok(chunks) => chunks,
            Err(error) => {
                self.context.problems.add(path, format!("cannot be restored: {error}"));
                return Ok(());
            }
        };
        if self.window.room() < chunks.len() && !self.window.is_empty() {
            self.execute_window()?;
        }
        self.window.add(FileState::new(above, node, path.to_vec(), chunks));
        Ok(())
    }

    /// The chunks of a file and where they begin in its stream. Inline bytes stay in the node; references leave it.
    fn take_chunks(&self, node: &mut Node) -> Result<Vec<(u64, ChunkRef)>> {
        if matches!(node.content, None | Some(Content::Inline(_))) {
            return Ok(Vec::new());
        }
        let content = node.content.take().expect("just looked at");
        let direct = if let Content::Chunks(references) = &content { references.len() } else { 0 };
        let mut chunks = Vec::with_capacity(direct);
        let (mut offset, whole) = (0u64, node.stream_len());
        let mut add = |reference: ChunkRef| {
            chunks.push((offset, reference));
            offset += u64::from(reference.len);
            offset <= whole
        };
        if let Content::Chunks(references) = content {
            let _ = references.into_iter().all(&mut add);
        } else {
            let mut reader = ContentReader::new(self.context.chunks, &content);
            while let Some(reference) = reader.read_next()? {
                if !add(reference) {
                    break;
                }
            }
        }
        if offset != whole {
            return Err(EngineError::damaged("its chunks do not add up to its size"));
        }
        Ok(chunks)
    }

    /// Makes a link or a special file, or its link if another name of it came before.
    fn other(&mut self, path: &[u8], node: &Node) {
        let Some(above) = self.above() else {
            self.would_write(path, node);
            return;
        };
        match self.known_link(path, node) {
            Some(group) => self.window.links.push(LinkState { above, node: node.clone(), path: path.to_vec(), group }),
            None => self.make_other(&above, path, node),
        }
    }

    fn make_other(&self, above: &OpenDirectory<'_>, path: &[u8], node: &Node) {
        let directory = &above.directory;
        add(&self.context.counts.others, 1);
        let made = directory.stat(&node.name).and_then(|stat| {
            let same = stat.is_some_and(|stat| stat.kind == node.kind && self.is_same_other(directory, node, &stat));
            if self.context.options.dry_run || same {
                return Ok(());
            }
            self.context.problems.monitor().item(ItemAction::New, path, 0);
            if stat.is_some() {
                directory.remove_tree(&node.name)?;
            }
            match node.kind {
                NodeKind::Symlink => directory.symlink(&node.name, &node.target),
                kind => directory.special(&node.name, kind, node.rdev),
            }
        });
        match made {
            Ok(()) if self.context.options.dry_run => {}
            Ok(()) => {
                let problems = directory.apply_metadata(&node.name, &node.metadata, node.kind, &self.context.owners);
                problems.into_iter().for_each(|problem| self.context.problems.add(path, problem));
                let after = directory.stat(&node.name);
                if !after.is_ok_and(|stat| stat.is_some_and(|stat| self.is_same_other(directory, node, &stat))) {
                    let what = if node.kind == NodeKind::Symlink { "link target" } else { "device number" };
                    self.context.problems.add(path, format!("after the restore: {what} differs"));
                }
            }
            Err(error) => self.context.problems.add(path, error.to_string()),
        }
    }

    fn is_same_other(&self, directory: &TargetDir, node: &Node, stat: &crate::os::Stat) -> bool {
        match node.kind {
            NodeKind::Symlink => directory.read_link(&node.name).is_ok_and(|target| target == node.target),
            NodeKind::BlockDevice | NodeKind::CharDevice => stat.rdev == node.rdev,
            _ => true,
        }
    }

    /// What a dry run counts for something in a directory that isn't there.
    fn would_write(&self, path: &[u8], node: &Node) {
        let counts = &self.context.counts;
        self.context.problems.monitor().item(ItemAction::New, path, node.size);
        match node.kind {
            NodeKind::File => {
                add(&counts.files, 1);
                add(&counts.bytes, node.size);
                add(&counts.bytes_written, node.stream_len());
            }
            NodeKind::Directory => add(&counts.directories, 1),
            _ => add(&counts.others, 1),
        }
    }

    /// Hands the window to the crew, as soon as it has few enough.
    fn execute_window(&mut self) -> Result<()> {
        let next = self.window.next();
        let window = std::mem::replace(&mut self.window, next);
        self.directories_used = self.frames.len();
        if window.is_empty() {
            return Ok(());
        }
        self.running.push_back((self.crew.begin(window.files), window.links));
        while self.running.len() >= WINDOWS {
            self.wait_for_oldest()?;
        }
        Ok(())
    }

    /// Waits until a window is done, and makes its links.
    fn wait_for_oldest(&mut self) -> Result<()> {
        let Some((finished, links)) = self.running.pop_front() else { return Ok(()) };
        finished.wait();
        self.context.stop_if_asked()?;
        links.into_iter().try_for_each(|link| self.link(link))
    }

    /// Makes another name for a file that is there by now; a file of its own, if that can't be.
    fn link(&mut self, link: LinkState<'a>) -> Result<()> {
        let first = self.links.get(&link.group).cloned().unwrap_or_default();
        let is_file = link.node.kind == NodeKind::File;
        let counts = &self.context.counts;
        if let Ok(made) = self.try_link(&link, &first) {
            add(
                if !is_file {
                    &counts.others
                } else if made {
                    &counts.files
                } else {
                    &counts.files_unchanged
                },
                1,
            );
            self.context.problems.monitor().advance(1, 0);
            return Ok(());
        }
        self.context.problems.add(&link.path, "cannot be made a hard link; it is one of its own now");
        if is_file {
            return self.add_file(Arc::clone(&link.above), &link.path, link.node);
        }
        self.make_other(&link.above, &link.path, &link.node);
        Ok(())
    }

    /// Whether it had to be made, or would have to be in a dry run.
    fn try_link(&self, link: &LinkState<'_>, first: &[u8]) -> Result<bool> {
        let dry_run = self.context.options.dry_run;
        let root = self.root.as_ref().expect("links are made only where there is a target");
        let mut below: Option<TargetDir> = None;
        let parts: Vec<&[u8]> = components(first).collect();
        let (name, parents) = parts.split_last().expect("a path has a last part");
        for part in parents {
            match below.as_ref().unwrap_or(&root.directory).open_directory(part) {
                Err(_) if dry_run => return Ok(true),
                opened => below = Some(opened?),
            }
        }
        let from = below.as_ref().unwrap_or(&root.directory);
        let directory = &link.above.directory;
        let source = from.stat(name)?.map(|stat| stat.identity());
        match directory.stat(&link.node.name)? {
            Some(stat) if source == Some(stat.identity()) => return Ok(false),
            _ if dry_run => return Ok(true),
            Some(_) => directory.remove_tree(&link.node.name)?,
            None => {}
        }
        directory.hard_link(from, name, &link.node.name)?;
        let after = directory.stat(&link.node.name)?.map(|stat| stat.identity());
        if after != source {
            directory.remove(&link.node.name)?;
            return Err(EngineError::new(ErrorKind::Unsupported, "the file system made a copy instead of a hard link"));
        }
        Ok(true)
    }

    /// Deletes names of the target before `name`, which the snapshot doesn't have.
    fn delete_before(&mut self, path: &[u8], name: &[u8]) {
        let parent = parent_of(path).to_vec();
        while let Some(extra) = self.next_extra() {
            match extra.as_slice().cmp(name) {
                std::cmp::Ordering::Less => self.delete(&parent, &extra),
                std::cmp::Ordering::Equal => {}
                std::cmp::Ordering::Greater => break,
            }
            self.skip_extra();
        }
    }

    /// Deletes what is left in the directory that the walk leaves.
    fn delete_rest(&mut self, path: &[u8]) {
        while let Some(extra) = self.next_extra() {
            self.delete(path, &extra);
            self.skip_extra();
        }
    }

    fn next_extra(&self) -> Option<Vec<u8>> {
        let (names, next) = self.frames.last()?.extra.as_ref()?;
        names.get(*next).map(<[u8]>::to_vec)
    }

    fn skip_extra(&mut self) {
        if let Some((_, next)) = self.frames.last_mut().and_then(|frame| frame.extra.as_mut()) {
            *next += 1;
        }
    }

    fn delete(&self, parent: &[u8], name: &[u8]) {
        let Some(above) = self.above() else { return };
        let path = [parent, b"/", name].concat();
        let is_directory = matches!(above.directory.stat(name), Ok(Some(stat)) if stat.kind == NodeKind::Directory);
        if self.filter.judge(&path, is_directory) != Verdict::Wanted {
            return;
        }
        self.context.problems.monitor().item(ItemAction::Deleted, &path, 0);
        add(&self.context.counts.deleted, 1);
        if !self.context.options.dry_run
            && let Err(error) = above.directory.remove_tree(name)
        {
            self.context.problems.add(&path, error.to_string());
        }
    }
}

fn parent_of(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    &path[..end]
}
