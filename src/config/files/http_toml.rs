//! Reads `http.toml`: sizes, timeouts, connections and proxies of HTTP.
//!
//! The file has the variables of Sanic's server configuration, in lower case, and further ones.

use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderName;
use serde::Deserialize;
use serde::de::Deserializer;

use crate::config::syntax::document::{Document, KnownOptions, options_of};
use crate::config::syntax::finding::Finding;
use crate::config::syntax::step::Step;
use crate::config::syntax::value::{
    Scalar, Zero, boolean, header_name, integer, optional_boolean, scalar, seconds, secret, text,
};
use crate::config::values::ip_set::IpSet;

/// The content of `http.toml`; without the file, every option has its default.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct HttpSettings {
    /// Maximum size of a body in bytes (default 100,000,000).
    #[serde(deserialize_with = "bytes")]
    pub request_max_size: u64,
    /// Accepted without effect (default 100): bodies are limited in bytes, not in chunks.
    #[serde(deserialize_with = "count")]
    pub request_buffer_queue_size: u64,
    /// Maximum time from the first byte of a request to the end of its body (default 60 s).
    #[serde(deserialize_with = "time")]
    pub request_timeout: Duration,
    /// Maximum time from a request to the first byte of its answer (default 60 s).
    #[serde(deserialize_with = "time")]
    pub response_timeout: Duration,
    /// Whether a connection may carry several requests (default true).
    #[serde(deserialize_with = "boolean")]
    pub keep_alive: bool,
    /// Maximum idle time between two requests of a connection (default 75 s). Answers announce two
    /// seconds less, so that no client sends a request while the server closes.
    #[serde(deserialize_with = "time")]
    pub keep_alive_timeout: Duration,
    /// Maximum size of a client's WebSocket message in bytes (default 2^20).
    #[serde(deserialize_with = "bytes")]
    pub websocket_max_size: u64,
    /// Maximum number of unanswered pings of a WebSocket client (default 32).
    #[serde(deserialize_with = "count")]
    pub websocket_max_queue: u64,
    /// Bytes that one read of a WebSocket connection takes at most (default 2^16).
    #[serde(deserialize_with = "bytes")]
    pub websocket_read_limit: u64,
    /// Bytes that one write to a WebSocket connection contains at most (default 2^16).
    #[serde(deserialize_with = "bytes")]
    pub websocket_write_limit: u64,
    /// Interval of the pings to a WebSocket client (default 20 s; 0 for none).
    #[serde(deserialize_with = "time_or_none")]
    pub websocket_ping_interval: Duration,
    /// Maximum time for the answer to a ping (default 20 s; 0 for no limit).
    #[serde(deserialize_with = "time_or_none")]
    pub websocket_ping_timeout: Duration,
    /// Maximum time that a stop waits for requests in flight before it closes them (default 15 s).
    #[serde(deserialize_with = "time_or_none")]
    pub graceful_shutdown_timeout: Duration,
    /// Whether to write the access log; `None` if the file does not say. `server.json` takes
    /// precedence (default false).
    #[serde(deserialize_with = "optional_boolean")]
    pub access_log: Option<bool>,
    /// The secret by which a proxy marks its element of `Forwarded` (RFC 7239; default none).
    #[serde(deserialize_with = "forwarded_secret")]
    pub forwarded_secret: Option<String>,
    /// Number of the operator's proxies, each of which adds an entry to `forwarded_for_header`
    /// (default none).
    #[serde(deserialize_with = "optional_count")]
    pub proxies_count: Option<NonZeroU32>,
    /// The header in which `proxies_count` counts entries (default `x-forwarded-for`).
    #[serde(deserialize_with = "header")]
    pub forwarded_for_header: HeaderName,
    /// A header that contains only the client's address (default none).
    #[serde(deserialize_with = "optional_header")]
    pub real_ip_header: Option<HeaderName>,
    /// Number of threads that serve connections (default 1, at most 64).
    #[serde(deserialize_with = "workers")]
    pub workers: NonZeroU32,
    /// Maximum number of open connections (default 20,000).
    #[serde(deserialize_with = "count_of_32_bits")]
    pub max_connections: u32,
    /// Maximum number of open connections from one address or /64 of IPv6 (default none).
    #[serde(deserialize_with = "optional_count")]
    pub max_connections_per_ip: Option<NonZeroU32>,
    /// Maximum number of open HTTP/2 streams of all connections (default 20,000).
    #[serde(deserialize_with = "count_of_32_bits")]
    pub max_streams: u32,
    /// Maximum memory for the bodies of all requests together, in bytes (default 128,000,000).
    #[serde(deserialize_with = "bytes")]
    pub max_body_memory: u64,
    /// Maximum pause inside a body (default 30 s).
    #[serde(deserialize_with = "time")]
    pub body_timeout: Duration,
    /// The peers that may send proxy headers; `None` means any peer, an empty set means none.
    #[serde(deserialize_with = "trusted_proxies")]
    pub trusted_proxies: Option<IpSet>,
    /// Maximum size of the header section of a request in bytes (default 16 KiB).
    #[serde(deserialize_with = "header_bytes")]
    pub max_header_size: u64,
    /// Maximum number of header fields of a request (default 100).
    #[serde(deserialize_with = "headers")]
    pub max_headers: u32,
    /// Maximum number of concurrent searches (default 16).
    #[serde(deserialize_with = "count_of_32_bits")]
    pub max_searches: u32,
}

