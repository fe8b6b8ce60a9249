//! Finds the parameters of a request. The sources, in order of precedence, are JSON body, query,
//! form and headers.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};

use super::basic::BasicCredentials;
use super::batch::Batch;
use super::entry::read_rules::ReadRules;
use super::error::IngestError;
use super::form::{Fields, PARAMETERS, fields};
use super::json::batch::{BatchBody, BatchError, parse_batch};
use super::json::object::{self, Object, Value};

// Parsing a header name on each look-up would cost as much as the look-up.
static API_KEY: HeaderName = HeaderName::from_static("api-key");
static X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
static ROOT_PASS: HeaderName = HeaderName::from_static("root-pass");
pub(super) static LEVEL: HeaderName = HeaderName::from_static("level");
pub(super) static MESSAGE: HeaderName = HeaderName::from_static("message");

/// Classifies a body by its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyKind {
    Json,
    Form,
    Multipart,
    /// A body without a content type. It is read as JSON if it is a JSON object, and ignored
    /// otherwise.
    Unnamed,
    /// A content type that holds no parameters.
    Other,
}

impl BodyKind {
    /// Returns the kind that `Content-Type` names. Parameters of the media type (`; charset=…`) are
    /// ignored.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(CONTENT_TYPE) else { return Self::Unnamed };
        Self::named(value.to_str().unwrap_or_default())
    }

    /// Returns the kind of a media type.
    pub(crate) fn named(text: &str) -> Self {
        // By far the most frequent type comes first.
        if text == "application/json" {
            return Self::Json;
        }
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "" => Self::Unnamed,
            "application/json" | "text/json" => Self::Json,
            "application/x-www-form-urlencoded" => Self::Form,
            "multipart/form-data" => Self::Multipart,
            other if other.starts_with("application/") && other.ends_with("+json") => Self::Json,
            _ => Self::Other,
        }
    }
}

/// Holds the entries of a batch, the body from which they were read, and how they were read.
#[derive(Debug)]
struct List<'a> {
    entries: Batch<'a>,
    body: &'a str,
    rules: ReadRules<'a>,
}

/// Holds the parameters of one request, from all sources.
#[derive(Debug)]
pub(crate) struct Params<'a> {
    pub(super) json: Option<Object<'a>>,
    /// The entries of a JSON body, if they were read together with the body.
    list: Option<List<'a>>,
    pub(super) query: Fields<'a>,
    pub(super) form: Fields<'a>,
    headers: &'a HeaderMap,
}

impl<'a> Params<'a> {
    /// Reads the parameters of the query and the headers, for the checks before the body is read.
    pub(crate) fn without_body(query: Option<&'a str>, headers: &'a HeaderMap) -> Self {
        let query = fields(query.unwrap_or_default().as_bytes());
        Self { json: None, list: None, query, form: Fields::default(), headers }
    }

    /// Adds the parameters of a body that is not multipart.
    ///
    /// # Errors
    /// Fails for a body that does not match its content type.
    pub(crate) fn with_body(mut self, kind: BodyKind, body: &'a [u8]) -> Result<Self, IngestError> {
        match kind {
            BodyKind::Json if !body.is_empty() => self.json = Some(parse_json(body)?),
            BodyKind::Unnamed if !body.is_empty() => {
                self.json = std::str::from_utf8(body).ok().and_then(|text| Object::parse(text).ok());
            }
            BodyKind::Form => self.form = fields(body),
            _ => {}
        }
        Ok(self)
    }

    /// Adds the parameters of a body that should hold a batch. The entries are read in the same
    /// pass.
    ///
    /// # Errors
    /// Fails as [`Self::with_body`] does.
    pub(crate) fn with_batch(
        mut self,
        kind: BodyKind,
        body: &'a [u8],
        rules: ReadRules<'a>,
    ) -> Result<Self, IngestError> {
        let may_be_json = matches!(kind, BodyKind::Json | BodyKind::Unnamed);
        let text = may_be_json.then(|| std::str::from_utf8(body).ok()).flatten();
        match text.and_then(|text| Some((text, BatchBody::parse(text, &rules)?))) {
            Some((body, BatchBody { rest, entries })) => {
                self.json = Some(rest);
                self.list = Some(List { entries, body, rules });
                Ok(self)
            }
            None => self.with_body(kind, body),
        }
    }

