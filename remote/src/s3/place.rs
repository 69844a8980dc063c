//! Where a bucket is: its address, its region, and the keys in it.

use engine::{EngineError, ErrorKind, Result};
use url::{Host, Url};

use super::credentials::Profile;
use super::sign;
use crate::Access;

/// A bucket and the prefix of all keys.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// What keys are appended to; ends with a slash.
    base: Url,
    pub(super) bucket: String,
    pub(super) region: String,
    /// Empty, or with a slash at its end.
    pub(super) prefix: String,
    /// Scheme, host and port, for people.
    pub(super) endpoint: String,
}

impl Place {
    /// What address, options and environment say.
    ///
    /// # Errors
    /// `Invalid` for options with other values than they have, and for what can't be an address.
    pub(super) fn new(endpoint: &Url, bucket: &str, prefix: &str, access: &Access, profile: &Profile) -> Result<Self> {
        let parts: Vec<&str> = prefix.split('/').collect();
        if !prefix.is_empty() && parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
            return Err(invalid(format!("prefix {prefix:?}: its parts are neither empty nor dots")));
        }
        if bucket.is_empty()
            || !bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
            || matches!(bucket, "." | "..")
        {
            return Err(invalid(format!("{bucket:?} is not the name of a bucket")));
        }
        let mut base = endpoint.clone();
        base.set_query(None);
        base.set_fragment(None);
        if is_in_host(endpoint, bucket, access)? {
            let host = format!("{bucket}.{}", endpoint.host_str().unwrap_or_default());
            let is_set = base.set_host(Some(&host)).is_ok() && base.host_str() == Some(host.as_str());
            if !is_set {
                return Err(invalid(format!("{host} can't be the name of a host: use -o s3.bucket-lookup=path")));
            }
            base.set_path("/");
        } else {
            base.set_path(&format!("/{bucket}/"));
        }
        Ok(Self {
            base,
            bucket: bucket.to_owned(),
            region: region(endpoint, access, profile)?,
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            endpoint: endpoint.as_str().trim_end_matches('/').to_owned(),
        })
    }

    /// The address of a key, or of the bucket if that is empty, with a query.
    pub(super) fn url(&self, key: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base.path(), sign::encode(key, true)));
        if !query.is_empty() {
            url.set_query(Some(&sign::query(query)));
        }
        url
    }

    /// The key of a name below the prefix.
    pub(super) fn key(&self, name: impl std::fmt::Display) -> String {
        format!("{}{name}", self.prefix)
    }
}

fn invalid(text: String) -> EngineError {
    EngineError::new(ErrorKind::Invalid, text)
}

/// Whether the bucket's name is a part of the host's: what Amazon wants, and what others often have no certificate for.
fn is_in_host(endpoint: &Url, bucket: &str, access: &Access) -> Result<bool> {
    match access.option("s3.bucket-lookup") {
        Some("path") => Ok(false),
        Some("dns") => Ok(true),
        Some("auto") | None => {
            let host = match endpoint.host() {
                Some(Host::Domain(host)) if endpoint.port().is_none() => host,
                _ => return Ok(false),
            };
            // A certificate for `*.host` does not cover a bucket with a dot in it.
            Ok(is_amazon(host) && !bucket.contains(['.', '_']) && !bucket.bytes().any(|byte| byte.is_ascii_uppercase()))
        }
        Some(other) => Err(invalid(format!("option s3.bucket-lookup={other}: path, dns or auto is expected"))),
    }
}

fn is_amazon(host: &str) -> bool {
    host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
}

/// The option, what the host's name says, the environment, the profile; else Amazon's first region, which others take for
/// any.
fn region(endpoint: &Url, access: &Access, profile: &Profile) -> Result<String> {
    let found = match access.option("s3.region") {
        Some(region) => Some(region.to_owned()),
        None => match region_of_host(endpoint.host_str().unwrap_or_default()) {
            Some(region) => Some(region),
            None => match access.variable("AWS_REGION")? {
                Some(region) => Some(region),
                None => access.variable("AWS_DEFAULT_REGION")?,
            },
        },
    };
    let region = found.or_else(|| profile.region.clone()).unwrap_or_else(|| "us-east-1".to_owned());
    if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return Err(invalid(format!("{region:?} is not the name of a region")));
    }
    Ok(region)
}

