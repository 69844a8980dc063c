//! Walks over real directories.

mod files;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::*;
use crate::clock::Timestamp;
use crate::error::ErrorKind;
use crate::model::{Extent, NodeKind};
use crate::monitor::{Monitor, Problem, ProblemLog};
use crate::os;

/// Keeps notes and problems.
#[derive(Default)]
struct Heard {
    notes: Mutex<Vec<String>>,
    problems: Mutex<Vec<Problem>>,
}

impl Monitor for Heard {
    fn note(&self, text: &str) {
        self.notes.lock().expect("no panic").push(text.to_owned());
    }

    fn problem(&self, problem: &Problem) {
        self.problems.lock().expect("no panic").push(problem.clone());
    }
}

/// A directory to walk over. Its files are named relative to it.
struct Scratch {
    directory: tempfile::TempDir,
    root: PathBuf,
}

impl Scratch {
    fn new(paths: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let root = directory.path().canonicalize().expect("it is there");
        let scratch = Self { directory, root };
        paths.iter().for_each(|path| scratch.make(path));
        scratch
    }

    /// A file that holds its name, or a directory if `path` ends with a slash.
    fn make(&self, path: &str) {
        let full = self.root.join(path);
        let directory = if path.ends_with('/') { &full } else { full.parent().expect("below the root") };
        fs::create_dir_all(directory).expect("writable");
        if !path.ends_with('/') {
            fs::write(&full, path).expect("writable");
        }
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.root.join(path), text).expect("writable");
    }

    fn bytes(&self, path: &str) -> Vec<u8> {
        match path {
            "" => self.root.clone().into_os_string().into_vec(),
            path => self.root.join(path).into_os_string().into_vec(),
        }
    }

    /// What a walk over `paths` tells, relative to the scratch directory: directories with a slash at the end. With a
    /// scout it must be the same as without.
    fn walk(&self, paths: &[&str], options: &ExcludeOptions) -> Walked {
        let paths: Vec<Vec<u8>> = paths.iter().map(|path| self.bytes(path)).collect();
        let rules = ExcludeRules::new(options).expect("the options are valid");
        let alone = self.walk_with(&paths, &rules, None);
        let scout = Scout::new(1024);
        let ahead = std::thread::scope(|scope| {
            (0..2).for_each(|_| drop(scope.spawn(|| scout.run())));
            let _end = scout.end();
            self.walk_with(&paths, &rules, Some(&scout))
        });
        assert_eq!(alone, ahead);
        // Without anybody who runs ahead, a walk does what it announced itself.
        assert_eq!(alone, self.walk_with(&paths, &rules, Some(&Scout::new(1024))));
        alone
    }

    fn walk_with(&self, paths: &[Vec<u8>], rules: &ExcludeRules, scout: Option<&Scout>) -> Walked {
        let heard = Heard::default();
        let problems = ProblemLog::new(&heard);
        let walked = {
            let mut walker = Walker::new(paths, rules, &problems).expect("the paths are absolute");
            if let Some(scout) = scout {
                walker = walker.with_scout(scout);
            }
            run(&mut walker, &self.bytes(""))
        };
        drop(problems);
        walked.heard(heard, &self.bytes(""))
    }
}

#[derive(Debug, PartialEq)]
struct Walked {
    told: Vec<String>,
    notes: Vec<String>,
    problems: Vec<String>,
}

impl Walked {
    fn heard(mut self, heard: Heard, root: &[u8]) -> Self {
        let root = String::from_utf8_lossy(root).into_owned();
        let notes = heard.notes.into_inner().expect("no panic");
        self.notes = notes.iter().map(|note| note.replace(&root, "")).collect();
        let problems = heard.problems.into_inner().expect("no panic");
        self.problems = problems
            .iter()
            .map(|problem| format!("{}: {}", String::from_utf8_lossy(&problem.path), problem.message))
            .map(|problem| problem.replace(&root, ""))
            .collect();
        self
    }
}

