//! Removes secrets from URLs before they are logged.

use std::borrow::Cow;
use std::ops::Range;

use percent_encoding::percent_decode_str;

/// The text that replaces a secret.
const MASK: &str = "***";

/// Names of parameters with a secret value, and names that clients use by mistake in their place.
/// `-` equals `_`, and case does not matter.
const SECRET_NAMES: [&str; 8] =
    ["api_key", "root_pass", "x_api_key", "authorization", "apikey", "dd_api_key", "token", "x_seq_apikey"];

/// Paths whose next segment is a key. Clients that can set nothing but a URL put it there. A key may be
/// followed by such a path again.
const PATHS_OF_KEYS: [&[&str]; 2] = [&["k"], &["v1", "input"]];

/// Returns a URL, or a part of one, without the values of secret parameters and without the user
/// and password of its authority.
///
/// It finds every parameter that this server would read as a secret, in every spelling
/// (percent-encoded, for example) and in every repetition. A value ends where the server ends it,
/// at `&`. It also looks for the names in the path and in the fragment, where this server reads no
/// parameters but another server may.
pub(crate) fn redacted(url: &str) -> Cow<'_, str> {
    let mut hidden = Vec::new();
    let mut start = 0;
    for segment in url.split('&') {
        let end = start + segment.len();
        hidden.extend(secret_value(segment).map(|value| start + value..end));
        start = end + 1;
    }
    if let Some(info) = user_info(url) {
        // A secret that looks like a URL is hidden as a whole already.
        let in_secret = hidden.iter().any(|value| value.start <= info.start && info.start <= value.end);
        if !in_secret {
            hidden.push(info);
        }
    }
    hidden.extend(keys_in_path(url));
    if hidden.is_empty() {
        return Cow::Borrowed(url);
    }
    hidden.sort_by_key(|range| range.start);
    let mut clean = String::new();
    // The URL is copied or hidden up to this offset.
    let mut done = 0;
    for range in hidden {
        // A range that begins within a hidden range gets no second mask.
        if let Some(before) = url.get(done..range.start) {
            clean.push_str(before);
            clean.push_str(MASK);
        }
        done = done.max(range.end);
    }
    clean.push_str(&url[done..]);
    Cow::Owned(clean)
}

/// Returns the range of `USER:PASSWORD` in `scheme://USER:PASSWORD@HOST/`.
fn user_info(url: &str) -> Option<Range<usize>> {
    let from = url.find("://")? + 3;
    let authority = url[from..].split(['/', '?', '#']).next()?;
    let at = authority.rfind('@')?;
    Some(from..from + at)
}

/// Returns the ranges of the keys in a path, such as `/k/KEY/…`.
fn keys_in_path(url: &str) -> Vec<Range<usize>> {
    let mut keys = Vec::new();
    let authority = url.find("://").map_or(0, |at| at + 3);
    let Some(path) = url[authority..].find('/') else { return keys };
    let mut from = authority + path;
    while let Some(key) = PATHS_OF_KEYS.iter().find_map(|path| key_behind(url, from, path)) {
        from = key.end;
        keys.push(key);
    }
    keys
}

/// Returns the range of the segment behind these segments, which begin with the slash at `from`.
fn key_behind(url: &str, mut from: usize, path: &[&str]) -> Option<Range<usize>> {
    for wanted in path {
        let segment = segment_at(url, from)?;
        from = segment.end;
        percent_decode_str(&url[segment]).eq(wanted.bytes()).then_some(())?;
    }
    segment_at(url, from).filter(|key| !key.is_empty())
}

/// Returns the range of the segment behind the slash at `from`.
fn segment_at(url: &str, from: usize) -> Option<Range<usize>> {
    let segment = url[from..].strip_prefix('/')?;
    let len = segment.find(['/', '?', '#', ' ']).unwrap_or(segment.len());
    Some(from + 1..from + 1 + len)
}

/// Returns the offset of a secret value in a part of the URL between two `&`.
fn secret_value(segment: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(equals) = segment[from..].find('=') {
        let name = &segment[from..from + equals];
        from += equals + 1;
        if is_secret(name.rsplit(['?', '#', ';', '/']).next().unwrap_or(name)) {
            return Some(from);
        }
    }
    None
}

