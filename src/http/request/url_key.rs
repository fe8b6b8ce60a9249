//! Splits the path of a request into the key that it holds and the path of the route. Clients that
//! can set nothing but a URL put the key in front of every path: `/k/KEY/loki/api/v1/push`.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;

/// The first segment of a path that holds a key.
const KEY_SEGMENT: &str = "k";

/// What `systemd-journal-upload` appends to a URL without a port, behind the path of the URL.
const JOURNAL_SUFFIX: &str = ":19532/upload";

/// The key and the path in the target of a request.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct UrlKey {
    /// The key, decoded.
    key: Option<String>,
    /// The path without the key. `None` when it is the path of the request.
    path: Option<String>,
}

impl UrlKey {
    /// Splits the path of a request, as it was sent.
    pub(crate) fn of(path: &str) -> Self {
        // Nearly every path begins with another segment and ends otherwise.
        let may_have_key = path.starts_with("/k/") || path.starts_with("/%");
        if !may_have_key && !path.ends_with("19532/upload") {
            return Self::default();
        }
        let whole = without_journal_suffix(path);
        let (key, rest) = match split(&whole) {
            Some((key, rest)) => (Some(key), Some(rest)),
            None => (None, None),
        };
        let rest = match (rest, &whole) {
            (Some(rest), _) => Some(rest.to_owned()),
            (None, Cow::Owned(whole)) => Some(whole.clone()),
            (None, Cow::Borrowed(_)) => None,
        };
        Self { key, path: rest }
    }

    /// Returns the key.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Returns the path of the route. `sent` is the path of the request.
    pub(crate) fn path<'a>(&'a self, sent: &'a str) -> &'a str {
        self.path.as_deref().unwrap_or(sent)
    }

    /// Returns whether the path of the route is that of the request.
    pub(crate) const fn is_plain(&self) -> bool {
        self.path.is_none()
    }
}

/// Shows nothing of the key.
impl fmt::Debug for UrlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlKey").field("has_key", &self.key.is_some()).finish_non_exhaustive()
    }
}

/// The paths of one request, for the rules of keys: the path of the route in both of its URL forms, and
/// the same behind the key, if the path holds one.
#[derive(Debug, Clone)]
pub(crate) struct RulePaths {
    plain: [String; 2],
    keyed: Option<[String; 2]>,
}

impl RulePaths {
    /// Joins the path of a route in both of its URL forms with the key in front of it.
    pub(crate) fn new(plain: [String; 2], url_key: &UrlKey) -> Self {
        let behind = |key: &str| plain.clone().map(|path| format!("/{KEY_SEGMENT}/{key}{path}"));
        let keyed = url_key.key().map(behind);
        Self { plain, keyed }
    }

    /// Returns the path of the route in both of its URL forms.
    pub(crate) const fn of_route(&self) -> &[String; 2] {
        &self.plain
    }

    /// Calls `check` with all paths.
    pub(crate) fn with<T>(&self, check: impl FnOnce(&[&str]) -> T) -> T {
        let [short, long] = &self.plain;
        match &self.keyed {
            None => check(&[short, long]),
            Some([keyed_short, keyed_long]) => check(&[short, long, keyed_short, keyed_long]),
        }
    }
}

/// Returns the key, decoded, and the rest of the path with its first slash.
fn split(path: &str) -> Option<(String, &str)> {
    let (first, rest) = path.strip_prefix('/')?.split_once('/')?;
    if !percent_decode_str(first).eq(KEY_SEGMENT.bytes()) {
        return None;
    }
    let end = rest.find('/').unwrap_or(rest.len());
    let (key, rest) = rest.split_at(end);
    let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
    (!key.is_empty()).then_some((key, if rest.is_empty() { "/" } else { rest }))
}

/// Returns the path that a client meant whose URL has no port: `/k/KEY:19532/upload`
/// stands for `/k/KEY/upload`, and any other path for `/upload`.
fn without_journal_suffix(path: &str) -> Cow<'_, str> {
    let Some(meant) = path.strip_suffix(JOURNAL_SUFFIX) else { return Cow::Borrowed(path) };
    let meant = meant.trim_end_matches('/');
    // Of the path of the URL, only the key matters.
    let begin = match split(&format!("{meant}/")) {
        Some((_, rest)) => meant.len() - (rest.len() - 1),
        None => 0,
    };
    Cow::Owned(format!("{}/upload", meant.get(..begin).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn key_is_split_from_the_path() {
        for (path, key, rest) in [
            ("/save-log", None, "/save-log"),
            ("/k/s3cret/save-log", Some("s3cret"), "/save-log"),
            ("/%6B/s3%63ret/a%20b/c", Some("s3cret"), "/a%20b/c"),
            ("/k/a%2Fb/", Some("a/b"), "/"),
            ("/k/s3cret", Some("s3cret"), "/"),
            ("/k/%C3%A9/x", Some("é"), "/x"),
            ("/k/", None, "/k/"),
            ("/k", None, "/k"),
            ("/k//save-log", None, "/k//save-log"),
            ("/K/s3cret/x", None, "/K/s3cret/x"),
            ("/kk/s3cret/x", None, "/kk/s3cret/x"),
            ("/x/k/s3cret", None, "/x/k/s3cret"),
            ("/k/s3cret:19532/upload", Some("s3cret"), "/upload"),
            ("/k/s3cret/:19532/upload", Some("s3cret"), "/upload"),
            ("/k/s3cret/upload:19532/upload", Some("s3cret"), "/upload"),
            ("/upload:19532/upload", None, "/upload"),
            ("/:19532/upload", None, "/upload"),
            ("/insert/journald:19532/upload", None, "/upload"),
            ("/k/s3cret/a/b/:19532/upload", Some("s3cret"), "/upload"),
            ("/x:19532/upload/y", None, "/x:19532/upload/y"),
            ("*", None, "*"),
        ] {
            let split = UrlKey::of(path);
            assert_eq!((split.key(), split.path(path)), (key, rest), "{path}");
        }
    }

    #[test]
    fn key_is_not_shown() {
        assert_eq!(format!("{:?}", UrlKey::of("/k/s3cret/x")), "UrlKey { has_key: true, .. }");
    }

    proptest! {
        #[test]
        fn any_key_and_path_come_back(key in "[^\u{0}]{1,12}", path in "(/[a-z]{1,5}){1,4}") {
            let encoded = super::super::target::encoded_segment(&key);
            let whole = format!("/k/{encoded}{path}");
            let split = UrlKey::of(&whole);
            prop_assert_eq!(split.key(), Some(key.as_str()));
            prop_assert_eq!(split.path(&whole), path);
        }

        #[test]
        fn any_path_is_split_without_a_panic(path in "/?(k/)?\\PC{0,20}(:19532/upload)?") {
            let split = UrlKey::of(&path);
            prop_assert!(split.path(&path).len() <= path.len().max(8));
        }
    }
}