/// Runs a walk to its end and checks that it is well-formed: parents around children, names ascending.
fn run(walker: &mut Walker<'_>, root: &[u8]) -> Walked {
    let mut told = Vec::new();
    let mut open: Vec<(Vec<u8>, Option<Vec<u8>>)> = vec![(b"/".to_vec(), None)];
    while let Some(event) = walker.next() {
        let (entry, is_directory) = match event {
            WalkEvent::Leave => {
                open.pop().expect("more left than entered");
                continue;
            }
            WalkEvent::Enter(entry) => (entry, true),
            WalkEvent::Item(entry) => (entry, false),
        };
        assert_eq!(entry.node.is_directory(), is_directory);
        let (parent, last) = open.last_mut().expect("the root is never left");
        assert_eq!(*entry.path(), paths::join(parent, &entry.node.name));
        assert!(last.as_ref().is_none_or(|last| *last < entry.node.name), "names ascend");
        *last = Some(entry.node.name.clone());
        if let Some(relative) = entry.path().strip_prefix(root).and_then(|path| path.strip_prefix(b"/")) {
            let slash = if is_directory { "/" } else { "" };
            told.push(format!("{}{slash}", String::from_utf8_lossy(relative)));
        }
        if is_directory {
            open.push((entry.path().into_owned(), None));
        }
    }
    assert_eq!(open.len(), 1, "all that was entered was left");
    assert!(walker.next().is_none(), "the end is the end");
    Walked { told, notes: Vec::new(), problems: Vec::new() }
}

