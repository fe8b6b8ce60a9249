//! Counts the rate limits that all instances and hosts share, in one Redis.
//!
//! A request asks Redis once, over the one connection of the instance, and waits at most
//! [`TAKE_TIMEOUT`]. No failure of Redis fails a request. After a failure the limits in memory
//! decide for every request at once, while a background task reconnects. Requests get a new
//! connection only after that connection has counted a probe.
//!
//! The journal gets at most one warning a minute, and never a password.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, yield_now};
use tokio::time::{sleep, timeout};

use super::connect;
use super::take_request::TakeRequest;
use super::unavailable::Unavailable;
use crate::config::RedisUrl;
use crate::guard::client_addr::CountedClient;
use crate::guard::limits::cost::Cost;
use crate::guard::limits::limit::Limits;
use crate::guard::limits::windows::Count;

/// Maximum time that a request waits for Redis.
const TAKE_TIMEOUT: Duration = Duration::from_millis(35);

/// Delay before the first attempt to reconnect. Each further attempt doubles it.
const MIN_RECONNECT_DELAY: Duration = Duration::from_millis(100);
/// Upper bound of the delay between two attempts to reconnect.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);

/// Age from which a connection counts as stable. After the loss of a stable connection, the delay
/// starts at its minimum again.
const STABLE_CONNECTION_AGE: Duration = Duration::from_secs(10);

/// Minimum time between two warnings in the journal.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The counters in one Redis. Dropping the value ends its background task.
pub(crate) struct SharedLimits {
    inner: Arc<Inner>,
    background: AbortHandle,
}

struct Inner {
    url: RedisUrl,
    /// The connection that requests use; `None` while Redis is unavailable.
    active: ArcSwapOption<ActiveConnection>,
    logged: Mutex<LoggedState>,
}

/// A connection that works until a request or its driver reports the first failure.
struct ActiveConnection {
    connection: MultiplexedConnection,
    failure: OnceLock<Unavailable>,
    failed: Notify,
}

/// The state of Redis that the journal reported last.
#[derive(Default)]
struct LoggedState {
    warned: Option<Instant>,
    /// True when the last journal entry says that Redis is unavailable.
    is_unavailable: bool,
    /// True when a journal entry has said that Redis is in use.
    was_available: bool,
}

impl SharedLimits {
    /// Starts to connect in the background and returns at once.
    ///
    /// Needs a tokio runtime for the background task. Requests may call [`Self::take`] from any
    /// other runtime.
    pub(crate) fn new(url: RedisUrl) -> Self {
        let inner = Arc::new(Inner { url, active: ArcSwapOption::empty(), logged: Mutex::default() });
        let background = tokio::spawn(keep_connected(Arc::clone(&inner))).abort_handle();
        Self { inner, background }
    }

    pub(crate) fn url(&self) -> &RedisUrl {
        &self.inner.url
    }

    /// Returns whether a connection to Redis works, so that [`Self::take`] is worth a call.
    pub(crate) fn is_available(&self) -> bool {
        self.inner.active.load().is_some()
    }

    /// Counts one request in all of its limits, or in none when one of them has less left than the
    /// cost.
    ///
    /// Returns the state of each limit before this request, in the order of [`Limits::iter`];
    /// `None` when Redis does not answer in time.
    pub(crate) async fn take(
        &self,
        limits: Limits<'_>,
        client: CountedClient,
        cost: Cost,
    ) -> Option<Vec<Count>> {
        let active = self.inner.active.load_full()?;
        let request = TakeRequest::new(limits, client, cost);
        match within_timeout(request.send(active.connection.clone())).await {
            Ok(counts) => Some(counts),
            Err(failure) => {
                self.inner.disconnect(&active, failure);
                None
            }
        }
    }
}

impl Drop for SharedLimits {
    fn drop(&mut self) {
        self.background.abort();
        // A request in progress must not keep the connection to a Redis that is no longer
        // configured.
        self.inner.active.store(None);
    }
}

impl Inner {
    /// Withdraws `active` from requests, so that the background task replaces it.
    fn disconnect(&self, active: &Arc<ActiveConnection>, failure: Unavailable) {
        self.active.compare_and_swap(active, None);
        // Only the first failure is stored for the journal. Later ones are its consequences.
        drop(active.failure.set(failure));
        active.failed.notify_one();
    }

