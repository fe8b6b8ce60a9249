//! Reads the parameters of a read request. They are a [`Selection`], and the order, limit, cursor
//! and format of the answer. They come from the body, the query or the form. Headers do not count,
//! because a sender of records sets `LEVEL` once for all its requests.

use std::borrow::Cow;
use std::num::NonZeroU64;

use jiff::ZonedDateTime;

use super::cpu_pool::CpuPool;
use crate::http::response::problem::Problem;
use crate::http::response::record_format::RecordFormat;
use crate::ingest::json::object::{self, Value};
use crate::ingest::params::Params;
use crate::record::{Level, parse_time_spec};
use crate::store::{Clients, Cursor, CursorKey, Order, Pattern, Selection};

/// The names of the parameters of a read request.
pub(crate) const READ_PARAMETERS: [&str; 11] =
    ["since", "until", "level", "contains", "regex", "client", "key", "limit", "order", "cursor", "output"];

/// Maximum number of texts in `contains`.
const MAX_TEXTS: usize = 16;
/// Maximum length of each text.
const MAX_TEXT_CHARS: usize = 8192;
/// Maximum number of clients, and of key names.
const MAX_NAMES: usize = 100;
/// Maximum length of each client or key name.
const MAX_NAME_CHARS: usize = 1024;

/// Holds the parameters of a read request. `None` means that the client left the parameter out.
#[derive(Debug, Default)]
pub(crate) struct ReadRequest {
    /// The conditions, without that of `regex`.
    selection: Selection,
    /// The text of `regex`.
    regex: Option<String>,
    pub(crate) limit: Option<NonZeroU64>,
    pub(crate) order: Option<Order>,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) output: Option<RecordFormat>,
}

impl ReadRequest {
    /// Reads all parameters of [`READ_PARAMETERS`]. `key` verifies that a cursor belongs to this log.
    ///
    /// # Errors
    /// Fails with 400, which names the first parameter with an invalid value.
    pub(crate) fn read(params: &Params<'_>, key: &CursorKey) -> Result<Self, Problem> {
        // The clock is read only if a time is given, and once for both times.
        let mut now = None;
        let mut time = |name: &'static str| match params.one(name)? {
            None => Ok(None),
            Some(text) => parse_time_spec(&text, now.get_or_insert_with(ZonedDateTime::now))
                .map(Some)
                .map_err(|why| Problem::invalid_parameter(name, why)),
        };
        let (since, until) = (time("since")?, time("until")?);
        let level = params.value("level").map(|value| object::level_of(&value)).transpose();
        let regex = params.one("regex")?.map(Cow::into_owned);
        let clients = params.all("client", MAX_NAMES, MAX_NAME_CHARS)?;
        let clients = (!clients.is_empty()).then(|| Clients::from_texts(clients)).transpose();
        let mut contains = params.all("contains", MAX_TEXTS, MAX_TEXT_CHARS)?;
        contains.retain(|text| !text.is_empty());
        let selection = Selection {
            since,
            until,
            level: level.map_err(|why| Problem::invalid_parameter("level", why))?,
            contains,
            regex: None,
            clients: clients.map_err(|why| Problem::invalid_parameter("client", why))?,
            keys: params.all("key", MAX_NAMES, MAX_NAME_CHARS)?,
        };
        let cursor = params.one("cursor")?.map(|text| key.decode(&text)).transpose();
        Ok(Self {
            selection,
            regex,
            limit: positive(params, "limit")?,
            order: choice(params, "order", &[("asc", Order::Ascending), ("desc", Order::Descending)])?,
            cursor: cursor.map_err(|why| Problem::invalid_parameter("cursor", why))?,
            output: choice(params, "output", &RecordFormat::ALL)?,
        })
    }

    /// Returns whether every record is selected.
    pub(crate) fn selects_all(&self) -> bool {
        self.selection.is_all() && self.regex.is_none()
    }

    /// Returns whether a regular expression must be compiled.
    pub(crate) const fn has_regex(&self) -> bool {
        self.regex.is_some()
    }

    /// Returns the time range and the lowest level.
    pub(crate) fn range(&self) -> (Option<i64>, Option<i64>, Option<Level>) {
        (self.selection.since, self.selection.until, self.selection.level)
    }

    /// Returns the conditions. Compiles the regular expression, which may take many milliseconds.
    ///
    /// # Errors
    /// Fails with 400 for an invalid expression.
    pub(crate) fn into_selection(self) -> Result<Selection, Problem> {
        let regex = self.regex.map(|text| Pattern::new(&text)).transpose();
        let regex = regex.map_err(|why| Problem::invalid_parameter("regex", why))?;
        Ok(Selection { regex, ..self.selection })
    }

    /// Returns the conditions. Compiles the regular expression on `pool`.
    ///
    /// # Errors
    /// Fails with 400 for an invalid expression.
    pub(crate) async fn compiled(self, pool: &CpuPool) -> Result<Selection, Problem> {
        if self.has_regex() { pool.run(|_| self.into_selection()).await? } else { self.into_selection() }
    }

    /// Returns whether the client sent no parameter of a read.
    pub(crate) fn is_empty(&self) -> bool {
        self.selects_all()
            && self.limit.is_none()
            && self.order.is_none()
            && self.cursor.is_none()
            && self.output.is_none()
    }
}

