//! Runs CPU-bound work of large bodies on tokio's blocking pool, a few jobs at once. On the event
//! loop it would delay the small requests of other clients.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::http::observe::counters::Reason;
use crate::http::response::problem::Problem;

/// Maximum number of jobs that run at once. The limit leaves a core for the event loop, and threads
/// for the readers of logs.
const MAX_CONCURRENT_JOBS: usize = 2;

/// Runs jobs on the blocking pool, and limits how many run at once.
#[derive(Debug)]
pub(crate) struct CpuPool {
    permits: Arc<Semaphore>,
}

/// Holds the result of one poll, which is the future's output or the future itself.
enum Polled<T> {
    Done(T),
    Pending(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl CpuPool {
    /// Creates a pool that runs one job for every two cores, within [`MAX_CONCURRENT_JOBS`].
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { permits: Arc::new(Semaphore::new((cores / 2).clamp(1, MAX_CONCURRENT_JOBS))) }
    }

    async fn acquire(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.permits).acquire_owned().await.map_err(|_| failed())
    }

    /// Runs `work` as soon as a permit is free. Dropping the returned future cancels the token that
    /// `work` gets. The permit and all that `work` owns, its memory share included, are released
    /// only when `work` returns.
    ///
    /// # Errors
    /// Fails with 503 when the service stops.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&CancellationToken) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = self.acquire().await?;
        let stop = CancellationToken::new();
        let _cancel_on_drop = stop.clone().drop_guard();
        let job = spawn_blocking(move || {
            let result = work(&stop);
            drop(permit);
            result
        });
        job.await.map_err(|_| failed())
    }

    /// Polls `work` to completion on the blocking pool. The work holds a permit and a thread only
    /// while it is polled, not while it waits for a disk or a delay. When the returned future is
    /// dropped, the work ends at its next await point.
    ///
    /// # Errors
    /// Fails with 503 when the service stops.
    pub(crate) async fn drive<T: Send + 'static>(
        &self,
        mut work: Pin<Box<dyn Future<Output = T> + Send>>,
    ) -> Result<T, Problem> {
        let wakeup = Arc::new(NotifyWaker(Notify::new()));
        let waker = Waker::from(Arc::clone(&wakeup));
        loop {
            let permit = self.acquire().await?;
            let waker = waker.clone();
            let poll = spawn_blocking(move || {
                let polled = match work.as_mut().poll(&mut Context::from_waker(&waker)) {
                    // The drop frees a large body here, so that the event loop does not have to.
                    Poll::Ready(result) => {
                        drop(work);
                        Polled::Done(result)
                    }
                    Poll::Pending => Polled::Pending(work),
                };
                drop(permit);
                polled
            });
            match poll.await.map_err(|_| failed())? {
                Polled::Done(result) => return Ok(result),
                Polled::Pending(pending) => work = pending,
            }
            wakeup.0.notified().await;
        }
    }
}

/// Stores one wake-up until [`CpuPool::drive`] waits for it, so that a wake-up between two polls is
/// not lost.
struct NotifyWaker(Notify);

impl Wake for NotifyWaker {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}

/// Returns the error for a pool that no longer runs jobs, which happens only at the end of the
/// process.
fn failed() -> Problem {
    Problem::overloaded("The service is stopping.").counted_as(Reason::Shutdown)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn future_is_polled_to_completion_on_the_blocking_pool() {
        let cpu_pool = CpuPool::new();
        let here = std::thread::current().id();
        let work = async move {
            for _ in 0..3 {
                assert_ne!(std::thread::current().id(), here);
                tokio::time::sleep(Duration::from_millis(2)).await;
                tokio::task::yield_now().await;
            }
            std::thread::current().id()
        };
        assert_ne!(cpu_pool.drive(Box::pin(work)).await.ok().unwrap(), here);
    }

    #[tokio::test]
    async fn waiting_future_holds_no_permit() {
        let cpu_pool = Arc::new(CpuPool::new());
        let (open, opened) = tokio::sync::oneshot::channel::<()>();
        let mut waiting = Vec::new();
        let gate = futures_util::FutureExt::shared(opened);
        for _ in 0..20 {
            let (cpu_pool, gate) = (Arc::clone(&cpu_pool), gate.clone());
            waiting.push(tokio::spawn(async move { cpu_pool.drive(Box::pin(gate)).await.is_ok() }));
        }
        assert_eq!(cpu_pool.run(|_| 7).await.ok(), Some(7));
        open.send(()).unwrap();
        for one in waiting {
            assert!(one.await.unwrap());
        }
    }

    #[tokio::test]
    async fn abandoned_job_is_cancelled_and_holds_its_permit_until_it_returns() {
        let cpu_pool = Arc::new(CpuPool::new());
        let all = cpu_pool.permits.available_permits();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (cancelled, was_cancelled) = tokio::sync::oneshot::channel();
        let (go, may_end) = std::sync::mpsc::channel::<()>();
        let work = tokio::spawn({
            let cpu_pool = Arc::clone(&cpu_pool);
            async move {
                cpu_pool
                    .run(move |stop| {
                        begun.send(()).unwrap();
                        while !stop.is_cancelled() {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        cancelled.send(()).unwrap();
                        may_end.recv().unwrap();
                    })
                    .await
                    .is_ok()
            }
        });
        has_begun.await.unwrap();
        work.abort();
        tokio::time::timeout(Duration::from_secs(10), was_cancelled).await.unwrap().unwrap();
        assert_eq!(cpu_pool.permits.available_permits(), all - 1);
        go.send(()).unwrap();
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while cpu_pool.permits.available_permits() < all {
            assert!(std::time::Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
