//! Traces a request for its line in the access log and, with `debug`, for `Server-Timing` and for
//! the reason of a refusal in the journal.
//!
//! With both options off there is no [`Trace`], and a request only tests two booleans.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};

use super::access_log::AccessLog;
use super::access_log::line::{Outcome, RequestLine};
use super::access_log::redact::redacted;
use super::refusal_log::{Explanation, RefusalDetails, RefusalLog, redacted_words};
use crate::guard::{ClientAddr, Guard, Key, RefusalContext, Rules};

/// Collects data about one request while it is served.
pub(crate) struct Trace {
    access_log: Option<Arc<AccessLog>>,
    /// The address of the client.
    client: ClientAddr,
    /// The last key that was recognised.
    key: Mutex<Option<Arc<Key>>>,
    /// The parts of the request for the access log, or `None` while the access log is off.
    request_line: Option<RequestLine>,
    /// The data for `debug`, or `None` while `debug` is off.
    debug: Option<Debug>,
}

/// Holds the data that explains a request with `debug`.
struct Debug {
    guard: Arc<Guard>,
    refusal_log: Arc<RefusalLog>,
    rules: Arc<Rules>,
    began: Instant,
    /// Microseconds that each part took, plus one. 0 means that the part did not run.
    parts: [AtomicU64; PARTS.len()],
    method: Method,
    path: String,
    /// The path of the route in both of its URL forms. Unset when the path is no route.
    rule_paths: OnceLock<[String; 2]>,
    headers: HeaderMap,
    /// The arguments that a refusal for missing arguments names.
    missing_args: Mutex<Vec<String>>,
}

/// Names the parts of a request that `Server-Timing` reports.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// The checks of address, head and key.
    Check,
    /// Reading the body.
    Body,
    /// The remaining checks of the key, the root password, and the delay of the key.
    Auth,
    /// Storing the records, until they are as durable as the log promises.
    Store,
}

const PARTS: [(Part, &str); 4] =
    [(Part::Check, "check"), (Part::Body, "body"), (Part::Auth, "auth"), (Part::Store, "store")];

impl Trace {
    /// Begins the trace of `request`. `access_log` is set while the access log is on, `debug` while
    /// refusals are explained.
    pub(crate) fn begin<B>(
        access_log: Option<Arc<AccessLog>>,
        debug: Option<DebugContext>,
        client: ClientAddr,
        request: &Request<B>,
    ) -> Arc<Self> {
        let request_line = access_log.is_some().then(|| RequestLine::new(request));
        let debug = debug.map(|context| Debug {
            guard: context.guard,
            refusal_log: context.refusal_log,
            rules: context.rules,
            began: Instant::now(),
            parts: Default::default(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            rule_paths: OnceLock::new(),
            headers: request.headers().clone(),
            missing_args: Mutex::default(),
        });
        Arc::new(Self { access_log, client, key: Mutex::new(None), request_line, debug })
    }

    /// Records the key that was recognised.
    pub(crate) fn recognised(&self, key: &Arc<Key>) {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(key));
    }

    /// Records the path of the route in both of its URL forms.
    pub(crate) fn routed(&self, paths: &[String; 2]) {
        if let Some(debug) = &self.debug {
            // The path of a dialect may hold a key.
            debug.rule_paths.get_or_init(|| paths.clone().map(|path| redacted(&path).into_owned()));
        }
    }

    /// Records the arguments that a refusal names. Calls `names` only with `debug`.
    pub(crate) fn missing_args(&self, names: impl FnOnce(&Key) -> Vec<String>) {
        if let Some(debug) = &self.debug
            && let Some(key) = self.key()
        {
            *debug.missing_args.lock().unwrap_or_else(PoisonError::into_inner) = names(&key);
        }
    }

    fn key(&self) -> Option<Arc<Key>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the time at which a part starts, for [`Self::took`].
    pub(crate) fn now(&self) -> Option<Instant> {
        self.debug.as_ref().map(|_| Instant::now())
    }

