//! The protocol between `repo serve` and its clients: HTTP, with these paths, headers and answers, over TCP, TLS, a socket
//! or the standard streams of ssh. docs/serve.md says the same to those who write another client.
//!
//! Nothing but names of objects and of repositories gets through here: a path that is neither is refused before anything is
//! looked for. Pure: no network, no files.

use std::fmt;

use engine::limits;
use engine::storage::{ObjectFamily, ObjectName};
use serde::{Deserialize, Serialize};

/// The header that says which version of the protocol is spoken; answers without it are not of `repo serve`.
pub(crate) const HEADER: &str = "repo-protocol";
/// The version.
pub(crate) const VERSION: &str = "1";
/// The header of a request that puts a register, if the intent is to go once that is durable; and of its answer, if the server
/// has seen to it. A server that doesn't know it leaves the intent to the client.
pub(crate) const TIDY_HEADER: &str = "repo-tidy";
/// Its value.
pub(crate) const TIDY_INTENT: &str = "intent";
/// The last line of a list: what does not end with it was cut.
pub(crate) const LIST_END: &str = "end";
/// Length in bytes of the longest list that a client reads: some six million packs.
pub(crate) const LIST_BYTES: u64 = 512 * limits::MIB;
/// Length in bytes of the longest answer that is neither object nor list.
pub(crate) const MESSAGE_BYTES: u64 = 64 << 10;
/// How many parts the name of a repository may have.
const REPOSITORY_PARTS: usize = 4;
/// Length in bytes of the longest part of the name of a repository.
const PART_BYTES: usize = 128;

/// The name of a repository on a server: parts of letters, digits, `.`, `_` and `-`, with slashes between.
///
/// No part begins with a dot, and none is the name of a family, so a path has one meaning only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RepositoryName(String);

impl RepositoryName {
    /// Reads a name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let good = |part: &str| {
            !part.is_empty()
                && part.len() <= PART_BYTES
                && !part.starts_with('.')
                && !is_family(part)
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let is_name = text.split('/').all(good) && text.split('/').count() <= REPOSITORY_PARTS;
        is_name.then(|| Self(text.to_owned()))
    }

    /// The name of the only repository of a server that has one.
    pub(crate) fn only() -> Self {
        Self("repository".to_owned())
    }

    /// As it is written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Its parts.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_family(part: &str) -> bool {
    ObjectFamily::ALL.into_iter().any(|family| family_name(family) == part)
}

/// What a family is called in a request.
pub(crate) fn family_name(family: ObjectFamily) -> &'static str {
    if family == ObjectFamily::Config { "config" } else { family.directory() }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `GET /REPOSITORY/?capabilities`
    Capabilities,
    /// `GET /REPOSITORY/?list=FAMILY`
    List(ObjectFamily),
    /// `GET /REPOSITORY/OBJECT`
    Get(ObjectName),
    /// `HEAD /REPOSITORY/OBJECT`
    Head(ObjectName),
    /// `PUT /REPOSITORY/OBJECT`
    Put(ObjectName),
    /// `DELETE /REPOSITORY/OBJECT`
    Delete(ObjectName),
    /// `POST /REPOSITORY/OBJECT?persist`
    Persist(ObjectName),
    /// `POST /REPOSITORY/?unfinished=SECONDS`
    Unfinished(i64),
}

impl Operation {
    /// A word for logs and metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Capabilities => "capabilities",
            Self::List(_) => "list",
            Self::Get(_) => "get",
            Self::Head(_) => "head",
            Self::Put(_) => "put",
            Self::Delete(_) => "delete",
            Self::Persist(_) => "persist",
            Self::Unfinished(_) => "unfinished",
        }
    }

    /// Method, and path with query.
    pub(crate) fn request(&self, repository: &str) -> (&'static str, String) {
        let at = |name: &ObjectName| format!("{repository}/{name}");
        match self {
            Self::Capabilities => ("GET", format!("{repository}/?capabilities")),
            Self::List(family) => ("GET", format!("{repository}/?list={}", family_name(*family))),
            Self::Get(name) => ("GET", at(name)),
            Self::Head(name) => ("HEAD", at(name)),
            Self::Put(name) => ("PUT", at(name)),
            Self::Delete(name) => ("DELETE", at(name)),
            Self::Persist(name) => ("POST", at(name) + "?persist"),
            Self::Unfinished(before) => ("POST", format!("{repository}/?unfinished={before}")),
        }
    }
}

/// Reads a request line: path and query as they were sent. Nothing is decoded: no name needs that.
///
/// # Errors
/// `NotFound` for what is no name, `NoMethod`.
pub(crate) fn parse(method: &str, path: &str, query: Option<&str>) -> Result<(RepositoryName, Operation), Refusal> {
    let unknown = || Refusal::new(Code::Invalid, "no such path: /REPOSITORY/OBJECT is expected");
    let path = path.strip_prefix('/').ok_or_else(unknown)?;
    let parts: Vec<&str> = path.split('/').collect();
    let end = parts.iter().position(|part| part.is_empty() || is_family(part)).ok_or_else(unknown)?;
    let repository = RepositoryName::parse(&parts[..end].join("/")).ok_or_else(unknown)?;
    let rest = parts[end..].join("/");
    let operation = if rest.is_empty() {
        of_repository(method, query)
    } else {
        of_object(method, ObjectName::parse(&rest).ok_or_else(unknown)?, query)
    };
    operation.map(|operation| (repository, operation))
}

