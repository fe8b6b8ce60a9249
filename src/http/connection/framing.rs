//! Finds the end of each request in the bytes of an HTTP/1 connection.
//!
//! hyper gets the bytes of one request at a time. So the bytes of the next head are never read
//! together with the request before it, and the head of every request is known as it was received.
//! hyper alone decides where a body ends. What is found here decides only how many bytes hyper gets
//! at once.

use super::chunks::ChunkScanner;

/// The part of a request that comes next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum RequestPart {
    /// The head, whose end was not received.
    #[default]
    Head,
    /// A body, of which this many bytes are missing.
    Body(u64),
    /// A body in chunks.
    Chunks(ChunkScanner),
    /// None: the request has ended.
    Ended,
    /// Unknown. hyper refuses such a request and closes the connection.
    Unknown,
}

impl RequestPart {
    /// Returns the part that follows a whole head. It reads the fields that frame a body as hyper
    /// does (RFC 9112, section 6.3).
    pub(crate) fn after_head(head: &[u8]) -> Self {
        let mut length = None;
        let mut transfer_coding = None;
        for (name, value) in fields(head) {
            if name.eq_ignore_ascii_case(b"transfer-encoding") {
                transfer_coding = Some(value);
            } else if name.eq_ignore_ascii_case(b"content-length") {
                match parse_length(value) {
                    Some(parsed) if length.is_none_or(|length| length == parsed) => length = Some(parsed),
                    _ => return Self::Unknown,
                }
            }
        }
        match (transfer_coding, length) {
            (Some(coding), _) if is_chunked(coding) => Self::Chunks(ChunkScanner::default()),
            (Some(_), _) => Self::Unknown,
            (None, None | Some(0)) => Self::Ended,
            (None, Some(length)) => Self::Body(length),
        }
    }

    /// Consumes bytes behind the head. Returns how many of them belong to this request.
    pub(crate) fn take_body(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Body(missing) => {
                let taken = usize::try_from(*missing).map_or(bytes.len(), |missing| missing.min(bytes.len()));
                *missing -= taken as u64;
                if *missing == 0 {
                    *self = Self::Ended;
                }
                taken
            }
            Self::Chunks(scanner) => match scanner.scan(bytes) {
                Ok(Some(end)) => {
                    *self = Self::Ended;
                    end
                }
                Ok(None) => bytes.len(),
                Err(_) => {
                    *self = Self::Unknown;
                    bytes.len()
                }
            },
            Self::Unknown => bytes.len(),
            Self::Head | Self::Ended => 0,
        }
    }
}

/// Returns the names and values of a received head.
pub(super) fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|byte| *byte == b'\n').skip(1).filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// Returns the end of the blank line after a head. Searches for a blank line behind the first LF from
/// `from` on. Accepts lines that end with LF alone, as hyper does.
pub(super) fn head_end(head: &[u8], from: usize) -> Option<usize> {
    memchr::memchr_iter(b'\n', head.get(from..)?).map(|end| from + end).find_map(|end| {
        match head.get(end + 1..) {
            Some([b'\r', b'\n', ..]) => Some(end + 3),
            Some([b'\n', ..]) => Some(end + 2),
            _ => None,
        }
    })
}

fn parse_length(digits: &[u8]) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    all_digits.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

/// Returns whether the last coding is `chunked`.
fn is_chunked(codings: &[u8]) -> bool {
    let last = codings.rsplit(|byte| *byte == b',').next().unwrap_or_default();
    last.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

/// Checks that requests are framed alike however their bytes are divided. The fuzz target `framing`
/// calls it.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz(bytes: &[u8], piece_len: usize) {
    assert_eq!(framed(bytes, piece_len.max(1)), framed(bytes, bytes.len().max(1)));
}

/// Returns the places at which heads and requests end, and the part that comes next.
#[cfg(any(fuzzing, test))]
fn framed(bytes: &[u8], piece_len: usize) -> (Vec<usize>, RequestPart) {
    let (mut part, mut head, mut ends, mut place) = (RequestPart::Head, Vec::new(), Vec::new(), 0);
    for mut piece in bytes.chunks(piece_len) {
        while !piece.is_empty() {
            let taken = match &mut part {
                RequestPart::Unknown => return (ends, part),
                RequestPart::Head => {
                    let before = head.len();
                    head.extend_from_slice(piece);
                    match head_end(&head, before.saturating_sub(2)) {
                        Some(end) => {
                            head.truncate(end);
                            part = RequestPart::after_head(&head);
                            head.clear();
                            ends.push(place + end - before);
                            end - before
                        }
                        None => piece.len(),
                    }
                }
                body => body.take_body(piece),
            };
            piece = &piece[taken..];
            place += taken;
            if part == RequestPart::Ended {
                part = RequestPart::Head;
                ends.push(place);
            }
        }
    }
    (ends, part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn requests_are_framed_alike_at_every_cut(
            parts in prop::collection::vec(
                "POST / HTTP/1.1\r\n|(Content-Length: [0-9]{1,2}|Transfer-Encoding: chunked|Host: a)\r?\n|\r?\n|[0-9a-f]\r\n|[ -~]{0,5}",
                0..12
            ),
            piece_len in 1..40_usize,
        ) {
            fuzz(parts.concat().as_bytes(), piece_len);
        }
    }

    #[test]
    fn head_ends_with_a_blank_line() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n";
        assert_eq!(head_end(head, 0), Some(head.len() - 8));
        assert_eq!(head_end(head, head.len() - 11), Some(head.len() - 8));
        assert_eq!(head_end(b"GET / HTTP/1.1\nHost: a\n\nbody", 0), Some(24));
        assert_eq!(head_end(b"GET / HTTP/1.1\r\nHost: a\r\n\r", 0), None);
        assert_eq!(head_end(b"", 0), None);
    }

    #[test]
    fn the_fields_of_a_head_frame_its_body() {
        let chunks = || RequestPart::Chunks(ChunkScanner::default());
        for (fields, expected) in [
            ("Host: a\r\n", RequestPart::Ended),
            ("Content-Length: 0\r\n", RequestPart::Ended),
            ("content-length:  7 \r\n", RequestPart::Body(7)),
            ("Content-Length: 7\r\nContent-Length: 7\r\n", RequestPart::Body(7)),
            ("Content-Length: 7\r\nContent-Length: 8\r\n", RequestPart::Unknown),
            ("Content-Length: +7\r\n", RequestPart::Unknown),
            ("Content-Length: 99999999999999999999\r\n", RequestPart::Unknown),
            ("Transfer-Encoding: chunked\r\n", chunks()),
            ("TRANSFER-ENCODING: gzip, Chunked\r\nContent-Length: 7\r\n", chunks()),
            ("Transfer-Encoding: gzip\r\n", RequestPart::Unknown),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", RequestPart::Unknown),
            ("X: Content-Length: 7\r\n", RequestPart::Ended),
        ] {
            let head = format!("POST / HTTP/1.1\r\n{fields}\r\n");
            assert_eq!(RequestPart::after_head(head.as_bytes()), expected, "{fields}");
        }
    }

    #[test]
    fn a_body_ends_at_its_length() {
        let mut part = RequestPart::Body(5);
        assert_eq!(part.take_body(b"abc"), 3);
        assert_eq!(part.take_body(b"dePOST"), 2);
        assert_eq!((part.take_body(b"POST"), &part), (0, &RequestPart::Ended));
    }
}
