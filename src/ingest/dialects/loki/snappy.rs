//! Decodes the block format of snappy, in which clients of Loki send protobuf.
//!
//! The body announces its decoded length. A length beyond the limit of a body, or one that a body of
//! this size cannot have, is refused before any memory is taken.

use http::StatusCode;
use snap::raw::{Decoder, decompress_len};

use crate::ingest::body::received::ReceivedBody;
use crate::ingest::error::IngestError;

/// Maximum number of bytes that one byte of snappy can stand for. Its longest copy makes 64 bytes of
/// three.
const MAX_RATIO: usize = 22;

/// What a body is in snappy.
pub(super) enum Unpacked<'a> {
    /// The decoded bytes.
    Bytes(&'a [u8]),
    /// The body is no snappy.
    Corrupt,
}

/// Decodes a body.
///
/// # Errors
/// Fails with 413 for a decoded body beyond the limit, and when the memory is used up.
pub(super) fn unpack<'a>(body: &ReceivedBody<'a>) -> Result<Unpacked<'a>, IngestError> {
    let Ok(len) = decompress_len(body.bytes) else { return Ok(Unpacked::Corrupt) };
    if body.bytes.is_empty() || len / MAX_RATIO > body.bytes.len() {
        return Ok(Unpacked::Corrupt);
    }
    let max = body.memory.max_body_bytes();
    if len as u64 > max {
        let why = format!("the decoded body is larger than {max} bytes");
        return Err(IngestError::Dialect {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            code: None,
            why: why.into(),
        });
    }
    body.memory.take(len)?;
    match Decoder::new().decompress_vec(body.bytes) {
        Ok(bytes) => Ok(Unpacked::Bytes(body.texts.keep_unpacked(bytes))),
        Err(_) => Ok(Unpacked::Corrupt),
    }
}
