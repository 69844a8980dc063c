//! The layers of ARCHITECTURE.md, enforced: a module imports its own rank and lower ones, only `os` names the
//! operating system, pure modules stay pure, nothing prints, and files and functions stay short.
//!
//! It reads the sources as tokens, not as Rust: paths, braces and attributes are all that it needs to know. A path
//! that a macro puts together would escape it; there are none. Test code (`#[cfg(test)]` items, and the files
//! [`TEST_FILES`] and [`TEST_MODULES`]) may name what it likes, and is only measured.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Every module of the crate root, and its rank.
const RANKS: [(&str, u8); 16] = [
    ("id", 0),
    ("model", 0),
    ("limits", 0),
    ("monitor", 0),
    ("clock", 0),
    ("error", 0),
    ("chunker", 1),
    ("compress", 1),
    ("crypto", 1),
    ("format", 1),
    ("os", 1),
    ("storage", 2),
    ("source", 2),
    ("target", 2),
    ("retention", 2),
    ("repository", 3),
];
/// What stands above all of these.
const TOP_RANKS: [(&str, u8); 2] = [("ops", 4), ("lib", 5)];

const TEST_FILES: [&str; 3] = ["tests.rs", "testing.rs", "conformance.rs"];
/// Modules of the crate root that are tests.
const TEST_MODULES: [&str; 2] = ["properties", "vectors"];

const FILE_LINES: usize = 620;
const FUNCTION_LINES: usize = 75;

/// What only some files may name: the path, and where (prefixes of file names).
const CONFINED: [(&str, &[&str]); 9] = [
    ("std::fs", &["os/"]),
    ("std::process", &["os/"]),
    ("std::env", &["os/"]),
    ("std::net", &[]),
    ("rustix", &["os/"]),
    ("uzers", &["os/"]),
    ("getrandom", &["crypto/random.rs"]),
    // `init` measures which cipher is faster, a restore which way of writing; a lock is waited for; what a cache
    // has not used for long makes room. What is done does not depend on it, and nothing else may know that time passes.
    ("std::time", &["crypto/segment.rs", "ops/restore/ways.rs", "os/cached.rs", "os/lock.rs"]),
    (
        "redb",
        &[
            "repository/store.rs",
            "repository/rows.rs",
            "repository/load.rs",
            "repository/index.rs",
            "repository/translation.rs",
            "repository/local_state.rs",
        ],
    ),
];

/// What pure modules must not name, and what of it they may: a position in a buffer is no input or output.
const IMPURE: [&str; 4] = ["std::io", "std::thread", "rayon", "crossbeam_channel"];
const PURE_AFTER_ALL: &str = "std::io::Cursor";
const PURE: [&str; 12] = [
    "chunker/",
    "compress.rs",
    "crypto/",
    "format/",
    "id.rs",
    "model/",
    "limits.rs",
    "clock.rs",
    "ops/bench/material.rs",
    "ops/bench/roofline.rs",
    "retention/",
    "ops/prune/plan.rs",
];

const PRINTING: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];

/// Objects leave a storage in these files only: a session's own intent, what a dead session left that was taken over, key
/// slots that a person takes away or that an interrupted `init` left, and what a prune sweeps: of packs and snapshots that
/// is the only place.
const REMOVING: [&str; 6] = [
    "repository/sessions.rs",
    "repository/adoption.rs",
    "ops/init.rs",
    "ops/keys.rs",
    "ops/rotate.rs",
    "ops/prune/sweep.rs",
];

