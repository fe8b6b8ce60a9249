//! Checks a request against its key: status, address, path, headers, arguments.

use std::borrow::Cow;

use http::HeaderMap;
use subtle::ConstantTimeEq;

use super::client_addr::ClientAddr;
use super::key::{Key, PathRule};
use super::refusal::Refusal;
use super::required_headers;
use crate::config::ArgValue;

/// Maximum length of a key, in code points.
const MAX_KEY_CHARS: usize = 1024;

/// Returns the presented key if its length is 1 to [`MAX_KEY_CHARS`].
pub(super) fn well_formed_key(presented: Option<&str>) -> Option<&str> {
    presented.filter(|key| {
        !key.is_empty() && (key.len() <= MAX_KEY_CHARS || key.chars().nth(MAX_KEY_CHARS).is_none())
    })
}

/// Checks `status`.
pub(super) const fn check_status(key: &Key) -> Result<(), Refusal> {
    if key.entry.status { Ok(()) } else { Err(Refusal::KeyOffline) }
}

/// Checks `ip`.
pub(super) fn check_ip(key: &Key, client: &ClientAddr) -> Result<(), Refusal> {
    match (&key.entry.ip, client) {
        (Some(allowed), ClientAddr::Ip(address)) if !allowed.contains(*address) => {
            Err(Refusal::AddressNotAllowed(*client))
        }
        _ => Ok(()),
    }
}

/// Checks `allowed_path`. Returns the first entry that equals one of `paths` or is a parent of one.
///
/// `paths` is the path of the request in both of its URL forms, decoded and normalised: no empty,
/// `.` or `..` segments. A trailing slash does not matter.
pub(super) fn check_path(key: &Key, paths: &[&str]) -> Result<PathRule, Refusal> {
    let admits = |allowed: &str| paths.iter().any(|path| is_below(allowed, path));
    let rule = key.entry.allowed_path.iter().position(|allowed| admits(&allowed.path));
    rule.map(PathRule).ok_or(Refusal::PathNotAllowed)
}

/// Checks `required.headers`.
pub(super) fn check_headers(key: &Key, request: &HeaderMap) -> Result<(), Refusal> {
    let has_all = missing_headers(key, request).next().is_none();
    if has_all { Ok(()) } else { Err(Refusal::MissingRequiredHeader) }
}

/// Returns whether `path` is `allowed` or below it, segment by segment.
fn is_below(allowed: &str, path: &str) -> bool {
    let below = path.strip_prefix(allowed.strip_suffix('/').unwrap_or(allowed));
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Checks `required.args`. `value_of` returns the value of a parameter as text.
pub(super) fn check_args<'a>(
    key: &Key,
    value_of: &dyn Fn(&str) -> Option<Cow<'a, str>>,
) -> Result<(), Refusal> {
    let has_all = missing_args(key, value_of).next().is_none();
    if has_all { Ok(()) } else { Err(Refusal::MissingRequiredArgument) }
}

/// Returns the names of `required.args` that are missing or have another value.
pub(super) fn missing_args<'k, 'a>(
    key: &'k Key,
    value_of: &dyn Fn(&str) -> Option<Cow<'a, str>>,
) -> impl Iterator<Item = &'k str> {
    let is_present = |name: &str, required: &ArgValue| {
        value_of(name).is_some_and(|value| match required {
            ArgValue::Present => true,
            ArgValue::Text(text) => value.as_bytes().ct_eq(text.as_bytes()).into(),
        })
    };
    let all = key.entry.required_args.iter();
    all.filter(move |(name, required)| !is_present(name, required)).map(|(name, _)| name.as_str())
}

