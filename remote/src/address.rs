//! Addresses of repositories, as restic writes them where it has them.

use std::fmt;
use std::path::PathBuf;

use engine::{EngineError, ErrorKind, Result};
use url::Url;

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A directory of this machine.
    Local(PathBuf),
    /// `s3:https://host/bucket/prefix`.
    S3 {
        /// Scheme, host and port.
        endpoint: Url,
        /// The bucket.
        bucket: String,
        /// What all keys begin with, without slashes at its ends; may be empty.
        prefix: String,
    },
    /// `rest:https://host/repository`: a `repo serve`.
    Rest(Url),
    /// `ssh://user@host:port/path`: a `repo serve --stdio` that ssh starts there.
    Ssh(Remote),
    /// `sftp:user@host:/path`.
    Sftp(Remote),
}

/// A directory on a host that ssh goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The user, if it is not ssh's choice.
    pub user: Option<String>,
    /// The host, or its alias in ssh's configuration.
    pub host: String,
    /// The port, if it is not ssh's choice.
    pub port: Option<u16>,
    /// The path; one that is not absolute begins at the user's home.
    pub path: String,
}

/// Storages that others know and this program does not, and what to do instead.
const ELSEWHERE: [(&str, &str); 5] = [
    ("b2:", "give the S3 address of the bucket: s3:https://s3.REGION.backblazeb2.com/BUCKET"),
    ("azure:", "not supported"),
    ("gs:", "give the interoperable address of the bucket: s3:https://storage.googleapis.com/BUCKET"),
    ("swift:", "not supported"),
    ("rclone:", "`rclone serve s3` has an S3 address"),
];

impl Address {
    /// Whether it is a directory of this machine.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// Reads an address. What has no scheme is a path.
    ///
    /// # Errors
    /// `Invalid` if a part is missing; `Unsupported` for storages that others have.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some((scheme, instead)) = ELSEWHERE.iter().find(|(scheme, _)| text.starts_with(scheme)) {
            return Err(EngineError::new(
                ErrorKind::Unsupported,
                format!("storage {text}: {scheme} is not known to this program ({instead})"),
            ));
        }
        if let Some(rest) = text.strip_prefix("s3:") {
            return s3(text, rest);
        }
        if let Some(rest) = text.strip_prefix("rest:") {
            return rest_server(text, rest);
        }
        if let Some(rest) = text.strip_prefix("ssh://") {
            return Ok(Self::Ssh(Remote::of_url(text, rest)?));
        }
        if let Some(rest) = text.strip_prefix("sftp://") {
            return Ok(Self::Sftp(Remote::of_url(text, rest)?));
        }
        if let Some(rest) = text.strip_prefix("sftp:") {
            return Ok(Self::Sftp(Remote::of_scp(text, rest)?));
        }
        if text.starts_with("http:") || text.starts_with("https:") {
            return Err(invalid(text, "a server of this program is rest:https://…, an object store s3:https://…"));
        }
        if text.is_empty() {
            return Err(invalid(text, "a path or an address is expected"));
        }
        Ok(Self::Local(PathBuf::from(text.strip_prefix("file://").unwrap_or(text))))
    }
}

fn invalid(address: &str, why: &str) -> EngineError {
    EngineError::new(ErrorKind::Invalid, format!("address {address:?}: {why}"))
}

