//! The path of a request in one spelling, for the routes.

use http::Uri;
use http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::url_key::UrlKey;

/// The bytes that RFC 3986, section 2.3, does not call unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Returns a segment of a path as [`normalized`] spells it.
pub(crate) fn encoded_segment(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Returns the target, without the key in its path, with each segment of its path in its only spelling: unreserved bytes as they
/// are, all others percent-encoded in upper case (RFC 3986, section 6.2.2.2). Two paths that name
/// the same segments become equal, and paths with different segments stay different.
pub(crate) fn normalized(uri: &Uri, url_key: &UrlKey) -> Uri {
    let path = url_key.path(uri.path());
    // Nearly every path has this spelling already.
    let is_kept =
        |byte| matches!(byte, b'/' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~');
    if url_key.is_plain() && path.bytes().all(is_kept) {
        return uri.clone();
    }
    let mut normalized = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            normalized.push('/');
        }
        let bytes: Vec<u8> = percent_decode_str(segment).collect();
        normalized.extend(percent_encoding::percent_encode(&bytes, RESERVED));
    }
    // Only a path without a slash, such as `*`, may fail here. It has no other spelling.
    match PathAndQuery::try_from(normalized) {
        Ok(path) if uri.path().starts_with('/') => Uri::from(path),
        _ => uri.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path_of(text: &str) -> String {
        let uri: Uri = text.parse().unwrap();
        normalized(&uri, &UrlKey::of(uri.path())).path().to_owned()
    }

    #[test]
    fn every_spelling_of_a_path_becomes_one() {
        for (text, expected) in [
            ("/moca-file-log/save-log", "/moca-file-log/save-log"),
            ("/moca-file-log/%73ave%2Dlog?a=%20", "/moca-file-log/save-log"),
            ("/a/%c3%a9%2F/", "/a/%C3%A9%2F/"),
            ("/a+b/c,d", "/a%2Bb/c%2Cd"),
            ("/a%/%2", "/a%25/%252"),
            ("//x%00", "//x%00"),
            ("/k/s3cret/%73ave-log", "/save-log"),
            ("/k/s3cret", "/"),
            ("*", "*"),
        ] {
            assert_eq!(path_of(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn segments_stay_the_same(segments in prop::collection::vec("[a-zA-Z0-9 ._%?#&+é/-]{0,8}", 0..4), lower: bool) {
            // A key may follow the first segment `k`.
            prop_assume!(segments.first().is_none_or(|segment| segment != "k"));
            let spelled: Vec<String> = segments.iter().map(|segment| {
                let bytes = segment.bytes();
                bytes.map(|byte| if lower { format!("%{byte:02x}") } else { format!("%{byte:02X}") }).collect()
            }).collect();
            let expected: Vec<String> = segments.iter().map(|segment| encoded_segment(segment)).collect();
            let path = format!("/{}", spelled.join("/"));
            prop_assert_eq!(path_of(&path), format!("/{}", expected.join("/")));
            prop_assert_eq!(path_of(&format!("/{}", expected.join("/"))), format!("/{}", expected.join("/")));
        }
    }
}
