//! Writes the heads of HTTP/1.1 answers as bytes (RFC 9112), for connections that hyper does not
//! serve: the fast path, followers, and refusals before the first request.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use crate::guard::Quota;

/// The fields that [`HeadWriter::finish`] writes. In a set of headers they have no effect.
pub(crate) static WRITER_FIELDS: [HeaderName; 4] =
    [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::DATE];

/// How the client finds the end of the body (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// The body has this many bytes.
    Length(usize),
    /// The body consists of chunks.
    Chunked,
    /// The body ends with the connection.
    UntilClose,
    /// The answer has no body, because the connection changes its protocol.
    Upgrade,
}

/// Says what becomes of the connection after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterAnswer {
    /// The server closes it.
    Close,
    /// It stays open. The answer announces for how many seconds, if that is given.
    KeepAlive(Option<u64>),
}

/// Writes the head of one answer: the status line, the fields, then those that concern the message
/// itself.
///
/// No value can inject a line: [`HeaderValue`] and [`Quota`] hold no control characters but tabs.
pub(crate) struct HeadWriter<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> HeadWriter<'o> {
    /// Begins a head. Appends the status line to `out`.
    pub(crate) fn begin(out: &'o mut Vec<u8>, status: StatusCode) -> Self {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(status.canonical_reason().unwrap_or("Error").as_bytes());
        out.extend_from_slice(b"\r\n");
        Self { out }
    }

    /// Continues a head whose begin was written before.
    pub(crate) fn resume(out: &'o mut Vec<u8>, prepared: &[u8]) -> Self {
        out.extend_from_slice(prepared);
        Self { out }
    }

    /// Appends `headers` without [`WRITER_FIELDS`].
    pub(crate) fn fields(self, headers: &HeaderMap<HeaderValue>) -> Self {
        for (name, value) in headers.iter().filter(|(name, _)| !WRITER_FIELDS.contains(name)) {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                self.out.extend_from_slice(part);
            }
        }
        self
    }

    /// Appends `RateLimit` and `RateLimit-Policy`, if a limit applies.
    pub(crate) fn quota(self, quota: Option<&Quota>) -> Self {
        if let Some(quota) = quota.filter(|quota| !quota.is_empty()) {
            self.out.extend_from_slice(b"ratelimit: ");
            quota.write_rate_limit(self.out);
            self.out.extend_from_slice(b"\r\nratelimit-policy: ");
            quota.write_rate_limit_policy(self.out);
            self.out.extend_from_slice(b"\r\n");
        }
        self
    }

    /// Ends the head.
    pub(crate) fn finish(self, framing: Framing, after: AfterAnswer) {
        let out = self.out;
        match (framing, after) {
            (Framing::Upgrade, _) => out.extend_from_slice(b"connection: Upgrade\r\n"),
            (_, AfterAnswer::Close) => out.extend_from_slice(b"connection: close\r\n"),
            (_, AfterAnswer::KeepAlive(Some(seconds))) => {
                out.extend_from_slice(b"keep-alive: timeout=");
                out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            (_, AfterAnswer::KeepAlive(None)) => {}
        }
        match framing {
            Framing::Length(len) => {
                out.extend_from_slice(b"content-length: ");
                out.extend_from_slice(itoa::Buffer::new().format(len).as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Framing::UntilClose | Framing::Upgrade => {}
        }
        out.extend_from_slice(b"date: ");
        write_date(out);
        out.extend_from_slice(b"\r\n\r\n");
    }
}

/// Appends a whole answer.
pub(crate) fn write_response(
    out: &mut Vec<u8>,
    response: &Response<Bytes>,
    quota: Option<&Quota>,
    after: AfterAnswer,
) {
    let head = HeadWriter::begin(out, response.status()).fields(response.headers());
    head.quota(quota).finish(Framing::Length(response.body().len()), after);
    out.extend_from_slice(response.body());
}

/// Returns a whole answer that closes its connection.
pub(crate) fn closing_response(response: &Response<Bytes>) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write_response(&mut out, response, None, AfterAnswer::Close);
    out
}

/// Appends the date (RFC 9110, section 6.6.1). Each thread formats it once a second.
fn write_date(out: &mut Vec<u8>) {
    thread_local! {
        static NOW: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    NOW.with_borrow_mut(|(second, text)| {
        if *second != since.as_secs() || text.is_empty() {
            *second = since.as_secs();
            *text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(*second));
        }
        out.extend_from_slice(text.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::guard::LimitState;

    /// A parsed head: status, reason and fields.
    type Head = (u16, String, Vec<(String, Vec<u8>)>);

    /// Parses a head that ends with the last byte of `bytes`.
    fn parse(bytes: &[u8]) -> Head {
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut response = httparse::Response::new(&mut fields);
        assert_eq!(response.parse(bytes), Ok(httparse::Status::Complete(bytes.len())));
        assert_eq!(response.version, Some(1));
        let fields = response.headers.iter().map(|field| (field.name.to_owned(), field.value.to_vec()));
        (response.code.unwrap(), response.reason.unwrap().to_owned(), fields.collect())
    }

    /// Returns a value as a client reads it, without the blanks around it.
    fn trimmed(value: &[u8]) -> Vec<u8> {
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let begin = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
        let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(begin, |last| last + 1);
        value[begin..end].to_vec()
    }

    /// Names, also those of the fields that the writer itself writes.
    fn names() -> impl Strategy<Value = HeaderName> {
        let any = "[!#$%&'*+.^_`|~0-9a-zA-Z-]{1,20}";
        let any = any.prop_map(|name| HeaderName::from_bytes(name.as_bytes()).unwrap());
        prop_oneof![4 => any, 1 => prop::sample::select(WRITER_FIELDS.to_vec())]
    }

    /// Bytes as a client or an operator may try them, line ends included.
    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            vec(any::<u8>(), 0..6),
            "[ -~]{0,12}".prop_map(String::into_bytes),
            prop::sample::select(vec![&b"\r\n"[..], b"\n", b"\r\n\r\n", b"x: y", b"\t", b"\0"])
                .prop_map(<[u8]>::to_vec),
        ];
        vec(part, 0..4).prop_map(|parts| parts.concat())
    }

    fn afters() -> impl Strategy<Value = AfterAnswer> {
        prop_oneof![Just(AfterAnswer::Close), any::<Option<u64>>().prop_map(AfterAnswer::KeepAlive)]
    }

    fn framings() -> impl Strategy<Value = Framing> {
        prop_oneof![
            any::<usize>().prop_map(Framing::Length),
            Just(Framing::Chunked),
            Just(Framing::UntilClose),
            Just(Framing::Upgrade),
        ]
    }

    proptest! {
        #[test]
        fn head_is_parsed_back(
            status in 100_u16..1000,
            fields in vec((names(), texts()), 0..12),
            framing in framings(),
            after in afters(),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                let has_line_end = value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | b'\0'));
                match HeaderValue::from_bytes(&value) {
                    Ok(value) => drop(headers.append(name, value)),
                    Err(_) => continue,
                }
                prop_assert!(!has_line_end, "a value with a line end was accepted");
            }
            let status = StatusCode::from_u16(status).unwrap();
            let mut out = Vec::new();
            HeadWriter::begin(&mut out, status).fields(&headers).finish(framing, after);
            let (code, reason, mut read) = parse(&out);
            prop_assert_eq!(code, status.as_u16());
            prop_assert_eq!(reason, status.canonical_reason().unwrap_or("Error"));
            let (date, value) = read.pop().unwrap();
            prop_assert_eq!(date, "date");
            prop_assert!(httpdate::parse_http_date(std::str::from_utf8(&value).unwrap()).is_ok());
            let mut expected: Vec<(String, Vec<u8>)> = headers
                .iter()
                .filter(|(name, _)| !WRITER_FIELDS.contains(name))
                .map(|(name, value)| (name.as_str().to_owned(), trimmed(value.as_bytes())))
                .collect();
            let mut expect = |name: &str, value: &str| expected.push((name.to_owned(), value.into()));
            match (framing, after) {
                (Framing::Upgrade, _) => expect("connection", "Upgrade"),
                (_, AfterAnswer::Close) => expect("connection", "close"),
                (_, AfterAnswer::KeepAlive(Some(hint))) => expect("keep-alive", &format!("timeout={hint}")),
                (_, AfterAnswer::KeepAlive(None)) => {}
            }
            match framing {
                Framing::Length(len) => expect("content-length", &len.to_string()),
                Framing::Chunked => expect("transfer-encoding", "chunked"),
                Framing::UntilClose | Framing::Upgrade => {}
            }
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn prepared_head_continues_to_the_same_bytes(
            fields in vec((names(), "[!-~]{0,20}"), 0..6),
            len: usize,
            after in afters(),
        ) {
            let headers: HeaderMap = fields
                .into_iter()
                .map(|(name, value)| (name, HeaderValue::try_from(value).unwrap()))
                .collect();
            let mut prepared = Vec::new();
            HeadWriter::begin(&mut prepared, StatusCode::OK).fields(&headers);
            let (mut resumed, mut whole) = (Vec::new(), Vec::new());
            HeadWriter::resume(&mut resumed, &prepared).finish(Framing::Length(len), after);
            HeadWriter::begin(&mut whole, StatusCode::OK)
                .fields(&headers)
                .finish(Framing::Length(len), after);
            // The two dates may be different seconds.
            let without_date = |head: &[u8]| { let mut head = parse(head); head.2.pop(); head };
            prop_assert_eq!(without_date(&resumed), without_date(&whole));
        }
    }

    #[test]
    fn quota_is_written_as_its_headers() {
        let limit = |name: &str, remaining| LimitState {
            name: Arc::from(name),
            amount: 10,
            window: Duration::from_secs(60),
            remaining,
            reset: Duration::from_millis(1500),
        };
        let quota = Quota::new(vec![limit("\"a\"", 3), limit("\"b\"", 1)]);
        let response = Response::new(Bytes::from_static(b"body"));
        let mut out = Vec::new();
        write_response(&mut out, &response, Some(&quota), AfterAnswer::KeepAlive(None));
        let (_, _, fields) = parse(out.strip_suffix(b"body").unwrap());
        let value = |name: &str| fields.iter().find(|field| field.0 == name).map(|field| field.1.clone());
        assert_eq!(value("ratelimit"), quota.rate_limit().map(|value| value.as_bytes().to_vec()));
        assert_eq!(
            value("ratelimit-policy"),
            quota.rate_limit_policy().map(|value| value.as_bytes().to_vec())
        );
        assert_eq!(value("content-length"), Some(b"4".to_vec()));
        let mut without_limits = Vec::new();
        let (quota, after) = (Quota::default(), AfterAnswer::KeepAlive(None));
        write_response(&mut without_limits, &response, Some(&quota), after);
        assert!(!String::from_utf8(without_limits).unwrap().contains("ratelimit"));
    }

    #[test]
    fn refusal_before_the_first_request_closes() {
        let mut response = Response::new(Bytes::from_static(b"no"));
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        let out = closing_response(&response);
        let (_, _, fields) = parse(out.strip_suffix(b"no").unwrap());
        assert_eq!(fields.iter().filter(|field| field.0 == "connection").count(), 1);
    }
}