fn s3(text: &str, rest: &str) -> Result<Address> {
    let expected = "s3:https://HOST/BUCKET/PREFIX is expected";
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let with_scheme = if rest.contains("://") { rest.to_owned() } else { format!("https://{rest}") };
    let url = Url::parse(&with_scheme).map_err(|error| invalid(text, &format!("{error}; {expected}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(invalid(text, expected));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(text, "credentials don't belong into an address: AWS_ACCESS_KEY_ID has them"));
    }
    let path = url.path().trim_matches('/').to_owned();
    let (bucket, prefix) = path.split_once('/').unwrap_or((&path, ""));
    if bucket.is_empty() || url.query().is_some() || url.fragment().is_some() {
        return Err(invalid(text, expected));
    }
    let mut endpoint = url.clone();
    endpoint.set_path("");
    Ok(Address::S3 { endpoint, bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() })
}

fn rest_server(text: &str, rest: &str) -> Result<Address> {
    let expected = "rest:https://HOST:PORT/REPOSITORY is expected";
    let url = Url::parse(rest).map_err(|error| invalid(text, &format!("{error}; {expected}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(invalid(text, expected));
    }
    if url.password().is_some() || !url.username().is_empty() {
        return Err(invalid(text, "a token doesn't belong into an address: REPO_TOKEN or REPO_TOKEN_FILE has it"));
    }
    if url.path().trim_matches('/').is_empty() || url.query().is_some() || url.fragment().is_some() {
        return Err(invalid(text, expected));
    }
    Ok(Address::Rest(url))
}

impl Remote {
    /// `user@host:port/path`; the path begins with the slash, as in restic's: `//` before an absolute one is taken, too.
    fn of_url(text: &str, rest: &str) -> Result<Self> {
        let (authority, path) = rest.split_once('/').ok_or_else(|| invalid(text, "it has no path"))?;
        let (user, place) = split_user(authority);
        let (host, port) = match bracketed(place) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let number = |port: &str| port.parse().map_err(|_| invalid(text, &format!("{port} is not a port")));
        let port = port.map(number).transpose()?;
        Self { user, host: host.to_owned(), port, path: format!("/{}", path.trim_start_matches('/')) }.checked(text)
    }

    /// `user@host:path`.
    fn of_scp(text: &str, rest: &str) -> Result<Self> {
        let (user, place) = split_user(rest);
        let split = match bracketed(place) {
            Some((host, path)) => path.strip_prefix(':').map(|path| (host, path)),
            None => place.split_once(':'),
        };
        let (host, path) = split.ok_or_else(|| invalid(text, "sftp:USER@HOST:PATH is expected"))?;
        Self { user, host: host.to_owned(), port: None, path: path.to_owned() }.checked(text)
    }

    /// A host that begins with a dash would be an option of ssh.
    fn checked(self, text: &str) -> Result<Self> {
        let bad = |part: &str| part.is_empty() || part.starts_with('-');
        if bad(&self.host) || self.user.as_deref().is_some_and(bad) {
            return Err(invalid(text, "a user and a host don't begin with a dash, and are not empty"));
        }
        if self.path.trim_matches('/').is_empty() {
            return Err(invalid(text, "it has no path"));
        }
        Ok(self)
    }

    /// What ssh is told: `user@host`.
    pub fn destination(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        }
    }
}

fn split_user(text: &str) -> (Option<String>, &str) {
    match text.split_once('@') {
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (None, text),
    }
}

/// An IPv6 address in brackets, and what follows.
fn bracketed(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('[')?.split_once(']')
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remote = |remote: &Remote, f: &mut fmt::Formatter<'_>, scheme| {
            write!(f, "{scheme}://{}", remote.destination())?;
            if let Some(port) = remote.port {
                write!(f, ":{port}")?;
            }
            write!(f, "/{}", remote.path.trim_start_matches('/'))
        };
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::S3 { endpoint, bucket, prefix } => {
                let slash = if prefix.is_empty() { "" } else { "/" };
                write!(f, "s3:{}/{bucket}{slash}{prefix}", endpoint.as_str().trim_end_matches('/'))
            }
            Self::Rest(url) => write!(f, "rest:{url}"),
            Self::Ssh(place) => remote(place, f, "ssh"),
            Self::Sftp(place) => remote(place, f, "sftp"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(text).expect(text)
    }

    #[test]
    fn a_path_is_a_path() {
        assert_eq!(parse("/srv/backup"), Address::Local("/srv/backup".into()));
        assert_eq!(parse("file:///srv/backup"), Address::Local("/srv/backup".into()));
        assert_eq!(parse("relative/a:b"), Address::Local("relative/a:b".into()));
    }

    #[test]
    fn buckets_are_found_as_restic_finds_them() {
        for (text, shown) in [
            ("s3:https://s3.example.org/bucket", "s3:https://s3.example.org/bucket"),
            ("s3:s3.amazonaws.com/bucket/some/prefix/", "s3:https://s3.amazonaws.com/bucket/some/prefix"),
            ("s3://s3.example.org/bucket", "s3:https://s3.example.org/bucket"),
            ("s3:http://127.0.0.1:9000/bucket/p", "s3:http://127.0.0.1:9000/bucket/p"),
        ] {
            assert_eq!(parse(text).to_string(), shown);
        }
    }

    #[test]
    fn hosts_are_found_as_ssh_finds_them() {
        let remote = |user: Option<&str>, host: &str, port, path: &str| Remote {
            user: user.map(Into::into),
            host: host.into(),
            port,
            path: path.into(),
        };
        for (text, expected) in [
            ("ssh://me@host/srv/backup", Address::Ssh(remote(Some("me"), "host", None, "/srv/backup"))),
            ("ssh://host:2222/backup", Address::Ssh(remote(None, "host", Some(2222), "/backup"))),
            ("ssh://[::1]:22/b", Address::Ssh(remote(None, "::1", Some(22), "/b"))),
            ("sftp:me@host:/srv/backup", Address::Sftp(remote(Some("me"), "host", None, "/srv/backup"))),
            ("sftp:host:backup", Address::Sftp(remote(None, "host", None, "backup"))),
            ("sftp:me@[::1]:/b", Address::Sftp(remote(Some("me"), "::1", None, "/b"))),
            ("sftp://me@host:2022//srv/b", Address::Sftp(remote(Some("me"), "host", Some(2022), "/srv/b"))),
        ] {
            assert_eq!(parse(text), expected);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_name() {
        for text in [
            "",
            "s3:",
            "s3:https://host",
            "s3:https://key:secret@host/bucket",
            "rest:host/repository",
            "rest:https://host/",
            "rest:https://token@host/repository",
            "ssh://host",
            "ssh://-oProxyCommand=x/path",
            "ssh://host:port/path",
            "sftp:host",
            "sftp:-host:/path",
            "sftp:me@host:/",
            "https://host/path",
        ] {
            let error = Address::parse(text).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
        assert_eq!(Address::parse("b2:bucket").expect_err("unsupported").kind(), ErrorKind::Unsupported);
    }
}
