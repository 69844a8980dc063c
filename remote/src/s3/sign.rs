//! Signatures: AWS Signature Version 4, in headers.
//!
//! The hash of the body is signed with the rest, and every store compares it: bytes that were damaged on their way are not
//! stored. (Signatures in addresses, as for links that are given away, don't cover the body, and end up in logs.)

use aws_lc_rs::{digest, hmac};
use engine::id::hex;
use jiff::Timestamp;
use url::Url;

use super::credentials::Keys;
use super::http::Request;

/// What of a byte stays as it is in a name or value.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Percent-encodes all but letters, digits and `-._~`; slashes stay if they separate.
pub(super) fn encode(text: &str, keep_slashes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) || (keep_slashes && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A query as it is sent and signed: sorted, encoded.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut encoded: Vec<_> = pairs.iter().map(|(name, value)| (encode(name, false), encode(value, false))).collect();
    encoded.sort();
    encoded.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// What the `host` header will say.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Adds the headers that sign all of a request: method, path and query as they are in its address, its headers, and its
/// body by `body_hash`, SHA-256 in hexadecimal digits.
pub(super) fn sign(request: &mut Request, body_hash: &str, keys: &Keys, region: &str, now: Timestamp) {
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    request.headers.push(("x-amz-date", time.clone()));
    request.headers.push(("x-amz-content-sha256", body_hash.to_owned()));
    if let Some(token) = &keys.token {
        request.headers.push(("x-amz-security-token", token.to_string()));
    }
    let host = host_of(&request.url);
    let mut headers: Vec<(&str, &str)> = request.headers.iter().map(|(name, value)| (*name, value.trim())).collect();
    headers.push(("host", &host));
    headers.sort_unstable();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let (method, path) = (request.method, request.url.path());
    let query = request.url.query().unwrap_or_default();
    let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{body_hash}");
    let scope = format!("{}/{region}/s3/aws4_request", &time[..8]);
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&sha256(canonical.as_bytes())));
    let first = zeroize::Zeroizing::new(format!("AWS4{}", keys.secret.as_str()));
    let key =
        [&time[..8], region, "s3", "aws4_request"].iter().fold(first.as_bytes().to_vec(), |key, part| mac(&key, part));
    let signature = hex(&mac(&key, &to_sign));
    let access = &keys.access;
    let value = format!("AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={names}, Signature={signature}");
    request.headers.push(("authorization", value));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of "Signature Calculations for the Authorization Header" in Amazon's documentation.
    #[test]
    fn signatures_are_those_of_the_documentation() {
        let keys = Keys::new("AKIAIOSFODNN7EXAMPLE".into(), "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into());
        let now: Timestamp = "2013-05-24T00:00:00Z".parse().expect("a time");
        let signature = |path: &str, headers: Vec<(&'static str, String)>, body: &'static [u8], method| {
            let url = format!("https://examplebucket.s3.amazonaws.com/{path}").parse().expect("an address");
            let mut request = Request { method, url, headers, body: body.into() };
            sign(&mut request, &hex(&sha256(body)), &keys, "us-east-1", now);
            let (_, value) = request.headers.last().expect("the signature").clone();
            value.rsplit_once("Signature=").expect("a signature").1.to_owned()
        };
        assert_eq!(
            signature("test.txt", vec![("range", "bytes=0-9".into())], b"", "GET"),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let headers = vec![
            ("date", "Fri, 24 May 2013 00:00:00 GMT".into()),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY".into()),
        ];
        assert_eq!(
            signature("test%24file.text", headers, b"Welcome to Amazon S3.", "PUT"),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        assert_eq!(
            signature("?lifecycle=", vec![], b"", "GET"),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            signature("?max-keys=2&prefix=J", vec![], b"", "GET"),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn queries_are_sorted_and_encoded() {
        assert_eq!(
            query(&[("prefix", "a b/ü"), ("list-type", "2"), ("uploads", "")]),
            "list-type=2&prefix=a%20b%2F%C3%BC&uploads="
        );
        assert_eq!(encode("a b/c", true), "a%20b/c");
    }
}
