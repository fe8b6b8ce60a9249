//! Reads the certificate authorities that this machine trusts, for outgoing TLS connections.

use tokio_rustls::rustls::RootCertStore;

/// Reads the certificate store of the system. Blocks, because the store is made of files.
///
/// Certificates that cannot be parsed are skipped, so the connection that needs one fails. The
/// store is empty when the machine has none (Debian: the package `ca-certificates`).
pub(crate) fn load_system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