/// Reads a whole number that is greater than zero.
pub(crate) fn positive(params: &Params<'_>, name: &'static str) -> Result<Option<NonZeroU64>, Problem> {
    let Some(value) = params.value(name) else { return Ok(None) };
    let number = match &value {
        Value::Text(text) => &**text,
        Value::Number(text) => text,
        Value::Other(_) => "",
    };
    // Each number has one spelling, without sign and leading zeros and with at most 19 digits.
    let is_canonical =
        number.len() < 20 && !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit());
    match number.parse() {
        Ok(number) if is_canonical => Ok(Some(number)),
        _ => Err(Problem::invalid_parameter(name, "expected a whole number from 1 on")),
    }
}

/// Reads a parameter whose value is one of `words`.
pub(crate) fn choice<T: Copy>(
    params: &Params<'_>,
    name: &'static str,
    words: &[(&'static str, T)],
) -> Result<Option<T>, Problem> {
    let Some(text) = params.one(name)? else { return Ok(None) };
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, choice)) => Ok(Some(*choice)),
        None => {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            Err(Problem::invalid_parameter(name, format!("expected one of {}", words.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::observe::refusal_log::RefusalDetails;
    use crate::ingest::body::media_type::BodyKind;
    use crate::ingest::body::memory::Unlimited;
    use crate::ingest::body::parameters::Wanted;
    use crate::ingest::body::received::{BodyTexts, ReceivedBody};
    use http::HeaderMap;
    use proptest::prelude::*;

    const KEY: [u8; 16] = [7; 16];

    fn body_of<'a>(kind: BodyKind, body: &'a str, texts: &'a BodyTexts) -> ReceivedBody<'a> {
        ReceivedBody { bytes: body.as_bytes(), kind, media_type: "", texts, memory: &Unlimited }
    }

    fn read(query: &str, kind: BodyKind, body: &str) -> Result<ReadRequest, String> {
        let mut headers = HeaderMap::new();
        headers.insert("level", "4".parse().unwrap());
        let params = Params::without_body(Some(query), &headers);
        let texts = BodyTexts::default();
        let params = params.with_body(&body_of(kind, body, &texts), Wanted::Parameters).unwrap();
        let read = ReadRequest::read(&params, &CursorKey::of(KEY)).map_err(|problem| problem.words())?;
        let compiled = ReadRequest { regex: read.regex.clone(), ..ReadRequest::default() }.into_selection();
        compiled.map(|_| read).map_err(|problem| problem.words())
    }

    #[test]
    fn json_query_and_form_give_parameters_and_headers_do_not() {
        let request =
            read("contains=a&contains=b+c&key=x&key=y&limit=5&order=desc", BodyKind::Text, "").unwrap();
        assert_eq!(request.selection.contains, ["a", "b c"]);
        assert_eq!(request.selection.keys, ["x", "y"]);
        assert_eq!(request.selection.level, None, "a header is no source");
        assert_eq!((request.limit.map(NonZeroU64::get), request.order), (Some(5), Some(Order::Descending)));
        let json = r#"{"contains": ["a", 4.0], "level": 3, "limit": 7, "output": "ndjson", "client": null, "key": "k"}"#;
        let request = read("contains=q&level=debug&client=::1", BodyKind::Json, json).unwrap();
        assert_eq!(request.selection.contains, ["a", "4.0"], "the body is the stronger source");
        assert_eq!(request.selection.level, Some(Level::Error));
        assert_eq!(request.selection.keys, ["k"]);
        assert!(request.selection.clients.is_some(), "null counts as absent");
        assert_eq!(
            (request.limit.map(NonZeroU64::get), request.output),
            (Some(7), Some(RecordFormat::Ndjson))
        );
        let request = read("", BodyKind::Form, "contains=a&contains=&contains=b&since=yesterday").unwrap();
        assert_eq!(request.selection.contains, ["a", "b"]);
        assert!(request.selection.since.is_some());
        assert!(
            read("", BodyKind::Json, r#"{"contains": [], "key": null, "message": "x"}"#).unwrap().is_empty()
        );
        assert!(read("since=&limit=", BodyKind::Form, "output=").unwrap().is_empty());
    }

    #[test]
    fn invalid_value_is_refused_with_the_name_of_the_parameter() {
        for (name, values) in [
            ("since", &["soon", "15", "yesterday 25:00"][..]),
            ("until", &["2026-13-01", "-1h"]),
            ("level", &["5", "-1", "loud"]),
            ("regex", &["(", "(a{99}){99}{99}"]),
            ("client", &["localhost", "10.0.0.0/33", "1.2.3"]),
            ("limit", &["0", "-1", "1.5", "+1", "1e3", "99999999999999999999999", "all"]),
            ("order", &["up", "ASC", "asc,desc"]),
            ("output", &["xml", "JSON"]),
            ("cursor", &["x", "AAAAAAAAAAAAAAAAAAAAAAAA", "AAAA AAAA"]),
        ] {
            for value in values {
                let query = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
                let words = read(&query, BodyKind::Text, "").unwrap_err();
                assert!(words.starts_with(&format!("{name} parameter format error. ")), "{words}");
                let json = serde_json::json!({ name: value }).to_string();
                assert_eq!(read("", BodyKind::Json, &json).unwrap_err(), words);
            }
        }
        for (name, json) in [
            ("contains", r#"{"contains": {"a": 1}}"#),
            ("contains", r#"{"contains": ["a", null]}"#),
            ("contains", r#"{"contains": [["a"]]}"#),
            ("contains", r#"{"contains": true}"#),
            ("key", r#"{"key": [{}]}"#),
            ("since", r#"{"since": 1795410149}"#),
            ("since", r#"{"since": ["15m"]}"#),
            ("limit", r#"{"limit": [1]}"#),
            ("limit", r#"{"limit": 1.0}"#),
            ("level", r#"{"level": [1]}"#),
        ] {
            let words = read("", BodyKind::Json, json).unwrap_err();
            assert!(words.starts_with(&format!("{name} parameter format error. ")), "{json}: {words}");
        }
        let many = "contains=a&".repeat(MAX_TEXTS + 1);
        assert!(read(&many, BodyKind::Text, "").unwrap_err().starts_with("contains parameter format error."));
        let long = format!("key={}", "k".repeat(MAX_NAME_CHARS + 1));
        assert!(read(&long, BodyKind::Text, "").unwrap_err().starts_with("key parameter format error."));
    }

    #[test]
    fn cursor_of_another_log_is_refused() {
        let cursor = Cursor::fixed(77);
        let ours = CursorKey::of(KEY).encode(cursor);
        assert_eq!(read(&format!("cursor={ours}"), BodyKind::Text, "").unwrap().cursor, Some(cursor));
        let theirs = CursorKey::of([8; 16]).encode(cursor);
        assert!(read(&format!("cursor={theirs}"), BodyKind::Text, "").is_err());
    }

    proptest! {
        #[test]
        fn any_value_is_read_or_refused_by_name(name in 0_usize..READ_PARAMETERS.len(), value: String, json in r#"[\[\]{}:,"\\a-z0-9 .\-]{0,30}"#) {
            let name = READ_PARAMETERS[name];
            let query = form_urlencoded::Serializer::new(String::new()).append_pair(name, &value).finish();
            if let Err(words) = read(&query, BodyKind::Text, "") {
                prop_assert!(words.starts_with(name), "{}", words);
            }
            let body = format!("{{\"{name}\":{json}}}");
            let headers = HeaderMap::new();
            let texts = BodyTexts::default();
            let body = body_of(BodyKind::Json, &body, &texts);
            if let Ok(params) = Params::without_body(None, &headers).with_body(&body, Wanted::Parameters)
                && let Err(problem) = ReadRequest::read(&params, &CursorKey::of(KEY))
            {
                prop_assert!(problem.words().starts_with(name), "{}", problem.words());
            }
        }
    }
}