fn options() -> ExcludeOptions {
    ExcludeOptions::default()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn entries(scratch: &Scratch, path: &str) -> Vec<Entry> {
    let rules = ExcludeRules::default();
    let heard = Heard::default();
    let problems = ProblemLog::new(&heard);
    let mut walker = Walker::new(&[scratch.bytes(path)], &rules, &problems).expect("absolute");
    let mut entries = Vec::new();
    while let Some(event) = walker.next() {
        if let WalkEvent::Enter(entry) | WalkEvent::Item(entry) = event {
            entries.push(entry);
        }
    }
    assert_eq!(problems.count(), 0);
    entries
}

fn file_entry(scratch: &Scratch, path: &str) -> Entry {
    entries(scratch, path).pop().expect("the file is the last")
}

fn read_all(file: &mut SourceFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1000];
    loop {
        match file.read(&mut buffer).expect("readable") {
            0 => return bytes,
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

#[test]
fn a_directory_of_many_blocks_is_walked_in_order() {
    let scratch = Scratch::new(&[]);
    let mut expected = vec!["many/".to_owned()];
    for number in 0..3000 {
        let name = format!("many/{number:05}{}", if number % 700 == 0 { "/" } else { "" });
        scratch.make(&name);
        expected.push(name);
    }
    for below in ["many/00700/a", "many/02100/a", "many/02100/b/", "many/02100/b/c"] {
        scratch.make(below);
        expected.push(below.to_owned());
    }
    expected.sort_by(|a, b| a.trim_end_matches('/').cmp(b.trim_end_matches('/')));
    assert_eq!(scratch.walk(&["many"], &ExcludeOptions::default()).told, expected);
}

#[test]
fn everything_comes_in_order() {
    let scratch = Scratch::new(&["b/x", "b/y/z", "a", "b.c", "empty/"]);
    let walked = scratch.walk(&[""], &options());
    assert_eq!(walked.told, ["a", "b/", "b/x", "b/y/", "b/y/z", "b.c", "empty/"]);
    assert!(walked.notes.is_empty() && walked.problems.is_empty(), "{walked:?}");
}

#[test]
fn paths_are_merged_and_only_what_was_named_comes() {
    let scratch = Scratch::new(&["a/1", "a/2/x", "a/3", "b/1", "c/d/e/f", "c/d/g"]);
    let walked = scratch.walk(&["c/d/e", "a/2", "a", "b/1", "a/2/x"], &options());
    assert_eq!(walked.told, ["a/", "a/1", "a/2/", "a/2/x", "a/3", "b/", "b/1", "c/", "c/d/", "c/d/e/", "c/d/e/f"]);
    assert!(walked.problems.is_empty());
}

#[test]
fn directories_above_have_their_real_metadata() {
    let scratch = Scratch::new(&["above/f"]);
    fs::set_permissions(scratch.root.join("above"), fs::Permissions::from_mode(0o711)).expect("ours");
    let found = entries(&scratch, "above/f");
    for entry in &found {
        let path = entry.path();
        let path = Path::new(OsStr::from_bytes(&path));
        let expected = fs::symlink_metadata(path).expect("there");
        let metadata = &entry.node.metadata;
        assert_eq!(metadata.mode, expected.mode() & 0o7777);
        assert_eq!((metadata.uid, metadata.gid), (expected.uid(), expected.gid()));
        assert_eq!((metadata.device, metadata.inode), (Some(expected.dev()), Some(expected.ino())));
        assert_eq!(metadata.mtime, Timestamp::new(expected.mtime(), expected.mtime_nsec() as u32));
        entry.xattrs().expect("readable");
    }
    assert_eq!(found[found.len() - 2].node.metadata.mode, 0o711);
    assert_eq!(found.last().map(|entry| entry.node.size), Some(7));
}

#[test]
fn what_does_not_exist_is_a_problem_and_no_end() {
    let scratch = Scratch::new(&["a/f", "b"]);
    let walked = scratch.walk(&["a", "a/missing/deep", "nothing", "b", "b/below"], &options());
    assert_eq!(walked.told, ["a/", "a/f", "b"]);
    assert_eq!(walked.problems.len(), 3, "{walked:?}");
    assert_eq!(walked.problems[0], "/a/missing/deep: does not exist");
    assert_eq!(walked.problems[1], "/b/below: is below something that is not a directory");
    assert_eq!(walked.problems[2], "/nothing: does not exist");
}

#[test]
fn links_are_links_below_and_ways_above() {
    let scratch = Scratch::new(&["real/dir/f", "real/g"]);
    symlink("real", scratch.root.join("way")).expect("writable");
    symlink("nowhere\u{e9}", scratch.root.join("dangling")).expect("writable");
    let walked = scratch.walk(&["way/dir", "dangling"], &options());
    assert_eq!(walked.told, ["dangling", "way/", "way/dir/", "way/dir/f"]);
    assert!(walked.problems.is_empty() && walked.notes.len() == 2, "{walked:?}");
    let walked = scratch.walk(&["", "way/dir"], &options());
    assert_eq!(walked.told, ["dangling", "real/", "real/dir/", "real/dir/f", "real/g", "way"]);
    assert_eq!(walked.problems, ["/way/dir: is behind a symbolic link that is stored as such"]);
    let link = file_entry(&scratch, "dangling");
    assert_eq!(link.node.kind, NodeKind::Symlink);
    assert_eq!(link.node.target, "nowhere\u{e9}".as_bytes());
    assert_eq!(link.open().map(drop).map_err(|error| error.kind()), Err(ErrorKind::Invalid));
    let through = entries(&scratch, "way/dir");
    let way = through.iter().find(|entry| entry.node.name == b"way").expect("told");
    assert_eq!(way.node.metadata.inode, Some(fs::metadata(scratch.root.join("real")).expect("there").ino()));
    way.xattrs().expect("those of the directory");
}

#[test]
fn names_that_are_not_utf8_come_as_they_are() {
    let scratch = Scratch::new(&[]);
    let name = OsStr::from_bytes(b"\xff\xfe \n\\");
    fs::create_dir(scratch.root.join(name)).expect("writable");
    fs::write(scratch.root.join(name).join(name), b"x").expect("writable");
    let options = ExcludeOptions { patterns: texts(&["*.tmp"]), ..options() };
    assert_eq!(scratch.walk(&[""], &options).told.len(), 2);
    let mut entry = file_entry(&scratch, "");
    assert_eq!(entry.node.name, b"\xff\xfe \n\\");
    assert_eq!(read_all(&mut entry.open().expect("readable")), b"x");
    entry.node.name.clear();
}

#[test]
fn excluded_files_and_directories_do_not_come() {
    let scratch = Scratch::new(&["a/keep.tmp", "a/x.tmp", "a/build/x", "b/build", "c/big", "c/small", "top"]);
    scratch.write("c/big", &"x".repeat(5000));
    let top = format!("{}/top", scratch.root.display());
    let options = ExcludeOptions {
        patterns: texts(&["*.tmp", "!keep.tmp", "build/", &top]),
        exclude_larger_than: Some(4999),
        ..options()
    };
    let walked = scratch.walk(&[""], &options);
    assert_eq!(walked.told, ["a/", "a/keep.tmp", "b/", "b/build", "c/", "c/small"]);
    let walked = scratch.walk(&["a/build/x", "a/x.tmp", "a"], &options);
    assert_eq!(walked.told, ["a/", "a/build/", "a/build/x", "a/keep.tmp"], "what was named comes, not what is beside");
    assert_eq!(walked.notes, ["/a/x.tmp: was named, but is excluded"]);
}

#[test]
fn patterns_do_not_match_directories_above_what_was_named() {
    let scratch = Scratch::new(&["build/project/f", "build/project/build/g"]);
    let options = ExcludeOptions { patterns: texts(&["build/"]), ..options() };
    let walked = scratch.walk(&["build/project"], &options);
    assert_eq!(walked.told, ["build/", "build/project/", "build/project/f"]);
}

#[test]
fn pattern_files_have_comments_and_lines() {
    let scratch = Scratch::new(&["d/a.o", "d/b.c", "d/#x"]);
    scratch.write("patterns", "\u{feff}# objects\n\n*.o\n\\#x\n");
    let options = ExcludeOptions { pattern_files: vec![scratch.root.join("patterns")], ..options() };
    assert_eq!(scratch.walk(&["d"], &options).told, ["d/", "d/b.c"]);
    scratch.write("patterns", "ok\na{b\n");
    let error = ExcludeRules::new(&options).expect_err("an alternative without end");
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("line 2"), "{error}");
}

#[test]
fn ignore_files_nest_as_in_git() {
    let scratch = Scratch::new(&[
        "p/.repoignore",
        "p/a.log",
        "p/keep.log",
        "p/sub/.repoignore",
        "p/sub/a.log",
        "p/sub/b.txt",
        "p/sub/deep/b.txt",
        "p/anchored",
        "p/sub/anchored",
        "p/out/.repoignore",
        "p/out/x",
        "outside.log",
    ]);
    scratch.write("p/.repoignore", "*.log\n!keep.log\n/anchored\nout/\n");
    scratch.write("p/sub/.repoignore", "!a.log\nb.txt\n");
    scratch.write("p/out/.repoignore", "!x\n");
    let options = ExcludeOptions { ignore_files: texts(&[".repoignore"]), ..options() };
    let expected = [
        "outside.log",
        "p/",
        "p/.repoignore",
        "p/keep.log",
        "p/sub/",
        "p/sub/.repoignore",
        "p/sub/a.log",
        "p/sub/anchored",
        "p/sub/deep/",
    ];
    assert_eq!(scratch.walk(&[""], &options).told, expected);
    let stronger = ExcludeOptions { patterns: texts(&["keep.log", "!/**/p/a.log"]), ..options };
    let told = scratch.walk(&[""], &stronger).told;
    assert!(!told.contains(&"p/keep.log".to_owned()) && told.contains(&"p/a.log".to_owned()), "{told:?}");
}

#[test]
fn marked_directories_keep_nothing_but_the_mark() {
    let scratch = Scratch::new(&[
        "cache/CACHEDIR.TAG",
        "cache/x/y",
        "fake/CACHEDIR.TAG",
        "fake/x",
        "no/.nobackup",
        "no/x",
        "head/M",
        "head/x",
        "other/M",
        "other/x",
    ]);
    scratch.write("cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# comment");
    scratch.write("head/M", "yes and more");
    let options =
        ExcludeOptions { exclude_caches: true, exclude_if_present: texts(&[".nobackup", "M:yes"]), ..options() };
    let walked = scratch.walk(&[""], &options);
    let expected = [
        "cache/",
        "cache/CACHEDIR.TAG",
        "fake/",
        "fake/CACHEDIR.TAG",
        "fake/x",
        "head/",
        "head/M",
        "no/",
        "no/.nobackup",
        "other/",
        "other/M",
        "other/x",
    ];
    assert_eq!(walked.told, expected);
    let told = scratch.walk(&["", "cache/x/y"], &options).told;
    assert_eq!(told[..4], ["cache/", "cache/CACHEDIR.TAG", "cache/x/", "cache/x/y"], "what was named comes");
}

#[test]
fn the_repository_is_never_read() {
    let scratch = Scratch::new(&["a/repository/config", "a/x"]);
    let stat = fs::metadata(scratch.root.join("a/repository")).expect("there");
    let options = ExcludeOptions { skip: vec![(stat.dev(), stat.ino())], ..options() };
    let walked = scratch.walk(&["", "a/repository"], &options);
    assert_eq!(walked.told, ["a/", "a/x"]);
    assert_eq!(walked.notes.len(), 1);
    assert!(walked.problems.is_empty());
}

#[test]
fn other_file_systems_stay_empty_unless_named() {
    let root = fs::metadata("/").expect("there").dev();
    if fs::metadata("/proc").expect("Linux").dev() == root {
        return;
    }
    let rules = ExcludeRules::new(&ExcludeOptions { one_file_system: true, ..options() }).expect("valid");
    let heard = Heard::default();
    let problems = ProblemLog::new(&heard);
    let walk = |paths: &[&[u8]]| {
        let paths: Vec<_> = paths.iter().map(|path| path.to_vec()).collect();
        let mut walker = Walker::new(&paths, &rules, &problems).expect("absolute");
        let (mut in_proc, mut proc) = (0, 0);
        while let Some(event) = walker.next() {
            if let WalkEvent::Enter(entry) | WalkEvent::Item(entry) = event {
                proc += u32::from(*entry.path() == *b"/proc");
                in_proc += u32::from(entry.path().starts_with(b"/proc/"));
                // The machine's files are not ours to walk over.
                if entry.node.is_directory() && *entry.path() != *b"/proc" {
                    walker.skip_directory();
                }
            }
        }
        (proc, in_proc)
    };
    assert_eq!(walk(&[b"/"]), (1, 0));
    let (proc, in_proc) = walk(&[b"/", b"/proc"]);
    assert!(proc == 1 && in_proc > 10, "{in_proc}");
    assert_eq!(walk(&[b"/", b"/proc/self/status"]).1, 1, "a directory that is skipped, then");
}

#[test]
fn a_skipped_directory_is_neither_read_nor_left() {
    let scratch = Scratch::new(&["a/x", "b"]);
    let rules = ExcludeRules::default();
    let heard = Heard::default();
    let problems = ProblemLog::new(&heard);
    let mut walker = Walker::new(&[scratch.bytes("")], &rules, &problems).expect("absolute");
    let mut told = Vec::new();
    while let Some(event) = walker.next() {
        match event {
            WalkEvent::Enter(entry) if *entry.path() == scratch.bytes("a") => {
                walker.skip_directory();
                told.push("a");
            }
            WalkEvent::Item(entry) => {
                assert_eq!(*entry.path(), scratch.bytes("b"));
                told.push("b");
            }
            WalkEvent::Enter(_) | WalkEvent::Leave => {}
        }
    }
    assert_eq!(told, ["a", "b"]);
}

#[test]
fn a_tree_of_3000_levels_is_walked_with_few_handles() {
    let scratch = Scratch::new(&[]);
    let mut above = os::Directory::open_path_following(&scratch.root).expect("there");
    for _ in 0..3000 {
        above.make_directory(b"a-directory").expect("writable");
        above.create_file(b"z-file", 0o600).expect("writable");
        above = above.open_directory(b"a-directory", false).expect("just made");
    }
    let walked = scratch.walk(&[""], &options());
    assert_eq!(walked.told.len(), 6000);
    assert!(walked.problems.is_empty() && walked.notes.is_empty());
    assert_eq!(walked.told[5999], "z-file", "the way back is complete");
    let target = crate::target::Target::open(&scratch.root, false).expect("there");
    target.remove_tree(b"a-directory").expect("ours");
    assert_eq!(target.list().expect("readable").len(), 1);
}

#[test]
fn a_source_is_placed_elsewhere() {
    let scratch = Scratch::new(&["data/x/f", "data/g.tmp"]);
    let pattern = format!("{}/data/*.tmp", scratch.root.display());
    let rules = ExcludeRules::new(&ExcludeOptions { patterns: vec![pattern], ..options() }).expect("valid");
    for (source, at, expected) in [
        ("data", "/srv/new", vec!["srv/", "srv/new/", "srv/new/x/", "srv/new/x/f"]),
        ("data/x/f", "/srv/g", vec!["srv/", "srv/g"]),
        ("data", "/", vec!["x/", "x/f"]),
        ("data", "/data", vec!["data/", "data/x/", "data/x/f"]),
        ("data/x/f", "/", vec![]),
        ("missing", "/a/b", vec!["a/"]),
    ] {
        let heard = Heard::default();
        let problems = ProblemLog::new(&heard);
        let mut walker = Walker::new_at(&scratch.bytes(source), at.as_bytes(), &rules, &problems).expect("absolute");
        assert_eq!(run(&mut walker, b"").told, expected, "{source} at {at}");
        let wrong = source == "missing" || expected.is_empty();
        drop(walker);
        assert_eq!(problems.count(), u64::from(wrong), "{source} at {at}: {:?}", problems.finish());
    }
    let heard = Heard::default();
    let problems = ProblemLog::new(&heard);
    let mut walker = Walker::new_at(&scratch.bytes("data/x/f"), b"/s/t", &rules, &problems).expect("absolute");
    let Some(WalkEvent::Enter(above)) = walker.next() else { panic!("the directory above comes first") };
    assert_eq!((above.node.metadata.mode, above.node.metadata.mtime), (0o755, Timestamp::default()));
    assert_eq!(above.xattrs().expect("none"), []);
    let Some(WalkEvent::Item(file)) = walker.next() else { panic!("then the file") };
    assert_eq!((&*file.path(), file.node.name.as_slice()), (b"/s/t".as_slice(), b"t".as_slice()));
    assert_eq!(*file.source_path(), scratch.bytes("data/x/f"));
    assert_eq!(read_all(&mut file.open().expect("readable")), b"data/x/f");
    file.xattrs().expect("readable");
}

#[test]
fn relative_paths_and_no_path_are_refused() {
    let rules = ExcludeRules::default();
    let heard = Heard::default();
    let problems = ProblemLog::new(&heard);
    for wrong in [vec![], vec![b"a".to_vec()], vec![b"/a".to_vec(), b"".to_vec()]] {
        let refused = Walker::new(&wrong, &rules, &problems).map(drop).map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::Invalid));
    }
    assert!(Walker::new_at(b"a", b"/b", &rules, &problems).is_err());
    assert!(Walker::new_at(b"/a", b"b", &rules, &problems).is_err());
}

