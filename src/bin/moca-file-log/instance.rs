//! Runs an instance: opens it, reports it ready, handles signals and changed files, drains the
//! connections, and closes it.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use moca_file_log::config::LogName;
use moca_file_log::event;
use moca_file_log::exit::Exit;
use moca_file_log::guard::{Guard, state_file};
use moca_file_log::hooks;
use moca_file_log::http::{AccessLog, App, Listeners, Policy};
use moca_file_log::listen;
use moca_file_log::store::{self, Places};
use moca_file_log::systemd::{self, Notifier, Signal, journal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::admin_socket::AdminSocketFile;
use crate::failure::StartError;
use crate::listen_sockets::SocketFile;
use crate::program_update::{self, Program};
use crate::reload::{Reloader, restore_state};
use crate::sockets::sockets;
use crate::startup::{Configured, Directories, Startup, create_directory, load};
use crate::workers::Workers;

/// Maximum size of the lines that wait for the disk, in bytes. Another batch of the same size may
/// be in the middle of its write.
const WRITE_QUEUE_BYTES: usize = 2 * 1024 * 1024;

/// Maximum time that a stop waits until the rest of the access log is written.
const ACCESS_LOG_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time that a stop may take after the connections are closed, for the log and the exit hooks.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The reason why an instance has stopped.
pub(crate) enum ExitReason {
    /// A signal stopped it.
    Stopped,
    /// The installed program was replaced (`auto_reload`).
    Outdated,
}

/// Runs the hooks and serves the log until a signal or a new program ends it.
pub(crate) async fn serve(startup: Startup) -> Result<ExitReason, StartError> {
    let notifier = Notifier::from_env();
    // Before the handlers are installed, a maintenance signal would kill the process.
    let mut signals = systemd::listen()
        .map_err(|error| StartError::new(Exit::OsErr, format!("can't listen to signals: {error}")))?;
    // Signals that arrive while the hooks run are handled after them, except those to stop.
    let mut pending = Vec::new();
    tokio::select! {
        outcome = run_startup_hooks(&startup.directories, &startup.name) => outcome?,
        () = stop_signal(&mut signals, &mut pending) => return Ok(ExitReason::Stopped),
    }
    // Read after the hooks, since many hooks prepare the configuration.
    let configured = load(&startup)?;
    let program = startup.program.clone();
    let (instance, reloader) = Instance::open(startup, configured, notifier)?;
    let reason = instance.run(reloader, program, &mut signals, pending).await;
    instance.close(&mut signals).await?;
    Ok(reason)
}

/// The parts of a running instance.
struct Instance {
    name: LogName,
    config_dir: PathBuf,
    state_dir: PathBuf,
    app: Arc<App>,
    listeners: Arc<Listeners>,
    workers: Workers,
    committer: JoinHandle<()>,
    /// Saves the block list.
    saver: JoinHandle<()>,
    /// Reports refused requests once a minute.
    reporter: JoinHandle<()>,
    notifier: Notifier,
    /// Removed when the instance is closed.
    admin_file: Option<AdminSocketFile>,
    /// Removed when the instance is closed.
    socket_files: Vec<SocketFile>,
}

impl Instance {
    /// Opens the sockets, the state and the log, and starts to accept connections.
    fn open(
        startup: Startup,
        configured: Configured,
        notifier: Notifier,
    ) -> Result<(Self, Reloader), StartError> {
        let Configured { log, files, warnings, identity, refused } = configured;
        let Startup { name, directories, passed, .. } = startup;
        let by_systemd = !passed.is_empty();
        journal::set_level(journal::level_filter(files.server.log_level));
        warnings.iter().for_each(|warning| log::warn!("{warning}"));
        warn_of_unknown_zone();
        // The port is bound before the files are opened, so that a second process for the same log
        // fails here and does not touch the files.
        let sockets = sockets(passed, &name, &log, files.server.backlog, &directories.run)?;
        let (admin_file, socket_files) = (sockets.admin_file, sockets.files);
        create_directory(&directories.logs)?;
        create_directory(&directories.state)?;
        let guard = Guard::open(&directories.state, &name)
            .map_err(|error| StartError::new(Exit::IoErr, format!("can't open the state: {error}")))?;
        guard.share_limits(files.server.rate_limiter_redis_storage.as_ref());
        let guard = Arc::new(guard);
        let places = Places {
            log_dir: directories.logs.clone(),
            state_path: state_file(&directories.state, &name, "state"),
        };
        let (store, committer) = store::open(&log, &places, WRITE_QUEUE_BYTES)
            .map_err(|error| StartError::new(Exit::CantCreate, format!("can't open the log: {error}")))?;
        let policy = Policy::new(&name, log, files.clone());
        let app = App::new(name.clone(), store, Arc::clone(&guard), policy, sockets.addresses);
        let access_log = AccessLog::new(directories.logs.join(name.access_log_file()));
        let app = Arc::new(app.with_access_log(access_log));
        app.identify(identity.map(Arc::new));
        let listeners = Arc::new(Listeners::new(Arc::clone(&app)));
        let workers = Workers::start(files.http.workers.get() - 1, &listeners, &sockets.sockets)?;
        sockets.sockets.into_iter().for_each(|socket| listeners.serve(socket));
        sockets.others.into_iter().for_each(|socket| listen::serve(&listeners, socket));
        let saver = tokio::spawn(async move { guard.persist().await });
        let reported = Arc::clone(&app);
        let reporter = tokio::spawn(async move { reported.report_refusals().await });
        let (config_dir, state_dir) = (directories.config.clone(), directories.state.clone());
        let reloader = Reloader::new(directories, Arc::clone(&app), notifier.clone(), by_systemd, refused);
        let instance = Self {
            name,
            config_dir,
            state_dir,
            app,
            listeners,
            workers,
            committer,
            saver,
            reporter,
            notifier,
            admin_file,
            socket_files,
        };
        Ok((instance, reloader))
    }

    /// Reports the instance ready and handles signals until it must stop.
    async fn run(
        &self,
        reloader: Reloader,
        program: Program,
        signals: &mut (impl Stream<Item = Signal> + Unpin),
        pending: Vec<Signal>,
    ) -> ExitReason {
        event!(info, STARTED; "serving {} on {}", self.name.as_str(), self.app.addresses().join(", "));
        self.notifier.ready(&reloader.status());
        // A reload may wait for a disk. In a separate task it delays neither signals nor the
        // watchdog.
        let (commands, received) = mpsc::unbounded_channel();
        let reloader = tokio::spawn(reloader.run(received));
        pending.into_iter().for_each(|signal| forward(&commands, signal));
        let mut watchdog = self.notifier.watchdog_interval().map(interval);
        let mut outdated = pin!(program_update::outdated(program, Arc::clone(&self.app)));
        let reason = loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Some(Signal::Stop) | None => break ExitReason::Stopped,
                    Some(signal) => forward(&commands, signal),
                },
                () = &mut outdated => break ExitReason::Outdated,
                () = tick(&mut watchdog) => {
                    if self.workers.all_responsive() {
                        self.notifier.watchdog();
                    }
                }
            }
        };
        reloader.abort();
        reason
    }

    /// Drains the connections, writes everything to the disk and runs the exit hooks.
    async fn close(self, signals: &mut (impl Stream<Item = Signal> + Unpin)) -> Result<(), StartError> {
        let Self {
            name,
            config_dir,
            state_dir,
            app,
            listeners,
            workers,
            committer,
            saver,
            reporter,
            notifier,
            admin_file,
            socket_files,
        } = self;
        let drain_timeout = app.policy().files.http.graceful_shutdown_timeout;
        notifier.stopping();
        notifier.extend_timeout(drain_timeout + CLOSE_TIMEOUT);
        event!(info, STOPPING; "stopping: {} connections are open", listeners.open());
        let mut ignored = Vec::new();
        let cut = tokio::select! {
            cut = listeners.stop(drain_timeout) => cut,
            // A second signal to stop ends the wait for clients.
            () = stop_signal(signals, &mut ignored) => listeners.open(),
        };
        if cut > 0 {
            log::warn!("{cut} connections were cut after graceful_shutdown_timeout");
        }
        drop((admin_file, socket_files));
        workers.end();
        let guard = Arc::clone(&app.guard);
        drop(tokio::task::spawn_blocking(move || restore_state(&state_dir, &guard)).await);
        let closed = app.store.close().await;
        let access_log = Arc::clone(&app);
        let close_access_log = move || access_log.close_access_log(ACCESS_LOG_CLOSE_TIMEOUT);
        drop(tokio::task::spawn_blocking(close_access_log).await);
        // The committer ends when the store is closed.
        drop(committer.await);
        saver.abort();
        reporter.abort();
        let reported = Arc::clone(&app);
        drop(tokio::task::spawn_blocking(move || reported.report_last_refusals()).await);
        if let Err(error) = app.guard.persist_now() {
            log::error!("can't save the blocked addresses: {error}");
        }
        let run_exit_hooks = move || hooks::run_atexit(&config_dir, name.as_str());
        // A failing exit hook is logged and has no other effect.
        drop(tokio::task::spawn_blocking(run_exit_hooks).await);
        event!(info, STOPPED; "stopped");
        closed.map_err(|error| StartError::new(Exit::IoErr, error.to_string()))
    }
}

