//! Reads `system.json`: maintenance, referer, required headers, denial-of-service detection, and
//! the root password.

use std::num::NonZeroU64;

use argon2::PasswordHash;
use http::HeaderName;
use serde::Deserialize;
use serde::de::Deserializer;

use crate::config::syntax::document::{Document, KnownOptions, options_of};
use crate::config::syntax::finding::Finding;
use crate::config::syntax::step::Step;
use crate::config::syntax::value::{Object, Pairs, Scalar, TextOrNull, boolean, integer, object, secret};
use crate::config::values::ip_set::IpSet;
use crate::config::values::origin::Origins;

/// The content of `system.json`.
///
/// Without the file, every option has its default, and the root routes are closed.
#[derive(Debug, Clone, PartialEq)]
pub struct System {
    /// Whether the instance is in maintenance (default false).
    pub maintenance_mode: bool,
    /// The client addresses that are served in maintenance (default none).
    pub maintenance_mode_whitelist: IpSet,
    /// The origins that `Referer` may have: `referer.allowed_referer` (default any).
    pub allowed_referer: Origins,
    /// Whether a request without `Referer` is refused: `referer.force` (default false).
    pub force_referer: bool,
    /// Headers that every request must have: `force_headers` (default none).
    pub force_headers: Vec<RequiredHeader>,
    /// Maximum number of requests a second from one client address or /64 of IPv6, above which it is
    /// blocked (default 5000); `None` means off, written as 0.
    pub dos_detect: Option<NonZeroU64>,
    /// Number of unknown keys from one address or /64 of IPv6 before it is blocked; `None` means never (default),
    /// also written as 0.
    pub block_ip_when_received_invalid_system_auth: Option<NonZeroU64>,
    /// The root password; the root routes are closed if it is absent, null or empty.
    pub root_pass: RootPassword,
}

/// A header that every request must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredHeader {
    /// The name of the header.
    pub name: http::HeaderName,
    /// The required value; `None` means any.
    pub value: Option<String>,
}

/// The root password. `Debug` shows only the variant.
#[derive(Clone, PartialEq, Eq)]
pub enum RootPassword {
    /// No password is configured, so every password is refused.
    Closed,
    /// A password in clear text.
    Clear(String),
    /// A valid Argon2id hash as a PHC string.
    Argon2id(String),
}

impl std::fmt::Debug for RootPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closed => "Closed",
            Self::Clear(_) => "Clear(…)",
            Self::Argon2id(_) => "Argon2id(…)",
        })
    }
}

impl Default for System {
    fn default() -> Self {
        RawSystem::default().into()
    }
}

pub(crate) const FILE: &str = "system.json";

/// The public root password of the sample configuration.
const DOCUMENTED_PASSWORD: &str = "mochimochi";

pub(crate) const KNOWN_OPTIONS: KnownOptions = KnownOptions {
    siblings: |path| match path {
        [Step::Name(_)] => options_of::<RawSystem>(),
        [Step::Name(referer), ..] if referer == "referer" => options_of::<Referer>(),
        _ => &[],
    },
    ignored: &[
        ("__access_token__", "the configuration is changed in its files only; this changes nothing"),
        ("__private__", "the configuration is changed in its files only; this changes nothing"),
    ],
};

/// Parses the text of `system.json`.
///
/// # Errors
/// Returns the first error.
pub(crate) fn read(source: &str, warnings: &mut Vec<Finding>) -> Result<System, Finding> {
    let document = Document::json(FILE, source)?;
    let system = System::from(document.read::<Object<RawSystem>>(&KNOWN_OPTIONS, warnings)?.0);
    if system.root_pass == RootPassword::Clear(DOCUMENTED_PASSWORD.to_owned()) {
        let path = [Step::Name("root_pass".to_owned())];
        let message = "this password is in every copy of the documentation";
        warnings.push(document.finding(&path, message).with_remedy("replace it by one of your own"));
    }
    Ok(system)
}

/// The content as it is written in the file.
#[derive(Deserialize)]
#[serde(default)]
struct RawSystem {
    #[serde(deserialize_with = "boolean")]
    maintenance_mode: bool,
    maintenance_mode_whitelist: IpSet,
    #[serde(deserialize_with = "object")]
    referer: Referer,
    force_headers: Pairs<HeaderName, TextOrNull>,
    #[serde(deserialize_with = "threshold")]
    dos_detect: Option<NonZeroU64>,
    #[serde(deserialize_with = "threshold")]
    block_ip_when_received_invalid_system_auth: Option<NonZeroU64>,
    #[serde(deserialize_with = "root_pass")]
    root_pass: RootPassword,
}

#[derive(Deserialize)]
#[serde(default)]
struct Referer {
    allowed_referer: Origins,
    #[serde(deserialize_with = "boolean")]
    force: bool,
}

impl Default for Referer {
    fn default() -> Self {
        Self { allowed_referer: Origins::all(), force: false }
    }
}

impl Default for RawSystem {
    fn default() -> Self {
        Self {
            maintenance_mode: false,
            maintenance_mode_whitelist: IpSet::default(),
            referer: Referer::default(),
            force_headers: Pairs::default(),
            dos_detect: NonZeroU64::new(5000),
            block_ip_when_received_invalid_system_auth: None,
            root_pass: RootPassword::Closed,
        }
    }
}

impl From<RawSystem> for System {
    fn from(raw: RawSystem) -> Self {
        let Pairs(headers) = raw.force_headers;
        Self {
            maintenance_mode: raw.maintenance_mode,
            maintenance_mode_whitelist: raw.maintenance_mode_whitelist,
            allowed_referer: raw.referer.allowed_referer,
            force_referer: raw.referer.force,
            force_headers: headers
                .into_iter()
                .map(|(name, TextOrNull(value))| RequiredHeader { name, value })
                .collect(),
            dos_detect: raw.dos_detect,
            block_ip_when_received_invalid_system_auth: raw.block_ip_when_received_invalid_system_auth,
            root_pass: raw.root_pass,
        }
    }
}

fn threshold<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NonZeroU64>, D::Error> {
    integer(deserializer, "a count (0 = off)", 0..=u64::MAX).map(NonZeroU64::new)
}

fn root_pass<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RootPassword, D::Error> {
    let expected =
        "a password of at most 1024 characters, an Argon2id hash ($argon2id$…, whole and valid), or null";
    secret(deserializer, expected, |value| match value {
        Scalar::Null | Scalar::Text("") => Some(RootPassword::Closed),
        Scalar::Text(hash) if hash.starts_with("$argon2") => {
            is_argon2id(hash).then(|| RootPassword::Argon2id(hash.to_owned()))
        }
        // A request cannot contain a longer password.
        Scalar::Text(password) if password.chars().count() <= 1024 => {
            Some(RootPassword::Clear(password.to_owned()))
        }
        _ => None,
    })
}

/// Returns whether a password can be verified against this hash.
fn is_argon2id(text: &str) -> bool {
    PasswordHash::new(text).is_ok_and(|hash| {
        hash.algorithm == argon2::ARGON2ID_IDENT
            && hash.salt.is_some()
            && hash.hash.is_some()
            && argon2::Params::try_from(&hash).is_ok()
    })
}
