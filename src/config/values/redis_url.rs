//! Parses the URL of a Redis server, for `rate_limiter_redis_storage`.
//!
//! The forms are `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`, the same with `rediss://` for TLS,
//! and `redis+unix:///SOCKET`. Each may be followed by `?db=N&user=…&password=…`. User, password
//! and socket may be percent-encoded, and must be if they contain one of `@/?#%`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

/// The address of a Redis server and the login for it.
///
/// `Debug` and `Display` show the address and never the password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// The address of the server.
    pub place: RedisPlace,
    /// The ACL user; `None` means the user `default`.
    pub user: Option<String>,
    /// The password; never empty.
    pub password: Option<String>,
    /// The number of the database.
    pub database: u32,
}

/// The address of a Redis server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisPlace {
    /// A TCP address.
    Tcp {
        /// A host name or an IP address without brackets.
        host: String,
        /// The port; never 0, default 6379.
        port: u16,
        /// Whether the connection uses TLS (`rediss://`).
        tls: bool,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

const DEFAULT_PORT: u16 = 6379;

impl RedisUrl {
    /// Parses a URL; `None` if it is invalid. The result does not say why, because the URL is a
    /// secret.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return None;
        }
        let (scheme, rest) = url.split_once("://")?;
        let (rest, query) = split_query(rest);
        let mut parsed = match scheme {
            "redis" => of_tcp(rest, false)?,
            "rediss" => of_tcp(rest, true)?,
            "redis+unix" => of_unix(rest)?,
            _ => return None,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "db" => parsed.database = value.parse().ok()?,
                "user" | "username" => parsed.user = filled(value.into_owned()),
                "pass" | "password" => parsed.password = filled(value.into_owned()),
                _ => {}
            }
        }
        Some(parsed)
    }
}

/// Splits off the query. A `?` before the last `@` belongs to the user or password.
fn split_query(rest: &str) -> (&str, &str) {
    let login = if rest.starts_with('/') { 0 } else { rest.rfind('@').unwrap_or(0) };
    match rest[login..].find('?') {
        Some(at) => (&rest[..login + at], &rest[login + at + 1..]),
        None => (rest, ""),
    }
}

/// Parses the part of a `redis://` or `rediss://` URL between scheme and query.
fn of_tcp(rest: &str, tls: bool) -> Option<RedisUrl> {
    let (login, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    let (user, password) = login_of(login)?;
    let (address, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port != 0)?),
        _ => (address, DEFAULT_PORT),
    };
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok()?.to_string(),
        None if host.is_empty() || host.contains(['[', ']', ':', '#', '%', '\\']) => return None,
        None => host.to_owned(),
    };
    let database = if database.is_empty() { 0 } else { database.parse().ok()? };
    Some(RedisUrl { place: RedisPlace::Tcp { host, port, tls }, user, password, database })
}

/// Parses the part of a `redis+unix://` URL between scheme and query.
fn of_unix(rest: &str) -> Option<RedisUrl> {
    let (login, socket) =
        if rest.starts_with('/') { ("", rest) } else { rest.rsplit_once('@').unwrap_or_default() };
    let (user, password) = login_of(login)?;
    let socket = decoded(socket)?;
    let valid = socket.starts_with('/') && socket.len() > 1 && !socket.contains('\0');
    valid.then(|| RedisUrl { place: RedisPlace::Unix(socket.into()), user, password, database: 0 })
}

/// Parses `USER:PASSWORD`, of which both parts are optional.
fn login_of(login: &str) -> Option<(Option<String>, Option<String>)> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    Some((filled(decoded(user)?), filled(decoded(password)?)))
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

