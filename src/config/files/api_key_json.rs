//! Reads `api_key.json`: the keys, with the paths, addresses and rates that each allows.

use std::collections::HashMap;
use std::time::Duration;

use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use sha2::{Digest, Sha256};

use crate::config::syntax::document::{Document, KnownOptions, options_of};
use crate::config::syntax::finding::Finding;
use crate::config::syntax::step::Step;
use crate::config::syntax::value::{Element, List, Object, OneOrMany, Pairs, Scalar, Text, TextOrNull};
use crate::config::syntax::value::{Zero, boolean, object, scalar, seconds, secret, text};
use crate::config::values::ip_set::IpSet;
use crate::config::values::rate::RateLimits;

/// The SHA-256 digest of a key.
///
/// Keys are looked up and compared only by their digests, so the time of a comparison says nothing
/// about the bytes of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest([u8; 32]);

/// One entry of `api_key.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyEntry {
    /// The digest of `key`, which the file contains in clear or as `sha256:HEX`.
    pub digest: KeyDigest,
    /// The KEY field of a line: `name`, or the first 8 hexadecimal digits of the digest.
    pub name: String,
    /// Whether the key is accepted (default false).
    pub status: bool,
    /// The paths that the key may use, in file order (default `["/"]`).
    pub allowed_path: Vec<AllowedPath>,
    /// Headers that a request must have with exactly this value; names in lower case.
    pub required_headers: Vec<(String, String)>,
    /// Parameters that a request must have.
    pub required_args: Vec<(String, ArgValue)>,
    /// The client addresses that may use the key; `None` means any.
    pub ip: Option<IpSet>,
    /// The rate limits of the key (default none).
    pub rate: RateLimits,
    /// Delay of the answer to each accepted request (default 0).
    pub delay: Duration,
    /// A comment of the operator.
    pub info: Option<String>,
    /// The scale of the levels that senders give as numbers (default auto).
    pub levels: LevelScale,
}

/// The scale of a level that is a number. Each number counts as the step below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LevelScale {
    /// `auto`: 0 to 4 are the server's own. The numbers of Monolog are Monolog's. 10 to 69 are those of
    /// pino and bunyan. Others are unknown.
    #[default]
    Auto,
    /// `pino`: 10 trace, 20 debug, 30 info, 40 warn, 50 error, 60 fatal.
    Pino,
    /// `python`: 10 debug, 20 info, 30 warning, 40 error, 50 critical.
    Python,
    /// `syslog`: 0 emergency to 7 debug (RFC 5424, section 6.2.1), in place of the server's own 0 to 4.
    Syslog,
    /// `monolog`: 100 debug, 200 info, 250 notice, 300 warning, 400 error, 500 critical, 550 alert,
    /// 600 emergency.
    Monolog,
}

/// An entry of `allowed_path`: `PATH` or `PATH:RATE`.
#[derive(Debug, Clone, PartialEq)]
pub struct AllowedPath {
    /// The normalised path: starts with `/`, has no empty, `.` or `..` segments, and no trailing
    /// slash except in `/` itself.
    pub path: String,
    /// The rate limits for each key, path and client address; empty for none.
    pub rate: RateLimits,
}

/// The value that a required argument must have. Numbers and strings are compared as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgValue {
    /// Any value, which the file writes as null.
    Present,
    /// This text, which the file writes as a string, a number or a boolean.
    Text(String),
}

impl std::fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyDigest(…)")
    }
}

/// The error for a text that is not the 64 hexadecimal digits of a SHA-256 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the 64 hexadecimal digits of a SHA-256")]
pub struct NotADigest;

impl KeyDigest {
    /// Returns the digest of a key in clear.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Parses a digest in hexadecimal.
    ///
    /// # Errors
    /// Fails if `hex` is not exactly 64 hexadecimal digits.
    pub fn from_hex(hex: &str) -> Result<Self, NotADigest> {
        let mut bytes = [0; 32];
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NotADigest);
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            let digits = hex.get(2 * index..2 * index + 2).ok_or(NotADigest)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NotADigest)?;
        }
        Ok(Self(bytes))
    }

    /// Returns the bytes of the digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the 64 hexadecimal digits that follow `sha256:` in `api_key.json`.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// Returns the first 8 hexadecimal digits, which tell keys apart in a log and reveal none.
    #[must_use]
    pub fn short(&self) -> String {
        hex(&self.0[..4])
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl KeyEntry {
    /// Creates an entry with the defaults. It is switched off, allowed on every path and from every
    /// address, and has no limits.
    #[must_use]
    pub fn new(digest: KeyDigest) -> Self {
        Self {
            digest,
            name: digest.short(),
            status: false,
            allowed_path: vec![AllowedPath { path: "/".to_owned(), rate: RateLimits::default() }],
            required_headers: Vec::new(),
            required_args: Vec::new(),
            ip: None,
            rate: RateLimits::default(),
            delay: Duration::ZERO,
            info: None,
            levels: LevelScale::Auto,
        }
    }
}

impl LevelScale {
    /// All scales.
    const ALL: [Self; 5] = [Self::Auto, Self::Pino, Self::Python, Self::Syslog, Self::Monolog];

    /// Returns the name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Pino => "pino",
            Self::Python => "python",
            Self::Syslog => "syslog",
            Self::Monolog => "monolog",
        }
    }
}