/// Warns if `TZ` names no time zone. Times are then in UTC, which looks like a wrong clock.
fn warn_of_unknown_zone() {
    // Without the variable, the zone is read later, so that clients can connect earlier.
    if let Some(wanted) = std::env::var_os("TZ").filter(|zone| !zone.is_empty())
        && let Err(error) = jiff::tz::TimeZone::try_system()
    {
        let wanted = wanted.to_string_lossy();
        log::warn!("the time zone {wanted:?} of $TZ is unknown ({error}): times are in UTC");
    }
}

async fn run_startup_hooks(directories: &Directories, name: &LogName) -> Result<(), StartError> {
    let (directory, name) = (directories.config.clone(), name.clone());
    let ran = tokio::task::spawn_blocking(move || hooks::run_startup(&directory, name.as_str())).await;
    match ran {
        Ok(outcome) => outcome.map_err(|error| StartError::new(Exit::Unavailable, error.to_string())),
        Err(error) => Err(StartError::new(Exit::Software, error.to_string())),
    }
}

/// Hands a signal to the task of the reloader.
fn forward(commands: &mpsc::UnboundedSender<Signal>, signal: Signal) {
    if commands.send(signal).is_err() {
        log::error!("the signal {signal:?} is ignored: the task that reloads has ended");
    }
}

/// Waits for a signal to stop, and adds other signals to `pending`.
async fn stop_signal(signals: &mut (impl Stream<Item = Signal> + Unpin), pending: &mut Vec<Signal>) {
    while let Some(signal) = signals.next().await {
        match signal {
            Signal::Stop => return,
            other => pending.push(other),
        }
    }
    std::future::pending::<()>().await;
}

async fn tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}