impl std::fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpSettings { … }")
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            request_max_size: 100_000_000,
            request_buffer_queue_size: 100,
            request_timeout: Duration::from_secs(60),
            response_timeout: Duration::from_secs(60),
            keep_alive: true,
            keep_alive_timeout: Duration::from_secs(75),
            websocket_max_size: 1 << 20,
            websocket_max_queue: 32,
            websocket_read_limit: 1 << 16,
            websocket_write_limit: 1 << 16,
            websocket_ping_interval: Duration::from_secs(20),
            websocket_ping_timeout: Duration::from_secs(20),
            graceful_shutdown_timeout: Duration::from_secs(15),
            access_log: None,
            forwarded_secret: None,
            proxies_count: None,
            forwarded_for_header: HeaderName::from_static("x-forwarded-for"),
            real_ip_header: None,
            workers: NonZeroU32::MIN,
            max_connections: 20_000,
            max_connections_per_ip: None,
            max_streams: 20_000,
            max_body_memory: 128_000_000,
            body_timeout: Duration::from_secs(30),
            trusted_proxies: None,
            max_header_size: 16 << 10,
            max_headers: 100,
            max_searches: 16,
        }
    }
}

pub(crate) const FILE: &str = "http.toml";

pub(crate) const KNOWN_OPTIONS: KnownOptions = KnownOptions {
    siblings: |path| match path {
        [Step::Name(_)] => options_of::<HttpSettings>(),
        _ => &[],
    },
    ignored: &[("request_buffer_queue_size", "bodies are bounded in bytes instead; this changes nothing")],
};

/// Maximum of all timeouts and intervals, in seconds: one year.
const MAX_SECONDS: u64 = 365 * 86_400;

/// Parses the text of `http.toml`.
///
/// # Errors
/// Returns the first error.
pub(crate) fn read(source: &str, warnings: &mut Vec<Finding>) -> Result<HttpSettings, Finding> {
    let document = Document::toml(FILE, source)?;
    let settings: HttpSettings = document.read(&KNOWN_OPTIONS, warnings)?;
    if settings.max_body_memory < settings.request_max_size {
        let path = [Step::Name("max_body_memory".to_owned())];
        let (all, one) = (settings.max_body_memory, settings.request_max_size);
        let message = format!("all bodies together may hold {all} bytes, fewer than the {one} of one body");
        warnings.push(document.finding(&path, message).with_remedy("lower request_max_size or raise this"));
    }
    Ok(settings)
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    integer(deserializer, "bytes", 1..=i64::MAX as u64)
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    integer(deserializer, "a count", 1..=i64::MAX as u64)
}

fn count_of_32_bits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    integer(deserializer, "a count", 1..=u64::from(u32::MAX))
}

fn optional_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NonZeroU32>, D::Error> {
    integer(deserializer, "a count (0 = none)", 0..=u64::from(u32::MAX)).map(NonZeroU32::new)
}

fn workers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroU32, D::Error> {
    integer(deserializer, "a count", 1..=64).map(|count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN))
}

/// Deserializes a header size. Below 256 bytes hardly any request would fit.
fn header_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    integer(deserializer, "bytes", 256..=16 << 20)
}

/// Deserializes a number of headers, up to the capacity of `http::HeaderMap`.
fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    integer(deserializer, "a count", 1..=24_576)
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    seconds(deserializer, Zero::Refused, MAX_SECONDS)
}

fn time_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    seconds(deserializer, Zero::Allowed, MAX_SECONDS)
}

fn forwarded_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    secret(deserializer, "a text, or false for none", |value| match value {
        Scalar::Bool(false) | Scalar::Text("") => Some(None),
        Scalar::Text(secret) => Some(Some(secret.to_owned())),
        _ => None,
    })
}

fn header<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderName, D::Error> {
    text(deserializer, "the name of an HTTP header", header_name)
}

fn optional_header<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HeaderName>, D::Error> {
    scalar(deserializer, "the name of an HTTP header, or false for none", |value| match value {
        Scalar::Bool(false) | Scalar::Text("") => Some(None),
        Scalar::Text(name) => header_name(name).map(Some),
        _ => None,
    })
}

fn trusted_proxies<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpSet>, D::Error> {
    IpSet::deserialize(deserializer).map(Some)
}
