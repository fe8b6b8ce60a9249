//! Writes a line in the Combined Log Format of Apache and nginx. Bytes of a client cannot end a
//! field or a line, and URLs are written without secrets.

use http::header::{REFERER, USER_AGENT};
use http::{HeaderMap, HeaderName, Request, Version};

use super::redact::redacted;
use crate::guard::ClientAddr;
use crate::record::{Stamp, escape_quoted_into, escape_word_into};

/// Holds the parts of a request that its line repeats, escaped. They are kept from the head of the
/// request until its answer ends.
#[derive(Debug)]
pub(crate) struct RequestLine {
    /// Method, target and version, with the quotes.
    request: Vec<u8>,
    /// `Referer` and `User-Agent`, each with its quotes.
    headers: Vec<u8>,
}

impl RequestLine {
    /// Returns the parts of `request`.
    pub(crate) fn new<B>(request: &Request<B>) -> Self {
        let mut line = vec![b'"'];
        escape_quoted_into(&mut line, request.method().as_str());
        line.push(b' ');
        let uri = request.uri();
        // Only HTTP/1 clients choose the form of the target. In HTTP/2 the target is always
        // assembled from its parts.
        let target = match uri.path_and_query() {
            Some(target) if request.version() > Version::HTTP_11 || uri.scheme().is_none() => {
                target.to_string()
            }
            _ => uri.to_string(),
        };
        escape_quoted_into(&mut line, &redacted(&target));
        line.push(b' ');
        line.extend_from_slice(format!("{:?}\"", request.version()).as_bytes());
        let mut headers = Vec::new();
        quoted_header(&mut headers, request.headers(), &REFERER);
        headers.push(b' ');
        quoted_header(&mut headers, request.headers(), &USER_AGENT);
        Self { request: line, headers }
    }

    /// Returns the parts for a head that could not be parsed as a request.
    pub(crate) fn unparsed() -> Self {
        Self { request: b"\"-\"".to_vec(), headers: b"\"-\" \"-\"".to_vec() }
    }
}

fn quoted_header(out: &mut Vec<u8>, headers: &HeaderMap, name: &HeaderName) {
    let value = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let text = value.as_deref().filter(|text| !text.is_empty()).unwrap_or("-");
    out.push(b'"');
    // `User-Agent` may contain a URL, as `Referer` does.
    escape_quoted_into(out, &redacted(text));
    out.push(b'"');
}

/// Describes the outcome of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome<'a> {
    /// The address of the client.
    pub(crate) client: &'a ClientAddr,
    /// The name of the key.
    pub(crate) user: Option<&'a str>,
    /// The HTTP status.
    pub(crate) status: u16,
    /// Number of bytes of the body that were sent.
    pub(crate) bytes: u64,
}

/// Appends one line, with its line end.
pub(crate) fn write(out: &mut Vec<u8>, time: &Stamp, request_line: &RequestLine, outcome: &Outcome<'_>) {
    escape_word_into(out, &outcome.client.to_string());
    out.extend_from_slice(b" - ");
    escape_word_into(out, outcome.user.filter(|user| !user.is_empty()).unwrap_or("-"));
    out.extend_from_slice(b" [");
    write_time(out, time);
    out.extend_from_slice(b"] ");
    out.extend_from_slice(&request_line.request);
    let mut number = itoa::Buffer::new();
    out.push(b' ');
    out.extend_from_slice(number.format(outcome.status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(number.format(outcome.bytes).as_bytes());
    out.push(b' ');
    out.extend_from_slice(&request_line.headers);
    out.push(b'\n');
}

/// Writes a time as `25/Nov/2026:09:35:44 +0000`, in English for every locale.
fn write_time(out: &mut Vec<u8>, time: &Stamp) {
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    // 2026-11-25 09:35:44.000000+00:00
    let text = time.as_bytes();
    let month = usize::from(text[5] - b'0') * 10 + usize::from(text[6] - b'0');
    out.extend_from_slice(&text[8..10]);
    out.push(b'/');
    out.extend_from_slice(MONTHS.get(month.wrapping_sub(1)).copied().unwrap_or(b"---"));
    out.push(b'/');
    out.extend_from_slice(&text[..4]);
    out.push(b':');
    out.extend_from_slice(&text[11..19]);
    out.push(b' ');
    out.extend_from_slice(&text[26..29]);
    out.extend_from_slice(&text[30..]);
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::record::Time;

    fn line(request: &Request<()>, user: Option<&str>) -> String {
        let client = ClientAddr::from("203.0.113.7".parse::<IpAddr>().unwrap());
        let time = Stamp::from(Time { micros: 1_795_599_344_000_000, offset: -3600 });
        let outcome = Outcome { client: &client, user, status: 200, bytes: 8 };
        let mut out = Vec::new();
        write(&mut out, &time, &RequestLine::new(request), &outcome);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn line_has_the_combined_log_format() {
        let request = Request::post("/moca-file-log/save-log?api_key=k&x=1")
            .header("referer", "https://h/?root_pass=p")
            .header("user-agent", "curl/8.0 (x; y)")
            .body(())
            .unwrap();
        assert_eq!(
            line(&request, Some("front desk")),
            "203.0.113.7 - front\\u{20}desk [25/Nov/2026:08:35:44 -0100] \
             \"POST /moca-file-log/save-log?api_key=***&x=1 HTTP/1.1\" 200 8 \"https://h/?root_pass=***\" \
             \"curl/8.0 (x; y)\"\n"
        );
        let mut bare = Request::get("http://h/p?api%5fkey=k").body(()).unwrap();
        let absolute = line(&bare, None);
        assert!(absolute.contains("- - [") && absolute.contains("\"GET http://h/p?api%5fkey=*** HTTP/1.1\""));
        assert!(absolute.ends_with("200 8 \"-\" \"-\"\n"), "{absolute}");
        *bare.version_mut() = Version::HTTP_2;
        assert!(line(&bare, Some("")).contains("- - [25"));
        assert!(line(&bare, None).contains("\"GET /p?api%5fkey=*** HTTP/2.0\""), "{}", line(&bare, None));
    }

    #[test]
    fn client_bytes_cannot_end_a_field_or_a_line() {
        let value = http::HeaderValue::from_bytes(b"a\" 200 1 \"\\\xff\t\xc2\x85\xe2\x80\xa8").unwrap();
        let request = Request::get("/p\"q").header("user-agent", value).body(()).unwrap();
        let line = line(&request, Some("x] \"y\n"));
        assert!(line.contains("\"GET /p\\u{22}q HTTP/1.1\""), "{line}");
        assert!(line.contains("\"a\\u{22} 200 1 \\u{22}\\\\\u{fffd}\t\\u{85}\\u{2028}\"\n"), "{line}");
        assert!(line.contains(" - x]\\u{20}\\u{22}y\\n ["), "{line}");
        assert_eq!(line.matches('"').count(), 6, "{line}");
        assert_eq!(line.matches('\n').count(), 1, "{line}");
    }
}