    /// Connects and lends the connection to requests until it fails.
    ///
    /// Returns the failure and how long the connection worked.
    async fn run_connection(&self) -> (Unavailable, Duration) {
        let (connection, mut driver) = match connect::connect(&self.url).await {
            Ok(connected) => connected,
            Err(failure) => return (failure, Duration::ZERO),
        };
        // The probe counts a hit, because a Redis that is read-only, or only answers, cannot count
        // limits.
        let probe = TakeRequest::probe();
        let probe = within_timeout(probe.send_script(connection.clone()));
        tokio::select! {
            answer = probe => if let Err(failure) = answer {
                return (failure, Duration::ZERO);
            },
            () = &mut driver => return (Unavailable::Closed, Duration::ZERO),
        }
        let active =
            Arc::new(ActiveConnection { connection, failure: OnceLock::new(), failed: Notify::new() });
        let since = Instant::now();
        self.active.store(Some(Arc::clone(&active)));
        self.log_available();
        tokio::select! {
            () = active.failed.notified() => {}
            () = driver => self.disconnect(&active, Unavailable::Closed),
        }
        (active.failure.get().cloned().unwrap_or(Unavailable::Closed), since.elapsed())
    }

    fn log_unavailable(&self, failure: &Unavailable) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.warned.is_some_and(|warned| warned.elapsed() < WARNING_INTERVAL) {
            return;
        }
        *logged = LoggedState { warned: Some(Instant::now()), is_unavailable: true, ..*logged };
        drop(logged);
        crate::event!(
            warn, REDIS_AWAY;
            "rate limits are counted in memory until the Redis at {} counts them: {failure}", self.url
        );
    }

    fn log_available(&self) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        // An outage without a warning needs no entry about its end.
        if logged.is_unavailable || !logged.was_available {
            crate::event!(info, REDIS_BACK; "rate limits are shared through the Redis at {}", self.url);
        }
        *logged = LoggedState { is_unavailable: false, was_available: true, ..*logged };
    }
}

/// Connects and reconnects until the task is aborted.
async fn keep_connected(inner: Arc<Inner>) {
    let mut delay = MIN_RECONNECT_DELAY;
    loop {
        let (failure, lasted) = inner.run_connection().await;
        inner.log_unavailable(&failure);
        if lasted >= STABLE_CONNECTION_AGE {
            delay = MIN_RECONNECT_DELAY;
        }
        sleep(delay).await;
        delay = (delay * 2).min(MAX_RECONNECT_DELAY);
    }
}

/// Limits the wait for `request` to [`TAKE_TIMEOUT`].
async fn within_timeout<T>(request: impl Future<Output = Result<T, Unavailable>>) -> Result<T, Unavailable> {
    let mut request = std::pin::pin!(request);
    if let Ok(answer) = timeout(TAKE_TIMEOUT, &mut request).await {
        return answer;
    }
    // Perhaps this thread was late, and not Redis. The answer is then in the socket. One turn of
    // the event loop reads it, and another one passes it on.
    for _ in 0..3 {
        yield_now().await;
        if let Some(answer) = futures_util::FutureExt::now_or_never(&mut request) {
            return answer;
        }
    }
    Err(Unavailable::Timeout(TAKE_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_silent_redis_times_out() {
        let started = Instant::now();
        let answer: Result<(), Unavailable> = runtime().block_on(within_timeout(std::future::pending()));
        assert!(matches!(answer, Err(Unavailable::Timeout(_))));
        assert!(started.elapsed() >= TAKE_TIMEOUT && started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn an_answer_in_time_that_a_late_thread_reads_counts() {
        runtime().block_on(async {
            let (near, mut far) = tokio::net::UnixStream::pair().unwrap();
            let (answer, answered) = tokio::sync::oneshot::channel();
            let driver = tokio::spawn(async move {
                near.readable().await.unwrap();
                answer.send(()).unwrap();
            });
            yield_now().await;
            let request = within_timeout(async {
                tokio::io::AsyncWriteExt::write_all(&mut far, b"x").await.unwrap();
                std::thread::sleep(TAKE_TIMEOUT * 2);
                answered.await.map_err(|_| Unavailable::Closed)
            });
            assert!(request.await.is_ok());
            driver.await.unwrap();
        });
    }

    #[test]
    fn an_unreachable_redis_is_unavailable_and_warns_once_a_minute() {
        runtime().block_on(async {
            let url = RedisUrl::parse("redis+unix:///nonexistent/redis.sock").unwrap();
            let shared = SharedLimits::new(url.clone());
            assert!(!shared.is_available());
            assert_eq!(shared.url(), &url);
            let warned = || shared.inner.logged.lock().unwrap().warned;
            while warned().is_none() {
                sleep(Duration::from_millis(1)).await;
            }
            let first = warned();
            shared.inner.log_unavailable(&Unavailable::Closed);
            assert_eq!(warned(), first, "once a minute");
        });
    }
}
