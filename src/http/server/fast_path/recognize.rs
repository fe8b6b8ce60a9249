//! Which requests may take the short way: a whole `POST` of one record as JSON, in one piece, whose head holds nothing
//! that any rule or handler would look at but its key, its length and what kind of answer it wants.
//!
//! Everything else is left untouched for the long way, also what is malformed: nothing is refused here.

use crate::http::request::head::is_host;
use crate::http::request::params::BodyKind;
use crate::http::response::headers::names_json;

/// What stands at the beginning of the bytes that came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recognized<'b> {
    /// a whole request
    Whole(RecordRequest<'b>),
    /// a whole head, and a body that is still on its way
    Part,
    /// something for the long way
    Other,
}

/// A request that saves a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RecordRequest<'b> {
    /// the target, without a query
    pub(crate) path: &'b str,
    /// the key, where the head names one
    pub(crate) key: Option<&'b str>,
    /// the answer is wanted as JSON
    pub(crate) wants_json: bool,
    /// JSON, says the head
    pub(crate) body: &'b [u8],
    /// bytes of head and body
    pub(crate) len: usize,
}

/// What bounds a request, from `http.toml`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// bytes of a head
    pub(crate) head: usize,
    /// fields of a head
    pub(crate) fields: usize,
    /// bytes of a body
    pub(crate) body: usize,
}

/// More fields than these are for the long way.
const FIELDS: usize = 32;

/// Fields that mean nothing to any part of the service, as far as no option names one.
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

/// Looks at the bytes that came, and takes none.
pub(crate) fn recognize(bytes: &[u8], bounds: Bounds) -> Recognized<'_> {
    whole_head(bytes, bounds).unwrap_or(Recognized::Other)
}

fn whole_head(bytes: &[u8], bounds: Bounds) -> Option<Recognized<'_>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(head_len) = head.parse(bytes).ok()? else { return None };
    let fits = head_len <= bounds.head && head.headers.len() <= bounds.fields;
    if !fits || head.method != Some("POST") || head.version != Some(1) {
        return None;
    }
    let path = head.path.filter(|path| !path.contains('?'))?;
    let (mut hosts, mut types, mut key, mut wants_json, mut length) = (0, 0, None, None, None);
    for field in head.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        // By length first: few names have the same.
        match field.name.len() {
            4 if is("host") => hosts += u8::from(is_host(field.value)),
            6 if is("accept") => put(&mut wants_json, names_json(text(field.value)?))?,
            7 if is("api-key") => put(&mut key, text(field.value)?)?,
            9 if is("x-api-key") => put(&mut key, text(field.value)?)?,
            10 if is("connection") => {
                field.value.eq_ignore_ascii_case(b"keep-alive").then_some(())?;
            }
            12 if is("content-type") => {
                types += 1;
                (BodyKind::named(text(field.value)?) == BodyKind::Json).then_some(())?;
            }
            13 if is("authorization") => put(&mut key, bearer(text(field.value)?)?)?,
            14 if is("content-length") => put(&mut length, number(field.value)?)?,
            _ => IGNORED_HEADERS.iter().any(|name| is(name)).then_some(())?,
        }
    }
    let length = length.filter(|length| (1..=bounds.body).contains(length))?;
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

/// Fills what was empty; a second value is for the long way to judge.
fn put<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// Visible ASCII and blanks; anything else has rules of its own.
fn text(value: &[u8]) -> Option<&str> {
    let plain = value.iter().all(|byte| matches!(byte, b' '..=b'~'));
    plain.then_some(value).and_then(|value| std::str::from_utf8(value).ok())
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn number(value: &[u8]) -> Option<usize> {
    let short = (1..=9).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    short.then(|| value.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

/// Checks that a request is recognised only where all of it lies within the bytes, and that the bytes after it do not
/// matter. For the fuzz target `http_head`.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let bounds = Bounds { head: 8192, fields: 32, body: 65536 };
    if let Recognized::Whole(post) = recognize(bytes, bounds) {
        let alone = &bytes[..post.len];
        assert!(!post.body.is_empty() && alone.ends_with(post.body));
        assert_eq!(recognize(&alone[..post.len - 1], bounds), Recognized::Part);
        assert_eq!(recognize(alone, bounds), Recognized::Whole(post));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { head: 1000, fields: 100, body: 1000 };

    const HEAD: &str =
        "POST /moca-file-log/save-log HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";

    fn of(fields: &str, body: &str) -> String {
        format!("{HEAD}{fields}\r\n{body}")
    }

    #[test]
    fn a_record_in_one_piece() {
        let whole = of("api-key: k\r\nContent-Length: 2\r\nAccept: */*\r\nUser-Agent: x\r\n", "{}next");
        let Recognized::Whole(post) = recognize(whole.as_bytes(), BOUNDS) else { panic!("{whole}") };
        assert_eq!((post.path, post.key, post.body), ("/moca-file-log/save-log", Some("k"), &b"{}"[..]));
        assert_eq!((post.wants_json, post.len), (false, whole.len() - 4));
        assert_eq!(recognize(&whole.as_bytes()[..post.len - 1], BOUNDS), Recognized::Part);
        let json = of("Authorization: bearer k\r\nAccept: application/json\r\ncontent-length: 2\r\n", "{}");
        let Recognized::Whole(post) = recognize(json.as_bytes(), BOUNDS) else { panic!("{json}") };
        assert_eq!((post.key, post.wants_json), (Some("k"), true));
    }

    #[test]
    fn everything_else_is_for_the_long_way() {
        for fields in [
            "",
            "Content-Length: 0\r\n",
            "Content-Length: 2\r\nContent-Length: 2\r\n",
            "Content-Length: +2\r\n",
            "Content-Length: 1001\r\n",
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 2\r\nHost: b\r\n",
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
            assert_eq!(recognize(of(fields, "{}").as_bytes(), BOUNDS), Recognized::Other, "{fields}");
        }
        let whole = of("Content-Length: 2\r\n", "{}");
        assert_ne!(recognize(whole.as_bytes(), BOUNDS), Recognized::Other);
        for (from, to) in [("POST", "GET"), ("1.1", "1.0"), ("save-log", "save-log?a=b"), ("json", "xml")] {
            assert_eq!(recognize(whole.replace(from, to).as_bytes(), BOUNDS), Recognized::Other, "{to}");
        }
        assert_eq!(recognize(whole.as_bytes(), Bounds { head: 60, ..BOUNDS }), Recognized::Other);
        assert_eq!(recognize(whole.as_bytes(), Bounds { fields: 2, ..BOUNDS }), Recognized::Other);
        assert_eq!(recognize(whole.as_bytes(), Bounds { body: 1, ..BOUNDS }), Recognized::Other);
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at(bytes: Vec<u8>, fields in "([a-zA-Z-]{1,14}: [ -~]{0,9}\r\n){0,4}", cut: usize) {
            recognize(&bytes, BOUNDS);
            let whole = of(&format!("{fields}Content-Length: 2\r\n"), "{}");
            let cut = cut % (whole.len() + 1);
            if let Recognized::Whole(post) = recognize(&whole.as_bytes()[..cut], BOUNDS) {
                prop_assert_eq!(post.len, cut);
                prop_assert_eq!(post.body, b"{}");
            }
        }
    }
}
