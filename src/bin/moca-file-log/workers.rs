//! Runs worker threads, which serve connections in addition to the first thread (`workers` in
//! `http.toml`). Each has its own event loop.
//!
//! All threads accept from the same sockets and append to the same batch. Only the first thread and
//! its disk thread write, so order and durability are the same as with one thread.

use std::net::TcpListener as StdListener;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use moca_file_log::exit::Exit;
use moca_file_log::http::{Listeners, Socket};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use crate::failure::StartError;

/// The worker threads.
pub(crate) struct Workers {
    threads: Vec<Worker>,
    stop: CancellationToken,
    started: Instant,
}

struct Worker {
    thread: JoinHandle<()>,
    /// The time of the last heartbeat, in milliseconds since `started`.
    heartbeat: Arc<AtomicU64>,
}

/// Interval at which an event loop notes that it runs.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Time without a heartbeat after which a thread counts as stalled.
const STALL_TIMEOUT: Duration = Duration::from_secs(8);

/// A copy of a listening socket for another thread, with its `belongs_to_us`.
type SharedListener = (StdListener, bool);

impl Workers {
    /// Starts `count` threads that accept from the TCP sockets in `sockets`.
    ///
    /// # Errors
    /// Fails if the system refuses a thread or a descriptor.
    pub(crate) fn start(
        count: u32,
        listeners: &Arc<Listeners>,
        sockets: &[Socket],
    ) -> Result<Self, StartError> {
        let failure = |error: std::io::Error| {
            StartError::new(Exit::OsErr, format!("can't start a worker: {error}; lower workers in http.toml"))
        };
        let (stop, started) = (CancellationToken::new(), Instant::now());
        let mut threads = Vec::new();
        for _ in 0..count {
            let shared = sockets.iter().filter_map(share).collect::<Result<Vec<_>, _>>().map_err(failure)?;
            let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(8).build();
            let runtime = runtime.map_err(failure)?;
            let (listeners, stop) = (Arc::clone(listeners), stop.clone());
            let heartbeat = Arc::new(AtomicU64::new(0));
            let noted = Arc::clone(&heartbeat);
            let thread = std::thread::Builder::new().name("worker".into()).spawn(move || {
                runtime.block_on(serve(shared, &listeners, stop, &noted, started));
                runtime.shutdown_background();
            });
            threads.push(Worker { thread: thread.map_err(failure)?, heartbeat });
        }
        Ok(Self { threads, stop, started })
    }

    /// Returns whether the event loops of all threads run.
    pub(crate) fn all_responsive(&self) -> bool {
        let now = self.started.elapsed();
        let is_responsive = |worker: &Worker| {
            let last = Duration::from_millis(worker.heartbeat.load(Ordering::Relaxed));
            !worker.thread.is_finished() && now.saturating_sub(last) < STALL_TIMEOUT
        };
        self.threads.iter().all(is_responsive)
    }

    /// Ends the threads and closes the connections that they still serve.
    pub(crate) fn end(self) {
        self.stop.cancel();
        for worker in self.threads {
            if worker.thread.join().is_err() {
                log::error!("a worker thread panicked");
            }
        }
    }
}

/// Duplicates a TCP socket; `None` for a Unix socket, which only the first thread serves.
fn share(socket: &Socket) -> Option<std::io::Result<SharedListener>> {
    match socket {
        Socket::Tcp { listener, belongs_to_us } => {
            let copy = listener.as_fd().try_clone_to_owned();
            Some(copy.map(|descriptor| (StdListener::from(descriptor), *belongs_to_us)))
        }
        Socket::Unix(_) => None,
    }
}

async fn serve(
    shared: Vec<SharedListener>,
    listeners: &Listeners,
    stop: CancellationToken,
    heartbeat: &AtomicU64,
    started: Instant,
) {
    for (listener, belongs_to_us) in shared {
        match TcpListener::from_std(listener) {
            Ok(listener) => listeners.serve(Socket::Tcp { listener, belongs_to_us }),
            Err(error) => log::error!("a worker can't accept connections: {error}"),
        }
    }
    let beat = async {
        loop {
            let now = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            heartbeat.store(now, Ordering::Relaxed);
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
        }
    };
    tokio::select! {
        () = beat => {}
        () = stop.cancelled() => {}
    }
}