    /// Adds the time since `began` to a part. A part may run in several steps.
    pub(crate) fn took(&self, part: Part, began: Option<Instant>) {
        if let (Some(debug), Some(began)) = (&self.debug, began) {
            let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
            let part = &debug.parts[part as usize];
            part.store(part.load(Ordering::Relaxed).max(1).saturating_add(micros), Ordering::Relaxed);
        }
    }

    /// Adds the header `Server-Timing` (W3C), in milliseconds.
    pub(crate) fn apply_headers<B>(&self, response: &mut Response<B>) {
        const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
        let Some(debug) = &self.debug else { return };
        let mut text = format!("total;dur={:.3}", debug.began.elapsed().as_secs_f64() * 1000.0);
        for (part, name) in PARTS {
            let micros = debug.parts[part as usize].load(Ordering::Relaxed);
            if let Some(micros) = micros.checked_sub(1) {
                text.push_str(&format!(", {name};dur={:.3}", micros as f64 / 1000.0));
            }
        }
        if let Ok(value) = HeaderValue::try_from(text) {
            response.headers_mut().append(SERVER_TIMING, value);
        }
    }

    /// Explains a refusal or failure in the journal while `debug` is on.
    pub(crate) fn refused(&self, details: &impl RefusalDetails) {
        let Some(debug) = &self.debug else { return };
        debug.refusal_log.explain(|| {
            let key = self.key();
            let why = match details.cause() {
                Some(refusal) => {
                    let missing = debug.missing_args.lock().unwrap_or_else(PoisonError::into_inner);
                    let paths: Vec<&str> =
                        debug.rule_paths.get().into_iter().flatten().map(String::as_str).collect();
                    let context = RefusalContext {
                        client: &self.client,
                        key: key.as_deref(),
                        paths: &paths,
                        headers: &debug.headers,
                        missing_args: &missing,
                    };
                    debug.guard.explain(&debug.rules, refusal, &context)
                }
                None => redacted_words(details),
            };
            let path: String = redacted(&debug.path).chars().take(200).collect();
            let status = details.status();
            Explanation {
                client: self.client,
                key: key.map(|key| key.entry.name.clone()),
                text: format!("{} {path} from {}: {status}, {why}", debug.method, self.client),
            }
        });
    }
}

/// Holds the parts of the instance that explain a request with `debug`.
pub(crate) struct DebugContext {
    pub(crate) guard: Arc<Guard>,
    pub(crate) refusal_log: Arc<RefusalLog>,
    pub(crate) rules: Arc<Rules>,
}

/// Runs a step of a request and adds its time to a part of the trace.
pub(crate) async fn time_stage<T>(
    trace: Option<&Arc<Trace>>,
    part: Part,
    step: impl Future<Output = T>,
) -> T {
    let began = trace.and_then(|trace| trace.now());
    let outcome = step.await;
    if let Some(trace) = trace {
        trace.took(part, began);
    }
    outcome
}

/// Writes the line of a request to the access log when it is dropped.
///
/// A request that was cut before its answer has the status 499, as in nginx.
pub(crate) struct AccessLogGuard {
    trace: Arc<Trace>,
    /// The HTTP status of the answer.
    pub(crate) status: u16,
    /// Number of bytes of the body that were passed to the connection.
    pub(crate) bytes: u64,
}

impl AccessLogGuard {
    /// Returns the guard of the request with this trace.
    pub(crate) const fn of(trace: Arc<Trace>) -> Self {
        const CLIENT_CLOSED_REQUEST: u16 = 499;
        Self { trace, status: CLIENT_CLOSED_REQUEST, bytes: 0 }
    }
}

impl Drop for AccessLogGuard {
    fn drop(&mut self) {
        let Trace { access_log, client, request_line, .. } = &*self.trace;
        if let (Some(request_line), Some(access_log)) = (request_line, access_log) {
            let key = self.trace.key();
            let user = key.as_ref().map(|key| key.entry.name.as_str());
            let outcome = Outcome { client, user, status: self.status, bytes: self.bytes };
            access_log.log_request(request_line, &outcome);
        }
    }
}
