//! Reads the PEM files of the HTTPS certificate and its private key, checks them as a pair, and
//! prepares the configurations of the handshake.
//!
//! A pair that does not work is a [`Finding`] that names the file and the remedy. A finding never
//! holds a part of the key.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{CipherSuite, Error, InconsistentKeys, ServerConfig};

use crate::config::{Finding, Tls};

/// The cipher suites with AES-128: one of TLS 1.3, and one of TLS 1.2 for each kind of key.
const AES_128_SUITES: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// A certificate with its key, ready to serve.
pub struct Identity {
    /// Offers HTTP/2 and HTTP/1.1.
    serving: Arc<ServerConfig>,
    /// Offers HTTP/1.1 only, for refusals that are written without hyper.
    http1_only: Arc<ServerConfig>,
    /// Offers no protocol and sends no tickets, for senders that use no HTTP.
    senders: Arc<ServerConfig>,
    /// SHA-256 over both files.
    digest: [u8; 32],
}

/// Prints no content, since the identity holds a private key.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity { … }")
    }
}

/// Two identities are equal when they were read from the same bytes.
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Identity {
    /// Returns the configuration for connections that are served. It offers HTTP/2 and HTTP/1.1.
    #[must_use]
    pub fn serving(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.serving)
    }

    /// Returns the configuration for connections that are refused. It never agrees on HTTP/2.
    #[must_use]
    pub fn http1_only(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.http1_only)
    }

    /// Returns the configuration for connections that are not HTTP. It sends no session tickets: a sender
    /// that never reads closes its socket with the tickets unread, which resets the connection, and then
    /// the kernel drops what the sender wrote last.
    #[must_use]
    pub fn senders(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.senders)
    }
}

/// Maximum size of a PEM file.
const MAX_PEM_FILE_BYTES: u64 = 1 << 20;

/// The option that names the certificate file.
const CERT_OPTION: &str = "ssl.cert";
/// The option that names the key file.
const KEY_OPTION: &str = "ssl.key";

/// Reads and checks the certificate and the key of `tls`. Relative paths are relative to
/// `config_dir`.
///
/// # Errors
/// Returns a finding when a file is missing, unreadable or malformed, or when the key does not
/// belong to the certificate.
pub fn load(tls: &Tls, config_dir: &Path) -> Result<Identity, Finding> {
    let [cert_path, key_path] = paths(tls, config_dir);
    let cert_text = read(CERT_OPTION, &cert_path)?;
    let key_text = read(KEY_OPTION, &key_path)?;
    let chain = certificates(&cert_text, &cert_path)?;
    let key = private_key(&key_text, &key_path)?;
    let unusable = |error: Error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let (key, cert) = (key_path.display(), cert_path.display());
            let message = format!("{key} is not the private key of the certificate in {cert}");
            finding(
                KEY_OPTION,
                message,
                "put the two files of one certificate here, its own certificate first",
            )
        }
        Error::InvalidCertificate(_) => {
            let message = format!("{} holds a malformed certificate", cert_path.display());
            finding(CERT_OPTION, message, "export it again as PEM")
        }
        _ => {
            let message = format!("{} holds a key that can't be used", key_path.display());
            finding(
                KEY_OPTION,
                message,
                "use an RSA (2048 bits or more), ECDSA (P-256, P-384) or Ed25519 key",
            )
        }
    };
    let mut provider = ring::default_provider();
    // AES-128 goes before AES-256, although OpenSSL's clients prefer the opposite. It has 10 rounds
    // instead of 14, which saves both sides 1 % of the cost of a record. No attack on either is
    // known.
    provider.cipher_suites.sort_by_key(|suite| !AES_128_SUITES.contains(&suite.suite()));
    // The server ignores SNI, because it has one certificate.
    let mut serving = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    serving.ignore_client_order = true;
    serving.ticketer = ring::Ticketer::new().map_err(unusable)?;
    let mut senders = serving.clone();
    senders.send_tls13_tickets = 0;
    serving.alpn_protocols = vec![b"http/1.1".to_vec()];
    let http1_only = serving.clone();
    serving.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let digest = Sha256::new().chain_update(Sha256::digest(&cert_text)).chain_update(&key_text).finalize();
    let [serving, http1_only, senders] = [serving, http1_only, senders].map(Arc::new);
    Ok(Identity { serving, http1_only, senders, digest: digest.into() })
}

/// Returns the paths of the certificate and the key.
fn paths(tls: &Tls, config_dir: &Path) -> [PathBuf; 2] {
    [config_dir.join(&tls.cert), config_dir.join(&tls.key)]
}

/// Returns a finding about `option` of `server.json`.
fn finding(option: &str, message: impl Into<String>, remedy: &str) -> Finding {
    Finding::of_option("server.json", option, message).with_remedy(remedy)
}

