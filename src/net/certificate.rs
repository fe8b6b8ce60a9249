//! The certificate and the private key of HTTPS: read from their PEM files, judged as a pair, made ready for handshakes.
//!
//! A pair that does not work is a [`Finding`] that names the file and what to do; nothing of a key is ever in one. The
//! files are told from their successors by [`stamp`], which looks at them without reading: certificates are renewed by
//! programs that write, rename and swap links, often in folders that the service may pass through but not list
//! (`/etc/ssl/private`), where inotify would see nothing.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{CipherSuite, Error, InconsistentKeys, ServerConfig};

use crate::config::{Finding, Tls};

/// TLS 1.3 has one of them, TLS 1.2 one for each kind of key.
const AES_128: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// A certificate with its key, ready to serve.
pub struct Identity {
    /// HTTP/2 or HTTP/1.1, as the client prefers
    serving: Arc<ServerConfig>,
    /// HTTP/1.1 only, for answers that are written by hand
    plain: Arc<ServerConfig>,
    /// of both files
    digest: [u8; 32],
}

/// There is a private key inside.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity { … }")
    }
}

/// Whether two were read from the same bytes.
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Identity {
    /// What a connection is served with.
    #[must_use]
    pub fn serving(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.serving)
    }

    /// What a connection is refused with: it never agrees on HTTP/2.
    #[must_use]
    pub fn plain(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.plain)
    }
}

/// Larger files are no certificates and no keys.
const LARGEST: u64 = 1 << 20;

const CERT: &str = "ssl.cert";
const KEY: &str = "ssl.key";

/// Reads the pair of `tls`; relative paths are relative to `config_dir`.
///
/// # Errors
/// When a file is missing, unreadable or not what it should be, or when the two do not belong together.
pub fn load(tls: &Tls, config_dir: &Path) -> Result<Identity, Finding> {
    let [cert_path, key_path] = paths(tls, config_dir);
    let cert_text = read(CERT, &cert_path)?;
    let key_text = read(KEY, &key_path)?;
    let chain = certificates(&cert_text, &cert_path)?;
    let key = private_key(&key_text, &key_path)?;
    let unusable = |error: Error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let (key, cert) = (key_path.display(), cert_path.display());
            let message = format!("{key} is not the private key of the certificate in {cert}");
            finding(KEY, message, "put the two files of one certificate here, its own certificate first")
        }
        Error::InvalidCertificate(_) => {
            let message = format!("{} holds a malformed certificate", cert_path.display());
            finding(CERT, message, "export it again as PEM")
        }
        _ => {
            let message = format!("{} holds a key that can't be used", key_path.display());
            finding(KEY, message, "use an RSA (2048 bits or more), ECDSA (P-256, P-384) or Ed25519 key")
        }
    };
    let mut provider = ring::default_provider();
    // AES-128 before AES-256, though OpenSSL's clients say the opposite: ten rounds instead of fourteen, on both sides
    // (1 % of what a record costs), and nobody breaks either.
    provider.cipher_suites.sort_by_key(|suite| !AES_128.contains(&suite.suite()));
    // SNI is not looked at: there is one certificate.
    let mut serving = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    serving.ignore_client_order = true;
    serving.ticketer = ring::Ticketer::new().map_err(unusable)?;
    serving.alpn_protocols = vec![b"http/1.1".to_vec()];
    let plain = serving.clone();
    serving.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let digest = Sha256::new().chain_update(Sha256::digest(&cert_text)).chain_update(&key_text).finalize();
    Ok(Identity { serving: Arc::new(serving), plain: Arc::new(plain), digest: digest.into() })
}

/// Which files stand at the two paths, followed through links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp([Option<FileStamp>; 2]);

/// device, inode, length, time of change in seconds and nanoseconds
type FileStamp = (u64, u64, u64, i64, i64);

/// Looks at the files of `tls` without reading them. Equal stamps: nothing was replaced, written or linked anew.
#[must_use]
pub fn stamp(tls: &Tls, config_dir: &Path) -> Stamp {
    Stamp(paths(tls, config_dir).map(|path| {
        let file = fs::metadata(path).ok()?;
        // The time of change, which no program can set: a file copied with its old times is new.
        Some((file.dev(), file.ino(), file.len(), file.ctime(), file.ctime_nsec()))
    }))
}

/// The places of certificate and key.
fn paths(tls: &Tls, config_dir: &Path) -> [PathBuf; 2] {
    [config_dir.join(&tls.cert), config_dir.join(&tls.key)]
}

