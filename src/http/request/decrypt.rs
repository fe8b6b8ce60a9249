//! Decrypts bodies with `pyjs_secret`.
//!
//! Such a body is base64 of IV ‖ AES-128-CBC(PKCS#7), and the header `Moca-Encryption` announces
//! it.
//!
//! CBC does not authenticate. An attacker who holds the encrypted body of another client could send
//! altered copies. Different refusals for a wrong padding and for a wrong content would then reveal
//! the text (a padding oracle). Therefore every text that is not genuine gets the same refusal
//! after the same work. The server parses the text even after a wrong padding. It refuses a text
//! without the parameters of its content type as if the padding were wrong.

use aes::Aes128;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use bytes::Bytes;
use data_encoding::BASE64_NOPAD;
use http::HeaderMap;
use http::header::HeaderName;

use super::body::{BodyLimits, Collected};
use super::cpu_pool::CpuPool;
use crate::http::observe::counters::Reason;
use crate::http::response::problem::Problem;
use crate::ingest::body::media_type::BodyKind;

/// Maximum size of a body that the event loop decrypts itself.
const MAX_INLINE_BYTES: usize = 64 * 1024;

const BLOCK_BYTES: usize = 16;

/// Says whether a body was encrypted and whether its padding is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decryption {
    /// The body was not encrypted.
    None,
    /// The body was encrypted, and its padding is valid.
    Whole,
    /// The body was encrypted, and its padding is invalid.
    Broken,
}

/// Returns whether the headers announce an encrypted body. Any value of `Moca-Encryption` does so,
/// even an empty one.
pub(crate) fn is_announced(headers: &HeaderMap) -> bool {
    static MOCA_ENCRYPTION: HeaderName = HeaderName::from_static("moca-encryption");
    headers.contains_key(&MOCA_ENCRYPTION)
}

/// Returns the one refusal for every body that is not genuine.
pub(crate) fn undecryptable() -> Problem {
    Problem::bad_request("The body can't be decrypted.").counted_as(Reason::MalformedEncryption)
}

/// Decrypts a body. The caller must parse a body with [`Decryption::Broken`] before it refuses the
/// request.
///
/// # Errors
/// Fails with [`undecryptable`] when the body is not base64 of whole blocks, and when no secret is
/// configured. Fails as [`MemoryShare::wait_for`](super::memory_budget::MemoryShare::wait_for) does
/// when the memory is used up.
pub(crate) async fn decrypt(
    body: Collected,
    secret: Option<&[u8; BLOCK_BYTES]>,
    limits: BodyLimits,
    cpu_pool: &CpuPool,
) -> Result<(Collected, Decryption), Problem> {
    let secret = *secret.ok_or_else(undecryptable)?;
    let (bytes, mut share) = body.into_parts();
    share.wait_for(max_decoded_len(&bytes) as u64, limits.memory_for_this()).await?;
    let is_small = bytes.len() <= MAX_INLINE_BYTES;
    let work = move || {
        let (plain, decryption) = open(&bytes, &secret).ok_or_else(undecryptable)?;
        share.shrink_to(max_decoded_len(&bytes) as u64);
        Ok((Collected::new(plain, share), decryption))
    };
    if is_small { work() } else { cpu_pool.run(move |_| work()).await? }
}

/// Returns the maximum number of bytes that a base64 text decodes to.
const fn max_decoded_len(base64: &[u8]) -> usize {
    base64.len() / 4 * 3 + 3
}

fn open(base64: &[u8], secret: &[u8; BLOCK_BYTES]) -> Option<(Bytes, Decryption)> {
    let mut message = decode_base64(base64)?;
    let (iv, text) = message.split_first_chunk_mut::<BLOCK_BYTES>()?;
    if text.is_empty() {
        return None;
    }
    let cipher = cbc::Decryptor::<Aes128>::new(&(*secret).into(), &(*iv).into());
    // Fails when the length is not a multiple of the block size.
    let text = cipher.decrypt_padded::<NoPadding>(text).ok()?;
    let padding = padding_of(text);
    let end = message.len() - padding.unwrap_or(0);
    let decryption = if padding.is_some() { Decryption::Whole } else { Decryption::Broken };
    Some((Bytes::from(message).slice(BLOCK_BYTES..end), decryption))
}

/// Returns the length of a PKCS#7 padding (RFC 5652, section 6.3). It takes the same time for all
/// bytes of the padding, so the time reveals nothing.
fn padding_of(text: &[u8]) -> Option<usize> {
    let last = text.last_chunk::<BLOCK_BYTES>()?;
    let len = last[BLOCK_BYTES - 1];
    let mut mismatch = u8::from(len == 0) | u8::from(usize::from(len) > BLOCK_BYTES);
    for (at, byte) in last.iter().enumerate() {
        let is_padding = u8::from(at + usize::from(len) >= BLOCK_BYTES);
        mismatch |= is_padding * (byte ^ len);
    }
    (mismatch == 0).then_some(usize::from(len))
}

/// Decodes base64 of the standard alphabet, with or without padding. White space between the digits
/// is skipped, because senders break the text into lines.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii_end();
    let text = text.strip_suffix(b"=").map_or(text, |text| text.strip_suffix(b"=").unwrap_or(text));
    let mut decoded = vec![0; max_decoded_len(text)];
    let mut len = 0;
    // The length is a multiple of four digits, so that each piece can be decoded alone.
    let mut piece = [0; 4096];
    let mut filled = 0;
    for byte in text.iter().filter(|byte| !byte.is_ascii_whitespace()) {
        piece[filled] = *byte;
        filled += 1;
        if filled == piece.len() {
            len += decode_piece(&piece, &mut decoded[len..])?;
            filled = 0;
        }
    }
    len += decode_piece(&piece[..filled], &mut decoded[len..])?;
    decoded.truncate(len);
    Some(decoded)
}

fn decode_piece(digits: &[u8], into: &mut [u8]) -> Option<usize> {
    let len = BASE64_NOPAD.decode_len(digits.len()).ok()?;
    BASE64_NOPAD.decode_mut(digits, into.get_mut(..len)?).ok()
}

/// Returns whether a plaintext has the form and the parameters of its content type.
///
/// A readable text is not enough, because an attacker can change the ciphertext before a block.
/// That changes the end of the decrypted block and keeps the rest. The text must therefore contain
/// parameters too. An attacker cannot produce such a text of two blocks without knowing the
/// plaintext. A longer altered text contains a block of random bytes, so it is not readable.
pub(crate) fn is_genuine(kind: BodyKind, text: &[u8], has_parameters: bool) -> bool {
    let is_control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    let is_readable = std::str::from_utf8(text).is_ok()
        && match kind {
            // A form percent-encodes control characters (URL standard, section 5).
            BodyKind::Form => !text.iter().any(is_control),
            _ => true,
        };
    text.is_empty() || (is_readable && has_parameters)
}

#[cfg(test)]
#[path = "decrypt_tests.rs"]
mod tests;