fn of_repository(method: &str, query: Option<&str>) -> Result<Operation, Refusal> {
    let query = query.unwrap_or_default();
    let (key, value) = query.split_once('=').unwrap_or((query, ""));
    let bad =
        || Refusal::new(Code::Invalid, "no such query: capabilities, list=FAMILY or unfinished=SECONDS is expected");
    match (method, key) {
        ("GET", "capabilities") => Ok(Operation::Capabilities),
        ("GET", "list") => {
            let family = ObjectFamily::ALL.into_iter().find(|family| family_name(*family) == value);
            family.map(Operation::List).ok_or_else(bad)
        }
        ("POST", "unfinished") => value.parse().map(Operation::Unfinished).map_err(|_| bad()),
        ("GET" | "POST", _) => Err(bad()),
        _ => Err(Refusal::new(Code::NoMethod, "no such method here")),
    }
}

fn of_object(method: &str, name: ObjectName, query: Option<&str>) -> Result<Operation, Refusal> {
    match (method, query) {
        ("GET", None) => Ok(Operation::Get(name)),
        ("HEAD", None) => Ok(Operation::Head(name)),
        ("PUT", None) => Ok(Operation::Put(name)),
        ("DELETE", None) => Ok(Operation::Delete(name)),
        ("POST", Some("persist")) => Ok(Operation::Persist(name)),
        ("GET" | "HEAD" | "PUT" | "DELETE" | "POST", _) => Err(Refusal::new(Code::Invalid, "no such query here")),
        _ => Err(Refusal::new(Code::NoMethod, "no such method here")),
    }
}

/// Length in bytes of the largest object of that name.
pub(crate) fn largest(name: ObjectName) -> u64 {
    match name {
        ObjectName::Config
        | ObjectName::Key(_)
        | ObjectName::Register(_)
        | ObjectName::Forgotten(_)
        | ObjectName::Root(_) => limits::SMALL_OBJECT_BYTES,
        ObjectName::Snapshot(_)
        | ObjectName::Intent(_)
        | ObjectName::Proof(_)
        | ObjectName::Client(_)
        | ObjectName::ClientEnd(_) => limits::ENVELOPE_BYTES,
        ObjectName::Index(_) => limits::INDEX_BYTES,
        ObjectName::Pack(_) => limits::PACK_BYTES,
        ObjectName::PrunePlan(_) | ObjectName::PruneState(_) | ObjectName::PruneDone(_) | ObjectName::PruneReserve => {
            limits::PRUNE_BYTES
        }
    }
}

/// Why a request was not done. Each has a status of HTTP and a word, which is what clients go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// The request makes no sense.
    Invalid,
    /// A version of the protocol that is not known.
    Unsupported,
    /// Nobody that is known.
    Unauthorized,
    /// Somebody who may not do that.
    Forbidden,
    /// No such object.
    Missing,
    /// No such method.
    NoMethod,
    /// One of that name is there.
    Existed,
    /// No `Content-Length`.
    NoLength,
    /// Larger than such an object can be.
    TooLarge,
    /// The object is shorter than that.
    OutOfRange,
    /// The bytes are not what the name promises.
    Mismatch,
    /// It may work a little later.
    Busy,
    /// The server could not.
    Failed,
    /// The repository may not become larger.
    Quota,
    /// The server's disk is full.
    Full,
}

impl Code {
    const ALL: [Self; 15] = [
        Self::Invalid,
        Self::Unsupported,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Missing,
        Self::NoMethod,
        Self::Existed,
        Self::NoLength,
        Self::TooLarge,
        Self::OutOfRange,
        Self::Mismatch,
        Self::Busy,
        Self::Failed,
        Self::Quota,
        Self::Full,
    ];

    /// The status of HTTP.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Invalid | Self::Unsupported => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::Missing => 404,
            Self::NoMethod => 405,
            Self::Existed => 409,
            Self::NoLength => 411,
            Self::TooLarge => 413,
            Self::OutOfRange => 416,
            Self::Mismatch => 422,
            Self::Failed => 500,
            Self::Busy => 503,
            Self::Quota | Self::Full => 507,
        }
    }

    /// The word in the answer.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Missing => "missing",
            Self::NoMethod => "no-method",
            Self::Existed => "existed",
            Self::NoLength => "no-length",
            Self::TooLarge => "too-large",
            Self::OutOfRange => "out-of-range",
            Self::Mismatch => "mismatch",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::Quota => "quota",
            Self::Full => "full",
        }
    }

    fn of(status: u16, word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.status() == status && code.word() == word)
    }
}

/// A request that was not done, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) message: String,
}