fn filled(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl fmt::Display for RedisPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, .. } if host.parse::<IpAddr>().is_ok_and(|host| host.is_ipv6()) => {
                write!(f, "[{host}]:{port}")
            }
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({}, …)", self.place)
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    fn tcp(host: &str, port: u16, tls: bool) -> RedisUrl {
        let place = RedisPlace::Tcp { host: host.to_owned(), port, tls };
        RedisUrl { place, user: None, password: None, database: 0 }
    }

    fn unix(path: &str) -> RedisUrl {
        RedisUrl { place: RedisPlace::Unix(path.into()), user: None, password: None, database: 0 }
    }

    fn login(url: RedisUrl, user: &str, password: &str) -> RedisUrl {
        RedisUrl { user: filled(user.to_owned()), password: filled(password.to_owned()), ..url }
    }

    #[test]
    fn every_form_is_parsed() {
        for (text, expected) in [
            ("redis://h", tcp("h", 6379, false)),
            ("redis://h/", tcp("h", 6379, false)),
            ("rediss://cache.example:7000/3", RedisUrl { database: 3, ..tcp("cache.example", 7000, true) }),
            ("redis://:pw@h", login(tcp("h", 6379, false), "", "pw")),
            ("redis://u:p:w@h:1", login(tcp("h", 1, false), "u", "p:w")),
            ("redis://u:a@b@h:1", login(tcp("h", 1, false), "u", "a@b")),
            ("redis://:a/b?c@h:1/2", login(RedisUrl { database: 2, ..tcp("h", 1, false) }, "", "a/b?c")),
            ("redis://u:p%40%2f%C3%BC@h", login(tcp("h", 6379, false), "u", "p@/ü")),
            ("redis://:@h", tcp("h", 6379, false)),
            ("redis://[::1]:7", tcp("::1", 7, false)),
            ("redis://[::1]", tcp("::1", 6379, false)),
            ("redis://h?db=4&x=1", RedisUrl { database: 4, ..tcp("h", 6379, false) }),
            (
                "redis://h:1/2?db=4&password=a%2Bb",
                login(RedisUrl { database: 4, ..tcp("h", 1, false) }, "", "a+b"),
            ),
            ("redis+unix:///run/r.sock", unix("/run/r.sock")),
            ("redis+unix:///run/@r.sock?db=1", RedisUrl { database: 1, ..unix("/run/@r.sock") }),
            ("redis+unix:///r?user=u&password=p", login(unix("/r"), "u", "p")),
            ("redis+unix://u:p@/r%20s", login(unix("/r s"), "u", "p")),
        ] {
            assert_eq!(RedisUrl::parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_rejected() {
        for text in [
            "",
            "h",
            "http://h",
            "redis://",
            "redis:///1",
            "redis://h:0",
            "redis://h:x",
            "redis://h:",
            "redis://h/x",
            "redis://h/-1",
            "redis://h:65536",
            "redis://::1",
            "redis://[::1",
            "redis://[x]",
            "redis://h#insecure",
            "redis://h?db=x",
            "redis:// h",
            "redis+unix://",
            "redis+unix:///",
            "redis+unix://r",
            "redis+unix://u@r",
            "redis://%ff@h",
            "unix:///r",
        ] {
            assert_eq!(RedisUrl::parse(text), None, "{text}");
        }
    }

    #[test]
    fn display_and_debug_hide_the_password() {
        for (text, shown) in [
            ("redis://u:hunter2@[::1]:7/1", "[::1]:7"),
            ("rediss://:hunter2@h", "h:6379"),
            ("redis+unix:///run/r?password=hunter2", "/run/r"),
        ] {
            let url = RedisUrl::parse(text).unwrap();
            assert_eq!(
                (url.to_string(), format!("{url:?}")),
                (shown.to_owned(), format!("RedisUrl({shown}, …)"))
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(redis|rediss|redis\\+unix)://[a-z0-9:@/?#%\\[\\]&=.ü]{0,30}") {
            let _parsed = RedisUrl::parse(&text);
        }

        #[test]
        fn any_login_can_be_encoded(user in "\\PC{1,20}", password in "\\PC{1,20}", port in 1_u16.., database: u32) {
            let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let (u, p) = (encoded(&user), encoded(&password));
            let expected = login(RedisUrl { database, ..tcp("h", port, false) }, &user, &password);
            prop_assert_eq!(RedisUrl::parse(&format!("redis://{u}:{p}@h:{port}/{database}")), Some(expected));
            let expected = login(RedisUrl { database, ..unix("/r") }, &user, &password);
            let text = format!("redis+unix:///r?user={u}&password={p}&db={database}");
            prop_assert_eq!(RedisUrl::parse(&text), Some(expected));
        }
    }
}
