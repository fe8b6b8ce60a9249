//! Proves to each other that client and server know the same secret: HELO, PING and PONG of the forward
//! protocol, version 1.

use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use super::msgpack::{Broken, Reader};
use crate::ingest::socket_dialect::SocketError;

/// The name of this server. A client refuses a server that has the name of its own host.
const SERVER_NAME: &str = "moca-file-log";

/// Maximum length of a PING, in bytes.
pub(super) const MAX_PING_BYTES: usize = 16 * 1024;

/// One handshake, from the side of the server.
pub(super) struct Handshake {
    secret: String,
    nonce: [u8; 16],
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake(…)")
    }
}

impl Handshake {
    /// Starts a handshake. `None`: the system gives no random bytes.
    pub(super) fn new(secret: &str) -> Option<Self> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).ok()?;
        Some(Self { secret: secret.to_owned(), nonce })
    }

    /// Returns the first message of the connection. It asks for no user and allows more than one message
    /// on the connection.
    pub(super) fn helo(&self) -> Vec<u8> {
        let mut message = b"\x92\xa4HELO\x83\xa5nonce\xc4\x10".to_vec();
        message.extend_from_slice(&self.nonce);
        message.extend_from_slice(b"\xa4auth\xc4\x00\xa9keepalive\xc3");
        message
    }

    /// Checks the PING and appends the PONG to `answer`.
    ///
    /// # Errors
    /// Fails when the client does not know the secret.
    pub(super) fn check(&self, ping: &[u8], answer: &mut Vec<u8>) -> Result<(), SocketError> {
        let Ok(Ping { host, salt, digest }) = Ping::parse(ping) else {
            pong(answer, "invalid ping message", None);
            return Err(SocketError::Denied("The client sends no PING, or a malformed one."));
        };
        let expected = self.digest(salt, host);
        if !bool::from(expected.as_bytes().ct_eq(digest)) {
            pong(answer, "shared_key mismatch", None);
            return Err(SocketError::Denied("The shared key of the client is another one."));
        }
        pong(answer, "", Some(&self.digest(salt, SERVER_NAME.as_bytes())));
        Ok(())
    }

    fn digest(&self, salt: &[u8], host: &[u8]) -> String {
        let hash = Sha512::new().chain_update(salt).chain_update(host).chain_update(self.nonce);
        HEXLOWER.encode(&hash.chain_update(&self.secret).finalize())
    }
}

/// The answer of the client to HELO.
struct Ping<'a> {
    host: &'a [u8],
    salt: &'a [u8],
    digest: &'a [u8],
}

impl<'a> Ping<'a> {
    fn parse(ping: &'a [u8]) -> Result<Self, Broken> {
        let mut reader = Reader::new(ping);
        if reader.array()? < 4 || reader.bytes()? != b"PING" {
            return Err(Broken::Invalid);
        }
        Ok(Self { host: reader.bytes()?, salt: reader.bytes()?, digest: reader.bytes()? })
    }
}

/// Appends a PONG. Without a digest, the client is refused.
fn pong(answer: &mut Vec<u8>, reason: &str, digest: Option<&str>) {
    answer.extend_from_slice(b"\x95\xa4PONG");
    answer.push(if digest.is_some() { 0xc3 } else { 0xc2 });
    let name = if digest.is_some() { SERVER_NAME } else { "" };
    for text in [reason, name, digest.unwrap_or_default()] {
        // Writing to memory does not fail.
        rmp::encode::write_str(answer, text).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the PING of a client with this secret.
    fn ping(handshake: &Handshake, secret: &str) -> Vec<u8> {
        let client = Handshake { secret: secret.to_owned(), nonce: handshake.nonce };
        let mut message = b"\x96\xa4PING".to_vec();
        for text in ["host", "salt", &client.digest(b"salt", b"host"), "", ""] {
            rmp::encode::write_str(&mut message, text).unwrap();
        }
        message
    }

    #[test]
    fn the_secret_is_proved_by_both() {
        let handshake = Handshake::new("secret").unwrap();
        assert!(handshake.helo().windows(16).any(|bytes| bytes == handshake.nonce));
        let mut answer = Vec::new();
        assert_eq!(handshake.check(&ping(&handshake, "secret"), &mut answer), Ok(()));
        assert!(answer.starts_with(b"\x95\xa4PONG\xc3\xa0\xadmoca-file-log\xd9\x80"));
        assert!(answer.ends_with(handshake.digest(b"salt", b"moca-file-log").as_bytes()));
    }

    #[test]
    fn another_secret_and_no_ping_are_refused() {
        let handshake = Handshake::new("secret").unwrap();
        let other = ping(&handshake, "Secret");
        for message in [&other[..], b"\x93\xa1t\x00\x80", b"\x90", b"\xc0", b"\x96\xa4PING\xa1h"] {
            let mut answer = Vec::new();
            assert!(matches!(handshake.check(message, &mut answer), Err(SocketError::Denied(_))));
            assert!(answer.starts_with(b"\x95\xa4PONG\xc2"), "{message:x?}");
        }
        assert_eq!(format!("{handshake:?}"), "Handshake(…)");
    }
}
