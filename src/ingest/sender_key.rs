//! Finds the key in the places where the senders of other systems put it. They count on the routes
//! that store records, behind the places of the product itself.

use std::fmt;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};

use super::basic::{decode, text_of};
use super::form::Fields;

static X_SEQ_API_KEY: HeaderName = HeaderName::from_static("x-seq-apikey");
static DD_API_KEY: HeaderName = HeaderName::from_static("dd-api-key");

/// The parameters of a query that hold a key, in order of precedence.
const QUERY_NAMES: [&str; 4] = ["apiKey", "dd-api-key", "token", "x-api-key"];

/// A key as a sender of another system names it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SenderKey {
    /// The key.
    One(String),
    /// The text of `Authorization: ApiKey`, which is Base64 of `ID:KEY`, or a key that looks like it.
    ApiKey {
        /// KEY.
        key: String,
        /// The text itself.
        text: String,
    },
    /// A parameter of the query whose name may have another meaning. It is the key when it is a known
    /// one, or when the request names no other.
    Parameter(String),
}

impl SenderKey {
    /// Returns the text that is most likely the key.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::One(key) | Self::ApiKey { key, .. } | Self::Parameter(key) => key,
        }
    }

    /// Returns the key in the headers.
    pub(super) fn in_headers(headers: &HeaderMap) -> Option<Self> {
        let named = |name: &HeaderName| {
            let value = headers.get(name).filter(|value| !value.is_empty())?;
            Some(Self::One(String::from_utf8_lossy(value.as_bytes()).into_owned()))
        };
        authorization(headers).or_else(|| named(&X_SEQ_API_KEY)).or_else(|| named(&DD_API_KEY))
    }

    /// Takes the key out of the query, so that it becomes no field of a record.
    pub(super) fn take_from(query: &mut Fields<'_>) -> Option<Self> {
        let (name, key) = QUERY_NAMES.iter().find_map(|name| {
            let (_, key) = query.list.iter().find(|(field, value)| field == name && !value.is_empty())?;
            Some((*name, key.clone().into_owned()))
        })?;
        query.list.retain(|(field, value)| !(field == name && *value == key));
        Some(Self::Parameter(key))
    }
}

/// Shows nothing of the key.
impl fmt::Debug for SenderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SenderKey").finish_non_exhaustive()
    }
}

/// Reads the schemes `Splunk` and `ApiKey` (Elasticsearch).
fn authorization(headers: &HeaderMap) -> Option<SenderKey> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once([' ', '\t'])?;
    let token = token.trim();
    if token.is_empty() {
        return None;
    }
    if scheme.eq_ignore_ascii_case("splunk") {
        return Some(SenderKey::One(token.to_owned()));
    }
    scheme.eq_ignore_ascii_case("apikey").then(|| {
        let decoded = decode(token).map(text_of);
        match decoded.as_deref().and_then(|text| text.split_once(':')) {
            Some((_, key)) if !key.is_empty() => {
                SenderKey::ApiKey { key: key.to_owned(), text: token.to_owned() }
            }
            _ => SenderKey::One(token.to_owned()),
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ingest::form::fields;

    fn in_header(name: &'static str, value: &str) -> Option<SenderKey> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        SenderKey::in_headers(&headers)
    }

    fn one(key: &str) -> Option<SenderKey> {
        Some(SenderKey::One(key.to_owned()))
    }

    #[test]
    fn key_is_found_in_each_header() {
        assert_eq!(in_header("authorization", "Splunk k"), one("k"));
        assert_eq!(in_header("authorization", "splunk  k "), one("k"));
        assert_eq!(in_header("authorization", "ApiKey k-1"), one("k-1"));
        // Base64 of `id:k`.
        let pair = SenderKey::ApiKey { key: "k".to_owned(), text: "aWQ6aw==".to_owned() };
        assert_eq!(in_header("authorization", "ApiKey aWQ6aw=="), Some(pair));
        // Base64 of `id:`, and of a text without a colon.
        assert_eq!(in_header("authorization", "ApiKey aWQ6"), one("aWQ6"));
        assert_eq!(in_header("authorization", "apikey aWQ="), one("aWQ="));
        assert_eq!(in_header("x-seq-apikey", "k"), one("k"));
        assert_eq!(in_header("dd-api-key", "k"), one("k"));
        for value in ["Splunk", "Splunk ", "Bearer k", "Basic aWQ6aw==", "k"] {
            assert_eq!(in_header("authorization", value), None, "{value}");
        }
        assert_eq!(in_header("x-seq-apikey", ""), None);
    }

    #[test]
    fn key_is_taken_out_of_the_query() {
        for (query, key, rest) in [
            ("apiKey=k&a=b", Some("k"), "a=b"),
            ("dd-api-key=k", Some("k"), ""),
            ("a=b&token=k&token=t", Some("k"), "a=b token=t"),
            ("x-api-key=k&token=t", Some("t"), "x-api-key=k"),
            ("token=&x-api-key=k", Some("k"), "token="),
            ("APIKEY=k&tokens=t", None, "APIKEY=k tokens=t"),
        ] {
            let mut query_fields = fields(query.as_bytes());
            let found = SenderKey::take_from(&mut query_fields);
            assert_eq!(found.as_ref().map(SenderKey::text), key, "{query}");
            let left: Vec<String> =
                query_fields.list.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(left.join(" "), rest, "{query}");
        }
    }

    #[test]
    fn key_is_not_shown() {
        assert_eq!(format!("{:?}", SenderKey::One("s3cret".to_owned())), "SenderKey(..)");
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(value in "(?i:splunk |apikey )?[ -~]{0,40}") {
            drop(in_header("authorization", &value));
        }

        #[test]
        fn any_pair_of_elasticsearch_is_read(id in "[^:]{0,9}", key in ".{1,20}") {
            let token = data_encoding::BASE64.encode(format!("{id}:{key}").as_bytes());
            let found = in_header("authorization", &format!("ApiKey {token}"));
            prop_assert_eq!(found, Some(SenderKey::ApiKey { key, text: token }));
        }
    }
}
