//! What is noted of a request while it is served, for those who want to know afterwards: its line in the access log and,
//! with `debug`, `Server-Timing` and the reason of a refusal in the journal.
//!
//! With both options off there is no [`Trace`], and a request pays for a look at two booleans.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};

use super::access_log::line::{Outcome, RequestLine};
use super::access_log::redact::redacted;
use crate::guard::{self, ClientAddr, Key};
use crate::http::app::App;
use crate::http::policy::Policy;
use crate::http::response::problem::Problem;
use crate::http::route::Route;

/// See the module.
pub(crate) struct Trace {
    app: Arc<App>,
    client: ClientAddr,
    /// the last one that was recognised
    key: Mutex<Option<Arc<Key>>>,
    asked: Option<RequestLine>,
    debug: Option<Debug>,
}

/// What `debug` needs to explain a request.
struct Debug {
    policy: Arc<Policy>,
    began: Instant,
    /// microseconds that each part took, and one more: zero = it did not happen
    parts: [AtomicU64; PARTS.len()],
    method: Method,
    path: String,
    headers: HeaderMap,
    missing_args: Mutex<Vec<String>>,
}

/// The parts of a request that `Server-Timing` tells apart.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// everything that is decided by address, head and key
    Check,
    /// reading the body
    Body,
    /// what is left of the key's checks, the root password, the key's delay
    Auth,
    /// until the record is as durable as the log promises
    Store,
}

const PARTS: [(Part, &str); 4] =
    [(Part::Check, "check"), (Part::Body, "body"), (Part::Auth, "auth"), (Part::Store, "store")];

impl Trace {
    /// `None` when nobody wants to know.
    pub(crate) fn begin<B>(
        app: &Arc<App>,
        policy: &Arc<Policy>,
        client: ClientAddr,
        request: &Request<B>,
    ) -> Option<Arc<Self>> {
        let debug = policy.files.server.debug;
        if !(debug || policy.access_log) {
            return None;
        }
        Some(Arc::new(Self {
            app: Arc::clone(app),
            client,
            key: Mutex::new(None),
            asked: policy.access_log.then(|| RequestLine::of(request)),
            debug: debug.then(|| Debug {
                policy: Arc::clone(policy),
                began: Instant::now(),
                parts: Default::default(),
                method: request.method().clone(),
                path: request.uri().path().to_owned(),
                headers: request.headers().clone(),
                missing_args: Mutex::default(),
            }),
        }))
    }

    /// The request has shown this key.
    pub(crate) fn recognised(&self, key: &Arc<Key>) {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(key));
    }

    /// What a refusal for missing arguments is about; `names` is asked for with `debug` only.
    pub(crate) fn missing_args(&self, names: impl FnOnce() -> Vec<String>) {
        if let Some(debug) = &self.debug {
            *debug.missing_args.lock().unwrap_or_else(PoisonError::into_inner) = names();
        }
    }

    fn key(&self) -> Option<Arc<Key>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Since when a part runs, for [`Self::took`].
    pub(crate) fn now(&self) -> Option<Instant> {
        self.debug.as_ref().map(|_| Instant::now())
    }

    /// A part ended that began at `began`. What is done in several steps is added up.
    pub(crate) fn took(&self, part: Part, began: Option<Instant>) {
        if let (Some(debug), Some(began)) = (&self.debug, began) {
            let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
            let part = &debug.parts[part as usize];
            part.store(part.load(Ordering::Relaxed).max(1).saturating_add(micros), Ordering::Relaxed);
        }
    }

    /// `Server-Timing` (W3C), in milliseconds.
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

    /// The request is refused, or failed: with `debug` the journal is told why.
    pub(crate) fn refused(&self, problem: &Problem) {
        let Some(debug) = &self.debug else { return };
        self.app.refusal_log.explain(|| {
            let key = self.key();
            let policy = &debug.policy;
            let why = match problem.cause() {
                Some(refusal) => {
                    let paths = Route::of(&debug.path, &self.app.name).map(|route| policy.paths(route));
                    let missing = debug.missing_args.lock().unwrap_or_else(PoisonError::into_inner);
                    let asked = guard::RefusalContext {
                        client: &self.client,
                        key: key.as_deref(),
                        paths: paths.as_ref().map(<[_; 2]>::as_slice).unwrap_or_default(),
                        headers: &debug.headers,
                        missing_args: &missing,
                    };
                    self.app.guard.explain(&policy.rules, refusal, &asked)
                }
                None => words(problem),
            };
            let path: String = redacted(&debug.path).chars().take(200).collect();
            let status = problem.status().as_u16();
            Explanation {
                client: self.client,
                key: key.map(|key| key.entry.name.clone()),
                text: format!("{} {path} from {}: {status}, {why}", debug.method, self.client),
            }
        });
    }
}

/// Runs a step of a request and notes how long it took.
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

