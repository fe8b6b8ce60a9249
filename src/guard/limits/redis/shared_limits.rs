//! Limits that every instance and host share, counted in a Redis.
//!
//! A request asks once, over the one connection of the instance, and waits for at most [`DEADLINE`]. Whatever goes
//! wrong (no Redis, a slow one, a refused password, an answer that is none) is no matter of the client's: the limits
//! in memory decide, at once for every request from then on, while the keeper tries in the background until a Redis
//! does its work again. A connection is given to requests only after it has counted something.
//!
//! The journal hears of it once a minute at most, and never of a password.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, yield_now};
use tokio::time::{sleep, timeout};

use super::unavailable::Away;
use super::{connect, script};
use crate::config::RedisUrl;
use crate::guard::client_addr::ClientAddr;
use crate::guard::limits::limit::Limits;
use crate::guard::limits::windows::Count;

/// The longest that a request waits for Redis.
const DEADLINE: Duration = Duration::from_millis(35);

/// Between two attempts, doubled from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A connection that lasted so long was a good one: the next attempt comes soon.
const STEADY: Duration = Duration::from_secs(10);

/// Between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Counters in one Redis. Dropping it ends what it does in the background.
pub(crate) struct Shared {
    inner: Arc<Inner>,
    keeper: AbortHandle,
}

struct Inner {
    url: RedisUrl,
    /// `None` while Redis is away
    line: ArcSwapOption<Line>,
    told: Mutex<Told>,
}

/// A connection that works, until somebody says why it does not any more.
struct Line {
    connection: MultiplexedConnection,
    why: OnceLock<Away>,
    broken: Notify,
}

/// What the journal was told.
#[derive(Default)]
struct Told {
    warned: Option<Instant>,
    /// the last word was that Redis is away
    away: bool,
    /// it was in use already
    used: bool,
}

impl Shared {
    /// Looks for this Redis from now on, and returns at once. Needs a tokio runtime, which does the background work;
    /// requests may ask from any other.
    pub(crate) fn new(url: RedisUrl) -> Self {
        let inner = Arc::new(Inner { url, line: ArcSwapOption::empty(), told: Mutex::default() });
        let keeper = tokio::spawn(keep(Arc::clone(&inner))).abort_handle();
        Self { inner, keeper }
    }

    pub(crate) fn url(&self) -> &RedisUrl {
        &self.inner.url
    }

    /// Whether it is worth asking.
    pub(crate) fn is_there(&self) -> bool {
        self.inner.line.load().is_some()
    }

    /// Counts one request in all of its limits, or in none when one of them is used up. Gives where each of them
    /// stood before, those of the path first; `None` when Redis does not tell.
    pub(crate) async fn take(&self, limits: Limits<'_>, client: ClientAddr) -> Option<Vec<Count>> {
        let line = self.inner.line.load_full()?;
        let question = script::Question::new(limits, client);
        match within_deadline(question.ask(line.connection.clone())).await {
            Ok(counts) => Some(counts),
            Err(why) => {
                self.inner.hang_up(&line, why);
                None
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.keeper.abort();
        // Requests that hold the line must not keep the connection of a Redis that is configured no more.
        self.inner.line.store(None);
    }
}

impl Inner {
    /// Nobody asks over this line any more.
    fn hang_up(&self, line: &Arc<Line>, why: Away) {
        self.line.compare_and_swap(line, None);
        // The first reason is the reason.
        drop(line.why.set(why));
        line.broken.notify_one();
    }

    /// Connects, and gives the connection to requests until it fails: why, and how long it was good.
    async fn hold(&self) -> (Away, Duration) {
        let (connection, mut driver) = match connect::connect(&self.url).await {
            Ok(connected) => connected,
            Err(why) => return (why, Duration::ZERO),
        };
        // What only reads or only talks is no use: the probe counts a hit.
        let probe = script::Question::probe();
        let probe = within_deadline(probe.teach(connection.clone()));
        tokio::select! {
            answer = probe => if let Err(why) = answer {
                return (why, Duration::ZERO);
            },
            () = &mut driver => return (Away::Gone, Duration::ZERO),
        }
        let line = Arc::new(Line { connection, why: OnceLock::new(), broken: Notify::new() });
        let since = Instant::now();
        self.line.store(Some(Arc::clone(&line)));
        self.tell_back();
        tokio::select! {
            () = line.broken.notified() => {}
            () = driver => self.hang_up(&line, Away::Gone),
        }
        (line.why.get().cloned().unwrap_or(Away::Gone), since.elapsed())
    }

    fn tell_away(&self, why: &Away) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.warned.is_some_and(|warned| warned.elapsed() < WARN_EVERY) {
            return;
        }
        *told = Told { warned: Some(Instant::now()), away: true, ..*told };
        drop(told);
        crate::event!(
            warn, REDIS_AWAY;
            "the limits in memory decide until the Redis at {} does: {why}", self.url
        );
    }

    fn tell_back(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody who was not told that it went has to hear that it came back.
        if told.away || !told.used {
            crate::event!(info, REDIS_BACK; "rate limits are shared through the Redis at {}", self.url);
        }
        *told = Told { away: false, used: true, ..*told };
    }
}

/// Keeps a line for ever.
async fn keep(inner: Arc<Inner>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let (why, lasted) = inner.hold().await;
        inner.tell_away(&why);
        if lasted >= STEADY {
            pause = FIRST_PAUSE;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The answer, if it comes in time.
async fn within_deadline<T>(asking: impl Future<Output = Result<T, Away>>) -> Result<T, Away> {
    let mut asking = std::pin::pin!(asking);
    if let Ok(answer) = timeout(DEADLINE, &mut asking).await {
        return answer;
    }
    // This thread may have been late, not Redis: the answer lies in the socket then, and is here after a turn of the
    // event loop that reads it and one that hands it on.
    for _ in 0..3 {
        yield_now().await;
        if let Some(answer) = futures_util::FutureExt::now_or_never(&mut asking) {
            return answer;
        }
    }
    Err(Away::Slow(DEADLINE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn silence_is_not_waited_for() {
        let asked = Instant::now();
        let answer: Result<(), Away> = runtime().block_on(within_deadline(std::future::pending()));
        assert!(matches!(answer, Err(Away::Slow(_))));
        assert!(asked.elapsed() >= DEADLINE && asked.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn an_answer_that_this_thread_is_late_to_read_counts() {
        runtime().block_on(async {
            let (near, mut far) = tokio::net::UnixStream::pair().unwrap();
            let (answer, answered) = tokio::sync::oneshot::channel();
            let driver = tokio::spawn(async move {
                near.readable().await.unwrap();
                answer.send(()).unwrap();
            });
            yield_now().await;
            let asking = within_deadline(async {
                tokio::io::AsyncWriteExt::write_all(&mut far, b"x").await.unwrap();
                std::thread::sleep(DEADLINE * 2);
                answered.await.map_err(|_| Away::Gone)
            });
            assert!(asking.await.is_ok());
            driver.await.unwrap();
        });
    }

    #[test]
    fn nobody_asks_before_it_is_there_and_a_start_waits_for_nothing() {
        runtime().block_on(async {
            let url = RedisUrl::parse("redis+unix:///nonexistent/redis.sock").unwrap();
            let shared = Shared::new(url.clone());
            assert!(!shared.is_there());
            assert_eq!(shared.url(), &url);
            let told = || shared.inner.told.lock().unwrap().warned;
            while told().is_none() {
                sleep(Duration::from_millis(1)).await;
            }
            let first = told();
            shared.inner.tell_away(&Away::Gone);
            assert_eq!(told(), first, "once a minute");
        });
    }
}
