//! Lets a full server close the connection that has been silent longest.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use pin_project_lite::pin_project;

use super::deadline::Millis;

/// Reports the silence of a connection.
pub(crate) trait Silence: Send + Sync {
    /// Returns the time since which the connection has had no complete head of a request and no
    /// answer to write. Returns `None` while it has one.
    fn silent_since(&self) -> Option<Millis>;
}

/// An open connection, as the limiter knows it.
pub(crate) struct OpenConnection {
    silence: Arc<dyn Silence>,
    /// Set while the connection should close if it is still silent.
    is_evicted: AtomicBool,
    task: AtomicWaker,
}

impl OpenConnection {
    pub(super) fn new(silence: Arc<dyn Silence>) -> Self {
        Self { silence, is_evicted: AtomicBool::new(false), task: AtomicWaker::new() }
    }

    /// Returns the time since which the connection is silent.
    pub(super) fn silent_since(&self) -> Option<Millis> {
        self.silence.silent_since()
    }

    /// Closes the connection if it is still silent when its task runs. A request that arrives
    /// before is served, because only the task of the connection closes it.
    pub(super) fn evict(&self) {
        self.is_evicted.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Reports whether the connection has to close now.
    fn must_close(&self) -> bool {
        self.is_evicted.load(Ordering::Acquire)
            && self.is_evicted.swap(false, Ordering::AcqRel)
            && self.silent_since().is_some()
    }
}

pin_project! {
    /// Serves a connection until it ends, or until it is evicted while it is silent. The end of this
    /// future drops the connection, and then what is held for it. An async block would hold the
    /// memory of the connection twice.
    pub(crate) struct Evictable<F, H> {
        #[pin]
        serving: F,
        connection: Option<Arc<OpenConnection>>,
        is_registered: bool,
        held: H,
    }
}

impl<F: Future<Output = ()>, H> Evictable<F, H> {
    pub(super) const fn new(connection: Option<Arc<OpenConnection>>, serving: F, held: H) -> Self {
        Self { serving, connection, is_registered: false, held }
    }
}

impl<F: Future<Output = ()>, H> Future for Evictable<F, H> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let Some(connection) = this.connection else { return this.serving.poll(cx) };
        // The waker of a task stays the same.
        if !*this.is_registered {
            connection.task.register(cx.waker());
            *this.is_registered = true;
        }
        // A request that has arrived is read first.
        if this.serving.poll(cx).is_ready() || connection.must_close() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
