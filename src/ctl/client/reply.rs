//! Reading an answer of HTTP/1.1: its head, then its body as a stream, whichever way its length is told (RFC 9112).

use std::io::{self, BufRead, Read};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// Longest head of an answer.
const MAX_HEAD_BYTES: u64 = 64 * 1024;

/// The body of an answer. Reading ends with an error when the connection ends before the body does.
pub(crate) struct Body<R> {
    reader: R,
    framing: Framing,
}

enum Framing {
    /// so many bytes are left
    Length(u64),
    /// so many bytes are left of this chunk; `None` = the size of the next one comes first
    Chunk(Option<u64>),
    /// until the connection ends
    Close,
    Ended,
}

/// Reads the head of the answer to a request with this method; interim answers (1xx) are passed over.
pub(crate) fn read<R: BufRead>(mut reader: R, method: &str) -> io::Result<(StatusCode, HeaderMap, Body<R>)> {
    loop {
        let (status, headers) = head(&mut reader)?;
        if status.is_informational() {
            continue;
        }
        let bodiless = method == "HEAD" || matches!(status.as_u16(), 204 | 304);
        let framing = if bodiless { Framing::Ended } else { framing(&headers)? };
        return Ok((status, headers, Body { reader, framing }));
    }
}

fn head<R: BufRead>(reader: &mut R) -> io::Result<(StatusCode, HeaderMap)> {
    let mut limited = reader.take(MAX_HEAD_BYTES);
    let first = line(&mut limited)?;
    let status = first.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    let status = status
        .and_then(|code| StatusCode::from_bytes(code).ok())
        .ok_or_else(|| wrong("not an answer of HTTP"))?;
    let mut headers = HeaderMap::new();
    loop {
        let line = line(&mut limited)?;
        if line.is_empty() {
            return Ok((status, headers));
        }
        let colon =
            line.iter().position(|&byte| byte == b':').ok_or_else(|| wrong("a header without a colon"))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let name = HeaderName::from_bytes(name).map_err(|_| wrong("a header without a name"))?;
        headers.append(name, HeaderValue::from_bytes(value).map_err(|_| wrong("a broken header"))?);
    }
}

/// One line without its end.
fn line<R: BufRead>(reader: &mut R) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the connection ended within the answer's head",
        ));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

fn framing(headers: &HeaderMap) -> io::Result<Framing> {
    if let Some(coding) = headers.get(header::TRANSFER_ENCODING) {
        return match coding.as_bytes() {
            coding if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunk(None)),
            _ => Err(wrong("an unknown transfer coding")),
        };
    }
    match headers.get(header::CONTENT_LENGTH) {
        None => Ok(Framing::Close),
        Some(length) => {
            let length = length.to_str().ok().and_then(|text| text.parse().ok());
            length.map(Framing::Length).ok_or_else(|| wrong("a broken length"))
        }
    }
}

impl<R> Body<R> {
    /// What it is read from.
    pub(crate) const fn reader(&self) -> &R {
        &self.reader
    }
}

impl<R: BufRead> Body<R> {
    fn next_chunk(&mut self) -> io::Result<u64> {
        let mut limited = self.reader.by_ref().take(MAX_HEAD_BYTES);
        let size = line(&mut limited)?;
        let digits = size.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let size = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'));
        let size = size.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let size = size.ok_or_else(|| wrong("a broken chunk"))?;
        if size == 0 {
            // trailers
            while !line(&mut limited)?.is_empty() {}
        }
        Ok(size)
    }
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.framing {
                Framing::Ended | Framing::Length(0) => return Ok(0),
                Framing::Close => return self.reader.read(buffer),
                Framing::Length(left) => {
                    let count = bounded(&mut self.reader, buffer, left)?;
                    self.framing = Framing::Length(left - count as u64);
                    return Ok(count);
                }
                Framing::Chunk(None) => {
                    self.framing = match self.next_chunk()? {
                        0 => Framing::Ended,
                        size => Framing::Chunk(Some(size)),
                    };
                }
                Framing::Chunk(Some(0)) => {
                    if !line(&mut self.reader.by_ref().take(2))?.is_empty() {
                        return Err(wrong("a chunk longer than it said"));
                    }
                    self.framing = Framing::Chunk(None);
                }
                Framing::Chunk(Some(left)) => {
                    let count = bounded(&mut self.reader, buffer, left)?;
                    self.framing = Framing::Chunk(Some(left - count as u64));
                    return Ok(count);
                }
            }
        }
    }
}

/// Reads at least one and at most `left` bytes.
fn bounded<R: Read>(reader: &mut R, buffer: &mut [u8], left: u64) -> io::Result<usize> {
    let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
    match reader.read(&mut buffer[..most])? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended within the answer")),
        count => Ok(count),
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(answer: &[u8], method: &str) -> io::Result<(u16, Vec<u8>)> {
        let (status, _, mut body) = read(io::BufReader::with_capacity(3, answer), method)?;
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)?;
        Ok((status.as_u16(), bytes))
    }

    #[test]
    fn the_three_ways_to_tell_a_length() {
        for (answer, status, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloNEXT", 200, "hello"),
            (
                "HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n2;x=y\r\nhe\r\n03\r\nllo\r\n0\r\nT: 1\r\n\r\n",
                200,
                "hello",
            ),
            ("HTTP/1.0 404 Not Found\r\n\r\nhello", 404, "hello"),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\nxx", 204, ""),
            ("HTTP/1.1 200 OK\nContent-Length: 0\n\n", 200, ""),
        ] {
            assert_eq!(
                whole(answer.as_bytes(), "GET").unwrap(),
                (status, body.as_bytes().to_vec()),
                "{answer}"
            );
        }
        assert_eq!(
            whole(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD").unwrap(),
            (200, Vec::new())
        );
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        for cut in [
            "",
            "HTTP/1.1 200",
            "HTTP/1.1 200 OK\r\nA: b\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello world",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
            "SSH-2.0-OpenSSH\r\n\r\n",
        ] {
            assert!(whole(cut.as_bytes(), "GET").is_err(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes(answer in any::<Vec<u8>>(), after in any::<Vec<u8>>()) {
            drop(whole(&answer, "GET"));
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            drop(whole(&[&head[..], &after].concat(), "GET"));
        }

        #[test]
        fn any_chunks(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..9), 0..9)) {
            let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for chunk in &chunks {
                answer.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()));
                answer.extend(b"\r\n");
            }
            answer.extend(b"0\r\n\r\n");
            prop_assert_eq!(whole(&answer, "GET").unwrap().1, chunks.concat());
        }
    }
}
