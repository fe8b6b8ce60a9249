//! Reads `server.json`: TLS, headers, CORS, logging, and the Redis server for shared limits.

use std::path::PathBuf;
use std::time::Duration;

use http::header;
use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::config::syntax::document::{Document, KnownOptions, options_of};
use crate::config::syntax::finding::Finding;
use crate::config::syntax::step::Step;
use crate::config::syntax::value::{Element, HeaderText, Name, Object, OneOrMany, Pairs, Scalar};
use crate::config::syntax::value::{boolean, integer, optional_boolean, scalar, secret};
use crate::config::values::origin::Origins;
use crate::config::values::redis_url::RedisUrl;

/// The content of `server.json`; without the file, every option has its default.
#[derive(Clone, PartialEq)]
pub struct Server {
    /// The certificate and its key: `ssl` (default none, plain HTTP).
    pub tls: Option<Tls>,
    /// Whether to log the reason of each refusal (default false).
    pub debug: bool,
    /// Whether to write the access log; `None` if the file does not say, then `http.toml` decides.
    pub access_log: Option<bool>,
    /// The lowest level of journal messages: 10 debug, 20 info (default), 30 warning, 40 error,
    /// 50 critical.
    pub log_level: u8,
    /// Whether to restart when the installed program changes (default false).
    pub auto_reload: bool,
    /// Length of the accept queue in connections (default 100).
    pub backlog: u32,
    /// Headers that are added to every answer, in file order.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// The six `access_control_*` options.
    pub cors: Cors,
    /// Accepted without effect: files of every size are streamed.
    pub stream_large_files: bool,
    /// The Redis server that shares the limits; `None` means the memory of each instance.
    pub rate_limiter_redis_storage: Option<RedisUrl>,
    /// The key of encrypted requests: exactly 16 ASCII characters (default none).
    pub pyjs_secret: Option<[u8; 16]>,
}

/// The PEM files of TLS. Paths are absolute, or relative to the configuration directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The file of the certificate chain.
    pub cert: PathBuf,
    /// The file of the private key.
    pub key: PathBuf,
}

/// The options for browser requests from other origins (CORS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// The option `access_control_allowed_credentials` (default true).
    pub credentials: bool,
    /// The option `access_control_allowed_origins` (default localhost and 127.0.0.1).
    pub origins: Origins,
    /// The option `access_control_allowed_methods`, joined by `, `.
    pub methods: http::HeaderValue,
    /// The option `access_control_allow_headers`: a string, or a list joined by `, `.
    pub headers: http::HeaderValue,
    /// The option `access_control_max_age` (default 600 s).
    pub max_age: Duration,
    /// The option `access_control_expose_headers`, joined by `, `.
    pub expose_headers: http::HeaderValue,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server { … }")
    }
}

impl Default for Server {
    fn default() -> Self {
        RawServer::default().into()
    }
}

pub(crate) const FILE: &str = "server.json";

pub(crate) const KNOWN_OPTIONS: KnownOptions = KnownOptions {
    siblings: |path| match path {
        [Step::Name(_)] => options_of::<RawServer>(),
        [Step::Name(ssl), ..] if ssl == "ssl" => options_of::<Ssl>(),
        _ => &[],
    },
    ignored: &[],
};

/// Parses the text of `server.json`.
///
/// # Errors
/// Returns the first error.
pub(crate) fn read(source: &str, warnings: &mut Vec<Finding>) -> Result<Server, Finding> {
    let document = Document::json(FILE, source)?;
    let server = Server::from(document.read::<Object<RawServer>>(&KNOWN_OPTIONS, warnings)?.0);
    if server.cors.credentials && server.cors.origins.any {
        let path = [Step::Name("access_control_allowed_origins".to_owned())];
        let message =
            "origins that are admitted by `*` alone are answered without `Access-Control-Allow-Credentials`";
        let remedy =
            "list the origins that need credentials, or set access_control_allowed_credentials to false";
        warnings.push(document.finding(&path, message).with_remedy(remedy));
    }
    if server.stream_large_files {
        let path = [Step::Name("stream_large_files".to_owned())];
        warnings.push(document.finding(&path, "files of every size are streamed; this changes nothing"));
    }
    Ok(server)
}

/// The content as it is written in the file.
#[derive(Deserialize)]
#[serde(default)]
struct RawServer {
    #[serde(deserialize_with = "tls")]
    ssl: Option<Tls>,
    #[serde(deserialize_with = "boolean")]
    debug: bool,
    #[serde(deserialize_with = "optional_boolean")]
    access_log: Option<bool>,
    #[serde(deserialize_with = "log_level")]
    log_level: u8,
    #[serde(deserialize_with = "boolean")]
    auto_reload: bool,
    #[serde(deserialize_with = "backlog")]
    backlog: u32,
    headers: Pairs<AnswerHeader, HeaderText>,
    #[serde(deserialize_with = "boolean")]
    access_control_allowed_credentials: bool,
    access_control_allowed_origins: Origins,
    #[serde(deserialize_with = "tokens")]
    access_control_allowed_methods: HeaderValue,
    #[serde(deserialize_with = "tokens")]
    access_control_allow_headers: HeaderValue,
    #[serde(deserialize_with = "max_age")]
    access_control_max_age: Duration,
    #[serde(deserialize_with = "tokens")]
    access_control_expose_headers: HeaderValue,
    #[serde(deserialize_with = "boolean")]
    stream_large_files: bool,
    #[serde(deserialize_with = "redis")]
    rate_limiter_redis_storage: Option<RedisUrl>,
    #[serde(deserialize_with = "pyjs_secret")]
    pyjs_secret: Option<[u8; 16]>,
}

