//! Credentials from services beside this program: that of a container (ECS, EKS), and that of a machine (EC2, version 2).

use engine::{EngineError, ErrorKind, Result};
use serde::Deserialize;
use url::{Host, Url};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Keys, read_if_there};
use crate::Access;
use crate::refusal::{Cause, Refusal};
use crate::s3::http::{Answer, Broken, Http, Request};

/// The most of an answer, in bytes.
const ANSWER_BYTES: u64 = 64 << 10;
/// Where containers ask.
const CONTAINERS: &str = "http://169.254.170.2";
/// Where machines ask.
const MACHINES: &str = "http://169.254.169.254";
/// How long the token of a conversation with the machine's service is good.
const TOKEN_SECONDS: &str = "300";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Said {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

/// The service of a container.
///
/// # Errors
/// `Invalid` for an address that keys must not be sent over; `Io` if the service does not answer as it should.
pub(super) fn of_container(access: &Access, tried: &mut Vec<String>) -> Result<Option<Keys>> {
    let relative = access.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")?;
    let full = access.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI")?;
    let address = match (relative, full) {
        (Some(relative), _) => format!("{CONTAINERS}{relative}"),
        (None, Some(full)) => full,
        (None, None) => {
            tried.push("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and _FULL_URI (not set)".into());
            return Ok(None);
        }
    };
    let url = Url::parse(&address).map_err(|error| failed(&address, error.to_string()))?;
    if !is_near(&url) {
        let text = format!("{address} is neither https nor on this machine: keys must not go that way");
        return Err(EngineError::with_source(
            ErrorKind::Invalid,
            "no credentials for S3",
            Refusal::new(Cause::Credentials, text),
        ));
    }
    let mut headers = Vec::new();
    let file = access.path("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    let token = match file {
        Some(file) => read_if_there(&file)?.map(|token| token.trim().to_owned()),
        None => access.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN")?,
    };
    headers.extend(token.map(|token| ("authorization", token)));
    let answer = ask(&Http::near()?, "GET", url, headers).map_err(|error| failed(&address, error))?;
    Ok(Some(keys_of(answer).map_err(|error| failed(&address, error))?))
}

/// The service of a machine, with a token for the conversation (version 2).
///
/// # Errors
/// `Io` if the service answers, and not as it should.
pub(super) fn of_machine(access: &Access, tried: &mut Vec<String>) -> Result<Option<Keys>> {
    let disabled = access.variable("AWS_EC2_METADATA_DISABLED")?;
    if disabled.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        tried.push("the metadata of the machine (AWS_EC2_METADATA_DISABLED is set)".into());
        return Ok(None);
    }
    let place = access.variable("AWS_EC2_METADATA_SERVICE_ENDPOINT")?.unwrap_or_else(|| MACHINES.into());
    let place = place.trim_end_matches('/');
    let address = |path: &str| {
        let address = format!("{place}/latest/{path}");
        Url::parse(&address).map_err(|error| failed(&address, error.to_string()))
    };
    let http = Http::near()?;
    let headers = vec![("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS.to_owned())];
    let token = match ask(&http, "PUT", address("api/token")?, headers) {
        Ok(token) => text_of(token),
        Err(error) => {
            tried.push(format!("the metadata of the machine at {place} ({error})"));
            return Ok(None);
        }
    };
    let headers = || vec![("x-aws-ec2-metadata-token", token.clone())];
    let roles = "meta-data/iam/security-credentials/";
    let role = match ask(&http, "GET", address(roles)?, headers()) {
        Ok(role) => text_of(role),
        Err(error) => {
            tried.push(format!("the metadata of the machine at {place} (it has no role: {error})"));
            return Ok(None);
        }
    };
    let role = role.lines().next().unwrap_or_default();
    let answer =
        ask(&http, "GET", address(&format!("{roles}{role}"))?, headers()).map_err(|error| failed(place, error))?;
    Ok(Some(keys_of(answer).map_err(|error| failed(place, error))?))
}

fn ask(http: &Http, method: &'static str, url: Url, headers: Vec<(&'static str, String)>) -> Result<Answer, String> {
    let request = Request { method, url, headers, body: bytes::Bytes::new() };
    match http.send(&request, ANSWER_BYTES) {
        Ok(answer) if answer.is_success() => Ok(answer),
        Ok(answer) => Err(format!("it says {}", answer.status)),
        Err(Broken::Name(text) | Broken::Tls(text) | Broken::Connect(text) | Broken::Lost(text)) => Err(text),
    }
}

fn text_of(answer: Answer) -> String {
    String::from_utf8_lossy(&answer.body).trim().to_owned()
}

fn keys_of(mut answer: Answer) -> Result<Keys, String> {
    let said: Said = serde_json::from_slice(&answer.body).map_err(|_| "its answer has no keys".to_owned())?;
    answer.body.zeroize();
    let expires = said.expiration.as_deref().map(str::parse).transpose();
    let expires = expires.map_err(|_| "its answer has an end that is no time".to_owned())?;
    let keys = Keys { secret: Zeroizing::new(said.secret_access_key), ..Keys::new(said.access_key_id, String::new()) };
    Ok(Keys { expires, ..keys.with_token(said.token) })
}

fn failed(address: &str, text: String) -> EngineError {
    let refusal = Refusal::new(Cause::Credentials, text);
    EngineError::with_source(ErrorKind::Io, format!("cannot get credentials from {address}"), refusal)
}

/// Whether keys may come from there: over TLS, from this machine, or from the addresses of the services of containers.
fn is_near(url: &Url) -> bool {
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(Host::Domain(host))) => host == "localhost",
        ("http", Some(Host::Ipv4(host))) => {
            host.is_loopback() || [[169, 254, 170, 2], [169, 254, 170, 23]].contains(&host.octets())
        }
        ("http", Some(Host::Ipv6(host))) => {
            host.is_loopback() || host.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_tls_or_from_near_by() {
        let near = |address: &str| is_near(&Url::parse(address).expect("an address"));
        for address in [
            "https://example.org/x",
            "http://127.0.0.1:1/x",
            "http://[::1]/x",
            "http://169.254.170.23/x",
            "http://[fd00:ec2::23]/x",
            "http://localhost/x",
        ] {
            assert!(near(address), "{address}");
        }
        for address in ["http://example.org/x", "http://169.254.169.254/x", "ftp://127.0.0.1/x", "http://10.0.0.1/"] {
            assert!(!near(address), "{address}");
        }
    }

    #[test]
    fn keys_have_an_end() {
        let answer = |body: &str| Answer { status: 200, headers: Default::default(), body: body.into(), is_cut: false };
        let keys = keys_of(answer(
            r#"{"Code":"Success","AccessKeyId":"a","SecretAccessKey":"s","Token":"t","Expiration":"2026-11-29T12:00:00Z"}"#,
        ));
        let Ok(keys) = keys else { panic!("keys") };
        assert_eq!((keys.access.as_str(), keys.secret.as_str()), ("a", "s"));
        assert_eq!(keys.expires, Some("2026-11-29T12:00:00Z".parse().expect("a time")));
        for body in ["", "{}", r#"{"AccessKeyId":"a","SecretAccessKey":"s","Expiration":"soon"}"#] {
            assert!(keys_of(answer(body)).is_err(), "{body}");
        }
    }
}
