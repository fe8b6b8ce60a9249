//! Recognizes the requests of the fast path.
//!
//! Such a request is a whole `POST` of one record as JSON. Its head holds the host, the type and
//! the length of the body, and perhaps the key and the type of the answer. No rule and no handler
//! reads the other fields of the head.
//!
//! All other bytes, malformed ones included, stay untouched for the slow path. The fast path
//! refuses no head.

use crate::http::request::head::is_host;
use crate::http::response::headers::names_json;
use crate::ingest::body::media_type::{BodyKind, named_encoding};

/// Says what the received bytes start with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recognized<'b> {
    /// A whole request.
    Whole(RecordRequest<'b>),
    /// A whole head whose body is not complete.
    Part,
    /// Any other bytes, which are for the slow path.
    Other,
}

/// Holds a request that saves a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RecordRequest<'b> {
    /// The target, which has no query.
    pub(crate) path: &'b str,
    /// The key, if the head holds one.
    pub(crate) key: Option<&'b str>,
    /// True when the client wants the answer as JSON.
    pub(crate) wants_json: bool,
    /// The body, which is JSON according to the head.
    pub(crate) body: &'b [u8],
    /// Length of head and body in bytes.
    pub(crate) len: usize,
}

/// Holds the limits of a request from `http.toml`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestLimits {
    /// Maximum length of a head in bytes.
    pub(crate) head: usize,
    /// Maximum number of fields of a head.
    pub(crate) fields: usize,
    /// Maximum length of a body in bytes.
    pub(crate) body: usize,
}

/// Maximum number of fields of a head on the fast path.
const MAX_FAST_PATH_FIELDS: usize = 32;

/// Fields that no part of the service reads, unless an option names one. `Policy` disables the fast
/// path while such an option is set.
const IGNORED_HEADERS: [&str; 16] = [
    "user-agent",
    "accept-encoding",
    "accept-language",
    "accept-charset",
    "cache-control",
    "pragma",
    "priority",
    "dnt",
    "traceparent",
    "tracestate",
    "x-request-id",
    "x-correlation-id",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Recognizes the request at the start of `bytes`.
pub(crate) fn recognize(bytes: &[u8], limits: RequestLimits) -> Recognized<'_> {
    parse_request(bytes, limits).unwrap_or(Recognized::Other)
}

/// Parses a request whose head is whole. Returns `None` when the bytes are for the slow path.
fn parse_request(bytes: &[u8], limits: RequestLimits) -> Option<Recognized<'_>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FAST_PATH_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(head_len) = head.parse(bytes).ok()? else { return None };
    let fits = head_len <= limits.head && head.headers.len() <= limits.fields;
    if !fits || head.method != Some("POST") || head.version != Some(1) {
        return None;
    }
    let path = head.path.filter(|path| !path.contains('?'))?;
    let (mut hosts, mut types, mut key, mut wants_json, mut length) = (0, 0, None, None, None);
    for field in head.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        // Comparing lengths first is cheap, because few names have the same length.
        match field.name.len() {
            4 if is("host") => {
                is_host(field.value).then_some(())?;
                hosts += 1;
            }
            6 if is("accept") => put(&mut wants_json, names_json(text(field.value)?))?,
            7 if is("api-key") => put(&mut key, text(field.value)?)?,
            9 if is("x-api-key") => put(&mut key, text(field.value)?)?,
            10 if is("connection") => {
                field.value.eq_ignore_ascii_case(b"keep-alive").then_some(())?;
            }
            12 if is("content-type") => {
                types += 1;
                is_plain_json(text(field.value)?).then_some(())?;
            }
            13 if is("authorization") => put(&mut key, bearer(text(field.value)?)?)?,
            14 if is("content-length") => put(&mut length, number(field.value)?)?,
            _ => IGNORED_HEADERS.iter().any(|name| is(name)).then_some(())?,
        }
    }
    let length = length.filter(|length| (1..=limits.body).contains(length))?;
    if (hosts, types) != (1, 1) || key.is_some_and(str::is_empty) {
        return None;
    }
    let len = head_len + length;
    Some(match bytes.get(head_len..len) {
        Some(body) => {
            Recognized::Whole(RecordRequest { path, key, wants_json: wants_json.unwrap_or(false), body, len })
        }
        None => Recognized::Part,
    })
}

/// Returns whether this media type names JSON in UTF-8.
fn is_plain_json(media_type: &str) -> bool {
    let is_utf8 = |encoding: Option<_>| encoding.is_none_or(|encoding| encoding == encoding_rs::UTF_8);
    media_type == "application/json"
        || (BodyKind::named(media_type) == BodyKind::Json && named_encoding(media_type).is_ok_and(is_utf8))
}

/// Fills an empty `slot`. Returns `None` for a second value, which the slow path handles.
fn put<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// Returns a value that consists of visible ASCII characters and spaces. Other values are for the
/// slow path.
fn text(value: &[u8]) -> Option<&str> {
    let is_plain = value.iter().all(|byte| matches!(byte, b' '..=b'~'));
    is_plain.then_some(value).and_then(|value| std::str::from_utf8(value).ok())
}

