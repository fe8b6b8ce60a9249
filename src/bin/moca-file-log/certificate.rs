//! Notices that the certificate or its key was replaced, wherever they lie.
//!
//! Their stamps are looked at twice a second rather than watched by inotify: they may lie in folders that the service
//! may pass through but not list, such as `/etc/ssl/private`, or on a network file system, and there inotify is silent
//! about everything.

use std::path::{Path, PathBuf};
use std::time::Duration;

use moca_file_log::config::Tls;
use moca_file_log::net;
use moca_file_log::net::certificate::Stamp;
use tokio::time::sleep;

const CHECK_INTERVAL: Duration = Duration::from_millis(400);

/// See the module.
pub(crate) struct CertificateWatcher {
    config_dir: PathBuf,
    /// the paths that are looked at, and what was there when they were reported last
    known: Option<(Tls, Option<Stamp>)>,
    /// what was there a moment ago, when that is something else
    new: Option<Stamp>,
}

impl CertificateWatcher {
    /// Nothing was looked at yet.
    pub(crate) fn of(config_dir: &Path) -> Self {
        Self { config_dir: config_dir.to_owned(), known: None, new: None }
    }

    /// Waits until another pair stands at these directories and nobody is at work on it any more: two files can't be replaced
    /// in one step. It may be dropped and called again without losing a change.
    pub(crate) async fn noticed(&mut self, pair: Option<&Tls>) {
        let Some(pair) = pair else {
            self.known = None;
            return std::future::pending().await;
        };
        loop {
            sleep(CHECK_INTERVAL).await;
            let (looked_for, directory) = (pair.clone(), self.config_dir.clone());
            let look = move || net::certificate::stamp(&looked_for, &directory);
            let Ok(stamp) = tokio::task::spawn_blocking(look).await else { continue };
            let reported = match &self.known {
                Some((known_pair, reported)) if known_pair == pair => reported.as_ref(),
                // Read when the configuration came into force; what changed since is noticed by reading again.
                _ => None,
            };
            if reported == Some(&stamp) {
                self.new = None;
            } else if self.new.as_ref() == Some(&stamp) {
                self.known = Some((pair.clone(), self.new.take()));
                return;
            } else {
                self.new = Some(stamp);
            }
        }
    }
}
