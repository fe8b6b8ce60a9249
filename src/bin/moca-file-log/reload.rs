//! Reloading: a changed configuration comes into force as a whole or not at all, and what is in force is told to
//! systemd and the journal.

use std::sync::Arc;
use std::time::Duration;

use moca_file_log::config::{self, Files, Finding, LogEntry, Watcher};
use moca_file_log::event;
use moca_file_log::http::App;
use moca_file_log::store::Settings;
use moca_file_log::systemd::{Notifier, Signal, journal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::{Places, last_good, policy};

/// How often the status that systemd shows is brought up to date.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// Keeps an instance in step with its files.
pub(crate) struct Reloader {
    places: Places,
    app: Arc<App>,
    notifier: Notifier,
    /// why the files as they are now are not in force
    refused: Option<String>,
    /// systemd holds the sockets, so that what is in force is kept for a start with broken files
    by_systemd: bool,
    shown: String,
}

impl Reloader {
    /// `refused`: why the instance began with the files that were in force last.
    pub(crate) fn new(
        places: Places,
        app: Arc<App>,
        notifier: Notifier,
        by_systemd: bool,
        refused: Option<String>,
    ) -> Self {
        if let Some(why) = &refused {
            event!(error, START_WITH_LAST_GOOD; "the last good configuration is in force: {why}");
            app.vitals.reload_refused.store(Some(Arc::new(why.clone())));
        }
        Self { places, app, notifier, refused, by_systemd, shown: String::new() }
    }

    /// Obeys orders, notices changed files and shows the status, one thing after the other, for ever.
    pub(crate) async fn keep(mut self, mut orders: mpsc::UnboundedReceiver<Signal>) {
        let directory = &self.places.config;
        let watcher = Watcher::new(directory).inspect_err(|error| {
            log::error!("can't watch {}: {error}; reload by SIGHUP", directory.display());
        });
        let mut watcher = watcher.ok();
        let mut status = interval(STATUS_EVERY);
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
                _ = status.tick() => self.show_status(),
            }
        }
    }

    /// Reads all files and puts them into force; on any finding the last good ones stay.
    async fn reload(&mut self) {
        let directory = self.places.config.clone();
        let outcome = match tokio::task::spawn_blocking(move || config::load(&directory)).await {
            // Most changes in the directory are none of the configuration.
            Ok(Ok(loaded)) if self.refused.is_none() && loaded.files == self.app.policy().files => return,
            Ok(Ok(loaded)) => {
                self.notifier.reloading();
                self.put_into_force(loaded.files, &loaded.warnings).await
            }
            Ok(Err(findings)) => Err(findings.iter().map(ToString::to_string).collect()),
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
        self.app.vitals.reload_refused.store(refused.clone().map(Arc::new));
        self.refused = refused;
        self.shown = self.status();
        self.notifier.ready(&self.shown);
    }

    /// Keeps the files for a start with broken ones.
    async fn keep_files(&self) {
        if !self.by_systemd {
            return;
        }
        let (places, name) = (self.places.clone(), self.app.name.clone());
        let keep = move || last_good::keep(&places.state, &name, &places.config);
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
        if files.server.tls.is_some() {
            return Err(vec!["server.json: ssl: this version does not serve HTTPS".into()]);
        }
        if files.http.workers != now.files.http.workers {
            log::warn!("http.toml: workers: as many threads serve after a restart");
        }
        let log = self.entry(&files, &now.log);
        let settings = |log: &LogEntry| Settings {
            path: self.places.logs.join(&log.file),
            format: log.format,
            durability: log.durability,
        };
        if settings(&log) != settings(&now.log) {
            let outcome = self.app.store.reconfigure(settings(&log)).await;
            outcome.map_err(|error| vec![format!("log.json: {}: {error}", log.file.display())])?;
        }
        for warning in warnings.iter().chain(&config::not_in_force(&log, &files)) {
            log::warn!("{warning}");
        }
        journal::set_level(journal::level_filter(files.server.log_level));
        self.app.guard.share_limits(files.server.rate_limiter_redis_storage.as_ref());
        self.app.apply(policy(&self.app.name, &log, &files));
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

async fn changed(watcher: &mut Option<Watcher>) {
    let Some(watched) = watcher else { return std::future::pending().await };
    if let Err(error) = watched.changed().await {
        log::error!("can't watch the configuration any more: {error}; reload by SIGHUP");
        *watcher = None;
    }
}
