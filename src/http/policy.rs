//! The configuration as a request needs it: built once at each reload, shared by every request that runs under it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response};

use super::connection::state::Timeouts;
use super::response::head_writer::closing_response;
use super::response::headers::TEXT;
use super::response::prepared_heads::PreparedHeads;
use super::response::problem::Problem;
use super::route::{METHODS, Route};
use crate::config::{Files, KeyDigest, KeyEntry, LogEntry, LogName};
use crate::guard::{Key, Rules};

const STAR: &str = "*";

/// All that answers carry and browsers do not show by themselves.
const EXPOSED: &str = "Moca-Cursor, RateLimit, RateLimit-Policy, Retry-After, Accept-Ranges, Content-Disposition, \
                       Content-Range, ETag, Server-Timing, WWW-Authenticate";

/// What requests carry that browsers do not send unasked.
const ACCEPTED: &str = "API-KEY, X-API-Key, Authorization, ROOT-PASS, Content-Type, Content-Encoding, Moca-Encryption, \
                        Last-Event-ID, Range, If-Range, If-None-Match, Level, Message";

/// See the module.
pub struct Policy {
    /// this log's entry of `log.json`
    pub log: LogEntry,
    /// all files
    pub files: Files,
    pub(crate) rules: Arc<Rules>,
    pub(crate) timeouts: Timeouts,
    /// requests are put down
    pub(crate) access_log: bool,
    /// stands for the key of whoever speaks on the admin socket
    pub(crate) operator: Arc<Key>,
    /// `Server` and the configured headers, on every answer
    fixed: Vec<(HeaderName, HeaderValue)>,
    /// what answers of the short way begin with; `None` = all requests go the long way
    pub(crate) fast_path: Option<Arc<PreparedHeads>>,
    /// the two paths of each keyed route
    paths: Vec<[String; 2]>,
}

impl Policy {
    /// The policy of the log `name`, whose entry is `log`.
    #[must_use]
    pub fn new(name: &LogName, log: LogEntry, files: Files) -> Self {
        let mut fixed = files.server.headers.clone();
        if !fixed.iter().any(|(name, _)| name == header::SERVER) {
            let server = concat!("MocaFileLog(", env!("CARGO_PKG_VERSION"), ")");
            fixed.push((header::SERVER, HeaderValue::from_static(server)));
        }
        let mut this = Self {
            rules: Arc::new(Rules::new(&files)),
            timeouts: Timeouts::new(&files.http),
            operator: Arc::new(Key::new(KeyEntry {
                name: "operator".into(),
                ..KeyEntry::new(KeyDigest::of("operator"))
            })),
            paths: Route::keyed().map(|route| route.paths(name)).collect(),
            access_log: files.writes_access_log(),
            fixed,
            log,
            files,
            fast_path: None,
        };
        if this.permits_fast_path() {
            this.fast_path = PreparedHeads::new(|response| this.apply_headers(response, None)).map(Arc::new);
        }
        this
    }

    /// Reports whether no option looks at more of a request than the fast path does.
    fn permits_fast_path(&self) -> bool {
        let Files { http, server, system, .. } = &self.files;
        let by_peer =
            http.forwarded_secret.is_none() && http.real_ip_header.is_none() && http.proxies_count.is_none();
        let unobserved = !server.debug && !self.access_log;
        let unconditional = system.force_headers.is_empty() && !system.force_referer;
        by_peer && unobserved && unconditional && http.keep_alive
    }

    /// The rules of the guard.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(crate) fn paths(&self, route: Route) -> [&str; 2] {
        match self.paths.get(route as usize) {
            Some([short, long]) => [short, long],
            None => ["/", "/"],
        }
    }

    /// Puts on an answer what stands on every answer: `Server`, configured headers, CORS for `origin`.
    pub(crate) fn apply_headers<B>(&self, response: &mut Response<B>, origin: Option<&HeaderValue>) {
        let headers = response.headers_mut();
        for (name, value) in &self.fixed {
            if *name == header::CONTENT_SECURITY_POLICY {
                // Browsers obey all that are there: the page keeps its own.
                headers.append(name.clone(), value.clone());
            } else {
                headers.insert(name.clone(), value.clone());
            }
        }
        self.allow_origin(headers, origin);
    }

    /// Returns the answer to a request that is refused, with the headers of every answer.
    pub(crate) fn refusal(&self, problem: Problem) -> Response<Bytes> {
        let mut response = problem.into_response();
        self.apply_headers(&mut response, None);
        response
    }

    /// Returns the same as bytes, for a connection that is closed afterwards: its request never became one.
    pub(crate) fn raw_refusal(&self, problem: Problem) -> Vec<u8> {
        closing_response(&self.refusal(problem))
    }

    /// The Origin is echoed on an exact match only; `*` never stands together with credentials.
    fn allow_origin(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
        let cors = &self.files.server.cors;
        if !cors.origins.list.is_empty() {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = origin else { return };
        let listed = origin.to_str().is_ok_and(|text| cors.origins.names(text));
        if listed {
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
        let exposed = if listed && cors.credentials && cors.expose_headers == STAR {
            HeaderValue::from_static(EXPOSED)
        } else {
            cors.expose_headers.clone()
        };
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }

    /// The answer to a preflight (Fetch standard, CORS-preflight request), which carries no key. Beside
    /// credentials `*` is no wildcard but a name: there, all that is asked for is named.
    pub(crate) fn preflight(&self, request: &HeaderMap) -> Response<Bytes> {
        let cors = &self.files.server.cors;
        let named = |configured: &HeaderValue, all: HeaderValue| {
            if cors.credentials && configured == STAR { all } else { configured.clone() }
        };
        let asked = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS).filter(|asked| are_names(asked));
        let wanted = asked.cloned().unwrap_or(const { HeaderValue::from_static(ACCEPTED) });
        let methods = HeaderValue::from_static(METHODS);
        let mut response = Response::new(Bytes::from_static(b"allowed."));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, TEXT);
        headers.insert(header::ALLOW, HeaderValue::from_static(METHODS));
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, named(&cors.methods, methods));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, named(&cors.headers, wanted));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age.as_secs()));
        response
    }
}

/// Whether these are names of headers as browsers send them, not `*` among them.
fn are_names(list: &HeaderValue) -> bool {
    let is_of_names = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b',' | b' ');
    !list.is_empty() && list.as_bytes().iter().all(is_of_names)
}
