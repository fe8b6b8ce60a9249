//! Parses and compares web origins (RFC 6454), for `access_control_allowed_origins` and
//! `allowed_referer`.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::Deserializer;

use crate::config::syntax::value::{Element, OneOrMany};

/// An origin: a scheme, a host and an optional port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    /// The port; `None` allows any.
    port: Option<u16>,
}

/// The allowed origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    /// Whether the configuration contains `*`.
    pub any: bool,
    /// The origins that the configuration lists.
    pub list: Vec<Origin>,
}

/// The error for a text that is not `SCHEME://HOST` or `SCHEME://HOST:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an origin such as https://www.example.com or http://localhost:8080, without user and path, or *"
)]
pub struct NotAnOrigin;

impl Origins {
    /// Returns the set of all origins, including `null`: `*`.
    #[must_use]
    pub const fn all() -> Self {
        Self { any: true, list: Vec::new() }
    }

    /// Returns the empty set.
    #[must_use]
    pub const fn none() -> Self {
        Self { any: false, list: Vec::new() }
    }

    /// Creates a set from texts. `*` allows all origins.
    ///
    /// # Errors
    /// Fails at the first text that is not an origin.
    pub fn from_texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, NotAnOrigin> {
        let mut origins = Self::none();
        for text in texts {
            origins.insert_text(text.as_ref())?;
        }
        Ok(origins)
    }

    /// Adds an origin, or `*`.
    ///
    /// # Errors
    /// Fails if `text` is neither.
    pub fn insert_text(&mut self, text: &str) -> Result<(), NotAnOrigin> {
        if text == "*" {
            self.any = true;
        } else {
            self.list.push(text.parse()?);
        }
        Ok(())
    }

    /// Returns whether the origin of `value`, an `Origin` or `Referer` header, is allowed.
    ///
    /// Scheme and host must match without regard to case. The port must match if the configuration
    /// has one.
    #[must_use]
    pub fn allows(&self, value: &str) -> bool {
        self.any || self.names(value)
    }

    /// Returns whether the configuration lists the origin of `value`. Ignores `*`.
    #[must_use]
    pub fn names(&self, value: &str) -> bool {
        split(value).is_some_and(|(origin, _)| self.list.iter().any(|allowed| allowed.admits(&origin)))
    }
}

impl Origin {
    fn admits(&self, other: &Self) -> bool {
        let same_port = match self.port {
            None => true,
            Some(port) => other.port.or_else(|| default_port(&other.scheme)) == Some(port),
        };
        same_port && self.scheme == other.scheme && self.host == other.host
    }
}

impl FromStr for Origin {
    type Err = NotAnOrigin;

    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        match split(text) {
            Some((origin, "" | "/")) => Ok(origin),
            _ => Err(NotAnOrigin),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// An entry of the configuration: an origin, or `*`.
enum Entry {
    Any,
    One(Origin),
}

impl Element for Entry {
    const EXPECTED: &'static str = "an origin such as https://www.example.com or http://localhost:8080, or *";

    fn read(text: &str) -> Option<Self> {
        if text == "*" { Some(Self::Any) } else { text.parse().ok().map(Self::One) }
    }
}

impl<'de> Deserialize<'de> for Origins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut origins = Self::none();
        for entry in OneOrMany::deserialize(deserializer)?.0 {
            match entry {
                Entry::Any => origins.any = true,
                Entry::One(origin) => origins.list.push(origin),
            }
        }
        Ok(origins)
    }
}

/// Splits a URL into its origin and the rest.
///
/// Returns `None` for a URL with a user name. Browsers remove it from `Referer`, and
/// `http://localhost@evil.example` is an attempt to look like another origin.
fn split(url: &str) -> Option<(Origin, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let mut letters = scheme.bytes();
    let valid_scheme = letters.next().is_some_and(|b| b.is_ascii_alphabetic())
        && letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let (authority, after) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (address, port) = bracketed.split_once(']')?;
            (
                format!("[{}]", address.parse::<Ipv6Addr>().ok()?),
                port.strip_prefix(':').or_else(|| port.is_empty().then_some(port)),
            )
        }
        None => {
            let (host, port) =
                authority.split_once(':').map_or((authority, Some("")), |(host, port)| (host, Some(port)));
            let valid_host = !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
            (valid_host.then(|| host.to_ascii_lowercase())?, port)
        }
    };
    let port = match port? {
        "" => None,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        _ => return None,
    };
    let scheme = valid_scheme.then(|| scheme.to_ascii_lowercase())?;
    Some((Origin { scheme, host, port }, after))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn localhost() -> Origins {
        Origins::from_texts([
            "http://localhost",
            "https://Example.COM:8443",
            "http://[0:0::1]",
            "http://a:80",
        ])
        .unwrap()
    }

    #[test]
    fn same_origin_is_allowed() {
        for good in [
            "http://localhost",
            "HTTP://LocalHost",
            "http://localhost/",
            "http://localhost:3000",
            "http://localhost:3000/page?x=http://evil.example#y",
            "http://localhost?q",
            "https://example.com:8443/a",
            "http://[::1]:99/",
            "http://[::1]",
            "http://a",
            "http://a:80",
        ] {
            assert!(localhost().allows(good), "{good}");
        }
    }

    #[test]
    fn other_origins_are_not_allowed() {
        for bad in [
            "",
            "null",
            "localhost",
            "https://localhost",
            "http://localhost.evil.example",
            "http://localhost.",
            "http://localhost@evil.example",
            "http://localhost:80@evil.example/",
            "http://evil.example@localhost",
            "http://evil.example/http://localhost",
            "http://evil.example\\@localhost",
            "http://localhost\\.evil.example",
            "http://localhost%2eevil.example",
            "http://localhost:80:80",
            "http://localhost:+80",
            "http://localhost:99999",
            " http://localhost",
            "http://local\thost",
            "xhttp://localhost",
            "://localhost",
            "http:///localhost",
            "https://example.com",
            "https://example.com:443",
            "http://[::1",
            "http://[::1]x",
            "http://[::2]",
            "http://a:81",
        ] {
            assert!(!localhost().allows(bad), "{bad}");
        }
    }

    #[test]
    fn star_allows_every_origin_but_lists_none() {
        let star = Origins::from_texts(["*", "http://a"]).unwrap();
        assert!(star.any && star.allows("null") && star.allows("http://b"));
        assert!(star.names("http://a") && !star.names("http://b"));
        assert!(Origins::all().allows("x") && !Origins::none().allows("http://a"));
    }

    #[test]
    fn configured_origins_have_no_path_and_no_user() {
        for wrong in
            ["", "null", "localhost", "http://a/b", "http://a?b", "http://u@a", "http://", "http://*.a", "**"]
        {
            assert_eq!(Origins::from_texts([wrong]), Err(NotAnOrigin), "{wrong}");
        }
        let shown: Vec<_> = localhost().list.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["http://localhost", "https://example.com:8443", "http://[::1]", "http://a:80"]);
    }
}