/// Returns the names of `required.headers` that are missing or have another value.
pub(super) fn missing_headers<'k>(key: &'k Key, request: &HeaderMap) -> impl Iterator<Item = &'k str> {
    let names = key.entry.required_headers.iter().map(|(name, _)| name.as_str());
    let all = key.required_headers.iter().zip(names);
    all.filter(|((name, value), _)| {
        !name.as_ref().is_some_and(|name| required_headers::has(request, name, value))
    })
    .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::config::{AllowedPath, IpSet, KeyDigest, KeyEntry, RateLimits};

    fn online() -> KeyEntry {
        KeyEntry { status: true, ..KeyEntry::new(KeyDigest::of("k")) }
    }

    fn with_paths(paths: &[&str]) -> KeyEntry {
        let allowed_path = paths
            .iter()
            .map(|path| AllowedPath { path: (*path).to_owned(), rate: RateLimits::default() })
            .collect();
        KeyEntry { allowed_path, ..online() }
    }

    fn from(address: &str) -> ClientAddr {
        ClientAddr::from(address.parse::<IpAddr>().unwrap())
    }

    const PATHS: [&str; 2] = ["/moca-file-log/save-log", "/moca-file-log/a/save-log"];

    fn check(
        key: &Key,
        client: &ClientAddr,
        paths: &[&str],
        request: &HeaderMap,
    ) -> Result<PathRule, Refusal> {
        check_status(key)?;
        check_ip(key, client)?;
        let rule = check_path(key, paths)?;
        check_headers(key, request).map(|()| rule)
    }

    fn outcome(entry: KeyEntry, client: &str, paths: &[&str]) -> Result<PathRule, Refusal> {
        check(&Key::new(entry), &from(client), paths, &HeaderMap::new())
    }

    #[test]
    fn a_key_has_1_to_1024_characters() {
        let long = "ü".repeat(1024);
        assert_eq!(well_formed_key(Some(&long)), Some(long.as_str()));
        assert_eq!(well_formed_key(Some("k")), Some("k"));
        for missing in [None, Some(""), Some(&*"k".repeat(1025)), Some(&*"ü".repeat(1025))] {
            assert_eq!(well_formed_key(missing), None);
        }
    }

    #[test]
    fn a_key_is_offline_by_default() {
        assert_eq!(outcome(KeyEntry::new(KeyDigest::of("k")), "192.0.2.1", &PATHS), Err(Refusal::KeyOffline));
        assert_eq!(outcome(online(), "192.0.2.1", &PATHS), Ok(PathRule(0)));
    }

    #[test]
    fn ip_admits_listed_addresses_and_the_admin_socket() {
        let entry = KeyEntry { ip: IpSet::from_texts(["192.0.2.0/24", "::1"]).ok(), ..online() };
        for good in ["192.0.2.9", "::1", "::ffff:192.0.2.9"] {
            assert_eq!(outcome(entry.clone(), good, &PATHS), Ok(PathRule(0)), "{good}");
        }
        for bad in ["192.0.3.9", "::2", "127.0.0.1"] {
            let refusal = Refusal::AddressNotAllowed(from(bad));
            assert_eq!(outcome(entry.clone(), bad, &PATHS), Err(refusal), "{bad}");
        }
        let empty_list = KeyEntry { ip: Some(IpSet::default()), ..online() };
        assert!(outcome(empty_list.clone(), "192.0.2.9", &PATHS).is_err());
        let local = check(&Key::new(empty_list), &ClientAddr::Local, &PATHS, &HeaderMap::new());
        assert_eq!(local, Ok(PathRule(0)), "the admin socket has no address");
    }

    #[test]
    fn paths_match_on_segment_boundaries_in_both_forms() {
        for (allowed, path, expected) in [
            (&["/"][..], "/anything", Some(0)),
            (&["/"], "/", Some(0)),
            (&["/a/save-log"], "/a/save-log", Some(0)),
            (&["/a/save-log"], "/a/save-log/", Some(0)),
            (&["/a"], "/a/save-log", Some(0)),
            (&["/a/save-log"], "/a/save-logs", None),
            (&["/a/save-log"], "/a/save-lo", None),
            (&["/a/save-log"], "/a", None),
            (&["/a"], "/b/a", None),
            (&["/A"], "/a", None),
            (&["/b", "/a", "/"], "/a/x", Some(1)),
            (&["/", "/a"], "/a/x", Some(0)),
            (&[], "/a", None),
        ] {
            let expected = expected.map(PathRule).ok_or(Refusal::PathNotAllowed);
            assert_eq!(outcome(with_paths(allowed), "192.0.2.1", &[path]), expected, "{allowed:?} {path}");
        }
        for form in PATHS {
            assert_eq!(outcome(with_paths(&["/x", form]), "192.0.2.1", &PATHS), Ok(PathRule(1)), "{form}");
        }
        assert_eq!(outcome(online(), "192.0.2.1", &[]), Err(Refusal::PathNotAllowed));
    }

    #[test]
    fn required_headers_compare_exactly() {
        let required =
            |name: &str| KeyEntry { required_headers: vec![(name.to_owned(), "Yes".to_owned())], ..online() };
        let mut request = HeaderMap::new();
        request.insert(HeaderName::from_static("x-app"), HeaderValue::from_static("Yes"));
        let check = |name, request: &HeaderMap| {
            check(&Key::new(required(name)), &from("192.0.2.1"), &PATHS, request).map(|_| ())
        };
        assert_eq!(check("x-app", &request), Ok(()));
        assert_eq!(check("x-other", &request), Err(Refusal::MissingRequiredHeader));
        assert_eq!(check("not a name", &request), Err(Refusal::MissingRequiredHeader));
        request.insert(HeaderName::from_static("x-app"), HeaderValue::from_static("yes"));
        assert_eq!(check("x-app", &request), Err(Refusal::MissingRequiredHeader));
    }

    #[test]
    fn required_arguments_compare_exactly() {
        let entry = KeyEntry {
            required_args: vec![
                ("n".to_owned(), ArgValue::Text("1".to_owned())),
                ("any".to_owned(), ArgValue::Present),
            ],
            ..online()
        };
        let key = Key::new(entry);
        let with = |args: &[(&'static str, &'static str)]| {
            let find = |name: &str| args.iter().find(|(n, _)| *n == name).map(|&(_, v)| Cow::Borrowed(v));
            check_args(&key, &find)
        };
        assert_eq!(with(&[("n", "1"), ("any", "")]), Ok(()));
        for wrong in
            [&[("n", "1")][..], &[("any", "")], &[("n", "2"), ("any", "")], &[("n", "1.0"), ("any", "")]]
        {
            assert_eq!(with(wrong), Err(Refusal::MissingRequiredArgument), "{wrong:?}");
        }
        assert_eq!(check_args(&Key::new(online()), &|_| None), Ok(()));
    }

    #[test]
    fn checks_run_in_their_order() {
        let mut entry = KeyEntry {
            status: false,
            ip: Some(IpSet::default()),
            required_headers: vec![("x-app".to_owned(), "1".to_owned())],
            ..with_paths(&["/other"])
        };
        let client = "192.0.2.1";
        assert_eq!(outcome(entry.clone(), client, &PATHS), Err(Refusal::KeyOffline));
        entry.status = true;
        assert_eq!(outcome(entry.clone(), client, &PATHS), Err(Refusal::AddressNotAllowed(from(client))));
        entry.ip = None;
        assert_eq!(outcome(entry.clone(), client, &PATHS), Err(Refusal::PathNotAllowed));
        entry.allowed_path = online().allowed_path;
        assert_eq!(outcome(entry, client, &PATHS), Err(Refusal::MissingRequiredHeader));
    }
}
