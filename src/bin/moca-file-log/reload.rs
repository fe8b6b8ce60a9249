//! Reloads the configuration and reports the result to systemd and the journal. A change takes
//! effect as a whole or not at all.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use moca_file_log::config::{self, Files, Finding, Listen, Loaded, LogEntry, Tls, Watcher};
use moca_file_log::event;
use moca_file_log::guard::Guard;
use moca_file_log::http::{App, Policy};
use moca_file_log::net;
use moca_file_log::net::certificate::Identity;
use moca_file_log::systemd::{Notifier, Signal, journal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::last_good;
use crate::startup::Directories;

/// Interval at which the status that systemd shows is updated.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Maximum time that a check of the saved state may take.
const STATE_CHECK_TIMEOUT: Duration = Duration::from_millis(500);

/// Grace period between the writes of a renewed certificate and of its key.
const CERTIFICATE_SETTLE_TIME: Duration = Duration::from_millis(300);

/// Reloads the configuration of an instance and shows its status.
pub(crate) struct Reloader {
    directories: Directories,
    app: Arc<App>,
    notifier: Notifier,
    /// The reason why the current files are not in force; `None` if they are.
    refused: Option<String>,
    /// Whether systemd holds the sockets. Then valid files are kept for a start with invalid ones.
    by_systemd: bool,
    /// The paths of certificate and key: those of the current files, or those in force if the
    /// current files are invalid.
    pair: Option<Tls>,
    /// The status that systemd shows.
    shown: String,
}

impl Reloader {
    /// Creates the reloader. `refused` is the reason if the instance started with the kept files.
    pub(crate) fn new(
        directories: Directories,
        app: Arc<App>,
        notifier: Notifier,
        by_systemd: bool,
        refused: Option<String>,
    ) -> Self {
        if let Some(why) = &refused {
            event!(error, START_WITH_LAST_GOOD; "the last good configuration is in force: {why}");
            app.instance_state.reload_refused.store(Some(Arc::new(why.clone())));
        }
        let pair = app.policy().files.server.tls.clone();
        Self { directories, app, notifier, refused, by_systemd, pair, shown: String::new() }
    }

    /// Handles signals and changed files and shows the status, one after the other, until the
    /// sender of the signals is dropped.
    pub(crate) async fn run(mut self, mut signals: mpsc::UnboundedReceiver<Signal>) {
        let directory = &self.directories.config;
        let watcher = Watcher::new(directory).inspect_err(|error| {
            log::error!("can't watch {}: {error}; reload by SIGHUP", directory.display());
        });
        let mut watcher = watcher.ok();
        let mut status = interval(STATUS_INTERVAL);
        status.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The files may have changed after they were read and before the watcher started.
        self.reload().await;
        if self.refused.is_none() {
            self.keep_files().await;
        }
        loop {
            if let Some(watcher) = &mut watcher {
                let pair = self.pair.iter();
                watcher.watch_files(pair.flat_map(|pair| [pair.cert.as_path(), pair.key.as_path()]));
            }
            tokio::select! {
                signal = signals.recv() => match signal {
                    Some(Signal::Reload) => self.reload().await,
                    Some(Signal::MaintenanceOn) => self.set_maintenance(true).await,
                    Some(Signal::MaintenanceOff) => self.set_maintenance(false).await,
                    Some(Signal::Stop) | None => return,
                },
                () = changed(&mut watcher) => self.reload().await,
                _ = status.tick() => {
                    self.keep_state_directory().await;
                    self.check_store_state().await;
                    self.show_status();
                }
            }
        }
    }

    /// Reads all files and puts them into force. With any error, the last valid ones stay in force.
    async fn reload(&mut self) {
        let directory = self.directories.config.clone();
        let in_force = self.app.policy().files.server.tls.clone();
        let read = tokio::task::spawn_blocking(move || read(&directory, in_force)).await;
        if let Ok(read) = &read {
            self.pair.clone_from(&read.pair);
        }
        let outcome = match read {
            // Most changes in the directory do not change the configuration.
            Ok(ReadFiles { files: Ok(loaded), identity: Ok(identity), .. })
                if self.refused.is_none()
                    && loaded.files == self.app.policy().files
                    && identity.as_ref() == self.app.identity().as_deref() =>
            {
                return;
            }
            Ok(ReadFiles { files: Ok(loaded), identity: Ok(identity), .. }) => {
                self.notifier.reloading();
                let outcome = self.put_into_force(loaded.files, &loaded.warnings).await;
                if outcome.is_ok() {
                    self.set_identity(identity);
                }
                outcome
            }
            Ok(ReadFiles { files: Ok(_), identity: Err(finding), .. }) => Err(vec![finding.to_string()]),
            Ok(ReadFiles { files: Err(findings), identity, .. }) => {
                // A renewed certificate takes effect even while another file is invalid, since the
                // old one may be about to expire.
                if let Ok(identity) = identity {
                    self.set_identity(identity);
                }
                Err(findings.iter().map(ToString::to_string).collect())
            }
            Err(error) => Err(vec![error.to_string()]),
        };
        let refused = outcome.err().map(|lines| lines.join("; "));
        if refused.is_none() {
            self.keep_files().await;
        }
        if let Some(why) = &refused
            && self.refused != refused
        {
            event!(error, RELOAD_REFUSED; "the last good configuration stays in force: {why}");
        }
        self.app.instance_state.reload_refused.store(refused.clone().map(Arc::new));
        self.refused = refused;
        self.shown = self.status();
        self.notifier.ready(&self.shown);
    }

    /// Sets the certificate of new connections; `None` means plain HTTP.
    fn set_identity(&self, identity: Option<Identity>) {
        let before = self.app.identity();
        if identity.as_ref() == before.as_deref() {
            return;
        }
        let change = match (&before, &identity) {
            (Some(_), Some(_)) => "another certificate is in force",
            (None, _) => "new connections speak HTTPS",
            (Some(_), None) => "new connections speak plain HTTP",
        };
        self.app.identify(identity.map(Arc::new));
        event!(info, CERTIFICATES_RELOADED; "{change}");
    }

    /// Keeps a copy of the files for a start with invalid ones.
    async fn keep_files(&self) {
        if !self.by_systemd {
            return;
        }
        let (directories, name) = (self.directories.clone(), self.app.name.clone());
        let keep = move || last_good::keep(&directories.state, &name, &directories.config);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(keep).await {
            log::warn!("can't keep the configuration for a start with invalid files: {error}");
        }
    }

    /// Applies `files` to the running instance.
    ///
    /// # Errors
    /// Returns the reasons if the log cannot be opened with the new settings. Then nothing changes.
    async fn put_into_force(&self, files: Files, warnings: &[Finding]) -> Result<(), Vec<String>> {
        let now = self.app.policy();
        if files == now.files {
            if self.refused.is_some() {
                event!(info, RELOADED; "the configuration is as it was before");
            }
            return Ok(());
        }
        if files.http.workers != now.files.http.workers {
            log::warn!("http.toml: workers: the new number of threads takes effect after a restart");
        }
        let log = self.entry(&files, &now.log);
        let outcome = self.app.store.reconfigure(&log).await;
        outcome.map_err(|error| vec![format!("log.json: {}: {error}", log.file.display())])?;
        for warning in warnings {
            log::warn!("{warning}");
        }
        journal::set_level(journal::level_filter(files.server.log_level));
        self.app.guard.share_limits(files.server.rate_limiter_redis_storage.as_ref());
        self.app.apply(Policy::new(&self.app.name, log, files));
        event!(info, RELOADED; "the changed configuration is in force");
        Ok(())
    }

    /// Returns the entry of this log with its current address. `mocactl apply` changes the address
    /// and stops the instance, since systemd holds the sockets.
    fn entry(&self, files: &Files, now: &LogEntry) -> LogEntry {
        let name = self.app.name.as_str();
        let Some(entry) = files.logs.get(&self.app.name).filter(|entry| entry.status) else {
            log::warn!("log.json: {name} was removed or switched off: it is served until it is stopped");
            return now.clone();
        };
        if (&entry.host, entry.port, entry.use_ipv6) != (&now.host, now.port, now.use_ipv6) {
            log::warn!("log.json: {name} has a new address: it takes effect after a restart");
        }
        let listen = self.listen(&entry.listen, &now.listen);
        LogEntry { host: now.host.clone(), port: now.port, use_ipv6: now.use_ipv6, listen, ..entry.clone() }
    }

    /// Returns the other sockets that are open, with their new keys.
    fn listen(&self, new: &[Listen], now: &[Listen]) -> Vec<Listen> {
        let has = |all: &[Listen], one: &Listen| all.iter().any(|other| other.is_same_socket(one));
        if !(now.iter().all(|one| has(new, one)) && new.iter().all(|one| has(now, one))) {
            let name = self.app.name.as_str();
            log::warn!("log.json: {name} has other sockets in `listen`: they take effect after a restart");
        }
        let newest = |one: &Listen| new.iter().find(|other| other.is_same_socket(one)).unwrap_or(one).clone();
        now.iter().map(newest).collect()
    }

    /// Switches maintenance on or off. The state is kept across restarts.
    async fn set_maintenance(&mut self, on: bool) {
        let guard = Arc::clone(&self.app.guard);
        let outcome = tokio::task::spawn_blocking(move || guard.maintenance().set_by_signal(on)).await;
        if let Ok(Err(error)) = outcome {
            log::error!("can't save the state of maintenance, a restart will lose it: {error}");
        }
        self.show_status();
    }

    /// Makes the state directory again if another program removed it, with the state that this
    /// process remembers.
    async fn keep_state_directory(&self) {
        let (directory, guard) = (self.directories.state.clone(), Arc::clone(&self.app.guard));
        let restored = tokio::task::spawn_blocking(move || restore_state(&directory, &guard)).await;
        if matches!(restored, Ok(true)) && self.refused.is_none() {
            self.keep_files().await;
        }
    }

    /// Lets the store save its state again if another program removed it. A disk that hangs delays
    /// nothing else.
    async fn check_store_state(&self) {
        // The store logs the error, and metrics show it.
        drop(tokio::time::timeout(STATE_CHECK_TIMEOUT, self.app.store.check_state()).await);
    }

    /// Sends the status to systemd if it has changed.
    fn show_status(&mut self) {
        let status = self.status();
        if status != self.shown {
            self.notifier.status(&status);
            self.shown = status;
        }
    }

    /// Returns the status line for `systemctl status`.
    pub(crate) fn status(&self) -> String {
        let policy = self.app.policy();
        let mut text = format!("{} records stored", self.app.store.stored());
        if self.app.guard.maintenance().is_on(policy.rules()) {
            text.push_str("; in maintenance: requests are answered 503");
        }
        if let Some(error) = self.app.store.failure() {
            text.push_str(&format!("; no records can be stored: {error}"));
        }
        if let Some(why) = &self.refused {
            text.push_str("; configuration refused, the last good one is in force: ");
            text.push_str(why);
        }
        text
    }
}

/// Saves the state of the guard again if another program removed or replaced the state directory.
/// Returns whether it did. Blocks.
pub(crate) fn restore_state(directory: &Path, guard: &Guard) -> bool {
    guard.check_state().unwrap_or_else(|error| {
        let shown = directory.display();
        log::error!("the state cannot be written to {shown}, a restart will lose it: {error}");
        true
    })
}

/// The files of the configuration directory, and the certificate that they name.
struct ReadFiles {
    files: Result<Loaded, Vec<Finding>>,
    pair: Option<Tls>,
    identity: Result<Option<Identity>, Finding>,
}

/// Reads all files and the certificate. If the files are invalid, the certificate is the one of the
/// configuration in force.
fn read(directory: &Path, in_force: Option<Tls>) -> ReadFiles {
    let files = config::load(directory);
    let pair = files.as_ref().map_or(in_force, |loaded| loaded.files.server.tls.clone());
    let load = |pair| {
        net::certificate::load(pair, directory).or_else(|_| {
            // Certificate and key cannot be replaced in one step, so the second may come later.
            std::thread::sleep(CERTIFICATE_SETTLE_TIME);
            net::certificate::load(pair, directory)
        })
    };
    let identity = pair.as_ref().map(load).transpose();
    ReadFiles { files, pair, identity }
}

/// Waits for a change of the configuration. Without a watcher, the future never completes.
async fn changed(watcher: &mut Option<Watcher>) {
    match watcher {
        Some(watcher) => watcher.changed().await,
        None => std::future::pending().await,
    }
}
