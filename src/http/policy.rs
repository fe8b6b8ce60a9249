//! Prepares the configuration for requests. A reload builds a [`Policy`] once, and all requests
//! that begin under it share it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response};

use super::connection::phase::Timeouts;
use super::connection::state::ConnectionState;
use super::fast_path_options::permit_fast_path;
use super::log_path::{SAVE_LOG, paths_of};
use super::response::head_writer::closing_response;
use super::response::headers::{KEEP_ALIVE, TEXT};
use super::response::methods::Methods;
use super::response::prepared_heads::PreparedHeads;
use super::response::problem::Problem;
use crate::config::{Files, LogEntry, LogName};
use crate::guard::Rules;

/// The value of a CORS option that allows everything.
const WILDCARD: &str = "*";

/// The headers of answers that scripts may read, in addition to those that browsers always expose.
const EXPOSED_HEADERS: &str = "Moca-Cursor, RateLimit, RateLimit-Policy, Retry-After, Accept-Ranges, Content-Disposition, \
                       Content-Range, ETag, Server-Timing, WWW-Authenticate";

/// The headers of requests that browsers send only after a preflight allows them.
const ACCEPTED_HEADERS: &str = "API-KEY, X-API-Key, Authorization, ROOT-PASS, Content-Type, Content-Encoding, Moca-Encryption, \
                        Last-Event-ID, Range, If-Range, If-None-Match, Level, Message";

/// Holds the configuration of one log, prepared for requests.
pub struct Policy {
    /// The entry of this log in `log.json`.
    pub log: LogEntry,
    /// All configuration files.
    pub files: Files,
    /// The rules of the guard.
    pub(crate) rules: Arc<Rules>,
    pub(crate) timeouts: Timeouts,
    /// True when the access log is on.
    pub(crate) access_log: bool,
    /// `Server` and the configured headers, for every answer.
    common_headers: Vec<(HeaderName, HeaderValue)>,
    /// True when the configured headers hold their own `Keep-Alive`.
    has_own_keep_alive: bool,
    /// The heads of answers on the fast path. `None` when all requests use the slow path.
    pub(crate) fast_path: Option<Arc<PreparedHeads>>,
    /// The path of `save-log` in both of its URL forms, for the fast path.
    pub(crate) save_log_paths: [String; 2],
}

impl Policy {
    /// Returns the policy of the log `name`, whose entry is `log`.
    #[must_use]
    pub fn new(name: &LogName, log: LogEntry, files: Files) -> Self {
        let mut common_headers = files.server.headers.clone();
        if !common_headers.iter().any(|(name, _)| name == header::SERVER) {
            let server = concat!("MocaFileLog(", env!("CARGO_PKG_VERSION"), ")");
            common_headers.push((header::SERVER, HeaderValue::from_static(server)));
        }
        let mut policy = Self {
            rules: Arc::new(Rules::new(&files)),
            timeouts: Timeouts::new(&files.http),
            save_log_paths: paths_of(SAVE_LOG, name),
            access_log: files.writes_access_log(),
            has_own_keep_alive: common_headers.iter().any(|(name, _)| *name == KEEP_ALIVE),
            common_headers,
            log,
            files,
            fast_path: None,
        };
        if permit_fast_path(&policy.files, &policy.log) && !policy.access_log {
            policy.fast_path =
                PreparedHeads::new(|response| policy.apply_headers(response, None)).map(Arc::new);
        }
        policy
    }

    /// Returns the rules of the guard.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Adds the headers that every answer carries. They are `Server`, the configured headers, and
    /// CORS for `origin`.
    pub(crate) fn apply_headers<B>(&self, response: &mut Response<B>, origin: Option<&HeaderValue>) {
        let headers = response.headers_mut();
        for (name, value) in &self.common_headers {
            if *name == header::CONTENT_SECURITY_POLICY {
                // Browsers enforce every policy in the answer. Appending keeps the policy of the
                // page in force.
                headers.append(name.clone(), value.clone());
            } else {
                headers.insert(name.clone(), value.clone());
            }
        }
        self.allow_origin(headers, origin);
    }

    /// Returns the seconds for which answers announce that this connection stays open between two
    /// requests. Configured headers with their own `Keep-Alive` take precedence.
    pub(crate) fn keep_alive_hint(&self, state: &ConnectionState) -> Option<u64> {
        if self.has_own_keep_alive { None } else { state.keep_alive_hint() }
    }

    /// Returns the answer to a request that is refused, with the headers of every answer.
    pub(crate) fn refusal(&self, problem: Problem) -> Response<Bytes> {
        let mut response = problem.into_response();
        self.apply_headers(&mut response, None);
        response
    }

    /// Returns the refusal as bytes, for a connection that is closed afterwards.
    pub(crate) fn raw_refusal(&self, problem: Problem) -> Vec<u8> {
        closing_response(&self.refusal(problem))
    }

    /// Adds the CORS headers for `origin`. Echoes the origin on an exact match only, and never
    /// combines `*` with credentials.
    fn allow_origin(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
        let cors = &self.files.server.cors;
        if !cors.origins.list.is_empty() {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = origin else { return };
        let is_listed = origin.to_str().is_ok_and(|text| cors.origins.names(text));
        if is_listed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            if cors.credentials {
                let value = HeaderValue::from_static("true");
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, value);
            }
        } else if cors.origins.any {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            return;
        }
        let exposed = if is_listed && cors.credentials && cors.expose_headers == WILDCARD {
            HeaderValue::from_static(EXPOSED_HEADERS)
        } else {
            cors.expose_headers.clone()
        };
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }

    /// Returns the answer to a preflight, which carries no key (Fetch standard, CORS-preflight
    /// request). With credentials browsers read `*` as a name, so the answer names all requested
    /// headers instead.
    pub(crate) fn preflight(&self, request: &HeaderMap, methods: Methods) -> Response<Bytes> {
        let cors = &self.files.server.cors;
        let named = |configured: &HeaderValue, all: HeaderValue| {
            if cors.credentials && configured == WILDCARD { all } else { configured.clone() }
        };
        let requested = request
            .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
            .filter(|requested| are_header_names(requested));
        let allowed = requested.cloned().unwrap_or(const { HeaderValue::from_static(ACCEPTED_HEADERS) });
        let methods = methods.allow();
        let mut response = Response::new(Bytes::from_static(b"allowed."));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, TEXT);
        headers.insert(header::ALLOW, methods.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, named(&cors.methods, methods));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, named(&cors.headers, allowed));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age.as_secs()));
        response
    }
}

/// Reports whether `list` is a list of header names as browsers send it, without `*`.
fn are_header_names(list: &HeaderValue) -> bool {
    let is_name_byte = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b',' | b' ');
    !list.is_empty() && list.as_bytes().iter().all(is_name_byte)
}
