//! Profiles: `~/.aws/credentials` and `~/.aws/config`, as Amazon's tools have them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use engine::{EngineError, ErrorKind, Result};
use zeroize::Zeroizing;

use super::{Keys, read_if_there, settings};
use crate::Access;
use crate::refusal::{Cause, Refusal};

/// Settings that lead to credentials in ways that are not supported.
const ELSEWHERE: [&str; 5] =
    ["credential_process", "role_arn", "sso_session", "sso_start_url", "web_identity_token_file"];

/// A profile's name, and where it may be.
#[derive(Debug, Default, Clone)]
pub(in crate::s3) struct Profile {
    name: String,
    /// It was asked for, so that no other credentials will do.
    pub(super) is_wanted: bool,
    is_named: bool,
    credentials: Option<PathBuf>,
    config: Option<PathBuf>,
    /// The region that it has.
    pub(in crate::s3) region: Option<String>,
}

impl Profile {
    /// The profile of options and environment.
    ///
    /// # Errors
    /// `Io` if a file is there and can't be read.
    pub(in crate::s3) fn load(access: &Access) -> Result<Self> {
        let option = access.option("s3.profile").map(str::to_owned);
        let variable = access.variable("AWS_PROFILE")?;
        let file = |variable, name| access.path(variable).or_else(|| Some(settings(access)?.join(name)));
        let mut profile = Self {
            is_wanted: option.is_some(),
            is_named: option.is_some() || variable.is_some(),
            name: option.or(variable).unwrap_or_else(|| "default".to_owned()),
            credentials: file("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            config: file("AWS_CONFIG_FILE", "config"),
            region: None,
        };
        // Settings of a file that this user may not read are missed when it is asked for keys.
        let values = profile.values(&mut Vec::new()).unwrap_or_default();
        profile.region = values.get("region").map(|region| region.to_string());
        Ok(profile)
    }

    /// The keys that it has. They are read anew each time: others renew them there.
    ///
    /// # Errors
    /// `Invalid` if it was asked for and has none, or if it has a half; `Io`.
    pub(super) fn keys(&self, tried: &mut Vec<String>) -> Result<Option<Keys>> {
        let mut places = Vec::new();
        let values = self.values(&mut places)?;
        let value = |name: &str| values.get(name).map(|value| value.to_string());
        let places = if places.is_empty() { "no home directory".to_owned() } else { places.join(" and ") };
        let name = &self.name;
        let why = match (value("aws_access_key_id"), value("aws_secret_access_key")) {
            (Some(access), Some(secret)) => {
                return Ok(Some(Keys::new(access, secret).with_token(value("aws_session_token"))));
            }
            (None, None) => match ELSEWHERE.iter().find(|name| values.contains_key(**name)) {
                Some(other) => format!("profile {name} in {places} (it has {other}, which is not supported)"),
                None => format!("profile {name} in {places} (no keys)"),
            },
            _ => format!("profile {name} in {places} (one key of two)"),
        };
        if self.is_named {
            let refusal = Refusal::new(Cause::Credentials, format!("looked at: {why}"));
            return Err(EngineError::with_source(ErrorKind::Invalid, "no credentials for S3", refusal));
        }
        tried.push(why);
        Ok(None)
    }

    fn values(&self, places: &mut Vec<String>) -> Result<BTreeMap<String, Zeroizing<String>>> {
        let mut values = BTreeMap::new();
        let long = format!("profile {}", self.name);
        // What is in the file of credentials wins over the file of settings.
        for (path, sections) in
            [(&self.config, [long.as_str(), "default"]), (&self.credentials, [&self.name, &self.name])]
        {
            let Some(path) = path else { continue };
            places.push(path.display().to_string());
            let Some(text) = read_if_there(path)? else { continue };
            let wanted = |section: &str| section == sections[0] || (section == sections[1] && self.name == sections[1]);
            values.extend(parse(&text, wanted));
        }
        places.reverse();
        Ok(values)
    }
}

/// The settings of the sections that are wanted; of a name that is there twice the last.
fn parse(text: &str, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Zeroizing<String>> {
    let mut values = BTreeMap::new();
    let mut is_in = false;
    for line in text.lines() {
        // Indented lines belong to the setting above them, and none of those is one of ours.
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            let section = section.split(']').next().unwrap_or_default();
            is_in = wanted(&section.split_whitespace().collect::<Vec<_>>().join(" "));
        } else if let Some((name, value)) = line.split_once('=').filter(|_| is_in) {
            let value = value.split(" #").next().unwrap_or_default();
            let value = value.split(" ;").next().unwrap_or_default().trim();
            if !value.is_empty() {
                values.insert(name.trim().to_ascii_lowercase(), Zeroizing::new(value.to_owned()));
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_amazons_tools_read_them() {
        let text = "# a comment\n[default]\nregion = eu-west-1 # here\naws_access_key_id=AKIA+/=\ns3 =\n  region = nested\n\
                    aws_secret_access_key\t=\tse#cret \r\n[ profile  other ]\nregion=us-east-2\n;[x]\nbroken\n[default\nregion=last\n";
        let values = parse(text, |section| section == "default");
        let value = |name: &str| values.get(name).map(|value| value.as_str());
        assert_eq!(value("aws_access_key_id"), Some("AKIA+/="));
        assert_eq!(value("aws_secret_access_key"), Some("se#cret"));
        assert_eq!(value("region"), Some("last"));
        assert_eq!(value("s3"), None);
        assert_eq!(parse(text, |section| section == "profile other").len(), 1);
    }

    #[test]
    fn the_file_of_credentials_wins_over_that_of_settings() {
        let place = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = place.path().join(name);
            std::fs::write(&path, text).expect("a file");
            Some(path)
        };
        let config =
            write("config", "[profile a]\nregion=r\naws_access_key_id=c\naws_secret_access_key=s\n[a]\nregion=no\n");
        let credentials = write("credentials", "[a]\naws_access_key_id=k\n[profile a]\naws_access_key_id=no\n");
        let profile = Profile { name: "a".into(), config, credentials, ..Profile::default() };
        let values = profile.values(&mut Vec::new()).expect("values");
        let texts: Vec<_> = values.iter().map(|(name, value)| format!("{name}={}", value.as_str())).collect();
        assert_eq!(texts, ["aws_access_key_id=k", "aws_secret_access_key=s", "region=r"]);
    }

    #[test]
    fn a_profile_that_was_asked_for_must_have_keys() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("config");
        std::fs::write(&path, "[profile a]\nrole_arn=arn:aws:iam::1:role/x\n").expect("a file");
        let profile = Profile { name: "a".into(), is_named: true, config: Some(path), ..Profile::default() };
        let Err(error) = profile.keys(&mut Vec::new()) else { panic!("no keys") };
        assert!(error.to_string().contains("it has role_arn, which is not supported"), "{error}");
    }
}
