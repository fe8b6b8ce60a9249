//! Reloading: a changed configuration comes into force as a whole or not at all, and what is in force is told to
//! systemd and the journal.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use moca_file_log::config::{self, Files, Finding, Loaded, LogEntry, Tls, Watcher};
use moca_file_log::event;
use moca_file_log::http::{App, Policy};
use moca_file_log::net;
use moca_file_log::net::certificate::Identity;
use moca_file_log::store::Settings;
use moca_file_log::systemd::{Notifier, Signal, journal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::certificate::CertificateWatcher;
use crate::last_good;
use crate::startup::Directories;

/// How often the status that systemd shows is brought up to date.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// How long who renews a certificate may take from its one file to the other.
const CERTIFICATE_SETTLE_TIME: Duration = Duration::from_millis(300);

/// Keeps an instance in step with its files.
pub(crate) struct Reloader {
    directories: Directories,
    app: Arc<App>,
    notifier: Notifier,
    /// why the files as they are now are not in force
    refused: Option<String>,
    /// systemd holds the sockets, so that what is in force is kept for a start with broken files
    by_systemd: bool,
    /// where certificate and key should be: by the files as they are, or in force where those are broken
    pair: Option<Tls>,
    shown: String,
}

impl Reloader {
    /// `refused`: why the instance began with the files that were in force last.
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

    /// Obeys orders, notices changed files and shows the status, one thing after the other, for ever.
    pub(crate) async fn keep(mut self, mut orders: mpsc::UnboundedReceiver<Signal>) {
        let directory = &self.directories.config;
        let watcher = Watcher::new(directory).inspect_err(|error| {
            log::error!("can't watch {}: {error}; reload by SIGHUP", directory.display());
        });
        let mut watcher = watcher.ok();
        let mut certificates = CertificateWatcher::of(&self.directories.config);
        let mut status = interval(STATUS_INTERVAL);
        status.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What changed between reading the files and watching them.
        self.reload().await;
        if self.refused.is_none() {
            self.keep_files().await;
        }
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Signal::Reload) => self.reload().await,
                    Some(Signal::MaintenanceOn) => self.maintenance(true).await,
                    Some(Signal::MaintenanceOff) => self.maintenance(false).await,
                    Some(Signal::Stop) | None => return,
                },
                () = changed(&mut watcher) => self.reload().await,
                () = certificates.noticed(self.pair.as_ref()) => self.reload().await,
                _ = status.tick() => self.show_status(),
            }
        }
    }

    /// Reads all files and puts them into force; on any finding the last good ones stay.
    async fn reload(&mut self) {
        let directory = self.directories.config.clone();
        let in_force = self.app.policy().files.server.tls.clone();
        let read = tokio::task::spawn_blocking(move || read(&directory, in_force)).await;
        if let Ok(read) = &read {
            self.pair.clone_from(&read.pair);
        }
        let outcome = match read {
            // Most changes in the directory are none of the configuration.
            Ok(Read { files: Ok(loaded), identity: Ok(identity), .. })
                if self.refused.is_none()
                    && loaded.files == self.app.policy().files
                    && identity.as_ref() == self.app.identity().as_deref() =>
            {
                return;
            }
            Ok(Read { files: Ok(loaded), identity: Ok(identity), .. }) => {
                self.notifier.reloading();
                let outcome = self.put_into_force(loaded.files, &loaded.warnings).await;
                if outcome.is_ok() {
                    self.identify(identity);
                }
                outcome
            }
            Ok(Read { files: Ok(_), identity: Err(finding), .. }) => Err(vec![finding.to_string()]),
            Ok(Read { files: Err(findings), identity, .. }) => {
                // A certificate that is about to expire does not wait for the repair of another file.
                if let Ok(identity) = identity {
                    self.identify(identity);
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

    /// Speaks TLS as `identity` from the next connection on, or no more.
    fn identify(&self, identity: Option<Identity>) {
        let before = self.app.identity();
        if identity.as_ref() == before.as_deref() {
            return;
        }
        let said = match (&before, &identity) {
            (Some(_), Some(_)) => "another certificate is in force",
            (None, _) => "new connections speak HTTPS",
            (Some(_), None) => "new connections speak plain HTTP",
        };
        self.app.identify(identity.map(Arc::new));
        event!(info, CERTIFICATES_RELOADED; "{said}");
    }

    /// Keeps the files for a start with broken ones.
    async fn keep_files(&self) {
        if !self.by_systemd {
            return;
        }
        let (directories, name) = (self.directories.clone(), self.app.name.clone());
        let keep = move || last_good::keep(&directories.state, &name, &directories.config);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(keep).await {
            log::warn!("can't keep the configuration for a start with broken files: {error}");
        }
    }

    async fn put_into_force(&self, files: Files, warnings: &[Finding]) -> Result<(), Vec<String>> {
        let now = self.app.policy();
        if files == now.files {
            if self.refused.is_some() {
                event!(info, RELOADED; "the configuration is as it was before");
            }
            return Ok(());
        }
        if files.http.workers != now.files.http.workers {
            log::warn!("http.toml: workers: as many threads serve after a restart");
        }
        let log = self.entry(&files, &now.log);
        let settings = |log: &LogEntry| Settings {
            path: self.directories.logs.join(&log.file),
            format: log.format,
            durability: log.durability,
            rotate: log.rotate.clone(),
        };
        if settings(&log) != settings(&now.log) {
            let outcome = self.app.store.reconfigure(settings(&log)).await;
            outcome.map_err(|error| vec![format!("log.json: {}: {error}", log.file.display())])?;
        }
        for warning in warnings {
            log::warn!("{warning}");
        }
        journal::set_level(journal::level_filter(files.server.log_level));
        self.app.guard.share_limits(files.server.rate_limiter_redis_storage.as_ref());
        self.app.apply(Policy::new(&self.app.name, log, files));
        event!(info, RELOADED; "the changed configuration is in force");
        Ok(())
    }

    /// This log's entry. What decides whether and where it listens is systemd's: it stays until `mocactl apply`.
    fn entry(&self, files: &Files, now: &LogEntry) -> LogEntry {
        let name = self.app.name.as_str();
        let Some(entry) = files.logs.get(&self.app.name).filter(|entry| entry.status) else {
            log::warn!("log.json: {name} was removed or switched off: served until it is stopped");
            return now.clone();
        };
        if (&entry.host, entry.port, entry.use_ipv6) != (&now.host, now.port, now.use_ipv6) {
            log::warn!("log.json: {name} has another address now: it is served there after a restart");
        }
        LogEntry { host: now.host.clone(), port: now.port, use_ipv6: now.use_ipv6, ..entry.clone() }
    }

    /// Maintenance by signal, kept across restarts.
    async fn maintenance(&mut self, on: bool) {
        let guard = Arc::clone(&self.app.guard);
        let outcome = tokio::task::spawn_blocking(move || guard.maintenance().set_by_signal(on)).await;
        if let Ok(Err(error)) = outcome {
            log::error!("maintenance will not outlive a restart: {error}");
        }
        self.show_status();
    }

    /// Tells systemd the status when it changed.
    fn show_status(&mut self) {
        let status = self.status();
        if status != self.shown {
            self.notifier.status(&status);
            self.shown = status;
        }
    }

    /// One line for `systemctl status`.
    pub(crate) fn status(&self) -> String {
        let policy = self.app.policy();
        let mut text = format!("{} records stored", self.app.store.stored());
        if self.app.guard.maintenance().is_on(policy.rules()) {
            text.push_str("; in maintenance: requests are answered 503");
        }
        if let Some(why) = &self.refused {
            text.push_str("; configuration refused, the last good one is in force: ");
            text.push_str(why);
        }
        text
    }
}

/// The files of the directory, and the certificate that goes with them.
struct Read {
    files: Result<Loaded, Vec<Finding>>,
    pair: Option<Tls>,
    identity: Result<Option<Identity>, Finding>,
}

/// Reads everything anew. Where the files are broken, the certificate is the one of the configuration
/// in force.
fn read(directory: &Path, in_force: Option<Tls>) -> Read {
    let files = config::load(directory);
    let pair = files.as_ref().map_or(in_force, |loaded| loaded.files.server.tls.clone());
    let load = |pair| {
        net::certificate::load(pair, directory).or_else(|_| {
            // Two files can't be replaced in one step: somebody may be between the two.
            std::thread::sleep(CERTIFICATE_SETTLE_TIME);
            net::certificate::load(pair, directory)
        })
    };
    let identity = pair.as_ref().map(load).transpose();
    Read { files, pair, identity }
}

async fn changed(watcher: &mut Option<Watcher>) {
    let Some(watched) = watcher else { return std::future::pending().await };
    if let Err(error) = watched.changed().await {
        log::error!("can't watch the configuration any more: {error}; reload by SIGHUP");
        *watcher = None;
    }
}
