//! What a person does not want in the snapshot.

use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::ignore_file::IgnoreLevel;
use crate::error::{EngineError, ErrorKind, Result};
use crate::limits::MIB;
use crate::model::NodeKind;
use crate::os::{self, Directory, Names, Stat};

/// Length in bytes of the longest pattern file.
const PATTERN_FILE_BYTES: u64 = 64 * MIB;

/// The first bytes of a `CACHEDIR.TAG`, as <https://bford.info/cachedir/> says.
const CACHE_TAG_HEADER: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// What to leave out, as the person says it.
#[derive(Debug, Clone, Default)]
pub struct ExcludeOptions {
    /// Patterns in the syntax of gitignore, matched against absolute paths of the source: `*.tmp` anywhere,
    /// `/home/x/y` there only, a slash at the end for directories only, `!` to take back an earlier one. Only paths
    /// that were named and what is below them are matched, not the directories above.
    pub patterns: Vec<String>,
    /// Further sets of patterns, each matched against paths relative to a directory. A set leaves out what it says,
    /// whatever the others take back.
    pub rooted: Vec<(PathBuf, Vec<String>)>,
    /// Files with one such pattern a line, with comments; in effect before `patterns`.
    pub pattern_files: Vec<PathBuf>,
    /// `NAME` or `NAME:HEADER`: of a directory with a file NAME (that begins with HEADER), nothing is kept but the
    /// directory and that file.
    pub exclude_if_present: Vec<String>,
    /// The same for directories marked as a cache by a `CACHEDIR.TAG` with the right header.
    pub exclude_caches: bool,
    /// Names of files in the syntax of gitignore that are read in each directory, and concern it and what is below.
    pub ignore_files: Vec<String>,
    /// Leave directories empty that another file system is mounted on, unless they were named.
    pub one_file_system: bool,
    /// Leave out files that are larger, in bytes.
    pub exclude_larger_than: Option<u64>,
    /// Device and inode of directories that are left out wherever they are: the repository itself, the cache.
    pub skip: Vec<(u64, u64)>,
}

/// [`ExcludeOptions`], checked and compiled.
#[derive(Debug)]
pub struct ExcludeRules {
    patterns: Gitignore,
    rooted: Vec<Gitignore>,
    markers: Vec<Marker>,
    pub(super) ignore_files: Vec<Vec<u8>>,
    pub(super) one_file_system: bool,
    exclude_larger_than: Option<u64>,
    skip: Vec<(u64, u64)>,
}

/// A file that marks a directory as not wanted.
#[derive(Debug)]
struct Marker {
    name: Vec<u8>,
    header: Vec<u8>,
}

impl Default for ExcludeRules {
    fn default() -> Self {
        Self {
            patterns: Gitignore::empty(),
            rooted: Vec::new(),
            markers: Vec::new(),
            ignore_files: Vec::new(),
            one_file_system: false,
            exclude_larger_than: None,
            skip: Vec::new(),
        }
    }
}