pub(crate) const FILE: &str = "api_key.json";

/// The public key of the sample configuration.
const DOCUMENTED_KEY: &str = "mochimochi";

pub(crate) const KNOWN_OPTIONS: KnownOptions = KnownOptions {
    siblings: |path| match path {
        [Step::Index(_), Step::Name(_)] => options_of::<RawKeyEntry>(),
        [Step::Index(_), Step::Name(required), ..] if required == "required" => options_of::<Required>(),
        _ => &[],
    },
    ignored: &[],
};

/// Parses the text of `api_key.json`.
///
/// # Errors
/// Returns the first error.
pub(crate) fn read(source: &str, warnings: &mut Vec<Finding>) -> Result<Vec<KeyEntry>, Finding> {
    let document = Document::json(FILE, source)?;
    let Entries(entries) = document.read(&KNOWN_OPTIONS, warnings)?;
    let documented = KeyDigest::of(DOCUMENTED_KEY);
    let mut first = HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let mut warn = |message: String, remedy: &str| {
            let path = [Step::Index(index), Step::Name("key".to_owned())];
            warnings.push(document.finding(&path, message).with_remedy(remedy));
        };
        if let Some(earlier) = first.get(&entry.digest) {
            warn(
                format!("the same key as [{earlier}], which is the one that counts"),
                "remove one of the two",
            );
        } else {
            first.insert(entry.digest, index);
        }
        if entry.digest == documented && entry.status {
            warn(
                "this key is in every copy of the documentation".to_owned(),
                "replace it by one of your own",
            );
        }
    }
    Ok(entries)
}

struct Entries(Vec<KeyEntry>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Vec::<Object<RawKeyEntry>>::deserialize(deserializer)?;
        Ok(Self(entries.into_iter().map(|Object(entry)| entry.into()).collect()))
    }
}

/// An entry as it is written in the file.
#[derive(Deserialize)]
struct RawKeyEntry {
    #[serde(deserialize_with = "key")]
    key: KeyDigest,
    #[serde(default, deserialize_with = "name")]
    name: Option<String>,
    #[serde(default, deserialize_with = "boolean")]
    status: bool,
    #[serde(default = "everywhere")]
    allowed_path: List<AllowedPath>,
    #[serde(default, deserialize_with = "object")]
    required: Required,
    #[serde(default, deserialize_with = "ip")]
    ip: Option<IpSet>,
    #[serde(default, deserialize_with = "rate")]
    rate: RateLimits,
    #[serde(default, deserialize_with = "delay")]
    delay: Duration,
    #[serde(default, deserialize_with = "info")]
    info: Option<String>,
    #[serde(default, deserialize_with = "levels")]
    levels: LevelScale,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Required {
    headers: Pairs<http::HeaderName, Text>,
    args: Pairs<String, TextOrNull>,
}

impl From<RawKeyEntry> for KeyEntry {
    fn from(raw: RawKeyEntry) -> Self {
        let Required { headers: Pairs(headers), args: Pairs(args) } = raw.required;
        Self {
            digest: raw.key,
            name: raw.name.unwrap_or_else(|| raw.key.short()),
            status: raw.status,
            allowed_path: raw.allowed_path.0,
            required_headers: headers.into_iter().map(|(name, value)| (name.to_string(), value.0)).collect(),
            required_args: args
                .into_iter()
                .map(|(name, value)| (name, value.0.map_or(ArgValue::Present, ArgValue::Text)))
                .collect(),
            ip: raw.ip,
            rate: raw.rate,
            delay: raw.delay,
            info: raw.info,
            levels: raw.levels,
        }
    }
}

fn everywhere() -> List<AllowedPath> {
    List(vec![AllowedPath { path: "/".to_owned(), rate: RateLimits::default() }])
}

fn key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyDigest, D::Error> {
    let expected = "a key of 1 to 1024 characters, or `sha256:` and 64 hexadecimal digits";
    secret(deserializer, expected, |value| match value {
        Scalar::Text(key) => match key.strip_prefix("sha256:") {
            Some(hex) => KeyDigest::from_hex(hex).ok(),
            None => (1..=1024).contains(&key.chars().count()).then(|| KeyDigest::of(key)),
        },
        _ => None,
    })
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let expected = "a name of 1 to 64 characters without control characters, `|`, `<` and `>`";
    text(deserializer, expected, |name| {
        let separates = |c: char| c.is_control() || matches!(c, '|' | '<' | '>' | '\u{2028}' | '\u{2029}');
        let valid = (1..=64).contains(&name.chars().count()) && !name.contains(separates);
        valid.then(|| Some(name.to_owned()))
    })
}

fn ip<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpSet>, D::Error> {
    let mut any = false;
    let mut set = IpSet::default();
    for entry in OneOrMany::deserialize(deserializer)?.0 {
        match entry {
            AddressOrAny::Any => any = true,
            AddressOrAny::Network(network) => set.insert_network(network),
        }
    }
    Ok((!any).then_some(set))
}

enum AddressOrAny {
    Any,
    Network(IpNet),
}

impl Element for AddressOrAny {
    const EXPECTED: &'static str = "an IP address, a network such as 10.0.0.0/8, or *";

