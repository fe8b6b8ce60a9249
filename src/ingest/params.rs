//! Finds the parameters of a request. The sources, in order of precedence, are JSON body, query,
//! form and headers.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};

use super::basic::BasicCredentials;
use super::batch::Batch;
use super::body::content::{BodyText, Content};
use super::entry::read_rules::ReadRules;
use super::error::IngestError;
use super::form::{Fields, PARAMETERS, fields};
use super::json::batch::{BatchError, parse_batch};
use super::json::object::{self, Object, Value};
use super::sender_key::SenderKey;
use super::text::Replaced;

// Parsing a header name on each look-up would cost as much as the look-up.
static API_KEY: HeaderName = HeaderName::from_static("api-key");
static X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
static ROOT_PASS: HeaderName = HeaderName::from_static("root-pass");
pub(super) static LEVEL: HeaderName = HeaderName::from_static("level");
pub(super) static MESSAGE: HeaderName = HeaderName::from_static("message");

/// Holds the entries of a batch, the body from which they were read, and how they were read.
#[derive(Debug)]
struct List<'a> {
    entries: Batch<'a>,
    body: BodyText<'a>,
    rules: ReadRules<'a>,
}

/// Holds the parameters of one request, from all sources.
#[derive(Debug)]
pub(crate) struct Params<'a> {
    pub(super) json: Option<Object<'a>>,
    /// Whether bytes of the JSON body were no UTF-8.
    pub(super) json_has_replacements: bool,
    /// The entries of a JSON body, if they were read together with the body.
    list: Option<List<'a>>,
    pub(super) query: Fields<'a>,
    pub(super) form: Fields<'a>,
    /// What the body holds beside parameters.
    pub(super) content: Content<'a>,
    headers: &'a HeaderMap,
    /// The key in a place of another system.
    sender_key: Option<SenderKey>,
}

impl<'a> Params<'a> {
    /// Reads the parameters of the query and the headers, for the checks before the body is read.
    pub(crate) fn without_body(query: Option<&'a str>, headers: &'a HeaderMap) -> Self {
        let query = fields(query.unwrap_or_default().as_bytes());
        Self {
            json: None,
            json_has_replacements: false,
            list: None,
            query,
            form: Fields::default(),
            content: Content::None,
            headers,
            sender_key: None,
        }
    }

    /// Also reads the places where senders of other systems put the key, for routes that store
    /// records. Such a key counts when no place of the product has one.
    pub(crate) fn of_sender(mut self) -> Self {
        if self.api_key().is_none() && self.basic().is_none() {
            self.sender_key =
                SenderKey::in_headers(self.headers).or_else(|| SenderKey::take_from(&mut self.query));
        }
        self
    }

    /// Returns the key in a place of another system.
    pub(crate) const fn sender_key(&self) -> Option<&SenderKey> {
        self.sender_key.as_ref()
    }

    /// Sets the JSON object of the body.
    pub(super) fn set_json(&mut self, object: Object<'a>, body: BodyText<'a>) {
        self.json_has_replacements = !body.replaced.is_empty();
        self.json = Some(object);
    }

    /// Sets the JSON object of a body whose list `logs` was read in the same pass, by these rules.
    pub(super) fn set_list(
        &mut self,
        rest: Object<'a>,
        entries: Batch<'a>,
        body: BodyText<'a>,
        rules: ReadRules<'a>,
    ) {
        self.set_json(rest, body);
        self.list = Some(List { entries, body, rules });
    }

    /// Returns what the body holds beside parameters.
    pub(crate) const fn content(&self) -> Content<'a> {
        self.content
    }

    /// Returns whether the body is a JSON object, or a form that contains a known parameter: one of
    /// those of a save, or one of `others`.
    pub(crate) fn body_has_parameters(&self, others: &[&str]) -> bool {
        let is_known = |name: &str| PARAMETERS.contains(&name) || others.contains(&name);
        self.json.is_some()
            || self.content.is_json_throughout()
            || self.form.list.iter().any(|(name, _)| is_known(name))
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
        Object::parse(list.body.text).ok()?.get(name)
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

    /// Returns the key of the caller, from any source of the product but [`Self::basic`].
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
            let object = Object::parse(body.text).map_err(|_| BatchError::NotAList)?;
            let text = object.get("logs").ok_or(BatchError::Missing)?.into_text();
            return Ok(parse_text(text, self.json_has_replacements, rules)?);
        }
        let has_replacements =
            self.json_has_replacements || self.query.has_replacements || self.form.has_replacements;
        let text = self.take("logs", None).ok_or(BatchError::Missing)?.into_text();
        Ok(parse_text(text, has_replacements, rules)?)
    }
}

/// Reads the text of a list. With `has_replacements` each U+FFFD in it counts as replaced.
fn parse_text<'a>(
    text: Cow<'a, str>,
    has_replacements: bool,
    rules: &ReadRules<'_>,
) -> Result<Batch<'a>, BatchError> {
    let replaced = if has_replacements { Replaced::anywhere() } else { Replaced::NONE };
    match text {
        Cow::Borrowed(text) => parse_batch(text, &replaced, rules),
        Cow::Owned(text) => parse_batch(&text, &replaced, rules).map(Batch::into_owned),
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
    use crate::ingest::body::media_type::BodyKind;
    use crate::ingest::body::memory::Unlimited;
    use crate::ingest::body::parameters::Wanted;
    use crate::ingest::body::received::{BodyTexts, ReceivedBody};
    use crate::record::Level;
    use proptest::prelude::*;

    fn message(query: &str, kind: BodyKind, body: &str, headers: &HeaderMap) -> Option<String> {
        let (texts, media_type) = (BodyTexts::default(), "");
        let bytes = body.as_bytes();
        let body = ReceivedBody { bytes, kind, media_type, texts: &texts, memory: &Unlimited };
        let params = Params::without_body(Some(query), headers);
        let mut params = params.with_body(&body, Wanted::Record).unwrap();
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
        assert_eq!(message("message=q", BodyKind::Unreadable, json, &headers).as_deref(), Some("j"));
        assert_eq!(message("message=q", BodyKind::Text, "t", &headers).as_deref(), Some("q"));
        assert_eq!(message("", BodyKind::Text, "t", &headers).as_deref(), Some("t"));
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
            for kind in [BodyKind::Json, BodyKind::Form, BodyKind::Unnamed, BodyKind::Unreadable] {
                let texts = BodyTexts::default();
                let body = ReceivedBody { bytes: &body, kind, media_type: "", texts: &texts, memory: &Unlimited };
                if let Ok(mut params) = Params::without_body(Some(&query), &headers).with_body(&body, Wanted::Parameters) {
                    drop((params.api_key(), params.root_pass()));
                    let rules = ReadRules::default();
                    drop((params.take_logs(&rules), params.take_record(&rules)));
                }
            }
        }
    }
}