impl ExcludeRules {
    /// Reads the pattern files and compiles everything.
    ///
    /// # Errors
    /// `Io` if a pattern file can't be read; `Invalid` if a pattern, or a name of a file, isn't one.
    pub fn new(options: &ExcludeOptions) -> Result<Self> {
        let mut rooted = Vec::new();
        for (root, patterns) in options.rooted.iter().filter(|(_, patterns)| !patterns.is_empty()) {
            rooted.push(compile(GitignoreBuilder::new(root), patterns)?);
        }
        let mut builder = GitignoreBuilder::new("/");
        for path in &options.pattern_files {
            let bytes = os::file::read_path_following(path, PATTERN_FILE_BYTES)
                .map_err(|error| EngineError::io("read pattern file", path, error))?;
            let origin = format!("pattern file {}", path.display());
            let text = std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes))
                .map_err(|error| EngineError::with_source(ErrorKind::Invalid, origin.as_str(), error))?;
            for (number, line) in text.lines().enumerate() {
                add(&mut builder, line, || format!("{origin}, line {}", number + 1))?;
            }
        }
        let patterns = compile(builder, &options.patterns)?;
        let mut markers = Vec::new();
        for text in &options.exclude_if_present {
            let (name, header) = text.split_once(':').unwrap_or((text, ""));
            markers.push(Marker { name: plain_name(name)?, header: header.as_bytes().to_vec() });
        }
        if options.exclude_caches {
            markers.push(Marker { name: b"CACHEDIR.TAG".to_vec(), header: CACHE_TAG_HEADER.to_vec() });
        }
        Ok(Self {
            patterns,
            rooted,
            markers,
            ignore_files: options.ignore_files.iter().map(|name| plain_name(name)).collect::<Result<_>>()?,
            one_file_system: options.one_file_system,
            exclude_larger_than: options.exclude_larger_than,
            skip: options.skip.clone(),
        })
    }

    /// Whether a pattern, or an ignore file above, leaves out what is at `path`. The command line has the last word,
    /// then the deepest ignore file.
    pub(super) fn excludes(&self, path: &Path, is_directory: bool, ignore: Option<&IgnoreLevel>) -> bool {
        let is_below = |set: &Gitignore| path.starts_with(set.path()) && path != set.path();
        if self.rooted.iter().any(|set| is_below(set) && set.matched(path, is_directory).is_ignore()) {
            return true;
        }
        match self.patterns.matched(path, is_directory) {
            Match::Ignore(_) => true,
            Match::Whitelist(_) => false,
            Match::None => ignore.is_some_and(|level| level.excludes(path, is_directory)),
        }
    }

    /// Whether no file is left out, but for what ignore files say.
    pub(super) fn leaves_nothing_out(&self) -> bool {
        self.patterns.is_empty() && self.rooted.is_empty() && self.exclude_larger_than.is_none()
    }

    /// Whether it is left out for its size.
    pub(super) fn is_too_large(&self, stat: &Stat) -> bool {
        stat.kind == NodeKind::File && self.exclude_larger_than.is_some_and(|most| stat.size > most)
    }

    /// Whether it must never be read.
    pub(super) fn is_skipped(&self, stat: &Stat) -> bool {
        stat.kind == NodeKind::Directory && self.skip.contains(&stat.identity())
    }

    /// Names of the files that mark `directory` as not wanted. Empty: it is wanted.
    pub(super) fn markers_in(&self, directory: &Directory, names: &Names) -> Vec<&[u8]> {
        self.markers
            .iter()
            .filter(|marker| names.contains(&marker.name) && marker.has_header(directory))
            .map(|marker| marker.name.as_slice())
            .collect()
    }
}

impl Marker {
    /// A marker that can't be read is none: rather a cache too much than a directory too little.
    fn has_header(&self, directory: &Directory) -> bool {
        if self.header.is_empty() {
            return true;
        }
        let Ok(file) = directory.open_file(&self.name, false) else {
            return false;
        };
        let mut start = vec![0; self.header.len()];
        let is_file = file.stat().is_ok_and(|stat| stat.kind == NodeKind::File);
        is_file && file.read_at(&mut start, 0).is_ok_and(|len| start[..len] == *self.header)
    }
}

fn compile(mut builder: GitignoreBuilder, patterns: &[String]) -> Result<Gitignore> {
    for pattern in patterns {
        // In a file, this would be a comment; elsewhere nobody writes those, but `#*#` is a pattern.
        let escaped = if pattern.starts_with('#') { format!("\\{pattern}") } else { pattern.clone() };
        add(&mut builder, &escaped, || format!("pattern {pattern}"))?;
    }
    builder.build().map_err(|error| EngineError::with_source(ErrorKind::Invalid, "cannot compile the patterns", error))
}

fn add(builder: &mut GitignoreBuilder, line: &str, origin: impl FnOnce() -> String) -> Result<()> {
    match builder.add_line(None, line) {
        Ok(_) => Ok(()),
        Err(error) => Err(EngineError::with_source(ErrorKind::Invalid, origin(), error)),
    }
}

