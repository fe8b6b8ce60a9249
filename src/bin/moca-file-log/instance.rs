//! The life of an instance: open, say ready, obey signals and changed files, drain, close.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use moca_file_log::config::LogName;
use moca_file_log::event;
use moca_file_log::exit::Exit;
use moca_file_log::guard::{Guard, state_file};
use moca_file_log::hooks;
use moca_file_log::http::{AccessLog, App, Listeners, Policy};
use moca_file_log::store::{FileStore, LogStore, Settings};
use moca_file_log::systemd::{self, Notifier, Signal, journal};
use tokio::sync::mpsc;
use tokio::time::interval;

use crate::failure::StartError;
use crate::program_update;
use crate::reload::Reloader;
use crate::sockets::sockets;
use crate::startup::{Configured, Directories, Startup, create_directory, load};
use crate::workers::Workers;

/// Lines that wait for the disk, in bytes. As many are on their way to it meanwhile.
const WRITE_QUEUE_BYTES: usize = 2 * 1024 * 1024;

/// How long a stop waits for a disk to take the rest of the access log.
const ACCESS_LOG_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an instance has stopped.
pub(crate) enum ExitReason {
    /// it was told to
    Stopped,
    /// the installed program is another one (`auto_reload`)
    Outdated,
}

/// Serves until a signal ends it.
pub(crate) async fn serve(start: Startup) -> Result<ExitReason, StartError> {
    let notifier = Notifier::from_env();
    // Handlers first: before they are in place, a maintenance signal would kill the process.
    let mut signals = systemd::listen()
        .map_err(|error| StartError::new(Exit::OsErr, format!("can't listen to signals: {error}")))?;
    // What is ordered while the hooks run is done after them, but for the order to stop.
    let mut early = Vec::new();
    tokio::select! {
        outcome = startup_hooks(&start.directories, &start.name) => outcome?,
        () = stop(&mut signals, &mut early) => return Ok(ExitReason::Stopped),
    }
    // Read after the hooks: to prepare the configuration is what many of them are for.
    let Configured { log, files, warnings, identity, refused } = load(&start)?;
    let Startup { name, directories, program, passed } = start;
    let by_systemd = !passed.is_empty();
    journal::set_level(journal::level_filter(files.server.log_level));
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
    // The port before the files: a second process of the same log must not touch them.
    let sockets = sockets(passed, &log, files.server.backlog)?;
    create_directory(&directories.logs)?;
    create_directory(&directories.state)?;
    let guard = Guard::open(&directories.state, &name)
        .map_err(|error| StartError::new(Exit::IoErr, format!("can't open the state: {error}")))?;
    guard.share_limits(files.server.rate_limiter_redis_storage.as_ref());
    let guard = Arc::new(guard);
    let settings = Settings {
        path: directories.logs.join(&log.file),
        format: log.format,
        durability: log.durability,
        rotate: log.rotate.clone(),
    };
    let state_path = state_file(&directories.state, &name, "state");
    let (store, committer) = FileStore::open(&settings, &state_path, WRITE_QUEUE_BYTES)
        .map_err(|error| StartError::new(Exit::CantCreate, format!("can't open the log: {error}")))?;
    let committer = tokio::spawn(committer);
    let store: Arc<dyn LogStore> = Arc::new(store);
    let app = App::new(
        name.clone(),
        Arc::clone(&store),
        Arc::clone(&guard),
        Policy::new(&name, log, files.clone()),
        sockets.shown,
    );
    let app = Arc::new(app.with_access_log(AccessLog::new(directories.logs.join(name.access_log_file()))));
    app.identify(identity.map(Arc::new));
    let listeners = Arc::new(Listeners::new(Arc::clone(&app)));
    let workers = Workers::start(files.http.workers.get() - 1, &listeners, &sockets.sockets)?;
    sockets.sockets.into_iter().for_each(|socket| listeners.serve(socket));
    let persisting = tokio::spawn({
        let guard = Arc::clone(&guard);
        async move { guard.persist().await }
    });
    let config_dir = directories.config.clone();
    let reloader = Reloader::new(directories, Arc::clone(&app), notifier.clone(), by_systemd, refused);
    event!(info, STARTED; "serving {} on {}", name.as_str(), app.addresses().join(", "));
    notifier.ready(&reloader.status());
    // A task of its own: however long a reload waits for a disk, signals are obeyed and the watchdog is fed.
    let (orders, received) = mpsc::unbounded_channel();
    let keeper = tokio::spawn(reloader.keep(received));
    for order in early.drain(..) {
        obey(&orders, order);
    }
    let mut watchdog = notifier.watchdog_interval().map(interval);
    let mut outdated = pin!(program_update::outdated(program, Arc::clone(&app)));
    let ended = loop {
        let order = tokio::select! {
            signal = signals.next() => match signal {
                Some(Signal::Stop) | None => break ExitReason::Stopped,
                Some(signal) => signal,
            },
            () = &mut outdated => break ExitReason::Outdated,
            () = tick(&mut watchdog) => {
                if workers.all_responsive() {
                    notifier.watchdog();
                }
                continue;
            }
        };
        obey(&orders, order);
    };
    keeper.abort();

    let patience = app.policy().files.http.graceful_shutdown_timeout;
    notifier.stopping();
    notifier.extend_timeout(patience + Duration::from_secs(10));
    event!(info, STOPPING; "stopping: {} connections are open", listeners.open());
    let cut = tokio::select! {
        cut = listeners.stop(patience) => cut,
        // Asked twice, it does not wait for clients any more.
        () = stop(&mut signals, &mut early) => listeners.open(),
    };
    if cut > 0 {
        log::warn!("{cut} connections were cut after graceful_shutdown_timeout");
    }
    workers.end();
    let closed = store.close().await;
    let access_log = Arc::clone(&app);
    drop(tokio::task::spawn_blocking(move || access_log.close_access_log(ACCESS_LOG_CLOSE_TIMEOUT)).await);
    // It ends with the store.
    drop(committer.await);
    persisting.abort();
    if let Err(error) = guard.persist_now() {
        log::error!("can't keep the blocked addresses: {error}");
    }
    let atexit = move || hooks::run_atexit(&config_dir, name.as_str());
    // Their failure is logged; it changes nothing any more.
    drop(tokio::task::spawn_blocking(atexit).await);
    event!(info, STOPPED; "stopped");
    closed.map_err(|error| StartError::new(Exit::IoErr, error.to_string()))?;
    Ok(ended)
}

async fn startup_hooks(directories: &Directories, name: &LogName) -> Result<(), StartError> {
    let (directory, name) = (directories.config.clone(), name.clone());
    let ran = tokio::task::spawn_blocking(move || hooks::run_startup(&directory, name.as_str())).await;
    match ran {
        Ok(outcome) => outcome.map_err(|error| StartError::new(Exit::Unavailable, error.to_string())),
        Err(error) => Err(StartError::new(Exit::Software, error.to_string())),
    }
}

fn obey(orders: &mpsc::UnboundedSender<Signal>, order: Signal) {
    if orders.send(order).is_err() {
        log::error!("{order:?} can't be obeyed: the task that reloads has ended");
    }
}

/// Waits for the order to stop; others are put down in `early`.
async fn stop(signals: &mut (impl futures_util::Stream<Item = Signal> + Unpin), early: &mut Vec<Signal>) {
    while let Some(signal) = signals.next().await {
        match signal {
            Signal::Stop => return,
            other => early.push(other),
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