#[test]
fn the_engine_keeps_its_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 50, "the sources are where they are looked for");
    let mut violations = String::new();
    for file in files {
        let name = file.strip_prefix(&root).expect("below it").to_str().expect("source names are text");
        let text = std::fs::read_to_string(&file).expect("a readable source");
        for violation in violations_in(name, &text) {
            writeln!(violations, "  {violation}").expect("a string takes all");
        }
    }
    assert!(violations.is_empty(), "\n{violations}");
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// What is wrong with the source `file`, named from `src/` on.
fn violations_in(file: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES {
        found.push(format!("{file}: {lines} lines, more than {FILE_LINES}"));
    }
    let tokens = tokens(text);
    for (name, line, lines) in functions(&tokens) {
        if lines > FUNCTION_LINES {
            found.push(format!("{file}:{line}: fn {name} has {lines} lines, more than {FUNCTION_LINES}"));
        }
    }
    if TEST_MODULES.contains(&top_module(file)) {
        return found;
    }
    if file.contains("/tests/") || TEST_FILES.contains(&file.rsplit('/').next().expect("at least one part")) {
        return found;
    }
    let tokens = without_tests(&tokens);
    if rank(top_module(file)).is_none() {
        found.push(format!("{file}: module {} has no rank", top_module(file)));
    }
    for (path, line) in paths(&tokens) {
        let mut report = |what: String| found.push(format!("{file}:{line}: {} {what}", path.join("::")));
        check_layer(file, &path, &mut report);
        check_purity(file, &path, &mut report);
    }
    for window in tokens.windows(2) {
        if PRINTING.contains(&window[0].text) && window[1].text == "!" {
            found.push(format!("{file}:{}: {}! prints", window[0].line, window[0].text));
        }
    }
    let removes = ["storage", "(", ")", ".", "remove"];
    for window in tokens.windows(removes.len()) {
        if window.iter().map(|token| token.text).eq(removes) && !is_in(file, &REMOVING) {
            found.push(format!("{file}:{}: removes an object", window[0].line));
        }
    }
    found
}

fn check_layer(file: &str, path: &[&str], report: &mut impl FnMut(String)) {
    let top = top_module(file);
    let Some(own) = rank(top) else { return };
    // `super` often enough is the crate's root, too.
    let depth = file.trim_end_matches("/mod.rs").trim_end_matches(".rs").split('/').count();
    let supers = path.iter().take_while(|part| **part == "super").count();
    let used = match path {
        ["crate", used, ..] => used,
        _ if top != "lib" && supers == depth && path.len() > supers => &path[supers],
        _ => return,
    };
    match rank(used) {
        Some(used) if used <= own => {}
        Some(used) => report(format!("is of rank {used}, used by rank {own}")),
        None => report("has no rank: name modules, not what the root exports".into()),
    }
}

fn top_module(file: &str) -> &str {
    file.split(['/', '.']).next().expect("at least one part")
}

fn rank(module: &str) -> Option<u8> {
    RANKS.iter().chain(&TOP_RANKS).find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

fn check_purity(file: &str, path: &[&str], report: &mut impl FnMut(String)) {
    let is = |prefix: &str| {
        let prefix: Vec<&str> = prefix.split("::").collect();
        path.starts_with(&prefix)
    };
    for (confined, places) in CONFINED {
        if is(confined) && !is_in(file, places) {
            report(format!("may be named in {places:?} only"));
        }
    }
    if is_in(file, &PURE) && IMPURE.into_iter().any(is) && !is(PURE_AFTER_ALL) {
        report("does not belong into a pure module".into());
    }
}

fn is_in(file: &str, places: &[&str]) -> bool {
    places.iter().any(|place| file.starts_with(place))
}

#[derive(Clone, Copy)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// Identifiers, `::` and single characters; comments and literals are left out.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        let start = at;
        at = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => find(bytes, at, b"\n").unwrap_or(bytes.len()),
            b'/' if bytes[at..].starts_with(b"/*") => find(bytes, at, b"*/").map_or(bytes.len(), |end| end + 2),
            b'"' => quoted_end(bytes, at),
            b'\'' => character_end(text, at),
            byte if byte.is_ascii_alphanumeric() || byte == b'_' => {
                let end = word_end(bytes, at);
                match raw_string_end(bytes, at, end) {
                    Some(end) => end,
                    None => {
                        tokens.push(Token { text: &text[at..end], line });
                        end
                    }
                }
            }
            b':' if bytes[at..].starts_with(b"::") => at + 2,
            byte if byte.is_ascii() => at + 1,
            _ => at + text[at..].chars().next().map_or(1, char::len_utf8),
        };
        let piece = &text[start..at];
        if piece == "::" || (piece.len() == 1 && piece.as_bytes()[0].is_ascii_punctuation() && piece != "_") {
            tokens.push(Token { text: piece, line });
        }
        line += piece.matches('\n').count();
    }
    tokens
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    bytes[from..].windows(what.len()).position(|window| window == what).map(|at| from + at)
}

