//! Encrypted bodies (`pyjs_secret`): base64 of IV ‖ AES-128-CBC(PKCS#7), announced by the header `Moca-Encryption`.
//!
//! CBC carries no authentication, so whoever holds a foreign body could learn its text by sending altered ones and
//! looking which of them are refused as wrongly padded, and which for what they say. Therefore everything that is no
//! genuine plaintext gets one and the same refusal after the same work: a wrong padding is found, the text is read all
//! the same, and a text without the parameters that its content type promises is refused like a wrong padding.

use aes::Aes128;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use bytes::Bytes;
use data_encoding::BASE64_NOPAD;
use http::HeaderMap;
use http::header::HeaderName;

use super::body::{BodyLimits, Collected};
use super::cpu_pool::CpuPool;
use super::params::BodyKind;
use crate::http::response::problem::Problem;

/// Bodies up to this size are decrypted where the request is.
const INLINE: usize = 64 * 1024;

const BLOCK: usize = 16;

/// How a body came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decryption {
    /// in clear
    None,
    /// encrypted, and rightly padded
    Whole,
    /// encrypted, and not so
    Broken,
}

/// Whether the body of a request with these headers is encrypted: any value means so, an empty one too.
pub(crate) fn is_announced(headers: &HeaderMap) -> bool {
    static MOCA_ENCRYPTION: HeaderName = HeaderName::from_static("moca-encryption");
    headers.contains_key(&MOCA_ENCRYPTION)
}

/// The one refusal.
pub(crate) fn undecryptable() -> Problem {
    Problem::bad_request("The body can't be decrypted.")
}

/// Decrypts a body. What comes back as [`Decryption::Broken`] has to be read before it is refused.
pub(crate) async fn decrypt(
    body: Collected,
    secret: Option<&[u8; BLOCK]>,
    caps: BodyLimits,
    cpu_pool: &CpuPool,
) -> Result<(Collected, Decryption), Problem> {
    let secret = *secret.ok_or_else(undecryptable)?;
    let (bytes, mut share) = body.into_parts();
    share.wait_for(room(&bytes) as u64, caps.memory_for_this()).await?;
    let small = bytes.len() <= INLINE;
    let work = move || {
        let (plain, seal) = open(&bytes, &secret).ok_or_else(undecryptable)?;
        share.shrink_to(room(&bytes) as u64);
        Ok((Collected::new(plain, share), seal))
    };
    if small { work() } else { cpu_pool.run(move |_| work()).await? }
}

/// What the decoded bytes take at most.
const fn room(base64: &[u8]) -> usize {
    base64.len() / 4 * 3 + 3
}

fn open(base64: &[u8], secret: &[u8; BLOCK]) -> Option<(Bytes, Decryption)> {
    let mut message = decode_base64(base64)?;
    let (iv, text) = message.split_first_chunk_mut::<BLOCK>()?;
    if text.is_empty() {
        return None;
    }
    let cipher = cbc::Decryptor::<Aes128>::new(&(*secret).into(), &(*iv).into());
    // Fails where the length is none of whole blocks.
    let text = cipher.decrypt_padded::<NoPadding>(text).ok()?;
    let padding = padding_of(text);
    let end = message.len() - padding.unwrap_or(0);
    let seal = if padding.is_some() { Decryption::Whole } else { Decryption::Broken };
    Some((Bytes::from(message).slice(BLOCK..end), seal))
}

/// The length of a PKCS#7 padding (RFC 5652, section 6.3). Looks at every byte, whatever the first ones say.
fn padding_of(text: &[u8]) -> Option<usize> {
    let last = text.last_chunk::<BLOCK>()?;
    let length = last[BLOCK - 1];
    let mut invalid_parameter = u8::from(length == 0) | u8::from(usize::from(length) > BLOCK);
    for (at, byte) in last.iter().enumerate() {
        let is_padding = u8::from(at + usize::from(length) >= BLOCK);
        invalid_parameter |= is_padding * (byte ^ length);
    }
    (invalid_parameter == 0).then_some(usize::from(length))
}

/// Standard alphabet, with its padding or without; white space may stand between the digits, as in broken lines.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii_end();
    let text = text.strip_suffix(b"=").map_or(text, |text| text.strip_suffix(b"=").unwrap_or(text));
    let mut decoded = vec![0; room(text)];
    let mut len = 0;
    // A multiple of four digits, so that each piece stands for itself.
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

/// Whether a plaintext is what its content type says, so that no altered text passes for one.
///
/// Whoever knows the ciphertext before a block can keep what the block says and change its end, so it is not enough that
/// a text is readable: it must hold parameters. A text of two blocks that does so is not to be had without knowing it,
/// and a longer one has a block of random bytes in it.
pub(crate) fn is_genuine(kind: BodyKind, text: &[u8], has_parameters: bool) -> bool {
    let is_control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    let readable = std::str::from_utf8(text).is_ok()
        && match kind {
            // Percent-encoded where it is anything else (URL standard, application/x-www-form-urlencoded).
            BodyKind::Form => !text.iter().any(is_control),
            _ => true,
        };
    text.is_empty() || (readable && has_parameters)
}

#[cfg(test)]
#[path = "decrypt_tests.rs"]
mod tests;