impl Default for RawServer {
    fn default() -> Self {
        let local = ["https://localhost", "http://localhost", "https://127.0.0.1", "http://127.0.0.1"];
        Self {
            ssl: None,
            debug: false,
            access_log: None,
            log_level: 20,
            auto_reload: false,
            backlog: 100,
            headers: Pairs::default(),
            access_control_allowed_credentials: true,
            access_control_allowed_origins: Origins::from_texts(local).unwrap_or_else(|_| Origins::none()),
            access_control_allowed_methods: HeaderValue::from_static(
                "GET, HEAD, POST, OPTIONS, PUT, PATCH, DELETE",
            ),
            access_control_allow_headers: HeaderValue::from_static("*"),
            access_control_max_age: Duration::from_secs(600),
            access_control_expose_headers: HeaderValue::from_static("*"),
            stream_large_files: false,
            rate_limiter_redis_storage: None,
            pyjs_secret: None,
        }
    }
}

impl From<RawServer> for Server {
    fn from(raw: RawServer) -> Self {
        let Pairs(headers) = raw.headers;
        Self {
            tls: raw.ssl,
            debug: raw.debug,
            access_log: raw.access_log,
            log_level: raw.log_level,
            auto_reload: raw.auto_reload,
            backlog: raw.backlog,
            headers: headers.into_iter().map(|(name, value)| (name.0, value.0)).collect(),
            cors: Cors {
                credentials: raw.access_control_allowed_credentials,
                origins: raw.access_control_allowed_origins,
                methods: raw.access_control_allowed_methods,
                headers: raw.access_control_allow_headers,
                max_age: raw.access_control_max_age,
                expose_headers: raw.access_control_expose_headers,
            },
            stream_large_files: raw.stream_large_files,
            rate_limiter_redis_storage: raw.rate_limiter_redis_storage,
            pyjs_secret: raw.pyjs_secret,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Ssl {
    #[serde(deserialize_with = "path")]
    cert: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    key: Option<PathBuf>,
}

fn tls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Tls>, D::Error> {
    match Option::<Object<Ssl>>::deserialize(deserializer)?.map(|Object(ssl)| ssl).unwrap_or_default() {
        Ssl { cert: Some(cert), key: Some(key) } => Ok(Some(Tls { cert, key })),
        Ssl { cert: None, key: None } => Ok(None),
        Ssl { cert: Some(_), .. } => Err(D::Error::custom("`cert` without `key`, expected both or none")),
        Ssl { key: Some(_), .. } => Err(D::Error::custom("`key` without `cert`, expected both or none")),
    }
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    scalar(deserializer, "the path of a PEM file, or null", |value| match value {
        Scalar::Null => Some(None),
        Scalar::Text(path) if !path.is_empty() && !path.contains('\0') => Some(Some(PathBuf::from(path))),
        _ => None,
    })
}

fn log_level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    scalar(deserializer, "a level: 10, 20, 30, 40 or 50", |value| match value {
        Scalar::Integer(level @ (10 | 20 | 30 | 40 | 50)) => u8::try_from(level).ok(),
        _ => None,
    })
}

fn backlog<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    integer(deserializer, "a number of connections", 1..=i32::MAX as u64)
}

fn max_age<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    integer(deserializer, "seconds", 0..=u64::from(u32::MAX)).map(Duration::from_secs)
}

/// The name of a header that the configuration may add to every answer.
#[derive(PartialEq)]
struct AnswerHeader(HeaderName);

impl Name for AnswerHeader {
    const EXPECTED: &'static str = "the name of an HTTP header other than those of the message's own framing";

    fn read(text: &str) -> Option<Self> {
        // The server sets these to mark the end of an answer. Other values would let a client split
        // one answer into two.
        let framing = [
            header::CONNECTION,
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
            header::TRAILER,
            header::UPGRADE,
        ];
        HeaderName::read(text).filter(|name| !framing.contains(name)).map(Self)
    }
}

/// A method, the name of a header, or `*`. It may also be several of them, separated by commas.
struct Token(String);

impl Element for Token {
    const EXPECTED: &'static str = "a name as in HTTP, or *";

    fn read(text: &str) -> Option<Self> {
        let valid = |name: &str| http::Method::from_bytes(name.as_bytes()).is_ok();
        // One string may contain several: "GET, POST".
        text.split(',').all(|name| valid(name.trim())).then(|| Self(text.trim().to_owned()))
    }
}

fn tokens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderValue, D::Error> {
    let OneOrMany(tokens) = OneOrMany::deserialize(deserializer)?;
    let names: Vec<String> = tokens.into_iter().map(|Token(name)| name).collect();
    HeaderValue::try_from(names.join(", ")).map_err(D::Error::custom)
}

fn redis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RedisUrl>, D::Error> {
    let expected = "redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss://…, redis+unix:///SOCKET[?db=N&password=…], or null";
    secret(deserializer, expected, |value| match value {
        Scalar::Null => Some(None),
        Scalar::Text(url) => RedisUrl::parse(url).map(Some),
        _ => None,
    })
}

fn pyjs_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 16]>, D::Error> {
    secret(deserializer, "exactly 16 ASCII characters, or null", |value| match value {
        Scalar::Null => Some(None),
        Scalar::Text(secret) if secret.is_ascii() => secret.as_bytes().try_into().ok().map(Some),
        _ => None,
    })
}