    fn read(text: &str) -> Option<Self> {
        if text == "*" { Some(Self::Any) } else { IpNet::read(text).map(Self::Network) }
    }
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RateLimits, D::Error> {
    let raw: RateText = RateText::deserialize(deserializer)?;
    raw.0.parse().map_err(|why| D::Error::custom(format_args!("invalid rate {:?}: {why}", raw.0)))
}

struct RateText(String);

impl<'de> Deserialize<'de> for RateText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, "a rate limit such as `60/second`, or `*` for none", |rate| {
            Some(Self(rate.to_owned()))
        })
    }
}

fn levels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LevelScale, D::Error> {
    text(deserializer, "`auto`, `pino`, `python`, `syslog` or `monolog`", |levels| {
        LevelScale::ALL.into_iter().find(|scale| scale.name() == levels)
    })
}

fn delay<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    seconds(deserializer, Zero::Allowed, 3600)
}

fn info<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    scalar(deserializer, "a string or null", |value| match value {
        Scalar::Null => Some(None),
        Scalar::Text(info) => Some(Some(info.to_owned())),
        _ => None,
    })
}

impl Element for AllowedPath {
    const EXPECTED: &'static str =
        "PATH or PATH:RATE such as `/moca-file-log/sample1:60/second`, a colon of the path written as %3A";

    fn read(text: &str) -> Option<Self> {
        let (path, rate) = match text.rsplit_once(':') {
            Some((path, rate)) => (path, rate.parse().ok()?),
            None => (text, RateLimits::default()),
        };
        let path = percent_decode_str(path.strip_prefix('/')?).decode_utf8().ok()?;
        let mut segments = Vec::new();
        for segment in path.split('/') {
            match segment {
                "" | "." => {}
                ".." => drop(segments.pop()),
                segment => segments.push(segment),
            }
        }
        Some(Self { path: format!("/{}", segments.join("/")), rate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_written_and_parsed() {
        let digest = KeyDigest::of("abc");
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_hex(), hex);
        assert_eq!(digest.short(), "ba7816bf");
        assert_eq!(KeyDigest::from_hex(&hex.to_uppercase()), Ok(digest));
        assert_eq!(digest.as_bytes()[..2], [0xba, 0x78]);
        for wrong in ["", &hex[1..], &format!("{hex}0"), &hex.replace('b', "g"), &hex.replacen("ba", "+a", 1)]
        {
            assert_eq!(KeyDigest::from_hex(wrong), Err(NotADigest), "{wrong}");
        }
        assert_eq!(format!("{digest:?}"), "KeyDigest(…)");
    }

    #[test]
    fn new_entry_is_off_and_unrestricted() {
        let entry = KeyEntry::new(KeyDigest::of("abc"));
        assert!(!entry.status && entry.ip.is_none() && entry.rate.is_empty());
        assert_eq!((entry.name.as_str(), entry.allowed_path[0].path.as_str()), ("ba7816bf", "/"));
    }
}