fn finding(option: &str, message: impl Into<String>, remedy: &str) -> Finding {
    Finding::of_option("server.json", option, message).with_remedy(remedy)
}

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
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LARGEST {
        return Err(finding(
            option,
            format!("{shown} is larger than a megabyte"),
            "put a PEM file in its place",
        ));
    }
    Ok(bytes)
}

fn certificates(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, Finding> {
    let shown = path.display();
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => {
            let message = format!("{shown} holds no certificate, expected -----BEGIN CERTIFICATE-----");
            Err(finding(CERT, message, "put the certificate there as PEM, followed by those of its issuers"))
        }
        Ok(chain) => Ok(chain),
        Err(_) => Err(finding(CERT, format!("{shown} is malformed PEM"), "export it again as PEM")),
    }
}

fn private_key(text: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, Finding> {
    let shown = path.display();
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        if memchr::memmem::find(text, b"ENCRYPTED").is_some() {
            let message = format!("{shown} is encrypted, and nobody is there to type its passphrase");
            return finding(KEY, message, "decrypt it: openssl pkey -in OLD -out NEW");
        }
        if matches!(error, pem::Error::NoItemsFound) {
            let message = format!("{shown} holds no private key, expected -----BEGIN PRIVATE KEY-----");
            return finding(KEY, message, "put the key there as PEM");
        }
        finding(KEY, format!("{shown} is malformed PEM"), "export it again as PEM")
    })
}

#[cfg(test)]
mod tests {
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
    fn a_pair_is_loaded_and_told_from_another() {
        let (folder, tls) = folder();
        let one = load(&tls, folder.path()).unwrap();
        assert!(one == load(&tls, folder.path()).unwrap());
        let (other, tls) = super::tests::folder();
        assert!(one != load(&tls, other.path()).unwrap());
    }

    #[test]
    fn each_mistake_has_its_words() {
        let (folder, tls) = folder();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let with = |cert: &str, key: &str| Tls { cert: cert.into(), key: key.into() };
        let said = |tls: &Tls| refusal(tls, folder.path());
        assert!(said(&with("none.pem", "k.pem")).contains("server.json: ssl.cert: "));
        assert!(said(&with("none.pem", "k.pem")).contains("none.pem cannot be read: No such file"));
        assert!(said(&with("c.pem", "none.pem")).contains("ssl.key: "));
        assert!(said(&with("k.pem", "c.pem")).contains("holds no certificate"));
        assert!(said(&with("c.pem", "c.pem")).contains("holds no private key"));
        assert!(said(&with(".", "k.pem")).contains("not a regular file"));
        write("garbage.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
        assert!(said(&with("garbage.pem", "k.pem")).contains("malformed PEM"));
        write("der.pem", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n");
        assert!(said(&with("der.pem", "k.pem")).contains("malformed certificate"));
        write(
            "secret.pem",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----\n",
        );
        assert!(said(&with("c.pem", "secret.pem")).contains("is encrypted"));
        write("bad.pem", "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n");
        assert!(said(&with("c.pem", "bad.pem")).contains("can't be used"));
        let (other, _) = super::tests::folder();
        fs::copy(other.path().join("k.pem"), folder.path().join("other.pem")).unwrap();
        assert!(said(&with("c.pem", "other.pem")).contains("is not the private key of the certificate"));
        fs::write(folder.path().join("large.pem"), vec![b'a'; 2 << 20]).unwrap();
        assert!(said(&with("large.pem", "k.pem")).contains("larger than"));
        drop(tls);
    }

    #[test]
    fn a_stamp_sees_every_way_to_replace_a_file() {
        let (folder, tls) = folder();
        let path = |name: &str| folder.path().join(name);
        let mut seen = stamp(&tls, folder.path());
        assert_eq!(seen, stamp(&tls, folder.path()));
        let mut changed = |what: &str| {
            let now = stamp(&tls, folder.path());
            assert_ne!(seen, now, "{what}");
            seen = now;
        };
        let text = fs::read(path("c.pem")).unwrap();
        fs::write(path("new.pem"), &text).unwrap();
        fs::rename(path("new.pem"), path("c.pem")).unwrap();
        changed("renamed");
        fs::rename(path("k.pem"), path("real.pem")).unwrap();
        changed("gone");
        std::os::unix::fs::symlink("real.pem", path("k.pem")).unwrap();
        changed("linked");
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(path("real.pem"), "written in place").unwrap();
        changed("written through a link");
    }
}
