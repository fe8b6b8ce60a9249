//! Holds the state that all connections of an instance share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use http::StatusCode;
use tokio_util::sync::CancellationToken;

use super::connection::stream::UnparsedRequests;
use super::follow::hub::{FollowContext, FollowerHub, PermissionState};
use super::observe::access_log::AccessLog;
use super::observe::access_log::line::{Outcome, RequestLine};
use super::observe::counters::{DatagramCounters, Reason, RecordCounters, RefusalCounters};
use super::observe::refusal_log::{Explanation, RefusalDetails, RefusalLog, redacted_words};
use super::observe::refused_requests::{Origin, RefusedRequests};
use super::observe::request_trace::{DebugContext, Trace};
use super::policy::Policy;
use super::request::cpu_pool::CpuPool;
use super::request::memory_budget::MemoryBudget;
use super::request::search_limit::Searches;
use super::response::problem::Problem;
use crate::config::LogName;
use crate::guard::ClientAddr;
use crate::guard::Guard;
use crate::net::certificate::Identity;
use crate::store::{LogStore, ReadLog};

/// Holds the shared state of an instance.
pub struct App {
    /// The name of the log.
    pub name: LogName,
    /// The store of the log's records.
    pub store: Arc<dyn LogStore>,
    /// Checks clients and keys.
    pub guard: Arc<Guard>,
    /// The state of the process, for status and metrics.
    pub instance_state: InstanceState,
    /// The configuration in force.
    pub(crate) policy: ArcSwap<Policy>,
    pub(crate) access_log: Option<Arc<AccessLog>>,
    pub(crate) refusal_log: Arc<RefusalLog>,
    /// The latest refused requests, and their sums for the journal.
    pub(crate) refused_requests: RefusedRequests,
    /// The certificate of new TCP connections, or `None` for plain HTTP.
    pub(crate) identity: ArcSwapOption<Identity>,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) searches: Arc<Searches>,
    pub(crate) cpu_pool: CpuPool,
    /// Compiles the regular expressions of searches.
    pub(crate) pattern_pool: CpuPool,
    /// Cancelled when the stop begins. From then on connections accept no further request, and open
    /// tails end.
    pub(crate) draining: CancellationToken,
    pub(crate) followers: FollowerHub,
}

/// Holds the state of the process.
pub struct InstanceState {
    /// The addresses of the listening sockets, as URLs with the scheme `http`.
    pub(crate) addresses: Vec<String>,
    pub(crate) started: Instant,
    /// The wall clock time of the start.
    pub(crate) began: SystemTime,
    /// Number of open connections.
    pub(crate) connections: AtomicUsize,
    /// Number of open streams of all HTTP/2 connections.
    pub(crate) http2_streams: Arc<AtomicUsize>,
    /// Counts the refused requests by reason.
    pub(crate) refusals: RefusalCounters,
    /// Counts the accepted records that were not stored.
    pub(crate) records: RecordCounters,
    /// Counts the datagrams of sockets that are not HTTP.
    pub(crate) datagrams: DatagramCounters,
    /// Time at which the configuration in force was read, in seconds of Unix time.
    pub(crate) reloaded: AtomicU64,
    /// The reason why the last reload was refused, or `None` while the files on disk are in force.
    pub reload_refused: ArcSwapOption<String>,
}

impl App {
    /// Returns an instance of the log `name`.
    #[must_use]
    pub fn new(
        name: LogName,
        store: Arc<dyn LogStore>,
        guard: Arc<Guard>,
        policy: Policy,
        addresses: Vec<String>,
    ) -> Self {
        let began = SystemTime::now();
        let instance_state = InstanceState {
            addresses,
            started: Instant::now(),
            began,
            connections: AtomicUsize::new(0),
            http2_streams: Arc::default(),
            refusals: RefusalCounters::default(),
            records: RecordCounters::default(),
            datagrams: DatagramCounters::default(),
            reloaded: AtomicU64::new(unix_seconds(began)),
            reload_refused: ArcSwapOption::empty(),
        };
        Self {
            name,
            store,
            guard,
            instance_state,
            policy: ArcSwap::from_pointee(policy),
            identity: ArcSwapOption::empty(),
            access_log: None,
            refusal_log: Arc::default(),
            refused_requests: RefusedRequests::default(),
            budget: Arc::default(),
            searches: Arc::default(),
            cpu_pool: CpuPool::new(),
            pattern_pool: CpuPool::new(),
            draining: CancellationToken::new(),
            followers: FollowerHub::default(),
        }
    }

    /// Adds an access log. The instance writes it while the policy in force wants one.
    #[must_use]
    pub fn with_access_log(mut self, access_log: AccessLog) -> Self {
        access_log.switch(self.policy().access_log);
        self.access_log = Some(Arc::new(access_log));
        self
    }

    /// Writes the rest of the access log and closes it. Blocks for at most `max_duration`.
    pub fn close_access_log(&self, max_duration: Duration) {
        if let Some(access_log) = &self.access_log {
            access_log.close(max_duration);
        }
    }

