//! Reads `Authorization: Basic` (RFC 7617). Many clients can name a key in no other way.

use std::fmt;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD};
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// Holds the user and the password of a request. At most one of them is empty.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BasicCredentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl BasicCredentials {
    /// Returns the credentials in the headers. `None` for another scheme, for malformed Base64, and
    /// when both parts are empty.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        Self::parse(headers.get(AUTHORIZATION)?.to_str().ok()?)
    }

    /// Parses the value of the header. Text without a colon is the user.
    fn parse(value: &str) -> Option<Self> {
        let (scheme, encoded) = value.trim().split_once([' ', '\t'])?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = text_of(decode(encoded.trim())?);
        let (user, password) = text.split_once(':').unwrap_or((&text, ""));
        let is_empty = user.is_empty() && password.is_empty();
        (!is_empty).then(|| Self { user: user.to_owned(), password: password.to_owned() })
    }
}

/// Shows nothing, because both parts may be secrets.
impl fmt::Debug for BasicCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicCredentials").finish_non_exhaustive()
    }
}

/// Decodes Base64 of either alphabet, with or without padding.
pub(super) fn decode(encoded: &str) -> Option<Vec<u8>> {
    let digits = encoded.trim_end_matches('=');
    let encoding = if digits.contains(['-', '_']) { BASE64URL_NOPAD } else { BASE64_NOPAD };
    encoding.decode(digits.as_bytes()).ok()
}

/// Returns the bytes as UTF-8, else as ISO 8859-1, which some clients send (RFC 7617, section 2.1).
pub(super) fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| error.into_bytes().iter().copied().map(char::from).collect())
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;
    use proptest::prelude::*;

    use super::*;

    fn parts(value: &str) -> Option<(String, String)> {
        BasicCredentials::parse(value).map(|credentials| (credentials.user, credentials.password))
    }

    fn pair(user: &str, password: &str) -> Option<(String, String)> {
        Some((user.to_owned(), password.to_owned()))
    }

    #[test]
    fn spellings_of_clients_are_read() {
        // The example of RFC 7617, section 2.
        assert_eq!(parts("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), pair("Aladdin", "open sesame"));
        assert_eq!(parts("bASIC  QWxhZGRpbjpvcGVuIHNlc2FtZQ "), pair("Aladdin", "open sesame"));
        assert_eq!(parts("Basic Og=="), None, "both parts are empty");
        assert_eq!(parts("Basic azo="), pair("k", ""));
        assert_eq!(parts("Basic Oms="), pair("", "k"));
        assert_eq!(parts("Basic aw=="), pair("k", ""), "no colon");
        assert_eq!(parts("Basic YTpiOmM="), pair("a", "b:c"), "the first colon ends the user");
        assert_eq!(parts("Basic YSUyMDpi"), pair("a%20", "b"), "nothing is percent-decoded");
        assert_eq!(parts("Basic w7w6w6k="), pair("ü", "é"));
        assert_eq!(parts("Basic /Drp"), pair("ü", "é"), "ISO 8859-1");
    }

    #[test]
    fn other_values_are_no_credentials() {
        for value in [
            "",
            "Basic",
            "Basic ",
            "Bearer azo=",
            "Basicazo=",
            "Basic a",
            "Basic a:b",
            "Basic az o=",
            "Basic =====",
        ] {
            assert_eq!(parts(value), None, "{value:?}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", BasicCredentials::parse("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        assert_eq!(shown, "Some(BasicCredentials { .. })");
    }

    proptest! {
        #[test]
        fn any_user_and_password_are_read_back(user in "[^:]{0,20}", password in ".{0,20}", pads: bool, urls: bool) {
            prop_assume!(!(user.is_empty() && password.is_empty()));
            let mut encoded = BASE64.encode(format!("{user}:{password}").as_bytes());
            if !pads {
                encoded = encoded.trim_end_matches('=').to_owned();
            }
            if urls {
                encoded = encoded.replace('+', "-").replace('/', "_");
            }
            prop_assert_eq!(parts(&format!("Basic {encoded}")), Some((user, password)));
        }

        #[test]
        fn any_value_is_read_without_a_panic(value in "(?i:basic )?.{0,40}", bytes: Vec<u8>) {
            drop(parts(&value));
            // Any bytes are the user or the password, and none is lost.
            let read = parts(&format!("Basic {}", BASE64.encode(&bytes)));
            let chars = text_of(bytes).chars().count();
            let read_chars = read.map_or(0, |(user, password)| user.chars().count() + password.chars().count());
            prop_assert!(read_chars == chars || read_chars + 1 == chars || chars <= 1);
        }
    }
}