fn word_end(bytes: &[u8], from: usize) -> usize {
    let len = bytes[from..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    from + len
}

/// The end of a string that begins with a quote at `from`.
fn quoted_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// The end of a character, or of the mark of a lifetime.
fn character_end(text: &str, from: usize) -> usize {
    let rest = &text[from + 1..];
    if rest.starts_with('\\') {
        return from + 3 + rest[2..].find('\'').map_or(0, |at| at + 1);
    }
    let mut characters = rest.chars();
    let len = characters.next().map_or(0, char::len_utf8);
    if characters.next() == Some('\'') { from + 2 + len } else { from + 1 }
}

/// The end of a string whose prefix (`r`, `b`, `br`, `c`) is the word at `from..end`.
fn raw_string_end(bytes: &[u8], from: usize, end: usize) -> Option<usize> {
    let prefix = &bytes[from..end];
    let hashes = bytes[end..].iter().take_while(|byte| **byte == b'#').count();
    let opens = bytes.get(end + hashes) == Some(&b'"');
    match prefix {
        b"b" | b"c" if hashes == 0 && opens => Some(quoted_end(bytes, end)),
        b"r" | b"br" if opens => {
            let close = [&b"\""[..], &b"#".repeat(hashes)].concat();
            Some(find(bytes, end + hashes + 1, &close).map_or(bytes.len(), |at| at + close.len()))
        }
        _ => None,
    }
}

/// Tokens outside of `#[cfg(test)]` items.
fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let marker = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let marked = tokens[at..].len() >= marker.len() && marker.iter().zip(&tokens[at..]).all(|(m, t)| *m == t.text);
        if marked {
            at = item_end(tokens, at + marker.len());
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// One past the `;` or the closing brace that ends the item at `from`.
fn item_end(tokens: &[Token<'_>], from: usize) -> usize {
    let mut depth = 0i32;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(token.text, ";" | "}") {
            return at + 1;
        }
    }
    tokens.len()
}

/// Every path, and every path that a `use` with braces stands for.
fn paths<'a>(tokens: &[Token<'a>]) -> Vec<(Vec<&'a str>, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let continues = at > 0 && tokens[at - 1].text == "::";
        if is_word(tokens[at].text) && !continues {
            at = path(tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

fn path<'a>(tokens: &[Token<'a>], mut at: usize, prefix: &[&'a str], found: &mut Vec<(Vec<&'a str>, usize)>) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let line = tokens[at].line;
    let mut parts = prefix.to_vec();
    parts.push(text(at));
    at += 1;
    while text(at) == "::" {
        at += 1;
        if is_word(text(at)) {
            parts.push(text(at));
            at += 1;
        } else if text(at) == "{" {
            at += 1;
            while at < tokens.len() && text(at) != "}" {
                at = if is_word(text(at)) { path(tokens, at, &parts, found) } else { at + 1 };
            }
            return at + 1;
        }
    }
    found.push((parts, line));
    at
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

/// Name, first line and number of lines of every function with a body.
fn functions<'a>(tokens: &[Token<'a>]) -> Vec<(&'a str, usize, usize)> {
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        if pair[0].text == "fn" && is_word(pair[1].text) {
            let end = item_end(tokens, at);
            let last = &tokens[end.saturating_sub(1)];
            if last.text == "}" {
                found.push((pair[1].text, pair[0].line, last.line - pair[0].line + 1));
            }
        }
    }
    found
}