    /// Puts another configuration into force for all requests that begin later.
    pub fn apply(&self, policy: Policy) {
        if let Some(access_log) = &self.access_log {
            access_log.switch(policy.access_log);
        }
        self.policy.store(Arc::new(policy));
        self.instance_state.reloaded.store(unix_seconds(SystemTime::now()), Ordering::Relaxed);
    }

    /// Counts a refused request, and keeps it for the operator.
    pub(crate) fn on_refused(&self, origin: &Origin<'_>, problem: &Problem) {
        self.on_refused_times(origin, problem, 1);
    }

    /// Counts messages of one sender that were refused for the same reason.
    pub(crate) fn on_refused_times(&self, origin: &Origin<'_>, problem: &Problem, times: u64) {
        self.instance_state.refusals.refused_times(problem.counted(), times);
        self.refused_requests.add_times(origin, problem, times);
    }

    /// Writes once a minute to the journal how many requests of each sender were refused. Never
    /// returns. Needs a tokio runtime with time.
    pub async fn report_refusals(&self) {
        self.refused_requests.write_minutes().await;
    }

    /// Writes the sums of the last minute to the journal, for shutdown. Blocks.
    pub fn report_last_refusals(&self) {
        self.refused_requests.write_rest();
    }

    /// Begins the trace of a request if the access log or `debug` is on.
    pub(crate) fn begin_trace<B>(
        &self,
        policy: &Policy,
        client: ClientAddr,
        request: &http::Request<B>,
    ) -> Option<Arc<Trace>> {
        let debug = policy.files.server.debug;
        if !(debug || policy.access_log) {
            return None;
        }
        let access_log = self.access_log.as_ref().filter(|_| policy.access_log).cloned();
        let debug = debug.then(|| DebugContext {
            guard: Arc::clone(&self.guard),
            refusal_log: Arc::clone(&self.refusal_log),
            rules: Arc::clone(&policy.rules),
        });
        Some(Trace::begin(access_log, debug, client, request))
    }

    /// Counts and logs the refusal of a connection or of bytes that are not a request. Returns the
    /// bytes of the answer. The caller closes the connection after it.
    pub(crate) fn refuse_connection(&self, client: ClientAddr, problem: Problem) -> Vec<u8> {
        let policy = self.policy();
        self.on_refused(&Origin::of_connection(client), &problem);
        let status = RefusalDetails::status(&problem);
        if policy.access_log
            && let Some(access_log) = &self.access_log
        {
            let bytes = problem.body().len() as u64;
            access_log.log_request(
                &RequestLine::unparsed(),
                &Outcome { client: &client, user: None, status, bytes },
            );
        }
        if policy.files.server.debug {
            self.refusal_log.explain(|| {
                let text = format!("no request, from {client}: {status}, {}", redacted_words(&problem));
                Explanation { client, key: None, text }
            });
        }
        policy.raw_refusal(problem.closing())
    }

    /// Sets the certificate of all TCP connections that are accepted later. Without one they use
    /// plain HTTP. Open connections do not change.
    pub fn identify(&self, identity: Option<Arc<Identity>>) {
        self.identity.store(identity);
    }

    /// Returns the certificate of new TCP connections.
    #[must_use]
    pub fn identity(&self) -> Option<Arc<Identity>> {
        self.identity.load_full()
    }

    /// Returns the addresses of the listening sockets as URLs.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let scheme = if self.identity.load().is_some() { "https://" } else { "http://" };
        let with_scheme = |address: &String| address.replacen("http://", scheme, 1);
        self.instance_state.addresses.iter().map(with_scheme).collect()
    }

    /// Returns the configuration in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }
}

impl UnparsedRequests for App {
    fn refuse_unparsed(&self, peer: ClientAddr, status: StatusCode) -> Vec<u8> {
        let problem = match status {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(self.policy().files.http.request_max_size),
            StatusCode::REQUEST_TIMEOUT => Problem::request_timeout(),
            StatusCode::URI_TOO_LONG => Problem::new(status, "The request target is too long."),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                Problem::new(status, "The header section is too large.")
            }
            _ => Problem::bad_request("Malformed HTTP request.").counted_as(Reason::MalformedHttp),
        };
        self.refuse_connection(peer, problem)
    }
}

impl FollowContext for App {
    fn store(&self) -> &dyn ReadLog {
        &*self.store
    }

    fn hub(&self) -> &FollowerHub {
        &self.followers
    }

    fn permission_state(&self) -> PermissionState {
        let policy = self.policy();
        let maintenance = self.guard.maintenance().is_on(policy.rules());
        PermissionState { policy: Arc::as_ptr(&policy) as usize, maintenance }
    }

    fn stop(&self) -> CancellationToken {
        self.draining.clone()
    }
}

/// Returns `time` as Unix time in seconds.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