    /// Adds the fields of a multipart form.
    pub(crate) fn with_parts(mut self, parts: Fields<'a>) -> Self {
        self.form = parts;
        self
    }

    /// Returns whether the body is a JSON object, or a form that contains a known parameter: one of
    /// those of a save, or one of `others`.
    pub(crate) fn body_has_parameters(&self, others: &[&str]) -> bool {
        let is_known = |name: &str| PARAMETERS.contains(&name) || others.contains(&name);
        self.json.is_some() || self.form.list.iter().any(|(name, _)| is_known(name))
    }

    fn get(&self, name: &str, header: Option<&HeaderName>) -> Option<Value<'_>> {
        self.json
            .as_ref()
            .and_then(|json| json.get(name))
            .or_else(|| self.batch_text(name))
            .or_else(|| field(&self.query, name))
            .or_else(|| field(&self.form, name))
            .or_else(|| self.header(header?))
    }

    /// Takes the value of a parameter from the first source that has it.
    fn take(&mut self, name: &str, header: Option<&HeaderName>) -> Option<Value<'a>> {
        (self.json.as_ref().and_then(|json| json.get(name)))
            .or_else(|| take_field(&mut self.query, name))
            .or_else(|| take_field(&mut self.form, name))
            .or_else(|| self.header(header?))
    }

    /// Returns the text of `logs` after its entries were read. It parses the body again, because
    /// only `required_args` of a key asks for the text, and that is rare.
    fn batch_text(&self, name: &str) -> Option<Value<'_>> {
        let list = self.list.as_ref().filter(|_| name == "logs")?;
        Object::parse(list.body).ok()?.get(name)
    }

    /// Returns the value of a parameter that no header can carry.
    pub(crate) fn value(&self, name: &str) -> Option<Value<'_>> {
        self.get(name, None)
    }

    /// Returns the value of a parameter that must be a string.
    ///
    /// # Errors
    /// Fails for a JSON value of another type.
    pub(crate) fn one(&self, name: &str) -> Result<Option<Cow<'_, str>>, IngestError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(IngestError::parameter(name, "expected a string")),
        }
    }

    /// Returns all values of a repeatable parameter. They come from the first source that has it.
    /// In JSON the value may be a list.
    ///
    /// # Errors
    /// Fails for more than `max_values` values, or for a value of more than `max_chars` characters.
    pub(crate) fn all(
        &self,
        name: &str,
        max_values: usize,
        max_chars: usize,
    ) -> Result<Vec<String>, IngestError> {
        let in_json = self.json.as_ref().and_then(|json| json.get(name));
        let mut values = match &in_json {
            Some(value) => object::texts_of(value).map_err(|why| IngestError::parameter(name, why))?,
            None => {
                let in_fields = |fields: &Fields<'_>| -> Vec<String> {
                    let named = fields.list.iter().filter(|(field, _)| field == name);
                    named.map(|(_, value)| value.clone().into_owned()).collect()
                };
                let in_query = in_fields(&self.query);
                if in_query.iter().all(String::is_empty) && in_query.len() <= max_values {
                    in_fields(&self.form)
                } else {
                    in_query
                }
            }
        };
        if values.len() > max_values {
            return Err(IngestError::parameter(name, format!("more than {max_values} values")));
        }
        if in_json.is_none() {
            // Blank values count as absent.
            values.retain(|value| !value.is_empty());
        }
        if values.iter().any(|value| value.len() > max_chars && value.chars().nth(max_chars).is_some()) {
            return Err(IngestError::parameter(name, format!("longer than {max_chars} characters")));
        }
        Ok(values)
    }

    pub(super) fn header(&self, name: &HeaderName) -> Option<Value<'a>> {
        let value = self.headers.get(name).filter(|value| !value.is_empty())?;
        Some(Value::Text(String::from_utf8_lossy(value.as_bytes())))
    }

    /// Returns the key of the caller, from any source but [`Self::basic`].
    pub(crate) fn api_key(&self) -> Option<Cow<'_, str>> {
        let named = self.get("api_key", Some(&API_KEY)).or_else(|| self.header(&X_API_KEY));
        match named {
            Some(value) => Some(value.into_text()),
            None => bearer(self.headers).map(Cow::Borrowed),
        }
    }

    /// Returns the key in the body, unless a source of higher precedence has one.
    pub(crate) fn key_in_body(&self) -> Option<Cow<'_, str>> {
        let in_json = self.json.as_ref().and_then(|json| json.get("api_key"));
        let in_form = || field(&self.form, "api_key").filter(|_| field(&self.query, "api_key").is_none());
        in_json.or_else(in_form).map(Value::into_text)
    }

    /// Returns the user and the password of `Authorization: Basic`. The route decides which of them
    /// is the key.
    pub(crate) fn basic(&self) -> Option<BasicCredentials> {
        BasicCredentials::of(self.headers)
    }

    /// Returns the root password, from any source. The last one is the password of
    /// `Authorization: Basic`, whose user is the key.
    pub(crate) fn root_pass(&self) -> Option<Cow<'_, str>> {
        let named = self.get("root_pass", Some(&ROOT_PASS)).map(Value::into_text);
        named.or_else(|| self.basic().map(|basic| Cow::Owned(basic.password)))
    }

    /// Returns the value of any parameter as text, for `required_args` of a key.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        let header = match name {
            "api_key" => Some(&API_KEY),
            "root_pass" => Some(&ROOT_PASS),
            "level" => Some(&LEVEL),
            "message" => Some(&MESSAGE),
            _ => None,
        };
        self.get(name, header).map(Value::into_text)
    }

    /// Takes the entries of `logs`. `logs` is a list, or the JSON text of a list.
    ///
    /// # Errors
    /// Fails for a request without `logs`, or with the number of the first invalid entry.
    pub(crate) fn take_logs(&mut self, rules: &ReadRules<'_>) -> Result<Batch<'a>, IngestError> {
        if let Some(List { entries, body, rules: read_with }) = self.list.take() {
            if read_with == *rules {
                return Ok(entries);
            }
            // The key in the body has other options than those the entries were read with.
            let object = Object::parse(body).map_err(|_| BatchError::NotAList)?;
            let text = object.get("logs").ok_or(BatchError::Missing)?.into_text();
            return Ok(parse_text(text, rules)?);
        }
        let text = self.take("logs", None).ok_or(BatchError::Missing)?.into_text();
        Ok(parse_text(text, rules)?)
    }
}

