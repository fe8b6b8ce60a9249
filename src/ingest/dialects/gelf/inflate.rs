//! Decompresses datagrams. Their first bytes tell how they are compressed.

use std::borrow::Cow;
use std::io::Read;

use flate2::bufread::{MultiGzDecoder, ZlibDecoder};

use crate::ingest::socket_dialect::SocketError;

/// Maximum size of a decompressed message, in bytes. The longest message that is stored whole takes 1 MiB.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Returns the message of a datagram, or of chunks that were put together.
pub(super) fn decompressed(datagram: &[u8]) -> Result<Cow<'_, [u8]>, SocketError> {
    match datagram {
        [0x1f, 0x8b, ..] => inflate(MultiGzDecoder::new(datagram)).map(Cow::Owned),
        // The two bytes of a head of zlib are a multiple of 31 (RFC 1950, section 2.2).
        [first, second, ..]
            if first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31) =>
        {
            inflate(ZlibDecoder::new(datagram)).map(Cow::Owned)
        }
        _ => Ok(Cow::Borrowed(datagram)),
    }
}

fn inflate(stream: impl Read) -> Result<Vec<u8>, SocketError> {
    let mut message = Vec::new();
    stream
        .take(MAX_BYTES + 1)
        .read_to_end(&mut message)
        .map_err(|_| SocketError::Malformed("The compressed datagram is damaged."))?;
    if message.len() as u64 > MAX_BYTES {
        return Err(SocketError::TooLarge("The decompressed message is too large."));
    }
    Ok(message)
}