fn is_secret(name: &str) -> bool {
    let decoded = || {
        percent_decode_str(name).map(|byte| match byte {
            b'-' => b'_',
            other => other.to_ascii_lowercase(),
        })
    };
    SECRET_NAMES.iter().any(|secret| decoded().eq(secret.bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_are_hidden_in_every_spelling() {
        for (url, clean) in [
            ("/save-log", "/save-log"),
            ("/save-log?message=api_key", "/save-log?message=api_key"),
            ("/x?api_key=s3cret", "/x?api_key=***"),
            ("/x?a=b&api_key=s3cret&c=d&root_pass=s3cret", "/x?a=b&api_key=***&c=d&root_pass=***"),
            ("/x?api%5Fkey=s3cret&%61pi_key=s3cret", "/x?api%5Fkey=***&%61pi_key=***"),
            ("/x?api_key=s3=cret?a;b#c", "/x?api_key=***"),
            ("/x?api_key=&api_key", "/x?api_key=***&api_key"),
            ("/x?API-KEY=s3cret&X-Api-Key=s3cret", "/x?API-KEY=***&X-Api-Key=***"),
            ("/x;api_key=s3cret/y?z=1", "/x;api_key=***"),
            ("https://h/p?q#api_key=s3cret", "https://h/p?q#api_key=***"),
            ("http://u:s3cret@h/p?root_pass=s3cret", "http://***@h/p?root_pass=***"),
            ("http://h/p?mail=a@b", "http://h/p?mail=a@b"),
            ("http://u@h?api_key=@s3cret", "http://***@h?api_key=***"),
            ("x://api_key=a&b@c/d", "x://***@c/d"),
            ("/x?api_key=s3cret&next=http://u:s3cret@h", "/x?api_key=***&next=http://***@h"),
            ("/x?api_key=s3://cret@&a=b", "/x?api_key=***&a=b"),
            ("/x?api_key=s3cret://&a=b@c", "/x?api_key=***&a=b@c"),
            ("/x?my_api_key=seen", "/x?my_api_key=seen"),
            ("/x?apiKey=s3cret&DD-API-KEY=s3cret", "/x?apiKey=***&DD-API-KEY=***"),
            ("/k/s3cret/upload?a=b", "/k/***/upload?a=b"),
            ("http://h/k/s3cret", "http://h/k/***"),
            ("/x/k/seen", "/x/k/seen"),
            ("/%6b/s3cret/upload", "/%6b/***/upload"),
            ("/k/s3cret/v1/input/s3cret?a=b", "/k/***/v1/input/***?a=b"),
            ("/v1/%69nput/s3cret", "/v1/%69nput/***"),
            ("/v1/input", "/v1/input"),
            ("/v1/other/seen", "/v1/other/seen"),
            ("/x?token=s3cret&Token=s3cret", "/x?token=***&Token=***"),
            ("/x?X-Seq-ApiKey=s3cret", "/x?X-Seq-ApiKey=***"),
            ("Requested URL /k/s3cret/x not found", "Requested URL /k/***/x not found"),
            ("/k/", "/k/"),
            ("api_key=s3cret", "api_key=***"),
            ("", ""),
        ] {
            assert_eq!(redacted(url), clean, "{url}");
        }
    }

    /// Returns the spellings of a name that a client may choose.
    fn spelled(name: &'static str) -> impl Strategy<Value = String> {
        proptest::collection::vec(0..3_u8, name.len()).prop_map(move |ways| {
            let spell = |(byte, way): (u8, u8)| match way {
                0 => char::from(byte).to_string(),
                1 => format!("%{byte:02x}"),
                _ => format!("%{byte:02X}"),
            };
            name.bytes().zip(ways).map(spell).collect()
        })
    }

    proptest! {
        /// Checks that no value that the server would read as a secret is left, wherever it stands.
        #[test]
        fn no_secret_that_the_server_reads_is_left(
            before in "(/[a-z?;=%/]{0,12}|http://h/[a-z]{0,3})",
            fields in proptest::collection::vec(
                (
                    prop_oneof![
                        spelled("api_key"), spelled("root_pass"), spelled("token"), "[a-z_%=;?+]{0,8}".prop_map(String::from)
                    ],
                    "[a-z%=;?/+@:]{0,6}",
                ),
                0..6,
            ),
        ) {
            let query: Vec<_> =
                fields.iter().map(|(name, value)| format!("{name}=S{value}E7C{value}")).collect();
            let url = format!("{before}?{}", query.join("&"));
            let read = url.split_once('?').map_or("", |(_, query)| query);
            let clean = redacted(&url);
            let left = clean.split_once('?').map_or("", |(_, query)| query);
            for (name, value) in form_urlencoded::parse(left.as_bytes()) {
                if name == "api_key" || name == "root_pass" {
                    prop_assert_eq!(value, MASK);
                }
            }
            let secrets = form_urlencoded::parse(read.as_bytes()).filter(|(name, _)| name == "api_key" || name == "root_pass");
            if secrets.count() == fields.len() {
                prop_assert!(!clean.contains("E7C"), "{}", clean);
            }
        }
    }
}
