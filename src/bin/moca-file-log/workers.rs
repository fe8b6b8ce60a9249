//! ReplyExtras threads that serve connections, each with an event loop of its own (`workers` in `http.toml`). All accept from
//! the same sockets and append to the same batch; what is written is written by the first thread and its disk thread,
//! so order and durability are those of one thread.

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

/// The threads beside the first one.
pub(crate) struct Workers {
    threads: Vec<Worker>,
    over: CancellationToken,
    begun: Instant,
}

struct Worker {
    thread: JoinHandle<()>,
    /// when its event loop turned last, in milliseconds since `begun`
    turned: Arc<AtomicU64>,
}

/// How often an event loop shows that it turns.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// A thread whose event loop did not turn for so long hangs.
const STALL_TIMEOUT: Duration = Duration::from_secs(8);

/// A socket as another thread takes it over.
type Taken = (StdListener, bool);

impl Workers {
    /// Starts `count` threads that accept from the TCP sockets among `sockets`.
    ///
    /// # Errors
    /// When the system has no threads or descriptors for them.
    pub(crate) fn start(
        count: u32,
        listeners: &Arc<Listeners>,
        sockets: &[Socket],
    ) -> Result<Self, StartError> {
        let failure = |error: std::io::Error| {
            StartError::new(Exit::OsErr, format!("can't start a worker: {error}; lower workers in http.toml"))
        };
        let (over, begun) = (CancellationToken::new(), Instant::now());
        let mut threads = Vec::new();
        for _ in 0..count {
            let taken = sockets.iter().filter_map(take).collect::<Result<Vec<_>, _>>().map_err(failure)?;
            let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(8).build();
            let runtime = runtime.map_err(failure)?;
            let (listeners, over) = (Arc::clone(listeners), over.clone());
            let turned = Arc::new(AtomicU64::new(0));
            let beat = Arc::clone(&turned);
            let thread = std::thread::Builder::new().name("worker".into()).spawn(move || {
                runtime.block_on(serve(taken, &listeners, over, &beat, begun));
                runtime.shutdown_background();
            });
            threads.push(Worker { thread: thread.map_err(failure)?, turned });
        }
        Ok(Self { threads, over, begun })
    }

    /// Whether the event loop of each of them turns.
    pub(crate) fn all_responsive(&self) -> bool {
        let now = self.begun.elapsed();
        let turns = |worker: &Worker| {
            let last = Duration::from_millis(worker.turned.load(Ordering::Relaxed));
            !worker.thread.is_finished() && now.saturating_sub(last) < STALL_TIMEOUT
        };
        self.threads.iter().all(turns)
    }

    /// Ends the threads. Whatever they still serve is cut.
    pub(crate) fn end(self) {
        self.over.cancel();
        for worker in self.threads {
            if worker.thread.join().is_err() {
                log::error!("a worker thread panicked");
            }
        }
    }
}

fn take(socket: &Socket) -> Option<std::io::Result<Taken>> {
    match socket {
        Socket::Tcp { listener, belongs_to_us } => {
            let copy = listener.as_fd().try_clone_to_owned();
            Some(copy.map(|descriptor| (StdListener::from(descriptor), *belongs_to_us)))
        }
        Socket::Unix(_) => None,
    }
}

async fn serve(
    taken: Vec<Taken>,
    listeners: &Listeners,
    over: CancellationToken,
    beat: &AtomicU64,
    begun: Instant,
) {
    for (listener, belongs_to_us) in taken {
        match TcpListener::from_std(listener) {
            Ok(listener) => listeners.serve(Socket::Tcp { listener, belongs_to_us }),
            Err(error) => log::error!("a worker can't accept connections: {error}"),
        }
    }
    let turning = async {
        loop {
            let now = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            beat.store(now, Ordering::Relaxed);
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
        }
    };
    tokio::select! {
        () = turning => {}
        () = over.cancelled() => {}
    }
}
