//! TLS of the server: its certificate, and those of clients that an authority of ours signed.

use std::path::Path;
use std::sync::Arc;

use engine::{EngineError, ErrorKind, Result};
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::files::read_small;

/// Length in bytes of the largest file of certificates.
const PEM_BYTES: u64 = 1 << 20;

/// The files that make up a server's side of TLS, in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, and those between it and the authority.
    pub certificate: std::path::PathBuf,
    /// Its key.
    pub key: std::path::PathBuf,
    /// Authorities whose clients' certificates are looked at.
    pub client_authorities: Option<std::path::PathBuf>,
}

/// The configuration of TLS 1.2 and 1.3.
///
/// # Errors
/// `Io`; `Invalid` if a file is not what it should be.
pub(super) fn configuration(files: &TlsFiles) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(default_provider());
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&read_small(&files.key, PEM_BYTES)?)
        .map_err(|error| bad_file("key", &files.key, error))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| EngineError::with_source(ErrorKind::Invalid, "cannot set up TLS", error))?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(path)? {
                roots.add(authority).map_err(|error| bad_file("certificate", path, error))?;
            }
            // One without a certificate may have a token.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| bad_file("authority", path, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut configuration =
        builder.with_single_cert(chain, key).map_err(|error| bad_file("certificate", &files.certificate, error))?;
    configuration.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(configuration))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read_small(path, PEM_BYTES)?;
    let all: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| bad_file("certificate", path, error))?;
    if all.is_empty() {
        return Err(EngineError::new(ErrorKind::Invalid, format!("there is no certificate in {}", path.display())));
    }
    Ok(all)
}

fn bad_file(what: &str, path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> EngineError {
    EngineError::with_source(ErrorKind::Invalid, format!("cannot use the {what} in {}", path.display()), error)
}

/// SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` says it.
pub(super) fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    hash.copy_from_slice(digest.as_ref());
    hash
}

/// The common name in the subject of a certificate that was verified; `None` if it has none, several, or an odd one.
pub(super) fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut rest = parsed.subject();
    let mut found = None;
    // Name: a sequence of sets of attributes. What webpki gives has no outer tag.
    while !rest.is_empty() {
        let (mut set, after) = element(rest, 0x31)?;
        rest = after;
        while !set.is_empty() {
            let (attribute, after) = element(set, 0x30)?;
            set = after;
            let (kind, value) = element(attribute, 0x06)?;
            if kind == [0x55, 0x04, 0x03] && found.replace(text(value)?).is_some() {
                return None;
            }
        }
    }
    found
}

/// A string of UTF-8, printable characters or IA5, all of it.
fn text(value: &[u8]) -> Option<String> {
    let (bytes, rest) = [0x0c, 0x13, 0x16].into_iter().find_map(|tag| element(value, tag))?;
    let text = std::str::from_utf8(bytes).ok().filter(|_| rest.is_empty())?;
    (!text.is_empty() && !text.chars().any(|char| char.is_whitespace() || char.is_control())).then(|| text.to_owned())
}

/// The content of a DER element with that tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (len, rest) = match rest.split_first()? {
        (len @ 0..=0x7f, rest) => (usize::from(*len), rest),
        (0x81, rest) => rest.split_first().map(|(len, rest)| (usize::from(*len), rest))?,
        (0x82, rest) => {
            rest.split_first_chunk::<2>().map(|(len, rest)| (usize::from(u16::from_be_bytes(*len)), rest))?
        }
        _ => return None,
    };
    (*first == tag).then(|| rest.split_at_checked(len))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_any_bytes_stay_within_them() {
        assert_eq!(element(&[0x06, 2, 1, 2, 3], 0x06), Some((&[1, 2][..], &[3][..])));
        assert_eq!(element(&[0x06, 0x81, 1, 9], 0x06), Some((&[9][..], &[][..])));
        for bytes in
            [&[][..], &[0x06], &[0x06, 3, 1], &[0x06, 0x84, 0, 0, 0, 1, 1], &[0x06, 0x82, 0xff, 0xff], &[0x30, 0]]
        {
            assert_eq!(element(bytes, 0x06), None, "{bytes:?}");
        }
    }
}
