//! Work that would hold up the event loop: what large bodies cost. It is done on the blocking pool, a few pieces at once,
//! so that whoever sends a small request never waits for whoever sends a large one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::http::observe::counters::Reason;
use crate::http::response::problem::Problem;

/// Pieces of work at once: the event loop keeps a core, and readers keep their threads.
const MAX_TURNS: usize = 2;

/// See the module.
#[derive(Debug)]
pub(crate) struct CpuPool {
    turns: Arc<Semaphore>,
}

/// What is left of a future after it was polled.
enum Polled<T> {
    Done(T),
    Waits(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl CpuPool {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { turns: Arc::new(Semaphore::new((cores / 2).clamp(1, MAX_TURNS))) }
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.turns).acquire_owned().await.map_err(|_| failed())
    }

    /// Does `work` when it is its turn. Its token is cancelled when nobody waits for the result any more; what `work`
    /// holds, memory that is accounted for included, and its turn are given back when it really ended.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&CancellationToken) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = self.turn().await?;
        let stop = CancellationToken::new();
        let _left = stop.clone().drop_guard();
        let working = spawn_blocking(move || {
            let result = work(&stop);
            drop(turn);
            result
        });
        working.await.map_err(|_| failed())
    }

    /// Polls `work` to its end on the blocking pool. A turn is needed, and a thread taken, while it is polled only, not
    /// while it waits for a disk or a delay. Dropped, it ends at the next point where it would wait.
    pub(crate) async fn drive<T: Send + 'static>(
        &self,
        mut work: Pin<Box<dyn Future<Output = T> + Send>>,
    ) -> Result<T, Problem> {
        let bell = Arc::new(Bell(Notify::new()));
        let waker = Waker::from(Arc::clone(&bell));
        loop {
            let turn = self.turn().await?;
            let waker = waker.clone();
            let polling = spawn_blocking(move || {
                let polled = match work.as_mut().poll(&mut Context::from_waker(&waker)) {
                    // Large bodies are given back here too.
                    Poll::Ready(result) => {
                        drop(work);
                        Polled::Done(result)
                    }
                    Poll::Pending => Polled::Waits(work),
                };
                drop(turn);
                polled
            });
            match polling.await.map_err(|_| failed())? {
                Polled::Done(result) => return Ok(result),
                Polled::Waits(rest) => work = rest,
            }
            bell.0.notified().await;
        }
    }
}

/// Keeps one ring until somebody listens, so that none is missed between two polls.
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}

/// The pool is gone at the end of the process only.
fn failed() -> Problem {
    Problem::overloaded("The service is stopping.").counted_as(Reason::Shutdown)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_future_is_polled_elsewhere_to_its_end() {
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
    async fn who_waits_needs_no_turn() {
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
    async fn work_for_nobody_is_told_and_keeps_its_turn_until_it_ends() {
        let cpu_pool = Arc::new(CpuPool::new());
        let all = cpu_pool.turns.available_permits();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (told, was_told) = tokio::sync::oneshot::channel();
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
                        told.send(()).unwrap();
                        may_end.recv().unwrap();
                    })
                    .await
                    .is_ok()
            }
        });
        has_begun.await.unwrap();
        work.abort();
        tokio::time::timeout(Duration::from_secs(10), was_told).await.unwrap().unwrap();
        assert_eq!(cpu_pool.turns.available_permits(), all - 1);
        go.send(()).unwrap();
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while cpu_pool.turns.available_permits() < all {
            assert!(std::time::Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