/// The region in hosts like `s3.eu-west-1.amazonaws.com`, and in those of others that follow Amazon.
fn region_of_host(host: &str) -> Option<String> {
    let labels: Vec<&str> = host.split('.').collect();
    let at = labels.iter().position(|label| *label == "s3" || label.starts_with("s3-"))?;
    if labels.len() - at < 3 {
        return None;
    }
    let old = labels[at].strip_prefix("s3-").filter(|_| is_amazon(host));
    let next = labels[at + 1..].iter().find(|label| **label != "dualstack").copied();
    let looks_right = |label: &&str| {
        label.contains('-') && label.ends_with(|last: char| last.is_ascii_digit()) && !label.starts_with("fips")
    };
    old.filter(looks_right).or_else(|| next.filter(looks_right)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(endpoint: &str, bucket: &str, options: &[&str]) -> Result<Place> {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let access = Access::new(&options, std::sync::Arc::new(|_| None)).expect("options");
        Place::new(&endpoint.parse().expect("an address"), bucket, "a b/c", &access, &Profile::default())
    }

    #[test]
    fn a_bucket_is_found_where_restic_finds_it() {
        for (endpoint, bucket, options, expected) in [
            ("https://s3.amazonaws.com", "backups", &[][..], "https://backups.s3.amazonaws.com/a%20b/c/config"),
            (
                "https://s3.eu-west-1.amazonaws.com",
                "with.dot",
                &[],
                "https://s3.eu-west-1.amazonaws.com/with.dot/a%20b/c/config",
            ),
            ("https://minio.example.org", "backups", &[], "https://minio.example.org/backups/a%20b/c/config"),
            ("http://127.0.0.1:9000", "backups", &[], "http://127.0.0.1:9000/backups/a%20b/c/config"),
            (
                "https://s3.example.org",
                "backups",
                &["s3.bucket-lookup=dns"],
                "https://backups.s3.example.org/a%20b/c/config",
            ),
            (
                "https://s3.amazonaws.com",
                "backups",
                &["s3.bucket-lookup=path"],
                "https://s3.amazonaws.com/backups/a%20b/c/config",
            ),
        ] {
            let place = place(endpoint, bucket, options).expect(endpoint);
            assert_eq!(place.url(&place.key("config"), &[]).as_str(), expected);
        }
        for (endpoint, bucket, options) in [
            ("http://127.0.0.1:9000", "backups", "s3.bucket-lookup=dns"),
            ("https://host", "backups", "s3.bucket-lookup=perhaps"),
            ("https://host", "a/b", "s3.region=x"),
            ("https://host", "..", "s3.region=x"),
            ("https://host", "backups", "s3.region=a/b"),
        ] {
            let error = place(endpoint, bucket, &[options]).expect_err(bucket);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        }
    }

    #[test]
    fn a_region_is_found_in_the_names_of_hosts() {
        for (host, expected) in [
            ("s3.amazonaws.com", None),
            ("s3.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("s3.dualstack.us-east-2.amazonaws.com", Some("us-east-2")),
            ("s3-us-west-2.amazonaws.com", Some("us-west-2")),
            ("s3.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("s3.us-west-002.backblazeb2.com", Some("us-west-002")),
            ("account.r2.cloudflarestorage.com", None),
            ("minio.example.org", None),
            ("127.0.0.1", None),
            ("s3", None),
        ] {
            assert_eq!(region_of_host(host).as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn the_first_that_names_a_region_decides() {
        let endpoint: Url = "https://minio.example.org".parse().expect("an address");
        let lookup = |name: &str| (name == "AWS_DEFAULT_REGION").then(|| "from-environment".into());
        let mut profile = Profile::default();
        profile.region = Some("from-profile".into());
        let access = |options: &[String]| Access::new(options, std::sync::Arc::new(lookup)).expect("options");
        assert_eq!(region(&endpoint, &access(&["s3.region=given".into()]), &profile).expect("a region"), "given");
        assert_eq!(region(&endpoint, &access(&[]), &profile).expect("a region"), "from-environment");
        assert_eq!(region(&endpoint, &Access::none(), &profile).expect("a region"), "from-profile");
        assert_eq!(region(&endpoint, &Access::none(), &Profile::default()).expect("a region"), "us-east-1");
    }
}