#[derive(Serialize, Deserialize)]
struct RefusalBody {
    kind: String,
    message: String,
}

impl Refusal {
    /// One with a text for people, without a period.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The body of the answer.
    pub(crate) fn body(&self) -> String {
        let body = RefusalBody { kind: self.code.word().to_owned(), message: self.message.clone() };
        serde_json::to_string(&body).unwrap_or_default()
    }

    /// Reads an answer; `None` if no server of this protocol wrote it.
    pub(crate) fn parse(status: u16, body: &[u8]) -> Option<Self> {
        let body: RefusalBody = serde_json::from_slice(body).ok()?;
        Some(Self { code: Code::of(status, &body.kind)?, message: body.message })
    }
}

/// What a server says of itself and of what the asker may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Capabilities {
    /// Of several writers of one name exactly one is told that it was first.
    pub(crate) put_if_absent: bool,
    /// Whether there is a directory of that name.
    pub(crate) exists: bool,
    /// What the asker may do.
    pub(crate) verbs: Vec<String>,
}

/// The line of an object in a list.
pub(crate) fn list_line(name: ObjectName, len: u64) -> String {
    format!("{name} {len}\n")
}

/// Reads a list of a family.
///
/// # Errors
/// With what is wrong, if it was cut or has a line that doesn't belong there.
pub(crate) fn parse_list(family: ObjectFamily, body: &[u8]) -> Result<Vec<(ObjectName, u64)>, &'static str> {
    let text = std::str::from_utf8(body).map_err(|_| "a list that is no text")?;
    let rows = text.strip_suffix('\n').and_then(|text| text.strip_suffix(LIST_END)).ok_or("a list without its end")?;
    let row = |line: &str| {
        let (name, len) = line.split_once(' ')?;
        let name = ObjectName::parse(name).filter(|name| name.family() == family)?;
        Some((name, len.parse().ok()?))
    };
    rows.lines().map(|line| row(line).ok_or("a list with a line that is no object")).collect()
}

#[cfg(test)]
mod tests {
    use engine::id::{PackId, SessionId};

    use super::*;

    fn operations() -> Vec<Operation> {
        let name = ObjectName::Pack(PackId::new([2; 32]));
        let mut all: Vec<_> = ObjectFamily::ALL.into_iter().map(Operation::List).collect();
        all.extend([
            Operation::Capabilities,
            Operation::Get(name),
            Operation::Head(ObjectName::Config),
            Operation::Put(ObjectName::Register(SessionId::new([1; 16]))),
            Operation::Delete(name),
            Operation::Persist(name),
            Operation::Unfinished(-5),
        ]);
        all
    }

    #[test]
    fn every_request_is_read_as_it_was_meant() {
        for operation in operations() {
            let (method, line) = operation.request("/team/laptop");
            let (path, query) = line.split_once('?').map_or((line.as_str(), None), |(path, query)| (path, Some(query)));
            let (repository, read) = parse(method, path, query).expect(path);
            assert_eq!((repository.as_str(), read), ("team/laptop", operation));
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for path in [
            "/",
            "//",
            "/a",
            "a/config",
            "/../config",
            "/a/../config",
            "/a/../../etc/config",
            "/.hidden/config",
            "/a/%2e%2e/config",
            "/a\\b/config",
            "/a/b/c/d/e/config",
            "/a//config",
            "/a/packs/00/x",
            "/a/config/",
            "/a/keys/../config",
            "/a/./config",
            "/config",
            "/keys/keys/config",
            "/a b/config",
            "/a\0/config",
        ] {
            assert!(parse("GET", path, None).is_err(), "{path:?}");
        }
        assert!(parse("PATCH", "/a/config", None).is_err_and(|refusal| refusal.code == Code::NoMethod));
        assert!(parse("GET", "/a/config", Some("x")).is_err());
    }

    #[test]
    fn a_list_that_was_cut_is_none() {
        let name = ObjectName::Pack(PackId::new([2; 32]));
        let whole = format!("{}{}{LIST_END}\n", list_line(name, 7), list_line(name, 8));
        assert_eq!(parse_list(ObjectFamily::Packs, whole.as_bytes()), Ok(vec![(name, 7), (name, 8)]));
        for end in 0..whole.len() {
            assert!(parse_list(ObjectFamily::Packs, &whole.as_bytes()[..end]).is_err(), "{end}");
        }
        assert!(parse_list(ObjectFamily::Keys, whole.as_bytes()).is_err());
        assert_eq!(parse_list(ObjectFamily::Keys, b"end\n"), Ok(vec![]));
    }

    #[test]
    fn refusals_are_read_as_they_were_meant() {
        for code in Code::ALL {
            let refusal = Refusal::new(code, "why \"so\"");
            assert_eq!(Refusal::parse(code.status(), refusal.body().as_bytes()), Some(refusal));
        }
        assert_eq!(Refusal::parse(404, b"<html>"), None);
        assert_eq!(Refusal::parse(404, br#"{"kind":"existed","message":""}"#), None);
    }
}