#[test]
fn special_files_come_and_a_fifo_does_not_block() {
    let scratch = Scratch::new(&["f"]);
    let directory = os::Directory::open_path_following(&scratch.root).expect("there");
    directory.make_special(b"fifo", NodeKind::Fifo, 0).expect("everybody may");
    directory.make_special(b"socket", NodeKind::Socket, 0).expect("everybody may");
    fs::hard_link(scratch.root.join("f"), scratch.root.join("g")).expect("same file system");
    let found = entries(&scratch, "");
    let kind = |name: &[u8]| found.iter().find(|entry| entry.node.name == name).expect("told").node.kind;
    assert_eq!(kind(b"fifo"), NodeKind::Fifo);
    assert_eq!(kind(b"socket"), NodeKind::Socket);
    let groups: Vec<_> = found.iter().filter_map(|entry| entry.node.link_group()).collect();
    assert_eq!(groups.len(), 2);
    assert_eq!(groups[0], groups[1]);
    // A fifo that takes the place of a file: opening must not wait for a writer.
    let entry = file_entry(&scratch, "f");
    fs::remove_file(scratch.root.join("f")).expect("ours");
    fs::rename(scratch.root.join("fifo"), scratch.root.join("f")).expect("ours");
    let error = entry.open().expect_err("no longer a file");
    assert_eq!(error.kind(), ErrorKind::Io);
    fs::remove_file(scratch.root.join("f")).expect("ours");
    symlink("g", scratch.root.join("f")).expect("writable");
    entry.open().expect_err("a link is not followed");
}

