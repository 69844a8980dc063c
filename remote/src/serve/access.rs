//! Who is known, by token or by client certificate, and what each may do where.
//!
//! The file has a line for each: `WHO REPOSITORIES VERBS [NAME]`. WHO is `blake3:HASH` of a token, `cert:SHA256` of a
//! certificate or `cn:NAME` of one. It holds hashes only: whoever reads it can't be anybody. Pure, but for [`Watched`].

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use engine::id::hex;
use engine::{EngineError, ErrorKind, Result};

use super::rules::Verbs;
use crate::protocol::RepositoryName;

/// How tokens begin, so that people and scanners know one when they see it.
const TOKEN_PREFIX: &str = "repo_";
/// Length in bytes of the largest file of tokens.
const FILE_BYTES: u64 = 4 << 20;

/// Who sent a request, as far as that was proved.
#[derive(Debug, Clone, Default)]
pub(super) struct Credentials {
    /// The hash of the token.
    pub(super) token: Option<blake3::Hash>,
    /// SHA-256 of the client's certificate, which a known authority signed.
    pub(super) certificate: Option<[u8; 32]>,
    /// The common name in it.
    pub(super) common_name: Option<String>,
}

#[derive(Debug, Clone)]
enum Who {
    Token(blake3::Hash),
    Certificate([u8; 32]),
    CommonName(String),
}

impl Who {
    fn client(&self) -> ClientId {
        match self {
            Self::Token(hash) => ClientId(*hash.as_bytes()),
            Self::Certificate(hash) => ClientId(*hash),
            Self::CommonName(name) => ClientId(*blake3::hash(name.as_bytes()).as_bytes()),
        }
    }
}

#[derive(Debug, Clone)]
struct Entry {
    who: Who,
    repositories: String,
    verbs: Verbs,
    label: String,
}

/// The lines of the file.
#[derive(Debug, Default)]
pub(super) struct AccessList(Vec<Entry>);

/// Which client this is, whatever it calls itself in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ClientId(pub(super) [u8; 32]);

impl ClientId {
    /// Whoever comes where nobody is asked.
    pub(super) const ANYBODY: Self = Self([0; 32]);
}

/// Who somebody is for the log, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) client: ClientId,
    pub(super) label: String,
    pub(super) verbs: Verbs,
}

impl AccessList {
    /// Reads the lines of a file.
    ///
    /// # Errors
    /// With the number of the line that is none.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let read = |(number, line)| parse_entry(line).map_err(|why| format!("line {number}: {why}"));
        lines.map(read).collect::<Result<_, _>>().map(Self)
    }

    /// What somebody may do in a repository; `None` if nobody knows them anywhere.
    ///
    /// Every entry is compared, and hashes in constant time, so that the time says nothing about them.
    pub(super) fn grant(&self, credentials: &Credentials, repository: &RepositoryName) -> Option<Grant> {
        let mut found: Option<Grant> = None;
        for entry in &self.0 {
            let is_them = match &entry.who {
                Who::Token(hash) => credentials.token.is_some_and(|token| token == *hash),
                Who::Certificate(hash) => credentials.certificate.is_some_and(|certificate| certificate == *hash),
                Who::CommonName(name) => credentials.common_name.as_ref() == Some(name),
            };
            if !is_them {
                continue;
            }
            let grant = found.get_or_insert_with(|| Grant {
                client: entry.who.client(),
                label: entry.label.clone(),
                verbs: Verbs::NONE,
            });
            if matches(&entry.repositories, repository.as_str()) {
                grant.verbs = grant.verbs.and(entry.verbs);
            }
        }
        found
    }
}

fn parse_entry(line: &str) -> Result<Entry, String> {
    let mut words = line.split_whitespace();
    let (Some(who), Some(repositories), Some(verbs)) = (words.next(), words.next(), words.next()) else {
        return Err("WHO REPOSITORIES VERBS [NAME] is expected".to_owned());
    };
    let (kind, value) = who.split_once(':').ok_or("WHO is blake3:HASH, cert:SHA256 or cn:NAME")?;
    let hash = || {
        let mut bytes = [0; 32];
        let digits = value.replace(':', "").to_ascii_lowercase();
        engine::id::unhex(&digits, &mut bytes).map(|()| bytes).ok_or("a hash has 64 hexadecimal digits")
    };
    let who = match kind {
        "blake3" => Who::Token(hash()?.into()),
        "cert" => Who::Certificate(hash()?),
        "cn" if !value.is_empty() => Who::CommonName(value.to_owned()),
        _ => return Err("WHO is blake3:HASH, cert:SHA256 or cn:NAME".to_owned()),
    };
    check_pattern(repositories)?;
    let label = words.next().map_or_else(|| value.chars().take(8).collect(), str::to_owned);
    Ok(Entry { who, repositories: repositories.to_owned(), verbs: Verbs::parse(verbs)?, label })
}