#[test]
fn planted_violations_are_found() {
    let found = |file: &str, text: &str| violations_in(file, text).len();
    // Each line breaks one rule.
    for (file, text) in [
        ("format/index.rs", "use crate::repository::Index;"),
        ("model/node.rs", "use crate::{id::ChunkId, format::FormatError};"),
        ("storage/local.rs", "fn f() { crate::ops::check(); }"),
        ("compress.rs", "use super::storage::Storage;"),
        ("format/pack.rs", "use super::super::ops;"),
        ("chunker/data.rs", "use crate::unheard_of::Thing;"),
        ("unheard_of.rs", "use crate::id::ChunkId;"),
        ("repository/mod.rs", "use crate::Result;"),
        ("storage/local.rs", "use std::{fs, path::Path};"),
        ("ops/stats.rs", "fn f() { let _ = std::env::var(\"HOME\"); }"),
        ("ops/stats.rs", "use std::process::Command;"),
        ("target/file.rs", "use rustix::fs::openat;"),
        ("crypto/keys.rs", "fn f() { getrandom::fill(&mut []); }"),
        ("ops/snapshot/mod.rs", "use std::time::SystemTime;"),
        ("compress.rs", "use std::io::Read;"),
        ("format/tree.rs", "fn f() { std::thread::spawn(|| {}); }"),
        ("chunker/tree.rs", "use rayon::prelude::*;"),
        ("ops/find.rs", "fn f() { println!(\"found\"); }"),
        ("ops/stats.rs", "fn f(r: &Repository) { r.storage().remove(name); }"),
        ("ops/init.rs", "use redb::Database;"),
        ("id.rs", &"\n".repeat(FILE_LINES + 1)),
        ("id.rs", &format!("fn long() -> [u8; 2] {{{}}}", "\n".repeat(FUNCTION_LINES))),
        // Code after a test item is no test code.
        ("id.rs", "#[cfg(test)]\nmod tests;\nuse crate::ops;"),
        ("id.rs", "#[cfg(test)]\nmod tests { use super::*; }\nuse crate::ops;"),
        // Nor is what follows a lifetime or a quote in a character.
        ("id.rs", "fn f<'a>(x: &'a str) -> char { '\"' }\nuse crate::ops;"),
        ("id.rs", "const A: &str = r#\"a \"quote\" \"#;\nuse crate::ops;"),
        ("id.rs", "const A: [char; 2] = ['\\'', '\\u{e9}'];\nuse crate::ops;"),
    ] {
        assert_eq!(found(file, text), 1, "{file}: {text}\n{:#?}", violations_in(file, text));
    }
}

#[test]
fn what_is_allowed_is_not_reported() {
    for (file, text) in [
        ("repository/index.rs", "use crate::format::{self, IndexObject};\nuse super::{Repository, store::Store};"),
        ("ops/check/mod.rs", "use super::super::ops::x; use crate::ops::list;"),
        ("os/file.rs", "use std::fs::File; use rustix::fs as system;"),
        ("crypto/random.rs", "fn f() { getrandom::fill(&mut []); }"),
        ("id.rs", "// use crate::ops;\n/* crate::ops::x */\nconst A: &str = \"crate::ops::x \\\" crate::ops::y\";"),
        ("id.rs", "#[cfg(test)]\nmod tests {\n use std::fs;\n fn f() { println!(\"{}\", 1); }\n}"),
        ("target/tests.rs", "use std::fs;"),
        ("limits.rs", "const A: u64 = 1 << 20;\nconst _: () = assert!(A > 0);"),
    ] {
        assert_eq!(violations_in(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}