#[test]
fn what_can_not_be_read_is_a_problem() {
    if os::host::effective_uid() == 0 {
        return;
    }
    let scratch = Scratch::new(&["a/locked/f", "a/secret", "z"]);
    for path in ["a/locked", "a/secret"] {
        fs::set_permissions(scratch.root.join(path), fs::Permissions::from_mode(0o000)).expect("ours");
    }
    let walked = scratch.walk(&["", "a/locked/f"], &options());
    assert_eq!(walked.told, ["a/", "a/locked/", "a/secret", "z"]);
    assert_eq!(walked.problems.len(), 2, "{walked:?}");
    assert!(walked.problems[0].starts_with("/a/locked: cannot read the directory"), "{walked:?}");
    let error = file_entry(&scratch, "a/secret").open().expect_err("it can't be read");
    assert!(error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied));
    fs::set_permissions(scratch.root.join("a/locked"), fs::Permissions::from_mode(0o311)).expect("ours");
    let walked = scratch.walk(&["a/locked/f"], &options());
    assert_eq!(walked.told, ["a/", "a/locked/", "a/locked/f"], "what one may enter, one may go through");
    fs::set_permissions(scratch.root.join("a/locked"), fs::Permissions::from_mode(0o700)).expect("ours");
}

#[test]
fn what_vanishes_is_a_note() {
    let scratch = Scratch::new(&["a/x", "b"]);
    let rules = ExcludeRules::default();
    let heard = Heard::default();
    let problems = ProblemLog::new(&heard);
    let mut walker = Walker::new(&[scratch.bytes("")], &rules, &problems).expect("absolute");
    let mut late = None;
    while let Some(event) = walker.next() {
        match event {
            WalkEvent::Enter(entry) if *entry.path() == scratch.bytes("a") => {
                fs::remove_dir_all(scratch.root.join("a")).expect("ours");
                fs::remove_file(scratch.root.join("b")).expect("ours");
            }
            WalkEvent::Item(entry) if *entry.path() == scratch.bytes("b") => late = Some(entry),
            _ => {}
        }
    }
    assert_eq!(problems.count(), 0);
    assert_eq!(heard.notes.lock().expect("no panic").len(), 1);
    // It was looked at before it went; whoever reads it finds out.
    let error = late.expect("told").open().expect_err("gone");
    assert_eq!(error.io_error().map(std::io::Error::kind), Some(std::io::ErrorKind::NotFound));
}