fn plain_name(name: &str) -> Result<Vec<u8>> {
    if !crate::model::is_valid_name(name.as_bytes()) {
        return Err(EngineError::new(ErrorKind::Invalid, format!("{name:?} is not the name of a file")));
    }
    Ok(name.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(patterns: &[&str]) -> ExcludeRules {
        let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        ExcludeRules::new(&ExcludeOptions { patterns, ..ExcludeOptions::default() }).expect("the patterns are valid")
    }

    #[test]
    fn patterns_have_the_meaning_that_gitignore_gives_them() {
        let excluded = |patterns: &[&str], path: &str| {
            let (path, is_directory) = path.strip_suffix('/').map_or((path, false), |path| (path, true));
            rules(patterns).excludes(Path::new(path), is_directory, None)
        };
        assert!(excluded(&["*.tmp"], "/a/b/c.tmp"));
        assert!(!excluded(&["*.tmp"], "/a/b/c.tmp.d"));
        assert!(excluded(&["/a/b"], "/a/b"));
        assert!(!excluded(&["/a/b"], "/x/a/b"));
        assert!(excluded(&["a/b"], "/a/b") && !excluded(&["a/b"], "/x/a/b"), "a slash anchors at the root");
        assert!(excluded(&["**/a/b"], "/x/y/a/b"));
        assert!(excluded(&["build/"], "/x/build/") && !excluded(&["build/"], "/x/build"));
        assert!(!excluded(&["*.log", "!keep.log"], "/x/keep.log"));
        assert!(excluded(&["!keep.log", "*.log"], "/x/keep.log"), "the last one counts");
        assert!(excluded(&["#*#"], "/x/#draft#"));
        assert!(excluded(&["/home/*/.cache"], "/home/me/.cache/"));
        assert!(!excluded(&["/home/*/.cache"], "/home/me/you/.cache/"), "a star matches no slash");
        assert!(excluded(&["a\\*"], "/a*") && !excluded(&["a\\*"], "/ab"));
    }

    #[test]
    fn a_set_with_a_root_has_the_last_word_below_it() {
        let rooted = vec![
            (PathBuf::from("/srv/shop"), vec![".env".to_owned(), "secrets/**".into()]),
            (PathBuf::from("/srv/shop/data"), vec!["*.log".to_owned(), "/cache".into()]),
        ];
        let patterns = vec!["!.env".to_owned(), "!*.log".into()];
        let rules = ExcludeRules::new(&ExcludeOptions { patterns, rooted, ..ExcludeOptions::default() });
        let rules = rules.expect("the patterns are valid");
        assert!(!rules.leaves_nothing_out());
        for (path, out) in [
            ("/srv/shop/.env", true),
            ("/srv/shop/data/x/.env", true),
            ("/srv/shop/secrets/key", true),
            ("/srv/shop/data/secrets/key", false),
            ("/srv/shop/data/x/a.log", true),
            ("/srv/shop/data/cache", true),
            ("/srv/shop/data/x/cache", false),
            ("/srv/shop/a.log", false),
        ] {
            assert_eq!(rules.excludes(Path::new(path), false, None), out, "{path}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for wrong in ["a{b", "[z-a]"] {
            let options = ExcludeOptions { patterns: vec![wrong.to_owned()], ..ExcludeOptions::default() };
            let error = ExcludeRules::new(&options).expect_err(wrong);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong}");
        }
        for wrong in ["", "a/b", ".."] {
            let options = ExcludeOptions { exclude_if_present: vec![wrong.to_owned()], ..ExcludeOptions::default() };
            assert_eq!(ExcludeRules::new(&options).map(drop).map_err(|error| error.kind()), Err(ErrorKind::Invalid));
        }
        let options = ExcludeOptions { pattern_files: vec!["/no/such/file".into()], ..ExcludeOptions::default() };
        assert_eq!(ExcludeRules::new(&options).map(drop).map_err(|error| error.kind()), Err(ErrorKind::Io));
    }
}