fn check_pattern(pattern: &str) -> Result<(), String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/*".contains(&byte);
    if pattern.bytes().all(good) && pattern.split('/').all(|part| !part.is_empty() && !part.starts_with('.')) {
        return Ok(());
    }
    Err(format!(
        "{pattern:?} is no name of repositories: letters, digits, . _ - / and * for any of them but /, ** for all"
    ))
}

/// Whether a pattern fits a name: `*` is anything without a slash, `**` anything.
fn matches(pattern: &str, name: &str) -> bool {
    fn at(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=name.len()).any(|skipped| at(rest, &name[skipped..])),
            [b'*', rest @ ..] => {
                let part = name.iter().position(|byte| *byte == b'/').unwrap_or(name.len());
                (0..=part).any(|skipped| at(rest, &name[skipped..]))
            }
            [byte, rest @ ..] => name.split_first().is_some_and(|(first, name)| first == byte && at(rest, name)),
        }
    }
    at(pattern.as_bytes(), name.as_bytes())
}

/// A token that was just made: what the client is given, and the line that the server is given.
#[derive(Debug)]
pub struct NewToken {
    /// The secret.
    pub token: String,
    /// The line for the file of tokens; it has the hash only.
    pub line: String,
}

/// Makes a token with these verbs for repositories of that pattern. `name` is for logs.
///
/// # Errors
/// `Invalid` for what is no pattern, no verb or no name; `Io` without randomness.
pub fn new_token(repositories: &str, verbs: &str, name: Option<&str>) -> Result<NewToken> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)
        .map_err(|error| EngineError::with_source(ErrorKind::Io, "cannot make a token", error))?;
    let token = format!("{TOKEN_PREFIX}{}", hex(&secret));
    let name = name.unwrap_or_default();
    let mut line = format!("blake3:{} {repositories} {verbs}", hash_of(&token).to_hex());
    if !name.is_empty() {
        line.push(' ');
        line.push_str(name);
    }
    let one_word = |text: &str| !text.chars().any(|char| char.is_whitespace() || char.is_control());
    let good = [repositories, verbs, name].into_iter().all(one_word);
    let read = if good { parse_entry(&line).map(drop) } else { Err("it has white space in it".to_owned()) };
    read.map_err(|why| EngineError::new(ErrorKind::Invalid, format!("token for {repositories:?}: {why}")))?;
    Ok(NewToken { token, line })
}

/// What the file has of a token.
pub(super) fn hash_of(token: &str) -> blake3::Hash {
    blake3::hash(token.as_bytes())
}

/// A file of tokens that is read again when it changes.
#[derive(Debug)]
pub(super) struct Watched {
    path: PathBuf,
    current: Mutex<(Stamp, Arc<AccessList>)>,
}

type Stamp = Option<(SystemTime, u64, u64)>;

impl Watched {
    /// Reads the file.
    ///
    /// # Errors
    /// `Io`, `Invalid`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        // Stamped first: what changes while it is read is read again.
        let stamp = stamp(path);
        Ok(Self { path: path.to_owned(), current: Mutex::new((stamp, Arc::new(read(path)?))) })
    }

    /// The lines as they are now. A file that can't be read is told once, and the lines before hold on.
    pub(super) fn current(&self, tell: impl FnOnce(&str)) -> Arc<AccessList> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(&self.path);
        if now != current.0 {
            current.0 = now;
            match read(&self.path) {
                Ok(list) => current.1 = Arc::new(list),
                Err(error) => tell(&format!("the file of tokens stays as it was: {error}")),
            }
        }
        Arc::clone(&current.1)
    }
}

fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

fn read(path: &Path) -> Result<AccessList> {
    let bytes = crate::files::read_small(path, FILE_BYTES)?;
    let invalid = |why: &str| EngineError::new(ErrorKind::Invalid, format!("file of tokens {}: {why}", path.display()));
    let text = String::from_utf8(bytes).map_err(|_| invalid("not UTF-8"))?;
    AccessList::parse(&text).map_err(|why| invalid(&why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verbs(list: &AccessList, credentials: &Credentials, repository: &str) -> Option<String> {
        let repository = RepositoryName::parse(repository).expect("a name");
        list.grant(credentials, &repository).map(|grant| grant.verbs.to_string())
    }

    #[test]
    fn a_token_is_good_for_its_repositories_only() {
        let made = new_token("laptop/*", "put,list,get", Some("alice")).expect("a token");
        let list = AccessList::parse(&format!("# people\n\n{}\n", made.line)).expect("a file");
        assert!(!made.line.contains(&made.token));
        let them = Credentials { token: Some(hash_of(&made.token)), ..Credentials::default() };
        assert_eq!(verbs(&list, &them, "laptop/a").as_deref(), Some("list,get,put"));
        assert_eq!(verbs(&list, &them, "laptop/a/b").as_deref(), Some(""));
        assert_eq!(verbs(&list, &them, "laptop").as_deref(), Some(""));
        let others = Credentials { token: Some(hash_of("repo_x")), ..Credentials::default() };
        assert_eq!(verbs(&list, &others, "laptop/a"), None);
        assert_eq!(verbs(&list, &Credentials::default(), "laptop/a"), None);
    }

    #[test]
    fn certificates_are_known_by_hash_or_name() {
        let text = format!("cert:{} a all\ncn:bob b get,list\ncn:bob b put", "AB:".repeat(32).trim_end_matches(':'));
        let list = AccessList::parse(&text).expect("a file");
        let by_hash = Credentials { certificate: Some([0xab; 32]), ..Credentials::default() };
        let by_name = Credentials { common_name: Some("bob".into()), ..Credentials::default() };
        assert_eq!(verbs(&list, &by_hash, "a").as_deref(), Some("list,get,lock,put,keys,forget,prune,delete"));
        assert_eq!(verbs(&list, &by_name, "a").as_deref(), Some(""));
        assert_eq!(verbs(&list, &by_name, "b").as_deref(), Some("list,get,put"));
    }

    #[test]
    fn lines_that_are_none_are_named() {
        for line in
            ["x", "blake3:zz a all", "token:ab a all", "cn: a all", "cn:a ../b all", "cn:a b everything", "cn:a /b all"]
        {
            let error = AccessList::parse(&format!("\n{line}")).expect_err(line);
            assert!(error.starts_with("line 2: "), "{error}");
        }
        assert!(new_token("a b", "put", None).is_err() && new_token("a", "put", Some("a\nb")).is_err());
    }

    #[test]
    fn patterns() {
        for (pattern, name, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "a", true),
            ("*", "a/b", false),
            ("**", "a/b", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("*-x", "web-x", true),
            ("a*c", "abbc", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
