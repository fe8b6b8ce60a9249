//! Notices that the certificate or its key was replaced.
//!
//! The watcher compares their stamps about twice a second and does not use inotify. The files may
//! be in a folder that the service may enter but not list, such as `/etc/ssl/private`, or on a
//! network file system. inotify reports nothing there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use moca_file_log::config::Tls;
use moca_file_log::net;
use moca_file_log::net::certificate::Stamp;
use tokio::time::sleep;

/// Interval at which the stamps are compared.
const CHECK_INTERVAL: Duration = Duration::from_millis(400);

/// Watches the files of one certificate and its key.
pub(crate) struct CertificateWatcher {
    config_dir: PathBuf,
    /// The watched paths, and their stamp when a change was reported last.
    known: Option<(Tls, Option<Stamp>)>,
    /// The stamp of the last check, if it differs from the known one.
    new: Option<Stamp>,
}

impl CertificateWatcher {
    /// Creates a watcher that has checked no files yet. Relative paths start at `config_dir`.
    pub(crate) fn new(config_dir: &Path) -> Self {
        Self { config_dir: config_dir.to_owned(), known: None, new: None }
    }

    /// Waits until the files of `pair` have changed and stay the same for two checks, since the two
    /// files cannot be replaced in one step. Without a pair, the future never completes.
    ///
    /// Cancellation safe: the future can be dropped without losing a change.
    pub(crate) async fn changed(&mut self, pair: Option<&Tls>) {
        let Some(pair) = pair else {
            self.known = None;
            return std::future::pending().await;
        };
        loop {
            sleep(CHECK_INTERVAL).await;
            let (checked, directory) = (pair.clone(), self.config_dir.clone());
            let look = move || net::certificate::stamp(&checked, &directory);
            let Ok(stamp) = tokio::task::spawn_blocking(look).await else { continue };
            let reported = match &self.known {
                Some((known_pair, reported)) if known_pair == pair => reported.as_ref(),
                // A new pair has no stamp yet. The caller read its files when the configuration
                // came into force, but they may have changed since. So the first stamp is reported
                // as a change.
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