/// Reads the regular file at `path`, of at most [`MAX_PEM_FILE_BYTES`].
fn read(option: &str, path: &Path) -> Result<Vec<u8>, Finding> {
    let shown = path.display();
    let cannot = |error: std::io::Error| {
        let message = format!("{shown} cannot be read: {error}");
        finding(
            option,
            message,
            match error.kind() {
                ErrorKind::PermissionDenied => {
                    "let the service's group read it: chgrp moca-file-log and chmod 640, and let it pass the folders \
                     above"
                }
                ErrorKind::NotFound => "put it there, correct the path, or set ssl to null for plain HTTP",
                _ => "put a PEM file there",
            },
        )
    };
    let file = File::open(path).map_err(cannot)?;
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err(finding(option, format!("{shown} is not a regular file"), "put a PEM file in its place"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_PEM_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MAX_PEM_FILE_BYTES {
        return Err(finding(
            option,
            format!("{shown} is larger than a megabyte"),
            "put a PEM file in its place",
        ));
    }
    Ok(bytes)
}

/// Parses the chain of certificates. A chain without a certificate is a finding.
fn certificates(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, Finding> {
    let shown = path.display();
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => {
            let message = format!("{shown} holds no certificate, expected -----BEGIN CERTIFICATE-----");
            Err(finding(
                CERT_OPTION,
                message,
                "put the certificate there as PEM, followed by those of its issuers",
            ))
        }
        Ok(chain) => Ok(chain),
        Err(_) => Err(finding(CERT_OPTION, format!("{shown} is malformed PEM"), "export it again as PEM")),
    }
}

/// Parses the first private key.
fn private_key(text: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, Finding> {
    let shown = path.display();
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        if memchr::memmem::find(text, b"ENCRYPTED").is_some() {
            let message = format!("{shown} is encrypted, and the service cannot ask for its passphrase");
            return finding(KEY_OPTION, message, "decrypt it: openssl pkey -in OLD -out NEW");
        }
        if matches!(error, pem::Error::NoItemsFound) {
            let message = format!("{shown} holds no private key, expected -----BEGIN PRIVATE KEY-----");
            return finding(KEY_OPTION, message, "put the key there as PEM");
        }
        finding(KEY_OPTION, format!("{shown} is malformed PEM"), "export it again as PEM")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder() -> (tempfile::TempDir, Tls) {
        let folder = tempfile::tempdir().unwrap();
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.path().join("c.pem"), pair.cert.pem()).unwrap();
        fs::write(folder.path().join("k.pem"), pair.signing_key.serialize_pem()).unwrap();
        (folder, Tls { cert: "c.pem".into(), key: "k.pem".into() })
    }

    fn refusal(tls: &Tls, folder: &Path) -> String {
        load(tls, folder).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn identities_are_equal_only_when_read_from_the_same_bytes() {
        let (folder, tls) = folder();
        let one = load(&tls, folder.path()).unwrap();
        assert!(one == load(&tls, folder.path()).unwrap());
        let (other, tls) = super::tests::folder();
        assert!(one != load(&tls, other.path()).unwrap());
    }

    #[test]
    fn each_mistake_has_its_own_finding() {
        let (folder, tls) = folder();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let with = |cert: &str, key: &str| Tls { cert: cert.into(), key: key.into() };
        let message_of = |tls: &Tls| refusal(tls, folder.path());
        assert!(message_of(&with("none.pem", "k.pem")).contains("server.json: ssl.cert: "));
        assert!(message_of(&with("none.pem", "k.pem")).contains("none.pem cannot be read: No such file"));
        assert!(message_of(&with("c.pem", "none.pem")).contains("ssl.key: "));
        assert!(message_of(&with("k.pem", "c.pem")).contains("holds no certificate"));
        assert!(message_of(&with("c.pem", "c.pem")).contains("holds no private key"));
        assert!(message_of(&with(".", "k.pem")).contains("not a regular file"));
        write("garbage.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
        assert!(message_of(&with("garbage.pem", "k.pem")).contains("malformed PEM"));
        write("der.pem", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n");
        assert!(message_of(&with("der.pem", "k.pem")).contains("malformed certificate"));
        write(
            "secret.pem",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----\n",
        );
        assert!(message_of(&with("c.pem", "secret.pem")).contains("is encrypted"));
        write("bad.pem", "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n");
        assert!(message_of(&with("c.pem", "bad.pem")).contains("can't be used"));
        let (other, _) = super::tests::folder();
        fs::copy(other.path().join("k.pem"), folder.path().join("other.pem")).unwrap();
        assert!(
            message_of(&with("c.pem", "other.pem")).contains("is not the private key of the certificate")
        );
        fs::write(folder.path().join("large.pem"), vec![b'a'; 2 << 20]).unwrap();
        assert!(message_of(&with("large.pem", "k.pem")).contains("larger than"));
        drop(tls);
    }
}