/// Returns the token of `Authorization: Bearer` (RFC 6750, section 2.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Parses a number of at most nine digits.
fn number(value: &[u8]) -> Option<usize> {
    let is_short_number = (1..=9).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    is_short_number.then(|| value.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

/// Checks that `recognize` returns a whole request only when all of its bytes are present, and that
/// the bytes after it do not matter. The fuzz target `http_head` calls it.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let limits = RequestLimits { head: 8192, fields: 32, body: 65536 };
    if let Recognized::Whole(request) = recognize(bytes, limits) {
        let alone = &bytes[..request.len];
        assert!(!request.body.is_empty() && alone.ends_with(request.body));
        assert_eq!(recognize(&alone[..request.len - 1], limits), Recognized::Part);
        assert_eq!(recognize(alone, limits), Recognized::Whole(request));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: RequestLimits = RequestLimits { head: 1000, fields: 100, body: 1000 };

    const HEAD: &str =
        "POST /moca-file-log/save-log HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";

    fn request_with(fields: &str, body: &str) -> String {
        format!("{HEAD}{fields}\r\n{body}")
    }

    #[test]
    fn whole_record_is_recognized() {
        let whole =
            request_with("api-key: k\r\nContent-Length: 2\r\nAccept: */*\r\nUser-Agent: x\r\n", "{}next");
        let Recognized::Whole(request) = recognize(whole.as_bytes(), LIMITS) else { panic!("{whole}") };
        assert_eq!(
            (request.path, request.key, request.body),
            ("/moca-file-log/save-log", Some("k"), &b"{}"[..])
        );
        assert_eq!((request.wants_json, request.len), (false, whole.len() - 4));
        assert_eq!(recognize(&whole.as_bytes()[..request.len - 1], LIMITS), Recognized::Part);
        let json = request_with(
            "Authorization: bearer k\r\nAccept: application/json\r\ncontent-length: 2\r\n",
            "{}",
        );
        let Recognized::Whole(request) = recognize(json.as_bytes(), LIMITS) else { panic!("{json}") };
        assert_eq!((request.key, request.wants_json), (Some("k"), true));
    }

    #[test]
    fn other_requests_are_for_the_slow_path() {
        for fields in [
            "",
            "Content-Length: 0\r\n",
            "Content-Length: 2\r\nContent-Length: 2\r\n",
            "Content-Length: +2\r\n",
            "Content-Length: 1001\r\n",
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 2\r\nHost: b\r\n",
            "Content-Length: 2\r\nHost: b c\r\n",
            "Content-Length: 2\r\nHost: a/b\r\n",
            "Content-Length: 2\r\nHost:\r\n",
            "Content-Length: 2\r\nConnection: close\r\n",
            "Content-Length: 2\r\nConnection: Upgrade\r\n",
            "Content-Length: 2\r\nContent-Encoding: gzip\r\n",
            "Content-Length: 2\r\nContent-Type: application/json\r\n",
            "Content-Length: 2\r\nMoca-Encryption: true\r\n",
            "Content-Length: 2\r\nExpect: 100-continue\r\n",
            "Content-Length: 2\r\nOrigin: http://a\r\n",
            "Content-Length: 2\r\nLEVEL: 2\r\n",
            "Content-Length: 2\r\nCookie: a=b\r\n",
            "Content-Length: 2\r\nAPI-KEY: k\r\nX-API-Key: k\r\n",
            "Content-Length: 2\r\nAPI-KEY:\r\n",
            "Content-Length: 2\r\nAPI-KEY: \u{e9}\r\n",
            "Content-Length: 2\r\nAuthorization: Basic k\r\n",
        ] {
            assert_eq!(
                recognize(request_with(fields, "{}").as_bytes(), LIMITS),
                Recognized::Other,
                "{fields}"
            );
        }
        let whole = request_with("Content-Length: 2\r\n", "{}");
        assert_ne!(recognize(whole.as_bytes(), LIMITS), Recognized::Other);
        for (from, to) in [("POST", "GET"), ("1.1", "1.0"), ("save-log", "save-log?a=b"), ("json", "xml")] {
            assert_eq!(recognize(whole.replace(from, to).as_bytes(), LIMITS), Recognized::Other, "{to}");
        }
        assert_eq!(recognize(whole.as_bytes(), RequestLimits { head: 60, ..LIMITS }), Recognized::Other);
        assert_eq!(recognize(whole.as_bytes(), RequestLimits { fields: 2, ..LIMITS }), Recognized::Other);
        assert_eq!(recognize(whole.as_bytes(), RequestLimits { body: 1, ..LIMITS }), Recognized::Other);
    }

    proptest! {
        #[test]
        fn any_bytes_are_recognized_without_a_panic(bytes: Vec<u8>, fields in "([a-zA-Z-]{1,14}: [ -~]{0,9}\r\n){0,4}", cut: usize) {
            recognize(&bytes, LIMITS);
            let whole = request_with(&format!("{fields}Content-Length: 2\r\n"), "{}");
            let cut = cut % (whole.len() + 1);
            if let Recognized::Whole(request) = recognize(&whole.as_bytes()[..cut], LIMITS) {
                prop_assert_eq!(request.len, cut);
                prop_assert_eq!(request.body, b"{}");
            }
        }
    }
}