fn parse_text<'a>(text: Cow<'a, str>, rules: &ReadRules<'_>) -> Result<Batch<'a>, BatchError> {
    match text {
        Cow::Borrowed(text) => parse_batch(text, rules),
        Cow::Owned(text) => parse_batch(&text, rules).map(Batch::into_owned),
    }
}

fn parse_json(body: &[u8]) -> Result<Object<'_>, IngestError> {
    let not_an_object = |why| IngestError::NotAnObject { why };
    let text = std::str::from_utf8(body)
        .map_err(|error| not_an_object(format!("byte {} is not UTF-8", error.valid_up_to())))?;
    Object::parse(text).map_err(|error| not_an_object(describe(&error)))
}

/// Describes a JSON error without the value. serde would quote a value of the wrong type, and that
/// value may be a secret.
fn describe(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => {
            format!("not a JSON object at line {} column {}", error.line(), error.column())
        }
        _ => error.to_string(),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// Returns the first value of `name` that is not blank.
fn field<'p>(fields: &'p Fields<'_>, name: &str) -> Option<Value<'p>> {
    let (_, value) = fields.list.iter().find(|(field, value)| field == name && !value.is_empty())?;
    Some(Value::Text(Cow::Borrowed(value)))
}

/// Takes the first value of `name` that is not blank.
fn take_field<'a>(fields: &mut Fields<'a>, name: &str) -> Option<Value<'a>> {
    let (_, value) = fields.list.iter_mut().find(|(field, value)| field == name && !value.is_empty())?;
    Some(Value::Text(std::mem::take(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Level;
    use proptest::prelude::*;

    fn message(query: &str, kind: BodyKind, body: &str, headers: &HeaderMap) -> Option<String> {
        let mut params = Params::without_body(Some(query), headers).with_body(kind, body.as_bytes()).unwrap();
        let batch = params.take_record(&ReadRules::default()).ok()?;
        Some(batch.entries(Level::Debug)[0].message.to_owned())
    }

    #[test]
    fn json_comes_before_query_before_form_before_headers() {
        let mut headers = HeaderMap::new();
        let none = headers.clone();
        headers.insert("message", "h".parse().unwrap());
        let json = r#"{"message":"j"}"#;
        assert_eq!(message("message=q", BodyKind::Json, json, &headers).as_deref(), Some("j"));
        assert_eq!(message("message=q", BodyKind::Unnamed, json, &headers).as_deref(), Some("j"));
        assert_eq!(message("message=q", BodyKind::Other, json, &headers).as_deref(), Some("q"));
        assert_eq!(
            message("message=q", BodyKind::Json, r#"{"message":null}"#, &headers).as_deref(),
            Some("q")
        );
        assert_eq!(message("message=q", BodyKind::Form, "message=f", &headers).as_deref(), Some("q"));
        assert_eq!(message("message=", BodyKind::Form, "message=f", &headers).as_deref(), Some("f"));
        assert_eq!(message("message=", BodyKind::Form, "message=", &headers).as_deref(), Some("h"));
        assert_eq!(message("", BodyKind::Form, "msg=f", &headers).as_deref(), Some("f"));
        assert_eq!(message("", BodyKind::Form, "message=", &none).as_deref(), Some(""));
        assert_eq!(message("msg=a+b%26", BodyKind::Form, "", &none).as_deref(), Some("a b&"));
        assert_eq!(message("", BodyKind::Json, r#"{"message":""}"#, &headers).as_deref(), Some(""));
        assert_eq!(message("", BodyKind::Json, "", &none), None);
    }

    /// Encodes `value` as the parameter `message` of a query or form.
    fn urlencoded(value: Option<&String>) -> String {
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(value.map(|value| ("message", value)));
        text.finish()
    }

    proptest! {
        #[test]
        fn first_source_with_a_message_wins(
            in_body in prop::option::of("[a-z&=%+ \u{e9}]{0,4}"), as_json: bool, null: bool,
            in_query in prop::option::of("[a-z&=%+ \u{e9}]{0,4}"), in_header in prop::option::of("[a-z&=%+]{0,4}"),
        ) {
            let query = urlencoded(in_query.as_ref());
            let mut headers = HeaderMap::new();
            headers.extend(in_header.as_ref().map(|text| (http::HeaderName::from_static("message"), text.parse().unwrap())));
            let (kind, body) = if as_json {
                let json = match &in_body {
                    Some(text) => serde_json::json!({"message": text}),
                    None if null => serde_json::json!({"message": null}),
                    None => serde_json::json!({}),
                };
                (BodyKind::Json, json.to_string())
            } else {
                (BodyKind::Form, urlencoded(in_body.as_ref()))
            };
            let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
            let (query_or, header) = (filled(&in_query), filled(&in_header));
            let blank = || [&in_query, &in_body].into_iter().flatten().next().map(|_| String::new());
            let expected = if as_json {
                // An empty string in JSON is a message, not a blank field.
                in_body.clone().or(query_or).or(header).or_else(|| in_query.as_ref().map(|_| String::new()))
            } else {
                query_or.or_else(|| filled(&in_body)).or(header).or_else(blank)
            };
            prop_assert_eq!(message(&query, kind, &body, &headers), expected);
        }

        #[test]
        fn any_body_is_read_or_refused(query in ".{0,40}", body: Vec<u8>) {
            let headers = HeaderMap::new();
            for kind in [BodyKind::Json, BodyKind::Form, BodyKind::Unnamed, BodyKind::Other] {
                if let Ok(mut params) = Params::without_body(Some(&query), &headers).with_body(kind, &body) {
                    drop((params.api_key(), params.root_pass()));
                    let rules = ReadRules::default();
                    drop((params.take_logs(&rules), params.take_record(&rules)));
                }
            }
        }
    }
}