/// The end of a request: when it is dropped, its line is written. A request that was cut before there was an answer has
/// 499, as nginx has it.
pub(crate) struct AccessLogGuard {
    trace: Arc<Trace>,
    pub(crate) status: u16,
    /// of the body that were handed to the connection
    pub(crate) bytes: u64,
}

impl AccessLogGuard {
    /// Of this request.
    pub(crate) const fn of(trace: Arc<Trace>) -> Self {
        const CLIENT_CLOSED_REQUEST: u16 = 499;
        Self { trace, status: CLIENT_CLOSED_REQUEST, bytes: 0 }
    }
}

impl Drop for AccessLogGuard {
    fn drop(&mut self) {
        let Trace { app, client, asked, .. } = &*self.trace;
        if let (Some(asked), Some(access_log)) = (asked, &app.access_log) {
            let key = self.trace.key();
            let user = key.as_ref().map(|key| key.entry.name.as_str());
            let outcome = Outcome { client, user, status: self.status, bytes: self.bytes };
            access_log.note(asked, &outcome);
        }
    }
}

/// Counts and notes the refusal of what never became a request: a head that cannot be read or did not come, or a connection too many.
pub(crate) fn refused_bare(app: &App, policy: &Policy, client: ClientAddr, problem: &Problem) {
    app.count(problem);
    let status = problem.status().as_u16();
    if policy.access_log
        && let Some(access_log) = &app.access_log
    {
        let outcome = Outcome { client: &client, user: None, status, bytes: problem.body().len() as u64 };
        access_log.note(&RequestLine::nothing(), &outcome);
    }
    if policy.files.server.debug {
        app.refusal_log.explain(|| {
            let text = format!("no request, from {client}: {status}, {}", words(problem));
            Explanation { client, key: None, text }
        });
    }
}

/// What the client is told, without the secret that it may have put into its URL.
fn words(problem: &Problem) -> String {
    redacted(&problem.words()).chars().take(300).collect()
}

/// Tells the journal why requests are refused, on a thread of its own: the journal may be busy, and a flood of refused
/// requests must neither fill it nor wait for it.
#[derive(Default)]
pub(crate) struct RefusalLog {
    journal: OnceLock<Option<SyncSender<Explanation>>>,
    /// when the second in hand began, and how many were explained in it
    second: Mutex<Option<(Instant, u32)>>,
    suppressed: Arc<AtomicU64>,
}

struct Explanation {
    client: ClientAddr,
    key: Option<String>,
    text: String,
}

/// Refusals that are explained in a second.
const MAX_REFUSALS_LOGGED_PER_SECOND: u32 = 100;

impl RefusalLog {
    /// `explanation` is made only when there is room for it.
    fn explain(&self, explanation: impl FnOnce() -> Explanation) {
        if !log::log_enabled!(log::Level::Info) {
            return;
        }
        let sent =
            self.has_room() && self.journal().is_some_and(|journal| journal.try_send(explanation()).is_ok());
        if !sent {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn has_room(&self) -> bool {
        let now = Instant::now();
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, count) = second.get_or_insert((now, 0));
        if now.duration_since(*began) >= Duration::from_secs(1) {
            (*began, *count) = (now, 0);
        }
        *count += 1;
        *count <= MAX_REFUSALS_LOGGED_PER_SECOND
    }

    fn journal(&self) -> Option<&SyncSender<Explanation>> {
        let journal = self.journal.get_or_init(|| {
            let (journal, received) = sync_channel(MAX_REFUSALS_LOGGED_PER_SECOND as usize);
            let suppressed = Arc::clone(&self.suppressed);
            let thread = std::thread::Builder::new().name("explain".into());
            thread.spawn(move || tell(&received, &suppressed)).ok().map(|_| journal)
        });
        journal.as_ref()
    }
}

/// Tells what comes, and once a second, as long as there is any, how many were left out.
fn tell(received: &Receiver<Explanation>, suppressed: &AtomicU64) {
    let mut quiet = true;
    let mut counted = Instant::now();
    loop {
        let next = if quiet {
            received.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            received.recv_timeout(Duration::from_secs(1))
        };
        match &next {
            Ok(Explanation { client, key: Some(key), text }) => {
                crate::event!(info, REFUSED, MOCA_CLIENT:% = client, MOCA_KEY = key.as_str(); "{text}");
            }
            Ok(Explanation { client, key: None, text }) => {
                crate::event!(info, REFUSED, MOCA_CLIENT:% = client; "{text}");
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        quiet = next.is_err();
        if quiet || counted.elapsed() >= Duration::from_secs(1) {
            counted = Instant::now();
            let count = suppressed.swap(0, Ordering::Relaxed);
            if count > 0 {
                crate::event!(info, REFUSED; "{count} more refusals were not explained: {MAX_REFUSALS_LOGGED_PER_SECOND} a second are");
            }
        }
    }
}
